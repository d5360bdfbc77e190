//! The planner and apply judge alike: a leader that proposes again and again what apply refuses,
//! or what changes nothing, goes in circles without saying so.

use trireme_controller::state::Outcome;

use super::{Look, Moment};
use crate::sim::World;

/// Refusals in a row that are no coincidence: evidence moves on within a few.
const REFUSALS_MAX: u32 = 12;

/// Times in a row that a leader may say the same: new leaders and slow news explain a few.
const REPEATS_MAX: u32 = 12;

/// Counts refusals and repetitions in a row.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    verb: &'static str,
    refused: u32,
    said: (&'static str, String),
    repeats: u32,
}

impl Look for Agreement {
    fn look(&mut self, _: &World, moment: &Moment) -> Result<(), String> {
        let Moment::Committed(committed) = moment else { return Ok(()) };
        if !committed.command.actor.subject.starts_with("controller/") {
            return Ok(());
        }
        let (verb, object) = committed.command.body.describe();
        let skewed = matches!(&committed.reply.outcome,
            Outcome::Refused(problem) if problem.rule.as_deref() == Some("clock.skew"));
        if verb == "node.observe" || skewed {
            return Ok(());
        }
        if self.said == (verb, object.clone()) {
            self.repeats += 1;
            if self.repeats > REPEATS_MAX {
                return Err(format!("{verb} {object} is proposed for ever"));
            }
        } else {
            self.said = (verb, object.clone());
            self.repeats = 0;
        }
        match &committed.reply.outcome {
            Outcome::Refused(problem) => {
                self.refused = if self.verb == verb { self.refused + 1 } else { 1 };
                self.verb = verb;
                if self.refused > REFUSALS_MAX {
                    let message = &problem.message;
                    return Err(format!(
                        "{verb} {object} was refused {} times: {message}",
                        self.refused
                    ));
                }
            }
            _ if verb == self.verb => self.refused = 0,
            _ => {}
        }
        Ok(())
    }
}
