//! `trictl demo`: the main job, shown on a fleet of real processes.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::App;
use crate::demo::{Options, Report, run as run_demo, service, verdict};
use crate::error::{Failure, Outcome, failed};
use crate::output::{Form, Out};

/// Show an upgrade under live traffic, on a fleet of processes on this machine
///
/// Starts three controllers and some agents in three regions, runs a small HTTP service on them,
/// sends it requests that find it through the fleet's own DNS, and meanwhile: upgrades it, upgrades
/// it to a release that is bad, kills the Raft leader in the middle of an upgrade, and asks for an
/// upgrade while a region is down. Ends with a report; exits with 0 if every promise was kept.
///
/// With `--json` the report is JSON: in FILE if one is given, else on stdout.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// With `--json`, where the report goes; what happens is then shown as without it
    #[arg(value_name = "FILE", requires = "json")]
    report: Option<PathBuf>,

    /// Leave the fleet running, for a look at it
    #[arg(long)]
    keep: bool,

    /// Directory of the fleet, empty or new; by default a temporary one
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Agents per region
    #[arg(long, value_name = "N", default_value_t = 2)]
    agents: usize,

    /// Requests a second
    #[arg(long, value_name = "N", default_value_t = 150, value_parser = clap::value_parser!(u32).range(100..=1000))]
    rate: u32,

    /// Where trireme-controller and trireme-agent are; by default beside trictl
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// Arguments of the service that the demo upgrades.
#[derive(Debug, clap::Args)]
pub struct ServiceArgs {
    /// Artifact of the release
    #[arg(long)]
    release: PathBuf,

    /// Address to serve at
    #[arg(long)]
    listen: SocketAddr,
}

/// Runs the demo.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let programs = super::dev::programs(args.programs.as_deref())?;
    let temporary = tempfile::Builder::new().prefix("trireme-demo-").tempdir();
    let temporary = temporary.map_err(|error| failed("no temporary directory", &error))?;
    let dir = args.dir.unwrap_or_else(|| temporary.path().to_owned());
    let options = Options {
        dir: dir.clone(),
        programs,
        trictl: std::env::current_exe().map_err(|error| failed("cannot find trictl", &error))?,
        agents: args.agents,
        rate: args.rate,
        keep: args.keep,
    };
    // Nobody reads a report that cannot be written: better known before than after.
    if let Some(file) = &args.report {
        write(file, b"")?;
    }
    let document = !app.out.form().is_text() && args.report.is_none();
    let live = if document {
        Out::plain(Form::Table, io::stderr(), io::stderr())
    } else {
        Out::process(Form::Table)
    };
    let shown = Box::pin(run_demo(&live, options));
    let result = super::dev::until_terminated(shown).await;
    let went_well = result.as_ref().is_ok_and(|report| report.ok);
    if args.keep || !went_well {
        let _kept = temporary.keep();
        live.note(&format!("logs of every process are in {}", dir.join("run").display()))?;
    }
    let report = result?;
    if let Some(file) = &args.report {
        let mut text = json(&report)?;
        text.push(b'\n');
        write(file, &text)?;
    } else if document {
        app.out.value(&report, |_| String::new())?;
    }
    verdict(&report)?;
    Ok(Outcome::Done)
}

/// Serves as the demo's service until told to stop.
pub(super) async fn serve(args: ServiceArgs) -> Result<Outcome, Failure> {
    let served = service::run(&args.release, args.listen).await;
    served.map_err(|error| failed("the demo's service has ended", &error))?;
    Ok(Outcome::Done)
}

fn json(report: &Report) -> Result<Vec<u8>, Failure> {
    Ok(serde_json::to_vec(report).map_err(io::Error::from)?)
}

fn write(file: &Path, text: &[u8]) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|error| {
        failed(format!("the report cannot be written to {}", file.display()), &error).into()
    })
}
