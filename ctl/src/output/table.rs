//! What controllers answer with, as tables; [`super::grid`] draws them.

use std::collections::BTreeMap;

use trireme_proto::action::{Observed, ServiceState};
use trireme_proto::model::{Object, Release};
use trireme_proto::view::{
    AuditEntry, ControllersView, DrainView, FreezeView, GrantView, Judged, Manifests, NodeService,
    NodeView, NoteView, OverrideView, RegionView, ReleaseView, ServiceView, TokenListed,
    UpgradeView,
};

pub use super::grid::{Table, table};
use super::page::Page;
use super::upgrade::phase_words;

/// Printed where there is nothing.
pub const NONE: &str = "<none>";
/// Printed where nobody knows.
pub const UNKNOWN: &str = "<unknown>";

/// Returns words joined by commas, or that there are none.
pub fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { NONE.to_owned() } else { items.join(",") }
}

/// Returns a value, or that nobody knows it.
pub fn known<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| value.to_string())
}

fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// Returns labels as `key=value`.
pub fn labels(labels: &BTreeMap<String, String>) -> String {
    list(labels.iter().map(|(key, value)| format!("{key}={value}")))
}

/// Returns what a service is doing on a node, in a few words.
pub fn observed(observed: &Observed) -> String {
    let state = match observed.state {
        ServiceState::NeverStarted => "never started",
        ServiceState::NotServing => "not serving",
        ServiceState::Serving => "serving",
    };
    match &observed.version {
        Some(version) => format!("{version} {state}"),
        None => state.to_owned(),
    }
}

/// Returns all objects by kind and name.
pub fn manifests(manifests: &Manifests) -> Page {
    let row = |object: &Object| [object.name(), object.kind().to_owned()];
    let rows = manifests.objects.iter().map(row).collect();
    let empty = "nothing is declared: see `trictl apply --help`";
    let attention = manifests.attention.iter().map(|line| format!("! {line}"));
    attention
        .fold(Page::default(), Page::line)
        .table(table(["NAME", "KIND"], rows, empty))
        .line(format!("revision {}", manifests.revision))
}

/// Returns regions.
pub fn regions(items: &[RegionView]) -> Table {
    let row = |item: &RegionView| {
        let serving = |yes| item.serving.iter().filter(move |(_, serves)| **serves == yes);
        [
            item.region.name.to_string(),
            item.region.cloud.clone().unwrap_or_else(|| NONE.to_owned()),
            item.nodes.len().to_string(),
            list(serving(true).map(|(name, _)| name)),
            list(serving(false).map(|(name, _)| name)),
            list(&item.nodes),
        ]
    };
    let header = ["NAME", "CLOUD", "NODES", "SERVES", "DOES-NOT-SERVE", "NODE-NAMES"];
    table(header, items.iter().map(row).collect(), "no regions")
        .cut(&["SERVES", "DOES-NOT-SERVE"])
        .wide(&["NODE-NAMES"])
}

/// Returns tokens; their text is shown only once, when they are made.
pub fn tokens(items: &[TokenListed]) -> Table {
    let row = |item: &TokenListed| {
        [
            item.id.clone(),
            item.node.to_string(),
            item.region.to_string(),
            item.state.clone(),
            item.expires_at.to_string(),
        ]
    };
    let header = ["NAME", "NODE", "REGION", "STATE", "EXPIRES"];
    table(header, items.iter().map(row).collect(), "no tokens")
}

/// Returns services.
pub fn services(items: &[ServiceView]) -> Table {
    let row = |item: &ServiceView| {
        let serving = item.regions.values().filter(|region| region.serving).count();
        let running = |service: &NodeService| service.observed.version.clone();
        let nodes = item.regions.values().flat_map(|region| region.nodes.values());
        let versions: std::collections::BTreeSet<_> = nodes.filter_map(running).collect();
        [
            item.service.name.to_string(),
            format!("{serving}/{}", item.regions.len()),
            item.at_least.to_string(),
            list(versions),
            list(&item.versions),
            item.upgrade.map_or_else(|| NONE.to_owned(), |id| id.to_string()),
            item.revision.to_string(),
            labels(&item.service.nodes.labels),
            list(item.service.checks.iter().map(|check| &check.name)),
        ]
    };
    let header = [
        "NAME",
        "REGIONS-SERVING",
        "AT-LEAST",
        "RUNNING",
        "RELEASES",
        "UPGRADE",
        "REVISION",
        "ON-NODES",
        "CHECKS",
    ];
    table(header, items.iter().map(row).collect(), "no services")
        .cut(&["RUNNING", "RELEASES"])
        .wide(&["ON-NODES", "CHECKS"])
}

/// Returns releases.
pub fn releases(items: &[ReleaseView]) -> Table {
    let row = |item: &ReleaseView| {
        let release = &item.release;
        [
            format!("{}@{}", release.service, release.version),
            release.service.to_string(),
            release.version.to_string(),
            yes_no(item.good).to_owned(),
            content(release),
            origin(release),
        ]
    };
    let header = ["NAME", "SERVICE", "VERSION", "GOOD", "SHA256", "FROM"];
    table(header, items.iter().map(row).collect(), "no releases").cut(&["SHA256"]).wide(&["FROM"])
}

/// Returns the digests that a release is known by.
fn content(release: &Release) -> String {
    let images = release.images.iter().map(|(name, image)| (name, image.digest().short()));
    match &release.artifact {
        Some(artifact) => artifact.sha256.short(),
        None => list(images.map(|(name, digest)| format!("{name}:{digest}"))),
    }
}

/// Returns where a release is fetched from.
fn origin(release: &Release) -> String {
    match &release.artifact {
        Some(artifact) => artifact.url.clone(),
        None => list(release.images.values()),
    }
}

/// Returns notes.
pub fn notes(items: &[NoteView]) -> Table {
    let row = |item: &NoteView| {
        let text = if item.text.is_empty() { NONE.to_owned() } else { item.text.clone() };
        [item.object.clone(), item.actor.clone(), item.at.to_string(), text]
    };
    table(["OBJECT", "WHO", "WHEN", "NOTE"], items.iter().map(row).collect(), "no notes")
        .cut(&["NOTE"])
}

/// Returns nodes.
pub fn nodes(items: &[NodeView]) -> Table {
    let row = |item: &NodeView| {
        let service = |(name, service): (&_, &NodeService)| {
            let observed = observed(&service.observed);
            let traffic = match (service.stopped, service.in_traffic) {
                (true, _) => " (stopped)",
                (false, true) => "",
                (false, false) => " (no traffic)",
            };
            format!("{name}:{observed}{traffic}")
        };
        [
            item.name.to_string(),
            item.region.to_string(),
            node_state(item),
            item.address.clone(),
            known(item.connected_to.as_ref()),
            known(item.last_seen),
            known(item.agent_version.as_ref()),
            list(item.services.iter().map(service)),
            labels(&item.labels),
            item.generation.to_string(),
            item.action.as_ref().map_or_else(|| NONE.to_owned(), |action| action.id.to_string()),
        ]
    };
    let header = [
        "NAME",
        "REGION",
        "STATE",
        "ADDRESS",
        "CONTROLLER",
        "LAST-SEEN",
        "AGENT",
        "SERVICES",
        "LABELS",
        "GENERATION",
        "ACTION",
    ];
    table(header, items.iter().map(row).collect(), "no nodes: see `trictl token create --help`")
        .cut(&["SERVICES"])
        .wide(&["LABELS", "GENERATION", "ACTION"])
}

/// Returns a node's state, and that it was put aside, if it was.
fn node_state(node: &NodeView) -> String {
    let aside = node
        .aside
        .as_deref()
        .map(|words| if words.starts_with("cordoned") { ",cordoned" } else { ",drained" });
    format!("{}{}", node.state, aside.unwrap_or_default())
}

/// Returns that a dry run would have been done.
pub fn judged(view: &Judged) -> String {
    format!("{} of {} would be done; nothing was changed", view.action, view.target)
}

/// Returns drained places.
pub fn drains(items: &[DrainView]) -> Table {
    let row = |item: &DrainView| {
        [
            item.place.to_string(),
            item.state.clone(),
            known(item.remaining),
            item.grant.to_string(),
            list(&item.takes),
            item.remark.actor.clone(),
            item.remark.reason.clone(),
        ]
    };
    let header = ["PLACE", "STATE", "LEFT", "GRANT", "TAKES", "BY", "REASON"];
    table(header, items.iter().map(row).collect(), "no drains").cut(&["TAKES", "REASON"])
}

/// Returns exceptions to rules of the ledger.
pub fn overrides(items: &[OverrideView]) -> Table {
    let row = |item: &OverrideView| {
        [
            item.id.to_string(),
            list(&item.rules),
            item.service.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string),
            item.remaining.to_string(),
            item.remark.actor.clone(),
            item.remark.reason.clone(),
        ]
    };
    let header = ["NAME", "RULES", "SERVICE", "LEFT", "BY", "REASON"];
    table(header, items.iter().map(row).collect(), "no overrides: every rule holds")
        .cut(&["RULES", "REASON"])
}

/// Returns whether the fleet is frozen, as one sentence.
pub fn freeze(view: &FreezeView) -> String {
    match &view.remark {
        None => "the fleet is not frozen".to_owned(),
        Some(remark) => {
            format!(
                "the fleet is frozen since {} by {}: {}",
                remark.at, remark.actor, remark.reason
            )
        }
    }
}

/// Returns upgrades.
pub fn upgrades(items: &[UpgradeView]) -> Table {
    let row = |item: &UpgradeView| {
        let passed = item.waves.iter().filter(|wave| wave.state == "passed").count();
        [
            item.id.to_string(),
            item.service.to_string(),
            item.to.as_ref().map_or_else(|| item.operation.to_string(), ToString::to_string),
            phase_words(item),
            format!("{passed}/{}", item.waves.len()),
            item.started_by.clone(),
            item.started_at.to_string(),
            item.plan.to_string(),
            item.reason.clone().unwrap_or_else(|| NONE.to_owned()),
        ]
    };
    let header = ["NAME", "SERVICE", "TO", "PHASE", "WAVES", "BY", "STARTED", "PLAN", "REASON"];
    table(header, items.iter().map(row).collect(), "no upgrades").wide(&["PLAN", "REASON"])
}

/// Returns grants of the ledger.
pub fn grants(items: &[GrantView]) -> Table {
    let row = |item: &GrantView| {
        [
            item.id.to_string(),
            item.holder.clone(),
            item.state.clone(),
            list(&item.takes),
            item.actor.clone(),
            item.released_by.clone(),
            item.age.to_string(),
        ]
    };
    let header = ["NAME", "HOLDER", "STATE", "TAKES", "ACTOR", "RELEASED-BY", "AGE"];
    table(header, items.iter().map(row).collect(), "no grants: nothing takes capacity away")
        .cut(&["TAKES", "RELEASED-BY"])
}

/// Returns the controllers.
pub fn controllers(view: &ControllersView) -> Page {
    let rows = view.items.iter().map(|item| {
        [
            item.name.to_string(),
            item.region.to_string(),
            item.role.clone(),
            item.address.clone(),
            item.raft_id.to_string(),
            known(item.applied),
            known(item.lag),
            known(item.agents),
            item.version.clone().unwrap_or_else(|| NONE.to_owned()),
        ]
    });
    let header = ["NAME", "REGION", "ROLE", "ADDRESS", "ID", "APPLIED", "LAG", "AGENTS", "VERSION"];
    let leader = view.leader.as_ref().map_or_else(|| NONE.to_owned(), ToString::to_string);
    let page = Page::from(format!("fleet {}, term {}, leader {leader}", view.fleet, view.term))
        .table(table(header, rows.collect(), "no controllers"));
    let Some(change) = &view.change else { return page };
    let waits = change.waits_for.as_ref().map(|why| format!("; waits: {why}"));
    let (number, what, actor) = (change.number, &change.what, &change.actor);
    let (why, waits) = (&change.reason, waits.unwrap_or_default());
    page.line(format!("change-{number} by {actor} ({why}): {what}{waits}"))
}

/// Returns entries of the audit log.
pub fn audit(items: &[AuditEntry]) -> Table {
    let row = |item: &AuditEntry| {
        [
            item.seq.to_string(),
            item.time.to_string(),
            item.actor.clone(),
            item.role.clone(),
            item.action.clone(),
            item.target.clone(),
            item.source.clone(),
            item.result.clone(),
            item.reason.clone(),
            item.request_id.clone(),
            item.hash.clone(),
        ]
    };
    let header = [
        "SEQ", "TIME", "ACTOR", "ROLE", "ACTION", "TARGET", "SOURCE", "RESULT", "REASON",
        "REQUEST", "HASH",
    ];
    table(header, items.iter().map(row).collect(), "no audit entries")
        .cut(&["TARGET", "RESULT", "REASON"])
        .wide(&["REQUEST", "HASH"])
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
