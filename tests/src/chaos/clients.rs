//! Clients that write and read registers through the operators' API, and keep what they were told.
//!
//! Each speaks to one controller at a time, so that one which tells of the past is heard. A write
//! that was not answered may yet happen: its client is never used again, and a new one goes on
//! with another controller. Attempts within one request carry the same origin, as `trictl`'s do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use trireme_ctl::client::Client;
use trireme_ctl::context::Context;
use trireme_ctl::error::Failure;
use trireme_proto::model::{Object, Region};
use trireme_proto::problem::Code;
use trireme_proto::time::Span;
use trireme_proto::view::{List, Manifests, RegionView};
use trireme_proto::wire::{ApplyRequest, Consistency, GetRequest};

use super::history::{Event, History, What, Written};
use crate::sim::rng::Rng;

/// Time one request has: several round trips and a forward, far less than most faults last.
const REQUEST_WAIT: Span = Span::secs(5);
/// Pause of a client between two requests, in milliseconds.
const THINK_MS: std::ops::RangeInclusive<u64> = 50..=350;
/// Requests in a thousand that write; half of the rest of the writes depend on a revision.
const WRITES: u64 = 500;
/// Writes in a thousand that depend on the revision that was seen last.
const CONDITIONAL: u64 = 300;
/// Reads in a thousand that read everything at once.
const READS_OF_ALL: u64 = 250;

/// What all clients of a run share.
#[derive(Debug)]
pub struct Shared {
    /// As whom they ask; the addresses are not used.
    pub context: Context,
    /// Where each controller is reached, with its name.
    pub controllers: Vec<(String, String)>,
    /// Registers there are.
    pub keys: usize,
    /// What they were told.
    pub history: Arc<History>,
    clients: AtomicU64,
    values: AtomicU64,
}

impl Shared {
    /// Returns what clients share that have asked nothing yet.
    pub fn new(
        context: Context,
        controllers: Vec<(String, String)>,
        keys: usize,
        history: Arc<History>,
    ) -> Self {
        let (clients, values) = (AtomicU64::new(1), AtomicU64::new(1));
        Self { context, controllers, keys, history, clients, values }
    }

    /// Returns a new client of the controller at a position.
    pub fn client(self: &Arc<Self>, position: usize) -> Result<Asker> {
        let (through, address) = self.controllers[position % self.controllers.len()].clone();
        let context = Context { controllers: vec![address], ..self.context.clone() };
        let client = Client::new(&context, REQUEST_WAIT).map_err(|failure| told(&failure))?;
        let id = self.clients.fetch_add(1, Ordering::Relaxed);
        Ok(Asker { shared: Arc::clone(self), client, id, through })
    }
}

/// One client as the history knows it.
#[derive(Debug)]
pub struct Asker {
    shared: Arc<Shared>,
    client: Client,
    id: u64,
    through: String,
}

/// Says what a failure was.
pub fn told(failure: &Failure) -> anyhow::Error {
    match failure {
        Failure::Problem(problem) => anyhow!("{}: {}", problem.message, problem.why.join("; ")),
        Failure::Closed => anyhow!("output was closed"),
    }
}

/// Returns the name of the region that a register is a field of.
fn region(key: usize) -> String {
    format!("register-{key}")
}

fn value(region: &Region) -> Option<u64> {
    region.cloud.as_deref()?.parse().ok()
}

impl Asker {
    fn ended(&self, call: u64, what: What) {
        let (client, through) = (self.id, self.through.clone());
        let end = self.shared.history.now();
        self.shared.history.push(Event { client, call, end, through, what });
    }

    /// Writes a new value to a register; returns the revision, or `None` if nobody knows whether
    /// it was written.
    pub async fn write(&self, key: usize, base: Option<u64>) -> Option<Written> {
        let value = self.shared.values.fetch_add(1, Ordering::Relaxed);
        let name = region(key).parse().expect("it is one lower-case word and a number");
        let object = Object::Region(Region { name, cloud: Some(value.to_string()) });
        let request = ApplyRequest {
            origin: Some(self.client.origin()),
            objects: serde_json::to_vec(&[object]).unwrap_or_default().into(),
            base_revision: base.unwrap_or(0),
            dry_run: false,
        };
        let call = self.shared.history.now();
        let written = match self.client.apply(request).await {
            Ok(reply) => Written::At(reply.value.revision),
            Err(failure) => conflict(&failure).map_or(Written::Unknown, Written::Conflict),
        };
        self.ended(call, What::Write { key, value, base, written });
        (written != Written::Unknown).then_some(written)
    }

    /// Reads a register; `Err` if there was no answer.
    pub async fn read(&self, key: usize) -> Result<Option<u64>> {
        let call = self.shared.history.now();
        let found = match self.client.get::<List<RegionView>>(get("region", &region(key))).await {
            Ok(reply) => reply.value.items.first().and_then(|view| value(&view.region)),
            Err(Failure::Problem(problem)) if problem.code == Code::NotFound => None,
            Err(failure) => return Err(told(&failure)),
        };
        self.ended(call, What::Read { key, found });
        Ok(found)
    }

    /// Reads everything at once; returns the revision of it.
    pub async fn read_all(&self) -> Result<u64> {
        let call = self.shared.history.now();
        let reply = self.client.get::<Manifests>(get("", "")).await.map_err(|f| told(&f))?;
        let Manifests { revision, objects, .. } = reply.value;
        let mut found = vec![None; self.shared.keys];
        for object in &objects {
            if let Object::Region(one) = object
                && let Some(key) =
                    (0..self.shared.keys).find(|key| one.name.as_str() == region(*key))
            {
                found[key] = value(one);
            }
        }
        self.ended(call, What::ReadAll { revision, found });
        Ok(revision)
    }
}

fn get(kind: &str, name: &str) -> GetRequest {
    let consistency = Consistency::Linearizable.into();
    GetRequest { kind: kind.to_owned(), name: name.to_owned(), consistency }
}

/// Returns the revision that a write without effect was told of; anything else leaves it open.
fn conflict(failure: &Failure) -> Option<u64> {
    let Failure::Problem(problem) = failure else { return None };
    let (_, rest) = problem.message.split_once("the manifests are at revision ")?;
    let (seen, _) = rest.split_once(", not ")?;
    (problem.code == Code::Conflict).then_some(())?;
    seen.parse().ok()
}

/// Asks until told to stop; never gives up.
pub async fn run(shared: Arc<Shared>, number: usize, seed: u64, stop: CancellationToken) {
    let mut rng = Rng::new(seed ^ (0x00c1_1e47 + u64::try_from(number).unwrap_or(0)));
    let mut position = number;
    while !stop.is_cancelled() {
        let Ok(asker) = shared.client(position) else { return };
        // To be answered late is no reason to be cut off: what was asked has to be on record.
        while !stop.is_cancelled() && ask(&asker, &mut rng).await {
            let think = Duration::from_millis(rng.between(*THINK_MS.start(), *THINK_MS.end()));
            stop.run_until_cancelled(sleep(think)).await;
        }
        position += 1 + rng.below(shared.controllers.len());
    }
}

/// Asks for one thing; returns whether it was answered.
async fn ask(asker: &Asker, rng: &mut Rng) -> bool {
    let key = rng.below(asker.shared.keys);
    if !rng.chance(WRITES) {
        return if rng.chance(READS_OF_ALL) {
            asker.read_all().await.is_ok()
        } else {
            asker.read(key).await.is_ok()
        };
    }
    if !rng.chance(CONDITIONAL) {
        return asker.write(key, None).await.is_some();
    }
    match asker.read_all().await {
        Ok(revision) => asker.write(key, Some(revision)).await.is_some(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use trireme_proto::problem::Problem;

    use super::*;

    #[test]
    fn only_a_conflict_with_the_base_leaves_no_doubt() {
        let failure = |code, text: &str| Failure::Problem(Box::new(Problem::new(code, text)));
        let text = "the manifests are at revision 17, not 12";
        assert_eq!(conflict(&failure(Code::Conflict, text)), Some(17));
        assert_eq!(conflict(&failure(Code::Failed, text)), None);
        assert_eq!(conflict(&failure(Code::Conflict, "client c has gone on to 3")), None);
        assert_eq!(conflict(&failure(Code::Unreachable, "nobody answers")), None);
    }
}
