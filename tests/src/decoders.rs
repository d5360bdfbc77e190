//! Every reader of bytes that others send, tried with any bytes (class B12).
//!
//! The lists stand beside the readers, in each crate's `untrusted.rs`. They are tried on what is
//! nearly right: true messages with a few bytes changed.

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use prost::Message as _;
use trireme_proto::action::{Action, Report};
use trireme_proto::id::ServiceId;
use trireme_proto::identity::FleetName;
use trireme_proto::key::SecretKey;
use trireme_proto::pki::Root;
use trireme_proto::time::WallTime;
use trireme_proto::untrusted::Decoder;
use trireme_proto::wire;

use crate::sim::story::Story;
use crate::sim::{Config, World};

/// Simulated time after which a history has commands of every common kind.
const HISTORY_MS: u64 = 60_000;
/// Commands of it that make one seed; more only make trying slower.
const COMMANDS_MAX: usize = 150;

/// Returns every reader.
pub fn all() -> impl Iterator<Item = &'static Decoder> {
    let proto = trireme_proto::untrusted::DECODERS.iter();
    let controller = trireme_controller::untrusted::DECODERS.iter();
    proto.chain(controller).chain(trireme_agent::untrusted::DECODERS)
}

/// Returns true messages for a reader, from which trying begins.
pub fn seeds(decoder: &str) -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    match decoder {
        "manifest" => texts(&[
            include_str!("../../deploy/manifest.yaml"),
            include_str!("../../deploy/compose.yaml"),
            include_str!("../../deploy/alerts.yaml"),
        ]),
        "certificate" | "signing_request" | "pem" | "checkpoint" => identities(decoder),
        "words" => texts(&[
            "aws-1",
            "web",
            "upgrade-1",
            "1.4.2",
            "region/aws",
            "prod",
            "ann",
            "operator",
            "1m30s",
            "web@1.4.2:0123456789ab",
            "10.0.0.0/8",
            "operator@aws",
            "2026-11-21",
            "-12.50",
            "spiffe://prod/agent/aws/aws-1",
            "registry.example/web@sha256:00",
        ]),
        "messages" | "documents" => spoken(),
        "commands" => vec![history().join(&b'\n')],
        "forwarded" | "snapshot" => history(),
        "raft" => history().into_iter().take(3).map(entry).collect(),
        "dns" => [RecordType::A, RecordType::SOA, RecordType::ANY].map(question).to_vec(),
        "controller_config" => texts(&[include_str!("../../deploy/controller.yaml")]),
        "agent_config" => texts(&[include_str!("../../deploy/agent.yaml")]),
        "plugin_output" => texts(&["OK: 3 | 'a b'=1.5s;2:;@4;0;10 c=U\nmore\nlast | d=7%"]),
        "log_time" => texts(&[
            "2026-11-21T10:00:00.123+08:00 x",
            "1.2.3.4 - - [21/Nov/2026:10:00:00 +0000] \"GET /\"",
            "{\"ts\":1763719200.5,\"msg\":1}",
        ]),
        "url" => texts(&["http://[::1]:80/a?b\n/c", "https://a.example\n//b.example/"]),
        _ => Vec::new(),
    }
}

fn identities(decoder: &str) -> Vec<Vec<u8>> {
    let made = || {
        let fleet: FleetName = "prod".parse().ok()?;
        let now = WallTime(1_763_719_200_000);
        let root = Root::generate(&fleet, now).ok()?;
        let key = SecretKey::generate().ok()?;
        let request = key.request().ok()?;
        let (region, node) = ("aws".parse().ok()?, "aws-1".parse().ok()?);
        let issued = root.issuer().issue_agent(&request, &region, &node, now).ok()?;
        let leaf = issued.chain.first()?;
        let hex = leaf.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        Some(match decoder {
            "certificate" => vec![leaf.to_vec(), root.certificate().to_vec()],
            "signing_request" => vec![request],
            "pem" => vec![key.to_pem().as_bytes().to_vec()],
            _ => vec![
                format!(
                    "{{\"origin\":\"prod/audit/c1\",\"size\":1,\"root\":\"{}\",\"time\":1,\
                     \"signature\":\"00\",\"chain\":[\"{hex}\",\"{hex}\"]}}",
                    "0".repeat(64)
                )
                .into_bytes(),
            ],
        })
    };
    made().unwrap_or_default()
}

/// Returns the first commands of a simulated history, each as JSON.
fn history() -> Vec<Vec<u8>> {
    world().log.entries.iter().take(COMMANDS_MAX).map(|entry| json(&entry.command)).collect()
}

fn world() -> World {
    let mut world = World::new(Config::of_seed(7), Story::silent());
    world.run(HISTORY_MS, |_| false);
    world
}

/// Returns what was said in a simulated history: actions, reports, rows of the audit.
fn spoken() -> Vec<Vec<u8>> {
    use trireme_controller::state::Body;
    let world = world();
    let mut spoken: Vec<Vec<u8>> = Vec::new();
    for entry in &world.log.entries {
        if let Body::Reports { reports, .. } = &entry.command.body {
            spoken.push(json::<Vec<Report>>(reports));
        }
        spoken.extend(entry.audit.iter().map(json));
    }
    let actions = world.log.fleet.nodes.values().filter_map(|node| node.action.as_ref());
    spoken.extend(actions.map(|record| json::<Action>(&record.action)));
    let observed = world.log.fleet.nodes.values().map(|node| &node.observed);
    spoken.extend(observed.map(json::<std::collections::BTreeMap<ServiceId, _>>));
    spoken.truncate(COMMANDS_MAX);
    spoken
}

fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("our values have string keys")
}

fn entry(command: Vec<u8>) -> Vec<u8> {
    let id = wire::RaftLogId { term: 1, leader: 1, index: 2 };
    let payload = Some(wire::raft_entry::Payload::Command(command.into()));
    wire::RaftEntry { id: Some(id), payload }.encode_to_vec()
}

fn question(kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii("web.fleet.example.").expect("a name");
    message.add_query(Query::query(name, kind));
    message.to_vec().expect("a question is short")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::rng::Rng;

    /// Bent messages that each reader is tried with.
    const TRIES: usize = 1500;

    /// Returns `seed` with some of it changed, left out, repeated or put in from elsewhere.
    fn bent(rng: &mut Rng, seed: &[u8], other: &[u8]) -> Vec<u8> {
        const ODD: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b'"', b'-', b'9', b'{', b'[', b':'];
        let mut bytes = seed.to_vec();
        for _ in 0..rng.between(1, 4) {
            let at = rng.below(bytes.len() + 1);
            let end = (at + rng.below(24)).min(bytes.len());
            match rng.below(6) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 => bytes.splice(at..at, bytes[at..end].to_vec()).for_each(drop),
                3 => {
                    let from = rng.below(other.len() + 1);
                    let piece = &other[from..(from + rng.below(24)).min(other.len())];
                    drop(bytes.splice(at..end, piece.iter().copied()));
                }
                4 => bytes.insert(at, *rng.pick(&ODD).unwrap_or(&0)),
                _ if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
                _ => {}
            }
        }
        bytes
    }

    /// B12: whatever comes, nobody panics, and what is read is read alike by all.
    #[test]
    fn no_bytes_break_a_reader() {
        for (name, decode) in all() {
            let seeds = seeds(name);
            assert!(!seeds.is_empty(), "{name} has no seeds");
            for seed in &seeds {
                decode(seed);
            }
            let mut rng = Rng::new(12);
            for _ in 0..TRIES {
                let (seed, other) =
                    (rng.pick(&seeds).unwrap().clone(), rng.pick(&seeds).unwrap().clone());
                let bytes = bent(&mut rng, &seed, &other);
                let told = std::panic::catch_unwind(|| decode(&bytes));
                assert!(told.is_ok(), "{name} breaks on {:?}", String::from_utf8_lossy(&bytes));
            }
        }
    }
}
