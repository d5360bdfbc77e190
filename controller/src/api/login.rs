//! Lets a person in: a one-time token for a certificate, and then one certificate after another.
//!
//! Served beside `Enrol`, on the only listener that asks for no certificate: who was away over
//! night has none that is still valid. A token proves the right to the first one, the key of a
//! login the right to the next. A certificate counts once its serial is on record, so it is made
//! first and handed out after that was committed.

use std::sync::Arc;

use bytes::Bytes;
use tonic::{Request, Response, Status};
use trireme_proto::identity::{Role, UserName};
use trireme_proto::pki::{Issued, key_digest};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::token::Token;
use trireme_proto::wire::login_server::Login;
use trireme_proto::wire::{LoginReply, LoginRequest, RenewLoginRequest};

use super::gate;
use super::status::status;
use crate::accept::caller_addr;
use crate::brain::Brain;
use crate::clock::wall;
use crate::pki::Authority;
use crate::state::people::{Certificate, Change, User};
use crate::state::{Actor, Body, Fleet, Outcome};
use crate::submit::{Submission, submit};
use crate::telemetry::access::effective_id;
use crate::view;

/// Longest name or login that is looked at; ours are shorter.
const NAME_MAX: usize = 64;

/// Lets people in.
#[derive(Debug, Clone)]
pub struct LoginApi {
    brain: Arc<Brain>,
    authority: Arc<Authority>,
}

/// Who is about to be let in, by the state that is here; apply decides.
struct Candidate {
    name: UserName,
    /// What their certificate will say of them; what they may do stands in the fleet's record.
    role: Role,
}

impl Candidate {
    fn new(name: &UserName, user: &User) -> Option<Self> {
        let role = user.grants.iter().next().map(|(role, _)| role)?;
        Some(Self { name: name.clone(), role })
    }

    /// Finds whom a token is for; nobody, if its secret is another.
    fn of_token(fleet: &Fleet, token: &Token) -> Option<Self> {
        let (id, hash) = (token.id.as_str(), token.secret_hash());
        let holds = |user: &User| {
            user.token.as_ref().is_some_and(|held| held.id == id && held.secret_hash == hash)
        };
        let (name, user) = fleet.users.iter().find(|(_, user)| holds(user))?;
        Self::new(name, user)
    }
}

impl LoginApi {
    /// Makes the service.
    pub fn new(brain: Arc<Brain>, authority: Arc<Authority>) -> Self {
        Self { brain, authority }
    }

    async fn login(&self, request: Request<LoginRequest>) -> Result<LoginReply, Problem> {
        let source = source(&request)?;
        let (_, extensions, asked) = request.into_parts();
        let token: Token = asked.token.parse().map_err(|error| {
            Problem::new(Code::Denied, format!("the token cannot be used: {error}"))
        })?;
        if token.pin != self.authority.pin() {
            let message = format!("token {} is of another fleet", token.id);
            return Err(Problem::new(Code::Denied, message)
                .hint("ask an admin of this one: trictl user token NAME"));
        }
        let candidate = self.brain.read(|fleet| Candidate::of_token(fleet, &token));
        let subject = match &candidate {
            Some(candidate) => format!("user/{}", candidate.name),
            None => format!("token/{}", token.id),
        };
        let issued = self.issue(candidate.as_ref(), &asked.csr)?;
        let change = Change::Login {
            token: token.id.to_string(),
            secret_hash: token.secret_hash(),
            certificate: certificate(&issued, &asked.csr)?,
        };
        gate::judged(&extensions);
        self.record(subject, source, change, &issued).await
    }

    async fn renew(&self, request: Request<RenewLoginRequest>) -> Result<LoginReply, Problem> {
        let source = source(&request)?;
        let (_, extensions, asked) = request.into_parts();
        let unknown = || Problem::new(Code::Denied, "this login is not of this fleet");
        let name: UserName = asked.user.parse().map_err(|_| unknown())?;
        if asked.login.len() > NAME_MAX || !asked.login.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(unknown());
        }
        let candidate = self
            .brain
            .read(|fleet| fleet.users.get(&name).and_then(|user| Candidate::new(&name, user)));
        let issued = self.issue(candidate.as_ref(), &asked.csr)?;
        let subject = format!("user/{name}");
        let certificate = certificate(&issued, &asked.csr)?;
        let change = Change::Renew { name, login: asked.login, certificate };
        gate::judged(&extensions);
        self.record(subject, source, change, &issued).await
    }

    /// Makes a certificate that counts for nothing yet; for nobody, one that never will.
    fn issue(&self, candidate: Option<&Candidate>, csr: &[u8]) -> Result<Issued, Problem> {
        let nobody = Candidate { name: "nobody".parse().expect("a name"), role: Role::Developer };
        let Candidate { name, role } = candidate.unwrap_or(&nobody);
        self.authority.issuer().issue_user(csr, name, *role, wall()).map_err(|error| {
            Problem::new(Code::Usage, format!("no certificate can be issued: {error}"))
        })
    }

    /// Has a certificate put on record and hands it out.
    async fn record(
        &self,
        subject: String,
        source: String,
        change: Change,
        issued: &Issued,
    ) -> Result<LoginReply, Problem> {
        let request_id = effective_id("");
        let actor = Actor { subject, role: "login".to_owned(), source, request_id };
        let body = Body::People { change };
        let reply =
            submit(&self.brain, Submission { actor, origin: None, body, dry_run: false }).await?;
        let Outcome::LoggedIn { name, login, until } = reply.outcome else {
            return Err(Problem::new(Code::Failed, "a login was answered with something else"));
        };
        let issued_to = &issued.verified.identity;
        if !matches!(issued_to, trireme_proto::identity::Identity::User { name: to, .. } if *to == name)
        {
            // What is known here lags behind what was committed.
            let mut problem = Problem::new(Code::Unreachable, "this controller is catching up");
            problem.retryable = true;
            return Err(problem.hint("ask again"));
        }
        let root: Bytes = self.authority.credentials().roots()[0].to_vec().into();
        Ok(self.brain.read(|fleet| LoginReply {
            fleet: fleet.name.clone(),
            user: name.to_string(),
            chain: issued.chain.iter().map(|der| der.to_vec().into()).collect(),
            root: root.clone(),
            controllers: view::addresses(fleet),
            enrol: fleet.controllers.values().map(|one| one.enrol.clone()).collect(),
            login: login.clone(),
            until_ms: until.0,
        }))
    }
}

fn source<T>(request: &Request<T>) -> Result<String, Problem> {
    caller_addr(request.extensions())
        .map(|address| address.to_string())
        .map_err(|error| Problem::new(Code::Denied, error.message()))
}

fn certificate(issued: &Issued, csr: &[u8]) -> Result<Certificate, Problem> {
    let key = key_digest(csr).map_err(|error| Problem::new(Code::Usage, error.to_string()))?;
    let (serial, expires) = (issued.verified.serial.clone(), issued.verified.not_after);
    Ok(Certificate { key, serial, expires })
}

#[tonic::async_trait]
impl Login for LoginApi {
    async fn login(&self, request: Request<LoginRequest>) -> Result<Response<LoginReply>, Status> {
        Self::login(self, request).await.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn renew(
        &self,
        request: Request<RenewLoginRequest>,
    ) -> Result<Response<LoginReply>, Status> {
        Self::renew(self, request).await.map(Response::new).map_err(|problem| status(&problem))
    }
}
