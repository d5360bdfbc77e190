//! `trictl service exec`: a program beside a service, for admins, on record.

use serde_json::json;
use trireme_proto::id::{NodeId, ServiceId};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::query::{EXEC_LIMIT_USUAL, ExecEnd, ExecEvent, ExecRequest};
use trireme_proto::time::Span;
use trireme_proto::view::Judged;

use super::super::usage;
use crate::App;
use crate::client::Said;
use crate::error::{Ending, EndingCode, Failure, Outcome};
use crate::output::raw::Raw;
use crate::output::table;

/// Run a program beside a service on one node, as an admin
///
/// Inside the container, or with the environment and directory of the process; never through a
/// shell. The node's own configuration has to allow it (`drivers.exec`). That it begins is on
/// record before it does, with the command and the reason, and how it ended afterwards. It is
/// killed with all that it has started when its time is up, and when this command ends. It has no
/// input. Exits with 0 if the program does, else with 1.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the service
    service: ServiceId,

    #[command(flatten)]
    place: Place,

    /// Program and arguments, behind `--`
    #[arg(last = true, required = true, value_name = "ARGV")]
    argv: Vec<String>,
}

/// Where, why, and for how long.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// Node on which it runs
    #[arg(long)]
    node: NodeId,

    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,

    /// Longest that it may run; at most 10m
    #[arg(long, value_name = "SPAN", default_value_t = EXEC_LIMIT_USUAL)]
    limit: Span,

    /// Service of the compose project whose container is meant, if it has several
    #[arg(long, value_name = "NAME")]
    container: Option<String>,

    /// Have it judged by the controllers and run nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs it.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let Args { service, place, argv } = args;
    ask(app, service, place, argv, false).await
}

/// Has a program run and passes on what it writes.
pub(super) async fn ask(
    app: &App,
    service: ServiceId,
    place: Place,
    argv: Vec<String>,
    debug: bool,
) -> Result<Outcome, Failure> {
    let Place { node, reason, limit, container, dry_run } = place;
    let request = ExecRequest { service, node, argv, reason, limit, container, debug, dry_run };
    if let Some(fault) = request.fault() {
        return Err(usage(fault).into());
    }
    app.on_interrupt(Ending::new(EndingCode::Interrupted, "stopped; the program is killed"));
    let client = app.client()?;
    let mut exec = client.exec(&request).await?;
    let mut raw = Raw::default();
    while let Some(said) = exec.next().await? {
        match said {
            Said::Output(stream, data) => raw.print(&app.out, stream, &data)?,
            Said::Event(ExecEvent::Begun { id, instance }) => {
                app.out
                    .note(&format!("{instance} on {}, in the audit as exec/{id}", request.node))?;
            }
            Said::Event(ExecEvent::Ended { end }) => {
                raw.finish(&app.out)?;
                return ended(app, &end);
            }
        }
    }
    if request.dry_run {
        let target = format!("node/{}/service/{}", request.node, request.service);
        let judged = Judged { dry_run: true, action: "service.exec".to_owned(), target };
        app.out.value(&judged, table::judged)?;
        return Ok(Outcome::Done);
    }
    Err(Problem::new(Code::Unreachable, "the controller did not say how it ended").into())
}

fn ended(app: &App, end: &ExecEnd) -> Result<Outcome, Failure> {
    if app.out.is_json() {
        app.out.text(&json!(ExecEvent::Ended { end: end.clone() }).to_string())?;
    }
    if end.is_good() {
        return Ok(Outcome::Done);
    }
    Err(Problem::new(Code::Failed, format!("the program: {end}")).into())
}
