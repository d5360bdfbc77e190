//! `trictl service top`: what a service uses of its nodes, once or again and again.

use trireme_proto::id::{RegionId, ServiceId};
use trireme_proto::query::LookRequest;

use super::status::{request, whole};
use crate::App;
use crate::commands::look::{Again, look};
use crate::error::{Failure, Outcome};
use crate::output::look as output;

/// Show what a service uses, by process or container
///
/// Each node takes two samples a moment apart. The processor is in percent of one core; memory
/// leaves out what the kernel may drop at any time; its share is of the container's limit, or of
/// the host where there is none. What a process sends and receives cannot be told from what others
/// on its host do, that of containers can. What uses most of the processor comes first. A node
/// that does not answer is named, and the exit code is 6.
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

    #[command(flatten)]
    again: Again,
}

/// Asks and prints.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let Args { service, region, nodes, again } = args;
    let request = request(&LookRequest { service, region, nodes });
    let client = app.client()?;
    look(app, again, async || {
        let reply = client.service_top(request.clone()).await?;
        app.out.reply(&reply, output::top)?;
        whole(&reply.value.totals).map(drop)
    })
    .await
}
