//! Steps of an upgrade's actions on one host, chosen from what is seen there.
//!
//! ```text
//! switch   fetch  quiesce  stop  point  start  gate  arm     (no quiesce, stop where nothing runs)
//! halt     quiesce  stop                                     (no quiesce where nothing runs)
//! undo     stop  point  start  gate                          (stop  point  where nothing ran)
//! revert   quiesce  stop  point  start  gate                 (nothing where nothing was touched)
//! ```
//! Nothing here knows how a step is done, nor what was journaled.

use trireme_proto::action::{Halt, RunSpec, Step, Switch};
use trireme_proto::digest::Digest;

use super::effect::Seen;
use super::state::{Armed, Memory, Settled};
use trireme_proto::id::ActionId;

/// Returns the steps of a switch, or why what runs is not what the plan was made for.
pub(super) fn switch_steps(switch: &Switch, seen: &Seen) -> Result<Vec<Step>, String> {
    expect(switch.expected, seen)?;
    let mut steps = vec![Step::Fetch];
    if seen.running {
        steps.push(Step::Quiesce);
    }
    if seen.spec.is_some() || seen.running {
        steps.push(Step::Stop);
    }
    steps.extend([Step::Point, Step::Start, Step::Gate, Step::Arm]);
    Ok(steps)
}

/// Returns the steps of a halt, or why what runs is not what the plan was made for.
///
/// A service that does not run is stopped all the same: it shall not start by itself any more.
pub(super) fn halt_steps(halt: &Halt, seen: &Seen) -> Result<Vec<Step>, String> {
    expect(halt.expected, seen)?;
    let quiesce = seen.running.then_some(Step::Quiesce);
    Ok(quiesce.into_iter().chain([Step::Stop]).collect())
}

/// Refuses what was planned for another state of things.
fn expect(expected: Option<Digest>, seen: &Seen) -> Result<(), String> {
    let found = seen.spec.as_ref().map(RunSpec::digest);
    if found == expected {
        return Ok(());
    }
    let name = |digest: Option<Digest>| digest.map_or("nothing".to_owned(), |d| d.short());
    Err(format!(
        "drift: the plan expects {} to run here, but it is {}; plan the upgrade anew",
        name(expected),
        name(found)
    ))
}

/// Returns the steps that bring back what ran before a switch; healthy only if it was, and down if
/// an operator had stopped it.
pub(super) fn undo_steps(previous: Option<&RunSpec>, served: bool, stopped: bool) -> Vec<Step> {
    let mut steps = vec![Step::Stop, Step::Point];
    if previous.is_some() && !stopped {
        steps.push(Step::Start);
        if served {
            steps.push(Step::Gate);
        }
    }
    steps
}

/// Returns the steps of a revert to `previous`; none if that is how things are.
///
/// With `stopped` it stays down. `handed_over` tells that an action was cut off just before, `dirty` that an earlier one left
/// the service half-way: then what runs must be proved healthy, or started afresh.
pub(super) fn revert_steps(
    (previous, stopped): (Option<&RunSpec>, bool),
    seen: &Seen,
    handed_over: bool,
    dirty: bool,
) -> Vec<Step> {
    let runs = previous.is_some() && !stopped;
    let there = seen.spec.as_ref().map(RunSpec::digest) == previous.map(RunSpec::digest)
        && seen.running == runs;
    if there && (!runs || seen.serving || !(handed_over || dirty)) {
        return Vec::new();
    }
    if there && !dirty {
        return vec![Step::Gate];
    }
    let mut steps = Vec::new();
    if seen.serving {
        steps.push(Step::Quiesce);
    }
    steps.extend([Step::Stop, Step::Point]);
    if runs {
        steps.extend([Step::Start, Step::Gate]);
    }
    steps
}

/// Returns whether the revert of switch `of` is, or already was, called off; else why not.
pub(super) fn may_confirm(of: ActionId, memory: &Memory) -> Result<(), String> {
    let armed = memory.armed.as_ref().map(|Armed { action, .. }| action.id);
    if armed == Some(of) {
        return Ok(());
    }
    match memory.settled {
        Some((settled, Settled::Confirmed)) if settled == of => Ok(()),
        Some((settled, Settled::Reverted)) if settled == of => {
            Err(format!("{of} was reverted as ordered"))
        }
        Some((settled, Settled::RevertedAlone)) if settled == of => {
            Err(format!("{of} was not confirmed in time and the agent reverted it"))
        }
        Some(_) | None => Err(format!("no revert of {of} is armed here")),
    }
}
