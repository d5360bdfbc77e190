//! People as the fleet knows them, and whether one of them may do something now.
//!
//! A certificate says who somebody is; what they may do stands here, so that a change counts at
//! once and a stolen issuing key gives no power. One exception begins every fleet: whoever the
//! root itself has signed as admin, and whom no record names, is admin. Once there is a record of
//! a name, only certificates whose serial is on it count.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use trireme_proto::access::{Grants, Reach, Verb, who_may};
use trireme_proto::digest::Digest;
use trireme_proto::identity::{Role, UserName};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::source::{Network, Source};
use trireme_proto::time::WallTime;
use trireme_proto::token::SecretHash;

use super::fleet::Fleet;

/// A person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Roles, and where each counts.
    pub grants: Grants,
    /// Why they may do nothing for now.
    pub disabled: Option<String>,
    /// Whether they were removed; the record stays, so that no older certificate comes back to
    /// life when the name is given again.
    pub removed: bool,
    /// Networks they may ask from; anywhere if there are none.
    pub sources: BTreeSet<Network>,
    /// Where they have logged in, by the id of the token that was used.
    pub logins: BTreeMap<String, Login>,
    /// Token that waits for its use, or was used last.
    pub token: Option<LoginToken>,
    /// When they were added.
    pub added: WallTime,
    /// When they last asked for anything; reads are noted once an hour.
    pub used: Option<WallTime>,
    /// Log index at which they last lost something that they might still be doing.
    pub lost: u64,
}

impl User {
    /// Returns whether a certificate is on record.
    fn holds(&self, serial: &str) -> bool {
        self.logins.values().any(|login| login.certificates.contains_key(serial))
    }
}

/// One place where a person has logged in: a key, and the certificates issued for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Digest of the public key; only its holder gets further certificates.
    pub key: Digest,
    /// When it was made.
    pub since: WallTime,
    /// Until when certificates follow each other without a new token.
    pub until: WallTime,
    /// Address it was made from.
    pub source: String,
    /// Certificates that count, by serial number, with their ends.
    pub certificates: BTreeMap<String, WallTime>,
}

/// A one-time token of a person, as stored: never its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginToken {
    /// Finds it.
    pub id: String,
    /// Hash of the secret.
    pub secret_hash: SecretHash,
    /// When it ends.
    pub expires_at: WallTime,
    /// Key that it was used for; the same key may ask again, since an answer may be lost.
    pub used: Option<Digest>,
}

/// A certificate about to be handed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Digest of the public key.
    pub key: Digest,
    /// Serial number.
    pub serial: String,
    /// When it ends.
    pub expires: WallTime,
}

/// What may happen to people; each is one command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Change {
    /// Lets somebody in.
    Add { name: UserName, grants: Grants },
    /// Gives roles in addition.
    Grant { name: UserName, grants: Grants },
    /// Takes roles away.
    Revoke { name: UserName, grants: Grants },
    /// Lets somebody do nothing until enabled.
    Disable { name: UserName, reason: String },
    /// Ends that.
    Enable { name: UserName },
    /// Takes everything away for good.
    Remove { name: UserName, reason: String },
    /// Says from where somebody, or everybody, may ask.
    Limit { name: Option<UserName>, sources: BTreeSet<Network> },
    /// Records a one-time token.
    Token { name: UserName, id: String, secret_hash: SecretHash, expires_at: WallTime },
    /// Uses a token.
    Login { token: String, secret_hash: SecretHash, certificate: Certificate },
    /// Takes the next certificate of a login.
    Renew { name: UserName, login: String, certificate: Certificate },
    /// Notes that somebody has looked at something.
    Use { name: UserName },
}

impl Change {
    /// Returns the verb and the object for the audit.
    pub fn describe(&self) -> (&'static str, String) {
        let user = |verb, name: &UserName| (verb, format!("user/{name}"));
        match self {
            Self::Add { name, .. } => user("user.add", name),
            Self::Grant { name, .. } => user("user.grant", name),
            Self::Revoke { name, .. } => user("user.revoke", name),
            Self::Disable { name, .. } => user("user.disable", name),
            Self::Enable { name } => user("user.enable", name),
            Self::Remove { name, .. } => user("user.remove", name),
            Self::Limit { name: Some(name), .. } => user("user.limit", name),
            Self::Limit { name: None, .. } => ("user.limit", "fleet".to_owned()),
            Self::Token { name, .. } => user("user.token", name),
            Self::Login { token, .. } => ("user.login", format!("token/{token}")),
            Self::Renew { name, .. } => user("user.renew", name),
            Self::Use { name } => user("user.use", name),
        }
    }

    /// Returns why, where somebody is asked for it.
    pub fn reason(&self) -> &str {
        match self {
            Self::Disable { reason, .. } | Self::Remove { reason, .. } => reason,
            _ => "",
        }
    }
}

/// Somebody who asks, as the connection proves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Their name.
    pub name: UserName,
    /// Serial number of their certificate.
    pub serial: String,
    /// Role in which the root itself has signed them, if it has.
    pub rooted: Option<Role>,
    /// Where they ask from.
    pub source: Source,
}

/// Returns the roles that somebody has now; why none count otherwise.
pub fn standing(fleet: &Fleet, person: &Person) -> Result<Grants, Problem> {
    let name = &person.name;
    let record = fleet.users.get(name).filter(|user| !user.removed);
    for (whose, sources) in [
        ("this fleet takes people", Some(&fleet.sources)),
        ("they may ask", record.map(|user| &user.sources)),
    ] {
        let Some(sources) = sources.filter(|sources| !sources.is_empty()) else { continue };
        if !sources.iter().any(|network| network.contains(person.source)) {
            let message = format!("user {name} may not ask from {}", person.source);
            let list: Vec<_> = sources.iter().map(ToString::to_string).collect();
            return Err(Problem::new(Code::Denied, message)
                .because(format!("{whose} from {} only", list.join(", "))));
        }
    }
    let Some(user) = record else {
        return match person.rooted {
            Some(role @ Role::Admin) if !fleet.users.contains_key(name) => {
                Ok(Grants::everywhere(role))
            }
            _ => Err(Problem::new(Code::Denied, format!("user {name} is not of this fleet"))
                .hint(format!("an admin lets people in: trictl user add {name} ROLE"))),
        };
    };
    if let Some(reason) = &user.disabled {
        return Err(Problem::new(Code::Denied, format!("user {name} is disabled: {reason}"))
            .hint(format!("an admin can undo it: trictl user enable {name}")));
    }
    if !user.holds(&person.serial) {
        let message = format!("this certificate of user {name} counts no more");
        return Err(Problem::new(Code::Denied, message)
            .hint("log in again with a token from an admin: trictl login --enrol HOST:PORT"));
    }
    Ok(user.grants.clone())
}

/// Returns why the person that a subject names may do nothing at all, whatever their certificate.
pub fn shut_out(fleet: &Fleet, subject: &str) -> Option<Problem> {
    let name: UserName = subject.strip_prefix("user/")?.parse().ok()?;
    match fleet.users.get(&name)? {
        User { removed: true, .. } => {
            Some(Problem::new(Code::Denied, format!("user {name} is not of this fleet")))
        }
        User { disabled: Some(reason), .. } => {
            Some(Problem::new(Code::Denied, format!("user {name} is disabled: {reason}")))
        }
        User { .. } => None,
    }
}

/// Returns the role in which somebody may do it; who they are and what is missing otherwise.
pub fn judge(fleet: &Fleet, person: &Person, verb: Verb, reach: &Reach) -> Result<Role, Problem> {
    let grants = standing(fleet, person)?;
    if let Some(role) = grants.role_for(verb, reach) {
        return Ok(role);
    }
    let name = &person.name;
    let who = if grants.is_empty() {
        format!("user {name}, who has no role,")
    } else {
        format!("user {name} as {grants}")
    };
    // Where the role would do, it is the place that is missing.
    let may_elsewhere = grants.iter().any(|(role, _)| role.may(verb));
    let place = if may_elsewhere { format!(" in {reach}") } else { String::new() };
    let (resource, _) = verb.needs();
    Err(Problem::new(Code::Denied, format!("{who} may not {verb}{place}"))
        .because(format!(
            "{verb} works on {} and needs the role {}{place}",
            resource.as_str(),
            who_may(verb)
        ))
        .hint(format!(
            "ask an admin (trictl user grant {name} ROLE), or use another context: trictl \
             --context NAME"
        )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(name: &str, serial: &str, rooted: Option<Role>, source: [u8; 4]) -> Person {
        let source = std::net::IpAddr::from(source).into();
        Person { name: name.parse().unwrap(), serial: serial.to_owned(), rooted, source }
    }

    fn ann() -> Person {
        person("ann", "01", None, [10, 1, 0, 9])
    }

    fn fleet(change: impl FnOnce(&mut User)) -> Fleet {
        let login = Login {
            key: Digest::of(b"key"),
            since: WallTime(0),
            until: WallTime(20),
            source: String::new(),
            certificates: BTreeMap::from([("01".to_owned(), WallTime(10))]),
        };
        let mut user = User {
            grants: Grants::everywhere(Role::Operator),
            logins: BTreeMap::from([("token123".to_owned(), login)]),
            ..User::default()
        };
        change(&mut user);
        let users = BTreeMap::from([("ann".parse().unwrap(), user)]);
        Fleet { users, ..Fleet::default() }
    }

    fn denied(fleet: &Fleet, person: &Person) -> String {
        let problem = standing(fleet, person).unwrap_err();
        assert_eq!(problem.code, Code::Denied);
        problem.message
    }

    #[test]
    fn a_role_comes_from_the_record_and_not_from_the_certificate() {
        let fleet = fleet(|_| ());
        assert_eq!(judge(&fleet, &ann(), Verb::UpgradeStart, &Reach::Fleet), Ok(Role::Operator));
        let rooted = Person { rooted: Some(Role::Admin), ..ann() };
        let refused = judge(&fleet, &rooted, Verb::NodeRemove, &Reach::Fleet).unwrap_err();
        assert_eq!(refused.message, "user ann as operator may not node.remove");
        assert_eq!(refused.why, ["node.remove works on the fleet and needs the role admin"]);
    }

    #[test]
    fn only_the_roots_admin_is_known_without_a_record() {
        let empty = Fleet::default();
        let rooted = |role| person("zoe", "07", role, [10, 1, 0, 9]);
        assert!(standing(&empty, &rooted(Some(Role::Admin))).is_ok());
        for role in [Some(Role::Operator), Some(Role::Auditor), Some(Role::Developer), None] {
            assert_eq!(denied(&empty, &rooted(role)), "user zoe is not of this fleet");
        }
        // A removed name stays removed, whoever signs for it.
        let removed = fleet(|user| user.removed = true);
        let rooted = Person { rooted: Some(Role::Admin), ..ann() };
        assert_eq!(denied(&removed, &rooted), "user ann is not of this fleet");
    }

    #[test]
    fn disabled_people_and_certificates_off_the_record_count_for_nothing() {
        let disabled = fleet(|user| user.disabled = Some("left".to_owned()));
        assert_eq!(denied(&disabled, &ann()), "user ann is disabled: left");
        let other = Person { serial: "02".to_owned(), ..ann() };
        assert_eq!(denied(&fleet(|_| ()), &other), "this certificate of user ann counts no more");
    }

    /// B9: what was let through where that was not known yet is refused by the leader.
    #[test]
    fn a_subject_that_was_shut_out_is_known_by_name_alone() {
        let told = |fleet: &Fleet, subject: &str| shut_out(fleet, subject).map(|p| p.message);
        assert_eq!(told(&fleet(|_| ()), "user/ann"), None);
        let disabled = fleet(|user| user.disabled = Some("left".to_owned()));
        let message = "user ann is disabled: left".to_owned();
        assert_eq!(told(&disabled, "user/ann"), Some(message));
        assert_eq!(told(&disabled, "user/bob"), None);
        assert_eq!(told(&disabled, "agent/ann"), None);
        let removed = fleet(|user| user.removed = true);
        assert!(told(&removed, "user/ann").is_some());
    }

    /// DMP-37: a person asks from the networks of the allow-lists, their own and the fleet's.
    #[test]
    fn people_ask_from_where_they_may() {
        let networks = |text: &str| BTreeSet::from([text.parse().unwrap()]);
        let mut one = fleet(|user| user.sources = networks("10.1.0.0/24"));
        let away = person("ann", "01", None, [10, 2, 0, 9]);
        assert!(standing(&one, &ann()).is_ok());
        assert_eq!(denied(&one, &away), "user ann may not ask from 10.2.0.9");
        one.sources = networks("10.2.0.0/16");
        assert_eq!(denied(&one, &ann()), "user ann may not ask from 10.1.0.9");
        // The root's admin is no exception.
        let rooted = person("zoe", "07", Some(Role::Admin), [10, 1, 0, 9]);
        assert_eq!(denied(&one, &rooted), "user zoe may not ask from 10.1.0.9");
    }

    #[test]
    fn a_refusal_names_the_region_when_that_is_what_is_missing() {
        let fleet = fleet(|user| {
            user.grants = Grants::default();
            let grant = "operator@aws".parse::<trireme_proto::access::Grant>().unwrap();
            user.grants.add(grant.role, &grant.regions);
        });
        let gcp = Reach::region(&"gcp".parse().unwrap());
        let refused = judge(&fleet, &ann(), Verb::UpgradeStart, &gcp).unwrap_err();
        assert_eq!(refused.message, "user ann as operator of aws may not upgrade.start in gcp");
        let aws = Reach::region(&"aws".parse().unwrap());
        assert!(judge(&fleet, &ann(), Verb::UpgradeStart, &aws).is_ok());
        let none = judge(&fleet, &ann(), Verb::AuditList, &Reach::Anywhere).unwrap_err();
        assert_eq!(none.message, "user ann as operator of aws may not audit.list");
    }
}
