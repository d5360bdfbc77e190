//! How services stand on their nodes and what they use there, as tables.

use trireme_proto::action::ServiceState;
use trireme_proto::query::{CheckStatus, Instance, ServiceStatus};
use trireme_proto::view::look::{NodeInstanceUse, NodeStatus, StatusView, UseView};

use super::lines::visible;
use super::page::Page;
use super::table::{NONE, Table, UNKNOWN, known, list, table};

/// Characters of an id that tell one container from another.
const ID_SHOWN: usize = 12;

/// Returns how a service stands.
pub fn status(view: &StatusView) -> Page {
    let head = format!(
        "{}: {} serve{}, {} must",
        view.service,
        list(&view.serving),
        if view.serving.len() == 1 { "s" } else { "" },
        view.at_least
    );
    let instances = table(
        ["NODE", "NAME", "ID", "STATE", "HEALTH", "SINCE", "RESTARTS", "IMAGE"],
        each(view, |status| &status.instances, instance),
        "nothing runs",
    );
    let page = Page::from(head).gap().table(nodes(view)).gap().table(instances.cut(&["IMAGE"]));
    let checks = each(view, |status| &status.checks, check);
    if checks.is_empty() {
        return page;
    }
    let header = ["NODE", "CHECK", "HEALTH", "STATUS", "SINCE", "SAID"];
    page.gap().table(table(header, checks, "no checks").cut(&["SAID"]))
}

/// Returns what a service uses.
pub fn top(view: &UseView) -> Table {
    let header =
        ["NODE", "REGION", "NAME", "ID", "CPU", "MEMORY", "SHARE", "RECEIVED", "SENT", "PROCESSES"];
    table(header, view.items.iter().map(used).collect(), "nothing runs")
}

fn used(item: &NodeInstanceUse) -> [String; 10] {
    let used = &item.used;
    let share = used.memory_limit_bytes.map(|limit| share(used.memory_bytes, limit));
    let count = |number: Option<u64>| number.map_or_else(|| NONE.to_owned(), bytes);
    [
        item.node.to_string(),
        item.region.to_string(),
        used.name.clone(),
        used.id.chars().take(ID_SHOWN).collect(),
        percent(used.cpu_millicores),
        bytes(used.memory_bytes),
        share.unwrap_or_else(|| NONE.to_owned()),
        count(used.received_bytes),
        count(used.sent_bytes),
        used.processes.to_string(),
    ]
}

/// Returns thousandths as percent.
pub fn percent(thousandths: u64) -> String {
    format!("{}.{}%", thousandths / 10, thousandths % 10)
}

fn share(part: u64, whole: u64) -> String {
    let thousandths = u128::from(part) * 1000 / u128::from(whole.max(1));
    percent(u64::try_from(thousandths).unwrap_or(u64::MAX))
}

/// Returns a number of bytes in the largest unit that it has one of.
pub fn bytes(number: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.into_iter().find(|(_, shift)| number >> shift > 0);
    unit.map_or_else(
        || format!("{number}B"),
        |(name, shift)| {
            let tenths = (u128::from(number) * 10) >> shift;
            format!("{}.{}{name}", tenths / 10, tenths % 10)
        },
    )
}

fn nodes(view: &StatusView) -> Table {
    let header = [
        "NODE", "REGION", "SERVES", "STATE", "VERSION", "DESIRED", "TRAFFIC", "RESTARTS", "REMARK",
    ];
    table(header, view.items.iter().map(node).collect(), "no node has it").cut(&["REMARK"])
}

fn node(item: &NodeStatus) -> [String; 9] {
    let status = item.status.as_ref();
    let serves = status.map(|status| match status.observed.state {
        ServiceState::Serving => "yes",
        ServiceState::NotServing | ServiceState::NeverStarted => "no",
    });
    let desired = match (&item.desired.version, item.desired.stopped) {
        (_, true) => "stopped".to_owned(),
        (Some(version), false) => version.to_string(),
        (None, false) => NONE.to_owned(),
    };
    let version = status.map_or_else(
        || UNKNOWN.to_owned(),
        |status| status.observed.version.clone().unwrap_or_else(|| NONE.to_owned()),
    );
    [
        item.node.to_string(),
        item.region.to_string(),
        known(serves),
        known(status.map(|status| &status.state)),
        version,
        desired,
        if item.in_traffic { "yes" } else { "no" }.to_owned(),
        known(status.map(|status| status.restarts)),
        remark(item),
    ]
}

/// Returns what else there is to know of a node: why it is not as it should be, and who works on it.
fn remark(item: &NodeStatus) -> String {
    let action = item.action.as_ref().map(|one| format!("{} {} ({})", one.id, one.kind, one.state));
    let silent = item.silent.as_ref().map(|reason| format!("no answer: {reason}"));
    let why = item.status.as_ref().and_then(|status| status.why.clone());
    let words: Vec<_> = [silent, why, action, item.aside.clone()]
        .into_iter()
        .flatten()
        .map(|w| visible(&w))
        .collect();
    if words.is_empty() { NONE.to_owned() } else { words.join("; ") }
}

/// Returns a row for each of the things that nodes tell of.
fn each<T: 'static, const N: usize>(
    view: &StatusView,
    of: impl Fn(&ServiceStatus) -> &Vec<T>,
    row: impl Fn(String, &T) -> [String; N],
) -> Vec<[String; N]> {
    let answered = view.items.iter().filter_map(|item| Some((item, item.status.as_ref()?)));
    let rows = answered.flat_map(|(item, status)| {
        of(status).iter().map(|one| row(item.node.to_string(), one)).collect::<Vec<_>>()
    });
    rows.collect()
}

fn instance(node: String, one: &Instance) -> [String; 8] {
    [
        node,
        one.name.clone(),
        one.id.chars().take(ID_SHOWN).collect(),
        one.state.clone(),
        one.health.clone().unwrap_or_else(|| NONE.to_owned()),
        known(one.since),
        one.restarts.to_string(),
        one.image.clone().unwrap_or_else(|| NONE.to_owned()),
    ]
}

fn check(node: String, one: &CheckStatus) -> [String; 6] {
    [
        node,
        one.name.clone(),
        one.health.clone(),
        one.status.clone(),
        one.since.to_string(),
        visible(&one.message),
    ]
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
