//! What operators ask of nodes, and what other controllers ask for them.
//!
//! Requests are read and authorised here; `query/` asks and brings the answers together. None of
//! it changes the fleet's state.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use trireme_proto::access::{Reach, Verb};
use trireme_proto::id::NodeId;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::query::{
    ExecRequest, LogsRequest, LookRequest, NodeUse, Question, ServiceStatus, StatusQuestion,
    UseQuestion,
};
use trireme_proto::time::Span;
use trireme_proto::wire::queries_server::Queries as QueriesRpc;
use trireme_proto::wire::relay_server::Relay as RelayRpc;
use trireme_proto::wire::{
    AskPart, AskRequest, Consistency, Document, Event, FleetStatusRequest, LocateReply,
    LocateRequest, Located, ServiceExecRequest, ServiceLogsRequest, ServiceLookRequest,
};

use super::authorize::{caller, operator};
use super::controllers::standings;
use super::reach;
use super::status::{status, usage};
use crate::documents::Documents;
use crate::query::{
    Answer, Order, Part, Queries, Sources, Targets, elsewhere, poll, read_logs, run_program,
};
use crate::raft::ReadKind;
use crate::state::Fleet;
use crate::view;

/// Events waiting for a slow reader.
const EVENTS: usize = 2;

/// Nodes that may be looked for at once: all of the largest fleet.
const LOCATE_MAX: usize = 20_000;

/// Longest wait to learn what the others have committed; after it the answer says that it is stale.
const BARRIER_MAX: Duration = Duration::from_secs(1);

/// Serves operators' questions.
#[derive(Debug, Clone)]
pub struct QueriesApi(Arc<Queries>);

/// Serves the questions of other controllers' operators.
#[derive(Debug, Clone)]
pub struct RelayApi(Arc<Queries>);

impl QueriesApi {
    /// Makes the service.
    pub fn new(queries: Arc<Queries>) -> Self {
        Self(queries)
    }
}

impl RelayApi {
    /// Makes the service.
    pub fn new(queries: Arc<Queries>) -> Self {
        Self(queries)
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;
type Parts = Pin<Box<dyn Stream<Item = Result<AskPart, Status>> + Send>>;

fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Status> {
    serde_json::from_slice(json).map_err(|error| usage("the request cannot be read", &error))
}

/// Looks at services.
impl QueriesApi {
    /// Returns a request to look at a service, and the nodes that it is about, if its sender may.
    async fn about(
        &self,
        request: Request<ServiceLookRequest>,
        verb: Verb,
    ) -> Result<(LookRequest, Targets), Status> {
        let asked: Result<LookRequest, _> = read(&request.get_ref().request);
        let target = asked.as_ref().map_or_else(|_| String::new(), target);
        let brain = self.0.brain();
        let reach = |fleet: &Fleet| match &asked {
            Ok(LookRequest { service, region, nodes }) => {
                reach::look(fleet, std::slice::from_ref(service), region.as_ref(), nodes)
            }
            Err(_) => Reach::Anywhere,
        };
        operator(brain, request.extensions(), verb, &target, reach).await?;
        let asked = asked?;
        let targets = brain.read(|fleet| Targets::find(fleet, &asked));
        Ok((asked, targets.map_err(|problem| status(&problem))?))
    }

    /// Refuses a program that makes no sense, or that is to run where its service is not.
    fn placed(&self, asked: &ExecRequest) -> Result<(), Problem> {
        if let Some(fault) = asked.fault() {
            return Err(Problem::new(Code::Usage, fault));
        }
        let nodes = vec![asked.node.to_string()];
        let look = LookRequest { service: asked.service.clone(), region: None, nodes };
        let targets = self.0.brain().read(|fleet| Targets::find(fleet, &look))?;
        match targets.unknown.get(&asked.node) {
            None => Ok(()),
            Some(reason) => {
                let message = format!("{} runs no {}: {reason}", asked.node, asked.service);
                Err(Problem::new(Code::NotFound, message).hint("list them: trictl get node"))
            }
        }
    }

    /// Waits a moment until what is committed is known here; returns how far that is certain.
    async fn certainty(&self) -> Consistency {
        let barrier = self.0.brain().barrier(ReadKind::Lease);
        match tokio::time::timeout(BARRIER_MAX, barrier).await {
            Ok(Ok(())) => Consistency::Lease,
            Ok(Err(_)) | Err(_) => Consistency::Stale,
        }
    }
}

fn target(asked: &LookRequest) -> String {
    format!("service/{}", asked.service)
}

#[tonic::async_trait]
impl QueriesRpc for QueriesApi {
    type ServiceLogsStream = Events;

    async fn service_logs(
        &self,
        request: Request<ServiceLogsRequest>,
    ) -> Result<Response<Events>, Status> {
        let asked: Result<LogsRequest, _> = read(&request.get_ref().request);
        let services = asked.as_ref().map_or(&[][..], |asked| &asked.services);
        let names: Vec<_> = services.iter().map(|name| format!("service/{name}")).collect();
        let brain = self.0.brain();
        let reach = |fleet: &Fleet| match &asked {
            Ok(asked) => reach::look(fleet, &asked.services, asked.region.as_ref(), &asked.nodes),
            Err(_) => Reach::Anywhere,
        };
        let verb = Verb::ServiceLogs;
        operator(brain, request.extensions(), verb, &names.join(","), reach).await?;
        let asked = asked?;
        let sources = brain.read(|fleet| Sources::find(fleet, &asked));
        let sources = sources.map_err(|problem| status(&problem))?;
        let (tell, told) = mpsc::channel(EVENTS);
        #[expect(clippy::disallowed_methods, reason = "ends with its reader")]
        tokio::spawn(read_logs(Arc::clone(&self.0), sources, tell));
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }

    async fn service_status(
        &self,
        request: Request<ServiceLookRequest>,
    ) -> Result<Response<Document>, Status> {
        let (asked, targets) = self.about(request, Verb::ServiceStatus).await?;
        let question = Question::Status(StatusQuestion { service: asked.service.clone() });
        let answers = poll::<ServiceStatus>(&self.0, targets.each(&question));
        let (answers, certainty) = tokio::join!(answers, self.certainty());
        let documents = Documents::new(Arc::clone(self.0.brain()));
        let document = documents.service_status(&asked.service, &targets, answers);
        let mut document = document.map_err(|problem| status(&problem))?;
        document.set_consistency(certainty);
        Ok(Response::new(document))
    }

    async fn service_top(
        &self,
        request: Request<ServiceLookRequest>,
    ) -> Result<Response<Document>, Status> {
        let (asked, targets) = self.about(request, Verb::ServiceTop).await?;
        let services = vec![asked.service.clone()];
        let question = Question::Use(UseQuestion { services });
        let answers = poll::<NodeUse>(&self.0, targets.each(&question)).await;
        let view = view::used(&asked.service, &targets.nodes, &targets.unknown, answers);
        Ok(Response::new(Documents::new(Arc::clone(self.0.brain())).document(&view)))
    }

    type ServiceExecStream = Events;

    async fn service_exec(
        &self,
        request: Request<ServiceExecRequest>,
    ) -> Result<Response<Events>, Status> {
        let (_, extensions, sent) = request.into_parts();
        let asked: Result<ExecRequest, _> = read(&sent.request);
        let target = asked.as_ref().map_or_else(
            |_| "service".to_owned(),
            |asked| format!("node/{}/service/{}", asked.node, asked.service),
        );
        let reach = |fleet: &Fleet| match &asked {
            Ok(asked) => reach::node(fleet, &asked.node),
            Err(_) => Reach::Anywhere,
        };
        let brain = self.0.brain();
        let allowed = operator(brain, &extensions, Verb::ServiceExec, &target, reach).await?;
        let request = asked?;
        self.placed(&request).map_err(|problem| status(&problem))?;
        let origin = sent.origin.unwrap_or_default();
        if origin.client.is_empty() {
            return Err(usage("origin", &"without one it could be run twice"));
        }
        let actor = allowed.actor(&origin.request_id);
        let origin = (format!("{}/{}", actor.subject, origin.client), origin.sequence);
        let (begun, decided) = oneshot::channel();
        let (tell, told) = mpsc::channel(EVENTS);
        let order = Order { actor, origin, request, begun, tell };
        // Goes on when the operator leaves: what became of it has to be recorded.
        #[expect(clippy::disallowed_methods, reason = "ends with the program, which has a limit")]
        tokio::spawn(run_program(Arc::clone(&self.0), order));
        let decided = decided.await.map_err(|_| Status::internal("the run was not decided on"))?;
        decided.map_err(|problem| status(&problem))?;
        let told = ReceiverStream::new(told);
        Ok(Response::new(Box::pin(told.map(|told| told.map_err(|problem| status(&problem))))))
    }

    async fn fleet_status(
        &self,
        request: Request<FleetStatusRequest>,
    ) -> Result<Response<Document>, Status> {
        let brain = self.0.brain();
        let reach = |_: &Fleet| Reach::Anywhere;
        operator(brain, request.extensions(), Verb::FleetStatus, "fleet", reach).await?;
        let documents = Documents::new(Arc::clone(brain));
        let answers = poll::<NodeUse>(&self.0, brain.read(uses));
        let (answers, controllers, certainty) =
            tokio::join!(answers, standings(brain), self.certainty());
        let mut document = documents.fleet_status(controllers, &answers);
        document.set_consistency(certainty);
        Ok(Response::new(document))
    }
}

/// Returns what every node that has services is asked of what they use.
fn uses(fleet: &Fleet) -> Vec<(NodeId, Question)> {
    let live = fleet.nodes.iter().filter(|(_, node)| !node.removed);
    let asked = live.filter_map(|(id, _)| {
        let services = fleet.services_on(id).into_iter();
        let services: Vec<_> = services.map(|record| record.manifest.name.clone()).collect();
        (!services.is_empty()).then(|| (id.clone(), Question::Use(UseQuestion { services })))
    });
    asked.collect()
}

#[tonic::async_trait]
impl RelayRpc for RelayApi {
    type AskStream = Parts;

    async fn locate(
        &self,
        request: Request<LocateRequest>,
    ) -> Result<Response<LocateReply>, Status> {
        let brain = self.0.brain();
        caller(brain, request.extensions())?.controller()?;
        let asked = request.into_inner().nodes;
        let here = asked.into_iter().take(LOCATE_MAX).filter_map(|name| {
            let node: NodeId = name.parse().ok()?;
            let (_, age) = brain.sessions.desk(&node)?;
            Some(Located { node: name, age_ms: age.0 })
        });
        Ok(Response::new(LocateReply { nodes: here.collect() }))
    }

    async fn ask(&self, request: Request<AskRequest>) -> Result<Response<Parts>, Status> {
        let brain = self.0.brain();
        caller(brain, request.extensions())?.controller()?;
        let asked = request.into_inner();
        let node: NodeId = asked.node.parse().map_err(|error| usage("node", &error))?;
        let _a_question: Question = read(&asked.question)?;
        let (desk, _) = brain.sessions.desk(&node).ok_or_else(|| status(&elsewhere(&node)))?;
        let answer = desk.begin(asked.question, Span(asked.limit_ms));
        let answer = answer.map_err(|problem| status(&problem))?;
        Ok(Response::new(parts(answer)))
    }
}

/// Passes an answer on; the stream ends with it, and the question with the stream.
fn parts(answer: Answer) -> Parts {
    let parts = stream::unfold(answer, async |mut answer| {
        let part = answer.next().await?;
        Some((part, answer))
    });
    Box::pin(parts.map(|part| {
        Ok(match part {
            Part::Chunk { stream, data } => AskPart { data, stream, ..AskPart::default() },
            Part::End(ended) => {
                let end = serde_json::to_vec(&ended).map_err(|error| usage("end", &error))?;
                AskPart { end: end.into(), ..AskPart::default() }
            }
        })
    }))
}
