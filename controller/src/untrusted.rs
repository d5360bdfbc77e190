//! Every reader of this crate that bytes of others reach (see [`trireme_proto::untrusted`]).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;

use trireme_proto::untrusted::{Decoder, value};

use crate::config::Config;
use crate::dns::zone::Zone;
use crate::state::{Command, Fleet, Position, apply};
use crate::submit::Submission;

/// The readers of this crate.
pub const DECODERS: &[Decoder] = &[
    ("dns", dns),
    ("raft", crate::raft::any_message),
    ("snapshot", snapshot),
    ("commands", commands),
    ("forwarded", value::<Submission>),
    ("controller_config", config),
];

fn dns(bytes: &[u8]) {
    static ZONE: OnceLock<Option<Zone>> = OnceLock::new();
    let zone = ZONE.get_or_init(|| {
        let mut zone = Zone::new("fleet.example", "c1").ok()?;
        zone.nameservers.push(("c1".to_owned(), IpAddr::V4(Ipv4Addr::LOCALHOST)));
        Some(zone)
    });
    if let Some(zone) = zone {
        crate::dns::any_query(zone, bytes);
    }
}

/// Takes rows of a snapshot as another controller sends one.
fn snapshot(bytes: &[u8]) {
    let mut fleet = Fleet::default();
    for row in crate::raft::any_snapshot(bytes) {
        if crate::machine::take_row(&mut fleet, &row).is_err() {
            break;
        }
    }
}

/// Applies commands, one a line: those that can be read make a fleet that can be kept.
///
/// `apply` is total (DESIGN 1): no command that was ever written panics there, whatever it says.
fn commands(bytes: &[u8]) {
    let mut fleet = Fleet::default();
    let mut index = 0;
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(command) = serde_json::from_slice::<Command>(line) else { continue };
        index += 1;
        apply(&mut fleet, Position { index, term: 1 }, &command);
    }
    if index > 0 {
        let kept = serde_json::to_vec(&fleet).expect("the state has string keys");
        let again: Result<Fleet, _> = serde_json::from_slice(&kept);
        assert!(again.ok().as_ref() == Some(&fleet), "the state is not kept as it is");
    }
}

fn config(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(Config::parse(std::path::Path::new("fuzzed"), text));
    }
}
