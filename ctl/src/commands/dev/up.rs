//! `trictl dev up`: a fleet on this machine, in one command.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Dir, programs, until_terminated};
use crate::App;
use crate::cli::quoted;
use crate::error::{Ending, EndingCode, Failure, Outcome};
use crate::local::{Fleet, LocalError, Programs, REGIONS, Shape, Standing};

/// Name of the fleet.
const FLEET: &str = "dev";

/// Start a whole fleet on this machine
///
/// Three controllers and some agents in three regions: real processes with real certificates on
/// addresses of the loopback. They go on until `trictl dev down`, or with --foreground until
/// Ctrl-C. A fleet that was taken down with --keep goes on from its disks.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    dir: Dir,

    /// Agents per region
    #[arg(long, value_name = "N", default_value_t = 2)]
    agents: usize,

    /// Stay until Ctrl-C, and take everything down then
    #[arg(long)]
    foreground: bool,

    /// Where trireme-controller and trireme-agent are; by default beside trictl
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// Starts a fleet.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let path = args.dir.path();
    let programs = programs(args.programs.as_deref())?;
    let mut fleet = if let Some(fleet) = taken_up(app, &path, programs.clone())? {
        fleet
    } else {
        let mut shape = Shape::new(FLEET.parse().expect("it is one lower-case word"));
        shape.agents = args.agents;
        Fleet::create(&path, shape, programs)?
    };
    let say = |text: &str| {
        // A reader that is gone is noticed when the result is printed.
        let _ = app.out.note(text);
    };
    until_terminated(async { Ok(fleet.start(say).await?) }).await?;
    print(app, &args, &fleet)?;
    if !args.foreground {
        fleet.detach();
        return Ok(Outcome::Done);
    }
    let ended = Ending::new(EndingCode::Interrupted, "interrupted, the fleet is taken down")
        .hint(format!("its files stay, to go on from them: {}", args.dir.command(app, "up")));
    app.on_interrupt(ended);
    until_terminated(std::future::pending::<Result<Outcome, Failure>>()).await
}

/// Returns the fleet that was kept in a directory; what was never completed is cleared away.
fn taken_up(app: &App, path: &Path, programs: Programs) -> Result<Option<Fleet>, Failure> {
    let mut fleet = match Fleet::open(path, programs) {
        Ok(fleet) => fleet,
        Err(LocalError::NoFleet(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if fleet.standing() != Standing::Down {
        return Err(LocalError::Running(path.to_owned()).into());
    }
    if fleet.is_complete() {
        return Ok(Some(fleet.own()));
    }
    app.out.note("an earlier start was not completed: beginning anew")?;
    fleet.remove()?;
    Ok(None)
}

fn print(app: &App, args: &Args, fleet: &Fleet) -> Result<(), Failure> {
    let config = fleet.context_file().display().to_string();
    let dns: Vec<_> = fleet.controllers().iter().map(|one| one.dns.to_string()).collect();
    let value = json!({
        "fleet": fleet.shape().fleet,
        "dir": fleet.dir(),
        "config": config,
        "domain": fleet.shape().domain,
        "dns": dns,
        "controllers": fleet.controllers().iter().map(|one| &one.name).collect::<Vec<_>>(),
        "nodes": fleet.agents().iter().map(|one| &one.node).collect::<Vec<_>>(),
    });
    app.out.value(&value, |_| {
        format!(
            "fleet {} is up: {} controllers, {} nodes in {}\n\n\
             to talk to it:\n  export TRICTL_CONFIG={}\n  trictl get nodes\n\n\
             services are found at <service>.{} by the DNS at {}\n\n\
             to look at its processes:  {}\n\
             to take it down:           {}",
            fleet.shape().fleet,
            fleet.controllers().len(),
            fleet.agents().len(),
            REGIONS.join(", "),
            quoted(&config),
            fleet.shape().domain,
            dns.join(", "),
            args.dir.command(app, "status"),
            args.dir.command(app, "down"),
        )
    })
}
