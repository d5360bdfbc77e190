//! A plan as it is read before it is started: what changes, in which order, and the proof.

use trireme_proto::time::Span;
use trireme_proto::view::PlanView;

use super::page::Page;
use super::style::{Color, Style};
use super::table::{NONE, Table, table};
use super::upgrade::reason;

/// Returns the plan; `start` is the command that starts it.
pub fn render(view: &PlanView, start: &str, style: Style) -> Page {
    let plan = &view.plan;
    let title = match &plan.to {
        Some(version) => format!("{} of {} to {version}", plan.operation, plan.service),
        None => format!("{} of {}", plan.operation, plan.service),
    };
    let title = style.paint(Color::Strong, &title);
    let mut page = Page::from(format!("{title}, plan {}", view.id)).gap();
    if plan.waves.is_empty() {
        return page.line(match &plan.to {
            Some(version) => format!("nothing to do: every node runs {version}"),
            None => "nothing to do: every node is as wanted".to_owned(),
        });
    }
    page = page.table(diff(view)).gap();
    page = page.table(waves(view)).line(proof(view, style)).gap().line(waits(view)).gap();
    if !view.warnings.is_empty() {
        let warn = |text: &String| format!("{} {text}", style.paint(Color::Busy, "warning:"));
        page = view.warnings.iter().map(warn).fold(page, Page::line).gap();
    }
    if !view.blocked.is_empty() {
        let label = style.paint(Color::Bad, "blocked now:");
        let lines = view.blocked.iter().map(|why| format!("{label} {}", reason(why)));
        page = lines.fold(page, Page::line).gap();
    }
    page.line("to start it:").line(format!("  {start}"))
}

fn diff(view: &PlanView) -> Table {
    let region = |node| {
        let wave = view.plan.waves.iter().find(|wave| wave.nodes.contains(node));
        wave.map_or_else(|| NONE.to_owned(), |wave| wave.region.to_string())
    };
    let rows = view.from.iter().map(|(node, from)| {
        let from = from.clone().unwrap_or_else(|| NONE.to_owned());
        let unchanged = view.unchanged.contains(node);
        let to = match &view.plan.to {
            _ if unchanged => "unchanged".to_owned(),
            _ if view.plan.aside.contains_key(node) => "left as it is".to_owned(),
            Some(version) => version.to_string(),
            None => view.plan.operation.to_string(),
        };
        [node.to_string(), region(node), from, to]
    });
    table(["NODE", "REGION", "FROM", "TO"], rows.collect(), "no node runs the service")
}

fn waves(view: &PlanView) -> Table {
    let rows = view.plan.waves.iter().enumerate().map(|(number, wave)| {
        let keeps = view.keeps_serving.get(number).map_or(&[][..], Vec::as_slice);
        let holds = u32::try_from(keeps.len()).is_ok_and(|keeps| keeps >= view.at_least);
        [
            (number + 1).to_string(),
            wave.region.to_string(),
            words(&wave.nodes),
            words(keeps),
            format!("{} of {}{}", keeps.len(), view.at_least, if holds { "" } else { " TOO FEW" }),
        ]
    });
    let header = ["WAVE", "REGION", "TAKES", "KEEPS-SERVING", "SERVING/NEEDED"];
    table(header, rows.collect(), "no wave").cut(&["TAKES", "KEEPS-SERVING"])
}

fn words<T: ToString>(items: &[T]) -> String {
    super::table::list(items.iter().map(ToString::to_string))
}

fn proof(view: &PlanView, style: Style) -> String {
    let fewest = view.keeps_serving.iter().map(Vec::len).min().unwrap_or(0);
    let needed = view.at_least;
    if u32::try_from(fewest).is_ok_and(|fewest| fewest >= needed) {
        let text = format!("at every wave at least {fewest} regions serve, {needed} must");
        style.paint(Color::Good, &text)
    } else {
        let text = format!("at some wave only {fewest} regions would serve, {needed} must");
        style.paint(Color::Bad, &text)
    }
}

fn waits(view: &PlanView) -> String {
    let gates = &view.plan.gates;
    let per_wave = Span(gates.ttl.0 + gates.drain.0 + gates.rise.0 + gates.bake.0);
    format!(
        "takes at least {}: {per_wave} a wave (ttl {}, drain {}, checks {}, bake {})\n\
         goes back by itself on failure, after {} in one step or {} in all",
        view.required_wait,
        gates.ttl,
        gates.drain,
        gates.rise,
        gates.bake,
        gates.step_deadline,
        gates.fleet_deadline,
    )
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
