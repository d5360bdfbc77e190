//! Joining: a one-time token becomes the node's first certificate.
//!
//! The key is made here and never leaves; the controller is known by the digest of the fleet's
//! root in the token, so nothing is trusted on first use.

use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use tonic::Code;
use trireme_proto::channel::{ChannelOptions, joining_channel};
use trireme_proto::digest::Digest;
use trireme_proto::identity::Identity;
use trireme_proto::key::KeyError;
use trireme_proto::tls::{Credentials, TlsError};
use trireme_proto::token::Token;
use trireme_proto::wire::JoinRequest;
use trireme_proto::wire::enrol_client::EnrolClient;

use super::MESSAGE_LEN_MAX;
use super::store::{Store, StoreError, Told};
use crate::config::Address;

/// Longest wait for the answer: it takes one commit.
const JOIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Tells why the node has not joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// No controller answered.
    #[error("controller at {address} does not answer: {why}")]
    Unreachable {
        /// Whom was asked.
        address: Address,
        /// Why, for people.
        why: String,
    },
    /// The controller said no.
    #[error(
        "controller at {address} refused: {why}; for a new token run \
         `trictl token create --node NAME --region REGION --address ADDRESS`"
    )]
    Refused {
        /// Whom was asked.
        address: Address,
        /// Why, as it said.
        why: String,
    },
    /// The answer is not what an honest controller gives.
    #[error("controller at {address} gave an unusable certificate: {why}")]
    Answer {
        /// Whom was asked.
        address: Address,
        /// What is wrong.
        why: &'static str,
    },
    /// Key or certificate are not usable.
    #[error("certificate is not usable")]
    Tls(#[from] TlsError),
    /// The key could not be made.
    #[error("cannot make a signing request")]
    Key(#[from] KeyError),
    /// The identity cannot be stored.
    #[error("identity cannot be stored")]
    Store(#[from] StoreError),
}

/// Joins the fleet whose controller listens at `address`, and stores the identity it gives.
pub async fn join(
    store: &Store,
    address: &Address,
    token: &Token,
    incarnation: &str,
) -> Result<Credentials, JoinError> {
    let key = store.joining_key()?;
    let request = JoinRequest {
        token: token.expose().to_string(),
        csr: key.request()?.into(),
        incarnation: incarnation.to_owned(),
    };
    let channel = joining_channel(address.as_str(), token.pin, &ChannelOptions::default())?;
    let mut client = EnrolClient::new(channel).max_decoding_message_size(MESSAGE_LEN_MAX);
    let late = |_| JoinError::Unreachable {
        address: address.clone(),
        why: format!("no answer within {JOIN_TIMEOUT:?}"),
    };
    let answer = tokio::time::timeout(JOIN_TIMEOUT, client.join(request)).await.map_err(late)?;
    let reply = answer.map_err(|status| refused(address, &status))?.into_inner();
    let wrong = |why| JoinError::Answer { address: address.clone(), why };
    if Digest::of(&reply.root) != token.pin {
        return Err(wrong("its root is not the one that the token names"));
    }
    let chain = certificates(&reply.chain);
    let root = CertificateDer::from(reply.root.to_vec());
    let credentials = Credentials::new(vec![root.clone()], chain.clone(), &key)?;
    if !matches!(credentials.identity(), Identity::Agent { .. }) {
        return Err(wrong("it is not an agent's"));
    }
    store.save_controllers(&Told::of(None, reply.controllers))?;
    store.save_first(root, &chain, &key)?;
    Ok(credentials)
}

/// Returns certificates as they came.
pub(super) fn certificates(chain: &[Bytes]) -> Vec<CertificateDer<'static>> {
    chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect()
}

fn refused(address: &Address, status: &tonic::Status) -> JoinError {
    let (address, why) = (address.clone(), super::reason(status));
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
            JoinError::Unreachable { address, why }
        }
        _ => JoinError::Refused { address, why },
    }
}
