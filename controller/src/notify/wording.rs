//! What people read, in English and Chinese. Pure.
//!
//! A notice of a fault tells level, time, scope, symptom, status and when it may end; one of a
//! recovery tells from when to when, cause, solution, and where to read on.

use std::fmt::Write as _;

use trireme_proto::id::IncidentId;
use trireme_proto::model::Language;

use crate::state::alert::Incident;
use crate::state::alert::phrase::summary;

/// Incidents of one message that are named; the rest is counted.
const NAMED_MAX: usize = 10;

/// What one message is about.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// The fleet.
    pub(crate) fleet: String,
    /// The channel.
    pub(crate) channel: String,
    /// The rule; `None` for a test.
    pub(crate) rule: Option<String>,
    /// Who asked for a test.
    pub(crate) by: String,
    /// What begins or goes on.
    pub(crate) firing: Vec<(IncidentId, Incident)>,
    /// What is over.
    pub(crate) over: Vec<(IncidentId, Incident)>,
}

/// Texts in the two languages, by the same name.
struct Words {
    fault: &'static str,
    recovered: &'static str,
    test: &'static str,
    asked_by: &'static str,
    fleet: &'static str,
    level: &'static str,
    time: &'static str,
    scope: &'static str,
    symptom: &'static str,
    status: &'static str,
    firing: &'static str,
    taken: &'static str,
    eta: &'static str,
    eta_unknown: &'static str,
    cause: &'static str,
    solution: &'static str,
    follow_up: &'static str,
    runbook: &'static str,
    more: &'static str,
    everything: &'static str,
}

const EN: Words = Words {
    fault: "Fault",
    recovered: "Recovered",
    test: "Test",
    asked_by: "this message only shows that the channel works; asked for by",
    fleet: "fleet",
    level: "Level",
    time: "Time",
    scope: "Scope",
    symptom: "Symptom",
    status: "Status",
    firing: "goes on",
    taken: "looked after by",
    eta: "ETA",
    eta_unknown: "not known yet",
    cause: "Cause",
    solution: "Solution",
    follow_up: "Follow-up",
    runbook: "Runbook",
    more: "more",
    everything: "the fleet",
};

const ZH: Words = Words {
    fault: "故障",
    recovered: "恢复",
    test: "测试",
    asked_by: "本消息仅用于验证通道可用；发起人",
    fleet: "集群",
    level: "级别",
    time: "时间",
    scope: "范围",
    symptom: "现象",
    status: "状态",
    firing: "处理中",
    taken: "负责人",
    eta: "预计恢复",
    eta_unknown: "未知",
    cause: "原因",
    solution: "解决",
    follow_up: "后续",
    runbook: "手册",
    more: "更多",
    everything: "整个集群",
};

/// Returns a message as people read it, at most `limit` bytes long.
pub(crate) fn text(language: Language, message: &Message, limit: usize) -> String {
    let words = match language {
        Language::En => &EN,
        Language::Zh => &ZH,
    };
    let Some(rule) = &message.rule else {
        let Message { fleet, channel, by, .. } = message;
        return format!(
            "[{}] {channel} · {} {fleet}\n{} {by}",
            words.test, words.fleet, words.asked_by
        );
    };
    let mut parts = Vec::new();
    if !message.firing.is_empty() {
        parts.push(fault(language, words, rule, message));
    }
    if !message.over.is_empty() {
        parts.push(recovery(language, words, rule, message));
    }
    let text = parts.join("\n\n");
    if text.len() <= limit {
        return text;
    }
    let end = text.floor_char_boundary(limit.saturating_sub("…".len()));
    format!("{}…", &text[..end])
}

fn fault(language: Language, words: &Words, rule: &str, message: &Message) -> String {
    let mut text = head(words.fault, words, rule, message, &message.firing);
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{name}: {value}");
    };
    let since = message.firing.iter().map(|(_, one)| one.opened_wall).min().unwrap_or_default();
    line(words.time, &since.to_string());
    line(words.scope, &scope(words, &message.firing));
    line(words.symptom, &symptoms(language, words, &message.firing));
    let taken = message.firing.iter().find_map(|(_, one)| one.acknowledged.as_ref());
    let status =
        taken.map_or(words.firing.to_owned(), |by| format!("{} {}", words.taken, by.actor));
    line(words.status, &status);
    line(words.eta, words.eta_unknown);
    if let Some(runbook) = message.firing.iter().find_map(|(_, one)| one.runbook.as_ref()) {
        line(words.runbook, runbook);
    }
    line(words.follow_up, &follow_up(&message.firing));
    text
}

fn recovery(language: Language, words: &Words, rule: &str, message: &Message) -> String {
    let mut text = head(words.recovered, words, rule, message, &message.over);
    let mut line = |name: &str, value: &str| {
        let _ = write!(text, "\n{name}: {value}");
    };
    let began = message.over.iter().map(|(_, one)| one.opened_wall).min().unwrap_or_default();
    let ended =
        message.over.iter().filter_map(|(_, one)| one.resolved.as_ref()).map(|end| end.wall);
    line(words.time, &format!("{began} – {}", ended.max().unwrap_or_default()));
    line(words.scope, &scope(words, &message.over));
    line(words.cause, &symptoms(language, words, &message.over));
    let why = message.over.iter().find_map(|(_, one)| one.resolved.as_ref());
    let note = message.over.iter().find_map(|(_, one)| one.acknowledged.as_ref());
    let note =
        note.filter(|by| !by.note.is_empty()).map(|by| format!("; {}: {}", by.actor, by.note));
    let why = why.map_or("", |end| resolution(language, &end.why));
    line(words.solution, &format!("{why}{}", note.unwrap_or_default()));
    line(words.follow_up, &follow_up(&message.over));
    text
}

fn head(
    what: &str,
    words: &Words,
    rule: &str,
    message: &Message,
    incidents: &[(IncidentId, Incident)],
) -> String {
    let worst = incidents.iter().map(|(_, one)| one.severity).min().unwrap_or_default();
    let count = if incidents.len() > 1 { format!(" ×{}", incidents.len()) } else { String::new() };
    format!(
        "[{what}{count}] {worst} {rule} · {} {}\n{}: {worst}",
        words.fleet, message.fleet, words.level
    )
}

fn scope(words: &Words, incidents: &[(IncidentId, Incident)]) -> String {
    let names = incidents.iter().map(|(_, one)| one.subject.to_string());
    let names = names.map(|name| if name.is_empty() { words.everything.to_owned() } else { name });
    named(words, names, incidents.len(), "; ")
}

fn symptoms(language: Language, words: &Words, incidents: &[(IncidentId, Incident)]) -> String {
    let told = incidents
        .iter()
        .map(|(_, one)| format!("{}{}{}", summary(language, one), colon(language), one.evidence));
    named(words, told, incidents.len(), "\n  ")
}

fn named(words: &Words, names: impl Iterator<Item = String>, count: usize, gap: &str) -> String {
    let mut shown: Vec<_> = names.take(NAMED_MAX).collect();
    if count > NAMED_MAX {
        shown.push(format!("+{} {}", count - NAMED_MAX, words.more));
    }
    shown.join(gap)
}

fn follow_up(incidents: &[(IncidentId, Incident)]) -> String {
    incidents.first().map_or_else(String::new, |(id, _)| format!("trictl why {id}"))
}

fn colon(language: Language) -> &'static str {
    match language {
        Language::En => ": ",
        Language::Zh => "：",
    }
}

fn resolution(language: Language, why: &str) -> &str {
    match (language, why) {
        (Language::Zh, "it holds no more") => "条件已不再成立",
        (Language::Zh, "its rule is gone") => "规则已删除",
        (Language::Zh, "the number has changed") => "数值已变化",
        (_, why) => why,
    }
}
