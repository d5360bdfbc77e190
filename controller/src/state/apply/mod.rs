//! Applies a command: total, deterministic, and always with exactly one audit entry.

mod alert;
mod approval;
mod checklist;
mod controllers;
mod delete;
mod drain;
mod grant;
mod guard;
mod manifest;
mod node;
mod note;
mod people;
mod report;
mod rollback;
mod start;
#[cfg(test)]
mod tests;
mod upgrade;

use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::action::{Action, ActionKind, Fence};
use trireme_proto::id::{ActionId, ControllerId, NodeId, ServiceId, UpgradeId};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::Span;
use trireme_proto::view::AuditEntry;

use super::aside::Remark;
use super::command::{Body, Command, Outcome, Reply};
use super::fleet::{ActionRecord, AuditHead, ClientRecord, Controller, Fleet};

/// A command whose wall time is further off the controllers' median is refused (DESIGN rule 15).
pub const SKEW_MAX: Span = Span::secs(10);

/// Clients whose last command is remembered; beyond this the oldest are forgotten. A client
/// repeats a command within seconds, and this many commands take far longer.
const CLIENTS_MAX: usize = 10_000;

/// Bytes of one field of an audit entry; an apply of many manifests names all of them.
const FIELD_MAX: usize = 2000;

/// Where a command stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Index of the entry.
    pub index: u64,
    /// Term of the leader that wrote it.
    pub term: u64,
}

/// What follows from a command besides the new state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effects {
    /// Entry for the audit; none for a repeated command, which changes nothing.
    pub audit: Option<AuditEntry>,
    /// Nodes that have something new to be told.
    pub wake: BTreeSet<NodeId>,
}

/// What one command does, as its parts fill it in.
#[derive(Debug)]
struct Context<'a> {
    command: &'a Command,
    at: Position,
    wake: BTreeSet<NodeId>,
}

impl Context<'_> {
    /// Returns who asks, when, and the reason given.
    fn remark(&self, reason: &str) -> Remark {
        Remark {
            reason: reason.to_owned(),
            actor: self.command.actor.subject.clone(),
            at: self.command.wall,
        }
    }
}

/// Applies `command` at `at`.
pub fn apply(fleet: &mut Fleet, at: Position, command: &Command) -> (Reply, Effects) {
    fleet.index = at.index;
    fleet.term = at.term;
    if let Some(reply) = repeated(fleet, command) {
        return (reply, Effects { audit: None, wake: BTreeSet::new() });
    }
    fleet.now = fleet.now.max(command.at);
    fleet.wall = fleet.wall.max(command.wall);
    let mut context = Context { command, at, wake: BTreeSet::new() };
    let outcome = match dispatch(fleet, &mut context) {
        Ok(outcome) => outcome,
        Err(problem) => Outcome::Refused(problem),
    };
    people::note_use(fleet, command);
    let audit = audit(&mut fleet.audit, at, command, &outcome);
    let reply = Reply { index: at.index, outcome };
    remember(fleet, command, &reply);
    (reply, Effects { audit: Some(audit), wake: context.wake })
}

/// Answers a command that was applied before.
fn repeated(fleet: &Fleet, command: &Command) -> Option<Reply> {
    let (client, sequence) = command.origin.as_ref()?;
    let last = fleet.clients.get(client)?;
    match sequence.cmp(&last.sequence) {
        std::cmp::Ordering::Greater => None,
        std::cmp::Ordering::Equal => Some(last.reply.clone()),
        std::cmp::Ordering::Less => {
            let problem = Problem::new(
                Code::Conflict,
                format!(
                    "client {client} has gone on to {}; {sequence} comes too late",
                    last.sequence
                ),
            );
            Some(Reply { index: fleet.index, outcome: Outcome::Refused(problem) })
        }
    }
}

fn remember(fleet: &mut Fleet, command: &Command, reply: &Reply) {
    let Some((client, sequence)) = command.origin.clone() else { return };
    let record = ClientRecord { sequence, reply: reply.clone(), index: reply.index };
    fleet.clients.insert(client, record);
    if fleet.clients.len() > CLIENTS_MAX {
        let oldest = fleet.clients.iter().min_by_key(|(_, record)| record.index);
        if let Some(oldest) = oldest.map(|(client, _)| client.clone()) {
            fleet.clients.remove(&oldest);
        }
    }
}

/// Makes the one audit entry of a command and chains it.
fn audit(head: &mut AuditHead, at: Position, command: &Command, outcome: &Outcome) -> AuditEntry {
    let (mut action, mut target) = command.body.describe();
    let mut result = match outcome {
        Outcome::Refused(problem) => format!("refused: {}", problem.message),
        Outcome::Waiting(problem) => format!("waiting: {}", problem.message),
        _ => "done".to_owned(),
    };
    if let (Body::Exec { step }, Outcome::Done | Outcome::Begun { .. }) = (&command.body, outcome) {
        result = step.result();
    }
    let refused_action;
    if let Body::Refuse { action: refused, target: object, problem } = &command.body {
        refused_action = refused.clone();
        action = &refused_action;
        target.clone_from(object);
        result = format!("refused: {}", problem.message);
    }
    let entry = AuditEntry {
        seq: head.seq + 1,
        index: at.index,
        time: command.wall,
        actor: kept(&command.actor.subject, "nobody"),
        role: kept(&command.actor.role, "none"),
        action: kept(action, "request"),
        target: kept(&target, "fleet"),
        result: kept(&result, "done"),
        reason: kept(command.body.reason(), ""),
        source: kept(&command.actor.source, "unknown"),
        request_id: kept(&command.actor.request_id, ""),
        previous: head.hash.clone(),
        hash: String::new(),
    };
    let entry = entry.sealed();
    *head = AuditHead { seq: entry.seq, hash: entry.hash.clone() };
    entry
}

/// Returns a field of an entry as it is kept: never empty where `otherwise` is not, short, and
/// printable, so that no name or reason can make one entry look like two.
fn kept(text: &str, otherwise: &str) -> String {
    if text.trim().is_empty() {
        return otherwise.to_owned();
    }
    let plain = |c: char| !c.is_control() && !is_hidden(c);
    if text.len() <= FIELD_MAX && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut kept = String::with_capacity(text.len().min(FIELD_MAX));
    for c in text.chars() {
        if kept.len() >= FIELD_MAX {
            kept.push('…');
            break;
        }
        if plain(c) { kept.push(c) } else { kept.extend(c.escape_unicode()) }
    }
    kept
}

/// Returns whether a character reorders or hides what stands beside it.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn dispatch(fleet: &mut Fleet, context: &mut Context<'_>) -> Result<Outcome, Problem> {
    // The way out of it stays open, and what is refused anyway is recorded as what it was.
    let exempt = matches!(context.command.body, Body::TransferLeader { .. } | Body::Refuse { .. });
    if context.command.skew > SKEW_MAX && !exempt {
        return Err(Problem::refused(
            "clock.skew",
            format!(
                "the leader's clock is {} off the controllers' median, more than {SKEW_MAX}",
                context.command.skew
            ),
        )
        .hint("set its clock right, or lead from another: trictl controller transfer"));
    }
    match &context.command.body {
        Body::Bootstrap { name, domain, controllers } => {
            bootstrap(fleet, name, domain, controllers)
        }
        Body::Apply { base_revision, objects, evidence } => {
            manifest::apply(fleet, context, *base_revision, objects, evidence)
        }
        Body::Delete { base_revision, kind, name } => {
            context.wake.extend(fleet.nodes.keys().cloned());
            delete::delete(fleet, *base_revision, kind, name)
        }
        Body::Alert { what } => alert::step(fleet, context, what),
        Body::Checklist { what } => checklist::step(fleet, context, what),
        Body::CreateToken { .. } => node::create_token(fleet, context),
        Body::Join { token, secret_hash, incarnation } => {
            node::join(fleet, context, token, secret_hash, incarnation)
        }
        Body::RemoveNode { node, reason } => node::remove(fleet, context, node, reason),
        Body::Approve { plan } => approval::approve(fleet, context, plan),
        Body::BreakGlass { plan, reason, asked } => {
            approval::break_glass(fleet, context, (plan, asked.as_ref()), reason)
        }
        Body::Review { of, note, incident } => {
            approval::review(fleet, context, of, note, incident.as_deref())
        }
        Body::Regroup { step } => controllers::regroup(fleet, context, step),
        Body::People { change } => people::change(fleet, context, change),
        Body::Note { object, text } => note::set(fleet, context, object, text),
        Body::Observe { nodes } => {
            node::observe(fleet, context, nodes);
            Ok(Outcome::Done)
        }
        Body::Presence { lost, seen } => {
            node::presence(fleet, lost, seen);
            Ok(Outcome::Done)
        }
        Body::Reports { node, incarnation, reports } => {
            report::reports(fleet, context, node, incarnation, reports)
        }
        Body::ReleaseGrant { grant, reason } => grant::release(fleet, context, *grant, reason),
        Body::Reoffer { actions, evidence } => grant::reoffer(fleet, context, actions, evidence),
        Body::TransferLeader { to } if !fleet.controllers.contains_key(to) => {
            Err(Problem::new(Code::NotFound, format!("there is no controller {to}"))
                .hint("list them: trictl controller status"))
        }
        Body::Exec { step } => Ok(step.outcome()),
        Body::Refuse { .. } | Body::Lead { .. } | Body::TransferLeader { .. } => Ok(Outcome::Done),
        Body::Drain { .. }
        | Body::SettleDrain { .. }
        | Body::Return { .. }
        | Body::Cordon { .. }
        | Body::Freeze { .. }
        | Body::Thaw { .. }
        | Body::Override { .. }
        | Body::EndOverride { .. } => dispatch_guard(fleet, context),
        _ => dispatch_upgrade(fleet, context),
    }
}

/// Makes the fleet what it is from the beginning.
fn bootstrap(
    fleet: &mut Fleet,
    name: &str,
    domain: &str,
    controllers: &BTreeMap<ControllerId, Controller>,
) -> Result<Outcome, Problem> {
    if !fleet.name.is_empty() {
        let message = format!("fleet {} is initialised already", fleet.name);
        return Err(Problem::new(Code::Conflict, message));
    }
    name.clone_into(&mut fleet.name);
    domain.clone_into(&mut fleet.domain);
    fleet.controllers.clone_from(controllers);
    fleet.epoch = 1;
    Ok(Outcome::Done)
}

/// Dispatches what operators put aside, and what they allow.
fn dispatch_guard(fleet: &mut Fleet, context: &mut Context<'_>) -> Result<Outcome, Problem> {
    match &context.command.body {
        Body::Drain { place, reason, evidence } => {
            drain::drain(fleet, context, place, reason, evidence)
        }
        Body::SettleDrain { place, .. } => drain::settle(fleet, place),
        Body::Return { place, reason } => drain::give_back(fleet, context, place, reason),
        Body::Cordon { node, reason } => drain::cordon(fleet, context, node, reason),
        Body::Freeze { reason } => guard::freeze(fleet, context, reason),
        Body::Thaw { .. } => guard::thaw(fleet),
        Body::Override { rules, service, lasts, reason } => {
            guard::allow(fleet, context, rules, service.as_ref(), (*lasts, reason))
        }
        Body::EndOverride { id, .. } => guard::forbid(fleet, *id),
        _ => Err(Problem::new(Code::Failed, "this command puts nothing aside")),
    }
}

fn dispatch_upgrade(fleet: &mut Fleet, context: &mut Context<'_>) -> Result<Outcome, Problem> {
    match &context.command.body {
        Body::StartUpgrade { plan, evidence } => start::start(fleet, context, plan, evidence),
        Body::Operate { service, operation, scope, reason, evidence } => {
            start::operate(fleet, context, (service, *operation), scope, reason, evidence)
        }
        Body::PauseUpgrade { upgrade, reason } => upgrade::pause(fleet, *upgrade, reason),
        Body::ResumeUpgrade { upgrade } => upgrade::resume(fleet, *upgrade),
        Body::AbortUpgrade { upgrade, reason } => upgrade::abort(fleet, context, *upgrade, reason),
        Body::RollbackUpgrade { upgrade, reason } => {
            rollback::ask(fleet, context, *upgrade, reason)
        }
        Body::Stage { upgrade, wave, nodes } => {
            upgrade::stage(fleet, context, *upgrade, *wave, nodes)
        }
        Body::Skip { upgrade, wave, nodes } => upgrade::skip(fleet, *upgrade, *wave, nodes),
        Body::Grant { upgrade, wave, evidence } => {
            grant::grant(fleet, context, *upgrade, *wave, evidence)
        }
        Body::Settle { upgrade, wave, .. } => upgrade::settle(fleet, *upgrade, *wave),
        Body::Switch { upgrade, wave } => upgrade::switch(fleet, context, *upgrade, *wave),
        Body::Confirm { upgrade, wave } => upgrade::confirm(fleet, context, *upgrade, *wave),
        Body::StandDown { upgrade, wave, reason } => {
            rollback::stand_down(fleet, context, *upgrade, *wave, reason)
        }
        Body::Fail { upgrade, reason } => rollback::fail(fleet, context, *upgrade, reason),
        Body::TakeBack { upgrade, wave, nodes, evidence } => {
            rollback::take_back(fleet, context, *upgrade, *wave, nodes, evidence)
        }
        Body::Revert { upgrade, wave, nodes } => {
            rollback::revert(fleet, context, *upgrade, *wave, nodes)
        }
        _ => Err(Problem::new(Code::Failed, "this command is not about an upgrade")),
    }
}

/// What every action of an upgrade has in common.
#[derive(Debug, Clone)]
struct Order {
    upgrade: UpgradeId,
    service: ServiceId,
    deadline: Span,
}

/// Commits an action: the node's generation rises, and what the same upgrade had asked before is
/// superseded. Returns nothing while another upgrade's action is under way; it is asked again.
fn commit_action(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    order: &Order,
    node: &NodeId,
    kind: ActionKind,
) -> Option<ActionId> {
    fleet.nodes.get(node).filter(|record| record.is_free_for(order.upgrade))?;
    let id = ActionId(fleet.take_id());
    let (epoch, now) = (fleet.epoch, fleet.now);
    let record = fleet.nodes.get_mut(node)?;
    record.generation += 1;
    let fence = Fence { epoch, term: context.at.term, generation: record.generation };
    let action = Action {
        id,
        node: node.clone(),
        service: order.service.clone(),
        upgrade: order.upgrade,
        fence,
        deadline: order.deadline,
        kind,
    };
    record.action =
        Some(ActionRecord { action, progress: None, offer_term: context.at.term, at: now });
    context.wake.insert(node.clone());
    Some(id)
}

/// Returns the problem of an upgrade that does not exist.
fn no_upgrade(id: UpgradeId) -> Problem {
    Problem::new(Code::NotFound, format!("there is no {id}")).hint("list them: trictl get upgrade")
}
