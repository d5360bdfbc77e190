//! Looking after what somebody else runs: an engine of containers, or systemd.
//!
//! Such a part cannot be waited for like a process of one's own. It is heard where it tells of
//! changes, looked at whenever it did, and now and then in case it could not tell.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::sleep;
use trireme_proto::id::ActionId;

use super::unit::Command;
use super::{HostError, Started, Stopped};

/// Longest time between looks: changes are told, this is for those that could not be.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Time between looks while nobody answers.
pub(super) const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for whoever runs it when the agent starts: after a boot they start together.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(15);
/// Longest wait until what was done is to be seen.
pub(super) const SHOWN_WAIT: Duration = Duration::from_secs(10);
/// Time between looks meanwhile.
pub(super) const SHOWN_EVERY: Duration = Duration::from_millis(100);

/// How far an attempt to run something came; on disk before each effect.
///
/// ```text
///            start                     shown to have started        stop asked
///  (nothing) ─────▶ Starting ─────────────────────▶ Running ─────────────────▶ Stopping ──▶ Stopped
/// ```
///
/// Starting, Running: it should run, also after a reboot. The others: it should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// It is about to be started, or was and the agent died before it could say so.
    Starting,
    /// It was started.
    Running,
    /// It is to end.
    Stopping,
    /// Nothing runs, on request.
    Stopped,
}

impl Stage {
    /// Returns whether it should run.
    pub(super) fn is_wanted(self) -> bool {
        matches!(self, Self::Starting | Self::Running)
    }
}

/// Tells that something happened; ends when who tells does.
pub(super) type Happenings = BoxStream<'static, ()>;

/// One service that somebody else runs.
pub(super) trait Outside: Send {
    /// Goes on with what was cut off: a stop that was begun, a start that a reboot undid.
    fn resume(&mut self) -> impl Future<Output = ()> + Send;

    /// Begins to hear of changes, if anybody answers.
    fn listen(&self) -> impl Future<Output = Option<Happenings>> + Send;

    /// Asks how it is.
    fn look(&mut self) -> impl Future<Output = ()> + Send;

    /// Returns whether nobody answered the last time.
    fn is_silent(&self) -> bool;

    /// Tells the rest of the agent how it is.
    fn tell(&self);

    /// Starts what is pointed at, in the name of `action`.
    fn start(
        &mut self,
        action: ActionId,
        recreate: bool,
    ) -> impl Future<Output = Result<Started, HostError>> + Send;

    /// Stops it and proves it gone.
    fn stop(&mut self) -> impl Future<Output = Result<Stopped, HostError>> + Send;
}

enum Event {
    Command(Command),
    Look,
    Deaf,
    Closed,
}

/// Looks after it until nobody can ask any more; it goes on.
pub(super) async fn look_after(mut one: impl Outside, mut commands: mpsc::Receiver<Command>) {
    one.resume().await;
    let mut happenings: Option<Happenings> = None;
    loop {
        if happenings.is_none() {
            // First the ear, then the eye: what happens between the two is heard.
            happenings = one.listen().await;
            one.look().await;
        }
        one.tell();
        let again = if one.is_silent() { RETRY_EVERY } else { LOOK_EVERY };
        let event = tokio::select! {
            command = commands.recv() => command.map_or(Event::Closed, Event::Command),
            heard = hear(&mut happenings) => if heard { Event::Look } else { Event::Deaf },
            () = sleep(again) => Event::Look,
        };
        match event {
            Event::Command(Command::Start { action, recreate, reply }) => {
                let result = one.start(action, recreate).await;
                one.tell();
                // Nobody listens if the action ran out of time; the start stands.
                let _ = reply.send(result);
            }
            Event::Command(Command::Stop { reply }) => {
                let result = one.stop().await;
                one.tell();
                let _ = reply.send(result);
            }
            Event::Command(Command::Look { reply }) => {
                one.look().await;
                one.tell();
                let _ = reply.send(Ok(()));
            }
            Event::Look => one.look().await,
            Event::Deaf => happenings = None,
            Event::Closed => return,
        }
    }
}

/// Waits for the next happening; `false` once nothing more is heard.
async fn hear(happenings: &mut Option<Happenings>) -> bool {
    if let Some(stream) = happenings
        && stream.next().await.is_some()
    {
        return true;
    }
    // Nobody answers; they are asked again soon.
    sleep(RETRY_EVERY).await;
    false
}
