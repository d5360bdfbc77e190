//! What people do with checklists: have them looked up, answer, close.

use tonic::{Request, Response, Status};
use trireme_proto::access::{Reach, Verb};
use trireme_proto::id::{ChecklistId, ItemId, RunId};
use trireme_proto::wire::checklists_server::Checklists;
use trireme_proto::wire::{
    AnswerItemRequest, CloseChecklistRequest, Document, RunChecklistRequest,
};

use super::authorize::operator;
use super::operator::{Answer, OperatorApi, parse, reason};
use super::status::{status, usage};
use crate::state::checklist::{self, ChecklistStep, Findings};
use crate::state::{Body, Fleet, Outcome, Reply};

/// Longest link that is passed on, in bytes; what is longer is none.
const LINK_MAX: usize = 1000;

/// A checklist is about the fleet as a whole.
fn whole(_: &Fleet) -> Reach {
    Reach::Fleet
}

impl OperatorApi {
    /// Answers with the run that was changed; to a dry run, with how it would stand.
    async fn ran(
        &self,
        name: &ChecklistId,
        reply: Reply,
        dry_run: bool,
    ) -> Result<Response<Document>, Status> {
        let Outcome::Checked(tally) = reply.outcome else {
            return Err(Status::internal("a checklist was answered with something else"));
        };
        let Some(id) = tally.run.filter(|_| !dry_run) else {
            return Ok(Response::new(self.documents.document(&tally)));
        };
        self.caught_up(reply.index).await;
        let document = self.documents.checklist_run(name, id);
        document.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn answered(&self, request: Request<AnswerItemRequest>, review: bool) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let target = format!("checklist/{}/{}", asked.checklist, asked.item);
        let verb = if review { Verb::ChecklistReview } else { Verb::ChecklistAnswer };
        let allowed = operator(&self.brain, &extensions, verb, &target, whole).await?;
        let name: ChecklistId = parse("checklist", &asked.checklist)?;
        let item: ItemId = parse("item", &asked.item)?;
        if asked.link.len() > LINK_MAX {
            return Err(usage("link", &"it is too long"));
        }
        let answer = checklist::Answer {
            passed: !asked.failed,
            note: reason(&asked.note),
            count: asked.count,
            query: reason(&asked.query),
            link: Some(asked.link).filter(|link| !link.is_empty()),
        };
        let (checklist, run) = (name.clone(), run(&asked.run)?);
        let what = ChecklistStep::Answer { checklist, run, item, answer, review };
        let body = Body::Checklist { what };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        self.ran(&name, reply, asked.dry_run).await
    }
}

fn run(text: &str) -> Result<Option<RunId>, Status> {
    if text.is_empty() { Ok(None) } else { parse("run", text).map(Some) }
}

#[tonic::async_trait]
impl Checklists for OperatorApi {
    async fn run(&self, request: Request<RunChecklistRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let target = format!("checklist/{}", asked.checklist);
        let verb = Verb::ChecklistRun;
        let allowed = operator(&self.brain, &extensions, verb, &target, whole).await?;
        let name: ChecklistId = parse("checklist", &asked.checklist)?;
        let findings = Findings::default();
        let what = ChecklistStep::Run { checklist: name.clone(), findings };
        let body = Body::Checklist { what };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        self.ran(&name, reply, asked.dry_run).await
    }

    async fn answer(&self, request: Request<AnswerItemRequest>) -> Answer {
        self.answered(request, false).await
    }

    async fn answer_review(&self, request: Request<AnswerItemRequest>) -> Answer {
        self.answered(request, true).await
    }

    async fn close(&self, request: Request<CloseChecklistRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let target = format!("checklist/{}", asked.checklist);
        let verb = Verb::ChecklistClose;
        let allowed = operator(&self.brain, &extensions, verb, &target, whole).await?;
        let name: ChecklistId = parse("checklist", &asked.checklist)?;
        let (checklist, run) = (name.clone(), run(&asked.run)?);
        let what = ChecklistStep::Close { checklist, run, note: reason(&asked.note) };
        let body = Body::Checklist { what };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        self.ran(&name, reply, asked.dry_run).await
    }
}
