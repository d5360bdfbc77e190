//! What a sweep has been through: a thin sweep proves nothing, so its counters are demanded.

use std::collections::BTreeMap;
use std::fmt;

use super::drive::{KINDS, Point, When};
use crate::counters::counters;

counters! {
    /// A leader was elected.
    Elections = 2000;
    /// A leader was deposed without knowing it.
    DeposedUnaware = 200;
    /// The leader died with proposals in its log alone.
    DiedBeforeCommit = 50;
    /// The leader died between a commit and its own apply.
    DiedBeforeApply = 50;
    /// The leader died after it had applied and before it answered.
    DiedBeforeAnswer = 50;
    /// The leader died right after it had answered.
    DiedAfterAnswer = 50;
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
    /// A crash cost a journal record that needed no sync.
    LazyLost = 20;
    /// A write of a journal failed, and its agent ended.
    WritesFailed = 50;
    /// A disk was full when a journal was to be written, and its agent ended.
    DisksFull = 50;
    /// A real journal was opened on what a crash had left of a disk.
    JournalsReopened = 100;
    /// A machine was booted.
    Reboots = 300;
    /// Links were cut.
    Partitions = 1000;
    /// Links were cut one way alone.
    OneWayCuts = 300;
    /// Two halves saw one controller and not each other.
    Bridges = 100;
    /// The leader was cut off from its majority.
    LeaderInMinority = 200;
    /// A machine with an agent was suspended.
    NodeSleeps = 200;
    /// A controller's machine was suspended.
    ControllerSleeps = 200;
    /// A node out of sight was left out of an upgrade.
    LeftOut = 5;
    /// A node was gone before anything began.
    DeadBefore = 10;
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

/// Crashes of agents at each point of the journal in a thousand seeds, at the least.
const POINT_LEAST: u64 = 10;

/// Returns every point of the journal that is demanded.
fn points() -> impl Iterator<Item = Point> {
    KINDS.iter().flat_map(|kind| When::ALL.map(|when| Point { kind, when }))
}

/// Counts of one history or of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<Counter, u64>,
    points: BTreeMap<Point, u64>,
}

impl Coverage {
    /// Counts one more.
    pub fn count(&mut self, counter: Counter) {
        *self.counts.entry(counter).or_default() += 1;
    }

    /// Counts one more crash at a point of the journal.
    pub fn count_point(&mut self, point: Point) {
        *self.points.entry(point).or_default() += 1;
    }

    /// Returns how often `counter` was counted.
    pub fn of(&self, counter: Counter) -> u64 {
        self.counts.get(&counter).copied().unwrap_or_default()
    }

    /// Adds what another history counted.
    pub fn add(&mut self, other: &Self) {
        for (counter, count) in &other.counts {
            *self.counts.entry(*counter).or_default() += count;
        }
        for (point, count) in &other.points {
            *self.points.entry(*point).or_default() += count;
        }
    }

    /// Returns every name with its count and how often it must be counted in a thousand seeds.
    fn rows(&self) -> impl Iterator<Item = (String, u64, u64)> {
        let counters = Counter::ALL.iter();
        let counters = counters.map(|c| (format!("{c:?}"), self.of(*c), c.least()));
        let points = points().map(|point| {
            let count = self.points.get(&point).copied().unwrap_or_default();
            (format!("Crash{:?}.{}", point.when, point.kind), count, POINT_LEAST)
        });
        counters.chain(points)
    }

    /// Returns all counts by name.
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        self.rows().map(|(name, count, _)| (name, count)).collect()
    }

    /// Returns what was counted too seldom for `seeds` seeds.
    pub fn thin(&self, seeds: u64) -> Vec<String> {
        self.rows()
            .map(|(name, count, least)| (name, count, least * seeds / 1000))
            .filter(|(_, count, least)| count < least)
            .map(|(name, count, least)| format!("{name}: {count} of at least {least}"))
            .collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count, _) in self.rows() {
            writeln!(f, "{count:>9}  {name}")?;
        }
        Ok(())
    }
}
