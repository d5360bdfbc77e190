//! Computes the plan of an upgrade: what, in which order, in which groups, behind which gates.
//!
//! Groups follow from placement alone, never from health, so that a reviewed plan stays the same
//! plan while nodes come and go.

use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::id::{NodeId, RegionId, ServiceId, Version};
use trireme_proto::model::Service;
use trireme_proto::plan::{Gates, Operation, Plan, Scope, Wave};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::Span;

use super::fleet::{Fleet, ServiceRecord};
use super::ledger::RULE_AT_LEAST;

/// Computes the plan that takes `service` to `version`.
pub fn plan(fleet: &Fleet, service: &ServiceId, version: &Version) -> Result<Plan, Problem> {
    let record = find(fleet, service)?;
    let target = fleet.run_spec(service, version).ok_or_else(|| {
        Problem::new(Code::NotFound, format!("service {service} has no release {version}"))
            .hint("list them: trictl get release; add one: trictl apply -f FILE")
    })?;
    target.release.fits(&target.driver).map_err(|misfit| {
        Problem::new(Code::Failed, format!("release {service}@{version} cannot be run: {misfit}"))
            .because("the driver of the service was changed after the release was made")
            .hint("apply a release that the driver can run: trictl apply -f FILE")
    })?;
    let plan = compute(fleet, record, Operation::Upgrade, &Scope::default())?;
    Ok(Plan { to: Some(version.clone()), target: Some(target.digest()), ..plan })
}

/// Computes the plan of what changes no release: a restart, a stop, a start.
pub fn operation(
    fleet: &Fleet,
    service: &ServiceId,
    operation: Operation,
    scope: &Scope,
) -> Result<Plan, Problem> {
    let record = find(fleet, service)?;
    let placed: BTreeSet<&NodeId> = fleet.placed(&record.manifest).map(|(id, _)| id).collect();
    if let Some(node) = scope.nodes.iter().find(|node| !placed.contains(node)) {
        return Err(Problem::new(
            Code::NotFound,
            format!("service {service} has no place on node {node}"),
        )
        .hint(format!("see where it runs: trictl describe service {service}")));
    }
    if let Some(region) = scope.regions.iter().find(|region| !fleet.regions.contains_key(region)) {
        return Err(Problem::new(Code::NotFound, format!("there is no region {region}"))
            .hint("list them: trictl get region"));
    }
    compute(fleet, record, operation, scope)
}

fn find<'a>(fleet: &'a Fleet, service: &ServiceId) -> Result<&'a ServiceRecord, Problem> {
    fleet.services.get(service).ok_or_else(|| {
        Problem::new(Code::NotFound, format!("there is no service {service}"))
            .hint("list them: trictl get service")
    })
}

/// Computes what is common to all plans.
fn compute(
    fleet: &Fleet,
    record: &ServiceRecord,
    operation: Operation,
    scope: &Scope,
) -> Result<Plan, Problem> {
    let service = &record.manifest;
    let meant: Vec<(&NodeId, &RegionId)> = fleet
        .placed(service)
        .filter(|(id, node)| scope.means(id, &node.region))
        .map(|(id, node)| (id, &node.region))
        .collect();
    if meant.is_empty() {
        return Err(Problem::new(
            Code::Failed,
            format!("no node that is meant carries the labels of service {}", service.name),
        )
        .hint("join one: trictl token create --node NAME --region REGION --address ADDRESS --label KEY=VALUE"));
    }
    let aside = fleet.aside(&service.name, operation, scope, meant.iter().map(|(id, _)| *id));
    let mut touched: BTreeMap<RegionId, Vec<NodeId>> = BTreeMap::new();
    for (id, region) in meant.iter().filter(|(id, _)| !aside.contains_key(*id)) {
        touched.entry((*region).clone()).or_default().push((*id).clone());
    }
    if touched.is_empty() {
        let problem = Problem::new(Code::Conflict, "operators have put every node aside");
        let problem = aside.iter().fold(problem, |p, (id, why)| p.because(format!("{id}: {why}")));
        return Err(
            problem.hint("return them: trictl node return NODE; trictl region return REGION")
        );
    }
    let recorded = |id: &NodeId| (id.clone(), fleet.recorded(id, &service.name));
    let waves = waves(fleet, service, operation, touched)?;
    let mut gates = gates(service);
    let standing = matches!(operation, Operation::Stop | Operation::Start);
    // Watching serves what comes after: a later wave, or trust in a new release.
    if standing || (!operation.is_upgrade() && waves.len() == 1) {
        gates.bake = Span(0);
    }
    Ok(Plan {
        service: service.name.clone(),
        operation,
        to: None,
        service_revision: record.revision,
        target: None,
        previous: meant.iter().map(|(id, _)| recorded(id)).collect(),
        aside,
        waves,
        gates,
    })
}

/// Groups the nodes: whole regions where enough others serve, else as many as may be missing. What
/// stays down, and what comes up, goes by whole regions in any case: the ledger judges it as one.
fn waves(
    fleet: &Fleet,
    service: &Service,
    operation: Operation,
    mut touched: BTreeMap<RegionId, Vec<NodeId>>,
) -> Result<Vec<Wave>, Problem> {
    let at_least = fleet.at_least(service) as usize;
    let placed = fleet.placement(service);
    let standing = matches!(operation, Operation::Stop | Operation::Start);
    let whole_region = placed.len() > at_least || standing;
    let mut order: Vec<RegionId> = service
        .upgrade
        .order
        .iter()
        .filter(|region| touched.contains_key(region))
        .cloned()
        .collect();
    let rest: Vec<RegionId> =
        touched.keys().filter(|region| !order.contains(region)).cloned().collect();
    order.extend(rest);
    let mut waves = Vec::new();
    for region in order {
        let nodes = touched.remove(&region).unwrap_or_default();
        let all = placed.get(&region).map_or(0, Vec::len);
        let spare = all.saturating_sub(service.serving.nodes as usize);
        let size = if whole_region { nodes.len() } else { spare };
        if size == 0 {
            return Err(Problem::refused(
                RULE_AT_LEAST,
                format!(
                    "the {operation} of region {region} would leave fewer than {at_least} regions serving {}",
                    service.name
                ),
            )
            .because(format!(
                "{region} has {all} node(s) and needs {} to serve; {at_least} of its regions must serve",
                service.serving.nodes,
            ))
            .hint("add a node or a region, or allow the downtime with serving.at_least: 0"));
        }
        waves.extend(
            nodes.chunks(size).map(|nodes| Wave { region: region.clone(), nodes: nodes.to_vec() }),
        );
    }
    Ok(waves)
}

/// Returns the waits and limits that the manifest demands.
fn gates(service: &Service) -> Gates {
    let traffic = service.traffic.as_ref();
    let rise = service
        .checks
        .iter()
        // The first run comes with the start; each further pass needs an interval more.
        .map(|check| check.every.0 * u64::from(check.rise.saturating_sub(1)))
        .max()
        .unwrap_or(0);
    Gates {
        ttl: traffic.map_or(Span(0), |traffic| traffic.dns.ttl),
        drain: traffic.map_or(Span(0), |traffic| traffic.drain),
        rise: Span(rise),
        bake: service.upgrade.bake.region,
        step_deadline: service.upgrade.deadline.step,
        fleet_deadline: service.upgrade.deadline.fleet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing;

    fn plan_of(fleet: &Fleet) -> Result<Plan, Problem> {
        plan(fleet, &"web".parse().unwrap(), &"1.1.0".parse().unwrap())
    }

    fn shape(plan: &Plan) -> Vec<(String, usize)> {
        plan.waves.iter().map(|wave| (wave.region.to_string(), wave.nodes.len())).collect()
    }

    /// DVN-36, DVN-37, DVN-39.
    #[test]
    fn regions_go_one_after_another_in_the_order_of_the_manifest() {
        let (fleet, _) = testing::serving_fleet();
        let expected = [("aws".to_owned(), 2), ("aliyun".to_owned(), 2), ("gcp".to_owned(), 2)];
        assert_eq!(shape(&plan_of(&fleet).unwrap()), expected);
    }

    #[test]
    fn one_region_goes_node_by_node() {
        let (mut fleet, _) = testing::serving_fleet();
        fleet.nodes.retain(|_, node| node.region.as_str() == "aws");
        let expected = [("aws".to_owned(), 1), ("aws".to_owned(), 1)];
        assert_eq!(shape(&plan_of(&fleet).unwrap()), expected);
    }

    #[test]
    fn one_node_needs_downtime_to_be_allowed() {
        let (mut fleet, _) = testing::serving_fleet();
        fleet.nodes.retain(|name, _| name.as_str() == "aws-1");
        let refused = plan_of(&fleet).unwrap_err();
        assert_eq!((refused.code, refused.rule.as_deref()), (Code::Refused, Some(RULE_AT_LEAST)));
        let service = fleet.services.get_mut(&"web".parse().unwrap()).unwrap();
        service.manifest.serving.at_least = Some(0);
        assert_eq!(shape(&plan_of(&fleet).unwrap()), [("aws".to_owned(), 1)]);
    }

    #[test]
    fn the_hash_follows_what_was_reviewed_and_not_health() {
        let (mut fleet, _) = testing::serving_fleet();
        let before = plan_of(&fleet).unwrap().hash();
        fleet.nodes.get_mut(&"aws-1".parse().unwrap()).unwrap().observed.clear();
        fleet.index += 7;
        assert_eq!(plan_of(&fleet).unwrap().hash(), before);
        fleet.services.get_mut(&"web".parse().unwrap()).unwrap().revision += 1;
        assert_ne!(plan_of(&fleet).unwrap().hash(), before);
    }

    #[test]
    fn unknown_services_and_versions_are_told_apart() {
        let (fleet, _) = testing::serving_fleet();
        let web: ServiceId = "web".parse().unwrap();
        let none = plan(&fleet, &"db".parse().unwrap(), &"1.0.0".parse().unwrap()).unwrap_err();
        let version = plan(&fleet, &web, &"9.9.9".parse().unwrap()).unwrap_err();
        assert_eq!(none.message, "there is no service db");
        assert_eq!(version.message, "service web has no release 9.9.9");
    }
}
