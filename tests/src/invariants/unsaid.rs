//! What a node has said is never unsaid: reports that come late or twice change nothing.

use std::collections::BTreeMap;

use trireme_controller::state::Body;
use trireme_proto::id::NodeId;

use super::{Look, Moment};
use crate::sim::World;

/// Number of the newest report of each node that was applied.
#[derive(Debug, Default)]
pub(super) struct Unsaid(BTreeMap<NodeId, u64>);

impl Look for Unsaid {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        let Moment::Committed(entry) = moment else { return Ok(()) };
        let Body::Reports { node, .. } = &entry.command.body else { return Ok(()) };
        let Some(record) = world.log.fleet.nodes.get(node) else { return Ok(()) };
        let newest = self.0.entry(node.clone()).or_default();
        if record.report_seq < *newest {
            let seq = record.report_seq;
            return Err(format!("report {seq} of {node} was applied after report {newest}"));
        }
        *newest = record.report_seq;
        Ok(())
    }
}
