//! `trictl service top`: what a service uses of its nodes, once or again and again.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use trireme_proto::id::{RegionId, ServiceId};
use trireme_proto::query::LookRequest;

use super::status::{request, whole};
use crate::App;
use crate::error::{Ending, EndingCode, Failure, Outcome};
use crate::output::look;

/// Time between two looks: each takes half a second of the nodes' own time.
const AGAIN: Duration = Duration::from_secs(2);

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

    /// Look again every two seconds until Ctrl-C
    #[arg(long, short)]
    watch: bool,
}

/// Asks and prints.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let Args { service, region, nodes, watch } = args;
    let request = request(&LookRequest { service, region, nodes });
    let client = app.client()?;
    if !watch {
        let reply = client.service_top(request).await?;
        app.out.reply(&reply, look::top)?;
        return whole(&reply.value.totals);
    }
    app.on_interrupt(Ending::new(EndingCode::Interrupted, "stopped looking"));
    loop {
        let reply = client.service_top(request.clone()).await?;
        app.out.screen(&json!(reply.json), || look::top(&reply.value))?;
        if let Some(problem) = reply.value.totals.problem() {
            app.out.note(&format!("{}: {}", problem.message, problem.why.join("; ")))?;
        }
        sleep(AGAIN).await;
    }
}
