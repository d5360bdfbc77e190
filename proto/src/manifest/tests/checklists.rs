//! Checklists, as they are meant and as they are refused.

use super::super::{Known, check_set, explain, parse};
use super::{assert_refused, assert_says, object};
use crate::model::{By, Checklist, Driver, Fact, Link, Object, ProcessDriver, Schedule, Severity};
use crate::time::Span;

const LIST: &str = "\
kind: Checklist
name: daily
owner: oncall
";

const ITEM: &str = "items: [{name: a, title: A, by: {ask: {}}}]\n";

fn only(yaml: &str) -> Checklist {
    match object(yaml) {
        Object::Checklist(list) => list,
        other => panic!("not a checklist: {other:?}"),
    }
}

/// DVN-01: items in order, each by what it is known to be well.
#[test]
fn dvn_01_checklists_are_read_as_they_are_meant() {
    let list = only(&format!(
        "{LIST}schedule: {{daily: {{at: \"09:00\", zone: Asia/Shanghai}}}}\nwindow: 4h\nitems:\n\
         - {{name: services, title: All serve, by: {{serving: {{services: [dvn]}}}}}}\n\
         - {{name: alerts, title: Nothing fires, by: {{alerts: {{severity: P2}}}}}}\n\
         - {{name: audit, title: Nobody edited it, by: {{fact: audit-verified}}}}\n\
         - {{name: drill, title: Rehearsed, by: {{ask: {{link: drill}}}}}}\n",
    ));
    assert_eq!(list.window, Span::secs(4 * 3600));
    let schedule = list.schedule.as_ref().unwrap();
    assert_eq!(schedule.to_string(), "daily 09:00 Asia/Shanghai");
    let names: Vec<_> = list.items.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["services", "alerts", "audit", "drill"]);
    assert!(matches!(&list.items[1].by, By::Alerts(quiet) if quiet.severity == Severity::P2));
    assert!(matches!(list.items[2].by, By::Fact(Fact::AuditVerified)));
    assert_eq!(list.items[3].by.asked().unwrap().link, Some(Link::Drill));
    let plain = only(&format!("{LIST}{ITEM}"));
    assert_eq!((plain.schedule, plain.window), (None, Span::secs(24 * 3600)));
    let week = only(&format!("{LIST}schedule: {{weekly: {{day: Mon, at: \"08:30\"}}}}\n{ITEM}"));
    assert!(matches!(week.schedule, Some(Schedule::Weekly(_))));
    assert_eq!(week.schedule.unwrap().to_string(), "Mon 08:30 UTC");
}

#[test]
fn checklists_that_could_never_be_done_are_refused_at_their_place() {
    assert_refused(
        &format!("{LIST}items: []\n"),
        &["4:8: there is nothing to look at: add at least one item"],
    );
    assert_refused(
        &format!(
            "{LIST}items: [{{name: a, title: A, by: {{ask: {{}}}}}}, \
             {{name: a, title: B, by: {{fact: glass-reviewed}}}}]\n"
        ),
        &["4:52: item `a` is there twice: give each its own name"],
    );
    assert_refused(
        &format!(
            "{LIST}schedule: {{daily: {{at: \"9:00\", zone: Asia/Atlantis}}}}\nwindow: 25h\n{ITEM}"
        ),
        &["4:24: `9:00` is not a time of day: write it like 09:00"],
    );
    assert_refused(
        &format!(
            "{LIST}schedule: {{daily: {{at: \"09:00\", zone: Asia/Atlantis}}}}\nwindow: 25h\n{ITEM}"
        ),
        &[
            "4:39: there is no time zone `Asia/Atlantis`: write the name of a zone such as \
             Asia/Shanghai or UTC",
            "5:9: a daily checklist cannot have a window of 25h: write from 1m to 24h",
        ],
    );
    assert_refused(
        &format!("{LIST}schedule: {{monthly: {{day: 32, at: \"09:00\"}}}}\n{ITEM}"),
        &["4:27: no month has a day 32: write a day from 1 to 31"],
    );
    assert_refused(
        &format!("{LIST}items: [{{name: a, title: A, by: {{ask: {{link: dril}}}}}}]\n"),
        &["4:46: `items[0].by.ask.link` cannot be `dril`: did you mean `drill`?"],
    );
}

#[test]
fn checklists_name_what_the_fleet_has() {
    let yaml = format!(
        "{LIST}items:\n\
         - {{name: a, title: A, by: {{serving: {{services: [wep]}}}}}}\n\
         - {{name: b, title: B, by: {{check: {{service: web, check: health}}}}}}\n\
         - {{name: c, title: C, by: {{nodes: {{regions: [aws]}}}}}}\n"
    );
    let objects = parse("m.yaml", &yaml).unwrap();
    let web = ("web".parse().unwrap(), Driver::Process(ProcessDriver::default()));
    let known = Known { services: [web].into(), ..Known::default() };
    let error = check_set(&objects, &known).unwrap_err();
    assert_says(
        &yaml,
        &error,
        &[
            "5:49: there is no service `wep`: did you mean `web`?",
            "7:46: there is no region `aws`: apply the region first, or in the same manifest",
        ],
    );
    assert!(explain("checklist.items.by").unwrap().to_string().contains("`serving`"));
    assert!(explain("checklist.schedule.weekly.day").unwrap().takes.contains("`Mon`"));
}
