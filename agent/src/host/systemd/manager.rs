//! systemd on this host: what a release needs of it before anything stops, and what is laid over
//! the operator's unit.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use trireme_proto::action::RunSpec;
use trireme_proto::digest::Digest;
use trireme_proto::model::Artifact;

use super::bus::{Bus, BusError, UnitNow};
use super::dropin;
use super::record::Target;
use crate::host::allow::SystemdHost;
use crate::host::artifact;
use crate::host::facts::NodeFacts;
use crate::host::layout::ServiceDir;
use crate::host::{Fetched, HostError, blocking, durable, release_name};
use crate::http::Client;

/// Tells why a unit could not be worked on.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// systemd did not do or say something.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// There is no such unit, or it is not to be started.
    #[error("unit {unit} is {load} on this node: `systemctl status {unit}` says more")]
    NotThere {
        /// The unit.
        unit: String,
        /// What systemd says of its files.
        load: String,
    },
    /// The name is another one of a unit.
    #[error("{unit} is another name of unit {id}: name that one")]
    Alias {
        /// As written.
        unit: String,
        /// Its own name.
        id: String,
    },
    /// The drop-in of the release does not count.
    #[error(
        "unit {unit} would not run the program of the release: see what is laid over it with \
         `systemctl cat {unit}`"
    )]
    Overridden {
        /// The unit.
        unit: String,
    },
    /// systemd did not start it.
    #[error("unit {unit} was not started: {why}")]
    NotStarted {
        /// The unit.
        unit: String,
        /// Why, as far as systemd tells.
        why: String,
    },
}

/// systemd on this host.
#[derive(Debug)]
pub(in crate::host) struct Systemd {
    pub(super) bus: Bus,
    host: SystemdHost,
    units: PathBuf,
}

impl Systemd {
    /// Asks nobody yet.
    pub(in crate::host) fn new(host: SystemdHost) -> Self {
        Self { bus: Bus::default(), host, units: dropin::UNITS.into() }
    }

    /// Returns the unit of a specification on this node, if its configuration allows it.
    pub(super) fn target(
        &self,
        spec: &RunSpec,
        dir: &ServiceDir,
        node: &NodeFacts,
    ) -> Result<Target, HostError> {
        let release = || release_name(spec);
        if let Err(source) = spec.release.fits(&spec.driver) {
            return Err(HostError::Misfit { release: release(), source });
        }
        let own = self.program(dir, &spec.digest()).to_string_lossy().into_owned();
        let facts = crate::host::Facts { artifact: own.clone(), ..dir.facts(node, Some(spec)) };
        let target = Target::of(spec, &facts)
            .ok_or_else(|| HostError::NotStaged { release: release() })?
            .map_err(|source| HostError::Template { release: release(), source })?;
        self.host.check(&target.unit)?;
        if target.argv.first() != Some(&own) {
            self.host.check_program(target.argv.first().map_or("", String::as_str))?;
        }
        Ok(target)
    }

    /// Returns the unit that runs a specification on this node, if one does and may.
    pub(in crate::host) fn unit(
        &self,
        spec: &RunSpec,
        dir: &ServiceDir,
        node: &NodeFacts,
    ) -> Option<String> {
        let target = is_unit(spec).then(|| self.target(spec, dir, node).ok())?;
        target.map(|target| target.unit)
    }

    fn store(&self, dir: &ServiceDir) -> PathBuf {
        self.host.store.join(dir.service().as_str())
    }

    /// Returns where the file of a release lies for its unit to run, under the service's own name.
    fn program(&self, dir: &ServiceDir, spec: &Digest) -> PathBuf {
        self.store(dir).join(spec.to_string()).join(dir.service().as_str())
    }

    /// Brings the file of a release here; disturbs nothing.
    pub(in crate::host) async fn fetch(
        &self,
        client: &Client,
        spec: &RunSpec,
        file: &Artifact,
        dir: &ServiceDir,
        node: &NodeFacts,
    ) -> Result<Fetched, HostError> {
        let target = self.target(spec, dir, node)?;
        // What could not be started is refused before anything is stopped.
        let now =
            self.bus.unit(&target.unit).await.map_err(|error| failed(&target)(error.into()))?;
        is_there(&target, &now).map_err(failed(&target))?;
        let program = self.program(dir, &spec.digest());
        let (store, own, place) = (self.store(dir), program.clone(), dir.clone());
        blocking(move || make_room(&store, &own, &place)).await?;
        let fetched = artifact::fetch(client, file, &program).await;
        let fetched =
            fetched.map_err(|source| HostError::Fetch { release: release_name(spec), source })?;
        let link = dir.artifact(&spec.digest());
        blocking(move || point_link(&link, &program)).await?;
        Ok(fetched)
    }

    /// Lays a release over its unit, or over none; what is laid over another unit is taken away.
    pub(in crate::host) fn point(
        &self,
        dir: &ServiceDir,
        spec: Option<&RunSpec>,
        node: &NodeFacts,
    ) -> Result<(), HostError> {
        let wanted = spec.filter(|spec| is_unit(spec));
        let wanted = wanted.map(|spec| self.laid_over(spec, dir, node)).transpose()?;
        let before = dir.current()?.map(|digest| dir.load(&digest)).transpose()?;
        if let Some(before) = before.filter(is_unit)
            && let Ok(before) = self.target(&before, dir, node)
            && wanted.as_ref().is_none_or(|(unit, _)| *unit != before.unit)
        {
            dropin::point(&self.units, &before.unit, None)?;
        }
        match &wanted {
            Some((unit, text)) => dropin::point(&self.units, unit, Some(text)),
            None => Ok(()),
        }
    }

    /// Returns whether a release is laid over its unit.
    pub(in crate::host) fn is_pointed(
        &self,
        dir: &ServiceDir,
        spec: Option<&RunSpec>,
        node: &NodeFacts,
    ) -> Result<bool, HostError> {
        let Some(spec) = spec.filter(|spec| is_unit(spec)) else { return Ok(true) };
        let (unit, text) = self.laid_over(spec, dir, node)?;
        Ok(dropin::read(&dropin::path(&self.units, &unit))? == Some(text))
    }

    fn laid_over(
        &self,
        spec: &RunSpec,
        dir: &ServiceDir,
        node: &NodeFacts,
    ) -> Result<(String, String), HostError> {
        let target = self.target(spec, dir, node)?;
        let text = dropin::render(&release_name(spec), &target, &held(dir));
        Ok((target.unit, text))
    }
}

/// Returns the file that keeps the service's unit down while it is there.
pub(super) fn held(dir: &ServiceDir) -> PathBuf {
    dir.file("held")
}

fn is_unit(spec: &RunSpec) -> bool {
    matches!(spec.driver, trireme_proto::model::Driver::Systemd(_))
}

/// Refuses a unit that cannot be started, whatever is laid over it.
fn is_there(target: &Target, now: &UnitNow) -> Result<(), SystemdError> {
    let unit = target.unit.clone();
    if matches!(now.load.as_str(), "not-found" | "masked") {
        return Err(SystemdError::NotThere { unit, load: now.load.clone() });
    }
    if now.id != unit {
        return Err(SystemdError::Alias { unit, id: now.id.clone() });
    }
    Ok(())
}

pub(super) fn failed(target: &Target) -> impl Fn(SystemdError) -> HostError {
    let unit = target.unit.clone();
    move |source| HostError::Systemd { unit: unit.clone(), source }
}

/// Makes the directory of a release's file, and removes files of releases that are forgotten.
fn make_room(store: &Path, program: &Path, dir: &ServiceDir) -> Result<(), HostError> {
    let own = program.parent().unwrap_or(store);
    // From the outside in: each may be new, and everybody must be able to pass.
    for dir in [store.parent().unwrap_or(store), store, own] {
        if !dir.is_dir() {
            dropin::make_dir(dir).map_err(HostError::io("make", dir))?;
        }
    }
    durable::sync_dir(store).map_err(HostError::io("flush", store))?;
    durable::sweep(own).map_err(HostError::io("sweep", own))?;
    let kept = dir.on_disk()?;
    let entries = fs::read_dir(store).map_err(HostError::io("list", store))?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let digest = path.file_name().and_then(|name| name.to_str()?.parse::<Digest>().ok());
        if digest.is_some_and(|digest| !kept.contains(&digest)) {
            fs::remove_dir_all(&path).map_err(HostError::io("remove", path))?;
        }
    }
    Ok(())
}

/// Makes the release's own name lead to its file: it is staged from then on.
fn point_link(link: &Path, program: &Path) -> Result<(), HostError> {
    let failed = HostError::io("link", link);
    let made = || {
        if fs::read_link(link).is_ok_and(|to| to == program) {
            return Ok(());
        }
        match fs::remove_file(link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        symlink(program, link)?;
        durable::sync_dir(link.parent().unwrap_or(Path::new("/")))
    };
    made().map_err(failed)
}

#[cfg(test)]
mod tests {
    use trireme_proto::model::{Driver, SystemdDriver};
    use trireme_proto::time::Span;

    use super::*;
    use crate::host::tests::support;

    fn spec(version: &str, unit: &str, argv: &[&str]) -> RunSpec {
        let spec = support::spec(version, "file:///x", Digest::of(b""), argv);
        let unit = unit.to_owned();
        let driver = Driver::Systemd(SystemdDriver { unit, stop_timeout: Span::secs(5) });
        RunSpec { driver, ..spec }
    }

    struct Place {
        root: tempfile::TempDir,
        systemd: Systemd,
        dir: ServiceDir,
    }

    impl Place {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let host = SystemdHost {
                units: vec!["web*".parse().unwrap()],
                programs: vec!["/usr/bin".into()],
                store: root.path().join("store"),
            };
            let units = root.path().join("units");
            fs::create_dir(&units).unwrap();
            let dir = ServiceDir::new(&root.path().join("services"), support::web());
            dir.prepare().unwrap();
            Self { systemd: Systemd { units, ..Systemd::new(host) }, dir, root }
        }

        /// Does to a release's file what a fetch does, without a unit.
        fn stage(&self, spec: &RunSpec) {
            let program = self.systemd.program(&self.dir, &spec.digest());
            self.dir.add(spec).unwrap();
            make_room(&self.systemd.store(&self.dir), &program, &self.dir).unwrap();
            fs::write(&program, "").unwrap();
            point_link(&self.dir.artifact(&spec.digest()), &program).unwrap();
        }

        fn point(&self, spec: Option<&RunSpec>) {
            self.systemd.point(&self.dir, spec, &support::node()).unwrap();
            assert!(self.systemd.is_pointed(&self.dir, spec, &support::node()).unwrap());
            self.dir.point(spec, None).unwrap();
        }

        fn text(&self, unit: &str) -> Option<String> {
            dropin::read(&dropin::path(&self.systemd.units, unit)).unwrap()
        }
    }

    #[test]
    fn a_release_is_laid_over_one_unit_at_a_time() {
        let place = Place::new();
        let old = spec("1.0.0", "web.service", &["{artifact}", "--at", "{address}"]);
        let moved = spec("1.1.0", "web@{region}.service", &["{artifact}"]);
        let program = support::spec("1.2.0", "file:///x", Digest::of(b""), &["/bin/x"]);
        for spec in [&old, &moved] {
            place.stage(spec);
        }
        place.dir.add(&program).unwrap();
        fs::write(place.dir.artifact(&program.digest()), "").unwrap();

        place.point(Some(&old));
        let text = place.text("web.service").unwrap();
        let own = place.systemd.program(&place.dir, &old.digest());
        let exec = format!("ExecStart=\"{}\" \"--at\" \"127.1.0.1\"\n", own.display());
        assert!(text.contains(&exec), "{text}");
        assert!(text.contains("Environment=\"TRIREME_NODE=aws-1\"\n"), "{text}");
        assert!(!place.systemd.is_pointed(&place.dir, Some(&moved), &support::node()).unwrap());

        place.point(Some(&moved));
        assert_eq!(place.text("web.service"), None);
        assert!(place.text("web@aws.service").is_some());
        // Another driver runs the service from now on.
        place.point(Some(&program));
        assert_eq!(place.text("web@aws.service"), None);
        place.point(Some(&old));
        place.point(None);
        assert_eq!(place.text("web.service"), None);
    }

    #[test]
    fn dvn_11_other_units_and_programs_are_refused() {
        let place = Place::new();
        let refused = |unit: &str, program: &str| {
            let spec = spec("1.0.0", unit, &[program]);
            place.systemd.target(&spec, &place.dir, &support::node()).map_err(|e| e.to_string())
        };
        assert!(refused("web.service", "{artifact}").is_ok());
        assert!(refused("web.service", "/usr/bin/env").is_ok());
        for (unit, program, why) in [
            ("ssh.service", "{artifact}", "unit ssh.service is not allowed on this node"),
            ("web.service", "/sbin/x", "program /sbin/x is not allowed on this node"),
            ("web.service", "{artifact}/../sh", "program "),
        ] {
            let error = refused(unit, program).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }

    #[test]
    fn files_of_forgotten_releases_go() {
        let place = Place::new();
        let specs: Vec<_> = (0..20)
            .map(|number| {
                let spec = spec(&format!("1.0.{number}"), "web.service", &["{artifact}"]);
                place.stage(&spec);
                place.point(Some(&spec));
                spec
            })
            .collect();
        // The next fetch removes what the last pointing has forgotten.
        place.stage(&specs[19]);
        let files = fs::read_dir(place.root.path().join("store/web")).unwrap().count();
        assert_eq!(files, place.dir.on_disk().unwrap().len());
        assert!(files < specs.len(), "{files}");
        assert!(place.dir.artifact(&specs[19].digest()).is_file());
    }

    #[test]
    fn a_unit_that_is_none_or_another_is_refused() {
        let place = Place::new();
        let web = spec("1.0.0", "web.service", &["{artifact}"]);
        let target = place.systemd.target(&web, &place.dir, &support::node()).unwrap();
        let now = |load: &str, id: &str| UnitNow {
            load: load.to_owned(),
            id: id.to_owned(),
            ..UnitNow::default()
        };
        // One that lacks a program gets it from the release.
        for load in ["loaded", "bad-setting"] {
            is_there(&target, &now(load, "web.service")).unwrap();
        }
        for (load, id, why) in [
            ("not-found", "web.service", "unit web.service is not-found on this node"),
            ("masked", "web.service", "unit web.service is masked on this node"),
            ("loaded", "site.service", "web.service is another name of unit site.service"),
        ] {
            let error = is_there(&target, &now(load, id)).unwrap_err().to_string();
            assert!(error.starts_with(why), "{error}");
        }
    }
}
