//! Everyday work on services and places: restarts, drains, the freeze, exceptions.

use std::collections::BTreeSet;

use tonic::{Request, Response, Status};
use trireme_proto::access::{Reach, Verb};
use trireme_proto::id::{NodeId, OverrideId, Place, RegionId, ServiceId};
use trireme_proto::plan::{Operation, Scope};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::Span;
use trireme_proto::view::Judged;
use trireme_proto::wire::operations_server::Operations;
use trireme_proto::wire::{
    Document, EndOverrideRequest, FreezeRequest, OperateRequest, OverrideRequest, PlaceRequest,
};

use super::authorize::operator;
use super::operator::{Answer, OperatorApi, parse, reason};
use super::reach;
use super::status::{status, usage};
use crate::state::{Body, Evidence, Fleet, Outcome, waves};

/// Refuses what must be confirmed and is not: the name of the service, once more.
fn confirmed(
    fleet: &Fleet,
    service: &ServiceId,
    operation: Operation,
    said: &str,
) -> Result<(), Status> {
    let by_hand = fleet.services.get(service).and_then(|one| one.manifest.by_hand.as_ref());
    let asks = operation != Operation::Start && by_hand.is_some_and(|policy| policy.confirm);
    if !asks || said == service.as_str() {
        return Ok(());
    }
    let done = operation.participle();
    let message = format!("service {service} is {done} only by who repeats its name");
    let hint = format!("trictl service {operation} {service} --confirm {service}");
    Err(status(&Problem::new(Code::Usage, message).hint(hint)))
}

#[tonic::async_trait]
impl Operations for OperatorApi {
    async fn operate(&self, request: Request<OperateRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let target = format!("service/{}", asked.service);
        let verb = Verb::ServiceOperate;
        let reach = |fleet: &Fleet| reach::scope(fleet, &target, &asked.regions, &asked.nodes);
        let allowed = operator(&self.brain, &extensions, verb, &target, reach).await?;
        let service: ServiceId = parse("service", &asked.service)?;
        let operation: Operation = parse("operation", &asked.operation)?;
        if operation.is_upgrade() {
            return Err(usage(
                "operation",
                &"an upgrade has a plan: trictl upgrade plan SERVICE --to VERSION",
            ));
        }
        let scope = Scope {
            regions: all::<RegionId>("region", &asked.regions)?,
            nodes: all::<NodeId>("node", &asked.nodes)?,
        };
        if !asked.dry_run {
            self.brain.read(|fleet| confirmed(fleet, &service, operation, &asked.confirm))?;
        }
        if !asked.break_glass.trim().is_empty() {
            let plan = self
                .brain
                .read(|fleet| waves::operation(fleet, &service, operation, &scope))
                .map_err(|problem| status(&problem))?;
            let by = (asked.origin.clone(), asked.dry_run);
            let what = (&plan.id(), Some((operation, scope.clone())));
            self.break_glass(&extensions, by, what, &asked.break_glass).await?;
        }
        let body = Body::Operate {
            service: service.clone(),
            operation,
            scope: scope.clone(),
            reason: reason(&asked.reason),
            evidence: Evidence::default(),
        };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        if asked.dry_run {
            let plan = self.documents.operation(&service, operation, &scope);
            return plan.map(Response::new).map_err(|problem| status(&problem));
        }
        self.about(reply).await
    }

    async fn drain(&self, request: Request<PlaceRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let reach = |fleet: &Fleet| reach::object(fleet, &asked.place);
        let verb = Verb::PlaceDrain;
        let allowed = operator(&self.brain, &extensions, verb, &asked.place, reach).await?;
        let place: Place = parse("place", &asked.place)?;
        let reason = needed("draining", &asked.reason)?;
        let body = Body::Drain { place, reason, evidence: Evidence::default() };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        if asked.dry_run {
            return Ok(Response::new(self.judged(verb, &asked.place)));
        }
        self.caught_up(reply.index).await;
        let document = self.documents.one("drain", &asked.place);
        document.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn r#return(&self, request: Request<PlaceRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let reach = |fleet: &Fleet| reach::object(fleet, &asked.place);
        let verb = Verb::PlaceReturn;
        let allowed = operator(&self.brain, &extensions, verb, &asked.place, reach).await?;
        let place: Place = parse("place", &asked.place)?;
        let body = Body::Return { place: place.clone(), reason: reason(&asked.reason) };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        self.caught_up(reply.index).await;
        self.place(&place)
    }

    async fn cordon(&self, request: Request<PlaceRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let reach = |fleet: &Fleet| reach::object(fleet, &asked.place);
        let verb = Verb::NodeCordon;
        let allowed = operator(&self.brain, &extensions, verb, &asked.place, reach).await?;
        let place: Place = parse("place", &asked.place)?;
        let Place::Node(node) = place.clone() else {
            return Err(usage("place", &"only a node can be cordoned: node/NAME"));
        };
        let body = Body::Cordon { node, reason: needed("cordoning", &asked.reason)? };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        self.caught_up(reply.index).await;
        self.place(&place)
    }

    async fn freeze(&self, request: Request<FreezeRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let verb = Verb::FleetFreeze;
        // Whoever works anywhere may pull the cord.
        let reach = |_: &Fleet| Reach::Anywhere;
        let allowed = operator(&self.brain, &extensions, verb, "fleet", reach).await?;
        let body = Body::Freeze { reason: needed("a freeze", &asked.reason)? };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        self.caught_up(reply.index).await;
        Ok(Response::new(self.documents.freeze()))
    }

    async fn thaw(&self, request: Request<FreezeRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let verb = Verb::FleetThaw;
        let reach = |_: &Fleet| Reach::Fleet;
        let allowed = operator(&self.brain, &extensions, verb, "fleet", reach).await?;
        let body = Body::Thaw { reason: needed("ending a freeze", &asked.reason)? };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        self.caught_up(reply.index).await;
        Ok(Response::new(self.documents.freeze()))
    }

    async fn r#override(&self, request: Request<OverrideRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let rules = asked.rules.join(",");
        let reach = |fleet: &Fleet| reach::object(fleet, &format!("service/{}", asked.service));
        let verb = Verb::OverrideAdd;
        let allowed = operator(&self.brain, &extensions, verb, &rules, reach).await?;
        let service = match asked.service.as_str() {
            "" => None,
            name => Some(parse::<ServiceId>("service", name)?),
        };
        let body = Body::Override {
            rules: asked.rules.into_iter().collect(),
            service,
            lasts: Span(asked.lasts_ms),
            reason: needed("an override", &asked.reason)?,
        };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        let Outcome::Overridden(id) = reply.outcome else {
            return Err(Status::internal("an override was answered with something else"));
        };
        if asked.dry_run {
            return Ok(Response::new(self.judged(verb, &rules)));
        }
        self.caught_up(reply.index).await;
        let document = self.documents.one("override", &id.to_string());
        document.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn end_override(&self, request: Request<EndOverrideRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let reach = |_: &Fleet| Reach::Fleet;
        let verb = Verb::OverrideEnd;
        let allowed = operator(&self.brain, &extensions, verb, &asked.id, reach).await?;
        let id: OverrideId = parse("override", &asked.id)?;
        let body = Body::EndOverride { id, reason: reason(&asked.reason) };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        self.caught_up(reply.index).await;
        let list = self.documents.get("override", "").await;
        list.map(Response::new).map_err(|problem| status(&problem))
    }
}

impl OperatorApi {
    /// Tells that what was asked for would be done.
    fn judged(&self, verb: Verb, target: &str) -> Document {
        let (action, target) = (verb.to_string(), target.to_owned());
        self.documents.document(&Judged { dry_run: true, action, target })
    }

    /// Answers with a place as it is now.
    fn place(&self, place: &Place) -> Answer {
        let document = match place {
            Place::Region(name) => self.documents.one("region", name.as_str()),
            Place::Node(name) => self.documents.one("node", name.as_str()),
        };
        document.map(Response::new).map_err(|problem| status(&problem))
    }
}

/// Reads every name of a list.
fn all<T>(what: &str, names: &[String]) -> Result<BTreeSet<T>, Status>
where
    T: std::str::FromStr + Ord,
    T::Err: std::fmt::Display,
{
    names.iter().map(|name| parse(what, name)).collect()
}

/// Returns a reason that must be given.
pub(super) fn needed(what: &str, text: &str) -> Result<String, Status> {
    if text.trim().is_empty() {
        return Err(usage(what, &"it needs a reason: --reason WHY"));
    }
    Ok(reason(text))
}
