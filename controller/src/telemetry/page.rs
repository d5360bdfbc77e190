//! The page of a controller, filled when it is asked for.

use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;
use trireme_proto::pki::not_after;
use trireme_proto::time::WallTime;
use trireme_telemetry::{Page, common};

use super::{Telemetry, names};
use crate::accept::Counts;
use crate::clock::wall;
use crate::raft::Role;
use crate::view::{self, Lens};

/// A controller that answered the leader within this time has its vote at hand, in milliseconds.
const HEARD_WITHIN: u64 = 5000;

impl Telemetry {
    /// Returns everything this moment.
    pub fn page(&self) -> Page {
        let mut page = Page::default();
        self.raft(&mut page);
        self.fleet(&mut page);
        self.connections(&mut page);
        self.requests.show(&mut page);
        let failed = self.failures.borrow().is_some();
        page.count(&names::AUDIT_FAILED, &[], u64::from(failed));
        common(&mut page, env!("CARGO_PKG_VERSION"), self.ends(), &self.data);
        page
    }

    fn raft(&self, page: &mut Page) {
        let status = self.brain.raft.status();
        let (committed, applied) = (status.committed.unwrap_or(0), status.applied.unwrap_or(0));
        page.number(&names::TERM, &[], status.term);
        page.number(&names::COMMIT, &[], committed);
        page.number(&names::APPLIED, &[], applied);
        page.number(&names::LAG, &[], committed.saturating_sub(applied));
        page.number(&names::SNAPSHOT, &[], status.snapshot.unwrap_or(0));
        page.flag(&names::LEADS, &[], status.role == Role::Leader);
        page.flag(&names::HAS_LEADER, &[], self.brain.present_leader().is_some());
        page.count(&names::CHANGES, &[], self.changes.load(Ordering::Relaxed));
        page.number(&names::VOTERS, &[], status.voters.len());
        if let Some(age) = status.quorum_age {
            page.gauge(&names::QUORUM_AGE, &[], age.as_secs_f64());
        }
        if self.brain.leads().is_some() {
            let now = self.brain.now();
            let heard = self.brain.presence(|presence| {
                let lately = |at| now.since(at).0 <= HEARD_WITHIN;
                presence.controllers.values().filter(|heard| lately(heard.at)).count()
            });
            page.number(&names::HEARD, &[], heard);
            for (controller, millis) in self.brain.offsets() {
                page.gauge(&names::OFFSET, &[controller.as_str()], millis / 1e3);
            }
        }
    }

    fn fleet(&self, page: &mut Page) {
        let leads = self.brain.leads().is_some();
        let (waiting, now) = (self.brain.waiting.borrow().clone(), self.brain.now());
        // In place, presence first: the order in which the leader takes them when it decides.
        self.brain.presence(|presence| {
            self.brain.read(|fleet| {
                let lens = Lens { fleet, waiting: &waiting, presence, now };
                view::metrics(lens, leads, wall(), page);
            });
        });
    }

    fn connections(&self, page: &mut Page) {
        page.number(&names::AGENTS, &[], self.brain.sessions.len());
        page.number(&names::CONNECTIONS, &[], self.connections.len());
        for (listener, watch) in &self.listeners {
            let Counts { crowded, refused, timed_out, gone, accept_errors, .. } = watch.counts();
            for (reason, count) in [
                ("crowded", crowded),
                ("refused", refused),
                ("timed_out", timed_out),
                ("gone", gone),
                ("accept", accept_errors),
            ] {
                page.count(&names::HANDSHAKES, &[listener, reason], count);
            }
        }
    }

    /// Returns when each certificate ends.
    fn ends(&self) -> [(&'static str, Option<WallTime>); 3] {
        let credentials = self.authority.credentials();
        let root = credentials.roots().first().and_then(|root| not_after(root));
        [
            ("own", Some(credentials.verified().not_after)),
            ("issuing", Some(self.authority.issuer().not_after())),
            ("root", root),
        ]
    }

    /// Counts changes of leader until told to stop.
    pub async fn count_changes(&self, stop: CancellationToken) {
        let mut leadership = self.brain.raft.watch_leadership();
        let mut last = *leadership.borrow_and_update();
        while let Some(Ok(())) = stop.run_until_cancelled(leadership.changed()).await {
            let now = *leadership.borrow_and_update();
            if now.leader.is_some() && now != last {
                self.changes.fetch_add(1, Ordering::Relaxed);
                last = now;
            }
        }
    }
}
