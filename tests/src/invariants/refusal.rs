//! A refused command leaves everything as it was, but for the audit and the clocks.

use trireme_controller::state::{Fleet, Outcome};

use super::{Look, Moment};
use crate::sim::World;

#[derive(Debug, Default)]
pub(super) struct Refusal;

impl Look for Refusal {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        let Moment::Committed(committed) = moment else { return Ok(()) };
        if !matches!(committed.reply.outcome, Outcome::Refused(_)) {
            return Ok(());
        }
        // The leader has not applied it yet: its copy is what was before.
        let before = world.controllers.iter().map(|controller| &controller.fleet);
        let Some(before) = before.into_iter().find(|f| f.index + 1 == committed.index) else {
            return Ok(());
        };
        if essence(before, &world.log.fleet) == world.log.fleet {
            return Ok(());
        }
        Err(format!("entry {} was refused and has changed something", committed.index))
    }
}

/// Returns `before` with what every command moves as it is in `after`.
fn essence(before: &Fleet, after: &Fleet) -> Fleet {
    Fleet {
        index: after.index,
        term: after.term,
        now: after.now,
        wall: after.wall,
        clients: after.clients.clone(),
        audit: after.audit.clone(),
        ..before.clone()
    }
}
