//! The answer of DNS: never empty once anything is placed, never with a removed node, and never
//! with a drained one while another serves.

use trireme_controller::state::traffic::targets;

use super::{Look, Moment};
use crate::sim::World;

#[derive(Debug, Default)]
pub(super) struct Answer;

impl Look for Answer {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        let Moment::Committed(_) = moment else { return Ok(()) };
        let fleet = &world.log.fleet;
        for (name, record) in &fleet.services {
            let service = &record.manifest;
            let answer = targets(fleet, service);
            let placed = || {
                let nodes = fleet.nodes.values();
                nodes.filter(|node| !node.removed && service.nodes.matches(&node.labels))
            };
            if answer.is_empty() && placed().next().is_some() {
                return Err(format!("nobody is in the answer for {name}"));
            }
            let better = placed().any(|node| node.serves(name) && !node.drained.contains(name));
            for node in &answer {
                let record = &fleet.nodes[node];
                if record.removed || (better && record.drained.contains(name)) {
                    return Err(format!("{node} is in the answer for {name}"));
                }
            }
        }
        Ok(())
    }
}
