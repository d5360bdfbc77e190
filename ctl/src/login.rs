//! Certificates for people: a first one for a one-time token, and the next for the same key.
//!
//! Both are asked for where no certificate is demanded, for who was away over night has none that
//! is valid. The controllers are known by the digest of the fleet's root, from the token or from
//! the root that we have; of what they answer nothing is believed that does not lead to it.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tonic::transport::Channel;
use tonic::{Response, Status};
use trireme_proto::channel::{ChannelOptions, joining_channel};
use trireme_proto::digest::Digest;
use trireme_proto::identity::Identity;
use trireme_proto::key::{SecretKey, certificates_to_pem};
use trireme_proto::keyfile::{read_private, write_public};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::tls::Credentials;
use trireme_proto::token::Token;
use trireme_proto::wire::login_client::LoginClient;
use trireme_proto::wire::{LoginReply, LoginRequest, RenewLoginRequest};

use crate::client::{Verdict, judge};
use crate::context::{Context, now};
use crate::error::failed;

/// Longest wait for one controller's answer: it takes one commit.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Rounds over all controllers: enough for a change of leader.
const ROUNDS_MAX: u32 = 4;

/// Pause between two rounds.
const PAUSE: Duration = Duration::from_millis(500);

/// What logging in brings.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    /// Our identity, with the roots we trust.
    pub(crate) credentials: Credentials,
    /// What the controller said.
    pub(crate) reply: LoginReply,
}

/// Uses a token for the first certificate of a key.
pub(crate) async fn login(
    enrol: &[String],
    token: &Token,
    key: &SecretKey,
) -> Result<LoggedIn, Problem> {
    let csr = key.request().map_err(|error| failed("cannot make a signing request", &error))?;
    let request = LoginRequest { token: token.expose().to_string(), csr: csr.into() };
    let call = async |channel| LoginClient::new(channel).login(request.clone()).await;
    accept(ask(enrol, token.pin, call).await?, token.pin, key)
}

/// Takes the next certificate of a context whose present one is two thirds through its life, and
/// keeps it; one that cannot be had yet is asked for again by the next command.
pub(crate) async fn refresh(context: &Context, credentials: &Credentials) -> Result<(), Problem> {
    let Some(login) = &context.login else { return Ok(()) };
    let own = credentials.verified();
    if now() < own.renew_at(0) {
        return Ok(());
    }
    match renew(context, login, credentials).await {
        Err(_) if now() < own.not_after => Ok(()),
        outcome => outcome,
    }
}

async fn renew(
    context: &Context,
    login: &crate::context::Login,
    credentials: &Credentials,
) -> Result<(), Problem> {
    let key = read_private(&context.key)
        .map_err(|error| failed("private key cannot be read", &error))
        .and_then(|pem| {
            SecretKey::from_pem(&pem).map_err(|error| failed("private key is of no use", &error))
        })?;
    let csr = key.request().map_err(|error| failed("cannot make a signing request", &error))?;
    let pin = Digest::of(&credentials.roots()[0]);
    let (user, id) = (login.user.clone(), login.id.clone());
    let request = RenewLoginRequest { user, login: id, csr: csr.into() };
    let call = async |channel| LoginClient::new(channel).renew(request.clone()).await;
    let renewed = accept(ask(&login.enrol, pin, call).await?, pin, &key)?;
    let chain = renewed.credentials.chain();
    write_public(&context.certificate, certificates_to_pem(&chain).as_bytes())
        .map_err(|error| failed("the new certificate cannot be kept", &error))?;
    credentials
        .replace(chain, &key)
        .map_err(|error| failed("the new certificate is not usable", &error))
}

/// Asks one controller after another until one answers for good.
async fn ask(
    enrol: &[String],
    pin: Digest,
    call: impl AsyncFn(Channel) -> Result<Response<LoginReply>, Status>,
) -> Result<LoginReply, Problem> {
    let mut problem = Problem::new(Code::Unreachable, "no controller could be asked to let us in");
    for round in 0..ROUNDS_MAX {
        if round > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        for address in enrol {
            let channel = joining_channel(address, pin, &ChannelOptions::default())
                .map_err(|error| failed(format!("controller {address} cannot be used"), &error))?;
            let why = match tokio::time::timeout(ANSWER_MAX, call(channel)).await {
                Ok(Ok(reply)) => return Ok(reply.into_inner()),
                Ok(Err(status)) => match judge(&status) {
                    Verdict::Final(problem) => return Err(problem),
                    Verdict::NotNow(problem) => problem.message,
                    Verdict::Unreachable(why) => why,
                },
                Err(_) => format!("no answer within {ANSWER_MAX:?}"),
            };
            let why = format!("{address}: {why}");
            if !problem.why.contains(&why) {
                problem = problem.because(why);
            }
        }
    }
    problem.retryable = true;
    Err(problem)
}

/// Believes an answer that leads to the root we know and is for our key.
fn accept(reply: LoginReply, pin: Digest, key: &SecretKey) -> Result<LoggedIn, Problem> {
    let wrong = |what: &str| {
        let message = "the controller gave an unusable certificate";
        Problem::new(Code::Failed, message).because(what.to_owned())
    };
    if Digest::of(&reply.root) != pin {
        return Err(wrong("its root is not the one that is known"));
    }
    let der = |bytes: &bytes::Bytes| CertificateDer::from(bytes.to_vec());
    let chain = reply.chain.iter().map(der).collect();
    let credentials = Credentials::new(vec![der(&reply.root)], chain, key)
        .map_err(|error| failed("the controller gave an unusable certificate", &error))?;
    match credentials.identity() {
        Identity::User { fleet, name }
            if fleet.as_str() == reply.fleet && name.as_str() == reply.user =>
        {
            Ok(LoggedIn { credentials, reply })
        }
        _ => Err(wrong("it is for somebody else")),
    }
}
