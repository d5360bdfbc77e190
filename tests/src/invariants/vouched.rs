//! Nothing is taken on the word of a leader that was replaced long ago: offers end soon after a
//! controller has lost its leader, and every offer rests on a fresh view of the node (DESIGN rule
//! 13). What was decided on evidence of another time is not begun.

use std::collections::BTreeMap;

use trireme_controller::state::Body;
use trireme_proto::id::ActionId;

use super::{Look, Moment};
use crate::sim::World;

/// Longest that the word of a replaced leader may still be acted on, in true milliseconds: the old
/// leader believes to lead for 2 s, its last message is 3 s on its way, a controller offers for 2 s
/// after it, the agent takes an offer on a view of 5 s ago; and clocks drift.
const LASTS_MAX: u64 = 13_000;

/// When each term began, and in which one each action was last vouched for.
#[derive(Debug, Default)]
pub(super) struct Vouched {
    began: BTreeMap<u64, u64>,
    terms: BTreeMap<ActionId, u64>,
}

impl Look for Vouched {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        match moment {
            Moment::Committed(entry) => {
                if matches!(entry.command.body, Body::Lead { .. }) {
                    self.began.entry(entry.term).or_insert(world.now);
                }
                for node in world.log.fleet.nodes.values() {
                    if let Some(record) = &node.action {
                        self.terms.insert(record.action.id, record.offer_term);
                    }
                }
                Ok(())
            }
            Moment::Accepted { node, action } if action.kind.takes_capacity() => {
                let Some(term) = self.terms.get(&action.id) else { return Ok(()) };
                let replaced = self.began.range(term + 1..).next();
                match replaced.map(|(newer, at)| (newer, world.now.saturating_sub(*at))) {
                    Some((newer, ago)) if ago > LASTS_MAX => Err(format!(
                        "{} accepts {} on the word of term {term}; term {newer} began {ago} ms ago",
                        world.nodes[*node].id, action.id
                    )),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
