//! Applies what is said to plans: approvals, starts without them, reviews.
//!
//! An approval belongs to the whole hash of a plan, ends by fleet time, and is used up by the
//! start: a plan that changes, or that is started a second time, asks anew. Nobody approves what
//! he proposed or starts, whatever his certificate: people are told apart by subject.

use trireme_proto::access::Verb;
use trireme_proto::identity::{Role, UserName};
use trireme_proto::model::ApprovalPolicy;
use trireme_proto::plan::{Operation, Plan, PlanId, Scope};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::Span;

use super::Context;
use crate::state::approval::{Approval, Approvals, Break, Review, Reviewed};
use crate::state::command::Outcome;
use crate::state::fleet::Fleet;
use crate::state::waves;

/// Plans that are spoken of at once; beyond it the one that was not spoken of for longest is
/// forgotten, and asks anew.
const PLANS_MAX: usize = 200;

/// Reviews that are kept; the audit keeps all of them.
const REVIEWS_MAX: usize = 2000;

/// Time in which a start without approvals must have been reviewed.
const REVIEW_WITHIN: Span = Span::secs(24 * 3600);

/// What is done to a service as it is, and where.
type Asked = (Operation, Scope);

/// Returns the plan of this name as it is now, with what it needs. What changes no release cannot
/// be computed from its name: somebody has asked for it before, or asks now.
fn planned(
    fleet: &Fleet,
    id: &PlanId,
    asked: Option<&Asked>,
) -> Result<(Plan, ApprovalPolicy), Problem> {
    let said = fleet.approvals.get(&id.to_string()).and_then(|said| said.operation.as_ref());
    let (plan, again) = if let Some((operation, scope)) = asked.or(said) {
        let again = format!("trictl service {operation} {} --dry-run", id.service);
        (waves::operation(fleet, &id.service, *operation, scope)?, again)
    } else {
        let operation = id.version.as_str().parse::<Operation>().ok();
        let plan = waves::plan(fleet, &id.service, &id.version);
        let plan = match operation {
            Some(operation) => plan.map_err(|_| unasked(id, operation))?,
            None => plan?,
        };
        (plan, format!("trictl upgrade plan {} --to {}", id.service, id.version))
    };
    if plan.id() != *id {
        let message = format!("plan {id} is stale: it is now {}", plan.id());
        return Err(
            Problem::new(Code::Conflict, message).hint(format!("look at the new one: {again}"))
        );
    }
    let policy = policy(fleet, &plan).ok_or_else(|| {
        let start = match plan.operation {
            Operation::Upgrade => format!("trictl upgrade start {id}"),
            operation => format!("trictl service {operation} {}", id.service),
        };
        Problem::new(Code::Conflict, format!("service {} asks for no approvals", id.service))
            .hint(format!("start it: {start}"))
    })?;
    Ok((plan, policy))
}

/// Returns the problem of a plan that is known by what was asked for, and nobody has asked.
fn unasked(id: &PlanId, operation: Operation) -> Problem {
    Problem::new(Code::NotFound, format!("nobody has asked for plan {id}"))
        .hint(format!("whoever wants it asks first: trictl service {operation} {}", id.service))
}

/// Returns who must agree to a plan, and the rule that says so. What only restores asks nobody.
fn policy(fleet: &Fleet, plan: &Plan) -> Option<ApprovalPolicy> {
    let manifest = &fleet.services.get(&plan.service)?.manifest;
    let policy = match plan.operation {
        Operation::Upgrade => manifest.upgrade.approvals.clone(),
        Operation::Restart | Operation::Recreate | Operation::Stop => {
            manifest.by_hand.as_ref().and_then(|by_hand| by_hand.approvals.clone())
        }
        Operation::Start => None,
    };
    policy.filter(|policy| policy.count > 0)
}

/// Returns the rule that asks for approvals.
fn rule(plan: &Plan) -> &'static str {
    if plan.operation.is_upgrade() { "upgrade.approvals" } else { "by_hand.approvals" }
}

/// Returns what was said to a plan, of this very hash.
fn said<'f>(fleet: &'f mut Fleet, plan: &Plan) -> &'f mut Approvals {
    let (name, hash, now) = (plan.id().to_string(), plan.hash(), fleet.now);
    let fresh = Approvals {
        plan: hash,
        proposer: None,
        given: std::collections::BTreeMap::new(),
        broken: None,
        operation: None,
        touched: now,
    };
    if !fleet.approvals.contains_key(&name) && fleet.approvals.len() >= PLANS_MAX {
        let oldest = fleet.approvals.iter().min_by_key(|(_, said)| said.touched);
        if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
            fleet.approvals.remove(&oldest);
        }
    }
    let said = fleet.approvals.entry(name).or_insert_with(|| fresh.clone());
    if said.plan != hash {
        *said = fresh;
    }
    said.touched = now;
    said
}

/// Lets a start pass that has what it needs; otherwise notes who proposed it and answers what it
/// waits for.
pub(super) fn gate(
    fleet: &mut Fleet,
    context: &Context<'_>,
    plan: &Plan,
    asked: Option<Asked>,
) -> Result<(), Outcome> {
    let Some(policy) = policy(fleet, plan) else { return Ok(()) };
    let (starter, now) = (context.command.actor.subject.clone(), fleet.now);
    let said = said(fleet, plan);
    said.operation = asked;
    said.given.retain(|_, approval| approval.until > now);
    let broken = said.broken.as_ref().is_some_and(|(actor, _)| *actor == starter);
    let proposer = said.proposer.get_or_insert_with(|| starter.clone()).clone();
    let counted: Vec<String> =
        said.given.keys().filter(|who| **who != starter && **who != proposer).cloned().collect();
    let counted: Vec<String> = counted.into_iter().filter(|who| stands(fleet, who)).collect();
    if broken || counted.len() >= policy.count as usize {
        return Ok(());
    }
    Err(Outcome::Waiting(waiting(fleet, plan, &policy, &proposer, &counted)))
}

/// Forgets what was said to a plan, now that it has started.
pub(super) fn use_up(fleet: &mut Fleet, id: &PlanId) {
    fleet.approvals.remove(&id.to_string());
}

/// Returns whether an approver still is somebody: who was shut out since approves nothing.
fn stands(fleet: &Fleet, subject: &str) -> bool {
    let name = subject.strip_prefix("user/").and_then(|name| name.parse::<UserName>().ok());
    name.is_some_and(|name| {
        fleet.users.get(&name).is_none_or(|user| !user.removed && user.disabled.is_none())
    })
}

fn waiting(
    fleet: &Fleet,
    plan: &Plan,
    policy: &ApprovalPolicy,
    proposer: &str,
    counted: &[String],
) -> Problem {
    let id = plan.id();
    let needed = policy.count;
    let mut problem = Problem::new(
        Code::Waiting,
        format!("plan {id} waits for approval: {} of {needed}", counted.len()),
    );
    problem.rule = Some(rule(plan).to_owned());
    if !counted.is_empty() {
        problem = problem.because(format!("approved by {}", counted.join(", ")));
    }
    let may = |(name, user): (&UserName, &crate::state::people::User)| {
        let subject = format!("user/{name}");
        let active = !user.removed && user.disabled.is_none();
        let has_role = user.grants.iter().any(|(role, _)| policy.allows(role));
        (active && has_role && subject != proposer && !counted.contains(&subject))
            .then(|| name.to_string())
    };
    let names: Vec<_> = fleet.users.iter().filter_map(may).collect();
    let who = match names.as_slice() {
        [] => format!("nobody on record but {proposer}, who proposed it, has such a role"),
        names => format!("{} may approve it; {proposer} proposed it", names.join(", ")),
    };
    problem.because(who).hint(format!("one of them: trictl approve {id}"))
}

/// Records one person's approval.
pub(super) fn approve(
    fleet: &mut Fleet,
    context: &Context<'_>,
    id: &PlanId,
) -> Result<Outcome, Problem> {
    let (plan, policy) = planned(fleet, id, None)?;
    let actor = &context.command.actor;
    let role = role_of(fleet, &actor.subject, &actor.role, &policy).ok_or_else(|| {
        let roles: Vec<_> = policy.roles.iter().map(|role| role.as_str()).collect();
        Problem::new(Code::Denied, format!("{} may not approve plan {id}", actor.subject))
            .because(format!("service {} wants it from {}", id.service, roles.join(" or ")))
    })?;
    let until = fleet.now.after(policy.within);
    let said = said(fleet, &plan);
    if said.proposer.as_ref() == Some(&actor.subject) {
        return Err(Problem::new(
            Code::Denied,
            format!("{} proposed plan {id} and cannot approve it", actor.subject),
        )
        .hint("somebody else must"));
    }
    let approval = Approval { role, at: context.command.wall, until };
    said.given.insert(actor.subject.clone(), approval);
    Ok(Outcome::Done)
}

/// Returns the role in which somebody approves, if the policy takes one of theirs.
fn role_of(fleet: &Fleet, subject: &str, acting: &str, policy: &ApprovalPolicy) -> Option<String> {
    if acting.parse().is_ok_and(|role| policy.allows(role)) {
        return Some(acting.to_owned());
    }
    let name: UserName = subject.strip_prefix("user/")?.parse().ok()?;
    let user = fleet.users.get(&name)?;
    let fits = |role: &Role| policy.allows(*role) && role.may(Verb::PlanApprove);
    user.grants.iter().map(|(role, _)| role).find(fits).map(|role| role.to_string())
}

/// Lets one person start a plan without approvals, and has that reviewed.
pub(super) fn break_glass(
    fleet: &mut Fleet,
    context: &Context<'_>,
    (id, asked): (&PlanId, Option<&Asked>),
    reason: &str,
) -> Result<Outcome, Problem> {
    let (plan, _) = planned(fleet, id, asked)?;
    let actor = context.command.actor.subject.clone();
    let number = fleet.take_id();
    let record = Break {
        plan: id.clone(),
        actor: actor.clone(),
        reason: reason.to_owned(),
        at: context.command.wall,
        due: fleet.now.after(REVIEW_WITHIN),
        review: None,
    };
    fleet.breaks.insert(number, record);
    let said = said(fleet, &plan);
    said.broken = Some((actor, number));
    said.operation = said.operation.take().or_else(|| asked.cloned());
    Ok(Outcome::Done)
}

/// Records that somebody has looked.
pub(super) fn review(
    fleet: &mut Fleet,
    context: &Context<'_>,
    of: &Reviewed,
    note: &str,
    incident: Option<&str>,
) -> Result<Outcome, Problem> {
    let reviewer = context.command.actor.subject.clone();
    let number = fleet.last_id + 1;
    if let Reviewed::Break { id } = of {
        let record = fleet.breaks.get_mut(id).ok_or_else(|| {
            Problem::new(Code::NotFound, format!("there is no break-{id}"))
                .hint("list them: trictl review list")
        })?;
        if record.actor == reviewer {
            let message = format!("{reviewer} broke the glass and cannot review break-{id}");
            return Err(Problem::new(Code::Denied, message).hint("somebody else must"));
        }
        if record.review.is_some() {
            let message = format!("break-{id} was reviewed already");
            return Err(Problem::new(Code::Conflict, message).hint("read it: trictl review list"));
        }
        record.review = Some(number);
    }
    fleet.last_id = number;
    let review = Review {
        of: of.clone(),
        note: note.to_owned(),
        incident: incident.map(str::to_owned),
        reviewer,
        at: context.command.wall,
    };
    fleet.reviews.insert(number, review);
    if fleet.reviews.len() > REVIEWS_MAX {
        fleet.reviews.pop_first();
    }
    Ok(Outcome::Done)
}
