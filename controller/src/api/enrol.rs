//! Lets a node in: a one-time token for a certificate.
//!
//! The only service without a client certificate, on a listener of its own. Of the signing
//! request only the public key is used; node and region come from the token.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use trireme_proto::id::{NodeId, RegionId};
use trireme_proto::pki::Issued;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::token::Token;
use trireme_proto::wire::enrol_server::Enrol;
use trireme_proto::wire::{JoinReply, JoinRequest};

use super::status::status;
use crate::accept::caller_addr;
use crate::brain::Brain;
use crate::clock::wall;
use crate::pki::Authority;
use crate::state::{Actor, Body, Outcome};
use crate::submit::{Submission, submit};
use crate::view;

/// Longest signing request: an EC key with an empty subject takes a tenth of it.
const CSR_MAX: usize = 4096;

/// Lets nodes in.
#[derive(Debug, Clone)]
pub struct EnrolApi {
    brain: Arc<Brain>,
    authority: Arc<Authority>,
}

impl EnrolApi {
    /// Makes the service.
    pub fn new(brain: Arc<Brain>, authority: Arc<Authority>) -> Self {
        Self { brain, authority }
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<JoinReply, Problem> {
        let source = caller_addr(request.extensions())
            .map_err(|error| Problem::new(Code::Denied, error.message()))?;
        let extensions = request.extensions().clone();
        let asked = request.into_inner();
        let malformed = |what: &str| Problem::new(Code::Usage, what.to_owned());
        if asked.csr.len() > CSR_MAX {
            return Err(malformed("the signing request is too long"));
        }
        if asked.incarnation.len() != 32
            || !asked.incarnation.bytes().all(|b| b.is_ascii_hexdigit())
        {
            return Err(malformed("the incarnation is not 32 hexadecimal digits"));
        }
        let token: Token = asked.token.parse().map_err(|error| {
            Problem::new(Code::Denied, format!("the token cannot be used: {error}"))
        })?;
        if token.pin != self.authority.pin() {
            return Err(Problem::new(
                Code::Denied,
                format!("token {} is of another fleet", token.id),
            )
            .hint(
                "make one here: trictl token create --node NAME --region REGION --address ADDRESS",
            ));
        }
        // The key is proved before the token is spent.
        self.issue(
            &"probe".parse().expect("a name"),
            &"probe".parse().expect("a name"),
            &asked.csr,
        )?;
        let body = Body::Join {
            token: token.id.to_string(),
            secret_hash: token.secret_hash(),
            incarnation: asked.incarnation,
        };
        let actor = Actor {
            subject: format!("token/{}", token.id),
            role: "joining".to_owned(),
            source: source.to_string(),
            request_id: String::new(),
        };
        super::gate::judged(&extensions);
        let reply =
            submit(&self.brain, Submission { actor, origin: None, body, dry_run: false }).await?;
        let Outcome::Joined { node, region, .. } = reply.outcome else {
            return Err(Problem::new(Code::Failed, "joining was answered with something else"));
        };
        let issued = self.issue(&region, &node, &asked.csr)?;
        let root = self.authority.credentials().roots()[0].to_vec();
        Ok(self.brain.read(|fleet| JoinReply {
            fleet: fleet.name.clone(),
            node: node.to_string(),
            region: region.to_string(),
            chain: issued.chain.iter().map(|der| der.to_vec().into()).collect(),
            root: root.clone().into(),
            controllers: view::addresses(fleet),
        }))
    }

    fn issue(&self, region: &RegionId, node: &NodeId, csr: &[u8]) -> Result<Issued, Problem> {
        self.authority.issuer().issue_agent(csr, region, node, wall()).map_err(|error| {
            Problem::new(Code::Usage, format!("no certificate can be issued: {error}"))
        })
    }
}

#[tonic::async_trait]
impl Enrol for EnrolApi {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        Self::join(self, request).await.map(Response::new).map_err(|problem| status(&problem))
    }
}
