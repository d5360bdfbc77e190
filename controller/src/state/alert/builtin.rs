//! Rules that every fleet has until it replaces them or turns them off.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use trireme_proto::model::{AlertRule, CheckFails, Condition, Only, Severity, State};
use trireme_proto::time::{Date, Span};

/// Returns the built-in rules, in the order of their names.
///
/// How long each must hold is a judgement: what hits users is told at once, what mends itself when
/// an agent or a service is restarted is given a minute.
pub fn rules() -> &'static [AlertRule] {
    static RULES: LazyLock<Vec<AlertRule>> = LazyLock::new(|| {
        let minute = Span::secs(60);
        let mut rules = vec![
            state(State::RegionNotServing, Severity::P1, Span::secs(30)),
            state(State::ServiceBelow, Severity::P0, Span(0)),
            state(State::ServiceAtRisk, Severity::P1, minute),
            state(State::ServiceNotServing, Severity::P2, minute),
            state(State::NodeSilent, Severity::P2, minute),
            state(State::UpgradeFailed, Severity::P1, Span(0)),
            state(State::UpgradeRolledBack, Severity::P2, Span(0)),
            state(State::GrantOverdue, Severity::P2, Span(0)),
            state(State::ControllerSilent, Severity::P1, minute),
            state(State::CertificateExpiring, Severity::P1, Span(0)),
            state(State::ChecklistOverdue, Severity::P2, Span(0)),
            state(State::ChannelFailing, Severity::P1, Span(0)),
            state(State::Watchdog, Severity::P3, Span(0)),
            rule("check-failing", Condition::Check(CheckFails::default()), Severity::P2, minute),
        ];
        rules.sort_by(|a, b| a.name.cmp(&b.name));
        rules
    });
    &RULES
}

fn state(state: State, severity: Severity, lasting: Span) -> AlertRule {
    rule(state.word(), Condition::State(state), severity, lasting)
}

fn rule(name: &str, when: Condition, severity: Severity, lasting: Span) -> AlertRule {
    AlertRule {
        name: name.parse().expect("built-in rules have names"),
        owner: "trireme".to_owned(),
        review: Date::MAX,
        severity,
        when,
        only: Only::default(),
        lasting,
        channels: Vec::new(),
        labels: BTreeMap::new(),
        summary: None,
        runbook: None,
        recommend: None,
        enabled: true,
    }
}
