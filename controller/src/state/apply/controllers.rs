//! Changes of the controllers: begun by operators, finished or given up by the leader.

use trireme_proto::problem::{Code, Problem};

use super::Context;
use crate::state::command::Outcome;
use crate::state::controllers::{Purpose, Regroup, Regrouped, Retired, Step, judge};
use crate::state::fleet::Fleet;

/// Applies one step.
pub(super) fn regroup(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    step: &Step,
) -> Result<Outcome, Problem> {
    match step {
        Step::Begin { purpose, add, remove, reason, group } => {
            let judged = judge(fleet, *purpose, add.as_deref(), remove.as_ref(), group);
            let (leaving, warnings) = judged?;
            let number = fleet.take_id();
            fleet.regroup = Some(Regroup {
                number,
                purpose: *purpose,
                add: add.as_deref().cloned(),
                remove: leaving,
                reason: reason.clone(),
                actor: context.command.actor.subject.clone(),
                at: fleet.now,
                warnings,
            });
            Ok(Outcome::Regroup(number))
        }
        Step::Finish { number } => finish(fleet, context, *number),
        Step::GiveUp { number, why } => {
            let change = take(fleet, *number)?;
            end(fleet, &change, Some(why.clone()));
            Ok(Outcome::Done)
        }
    }
}

/// Takes out the change that is under way, if it has this number.
fn take(fleet: &mut Fleet, number: u64) -> Result<Regroup, Problem> {
    fleet.regroup.take_if(|change| change.number == number).ok_or_else(|| {
        let message = format!("change-{number} of the controllers is not under way");
        Problem::new(Code::Conflict, message)
    })
}

fn end(fleet: &mut Fleet, change: &Regroup, given_up: Option<String>) {
    let (number, what, at) = (change.number, change.to_string(), fleet.now);
    fleet.regrouped = Some(Regrouped { number, what, given_up, at });
}

/// Has everybody know the controllers as they are now.
fn finish(fleet: &mut Fleet, context: &mut Context<'_>, number: u64) -> Result<Outcome, Problem> {
    let change = take(fleet, number)?;
    if let Some(gone) = &change.remove {
        let reason = format!("{change}: {}", change.reason);
        let at = context.command.wall;
        let retired = Retired { name: gone.name.clone(), reason: reason.clone(), at };
        fleet.retired.insert(gone.raft_id, retired);
        if change.purpose != Purpose::Repair {
            fleet.controllers.remove(&gone.name);
            fleet.denied.insert(format!("controller/{}", gone.name), reason);
        }
    }
    if let Some(newcomer) = &change.add {
        fleet.controllers.insert(newcomer.name.clone(), newcomer.record.clone());
    }
    fleet.controllers_at = context.at.index;
    end(fleet, &change, None);
    // Every agent is told where the controllers are.
    context.wake.extend(fleet.nodes.keys().cloned());
    Ok(Outcome::Done)
}
