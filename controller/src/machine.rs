//! The replicated state as Raft drives it: decode, apply, keep the audit, wake who waits.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::error;
use trireme_proto::id::NodeId;
use trireme_proto::problem::{Code, Problem};

use crate::audit::{AuditLog, AuditReader};
use crate::raft::{Beside, Machine, Position, Row, View};
use crate::state::apply::Position as Place;
use crate::state::fleet::{ClientRecord, Node};
use crate::state::{self, Command, Fleet, Outcome, Reply, traffic};

/// Who is told after commands were applied.
pub trait Wake: Send + Sync + 'static {
    /// Tells that these nodes have something new waiting for them.
    fn nodes(&self, nodes: BTreeSet<NodeId>);
}

/// The fleet's state, its audit, and who waits for changes.
pub struct FleetMachine {
    /// What the controllers agree on. Shared so that a view is taken without copying; the first
    /// command after that copies it once.
    fleet: Arc<Fleet>,
    audit: AuditLog,
    /// Rises with every command that may change whom clients are sent to.
    steering: u64,
    woken: BTreeSet<NodeId>,
    wake: Arc<dyn Wake>,
    failed: watch::Sender<Option<String>>,
}

impl std::fmt::Debug for FleetMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FleetMachine").field("index", &self.fleet.index).finish_non_exhaustive()
    }
}

impl FleetMachine {
    /// Returns the empty state over an audit log.
    pub fn new(audit: AuditLog, wake: Arc<dyn Wake>) -> Self {
        let failed = watch::Sender::new(None);
        Self { fleet: Arc::default(), audit, steering: 1, woken: BTreeSet::new(), wake, failed }
    }

    /// Returns the state as it is now, cheaply.
    pub fn fleet(&self) -> Arc<Fleet> {
        Arc::clone(&self.fleet)
    }

    /// Looks at the state in place.
    pub fn state(&self) -> &Fleet {
        &self.fleet
    }

    /// Returns a number that differs whenever clients may have to be sent elsewhere.
    pub fn steering(&self) -> u64 {
        self.steering
    }

    /// Returns a reader of the audit log.
    pub fn audit(&self) -> AuditReader {
        self.audit.reader()
    }

    /// Tells when this controller can no longer keep what it must keep.
    pub fn failures(&self) -> watch::Receiver<Option<String>> {
        self.failed.subscribe()
    }

    fn check<T, E: std::error::Error>(&self, what: &str, result: Result<T, E>) {
        if let Err(failure) = result {
            let message = format!("{what}: {}", chain(&failure));
            error!(%message, "stopping: the audit log is part of every command");
            self.failed.send_replace(Some(message));
        }
    }
}

/// Writes an error with all its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl Machine for FleetMachine {
    fn apply(&mut self, at: Position, command: &[u8]) -> Bytes {
        let place = Place { index: at.index, term: at.term };
        let reply = match serde_json::from_slice::<Command>(command) {
            Ok(command) => {
                let fleet = Arc::make_mut(&mut self.fleet);
                self.steering += u64::from(traffic::may_change(fleet, &command.body));
                let (reply, effects) = state::apply(fleet, place, &command);
                if let Some(entry) = &effects.audit {
                    self.audit.push(entry);
                }
                self.woken.extend(effects.wake);
                reply
            }
            // Every controller refuses it alike: the state stays the same everywhere.
            Err(error) => Reply {
                index: at.index,
                outcome: Outcome::Refused(Problem::new(
                    Code::Failed,
                    format!("this controller does not know the command: {error}"),
                )),
            },
        };
        serde_json::to_vec(&reply).expect("a reply is plain strings and numbers").into()
    }

    fn batch_applied(&mut self, _index: u64) {
        let written = self.audit.flush();
        self.check("the audit log cannot be written", written);
        if !self.woken.is_empty() {
            self.wake.nodes(std::mem::take(&mut self.woken));
        }
    }

    fn view(&self) -> Box<dyn View> {
        Box::new(FleetView { fleet: self.fleet(), audit: self.audit() })
    }

    fn beside(&self) -> Option<Arc<dyn Beside>> {
        Some(Arc::new(self.audit()))
    }

    fn restore(&mut self, rows: &mut dyn Iterator<Item = io::Result<Row>>) -> io::Result<()> {
        let mut fleet = Fleet::default();
        let mut rows = rows.peekable();
        while let Some(row) = rows.next_if(|row| !matches!(row, Ok(row) if row.table == AUDIT)) {
            take_row(&mut fleet, &row?)?;
        }
        if rows.peek().is_some() {
            let audit = rows.map(|row| row.and_then(|row| audit_row(&row)));
            self.audit.restore(audit).map_err(io::Error::other)?;
        } else {
            let missing = |error| io::Error::new(io::ErrorKind::InvalidData, chain(&error));
            self.audit.reader().reaches(fleet.audit.seq).map_err(missing)?;
        }
        self.woken.extend(fleet.nodes.keys().cloned());
        self.fleet = Arc::new(fleet);
        self.steering += 1;
        Ok(())
    }
}

const FLEET: &str = "fleet";
const NODES: &str = "nodes";
const CLIENTS: &str = "clients";
const AUDIT: &str = "audit";

#[derive(Serialize, Deserialize)]
struct NodeRow(NodeId, Node);

#[derive(Serialize, Deserialize)]
struct ClientRow(String, ClientRecord);

struct FleetView {
    fleet: Arc<Fleet>,
    audit: AuditReader,
}

impl View for FleetView {
    fn rows(self: Box<Self>, emit: &mut dyn FnMut(Row) -> io::Result<()>) -> io::Result<()> {
        let mut rest = Fleet::clone(&self.fleet);
        let nodes = std::mem::take(&mut rest.nodes);
        let clients = std::mem::take(&mut rest.clients);
        emit(row(FLEET, &rest)?)?;
        for (id, node) in nodes {
            emit(row(NODES, &NodeRow(id, node))?)?;
        }
        for (client, record) in clients {
            emit(row(CLIENTS, &ClientRow(client, record))?)?;
        }
        // It only grows, so it has its own file, and is not repeated in every snapshot.
        self.audit.sync().map_err(io::Error::other)
    }
}

impl Beside for AuditReader {
    fn complete(
        &self,
        rows: &mut dyn Iterator<Item = io::Result<Row>>,
        emit: &mut dyn FnMut(Row) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut last = 0;
        for row in rows {
            let row = row?;
            match &*row.table {
                // This member got it from another one; its own rows are the same.
                AUDIT => continue,
                FLEET => last = serde_json::from_slice::<Fleet>(&row.value)?.audit.seq,
                _ => {}
            }
            emit(row)?;
        }
        let mut audit = |seq: u64, entry: &[u8]| {
            let mut bytes = seq.to_be_bytes().to_vec();
            bytes.extend_from_slice(entry);
            emit(Row { table: AUDIT.into(), value: bytes.into() })
        };
        self.rows(last, &mut audit).map_err(io::Error::other)
    }
}

fn row<T: Serialize>(table: &'static str, value: &T) -> io::Result<Row> {
    Ok(Row { table: table.into(), value: serde_json::to_vec(value)?.into() })
}

pub(crate) fn take_row(fleet: &mut Fleet, row: &Row) -> io::Result<()> {
    match &*row.table {
        FLEET => *fleet = serde_json::from_slice(&row.value)?,
        NODES => {
            let NodeRow(id, node) = serde_json::from_slice(&row.value)?;
            fleet.nodes.insert(id, node);
        }
        CLIENTS => {
            let ClientRow(client, record) = serde_json::from_slice(&row.value)?;
            fleet.clients.insert(client, record);
        }
        other => {
            let message =
                format!("snapshot has a table {other} that this controller does not know");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
    }
    Ok(())
}

fn audit_row(row: &Row) -> io::Result<(u64, Vec<u8>)> {
    let (seq, entry) =
        row.value.split_first_chunk::<8>().filter(|_| row.table == AUDIT).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "snapshot has a damaged audit row")
        })?;
    Ok((u64::from_be_bytes(*seq), entry.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use trireme_proto::time::{FleetTime, Span, WallTime};
    use trireme_proto::view::AuditEntry;

    use super::*;
    use crate::state::command::{Actor, Body};

    struct Nobody;

    impl Wake for Nobody {
        fn nodes(&self, _nodes: BTreeSet<NodeId>) {}
    }

    fn machine(dir: &Path, name: &str) -> FleetMachine {
        FleetMachine::new(AuditLog::open(&dir.join(name)).unwrap(), Arc::new(Nobody))
    }

    /// Applies commands with these indexes; refused or not, each is audited.
    fn apply(machine: &mut FleetMachine, indexes: std::ops::RangeInclusive<u64>) {
        for index in indexes {
            let (subject, role) = ("user/ann".to_owned(), "admin".to_owned());
            let (source, request_id) = ("127.0.0.1:1".to_owned(), index.to_string());
            let command = Command {
                at: FleetTime(index),
                wall: WallTime(index),
                skew: Span(0),
                actor: Actor { subject, role, source, request_id },
                origin: None,
                body: Body::Note { object: "region/aws".to_owned(), text: index.to_string() },
            };
            let command = serde_json::to_vec(&command).unwrap();
            machine.apply(Position { index, term: 1, leader: 1 }, &command);
            machine.batch_applied(index);
        }
    }

    /// Returns the snapshot of a machine, as it is on its own disk.
    fn snapshot(machine: &FleetMachine) -> Vec<Row> {
        let mut rows = Vec::new();
        machine.view().rows(&mut into(&mut rows)).unwrap();
        rows
    }

    /// Returns a snapshot with what it counts on, as another member gets it.
    fn whole(audit: &AuditReader, rows: &[Row]) -> Vec<Row> {
        let mut whole = Vec::new();
        audit.complete(&mut rows.iter().cloned().map(Ok), &mut into(&mut whole)).unwrap();
        whole
    }

    fn into(rows: &mut Vec<Row>) -> impl FnMut(Row) -> io::Result<()> {
        |row| {
            rows.push(row);
            Ok(())
        }
    }

    fn restore(machine: &mut FleetMachine, rows: &[Row]) -> io::Result<()> {
        machine.restore(&mut rows.iter().cloned().map(Ok))
    }

    fn audited(machine: &FleetMachine) -> Vec<AuditEntry> {
        machine.audit().page(1, machine.fleet.audit.seq, 1000).unwrap()
    }

    #[test]
    fn snapshots_do_not_repeat_the_audit_and_another_member_gets_all_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = machine(dir.path(), "one");
        apply(&mut one, 1..=300);
        let rows = snapshot(&one);
        assert!(rows.iter().all(|row| row.table != AUDIT), "it has a file of its own");
        let kept = one.audit();
        // What comes later belongs to the next snapshot.
        apply(&mut one, 301..=310);

        let mut other = machine(dir.path(), "other");
        let error = restore(&mut other, &rows).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("ends at entry 0, but"), "{error}");
        let sent = whole(&kept, &rows);
        restore(&mut other, &sent).unwrap();
        assert_eq!(audited(&other), audited(&one)[..300]);
        // The one who got it passes on the same, and no row twice.
        assert_eq!(whole(&other.audit(), &sent), sent);
        apply(&mut other, 301..=310);
        assert_eq!(audited(&other), audited(&one));
    }

    #[test]
    fn what_a_snapshot_counts_on_survives_a_loss_of_power() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = machine(dir.path(), "one");
        apply(&mut one, 1..=300);
        let rows = snapshot(&one);
        apply(&mut one, 301..=900);
        // What a file system would have after the loss: the file as it is, without an orderly end.
        std::fs::copy(dir.path().join("one"), dir.path().join("after")).unwrap();
        let mut after = machine(dir.path(), "after");
        restore(&mut after, &rows).unwrap();
        assert_eq!(audited(&after), audited(&one)[..300]);
        apply(&mut after, 301..=900);
        assert_eq!(audited(&after), audited(&one));
    }
}
