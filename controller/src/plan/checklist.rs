//! Looks up what the controllers can know of a checklist's items by themselves.
//!
//! What cannot be told is not well: a node that this leader has not seen does not pass.

use trireme_proto::action::ServiceState;
use trireme_proto::id::{ChecklistId, NodeId};
use trireme_proto::model::{By, Fact, InService, InSight, Item, Passing, Quiet};
use trireme_proto::time::{FleetTime, Span};

use crate::presence::Presence;
use crate::state::Fleet;
use crate::state::checklist::Finding;
use crate::state::fleet::Node;

/// Name under which a process that does not run stands among the failing checks.
const PROCESS: &str = "process";
/// A controller that has not answered the leader for so long is silent: it is asked each second.
const CONTROLLER_SILENCE: Span = Span::secs(10);
/// Names that one finding lists; more tell nobody anything.
const NAMED_MAX: usize = 8;

/// All that findings are made from.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// What the controllers agree on.
    pub fleet: &'a Fleet,
    /// What this leader sees.
    pub presence: &'a Presence,
    /// Fleet time.
    pub now: FleetTime,
    /// What reading the audit has shown.
    pub audit: &'a Result<String, String>,
}

/// What was found: what shows that it is well, or what is not.
type Verdict = Result<String, String>;

/// Looks up every automatic item, in order.
pub fn look(sight: Sight<'_>, checklist: &ChecklistId, items: &[Item]) -> Vec<Finding> {
    let automatic = items.iter().filter(|item| item.by.asked().is_none());
    automatic
        .map(|item| {
            let verdict = sight.verdict(checklist, &item.by);
            let passed = verdict.is_ok();
            let (Ok(seen) | Err(seen)) = verdict;
            Finding { item: item.name.clone(), passed, seen }
        })
        .collect()
}

impl Sight<'_> {
    fn verdict(self, checklist: &ChecklistId, by: &By) -> Verdict {
        match by {
            By::Serving(served) => self.serving(served),
            By::Alerts(quiet) => self.alerts(checklist, quiet),
            By::Check(passing) => self.check(passing),
            By::Nodes(nodes) => self.nodes(nodes),
            By::Fact(Fact::AuditVerified) => self.audit.clone(),
            By::Fact(Fact::GlassReviewed) => {
                let breaks = self.fleet.breaks.iter();
                let open = breaks.filter(|(_, record)| record.review.is_none());
                let open: Vec<_> = open.map(|(id, _)| format!("break-{id}")).collect();
                judged(&open, "to be reviewed: ", || "nothing is to be reviewed".to_owned())
            }
            By::Fact(Fact::ControllersAnswer) => self.controllers(),
            By::Ask(_) => Err("a person is asked".to_owned()),
        }
    }

    fn serving(self, served: &InService) -> Verdict {
        let all = self.fleet.services.values().map(|record| &record.manifest);
        let named =
            all.filter(|one| served.services.is_empty() || served.services.contains(&one.name));
        let (mut count, mut missing) = (0, Vec::new());
        for service in named {
            let placed = self.fleet.placement(service);
            if placed.is_empty() {
                missing.push(format!("{} has no nodes", service.name));
            }
            for (region, nodes) in placed {
                let serves = |id: &&NodeId| {
                    let node = self.fleet.nodes.get(*id);
                    node.is_some_and(|node| node.serves(&service.name)) && self.sees(id)
                };
                let serving = nodes.iter().filter(serves).count();
                count += 1;
                if serving < service.serving.nodes as usize {
                    missing.push(format!(
                        "{} in {region} ({serving} of {} nodes)",
                        service.name,
                        nodes.len()
                    ));
                }
            }
        }
        if count == 0 && missing.is_empty() {
            return Err("there is no service".to_owned());
        }
        judged(&missing, "not served: ", || format!("served in each of {count} places"))
    }

    fn alerts(self, checklist: &ChecklistId, quiet: &Quiet) -> Verdict {
        let own = format!("checklist/{checklist}/");
        let open = self.fleet.alerts.incidents.iter().filter(|(_, one)| {
            let service = one.subject.service.as_ref();
            let about_itself = one.subject.object.as_ref().is_some_and(|o| o.starts_with(&own));
            one.is_open()
                && !one.is_watchdog()
                && !about_itself
                && one.severity <= quiet.severity
                && (quiet.services.is_empty()
                    || service.is_some_and(|name| quiet.services.contains(name)))
        });
        let open: Vec<_> =
            open.map(|(id, one)| format!("{id} ({} {})", one.severity, one.rule)).collect();
        judged(&open, "going on: ", || format!("no alert of {} or worse goes on", quiet.severity))
    }

    fn check(self, passing: &Passing) -> Verdict {
        let Some(record) = self.fleet.services.get(&passing.service) else {
            return Err(format!("there is no service {}", passing.service));
        };
        let (mut count, mut failing) = (0, Vec::new());
        for (id, node) in self.fleet.placed(&record.manifest) {
            count += 1;
            if let Some(why) = self.fails(id, node, passing) {
                failing.push(format!("{id} ({why})"));
            }
        }
        if count == 0 {
            return Err(format!("service {} has no nodes", passing.service));
        }
        judged(&failing, "not passing: ", || format!("passes on each of {count} nodes"))
    }

    /// Returns why a check does not pass on a node, if it does not.
    fn fails(self, id: &NodeId, node: &Node, passing: &Passing) -> Option<String> {
        if !self.sees(id) {
            return Some("not in sight".to_owned());
        }
        let Some(seen) = node.observed.get(&passing.service) else {
            return Some("never started".to_owned());
        };
        match seen.state {
            ServiceState::NeverStarted => Some("never started".to_owned()),
            ServiceState::Serving => None,
            ServiceState::NotServing => {
                let own = seen.failing.get(&passing.check);
                own.or_else(|| seen.failing.get(PROCESS)).cloned()
            }
        }
    }

    fn nodes(self, nodes: &InSight) -> Verdict {
        let all = self.fleet.nodes.iter().filter(|(_, node)| {
            !node.removed && (nodes.regions.is_empty() || nodes.regions.contains(&node.region))
        });
        let (mut count, mut silent) = (0, Vec::new());
        for (id, _) in all {
            count += 1;
            if !self.sees(id) {
                silent.push(id.to_string());
            }
        }
        if count == 0 {
            return Err("there is no node".to_owned());
        }
        judged(&silent, "not in sight: ", || format!("each of {count} nodes is in sight"))
    }

    fn controllers(self) -> Verdict {
        let silent = self.fleet.controllers.keys().filter(|name| {
            let heard = self.presence.controllers.get(*name);
            heard.is_none_or(|heard| self.now.since(heard.at) > CONTROLLER_SILENCE)
        });
        let silent: Vec<_> = silent.map(ToString::to_string).collect();
        let count = self.fleet.controllers.len();
        judged(&silent, "silent: ", || format!("each of {count} controllers answers"))
    }

    fn sees(self, node: &NodeId) -> bool {
        self.presence.in_sight(node, self.now)
    }
}

/// Returns what was found: what is wrong, each by name, or that nothing is.
fn judged(wrong: &[String], said: &str, well: impl FnOnce() -> String) -> Verdict {
    if wrong.is_empty() {
        return Ok(well());
    }
    let more = wrong.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let named: Vec<_> = wrong.iter().take(NAMED_MAX).map(String::as_str).collect();
    Err(format!("{said}{}{more}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use trireme_proto::model::{Checklist, Object};

    use super::*;
    use crate::presence::Seen;
    use crate::state::alert::{Incident, Subject};
    use crate::state::testing;

    const LIST: &str = "\
kind: Checklist
name: daily
owner: ops
items:
  - {name: services, title: T, by: {serving: {}}}
  - {name: health, title: T, by: {check: {service: web, check: health}}}
  - {name: alerts, title: T, by: {alerts: {severity: P2}}}
  - {name: person, title: T, by: {ask: {}}}
  - {name: nodes, title: T, by: {nodes: {regions: [gcp]}}}
  - {name: audit, title: T, by: {fact: audit-verified}}
  - {name: glass, title: T, by: {fact: glass-reviewed}}
";

    /// A fleet, and a leader who sees all of it.
    struct Bench {
        fleet: Fleet,
        presence: Presence,
        audit: Result<String, String>,
    }

    impl Bench {
        fn new() -> Self {
            let (fleet, _) = testing::serving_fleet();
            let mut presence = Presence::default();
            let seen = fleet.nodes.keys().map(|id| (id.clone(), Seen::default())).collect();
            presence.hear(FleetTime(1000), &"c1".parse().unwrap(), 1, seen);
            Self { fleet, presence, audit: Ok("one chain".to_owned()) }
        }

        /// Returns what is not well, by item.
        fn wrong(&self) -> Vec<(String, String)> {
            let parsed = trireme_proto::manifest::parse("m", LIST).unwrap().remove(0).value;
            let Object::Checklist(Checklist { name, items, .. }) = parsed else { panic!("{LIST}") };
            let sight = Sight {
                fleet: &self.fleet,
                presence: &self.presence,
                now: FleetTime(2000),
                audit: &self.audit,
            };
            let found = look(sight, &name, &items);
            let order: Vec<_> = found.iter().map(|one| one.item.as_str()).collect();
            assert_eq!(order, ["services", "health", "alerts", "nodes", "audit", "glass"]);
            let wrong = found.into_iter().filter(|one| !one.passed);
            wrong.map(|one| (one.item.to_string(), one.seen)).collect()
        }
    }

    fn incident(object: Option<&str>, severity: trireme_proto::model::Severity) -> Incident {
        Incident {
            rule: "a-rule".parse().unwrap(),
            what: "ready".to_owned(),
            severity,
            subject: Subject { object: object.map(str::to_owned), ..Subject::default() },
            labels: std::collections::BTreeMap::new(),
            summary: None,
            runbook: None,
            channels: std::collections::BTreeSet::new(),
            evidence: String::new(),
            opened_wall: trireme_proto::time::WallTime(0),
            opened: FleetTime(0),
            resolved: None,
            acknowledged: None,
            advice: None,
            told: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn dvn_01_what_serves_and_is_quiet_is_well_in_the_order_of_the_items() {
        assert_eq!(Bench::new().wrong(), []);
    }

    #[test]
    fn dvn_01_each_item_finds_its_own_fault() {
        let mut bench = Bench::new();
        let node = bench.fleet.nodes.get_mut(&"aws-1".parse::<NodeId>().unwrap()).unwrap();
        let seen = node.observed.values_mut().next().unwrap();
        seen.state = ServiceState::NotServing;
        seen.failing = [("health".to_owned(), "timeout".to_owned())].into();
        // One node of two makes the region serve; the check fails all the same.
        assert_eq!(
            bench.wrong(),
            [("health".to_owned(), "not passing: aws-1 (timeout)".to_owned())]
        );
        bench.presence.nodes.retain(|id, _| !id.as_str().starts_with("gcp"));
        let wrong = bench.wrong();
        assert_eq!(wrong[0], ("services".into(), "not served: web in gcp (0 of 2 nodes)".into()));
        assert!(wrong[1].1.contains("gcp-2 (not in sight)"), "{wrong:?}");
        assert_eq!(wrong[2], ("nodes".into(), "not in sight: gcp-1, gcp-2".into()));
    }

    #[test]
    fn tsp_04_alerts_count_by_severity_and_not_those_about_the_checklist_itself() {
        use trireme_proto::id::IncidentId;
        use trireme_proto::model::Severity;
        let mut bench = Bench::new();
        let incidents = &mut bench.fleet.alerts.incidents;
        incidents.insert(IncidentId(1), incident(None, Severity::P3));
        incidents.insert(IncidentId(2), incident(Some("checklist/daily/services"), Severity::P2));
        bench.audit = Err("entry 7 of the audit was changed".to_owned());
        assert_eq!(
            bench.wrong(),
            [("audit".to_owned(), "entry 7 of the audit was changed".to_owned())]
        );
        let incidents = &mut bench.fleet.alerts.incidents;
        incidents.insert(IncidentId(3), incident(None, Severity::P1));
        assert_eq!(
            bench.wrong()[0],
            ("alerts".to_owned(), "going on: incident-3 (P1 a-rule)".to_owned())
        );
    }
}
