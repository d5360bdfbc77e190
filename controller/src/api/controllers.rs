//! The controllers as a group: who they are, and one RPC for each way to change that.
//!
//! Whoever comes is asked what it is, under its own certificate: nothing of it is typed but its
//! name and one address.

use futures_util::future::join_all;
use tonic::{Request, Response};
use trireme_proto::access::{Reach, Verb};
use trireme_proto::id::ControllerId;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::{ControllerView, ControllersView, RegroupView, RegroupedView};
use trireme_proto::wire::ChangeControllerRequest;
use trireme_proto::wire::controllers_server::Controllers;

use super::authorize::operator;
use super::operations::needed;
use super::operator::{Answer, OperatorApi, parse};
use super::status::status;
use crate::brain::Brain;
use crate::peers::Described;
use crate::plan::controllers::{Next, next};
use crate::state::Body;
use crate::state::controllers::{Group, Newcomer, Purpose, Regroup, Step};

#[tonic::async_trait]
impl Controllers for OperatorApi {
    async fn add_controller(&self, request: Request<ChangeControllerRequest>) -> Answer {
        self.regroup(request, Verb::ControllerAdd, Purpose::Add).await
    }

    async fn remove_controller(&self, request: Request<ChangeControllerRequest>) -> Answer {
        self.regroup(request, Verb::ControllerRemove, Purpose::Remove).await
    }

    async fn replace_controller(&self, request: Request<ChangeControllerRequest>) -> Answer {
        self.regroup(request, Verb::ControllerReplace, Purpose::Replace).await
    }

    async fn repair_controller(&self, request: Request<ChangeControllerRequest>) -> Answer {
        self.regroup(request, Verb::ControllerRepair, Purpose::Repair).await
    }
}

impl OperatorApi {
    /// Authorises a change of the controllers and has its beginning committed.
    async fn regroup(
        &self,
        request: Request<ChangeControllerRequest>,
        verb: Verb,
        purpose: Purpose,
    ) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let named = if asked.name.is_empty() { &asked.old } else { &asked.name };
        let target = format!("controller/{named}");
        let whole = |_: &crate::state::Fleet| Reach::Fleet;
        let allowed = operator(&self.brain, &extensions, verb, &target, whole).await?;
        let reason = needed("changing the controllers", &asked.reason)?;
        let (comes, goes) = match purpose {
            Purpose::Add => (true, None),
            Purpose::Remove => (false, Some(&asked.old)),
            Purpose::Replace => (true, Some(&asked.old)),
            Purpose::Repair => (true, Some(&asked.name)),
        };
        let remove = goes.map(|name| parse::<ControllerId>("controller", name)).transpose()?;
        let add = if comes {
            let name = parse::<ControllerId>("controller", &asked.name)?;
            match self.meet(&name, &asked.peer, purpose).await {
                Ok(newcomer) => Some(Box::new(newcomer)),
                Err(problem) => {
                    let action = verb.as_str().to_owned();
                    let body = Body::Refuse { action, target, problem: problem.clone() };
                    if !asked.dry_run {
                        // What is refused here is recorded as what apply refuses.
                        self.change(&allowed, None, false, body).await?;
                    }
                    return Err(status(&problem));
                }
            }
        } else {
            None
        };
        let group = Group::default();
        let body = Body::Regroup { step: Step::Begin { purpose, add, remove, reason, group } };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        if !asked.dry_run {
            self.caught_up(reply.index).await;
        }
        Ok(Response::new(self.documents.document(&standings(&self.brain).await)))
    }

    /// Asks whoever is to come what it is.
    async fn meet(
        &self,
        name: &ControllerId,
        peer: &str,
        purpose: Purpose,
    ) -> Result<Newcomer, Problem> {
        let known = self.brain.read(|fleet| {
            let record = fleet.controllers.get(name)?;
            Some((record.raft_id, record.peer.clone()))
        });
        let place = match &known {
            Some((_, at)) if peer.is_empty() && purpose == Purpose::Repair => at.as_str(),
            _ => peer,
        };
        if place.is_empty() && known.is_none() {
            let message = format!("where is {name}? no address of it was given");
            return Err(Problem::new(Code::Usage, message)
                .hint("name what its configuration has as `peer`: --peer HOST:PORT"));
        }
        let Described { name: told, record, disk, initialized, .. } =
            self.brain.peers.describe(name, place).await.map_err(|problem| {
                let message = format!("{name} does not say what it is");
                Problem::new(Code::Unreachable, message).because(problem.message).hint(
                    "start it with a certificate of this fleet: `trireme-controller request`, \
                     `trictl ca sign-controller --name NAME --request FILE`, \
                     `trireme-controller install`, \
                     `trireme-controller run`",
                )
            })?;
        if told != *name {
            let message = format!("whoever is at {place} is {told}, not {name}");
            return Err(Problem::new(Code::Conflict, message));
        }
        if purpose == Purpose::Repair && known.is_some_and(|(id, _)| id == record.raft_id) {
            let message = format!("{name} still has raft id {}", record.raft_id);
            return Err(Problem::refused("controllers.alive", message).hint(
                "if its disk was emptied, give it a raft_id that no controller ever had and start \
                 it on the empty directory; if not, there is nothing to repair",
            ));
        }
        // Asked again, it may be on its way in, or be in: apply knows the request then.
        let coming = self.brain.read(|fleet| {
            fleet.regroup.is_some()
                || fleet.controllers.values().any(|one| one.raft_id == record.raft_id)
        });
        if initialized && !coming {
            let message = format!("{name} belongs to a group already");
            return Err(Problem::refused("controllers.id", message).hint(
                "give it an empty data directory, and a raft_id that no controller ever had",
            ));
        }
        Ok(Newcomer { name: name.clone(), record, disk })
    }
}

/// Asks every controller how it stands.
pub(super) async fn standings(brain: &Brain) -> ControllersView {
    let fleet = brain.fleet();
    let group = brain.group();
    let leader = brain.leader();
    let mut known: Vec<Newcomer> = fleet
        .controllers
        .iter()
        .map(|(name, record)| Newcomer {
            name: name.clone(),
            record: record.clone(),
            disk: String::new(),
        })
        .collect();
    let coming = fleet.regroup.as_ref().and_then(|change| change.add.clone());
    known.extend(coming);
    let own = &brain.name;
    let told = join_all(known.iter().map(async |one| {
        let told = if one.name == *own {
            brain.describe().await
        } else {
            brain.peers.describe(&one.name, &one.record.peer).await
        };
        // Of one that is repaired, who answers is the new one.
        told.ok().filter(|told| told.record.raft_id == one.record.raft_id)
    }))
    .await;
    let last = told.iter().flatten().map(|one| one.last).max().unwrap_or(0);
    let views = known.iter().zip(&told);
    let items = views.map(|(one, told)| view(one, told.as_ref(), leader.as_ref(), &group, last));
    let term = brain.raft.watch_leadership().borrow().term;
    let change = fleet.regroup.as_ref().map(|change| change_view(brain, change, &group));
    let changed = fleet.regrouped.as_ref().map(|ended| RegroupedView {
        number: ended.number,
        what: ended.what.clone(),
        given_up: ended.given_up.clone(),
    });
    let (name, items) = (fleet.name.clone(), items.collect());
    ControllersView { fleet: name, term, leader, items, change, changed }
}

fn change_view(brain: &Brain, change: &Regroup, group: &Group) -> RegroupView {
    let now = brain.now();
    let leads = brain.leads().is_some();
    let waits_for = leads.then(|| match brain.read(|fleet| next(fleet, group, now)) {
        Next::Wait(why) => Some(why),
        _ => None,
    });
    RegroupView {
        number: change.number,
        what: change.to_string(),
        actor: change.actor.clone(),
        reason: change.reason.clone(),
        waits_for: waits_for.flatten(),
        warnings: change.warnings.clone(),
    }
}

/// Returns what is shown of a controller.
fn view(
    one: &Newcomer,
    told: Option<&Described>,
    leader: Option<&ControllerId>,
    group: &Group,
    last: u64,
) -> ControllerView {
    let id = one.record.raft_id;
    let votes = group.seat(id).is_some_and(|seat| seat.votes);
    let role = match told {
        None => "unreachable",
        Some(_) if leader == Some(&one.name) => "leader",
        Some(_) if votes => "follower",
        Some(_) => "learner",
    };
    ControllerView {
        name: one.name.clone(),
        raft_id: id,
        region: one.record.region.clone(),
        role: role.to_owned(),
        address: one.record.address.clone(),
        applied: told.map(|told| told.applied),
        agents: told.map(|told| told.agents),
        peer: one.record.peer.clone(),
        votes,
        lag: told.map(|told| last.saturating_sub(told.last)),
        version: told.map(|told| told.version.clone()),
    }
}
