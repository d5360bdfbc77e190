//! The audit as people search it, and what this controller has signed of it.

use tonic::{Request, Response};
use trireme_proto::access::Verb;
use trireme_proto::audit::{Checkpoint, Filter};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::WallTime;
use trireme_proto::view::{AuditEntry, List};
use trireme_proto::wire::audit_server::Audit;
use trireme_proto::wire::{CheckpointsRequest, Consistency, SearchAuditRequest};

use super::operator::{Answer, OperatorApi};
use super::status::status;
use crate::audit::{AuditError, PAGE_MAX};
use crate::checkpoint;
use crate::machine::chain;

#[tonic::async_trait]
impl Audit for OperatorApi {
    async fn search(&self, request: Request<SearchAuditRequest>) -> Answer {
        let linearizable = Consistency::Linearizable;
        self.look(request.extensions(), Verb::AuditList, "audit", linearizable).await?;
        let asked = request.into_inner();
        let newest = self.brain.read(|fleet| fleet.audit.seq);
        let last = if asked.to == 0 { newest } else { asked.to.min(newest) };
        let limit = if asked.limit == 0 { PAGE_MAX } else { asked.limit as usize };
        let filter = Filter {
            actor: asked.actor,
            action: asked.action,
            target: asked.target,
            class: asked.class,
            result: asked.result,
            since: WallTime(asked.since_ms),
            until: WallTime(asked.until_ms),
        };
        let reader = checkpoint::reader(&self.brain);
        let found = reader.search(asked.from.max(1), last, limit, &filter);
        let items: Vec<AuditEntry> = found.map_err(|error| status(&unreadable(&error)))?;
        Ok(Response::new(self.documents.document(&List { items })))
    }

    async fn checkpoints(&self, request: Request<CheckpointsRequest>) -> Answer {
        let linearizable = Consistency::Linearizable;
        self.look(request.extensions(), Verb::AuditCheckpoint, "audit", linearizable).await?;
        let after = request.into_inner().after;
        let _signed_now = checkpoint::sign(&self.brain, &self.authority);
        let found = checkpoint::reader(&self.brain).checkpoints(after);
        let items: Vec<Checkpoint> = found.map_err(|error| status(&unreadable(&error)))?;
        Ok(Response::new(self.documents.document(&List { items })))
    }
}

fn unreadable(error: &AuditError) -> Problem {
    Problem::new(Code::Failed, chain(error))
}
