//! Lines of several nodes, as one answer to an operator.
//!
//! Each source is read by a question of its own. One that breaks off is asked again from where it
//! was left off, wherever the node is connected by then: neither a restart of a service nor the
//! loss of a controller loses a line or shows one twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::Status;
use trireme_proto::id::NodeId;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::query::{
    Ended, FILES_MAX, LogEvent, LogPiece, LogView, LogsQuestion, LogsRequest, Question,
    SERVICES_MAX, Totals,
};
use trireme_proto::time::Span;
use trireme_proto::wire::Event;

use super::merge::{Held, Merge};
use super::targets::unplaced;
use super::{Part, Queries, Reply};
use crate::state::Fleet;

/// Sources of one request: what a person can read, and what their parts may take of memory.
const SOURCES_MAX: usize = 64;

/// A node that says nothing within this is silent; agents say something at once.
const FIRST_WAIT: Duration = Duration::from_secs(3);

/// Longest wait for the next part of an answer that has an end.
const NEXT_WAIT: Duration = Duration::from_secs(30);

/// Longest that one question is open; then it is asked again from where it was left off.
const QUESTION_MAX: Span = Span::secs(600);

/// Longest that an operator's request is answered: certificates and roles are looked at anew when
/// it is asked again, which `trictl` does by itself.
const REQUEST_MAX: Duration = Duration::from_hours(1);

/// Time between two looks for a node that has gone.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Times that a source which is not followed may break off.
const BREAKS_MAX: u32 = 3;

/// How long a line waits for older ones of other sources that are being written.
const HOLD: Duration = Duration::from_millis(250);

/// Lines in one event.
const LINES_MAX: usize = 200;

/// What a request asks of which nodes, once it is found to make sense.
#[derive(Debug)]
pub struct Sources {
    questions: Vec<(NodeId, LogsQuestion)>,
    /// Nodes that were named and cannot be asked, with the reason.
    unknown: BTreeMap<NodeId, String>,
}

impl Sources {
    /// Finds the sources that a request is about.
    pub fn find(fleet: &Fleet, request: &LogsRequest) -> Result<Self, Problem> {
        check(fleet, request)?;
        let mut sources = Self { questions: Vec::new(), unknown: BTreeMap::new() };
        let mut placed = BTreeSet::new();
        for service in &request.services {
            let record = &fleet.services[service];
            let files: Vec<_> = request
                .files
                .iter()
                .filter(|file| record.manifest.logs.contains_key(*file))
                .map(|file| Some(file.clone()))
                .chain((!request.files_only).then_some(None))
                .collect();
            for (region, nodes) in fleet.placement(&record.manifest) {
                let here = request.region.as_ref().is_none_or(|wanted| *wanted == region);
                let wanted = |node: &&NodeId| {
                    here && (request.nodes.is_empty()
                        || request.nodes.iter().any(|name| name == node.as_str()))
                };
                for node in nodes.iter().filter(wanted) {
                    placed.insert(node.clone());
                    for file in &files {
                        let question = question(request, service, file.clone());
                        sources.questions.push((node.clone(), question));
                    }
                }
            }
        }
        for name in &request.nodes {
            let node: NodeId = name.parse().map_err(|error: trireme_proto::id::NameError| {
                Problem::new(Code::Usage, error.to_string())
            })?;
            if !placed.contains(&node) {
                let reason = unplaced(fleet, &node, request.region.as_ref());
                sources.unknown.insert(node, reason);
            }
        }
        for (node, question) in &mut sources.questions {
            question.from = request.from.get(&question.source(node)).cloned();
        }
        sources.bounded(request)
    }

    fn bounded(self, request: &LogsRequest) -> Result<Self, Problem> {
        let count = self.questions.len();
        if count > SOURCES_MAX {
            let message = format!("{count} sources are more than {SOURCES_MAX} at once");
            let hint = "name a region or nodes: --region NAME, --node NAME";
            return Err(Problem::new(Code::Usage, message).hint(hint));
        }
        if count == 0 && self.unknown.is_empty() {
            let names: Vec<_> = request.services.iter().map(ToString::to_string).collect();
            let place = request.region.as_ref().map(|region| format!(" in region {region}"));
            let message =
                format!("no node{} has {}", place.unwrap_or_default(), names.join(" or "));
            return Err(Problem::new(Code::NotFound, message).hint("list them: trictl get node"));
        }
        Ok(self)
    }
}

fn question(
    request: &LogsRequest,
    service: &trireme_proto::id::ServiceId,
    file: Option<String>,
) -> LogsQuestion {
    LogsQuestion {
        service: service.clone(),
        file,
        tail: request.tail,
        since: request.since,
        grep: request.grep.clone(),
        follow: request.follow,
        from: None,
    }
}

/// Refuses what makes no sense for any node.
fn check(fleet: &Fleet, request: &LogsRequest) -> Result<(), Problem> {
    let missing = |what: String, hint: &str| Err(Problem::new(Code::NotFound, what).hint(hint));
    let count = request.services.len();
    if count == 0 || count > SERVICES_MAX || request.files.len() > FILES_MAX {
        let message = format!("name 1 to {SERVICES_MAX} services and at most {FILES_MAX} files");
        return Err(Problem::new(Code::Usage, message));
    }
    for service in &request.services {
        if !fleet.services.contains_key(service) {
            let hint = "list them: trictl get service";
            return missing(format!("there is no service {service}"), hint);
        }
    }
    if let Some(region) = &request.region
        && !fleet.regions.contains_key(region)
    {
        return missing(format!("there is no region {region}"), "list them: trictl get region");
    }
    let logs = request.services.iter().map(|service| &fleet.services[service].manifest.logs);
    let known: BTreeSet<_> = logs.flat_map(BTreeMap::keys).collect();
    if let Some(file) = request.files.iter().find(|file| !known.contains(file)) {
        let names: Vec<_> = known.iter().map(|name| name.as_str()).collect();
        let hint = if names.is_empty() {
            "declare it under `logs` of the service: trictl explain service.logs".to_owned()
        } else {
            format!("declared are {}", names.join(", "))
        };
        let file: String = file.chars().filter(|c| !c.is_control()).take(100).collect();
        return missing(format!("no file `{file}` is declared by these services"), &hint);
    }
    if let Some(grep) = &request.grep {
        grep.compile().map_err(|error| Problem::new(Code::Usage, error.to_string()))?;
    }
    Ok(())
}

/// What happened at one source.
#[derive(Debug)]
enum Happened {
    /// Some lines.
    Piece(LogPiece),
    /// Something a reader should know; the source goes on.
    Notice(String),
    /// There is no more, for this reason if it should be otherwise.
    Over(Option<String>),
}

/// One source, read over whichever controllers it takes.
#[derive(Debug)]
struct Source {
    queries: Arc<Queries>,
    node: NodeId,
    question: LogsQuestion,
    reply: Option<Reply>,
    /// Whether the present reply has brought something.
    heard: bool,
    breaks: u32,
    /// Whether it was said that the node is gone.
    noticed: bool,
}

impl Source {
    async fn next(&mut self) -> Happened {
        loop {
            let Some(reply) = &mut self.reply else {
                match self.open().await {
                    Ok(reply) => {
                        (self.reply, self.heard) = (Some(reply), false);
                        continue;
                    }
                    Err(problem) => match self.broke(&problem).await {
                        Some(happened) => return happened,
                        None => continue,
                    },
                }
            };
            let wait = match (self.heard, self.question.follow) {
                (false, _) => FIRST_WAIT,
                (true, false) => NEXT_WAIT,
                (true, true) => QUESTION_MAX.to_duration(),
            };
            let part = match timeout(wait, reply.next()).await {
                Ok(part) => part,
                // It follows and has nothing to say; the question has its own end.
                Err(_) if self.heard && self.question.follow => continue,
                Err(_) => Some(Part::End(Ended::with(late(wait)))),
            };
            if let Some(happened) = self.take(part).await {
                return happened;
            }
        }
    }

    async fn open(&self) -> Result<Reply, Problem> {
        let places = self.queries.locate(std::slice::from_ref(&self.node)).await;
        let place = places.get(&self.node).ok_or_else(|| {
            let message = "it is not connected to any controller";
            Problem { retryable: true, ..Problem::new(Code::Unreachable, message) }
        })?;
        let question = Question::Logs(self.question.clone());
        self.queries.ask(&self.node, place, &question, QUESTION_MAX).await
    }

    async fn take(&mut self, part: Option<Part>) -> Option<Happened> {
        match part {
            Some(Part::Chunk { data, .. }) => {
                let Ok(piece) = serde_json::from_slice::<LogPiece>(&data) else {
                    return Some(Happened::Over(Some("its answer cannot be read".to_owned())));
                };
                self.heard = true;
                if let Some(at) = &piece.at {
                    self.question.from = Some(at.clone());
                }
                self.noticed = false;
                Some(Happened::Piece(piece))
            }
            Some(Part::End(Ended { problem: None })) if self.question.follow => {
                self.reply = None;
                None
            }
            Some(Part::End(Ended { problem: None })) => Some(Happened::Over(None)),
            Some(Part::End(Ended { problem: Some(problem) })) => {
                self.reply = None;
                self.broke(&problem).await
            }
            None => {
                self.reply = None;
                let message = "the way to it broke";
                let lost = Problem { retryable: true, ..Problem::new(Code::Unreachable, message) };
                self.broke(&lost).await
            }
        }
    }

    /// Decides whether to ask again, after a pause.
    async fn broke(&mut self, problem: &Problem) -> Option<Happened> {
        let again = matches!(problem.code, Code::Unreachable | Code::Conflict);
        if !again {
            return Some(Happened::Over(Some(problem.message.clone())));
        }
        self.breaks += 1;
        if !self.question.follow && (self.breaks >= BREAKS_MAX || !problem.retryable) {
            return Some(Happened::Over(Some(problem.message.clone())));
        }
        if self.question.follow && !std::mem::replace(&mut self.noticed, true) {
            return Some(Happened::Notice(format!("{}; it is looked for", problem.message)));
        }
        sleep(LOOK_AGAIN).await;
        None
    }
}

fn late(wait: Duration) -> Problem {
    Problem::new(Code::Unreachable, format!("it did not answer within {wait:?}"))
}

/// Reads the sources and tells their lines in order, until they end or nobody listens.
pub async fn read(
    queries: Arc<Queries>,
    sources: Sources,
    tell: mpsc::Sender<Result<Event, Status>>,
) {
    let mut reading = Reading::new(&queries, sources);
    let finished = timeout(REQUEST_MAX, reading.run(&tell)).await;
    // At the end of its time a request that follows is asked again by who still listens.
    if finished.is_ok_and(|listened| listened) {
        let totals = reading.totals();
        let _left = tell.send(Ok(event(&LogEvent::End { totals }))).await;
    }
}

/// Sources that are being read.
#[derive(Debug)]
struct Reading {
    merge: Merge,
    /// Sources that wait until their lines are shown.
    parked: Vec<Option<Source>>,
    names: Vec<(NodeId, LogsQuestion)>,
    silent: BTreeMap<NodeId, Option<String>>,
}

impl Reading {
    fn new(queries: &Arc<Queries>, sources: Sources) -> Self {
        let source = |(node, question): &(NodeId, LogsQuestion)| {
            Some(Source {
                queries: Arc::clone(queries),
                node: node.clone(),
                question: question.clone(),
                reply: None,
                heard: false,
                breaks: 0,
                noticed: false,
            })
        };
        let unknown = sources.unknown.into_iter().map(|(node, reason)| (node, Some(reason)));
        let known = sources.questions.iter().map(|(node, _)| (node.clone(), None));
        Self {
            merge: Merge::new(sources.questions.len()),
            parked: sources.questions.iter().map(source).collect(),
            silent: known.chain(unknown).collect(),
            names: sources.questions,
        }
    }

    fn totals(&self) -> Totals {
        Totals::of(self.silent.clone())
    }

    /// Returns whether somebody listened to the end.
    async fn run(&mut self, tell: &mpsc::Sender<Result<Event, Status>>) -> bool {
        let mut under_way = FuturesUnordered::new();
        let mut hold: Option<Instant> = None;
        loop {
            let hurry = hold.is_some_and(|until| Instant::now() >= until);
            let lines = self.merge.take(hurry, LINES_MAX);
            if !lines.is_empty() {
                let lines = lines.into_iter().map(|(source, line)| self.view(source, line));
                let told = LogEvent::Lines { lines: lines.collect() };
                if tell.send(Ok(event(&told))).await.is_err() {
                    return false;
                }
                continue;
            }
            hold = match self.merge.held() {
                Held::Idle => hold.filter(|_| !hurry).or_else(|| Some(Instant::now() + HOLD)),
                Held::Nothing | Held::Reading => None,
            };
            for number in 0..self.parked.len() {
                if self.merge.wants(number)
                    && let Some(mut source) = self.parked[number].take()
                {
                    under_way.push(async move {
                        let happened = source.next().await;
                        (number, source, happened)
                    });
                }
            }
            if under_way.is_empty() && self.merge.held() == Held::Nothing {
                return true;
            }
            tokio::select! {
                Some((number, source, happened)) = under_way.next() => {
                    if let Some(notice) = self.happened(number, source, happened)
                        && tell.send(Ok(event(&notice))).await.is_err()
                    {
                        return false;
                    }
                }
                () = sleep_until(hold.unwrap_or_else(Instant::now)), if hold.is_some() => {}
                () = tell.closed() => return false,
            }
        }
    }

    /// Takes in what happened at a source; returns what is to be told besides lines.
    fn happened(&mut self, number: usize, source: Source, happened: Happened) -> Option<LogEvent> {
        let notice = |text: String| {
            let (node, question) = &self.names[number];
            LogEvent::Notice { source: question.source(node), text }
        };
        match happened {
            Happened::Piece(piece) => {
                let told = piece.notice.map(notice);
                self.merge.push(number, piece.lines);
                if piece.caught_up {
                    self.merge.idle(number);
                }
                self.parked[number] = Some(source);
                told
            }
            Happened::Notice(text) => {
                let told = notice(text);
                // Others need not wait for one that is away.
                self.merge.idle(number);
                self.parked[number] = Some(source);
                Some(told)
            }
            Happened::Over(reason) => {
                self.merge.end(number);
                if let (Some(reason), Some(silent)) = (reason, self.silent.get_mut(&source.node)) {
                    *silent = Some(reason);
                }
                None
            }
        }
    }

    fn view(&self, number: usize, line: trireme_proto::query::LogLine) -> LogView {
        let (node, question) = &self.names[number];
        LogView {
            node: node.clone(),
            service: question.service.clone(),
            file: question.file.clone(),
            line,
        }
    }
}

fn event<T: Serialize>(value: &T) -> Event {
    let json = serde_json::to_vec(value).expect("events are plain values").into();
    Event { json, ..Event::default() }
}
