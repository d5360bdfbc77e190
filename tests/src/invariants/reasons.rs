//! I16: an upgrade for which nothing is proposed and nothing is under way has reasons, whole ones.

use super::{Look, Moment};
use crate::sim::World;

#[derive(Debug, Default)]
pub(super) struct Reasons;

impl Look for Reasons {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        let Moment::Decided { controller, decision, in_flight, .. } = moment else { return Ok(()) };
        if *in_flight || !decision.proposals.is_empty() {
            return Ok(());
        }
        let open = world.controllers[*controller].fleet.upgrades.iter();
        for (id, upgrade) in open.filter(|(_, upgrade)| !upgrade.phase.is_final()) {
            let reasons = decision.waiting.get(id).map(Vec::as_slice).unwrap_or_default();
            let whole = reasons.iter().all(|reason| {
                ![&reason.predicate, &reason.evidence, &reason.unblock].iter().any(|s| s.is_empty())
            });
            if reasons.is_empty() || !whole {
                let stages: Vec<_> = upgrade.waves.iter().map(|wave| &wave.nodes).collect();
                return Err(format!(
                    "{id} ({:?}) does nothing and says {reasons:?}; {stages:?}",
                    upgrade.phase
                ));
            }
        }
        Ok(())
    }
}
