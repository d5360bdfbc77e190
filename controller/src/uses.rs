//! Notes now and then that people look at things: changes are recorded anyway, looks are not.
//!
//! A review of access asks when somebody last used it. One note an hour is enough for that and
//! costs the log nothing.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use trireme_proto::identity::UserName;
use trireme_proto::time::{Span, WallTime};

use crate::brain::Brain;
use crate::clock::wall;
use crate::state::people::Change;
use crate::state::{Actor, Body, Fleet};
use crate::submit::{Submission, submit};

/// Time after which a further look is noted again.
const NOTE_AFTER: Span = Span::secs(3600);

/// Looks that wait to be noted; one that finds no room is noted with the next.
pub const WAITING_MAX: usize = 64;

/// A look by somebody, to be noted.
#[derive(Debug)]
pub struct Use {
    /// Who looked.
    pub name: UserName,
    /// Who is recorded as acting.
    pub actor: Actor,
}

/// Returns whether a look by `name` at `now` is worth a note.
pub fn is_due(fleet: &Fleet, name: &UserName, now: WallTime) -> bool {
    fleet.users.get(name).is_some_and(|user| {
        user.used.is_none_or(|used| now.0.saturating_sub(used.0) >= NOTE_AFTER.0)
    })
}

/// Notes looks until told to stop.
pub async fn keep(brain: Arc<Brain>, mut uses: mpsc::Receiver<Use>, stop: CancellationToken) {
    loop {
        let look = tokio::select! {
            () = stop.cancelled() => return,
            look = uses.recv() => look,
        };
        let Some(Use { name, actor }) = look else { return };
        if !brain.read(|fleet| is_due(fleet, &name, wall())) {
            continue;
        }
        let body = Body::People { change: Change::Use { name } };
        let note = Submission { actor, origin: None, body, dry_run: false };
        if let Err(problem) = submit(&brain, note).await {
            debug!(%problem, "a look could not be noted");
        }
    }
}
