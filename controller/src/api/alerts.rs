//! What people ask about alerts: deletions, acknowledgements, silences, tests of channels.

use std::time::Duration;

use tonic::{Request, Response, Status};
use trireme_proto::access::{Reach, Verb};
use trireme_proto::id::{ChannelId, IncidentId, SilenceId};
use trireme_proto::time::Span;
use trireme_proto::wire::alerts_server::Alerts;
use trireme_proto::wire::{
    AcknowledgeRequest, DeleteRequest, SilenceRequest, TestChannelRequest, UnsilenceRequest,
};

use super::authorize::operator;
use super::operator::{Answer, OperatorApi, parse, reason};
use super::status::{status, usage};
use crate::state::alert::{AlertStep, NoticeState};
use crate::state::{Body, Fleet, Outcome};

/// Longest wait for a test to end: what takes longer is answered with as still being sent.
const TEST_WAIT: Duration = Duration::from_secs(4);
/// Time between two looks at it.
const TEST_LOOK: Duration = Duration::from_millis(50);
/// Labels of one silence, and the longest of them in bytes.
const LABELS_MAX: (usize, usize) = (16, 128);

#[tonic::async_trait]
impl Alerts for OperatorApi {
    async fn delete(&self, request: Request<DeleteRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let target = format!("{}/{}", asked.kind, asked.name);
        let whole = |_: &Fleet| Reach::Fleet;
        let allowed =
            operator(&self.brain, &extensions, Verb::ManifestDelete, &target, whole).await?;
        let (kind, name) = (asked.kind, asked.name);
        let body = Body::Delete { base_revision: asked.base_revision, kind, name };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        let Outcome::Applied(applied) = reply.outcome else {
            return Err(Status::internal("a deletion was answered with something else"));
        };
        self.caught_up(reply.index).await;
        Ok(Response::new(self.documents.document(&applied)))
    }

    async fn acknowledge(&self, request: Request<AcknowledgeRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let incident = asked.incident.parse::<IncidentId>();
        let reach = |fleet: &Fleet| {
            let found = incident.as_ref().ok().and_then(|id| fleet.alerts.incidents.get(id));
            found.and_then(|one| one.subject.region.as_ref()).map_or(Reach::Fleet, Reach::region)
        };
        let verb = Verb::AlertAcknowledge;
        let allowed = operator(&self.brain, &extensions, verb, &asked.incident, reach).await?;
        let incident = parse("incident", &asked.incident)?;
        let what = AlertStep::Acknowledge { incident, note: reason(&asked.note) };
        let reply =
            self.change(&allowed, asked.origin, asked.dry_run, Body::Alert { what }).await?;
        self.caught_up(reply.index).await;
        let document = self.documents.one("alert", &asked.incident);
        document.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn silence(&self, request: Request<SilenceRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let region = asked.labels.get("region").and_then(|name| name.parse().ok());
        let reach = |_: &Fleet| region.as_ref().map_or(Reach::Fleet, Reach::region);
        let allowed =
            operator(&self.brain, &extensions, Verb::AlertSilence, "silence", reach).await?;
        let (count, length) = LABELS_MAX;
        let long = |text: &String| text.len() > length || text.contains(char::is_control);
        if asked.labels.len() > count || asked.labels.iter().any(|(k, v)| long(k) || long(v)) {
            return Err(usage("silence", &"too many labels, or one too long"));
        }
        let labels = asked.labels.into_iter().collect();
        let (lasting, reason) = (Span(asked.lasting_ms), reason(&asked.reason));
        let what = AlertStep::Silence { labels, lasting, reason };
        let reply =
            self.change(&allowed, asked.origin, asked.dry_run, Body::Alert { what }).await?;
        if asked.dry_run {
            return Ok(Response::new(self.documents.document(&reply.outcome)));
        }
        self.caught_up(reply.index).await;
        let Outcome::Silence(id) = reply.outcome else {
            return Err(Status::internal("a silence was answered with something else"));
        };
        let document = self.documents.one("silence", &id.to_string());
        document.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn unsilence(&self, request: Request<UnsilenceRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let named = asked.silence.parse::<SilenceId>();
        let reach = |fleet: &Fleet| {
            let found = named.as_ref().ok().and_then(|id| fleet.alerts.silences.get(id));
            let region = found.and_then(|one| one.labels.get("region")?.parse().ok());
            region.as_ref().map_or(Reach::Fleet, Reach::region)
        };
        let verb = Verb::AlertUnsilence;
        let allowed = operator(&self.brain, &extensions, verb, &asked.silence, reach).await?;
        let silence: SilenceId = parse("silence", &asked.silence)?;
        // What it was, as it is gone afterwards.
        let document = self.documents.one("silence", &asked.silence);
        let body = Body::Alert { what: AlertStep::Unsilence { silence } };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        self.caught_up(reply.index).await;
        document.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn test_channel(&self, request: Request<TestChannelRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let target = format!("channel/{}", asked.channel);
        let whole = |_: &Fleet| Reach::Fleet;
        let allowed = operator(&self.brain, &extensions, Verb::AlertTest, &target, whole).await?;
        let channel: ChannelId = parse("channel", &asked.channel)?;
        let body = Body::Alert { what: AlertStep::Test { channel } };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        if asked.dry_run {
            let document = self.documents.one("channel", &asked.channel);
            return document.map(Response::new).map_err(|problem| status(&problem));
        }
        let Outcome::Notice(id) = reply.outcome else {
            return Err(Status::internal("a test was answered with something else"));
        };
        self.caught_up(reply.index).await;
        let ended = async {
            loop {
                let claimed = self.brain.read(|fleet| {
                    let notice = fleet.alerts.notices.get(&id);
                    notice.is_some_and(|notice| notice.state == NoticeState::Claimed)
                });
                if !claimed {
                    return;
                }
                tokio::time::sleep(TEST_LOOK).await;
            }
        };
        let _still_being_sent = tokio::time::timeout(TEST_WAIT, ended).await;
        let document = self.documents.one("notice", &id.to_string());
        document.map(Response::new).map_err(|problem| status(&problem))
    }
}
