//! The audit log: who did what, and the proof that nobody changed it since.

mod export;
mod list;
pub(super) mod verify;

use trireme_proto::view::AuditEntry;
use trireme_proto::wire::SearchAuditRequest;

use crate::App;
use crate::client::Client;
use crate::error::{Failure, Outcome};

/// Entries asked for at once: some 400 KiB.
const PAGE: u32 = 1000;

/// What to do with the audit log.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(list::Args),
    Verify(verify::Args),
    Export(export::Args),
}

/// Runs one of them.
pub(super) async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::List(args) => list::run(app, args).await,
        Command::Verify(args) => verify::run(app, args).await,
        Command::Export(args) => export::run(app, args).await,
    }
}

/// Which entries are meant.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Narrow {
    /// First entry
    #[arg(long, value_name = "SEQ", default_value_t = 0, hide_default_value = true)]
    pub(super) from: u64,

    /// Last entry; by default the newest
    #[arg(long, value_name = "SEQ", default_value_t = 0, hide_default_value = true)]
    pub(super) to: u64,

    /// Only by this one, such as user/ann
    #[arg(long, default_value = "", hide_default_value = true)]
    actor: String,

    /// Only this action, or those that begin with it, such as user or upgrade.start
    #[arg(long, default_value = "", hide_default_value = true)]
    action: String,

    /// Only with this in the target
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    target: String,

    /// Only of this class: login, service, config, key, data, backup or other
    #[arg(long, default_value = "", hide_default_value = true)]
    class: String,

    /// Only with this result: done, refused or waiting
    #[arg(long, default_value = "", hide_default_value = true)]
    result: String,

    /// Only since then, such as 2026-11-21T08:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<jiff::Timestamp>,

    /// Only until then
    #[arg(long, value_name = "TIME")]
    until: Option<jiff::Timestamp>,
}

impl Narrow {
    /// Returns the request for the newest `limit` of them up to entry `to`.
    fn request(&self, to: u64, limit: u32) -> SearchAuditRequest {
        let ms = |time: Option<jiff::Timestamp>| {
            time.and_then(|time| u64::try_from(time.as_millisecond()).ok()).unwrap_or(0)
        };
        SearchAuditRequest {
            from: self.from,
            to,
            limit,
            actor: self.actor.clone(),
            action: self.action.clone(),
            target: self.target.clone(),
            class: self.class.clone(),
            result: self.result.clone(),
            since_ms: ms(self.since),
            until_ms: ms(self.until),
        }
    }

    /// Returns how they were looked for, for the record.
    pub(super) fn query(&self) -> String {
        let since = self.since.map(|time| time.to_string()).unwrap_or_default();
        let until = self.until.map(|time| time.to_string()).unwrap_or_default();
        let parts = [
            ("actor", &self.actor),
            ("action", &self.action),
            ("target", &self.target),
            ("class", &self.class),
            ("result", &self.result),
            ("since", &since),
            ("until", &until),
        ];
        let given = parts.into_iter().filter(|(_, value)| !value.is_empty());
        given.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    /// Returns all of them up to entry `to`, oldest first.
    pub(super) async fn all(&self, client: &Client, to: u64) -> Result<Vec<AuditEntry>, Failure> {
        let (mut found, mut to) = (Vec::new(), to);
        // The newest come first: each page ends where the one before began.
        while to >= self.from.max(1) {
            let mut page = client.search(self.request(to, PAGE)).await?.value.items;
            let Some(first) = page.first().map(|entry| entry.seq) else { break };
            page.append(&mut found);
            found = page;
            to = first.saturating_sub(1);
        }
        Ok(found)
    }
}
