//! Checklists of a running fleet: looked up in order, opened by schedule, answered by those who may.

use std::path::Path;

use serde_json::Value;
use trireme_proto::id::NodeId;
use trireme_proto::time::WallTime;
use trireme_proto::view::alert::IncidentView;
use trireme_proto::view::checklist::ChecklistView;

use super::people::{let_in, now};
use super::rig::{Rig, bounded, until};
use super::web::{self, Spec, WEB};

const DAILY: &str = "\
kind: Checklist
name: daily
owner: oncall
items:
  - {name: services, title: Serves in all regions, by: {serving: {services: [web]}}}
  - {name: dashboard, title: Looked at, by: {ask: {note: true}}}
  - {name: alerts, title: Nothing fires, by: {alerts: {severity: P1}}}
  - {name: path, title: The way through, by: {check: {service: web, check: health}}}
";

async fn declare(rig: &Rig, name: &str, text: &str) {
    let file = rig.file(name, text);
    rig.apply(&file).await.exits(0);
}

/// Returns what stands of each item: name, state, and whether who and when are known.
fn items(run: &Value) -> Vec<(String, String, bool)> {
    let items = run["items"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    items
        .map(|one| {
            let known = one["actor"].is_string() && one["at"].is_number();
            (text(&one["name"]), text(&one["state"]), known)
        })
        .collect()
}

fn item(name: &str, state: &str, known: bool) -> (String, String, bool) {
    (name.to_owned(), state.to_owned(), known)
}

/// DVN-01, TSP-04: the items in their order, each with result, time and actor; a fault is exit 1.
#[tokio::test(flavor = "multi_thread")]
async fn dvn_01_tsp_04_a_run_goes_through_the_items_in_order_and_fails_with_any_of_them() {
    bounded(async {
        let mut rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0"]).await;
        declare(&rig, "daily.yaml", DAILY).await;
        rig.trictl(&["checklist", "run", "daily", "--dry-run"]).await.exits(0);
        let list = rig.trictl(&["checklist", "list"]).await.exits(0).json();
        assert_eq!(list["items"][0]["state"], "never run", "a dry run is none");
        let run = rig.trictl(&["checklist", "run", "daily"]).await.exits(0).json();
        let well = [
            item("services", "passed", true),
            item("dashboard", "open", false),
            item("alerts", "passed", true),
            item("path", "passed", true),
        ];
        assert_eq!(items(&run), well);
        let answer = ["checklist", "answer", "daily", "dashboard"];
        rig.trictl(&answer).await.exits(2).says("must say what was found");
        let own = ["checklist", "answer", "daily", "services", "--note", "I say so"];
        rig.trictl(&own).await.exits(5).says("looked up by the controllers");
        let answer = [&answer[..], &["--note", "all quiet"]].concat();
        let run = rig.trictl(&answer).await.exits(0).json();
        assert_eq!(
            (&run["state"], &run["items"][1]["note"]),
            (&"passed".into(), &"all quiet".into())
        );
        assert_eq!(run["closed_by"], run["items"][1]["actor"]);

        rig.kill_agent(&"gcp-1".parse::<NodeId>().unwrap()).await;
        until("a fault", async || {
            let dry = rig.trictl(&["checklist", "run", "daily", "--dry-run"]).await;
            (dry.code == Some(1)).then_some(())
        })
        .await;
        let failed = rig.trictl(&["checklist", "run", "daily"]).await.exits(1);
        let problem = failed.problem();
        let hint = problem["hint"].as_str().unwrap();
        assert!(hint.starts_with("trictl checklist show daily"), "{problem}");
        let run = failed.json();
        assert_eq!(items(&run)[0], item("services", "failed", true));
        let note = run["items"][0]["note"].as_str().unwrap().to_owned();
        assert!(note.contains(&format!("{WEB} in gcp (0 of 1 nodes)")), "{note}");
        assert_eq!(items(&run)[1], item("dashboard", "open", false), "asked anew");
        let close = ["checklist", "close", "daily", "--note", "gcp is being replaced"];
        rig.trictl(&close).await.exits(5).says("nobody has looked at dashboard");
        rig.trictl(&answer).await.exits(0);
        rig.trictl(&["checklist", "close", "daily"]).await.exits(2);
        let closed = rig.trictl(&close).await.exits(0).json();
        assert_eq!(closed["state"], "closed");

        let audit = rig.trictl(&["audit", "list", "--action", "checklist"]).await.exits(0).json();
        let verbs: Vec<_> = audit["items"].as_array().unwrap().iter().collect();
        let count = |action: &str, result: &str| {
            let fits = |one: &&&Value| {
                one["action"] == action && one["result"].as_str().unwrap().starts_with(result)
            };
            verbs.iter().filter(fits).count()
        };
        assert_eq!((count("checklist.run", "done"), count("checklist.answer", "done")), (2, 2));
        assert_eq!((count("checklist.close", "done"), count("checklist.close", "refused")), (1, 2));
    })
    .await;
}

/// Returns a time of day a minute or two ago, and a window that ends `later` seconds from now.
fn lately(later: u64) -> (String, String) {
    const MINUTE: u64 = 60_000;
    let now = now();
    let opened = WallTime((now.0 / MINUTE - 1) * MINUTE);
    let clock = opened.to_string();
    let window = (now.0 - opened.0) / 1000 + later;
    (clock["2026-11-22T".len()..][..5].to_owned(), format!("{window}s"))
}

async fn newest(rig: &Rig, name: &str) -> Option<ChecklistView> {
    let all = rig.look::<ChecklistView>("checklist").await?;
    all.into_iter().find(|one| one.checklist.name.as_str() == name)
}

/// DVN-02: opened by schedule, looked up by the leader, and an alert for what is not done in time.
#[tokio::test(flavor = "multi_thread")]
async fn dvn_02_what_opens_by_schedule_and_is_not_done_in_time_is_an_alert_until_it_is() {
    bounded(async {
        let rig = Rig::start(1).await;
        let (at, window) = lately(8);
        let yaml = format!(
            "kind: Checklist\nname: weekly\nowner: oncall\n\
             schedule: {{daily: {{at: \"{at}\"}}}}\nwindow: {window}\nitems:\n\
             - {{name: controllers, title: All answer, by: {{fact: controllers-answer}}}}\n\
             - {{name: audit, title: One chain, by: {{fact: audit-verified}}}}\n\
             - {{name: nodes, title: All in sight, by: {{nodes: {{}}}}}}\n\
             - {{name: disk, title: Not full, by: {{ask: {{}}}}}}\n"
        );
        declare(&rig, "weekly.yaml", &yaml).await;
        let view = until("the run", async || {
            newest(&rig, "weekly").await.filter(|view| !view.runs.is_empty())
        })
        .await;
        let run = &view.runs[0];
        assert!(run.by.starts_with("controller/"), "{run:?}");
        assert_eq!((run.passed, run.failed, run.left), (3, 0, 1), "{run:?}");
        assert!(run.items[0].actor.as_ref().unwrap().starts_with("controller/"), "{run:?}");
        let object = "checklist/weekly/disk";
        let overdue = async || {
            let all = rig.look::<IncidentView>("alert").await?;
            all.into_iter().find(|one| one.labels.get("object").is_some_and(|o| o == object))
        };
        let incident = until("the alert", async || overdue().await).await;
        assert_eq!(
            (incident.rule.as_str(), incident.state.as_str()),
            ("checklist-overdue", "firing")
        );
        let show = rig.trictl(&["checklist", "show", "weekly"]).await.exits(0).json();
        assert_eq!(show["runs"][0]["items"][3]["state"], "overdue");
        let answer = ["checklist", "answer", "weekly", "disk"];
        let run = rig.trictl(&answer).await.exits(0).json();
        assert_eq!(run["state"], "passed");
        until("its end", async || overdue().await.filter(|one| one.state == "resolved")).await;
        // The same leader or another: this day has opened.
        assert_eq!(newest(&rig, "weekly").await.unwrap().runs.len(), 1);
    })
    .await;
}

const MONTHLY: &str = "\
kind: Checklist
name: monthly
owner: lead
items:
  - {name: drill, title: Rehearsed, by: {ask: {link: drill}}}
  - {name: access, title: Read the logs, by: {ask: {review: true, count: true, link_if_failed: incident}}}
";

/// DVN-03, DVN-45, DVN-53: nothing closes without the drill; reviews are for those who review.
#[tokio::test(flavor = "multi_thread")]
async fn dvn_03_a_month_is_not_closed_without_its_drill_and_each_answers_what_is_theirs() {
    bounded(async {
        let rig = Rig::start(1).await;
        declare(&rig, "monthly.yaml", MONTHLY).await;
        let ann = let_in(&rig, "ann", &["operator"]).await;
        let una = let_in(&rig, "una", &["auditor"]).await;
        let dan = let_in(&rig, "dan", &["developer"]).await;
        let on = async |who: &Path, args: &[&str]| {
            rig.trictl_as(who, &[&["checklist"], args].concat()).await
        };
        on(&una, &["run", "monthly"]).await.exits(4);
        on(&dan, &["list"]).await.exits(4);
        on(&ann, &["run", "monthly"]).await.exits(0);
        let close = ["close", "monthly", "--note", "no time for a drill"];
        on(&ann, &close).await.exits(5).says("must be linked to drill/ID");
        let drill = ["answer", "monthly", "drill", "--link"];
        on(&ann, &[&drill[..], &["incident-1"]].concat()).await.exits(2).says("drill/ID");
        on(&una, &[&drill[..], &["drill/7"]].concat()).await.exits(4);
        on(&ann, &[&drill[..], &["drill/7"]].concat()).await.exits(0);
        on(&ann, &close).await.exits(5).says("nobody has looked at access");
        let review = ["monthly", "access", "--count", "2", "--query", "class=login"];
        on(&ann, &[&["answer"], &review[..]].concat()).await.exits(4).says("review");
        on(&ann, &[&["review"], &review[..]].concat()).await.exits(4);
        let odd = [&["review"], &review[..], &["--failed", "--note", "odd"]].concat();
        on(&una, &odd).await.exits(2).says("incident-N");
        let odd = [&odd[..], &["--link", "incident-1"]].concat();
        let run = on(&una, &odd).await.exits(0).json();
        assert_eq!(run["items"][1]["actor"], "user/una");
        assert_eq!(
            (&run["items"][1]["count"], &run["items"][1]["query"]),
            (&2.into(), &"class=login".into())
        );
        let closed = on(&ann, &["close", "monthly", "--note", "incident-1"]).await.exits(0).json();
        assert_eq!(
            (&closed["state"], &closed["items"][0]["link"]),
            (&"closed".into(), &"drill/7".into())
        );
        on(&una, &["show", "monthly"]).await.exits(0).says("drill/7");
    })
    .await;
}
