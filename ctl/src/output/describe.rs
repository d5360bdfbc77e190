//! One object at length, and why an object is as it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use trireme_proto::view::{NodeService, NodeView, ServiceView, WhyView};

use super::page::Page;
use super::style::{Color, Style, state_color};
use super::table::{NONE, known, labels, observed, table};

/// Returns why an object is as it is.
pub fn why(view: &WhyView, style: Style) -> String {
    let state = style.paint(state_color(&view.state), &view.state);
    let mut text = format!("{}: {state}", style.paint(Color::Strong, &view.object));
    if let Some(note) = &view.note {
        let _ = write!(text, "\nnote by {} at {}: {}", note.actor, note.at, note.text);
    }
    if view.reasons.is_empty() {
        text += "\nwaits for nothing";
    }
    for reason in &view.reasons {
        let _ = write!(text, "\nwaits for  {}", style.paint(Color::Busy, &reason.predicate));
        let _ = write!(text, "\n  seen     {}", reason.evidence);
        let _ = write!(text, "\n  unblock  {}", reason.unblock);
    }
    text
}

/// Returns a service: its regions and nodes first, then its manifest.
pub fn service(view: &ServiceView) -> Page {
    let mut rows = Vec::new();
    for (region, state) in &view.regions {
        let serving = if state.serving { "serving" } else { "not serving" };
        rows.extend(state.nodes.iter().map(|(node, service)| {
            let [state, traffic, failing] = node_service(service);
            [node.to_string(), region.to_string(), serving.to_owned(), state, traffic, failing]
        }));
    }
    let header = ["NODE", "REGION", "REGION-IS", "STATE", "TRAFFIC", "FAILING"];
    let upgrade = view.upgrade.map_or_else(|| NONE.to_owned(), |id| id.to_string());
    let (name, revision, at_least) = (&view.service.name, view.revision, view.at_least);
    Page::from(format!("service {name}, revision {revision}"))
        .line(format!("{at_least} regions must serve; upgrade under way: {upgrade}"))
        .gap()
        .table(table(header, rows, "no node matches its labels").cut(&["FAILING"]))
}

/// Returns a node and what runs on it.
pub fn node(view: &NodeView) -> Page {
    let fields = [
        ("state", view.state.clone()),
        ("region", view.region.to_string()),
        ("address", view.address.clone()),
        ("labels", labels(&view.labels)),
        ("controller", known(view.connected_to.as_ref())),
        ("last seen", known(view.last_seen)),
        ("agent", known(view.agent_version.as_ref())),
        ("generation", view.generation.to_string()),
        (
            "action",
            view.action.as_ref().map_or_else(
                || NONE.to_owned(),
                |action| {
                    format!(
                        "{} {} ({}) of {}",
                        action.id, action.kind, action.state, action.upgrade
                    )
                },
            ),
        ),
    ];
    let fields = fields.iter().map(|(name, value)| format!("  {name:10}  {value}"));
    let page = fields.fold(Page::from(format!("node {}", view.name)), Page::line);
    let rows = view.services.iter().map(|(name, service)| {
        let [state, traffic, failing] = node_service(service);
        [name.to_string(), state, traffic, failing]
    });
    let header = ["SERVICE", "STATE", "TRAFFIC", "FAILING"];
    let services = table(header, rows.collect(), "no service is placed on it").cut(&["FAILING"]);
    page.gap().table(services)
}

fn node_service(service: &NodeService) -> [String; 3] {
    let traffic = if service.in_traffic { "on" } else { "off" };
    [observed(&service.observed), traffic.to_owned(), failing(&service.observed.failing)]
}

fn failing(checks: &BTreeMap<String, String>) -> String {
    super::table::list(checks.iter().map(|(name, message)| format!("{name}: {message}")))
}

/// Returns any other object as indented fields.
pub fn fields(value: &Value) -> String {
    let mut text = String::new();
    write_fields(&mut text, value, 0);
    text.trim_end().to_owned()
}

fn write_fields(text: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let Value::Object(map) = value else {
        let _ = writeln!(text, "{indent}{}", scalar(value));
        return;
    };
    for (key, value) in map {
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                let _ = writeln!(text, "{indent}{key}:");
                write_fields(text, value, depth + 1);
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                let _ = writeln!(text, "{indent}{key}:");
                for item in items {
                    let mut inner = String::new();
                    write_fields(&mut inner, item, depth + 2);
                    let inner = inner.trim_start();
                    let _ = write!(text, "{indent}  - {inner}");
                }
            }
            _ => {
                let _ = writeln!(text, "{indent}{key}: {}", scalar(value));
            }
        }
    }
}

/// Returns a value on one line; text without quotes.
pub fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => NONE.to_owned(),
        Value::Array(items) => super::table::list(items.iter().map(scalar)),
        Value::Object(map) if map.is_empty() => NONE.to_owned(),
        _ => value.to_string(),
    }
}

#[cfg(test)]
#[path = "describe_tests.rs"]
mod tests;
