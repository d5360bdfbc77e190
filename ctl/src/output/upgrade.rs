//! One upgrade in words: its header, its waves, its nodes, what it waits for, how it ended.
//!
//! Pure: views in, lines out. [`super::progress`] decides when and where they are printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use trireme_proto::time::Span;
use trireme_proto::view::{Reason, UpgradePhase, UpgradeView, WaveNode, WaveView};

use super::page::Page;
use super::style::{Color, Style, state_color};
use super::table::{NONE, list, table};

/// Returns where an upgrade stands, in one or two words.
pub fn phase_words(view: &UpgradeView) -> String {
    let words = match view.phase {
        UpgradePhase::Running => "running",
        UpgradePhase::Aborting => "aborting",
        UpgradePhase::RollingBack => "rolling back",
        UpgradePhase::Succeeded => "succeeded",
        UpgradePhase::RolledBack => "rolled back",
        UpgradePhase::Aborted => "aborted",
        UpgradePhase::RollbackFailed => "rollback failed",
    };
    if view.paused && !view.phase.is_final() {
        format!("{words}, paused")
    } else {
        words.to_owned()
    }
}

/// Returns an upgrade's name, what it does and where it stands, as one line.
pub fn header(view: &UpgradeView, style: Style) -> String {
    let phase = phase_words(view);
    let what = match &view.to {
        Some(version) => format!("→ {version}"),
        None => view.operation.to_string(),
    };
    let name = style.paint(Color::Strong, &format!("{} {} {what}", view.id, view.service));
    format!("{name}: {}{}", style.paint(state_color(&phase), &phase), because(view))
}

fn because(view: &UpgradeView) -> String {
    view.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// Returns a reason to wait as one line.
pub fn reason(reason: &Reason) -> String {
    let Reason { predicate, evidence, unblock } = reason;
    if unblock.is_empty() {
        format!("{predicate}: {evidence}")
    } else {
        format!("{predicate}: {evidence}; unblock: {unblock}")
    }
}

fn node_words(node: &WaveNode, style: Style) -> String {
    let mut words = style.paint(state_color(&node.stage), &node.stage);
    if let Some(step) = &node.step {
        let _ = write!(words, ", {step}");
    }
    if let Some(reason) = &node.reason {
        let _ = write!(words, " ({reason})");
    }
    words
}

/// Returns an upgrade as a tree, `since` after the view was made: header, waves, nodes, waits.
pub fn tree(view: &UpgradeView, since: Span, style: Style) -> Vec<String> {
    let mut lines = vec![header(view, style)];
    let region_width = view.waves.iter().map(|wave| wave.region.as_str().len()).max().unwrap_or(0);
    for (number, wave) in view.waves.iter().enumerate() {
        let last = number + 1 == view.waves.len();
        let (branch, trunk) = if last { ("└─", "  ") } else { ("├─", "│ ") };
        let state = wave_words(wave, since, style);
        lines.push(format!("{branch} {:region_width$}  {state}", wave.region));
        let name_width = wave.nodes.keys().map(|name| name.as_str().len()).max().unwrap_or(0);
        for (position, (name, node)) in wave.nodes.iter().enumerate() {
            let leaf = if position + 1 == wave.nodes.len() { "└─" } else { "├─" };
            let words = node_words(node, style);
            lines.push(format!("{trunk}  {leaf} {name:name_width$}  {words}"));
        }
    }
    if !view.phase.is_final() {
        lines.extend(view.waiting.iter().map(|why| format!("waits for {}", reason(why))));
    }
    lines
}

fn wave_words(wave: &WaveView, since: Span, style: Style) -> String {
    let mut words = style.paint(state_color(&wave.state), &wave.state);
    if let Some(remaining) = wave.remaining {
        // Whole seconds: tenths would flicker.
        let left = remaining.0.saturating_sub(since.0).div_ceil(1000);
        let _ = write!(words, ", {} left", Span::secs(left));
    }
    if let Some(grant) = wave.grant {
        words += &style.paint(Color::Dim, &format!("  {grant}"));
    }
    words
}

/// Returns what is new in a view, one line a change; all of it if there was none before.
pub fn changes(before: Option<&UpgradeView>, now: &UpgradeView) -> Vec<String> {
    let id = now.id;
    let mut lines = Vec::new();
    let stands = |view: &UpgradeView| (phase_words(view), view.reason.clone());
    if before.is_none_or(|before| stands(before) != stands(now)) {
        lines.push(header(now, Style::PLAIN));
    }
    for (number, wave) in now.waves.iter().enumerate() {
        let old = before.and_then(|before| before.waves.get(number));
        let label = format!("{id} wave {}/{} {}", number + 1, now.waves.len(), wave.region);
        // A wave that waits its turn is no news at the start.
        let news = old.map_or(wave.state != "waiting", |old| old.state != wave.state);
        if news {
            let left = wave.remaining.map(|left| format!(", {left} left")).unwrap_or_default();
            lines.push(format!("{label}: {}{left}", wave.state));
        }
        for (name, node) in &wave.nodes {
            let was = old.and_then(|old| old.nodes.get(name));
            let idle = was.is_none() && node.step.is_none() && node.reason.is_none();
            if was != Some(node) && !(idle && node.stage == "waiting") {
                lines.push(format!("{label} {name}: {}", node_words(node, Style::PLAIN)));
            }
        }
    }
    let known: BTreeSet<String> =
        before.into_iter().flat_map(|before| &before.waiting).map(unnumbered).collect();
    for why in now.waiting.iter().filter(|why| !known.contains(&unnumbered(why))) {
        lines.push(format!("{id} waits for {}", reason(why)));
    }
    lines
}

/// Returns a reason without its numbers: evidence that only counts on is no news.
fn unnumbered(reason: &Reason) -> String {
    let text = format!("{} {}", reason.predicate, reason.evidence);
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Returns the totals of an upgrade's nodes by stage; they sum up to all nodes.
fn totals(view: &UpgradeView) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for node in view.waves.iter().flat_map(|wave| wave.nodes.values()) {
        *counts.entry(&node.stage).or_default() += 1;
    }
    list(counts.iter().map(|(stage, count)| format!("{count} {stage}")))
}

/// Returns an upgrade as `upgrade status` and the end of `upgrade watch` show it: every node with
/// its state, so that none is forgotten.
pub fn status(view: &UpgradeView, style: Style) -> Page {
    let (plan, at, by) = (&view.plan, view.started_at, &view.started_by);
    let mut page =
        Page::from(header(view, style)).line(format!("plan {plan}, started {at} by {by}"));
    if let Some(ended) = view.ended {
        let (took, wait) = (ended.since(view.started), view.required_wait);
        page = page.line(format!("took {took}, of which the manifest demands {wait}"));
    }
    page = page.line(format!("nodes: {}", totals(view))).gap();
    let rows = view.waves.iter().enumerate().flat_map(|(number, wave)| {
        wave.nodes.iter().map(move |(name, node)| {
            [
                name.to_string(),
                wave.region.to_string(),
                (number + 1).to_string(),
                wave.state.clone(),
                node.stage.clone(),
                node.step.clone().unwrap_or_else(|| NONE.to_owned()),
                node.reason.clone().unwrap_or_else(|| NONE.to_owned()),
            ]
        })
    });
    let header = ["NODE", "REGION", "WAVE", "WAVE-STATE", "STAGE", "STEP", "REASON"];
    page = page.table(table(header, rows.collect(), "no node is touched").cut(&["REASON"]));
    if view.phase.is_final() {
        return page;
    }
    let waits = view.waiting.iter().map(|why| format!("waits for {}", reason(why)));
    waits.fold(page, Page::line)
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
