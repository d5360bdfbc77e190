//! What a sweep has been through: one that has met too little proves nothing, and is invalid.

use std::collections::BTreeMap;
use std::fmt;

use crate::counters::counters;

counters! {
    /// Somebody began to lead.
    Elections = 3000;
    /// A cut left the leader with less than a quorum.
    LeaderInMinority = 500;
    /// Ways were cut in any shape.
    Partitions = 2000;
    /// Only one direction of some way was cut.
    OneWayCuts = 200;
    /// Two halves could both reach one member, and each other not at all.
    Bridges = 200;
    /// A message was lost by the weather.
    Lost = 10_000;
    /// A message arrived twice.
    Twice = 10_000;
    /// A member crashed.
    Crashes = 2000;
    /// A leader crashed.
    LeaderCrashes = 500;
    /// All members crashed at once.
    Blackouts = 200;
    /// A crash lost writes that were not synced.
    UnsyncedLost = 300;
    /// A crash left a part of a write.
    TornWrites = 100;
    /// The power failed in the middle of a sync.
    CrashesInSync = 300;
    /// A sync failed.
    DiskErrors = 100;
    /// A disk had no space.
    DiskFull = 100;
    /// A disk became slow.
    SlowDisks = 500;
    /// A member came up again.
    Restarts = 2000;
    /// A member was told to hand over the lead, and did.
    Transfers = 200;
    /// A member stood for election without being due, after asking first.
    PreVotes = 300;
    /// A member stood for election without being due, without asking.
    ForcedElections = 300;
    /// A member has written a snapshot.
    SnapshotsWritten = 5000;
    /// A snapshot was installed in place of entries.
    SnapshotsInstalled = 300;
    /// A log was shortened.
    Purges = 2000;
    /// The voters became others.
    MembershipChanges = 300;
    /// A change of members was begun and not finished by its leader.
    ChangesFailed = 100;
    /// A write was acknowledged.
    Writes = 50_000;
    /// A client did not learn what became of its write, and sent it again.
    Retries = 2000;
    /// A write was committed twice and had one effect.
    Repeats = 500;
    /// A linearizable read was answered by the leader.
    Reads = 10_000;
    /// One was answered by a follower.
    FollowerReads = 1000;
    /// A read was answered on the strength of a lease.
    LeaseReads = 1000;
    /// A read was refused, or not answered.
    ReadsRefused = 2000;
}

/// Counts of one history or of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<Counter, u64>);

impl Coverage {
    /// Counts one more.
    pub fn count(&mut self, counter: Counter) {
        self.count_all(counter, 1);
    }

    /// Counts some more.
    pub fn count_all(&mut self, counter: Counter, times: u64) {
        *self.0.entry(counter).or_default() += times;
    }

    /// Returns how often `counter` was counted.
    pub fn of(&self, counter: Counter) -> u64 {
        self.0.get(&counter).copied().unwrap_or_default()
    }

    /// Adds what another history counted.
    pub fn add(&mut self, other: &Self) {
        for (counter, count) in &other.0 {
            self.count_all(*counter, *count);
        }
    }

    /// Returns what was counted too seldom for `seeds` seeds.
    pub fn thin(&self, seeds: u64) -> Vec<String> {
        let least = |counter: Counter| counter.least() * seeds / 1000;
        Counter::ALL
            .iter()
            .filter(|counter| self.of(**counter) < least(**counter))
            .map(|counter| {
                format!("{counter:?}: {} of at least {}", self.of(*counter), least(*counter))
            })
            .collect()
    }

    /// Returns all counts by name, for who writes them down.
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        Counter::ALL.iter().map(|counter| (format!("{counter:?}"), self.of(*counter))).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for counter in Counter::ALL {
            writeln!(f, "{:>9}  {counter:?}", self.of(*counter))?;
        }
        Ok(())
    }
}
