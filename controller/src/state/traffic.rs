//! Which nodes clients are sent to: the one answer of DNS and of every later steering driver.
//!
//! A node is in the answer while it serves and is not drained. Lost presence alone takes it out
//! only while enough regions stay in, and the answer is never emptied (DESIGN rule 17).

use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::action::{Observed, ServiceState};
use trireme_proto::id::{NodeId, RegionId, ServiceId};
use trireme_proto::model::Service;

use super::command::Body;
use super::controllers::Step;
use super::fleet::{Fleet, Node};

/// Returns the nodes that clients of `service` are sent to.
pub fn targets(fleet: &Fleet, service: &Service) -> BTreeSet<NodeId> {
    let placed = fleet.placement(service);
    let pick = |wanted: &dyn Fn(&Node) -> bool| -> BTreeMap<RegionId, Vec<NodeId>> {
        let mut regions = BTreeMap::new();
        for (region, nodes) in &placed {
            let picked: Vec<NodeId> = nodes
                .iter()
                .filter(|id| fleet.nodes.get(*id).is_some_and(wanted))
                .cloned()
                .collect();
            if !picked.is_empty() {
                regions.insert(region.clone(), picked);
            }
        }
        regions
    };
    let healthy = |node: &Node| {
        node.observed.get(&service.name).is_some_and(|seen| seen.state == ServiceState::Serving)
    };
    let open = |node: &Node| !node.drained.contains(&service.name);

    let seen = pick(&|node| open(node) && healthy(node) && !node.lost);
    let serving =
        seen.values().filter(|nodes| nodes.len() >= service.serving.nodes as usize).count();
    if serving >= fleet.at_least(service) as usize && !seen.is_empty() {
        return seen.into_values().flatten().collect();
    }
    // Too few are in sight: silence is no proof, so those last seen healthy stay in.
    let last_seen = pick(&|node| open(node) && healthy(node));
    if !last_seen.is_empty() {
        return last_seen.into_values().flatten().collect();
    }
    // Nobody is healthy. An answer that may fail beats none that certainly does.
    let started = pick(&|node| {
        open(node)
            && node
                .observed
                .get(&service.name)
                .is_some_and(|seen| seen.state != ServiceState::NeverStarted)
    });
    let started = if started.is_empty() { pick(&|_| true) } else { started };
    started.into_values().flatten().collect()
}

/// Returns whether applying `body` may change whom clients are sent to. Most commands do not, and
/// computing the answer for a large fleet costs more than applying them.
pub fn may_change(fleet: &Fleet, body: &Body) -> bool {
    match body {
        Body::CreateToken { .. }
        | Body::Refuse { .. }
        | Body::Note { .. }
        | Body::Operate { .. }
        | Body::SettleDrain { .. }
        | Body::Cordon { .. }
        | Body::Freeze { .. }
        | Body::Thaw { .. }
        | Body::Override { .. }
        | Body::EndOverride { .. }
        | Body::Delete { .. }
        | Body::Alert { .. }
        | Body::Checklist { .. }
        | Body::TransferLeader { .. }
        | Body::Lead { .. }
        | Body::Regroup { step: Step::Begin { .. } | Step::GiveUp { .. } }
        | Body::PauseUpgrade { .. }
        | Body::ResumeUpgrade { .. }
        | Body::Stage { .. }
        | Body::Settle { .. }
        | Body::Switch { .. }
        | Body::Confirm { .. }
        | Body::Reoffer { .. } => false,
        Body::Reports { reports, .. } => reports.iter().any(|report| report.progress.is_final()),
        Body::Observe { nodes } => nodes.iter().any(|(id, sighted)| {
            let states = |seen: &BTreeMap<ServiceId, Observed>| -> Vec<_> {
                seen.iter().map(|(service, seen)| (service.clone(), seen.state)).collect()
            };
            let known = fleet.nodes.get(id).map(|node| states(&node.observed));
            known.as_ref() != Some(&states(&sighted.observed))
        }),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::command::Sighted;
    use crate::state::testing;

    fn answer(fleet: &Fleet) -> Vec<String> {
        let service = &fleet.services[&"web".parse().unwrap()].manifest;
        targets(fleet, service).iter().map(ToString::to_string).collect()
    }

    fn node<'a>(fleet: &'a mut Fleet, name: &str) -> &'a mut Node {
        fleet.nodes.get_mut(&name.parse().unwrap()).unwrap()
    }

    #[test]
    fn drained_and_unhealthy_nodes_are_left_out() {
        let (mut fleet, _) = testing::serving_fleet();
        node(&mut fleet, "aws-1").drained.insert("web".parse().unwrap());
        let seen = node(&mut fleet, "aws-2").observed.get_mut(&"web".parse().unwrap()).unwrap();
        seen.state = ServiceState::NotServing;
        assert_eq!(answer(&fleet), ["aliyun-1", "aliyun-2", "gcp-1", "gcp-2"]);
    }

    #[test]
    fn lost_nodes_leave_the_answer_while_enough_regions_stay() {
        let (mut fleet, _) = testing::serving_fleet();
        for name in ["aws-1", "aws-2"] {
            node(&mut fleet, name).lost = true;
        }
        assert_eq!(answer(&fleet), ["aliyun-1", "aliyun-2", "gcp-1", "gcp-2"]);
        for name in ["gcp-1", "gcp-2"] {
            node(&mut fleet, name).lost = true;
        }
        assert_eq!(answer(&fleet).len(), 6);
    }

    #[test]
    fn the_answer_is_never_emptied() {
        let (mut fleet, _) = testing::serving_fleet();
        for node in fleet.nodes.values_mut() {
            for seen in node.observed.values_mut() {
                seen.state = ServiceState::NotServing;
            }
        }
        assert_eq!(answer(&fleet).len(), 6);
    }

    #[test]
    fn what_a_node_says_changes_the_answer_only_with_its_state() {
        let (fleet, _) = testing::serving_fleet();
        let (id, record) = fleet.nodes.first_key_value().unwrap();
        let mut sighted = Sighted {
            generation: 7,
            agent_version: "2".to_owned(),
            observed: record.observed.clone(),
        };
        let observe = |sighted: &Sighted| Body::Observe {
            nodes: BTreeMap::from([(id.clone(), sighted.clone())]),
        };
        assert!(!may_change(&fleet, &observe(&sighted)));
        for seen in sighted.observed.values_mut() {
            seen.state = ServiceState::NotServing;
        }
        assert!(may_change(&fleet, &observe(&sighted)));
        sighted.observed.clear();
        assert!(may_change(&fleet, &observe(&sighted)));
    }
}
