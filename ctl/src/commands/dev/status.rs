//! `trictl dev status`: the processes of the fleet on this machine.

use serde::Serialize;
use trireme_proto::id::RegionId;

use super::Dir;
use crate::App;
use crate::error::{Failure, Outcome};
use crate::local::{Fleet, Process, Standing};
use crate::output::Page;
use crate::output::table::{NONE, table};

/// Show the processes of the fleet on this machine
///
/// What the fleet itself has to say is shown by the other commands, such as `trictl get nodes`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    dir: Dir,
}

#[derive(Debug, Serialize)]
struct Status {
    fleet: String,
    dir: String,
    config: String,
    /// up, partly or down.
    state: &'static str,
    items: Vec<Daemon>,
}

#[derive(Debug, Serialize)]
struct Daemon {
    name: String,
    kind: &'static str,
    region: RegionId,
    address: String,
    pid: Option<u32>,
    log: String,
}

/// Shows it.
pub(super) fn run(app: &App, args: &Args) -> Result<Outcome, Failure> {
    let mut fleet = args.dir.open()?;
    let status = status(&mut fleet);
    app.out.value(&status, render)?;
    Ok(Outcome::Done)
}

fn status(fleet: &mut Fleet) -> Status {
    let state = match fleet.standing() {
        Standing::Up => "up",
        Standing::Partly => "partly",
        Standing::Down => "down",
    };
    let daemon = |kind, region: &RegionId, address: String, process: &mut Process| Daemon {
        name: process.name().to_owned(),
        kind,
        region: region.clone(),
        address,
        pid: process.pid(),
        log: process.log().display().to_string(),
    };
    let mut items = Vec::new();
    for one in fleet.controllers_mut() {
        items.push(daemon("controller", &one.region, one.api.to_string(), &mut one.process));
    }
    for one in fleet.agents_mut() {
        items.push(daemon("agent", &one.region, one.address.to_string(), &mut one.process));
    }
    Status {
        fleet: fleet.shape().fleet.to_string(),
        dir: fleet.dir().display().to_string(),
        config: fleet.context_file().display().to_string(),
        state,
        items,
    }
}

fn render(status: &Status) -> Page {
    let rows = status.items.iter().map(|one| {
        let pid = one.pid.map_or_else(|| NONE.to_owned(), |pid| pid.to_string());
        let state = if one.pid.is_some() { "running" } else { "not running" };
        [
            one.name.clone(),
            one.kind.to_owned(),
            one.region.to_string(),
            one.address.clone(),
            state.to_owned(),
            pid,
            one.log.clone(),
        ]
    });
    let header = ["NAME", "KIND", "REGION", "ADDRESS", "STATE", "PID", "LOG"];
    let rows = table(header, rows.collect(), "it has no processes").cut(&["LOG"]);
    Page::from(format!("fleet {} in {}: {}", status.fleet, status.dir, status.state))
        .gap()
        .table(rows)
}
