//! Looks at every member every few simulated milliseconds, and asks every rule about what is new.

use std::sync::{Arc, PoisonError};

use trireme_controller::raft::simulation::LogEntry;

use super::config::MEMBERS;
use super::coverage::Counter;
use super::invariants::{Rule, table};
use super::member::Running;
use super::net::Promise;
use super::registers::Fact;
use super::scene::{Known, Moment, Scene};
use super::world::World;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Name of the rule.
    pub rule: &'static str,
    /// What it claims.
    pub sentence: &'static str,
    /// What was found.
    pub what: String,
}

/// The one who looks.
#[derive(Debug)]
pub struct Watcher {
    world: Arc<World>,
    /// All that is known.
    pub scene: Scene,
    rules: Vec<Rule>,
}

impl Watcher {
    /// Returns one who has seen nothing.
    pub fn new(world: Arc<World>) -> Self {
        let mut scene = Scene::default();
        scene.members.extend((1..=MEMBERS).map(|id| (id, super::scene::Seen::default())));
        Self { world, scene, rules: table() }
    }

    fn judge(&mut self, moment: &Moment) -> Result<(), Violation> {
        for rule in &mut self.rules {
            rule.check.look(&self.scene, moment).map_err(|what| Violation {
                rule: rule.name,
                sentence: rule.sentence,
                what,
            })?;
        }
        Ok(())
    }

    fn judge_all(&mut self, moments: &[Moment]) -> Result<(), Violation> {
        moments.iter().try_for_each(|moment| self.judge(moment))
    }

    /// Looks at all members, and hears what clients were told.
    pub async fn turn(&mut self) -> Result<(), Violation> {
        self.hear();
        let mut moments = Vec::new();
        for id in 1..=MEMBERS {
            let running = self.world.members()[&id].running.clone();
            match running {
                Some(running) => moments.extend(self.look(id, &running).await),
                None => self.member(id).up = false,
            }
        }
        self.judge_all(&moments)?;
        let (sent, told) = {
            let mut words = self.world.words();
            (std::mem::take(&mut words.sent), std::mem::take(&mut words.told))
        };
        self.scene.sent.extend(sent);
        for told in told {
            self.scene.told.push(told.clone());
            self.judge(&Moment::Told(told))?;
        }
        Ok(())
    }

    /// Judges what the whole has led to.
    pub fn end(&mut self) -> Result<(), Violation> {
        let (lost, twice) = self.world.net.mishaps();
        self.world.count_all(Counter::Lost, lost);
        self.world.count_all(Counter::Twice, twice);
        self.world.count_all(Counter::Repeats, self.scene.truth.repeats);
        self.world.count_all(Counter::MembershipChanges, self.scene.truth.changes);
        self.judge(&Moment::Ended)
    }

    fn member(&mut self, id: u64) -> &mut super::scene::Seen {
        self.scene.members.get_mut(&id).expect("all members are there from the beginning")
    }

    fn hear(&mut self) {
        for (id, promise) in self.world.net.heard() {
            let member = self.member(id);
            match promise {
                Promise::Holds(at) => member.held = member.held.max(Some(at)),
                Promise::Voted(term, node) => member.voted = member.voted.max((term, node)),
            }
        }
    }

    /// Learns what a member has found on its disk.
    pub async fn started(&mut self, id: u64) -> Result<(), Violation> {
        let Some(running) = self.world.running(id) else { return Ok(()) };
        self.hear();
        let member = self.member(id);
        member.log.clear();
        member.glance = None;
        let (held, voted) = (member.held, member.voted);
        let mut moments = self.look(id, &running).await;
        // What was told before the crash is judged before it is forgotten.
        let member = self.member(id);
        (member.held, member.voted) = (held, voted);
        moments.insert(0, Moment::Started(id));
        self.judge_all(&moments)
    }

    /// Looks at one member; returns what is new.
    async fn look(&mut self, id: u64, running: &Running) -> Vec<Moment> {
        let glance = running.raft.glance();
        let first = glance.purged.map_or(0, |at| at.index + 1);
        let seen = self.member(id);
        let known = seen.glance.as_ref().and_then(|before| before.committed);
        let from = known.map_or(0, |at| at.index + 1).max(first);
        let entries = running.raft.entries(from..u64::MAX).await;
        let mut moments = Vec::new();
        self.facts(id, &mut moments);
        let (on_disk, doomed) = {
            let members = self.world.members();
            let member = &members[&id];
            let newest = member.newest_snapshot().unwrap_or_default();
            (newest, member.doomed || running.power.is_cancelled())
        };
        let member = self.member(id);
        (member.up, member.on_disk, member.doomed) = (true, on_disk, doomed);
        member.before = member.glance.replace(glance.clone());
        if let Ok(entries) = entries {
            self.compare(id, first, from, &entries, &mut moments);
            let until = glance.committed.map_or(0, |at| at.index + 1);
            self.commit(id, until, &entries, &mut moments);
        } else {
            // Its disk has failed: what it holds is known again when it is back.
            member.held = None;
        }
        self.notice(id);
        moments.push(Moment::Looked(id));
        moments
    }

    fn facts(&self, id: u64, moments: &mut Vec<Moment>) {
        let facts = Arc::clone(&self.world.members()[&id].facts);
        let facts = std::mem::take(&mut *facts.lock().unwrap_or_else(PoisonError::into_inner));
        let running = self.scene.members[&id].glance.is_some();
        for fact in facts {
            if let (Fact::Restored { last, .. }, true) = (&fact, running) {
                self.world.count(Counter::SnapshotsInstalled);
                self.world.say(&format!("member {id}"), || format!("installs the state of {last}"));
            }
            moments.push(Moment::Done(id, fact));
        }
    }

    /// Brings what is known of a log up to date.
    fn compare(
        &mut self,
        id: u64,
        first: u64,
        from: u64,
        entries: &[LogEntry],
        moments: &mut Vec<Moment>,
    ) {
        let member = self.member(id);
        member.log = member.log.split_off(&first);
        drop(member.log.split_off(&entries.last().map_or(from, |entry| entry.at.index + 1)));
        for entry in entries {
            let known = Known::of(entry);
            if member.log.get(&entry.at.index) != Some(&known) {
                member.log.insert(entry.at.index, known.clone());
                moments.push(Moment::Entry(id, known));
            }
        }
        // A later leader has taken it back, or a snapshot covers it.
        member.held = member.held.filter(|at| member.holds(*at));
    }

    fn commit(&mut self, id: u64, until: u64, entries: &[LogEntry], moments: &mut Vec<Moment>) {
        for entry in entries.iter().take_while(|entry| entry.at.index < until) {
            if entry.at.index >= self.scene.truth.next() {
                self.world.say(&format!("member {id}"), || {
                    let at = entry.at;
                    format!("commits {} of {}-{}", at.index, at.term, at.leader)
                });
            }
            self.scene.truth.learn(entry);
            moments.push(Moment::Committed(id, Known::of(entry)));
        }
    }

    /// Counts, and tells, what has changed.
    fn notice(&self, id: u64) {
        let member = &self.scene.members[&id];
        let (Some(before), Some(now)) = (&member.before, &member.glance) else { return };
        let who = format!("member {id}");
        if now.leads && !(before.leads && before.vote == now.vote) {
            self.world.count(Counter::Elections);
            self.world.say(&who, || format!("leads in term {} with {:?}", now.vote.0, now.voters));
        } else if before.vote != now.vote {
            self.world.say(&who, || format!("votes {:?}", now.vote));
        }
        if now.snapshot > before.snapshot {
            self.world.count(Counter::SnapshotsWritten);
        }
        if now.purged > before.purged {
            self.world.count(Counter::Purges);
            self.world.say(&who, || format!("purges to {:?}", now.purged.map(|at| at.index)));
        }
        if before.runs && !now.runs {
            self.world.say(&who, || "has ended".to_owned());
        }
    }
}
