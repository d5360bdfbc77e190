//! Tells every peer of Alertmanager what is open, over and over.
//!
//! Its interface recognises an alert by its labels, so saying it again is safe, and necessary: what
//! is not said again for a while counts as over there. Peers do not need each other to be told, and
//! one that is down delays none.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use trireme_proto::model::Channel;
use trireme_proto::time::Span;

use super::chat::{Verdict, verdict};
use super::http::{Answer, Post, PostError};
use super::{Alert, Senders};
use crate::clock::wall;

/// Time after which what is open is said again: a small part of the time after which Alertmanager
/// would take it for over, so that a peer that was started anew hears of it soon.
const AGAIN: Duration = Duration::from_secs(15);
/// How long what is open counts there if it is not said again.
const FORGET: Span = Span::secs(5 * 60);
/// Shortest time between two posts to one peer.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause after one that failed; the first is `PAUSE`, doubled each time.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Alerts in one post.
const ALERTS_MAX: usize = 500;

/// What a peer said to the last post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerReport {
    /// Its URL, as the channel names it.
    pub(crate) url: String,
    /// Why it did not take it.
    pub(crate) error: Option<String>,
}

/// One peer, told until dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) senders: Arc<Senders>,
    pub(crate) channel: Channel,
    pub(crate) url: String,
    /// What to tell.
    pub(crate) alerts: watch::Receiver<Arc<Vec<Alert>>>,
    /// Where what it says goes.
    pub(crate) reports: mpsc::Sender<(trireme_proto::id::ChannelId, PeerReport)>,
}

impl Peer {
    /// Tells the peer whenever something changes, and again after a while.
    pub(crate) async fn run(mut self) {
        let mut pause = PAUSE;
        loop {
            let alerts = Arc::clone(&self.alerts.borrow_and_update());
            let mut wait = AGAIN;
            if !alerts.is_empty() {
                let told = self.tell(&alerts).await;
                self.senders
                    .count(&self.channel.name, if told.is_ok() { "delivered" } else { "failed" });
                if told.is_err() {
                    wait = pause;
                    pause = (pause * 2).min(PAUSE_MAX);
                } else {
                    pause = PAUSE;
                }
                let report = PeerReport { url: self.url.clone(), error: told.err() };
                if self.reports.send((self.channel.name.clone(), report)).await.is_err() {
                    return;
                }
            }
            sleep(PAUSE.min(wait)).await;
            tokio::select! {
                () = sleep(wait.saturating_sub(PAUSE)) => {}
                changed = self.alerts.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn tell(&self, alerts: &[Alert]) -> Result<(), String> {
        for part in alerts.chunks(ALERTS_MAX) {
            let answered = post(&self.senders, &self.channel, &self.url, part).await;
            let answer = answered.map_err(|error| error.to_string())?;
            if let Verdict::Refused(why, _) = verdict(&answer, false) {
                return Err(format!("{}: {why}", host(&self.url)));
            }
        }
        Ok(())
    }
}

/// Posts alerts to one peer.
pub(super) async fn post(
    senders: &Senders,
    channel: &Channel,
    url: &str,
    alerts: &[Alert],
) -> Result<Answer, PostError> {
    let now = wall();
    let alerts: Vec<_> = alerts.iter().map(|alert| alert.told(now, FORGET)).collect();
    let body = serde_json::to_vec(&alerts).expect("an alert has string keys");
    let post = Post {
        url: format!("{}/api/v2/alerts", url.trim_end_matches('/')),
        headers: Vec::new(),
        body: Bytes::from(body),
        private: channel.private,
    };
    senders.client.post(&post).await
}

/// Returns the host and port of a URL, for messages.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}
