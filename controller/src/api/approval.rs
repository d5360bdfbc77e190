//! What people say to plans, and that they have looked at what was done.

use tonic::{Request, Response, Status};
use trireme_proto::access::{Reach, Verb};
use trireme_proto::plan::PlanId;
use trireme_proto::wire::approval_server::Approval;
use trireme_proto::wire::{ApprovePlanRequest, Document, ListReviewsRequest, ReviewRequest};

use super::authorize::operator;
use super::operator::{Answer, OperatorApi, parse, reason};
use super::reach;
use super::status::usage;
use crate::state::approval::Reviewed;
use crate::state::{Body, Fleet};
use crate::view;

/// Longest query that is kept with a review.
const QUERY_MAX: usize = 500;

impl OperatorApi {
    /// Answers with approvals and reviews as they are.
    fn reviews(&self) -> Response<Document> {
        let now = self.brain.now();
        let reviews = self.brain.read(|fleet| view::reviews(fleet, now));
        Response::new(self.documents.document(&reviews))
    }
}

fn reviewed(asked: &ReviewRequest) -> Result<Reviewed, Status> {
    Ok(match asked.of.as_str() {
        "audit" if asked.from == 0 || asked.to < asked.from => {
            return Err(usage("review", &"name the first and the last entry looked at"));
        }
        "audit" => Reviewed::Audit {
            from: asked.from,
            to: asked.to,
            query: asked.query.chars().filter(|c| !c.is_control()).take(QUERY_MAX).collect(),
            count: asked.count,
        },
        "users" => Reviewed::Access { count: asked.count },
        other => {
            let number = other.strip_prefix("break-").unwrap_or_default();
            Reviewed::Break { id: parse("review", number)? }
        }
    })
}

#[tonic::async_trait]
impl Approval for OperatorApi {
    async fn approve_plan(&self, request: Request<ApprovePlanRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let plan = asked.plan.parse::<PlanId>();
        let reach = |fleet: &Fleet| match &plan {
            Ok(plan) => reach::service(fleet, &plan.service),
            Err(_) => Reach::Fleet,
        };
        let verb = Verb::PlanApprove;
        let allowed = operator(&self.brain, &extensions, verb, &asked.plan, reach).await?;
        let plan = plan.map_err(|error| usage("plan", &error))?;
        let body = Body::Approve { plan };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        self.caught_up(reply.index).await;
        Ok(self.reviews())
    }

    async fn list_reviews(&self, request: Request<ListReviewsRequest>) -> Answer {
        let consistency = request.get_ref().consistency();
        self.look(request.extensions(), Verb::ReviewList, "reviews", consistency).await?;
        Ok(self.reviews())
    }

    async fn review(&self, request: Request<ReviewRequest>) -> Answer {
        let (_, extensions, asked) = request.into_parts();
        let (verb, whole) = (Verb::ReviewRecord, |_: &Fleet| Reach::Fleet);
        let allowed = operator(&self.brain, &extensions, verb, &asked.of, whole).await?;
        let note = reason(&asked.note);
        if note.trim().is_empty() {
            return Err(usage("review", &"say what was found: --note WHAT"));
        }
        let incident = Some(reason(&asked.incident)).filter(|text| !text.is_empty());
        let body = Body::Review { of: reviewed(&asked)?, note, incident };
        let reply = self.change(&allowed, asked.origin, asked.dry_run, body).await?;
        self.caught_up(reply.index).await;
        Ok(self.reviews())
    }
}
