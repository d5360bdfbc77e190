//! Reads that see everything acknowledged before them: a quorum tells that nobody follows yet.
//!
//! A leader whose own first entry is applied has applied whatever was acknowledged before it led,
//! and since then has acknowledged only what it had applied. So what it has applied when a read
//! comes is enough, if no later leader can have acknowledged anything by then. A later leader needs
//! votes of a quorum; a quorum of members that hold no later vote *after* the read came excludes
//! one. The library's own way asks the cores of all members, by way of an append without entries;
//! this one reads a value, of as few members as do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use openraft::network::RPCTypes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use trireme_proto::wire;

use super::machine::Machine;
use super::network::{Link, Links, Purpose};
use super::node::Raft;
use super::types::{Record, Vote, vote_from_wire};

/// How long as few members as can be a quorum may take before the others are asked as well: some
/// round trips within a region, and little beside one between regions.
const HEDGE: Duration = Duration::from_millis(5);

impl<M: Machine> Raft<M> {
    /// Returns an index that everything acknowledged before this call is at or below; nothing if
    /// this member does not lead or cannot tell that it still does.
    pub(super) async fn confirmed(&self) -> Option<u64> {
        let own = self.inner.identity.raft_id;
        let (vote, membership) = {
            let metrics = self.inner.library.metrics();
            let metrics = metrics.borrow_watched();
            let vote = metrics.vote;
            let leads = metrics.state == ServerState::Leader && vote.committed;
            let begun = metrics.last_applied.is_some_and(|id| id.leader_id == vote.leader_id);
            if !leads || !begun {
                return None;
            }
            (vote, Arc::clone(&metrics.membership_config))
        };
        if !holds_none_after(self.inner.log.vote().as_ref(), &vote) {
            return None;
        }
        // Read before anybody is asked, and not told by the metrics, which may be older.
        let index = *self.inner.applied.borrow();
        let membership = membership.membership();
        let sets = membership.get_joint_config();
        if sets.iter().any(|set| !set.contains(&own)) {
            return None;
        }
        let others = membership.voter_ids().filter(|id| *id != own);
        let others = others.filter_map(|id| Some((id, membership.get_node(&id)?)));
        let links = self.inner.confirming.links(others);
        // While members change a quorum of each set is needed: all are asked at once.
        let enough = if sets.len() == 1 { links.len().div_ceil(2) } else { links.len() };
        let limit = self.inner.config.profile.timing().election_min;
        let question = Question { vote, limit, own, sets };
        question.ask(&self.inner.confirming, links, enough).await.then_some(index)
    }
}

/// What is asked of other members, and of which sets a quorum has to agree.
struct Question<'a> {
    vote: Vote,
    limit: Duration,
    own: u64,
    sets: &'a [BTreeSet<u64>],
}

impl Question<'_> {
    /// Asks `enough` members, and the others when these are slow; returns whether a quorum of each
    /// set holds no later vote.
    async fn ask(&self, confirming: &Confirming, links: Vec<Arc<Link>>, enough: usize) -> bool {
        let mut agreed = BTreeSet::from([self.own]);
        let mut later = links.into_iter();
        let ask = |link: Arc<Link>| async move { (link.member.id, link.agrees(self).await) };
        let mut asked: FuturesUnordered<_> = later.by_ref().take(enough).map(ask).collect();
        let mut hedge = std::pin::pin!(tokio::time::sleep(HEDGE));
        while !is_quorum(self.sets, &agreed) {
            let slow = tokio::select! {
                biased;
                answer = asked.next() => match answer {
                    Some((id, true)) => {
                        if agreed.len() == 1 {
                            confirming.quick.store(id, Ordering::Relaxed);
                        }
                        agreed.insert(id);
                        false
                    }
                    None if later.len() == 0 => return false,
                    Some((_, false)) | None => true,
                },
                () = &mut hedge, if later.len() > 0 => true,
            };
            if slow {
                asked.extend(later.by_ref().map(ask));
            }
        }
        true
    }
}

/// Whom reads are asked of.
pub(super) struct Confirming {
    links: Links,
    /// The member that answered first, last time.
    quick: AtomicU64,
}

impl Confirming {
    pub(super) fn new(links: Links) -> Self {
        Self { links, quick: AtomicU64::new(0) }
    }

    /// Returns the links to these members, the quick one first.
    fn links<'a>(&self, members: impl Iterator<Item = (u64, &'a Record)>) -> Vec<Arc<Link>> {
        let link = |(id, record)| self.links.link(id, record, Purpose::Read);
        let mut links: Vec<_> = members.map(link).collect();
        let quick = self.quick.load(Ordering::Relaxed);
        links.sort_by_key(|link| (link.member.id != quick, link.member.id));
        links
    }
}

/// A stream of questions. Who asked may have gone before the answer came, so both are numbered.
pub(super) struct Questions {
    number: u64,
    asked: mpsc::Sender<wire::RaftConfirmRequest>,
    answers: Streaming<wire::RaftConfirmReply>,
}

impl Link {
    /// Returns whether the member says that it holds no vote after that of the question.
    async fn agrees(&self, question: &Question<'_>) -> bool {
        let answer = self.within(RPCTypes::Vote, question.limit, self.held()).await;
        if answer.is_err() {
            *self.questions.lock().await = None;
        }
        answer.is_ok_and(|held| holds_none_after(held.as_ref(), &question.vote))
    }

    /// Asks which vote the member holds.
    async fn held(&self) -> Result<Option<Vote>, Status> {
        let ended = || Status::unavailable("the stream of answers has ended");
        let mut open = self.questions.lock().await;
        let open = match &mut *open {
            Some(open) => open,
            none => none.insert(self.open().await?),
        };
        open.number += 1;
        let asked = wire::RaftConfirmRequest { number: open.number };
        open.asked.send(asked).await.map_err(|_| ended())?;
        loop {
            let answer = open.answers.message().await?.ok_or_else(ended)?;
            if answer.number == open.number {
                let held = answer.vote.map(|vote| vote_from_wire(Some(vote)));
                return Ok(held.transpose()?);
            }
        }
    }

    async fn open(&self) -> Result<Questions, Status> {
        // Room for one: whoever asks waits for the answer, or has gone.
        let (asked, outgoing) = mpsc::channel(1);
        let mut client = self.client().map_err(|e| Status::unavailable(e.to_string()))?;
        let request = self.request(ReceiverStream::new(outgoing));
        let answers = client.confirm(request).await?.into_inner();
        Ok(Questions { number: 0, asked, answers })
    }
}

/// Returns whether who holds this vote has given none to anybody who may lead after `vote`.
fn holds_none_after(held: Option<&Vote>, vote: &Vote) -> bool {
    held.is_none_or(|held| held.leader_id <= vote.leader_id)
}

fn is_quorum(sets: &[BTreeSet<u64>], agreed: &BTreeSet<u64>) -> bool {
    sets.iter().all(|set| set.intersection(agreed).count() > set.len() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_more_than_half_of_each_set() {
        let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<_>>();
        let one = [set(&[1, 2, 3])];
        assert!(is_quorum(&one, &set(&[1, 2])) && !is_quorum(&one, &set(&[1])));
        assert!(!is_quorum(&one, &set(&[1, 4, 5])), "others do not count");
        assert!(!is_quorum(&[set(&[1, 2, 3, 4])], &set(&[1, 2])), "half is not enough");
        let two = [set(&[1, 2, 3]), set(&[1, 4, 5])];
        assert!(!is_quorum(&two, &set(&[1, 2, 3])) && is_quorum(&two, &set(&[1, 2, 4])));
        assert!(is_quorum(&[set(&[1])], &set(&[1])));
    }
}
