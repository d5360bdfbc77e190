//! People by value: let in, limited, shut out; tokens and certificates that count once and in time.

use std::collections::BTreeSet;

use trireme_proto::access::Grant;
use trireme_proto::digest::Digest;
use trireme_proto::identity::UserName;
use trireme_proto::token::{SecretHash, TokenId, TokenSecret};

use super::*;
use crate::state::people::{Certificate, Change, Person, standing};

fn ann() -> UserName {
    "ann".parse().unwrap()
}

fn grants(text: &str) -> trireme_proto::access::Grants {
    let mut grants = trireme_proto::access::Grants::default();
    let Grant { role, regions } = text.parse().unwrap();
    grants.add(role, &regions);
    grants
}

fn hash(secret: u8) -> SecretHash {
    TokenSecret::from_random([secret; 16]).hash(&TokenId::from_random([1; 8]))
}

fn certificate(key: &str, serial: &str) -> Certificate {
    let expires = WallTime(8 * 3_600_000);
    Certificate { key: Digest::of(key.as_bytes()), serial: serial.to_owned(), expires }
}

impl Log {
    fn people(&mut self, change: Change) -> Result<Outcome, Problem> {
        self.apply(Body::People { change })
    }

    fn let_in(&mut self, roles: &str) {
        self.people(Change::Add { name: ann(), grants: grants(roles) }).unwrap();
        self.token("tok1", 1);
    }

    fn token(&mut self, id: &str, secret: u8) {
        let expires_at = WallTime(self.at.0 + 3_600_000);
        let id = id.to_owned();
        self.people(Change::Token { name: ann(), id, secret_hash: hash(secret), expires_at })
            .unwrap();
    }

    fn login(&mut self, id: &str, secret: u8, key: &str, serial: &str) -> Result<Outcome, Problem> {
        let certificate = certificate(key, serial);
        let token = id.to_owned();
        self.people(Change::Login { token, secret_hash: hash(secret), certificate })
    }

    fn renew(&mut self, id: &str, key: &str, serial: &str) -> Result<Outcome, Problem> {
        let certificate = certificate(key, serial);
        self.people(Change::Renew { name: ann(), login: id.to_owned(), certificate })
    }

    fn counts(&self, serial: &str) -> bool {
        let source = std::net::IpAddr::from([127, 0, 0, 1]).into();
        let person = Person { name: ann(), serial: serial.to_owned(), rooted: None, source };
        standing(&self.fleet, &person).is_ok()
    }
}

fn denied(outcome: Result<Outcome, Problem>) -> String {
    let problem = outcome.unwrap_err();
    assert_eq!(problem.code, Code::Denied, "{problem:?}");
    problem.message
}

#[test]
fn a_token_is_one_certificate_for_one_key() {
    let mut log = Log::serving();
    log.let_in("operator@aws");
    assert_eq!(denied(log.login("tok1", 2, "k", "s1")), "token tok1 is not of this fleet");
    let logged_in = log.login("tok1", 1, "k", "s1").unwrap();
    assert!(matches!(logged_in, Outcome::LoggedIn { login, .. } if login == "tok1"));
    assert!(log.counts("s1") && !log.counts("s2"));
    // An answer that was lost is asked for again with the same key; anybody else is too late.
    log.login("tok1", 1, "k", "s2").unwrap();
    assert!(log.counts("s1") && log.counts("s2"));
    assert_eq!(
        denied(log.login("tok1", 1, "other", "s3")),
        "token tok1 of user ann was used already"
    );
    assert!(!log.counts("s3"));
}

#[test]
fn a_token_ends_with_its_time_and_with_the_next_one() {
    let mut log = Log::serving();
    log.let_in("auditor");
    log.token("tok2", 2);
    assert_eq!(denied(log.login("tok1", 1, "k", "s1")), "token tok1 is not of this fleet");
    log.at = FleetTime(log.at.0 + 3_600_000);
    assert!(denied(log.login("tok2", 2, "k", "s1")).contains("expired at"));
}

#[test]
fn certificates_follow_each_other_for_thirty_days_for_the_same_key_alone() {
    let mut log = Log::serving();
    log.let_in("auditor");
    log.login("tok1", 1, "k", "s1").unwrap();
    let unknown = "login tok1 of user ann is not of this fleet";
    assert_eq!(denied(log.renew("tok1", "stolen", "s2")), unknown);
    assert!(denied(log.renew("tok9", "k", "s2")).ends_with("is not of this fleet"));
    log.at = FleetTime(log.at.0 + 29 * 24 * 3_600_000);
    log.renew("tok1", "k", "s2").unwrap();
    assert!(log.counts("s2") && !log.counts("s1"), "what has ended is off the record");
    log.at = FleetTime(log.at.0 + 2 * 24 * 3_600_000);
    assert!(denied(log.renew("tok1", "k", "s3")).contains("ended at"));
}

/// B9: a locked account works no more, and unlocking it opens nothing that was open before.
#[test]
fn who_is_disabled_holds_nothing_any_more() {
    let mut log = Log::serving();
    log.let_in("admin");
    log.login("tok1", 1, "k", "s1").unwrap();
    log.token("tok2", 2);
    let lost = log.fleet.users_lost;
    log.people(Change::Disable { name: ann(), reason: "left".to_owned() }).unwrap();
    assert!(log.fleet.users_lost > lost && !log.counts("s1"));
    assert_eq!(denied(log.renew("tok1", "k", "s2")), "user ann is disabled: left");
    assert_eq!(denied(log.login("tok2", 2, "k2", "s2")), "token tok2 is not of this fleet");
    let expires_at = WallTime(u64::MAX);
    let id = "tok3".to_owned();
    let token = Change::Token { name: ann(), id, secret_hash: hash(3), expires_at };
    assert_eq!(log.people(token).unwrap_err().code, Code::Conflict);
    log.people(Change::Enable { name: ann() }).unwrap();
    assert!(!log.counts("s1"));
    assert!(denied(log.renew("tok1", "k", "s2")).ends_with("is not of this fleet"));
}

/// B8: a name that was removed and given again inherits nothing.
#[test]
fn a_name_given_again_brings_no_certificate_back() {
    let mut log = Log::serving();
    log.let_in("admin");
    log.login("tok1", 1, "k", "s1").unwrap();
    log.people(Change::Remove { name: ann(), reason: "left".to_owned() }).unwrap();
    assert!(!log.counts("s1"));
    let gone = log.people(Change::Enable { name: ann() }).unwrap_err();
    assert_eq!(gone.code, Code::NotFound);
    log.people(Change::Add { name: ann(), grants: grants("developer") }).unwrap();
    assert!(!log.counts("s1"), "an old certificate came back to life");
    assert!(denied(log.renew("tok1", "k", "s2")).ends_with("is not of this fleet"));
    assert!(denied(log.login("tok1", 1, "k", "s2")).ends_with("is not of this fleet"));
    assert_eq!(log.fleet.users[&ann()].grants.to_string(), "developer");
}

#[test]
fn roles_are_given_in_regions_that_exist_and_taken_again() {
    let mut log = Log::serving();
    let add = Change::Add { name: ann(), grants: grants("operator@azure") };
    assert_eq!(log.people(add).unwrap_err().message, "there is no region azure");
    log.let_in("operator@aws");
    let again = Change::Add { name: ann(), grants: grants("admin") };
    assert_eq!(log.people(again).unwrap_err().code, Code::Conflict);
    log.people(Change::Grant { name: ann(), grants: grants("auditor") }).unwrap();
    let lost = log.fleet.users[&ann()].lost;
    log.people(Change::Revoke { name: ann(), grants: grants("operator@aws") }).unwrap();
    let user = &log.fleet.users[&ann()];
    assert_eq!(user.grants.to_string(), "auditor");
    assert!(user.lost > lost, "what they have open is to be cut");
    let nothing = Change::Revoke { name: ann(), grants: grants("operator") };
    let problem = log.people(nothing).unwrap_err();
    assert_eq!(problem.message, "user ann is not operator of all regions");
}

/// DMP-37: nobody shuts himself out by mistake.
#[test]
fn an_allow_list_never_leaves_out_who_writes_it() {
    let mut log = Log::serving();
    log.let_in("admin");
    let networks = |text: &str| BTreeSet::from([text.parse().unwrap()]);
    for name in [None, Some(ann())] {
        let outside = Change::Limit { name, sources: networks("10.0.0.0/8") };
        let problem = log.people(outside).unwrap_err();
        assert_eq!(problem.message, "you ask from 127.0.0.1, which would be shut out");
    }
    log.people(Change::Limit { name: None, sources: networks("127.0.0.0/8") }).unwrap();
    log.people(Change::Limit { name: Some(ann()), sources: networks("127.0.0.1") }).unwrap();
    assert_eq!(log.fleet.sources.len(), 1);
    log.people(Change::Limit { name: None, sources: BTreeSet::new() }).unwrap();
    assert!(log.fleet.sources.is_empty());
}

/// TSP-28: what a review of access looks at.
#[test]
fn the_record_tells_when_somebody_last_asked() {
    let mut log = Log::serving();
    log.let_in("admin");
    log.at = FleetTime(5000);
    log.apply(Body::Note { object: "node/aws-1".to_owned(), text: "x".to_owned() }).unwrap();
    assert_eq!(log.fleet.users[&ann()].used, Some(WallTime(5000)));
    log.at = FleetTime(6000);
    let refused = Body::Note { object: "node/none".to_owned(), text: "x".to_owned() };
    assert!(log.apply(refused).is_err());
    assert_eq!(log.fleet.users[&ann()].used, Some(WallTime(6000)), "refusals are use as well");
}

#[test]
fn one_person_is_logged_in_at_so_many_places() {
    let mut log = Log::serving();
    log.let_in("auditor");
    for place in 0..9 {
        log.at = FleetTime(log.at.0 + 1000);
        let (id, key, serial) = (format!("tok{place}"), format!("k{place}"), format!("s{place}"));
        log.token(&id, place);
        log.login(&id, place, &key, &serial).unwrap();
    }
    assert!(!log.counts("s0") && log.counts("s1") && log.counts("s8"));
}
