//! The controllers as a group: changes of it, what the leader sees of it, and the rules. Pure.
//!
//! ```text
//! rule                  refuses
//! controllers.change    a change while another is under way
//! controllers.id        a Raft id, a name or a data directory that was there before
//! controllers.address   two controllers at one address
//! controllers.alive     the repair of a controller that answers
//! controllers.quorum    a change that those who are there and up to date could not carry
//! ```
//!
//! Raft changes its own members; here stands what shall become of them, so that whoever leads can
//! finish it, and who they are for everybody else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use trireme_proto::id::{ControllerId, RegionId};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::{FleetTime, Span, WallTime};

use super::fleet::{Controller, Fleet};

/// A member that the leader has not heard from for this long counts as gone: the slowest profile
/// speaks four times in it.
pub const HEARD_MAX: Span = Span::secs(3);

/// Entries that an up-to-date member may be behind: what comes in half a second under load.
pub const LAG_MAX: u64 = 2000;

/// What a change of controllers is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// One more.
    Add,
    /// One less, for ever.
    Remove,
    /// Another one in the place of one.
    Replace,
    /// The same one again, on an emptied disk.
    Repair,
}

impl Purpose {
    /// Returns the action as the audit knows it.
    pub const fn action(self) -> &'static str {
        match self {
            Self::Add => "controller.add",
            Self::Remove => "controller.remove",
            Self::Replace => "controller.replace",
            Self::Repair => "controller.repair",
        }
    }
}

/// A controller that is to belong to the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newcomer {
    /// Its name.
    pub name: ControllerId,
    /// How others reach it.
    pub record: Controller,
    /// Mark of its data directory.
    pub disk: String,
}

/// A controller that leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Its name.
    pub name: ControllerId,
    /// Its Raft id.
    pub raft_id: u64,
}

/// A change of controllers that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Regroup {
    /// Number of the change.
    pub number: u64,
    /// What it is for.
    pub purpose: Purpose,
    /// Who comes.
    pub add: Option<Newcomer>,
    /// Who goes.
    pub remove: Option<Leaving>,
    /// Why, as the operator said.
    pub reason: String,
    /// Who wanted it.
    pub actor: String,
    /// When it began.
    pub at: FleetTime,
    /// What the operator should know of the group that comes of it.
    pub warnings: Vec<String>,
}

impl Regroup {
    /// Returns the Raft ids of those who vote when it is finished.
    pub fn voters(&self, fleet: &Fleet) -> BTreeSet<u64> {
        let gone = self.remove.as_ref().map(|one| one.raft_id);
        let stay = fleet.controllers.values().map(|one| one.raft_id);
        let stay = stay.filter(|id| Some(*id) != gone);
        stay.chain(self.add.as_ref().map(|one| one.record.raft_id)).collect()
    }
}

impl fmt::Display for Regroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.purpose, &self.add, &self.remove) {
            (Purpose::Repair, Some(one), _) => write!(f, "repair of {}", one.name),
            (_, Some(one), Some(gone)) => write!(f, "{} in the place of {}", one.name, gone.name),
            (_, Some(one), None) => write!(f, "{} joins", one.name),
            (_, None, Some(gone)) => write!(f, "{} leaves", gone.name),
            (_, None, None) => f.write_str("nothing"),
        }
    }
}

/// How a change of controllers has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Regrouped {
    /// Number of the change.
    pub number: u64,
    /// What it was.
    pub what: String,
    /// Why it was given up, if so.
    pub given_up: Option<String>,
    /// When.
    pub at: FleetTime,
}

/// A Raft id that is never used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// Whose it was.
    pub name: ControllerId,
    /// Why it left.
    pub reason: String,
    /// When, for people.
    pub at: WallTime,
}

/// A step of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// An operator wants it.
    Begin {
        /// What for.
        purpose: Purpose,
        /// Who comes.
        add: Option<Box<Newcomer>>,
        /// Who goes.
        remove: Option<ControllerId>,
        /// Why.
        reason: String,
        /// What the leader sees of the group.
        group: Group,
    },
    /// Raft's members are what they should be.
    Finish {
        /// Number of the change.
        number: u64,
    },
    /// The newcomer does not catch up; nobody has voted yet.
    GiveUp {
        /// Number of the change.
        number: u64,
        /// Why.
        why: String,
    },
}

impl Step {
    /// Returns the verb and the object for the audit.
    pub fn describe(&self) -> (&'static str, String) {
        match self {
            Self::Begin { purpose, add, remove, .. } => {
                let came = add.as_ref().map(|one| one.name.clone());
                let names: BTreeSet<_> = came.iter().chain(remove).collect();
                let named = names.iter().map(|name| format!("controller/{name}"));
                (purpose.action(), named.collect::<Vec<_>>().join(","))
            }
            Self::Finish { number } => ("controller.regrouped", format!("change-{number}")),
            Self::GiveUp { number, .. } => ("controller.give_up", format!("change-{number}")),
        }
    }
}

/// What the leader sees of the group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Raft id of the leader who looks.
    pub own: u64,
    /// Whether there is one set of voters, and it is committed.
    pub settled: bool,
    /// Index of the last entry of the leader's log.
    pub last: u64,
    /// The members.
    pub seats: Vec<Seat>,
}

/// A member of the group, as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// Raft id.
    pub id: u64,
    /// Name.
    pub name: String,
    /// Mark of its data directory.
    pub disk: String,
    /// Whether it votes now.
    pub votes: bool,
    /// Whether it votes once the change under way is finished.
    pub will_vote: bool,
    /// Since it last answered; never, if `None`.
    pub heard: Option<Span>,
    /// Highest index known to be on its disk.
    pub matched: Option<u64>,
}

impl Group {
    /// Returns a member.
    pub fn seat(&self, id: u64) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.id == id)
    }

    /// Returns whether a member answers.
    pub fn is_there(&self, id: u64) -> bool {
        self.seat(id).is_some_and(|seat| seat.heard.is_some_and(|age| age <= HEARD_MAX))
    }

    /// Returns whether a member answers and has about all of the log.
    pub fn is_well(&self, id: u64) -> bool {
        let matched = self.seat(id).and_then(|seat| seat.matched).unwrap_or(0);
        self.is_there(id) && matched.saturating_add(LAG_MAX) >= self.last
    }

    /// Returns how many entries a member is behind.
    pub fn lag(&self, id: u64) -> Option<u64> {
        Some(self.last.saturating_sub(self.seat(id)?.matched?))
    }
}

/// Refuses a change that those who are there and up to date could not carry.
///
/// The newcomers count only while nobody else is missing: one that has voted never is not to be
/// what a quorum hangs on.
pub fn carries(
    voters: &BTreeSet<u64>,
    newcomer: Option<u64>,
    group: &Group,
) -> Result<(), Problem> {
    let majority = voters.len() / 2 + 1;
    let stay: Vec<u64> = voters.iter().copied().filter(|id| Some(*id) != newcomer).collect();
    let missing: Vec<u64> = stay.iter().copied().filter(|id| !group.is_well(*id)).collect();
    let there = stay.len() - missing.len();
    if missing.is_empty() || there >= majority {
        return Ok(());
    }
    let name = |id: &u64| {
        let name = group.seat(*id).map_or("?", |seat| seat.name.as_str());
        let how = if group.is_there(*id) { "is behind" } else { "does not answer" };
        format!("{name} {how}")
    };
    let message = format!(
        "{there} of the {} controllers that would vote are there and up to date, {majority} must be",
        voters.len()
    );
    let problem = Problem::refused("controllers.quorum", message)
        .hint("mend those first, or replace them one by one: trictl controller list");
    Err(missing.iter().fold(problem, |problem, id| problem.because(name(id))))
}

/// Judges a change that somebody wants; returns who would leave, and what they should know.
pub fn judge(
    fleet: &Fleet,
    purpose: Purpose,
    add: Option<&Newcomer>,
    remove: Option<&ControllerId>,
    group: &Group,
) -> Result<(Option<Leaving>, Vec<String>), Problem> {
    if let Some(change) = &fleet.regroup {
        let message = format!("another change is under way: {change}");
        return Err(Problem::refused("controllers.change", message)
            .because(format!("{} wanted it: {}", change.actor, change.reason))
            .hint("wait for it: trictl controller list"));
    }
    let leaving = remove.map(|name| leaving(fleet, name)).transpose()?;
    let gone = leaving.as_ref().map(|one| one.raft_id);
    if let Some(newcomer) = add {
        known_before(fleet, purpose, newcomer, group)?;
        same_place(fleet, newcomer, remove.filter(|_| purpose == Purpose::Repair))?;
    }
    if purpose == Purpose::Repair
        && let Some(one) = &leaving
        && group.is_there(one.raft_id)
    {
        let message = format!("controller {} answers: there is nothing to repair", one.name);
        return Err(Problem::refused("controllers.alive", message).hint(
            "another host takes its place with: trictl controller replace CONTROLLER NAME \
                 --peer HOST:PORT --reason WHY",
        ));
    }
    let mut after = fleet.controllers.clone();
    after.retain(|_, one| Some(one.raft_id) != gone);
    after.extend(add.map(|one| (one.name.clone(), one.record.clone())));
    if after.is_empty() {
        let message = "the last controller cannot leave: it is all that the fleet remembers";
        return Err(Problem::refused("controllers.quorum", message));
    }
    let voters = after.values().map(|one| one.raft_id).collect();
    carries(&voters, add.map(|one| one.record.raft_id), group)?;
    Ok((leaving, warnings(&after)))
}

fn leaving(fleet: &Fleet, name: &ControllerId) -> Result<Leaving, Problem> {
    let record = fleet.controllers.get(name).ok_or_else(|| {
        Problem::new(Code::NotFound, format!("there is no controller {name}"))
            .hint("list them: trictl controller list")
    })?;
    Ok(Leaving { name: name.clone(), raft_id: record.raft_id })
}

/// Refuses a Raft id, a name or a data directory that was there before.
fn known_before(
    fleet: &Fleet,
    purpose: Purpose,
    newcomer: &Newcomer,
    group: &Group,
) -> Result<(), Problem> {
    let (id, name) = (newcomer.record.raft_id, &newcomer.name);
    let refused = |message: String, hint: &str| {
        Err(Problem::refused("controllers.id", message).hint(hint.to_owned()))
    };
    let fresh = "give it a raft_id that no controller ever had, and an empty data directory";
    if let Some(retired) = fleet.retired.get(&id) {
        return refused(format!("raft id {id} belonged to {} and is spent", retired.name), fresh);
    }
    let holder = fleet.controllers.iter().find(|(_, one)| one.raft_id == id);
    if let Some((holder, _)) = holder {
        return refused(format!("raft id {id} belongs to {holder}"), fresh);
    }
    if let Some(seat) = group.seats.iter().find(|seat| seat.id == id || seat.disk == newcomer.disk)
    {
        return refused(format!("{name} comes with the id or the disk of {}", seat.name), fresh);
    }
    if purpose == Purpose::Repair {
        return Ok(());
    }
    if fleet.controllers.contains_key(name) {
        let hint = "after its disk was emptied: trictl controller repair CONTROLLER --reason WHY";
        return refused(format!("there is a controller {name} already"), hint);
    }
    if fleet.denied.contains_key(&format!("controller/{name}")) {
        return refused(format!("{name} was removed for ever"), "give the new one another name");
    }
    Ok(())
}

/// Refuses two controllers at one address.
fn same_place(
    fleet: &Fleet,
    newcomer: &Newcomer,
    except: Option<&ControllerId>,
) -> Result<(), Problem> {
    for (name, one) in fleet.controllers.iter().filter(|(name, _)| Some(*name) != except) {
        let (new, old) = (newcomer.record.places(), one.places());
        if let Some(shared) = new.into_iter().find(|at| !at.is_empty() && old.contains(at)) {
            let message = format!("{} would be at {shared}, where {name} is", newcomer.name);
            return Err(Problem::refused("controllers.address", message)
                .hint("let each listen at addresses of its own"));
        }
    }
    Ok(())
}

/// Returns what an operator should know of a group.
fn warnings(after: &BTreeMap<ControllerId, Controller>) -> Vec<String> {
    let (count, mut warnings) = (after.len(), Vec::new());
    if count.is_multiple_of(2) {
        warnings.push(format!(
            "{count} controllers survive the loss of {}, as {} do: an odd number is better",
            count.saturating_sub(1) / 2,
            count - 1
        ));
    }
    let mut regions: BTreeMap<&RegionId, usize> = BTreeMap::new();
    for one in after.values() {
        *regions.entry(&one.region).or_default() += 1;
    }
    for (region, there) in regions {
        if count > 1 && count - there < count / 2 + 1 {
            warnings.push(format!(
                "{there} of {count} controllers are in {region}: with that region nothing can be \
                 changed any more"
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests;
