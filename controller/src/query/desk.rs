//! Questions on the stream of one agent: asked from anywhere in this controller, answered through
//! the task that serves the stream.
//!
//! ```text
//!  begin ─▶ queue ─▶ attention ─▶ stream task ─▶ agent
//!  Answer::next ◀─ bounded channel ◀─ stream task ◀─ chunks, as many as there was credit for
//!  Answer taken or dropped ─▶ marks ─▶ attention ─▶ credit or cancel
//! ```
//!
//! The stream task waits for nobody here: whoever asks and does not read has no credit left, and
//! an agent that sends all the same loses that question.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::query::{CHUNK_BYTES_MAX, CREDIT, Ended, NODE_QUERIES_MAX};
use trireme_proto::time::Span;
use trireme_proto::wire::controller_message::Is as Told;
use trireme_proto::wire::{Query, QueryCancel, QueryChunk, QueryCredit, QueryEnd};

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Some of it: what is in it follows from the question.
    Chunk {
        /// 0 for JSON, 1 for stdout, 2 for stderr.
        stream: u32,
        /// The bytes.
        data: Bytes,
    },
    /// There is no more.
    End(Ended),
}

/// Where questions to one agent wait.
#[derive(Debug, Default)]
pub struct Desk {
    /// Rises whenever the stream task has something to look at.
    pub attention: Notify,
    queue: Mutex<Queue>,
    asked: AtomicU64,
    open: AtomicUsize,
}

#[derive(Debug, Default)]
struct Queue {
    begun: Vec<Begun>,
    closed: bool,
}

#[derive(Debug)]
struct Begun {
    number: u64,
    question: Bytes,
    limit: Span,
    marks: Arc<Marks>,
    tell: mpsc::Sender<Part>,
}

/// What a reader has done that the agent must hear of.
#[derive(Debug, Default)]
struct Marks {
    taken: AtomicU32,
    gone: AtomicBool,
}

impl Desk {
    /// Asks the agent; fails at once if it has as many questions as it may have.
    pub fn begin(self: &Arc<Self>, question: Bytes, limit: Span) -> Result<Answer, Problem> {
        if self.open.fetch_add(1, Ordering::AcqRel) >= NODE_QUERIES_MAX {
            self.open.fetch_sub(1, Ordering::AcqRel);
            let message = format!("{NODE_QUERIES_MAX} questions are asked of it already");
            return Err(Problem::new(Code::Conflict, message));
        }
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let marks = Arc::new(Marks::default());
        // Room for all there is credit for, and for the end.
        let (tell, parts) = mpsc::channel(CREDIT as usize + 1);
        // From here on dropping the answer gives its place back.
        let answer = Answer { desk: Arc::clone(self), marks: Arc::clone(&marks), parts };
        let mut queue = lock(&self.queue);
        if queue.closed {
            return Err(Problem::new(Code::Unreachable, "its connection has just ended"));
        }
        queue.begun.push(Begun { number, question, limit, marks, tell });
        drop(queue);
        self.attention.notify_one();
        Ok(answer)
    }

    /// Takes no more questions: the stream has ended.
    pub fn close(&self) {
        let mut queue = lock(&self.queue);
        queue.closed = true;
        queue.begun.clear();
    }
}

/// An answer as it comes. Dropping it takes the question back.
#[derive(Debug)]
pub struct Answer {
    desk: Arc<Desk>,
    marks: Arc<Marks>,
    parts: mpsc::Receiver<Part>,
}

impl Answer {
    /// Returns what comes next; `None` if the agent's stream ended before the answer did.
    pub async fn next(&mut self) -> Option<Part> {
        let part = self.parts.recv().await?;
        if matches!(part, Part::Chunk { .. }) {
            self.marks.taken.fetch_add(1, Ordering::AcqRel);
            self.desk.attention.notify_one();
        }
        Some(part)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.marks.gone.store(true, Ordering::Release);
        self.desk.open.fetch_sub(1, Ordering::AcqRel);
        self.desk.attention.notify_one();
    }
}

/// The questions that the agent knows of, kept by the task that serves its stream.
#[derive(Debug, Default)]
pub struct Asked(BTreeMap<u64, Open>);

#[derive(Debug)]
struct Open {
    marks: Arc<Marks>,
    tell: mpsc::Sender<Part>,
}

impl Asked {
    /// Returns what the agent is to be told now: first what frees it, then what is new.
    pub fn look(&mut self, desk: &Desk) -> Vec<Told> {
        let mut told = Vec::new();
        self.0.retain(|number, open| {
            let gone = open.marks.gone.load(Ordering::Acquire);
            if gone {
                told.push(Told::QueryCancel(QueryCancel { number: *number }));
            }
            !gone
        });
        for (number, open) in &self.0 {
            let chunks = open.marks.taken.swap(0, Ordering::AcqRel);
            if chunks > 0 {
                told.push(Told::QueryCredit(QueryCredit { number: *number, chunks }));
            }
        }
        for begun in std::mem::take(&mut lock(&desk.queue).begun) {
            let Begun { number, question, limit, marks, tell } = begun;
            if marks.gone.load(Ordering::Acquire) {
                continue;
            }
            told.push(Told::Query(Query { number, question, limit_ms: limit.0, credit: CREDIT }));
            self.0.insert(number, Open { marks, tell });
        }
        told
    }

    /// Takes in a part of an answer; returns whether the question has to be taken back.
    ///
    /// What nobody asked for, or asks for no more, is ignored.
    pub fn chunk(&mut self, chunk: &QueryChunk) -> Option<QueryCancel> {
        let open = self.0.get(&chunk.number)?;
        let fault = if chunk.data.len() > CHUNK_BYTES_MAX {
            "it sent more at once than it may"
        } else {
            // A copy: a part of the message would keep all of the buffer that it was read into.
            let data = Bytes::copy_from_slice(&chunk.data);
            match open.tell.try_send(Part::Chunk { stream: chunk.stream, data }) {
                Ok(()) => return None,
                Err(mpsc::error::TrySendError::Closed(_)) => "",
                Err(mpsc::error::TrySendError::Full(_)) => "it sent more than there was room for",
            }
        };
        let number = chunk.number;
        if let Some(open) = self.0.remove(&number) {
            let problem = Problem::new(Code::Failed, format!("the agent is not trusted: {fault}"));
            let _full = open.tell.try_send(Part::End(Ended::with(problem)));
        }
        Some(QueryCancel { number })
    }

    /// Takes in the end of an answer.
    pub fn end(&mut self, end: &QueryEnd) {
        let Some(open) = self.0.remove(&end.number) else { return };
        let ended = serde_json::from_slice(&end.end).unwrap_or_else(|error| {
            let message = format!("the end of its answer cannot be read: {error}");
            Ended::with(Problem::new(Code::Failed, message))
        });
        // There is a place for it; only an agent that sent too much has taken it.
        let _full = open.tell.try_send(Part::End(ended));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(desk: &Arc<Desk>) -> Answer {
        desk.begin(Bytes::from_static(b"{}"), Span::secs(1)).unwrap()
    }

    fn chunk(number: u64, data: &'static str) -> QueryChunk {
        QueryChunk { number, data: data.into(), stream: 0 }
    }

    fn part(data: &'static str) -> Part {
        Part::Chunk { stream: 0, data: data.into() }
    }

    fn query(number: u64) -> Told {
        let question = Bytes::from_static(b"{}");
        Told::Query(Query { number, question, limit_ms: 1000, credit: CREDIT })
    }

    #[tokio::test]
    async fn credit_is_given_for_what_was_read_and_a_reader_that_left_is_told() {
        let (desk, mut asked) = (Arc::new(Desk::default()), Asked::default());
        let (mut one, two) = (begin(&desk), begin(&desk));
        assert_eq!(asked.look(&desk), [query(1), query(2)]);
        assert_eq!(asked.look(&desk), []);
        assert_eq!(asked.chunk(&chunk(1, "a")), None);
        assert_eq!(asked.chunk(&chunk(1, "b")), None);
        assert_eq!(asked.look(&desk), [], "nobody has read yet");
        assert_eq!(one.next().await, Some(part("a")));
        assert_eq!(one.next().await, Some(part("b")));
        drop(two);
        let cancel = Told::QueryCancel(QueryCancel { number: 2 });
        let credit = Told::QueryCredit(QueryCredit { number: 1, chunks: 2 });
        assert_eq!(asked.look(&desk), [cancel, credit]);
        let end = serde_json::to_vec(&Ended::default()).unwrap().into();
        asked.end(&QueryEnd { number: 1, end });
        assert_eq!(one.next().await, Some(Part::End(Ended::default())));
        assert_eq!(one.next().await, None);
    }

    /// B7: what nobody asked, too much of it, and too large a piece of it.
    #[tokio::test]
    async fn an_agent_that_says_what_it_may_not_is_ignored_or_loses_the_question() {
        let (desk, mut asked) = (Arc::new(Desk::default()), Asked::default());
        assert_eq!(asked.chunk(&chunk(9, "unasked")), None);
        asked.end(&QueryEnd { number: 9, end: Bytes::from_static(b"{") });
        let mut flooded = begin(&desk);
        asked.look(&desk);
        for _ in 0..=CREDIT {
            assert_eq!(asked.chunk(&chunk(1, "x")), None);
        }
        assert_eq!(asked.chunk(&chunk(1, "x")), Some(QueryCancel { number: 1 }));
        assert_eq!(asked.chunk(&chunk(1, "x")), None, "it is not listened to any more");
        for _ in 0..=CREDIT {
            assert_eq!(flooded.next().await, Some(part("x")));
        }
        assert_eq!(flooded.next().await, None);

        let mut large = begin(&desk);
        asked.look(&desk);
        let data = vec![b'x'; CHUNK_BYTES_MAX + 1].into();
        let refused = asked.chunk(&QueryChunk { number: 2, data, stream: 0 });
        assert_eq!(refused, Some(QueryCancel { number: 2 }));
        let Some(Part::End(Ended { problem: Some(problem) })) = large.next().await else {
            panic!("the reader is told");
        };
        assert_eq!(problem.message, "the agent is not trusted: it sent more at once than it may");

        let mut odd = begin(&desk);
        asked.look(&desk);
        asked.end(&QueryEnd { number: 3, end: Bytes::from_static(b"{") });
        assert!(matches!(odd.next().await, Some(Part::End(Ended { problem: Some(_) }))));
    }

    #[tokio::test]
    async fn no_more_are_asked_than_an_agent_answers_and_none_of_one_that_left() {
        let desk = Arc::new(Desk::default());
        let mut all: Vec<_> = (0..NODE_QUERIES_MAX).map(|_| begin(&desk)).collect();
        let refused = desk.begin(Bytes::new(), Span::secs(1)).unwrap_err();
        assert_eq!(refused.code, Code::Conflict);
        all.pop();
        let mut last = begin(&desk);
        desk.close();
        assert_eq!(last.next().await, None);
        all.clear();
        assert_eq!(desk.begin(Bytes::new(), Span::secs(1)).unwrap_err().code, Code::Unreachable);
    }
}
