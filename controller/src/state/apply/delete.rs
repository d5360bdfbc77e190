//! Applies the deletion of what was declared: rules, channels, checklists. All else is referred to for ever.

use trireme_proto::id::{ChannelId, ChecklistId, RuleId};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::{Applied, Change};

use crate::state::command::Outcome;
use crate::state::fleet::Fleet;

pub(super) fn delete(
    fleet: &mut Fleet,
    base_revision: u64,
    kind: &str,
    name: &str,
) -> Result<Outcome, Problem> {
    if base_revision != 0 && base_revision != fleet.revision {
        let message =
            format!("the manifests are at revision {}, not {base_revision}", fleet.revision);
        return Err(Problem::new(Code::Conflict, message)
            .because("somebody changed them after you looked")
            .hint(format!("look again: trictl get {kind} {name}")));
    }
    let kind_name = match kind {
        "alertrule" => {
            let known =
                name.parse::<RuleId>().is_ok_and(|id| fleet.alerts.rules.remove(&id).is_some());
            known.then_some("AlertRule")
        }
        "checklist" => {
            let known =
                name.parse::<ChecklistId>().is_ok_and(|id| fleet.checklists.remove(&id).is_some());
            known.then_some("Checklist")
        }
        "channel" => delete_channel(fleet, name)?.then_some("Channel"),
        _ => {
            return Err(Problem::new(Code::Usage, format!("no {kind} can be deleted"))
                .because("other objects, plans or the audit refer to it")
                .hint("what can be deleted is alertrule, channel and checklist"));
        }
    };
    let Some(kind_name) = kind_name else {
        return Err(Problem::new(Code::NotFound, format!("there is no {kind} {name}"))
            .hint(format!("list them: trictl get {kind}")));
    };
    fleet.revision += 1;
    let objects = [(format!("{kind_name}/{name}"), Change::Deleted)].into();
    Ok(Outcome::Applied(Applied { revision: fleet.revision, objects }))
}

fn delete_channel(fleet: &mut Fleet, name: &str) -> Result<bool, Problem> {
    let Ok(id) = name.parse::<ChannelId>() else { return Ok(false) };
    let users: Vec<_> = fleet
        .alerts
        .rules
        .values()
        .filter(|record| record.manifest.channels.contains(&id))
        .map(|record| record.manifest.name.to_string())
        .collect();
    if users.is_empty() {
        return Ok(fleet.alerts.channels.remove(&id).is_some());
    }
    Err(Problem::new(Code::Conflict, format!("channel {id} is named by rules"))
        .because(users.join(", "))
        .hint("change or delete them first: trictl get alertrule"))
}
