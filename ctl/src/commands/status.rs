//! `trictl status`: the fleet on one screen.

use trireme_proto::wire::FleetStatusRequest;

use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::status;

/// Show the fleet on one screen: every service in every region, the worst first
///
/// Version, health, processor and memory; what is under way, what operators have put aside, what
/// alerts. Nodes are asked now what their services use; a figure with ? leaves out nodes that did
/// not answer, and then the exit code is 6.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Asks and prints.
pub(super) async fn run(app: &App, _: Args) -> Result<Outcome, Failure> {
    let reply = app.client()?.fleet_status(FleetStatusRequest {}).await?;
    let style = app.out.style();
    app.out.reply(&reply, |view| status::fleet(view, style))?;
    // Of thousands of silent nodes the first ones tell enough.
    let problem = reply.value.totals.problem().map(|mut problem| {
        let silent = reply.value.totals.silent.len();
        if silent > status::SILENT_SHOWN {
            problem.why.truncate(status::SILENT_SHOWN);
            problem = problem.because(format!("and {} more", silent - status::SILENT_SHOWN));
        }
        problem
    });
    problem.map_or(Ok(Outcome::Done), |problem| Err(problem.into()))
}
