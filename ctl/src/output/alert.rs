//! Alerts as tables: rules, channels, incidents, silences, messages.

use trireme_proto::view::alert::{ChannelView, IncidentView, NoticeView, RuleView, SilenceView};

use super::table::{NONE, Table, labels, list, table};

/// Returns alert rules.
pub fn rules(items: &[RuleView]) -> Table {
    let row = |item: &RuleView| {
        let rule = &item.rule;
        let state = match (rule.enabled, item.overdue) {
            (false, _) => "off".to_owned(),
            (true, true) => "review overdue".to_owned(),
            (true, false) if item.open > 0 => format!("{} firing", item.open),
            (true, false) if item.waiting > 0 => format!("{} waiting", item.waiting),
            (true, false) => "quiet".to_owned(),
        };
        [
            rule.name.to_string(),
            rule.severity.to_string(),
            rule.when.word().to_owned(),
            rule.lasting.to_string(),
            state,
            if rule.channels.is_empty() { "<all>".to_owned() } else { list(&rule.channels) },
            rule.owner.clone(),
            if item.built_in { NONE.to_owned() } else { rule.review.to_string() },
            item.revision.to_string(),
        ]
    };
    let header =
        ["NAME", "SEVERITY", "WHEN", "FOR", "STATE", "CHANNELS", "OWNER", "REVIEW", "REVISION"];
    table(header, items.iter().map(row).collect(), "no alert rules").cut(&["CHANNELS"])
}

/// Returns rules with how often they fired.
pub fn review(items: &[RuleView]) -> Table {
    let row = |item: &RuleView| {
        let review = if item.built_in { NONE.to_owned() } else { item.rule.review.to_string() };
        [
            item.rule.name.to_string(),
            item.rule.owner.clone(),
            review,
            if item.overdue { "overdue" } else { "ok" }.to_owned(),
            item.fired_lately.to_string(),
            item.fired.to_string(),
            item.last_fired.map_or_else(|| NONE.to_owned(), |at| at.to_string()),
        ]
    };
    let header = ["NAME", "OWNER", "REVIEW", "STATE", "FIRED-30D", "FIRED", "LAST"];
    table(header, items.iter().map(row).collect(), "no rule has fired, and none is overdue")
}

/// Returns channels.
pub fn channels(items: &[ChannelView]) -> Table {
    let row = |item: &ChannelView| {
        let state = match (&item.failing, item.failing_for) {
            (Some(why), Some(lasted)) => format!("failing for {lasted}: {why}"),
            (Some(why), None) => format!("failing: {why}"),
            (None, _) => "ok".to_owned(),
        };
        [
            item.channel.name.to_string(),
            item.channel.to.word().to_owned(),
            item.channel.severity.to_string(),
            item.delivered.to_string(),
            item.failed.to_string(),
            item.unknown.to_string(),
            item.revision.to_string(),
            state,
        ]
    };
    let header = ["NAME", "TO", "SEVERITY", "DELIVERED", "FAILED", "UNKNOWN", "REVISION", "STATE"];
    table(header, items.iter().map(row).collect(), "no channels: nobody is told of alerts")
        .cut(&["STATE"])
}

/// Returns incidents.
pub fn incidents(items: &[IncidentView]) -> Table {
    let row = |item: &IncidentView| {
        let state = match (&item.suppressed_by, &item.acknowledged) {
            (Some(by), _) => format!("{} by {by}", item.state),
            (None, Some(by)) if item.state == "acknowledged" => format!("{} by {by}", item.state),
            (None, _) => item.state.clone(),
        };
        [
            item.id.to_string(),
            item.severity.to_string(),
            item.rule.to_string(),
            item.lasted.to_string(),
            state,
            list(item.told.keys()),
            what(item),
        ]
    };
    let header = ["NAME", "SEVERITY", "RULE", "LASTS", "STATE", "TOLD", "WHAT"];
    table(header, items.iter().map(row).collect(), "no alerts").cut(&["TOLD", "WHAT"])
}

/// Returns what is wrong, and what is recommended.
fn what(item: &IncidentView) -> String {
    let recommended = item.recommended.as_ref().filter(|_| item.state != "resolved");
    let recommended = recommended.map(|command| format!("; recommended: {command}"));
    format!("{}: {}{}", item.summary, item.evidence, recommended.unwrap_or_default())
}

/// Returns silences.
pub fn silences(items: &[SilenceView]) -> Table {
    let row = |item: &SilenceView| {
        let id = item.id.to_string();
        [id, labels(&item.labels), item.left.to_string(), item.actor.clone(), item.reason.clone()]
    };
    table(["NAME", "LABELS", "LEFT", "WHO", "WHY"], items.iter().map(row).collect(), "no silences")
        .cut(&["LABELS", "WHY"])
}

/// Returns messages.
pub fn notices(items: &[NoticeView]) -> Table {
    let row = |item: &NoticeView| {
        let what = item.rule.as_ref().map_or_else(|| "test".to_owned(), ToString::to_string);
        let reason = item.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        [
            item.id.to_string(),
            item.channel.to_string(),
            what,
            item.incidents.len().to_string(),
            item.at.to_string(),
            item.by.clone(),
            format!("{}{reason}", item.state),
        ]
    };
    let header = ["NAME", "CHANNEL", "RULE", "INCIDENTS", "AT", "BY", "STATE"];
    table(header, items.iter().map(row).collect(), "no messages were sent").cut(&["STATE"])
}
