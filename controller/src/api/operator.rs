//! What operators ask: one RPC for each verb of `trictl`.
//!
//! Requests are read and authorised here; what they change is decided by the leader and by apply.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Extensions, Request, Response, Status};
use trireme_proto::access::{Reach, Verb};
use trireme_proto::id::{ControllerId, GrantId, NodeId, RegionId, ServiceId, UpgradeId, Version};
use trireme_proto::manifest;
use trireme_proto::model::Object;
use trireme_proto::plan::{Operation, PlanId, Scope};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::WallTime;
use trireme_proto::token::Token;
use trireme_proto::view::{List, TokenView};
use trireme_proto::wire::operator_server::Operator;
use trireme_proto::wire::{
    ApplyRequest, Consistency, ControllersRequest, CreateTokenRequest, Document, GetRequest,
    ListAuditRequest, NoteRequest, Origin, PlanUpgradeRequest, ReleaseGrantRequest,
    RemoveNodeRequest, StartUpgradeRequest, TransferLeaderRequest, UpgradeRequest,
    WatchUpgradeRequest, WhyRequest,
};

use super::authorize::{Allowed, operator};
use super::controllers::standings;
use super::reach;
use super::status::{status, usage};
use crate::brain::Brain;
use crate::documents::Documents;
use crate::pki::Authority;
use crate::raft::ReadKind;
use crate::state::{Body, Evidence, Fleet, Outcome, Reply};
use crate::submit::{Submission, submit};
use crate::view;

/// Longest and shortest life of a join token.
pub(super) const TOKEN_TTL: std::ops::RangeInclusive<u64> = 1_000..=24 * 3600 * 1000;

/// Documents waiting for a slow watcher.
const WATCH_QUEUE: usize = 8;

/// Shortest time between two documents of a watch.
const WATCH_PAUSE: Duration = Duration::from_millis(50);

/// A watch says so at least this often, so that a dead connection is noticed.
const WATCH_TICK: Duration = Duration::from_secs(1);

/// Longest wait for this controller to see what was just changed through it.
const CATCH_UP: Duration = Duration::from_secs(2);

/// Longest reason that is kept.
const REASON_MAX: usize = 1000;

/// Serves operators.
#[derive(Debug, Clone)]
pub struct OperatorApi {
    pub(super) brain: Arc<Brain>,
    pub(super) documents: Documents,
    pub(super) authority: Arc<Authority>,
}

pub(super) type Answer = Result<Response<Document>, Status>;
type Watching = Pin<Box<dyn futures_util::Stream<Item = Result<Document, Status>> + Send>>;

impl OperatorApi {
    /// Makes the service.
    pub fn new(brain: Arc<Brain>, authority: Arc<Authority>) -> Self {
        Self { documents: Documents::new(Arc::clone(&brain)), brain, authority }
    }

    /// Has a change committed that was allowed.
    pub(super) async fn change(
        &self,
        allowed: &Allowed,
        origin: Option<Origin>,
        dry_run: bool,
        body: Body,
    ) -> Result<Reply, Status> {
        let origin = origin.unwrap_or_default();
        let actor = allowed.actor(&origin.request_id);
        // A client is known by its certificate as well: nobody repeats another's command.
        let client = (!origin.client.is_empty())
            .then(|| (format!("{}/{}", actor.subject, origin.client), origin.sequence));
        let request_id = actor.request_id.clone();
        let submission = Submission { actor, origin: client, body, dry_run };
        submit(&self.brain, submission).await.map_err(|mut problem| {
            problem.request_id = (!request_id.is_empty()).then_some(request_id);
            status(&problem)
        })
    }

    pub(super) async fn look(
        &self,
        extensions: &Extensions,
        verb: Verb,
        target: &str,
        consistency: Consistency,
    ) -> Result<(), Status> {
        operator(&self.brain, extensions, verb, target, |_| Reach::Anywhere).await?;
        let kind = match consistency {
            Consistency::Stale => return Ok(()),
            Consistency::Lease => ReadKind::Lease,
            Consistency::Linearizable => ReadKind::Linearizable,
        };
        self.brain.barrier(kind).await.map_err(|problem| {
            status(&problem.hint("read what this controller has: trictl get --consistency stale"))
        })
    }

    /// Has it recorded, for everybody to see, that somebody starts a plan without the approvals it
    /// needs; the ledger is asked all the same.
    pub(super) async fn break_glass(
        &self,
        extensions: &Extensions,
        (origin, dry_run): (Option<Origin>, bool),
        (plan, asked): (&PlanId, Option<(Operation, Scope)>),
        why: &str,
    ) -> Result<(), Status> {
        let reach = |fleet: &Fleet| reach::service(fleet, &plan.service);
        let (verb, target) = (Verb::BreakGlass, plan.to_string());
        let allowed = operator(&self.brain, extensions, verb, &target, reach).await?;
        let reason = reason(why);
        tracing::warn!(actor = allowed.actor("").subject, %plan, reason, "glass is broken");
        let body = Body::BreakGlass { plan: plan.clone(), reason, asked };
        // Of an origin of its own: that of the request is the start's.
        let origin = origin.map(|origin| {
            let client = format!("{}-glass", origin.client);
            Origin { client, ..origin }
        });
        self.change(&allowed, origin, dry_run, body).await.map(drop)
    }

    /// Finds the upgrade that a request names.
    fn upgrade(&self, text: &str) -> Result<UpgradeId, Status> {
        self.brain.read(|fleet| view::find_upgrade(fleet, text)).map_err(|problem| status(&problem))
    }

    /// Answers with the upgrade that a reply is about.
    pub(super) async fn about(&self, reply: Reply) -> Answer {
        let Outcome::Upgrade(id) = reply.outcome else {
            return Err(Status::internal("the upgrade was answered with something else"));
        };
        self.caught_up(reply.index).await;
        self.documents.upgrade(id).map(Response::new).map_err(|problem| status(&problem))
    }

    /// Waits until what was just changed can be read here as well.
    pub(super) async fn caught_up(&self, index: u64) {
        // A controller that lags answers with what it has, labelled with its index.
        let _lagging = self.brain.raft.wait_applied(index, CATCH_UP).await;
    }

    async fn control(
        &self,
        extensions: &Extensions,
        verb: Verb,
        request: &UpgradeRequest,
        body: impl FnOnce(UpgradeId, String) -> Body,
    ) -> Answer {
        let named = &request.upgrade;
        let reach = |fleet: &Fleet| reach::upgrade(fleet, named);
        let allowed = operator(&self.brain, extensions, verb, named, reach).await?;
        let id = self.upgrade(&request.upgrade)?;
        let body = body(id, reason(&request.reason));
        let reply = self.change(&allowed, request.origin.clone(), request.dry_run, body).await?;
        self.about(reply).await
    }
}

/// Writes a fault on one line.
fn fault_line(fault: &manifest::Fault) -> String {
    let at = if fault.path.is_empty() { String::new() } else { format!(", {}", fault.path) };
    format!("{}{at}: {}: {}", fault.object, fault.message, fault.help)
}

pub(super) fn parse<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, Status>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| usage(what, &error))
}

/// Returns a reason as it is kept: short and printable.
pub(super) fn reason(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(REASON_MAX).collect()
}

#[tonic::async_trait]
impl Operator for OperatorApi {
    type WatchUpgradeStream = Watching;

    async fn apply(&self, request: Request<ApplyRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let whole = |_: &Fleet| Reach::Fleet;
        let allowed =
            operator(&self.brain, &extensions, Verb::ManifestApply, "manifests", whole).await?;
        let objects: Vec<Object> = serde_json::from_slice(&asked.objects)
            .map_err(|error| usage("the manifests cannot be read", &error))?;
        let known = self.brain.read(|fleet| self.documents.known(fleet));
        let faults = manifest::validate_set(&objects, &known);
        if let Some(first) = faults.first() {
            let mut problem = Problem::new(Code::Usage, fault_line(first));
            problem.why = faults.iter().skip(1).map(fault_line).collect();
            return Err(status(&problem));
        }
        let body = Body::Apply {
            base_revision: asked.base_revision,
            objects,
            evidence: Evidence::default(),
        };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        let Outcome::Applied(applied) = reply.outcome else {
            return Err(Status::internal("manifests were answered with something else"));
        };
        self.caught_up(reply.index).await;
        Ok(Response::new(self.documents.document(&applied)))
    }

    async fn get(&self, request: Request<GetRequest>) -> Answer {
        let consistency = request.get_ref().consistency();
        let target = format!("{}/{}", request.get_ref().kind, request.get_ref().name);
        self.look(request.extensions(), Verb::Get, &target, consistency).await?;
        let asked = request.into_inner();
        let found = self.documents.get(&asked.kind, &asked.name).await;
        let mut document = found.map_err(|problem| status(&problem))?;
        document.set_consistency(consistency);
        Ok(Response::new(document))
    }

    async fn plan_upgrade(&self, request: Request<PlanUpgradeRequest>) -> Answer {
        let target = format!("service/{}", request.get_ref().service);
        self.look(request.extensions(), Verb::UpgradePlan, &target, Consistency::Linearizable)
            .await?;
        let asked = request.into_inner();
        let service: ServiceId = parse("service", &asked.service)?;
        let version: Version = parse("version", &asked.version)?;
        let plan = self.documents.plan(&service, &version).await;
        plan.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn start_upgrade(&self, request: Request<StartUpgradeRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let plan = asked.plan.parse::<PlanId>();
        let reach = |fleet: &Fleet| match &plan {
            Ok(plan) => reach::service(fleet, &plan.service),
            Err(_) => Reach::Fleet,
        };
        let verb = Verb::UpgradeStart;
        let allowed = operator(&self.brain, &extensions, verb, &asked.plan, reach).await?;
        let plan = plan.map_err(|error| usage("plan", &error))?;
        if !asked.break_glass.trim().is_empty() {
            let by = (asked.origin.clone(), asked.dry_run);
            self.break_glass(&extensions, by, (&plan, None), &asked.break_glass).await?;
        }
        let (service, version) = (plan.service.clone(), plan.version.clone());
        let body = Body::StartUpgrade { plan, evidence: Evidence::default() };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        if asked.dry_run {
            let plan = self.documents.plan(&service, &version).await;
            return plan.map(Response::new).map_err(|problem| status(&problem));
        }
        self.about(reply).await
    }

    async fn pause_upgrade(&self, request: Request<UpgradeRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        self.control(&extensions, Verb::UpgradePause, &asked, |upgrade, reason| {
            Body::PauseUpgrade { upgrade, reason }
        })
        .await
    }

    async fn resume_upgrade(&self, request: Request<UpgradeRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        self.control(&extensions, Verb::UpgradeResume, &asked, |upgrade, _| Body::ResumeUpgrade {
            upgrade,
        })
        .await
    }

    async fn abort_upgrade(&self, request: Request<UpgradeRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        self.control(&extensions, Verb::UpgradeAbort, &asked, |upgrade, reason| {
            Body::AbortUpgrade { upgrade, reason }
        })
        .await
    }

    async fn rollback_upgrade(&self, request: Request<UpgradeRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        self.control(&extensions, Verb::UpgradeRollback, &asked, |upgrade, reason| {
            Body::RollbackUpgrade { upgrade, reason }
        })
        .await
    }

    async fn watch_upgrade(
        &self,
        request: Request<WatchUpgradeRequest>,
    ) -> Result<Response<Self::WatchUpgradeStream>, Status> {
        let target = request.get_ref().upgrade.clone();
        self.look(request.extensions(), Verb::UpgradeWatch, &target, Consistency::Lease).await?;
        let id = self.upgrade(&request.get_ref().upgrade)?;
        let (tell, told) = mpsc::channel(WATCH_QUEUE);
        let watch = watch(Arc::clone(&self.brain), self.documents.clone(), id, tell);
        #[expect(clippy::disallowed_methods, reason = "ends with the upgrade or with its reader")]
        tokio::spawn(watch);
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }

    async fn why(&self, request: Request<WhyRequest>) -> Answer {
        let target = request.get_ref().object.clone();
        self.look(request.extensions(), Verb::Why, &target, Consistency::Lease).await?;
        let why = self.documents.why(&request.get_ref().object);
        why.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn release_grant(&self, request: Request<ReleaseGrantRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let grant = asked.grant.parse::<GrantId>();
        let reach =
            |fleet: &Fleet| grant.as_ref().map_or(Reach::Fleet, |id| reach::grant(fleet, *id));
        let verb = Verb::GrantRelease;
        let allowed = operator(&self.brain, &extensions, verb, &asked.grant, reach).await?;
        let grant = grant.map_err(|error| usage("grant", &error))?;
        if asked.reason.trim().is_empty() {
            return Err(usage("grant", &"an override needs a reason: --reason WHY"));
        }
        let body = Body::ReleaseGrant { grant, reason: reason(&asked.reason) };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        self.caught_up(reply.index).await;
        let document = self.documents.one("grant", &asked.grant);
        document.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn remove_node(&self, request: Request<RemoveNodeRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let target = format!("node/{}", asked.node);
        let reach = |fleet: &Fleet| reach::object(fleet, &target);
        let verb = Verb::NodeRemove;
        let allowed = operator(&self.brain, &extensions, verb, &target, reach).await?;
        let node: NodeId = parse("node", &asked.node)?;
        if asked.reason.trim().is_empty() {
            return Err(usage("node", &"removing a node needs a reason: --reason WHY"));
        }
        let body = Body::RemoveNode { node, reason: reason(&asked.reason) };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        self.caught_up(reply.index).await;
        let document = self.documents.one("node", &asked.node);
        document.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn note(&self, request: Request<NoteRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let reach = |fleet: &Fleet| reach::object(fleet, &asked.object);
        let verb = Verb::NoteSet;
        let allowed = operator(&self.brain, &extensions, verb, &asked.object, reach).await?;
        let text = asked.text.chars().filter(|c| !c.is_control() || *c == '\n').collect();
        let body = Body::Note { object: asked.object.clone(), text };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        self.caught_up(reply.index).await;
        Ok(Response::new(self.documents.note(&asked.object)))
    }

    async fn create_token(&self, request: Request<CreateTokenRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let target = format!("node/{}", asked.node);
        let reach =
            |_: &Fleet| asked.region.parse().map_or(Reach::Fleet, |region| Reach::region(&region));
        let verb = Verb::TokenCreate;
        let allowed = operator(&self.brain, &extensions, verb, &target, reach).await?;
        let node: NodeId = parse("node", &asked.node)?;
        let region: RegionId = parse("region", &asked.region)?;
        asked.address.parse::<std::net::IpAddr>().map_err(|error| usage("address", &error))?;
        if !TOKEN_TTL.contains(&asked.ttl_ms) {
            return Err(usage("ttl", &"a token lives from 1s to 24h"));
        }
        let (id, secret) = random_token()?;
        let token = Token::generate(id, secret, self.authority.pin());
        let expires_at = WallTime(crate::clock::wall().0.saturating_add(asked.ttl_ms));
        let body = Body::CreateToken {
            id: token.id.to_string(),
            secret_hash: token.secret_hash(),
            node: node.clone(),
            region: region.clone(),
            address: asked.address,
            labels: asked.labels.into_iter().collect(),
            expires_at,
        };
        self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        let text = token.expose().to_string();
        let view = TokenView {
            id: token.id.to_string(),
            join: format!("trireme-agent join --config FILE --token {text}"),
            token: text,
            node,
            region,
            expires_at,
        };
        Ok(Response::new(self.documents.document(&view)))
    }

    async fn controllers(&self, request: Request<ControllersRequest>) -> Answer {
        let anywhere = |_: &Fleet| Reach::Anywhere;
        let verb = Verb::ControllerStatus;
        operator(&self.brain, request.extensions(), verb, "fleet", anywhere).await?;
        let mut stale = false;
        match request.get_ref().consistency() {
            Consistency::Stale => stale = true,
            Consistency::Lease => stale = self.brain.barrier(ReadKind::Lease).await.is_err(),
            Consistency::Linearizable => {
                let sure = self.brain.barrier(ReadKind::Linearizable).await;
                sure.map_err(|problem| status(&problem))?;
            }
        }
        let mut document = self.documents.document(&standings(&self.brain).await);
        if stale {
            document.set_consistency(Consistency::Stale);
        }
        Ok(Response::new(document))
    }

    async fn transfer_leader(&self, request: Request<TransferLeaderRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let target = format!("controller/{}", asked.to);
        let whole = |_: &Fleet| Reach::Fleet;
        let verb = Verb::ControllerTransfer;
        let allowed = operator(&self.brain, &extensions, verb, &target, whole).await?;
        let to: ControllerId = if asked.to.is_empty() {
            self.documents.most_caught_up().await.map_err(|problem| status(&problem))?
        } else {
            parse("controller", &asked.to)?
        };
        let body = Body::TransferLeader { to: to.clone() };
        self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        if !asked.dry_run {
            self.documents.wait_for_leader(&to).await.map_err(|problem| status(&problem))?;
        }
        Ok(Response::new(self.documents.document(&standings(&self.brain).await)))
    }

    async fn list_audit(&self, request: Request<ListAuditRequest>) -> Answer {
        self.look(request.extensions(), Verb::AuditList, "audit", Consistency::Linearizable)
            .await?;
        let asked = request.into_inner();
        let entries = self.documents.audit(asked.from, asked.limit);
        let items = entries.map_err(|problem| status(&problem))?;
        Ok(Response::new(self.documents.document(&List { items })))
    }
}

pub(super) fn random_token() -> Result<([u8; 8], [u8; 16]), Status> {
    let mut id = [0; 8];
    let mut secret = [0; 16];
    let filled = getrandom::fill(&mut id).and_then(|()| getrandom::fill(&mut secret));
    filled
        .map_err(|error| Status::internal(format!("the system's random source failed: {error}")))?;
    Ok((id, secret))
}

/// Sends an upgrade whenever it changes, until it has ended.
async fn watch(
    brain: Arc<Brain>,
    documents: Documents,
    id: UpgradeId,
    tell: mpsc::Sender<Result<Document, Status>>,
) {
    let mut applied = brain.raft.watch_applied();
    let mut waiting = brain.waiting.subscribe();
    let mut last = bytes::Bytes::new();
    loop {
        applied.mark_unchanged();
        waiting.mark_unchanged();
        let document = documents.upgrade(id).map_err(|problem| status(&problem));
        let ended = document.is_err()
            || brain.read(|fleet| fleet.upgrades.get(&id).is_none_or(|u| u.phase.is_final()));
        let news = document.as_ref().map_or(true, |document| document.json != last);
        if let Ok(document) = &document {
            last = document.json.clone();
        }
        if news && tell.send(document).await.is_err() || ended {
            return;
        }
        tokio::time::sleep(WATCH_PAUSE).await;
        tokio::select! {
            () = tell.closed() => return,
            changed = applied.changed() => if changed.is_err() { return },
            changed = waiting.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(WATCH_TICK) => {}
        }
    }
}
