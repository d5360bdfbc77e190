//! Questions as a controller asks them, and what leaves the agent of their answers.

use bytes::Bytes;
use trireme_proto::query::LogsQuestion;
use trireme_proto::wire::agent_message::Is as Said;

use super::*;

/// Sends numbered parts for ever.
#[derive(Debug)]
struct Endless;

impl Respond for Endless {
    fn respond(&self, _: Question, outlet: Outlet) -> Answering {
        Box::pin(async move {
            for part in 0_u64.. {
                if outlet.send(&part).await.is_err() {
                    break;
                }
            }
            Ok(Ended::default())
        })
    }
}

/// Breaks.
#[derive(Debug)]
struct Broken;

impl Respond for Broken {
    fn respond(&self, _: Question, _: Outlet) -> Answering {
        Box::pin(async { panic!("as it was told to") })
    }
}

fn desk(respond: impl Respond + 'static) -> (Queries, mpsc::Receiver<AgentMessage>) {
    let (answers, answered) = mpsc::channel(2);
    (Queries::new(Arc::new(respond), answers), answered)
}

fn query(number: u64, limit_ms: u64) -> Query {
    let question = Question::Logs(LogsQuestion {
        service: "web".parse().unwrap(),
        file: None,
        tail: None,
        since: None,
        grep: None,
        follow: false,
        from: None,
    });
    let question = serde_json::to_vec(&question).unwrap().into();
    Query { number, question, limit_ms, credit: 3 }
}

async fn said(answered: &mut mpsc::Receiver<AgentMessage>) -> (u64, Result<Bytes, Ended>) {
    match answered.recv().await.unwrap().is.unwrap() {
        Said::QueryChunk(chunk) => (chunk.number, Ok(chunk.data)),
        Said::QueryEnd(end) => (end.number, Err(serde_json::from_slice(&end.end).unwrap())),
        other => panic!("{other:?}"),
    }
}

fn problem(ended: Result<Bytes, Ended>) -> Problem {
    ended.unwrap_err().problem.unwrap()
}

#[tokio::test]
async fn an_answer_sends_no_more_than_there_is_room_for() {
    let (mut queries, mut answered) = desk(Endless);
    queries.begin(&query(7, 60_000));
    for part in ["0", "1", "2"] {
        assert_eq!(said(&mut answered).await, (7, Ok(part.into())));
    }
    tokio::task::yield_now().await;
    assert!(answered.try_recv().is_err(), "there was room for three");
    queries.credit(&QueryCredit { number: 7, chunks: 1 });
    assert_eq!(said(&mut answered).await, (7, Ok("3".into())));
    queries.credit(&QueryCredit { number: 8, chunks: 9 });
    // Nobody can make it forget its bounds.
    queries.credit(&QueryCredit { number: 7, chunks: u32::MAX });
    for part in 4..68 {
        assert_eq!(said(&mut answered).await, (7, Ok(part.to_string().into())));
    }
    tokio::task::yield_now().await;
    assert!(answered.try_recv().is_err());
    queries.cancel(QueryCancel { number: 7 });
    queries.ended().await;
    queries.credit(&QueryCredit { number: 7, chunks: 1 });
    tokio::task::yield_now().await;
    assert!(answered.try_recv().is_err(), "nobody listens any more");
}

#[tokio::test]
async fn what_cannot_be_answered_is_said_and_more_than_the_limit_is_not_begun() {
    let (mut queries, mut answered) = desk(Endless);
    let unreadable =
        Query { question: Bytes::from_static(b"{\"ask\":\"rm\"}"), ..query(1, 60_000) };
    queries.begin(&unreadable);
    let refused = problem(said(&mut answered).await.1);
    assert_eq!(refused.code, Code::Usage);
    assert!(refused.message.starts_with("the agent cannot read the question"), "{refused}");
    for number in 0..NODE_QUERIES_MAX as u64 {
        let silent = Query { credit: 0, ..query(10 + number, 60_000) };
        queries.begin(&silent);
    }
    queries.begin(&query(99, 60_000));
    let (number, ended) = said(&mut answered).await;
    assert_eq!((number, problem(ended).code), (99, Code::Conflict));
    queries.cancel(QueryCancel { number: 10 });
    queries.begin(&query(100, 60_000));
    assert_eq!(said(&mut answered).await.0, 100, "there is room again");
}

#[tokio::test]
async fn an_answer_ends_at_its_limit_and_one_that_breaks_is_told() {
    let (mut queries, mut answered) = desk(Endless);
    queries.begin(&Query { credit: 0, ..query(1, 20) });
    assert_eq!(problem(said(&mut answered).await.1).code, Code::Unreachable);
    queries.ended().await;
    let (mut queries, mut answered) = desk(Broken);
    queries.begin(&query(1, 60_000));
    queries.ended().await;
    assert_eq!(problem(said(&mut answered).await.1).code, Code::Failed);
}
