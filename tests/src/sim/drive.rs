//! The disk under an agent's journal: what is synced stays, what is not is lost in a crash or torn,
//! writes fail, and it fills up.
//!
//! Most histories keep the folded records alone, so that a thousand of them are cheap. Those with a
//! real journal write every record through it onto a [`Platter`], and what the journal gives back
//! after a crash is compared with what it was given.

use trireme_agent::journal::Journal;
use trireme_agent::plan::{Change, Record, State};

use super::platter::Platter;
use super::rng::Rng;

/// Kinds of record, by the word of their change.
pub const KINDS: [&str; 9] =
    ["accepted", "alone", "planned", "intent", "done", "undoing", "ended", "restarted", "acked"];

/// Returns the kind of a record.
pub fn kind_of(record: &Record) -> &'static str {
    match record.change {
        Change::Accepted { .. } => "accepted",
        Change::Alone { .. } => "alone",
        Change::Planned { .. } => "planned",
        Change::Intent { .. } => "intent",
        Change::Done { .. } => "done",
        Change::Undoing { .. } => "undoing",
        Change::Ended { .. } => "ended",
        Change::Restarted { .. } => "restarted",
        Change::Acked { .. } => "acked",
    }
}

/// A moment around the writing of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// It is next.
    Before,
    /// It is being written.
    During,
    /// It is on disk and nothing else has happened since.
    After,
}

impl When {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Before, Self::During, Self::After];
}

/// A point of the journal at which an agent can die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// Kind of the record.
    pub kind: &'static str,
    /// The moment.
    pub when: When,
}

/// Operations of a disk during which a commit can be cut off; a commit takes fewer.
const OPERATIONS_MAX: u64 = 12;

/// Chance that what was being written at a crash has arrived, in a thousand.
const ARRIVED: u64 = 500;

/// Why a write was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It failed; it may be there all the same.
    Failed,
    /// There was no room.
    Full,
}

/// What a crash has left.
#[derive(Debug)]
pub struct Left {
    /// What the next agent reads.
    pub state: State,
    /// Whether the record that was being written is in it.
    pub arrived: bool,
    /// Whether some record that needed no sync is not.
    pub lost: bool,
}

/// A disk with a journal on it.
#[derive(Debug, Default)]
pub struct Drive {
    /// What is certainly there.
    synced: State,
    /// Records written since that may be lost, oldest first.
    lazy: Vec<Record>,
    full_until: u64,
    fails_next: bool,
    real: Option<Real>,
}

#[derive(Debug)]
struct Real {
    platter: Platter,
    journal: Journal,
}

impl Real {
    fn new(platter: Platter) -> Result<(Self, State), String> {
        let opened = Journal::open_on(platter.clone(), "disk");
        let (journal, recovered) = opened.map_err(|error| format!("{error:?}"))?;
        Ok((Self { platter, journal }, recovered.state))
    }
}

impl Drive {
    /// Puts a real journal on it; what was on it before is gone.
    pub fn with_journal() -> Self {
        let real = Real::new(Platter::default()).map(|(real, _)| real);
        Self { real: Some(real.expect("an empty disk takes a journal")), ..Self::default() }
    }

    /// Takes over what the history begins with.
    pub fn begin_with(&mut self, state: &State) {
        self.synced = state.clone();
    }

    /// Has it full until `until`.
    pub fn fill(&mut self, until: u64) {
        self.full_until = until;
    }

    /// Has the next write fail.
    pub fn fail_next(&mut self) {
        self.fails_next = true;
    }

    /// Makes it a good disk again.
    pub fn mend(&mut self) {
        (self.full_until, self.fails_next) = (0, false);
    }

    /// Returns whether a real journal lies on it.
    pub fn is_real(&self) -> bool {
        self.real.is_some()
    }

    /// Writes a record; when it is refused the agent must end.
    pub fn write(&mut self, now: u64, record: &Record) -> Result<(), Refused> {
        let full = now < self.full_until;
        let refused = if full {
            Some(Refused::Full)
        } else {
            std::mem::take(&mut self.fails_next).then_some(Refused::Failed)
        };
        if let Some(real) = &mut self.real {
            real.platter.limit(full);
            if refused == Some(Refused::Failed) {
                real.platter.fail_after(0);
            }
            let written = real.journal.append(std::slice::from_ref(record));
            match (refused, written) {
                (None, Ok(())) => {}
                // A lazy record asks nothing of the disk yet.
                (Some(_), Ok(())) if record.may_be_lost() => real.platter.mend(),
                (Some(refused), _) => return Err(refused),
                (None, Err(error)) => panic!("a good disk refuses a write: {error:?}"),
            }
        } else if let Some(refused) = refused {
            return Err(refused);
        }
        self.lazy.push(record.clone());
        if !record.may_be_lost() {
            for record in self.lazy.drain(..) {
                self.synced.apply(&record);
            }
        }
        Ok(())
    }

    /// The agent is gone, with `power` its machine, while `writing` was being written; `refused`
    /// tells that this was because of the disk. Says what is left, or how the journal lied.
    pub fn crash(
        &mut self,
        writing: Option<&Record>,
        power: bool,
        refused: Option<Refused>,
        rng: &mut Rng,
    ) -> Result<Left, String> {
        let mut since = std::mem::take(&mut self.lazy);
        let written = since.len();
        since.extend(writing.cloned());
        let kept = if let Some(real) = self.real.take() {
            self.recover(real, &since, writing, power, refused, rng)?
        } else {
            let durable = writing.is_some_and(|record| !record.may_be_lost());
            let may = durable && refused != Some(Refused::Full);
            if may && rng.chance(ARRIVED) { since.len() } else { 0 }
        };
        for record in &since[..kept] {
            self.synced.apply(record);
        }
        let arrived = writing.is_some() && kept == since.len();
        Ok(Left { state: self.synced.clone(), arrived, lost: kept < written })
    }

    /// Opens the journal again on what the crash has left of the disk; returns how many of the
    /// records `since` the last sync it still has.
    fn recover(
        &mut self,
        mut real: Real,
        since: &[Record],
        writing: Option<&Record>,
        power: bool,
        refused: Option<Refused>,
        rng: &mut Rng,
    ) -> Result<usize, String> {
        // One that was refused has been tried already.
        if let Some(record) = writing.filter(|_| refused.is_none()) {
            real.platter.fail_after(rng.between(0, OPERATIONS_MAX));
            // Whether it succeeds is for what is found on the disk to say.
            let _ = real.journal.append(std::slice::from_ref(record));
        }
        let image = real.platter.after_crash(power, || rng.chance(ARRIVED));
        drop(real);
        let (real, found) =
            Real::new(image).map_err(|error| format!("it does not open after a crash: {error}"))?;
        self.real = Some(real);
        let mut state = self.synced.clone();
        for kept in 0..=since.len() {
            if state == found {
                return Ok(kept);
            }
            if let Some(record) = since.get(kept) {
                state.apply(record);
            }
        }
        Err(format!("it gives back what was never in it, or less than was synced: {found:?}"))
    }
}
