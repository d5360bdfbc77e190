//! Why something is as it is: predicate, evidence, and who or what can unblock it.

use trireme_proto::id::{ActionId, GrantId, NodeId, Place, ServiceId, UpgradeId};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::{Reason, WhyView};

use super::{Lens, alert, grants, node, note, service, upgrade};

/// Explains an object by `kind/name`, by a numbered id, or by a service's or node's name.
pub fn why(lens: Lens<'_>, object: &str) -> Result<WhyView, Problem> {
    let (kind, name) = object.split_once('/').unwrap_or(("", object));
    let found = match kind {
        "" => of_upgrade(lens, name)
            .or_else(|| of_grant(lens, name))
            .or_else(|| of_action(lens, name))
            .or_else(|| alert::why(lens, name))
            .or_else(|| of_service(lens, name))
            .or_else(|| of_node(lens, name)),
        "upgrade" => of_upgrade(lens, name),
        "grant" => of_grant(lens, name),
        "action" => of_action(lens, name),
        "service" => of_service(lens, name),
        "node" => of_node(lens, name),
        "incident" => alert::why(lens, name),
        _ => None,
    };
    let found = found.map(|view| WhyView { note: note(lens.fleet, &view.object), ..view });
    found.ok_or_else(|| {
        Problem::new(Code::NotFound, format!("there is nothing named {object}"))
            .hint("name an upgrade, grant, action, incident, service or node, such as service/web")
    })
}

fn of_upgrade(lens: Lens<'_>, name: &str) -> Option<WhyView> {
    let id: UpgradeId = name.parse().ok()?;
    let view = upgrade(lens, id, lens.fleet.upgrades.get(&id)?);
    let word = serde_json::to_value(view.phase).ok()?.as_str()?.replace('_', " ");
    let mut state = format!("{word}, {}", view.words());
    if view.paused {
        state.push_str(", paused");
    }
    if let Some(reason) = &view.reason {
        state.push_str(": ");
        state.push_str(reason);
    }
    Some(WhyView { object: format!("upgrade/{id}"), state, reasons: view.waiting, note: None })
}

fn of_grant(lens: Lens<'_>, name: &str) -> Option<WhyView> {
    let id: GrantId = name.parse().ok()?;
    let grant = lens.fleet.grants.get(&id)?;
    let view = grants(lens).into_iter().find(|view| view.id == id)?;
    let mut reasons = Vec::new();
    if grant.is_held() {
        let waiting = grant.holder.upgrade().and_then(|holder| lens.waiting.get(&holder));
        reasons.extend(waiting.cloned().unwrap_or_default());
        reasons.push(Reason {
            predicate: "grant.released_by_proof".to_owned(),
            evidence: format!("it takes {} for {}", view.takes.join(", "), view.actor),
            unblock: format!(
                "{}; or by hand: trictl grants release {id} --reason WHY",
                view.released_by
            ),
        });
    }
    Some(WhyView { object: format!("grant/{id}"), state: view.state, reasons, note: None })
}

fn of_action(lens: Lens<'_>, name: &str) -> Option<WhyView> {
    let id: ActionId = name.parse().ok()?;
    let (node, record) = lens.fleet.nodes.iter().find_map(|(node, record)| {
        let action = record.action.as_ref().filter(|action| action.action.id == id)?;
        Some((node, action))
    })?;
    let state = format!("{} on node {node}: {}", record.kind(), record.state());
    let mut reasons = Vec::new();
    if !record.is_final() {
        reasons.push(Reason {
            predicate: "action.done".to_owned(),
            evidence: format!("{} since {}", record.state(), lens.now.since(record.at)),
            unblock: format!(
                "node {node}, or the end of its deadline of {}",
                record.action.deadline
            ),
        });
    }
    Some(WhyView { object: format!("action/{id}"), state, reasons, note: None })
}

fn of_service(lens: Lens<'_>, name: &str) -> Option<WhyView> {
    let id: ServiceId = name.parse().ok()?;
    let view = service(lens, lens.fleet.services.get(&id)?);
    let serving = view.regions.values().filter(|region| region.serving).count();
    let state = format!(
        "served by {serving} of {} regions, at least {} must",
        view.regions.len(),
        view.at_least
    );
    let mut reasons = Vec::new();
    for (region, here) in view.regions.iter().filter(|(_, here)| !here.serving) {
        for (node, on_node) in &here.nodes {
            let failing: Vec<String> = on_node
                .observed
                .failing
                .iter()
                .map(|(check, why)| format!("{check}: {why}"))
                .collect();
            let lost = lens.fleet.nodes.get(node).is_some_and(|node| node.lost);
            let evidence = match (lost, on_node.in_traffic, failing.is_empty()) {
                (true, ..) => "its agent is out of sight".to_owned(),
                (_, _, false) => failing.join("; "),
                (_, false, true) => "it is out of traffic".to_owned(),
                (_, true, true) => format!("{:?}", on_node.observed.state),
            };
            reasons.push(Reason {
                predicate: format!("region {region} serves"),
                evidence: format!("node {node}: {evidence}"),
                unblock: format!("trictl describe node {node}"),
            });
        }
    }
    if let Some(upgrade) = view.upgrade {
        reasons.extend(lens.waiting.get(&upgrade).cloned().unwrap_or_default());
    }
    Some(WhyView { object: format!("service/{id}"), state, reasons, note: None })
}

fn of_node(lens: Lens<'_>, name: &str) -> Option<WhyView> {
    let id: NodeId = name.parse().ok()?;
    let record = lens.fleet.nodes.get(&id)?;
    let view = node(lens, &id, record);
    let mut reasons = Vec::new();
    if record.lost {
        reasons.push(Reason {
            predicate: "node.in_sight".to_owned(),
            evidence: "no controller has heard from its agent".to_owned(),
            unblock: format!(
                "start its agent, or: trictl node remove {id} --reason WHY --confirm {id}"
            ),
        });
    }
    if let Some(action) = &view.action {
        reasons.push(Reason {
            predicate: "action.done".to_owned(),
            evidence: format!("{} ({}) is {}", action.id, action.kind, action.state),
            unblock: format!("node {id}; it belongs to {}", action.upgrade),
        });
    }
    if let Some(aside) = &view.aside {
        reasons.push(Reason {
            predicate: "node.in_use".to_owned(),
            evidence: aside.clone(),
            unblock: match lens.fleet.drain_of(&id, record) {
                Some((Place::Region(region), _)) => format!("trictl region return {region}"),
                _ => format!("trictl node return {id}"),
            },
        });
    }
    for (service, here) in &view.services {
        if here.stopped {
            reasons.push(Reason {
                predicate: format!("service {service} is wanted"),
                evidence: "an operator has stopped it there".to_owned(),
                unblock: format!("trictl service start {service} --node {id}"),
            });
        }
        for (check, why) in &here.observed.failing {
            reasons.push(Reason {
                predicate: format!("check {service}/{check} passes"),
                evidence: why.clone(),
                unblock: format!("the service on node {id}"),
            });
        }
    }
    Some(WhyView { object: format!("node/{id}"), state: view.state, reasons, note: None })
}
