//! Checklists that could never be done, never open, or open before the last one has ended.

use std::collections::BTreeSet;

use super::alert::one_line;
use super::{Faults, http_url};
use crate::id::{RegionId, ServiceId};
use crate::model::{By, Checklist, Schedule};
use crate::schedule::check_zone;
use crate::time::Span;

/// Items of one checklist: what nobody can do in one go wants to be two.
const ITEMS_MAX: usize = 30;
/// Shortest window: what opens by itself is looked at each second, people are not that fast.
const WINDOW_MIN: Span = Span::secs(60);
/// A day of hours.
const DAY: u64 = 24 * 3600;

pub(super) fn validate(list: &Checklist, faults: &mut Faults) {
    one_line("owner", &list.owner, faults);
    validate_schedule(list, faults);
    if list.items.is_empty() {
        faults.add("items", "there is nothing to look at", "add at least one item");
    }
    if list.items.len() > ITEMS_MAX {
        let message = format!("{} items are more than {ITEMS_MAX}", list.items.len());
        faults.add("items", message, "make two checklists of it");
    }
    let mut seen = BTreeSet::new();
    for (index, item) in list.items.iter().enumerate() {
        let path = format!("items[{index}]");
        if !seen.insert(&item.name) {
            let message = format!("item `{}` is there twice", item.name);
            faults.add(format!("{path}.name"), message, "give each its own name");
        }
        one_line(&format!("{path}.title"), &item.title, faults);
        if let By::Ask(ask) = &item.by
            && let Some(Err(why)) = ask.url.as_deref().map(http_url)
        {
            let help = "write it like https://grafana.example.com/d/dvn";
            let url = ask.url.as_deref().unwrap_or("");
            faults.add(format!("{path}.by.ask.url"), format!("`{url}` {why}"), help);
        }
    }
}

fn validate_schedule(list: &Checklist, faults: &mut Faults) {
    let Some(schedule) = &list.schedule else { return };
    let (word, longest) = match schedule {
        Schedule::Daily(_) => ("daily", Span::secs(DAY)),
        Schedule::Weekly(_) => ("weekly", Span::secs(7 * DAY)),
        // The shortest month.
        Schedule::Monthly(_) => ("monthly", Span::secs(28 * DAY)),
    };
    if let Err(error) = check_zone(schedule.zone()) {
        let help = "write the name of a zone such as Asia/Shanghai or UTC";
        faults.add(format!("schedule.{word}.zone"), error.to_string(), help);
    }
    if let Schedule::Monthly(month) = schedule
        && !(1..=31).contains(&month.day)
    {
        let message = format!("no month has a day {}", month.day);
        faults.add("schedule.monthly.day", message, "write a day from 1 to 31");
    }
    if list.window < WINDOW_MIN || list.window > longest {
        let message = format!("a {word} checklist cannot have a window of {}", list.window);
        faults.add("window", message, format!("write from {WINDOW_MIN} to {longest}"));
    }
}

/// Refuses a checklist about what the fleet does not have.
pub(super) fn against_fleet(
    list: &Checklist,
    regions: &BTreeSet<RegionId>,
    services: &BTreeSet<ServiceId>,
    faults: &mut Faults,
) {
    for (index, item) in list.items.iter().enumerate() {
        let path = format!("items[{index}].by.{}", item.by.word());
        let named: &[ServiceId] = match &item.by {
            By::Serving(served) => &served.services,
            By::Alerts(quiet) => &quiet.services,
            By::Check(passing) => {
                let path = format!("{path}.service");
                faults.known(path, "service", &passing.service, services, ServiceId::as_str);
                &[]
            }
            By::Nodes(nodes) => {
                for (nth, region) in nodes.regions.iter().enumerate() {
                    let path = format!("{path}.regions[{nth}]");
                    faults.known(path, "region", region, regions, RegionId::as_str);
                }
                &[]
            }
            By::Fact(_) | By::Ask(_) => &[],
        };
        for (nth, service) in named.iter().enumerate() {
            let path = format!("{path}.services[{nth}]");
            faults.known(path, "service", service, services, ServiceId::as_str);
        }
    }
}
