//! The machine that is replicated here: a few registers, and what every client was told.
//!
//! It writes down each thing that Raft does to it, so that what reached it can be compared with
//! what was committed.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use trireme_controller::raft::{Machine, Position, Row, View};

/// A client's write. A repeated one carries the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The client.
    pub client: u64,
    /// Its number among the client's writes.
    pub number: u64,
    /// The register.
    pub key: u8,
    /// Fills the log.
    pub padding: String,
}

impl Write {
    /// Returns it as a command.
    pub fn to_command(&self) -> Bytes {
        serde_json::to_vec(self).expect("plain values").into()
    }

    /// Reads a command.
    pub fn of_command(command: &[u8]) -> Option<Self> {
        serde_json::from_slice(command).ok()
    }
}

/// The newest write of something, and where it stands in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Written {
    /// Who wrote.
    pub client: u64,
    /// Number of the write.
    pub number: u64,
    /// Index of its entry.
    pub index: u64,
}

/// The state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Index of the last command applied.
    pub last: u64,
    /// Commands that changed something.
    pub count: u64,
    /// Newest write of each register.
    pub registers: BTreeMap<u8, Written>,
    /// Newest write of each client.
    pub sessions: BTreeMap<u64, Written>,
    /// Hash over all commands, in order.
    pub chain: u64,
}

impl State {
    /// Applies a command and returns where the write of that number stands in the log; nothing if
    /// the client has written a later one.
    pub fn apply(&mut self, index: u64, command: &[u8]) -> Option<u64> {
        self.last = index;
        self.chain = mix(self.chain, index);
        for chunk in command.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.chain = mix(self.chain, u64::from_be_bytes(word));
        }
        let write = Write::of_command(command)?;
        let told = self.sessions.entry(write.client).or_default();
        if told.number >= write.number {
            return (told.number == write.number).then_some(told.index);
        }
        let written = Written { client: write.client, number: write.number, index };
        *told = written;
        self.count += 1;
        self.registers.insert(write.key, written);
        Some(index)
    }

    /// Returns a hash of all of it.
    pub fn digest(&self) -> u64 {
        let mut digest = mix(mix(self.chain, self.count), self.last);
        for (key, written) in &self.registers {
            let Written { client, number, index } = written;
            digest = mix(mix(mix(mix(digest, u64::from(*key)), *client), *number), *index);
        }
        for (client, written) in &self.sessions {
            digest = mix(mix(mix(digest, *client), written.number), written.index);
        }
        digest
    }
}

/// Mixes one more number into a hash.
pub fn mix(hash: u64, number: u64) -> u64 {
    let z = (hash ^ number).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 29)).wrapping_add(0x9e37_79b9_7f4a_7c15).rotate_left(17)
}

/// Something that Raft did to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A command was applied.
    Applied {
        /// Where it stands.
        at: Position,
        /// What it says.
        command: Bytes,
        /// Hash of the state after it.
        digest: u64,
    },
    /// The state was replaced by a snapshot's.
    Restored {
        /// Its last command.
        last: u64,
        /// Its hash.
        digest: u64,
    },
}

/// What was done to a machine and has not been looked at yet.
pub type Facts = Arc<Mutex<Vec<Fact>>>;

/// The machine of one incarnation of a member.
#[derive(Debug, Default)]
pub struct Registers {
    /// The state.
    pub state: State,
    facts: Facts,
}

impl Registers {
    /// Returns an empty one that writes down what happens to it.
    pub fn new(facts: Facts) -> Self {
        Self { state: State::default(), facts }
    }

    fn note(&self, fact: Fact) {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).push(fact);
    }
}

impl Machine for Registers {
    fn apply(&mut self, at: Position, command: &[u8]) -> Bytes {
        let reply = self.state.apply(at.index, command).unwrap_or_default();
        let digest = self.state.digest();
        self.note(Fact::Applied { at, command: Bytes::copy_from_slice(command), digest });
        Bytes::copy_from_slice(&reply.to_be_bytes())
    }

    fn batch_applied(&mut self, _index: u64) {}

    fn view(&self) -> Box<dyn View> {
        Box::new(Copied(self.state.clone()))
    }

    fn restore(&mut self, rows: &mut dyn Iterator<Item = io::Result<Row>>) -> io::Result<()> {
        let mut state = State::default();
        for row in rows {
            let Row { table, value } = row?;
            match table.as_str() {
                HEAD => (state.last, state.count, state.chain) = serde_json::from_slice(&value)?,
                REGISTERS => drop(insert(&mut state.registers, &value)?),
                SESSIONS => drop(insert(&mut state.sessions, &value)?),
                other => return Err(io::Error::other(format!("no table is called {other}"))),
            }
        }
        self.note(Fact::Restored { last: state.last, digest: state.digest() });
        self.state = state;
        Ok(())
    }
}

const HEAD: &str = "head";
const REGISTERS: &str = "registers";
const SESSIONS: &str = "sessions";

fn insert<K: Ord + serde::de::DeserializeOwned>(
    into: &mut BTreeMap<K, Written>,
    value: &[u8],
) -> io::Result<Option<Written>> {
    let (key, written): (K, Written) = serde_json::from_slice(value)?;
    Ok(into.insert(key, written))
}

struct Copied(State);

impl View for Copied {
    fn rows(self: Box<Self>, emit: &mut dyn FnMut(Row) -> io::Result<()>) -> io::Result<()> {
        fn row(table: &str, value: &impl Serialize) -> io::Result<Row> {
            Ok(Row { table: table.to_owned(), value: serde_json::to_vec(value)?.into() })
        }
        let State { last, count, registers, sessions, chain } = &self.0;
        emit(row(HEAD, &(last, count, chain))?)?;
        registers.iter().try_for_each(|item| emit(row(REGISTERS, &item)?))?;
        sessions.iter().try_for_each(|item| emit(row(SESSIONS, &item)?))
    }
}
