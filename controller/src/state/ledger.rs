//! The one rule: who still serves if this is taken away, counting every held grant as down.
//!
//! *Unknown* counts as down when counting who serves, and as up when counting what is taken
//! (DESIGN rules 1, 2, 5). The same function answers the planner, which asks before it proposes,
//! and apply, which decides: the evidence is in the command, so every controller decides alike.

use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::action::ServiceState;
use trireme_proto::id::{GrantId, NodeId, OverrideId, RegionId, ServiceId};
use trireme_proto::model::Service;
use trireme_proto::problem::Problem;
use trireme_proto::time::Span;

use super::command::{Evidence, NodeEvidence};
use super::fleet::{Class, Fleet, Grant, Node};

/// Evidence older than this says nothing: three heartbeats of the slowest profile.
pub const EVIDENCE_AGE_MAX: Span = Span::secs(3);

/// Name of the rule that enough regions go on serving.
pub const RULE_AT_LEAST: &str = "serving.at_least";
/// Name of the rule that one region at a time is touched.
pub const RULE_ONE_REGION: &str = "grants.one_region";
/// Name of the rule that higher work goes first.
pub const RULE_PRECEDENCE: &str = "grants.precedence";
/// Name of the rule that nothing new is taken away during a freeze.
pub const RULE_FREEZE: &str = "fleet.freeze";
/// Rules that an operator may set aside, for a time and with a reason.
pub const RULES: [&str; 4] = [RULE_AT_LEAST, RULE_ONE_REGION, RULE_PRECEDENCE, RULE_FREEZE];

/// A node of a service, a pair that grants take.
pub type Pair = (NodeId, ServiceId);

/// How a service stands in a region, with the reason for every node that does not count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegionCount {
    /// Whether enough nodes count.
    pub serving: bool,
    /// Nodes that count as ready.
    pub ready: Vec<NodeId>,
    /// Nodes that do not, and why.
    pub down: BTreeMap<NodeId, &'static str>,
}

/// A question to the ledger.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Precedence of the work.
    pub class: Class,
    /// What would be taken.
    pub takes: &'a BTreeSet<Pair>,
    /// A grant that already covers it, when a leader vouches for it anew.
    pub within: Option<GrantId>,
    /// Whether it puts back what was: that goes on during a freeze.
    pub undoes: bool,
}

impl<'a> Ask<'a> {
    /// Returns the question whether work may begin to take something.
    pub fn new(class: Class, takes: &'a BTreeSet<Pair>) -> Self {
        Self { class, takes, within: None, undoes: false }
    }

    /// Returns the same question about what a grant may cover already.
    #[must_use]
    pub fn within(self, grant: Option<GrantId>) -> Self {
        Self { within: grant, ..self }
    }

    /// Returns the same question about work that puts back what was.
    #[must_use]
    pub fn undoing(self) -> Self {
        Self { undoes: true, ..self }
    }
}

/// Counts the regions that serve `service` with all held grants and `taken` down.
pub fn count(
    fleet: &Fleet,
    evidence: &Evidence,
    service: &Service,
    taken: &BTreeSet<Pair>,
) -> BTreeMap<RegionId, RegionCount> {
    let of_service = |(node, name): &'_ Pair| (*name == service.name).then(|| node.clone());
    let held = fleet.grants.values().filter(|grant| grant.is_held());
    let away = Away {
        taken: taken.iter().filter_map(of_service).collect(),
        held: held.flat_map(|grant| &grant.takes).filter_map(of_service).collect(),
    };
    let mut regions: BTreeMap<RegionId, RegionCount> = BTreeMap::new();
    for (node, record) in fleet.placed(service) {
        if !regions.contains_key(&record.region) {
            regions.insert(record.region.clone(), RegionCount::default());
        }
        let Some(count) = regions.get_mut(&record.region) else { continue };
        match down_because(evidence, service, &away, (node, record)) {
            None => count.ready.push(node.clone()),
            Some(reason) => {
                count.down.insert(node.clone(), reason);
            }
        }
    }
    for count in regions.values_mut() {
        count.serving = count.ready.len() >= service.serving.nodes as usize;
    }
    regions
}

/// Nodes of one service that count as down whatever they say.
struct Away {
    taken: BTreeSet<NodeId>,
    held: BTreeSet<NodeId>,
}

/// Returns why a node does not count as serving, or `None` if it does.
fn down_because(
    evidence: &Evidence,
    service: &Service,
    away: &Away,
    (node, record): (&NodeId, &Node),
) -> Option<&'static str> {
    if away.taken.contains(node) {
        return Some("would be taken");
    }
    if away.held.contains(node) {
        return Some("is held by a grant");
    }
    if record.drained.contains(&service.name) {
        return Some("is out of traffic");
    }
    let Some(seen) = fresh(evidence, node) else { return Some("was not heard from") };
    if !record.acknowledges(seen.generation) {
        return Some("has not acknowledged its newest action");
    }
    match seen.services.get(&service.name) {
        Some((ServiceState::Serving, _)) => None,
        Some((ServiceState::NotServing, _)) => Some("does not serve"),
        Some((ServiceState::NeverStarted, _)) => Some("was never started"),
        None => Some("has not said anything of it"),
    }
}

fn fresh<'a>(evidence: &'a Evidence, node: &NodeId) -> Option<&'a NodeEvidence> {
    evidence.nodes.get(node).filter(|seen| seen.age <= EVIDENCE_AGE_MAX)
}

/// Returns whether every node in sight has told how `service` stands there since its newest action.
///
/// Until then the evidence is a moment behind: worth waiting for rather than refusing on.
pub fn is_settled(fleet: &Fleet, evidence: &Evidence, service: &Service) -> bool {
    fleet.placed(service).all(|(node, record)| {
        let Some(seen) = fresh(evidence, node) else { return true };
        record.acknowledges(seen.generation) && seen.services.contains_key(&service.name)
    })
}

/// Returns whether taking `pair` takes nothing: only a fresh word of that very node proves it.
pub fn takes_nothing(evidence: &Evidence, (node, service): &Pair) -> bool {
    fresh(evidence, node)
        .and_then(|seen| seen.services.get(service))
        .is_some_and(|(state, _)| *state != ServiceState::Serving)
}

/// Decides whether something may be taken away now, and by which exceptions.
pub fn judge(
    fleet: &Fleet,
    evidence: &Evidence,
    ask: Ask<'_>,
) -> Result<BTreeSet<OverrideId>, Problem> {
    let loses: BTreeSet<Pair> =
        ask.takes.iter().filter(|pair| !takes_nothing(evidence, pair)).cloned().collect();
    let mut used = BTreeSet::new();
    if loses.is_empty() {
        return Ok(used);
    }
    let services: BTreeSet<&ServiceId> = loses.iter().map(|(_, service)| service).collect();
    used.extend(unless_waived(fleet, freeze(fleet, ask), &services)?);
    used.extend(unless_waived(fleet, precedence(fleet, ask, &services), &services)?);
    for name in services {
        let Some(record) = fleet.services.get(name) else { continue };
        let one = BTreeSet::from([name]);
        used.extend(unless_waived(fleet, one_region(fleet, ask, name, &loses), &one)?);
        let enough = enough_regions(fleet, evidence, &record.manifest, ask.takes);
        used.extend(unless_waived(fleet, enough, &one)?);
    }
    Ok(used)
}

/// Returns the exception by which a refusal does not count, or the refusal.
fn unless_waived(
    fleet: &Fleet,
    result: Result<(), Problem>,
    services: &BTreeSet<&ServiceId>,
) -> Result<Option<OverrideId>, Problem> {
    let Err(problem) = result else { return Ok(None) };
    match problem.rule.as_deref().and_then(|rule| fleet.waived(rule, services)) {
        Some(id) => Ok(Some(id)),
        None => Err(problem),
    }
}

/// Refuses whatever would begin to take something away during a freeze (I12): what was begun
/// ends, what is put back is put back, and a failover goes on.
fn freeze(fleet: &Fleet, ask: Ask<'_>) -> Result<(), Problem> {
    let exempt = ask.undoes || ask.within.is_some() || ask.class >= Class::Failover;
    match &fleet.freeze {
        Some(remark) if !exempt => Err(Problem::refused(
            RULE_FREEZE,
            format!("the fleet is frozen by {}: {}", remark.actor, remark.reason),
        )
        .hint("end the freeze when it is safe: trictl freeze off --reason WHY")),
        _ => Ok(()),
    }
}

/// Refuses while work of a higher class holds anything (DESIGN rule 11).
///
/// What operators hold by hand may be held for weeks, so it stops lower work only on the services
/// it touches; a failover and what is above it stop all.
fn precedence(fleet: &Fleet, ask: Ask<'_>, services: &BTreeSet<&ServiceId>) -> Result<(), Problem> {
    let concerns = |grant: &Grant| {
        grant.class > Class::Manual || grant.takes.iter().any(|(_, name)| services.contains(name))
    };
    let higher = fleet.grants.iter().find(|(id, grant)| {
        grant.is_held() && grant.class > ask.class && Some(**id) != ask.within && concerns(grant)
    });
    match higher {
        None => Ok(()),
        Some((id, grant)) => {
            Err(Problem::refused(RULE_PRECEDENCE, format!("{id} of {} goes first", grant.actor))
                .hint(format!("wait for it, or look at it: trictl why {id}")))
        }
    }
}

/// Refuses to touch a second region of a service at the same time (I2).
fn one_region(
    fleet: &Fleet,
    ask: Ask<'_>,
    service: &ServiceId,
    loses: &BTreeSet<Pair>,
) -> Result<(), Problem> {
    let region_of = |node: &NodeId| fleet.nodes.get(node).map(|record| &record.region);
    let wanted: BTreeSet<_> = loses
        .iter()
        .filter(|(_, name)| name == service)
        .filter_map(|(node, _)| region_of(node))
        .collect();
    for (id, grant) in fleet.grants.iter().filter(|(_, grant)| grant.is_held()) {
        let held = grant
            .takes
            .iter()
            .filter(|(_, name)| name == service)
            .filter_map(|(node, _)| region_of(node))
            .find(|region| wanted.iter().any(|other| other != region));
        if let Some(region) = held
            && Some(*id) != ask.within
        {
            return Err(Problem::refused(
                RULE_ONE_REGION,
                format!("{id} of {} holds nodes of {service} in region {region}", grant.actor),
            )
            .hint(format!("trictl why {id}")));
        }
    }
    Ok(())
}

/// Refuses if fewer regions than promised would serve.
fn enough_regions(
    fleet: &Fleet,
    evidence: &Evidence,
    service: &Service,
    takes: &BTreeSet<Pair>,
) -> Result<(), Problem> {
    let at_least = fleet.at_least(service);
    let after = count(fleet, evidence, service, takes);
    let serving = after.values().filter(|region| region.serving).count();
    if serving >= at_least as usize {
        return Ok(());
    }
    let mut problem = Problem::refused(
        RULE_AT_LEAST,
        format!(
            "{serving} of {} regions would serve {}, and at least {at_least} must",
            after.len(),
            service.name
        ),
    );
    for (region, count) in after.iter().filter(|(_, count)| !count.serving) {
        let mut nodes: Vec<String> =
            count.down.iter().map(|(node, reason)| format!("{node} {reason}")).collect();
        if nodes.is_empty() {
            let (ready, needs) = (count.ready.len(), service.serving.nodes);
            nodes.push(format!("it has {ready} node(s) and needs {needs}"));
        }
        problem = problem.because(format!("region {region} would not: {}", nodes.join(", ")));
    }
    Err(problem.hint(format!(
        "bring the region back first; look with: trictl describe service {}",
        service.name
    )))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::state::fleet::Fleet;
    use crate::state::testing;

    fn pairs(nodes: &[&str]) -> BTreeSet<Pair> {
        nodes.iter().map(|node| (node.parse().unwrap(), "web".parse().unwrap())).collect()
    }

    fn asks(fleet: &Fleet, evidence: &Evidence, nodes: &[&str]) -> Result<(), Problem> {
        judge(fleet, evidence, Ask::new(Class::Upgrade, &pairs(nodes))).map(drop)
    }

    #[test]
    fn a_whole_region_may_go_while_the_others_serve() {
        let (fleet, evidence) = testing::serving_fleet();
        assert_eq!(asks(&fleet, &evidence, &["aws-1", "aws-2"]), Ok(()));
    }

    #[test]
    fn nothing_may_go_while_another_region_is_down() {
        let (fleet, mut evidence) = testing::serving_fleet();
        for node in ["gcp-1", "gcp-2"] {
            testing::set_state(&mut evidence, node, ServiceState::NotServing);
        }
        let refused = asks(&fleet, &evidence, &["aws-1", "aws-2"]).unwrap_err();
        assert_eq!(refused.rule.as_deref(), Some(RULE_AT_LEAST));
        assert!(
            refused
                .why
                .iter()
                .any(|why| why.contains("region gcp would not: gcp-1 does not serve"))
        );
        // One node of two leaves the region serving, so it may go.
        assert_eq!(asks(&fleet, &evidence, &["aws-1"]), Ok(()));
    }

    #[test]
    fn silence_counts_as_down_when_counting_who_serves_and_as_up_when_taken() {
        let (fleet, mut evidence) = testing::serving_fleet();
        evidence.nodes.remove(&"gcp-1".parse().unwrap());
        evidence.nodes.get_mut(&"gcp-2".parse().unwrap()).unwrap().age = Span(3001);
        assert!(asks(&fleet, &evidence, &["aws-1", "aws-2"]).is_err());
        // The silent region itself may not be taken either: it may well serve.
        assert!(asks(&fleet, &evidence, &["gcp-1", "gcp-2"]).is_ok());
        for node in ["aliyun-1", "aliyun-2"] {
            testing::set_state(&mut evidence, node, ServiceState::NotServing);
        }
        assert!(asks(&fleet, &evidence, &["gcp-1"]).is_err());
    }

    #[test]
    fn what_serves_nothing_may_always_be_taken() {
        let (fleet, mut evidence) = testing::serving_fleet();
        for node in ["aws-1", "aws-2", "gcp-1", "gcp-2", "aliyun-1", "aliyun-2"] {
            testing::set_state(&mut evidence, node, ServiceState::NeverStarted);
        }
        assert_eq!(asks(&fleet, &evidence, &["aws-1", "aws-2"]), Ok(()));
    }

    #[test]
    fn held_grants_count_as_down_even_when_the_nodes_serve() {
        let (mut fleet, evidence) = testing::serving_fleet();
        testing::hold(&mut fleet, &["gcp-1", "gcp-2"]);
        let refused = asks(&fleet, &evidence, &["aws-1"]).unwrap_err();
        assert_eq!(refused.rule.as_deref(), Some(RULE_ONE_REGION));
        let counted = count(
            &fleet,
            &evidence,
            &fleet.services[&"web".parse().unwrap()].manifest,
            &pairs(&[]),
        );
        assert!(!counted[&"gcp".parse().unwrap()].serving);
    }

    #[test]
    fn a_node_behind_its_generation_does_not_count() {
        let (mut fleet, evidence) = testing::serving_fleet();
        for node in ["gcp-1", "gcp-2"] {
            testing::act(&mut fleet, node);
        }
        assert!(asks(&fleet, &evidence, &["aws-1", "aws-2"]).is_err());
    }

    #[test]
    fn evidence_is_settled_once_every_node_in_sight_has_told_of_the_service() {
        let (mut fleet, mut evidence) = testing::serving_fleet();
        let web = testing::web();
        assert!(is_settled(&fleet, &evidence, &web));
        testing::act(&mut fleet, "gcp-1");
        assert!(!is_settled(&fleet, &evidence, &web), "behind its newest action");
        // Who is out of sight is not waited for.
        evidence.nodes.remove(&"gcp-1".parse().unwrap());
        assert!(is_settled(&fleet, &evidence, &web));
        evidence.nodes.get_mut(&"gcp-2".parse().unwrap()).unwrap().services.clear();
        assert!(!is_settled(&fleet, &evidence, &web), "has not said anything of it");
    }

    /// Found by simulation: a region whose grant a person had ended counted as down for ever.
    #[test]
    fn a_node_whose_action_was_ended_by_a_person_has_nothing_to_acknowledge() {
        let (mut fleet, evidence) = testing::serving_fleet();
        for node in ["gcp-1", "gcp-2"] {
            testing::act(&mut fleet, node);
            let record = fleet.nodes.get_mut(&node.parse().unwrap()).unwrap();
            record.generation += 1;
            record.action = None;
        }
        assert_eq!(asks(&fleet, &evidence, &["aws-1", "aws-2"]), Ok(()));
    }

    #[test]
    fn higher_work_stops_lower_grants() {
        let (mut fleet, evidence) = testing::serving_fleet();
        let id = testing::hold(&mut fleet, &["aws-1"]);
        fleet.grants.get_mut(&id).unwrap().class = Class::Failover;
        let refused = asks(&fleet, &evidence, &["aws-2"]).unwrap_err();
        assert_eq!(refused.rule.as_deref(), Some(RULE_PRECEDENCE));
    }
}
