//! `trictl service status`: how a service stands on its nodes, as they see it now.

use trireme_proto::id::{RegionId, ServiceId};
use trireme_proto::query::{LookRequest, Totals};
use trireme_proto::wire::ServiceLookRequest;

use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::look;

/// Show how a service stands on its nodes
///
/// Each node is asked now: what its driver says of every process or container, which version runs
/// beside the one that should, and what each check found. A node that does not answer is named,
/// the others' answers are shown, and the exit code is 6.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the service
    service: ServiceId,

    /// Only nodes of this region
    #[arg(long)]
    region: Option<RegionId>,

    /// Only this node; may be repeated
    #[arg(long = "node", value_name = "NODE")]
    nodes: Vec<String>,
}

/// Asks and prints.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let Args { service, region, nodes } = args;
    let request = request(&LookRequest { service, region, nodes });
    let reply = app.client()?.service_status(request).await?;
    app.out.reply(&reply, look::status)?;
    whole(&reply.value.totals)
}

/// Returns a look as it is sent.
pub(super) fn request(look: &LookRequest) -> ServiceLookRequest {
    let request = serde_json::to_vec(look).expect("a request is plain values");
    ServiceLookRequest { request: request.into() }
}

/// Fails if somebody did not answer; what the others said was shown.
pub(super) fn whole(totals: &Totals) -> Result<Outcome, Failure> {
    totals.problem().map_or(Ok(Outcome::Done), |problem| Err(problem.into()))
}
