//! Alert rules that could never hold, never stop, or be sent nowhere.

use std::collections::BTreeSet;

use super::{Faults, http_url};
use crate::model::{Absent, AlertRule, Condition, Metric, Recommend, State};
use crate::time::Span;

/// Longest text of a rule that people read: a line, also on a telephone.
const TEXT_MAX: usize = 300;
/// Labels of one rule: receivers route by a few.
const LABELS_MAX: usize = 16;
/// Longest name or value of a label, and label of a number, as agents report it.
const LABEL_LEN_MAX: usize = 128;
/// Labels that every alert carries.
pub(super) const RESERVED: [&str; 8] =
    ["alertname", "severity", "fleet", "region", "node", "service", "check", "object"];
/// Least time that something must be absent: an agent that is restarted reports no numbers at once.
const ABSENT_MIN: Span = Span::secs(60);

/// Least time that something must hold before a restart is recommended.
const RECOMMEND_FOR_MIN: Span = Span::secs(60);
/// Least and most time between two recommendations of the same.
const RECOMMEND_EVERY_MIN: Span = Span::secs(10 * 60);
const RECOMMEND_EVERY_MAX: Span = Span::secs(30 * 24 * 3600);

pub(super) fn validate(rule: &AlertRule, faults: &mut Faults) {
    one_line("owner", &rule.owner, faults);
    if let Some(summary) = &rule.summary {
        one_line("summary", summary, faults);
    }
    if let Some(Err(why)) = rule.runbook.as_deref().map(http_url) {
        let help = "write it like https://wiki.example.com/runbook";
        faults.add("runbook", format!("`{}` {why}", rule.runbook.as_deref().unwrap_or("")), help);
    }
    validate_labels(rule, faults);
    if let Some(recommend) = &rule.recommend {
        validate_recommend(rule, recommend, faults);
    }
    let mut seen = BTreeSet::new();
    for (index, channel) in rule.channels.iter().enumerate() {
        if !seen.insert(channel) {
            let message = format!("channel `{channel}` is there twice");
            faults.add(format!("channels[{index}]"), message, "name each channel once");
        }
    }
    match &rule.when {
        Condition::State(State::Watchdog) if rule.lasting.0 > 0 => {
            let message = "the watchdog always holds: there is nothing to wait for";
            faults.add("for", message, "leave `for` out");
        }
        Condition::Check(check) => {
            if let Some(name) = &check.check {
                number_name("when.check.check", name, faults);
            }
        }
        Condition::Metric(metric) => validate_metric(metric, faults),
        Condition::Absent(absent) => validate_absent(absent, rule.lasting, faults),
        Condition::Ready(ready) if ready.below == 0 => {
            let message = "fewer than 0 nodes never serve";
            faults.add("when.ready.below", message, "write at least 1");
        }
        Condition::State(_) | Condition::Ready(_) => {}
    }
}

/// A restart is recommended of a service, for what lasts, and not over and over.
fn validate_recommend(rule: &AlertRule, recommend: &Recommend, faults: &mut Faults) {
    let about = match &rule.when {
        Condition::Metric(_) | Condition::Check(_) => true,
        Condition::State(state) => *state == State::ServiceNotServing,
        Condition::Absent(_) | Condition::Ready(_) => false,
    };
    if !about {
        let message = "the rule is not about a service on a node";
        let help = "leave it out, or look at a metric, a check or service-not-serving";
        faults.add("recommend", message, help);
    }
    if rule.lasting < RECOMMEND_FOR_MIN {
        let message = format!("what has held for {} is no reason to restart", rule.lasting);
        faults.add("for", message, format!("write at least {RECOMMEND_FOR_MIN}"));
    }
    let range = RECOMMEND_EVERY_MIN..=RECOMMEND_EVERY_MAX;
    if !range.contains(&recommend.every) {
        let message = format!("it cannot be recommended every {}", recommend.every);
        let help = format!("write from {RECOMMEND_EVERY_MIN} to {RECOMMEND_EVERY_MAX}");
        faults.add("recommend.every", message, help);
    }
}

fn validate_metric(metric: &Metric, faults: &mut Faults) {
    number_name("when.metric.check", &metric.check, faults);
    number_name("when.metric.label", &metric.label, faults);
    let bounds = metric.bounds().count();
    if bounds != 1 {
        let message = format!("a metric has exactly one bound, not {bounds}");
        faults.add("when.metric", message, "write one of below, above, at_most and at_least");
    }
}

fn validate_absent(absent: &Absent, lasting: Span, faults: &mut Faults) {
    number_name("when.absent.check", &absent.check, faults);
    number_name("when.absent.label", &absent.label, faults);
    if lasting < ABSENT_MIN {
        let message = format!("a number absent for {lasting} says nothing");
        faults.add("for", message, format!("write at least {ABSENT_MIN}"));
    }
}

fn validate_labels(rule: &AlertRule, faults: &mut Faults) {
    if rule.labels.len() > LABELS_MAX {
        let message = format!("{} labels are more than {LABELS_MAX}", rule.labels.len());
        faults.add("labels", message, "leave out those that nobody routes by");
    }
    for (name, value) in &rule.labels {
        let path = format!("labels.{name}");
        let first = name.bytes().next();
        let named = first.is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && name.len() <= LABEL_LEN_MAX;
        if !named {
            let message = format!("`{name}` is not a label");
            faults.add(&path, message, "use letters, digits and _, not a digit first");
        }
        if RESERVED.contains(&name.as_str()) {
            let message = format!("label `{name}` is set by the fleet itself");
            faults.add(&path, message, "choose another name");
        }
        if value.is_empty() || value.len() > LABEL_LEN_MAX || value.contains(char::is_control) {
            let message = format!("label `{name}` has no value that can be sent");
            faults.add(&path, message, format!("write 1 to {LABEL_LEN_MAX} bytes on one line"));
        }
    }
}

/// Checks the name of a check or of one of its numbers.
fn number_name(path: &str, name: &str, faults: &mut Faults) {
    if name.is_empty() || name.len() > LABEL_LEN_MAX || name.contains(char::is_control) {
        let message = format!("`{name}` names nothing that a check has");
        faults.add(path, message, format!("write 1 to {LABEL_LEN_MAX} bytes on one line"));
    }
}

/// Checks a text that people read.
pub(super) fn one_line(path: &str, text: &str, faults: &mut Faults) {
    let length = text.chars().count();
    if text.trim().is_empty() || length > TEXT_MAX || text.contains(char::is_control) {
        let message = format!("`{path}` must be a line of 1 to {TEXT_MAX} characters");
        faults.add(path, message, "write it on one line");
    }
}
