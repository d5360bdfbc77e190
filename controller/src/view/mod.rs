//! Documents for operators, computed from the replicated state. Pure.

pub mod alert;
mod approval;
mod aside;
mod checklist;
mod controllers;
mod look;
mod metrics;
mod node;
mod people;
mod service;
mod status;
mod upgrade;
mod why;

use trireme_proto::id::{Place, ServiceId, UpgradeId};
use trireme_proto::plan::Operation;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::FleetTime;
use trireme_proto::view::{GrantView, NoteView, ReleaseView, TokenListed};

pub use approval::{attention, reviews};
pub use aside::{drains, freeze, overrides};
pub use checklist::{checklist_run, checklists};
pub use controllers::{addresses, listed};
pub use look::{status, totals, used};
pub use metrics::{NODES_MAX, metrics};
pub use node::node;
pub use people::users;
pub use service::{region, service};
pub use status::fleet_status;
pub use upgrade::{operation, plan, upgrade};
pub use why::why;

use crate::brain::Waiting;
use crate::presence::Presence;
use crate::state::Fleet;
use crate::state::fleet::{Grant, GrantState, Holder, Token};

/// All that a document is made from.
#[derive(Debug, Clone, Copy)]
pub struct Lens<'a> {
    /// What the controllers agree on, as this one has it.
    pub fleet: &'a Fleet,
    /// What the leader waits for, as it last told.
    pub waiting: &'a Waiting,
    /// What is seen from here.
    pub presence: &'a Presence,
    /// Fleet time.
    pub now: FleetTime,
}

/// Returns the grants, held ones first.
pub fn grants(lens: Lens<'_>) -> Vec<GrantView> {
    let mut grants: Vec<_> = lens.fleet.grants.iter().collect();
    grants.sort_by_key(|(id, grant)| (!grant.is_held(), std::cmp::Reverse(**id)));
    grants
        .into_iter()
        .map(|(id, grant)| {
            let state = match &grant.state {
                GrantState::Held if lens.now > grant.due => "overdue".to_owned(),
                GrantState::Held => "held".to_owned(),
                GrantState::Released { proof } => format!("released: {proof}"),
                GrantState::Forced { reason } => format!("forced: {reason}"),
            };
            GrantView {
                id: *id,
                holder: grant.holder.to_string(),
                takes: grant
                    .takes
                    .iter()
                    .map(|(node, service)| format!("{node}/{service}"))
                    .collect(),
                state,
                age: lens.now.since(grant.at),
                released_by: released_by(lens.fleet, grant),
                actor: grant.actor.clone(),
            }
        })
        .collect()
}

/// Returns what would end a grant, for people.
fn released_by(fleet: &Fleet, grant: &Grant) -> String {
    let stop = |id: UpgradeId| {
        let plan = &fleet.upgrades.get(&id)?.plan;
        (plan.operation == Operation::Stop)
            .then(|| format!("trictl service start {}", plan.service))
    };
    match &grant.holder {
        _ if !grant.is_held() => "it has ended".to_owned(),
        Holder::Drain(Place::Region(name)) => format!("trictl region return {name}"),
        Holder::Drain(Place::Node(name)) => format!("trictl node return {name}"),
        Holder::Upgrade(id) => stop(*id).unwrap_or_else(|| {
            "the report of every node that its switch is confirmed or undone".to_owned()
        }),
    }
}

/// Returns the tokens that were not forgotten yet.
pub fn tokens(lens: Lens<'_>) -> Vec<TokenListed> {
    let listed = |(id, token): (&String, &Token)| {
        let state = match token {
            Token { used: true, .. } => "used",
            Token { expires_at, .. } if *expires_at <= lens.fleet.wall => "expired",
            Token { .. } => "waiting",
        };
        TokenListed {
            id: id.clone(),
            node: token.node.clone(),
            region: token.region.clone(),
            expires_at: token.expires_at,
            state: state.to_owned(),
        }
    };
    lens.fleet.tokens.iter().map(listed).collect()
}

/// Returns the note on an object, if there is one.
pub fn note(fleet: &Fleet, object: &str) -> Option<NoteView> {
    let note = fleet.notes.get(object)?;
    Some(NoteView {
        object: object.to_owned(),
        text: note.text.clone(),
        actor: note.actor.clone(),
        at: note.at,
    })
}

/// Returns the releases, by service and version.
pub fn releases(lens: Lens<'_>) -> Vec<ReleaseView> {
    let records = lens.fleet.releases.values().flat_map(|versions| versions.values());
    records
        .map(|record| ReleaseView { release: record.manifest.clone(), good: record.good })
        .collect()
}

/// Finds an upgrade by its id, or the newest of a service by the service's name.
pub fn find_upgrade(fleet: &Fleet, text: &str) -> Result<UpgradeId, Problem> {
    let missing = |message: String| {
        Problem::new(Code::NotFound, message).hint("list them: trictl get upgrade")
    };
    if let Ok(id) = text.parse::<UpgradeId>() {
        return fleet
            .upgrades
            .contains_key(&id)
            .then_some(id)
            .ok_or_else(|| missing(format!("there is no {id}")));
    }
    let service: ServiceId = text.parse().map_err(|_| {
        Problem::new(Code::Usage, format!("`{text}` names neither an upgrade nor a service"))
            .hint("write upgrade-NUMBER or a service's name: trictl get upgrade")
    })?;
    fleet
        .newest_upgrade(&service, |_| true)
        .ok_or_else(|| missing(format!("service {service} was never upgraded")))
}
