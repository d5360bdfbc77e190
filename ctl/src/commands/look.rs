//! Looking at what changes: how sure, and once or until Ctrl-C.
//!
//! No stream is held open for it: a watch asks again each second, and prints what has changed.

use std::time::Duration;

use trireme_proto::problem::Code;

use super::get::Consistency;
use crate::App;
use crate::error::{Ending, EndingCode, Failure, Outcome};

/// Time between two looks: fast enough for eyes, and little for controllers.
const EVERY: Duration = Duration::from_secs(1);

/// How something is looked at.
#[derive(Debug, clap::Args)]
pub(super) struct Look {
    /// How sure the answer must be
    #[arg(long, value_enum, default_value_t)]
    pub(super) consistency: Consistency,

    #[command(flatten)]
    pub(super) again: Again,
}

/// Whether it is looked at again and again.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Again {
    /// Go on, and print it again when it has changed; Ctrl-C ends it
    #[arg(long, short)]
    pub(super) watch: bool,
}

/// Prints something once, or whenever it has changed.
pub(super) async fn look(
    app: &App,
    again: Again,
    print: impl AsyncFn() -> Result<(), Failure>,
) -> Result<Outcome, Failure> {
    if !again.watch {
        print().await?;
        return Ok(Outcome::Done);
    }
    app.on_interrupt(Ending::new(EndingCode::Interrupted, "stopped watching"));
    app.out.watch();
    // Who was never there is not waited for.
    print().await?;
    let mut lost = false;
    loop {
        tokio::time::sleep(EVERY).await;
        match print().await {
            Ok(()) => lost = false,
            Err(Failure::Problem(problem)) if problem.code == Code::Unreachable => {
                if !std::mem::replace(&mut lost, true) {
                    app.out.note(&format!("{}, asking again", problem.message))?;
                }
            }
            Err(failure) => return Err(failure),
        }
    }
}
