//! What can be known from outside: what members say of themselves, what their logs hold, what was
//! committed, and what clients were told.

use std::collections::BTreeMap;

use bytes::Bytes;
use trireme_controller::raft::Position;
use trireme_controller::raft::simulation::{Content, Glance, LogEntry, Voters};

use super::registers::{Fact, State, Write, Written};

/// An entry, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its identity.
    pub at: Position,
    /// Hash of its content.
    pub digest: u64,
    /// Who votes from here on, if it says so.
    pub voters: Option<Voters>,
}

impl Known {
    /// Returns what is kept of an entry.
    pub fn of(entry: &LogEntry) -> Self {
        let bytes = match &entry.content {
            Content::Blank => Bytes::new(),
            Content::Command(command) => command.clone(),
            Content::Voters(voters) => format!("{voters:?}").into(),
        };
        let mut state = State::default();
        state.apply(0, &bytes);
        let voters = match &entry.content {
            Content::Voters(voters) => Some(voters.clone()),
            _ => None,
        };
        Self { at: entry.at, digest: state.chain, voters }
    }
}

/// What is known of a member.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Whether it runs.
    pub up: bool,
    /// What it says of itself now.
    pub glance: Option<Glance>,
    /// What the same incarnation said before.
    pub before: Option<Glance>,
    /// Its log, as far as it is not purged.
    pub log: BTreeMap<u64, Known>,
    /// The newest entry that it has told others to hold, if that still stands.
    pub held: Option<Position>,
    /// The newest candidate that it has voted for: term and id.
    pub voted: (u64, u64),
    /// Index of the newest snapshot on its disk.
    pub on_disk: Option<u64>,
    /// Whether its end was brought about.
    pub doomed: bool,
}

impl Seen {
    /// Returns whether it holds an entry, in its log or in what it has applied of a snapshot.
    pub fn holds(&self, at: Position) -> bool {
        let covered = self.glance.as_ref().and_then(|glance| glance.snapshot);
        covered.is_some_and(|snapshot| snapshot.index >= at.index)
            || self.log.get(&at.index).is_some_and(|known| known.at == at)
    }
}

/// The committed log and the state that follows from it.
#[derive(Debug, Default)]
pub struct Truth {
    /// Entries, from the first.
    pub log: BTreeMap<u64, LogEntry>,
    /// The state after the last of them without a gap before it.
    pub state: State,
    /// Hash of the state after each command.
    pub digests: BTreeMap<u64, u64>,
    /// Where each client's write first stands.
    pub writes: BTreeMap<(u64, u64), u64>,
    /// Writes that were committed again, to no effect.
    pub repeats: u64,
    /// Times that the voters became others.
    pub changes: u64,
    voters: Option<Voters>,
    next: u64,
}

impl Truth {
    /// Learns that an entry is committed.
    pub fn learn(&mut self, entry: &LogEntry) {
        self.log.entry(entry.at.index).or_insert_with(|| entry.clone());
        while let Some(entry) = self.log.get(&self.next) {
            match &entry.content {
                Content::Command(command) => {
                    let before = self.state.count;
                    self.state.apply(self.next, command);
                    let write = Write::of_command(command);
                    if let Some(write) = write.filter(|_| self.state.count > before) {
                        self.writes.insert((write.client, write.number), self.next);
                    } else {
                        self.repeats += 1;
                    }
                    self.digests.insert(self.next, self.state.digest());
                }
                Content::Voters(voters) if voters.len() == 1 => {
                    let before = self.voters.replace(voters.clone());
                    self.changes += u64::from(before.is_some_and(|before| before != *voters));
                }
                Content::Voters(_) | Content::Blank => {}
            }
            self.next += 1;
        }
    }

    /// Returns the first index that is not known to be committed.
    pub fn next(&self) -> u64 {
        self.next
    }
}

/// What a client was told, and what had been told to anybody before it asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Its write stands there.
    Written {
        /// The write.
        written: Written,
        /// The highest index that anybody had been told of when it began.
        floor: u64,
    },
    /// It read a register.
    Read {
        /// Who read.
        client: u64,
        /// The register.
        key: u8,
        /// What it holds.
        found: Option<Written>,
        /// Last command of the state that was read.
        last: u64,
        /// Hash of that state.
        digest: u64,
        /// The highest index that anybody had been told of when it began.
        floor: u64,
    },
}

/// Something that was noticed.
#[derive(Debug, Clone)]
pub enum Moment {
    /// A member has come up; what it found on its disk is known.
    Started(u64),
    /// A member was looked at.
    Looked(u64),
    /// An entry is new in a member's log.
    Entry(u64, Known),
    /// A member knows that an entry is committed.
    Committed(u64, Known),
    /// Raft has done something to a member's machine.
    Done(u64, Fact),
    /// A client was answered.
    Told(Told),
    /// Faults have ended long ago and clients have stopped.
    Ended,
}

/// All that is known.
#[derive(Debug, Default)]
pub struct Scene {
    /// The members.
    pub members: BTreeMap<u64, Seen>,
    /// What is committed.
    pub truth: Truth,
    /// Writes that clients have sent, with their registers.
    pub sent: BTreeMap<(u64, u64), u8>,
    /// Answers to clients, in order.
    pub told: Vec<Told>,
}

impl Scene {
    /// Returns the running member that leads by the newest vote. Others may believe that they
    /// lead: who was cut off, or voted out unheard, does for as long as nobody tells it.
    pub fn leader(&self) -> Option<u64> {
        let said = |(id, seen): (&u64, &Seen)| {
            let glance = seen.glance.as_ref().filter(|it| seen.up && it.leads)?;
            Some((glance.vote, *id))
        };
        self.members.iter().filter_map(said).max().map(|(_, id)| id)
    }
}
