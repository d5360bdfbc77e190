//! Every reader of this crate that bytes of others reach, as one list to be tried with any bytes
//! (class B12): `tests/src/decoders.rs` joins the lists of all crates.
//!
//! A decoder must not panic, whatever comes. What it reads it writes and reads again alike, so
//! that two who compare what they were told compare the same.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use rustls_pki_types::CertificateDer;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::audit::Checkpoint;
use crate::identity::Identity;
use crate::key::SecretKey;
use crate::{access, action, decimal, digest, id, identity, model, pki, plan, problem, query};
use crate::{source, time, tls, token, view};

/// A name, and what is to be tried with any bytes.
pub type Decoder = (&'static str, fn(&[u8]));

/// The readers of this crate.
pub const DECODERS: &[Decoder] = &[
    ("manifest", manifest),
    ("certificate", certificate),
    ("signing_request", |bytes| drop(pki::key_digest(bytes))),
    ("pem", pem),
    ("words", words),
    ("messages", messages),
    ("documents", documents),
    ("checkpoint", checkpoint),
];

fn manifest(bytes: &[u8]) {
    if let Ok(objects) = crate::manifest::parse_bytes("fuzzed", bytes) {
        for object in objects {
            rereads_value(&object.value);
        }
    }
}

fn certificate(bytes: &[u8]) {
    if let Ok(verified) = Identity::from_certificate(bytes) {
        rereads(&verified.identity);
    }
    drop(identity::subject(bytes));
    pki::not_after(bytes);
}

fn pem(bytes: &[u8]) {
    drop(SecretKey::from_pem(bytes));
    drop(tls::Credentials::from_pem(bytes, bytes, bytes));
}

/// Every word that is read from text: names, numbers, times, addresses, tokens.
fn words(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    word::<id::NodeId>(text);
    word::<id::ServiceId>(text);
    word::<id::UpgradeId>(text);
    word::<id::Version>(text);
    word::<id::Place>(text);
    word::<identity::FleetName>(text);
    word::<identity::UserName>(text);
    word::<identity::Role>(text);
    word::<identity::Identity>(text);
    word::<access::Grant>(text);
    word::<source::Network>(text);
    word::<plan::PlanId>(text);
    word::<digest::Digest>(text);
    word::<decimal::Decimal>(text);
    word::<model::Image>(text);
    word::<time::Span>(text);
    word::<time::Date>(text);
    drop(text.parse::<token::TokenId>());
    drop(text.parse::<token::Token>());
}

/// What controllers and agents say to each other inside their messages.
fn messages(bytes: &[u8]) {
    value::<action::Action>(bytes);
    value::<Vec<action::Report>>(bytes);
    value::<Vec<action::Assignment>>(bytes);
    value::<std::collections::BTreeMap<id::ServiceId, action::Observed>>(bytes);
    value::<query::Question>(bytes);
    value::<query::Ended>(bytes);
    value::<query::LogPiece>(bytes);
    value::<query::LogEvent>(bytes);
    value::<problem::Problem>(bytes);
}

/// What controllers tell operators.
fn documents(bytes: &[u8]) {
    value::<view::AuditEntry>(bytes);
    value::<view::PlanView>(bytes);
    value::<view::UpgradeView>(bytes);
    value::<view::NodeView>(bytes);
    value::<view::ServiceView>(bytes);
}

/// What comes with an exported audit, with its own first certificate as the root.
fn checkpoint(bytes: &[u8]) {
    if let Ok(checkpoint) = serde_json::from_slice::<Checkpoint>(bytes) {
        drop(checkpoint.verify(&CertificateDer::from(bytes)));
    }
}

fn word<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(word) = text.parse::<T>() {
        rereads(&word);
    }
}

fn rereads<T: FromStr + Display + PartialEq + Debug>(word: &T) {
    let written = word.to_string();
    assert_eq!(written.parse::<T>().ok().as_ref(), Some(word), "`{written}` is read otherwise");
}

/// Reads a value as JSON, and what was read again.
pub fn value<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(bytes) {
        rereads_value(&value);
    }
}

fn rereads_value<T: DeserializeOwned + Serialize>(value: &T) {
    let written = serde_json::to_vec(value).expect("our values have string keys");
    let again = serde_json::from_slice::<T>(&written).map(|value| serde_json::to_vec(&value).ok());
    let text = String::from_utf8_lossy(&written);
    assert_eq!(again.ok().flatten().as_ref(), Some(&written), "{text} is read otherwise");
}
