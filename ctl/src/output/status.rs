//! The fleet on one screen: what is wrong stands on top.

use trireme_proto::view::status::{FleetStatusView, HealthHere, ServiceHere};

use super::look::{bytes, percent};
use super::page::Page;
use super::style::{Color, Style};
use super::table::{self, NONE, table};
use super::upgrade;

/// Silent nodes that are named.
pub const SILENT_SHOWN: usize = 10;
/// Lines of each kind below the table.
const LINES: usize = 10;

/// Returns how the fleet stands.
pub fn fleet(view: &FleetStatusView, style: Style) -> Page {
    let mut page = Page::from(head(view, style));
    for line in &view.attention {
        page = page.line(style.paint(Color::Bad, &format!("! {line}")));
    }
    if view.freeze.remark.is_some() {
        page = page.line(style.paint(Color::Bad, &format!("! {}", table::freeze(&view.freeze))));
    }
    let header = ["SERVICE", "REGION", "HEALTH", "READY", "VERSION", "CPU", "MEMORY", "UPGRADE"];
    let rows = view.items.iter().map(service).collect();
    let services = table(header, rows, "nothing is declared: see `trictl apply --help`");
    let mut page = page.gap().table(services.colored(color));
    let alerts = view.alerts.iter().map(|one| {
        format!("{} {} {} for {}: {}", one.severity, one.rule, one.state, one.lasted, one.summary)
    });
    page = section(page, "ALERTS", alerts.collect());
    let upgrades = view.upgrades.iter().map(|one| {
        let passed = one.waves.iter().filter(|wave| wave.state == "passed").count();
        let waits = one.waiting.first().map(|why| format!("; waits for {}", upgrade::reason(why)));
        let waits = waits.unwrap_or_default();
        let head = upgrade::header(one, Style::PLAIN);
        format!("{head}, {passed} of {} waves passed{waits}", one.waves.len())
    });
    page = section(page, "UNDER WAY", upgrades.collect());
    section(page, "PUT ASIDE", aside(view))
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

/// Returns the colour of a service that needs a look.
fn color(row: &[String]) -> Option<Color> {
    let is = |health: HealthHere| row[2] == health.to_string();
    if is(HealthHere::Down) {
        Some(Color::Bad)
    } else if is(HealthHere::Degraded) {
        Some(Color::Busy)
    } else {
        is(HealthHere::Stopped).then_some(Color::Dim)
    }
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

fn section(page: Page, name: &str, mut found: Vec<String>) -> Page {
    if found.is_empty() {
        return page;
    }
    let more = found.len().saturating_sub(LINES);
    found.truncate(LINES);
    let mut page = page.gap().line(name);
    for line in found {
        page = page.line(format!("  {}", super::lines::visible(&line)));
    }
    if more > 0 { page.line(format!("  and {more} more")) } else { page }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
