//! Approvals by value: who counts, for which plan, for how long, and how often.

use trireme_proto::model::ApprovalPolicy;
use trireme_proto::plan::{Operation, PlanId, Scope};

use super::*;
use crate::state::approval::Reviewed;

/// A fleet whose service wants approvals, and a plan of it.
fn guarded(count: u32, roles: &[trireme_proto::identity::Role]) -> (Log, PlanId) {
    let mut log = Log::serving();
    let (service, version) = ("web".parse().unwrap(), "1.1.0".parse().unwrap());
    let policy = ApprovalPolicy { count, roles: roles.to_vec(), within: Span::secs(3600) };
    log.fleet.services.get_mut(&service).unwrap().manifest.upgrade.approvals = Some(policy);
    let id = waves::plan(&log.fleet, &service, &version).unwrap().id();
    (log, id)
}

impl Log {
    fn by(&mut self, who: &str, role: &str, body: Body) -> Result<Outcome, Problem> {
        let mut command = self.command(body);
        command.actor.subject = format!("user/{who}");
        command.actor.role = role.to_owned();
        self.apply_command(&command)
    }

    fn start_by(&mut self, who: &str, plan: &PlanId) -> Result<Outcome, Problem> {
        let evidence = self.evidence();
        self.by(who, "operator", Body::StartUpgrade { plan: plan.clone(), evidence })
    }

    fn approve(&mut self, who: &str, role: &str, plan: &PlanId) -> Result<Outcome, Problem> {
        self.by(who, role, Body::Approve { plan: plan.clone() })
    }
}

fn waits(outcome: Result<Outcome, Problem>) -> Problem {
    match outcome {
        Ok(Outcome::Waiting(problem)) => problem,
        other => panic!("it does not wait: {other:?}"),
    }
}

fn started(outcome: &Result<Outcome, Problem>) -> bool {
    matches!(outcome, Ok(Outcome::Upgrade(_)))
}

/// DMP-16: proposed, approved by another, started; each is one record of the audit.
#[test]
fn a_plan_starts_when_enough_others_have_approved_it() {
    let (mut log, plan) = guarded(2, &[]);
    let before = log.fleet.audit.seq;
    let problem = waits(log.start_by("ann", &plan));
    assert_eq!(problem.code, Code::Waiting);
    assert!(problem.message.ends_with("waits for approval: 0 of 2"), "{problem}");
    let own = log.approve("ann", "admin", &plan).unwrap_err();
    assert_eq!(own.code, Code::Denied);
    assert!(own.message.contains("proposed plan"), "{own}");
    log.approve("bob", "operator", &plan).unwrap();
    // The same person twice is one.
    log.approve("bob", "admin", &plan).unwrap();
    assert!(waits(log.start_by("ann", &plan)).message.ends_with("1 of 2"));
    log.approve("cat", "admin", &plan).unwrap();
    assert!(started(&log.start_by("ann", &plan)));
    assert_eq!(log.fleet.audit.seq - before, 7, "one record each");
    assert!(log.start_by("ann", &plan).is_err(), "a second start finds the first");
}

#[test]
fn neither_who_proposed_nor_who_starts_is_counted() {
    let (mut log, plan) = guarded(1, &[]);
    // Approved before anybody proposed it: the starter's own word does not count.
    log.approve("bob", "operator", &plan).unwrap();
    waits(log.start_by("bob", &plan));
    // Bob proposed by starting: his approval counts for nobody now.
    waits(log.start_by("ann", &plan));
    log.approve("cat", "operator", &plan).unwrap();
    assert!(started(&log.start_by("ann", &plan)));
}

#[test]
fn only_the_roles_that_the_manifest_names_approve() {
    use trireme_proto::identity::Role;
    let (mut log, plan) = guarded(1, &[Role::Admin]);
    waits(log.start_by("ann", &plan));
    let denied = log.approve("bob", "operator", &plan).unwrap_err();
    assert_eq!(denied.code, Code::Denied);
    assert_eq!(denied.why, ["service web wants it from admin"]);
    log.approve("cat", "admin", &plan).unwrap();
    assert!(started(&log.start_by("ann", &plan)));
}

/// B6: what was approved once is not approved for ever.
#[test]
fn an_approval_ends_with_its_time_with_a_change_and_with_its_use() {
    let (mut log, plan) = guarded(1, &[]);
    log.approve("bob", "operator", &plan).unwrap();
    log.at = FleetTime(log.at.0 + 3_600_001);
    waits(log.start_by("ann", &plan));
    log.approve("bob", "operator", &plan).unwrap();
    // Anything that makes it another plan voids what was said to the old one.
    let service = log.fleet.services.get_mut(&plan.service).unwrap();
    service.revision += 1;
    let stale = log.start_by("ann", &plan).unwrap_err();
    assert_eq!(stale.code, Code::Conflict);
    assert_eq!(log.approve("cat", "operator", &plan).unwrap_err().code, Code::Conflict);
    let changed = waves::plan(&log.fleet, &plan.service, &plan.version).unwrap().id();
    waits(log.start_by("ann", &changed));
    log.approve("bob", "operator", &changed).unwrap();
    let held = log.fleet.approvals[&changed.to_string()].clone();
    assert!(started(&log.start_by("ann", &changed)));
    assert!(!log.fleet.approvals.contains_key(&changed.to_string()), "used up");
    // A record of another plan's hash under the same name counts for nothing.
    let upgrade = *log.fleet.upgrades.keys().next_back().unwrap();
    log.fleet.upgrades.remove(&upgrade);
    let mut forged = held;
    forged.plan = trireme_proto::digest::Digest::of(b"another plan");
    log.fleet.approvals.insert(changed.to_string(), forged);
    waits(log.start_by("ann", &changed));
}

#[test]
fn whoever_was_shut_out_since_has_approved_nothing() {
    let (mut log, plan) = guarded(1, &[]);
    log.approve("bob", "operator", &plan).unwrap();
    let user = crate::state::people::User {
        disabled: Some("left".to_owned()),
        ..crate::state::people::User::default()
    };
    log.fleet.users.insert("bob".parse().unwrap(), user);
    waits(log.start_by("ann", &plan));
}

#[test]
fn broken_glass_is_for_one_person_and_is_reviewed_by_another() {
    let (mut log, plan) = guarded(2, &[]);
    let reason = "customers are down".to_owned();
    let body = Body::BreakGlass { plan: plan.clone(), reason, asked: None };
    log.by("ann", "admin", body).unwrap();
    waits(log.start_by("bob", &plan));
    assert!(started(&log.start_by("ann", &plan)));
    let (&id, record) = log.fleet.breaks.iter().next().unwrap();
    assert_eq!((record.actor.as_str(), record.review), ("user/ann", None));
    assert_eq!(record.due, FleetTime(log.at.0 + 24 * 3_600_000));
    let review = |of| Body::Review { of, note: "fine".to_owned(), incident: None };
    let own = log.by("ann", "admin", review(Reviewed::Break { id })).unwrap_err();
    assert_eq!(own.code, Code::Denied);
    log.by("cat", "auditor", review(Reviewed::Break { id })).unwrap();
    assert!(log.fleet.breaks[&id].review.is_some());
    let twice = log.by("bob", "auditor", review(Reviewed::Break { id })).unwrap_err();
    assert_eq!(twice.code, Code::Conflict);
}

/// A fleet whose service is restarted by hand only when others agree.
fn destructive(count: u32) -> Log {
    let mut log = Log::serving();
    let policy = ApprovalPolicy { count, roles: Vec::new(), within: Span::secs(3600) };
    let by_hand = trireme_proto::model::ByHand { confirm: true, approvals: Some(policy) };
    let service = log.fleet.services.get_mut(&"web".parse().unwrap()).unwrap();
    service.manifest.by_hand = Some(by_hand);
    log
}

impl Log {
    fn operate_by(
        &mut self,
        who: &str,
        operation: Operation,
        scope: &Scope,
    ) -> Result<Outcome, Problem> {
        let (service, scope) = ("web".parse().unwrap(), scope.clone());
        let (reason, evidence) = ("hangs".to_owned(), self.evidence());
        let body = Body::Operate { service, operation, scope, reason, evidence };
        self.by(who, "operator", body)
    }
}

/// TSP-13: a destructive restart waits for others, of this very scope; a start asks nobody.
#[test]
fn tsp_13_a_destructive_restart_starts_when_others_have_agreed_to_that_very_one() {
    let mut log = destructive(1);
    let one = Scope { nodes: ["aws-1".parse().unwrap()].into(), ..Scope::default() };
    let problem = waits(log.operate_by("ann", Operation::Restart, &one));
    assert_eq!((problem.code, problem.rule.as_deref()), (Code::Waiting, Some("by_hand.approvals")));
    let web = "web".parse().unwrap();
    let plan = waves::operation(&log.fleet, &web, Operation::Restart, &one).unwrap().id();
    assert!(problem.message.contains(&plan.to_string()), "{problem}");
    assert_eq!(log.approve("ann", "operator", &plan).unwrap_err().code, Code::Denied);
    log.approve("bob", "operator", &plan).unwrap();
    // What was agreed to is this node, and this operation.
    waits(log.operate_by("ann", Operation::Restart, &Scope::default()));
    waits(log.operate_by("ann", Operation::Stop, &one));
    assert!(started(&log.operate_by("ann", Operation::Restart, &one)));
    assert!(!log.fleet.approvals.contains_key(&plan.to_string()), "used up");

    let mut log = destructive(2);
    let everywhere = Scope::default();
    let stop = waves::operation(&log.fleet, &web, Operation::Stop, &one).unwrap().id();
    let unasked = log.approve("bob", "operator", &stop).unwrap_err();
    assert_eq!(unasked.code, Code::NotFound, "what is to be stopped is not in the name");
    assert!(started(&log.operate_by("ann", Operation::Start, &everywhere)), "it only restores");
}

/// TSP-13: the glass is broken for a restart as for an upgrade, and the ledger is asked all the same.
#[test]
fn tsp_13_broken_glass_lets_one_person_restart_and_is_reviewed() {
    let mut log = destructive(2);
    let (web, operation) = ("web".parse().unwrap(), Operation::Restart);
    let one = Scope { nodes: ["aws-1".parse().unwrap()].into(), ..Scope::default() };
    let plan = waves::operation(&log.fleet, &web, operation, &one).unwrap().id();
    let (reason, asked) = ("down".to_owned(), Some((operation, one.clone())));
    log.by("ann", "admin", Body::BreakGlass { plan, reason, asked }).unwrap();
    waits(log.operate_by("bob", operation, &one));
    assert!(started(&log.operate_by("ann", operation, &one)));
    let record = log.fleet.breaks.values().next().unwrap();
    assert_eq!((record.plan.version.as_str(), record.review), ("restart", None));
}

/// DVN-53, DMP-38, TSP-28: a review keeps who looked, at what, by which query, and how much.
#[test]
fn a_review_keeps_who_looked_at_what() {
    let mut log = Log::serving();
    let of = Reviewed::Audit { from: 1, to: 90, query: "result=refused".to_owned(), count: 3 };
    let body = Body::Review { of, note: "one odd".to_owned(), incident: Some("inc-7".to_owned()) };
    log.by("una", "auditor", body).unwrap();
    log.by(
        "una",
        "auditor",
        Body::Review {
            of: Reviewed::Access { count: 4 },
            note: "all known".to_owned(),
            incident: None,
        },
    )
    .unwrap();
    let reviews: Vec<_> = log.fleet.reviews.values().collect();
    assert_eq!(reviews.len(), 2);
    assert_eq!(reviews[0].reviewer, "user/una");
    assert_eq!(reviews[0].incident.as_deref(), Some("inc-7"));
}
