//! Services that contradict themselves.

use std::collections::BTreeMap;

use super::{Faults, check, driver, logs};
use crate::model::{Service, Traffic, UpgradePolicy};
use crate::time::Span;

/// Most checks of one service: each is a timer and a connection on every node.
const CHECKS_MAX: usize = 64;
/// Longest time a client may use an answer: every drain waits it out.
const TTL_MAX: Span = Span::secs(3600);

pub(super) fn validate(service: &Service, faults: &mut Faults) {
    if service.nodes.labels.is_empty() {
        let message = "an empty selector selects no node";
        faults.add("nodes.labels", message, "name at least one label, such as {role: web}");
    }
    for label in service.nodes.labels.keys().filter(|label| label.trim().is_empty()) {
        let message = format!("label `{label}` has no name");
        faults.add("nodes.labels", message, "name the label, such as {role: web}");
    }
    if service.serving.nodes == 0 {
        let message = "a region with no ready node would count as serving";
        faults.add("serving.nodes", message, "write at least 1");
    }
    if service.checks.len() > CHECKS_MAX {
        let message = format!("{} checks are more than {CHECKS_MAX}", service.checks.len());
        faults.add("checks", message, "put several questions into one command");
    }
    driver::validate(&service.driver, faults);
    let mut first = BTreeMap::new();
    for (index, check) in service.checks.iter().enumerate() {
        let path = format!("checks[{index}]");
        check::validate(check, &path, faults);
        if let Some(first) = first.insert(check.name.as_str(), index) {
            faults.add(
                format!("{path}.name"),
                format!("check `{}` is there twice, as checks[{first}] too", check.name),
                "give each check a name of its own",
            );
        }
    }
    logs::validate(&service.logs, faults);
    if let Some(traffic) = &service.traffic {
        validate_traffic(traffic, faults);
    }
    validate_upgrade(&service.upgrade, faults);
    validate_step(service, faults);
}

fn validate_traffic(traffic: &Traffic, faults: &mut Faults) {
    let ttl = traffic.dns.ttl;
    if traffic.dns.port == 0 {
        faults.add("traffic.dns.port", "port 0 cannot be reached", "write a port from 1 to 65535");
    }
    if ttl.0 == 0 || !ttl.0.is_multiple_of(1000) {
        let message = format!("ttl {ttl} is not whole seconds: DNS counts in seconds");
        faults.add("traffic.dns.ttl", message, "write it like 2s, at least 1s");
    } else if ttl > TTL_MAX {
        let message = format!("ttl {ttl} is longer than {TTL_MAX}: every drain waits it out");
        faults.add("traffic.dns.ttl", message, "write a few seconds, such as 2s");
    }
    if let Some(url) = &traffic.in_flight {
        faults.url("traffic.in_flight", url);
    }
}

fn validate_upgrade(upgrade: &UpgradePolicy, faults: &mut Faults) {
    for (index, region) in upgrade.order.iter().enumerate() {
        if upgrade.order[..index].contains(region) {
            let message = format!("region `{region}` is in the order twice");
            faults.add(format!("upgrade.order[{index}]"), message, "name each region once");
        }
    }
    let (bake, deadline) = (upgrade.bake.region, &upgrade.deadline);
    if deadline.step.0 == 0 {
        let message = "no step can end within 0s";
        faults.add("upgrade.deadline.step", message, "write a few minutes, such as 5m");
    }
    if deadline.fleet <= bake {
        let message = format!(
            "the upgrade must end within {}, but the bake of one region takes {bake}",
            deadline.fleet
        );
        faults.add("upgrade.deadline.fleet", message, "give it the bakes of all regions and more");
    } else if deadline.fleet < deadline.step {
        let message = format!(
            "the upgrade must end within {}, before its first step must, within {}",
            deadline.fleet, deadline.step
        );
        faults.add("upgrade.deadline.fleet", message, "write at least upgrade.deadline.step");
    }
}

/// A step drains and stops before it starts anything: its deadline must leave room for that.
fn validate_step(service: &Service, faults: &mut Faults) {
    let drain = service.traffic.as_ref().map_or(Span(0), |traffic| traffic.drain);
    let stopping = Span(drain.0.saturating_add(service.driver.stop_timeout().0));
    let step = service.upgrade.deadline.step;
    if step.0 > 0 && step <= stopping {
        let message = format!(
            "a step must end within {step}, but drain and stop_timeout alone may take {stopping}"
        );
        faults.add("upgrade.deadline.step", message, "write more than the sum of the two");
    }
}
