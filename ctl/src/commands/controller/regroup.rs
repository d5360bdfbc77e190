//! What `trictl controller add`, `remove`, `replace` and `repair` have in common: the request, and
//! following what the controllers make of it.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::Span;
use trireme_proto::view::ControllersView;
use trireme_proto::wire::{ChangeControllerRequest, Consistency, ControllersRequest};

use crate::App;
use crate::client::{Client, Reply};
use crate::error::{Ending, EndingCode, Failure, Outcome};
use crate::output::table;

/// Time between two looks at how far it has come.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Looks in a row that may find nobody: the lead moves when its holder is replaced.
const UNANSWERED_MAX: u32 = 20;

/// Why, how long, and whether at all.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// Why, for the audit log
    #[arg(long)]
    reason: String,

    /// Longest time to wait for the end; it goes on without anybody waiting
    #[arg(long, value_name = "TIME", default_value = "10m")]
    wait: Span,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Who comes, from where, and who goes.
#[derive(Debug, Default)]
pub(super) struct Who<'a> {
    pub(super) name: &'a str,
    pub(super) peer: &'a str,
    pub(super) old: &'a str,
}

impl Common {
    /// Returns the request.
    pub(super) fn request(&self, client: &Client, who: &Who<'_>) -> ChangeControllerRequest {
        ChangeControllerRequest {
            origin: Some(client.origin()),
            name: who.name.to_owned(),
            peer: who.peer.to_owned(),
            old: who.old.to_owned(),
            reason: self.reason.clone(),
            dry_run: self.dry_run,
        }
    }

    /// Follows a change that has begun to its end.
    pub(super) async fn follow(
        &self,
        app: &App,
        client: &Client,
        begun: Reply<ControllersView>,
    ) -> Result<Outcome, Failure> {
        if self.dry_run {
            app.out.note("the controllers would allow it; nothing was changed")?;
            app.out.reply(&begun, table::controllers)?;
            return Ok(Outcome::Done);
        }
        app.on_interrupt(Ending {
            code: EndingCode::Interrupted,
            message: "the change of the controllers goes on".to_owned(),
            hint: Some(app.command(&["controller", "list"])),
        });
        let mut told = Told::default();
        told.tell(app, &begun.value)?;
        let (mut now, mut unanswered) = (begun, 0);
        let end = Instant::now() + self.wait.to_duration();
        while now.value.change.is_some() {
            if Instant::now() >= end {
                let message = format!("the change is not finished after {}", self.wait);
                let problem = Problem::new(Code::Failed, message);
                let problem = problem.hint("it goes on: trictl controller list");
                return Err(told.waited(problem).into());
            }
            sleep(LOOK_EVERY).await;
            let consistency = Consistency::Linearizable.into();
            match client.controllers(ControllersRequest { consistency }).await {
                Ok(seen) => (now, unanswered) = (seen, 0),
                Err(Failure::Problem(problem))
                    if problem.retryable && unanswered < UNANSWERED_MAX =>
                {
                    unanswered += 1;
                }
                Err(failure) => return Err(failure),
            }
            told.tell(app, &now.value)?;
        }
        ended(app, &now)
    }
}

/// What was told while waiting, so that nothing is told twice.
#[derive(Debug, Default)]
struct Told {
    began: bool,
    waits_for: Option<String>,
}

impl Told {
    fn tell(&mut self, app: &App, view: &ControllersView) -> Result<(), Failure> {
        let Some(change) = &view.change else { return Ok(()) };
        if !std::mem::replace(&mut self.began, true) {
            app.out.note(&format!("change-{}: {}", change.number, change.what))?;
            for warning in &change.warnings {
                app.out.note(&format!("warning: {warning}"))?;
            }
        }
        if change.waits_for.is_some() && change.waits_for != self.waits_for {
            self.waits_for.clone_from(&change.waits_for);
            app.out.note(&format!("waits: {}", change.waits_for.as_deref().unwrap_or_default()))?;
        }
        Ok(())
    }

    fn waited(&self, problem: Problem) -> Problem {
        match &self.waits_for {
            Some(why) => problem.because(format!("it waits: {why}")),
            None => problem,
        }
    }
}

/// Shows how a change has ended.
fn ended(app: &App, now: &Reply<ControllersView>) -> Result<Outcome, Failure> {
    if let Some(changed) = &now.value.changed
        && let Some(why) = &changed.given_up
    {
        let message = format!("change-{} was given up: {}", changed.number, changed.what);
        return Err(Problem::new(Code::Failed, message)
            .because(why.clone())
            .hint("look at its host and its log, then ask again")
            .into());
    }
    app.out.reply(now, table::controllers)?;
    Ok(Outcome::Done)
}
