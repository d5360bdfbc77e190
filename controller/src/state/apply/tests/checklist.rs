//! Checklists by value: what opens, who may answer what, and what can be closed.

use trireme_proto::id::{ChecklistId, ItemId, RunId};
use trireme_proto::model::Object;

use super::*;
use crate::state::checklist::{Answer, ChecklistStep, Finding, Findings, Run, Tally};

const DAILY: &str = "\
kind: Checklist
name: daily
owner: oncall
schedule: {daily: {at: \"09:00\"}}
window: 1h
items:
  - {name: services, title: All serve, by: {serving: {}}}
  - {name: dashboard, title: Looked at, by: {ask: {note: true}}}
  - {name: audit, title: One chain, by: {fact: audit-verified}}
";

const MONTHLY: &str = "\
kind: Checklist
name: monthly
owner: oncall
items:
  - {name: drill, title: Rehearsed, by: {ask: {link: drill}}}
  - {name: access, title: Read the logs, by: {ask: {count: true, review: true, link_if_failed: incident}}}
";

fn id(name: &str) -> ChecklistId {
    name.parse().unwrap()
}

fn item(name: &str) -> ItemId {
    name.parse().unwrap()
}

impl Log {
    fn declare(&mut self, yaml: &str) {
        let objects = trireme_proto::manifest::parse("m", yaml).unwrap();
        let objects: Vec<Object> = objects.into_iter().map(|one| one.value).collect();
        let body = Body::Apply { base_revision: 0, objects, evidence: self.evidence() };
        assert!(matches!(self.apply(body).unwrap(), Outcome::Applied(_)));
    }

    /// Has the leader open it, having found automatic items to be so.
    fn opens(&mut self, name: &str, period: u64, found: &[(&str, bool)]) -> Result<Tally, Problem> {
        let due = WallTime(period);
        let ends = WallTime(due.0 + 3600);
        let (checklist, period) = (id(name), period.to_string());
        let findings = self.found(name, None, found);
        self.step(ChecklistStep::Open { checklist, period, due, ends, findings })
    }

    fn found(&self, name: &str, run: Option<RunId>, found: &[(&str, bool)]) -> Findings {
        let found = found.iter().map(|(name, passed)| Finding {
            item: item(name),
            passed: *passed,
            seen: format!("saw {name}"),
        });
        let revision = self.fleet.checklists[&id(name)].revision;
        Findings { run, revision, items: found.collect() }
    }

    fn step(&mut self, what: ChecklistStep) -> Result<Tally, Problem> {
        match self.apply(Body::Checklist { what })? {
            Outcome::Checked(tally) => Ok(tally),
            other => panic!("{other:?}"),
        }
    }

    fn looks(&mut self, name: &str, found: &[(&str, bool)]) -> Result<Tally, Problem> {
        let open = self.fleet.checklists[&id(name)].open_run().map(|run| run.id);
        let findings = self.found(name, open, found);
        self.step(ChecklistStep::Run { checklist: id(name), findings })
    }

    fn answers(&mut self, name: &str, to: &str, answer: Answer) -> Result<Tally, Problem> {
        let (checklist, item) = (id(name), item(to));
        let review = to == "access";
        self.step(ChecklistStep::Answer { checklist, run: None, item, answer, review })
    }

    fn closes(&mut self, name: &str, note: &str) -> Result<Tally, Problem> {
        let (checklist, note) = (id(name), note.to_owned());
        self.step(ChecklistStep::Close { checklist, run: None, note })
    }

    fn newest(&self, name: &str) -> &Run {
        self.fleet.checklists[&id(name)].runs.last().unwrap()
    }
}

fn well(note: &str) -> Answer {
    Answer { passed: true, note: note.to_owned(), ..Answer::default() }
}

fn linked(link: &str) -> Answer {
    Answer { link: Some(link.to_owned()), ..well("") }
}

/// DVN-01, TSP-04: items keep their order; each has result, time and actor; each step is one record.
#[test]
fn dvn_01_what_was_found_is_kept_with_its_time_and_who_found_it() {
    let mut log = Log::serving();
    log.declare(DAILY);
    let before = log.fleet.audit.seq;
    let tally = log.opens("daily", 9000, &[("services", true), ("audit", false)]).unwrap();
    assert_eq!((tally.failed, tally.left), (vec![item("audit")], vec![item("dashboard")]));
    let run = log.newest("daily");
    let names: Vec<_> = run.items.iter().map(|one| one.item.name.as_str()).collect();
    assert_eq!(names, ["services", "dashboard", "audit"]);
    let found = run.items[0].found.as_ref().unwrap();
    assert_eq!((found.passed, found.at, found.actor.as_str()), (true, WallTime(1000), "user/ann"));
    assert_eq!(found.note, "saw services");
    // A person is asked: what the leader says of it does not count.
    log.looks("daily", &[("services", true), ("dashboard", true), ("audit", true)]).unwrap();
    assert_eq!(log.newest("daily").left().count(), 1);
    let refused = log.answers("daily", "audit", well("I looked")).unwrap_err();
    assert!(refused.message.contains("looked up by the controllers"), "{refused}");
    let lacking = log.answers("daily", "dashboard", well("")).unwrap_err();
    assert_eq!((lacking.code, lacking.message.contains("what was found")), (Code::Usage, true));
    let tally = log.answers("daily", "dashboard", well("quiet")).unwrap();
    assert!(tally.closed, "every item is done and well");
    assert_eq!(log.newest("daily").closed.as_ref().unwrap().actor, "user/ann");
    assert_eq!(log.fleet.audit.seq - before, 5, "one record each, refusals too");
}

#[test]
fn dvn_02_a_period_opens_once_and_what_is_open_stays() {
    let mut log = Log::serving();
    log.declare(DAILY);
    log.opens("daily", 9000, &[]).unwrap();
    let again = log.opens("daily", 9000, &[]).unwrap_err();
    assert_eq!(again.code, Code::Conflict);
    assert!(log.opens("daily", 8000, &[]).is_err(), "an older one than the last");
    log.opens("daily", 9500, &[]).unwrap();
    assert_eq!(log.fleet.checklists[&id("daily")].runs.len(), 2);
    // Somebody changed it while the leader looked.
    let stale = log.found("daily", None, &[]);
    log.declare(&DAILY.replace("owner: oncall", "owner: night"));
    let what = ChecklistStep::Open {
        checklist: id("daily"),
        period: "9900".to_owned(),
        due: WallTime(9900),
        ends: WallTime(9999),
        findings: stale,
    };
    assert!(log.step(what).unwrap_err().message.contains("changed while"));
    // Runs keep the items they opened with.
    log.declare(&DAILY.replace("name: services", "name: serving"));
    assert_eq!(log.newest("daily").items[0].item.name, item("services"));
}

#[test]
fn what_is_kept_of_runs_is_bounded_and_open_ones_last_longest() {
    let mut log = Log::serving();
    log.declare(DAILY);
    log.opens("daily", 1, &[]).unwrap();
    for period in 2..=70 {
        log.opens("daily", period, &[("services", true), ("audit", true)]).unwrap();
        log.answers("daily", "dashboard", well("quiet")).unwrap();
    }
    let runs = &log.fleet.checklists[&id("daily")].runs;
    assert_eq!(runs.len(), 60);
    assert_eq!((runs[0].period.as_str(), runs[1].period.as_str()), ("1", "12"));
}

/// DVN-03: no close, however it is asked for, without the record of a drill.
#[test]
fn dvn_03_nothing_closes_without_the_drill_it_asks_for() {
    let mut log = Log::serving();
    log.declare(MONTHLY);
    log.looks("monthly", &[]).unwrap();
    let refused = log.closes("monthly", "no time").unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.message.contains("nobody has looked at drill, access"), "{refused}");
    assert!(refused.why.contains(&"an answer must be linked to drill/ID".to_owned()));
    for link in ["incident-7", "https://wiki.example.com/drill", "drill/"] {
        let refused = log.answers("monthly", "drill", linked(link)).unwrap_err();
        assert_eq!(refused.code, Code::Usage, "{link}: {refused}");
    }
    let failed = Answer { passed: false, ..well("was not held") };
    assert!(log.answers("monthly", "drill", failed).is_err(), "nor does a bad one");
    log.answers("monthly", "drill", linked("drill/2026-11")).unwrap();
    assert_eq!(
        log.newest("monthly").items[0].found.as_ref().unwrap().link.as_deref(),
        Some("drill/2026-11")
    );
    assert!(log.closes("monthly", "x").unwrap_err().message.contains("looked at access"));
}

/// DVN-53: reviewer, query and count; what is odd leads to an incident.
#[test]
fn dvn_53_reviews_are_answered_by_those_who_review() {
    let mut log = Log::serving();
    log.declare(MONTHLY);
    log.looks("monthly", &[]).unwrap();
    log.answers("monthly", "drill", linked("drill/2026-11")).unwrap();
    let counted = Answer { count: Some(3), query: "class=login".to_owned(), ..well("") };
    let what = ChecklistStep::Answer {
        checklist: id("monthly"),
        run: None,
        item: item("access"),
        answer: counted.clone(),
        review: false,
    };
    assert_eq!(log.step(what).unwrap_err().code, Code::Denied);
    assert!(log.answers("monthly", "access", well("fine")).is_err(), "no query, no count");
    let odd = Answer { passed: false, note: "odd".to_owned(), ..counted };
    let refused = log.answers("monthly", "access", odd.clone()).unwrap_err();
    assert!(refused.message.contains("must be linked to incident-N"), "{refused}");
    let odd = Answer { link: Some("incident-7".to_owned()), ..odd };
    let tally = log.answers("monthly", "access", odd).unwrap();
    assert_eq!((tally.failed.len(), tally.left.len(), tally.closed), (1, 0, false));
    assert_eq!(log.closes("monthly", " ").unwrap_err().code, Code::Usage, "a word about it");
    assert!(log.closes("monthly", "incident-7 is worked on").unwrap().closed);
    let none = log.closes("monthly", "again").unwrap_err();
    assert!(none.message.contains("no run of checklist monthly is open"), "{none}");
    // A person's run has no window, and a new one begins after it.
    assert_eq!(log.newest("monthly").ends, None);
    assert_eq!(log.looks("monthly", &[]).unwrap().left.len(), 2);
}

#[test]
fn checklists_are_deleted_with_their_runs_and_name_what_is_there() {
    let mut log = Log::serving();
    log.declare(DAILY);
    let yaml = DAILY.replace("{serving: {}}", "{check: {service: web, check: nothing}}");
    let objects = trireme_proto::manifest::parse("m", &yaml).unwrap();
    let objects = objects.into_iter().map(|one| one.value).collect();
    let body = Body::Apply { base_revision: 0, objects, evidence: log.evidence() };
    assert!(log.apply(body).unwrap_err().message.contains("names check web/nothing"));
    let (kind, name) = ("checklist".to_owned(), "daily".to_owned());
    log.apply(Body::Delete { base_revision: 0, kind, name }).unwrap();
    assert!(log.fleet.checklists.is_empty());
}
