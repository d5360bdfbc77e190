//! Alert rules and channels, as they are meant and as they are refused.

use super::super::{Known, check_set, diff, explain, parse};
use super::{assert_refused, assert_says, object, objects};
use crate::model::{
    AlertRule, Bound, Condition, Driver, Object, ProcessDriver, Severity, State, Target,
};
use crate::time::Span;

const RULE: &str = "\
kind: AlertRule
name: hashrate-low
owner: mining
review: 2027-06-30
severity: P2
";

const CHANNEL: &str = "\
kind: Channel
name: ops
";

fn rule(more: &str) -> String {
    format!("{RULE}{more}")
}

fn only_rule(yaml: &str) -> AlertRule {
    match object(yaml) {
        Object::AlertRule(rule) => rule,
        other => panic!("not a rule: {other:?}"),
    }
}

/// DMP-30: rules are resources, whole and with positions.
#[test]
fn dmp_30_rules_are_read_as_they_are_meant() {
    let written = only_rule(&rule(
        "when: {metric: {service: dmp, check: stats, label: hashrate, below: 100}}\nfor: 30m\n\
         channels: [telegram, hook]\nlabels: {team: mining}\nsummary: the hashrate is low\n",
    ));
    assert_eq!((written.severity, written.lasting), (Severity::P2, Span::secs(1800)));
    let Condition::Metric(metric) = &written.when else { panic!("{written:?}") };
    let bounds: Vec<_> = metric.bounds().map(|(bound, limit)| (bound, limit.value())).collect();
    assert_eq!(bounds, [(Bound::Below, 100.0)]);
    assert!(bounds[0].0.holds(99.9, 100.0) && !bounds[0].0.holds(100.0, 100.0));
    let written = only_rule(&rule("when: {state: node-silent}\nenabled: false\n"));
    assert_eq!(written.when, Condition::State(State::NodeSilent));
    assert!(!written.enabled && written.only.is_everything());
    let check = only_rule(&rule("when: {check: {}}\nonly: {regions: [aws]}\n"));
    assert_eq!((check.when.word(), check.only.regions.len()), ("check", 1));
}

/// DVN-51: a bound that is reached is out of bounds where the rule says so: 79.9 is well, 80 is not.
#[test]
fn dvn_51_bounds_are_met_exactly() {
    for (bound, below, at, above) in [
        (Bound::Below, true, false, false),
        (Bound::AtMost, true, true, false),
        (Bound::AtLeast, false, true, true),
        (Bound::Above, false, false, true),
    ] {
        let held = [79.9, 80.0, 80.1].map(|value| bound.holds(value, 80.0));
        assert_eq!(held, [below, at, above], "{}", bound.word());
    }
}

#[test]
fn rules_that_could_never_hold_or_stop_are_refused_at_their_place() {
    assert_refused(
        &rule("when: {metric: {service: dmp, check: stats, label: x, below: 1, above: 2}}\n"),
        &["6:16: a metric has exactly one bound, not 2: write one of below, above, at_most and \
           at_least"],
    );
    assert_refused(
        &rule("when: {metric: {service: dmp, check: stats, label: x, below: many}}\n"),
        &[
            "6:16: a metric has exactly one bound, not 0: write one of below, above, at_most and at_least",
            "6:62: `many` is not a number: write it like 100, 79.5 or -3",
        ],
    );
    assert_refused(
        &rule("when: {absent: {service: dmp, check: stats, label: x}}\nfor: 1s\n"),
        &["7:6: a number absent for 1s says nothing: write at least 1m"],
    );
    assert_refused(
        &rule("when: {state: watchdog}\nfor: 5m\n"),
        &["7:6: the watchdog always holds: there is nothing to wait for: leave `for` out"],
    );
    assert_refused(
        &rule("when: {state: node-silnt}\n"),
        &["6:15: `when.state` cannot be `node-silnt`: did you mean `node-silent`?"],
    );
    assert_refused(
        &rule("when: {state: node-silent}\nlabels: {node: a, 1x: b}\n"),
        &[
            "7:16: label `node` is set by the fleet itself: choose another name",
            "7:23: `1x` is not a label: use letters, digits and _, not a digit first",
        ],
    );
    assert_refused(
        &RULE.replace("2027-06-30", "soon"),
        &[
            "1:1: alert rule needs `when`: add `when`, a map with the fields `state`, `check`, \
             `metric`, `absent`, `ready`: What must hold.",
            "4:9: `soon` is not a day: write it like 2027-06-30",
        ],
    );
}

#[test]
fn channels_name_secrets_and_never_hold_them() {
    let read = objects(&format!(
        "{CHANNEL}to: {{telegram: {{chat: -100123, token_file: bot}}}}\nseverity: P1\n---\n\
         kind: Channel\nname: hook\nto: {{webhook: {{url: \"https://a.example/h?x=1\"}}}}\n",
    ));
    let Object::Channel(channel) = &read[0] else { panic!("{read:?}") };
    assert!(matches!(&channel.to, Target::Telegram(to) if to.chat == "-100123"));
    assert_eq!(channel.to.secret_files(), [("to.telegram.token_file", "bot")]);
    assert_eq!((channel.severity, channel.group.wait), (Severity::P1, Span::secs(30)));
    for file in ["../id", "/etc/shadow", ".x", "a b", ""] {
        let yaml = format!("{CHANNEL}to: {{wecom: {{key_file: \"{file}\"}}}}\n");
        let error = parse("m.yaml", &yaml).unwrap_err().to_string();
        assert!(error.contains("is not the name of a file among the secrets"), "{error}");
    }
    assert_refused(
        &format!("{CHANNEL}to: {{webhook: {{url: \"https://me:pw@a.example/\"}}}}\n"),
        &["3:21: `https://me:pw@a.example/` holds a user or a password, which everybody could \
           read here: write it like https://alerts.example.com/hook"],
    );
}

/// B14: an address that nobody should be made to ask is refused where it is written.
#[test]
fn b14_channels_to_metadata_services_are_refused_and_private_ones_are_meant() {
    let to = |url: &str, more: &str| {
        format!("{CHANNEL}to: {{alertmanager: {{urls: [\"{url}\"]}}}}\n{more}")
    };
    for url in ["http://169.254.169.254/", "http://[::ffff:169.254.169.254]:80", "http://0.0.0.0"] {
        let error = parse("m.yaml", &to(url, "private: true\n")).unwrap_err().to_string();
        assert!(error.contains("alerts are never sent there"), "{url}: {error}");
    }
    assert_refused(
        &to("http://127.0.0.1:9093", ""),
        &["3:28: 127.0.0.1 is on a private network or this host: if it is meant to be, write \
           `private: true`"],
    );
    assert_eq!(objects(&to("http://127.0.0.1:9093", "private: true\n")).len(), 1);
    for url in ["file:///etc/passwd", "gopher://a.example/", "ftp://a.example"] {
        let error = parse("m.yaml", &to(url, "")).unwrap_err().to_string();
        assert!(error.contains("is not a URL of http or https"), "{url}: {error}");
    }
}

#[test]
fn rules_about_what_the_fleet_does_not_have_are_refused() {
    let yaml = rule("when: {ready: {service: dvm, below: 3}}\nchannels: [opps]\n");
    let known = Known {
        services: [("dvn".parse().unwrap(), Driver::Process(ProcessDriver::default()))].into(),
        channels: ["ops".parse().unwrap()].into(),
        ..Known::default()
    };
    let error = check_set(&parse("m.yaml", &yaml).unwrap(), &known).unwrap_err();
    assert_says(
        &yaml,
        &error,
        &[
            "6:25: there is no service `dvm`: did you mean `dvn`?",
            "7:12: there is no channel `opps`: did you mean `ops`?",
        ],
    );
}

#[test]
fn what_changes_in_a_rule_is_told_by_field_and_every_field_is_explained() {
    let before = object(&rule("when: {ready: {service: dvn, below: 3}}\n"));
    let after = object(&rule("when: {ready: {service: dvn, below: 2}}\nfor: 1m\n"));
    let changes: Vec<_> = diff(&before, &after).iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["~ for: 0s -> 1m", "~ when.ready.below: 3 -> 2"]);
    for path in ["alertrule.when.metric", "channel.to.dingtalk", "alertrule.severity"] {
        assert!(!explain(path).unwrap().fields.is_empty(), "{path}");
    }
}

/// TSP-25: what is recommended has lasted, is about a service, and is not said over and over.
#[test]
fn tsp_25_restarts_are_recommended_with_restraint() {
    let metric = "when: {metric: {service: dmp, check: stats, label: rss, above: 1}}\n";
    let recommend = |every: &str| format!("recommend: {{operation: restart, every: {every}}}\n");
    let read = only_rule(&rule(&format!("{metric}for: 10m\n{}", recommend("6h"))));
    assert_eq!(read.recommend.unwrap().every, Span::secs(6 * 3600));
    assert_refused(
        &rule(&format!("{metric}for: 59s\n{}", recommend("9m"))),
        &[
            "7:6: what has held for 59s is no reason to restart: write at least 1m",
            "8:40: it cannot be recommended every 9m: write from 10m to 720h",
        ],
    );
    let silent = rule(&format!("when: {{state: node-silent}}\nfor: 5m\n{}", recommend("6h")));
    assert_refused(
        &silent,
        &["8:12: the rule is not about a service on a node: leave it out, or look at a metric, a \
           check or service-not-serving"],
    );
}
