//! Makes a fleet out of controllers that were just started: once, asked for on one of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;
use trireme_proto::problem::{Code, Problem};

use crate::brain::Brain;
use crate::config::{Config, Member as Listed};
use crate::raft::{Dial, InitializeError, Member, identify};
use crate::state::Body;
use crate::submit::{Submission, submit};

/// Time for all controllers to come up.
const PEERS_WAIT: Duration = Duration::from_mins(2);

/// Time between two looks at a controller that does not answer yet.
const PEER_PAUSE: Duration = Duration::from_millis(200);

/// Time one question may take.
const ASK: Duration = Duration::from_secs(2);

/// Waits for all controllers, joins them into a group and gives the fleet its name.
pub async fn run(brain: Arc<Brain>, config: &Config, dial: &dyn Dial) -> Result<(), Problem> {
    if brain.read(|fleet| !fleet.name.is_empty()) {
        info!("the fleet is initialised already");
        return Ok(());
    }
    let mut members = Vec::new();
    for listed in &config.controllers {
        let Some(member) = meet(&brain, config, listed, dial).await? else {
            info!(controller = %listed.name, "belongs to a group already; nothing to initialise");
            return Ok(());
        };
        members.push(member);
    }
    match brain.raft.initialize(members).await {
        Ok(()) | Err(InitializeError::Already) => {}
        Err(error) => {
            return Err(Problem::new(Code::Failed, format!("the group cannot be made: {error}")));
        }
    }
    let body = Body::Bootstrap {
        name: config.fleet.to_string(),
        domain: config.domain.clone(),
        controllers: config.records(),
    };
    match submit(&brain, Submission::by_controller(&brain, body)).await {
        Ok(_) => info!(fleet = %config.fleet, "initialised"),
        Err(problem) if problem.code == Code::Conflict => {}
        Err(problem) => return Err(problem),
    }
    Ok(())
}

/// Waits until a controller says who it is; `None` if it belongs to a group already.
async fn meet(
    brain: &Brain,
    config: &Config,
    listed: &Listed,
    dial: &dyn Dial,
) -> Result<Option<Member>, Problem> {
    let mut member = Member {
        id: listed.raft_id,
        name: listed.name.to_string(),
        region: listed.region.to_string(),
        addr: listed.peer.clone(),
        api: listed.api.clone(),
        disk: brain.raft.identity().disk.clone(),
    };
    if listed.name == config.name {
        return Ok(Some(member));
    }
    let deadline = Instant::now() + PEERS_WAIT;
    loop {
        let line = dial
            .line(&member)
            .map_err(|error| Problem::new(Code::Failed, format!("{}: {error}", listed.name)))?;
        match identify(line, ASK).await {
            Ok(met) if met.initialized => return Ok(None),
            Ok(met) if met.identity.raft_id == listed.raft_id => {
                member.disk = met.identity.disk;
                return Ok(Some(member));
            }
            Ok(met) => {
                return Err(Problem::new(
                    Code::Conflict,
                    format!(
                        "controller {} says that its raft_id is {}, not {}",
                        listed.name, met.identity.raft_id, listed.raft_id
                    ),
                ));
            }
            Err(status) if Instant::now() > deadline => {
                return Err(Problem::new(
                    Code::Unreachable,
                    format!(
                        "controller {} at {} did not come up: {}",
                        listed.name,
                        listed.peer,
                        status.message()
                    ),
                )
                .hint("start it, then start this one again with --bootstrap"));
            }
            Err(_) => tokio::time::sleep(PEER_PAUSE).await,
        }
    }
}
