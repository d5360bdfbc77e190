//! Clients: each does one thing at a time, asks whom it believes to lead, and repeats a write whose
//! outcome it did not learn, under the same number, wherever it may have ended up.
//!
//! A client acts only at moments of its own, so that no two act at once: an order among them would
//! be one that no seed decides.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use trireme_controller::raft::{ProposeError, ReadError, ReadKind};

use super::config::MEMBERS;
use super::coverage::Counter;
use super::member::Running;
use super::registers::{Write, Written};
use super::scene::Told;
use super::world::{World, spawn};
use crate::sim::rng::Rng;

/// Moments of clients: each has one of so many milliseconds.
const SLOTS: u64 = 8;

/// Bytes of padding, at most.
const PADDING: u64 = 400;

/// A client.
#[derive(Debug)]
pub struct Client {
    id: u64,
    name: String,
    rng: Rng,
    world: Arc<World>,
    number: u64,
    leader: u64,
}

/// What a register holds, how far the state is, its digest, and the key of the register.
type Seen = (Option<Written>, u64, u64, u8);

/// How an attempt ended.
enum Attempt {
    Done(u64),
    Elsewhere(Option<u64>),
    Unknown,
}

impl Client {
    /// Returns a client that has done nothing.
    pub fn new(id: u64, world: Arc<World>) -> Self {
        let rng = Rng::new(world.config.seed.wrapping_mul(31).wrapping_add(id));
        Self { id, name: format!("client {id}"), rng, world, number: 0, leader: 1 }
    }

    /// Works until told to stop, and finishes what it has begun.
    pub async fn work(mut self, stop: tokio_util::sync::CancellationToken) {
        loop {
            let pause = self.rng.between(10, self.world.config.pause);
            self.slot(pause).await;
            if stop.is_cancelled() {
                return;
            }
            match self.rng.below(100) {
                0..60 => self.write().await,
                60..80 => self.read(ReadKind::Linearizable).await,
                80..90 => self.read(ReadKind::Lease).await,
                _ => self.read_at_follower().await,
            }
        }
    }

    /// Waits at least so long, until a moment of its own.
    async fn slot(&self, pause: u64) {
        let due = self.world.now() + pause;
        let at = due - due % SLOTS + SLOTS + self.id % SLOTS;
        self.world.until(at).await;
    }

    fn target(&mut self) -> Option<Running> {
        if self.rng.chance(120) {
            self.leader = self.rng.between(1, MEMBERS);
        }
        self.world.running(self.leader)
    }

    fn other(&mut self, hint: Option<u64>) {
        self.leader = match hint {
            Some(id) if self.rng.chance(900) => id,
            _ => self.rng.between(1, MEMBERS),
        };
    }

    async fn write(&mut self) {
        self.number += 1;
        let key = u8::try_from(self.rng.below(usize::from(self.world.config.keys))).unwrap_or(0);
        let padding = "x".repeat(self.rng.below(usize::try_from(PADDING).unwrap_or(0)));
        let write = Write { client: self.id, number: self.number, key, padding };
        let command = write.to_command();
        let floor = {
            let mut words = self.world.words();
            words.sent.push(((self.id, self.number), key));
            words.floor
        };
        loop {
            let attempt = self.propose(&command).await;
            self.slot(1).await;
            match attempt {
                Attempt::Done(index) => {
                    let written = Written { client: self.id, number: self.number, index };
                    self.world.say(&self.name, || format!("wrote {} at {index}", self.number));
                    self.world.count(Counter::Writes);
                    let mut words = self.world.words();
                    words.floor = words.floor.max(index);
                    words.told.push(Told::Written { written, floor });
                    return;
                }
                Attempt::Elsewhere(hint) => self.other(hint),
                Attempt::Unknown => {
                    self.world.say(&self.name, || format!("does not know about {}", self.number));
                    self.world.count(Counter::Retries);
                    self.other(None);
                }
            }
            let pause = self.rng.between(5, 60);
            self.slot(pause).await;
        }
    }

    async fn propose(&mut self, command: &Bytes) -> Attempt {
        let patience = Duration::from_millis(self.rng.between(100, 1500));
        let Some(running) = self.target() else { return Attempt::Elsewhere(None) };
        if self.rng.chance(40) {
            // The same once more, by another way.
            let other = self.world.running(self.rng.between(1, MEMBERS));
            let (command, later) = (command.clone(), self.rng.between(0, 80));
            let at = self.world.now() + later - later % SLOTS + SLOTS + self.id % SLOTS;
            let world = Arc::clone(&self.world);
            spawn(async move {
                world.until(at).await;
                if let Some(other) = other {
                    drop(other.raft.propose(command, patience).await);
                }
            });
        }
        let answer = tokio::select! {
            biased;
            () = running.power.cancelled() => return Attempt::Unknown,
            answer = running.raft.propose(command.clone(), patience) => answer,
        };
        match answer {
            Ok(applied) => match <[u8; 8]>::try_from(&applied.reply[..]).map(u64::from_be_bytes) {
                Ok(index) if index > 0 => Attempt::Done(index),
                _ => Attempt::Unknown,
            },
            Err(ProposeError::NotLeader { leader }) => {
                Attempt::Elsewhere(leader.map(|member| member.id))
            }
            Err(ProposeError::Full | ProposeError::TooLarge { .. }) => Attempt::Elsewhere(None),
            Err(ProposeError::OutcomeUnknown | ProposeError::Stopped(_)) => Attempt::Unknown,
        }
    }

    async fn read(&mut self, kind: ReadKind) {
        let patience = Duration::from_millis(self.rng.between(100, 1000));
        let floor = self.world.words().floor;
        let Some(running) = self.target() else { return self.other(None) };
        let read = async {
            running.raft.read_barrier(kind, patience).await?;
            Ok(self.look(&running))
        };
        let patience = patience * 2;
        let answer = tokio::select! {
            biased;
            () = running.power.cancelled() => None,
            answer = tokio::time::timeout(patience, read) => answer.ok(),
        };
        let counter = match kind {
            ReadKind::Linearizable => Counter::Reads,
            ReadKind::Lease => Counter::LeaseReads,
        };
        self.slot(1).await;
        self.judge(answer, floor, counter);
    }

    /// Asks the leader how far a follower has to be, and reads there.
    async fn read_at_follower(&mut self) {
        let patience = Duration::from_millis(self.rng.between(100, 1000));
        let floor = self.world.words().floor;
        let follower = self.rng.between(1, MEMBERS);
        let (Some(leader), Some(running)) = (self.target(), self.world.running(follower)) else {
            return self.other(None);
        };
        let read = async {
            let index = leader.raft.read_index(ReadKind::Linearizable).await?;
            running.raft.wait_applied(index, patience).await?;
            Ok(self.look(&running))
        };
        let answer = tokio::select! {
            biased;
            () = leader.power.cancelled() => None,
            () = running.power.cancelled() => None,
            answer = tokio::time::timeout(patience * 2, read) => answer.ok(),
        };
        self.slot(1).await;
        self.judge(answer, floor, Counter::FollowerReads);
    }

    /// Reads all that a client may be shown, in one moment.
    fn look(&self, running: &Running) -> Seen {
        let machine = running.raft.machine().read().expect("no panic under the lock");
        let key = u8::try_from(self.number % u64::from(self.world.config.keys)).unwrap_or(0);
        let found = machine.state.registers.get(&key).copied();
        (found, machine.state.last, machine.state.digest(), key)
    }

    fn judge(&mut self, answer: Option<Result<Seen, ReadError>>, floor: u64, counter: Counter) {
        match answer {
            Some(Ok((found, last, digest, key))) => {
                self.world.say(&self.name, || format!("read the state of {last}: {counter:?}"));
                self.world.count(counter);
                let client = self.id;
                let mut words = self.world.words();
                words.floor = words.floor.max(last);
                words.told.push(Told::Read { client, key, found, last, digest, floor });
            }
            Some(Err(ReadError::NotLeader { leader })) => {
                self.world.count(Counter::ReadsRefused);
                self.other(leader.map(|member| member.id));
            }
            Some(Err(_)) | None => {
                self.world.count(Counter::ReadsRefused);
                self.other(None);
            }
        }
    }
}
