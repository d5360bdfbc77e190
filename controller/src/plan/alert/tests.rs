//! Alerts by a virtual clock, to the second.

use std::collections::BTreeMap;

use trireme_proto::id::{ChannelId, IncidentId, NodeId};
use trireme_proto::model::{AlertRule, Channel, Object};
use trireme_proto::time::{FleetTime, Span, WallTime};

use super::bench::{AT_ONCE, Bench, EPOCH, channels};
use super::{Scene, plan, told_to};
use crate::state::alert::{AlertStep, NoticeState};
use crate::state::checklist::{Answer, ChecklistStep, Findings};
use crate::state::{Body, Outcome, testing};

const HASHRATE: &str = "\
---
kind: AlertRule
name: hashrate-low
owner: mining
review: 2030-01-01
severity: P2
when: {metric: {service: web, check: health, label: hashrate, below: 100}}
for: 30m
channels: [hook, telegram]
";

fn said(channel: &str, rule: &str, on: usize, over: usize) -> (String, String, usize, usize) {
    (channel.to_owned(), rule.to_owned(), on, over)
}

/// DMP-28: 29:59 below is nothing, 30:00 is exactly one message a channel, and then a recovery.
#[test]
fn dmp_28_a_low_hashrate_is_told_after_thirty_minutes_once_a_channel_and_when_it_is_over() {
    let mut bench = Bench::new();
    bench.apply(&(channels(&["hook", "telegram"], AT_ONCE) + HASHRATE));
    for node in ["aws-1", "gcp-1"] {
        bench.gives(node, "hashrate", "150");
    }
    bench.pass(Span::secs(60));
    assert_eq!(bench.take(), []);
    bench.gives("aws-1", "hashrate", "99.9");
    bench.look();
    bench.pass(Span::secs(29 * 60 + 59));
    assert_eq!((bench.take(), bench.open()), (vec![], vec![]), "at 29:59");
    bench.pass(Span::secs(1));
    let both = |on, over| {
        vec![said("hook", "hashrate-low", on, over), said("telegram", "hashrate-low", on, over)]
    };
    assert_eq!(bench.take(), both(1, 0), "at 30:00");
    assert_eq!(bench.open(), ["hashrate-low/region=aws,node=aws-1,service=web,check=health"]);
    bench.pass(Span::secs(3600));
    assert_eq!(bench.take(), [], "it was said once");
    bench.gives("aws-1", "hashrate", "100");
    bench.pass(Span::secs(10));
    assert_eq!(bench.take(), both(0, 1));
    bench.pass(Span::secs(5 * 3600));
    assert_eq!(bench.take(), []);
    let incident = bench.fleet.alerts.incidents.values().next().unwrap();
    assert_eq!(incident.evidence, "hashrate is 99.9, below 100");
}

/// A moment above the bound begins the wait anew.
#[test]
fn dmp_28_what_recovers_meanwhile_waits_from_the_beginning() {
    let mut bench = Bench::new();
    bench.apply(&(channels(&["hook", "telegram"], AT_ONCE) + HASHRATE));
    bench.gives("aws-1", "hashrate", "1");
    bench.pass(Span::secs(29 * 60));
    bench.gives("aws-1", "hashrate", "101");
    bench.pass(Span::secs(1));
    bench.gives("aws-1", "hashrate", "1");
    bench.pass(Span::secs(30 * 60));
    assert_eq!(bench.take(), []);
    bench.pass(Span::secs(1));
    assert_eq!(bench.take().len(), 2);
}

/// Fleet time stands still without a leader: an election neither fires a rule early nor loses it.
#[test]
fn dmp_28_an_election_neither_shortens_nor_forgets_the_wait() {
    let mut bench = Bench::new();
    bench.apply(&(channels(&["hook", "telegram"], AT_ONCE) + HASHRATE));
    bench.gives("aws-1", "hashrate", "1");
    bench.look();
    bench.pass(Span::secs(20 * 60));
    // The new leader has heard nobody: what it does not see yet is neither over nor an alert.
    bench.elect();
    let held = bench.fleet.alerts.holding.clone();
    let heard = std::mem::take(&mut bench.samples);
    bench.pass(Span::secs(3));
    assert_eq!(bench.fleet.alerts.holding, held);
    bench.samples = heard;
    bench.pass(Span::secs(10 * 60 - 4));
    assert_eq!(bench.take(), []);
    bench.pass(Span::secs(1));
    assert_eq!(bench.take().len(), 2);
    bench.elect();
    bench.pass(Span::secs(60));
    assert_eq!(bench.take(), [], "what was said is not said again");
}

const NO_BLOCK: &str = "\
---
kind: AlertRule
name: no-block
owner: mining
review: 2030-01-01
severity: P1
when: {absent: {service: web, check: health, label: height, change: true}}
for: 1440m
channels: [hook]
";

/// DMP-29: the rule fires where no number ever came.
#[test]
fn dmp_29_a_block_that_never_comes_is_told_after_a_day_without_any_sample() {
    let mut bench = Bench::new();
    bench.apply(&(channels(&["hook"], AT_ONCE) + NO_BLOCK));
    bench.pass(Span::secs(10));
    let since = bench.fleet.alerts.holding["no-block/service=web,check=health"].since;
    bench.now = since.0;
    bench.skip(Span::secs(1440 * 60 - 1));
    assert_eq!(bench.take(), [], "at 1439:59");
    bench.skip(Span::secs(1));
    assert_eq!(bench.take(), [said("hook", "no-block", 1, 0)], "at 1440:00");
    bench.gives("gcp-1", "height", "7");
    bench.skip(Span::secs(1));
    assert_eq!(bench.take(), [said("hook", "no-block", 0, 1)]);
}

/// DMP-29: nor do samples help that say the same over and over.
#[test]
fn dmp_29_the_same_height_for_a_day_is_as_bad_as_none() {
    let mut bench = Bench::new();
    bench.apply(&(channels(&["hook"], AT_ONCE) + NO_BLOCK));
    let day = 1440 * 60;
    for (height, hours) in [("7", 23), ("8", 23), ("9", 23)] {
        bench.gives("aws-1", "height", height);
        bench.skip(Span::secs(1));
        bench.skip(Span::secs(hours * 3600));
        assert_eq!(bench.take(), [], "{height}");
    }
    bench.gives("aws-1", "height", "10");
    bench.skip(Span::secs(1));
    // A restarted agent has no number for a while: that is no new block.
    let heard = std::mem::take(&mut bench.samples);
    bench.skip(Span::secs(60));
    bench.samples = heard;
    bench.elect();
    bench.skip(Span::secs(day - 61));
    assert_eq!(bench.take(), []);
    bench.skip(Span::secs(1));
    assert_eq!(bench.take(), [said("hook", "no-block", 1, 0)]);
}

/// TSP-45: five hundred failing checks are one message.
#[test]
fn tsp_45_five_hundred_failing_checks_are_one_message() {
    let (mut fleet, _) = testing::serving_fleet();
    let (name, node) = fleet.nodes.first_key_value().unwrap();
    let (name, node) = (name.clone(), node.clone());
    for number in 0..100 {
        fleet.nodes.insert(format!("{name}-{number}").parse().unwrap(), node.clone());
    }
    let mut bench = Bench::of(fleet);
    bench.apply(&channels(&["hook"], "group: {wait: 30s, interval: 5m, repeat: 4h}"));
    for number in 0..100 {
        bench.fails(&format!("{name}-{number}"), &["a", "b", "c", "d", "e"]);
        // They do not fail all at once.
        if number % 20 == 0 {
            bench.pass(Span::secs(1));
        }
    }
    bench.pass(Span::secs(600));
    assert_eq!(bench.open().len(), 500);
    assert_eq!(bench.take(), [said("hook", "check-failing", 500, 0)]);
}

/// TSP-45: a region that is down silences its nodes and their checks.
#[test]
fn tsp_45_a_region_down_is_told_and_its_nodes_are_not() {
    let mut bench = Bench::new();
    bench.apply(&channels(&["hook"], "group: {wait: 30s, interval: 5m, repeat: 4h}"));
    bench.pass(Span::secs(10));
    bench.fails("aws-1", &["health"]);
    let silent = bench.fleet.nodes.get_mut(&"aws-2".parse::<NodeId>().unwrap()).unwrap();
    silent.lost = true;
    bench.pass(Span::secs(300));
    assert_eq!(
        bench.open(),
        [
            "check-failing/region=aws,node=aws-1,service=web,check=health",
            "node-silent/region=aws,node=aws-2",
            "region-not-serving/region=aws",
            "service-at-risk/service=web",
        ]
    );
    assert_eq!(bench.take(), [said("hook", "region-not-serving", 1, 0)]);
    // Another region too: now the service is below its number, which nothing silences.
    bench.fails("gcp-1", &["health"]);
    bench.fails("gcp-2", &["health"]);
    bench.pass(Span::secs(400));
    let sent = bench.take();
    assert_eq!(sent[0], said("hook", "service-below", 1, 0));
    assert!(
        sent.iter().all(|(_, rule, ..)| matches!(&**rule, "service-below" | "region-not-serving"))
    );
    for node in ["aws-1", "gcp-1", "gcp-2"] {
        bench.fails(node, &[]);
    }
    bench.fleet.nodes.get_mut(&"aws-2".parse::<NodeId>().unwrap()).unwrap().lost = false;
    bench.pass(Span::secs(1200));
    assert_eq!(bench.open(), [""; 0]);
    let over: usize = bench.take().iter().map(|(.., over)| over).sum();
    assert_eq!(over, 3, "who heard of it hears that it is over: two regions and the service");
}

/// What an upgrade was granted is planned; what it was not, and what lasts too long, is not.
#[test]
fn an_upgrade_silences_what_it_was_granted_and_no_more() {
    let mut bench = Bench::new();
    bench.apply(&channels(&["hook"], AT_ONCE));
    let grant = testing::hold(&mut bench.fleet, &["aws-1", "aws-2"]);
    bench.fleet.grants.get_mut(&grant).unwrap().due = FleetTime(bench.now + 600_000);
    bench.fails("aws-1", &["health"]);
    bench.fails("aws-2", &["process"]);
    bench.pass(Span::secs(600));
    assert_eq!((bench.open(), bench.take()), (vec![], vec![]));
    bench.fails("gcp-1", &["health"]);
    bench.pass(Span::secs(120));
    let rules: Vec<_> = bench.take().into_iter().map(|(_, rule, ..)| rule).collect();
    // The grant is overdue by now, and what it took away is not planned any more.
    assert!(
        ["grant-overdue", "region-not-serving", "check-failing"]
            .map(str::to_owned)
            .iter()
            .all(|rule| rules.contains(rule)),
        "{rules:?}"
    );
}

#[test]
fn what_goes_on_is_repeated_unless_somebody_looks_after_it_or_silenced_it() {
    let mut bench = Bench::new();
    bench.apply(&channels(&["hook"], "group: {wait: 30s, interval: 5m, repeat: 4h}"));
    bench.fails("aws-1", &["health"]);
    bench.pass(Span::secs(91));
    assert_eq!(bench.take(), [said("hook", "check-failing", 1, 0)]);
    bench.skip(Span::secs(4 * 3600 - 10));
    assert_eq!(bench.take(), []);
    bench.skip(Span::secs(20));
    assert_eq!(bench.take(), [said("hook", "check-failing", 1, 0)]);
    let incident: IncidentId = *bench.fleet.alerts.incidents.first_key_value().unwrap().0;
    let what = AlertStep::Acknowledge { incident, note: "mine".to_owned() };
    assert_eq!(bench.command(Body::Alert { what }), Outcome::Incident(incident));
    bench.skip(Span::secs(20 * 3600));
    assert_eq!(bench.take(), []);
    let labels = BTreeMap::from([("node".to_owned(), "gcp-1".to_owned())]);
    let what =
        AlertStep::Silence { labels, lasting: Span::secs(3600), reason: "moving".to_owned() };
    assert!(matches!(bench.command(Body::Alert { what }), Outcome::Silence(_)));
    bench.fails("gcp-1", &["health"]);
    bench.pass(Span::secs(600));
    assert_eq!((bench.open().len(), bench.take()), (2, vec![]));
    bench.skip(Span::secs(3600));
    assert_eq!(bench.take(), [said("hook", "check-failing", 1, 0)], "the silence has ended");
    for node in ["aws-1", "gcp-1"] {
        bench.fails(node, &[]);
    }
    bench.pass(Span::secs(400));
    assert_eq!(bench.take(), [said("hook", "check-failing", 0, 2)]);
}

/// Who is told when is decided once: the same message cannot be claimed twice.
#[test]
fn a_message_is_claimed_once_and_what_a_dead_leader_left_is_unknown() {
    let mut bench = Bench::new();
    bench.apply(&channels(&["hook"], AT_ONCE));
    bench.fails("aws-1", &["health"]);
    bench.pass(Span::secs(59));
    bench.now += 2000;
    bench.hear();
    let mut drafts = None;
    while drafts.is_none() {
        let scene = Scene {
            fleet: &bench.fleet,
            presence: &bench.presence,
            now: FleetTime(bench.now),
            wall: WallTime(EPOCH),
            term: 1,
        };
        let step = plan(&scene).steps.remove(0);
        drafts = matches!(step, AlertStep::Notify { .. }).then(|| step.clone());
        assert_eq!(bench.command(Body::Alert { what: step }), Outcome::Done);
    }
    let again = Body::Alert { what: drafts.unwrap() };
    assert!(matches!(bench.command(again), Outcome::Refused(_)));
    // Its leader dies before it tells what became of it.
    bench.seen = u64::MAX;
    bench.elect();
    bench.pass(Span::secs(600));
    let notices: Vec<_> = bench.fleet.alerts.notices.values().collect();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!(notices[0].state.word(), "unknown");
    let record = &bench.fleet.alerts.channels[&"hook".parse::<ChannelId>().unwrap()];
    assert_eq!((record.unknown, record.delivered), (1, 0));
    // It did arrive after all, as its sender still tells.
    let id = *bench.fleet.alerts.notices.first_key_value().unwrap().0;
    let what = AlertStep::Settle { outcomes: [(id, NoticeState::Delivered)].into() };
    bench.command(Body::Alert { what });
    let record = &bench.fleet.alerts.channels[&"hook".parse::<ChannelId>().unwrap()];
    assert_eq!((record.unknown, record.delivered), (0, 1));
}

#[test]
fn a_channel_that_fails_is_told_through_the_others() {
    let mut bench = Bench::new();
    bench.apply(&channels(&["one", "two"], AT_ONCE));
    let channel: ChannelId = "one".parse().unwrap();
    let error = Some("no route".to_owned());
    bench.command(Body::Alert { what: AlertStep::Health { channel: channel.clone(), error } });
    bench.pass(Span::secs(2));
    assert_eq!(bench.take(), [said("two", "channel-failing", 1, 0)]);
    bench.command(Body::Alert { what: AlertStep::Health { channel, error: None } });
    bench.pass(Span::secs(2));
    assert_eq!(bench.take(), [said("two", "channel-failing", 0, 1)]);
}

#[test]
fn an_alertmanager_is_told_of_what_is_open_and_for_five_minutes_of_what_is_over() {
    let mut bench = Bench::new();
    bench.apply("kind: Channel\nname: am\nto: {alertmanager: {urls: [\"https://am.example\"]}}\n");
    bench.apply(
        "{kind: AlertRule, name: watchdog, owner: a, review: 2030-01-01, severity: P3, \
                 when: {state: watchdog}}",
    );
    let told = |bench: &Bench| {
        let record = &bench.fleet.alerts.channels[&"am".parse::<ChannelId>().unwrap()];
        let told = told_to(&bench.fleet, &record.manifest, FleetTime(bench.now));
        told.iter().map(|(_, one)| (one.rule.to_string(), one.is_open())).collect::<Vec<_>>()
    };
    bench.fails("aws-1", &["health"]);
    bench.pass(Span::secs(61));
    let (watchdog, check) = ("watchdog".to_owned(), "check-failing".to_owned());
    assert_eq!(told(&bench), [(watchdog.clone(), true), (check.clone(), true)]);
    bench.fails("aws-1", &[]);
    bench.pass(Span::secs(1));
    assert_eq!(told(&bench), [(watchdog.clone(), true), (check, false)]);
    bench.pass(Span::secs(301));
    assert_eq!(told(&bench), [(watchdog, true)]);
    assert_eq!(bench.take(), [], "it is told otherwise");
}

/// A receiver that misses the watchdog knows that alerts do not reach it; people are spared it.
#[test]
fn the_watchdog_goes_to_programs_every_few_minutes_and_to_no_chat() {
    let mut bench = Bench::new();
    bench.apply(&format!(
        "{}---\nkind: Channel\nname: chat\nto: {{wecom: {{key_file: a}}}}\n{AT_ONCE}\n---\n\
         {{kind: AlertRule, name: watchdog, owner: a, review: 2030-01-01, severity: P3, \
         when: {{state: watchdog}}}}",
        channels(&["hook"], "group: {wait: 0s, interval: 5m, repeat: 4h}"),
    ));
    bench.pass(Span::secs(3600 - 1));
    assert_eq!(bench.take(), vec![said("hook", "watchdog", 1, 0); 12]);
    // However often a channel may be told of news, this is none.
    bench.apply(&channels(&["hook"], AT_ONCE));
    bench.pass(Span::secs(600));
    assert!((9..=11).contains(&bench.take().len()));
}

/// DVN-48: three nodes of a service: two are a warning, none is the worst there is.
#[test]
fn dvn_48_how_bad_it_is_depends_on_how_many_nodes_are_left() {
    let mut bench = Bench::new();
    let rule = |name: &str, severity: &str, below: u32| {
        format!(
            "kind: AlertRule\nname: {name}\nowner: a\nreview: 2030-01-01\nseverity: {severity}\n\
                 when: {{ready: {{service: web, below: {below}}}}}\n"
        )
    };
    bench.apply(&format!("{}---\n{}", rule("some-gone", "P2", 6), rule("all-gone", "P0", 1)));
    let open = |bench: &Bench| -> Vec<String> {
        bench.open().into_iter().filter(|key| key.contains("gone")).collect()
    };
    bench.pass(Span::secs(1));
    assert_eq!(open(&bench), [""; 0]);
    bench.fails("aws-1", &["health"]);
    bench.pass(Span::secs(1));
    assert_eq!(open(&bench), ["some-gone/service=web"]);
    for node in ["aws-2", "aliyun-1", "aliyun-2", "gcp-1", "gcp-2"] {
        bench.fails(node, &["health"]);
    }
    bench.pass(Span::secs(1));
    assert_eq!(open(&bench), ["all-gone/service=web", "some-gone/service=web"]);
}

/// TSP-46: how often a rule fired is counted, and a rule that is deleted tells of nothing more.
#[test]
fn tsp_46_firing_is_counted_and_a_deleted_rule_ends_its_incidents() {
    let mut bench = Bench::new();
    bench.apply(&(channels(&["hook", "telegram"], AT_ONCE) + HASHRATE));
    let rule: AlertRule =
        bench.fleet.alerts.rules[&"hashrate-low".parse().unwrap()].manifest.clone();
    bench.put(vec![Object::AlertRule(AlertRule { lasting: Span(0), ..rule })]);
    for value in ["1", "200", "1", "200", "1"] {
        bench.gives("aws-1", "hashrate", value);
        bench.pass(Span::secs(1));
    }
    let fired = &bench.fleet.alerts.fired[&"hashrate-low".parse().unwrap()];
    assert_eq!((fired.total, fired.days.values().sum::<u32>()), (3, 3));
    let delete = |kind: &str, name: &str| Body::Delete {
        base_revision: 0,
        kind: kind.to_owned(),
        name: name.to_owned(),
    };
    let refused = bench.command(delete("channel", "hook"));
    assert!(matches!(refused, Outcome::Refused(_)), "a rule names it");
    let revision = bench.fleet.revision;
    assert!(matches!(bench.command(delete("alertrule", "hashrate-low")), Outcome::Applied(_)));
    assert_eq!(bench.fleet.revision, revision + 1);
    bench.pass(Span::secs(1));
    assert_eq!(bench.open(), [""; 0]);
    let last = bench.fleet.alerts.incidents.values().next_back().unwrap();
    assert_eq!(last.resolved.as_ref().unwrap().why, "its rule is gone");
    assert!(matches!(bench.command(delete("channel", "hook")), Outcome::Applied(_)));
    assert!(matches!(bench.command(delete("service", "web")), Outcome::Refused(_)));
}

/// A channel is spared what is less severe than it asks for.
#[test]
fn channels_are_told_what_is_severe_enough() {
    let mut bench = Bench::new();
    let quiet: Channel = {
        let yaml = channels(&["pager"], AT_ONCE) + "severity: P1\n";
        let parsed = trireme_proto::manifest::parse("m", &yaml).unwrap().remove(0).value;
        let Object::Channel(channel) = parsed else { panic!("not a channel") };
        channel
    };
    bench.put(vec![Object::Channel(quiet)]);
    bench.fails("aws-1", &["health"]);
    bench.pass(Span::secs(120));
    assert_eq!((bench.open().len(), bench.take()), (1, vec![]));
    bench.fails("aws-2", &["health"]);
    bench.pass(Span::secs(120));
    assert_eq!(bench.take(), [said("pager", "region-not-serving", 1, 0)]);
}

/// DVN-02: what nobody has looked at by the end of the window is an alert until somebody has, or
/// the run is closed.
#[test]
fn dvn_02_an_item_that_is_not_done_in_time_is_an_alert_until_it_is() {
    let mut bench = Bench::new();
    bench.apply(
        "{kind: Checklist, name: weekly, owner: ops, items: [\
         {name: disk, title: Disks, by: {ask: {}}}, {name: log, title: Logs, by: {ask: {}}}]}",
    );
    let ends = WallTime(EPOCH + bench.now + 60_000);
    let revision = bench.fleet.checklists.values().next().unwrap().revision;
    let what = ChecklistStep::Open {
        checklist: "weekly".parse().unwrap(),
        period: "2027-W02".to_owned(),
        due: WallTime(EPOCH),
        ends,
        findings: Findings { revision, ..Findings::default() },
    };
    assert!(matches!(bench.command(Body::Checklist { what }), Outcome::Checked(_)));
    let answer = |bench: &mut Bench, item: &str, passed: bool| {
        let what = ChecklistStep::Answer {
            checklist: "weekly".parse().unwrap(),
            run: None,
            item: item.parse().unwrap(),
            answer: Answer { passed, note: "full".to_owned(), ..Answer::default() },
            review: false,
        };
        assert!(matches!(bench.command(Body::Checklist { what }), Outcome::Checked(_)));
    };
    bench.pass(Span::secs(59));
    assert_eq!(bench.open(), [""; 0]);
    bench.pass(Span::secs(1));
    assert_eq!(
        bench.open(),
        [
            "checklist-overdue/object=checklist/weekly/disk",
            "checklist-overdue/object=checklist/weekly/log"
        ]
    );
    // A bad answer is one, too: that it was late is over, what is wrong is for other rules.
    answer(&mut bench, "log", false);
    bench.look();
    assert_eq!(bench.open(), ["checklist-overdue/object=checklist/weekly/disk"]);
    answer(&mut bench, "disk", true);
    bench.look();
    assert_eq!(bench.open(), [""; 0]);
}

/// TSP-25: a restart is recommended above the threshold for as long as the rule says, and not again
/// when it comes back at once.
#[test]
fn tsp_25_a_restart_is_recommended_after_its_time_and_once_in_its_window() {
    const RULE: &str = "\
kind: AlertRule
name: memory-high
owner: swap
review: 2030-01-01
severity: P2
when: {metric: {service: web, check: health, label: rss, above: 2000}}
for: 10m
recommend: {operation: restart, every: 6h}
";
    let mut bench = Bench::new();
    bench.apply(RULE);
    let advised = |bench: &Bench| -> Vec<Option<String>> {
        let all = bench.fleet.alerts.incidents.values();
        all.map(|one| one.recommended().map(str::to_owned)).collect()
    };
    bench.gives("aws-1", "rss", "2000");
    bench.gives("gcp-1", "rss", "2001");
    bench.look();
    bench.pass(Span::secs(9 * 60 + 59));
    assert_eq!(advised(&bench), [], "not before its time, and not at the threshold");
    bench.pass(Span::secs(1));
    let id = *bench.fleet.alerts.incidents.keys().next().unwrap();
    let command = format!("trictl service restart web --node gcp-1 --reason {id}");
    assert_eq!(advised(&bench), [Some(command)]);
    assert!(bench.fleet.upgrades.is_empty(), "nobody but a person does it");
    // Restarted, and it leaks on: told again, and no restart is recommended.
    bench.gives("gcp-1", "rss", "100");
    bench.pass(Span::secs(60));
    bench.gives("gcp-1", "rss", "2500");
    bench.pass(Span::secs(3600));
    assert_eq!(bench.open(), ["memory-high/region=gcp,node=gcp-1,service=web,check=health"]);
    assert_eq!(advised(&bench)[1], None);
    // Another node has its own.
    bench.gives("aws-1", "rss", "2500");
    bench.pass(Span::secs(11 * 60));
    assert!(advised(&bench)[2].as_ref().unwrap().contains("--node aws-1"));
    bench.gives("gcp-1", "rss", "100");
    bench.look();
    bench.skip(Span::secs(6 * 3600));
    bench.gives("gcp-1", "rss", "2500");
    bench.pass(Span::secs(11 * 60));
    assert!(advised(&bench)[3].is_some(), "its window is over");
}
