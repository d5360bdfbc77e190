//! Reasons for waiting, worded once.

use trireme_proto::id::NodeId;
use trireme_proto::problem::Problem;
use trireme_proto::time::{FleetTime, Span};
use trireme_proto::view::Reason;

use super::World;
use crate::state::fleet::Upgrade;

pub(super) fn reason(
    predicate: &str,
    evidence: impl Into<String>,
    unblock: impl Into<String>,
) -> Reason {
    Reason { predicate: predicate.to_owned(), evidence: evidence.into(), unblock: unblock.into() }
}

/// Returns the reason that a refusal of the ledger is.
pub fn refused(problem: &Problem) -> Reason {
    let mut evidence = problem.message.clone();
    for why in &problem.why {
        evidence.push_str("; ");
        evidence.push_str(why);
    }
    reason(
        problem.rule.as_deref().unwrap_or("upgrade.start"),
        evidence,
        problem
            .hint
            .clone()
            .unwrap_or_else(|| "it asks again by itself when that changes".to_owned()),
    )
}

/// Returns the reason that waiting for time is.
pub(super) fn time(predicate: &str, what: &str, left: Span) -> Reason {
    reason(predicate, format!("{what}: {left} left"), "time")
}

/// Returns the reason that waiting for a node's action is.
pub(super) fn action(world: &World<'_>, node: &NodeId) -> Reason {
    let record = world.fleet.nodes.get(node);
    let lost = record.is_some_and(|node| node.lost);
    let under_way = record.and_then(|node| node.action.as_ref()).filter(|a| !a.is_final());
    let doing = under_way.map_or_else(
        || format!("node {node} is about to be given its next action"),
        |action| {
            format!(
                "{} ({}) on node {node} is {} since {}",
                action.action.id,
                action.kind(),
                action.state(),
                world.now.since(action.at)
            )
        },
    );
    if lost {
        reason(
            "node.in_sight",
            format!("node {node} is out of sight; {doing}"),
            format!("start its agent, or: trictl node remove {node} --reason WHY --confirm {node}"),
        )
    } else {
        reason("action.done", doing, format!("node {node}"))
    }
}

/// Returns the reason that stands for nodes that are not named.
pub(super) fn more(nodes: usize) -> Reason {
    reason("action.done", format!("and {nodes} more nodes"), "those nodes")
}

/// Returns since when nothing has moved in a wave; before the waves ahead of it are done nothing can.
pub(super) fn still_since(upgrade: &Upgrade, wave: usize) -> FleetTime {
    let ahead = upgrade.waves.iter().take(wave + 1);
    ahead.map(|wave| wave.moved).max().unwrap_or(upgrade.started)
}

/// Returns how long a wave may stand still, undoing included: the agent has a step's deadline to do and the same
/// again to undo, and one drain before.
pub(super) fn stuck_after(upgrade: &Upgrade) -> Span {
    let gates = &upgrade.plan.gates;
    Span(2 * gates.step_deadline.0 + gates.drain.0 + 5000)
}
