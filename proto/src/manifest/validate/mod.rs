//! What a manifest may not say although it is well formed: contradictions, within one object and
//! against the fleet.
//!
//! Pure, and the same for everybody: `trictl` asks before it sends anything, and the controller
//! asks again before it commits, because it trusts no client.

mod alert;
mod channel;
mod check;
mod checklist;
mod driver;
mod logs;
mod release;
mod service;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::diff::diff_release;
use super::suggest::nearest;
use crate::id::{ChannelId, RegionId, ServiceId, Version};
use crate::model::{AlertRule, Driver, Object, Release, Service};
use crate::placeholders;

/// One thing an object may not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Object it stands in, such as `Service web`; empty if it concerns the text as a whole.
    pub object: String,
    /// Field, such as `checks[0].http.url`; empty for the object as a whole.
    pub path: String,
    /// What is wrong: one sentence without a full stop.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

/// What the fleet has already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// All regions.
    pub regions: BTreeSet<RegionId>,
    /// All services, with what drives each.
    pub services: BTreeMap<ServiceId, Driver>,
    /// All channels.
    pub channels: BTreeSet<ChannelId>,
    /// All releases.
    pub releases: BTreeMap<(ServiceId, Version), Release>,
}

/// Returns what is wrong with one object by itself.
pub fn validate_object(object: &Object) -> Vec<Fault> {
    let mut faults = Faults::of(object);
    match object {
        Object::Region(_) => {}
        Object::Service(service) => service::validate(service, &mut faults),
        Object::Release(release) => release::validate(release, &mut faults),
        Object::AlertRule(rule) => alert::validate(rule, &mut faults),
        Object::Channel(channel) => channel::validate(channel, &mut faults),
        Object::Checklist(list) => checklist::validate(list, &mut faults),
    }
    faults.list
}

/// Returns what is wrong with objects that are applied together to a fleet that has `existing`.
pub fn validate_set(objects: &[Object], existing: &Known) -> Vec<Fault> {
    let objects: Vec<_> = objects.iter().collect();
    let alone = objects.iter().flat_map(|object| validate_object(object));
    alone.chain(set_faults(&objects, existing).into_iter().map(|(_, fault)| fault)).collect()
}

/// Returns the fault of giving a release other content: a version means one thing for ever.
pub fn immutable_conflict(old: &Release, new: &Release) -> Option<Fault> {
    let same_name = old.service == new.service && old.version == new.version;
    if !same_name || old == new {
        return None;
    }
    let paths: Vec<_> = diff_release(old, new).into_iter().map(|change| change.path).collect();
    let mut faults = Faults::of(&Object::Release(new.clone()));
    faults.add(
        "version",
        format!("version {} exists with other content: {}", new.version, paths.join(", ")),
        "give what changed a new version: rolling back needs the old one as it was",
    );
    faults.list.pop()
}

/// Returns what is wrong between the objects, and between them and the fleet, by object.
pub(super) fn set_faults(objects: &[&Object], existing: &Known) -> Vec<(usize, Fault)> {
    let mut regions = existing.regions.clone();
    let mut services = existing.services.clone();
    let mut channels = existing.channels.clone();
    for object in objects {
        match object {
            Object::Region(region) => drop(regions.insert(region.name.clone())),
            Object::Service(service) => {
                services.insert(service.name.clone(), service.driver.clone());
            }
            Object::Channel(channel) => drop(channels.insert(channel.name.clone())),
            Object::Release(_) | Object::AlertRule(_) | Object::Checklist(_) => {}
        }
    }
    let named: BTreeSet<ServiceId> = services.keys().cloned().collect();
    let mut found = duplicates(objects.iter().copied());
    for (index, object) in objects.iter().enumerate() {
        let mut faults = Faults::of(object);
        match object {
            Object::Region(_) | Object::Channel(_) => {}
            Object::AlertRule(rule) => {
                against_fleet(rule, &regions, &named, &channels, &mut faults);
            }
            Object::Checklist(list) => {
                checklist::against_fleet(list, &regions, &named, &mut faults);
            }
            Object::Service(service) => against_regions(service, &regions, &mut faults),
            Object::Release(release) => {
                against_services(release, &services, &mut faults);
                let old =
                    existing.releases.get(&(release.service.clone(), release.version.clone()));
                faults.list.extend(old.and_then(|old| immutable_conflict(old, release)));
            }
        }
        found.extend(faults.list.into_iter().map(|fault| (index, fault)));
    }
    found
}

/// Returns the objects that define again what an earlier one defines.
pub(super) fn duplicates<'o>(objects: impl IntoIterator<Item = &'o Object>) -> Vec<(usize, Fault)> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (index, object) in objects.into_iter().enumerate() {
        if !seen.insert((object.kind(), object.name())) {
            let path = if matches!(object, Object::Release(_)) { "version" } else { "name" };
            let mut faults = Faults::of(object);
            let message = format!("{} {} is defined twice", object.kind(), object.name());
            faults.add(path, message, "keep one of the two documents");
            found.extend(faults.list.into_iter().map(|fault| (index, fault)));
        }
    }
    found
}

fn against_regions(service: &Service, regions: &BTreeSet<RegionId>, faults: &mut Faults) {
    if let Some(at_least) = service.serving.at_least
        && usize::try_from(at_least).is_ok_and(|at_least| at_least > regions.len())
    {
        faults.add(
            "serving.at_least",
            format!("{at_least} regions can never serve: the fleet has {}", regions.len()),
            format!("write at most {}, or add regions", regions.len()),
        );
    }
    for (index, region) in service.upgrade.order.iter().enumerate() {
        if !regions.contains(region) {
            let known: Vec<_> = regions.iter().map(RegionId::as_str).collect();
            let help = match nearest(region.as_str(), known.iter().copied()) {
                Some(guess) => format!("did you mean `{guess}`?"),
                None if known.is_empty() => "the fleet has no region yet: apply one".into(),
                None => format!("regions are {}", known.join(", ")),
            };
            let message = format!("there is no region `{region}`");
            faults.add(format!("upgrade.order[{index}]"), message, help);
        }
    }
}

/// Refuses a rule about what the fleet does not have.
fn against_fleet(
    rule: &AlertRule,
    regions: &BTreeSet<RegionId>,
    services: &BTreeSet<ServiceId>,
    channels: &BTreeSet<ChannelId>,
    faults: &mut Faults,
) {
    for (index, region) in rule.only.regions.iter().enumerate() {
        faults.known(format!("only.regions[{index}]"), "region", region, regions, RegionId::as_str);
    }
    for (index, service) in rule.only.services.iter().enumerate() {
        let path = format!("only.services[{index}]");
        faults.known(path, "service", service, services, ServiceId::as_str);
    }
    if let Some(service) = rule.when.service() {
        let path = format!("when.{}.service", rule.when.word());
        faults.known(path, "service", service, services, ServiceId::as_str);
    }
    for (index, channel) in rule.channels.iter().enumerate() {
        faults.known(format!("channels[{index}]"), "channel", channel, channels, ChannelId::as_str);
    }
}

fn against_services(
    release: &Release,
    services: &BTreeMap<ServiceId, Driver>,
    faults: &mut Faults,
) {
    let Some(driver) = services.get(&release.service) else {
        let known = services.keys().map(ServiceId::as_str);
        let help = match nearest(release.service.as_str(), known) {
            Some(guess) => format!("did you mean `{guess}`?"),
            None => "apply the service first, or in the same manifest".into(),
        };
        faults.add("service", format!("there is no service `{}`", release.service), help);
        return;
    };
    if let Err(misfit) = release.fits(driver) {
        let message = format!("service {} cannot run it: {misfit}", release.service);
        faults.add("", message, "look at both: trictl explain release, trictl explain service");
    }
}

/// Collects the faults of one object.
struct Faults {
    object: String,
    list: Vec<Fault>,
}

impl Faults {
    fn of(object: &Object) -> Self {
        Self { object: format!("{} {}", object.kind(), object.name()), list: Vec::new() }
    }

    fn add(
        &mut self,
        path: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let (path, message, help) = (path.into(), message.into(), help.into());
        self.list.push(Fault { object: self.object.clone(), path, message, help });
    }

    /// Refuses the name of something that the fleet does not have.
    fn known<T: Ord>(
        &mut self,
        path: String,
        kind: &str,
        name: &T,
        known: &BTreeSet<T>,
        text: fn(&T) -> &str,
    ) {
        if known.contains(name) {
            return;
        }
        let name = text(name);
        let help = match nearest(name, known.iter().map(text)) {
            Some(guess) => format!("did you mean `{guess}`?"),
            None => format!("apply the {kind} first, or in the same manifest"),
        };
        self.add(path, format!("there is no {kind} `{name}`"), help);
    }

    /// Refuses a template that no node could fill in, or that no program could be given.
    fn template(&mut self, path: &str, template: &str) {
        if let Err(error) = placeholders::check(template) {
            self.add(path, error.to_string(), error.help());
        }
        if template.contains('\0') {
            self.add(path, "a text for a program holds a zero byte", "leave the zero byte out");
        }
    }

    /// Checks a program with its arguments, which never pass through a shell.
    fn argv(&mut self, path: &str, argv: &[String]) {
        match argv.first() {
            None => self.add(path, "there is no program to run", "write [\"/path/to/program\"]"),
            Some(program) if program.starts_with('/') || program.starts_with("{artifact}") => {}
            Some(program) => self.add(
                format!("{path}[0]"),
                format!("program `{program}` is neither absolute nor the artifact"),
                "begin it with / or {artifact}: nothing looks programs up in PATH",
            ),
        }
        for (index, argument) in argv.iter().enumerate() {
            self.template(&format!("{path}[{index}]"), argument);
        }
    }

    /// Checks the environment of a program.
    fn env(&mut self, path: &str, env: &BTreeMap<String, String>) {
        for (name, value) in env {
            let path = format!("{path}.{name}");
            let first = name.bytes().next();
            let named = first.is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !named {
                let message = format!("`{name}` is not a name of the environment");
                self.add(&path, message, "use letters, digits and _, not a digit first");
            }
            self.template(&path, value);
        }
    }

    /// Checks an address that a node asks over HTTP.
    fn url(&mut self, path: &str, url: &str) {
        self.template(path, url);
        if let Err(why) = http_url(url) {
            let help = "write it like http://{address}:8080/health";
            self.add(path, format!("`{url}` {why}"), help);
        }
    }
}

/// Checks a URL of http or https as far as placeholders leave it open.
fn http_url(url: &str) -> Result<(), &'static str> {
    let Some(rest) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else {
        return Err("is not a URL of http or https");
    };
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("holds a space or a control character");
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        return Err("holds a user or a password, which everybody could read here");
    }
    let named_port = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    match named_port {
        Some(_) => host_port(host),
        None if host.is_empty() => Err("names no host"),
        None => Ok(()),
    }
}

/// Checks `host:port` as far as placeholders leave it open.
fn host_port(address: &str) -> Result<(), &'static str> {
    let Some((host, port)) = address.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'))
    else {
        return Err("names no port");
    };
    if host.is_empty() {
        return Err("names no host");
    }
    if address.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/') {
        return Err("is not a host and a port");
    }
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Err("has a host with colons that is not in square brackets");
    }
    let valid = port.contains('{') || port.parse::<u16>().is_ok_and(|port| port > 0);
    if valid { Ok(()) } else { Err("has a port that is not a number from 1 to 65535") }
}
