//! A controller that has lost its leader soon offers nothing: what it knows is what was decided
//! before, and somebody else may have decided otherwise since (DESIGN rule 13).

use super::{Look, Moment};
use crate::sim::World;

/// Longest silence of the leader, by the controller's own clock, in milliseconds.
const SILENCE_MAX: u64 = 2000;

/// Looks at every offer.
#[derive(Debug, Default)]
pub(super) struct Contact;

impl Look for Contact {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        let Moment::Offered { controller, action } = moment else { return Ok(()) };
        let controller = &world.controllers[*controller];
        let offers = format!("{} offers {} to {}", controller.id, action.id, action.node);
        match controller.contact(world.now) {
            None => Err(format!("{offers} and knows no leader")),
            Some((term, age)) if age.0 > SILENCE_MAX => {
                Err(format!("{offers} {age} after it last heard from the leader of term {term}"))
            }
            Some(_) => Ok(()),
        }
    }
}
