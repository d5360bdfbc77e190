//! Reads that must see everything committed before them: who comes while the question "up to
//! where?" is under way shares the next one.
//!
//! ```text
//!  read ─▶ queue ─▶ one question at a time ─▶ leader: a quorum confirms that it still leads
//!                                          └▶ others: the leader is asked
//! ```
//!
//! Invariant: a read is answered by a question that was put after the read had come. A question
//! costs two controllers a round of messages, whether one read waits for it or a thousand.

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use trireme_proto::problem::Problem;

use crate::brain::no_leader;

/// Reads waiting for the next question; more wait outside. Requests of one connection are bounded
/// already, so this only has to be more than one question can be asked for in its time.
const WAITING_MAX: usize = 8192;

type Tell = oneshot::Sender<Result<u64, Problem>>;

/// Where reads wait for an index.
#[derive(Debug, Clone)]
pub struct Questions(mpsc::Sender<Tell>);

/// The reads that wait.
#[derive(Debug)]
pub struct Asked(mpsc::Receiver<Tell>);

/// Makes a queue of reads.
pub fn questions() -> (Questions, Asked) {
    let (ask, asked) = mpsc::channel(WAITING_MAX);
    (Questions(ask), Asked(asked))
}

impl Questions {
    /// Returns an index that everything committed before this call is at or below.
    pub async fn ask(&self) -> Result<u64, Problem> {
        let stopping = || no_leader(&"this controller is stopping");
        let (tell, told) = oneshot::channel();
        self.0.send(tell).await.map_err(|_| stopping())?;
        told.await.map_err(|_| stopping())?
    }
}

impl Asked {
    /// Puts one question after another, each for all who wait by then, until cancelled.
    pub async fn answer<Q>(mut self, question: impl Fn() -> Q + Send, stop: CancellationToken)
    where
        Q: Future<Output = Result<u64, Problem>> + Send,
    {
        let mut waiting = Vec::new();
        loop {
            let came = self.0.recv_many(&mut waiting, WAITING_MAX);
            if stop.run_until_cancelled(came).await.is_none_or(|came| came == 0) {
                return;
            }
            let Some(answer) = stop.run_until_cancelled(question()).await else { return };
            for tell in waiting.drain(..) {
                // Who has gone meanwhile needs no answer.
                let _gone = tell.send(answer.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::Semaphore;
    use tokio::task::JoinSet;

    use super::*;

    /// Each question takes a permit and answers with its number.
    fn numbered(turns: &Arc<Semaphore>) -> (Questions, JoinSet<()>) {
        let (questions, asked) = questions();
        let (turns, count) = (Arc::clone(turns), Arc::new(AtomicU64::new(0)));
        let question = move || {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let turns = Arc::clone(&turns);
            async move {
                turns.acquire().await.expect("never closed").forget();
                Ok(number)
            }
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(asked.answer(question, CancellationToken::new()));
        (questions, tasks)
    }

    #[tokio::test]
    async fn who_comes_during_a_question_shares_the_next() {
        let turns = Arc::new(Semaphore::new(0));
        let (questions, _tasks) = numbered(&turns);
        let mut early = Box::pin(questions.ask());
        assert!(futures_util::poll!(&mut early).is_pending());
        // The first question is under way once the queue is empty again.
        while questions.0.capacity() < WAITING_MAX {
            tokio::task::yield_now().await;
        }
        let late = futures_util::future::join_all((0..100).map(|_| questions.ask()));
        let mut late = Box::pin(late);
        assert!(futures_util::poll!(&mut late).is_pending());
        turns.add_permits(1);
        assert_eq!(early.await.unwrap(), 1);
        turns.add_permits(1);
        let answers: Result<Vec<u64>, Problem> = late.await.into_iter().collect();
        assert_eq!(answers.unwrap(), vec![2; 100], "one question for all, and not the first");
    }

    #[tokio::test]
    async fn the_end_is_an_answer_too() {
        let (questions, asked) = questions();
        drop(asked);
        assert!(questions.ask().await.unwrap_err().retryable);
    }
}
