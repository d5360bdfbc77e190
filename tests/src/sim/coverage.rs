//! What a sweep has been through: a thin sweep proves nothing, so its counters are demanded.

use std::collections::BTreeMap;
use std::fmt;

/// Something that must have happened in a sweep, and how often in a thousand seeds.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $least:literal;)*) => {
        /// Something that a sweep counts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Counter {$($(#[$doc])* $name,)*}

        impl Counter {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns how often it must have happened in a thousand seeds.
            pub fn least(self) -> u64 {
                match self {$(Self::$name => $least,)*}
            }
        }
    };
}

counters! {
    /// A leader was elected.
    Elections = 2000;
    /// A leader was deposed without knowing it.
    DeposedUnaware = 200;
    /// A proposal of a deposed leader was committed after all.
    InheritedProposals = 50;
    /// A proposal of a deposed leader was lost.
    LostProposals = 50;
    /// A controller crashed.
    ControllerCrashes = 500;
    /// An agent crashed.
    AgentCrashes = 1000;
    /// An agent crashed while an action was under way.
    CrashesMidAction = 300;
    /// A crash cost a journal record that was not synced yet.
    UnsyncedLost = 50;
    /// A machine was booted.
    Reboots = 300;
    /// Links were cut.
    Partitions = 1000;
    /// A message arrived twice.
    Doubled = 1000;
    /// A service fell ill by itself.
    Illnesses = 300;
    /// All nodes of a region were taken away by the weather.
    RegionOutages = 100;
    /// An agent accepted an action.
    Accepted = 10_000;
    /// An offer was refused as older than what was accepted.
    RefusedStale = 100;
    /// An offer was refused as another action under a fence already used.
    RefusedConflict = 50;
    /// An offer was refused for its nonce.
    RefusedNonce = 20;
    /// An offer was repeated and answered again.
    RepeatedOffers = 100;
    /// A step was probed after a crash.
    Probes = 100;
    /// An agent went back by itself.
    RevertedAlone = 20;
    /// A node was sent back by the controllers.
    Reverts = 500;
    /// A wave was given back because the service was short of regions.
    StoodDown = 10;
    /// A leader vouched anew for an action.
    Reoffers = 50;
    /// The ledger refused a grant.
    LedgerRefusals = 100;
    /// A client's repeated command was answered and not applied.
    RepeatedCommands = 100;
    /// A second operator was refused.
    OperatorConflicts = 100;
    /// A node was removed.
    Removed = 20;
    /// A grant was ended by an operator.
    Forced = 10;
    /// An upgrade was paused.
    Paused = 100;
    /// An upgrade succeeded.
    Succeeded = 500;
    /// An upgrade was rolled back.
    RolledBack = 500;
    /// An upgrade was aborted.
    Aborted = 50;
    /// An upgrade ended in need of a person.
    RollbackFailed = 10;
    /// A history began with nothing ever started.
    FirstStarts = 100;
}

/// Counts of one history or of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<Counter, u64>);

impl Coverage {
    /// Counts one more.
    pub fn count(&mut self, counter: Counter) {
        *self.0.entry(counter).or_default() += 1;
    }

    /// Returns how often `counter` was counted.
    pub fn of(&self, counter: Counter) -> u64 {
        self.0.get(&counter).copied().unwrap_or_default()
    }

    /// Adds what another history counted.
    pub fn add(&mut self, other: &Self) {
        for (counter, count) in &other.0 {
            *self.0.entry(*counter).or_default() += count;
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
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for counter in Counter::ALL {
            writeln!(f, "{:>9}  {counter:?}", self.of(*counter))?;
        }
        Ok(())
    }
}
