//! What the demo has shown: the numbers, whether they keep the promise, and how they are printed.
//!
//! Pure. Fields are written as the README names them; nothing is left out because it looks bad.

use serde::{Deserialize, Serialize};

use crate::load::Numbers;
use crate::output::table::table;
use crate::output::{Color, Page, Style};

/// Requests that a phase must have seen.
pub(super) const REQUESTS_MIN: u64 = 500;
/// Regions that must serve at any moment.
const REGIONS_MIN: usize = 2;
/// How much slower than at rest the slowest hundredth may become.
const P99_FACTOR: f64 = 2.0;

/// The whole demo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Whether every promise was kept.
    pub ok: bool,
    /// What it ran on.
    pub fleet: FleetSize,
    /// What was shown, in order.
    pub phases: Vec<Phase>,
}

/// Size of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetSize {
    /// Controllers.
    pub controllers: usize,
    /// Regions.
    pub regions: usize,
    /// Agents, in all regions.
    pub agents: usize,
}

/// One phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// upgrade, bad_release, leader_killed or refused.
    pub name: String,
    /// succeeded, rolled_back or refused; anything else was not meant to happen.
    pub outcome: String,
    /// Time from the request to its end.
    pub wall_ms: u64,
    /// Time that the manifest itself demands.
    pub required_wait_ms: u64,
    /// The rest.
    pub overhead_ms: i64,
    /// What clients met meanwhile.
    pub requests: Requests,
    /// Fewest regions that served at any moment.
    pub min_regions_serving: usize,
    /// Actions that ran twice on a host.
    pub repeated_effects: u64,
}

/// Requests of clients.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// Sent.
    pub sent: u64,
    /// Failed.
    pub failed: u64,
    /// Time that 99 of 100 took at most.
    pub p99_ms: f64,
    /// Longest time.
    pub max_ms: f64,
    /// `p99_ms` at rest, before the phase.
    pub rest_p99_ms: f64,
}

impl Requests {
    /// Makes the numbers of a phase and of the rest before it.
    pub(super) fn new(phase: &Numbers, rest: &Numbers) -> Self {
        let millis = |time: std::time::Duration| (time.as_secs_f64() * 100_000.0).round() / 100.0;
        Self {
            sent: phase.sent,
            failed: phase.failed,
            p99_ms: millis(phase.p99),
            max_ms: millis(phase.max),
            rest_p99_ms: millis(rest.p99),
        }
    }
}

/// What is promised of a phase.
struct Promise {
    name: &'static str,
    outcome: &'static str,
    /// Whether clients must not notice anything.
    unnoticed: bool,
}

const PROMISES: [Promise; 4] = [
    Promise { name: "upgrade", outcome: "succeeded", unnoticed: true },
    Promise { name: "bad_release", outcome: "rolled_back", unnoticed: true },
    Promise { name: "leader_killed", outcome: "succeeded", unnoticed: true },
    Promise { name: "refused", outcome: "refused", unnoticed: false },
];

impl Report {
    /// Judges what was shown; `more` are promises that were broken beyond the numbers.
    pub(super) fn new(fleet: FleetSize, phases: Vec<Phase>, more: &[String]) -> Self {
        let mut report = Self { ok: false, fleet, phases };
        report.ok = report.broken().is_empty() && more.is_empty();
        report
    }

    /// Returns the promises that the numbers show to be broken.
    pub(super) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for promise in &PROMISES {
            match self.phases.iter().find(|phase| phase.name == promise.name) {
                Some(phase) => judge(phase, promise, &mut broken),
                None => broken.push(format!("{}: it was not shown", promise.name)),
            }
        }
        broken
    }
}

fn judge(phase: &Phase, promise: &Promise, broken: &mut Vec<String>) {
    let mut say = |text: String| broken.push(format!("{}: {text}", phase.name));
    let Requests { sent, failed, p99_ms, rest_p99_ms, .. } = phase.requests;
    if phase.outcome != promise.outcome {
        say(format!("it ended as {}, not as {}", phase.outcome, promise.outcome));
    }
    if sent < REQUESTS_MIN {
        say(format!("{sent} requests are fewer than {REQUESTS_MIN}"));
    }
    if promise.unnoticed && failed > 0 {
        say(format!("{failed} of {sent} requests failed"));
    }
    if promise.unnoticed && p99_ms > P99_FACTOR * rest_p99_ms {
        say(format!("p99 rose from {rest_p99_ms} ms to {p99_ms} ms, more than twofold"));
    }
    if phase.min_regions_serving < REGIONS_MIN {
        say(format!("only {} regions served at some moment", phase.min_regions_serving));
    }
    if phase.repeated_effects > 0 {
        say(format!("{} actions ran twice on a host", phase.repeated_effects));
    }
}

/// Returns the report for people; `broken` are the promises that were not kept.
pub(super) fn render(report: &Report, broken: &[String], style: Style) -> Page {
    let seconds = |ms: f64| format!("{:.2} s", ms / 1000.0);
    #[expect(clippy::cast_precision_loss, reason = "a demo takes minutes, not ages")]
    let row = |phase: &Phase| {
        let requests = &phase.requests;
        [
            phase.name.clone(),
            phase.outcome.replace('_', " "),
            seconds(phase.wall_ms as f64),
            seconds(phase.required_wait_ms as f64),
            seconds(phase.overhead_ms as f64),
            requests.sent.to_string(),
            requests.failed.to_string(),
            format!("{:.1} ms", requests.p99_ms),
            format!("{:.1} ms", requests.rest_p99_ms),
            format!("{:.1} ms", requests.max_ms),
            phase.min_regions_serving.to_string(),
            phase.repeated_effects.to_string(),
        ]
    };
    let header = [
        "PHASE", "OUTCOME", "WALL", "DEMANDED", "OVERHEAD", "REQUESTS", "FAILED", "P99", "AT-REST",
        "MAX", "REGIONS", "REPEATED",
    ];
    let rows = table(header, report.phases.iter().map(row).collect(), "nothing was shown");
    let FleetSize { controllers, regions, agents } = report.fleet;
    let size = format!("{controllers} controllers, {agents} agents in {regions} regions");
    let page = Page::from(size).gap().table(rows).gap();
    let kept = "every promise was kept: no client noticed, two regions always served";
    if report.ok {
        return page.line(style.paint(Color::Good, kept));
    }
    let page = page.line(style.paint(Color::Bad, "promises were broken:"));
    broken.iter().map(|text| format!("  {text}")).fold(page, Page::line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(promise: &Promise) -> Phase {
        Phase {
            name: promise.name.to_owned(),
            outcome: promise.outcome.to_owned(),
            wall_ms: 12_000,
            required_wait_ms: 10_200,
            overhead_ms: 1800,
            requests: Requests {
                sent: 1800,
                failed: 0,
                p99_ms: 13.4,
                max_ms: 19.9,
                rest_p99_ms: 11.1,
            },
            min_regions_serving: 2,
            repeated_effects: 0,
        }
    }

    fn report() -> Report {
        let fleet = FleetSize { controllers: 3, regions: 3, agents: 6 };
        Report::new(fleet, PROMISES.iter().map(phase).collect(), &[])
    }

    #[test]
    fn a_kept_promise_is_ok_and_each_broken_one_is_named() {
        type Break = fn(&mut Phase);
        assert!(report().ok);
        let breaks: [(Break, &str); 6] = [
            (|p| p.outcome = "rolled_back".into(), "it ended as rolled_back, not as succeeded"),
            (|p| p.requests.sent = 499, "499 requests are fewer than 500"),
            (|p| p.requests.failed = 1, "1 of 1800 requests failed"),
            (|p| p.requests.p99_ms = 22.3, "p99 rose from 11.1 ms to 22.3 ms, more than twofold"),
            (|p| p.min_regions_serving = 1, "only 1 regions served at some moment"),
            (|p| p.repeated_effects = 1, "1 actions ran twice on a host"),
        ];
        for (break_it, said) in breaks {
            let mut report = report();
            break_it(&mut report.phases[0]);
            assert_eq!(report.broken(), [format!("upgrade: {said}")]);
        }
        let mut short = report();
        short.phases.pop();
        assert_eq!(short.broken(), ["refused: it was not shown"]);
        let more = ["a node runs something else".to_owned()];
        assert!(!Report::new(short.fleet, report().phases, &more).ok);
    }

    #[test]
    fn clients_of_a_region_that_was_taken_down_may_notice() {
        let mut report = report();
        report.phases[3].requests.failed = 40;
        report.phases[3].requests.p99_ms = 900.0;
        assert_eq!(report.broken(), [""; 0]);
    }

    #[test]
    fn json_is_as_documented() {
        let mut report = report();
        report.phases.truncate(1);
        insta::assert_snapshot!(serde_json::to_string(&report).unwrap(), @r#"{"ok":true,"fleet":{"controllers":3,"regions":3,"agents":6},"phases":[{"name":"upgrade","outcome":"succeeded","wall_ms":12000,"required_wait_ms":10200,"overhead_ms":1800,"requests":{"sent":1800,"failed":0,"p99_ms":13.4,"max_ms":19.9,"rest_p99_ms":11.1},"min_regions_serving":2,"repeated_effects":0}]}"#);
    }

    #[test]
    fn people_read_a_table_and_a_verdict() {
        insta::assert_snapshot!(render(&report(), &[], Style::PLAIN));
        let mut bad = report();
        bad.phases[0].requests.failed = 3;
        bad.ok = false;
        let text = render(&bad, &bad.broken(), Style::PLAIN).to_string();
        assert!(
            text.ends_with("promises were broken:\n  upgrade: 3 of 1800 requests failed"),
            "{text}"
        );
    }
}
