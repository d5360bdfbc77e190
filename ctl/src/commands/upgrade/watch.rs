//! `trictl upgrade watch`: follows an upgrade until it has ended; leaving it stops nothing.

use std::time::Duration;

use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::{UpgradePhase, UpgradeView};

use super::Target;
use crate::App;
use crate::client::{Client, Event};
use crate::error::{Ending, EndingCode, Failure, Outcome};
use crate::output::Page;
use crate::output::progress::Progress;
use crate::output::upgrade::status;

/// Times on the screen count whole seconds; twice as often is never a second late.
const TICK: Duration = Duration::from_millis(500);

/// Follow an upgrade until it has ended
///
/// Ctrl-C stops the watching, not the upgrade. Exits with 0 if it succeeded, 7 if it was rolled
/// back, 1 if it was aborted or a person must look.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
}

/// Watches an upgrade.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let upgrade = args.target.resolve(app, &client).await?;
    follow(app, &client, &upgrade).await
}

/// Follows an upgrade to its end and returns how it ended.
pub(in crate::commands) async fn follow(
    app: &App,
    client: &Client,
    name: &str,
) -> Result<Outcome, Failure> {
    app.on_interrupt(detached(app, name));
    let mut watch = client.watch_upgrade(name);
    let mut progress = Progress::new(&app.out);
    let mut tick = tokio::time::interval(TICK);
    loop {
        let event = {
            // Not dropped at a tick: reconnecting takes longer than that.
            let mut next = std::pin::pin!(watch.next());
            loop {
                tokio::select! {
                    event = &mut next => break event,
                    _ = tick.tick() => progress.tick(),
                }
            }
        };
        let event = event.map_err(|failure| still_running(app, name, failure))?;
        match event {
            Some(Event::View(reply)) => progress.view(&reply)?,
            Some(Event::Lost { address, why }) => {
                progress.note(&format!("lost controller {address} ({why}), asking another"))?;
            }
            None => break,
        }
    }
    let last = progress.last().cloned();
    progress.finish();
    let Some(last) = last else {
        return Err(Problem::new(Code::Failed, format!("{name} was never shown")).into());
    };
    app.out.page(Page::default().gap().page(status(&last, app.out.style())))?;
    ended(app, &last)
}

fn detached(app: &App, name: &str) -> Ending {
    let message = format!("stopped watching; {name} goes on");
    Ending::new(EndingCode::Interrupted, message).hint(come_back(app, name))
}

fn come_back(app: &App, name: &str) -> String {
    let watch = app.command(&["upgrade", "watch", name]);
    let abort = app.command(&["upgrade", "abort", name]);
    format!("to come back: {watch}\nto end it where it is: {abort}")
}

/// Says that what cannot be seen goes on all the same.
fn still_running(app: &App, name: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Problem(problem) if problem.code == Code::Unreachable => problem
            .because(format!("{name} goes on once the controllers do"))
            .hint(come_back(app, name))
            .into(),
        other => other,
    }
}

fn ended(app: &App, view: &UpgradeView) -> Result<Outcome, Failure> {
    let id = view.id.to_string();
    let why = view.reason.clone().unwrap_or_else(|| "no reason was given".to_owned());
    let what = match &view.to {
        Some(version) => format!("{id} of {} to {version}", view.service),
        None => format!("{id}, the {} of {},", view.operation, view.service),
    };
    match view.phase {
        UpgradePhase::Succeeded => Ok(Outcome::Done),
        UpgradePhase::RolledBack => {
            let message = format!("{what} was rolled back: {why}");
            let hint = app.command(&["why", &id]);
            Ok(Ending::new(EndingCode::RolledBack, message).hint(hint).into())
        }
        UpgradePhase::Aborted => {
            let problem = Problem::new(Code::Failed, format!("{what} was aborted")).because(why);
            Err(problem.hint(app.command(&["upgrade", "status", &id])).into())
        }
        UpgradePhase::RollbackFailed
        | UpgradePhase::Running
        | UpgradePhase::Aborting
        | UpgradePhase::RollingBack => {
            let message = format!("{what} could not go back by itself, a person must look");
            let problem = Problem::new(Code::Failed, message).because(why);
            Err(problem.hint(app.command(&["why", &id])).into())
        }
    }
}
