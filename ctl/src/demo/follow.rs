//! Follows one upgrade to its end, live, and does something to the fleet on the way.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::Span;
use trireme_proto::view::{UpgradePhase, UpgradeView};
use trireme_proto::wire::WhyRequest;

use crate::client::{Client, Event};
use crate::error::Failure;
use crate::load::{Load, Probe};
use crate::output::Out;
use crate::output::progress::Progress;

/// Longest an upgrade of the demo may take: many times what it should.
const LIMIT: Duration = Duration::from_mins(2);
/// Time between looks at what is to be done on the way.
const TICK: Duration = Duration::from_millis(100);
/// Ticks between lines about the traffic.
const TRAFFIC_TICKS: u32 = 20;

/// What is watched beside the upgrade.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traffic<'a> {
    pub(super) load: &'a Load,
    pub(super) probe: &'a Probe,
    /// Beginning of the phase.
    pub(super) from: Instant,
}

impl Traffic<'_> {
    /// Returns the traffic of the phase so far as one line.
    fn line(&self) -> String {
        let (sent, failed) = self.load.so_far(self.from);
        let serving = self.probe.newest();
        format!("traffic: {sent} requests, {failed} failed; {serving} regions serve")
    }
}

/// Follows an upgrade; `on_the_way` is shown the newest view again and again.
pub(super) async fn follow(
    out: &Out,
    client: &Client,
    upgrade: &str,
    traffic: Traffic<'_>,
    mut on_the_way: impl AsyncFnMut(&UpgradeView) -> Result<(), Failure>,
) -> Result<UpgradeView, Failure> {
    let end = Instant::now() + LIMIT;
    let mut watch = client.watch_upgrade(upgrade);
    let mut progress = Progress::new(out);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0;
    loop {
        let event = {
            // Not dropped at a tick: reconnecting takes longer than that.
            let mut next = std::pin::pin!(timeout_at(end, watch.next()));
            loop {
                tokio::select! {
                    event = &mut next => break event,
                    _ = ticks.tick() => {
                        progress.tick();
                        count += 1;
                        if count % TRAFFIC_TICKS == 0 {
                            progress.note(&traffic.line())?;
                        }
                        if let Some(view) = progress.last() {
                            on_the_way(view).await?;
                        }
                    }
                }
            }
        };
        let Ok(event) = event else { return Err(too_long(client, upgrade).await) };
        match event? {
            Some(Event::View(reply)) => {
                progress.view(&reply)?;
                on_the_way(&reply.value).await?;
            }
            Some(Event::Lost { address, why }) => {
                progress.note(&format!("lost controller {address} ({why}), asking another"))?;
            }
            None => break,
        }
    }
    let last = progress.last().cloned();
    progress.finish();
    last.ok_or_else(|| Problem::new(Code::Failed, format!("{upgrade} was never shown")).into())
}

/// Says what an upgrade hangs on.
async fn too_long(client: &Client, upgrade: &str) -> Failure {
    let message = format!("{upgrade} did not end within {LIMIT:?}");
    let mut problem = Problem::new(Code::Failed, message);
    if let Ok(reply) = client.why(WhyRequest { object: upgrade.to_owned() }).await {
        let reasons = reply.value.reasons.iter();
        problem.why = reasons.map(|why| format!("{}: {}", why.predicate, why.evidence)).collect();
    }
    problem.into()
}

/// Returns how an upgrade ended, in the report's words.
pub(super) fn outcome(view: &UpgradeView) -> &'static str {
    match view.phase {
        UpgradePhase::Succeeded => "succeeded",
        UpgradePhase::RolledBack => "rolled_back",
        UpgradePhase::Aborted => "aborted",
        UpgradePhase::RollbackFailed => "rollback_failed",
        UpgradePhase::Running | UpgradePhase::Aborting | UpgradePhase::RollingBack => "unfinished",
    }
}

/// What a manifest demands of each wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Demands {
    /// Until no client may use an answer that names the node.
    pub(super) ttl: Span,
    /// For work in flight, where no signal tells that there is none.
    pub(super) drain: Span,
    /// Until a healthy start is believed.
    pub(super) rise: Span,
    /// Until a start that does not become healthy is given up.
    pub(super) step: Span,
    /// For watching the wave.
    pub(super) bake: Span,
}

impl Demands {
    /// Returns the time that the waves which were touched demanded.
    ///
    /// One that stayed: its drain, its health, its bake. One that went back: its drain, all the
    /// time it was given to become healthy, and the health of what ran before.
    pub(super) fn of(self, view: &UpgradeView) -> Span {
        let wave = |state: &str| match state {
            "passed" => self.ttl.0 + self.drain.0 + self.rise.0 + self.bake.0,
            "rolled back" => self.ttl.0 + self.drain.0 + self.step.0 + self.rise.0,
            _ => 0,
        };
        Span(view.waves.iter().map(|one| wave(&one.state)).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture;

    #[test]
    fn waves_demand_what_was_done_with_them() {
        let ms = |ms| Span(ms);
        let demands =
            Demands { ttl: ms(1000), drain: ms(0), rise: ms(400), step: ms(4000), bake: ms(2000) };
        let mut view = fixture::upgrade();
        assert_eq!(demands.of(&view), ms(0));
        for wave in &mut view.waves {
            "passed".clone_into(&mut wave.state);
        }
        assert_eq!(demands.of(&view), ms(3 * 3400));
        assert_eq!(demands.of(&fixture::rolled_back()), ms(5400));
    }
}
