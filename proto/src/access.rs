//! Who may do what: the matrix of roles, and where each of them reaches. Pure.
//!
//! ```text
//!              services  logs  fleet   people  audit  reviews  safety  shell
//!   admin      change    read  change  change  read   change   change  change
//!   operator   change    read  read    -       -      -        -       -
//!   developer  -         read  -       -       -      -        -       -
//!   auditor    read      read  read    read    read   change   -       -
//! ```
//!
//! A [`Verb`] is one thing that a request does; it names the resource it works on and whether it
//! changes it. What no row gives is denied. A person has roles in regions ([`Grants`]), and a
//! request says where it works ([`Reach`]). A review changes nothing but the record that somebody
//! has looked, which is what auditors are for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::RegionId;
use crate::identity::Role;

/// What requests work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// What runs, and how much of it: upgrades, starts, stops, drains, notes on them.
    Services,
    /// What services wrote.
    Logs,
    /// What the fleet is: manifests, nodes, tokens, controllers.
    Fleet,
    /// Who may do what.
    People,
    /// Who did what.
    Audit,
    /// That somebody looked at what was done.
    Reviews,
    /// What overrides a safety rule.
    Safety,
    /// Programs run by hand on a host, and what they can reach there.
    Shell,
}

impl Resource {
    /// Every resource there is.
    pub const ALL: [Self; 8] = [
        Self::Services,
        Self::Logs,
        Self::Fleet,
        Self::People,
        Self::Audit,
        Self::Reviews,
        Self::Safety,
        Self::Shell,
    ];

    /// Returns the resource's name for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Logs => "logs",
            Self::Fleet => "the fleet",
            Self::People => "people",
            Self::Audit => "the audit",
            Self::Reviews => "reviews",
            Self::Safety => "safety",
            Self::Shell => "the shell",
        }
    }
}

/// What a request does to a resource; changing includes looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// It looks.
    Read,
    /// It changes something.
    Change,
}

impl Role {
    /// Returns the most that this role may do to a resource, if anything: the matrix.
    pub const fn most(self, resource: Resource) -> Option<Access> {
        use Access::{Change, Read};
        use Resource as Is;
        match self {
            Self::Admin => match resource {
                Is::Logs | Is::Audit => Some(Read),
                Is::Services | Is::Fleet | Is::People | Is::Reviews | Is::Safety | Is::Shell => {
                    Some(Change)
                }
            },
            Self::Operator => match resource {
                Is::Services => Some(Change),
                Is::Logs | Is::Fleet => Some(Read),
                Is::People | Is::Audit | Is::Reviews | Is::Safety | Is::Shell => None,
            },
            Self::Developer => match resource {
                Is::Logs => Some(Read),
                Is::Services
                | Is::Fleet
                | Is::People
                | Is::Audit
                | Is::Reviews
                | Is::Safety
                | Is::Shell => None,
            },
            Self::Auditor => match resource {
                Is::Reviews => Some(Change),
                Is::Services | Is::Logs | Is::Fleet | Is::People | Is::Audit => Some(Read),
                Is::Safety | Is::Shell => None,
            },
        }
    }

    /// Returns whether this role may do something anywhere.
    pub fn may(self, verb: Verb) -> bool {
        let (resource, access) = verb.needs();
        self.most(resource).is_some_and(|most| most >= access)
    }
}

macro_rules! verbs {
    ($($(#[$doc:meta])* $verb:ident = $word:literal, $access:ident $resource:ident;)*) => {
        /// One thing that a request does, by the name that the audit knows it by.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Verb {
            $($(#[$doc])* $verb,)*
        }

        impl Verb {
            /// Every verb there is.
            pub const ALL: &[Self] = &[$(Self::$verb,)*];

            /// Returns the verb as the audit and refusals write it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$verb => $word,)* }
            }

            /// Returns what it works on, and whether it changes that.
            pub const fn needs(self) -> (Resource, Access) {
                match self { $(Self::$verb => (Resource::$resource, Access::$access),)* }
            }
        }
    };
}

// One line a verb; a new one takes its cells from the matrix.
verbs! {
    /// Shows objects.
    Get = "get", Read Fleet;
    /// Explains an object.
    Why = "why", Read Fleet;
    /// Plans an upgrade.
    UpgradePlan = "upgrade.plan", Read Fleet;
    /// Follows an upgrade.
    UpgradeWatch = "upgrade.watch", Read Fleet;
    /// Shows the controllers.
    ControllerStatus = "controller.status", Read Fleet;
    /// Reads what services wrote.
    ServiceLogs = "service.logs", Read Logs;
    /// Looks how a service stands on its nodes.
    ServiceStatus = "service.status", Read Services;
    /// Looks what a service uses of its nodes.
    ServiceTop = "service.top", Read Services;
    /// Looks at the fleet on one screen.
    FleetStatus = "fleet.status", Read Fleet;
    /// Declares manifests.
    ManifestApply = "manifest.apply", Change Fleet;
    /// Takes a rule, a channel or a checklist out of the manifests.
    ManifestDelete = "manifest.delete", Change Fleet;
    /// Makes a token that lets a node in.
    TokenCreate = "token.create", Change Fleet;
    /// Denies a node for ever.
    NodeRemove = "node.remove", Change Fleet;
    /// Hands the lead over.
    ControllerTransfer = "controller.transfer", Change Fleet;
    /// Takes one more controller into the group.
    ControllerAdd = "controller.add", Change Fleet;
    /// Sends a controller away for ever.
    ControllerRemove = "controller.remove", Change Fleet;
    /// Has another controller take the place of one.
    ControllerReplace = "controller.replace", Change Fleet;
    /// Takes a controller back whose disk was emptied.
    ControllerRepair = "controller.repair", Change Fleet;

    /// Starts an upgrade.
    UpgradeStart = "upgrade.start", Change Services;
    /// Holds an upgrade.
    UpgradePause = "upgrade.pause", Change Services;
    /// Lets a held upgrade go on.
    UpgradeResume = "upgrade.resume", Change Services;
    /// Ends an upgrade where it is.
    UpgradeAbort = "upgrade.abort", Change Services;
    /// Takes an upgrade back.
    UpgradeRollback = "upgrade.rollback", Change Services;
    /// Leaves a note.
    NoteSet = "note.set", Change Services;
    /// Restarts, stops or starts a service.
    ServiceOperate = "service.operate", Change Services;
    /// Keeps clients away from a place.
    PlaceDrain = "place.drain", Change Services;
    /// Lets clients and work come to a place again.
    PlaceReturn = "place.return", Change Services;
    /// Has work pass a node by.
    NodeCordon = "node.cordon", Change Services;
    /// Lets nobody take anything new.
    FleetFreeze = "fleet.freeze", Change Services;
    /// Lets work go on again.
    FleetThaw = "fleet.thaw", Change Services;

    /// Says that somebody looks after an incident.
    AlertAcknowledge = "alert.acknowledge", Change Services;
    /// Keeps alerts from being told for a while.
    AlertSilence = "alert.silence", Change Services;
    /// Ends a silence.
    AlertUnsilence = "alert.unsilence", Change Services;
    /// Sends a message that only shows that a channel works.
    AlertTest = "alert.test", Change Services;

    /// Has a checklist looked up.
    ChecklistRun = "checklist.run", Change Services;
    /// Answers an item of a checklist.
    ChecklistAnswer = "checklist.answer", Change Services;
    /// Ends a run of a checklist.
    ChecklistClose = "checklist.close", Change Services;

    /// Agrees to a plan before it starts.
    PlanApprove = "plan.approve", Change Services;

    /// Runs a program beside a service.
    ServiceExec = "service.exec", Change Shell;

    /// Starts a plan without the approvals it needs.
    BreakGlass = "break.glass", Change Safety;
    /// Ends a grant on a person's word.
    GrantRelease = "grant.release", Change Safety;
    /// Sets rules of the ledger aside for a time.
    OverrideAdd = "override.add", Change Safety;
    /// Ends such an exception.
    OverrideEnd = "override.end", Change Safety;

    /// Lists approvals and reviews.
    ReviewList = "review.list", Read Reviews;
    /// Answers an item of a checklist that is for those who review.
    ChecklistReview = "checklist.review", Change Reviews;
    /// Records that somebody has looked.
    ReviewRecord = "review.record", Change Reviews;

    /// Lists people.
    UserList = "user.list", Read People;
    /// Lets a person in.
    UserAdd = "user.add", Change People;
    /// Gives roles.
    UserGrant = "user.grant", Change People;
    /// Takes roles away.
    UserRevoke = "user.revoke", Change People;
    /// Lets a person do nothing for now.
    UserDisable = "user.disable", Change People;
    /// Ends that.
    UserEnable = "user.enable", Change People;
    /// Takes everything from a person.
    UserRemove = "user.remove", Change People;
    /// Says from where people may ask.
    UserLimit = "user.limit", Change People;
    /// Makes a token that lets a person log in.
    UserToken = "user.token", Change People;

    /// Reads the audit.
    AuditList = "audit.list", Read Audit;
    /// Takes what controllers have signed of it.
    AuditCheckpoint = "audit.checkpoint", Read Audit;
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a role counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regions {
    /// In every region, those to come included.
    All,
    /// In these alone.
    Only(BTreeSet<RegionId>),
}

impl Regions {
    /// Returns whether all that is reached for lies inside.
    fn cover(&self, reach: &Reach) -> bool {
        match (self, reach) {
            (Self::All, _) | (Self::Only(_), Reach::Anywhere) => true,
            (Self::Only(_), Reach::Fleet) => false,
            (Self::Only(own), Reach::Regions(wanted)) => {
                !wanted.is_empty() && wanted.is_subset(own)
            }
        }
    }
}

impl fmt::Display for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all regions"),
            Self::Only(regions) => f.write_str(&listed(regions)),
        }
    }
}

fn listed(regions: &BTreeSet<RegionId>) -> String {
    regions.iter().map(RegionId::as_str).collect::<Vec<_>>().join(", ")
}

/// Where a request works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It looks at what is not divided by region: a role anywhere will do.
    Anywhere,
    /// It works on the fleet as a whole: a role in all regions is needed.
    Fleet,
    /// It works in these regions; none means that it is not known where, which is the fleet.
    Regions(BTreeSet<RegionId>),
}

impl Reach {
    /// Returns the reach of one region.
    pub fn region(region: &RegionId) -> Self {
        Self::Regions(BTreeSet::from([region.clone()]))
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Regions(regions) if !regions.is_empty() => f.write_str(&listed(regions)),
            Self::Anywhere | Self::Fleet | Self::Regions(_) => f.write_str("all regions"),
        }
    }
}

/// The roles of one person, and where each counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grants(BTreeMap<Role, Regions>);

impl Grants {
    /// Returns the roles of one who is `role` everywhere.
    pub fn everywhere(role: Role) -> Self {
        Self(BTreeMap::from([(role, Regions::All)]))
    }

    /// Gives a role, in addition to where it counts already.
    pub fn add(&mut self, role: Role, regions: &Regions) {
        match (self.0.get_mut(&role), regions) {
            (Some(Regions::Only(own)), Regions::Only(more)) => own.extend(more.iter().cloned()),
            (Some(Regions::All), Regions::Only(_)) => {}
            (Some(_) | None, _) => {
                self.0.insert(role, regions.clone());
            }
        }
    }

    /// Takes a role away, everywhere or in some regions; returns whether anything was taken.
    ///
    /// One who has a role everywhere cannot lose it in one region alone, since regions to come
    /// would be in doubt: nothing is taken then.
    pub fn take(&mut self, role: Role, regions: &Regions) -> bool {
        match (self.0.get_mut(&role), regions) {
            (None, _) | (Some(Regions::All), Regions::Only(_)) => false,
            (Some(_), Regions::All) => self.0.remove(&role).is_some(),
            (Some(Regions::Only(own)), Regions::Only(fewer)) => {
                let before = own.len();
                own.retain(|region| !fewer.contains(region));
                let taken = own.len() < before;
                if own.is_empty() {
                    self.0.remove(&role);
                }
                taken
            }
        }
    }

    /// Returns the roles and where they count, the strongest first.
    pub fn iter(&self) -> impl Iterator<Item = (Role, &Regions)> {
        self.0.iter().map(|(role, regions)| (*role, regions))
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the role in which somebody with these may do it, if any.
    pub fn role_for(&self, verb: Verb, reach: &Reach) -> Option<Role> {
        let fits = |(role, regions): &(Role, &Regions)| role.may(verb) && regions.cover(reach);
        self.iter().find(fits).map(|(role, _)| role)
    }
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nobody in particular");
        }
        for (position, (role, regions)) in self.iter().enumerate() {
            let comma = if position == 0 { "" } else { " and " };
            match regions {
                Regions::All => write!(f, "{comma}{role}")?,
                Regions::Only(_) => write!(f, "{comma}{role} of {regions}")?,
            }
        }
        Ok(())
    }
}

/// A role and where it counts, written `ROLE` or `ROLE@REGION,REGION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// Where it counts.
    pub regions: Regions,
}

impl FromStr for Grant {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (role, regions) = match text.split_once('@') {
            None => (text, Regions::All),
            Some((role, regions)) => {
                let named = regions.split(',').map(str::parse::<RegionId>);
                let named = named.collect::<Result<BTreeSet<_>, _>>().map_err(|e| e.to_string())?;
                (role, Regions::Only(named))
            }
        };
        Ok(Self { role: role.parse().map_err(|error| format!("{error}"))?, regions })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.regions {
            Regions::All => write!(f, "{}", self.role),
            Regions::Only(regions) => {
                let regions: Vec<_> = regions.iter().map(RegionId::as_str).collect();
                write!(f, "{}@{}", self.role, regions.join(","))
            }
        }
    }
}

/// Returns the roles that may do it, as a sentence names them.
pub fn who_may(verb: Verb) -> String {
    let roles = Role::ALL.into_iter().filter(|role| role.may(verb));
    roles.map(Role::as_str).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
