//! Ends the services of a fleet: they survive their agents by design, and a fleet that is taken
//! down must leave nothing behind.
//!
//! A service's process is known by the agent's own record of it (`run.json`) or by the variable
//! that agents give to all they start, and in both cases by working or writing below the fleet's
//! directory. A shell that somebody left standing there has neither and is not touched.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Deserialize;
use trireme_proto::id::NodeId;

use super::procfs::{self, Stat};

/// Variable that agents give to every process they start.
const INSTANCE: &str = "TRIREME_INSTANCE";
/// Time between looks whether the killed have gone.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The part of an agent's record of a process that names it.
#[derive(Deserialize)]
struct Record {
    stage: Stage,
}

#[derive(Deserialize)]
struct Stage {
    pid: Option<u32>,
}

/// Kills every service of one node, or of all, in the fleet in `dir`, which must be canonical;
/// returns how many processes are left when `limit` is over.
pub(super) fn services(dir: &Path, node: Option<&NodeId>, limit: Duration) -> usize {
    let agents = dir.join("agents");
    let dir = node.map_or(agents.clone(), |node| agents.join(node.as_str()));
    let end = Instant::now() + limit;
    loop {
        let found = find(&dir);
        if found.is_empty() || Instant::now() >= end {
            return found.len();
        }
        for stat in &found {
            stat.id.signal(Signal::KILL);
        }
        super::pause(LOOK_EVERY);
    }
}

/// Returns the processes of services that were started below `dir`.
fn find(dir: &Path) -> Vec<Stat> {
    let recorded = recorded(dir);
    let here: Vec<Stat> =
        procfs::all().into_iter().filter(|stat| procfs::lives_in(stat.id.pid, dir)).collect();
    let known = |stat: &&Stat| {
        recorded.contains(&stat.group) || procfs::has_variable(stat.id.pid, INSTANCE)
    };
    let groups: BTreeSet<u32> = here.iter().filter(known).map(|stat| stat.group).collect();
    here.into_iter().filter(|stat| groups.contains(&stat.group)).collect()
}

/// Returns the process groups that the agents in or below `dir` have recorded.
fn recorded(dir: &Path) -> BTreeSet<u32> {
    let list = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    let mut agents = list(dir);
    agents.push(dir.to_owned());
    let services = agents.iter().flat_map(|agent| list(&agent.join("data/services")));
    services
        .filter_map(|service| {
            let text = fs::read(service.join("run.json")).ok()?;
            serde_json::from_slice::<Record>(&text).ok()?.stage.pid
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command};

    use super::*;

    fn sleeper(dir: &Path, instance: bool) -> Child {
        let mut command = Command::new("/bin/sleep");
        command.arg("600").current_dir(dir).process_group(0);
        if instance {
            command.env(INSTANCE, "web/1");
        }
        command.spawn().unwrap()
    }

    #[test]
    fn ends_recorded_and_marked_processes_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let service = root.join("agents/aws-1/data/services/web");
        fs::create_dir_all(&service).unwrap();
        let mut marked = sleeper(&service, true);
        let mut recorded = sleeper(&service, false);
        let mut shell = sleeper(&root, false);
        let elsewhere = tempfile::tempdir().unwrap();
        let mut other = sleeper(elsewhere.path(), true);
        let record = format!(r#"{{"stage":{{"is":"running","pid":{},"ticks":1}}}}"#, recorded.id());
        fs::write(service.join("run.json"), record).unwrap();

        // Killed children of this process stay as zombies until they are waited for.
        assert_eq!(services(&root, None, Duration::from_secs(20)), 0);
        assert!(!marked.wait().unwrap().success());
        assert!(!recorded.wait().unwrap().success());
        for spared in [&mut shell, &mut other] {
            assert_eq!(spared.try_wait().unwrap(), None);
            spared.kill().unwrap();
            spared.wait().unwrap();
        }
    }
}
