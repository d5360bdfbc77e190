//! The composition root: the one place where configuration, journal, host, checks, core and link
//! meet. It opens them in order, hands them to the loop ([`agent`]) and says why it ended.
//!
//! ```text
//!  link ──heard──▶ ┌───────┐ ──effects──▶ journal, then host ──answers──┐
//!  checks ─found─▶ │ agent │ ◀──────────────────────────────────────────┘
//!  host ─changes─▶ └───────┘ ──outlook, unacked──▶ link
//! ```

mod agent;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;
use trireme_proto::action::Samples;
use trireme_proto::identity::Identity;
use trireme_proto::keyfile::{FileError, create_private_dir, read_private};
use trireme_proto::tls::Credentials;
use trireme_proto::token::{Token, TokenError};
use trireme_telemetry::{Door, DoorError};

use crate::check::Scheduler;
use crate::clock;
use crate::config::{Address, Config};
use crate::host::{HostError, Machine, NodeFacts, boot_id};
use crate::http::Client;
use crate::journal::{Journal, JournalError, Recovered};
use crate::link::{Hello, JoinError, Known, Link, Outlook, Store, StoreError, Unacked, join};
use crate::query::Answers;
use crate::telemetry::{ASKED_MAX, Telemetry, USUAL};

use agent::{Agent, Inputs, Outgoing};

/// Things heard and not yet taken in: the link waits when the loop is busy.
const HEARD_MAX: usize = 16;
/// Findings not yet taken in: the scheduler waits when the loop is busy.
const FINDINGS_MAX: usize = 16;

/// Tells why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The journal cannot be trusted to remember any more.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The host cannot be worked on.
    #[error("services of this host cannot be looked after")]
    Host(#[from] HostError),
    /// The identity cannot be read or written.
    #[error("node's identity cannot be used")]
    Store(#[from] StoreError),
    /// The data directory cannot be used.
    #[error("data directory cannot be used")]
    Data(#[source] FileError),
    /// The node has no identity and no way to get one.
    #[error(
        "this node has not joined a fleet: get a token with \
         `trictl token create --node NAME --region REGION --address ADDRESS`, then run \
         `trireme-agent join --config {config} --token-file FILE`", config = config.display()
    )]
    NotJoined {
        /// The configuration.
        config: PathBuf,
    },
    /// The identity is not an agent's.
    #[error("identity {0} is not an agent's: remove it and join this node anew")]
    NotAnAgent(Box<Identity>),
    /// No address to join at.
    #[error("configuration says nothing about `join`: write {{address: HOST:PORT}} there")]
    NoJoinAddress,
    /// The token cannot be read.
    #[error("token cannot be read")]
    TokenFile(#[source] FileError),
    /// The token is malformed.
    #[error("token is not usable")]
    Token(#[from] TokenError),
    /// The fleet did not take the node.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The system has no random bytes or no boot id.
    #[error("the system does not tell {what}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Metrics and health cannot be shown.
    #[error(transparent)]
    Telemetry(#[from] DoorError),
    /// A part of the agent ended that must not.
    #[error("{0} ended unasked: this is a bug; services keep running")]
    PartEnded(&'static str),
}

/// Joins the fleet with `token`, unless the node has joined already; returns who it is.
pub async fn join_fleet(
    config: &Config,
    address: Option<&Address>,
    token: &Token,
) -> Result<Identity, RunError> {
    let (journal, recovered) = open_journal(&config.data)?;
    let store = Store::new(&config.data);
    if let Some(credentials) = store.load()? {
        return Ok(credentials.identity());
    }
    let configured = config.join.as_ref().map(|join| &join.address);
    let address = address.or(configured).ok_or(RunError::NoJoinAddress)?;
    let credentials = join(&store, address, token, &recovered.incarnation).await?;
    drop(journal);
    Ok(credentials.identity())
}

/// Reads a token from a file that only its owner can read.
pub fn token_from(path: &Path) -> Result<Token, RunError> {
    let bytes = read_private(path).map_err(RunError::TokenFile)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| TokenError::Parts(0))?;
    Ok(text.parse()?)
}

/// Runs the agent until `shutdown` is done; services go on running.
pub async fn run(
    config_path: &Path,
    config: &Config,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let (journal, recovered) = open_journal(&config.data)?;
    let store = Store::new(&config.data);
    let credentials = match store.load()? {
        Some(credentials) => credentials,
        None => join_at_start(config_path, config, &store, &recovered.incarnation).await?,
    };
    let Identity::Agent { region, node, .. } = credentials.identity() else {
        return Err(RunError::NotAnAgent(Box::new(credentials.identity())));
    };
    let boot = boot_id().map_err(|source| RunError::System { what: "the boot id", source })?;
    info!(%node, %region, incarnation = %recovered.incarnation, "agent starts");
    let door = Door::open(&config.telemetry, USUAL, None).await?;
    let client = Arc::new(Client::new().asking_link_local(config.link_local));
    let address = recovered.address.clone().unwrap_or_default();
    let facts = NodeFacts { node, region, address };
    let machine =
        Machine::open(&config.data, facts.clone(), Arc::clone(&client), config.drivers.clone())
            .await?;
    let machine = Arc::new(machine);

    let (heard_by, heard) = mpsc::channel(HEARD_MAX);
    let (found_by, findings) = mpsc::channel(FINDINGS_MAX);
    let (outlook, outlook_seen) = watch::channel(Outlook::default());
    let (unacked, unacked_seen) = watch::channel(Unacked::default());
    let (samples, samples_seen) = watch::channel(Samples::default());
    let (scheduler, schedule) = Scheduler::new(client, found_by);
    let (ask, asked) = mpsc::channel(ASKED_MAX);
    let site =
        Telemetry { credentials: credentials.clone(), data: config.data.clone(), ask: ask.clone() };
    let link = Link {
        store,
        credentials,
        configured: known(config),
        hello: Hello { incarnation: recovered.incarnation.clone(), boot_id: boot.clone() },
        heard: heard_by,
        outlook: outlook_seen,
        samples: samples_seen,
        unacked: unacked_seen,
        draw: getrandom::u32().unwrap_or_default(),
        respond: Arc::new(Answers::new(Arc::clone(&machine), ask)),
    };
    let mut parts = JoinSet::new();
    let changes = machine.changes();
    let out = Outgoing { outlook, samples, unacked };
    let agent = Agent::new(journal, recovered, machine, facts, schedule, out);
    parts.spawn(async move {
        scheduler.run().await;
        "the scheduler of checks"
    });
    // The link begins once the agent has found out how things are: its first word is true.
    let agent = agent.begin(&boot).await?;
    parts.spawn(async move {
        link.run().await;
        "the link to the controllers"
    });
    if let Some(door) = door {
        parts.spawn(async move {
            door.serve(Arc::new(site), CancellationToken::new()).await;
            "the listener for metrics"
        });
    }
    let inputs = Inputs { heard, findings, changes, asked, parts };
    tokio::select! {
        ended = agent.run(inputs) => ended,
        () = shutdown => {
            info!("agent stops; services keep running");
            Ok(())
        }
    }
}

async fn join_at_start(
    config_path: &Path,
    config: &Config,
    store: &Store,
    incarnation: &str,
) -> Result<Credentials, RunError> {
    let not_joined = || RunError::NotJoined { config: config_path.to_owned() };
    let options = config.join.as_ref().ok_or_else(not_joined)?;
    let token = token_from(options.token_file.as_deref().ok_or_else(not_joined)?)?;
    let credentials = join(store, &options.address, &token, incarnation).await?;
    info!(identity = %credentials.identity(), "joined");
    Ok(credentials)
}

fn open_journal(data: &Path) -> Result<(Journal, Recovered), RunError> {
    create_private_dir(data).map_err(RunError::Data)?;
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| RunError::System { what: "random bytes", source: error.into() })?;
    let fresh = random.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    Ok(Journal::open(data, &fresh)?)
}

fn known(config: &Config) -> Vec<Known> {
    let known = |one: &crate::config::Controller| Known {
        address: one.address.to_string(),
        region: one.region.as_ref().map(ToString::to_string),
    };
    config.controllers.iter().map(known).collect()
}

/// Returns the time on the clock that the core counts by.
fn now() -> crate::plan::Millis {
    clock::boottime()
}
