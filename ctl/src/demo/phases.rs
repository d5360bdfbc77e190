//! What the demo shows, phase by phase.
//!
//! Each phase is measured alike: traffic at rest, then the phase, and traffic goes on until enough
//! requests were sent to say something.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use trireme_proto::id::{ControllerId, RegionId};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::Span;
use trireme_proto::view::UpgradeView;
use trireme_proto::wire::{Consistency, ControllersRequest};

use super::effects::{Mark, repeated};
use super::follow::{follow, outcome};
use super::manifest::{BAD, FIRST, GOOD, NEXT, REFUSED};
use super::report::{Phase, REQUESTS_MIN, Requests};
use super::say;
use super::stage::{REST, Stage, last_region};
use crate::error::Failure;
use crate::load::Numbers;
use crate::output::Out;

/// Time from the leader's death to its return, as a supervisor would bring it back.
const RETURN_AFTER: Duration = Duration::from_secs(2);
/// Longest time an upgrade may stand still after the leader's death.
const RESUME_MAX: Duration = Duration::from_secs(5);
/// Time for controllers and agents to be whole again.
const WHOLE_WAIT: Duration = Duration::from_secs(30);
/// Time for the fleet to notice that a region is down.
const NOTICE_WAIT: Duration = Duration::from_secs(20);
/// Time between looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is noted when a phase begins.
struct Begin {
    name: &'static str,
    rest: Numbers,
    effects: Mark,
    from: Instant,
}

impl Stage<'_> {
    /// Shows everything.
    pub(super) async fn play(&mut self) -> Result<Vec<Phase>, Failure> {
        self.deploy().await?;
        Ok(vec![
            self.upgrade().await?,
            self.bad_release().await?,
            self.leader_killed().await?,
            self.refused().await?,
        ])
    }

    /// The first release, where nothing runs and nobody asks.
    async fn deploy(&mut self) -> Result<(), Failure> {
        say(self.out, &format!("first deployment: {} {FIRST}", self.service))?;
        let id = self.start_first().await?;
        let traffic = self.traffic(Instant::now());
        let view = follow(self.out, &self.client, &id, traffic, async |_| Ok(())).await?;
        if outcome(&view) != "succeeded" {
            let problem = Problem::new(Code::Failed, "the first deployment failed");
            return Err(problem.because(view.reason.unwrap_or_default()).into());
        }
        self.open().await
    }

    /// Starts the first deployment once the nodes have spoken of the service: before that the
    /// ledger knows nothing of them, and rightly refuses.
    async fn start_first(&self) -> Result<String, Failure> {
        let plan = self.plan(FIRST).await?;
        let end = Instant::now() + NOTICE_WAIT;
        loop {
            match self.start(&plan).await {
                Ok(reply) => return Ok(reply.value.id.to_string()),
                Err(Failure::Problem(problem))
                    if problem.code == Code::Refused && Instant::now() < end =>
                {
                    sleep(LOOK_EVERY).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn begin(&mut self, name: &'static str, title: &str) -> Result<Begin, Failure> {
        say(self.out, &format!("at rest for {REST:?}, before: {title}"))?;
        let from = Instant::now();
        sleep(REST).await;
        let rest = self.load.since(from).await;
        let p99 = rest.p99.as_secs_f64() * 1000.0;
        self.out.note(&format!(
            "at rest: {} requests, {} failed, p99 {p99:.1} ms",
            rest.sent, rest.failed
        ))?;
        if rest.failed > 0 {
            self.broken.push(format!("{name}: {} requests failed at rest before it", rest.failed));
            self.note_failures(&rest)?;
        }
        say(self.out, title)?;
        Ok(Begin { name, rest, effects: self.effects.mark(), from: Instant::now() })
    }

    async fn end(
        &mut self,
        begin: Begin,
        outcome: &str,
        wall: Duration,
        demanded: Span,
    ) -> Result<Phase, Failure> {
        while self.load.so_far(begin.from).0 < REQUESTS_MIN {
            sleep(LOOK_EVERY).await;
        }
        let numbers = self.load.since(begin.from).await;
        self.note_failures(&numbers)?;
        let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        let overhead = i64::try_from(wall_ms).unwrap_or(i64::MAX);
        Ok(Phase {
            name: begin.name.to_owned(),
            outcome: outcome.to_owned(),
            wall_ms,
            required_wait_ms: demanded.0,
            overhead_ms: overhead.saturating_sub_unsigned(demanded.0),
            requests: Requests::new(&numbers, &begin.rest),
            min_regions_serving: self.probe.fewest_since(begin.from).unwrap_or(0),
            repeated_effects: repeated(&self.effects.since(&begin.effects)),
        })
    }

    fn note_failures(&self, numbers: &Numbers) -> Result<(), Failure> {
        let failures = &numbers.failures;
        failures.iter().try_for_each(|(why, count)| self.out.note(&format!("{count}x {why}")))
    }

    async fn upgrade(&mut self) -> Result<Phase, Failure> {
        let title = format!("upgrade {FIRST} to {GOOD}, region by region");
        let begin = self.begin("upgrade", &title).await?;
        let (view, wall) = self.carry_out(GOOD, begin.from).await?;
        self.expect_version(begin.name, GOOD).await;
        self.end(begin, outcome(&view), wall, self.demands.of(&view)).await
    }

    async fn bad_release(&mut self) -> Result<Phase, Failure> {
        let title = format!("upgrade to {BAD}, which never becomes healthy: it must go back");
        let begin = self.begin("bad_release", &title).await?;
        let (view, wall) = self.carry_out(BAD, begin.from).await?;
        self.expect_version(begin.name, GOOD).await;
        self.end(begin, outcome(&view), wall, self.demands.of(&view)).await
    }

    async fn carry_out(
        &self,
        version: &str,
        from: Instant,
    ) -> Result<(UpgradeView, Duration), Failure> {
        let plan = self.plan(version).await?;
        let begun = Instant::now();
        let id = self.start(&plan).await?.value.id.to_string();
        let traffic = self.traffic(from);
        let view = follow(self.out, &self.client, &id, traffic, async |_| Ok(())).await?;
        Ok((view, begun.elapsed()))
    }

    async fn leader_killed(&mut self) -> Result<Phase, Failure> {
        let title = format!("upgrade to {NEXT}; its leader is killed in the middle of a switch");
        let begin = self.begin("leader_killed", &title).await?;
        let plan = self.plan(NEXT).await?;
        let leader = self.leader().await?;
        let begun = Instant::now();
        let id = self.start(&plan).await?.value.id.to_string();
        let Self { out, fleet, client, load, probe, .. } = self;
        let out = *out;
        let mut death =
            Death { out, leader: &leader, fleet, at: None, then: None, resumed: None, back: false };
        let traffic = super::follow::Traffic { load, probe, from: begin.from };
        let view = follow(out, client, &id, traffic, async |view| death.look(view).await).await?;
        let wall = begun.elapsed();
        let resumed = death.resumed;
        death.bring_back()?;
        match resumed {
            Some(after) if after <= RESUME_MAX => {}
            Some(after) => {
                self.broken.push(format!("leader_killed: it stood still for {after:.1?}"));
            }
            None => self.broken.push("leader_killed: the leader was never killed".to_owned()),
        }
        self.expect_version(begin.name, NEXT).await;
        let demanded = self.demands.of(&view);
        let phase = self.end(begin, outcome(&view), wall, demanded).await?;
        self.whole().await?;
        Ok(phase)
    }

    async fn refused(&mut self) -> Result<Phase, Failure> {
        let region = last_region(&self.fleet)
            .ok_or_else(|| Problem::new(Code::Failed, "the fleet has no agent"))?;
        let title = format!("region {region} is taken down; an upgrade elsewhere must be refused");
        let begin = self.begin("refused", &title).await?;
        self.take_down(&region).await?;
        self.noticed(&region).await?;
        let begun = Instant::now();
        // Planning still works, and says what is in the way.
        let plan = self.plan(REFUSED).await?;
        let outcome = match self.start(&plan).await {
            Err(Failure::Problem(problem)) if problem.code == Code::Refused => {
                let rule = problem.rule.as_deref().unwrap_or("no rule");
                let exit = problem.code.exit_code();
                say(self.out, &format!("refused by {rule}, exit code {exit}: {problem}"))?;
                if problem.rule.is_none() {
                    self.broken.push("refused: the refusal names no rule".to_owned());
                }
                "refused"
            }
            Err(failure) => return Err(failure),
            Ok(_) => "started",
        };
        self.end(begin, outcome, begun.elapsed(), Span(0)).await
    }

    /// Kills agents and services of a region at once, as the loss of its power would.
    async fn take_down(&mut self, region: &RegionId) -> Result<(), Failure> {
        for agent in self.fleet.agents_mut().iter_mut().filter(|one| one.region == *region) {
            agent.process.kill().await?;
        }
        match self.fleet.kill_services(Some(region)) {
            0 => Ok(()),
            left => {
                let message = format!("{left} processes of region {region} could not be ended");
                Err(Problem::new(Code::Failed, message).into())
            }
        }
    }

    /// Waits until the fleet itself says that the region does not serve.
    async fn noticed(&self, region: &RegionId) -> Result<(), Failure> {
        let end = Instant::now() + NOTICE_WAIT;
        loop {
            let view = self.view().await?;
            if view.regions.get(region).is_some_and(|one| !one.serving) {
                return Ok(());
            }
            if Instant::now() >= end {
                let message = format!("the fleet did not notice the loss of region {region}");
                return Err(Problem::new(Code::Failed, message).into());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn leader(&self) -> Result<ControllerId, Failure> {
        let consistency = Consistency::Lease.into();
        let view = self.client.controllers(ControllersRequest { consistency }).await?.value;
        view.leader.ok_or_else(|| Problem::new(Code::Failed, "no controller leads").into())
    }

    /// Waits until every controller and every agent is back.
    async fn whole(&mut self) -> Result<(), Failure> {
        let Self { fleet, client, .. } = self;
        fleet.wait_for_controllers(client, WHOLE_WAIT).await?;
        Ok(fleet.wait_for_agents(client, WHOLE_WAIT).await?)
    }
}

/// The death of the leader while a wave is being switched, and its return.
struct Death<'a> {
    out: &'a Out,
    leader: &'a ControllerId,
    fleet: &'a mut crate::local::Fleet,
    at: Option<Instant>,
    /// The upgrade when the leader died.
    then: Option<UpgradeView>,
    /// Time until the upgrade was seen to go on.
    resumed: Option<Duration>,
    back: bool,
}

impl Death<'_> {
    async fn look(&mut self, view: &UpgradeView) -> Result<(), Failure> {
        let Some(at) = self.at else {
            // The middle one, so that something has passed and something is still to come.
            let middle = view.waves.len() / 2;
            if view.waves.get(middle).is_some_and(|wave| wave.state == "switching") {
                self.kill(view).await?;
            }
            return Ok(());
        };
        let moved = self.then.as_ref().is_some_and(|then| then.waves != view.waves);
        if self.resumed.is_none() && moved {
            self.resumed = Some(at.elapsed());
            self.out.note(&format!("the upgrade goes on, {:.1?} after the kill", at.elapsed()))?;
        }
        if at.elapsed() >= RETURN_AFTER {
            self.bring_back()?;
        }
        Ok(())
    }

    async fn kill(&mut self, view: &UpgradeView) -> Result<(), Failure> {
        if let Some(controller) = self.fleet.controller_mut(self.leader) {
            self.at = Some(Instant::now());
            self.then = Some(view.clone());
            controller.process.kill().await?;
            self.out.note(&format!("killed {} with SIGKILL: it led", self.leader))?;
        }
        Ok(())
    }

    /// Starts the controller again from its disk, once.
    fn bring_back(&mut self) -> Result<(), Failure> {
        if self.at.is_some()
            && !self.back
            && let Some(controller) = self.fleet.controller_mut(self.leader)
        {
            self.back = true;
            controller.process.start()?;
            self.out.note(&format!("started {} again", self.leader))?;
        }
        Ok(())
    }
}
