//! The fleet on one screen: what is wrong stands on top.

use trireme_proto::view::status::{FleetStatusView, HealthHere, ServiceHere};

use super::look::{bytes, percent};
use super::style::{Color, Style};
use super::table::{self, NONE, table};
use super::upgrade;

/// Silent nodes that are named.
pub const SILENT_SHOWN: usize = 10;
/// Lines of each kind below the table.
const LINES: usize = 10;

/// Returns how the fleet stands.
pub fn fleet(view: &FleetStatusView, style: Style) -> String {
    let mut lines = vec![head(view, style)];
    lines.extend(view.attention.iter().map(|line| style.paint(Color::Bad, &format!("! {line}"))));
    if view.freeze.remark.is_some() {
        lines.push(style.paint(Color::Bad, &format!("! {}", table::freeze(&view.freeze))));
    }
    lines.push(String::new());
    let header = ["SERVICE", "REGION", "HEALTH", "READY", "VERSION", "CPU", "MEMORY", "UPGRADE"];
    let rows = view.items.iter().map(service).collect();
    lines.push(colored(
        &table(header, rows, "nothing is declared: see `trictl apply --help`"),
        style,
    ));
    let alerts = view.alerts.iter().map(|one| {
        format!("{} {} {} for {}: {}", one.severity, one.rule, one.state, one.lasted, one.summary)
    });
    section(&mut lines, "ALERTS", alerts.collect());
    let upgrades = view.upgrades.iter().map(|one| {
        let passed = one.waves.iter().filter(|wave| wave.state == "passed").count();
        let waits = one.waiting.first().map(|why| format!("; waits for {}", upgrade::reason(why)));
        let waits = waits.unwrap_or_default();
        let head = upgrade::header(one, Style::PLAIN);
        format!("{head}, {passed} of {} waves passed{waits}", one.waves.len())
    });
    section(&mut lines, "UNDER WAY", upgrades.collect());
    section(&mut lines, "PUT ASIDE", aside(view));
    lines.join("\n")
}

fn head(view: &FleetStatusView, style: Style) -> String {
    let controllers = &view.controllers;
    let answering = controllers.items.iter().filter(|one| one.role != "unreachable").count();
    let leader = controllers.leader.as_ref().map_or("nobody", |leader| leader.as_str());
    let nodes: Vec<_> =
        view.nodes.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let nodes = if nodes.is_empty() { "none".to_owned() } else { nodes.join(", ") };
    let text = format!(
        "fleet {}: {answering} of {} controllers answer, {leader} leads; nodes: {nodes}",
        controllers.fleet,
        controllers.items.len(),
    );
    style.paint(Color::Strong, &text)
}

fn service(item: &ServiceHere) -> [String; 8] {
    let versions: Vec<_> = match item.versions.len() {
        1 => item.versions.keys().cloned().collect(),
        _ => item.versions.iter().map(|(version, nodes)| format!("{version}:{nodes}")).collect(),
    };
    // What leaves somebody out says so.
    let partly = if item.answered < item.nodes { "?" } else { "" };
    let sum = |text: Option<String>| text.map_or_else(|| "?".to_owned(), |text| text + partly);
    [
        item.service.to_string(),
        item.region.to_string(),
        item.health.to_string(),
        format!("{}/{}", item.ready, item.nodes),
        table::list(versions),
        sum(item.cpu_millicores.map(percent)),
        sum(item.memory_bytes.map(bytes)),
        item.upgrade.map_or_else(|| NONE.to_owned(), |id| id.to_string()),
    ]
}

/// Returns the table with the lines in colour that need a look.
fn colored(text: &str, style: Style) -> String {
    let line = |line: &str| {
        let is = |health: HealthHere| {
            line.split_ascii_whitespace().nth(2) == Some(health.to_string().as_str())
        };
        let color = if is(HealthHere::Down) {
            Color::Bad
        } else if is(HealthHere::Degraded) {
            Color::Busy
        } else if is(HealthHere::Stopped) {
            Color::Dim
        } else {
            return line.to_owned();
        };
        style.paint(color, line)
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn aside(view: &FleetStatusView) -> Vec<String> {
    let drains = view.drains.iter().map(|one| {
        let remark = &one.remark;
        format!("{} {} by {}: {}", one.place, one.state, remark.actor, remark.reason)
    });
    let cordons = view.cordons.iter().map(|(node, words)| format!("node/{node} cordoned {words}"));
    let overrides = view.overrides.iter().map(|one| {
        let rules = table::list(&one.rules);
        let remark = &one.remark;
        format!(
            "{} sets {rules} aside for {}, by {}: {}",
            one.id, one.remaining, remark.actor, remark.reason
        )
    });
    drains.chain(cordons).chain(overrides).collect()
}

fn section(lines: &mut Vec<String>, name: &str, mut found: Vec<String>) {
    if found.is_empty() {
        return;
    }
    let more = found.len().saturating_sub(LINES);
    found.truncate(LINES);
    lines.push(format!("\n{name}"));
    lines.extend(found.into_iter().map(|line| format!("  {}", super::lines::visible(&line))));
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
