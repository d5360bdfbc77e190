//! `trictl audit verify`: recomputes the chain from the first entry to the newest.
//!
//! Each entry's hash covers its content and the hash before it, so an edited, deleted or moved
//! entry breaks the chain. Cutting off the end, or writing everything anew, leaves a chain that is
//! whole: an anchor that was noted elsewhere finds those.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use serde::Serialize;
use trireme_proto::audit::Checkpoint;
use trireme_proto::key::certificates_from_pem;
use trireme_proto::keyfile::read_public;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::AuditEntry;
use trireme_proto::wire::ListAuditRequest;

use super::PAGE;
use crate::App;
use crate::client::Client;
use crate::error::{Failure, Outcome, failed};

/// Verify that no entry was edited, deleted or moved
///
/// Reads the whole log and recomputes its chain of hashes. Prints the newest entry as an anchor;
/// noted outside the fleet and given to a later run with --anchor, it also proves that the log
/// was not cut off or written anew.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Entry that was noted before and must still be there
    #[arg(long, value_name = "SEQ:HASH")]
    anchor: Vec<Anchor>,

    /// Checkpoints that were exported before; what they were signed for must still be there
    #[arg(long, value_name = "FILE")]
    checkpoints: Vec<PathBuf>,

    /// Exported audit to verify in place of the fleet's own; no controller is asked
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// An entry by number and hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) struct Anchor {
    /// Number of the entry.
    pub(in crate::commands) seq: u64,
    /// Its hash.
    hash: String,
}

impl FromStr for Anchor {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || "write it as SEQ:HASH, as an earlier `audit verify` printed it".to_owned();
        let (seq, hash) = text.split_once(':').ok_or_else(refused)?;
        if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refused());
        }
        Ok(Self { seq: seq.parse().map_err(|_| refused())?, hash: hash.to_ascii_lowercase() })
    }
}

/// A chain that is whole.
#[derive(Debug, Serialize)]
struct Verified {
    ok: bool,
    entries: u64,
    anchor: Option<String>,
}

/// Verifies the audit log.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let mut anchors = args.anchor;
    let newest = if let Some(file) = &args.file {
        let ca = match &app.global.ca {
            Some(ca) => ca.clone(),
            None => app.context()?.ca,
        };
        anchors.extend(signed(&args.checkpoints, &roots(&ca)?)?);
        exported(file, anchors)?
    } else {
        let client = app.client()?;
        anchors.extend(signed(&args.checkpoints, client.credentials().roots())?);
        chain(&client, anchors).await?
    };
    let anchor = (newest.seq > 0).then(|| format!("{}:{}", newest.seq, newest.hash));
    let verified = Verified { ok: true, entries: newest.seq, anchor };
    app.out.value(&verified, |verified| match &verified.anchor {
        Some(anchor) => format!("{} entries, chain whole\nanchor {anchor}", verified.entries),
        None => "the audit log is empty".to_owned(),
    })?;
    Ok(Outcome::Done)
}

/// Reads the fleet's root.
fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let what = "the fleet's root cannot be read";
    let pem = read_public(path).map_err(|error| failed(what, &error))?;
    Ok(certificates_from_pem(&pem).map_err(|error| failed(what, &error))?)
}

/// Verifies the fleet's audit up to its newest entry, and returns that.
pub(in crate::commands) async fn chain(
    client: &Client,
    anchors: Vec<Anchor>,
) -> Result<Anchor, Failure> {
    // Entries are added all the time, this request's own among them: the end is fixed now.
    let newest = page(client, 0, 1).await?.last().map_or(0, |entry| entry.seq);
    let mut chain = Chain::new(anchors);
    while chain.next <= newest {
        let entries = page(client, chain.next, PAGE).await?;
        if entries.is_empty() {
            return Err(broken(&chain.missing(format!("entry {newest} was there at the start"))));
        }
        let known: Vec<_> = entries.iter().filter(|entry| entry.seq <= newest).collect();
        chain.add_all(&known).map_err(|fault| broken(&fault))?;
        // A page of entries beyond the end alone: those before are gone.
        if known.is_empty() {
            return Err(broken(&chain.missing(format!("entry {} follows", entries[0].seq))));
        }
    }
    chain.finish().map_err(|fault| broken(&fault))?;
    Ok(Anchor { seq: newest, hash: chain.hash.unwrap_or_default() })
}

/// Verifies an exported audit, without any controller.
fn exported(file: &Path, anchors: Vec<Anchor>) -> Result<Anchor, Failure> {
    let entries: Vec<AuditEntry> = lines(file)?;
    let mut chain = Chain::new(anchors);
    chain.add_all(&entries.iter().collect::<Vec<_>>()).map_err(|fault| broken(&fault))?;
    chain.finish().map_err(|fault| broken(&fault))?;
    Ok(Anchor { seq: chain.next - 1, hash: chain.hash.unwrap_or_default() })
}

/// Returns what controllers of the fleet with these roots have signed, as anchors.
fn signed(files: &[PathBuf], roots: &[CertificateDer<'static>]) -> Result<Vec<Anchor>, Failure> {
    let mut anchors = Vec::new();
    for file in files {
        for checkpoint in lines::<Checkpoint>(file)? {
            let verdicts = roots.iter().map(|root| checkpoint.verify(root));
            if let Some(error) = verdicts.reduce(Result::or).and_then(Result::err) {
                let what = format!(
                    "checkpoint of {} at entry {} proves nothing",
                    checkpoint.origin, checkpoint.size
                );
                return Err(failed(what, &error).into());
            }
            anchors.push(Anchor { seq: checkpoint.size, hash: checkpoint.root });
        }
    }
    Ok(anchors)
}

/// Reads a file of one JSON object a line.
fn lines<T: serde::de::DeserializeOwned>(file: &Path) -> Result<Vec<T>, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| failed(format!("{} cannot be read", file.display()), &error))?;
    let read = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| {
            let what = format!("line {} of {} was edited", number + 1, file.display());
            Failure::from(failed(what, &error))
        })
    };
    text.lines().enumerate().map(read).collect()
}

async fn page(client: &Client, from: u64, limit: u32) -> Result<Vec<AuditEntry>, Failure> {
    Ok(client.list_audit(ListAuditRequest { from, limit }).await?.value.items)
}

/// The first place where the chain is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    seq: u64,
    /// edited, deleted, reordered, replaced or cut off.
    kind: &'static str,
    evidence: String,
}

fn broken(fault: &Fault) -> Failure {
    Problem::new(Code::Failed, format!("audit entry {} was {}", fault.seq, fault.kind))
        .because(fault.evidence.clone())
        .hint("keep the controllers' disks as they are, and compare with another controller's log")
        .into()
}

/// The chain as far as it is known to be whole.
#[derive(Debug)]
struct Chain {
    next: u64,
    hash: Option<String>,
    anchors: Vec<Anchor>,
}

impl Chain {
    fn new(anchors: Vec<Anchor>) -> Self {
        Self { next: 1, hash: None, anchors }
    }

    fn missing(&self, evidence: String) -> Fault {
        Fault { seq: self.next, kind: "deleted", evidence }
    }

    /// Adds entries, or tells what is wrong with the first that is.
    fn add_all(&mut self, entries: &[&AuditEntry]) -> Result<(), Fault> {
        for (position, entry) in entries.iter().enumerate() {
            let later = &entries[position..];
            if entry.seq > self.next && later.iter().any(|other| other.seq == self.next) {
                let (seq, kind) = (self.next, "reordered");
                let evidence = format!("entry {} stands before it", entry.seq);
                return Err(Fault { seq, kind, evidence });
            }
            self.add(entry)?;
        }
        Ok(())
    }

    /// Adds the next entry, or tells what is wrong at this place.
    fn add(&mut self, entry: &AuditEntry) -> Result<(), Fault> {
        let seq = self.next;
        if entry.seq < seq {
            let evidence = format!("entry {} stands where {seq} should", entry.seq);
            return Err(Fault { seq, kind: "reordered", evidence });
        }
        if entry.seq > seq {
            return Err(self.missing(format!("entry {} follows {}", entry.seq, seq - 1)));
        }
        let computed = entry.computed_hash();
        if computed != entry.hash {
            let evidence = format!("its content hashes to {computed}, it says {}", entry.hash);
            return Err(Fault { seq, kind: "edited", evidence });
        }
        // Nothing comes before the first: it names no hash, or zeros in its place.
        let follows = match &self.hash {
            Some(hash) => entry.previous == *hash,
            None => entry.previous.bytes().all(|b| b == b'0'),
        };
        if !follows {
            let before = self.hash.as_deref().unwrap_or("nothing");
            let evidence = format!("it follows {}, before it is {before}", entry.previous);
            return Err(Fault { seq, kind: "replaced, or the one before it was", evidence });
        }
        let noted = self.anchors.iter().find(|anchor| anchor.seq == seq);
        if let Some(anchor) = noted.filter(|anchor| anchor.hash != entry.hash) {
            let evidence = format!("its hash is {}, {} was noted", entry.hash, anchor.hash);
            return Err(Fault { seq, kind: "written anew", evidence });
        }
        self.next += 1;
        self.hash = Some(entry.hash.clone());
        Ok(())
    }

    /// Checks that every anchor was passed.
    fn finish(&self) -> Result<(), Fault> {
        match self.anchors.iter().find(|anchor| anchor.seq >= self.next) {
            Some(anchor) => Err(Fault {
                seq: anchor.seq,
                kind: "cut off",
                evidence: format!("it was noted before, now the log ends at {}", self.next - 1),
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use trireme_proto::time::WallTime;

    use super::*;

    const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

    fn log(len: u64) -> Vec<AuditEntry> {
        let mut entries: Vec<AuditEntry> = Vec::new();
        for seq in 1..=len {
            let previous = entries.last().map_or(GENESIS.to_owned(), |entry| entry.hash.clone());
            let mut entry = AuditEntry {
                seq,
                index: seq * 3,
                time: WallTime(seq),
                actor: "user/ann".to_owned(),
                role: "admin".to_owned(),
                action: "upgrade.start".to_owned(),
                target: "service/web".to_owned(),
                result: "done".to_owned(),
                reason: String::new(),
                source: "127.0.0.1".to_owned(),
                request_id: format!("r-{seq}"),
                previous,
                hash: String::new(),
            };
            entry.hash = entry.computed_hash();
            entries.push(entry);
        }
        entries
    }

    fn verify(entries: &[AuditEntry], anchors: Vec<Anchor>) -> Result<u64, Fault> {
        let mut chain = Chain::new(anchors);
        chain.add_all(&entries.iter().collect::<Vec<_>>())?;
        chain.finish()?;
        Ok(chain.next - 1)
    }

    fn fault(entries: &[AuditEntry]) -> (u64, &'static str) {
        let fault = verify(entries, Vec::new()).unwrap_err();
        (fault.seq, fault.kind)
    }

    #[test]
    fn a_whole_chain_passes() {
        assert_eq!(verify(&log(20), Vec::new()), Ok(20));
        assert_eq!(verify(&[], Vec::new()), Ok(0));
    }

    #[test]
    fn the_first_entry_follows_nothing() {
        for (previous, whole) in [("", true), (GENESIS, true), ("a", false)] {
            let mut first = log(1).remove(0);
            first.previous = previous.to_owned();
            first.hash = first.computed_hash();
            assert_eq!(verify(&[first], Vec::new()).is_ok(), whole, "{previous:?}");
        }
    }

    #[test]
    fn finds_an_edited_entry() {
        let mut entries = log(20);
        entries[6].actor = "user/eve".to_owned();
        assert_eq!(fault(&entries), (7, "edited"));
    }

    #[test]
    fn finds_an_edited_entry_whose_hash_was_made_to_fit() {
        let mut entries = log(20);
        entries[6].actor = "user/eve".to_owned();
        entries[6].hash = entries[6].computed_hash();
        assert_eq!(fault(&entries), (8, "replaced, or the one before it was"));
    }

    #[test]
    fn finds_a_deleted_entry_wherever_it_was() {
        for gone in [0, 6, 18] {
            let mut entries = log(20);
            entries.remove(gone);
            assert_eq!(fault(&entries), (u64::try_from(gone).unwrap() + 1, "deleted"));
        }
    }

    #[test]
    fn finds_a_deleted_entry_although_the_rest_was_numbered_anew() {
        let mut entries = log(20);
        entries.remove(6);
        for entry in &mut entries[6..] {
            entry.seq -= 1;
        }
        assert_eq!(fault(&entries), (7, "edited"));
    }

    #[test]
    fn finds_entries_that_changed_places() {
        let mut entries = log(20);
        entries.swap(6, 7);
        assert_eq!(fault(&entries), (7, "reordered"));
        let mut entries = log(20);
        let seventh = entries[6].clone();
        entries.insert(7, seventh);
        assert_eq!(fault(&entries), (8, "reordered"));
    }

    #[test]
    fn an_anchor_finds_a_log_cut_off_or_written_anew() {
        let entries = log(20);
        let anchor = Anchor { seq: 20, hash: entries[19].hash.clone() };
        assert_eq!(verify(&entries, vec![anchor.clone()]), Ok(20));
        assert_eq!(verify(&entries[..15], vec![anchor.clone()]).unwrap_err().kind, "cut off");
        let mut anew = log(20);
        anew[0].actor = "user/eve".to_owned();
        let mut before = GENESIS.to_owned();
        for entry in &mut anew {
            entry.previous = before;
            entry.hash = entry.computed_hash();
            before = entry.hash.clone();
        }
        assert_eq!(verify(&anew, Vec::new()), Ok(20), "whole in itself");
        assert_eq!(verify(&anew, vec![anchor]).unwrap_err().kind, "written anew");
    }

    #[test]
    fn anchors_are_read_as_they_are_printed() {
        let text = format!("12:{GENESIS}");
        assert_eq!(text.parse::<Anchor>().unwrap().seq, 12);
        for bad in ["", "12", "12:abc", &format!("x:{GENESIS}")] {
            assert!(bad.parse::<Anchor>().is_err(), "{bad:?} passed");
        }
    }
}
