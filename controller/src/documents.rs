//! Makes the documents that operators are answered with, labelled with index and age.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::Instant;
use trireme_proto::id::{ChecklistId, ControllerId, RunId, ServiceId, UpgradeId, Version};
use trireme_proto::manifest::Known;
use trireme_proto::model::Object;
use trireme_proto::plan::{Operation, Scope};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::query::{NodeUse, ServiceStatus};
use trireme_proto::view::{AuditEntry, ControllersView, List, Manifests, NoteView, RegionView};
use trireme_proto::wire::{DigestRequest, Document};

use crate::audit::PAGE_MAX;
use crate::brain::{Brain, Waiting};
use crate::machine::chain;
use crate::presence::Presence;
use crate::query::{Answers, Targets};
use crate::sessions::Point;
use crate::state::{Body, Evidence, Fleet};
use crate::submit::{Submission, submit};
use crate::view::{self, Lens, alert};

/// Longest wait for a chosen controller to lead: several elections of the slowest profile.
const TRANSFER_WAIT: Duration = Duration::from_secs(10);

/// Makes documents.
#[derive(Debug, Clone)]
pub struct Documents {
    brain: Arc<Brain>,
}

impl Documents {
    /// Makes documents of what `brain` knows.
    pub fn new(brain: Arc<Brain>) -> Self {
        Self { brain }
    }

    /// Wraps a value as a document of this moment.
    pub fn document<T: Serialize>(&self, value: &T) -> Document {
        let json = serde_json::to_vec(value).expect("views have string keys");
        let age = match self.brain.leads() {
            Some(_) => 0,
            None => self.brain.contact().map_or(u64::MAX, |(_, age)| age.0),
        };
        Document {
            json: json.into(),
            index: self.brain.read(|fleet| fleet.index),
            age_ms: age,
            controller: self.brain.name.to_string(),
            controllers: self.brain.read(view::addresses),
            ..Document::default()
        }
    }

    /// Looks at the fleet with everything that views need.
    fn lens<T>(&self, look: impl FnOnce(Lens<'_>) -> T) -> T {
        self.lens_on(&self.presence(), look)
    }

    fn lens_on<T>(&self, presence: &Presence, look: impl FnOnce(Lens<'_>) -> T) -> T {
        let fleet = self.brain.fleet();
        let waiting: Waiting = self.brain.waiting.borrow().clone();
        look(Lens { fleet: &fleet, waiting: &waiting, presence, now: self.brain.now() })
    }

    /// Returns what is seen from here: by a leader everything, by others their own agents.
    fn presence(&self) -> Presence {
        if self.brain.leads().is_some() {
            return self.brain.presence(|presence| presence.clone());
        }
        let mut presence = Presence::default();
        let here = self.brain.sessions.digest(Point::default());
        presence.hear(self.brain.now(), &self.brain.name, 0, here.nodes);
        presence
    }

    /// Returns what is seen from everywhere; who does not answer sees nothing.
    async fn presence_everywhere(&self) -> Presence {
        let mut presence = self.presence();
        if self.brain.leads().is_some() {
            return presence;
        }
        let (asked, names) = (self.brain.now(), self.brain.peers.names());
        let digests =
            names.iter().map(|name| self.brain.peers.digest(name, DigestRequest::default()));
        for (name, digest) in names.iter().zip(join_all(digests).await) {
            let nodes = digest.ok().and_then(|reply| serde_json::from_slice(&reply.nodes).ok());
            presence.hear(asked, name, 0, nodes.unwrap_or_default());
        }
        presence
    }

    /// Returns one upgrade.
    pub fn upgrade(&self, id: UpgradeId) -> Result<Document, Problem> {
        let view = self.lens(|lens| {
            let upgrade = lens.fleet.upgrades.get(&id)?;
            Some(view::upgrade(lens, id, upgrade))
        });
        view.map(|view| self.document(&view))
            .ok_or_else(|| Problem::new(Code::NotFound, format!("there is no {id}")))
    }

    /// Returns the plan of an upgrade, and what would be said to its start this moment.
    pub async fn plan(&self, service: &ServiceId, version: &Version) -> Result<Document, Problem> {
        let mut view = self.lens(|lens| view::plan(lens, service, version))?;
        let body = Body::StartUpgrade { plan: view.id.clone(), evidence: Evidence::default() };
        let start = Submission { dry_run: true, ..Submission::by_controller(&self.brain, body) };
        match submit(&self.brain, start).await {
            Ok(_) => {}
            Err(problem)
                if matches!(problem.code, Code::Refused | Code::Conflict | Code::Waiting) =>
            {
                view.blocked.push(crate::plan::refused(&problem));
            }
            Err(problem) => return Err(problem),
        }
        Ok(self.document(&view))
    }

    /// Returns the plan of what an operator asks of a service as it is.
    pub fn operation(
        &self,
        service: &ServiceId,
        operation: Operation,
        scope: &Scope,
    ) -> Result<Document, Problem> {
        let view = self.lens(|lens| view::operation(lens, service, operation, scope))?;
        Ok(self.document(&view))
    }

    /// Returns how a service stands on nodes, given what they answered.
    pub fn service_status(
        &self,
        service: &ServiceId,
        targets: &Targets,
        answers: Answers<ServiceStatus>,
    ) -> Result<Document, Problem> {
        let view = self.lens(|lens| {
            let record = lens.fleet.services.get(service)?;
            Some(view::status(lens, record, &targets.nodes, &targets.unknown, answers))
        });
        let view = view.ok_or_else(|| {
            Problem::new(Code::NotFound, format!("there is no service {service} any more"))
        })?;
        Ok(self.document(&view))
    }

    /// Returns one run of a checklist.
    pub fn checklist_run(&self, name: &ChecklistId, id: RunId) -> Result<Document, Problem> {
        let view = self.lens(|lens| view::checklist_run(lens, name, id));
        view.map(|view| self.document(&view))
            .ok_or_else(|| Problem::new(Code::NotFound, format!("checklist {name} has no {id}")))
    }

    /// Returns whether the fleet is frozen.
    pub fn freeze(&self) -> Document {
        self.document(&self.lens(view::freeze))
    }

    /// Returns the notes on all objects, or on one.
    ///
    /// Looked up in place: nothing of the fleet is copied for it.
    fn notes(&self, object: &str) -> Result<Document, Problem> {
        let items: Vec<NoteView> = self.brain.read(|fleet| {
            if object.is_empty() {
                return fleet.notes.keys().filter_map(|object| view::note(fleet, object)).collect();
            }
            view::note(fleet, object).into_iter().collect()
        });
        if items.is_empty() && !object.is_empty() {
            return Err(Problem::new(Code::NotFound, format!("there is no note on {object}"))
                .hint("list them: trictl get note"));
        }
        Ok(self.document(&List { items }))
    }

    /// Returns the note on an object as it is now; without text once it was removed.
    pub fn note(&self, object: &str) -> Document {
        let found = self.brain.read(|fleet| view::note(fleet, object));
        self.document(
            &found.unwrap_or_else(|| NoteView { object: object.to_owned(), ..NoteView::default() }),
        )
    }

    /// Explains an object.
    pub fn why(&self, object: &str) -> Result<Document, Problem> {
        Ok(self.document(&self.lens(|lens| view::why(lens, object))?))
    }

    /// Returns everything, all of a kind, or one.
    pub async fn get(&self, kind: &str, name: &str) -> Result<Document, Problem> {
        if kind.is_empty() {
            return Ok(self.document(&self.lens(manifests)));
        }
        let presence = match kind {
            "note" => return self.notes(name),
            "freeze" => return Ok(self.freeze()),
            "node" => self.presence_everywhere().await,
            _ => self.presence(),
        };
        let items = self.lens_on(&presence, |lens| list(lens, kind))?;
        let items: Vec<_> = items
            .into_iter()
            .filter(|(item, _)| name.is_empty() || item == name)
            .map(|(_, json)| json)
            .collect();
        if items.is_empty() && !name.is_empty() {
            return Err(Problem::new(Code::NotFound, format!("there is no {kind} {name}"))
                .hint(format!("list them: trictl get {kind}")));
        }
        Ok(self.document(&List { items }))
    }

    /// Returns one object by itself.
    pub fn one(&self, kind: &str, name: &str) -> Result<Document, Problem> {
        let items = self.lens(|lens| list(lens, kind))?;
        let found = items.into_iter().find(|(item, _)| item == name);
        found
            .map(|(_, json)| self.document(&json))
            .ok_or_else(|| Problem::new(Code::NotFound, format!("there is no {kind} {name}")))
    }

    /// Returns audit entries from number `from`, or the newest.
    pub fn audit(&self, from: u64, limit: u32) -> Result<Vec<AuditEntry>, Problem> {
        let limit = if limit == 0 { PAGE_MAX } else { limit as usize };
        let last = self.brain.read(|fleet| fleet.audit.seq);
        let newest = (last + 1).saturating_sub(limit as u64).max(1);
        let reader = {
            let machine = self.brain.raft.machine();
            let machine = machine.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            machine.audit()
        };
        let from = if from == 0 { newest } else { from };
        reader.page(from, last, limit).map_err(|error| Problem::new(Code::Failed, chain(&error)))
    }

    /// Returns what there is already, for checking manifests.
    pub fn known(&self, fleet: &Fleet) -> Known {
        Known {
            regions: fleet.regions.keys().cloned().collect(),
            services: fleet
                .services
                .iter()
                .map(|(name, record)| (name.clone(), record.manifest.driver.clone()))
                .collect(),
            channels: fleet.alerts.channels.keys().cloned().collect(),
            // That a release never changes is decided in apply, with everything else that can
            // have changed meanwhile.
            releases: BTreeMap::new(),
        }
    }

    /// Returns how the fleet stands, given what nodes answered of what their services use.
    pub fn fleet_status(
        &self,
        controllers: ControllersView,
        answers: &Answers<NodeUse>,
    ) -> Document {
        self.document(&self.lens(|lens| view::fleet_status(lens, controllers, answers)))
    }

    /// Returns what a controller has applied and how many agents it has, if it answers.
    async fn standing(&self, name: &ControllerId) -> Option<(u64, u32)> {
        if *name == self.brain.name {
            let agents = u32::try_from(self.brain.sessions.len()).unwrap_or(u32::MAX);
            return Some((self.brain.read(|fleet| fleet.index), agents));
        }
        // Not what its agents say: only how many there are.
        let request = DigestRequest { since: Point::END.count, ..DigestRequest::default() };
        let reply = self.brain.peers.digest(name, request).await.ok()?;
        Some((reply.applied, reply.agents))
    }

    /// Returns the controller besides the leader that has applied most.
    pub async fn most_caught_up(&self) -> Result<ControllerId, Problem> {
        let leader = self.brain.leader();
        let names: Vec<ControllerId> = self.brain.read(|fleet| {
            fleet
                .controllers
                .keys()
                .filter(|name| Some(*name) != leader.as_ref())
                .cloned()
                .collect()
        });
        let mut best = None;
        for name in names {
            if let Some((applied, _)) = self.standing(&name).await {
                best = best.max(Some((applied, name)));
            }
        }
        best.map(|(_, name)| name).ok_or_else(|| {
            Problem::new(Code::Unreachable, "no other controller answers")
                .hint("look at them: trictl controller status")
        })
    }

    /// Waits until `to` leads.
    pub async fn wait_for_leader(&self, to: &ControllerId) -> Result<(), Problem> {
        let deadline = Instant::now() + TRANSFER_WAIT;
        let mut leadership = self.brain.raft.watch_leadership();
        loop {
            leadership.mark_unchanged();
            if self.brain.leader().as_ref() == Some(to) {
                return Ok(());
            }
            if tokio::time::timeout_at(deadline, leadership.changed()).await.is_err() {
                return Err(Problem::new(
                    Code::Failed,
                    format!("controller {to} did not take over within {TRANSFER_WAIT:?}"),
                )
                .hint("look at it: trictl controller status"));
            }
        }
    }
}

fn manifests(lens: Lens<'_>) -> Manifests {
    let fleet = lens.fleet;
    let regions = fleet.regions.values().cloned().map(Object::Region);
    let services = fleet.services.values().map(|record| Object::Service(record.manifest.clone()));
    let releases = fleet
        .releases
        .values()
        .flat_map(|versions| versions.values())
        .map(|record| Object::Release(record.manifest.clone()));
    let rules = fleet.alerts.rules.values();
    let rules = rules.map(|record| Object::AlertRule(record.manifest.clone()));
    let channels = fleet.alerts.channels.values();
    let channels = channels.map(|record| Object::Channel(record.manifest.clone()));
    let lists = fleet.checklists.values();
    let lists = lists.map(|record| Object::Checklist(record.manifest.clone()));
    let objects = regions.chain(services).chain(releases).chain(channels).chain(rules).chain(lists);
    Manifests {
        revision: fleet.revision,
        objects: objects.collect(),
        attention: view::attention(fleet, lens.now),
    }
}

type Named = (String, serde_json::Value);

/// Returns every object of a kind with its name.
fn list(lens: Lens<'_>, kind: &str) -> Result<Vec<Named>, Problem> {
    let fleet = lens.fleet;
    let items = match kind {
        "region" => {
            let views = fleet.regions.values().map(|region| view::region(lens, region));
            views.map(|v: RegionView| (v.region.name.to_string(), json(&v))).collect()
        }
        "service" => {
            let views = fleet.services.values().map(|record| view::service(lens, record));
            views.map(|v| (v.service.name.to_string(), json(&v))).collect()
        }
        "release" => view::releases(lens)
            .into_iter()
            .map(|v| (format!("{}@{}", v.release.service, v.release.version), json(&v)))
            .collect(),
        "node" => {
            let views = fleet.nodes.iter().map(|(id, node)| view::node(lens, id, node));
            views.map(|v| (v.name.to_string(), json(&v))).collect()
        }
        "upgrade" => {
            let views = fleet.upgrades.iter().map(|(id, u)| view::upgrade(lens, *id, u));
            views.map(|v| (v.id.to_string(), json(&v))).collect()
        }
        "grant" => view::grants(lens).into_iter().map(|v| (v.id.to_string(), json(&v))).collect(),
        "alertrule" => named(&alert::rules(lens), |v| v.rule.name.to_string()),
        "channel" => named(&alert::channels(lens), |v| v.channel.name.to_string()),
        "alert" => named(&alert::incidents(lens), |v| v.id.to_string()),
        "silence" => named(&alert::silences(lens), |v| v.id.to_string()),
        "notice" => named(&alert::notices(lens), |v| v.id.to_string()),
        "checklist" => named(&view::checklists(lens), |v| v.checklist.name.to_string()),
        "token" => view::tokens(lens).into_iter().map(|v| (v.id.clone(), json(&v))).collect(),
        "drain" => {
            view::drains(lens).into_iter().map(|v| (v.place.to_string(), json(&v))).collect()
        }
        "override" => {
            view::overrides(lens).into_iter().map(|v| (v.id.to_string(), json(&v))).collect()
        }
        other => {
            return Err(Problem::new(Code::Usage, format!("there is no kind `{other}`")).hint(
                "kinds are region, service, release, node, upgrade, grant, drain, override, token, \
                 note, alertrule, channel, alert, silence, notice and \
                 checklist",
            ));
        }
    };
    Ok(items)
}

fn named<T: Serialize>(views: &[T], name: impl Fn(&T) -> String) -> Vec<Named> {
    views.iter().map(|view| (name(view), json(view))).collect()
}

fn json<T: Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).expect("views have string keys")
}
