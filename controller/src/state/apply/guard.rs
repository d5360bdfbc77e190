//! Applies the freeze and the exceptions to rules of the ledger.

use std::collections::BTreeSet;

use trireme_proto::id::{OverrideId, ServiceId};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::Span;

use super::Context;
use crate::state::aside::Override;
use crate::state::command::Outcome;
use crate::state::fleet::Fleet;
use crate::state::ledger::RULES;

/// Longest and shortest life of an exception: one night's work, not a way to live.
const LASTS: std::ops::RangeInclusive<u64> = 60_000..=24 * 3_600_000;

/// Exceptions in force at once; more than that is no exception.
const OVERRIDES_MAX: usize = 20;

/// Lets nobody take anything new; what was begun ends, what is put back is put back.
pub(super) fn freeze(
    fleet: &mut Fleet,
    context: &Context<'_>,
    reason: &str,
) -> Result<Outcome, Problem> {
    if let Some(remark) = &fleet.freeze {
        let message = format!("the fleet is frozen already by {}: {}", remark.actor, remark.reason);
        return Err(Problem::new(Code::Conflict, message)
            .hint("it needs no second one; to end it: trictl freeze off --reason WHY"));
    }
    fleet.freeze = Some(context.remark(reason));
    Ok(Outcome::Done)
}

/// Ends the freeze.
pub(super) fn thaw(fleet: &mut Fleet) -> Result<Outcome, Problem> {
    match fleet.freeze.take() {
        Some(_) => Ok(Outcome::Done),
        None => Err(Problem::new(Code::Conflict, "the fleet is not frozen")
            .hint("look at it: trictl freeze status")),
    }
}

/// Sets rules aside for a time.
pub(super) fn allow(
    fleet: &mut Fleet,
    context: &Context<'_>,
    rules: &BTreeSet<String>,
    service: Option<&ServiceId>,
    (lasts, reason): (Span, &str),
) -> Result<Outcome, Problem> {
    let unknown = rules.iter().find(|rule| !RULES.contains(&rule.as_str()));
    if let Some(rule) = unknown {
        return Err(Problem::new(Code::Usage, format!("there is no rule {rule}"))
            .hint(format!("name one or more of {}", RULES.join(", "))));
    }
    if rules.is_empty() {
        return Err(Problem::new(Code::Usage, "an override names the rules that it sets aside")
            .hint(format!("name one or more of {}", RULES.join(", "))));
    }
    if !LASTS.contains(&lasts.0) {
        return Err(Problem::new(Code::Usage, format!("an override cannot last {lasts}"))
            .hint("it lasts from 1m to 24h: --for 30m"));
    }
    if let Some(name) = service.filter(|name| !fleet.services.contains_key(*name)) {
        return Err(Problem::new(Code::NotFound, format!("there is no service {name}"))
            .hint("list them: trictl get service"));
    }
    let now = fleet.now;
    fleet.overrides.retain(|_, exception| exception.until > now);
    if fleet.overrides.len() >= OVERRIDES_MAX {
        let message = format!("{OVERRIDES_MAX} overrides are in force already");
        return Err(Problem::new(Code::Conflict, message).hint("end some: trictl override list"));
    }
    let id = OverrideId(fleet.take_id());
    let exception = Override {
        remark: context.remark(reason),
        rules: rules.clone(),
        service: service.cloned(),
        until: now.after(lasts),
    };
    fleet.overrides.insert(id, exception);
    Ok(Outcome::Overridden(id))
}

/// Ends an exception before its time.
pub(super) fn forbid(fleet: &mut Fleet, id: OverrideId) -> Result<Outcome, Problem> {
    match fleet.overrides.remove(&id) {
        Some(_) => Ok(Outcome::Done),
        None => Err(Problem::new(Code::NotFound, format!("{id} is not in force"))
            .hint("list them: trictl override list")),
    }
}
