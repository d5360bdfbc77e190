//! The way of submissions to a leader elsewhere: one stream to each controller, many submissions a
//! message.
//!
//! ```text
//!  submit ─▶ queue ─▶ all that wait ─▶ one message ─▶ leader: decides each ─▶ answers, as they come
//! ```
//!
//! Nothing waits to be joined by others: a message takes what is there. Under load that is much,
//! and a submission then costs a share of a message in place of a call of its own.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use trireme_proto::id::ControllerId;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::wire::peer_client::PeerClient;
use trireme_proto::wire::{ForwardAnswer, ForwardAnswers, ForwardItem, ForwardRequests};

use crate::brain::Brain;
use crate::peers::{ASK_TIMEOUT, FORWARD_TIMEOUT, problem_of, silent};
use crate::state::Reply;
use crate::submit::{Submission, lead};

/// Submissions waiting for a message; more wait outside.
const WAITING_MAX: usize = 4096;

/// Submissions or answers in one message. One may have a megabyte, so their bytes are bounded too.
const ITEMS_MAX: usize = 256;

/// Bytes after which a message takes no further submission: far below what is read as one.
const MESSAGE_BYTES: usize = 1 << 20;

/// Messages on their way out; the next is made when the transport has taken one.
const MESSAGES_MAX: usize = 2;

/// Submissions of one controller that the leader decides at once.
const DECIDED_MAX: usize = 1024;

type Tell = oneshot::Sender<Result<Reply, Problem>>;

/// A submission that waits to be sent.
#[derive(Debug)]
struct Item {
    submission: Vec<u8>,
    tell: Tell,
}

/// Where submissions to one controller wait.
#[derive(Debug, Clone)]
pub(crate) struct Forwards(mpsc::Sender<Item>);

/// The submissions to one controller that wait.
#[derive(Debug)]
pub(crate) struct Outbox(mpsc::Receiver<Item>);

/// Makes a queue of submissions.
pub(crate) fn forwards() -> (Forwards, Outbox) {
    let (send, queue) = mpsc::channel(WAITING_MAX);
    (Forwards(send), Outbox(queue))
}

impl Forwards {
    /// Hands a submission to `peer`, and returns what it answers.
    pub(crate) async fn hand(
        &self,
        peer: &ControllerId,
        submission: &Submission,
    ) -> Result<Reply, Problem> {
        let submission = serde_json::to_vec(submission).expect("a submission is plain values");
        let (tell, told) = oneshot::channel();
        let lost = || silent(peer, "is not asked any more");
        let handed = async {
            self.0.send(Item { submission, tell }).await.map_err(|_| lost())?;
            told.await.map_err(|_| lost())?
        };
        let late = |_| silent(peer, &format!("did not answer within {FORWARD_TIMEOUT:?}"));
        timeout(FORWARD_TIMEOUT, handed).await.map_err(late)?
    }
}

impl Outbox {
    /// Sends what comes to `peer` until cancelled; a stream that ends is opened anew when needed.
    pub(crate) async fn run(
        mut self,
        peer: ControllerId,
        client: PeerClient<Channel>,
        stop: CancellationToken,
    ) {
        let mut items = Vec::new();
        loop {
            let came = self.0.recv_many(&mut items, ITEMS_MAX);
            if stop.run_until_cancelled(came).await.is_none_or(|came| came == 0) {
                return;
            }
            let mut session = Session { peer: &peer, next: 0, waiting: HashMap::new() };
            let ended = session.run(client.clone(), &mut self.0, &mut items);
            let Some(problem) = stop.run_until_cancelled(ended).await else { return };
            // Whether they were committed is unknown; asking again is safe by their origin.
            let unsent = items.drain(..).map(|item| item.tell);
            for tell in session.waiting.into_values().chain(unsent) {
                let _gone = tell.send(Err(problem.clone()));
            }
        }
    }
}

/// One stream to a controller, and who waits for answers on it.
struct Session<'a> {
    peer: &'a ControllerId,
    next: u64,
    waiting: HashMap<u64, Tell>,
}

impl Session<'_> {
    /// Sends and receives until the stream ends; returns why it did.
    async fn run(
        &mut self,
        mut client: PeerClient<Channel>,
        queue: &mut mpsc::Receiver<Item>,
        items: &mut Vec<Item>,
    ) -> Problem {
        let (send, requests) = mpsc::channel(MESSAGES_MAX);
        let opened = client.forward_all(ReceiverStream::new(requests));
        let mut answers = match timeout(ASK_TIMEOUT, opened).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return problem_of(&status, self.peer),
            Err(_) => return silent(self.peer, &format!("did not answer within {ASK_TIMEOUT:?}")),
        };
        loop {
            // Never waiting for room to send alone: the leader may itself wait for us to read.
            tokio::select! {
                answer = answers.message() => match answer {
                    Ok(Some(answers)) => self.deliver(answers),
                    Ok(None) => return silent(self.peer, "ended the stream"),
                    Err(status) => return problem_of(&status, self.peer),
                },
                room = send.reserve(), if !items.is_empty() => match room {
                    Ok(room) => room.send(self.message(items)),
                    Err(_) => return silent(self.peer, "ended the stream"),
                },
                came = queue.recv_many(items, ITEMS_MAX), if items.is_empty() => if came == 0 {
                    return silent(self.peer, "is not asked any more");
                },
            }
        }
    }

    /// Takes what fits into one message.
    fn message(&mut self, items: &mut Vec<Item>) -> ForwardRequests {
        let mut room = MESSAGE_BYTES;
        let mut fits = |item: &Item| {
            let fits = room > 0;
            room = room.saturating_sub(item.submission.len());
            fits
        };
        let count = items.iter().take_while(|item| fits(item)).count();
        let numbered = items.drain(..count).map(|item| {
            self.next += 1;
            self.waiting.insert(self.next, item.tell);
            ForwardItem { number: self.next, submission: item.submission.into() }
        });
        ForwardRequests { items: numbered.collect() }
    }

    fn deliver(&mut self, answers: ForwardAnswers) {
        for answer in answers.items {
            let Some(tell) = self.waiting.remove(&answer.number) else { continue };
            let _gone = tell.send(read(&answer, self.peer));
        }
    }
}

fn read(answer: &ForwardAnswer, peer: &ControllerId) -> Result<Reply, Problem> {
    let unreadable = |error: serde_json::Error| {
        Problem::new(Code::Failed, format!("{peer} answered in another form: {error}"))
    };
    if answer.reply.is_empty() {
        return Err(serde_json::from_slice(&answer.problem).unwrap_or_else(unreadable));
    }
    serde_json::from_slice(&answer.reply).map_err(unreadable)
}

/// Answers of a leader.
pub(crate) type Answers = Pin<Box<dyn Stream<Item = Result<ForwardAnswers, Status>> + Send>>;

/// Decides what another controller hands over, each by itself, and answers as they are done.
pub(crate) fn decide(brain: Arc<Brain>, requests: Streaming<ForwardRequests>) -> Answers {
    // What cannot be read ends the stream, and the other side begins another.
    let messages = requests.take_while(|message| std::future::ready(message.is_ok()));
    let items = messages.flat_map(|message| stream::iter(message.unwrap_or_default().items));
    let decided = items
        .map(move |item| answer(Arc::clone(&brain), item))
        .buffer_unordered(DECIDED_MAX)
        .ready_chunks(ITEMS_MAX)
        .map(|items| Ok(ForwardAnswers { items }));
    Box::pin(decided)
}

async fn answer(brain: Arc<Brain>, item: ForwardItem) -> ForwardAnswer {
    let number = item.number;
    let decided = match serde_json::from_slice::<Submission>(&item.submission) {
        Ok(submission) => lead(&brain, submission).await,
        Err(error) => {
            Err(Problem::new(Code::Usage, format!("the submission cannot be read: {error}")))
        }
    };
    let json = "a reply and a problem are plain values";
    match decided {
        Ok(reply) => {
            let reply = serde_json::to_vec(&reply).expect(json).into();
            ForwardAnswer { number, reply, ..ForwardAnswer::default() }
        }
        Err(problem) => {
            let problem = serde_json::to_vec(&problem).expect(json).into();
            ForwardAnswer { number, problem, ..ForwardAnswer::default() }
        }
    }
}
