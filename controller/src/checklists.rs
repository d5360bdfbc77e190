//! The leader's loop about checklists: what is due by the clocks of its zone opens, and what the
//! controllers can know by themselves is looked up.
//!
//! Wall time, time zones and the audit on disk are read here; what is committed carries what they
//! said, so that every controller applies the same. It remembers nothing: what was opened already
//! is part of the state.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use trireme_proto::id::ChecklistId;
use trireme_proto::model::{By, Fact, Item};
use trireme_proto::schedule::last_due;
use trireme_proto::time::WallTime;

use crate::audit::{AuditReader, PAGE_MAX};
use crate::brain::Brain;
use crate::checkpoint::reader;
use crate::clock::wall;
use crate::machine::chain;
use crate::plan::checklist::{Sight, look};
use crate::presence::WINDOW;
use crate::state::apply::SKEW_MAX;
use crate::state::checklist::{ChecklistStep, Findings, ListRecord};
use crate::state::{Body, Fleet, Outcome};
use crate::submit::{Submission, lead};

/// What is due is looked for this often; schedules are written in minutes.
const TICK: Duration = Duration::from_secs(1);

/// Pause after an opening was refused or not committed: each try is a record of the audit.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// Longest wait of a person for a leader that has just begun to look around.
const LOOK_WAIT: Duration = Duration::from_secs(2);

/// Time between two looks of such a leader.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Entries of the audit that are read for one checklist, the newest: a second or two of work.
/// `trictl audit verify` reads all of it.
const VERIFIED_MAX: u64 = 100_000;

/// Something that is due and has not opened.
#[derive(Debug)]
struct Opening {
    checklist: ChecklistId,
    period: String,
    due: WallTime,
    ends: WallTime,
}

/// Looks after checklists for as long as this controller leads.
pub async fn run(brain: Arc<Brain>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        // Before a leader has looked around, nothing could be found well.
        let (now, since) = (brain.now(), brain.presence(|presence| presence.since));
        if now <= since.after(WINDOW) {
            continue;
        }
        // A leader whose clock is off would be refused, over and over.
        if brain.skew() > SKEW_MAX {
            continue;
        }
        let wall = wall();
        for opening in brain.read(|fleet| openings(fleet, wall)) {
            let opened = tokio::select! {
                () = stop.cancelled() => return,
                opened = open(&brain, opening) => opened,
            };
            if !opened {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(REFUSED_PAUSE) => {}
                }
            }
        }
    }
}

/// Returns what is due and has not opened. Of what was missed while nobody led, the last opens.
fn openings(fleet: &Fleet, wall: WallTime) -> Vec<Opening> {
    fleet.checklists.iter().filter_map(|(name, record)| opening(name, record, wall)).collect()
}

fn opening(name: &ChecklistId, record: &ListRecord, wall: WallTime) -> Option<Opening> {
    let schedule = record.manifest.schedule.as_ref()?;
    let due = match last_due(schedule, wall) {
        Ok(due) => due?,
        Err(error) => {
            warn!(checklist = %name, %error, "a checklist does not open");
            return None;
        }
    };
    let ends = WallTime(due.at.0.saturating_add(record.manifest.window.0));
    let known = record.runs.iter().any(|run| run.period == due.period && run.ends.is_some());
    if known || due.at <= record.last_due || ends <= record.since {
        return None;
    }
    Some(Opening { checklist: name.clone(), period: due.period, due: due.at, ends })
}

/// Opens a run; returns whether that was committed and taken.
async fn open(brain: &Arc<Brain>, opening: Opening) -> bool {
    let Opening { checklist, period, due, ends } = opening;
    let findings = declared(brain, &checklist).await;
    let what = ChecklistStep::Open {
        checklist: checklist.clone(),
        period: period.clone(),
        due,
        ends,
        findings,
    };
    match lead(brain, Submission::by_controller(brain, Body::Checklist { what })).await {
        Ok(reply) => {
            if let Outcome::Refused(problem) = reply.outcome {
                warn!(%checklist, period, %problem, "a checklist did not open");
                return false;
            }
            debug!(%checklist, period, "a checklist opened");
            true
        }
        Err(problem) => {
            debug!(%checklist, period, %problem, "a checklist was not opened");
            false
        }
    }
}

/// Looks up the items as they are declared, for a new run.
async fn declared(brain: &Arc<Brain>, name: &ChecklistId) -> Findings {
    let found = brain.read(|fleet| {
        let record = fleet.checklists.get(name)?;
        Some((record.revision, record.manifest.items.clone()))
    });
    let Some((revision, items)) = found else { return Findings::default() };
    Findings { run: None, revision, items: find(brain, name, items).await }
}

/// Looks up the items of the open run, or as they are declared if none is open.
///
/// Who leads since a moment ago has not seen all nodes: what it misses is looked for a little longer.
pub async fn findings(brain: &Arc<Brain>, name: &ChecklistId) -> Findings {
    let end = Instant::now() + LOOK_WAIT;
    loop {
        let found = look_up(brain, name).await;
        let since = brain.presence(|presence| presence.since);
        let seen = brain.now() > since.after(WINDOW);
        if seen || found.items.iter().all(|one| one.passed) || Instant::now() >= end {
            return found;
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

async fn look_up(brain: &Arc<Brain>, name: &ChecklistId) -> Findings {
    let open = brain.read(|fleet| {
        let record = fleet.checklists.get(name)?;
        let run = record.open_run()?;
        let items: Vec<Item> = run.items.iter().map(|one| one.item.clone()).collect();
        Some((run.id, record.revision, items))
    });
    let Some((id, revision, items)) = open else { return declared(brain, name).await };
    Findings { run: Some(id), revision, items: find(brain, name, items).await }
}

async fn find(
    brain: &Arc<Brain>,
    name: &ChecklistId,
    items: Vec<Item>,
) -> Vec<crate::state::checklist::Finding> {
    let audit = if items.iter().any(|item| item.by == By::Fact(Fact::AuditVerified)) {
        verified(brain).await
    } else {
        Ok(String::new())
    };
    let now = brain.now();
    brain.presence(|presence| {
        brain.read(|fleet| look(Sight { fleet, presence, now, audit: &audit }, name, &items))
    })
}

/// Reads the newest entries of the audit as this controller has it, beside everything else.
async fn verified(brain: &Brain) -> Result<String, String> {
    let (head, reader) = (brain.read(|fleet| fleet.audit.clone()), reader(brain));
    let reading = tokio::task::spawn_blocking(move || verify(&reader, head.seq, &head.hash));
    reading.await.unwrap_or_else(|error| Err(format!("the audit was not read: {error}")))
}

/// Returns whether the newest entries up to number `last` are one chain that ends in `hash`.
fn verify(audit: &AuditReader, last: u64, hash: &str) -> Result<String, String> {
    let first = last.saturating_sub(VERIFIED_MAX - 1).max(1);
    let (mut next, mut previous) = (first, None::<String>);
    while next <= last {
        let page = audit.page(next, last, PAGE_MAX).map_err(|error| chain(&error))?;
        if page.is_empty() {
            return Err(format!("entry {next} of the audit is missing"));
        }
        for entry in page {
            if entry.seq != next {
                return Err(format!("entry {next} of the audit is missing"));
            }
            let follows = previous.as_ref().is_none_or(|previous| *previous == entry.previous);
            if !follows || entry.computed_hash() != entry.hash {
                return Err(format!("entry {next} of the audit was changed"));
            }
            previous = Some(entry.hash);
            next += 1;
        }
    }
    if previous.as_deref() != Some(hash) {
        return Err(format!("the audit does not end in what was applied, entry {last}"));
    }
    Ok(format!("entries {first} to {last} are one chain"))
}

#[cfg(test)]
mod tests {
    use trireme_proto::model::Object;
    use trireme_proto::time::FleetTime;
    use trireme_proto::view::AuditEntry;

    use super::*;
    use crate::audit::AuditLog;
    use crate::state::apply::Position;
    use crate::state::{Actor, Command, Evidence};

    /// 2026-11-22T09:00:00Z.
    const NINE: u64 = 1_795_338_000_000;

    fn apply(fleet: &mut Fleet, wall: u64, body: Body) -> Outcome {
        let text = String::new;
        let actor = Actor { subject: text(), role: text(), source: text(), request_id: text() };
        let skew = trireme_proto::time::Span(0);
        let (at, wall) = (FleetTime(0), WallTime(wall));
        let command = Command { at, wall, skew, actor, origin: None, body };
        let place = Position { index: fleet.index + 1, term: 1 };
        crate::state::apply(fleet, place, &command).0.outcome
    }

    fn declared_at(wall: u64, window: &str) -> Fleet {
        let yaml = format!(
            "{{kind: Checklist, name: daily, owner: ops, schedule: {{daily: {{at: \"09:00\"}}}}, \
             window: {window}, items: [{{name: a, title: A, by: {{ask: {{}}}}}}]}}"
        );
        let object = trireme_proto::manifest::parse("m", &yaml).unwrap().remove(0).value;
        assert!(matches!(object, Object::Checklist(_)));
        let mut fleet = Fleet::default();
        let objects = vec![object];
        let evidence = Evidence::default();
        apply(&mut fleet, wall, Body::Apply { base_revision: 0, objects, evidence });
        fleet
    }

    fn due(fleet: &Fleet, wall: u64) -> Vec<String> {
        openings(fleet, WallTime(wall)).into_iter().map(|one| one.period).collect()
    }

    /// DVN-02: opens when it is due, once, whoever leads.
    #[test]
    fn dvn_02_what_is_due_opens_once_and_what_was_missed_once() {
        let mut fleet = declared_at(NINE - 10 * 3_600_000, "4h");
        assert_eq!(due(&fleet, NINE - 1), [""; 0], "yesterday's was over when it was declared");
        assert_eq!(due(&fleet, NINE), ["2026-11-22"]);
        let opening = openings(&fleet, WallTime(NINE)).remove(0);
        assert_eq!((opening.due, opening.ends), (WallTime(NINE), WallTime(NINE + 4 * 3_600_000)));
        let revision = fleet.checklists.values().next().unwrap().revision;
        let Opening { checklist, period, due: at, ends } = opening;
        let findings = Findings { revision, ..Findings::default() };
        let what = ChecklistStep::Open { checklist, period, due: at, ends, findings };
        let opened = apply(&mut fleet, NINE, Body::Checklist { what });
        assert!(matches!(opened, Outcome::Checked(_)), "{opened:?}");
        assert_eq!(due(&fleet, NINE + 1000), [""; 0]);
        // Nobody led for three days: the last of them opens, and its window is over.
        assert_eq!(due(&fleet, NINE + 3 * 24 * 3_600_000 + 5 * 3_600_000), ["2026-11-25"]);
    }

    #[test]
    fn what_is_declared_within_its_window_opens_at_once() {
        let fleet = declared_at(NINE + 3_600_000, "4h");
        assert_eq!(due(&fleet, NINE + 3_600_000), ["2026-11-22"]);
        let fleet = declared_at(NINE + 3_600_000, "1h");
        assert_eq!(due(&fleet, NINE + 3_600_000), [""; 0]);
    }

    #[test]
    fn dvn_01_an_audit_that_was_edited_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut fleet = Fleet::default();
        let mut log = AuditLog::open(&dir.path().join("audit.redb")).unwrap();
        let mut entries: Vec<AuditEntry> = Vec::new();
        for _ in 0..5 {
            let body = Body::TransferLeader { to: "c1".parse().unwrap() };
            let actor = Actor {
                subject: "user/ann".to_owned(),
                role: "admin".to_owned(),
                source: "here".to_owned(),
                request_id: String::new(),
            };
            let command = Command {
                at: FleetTime(0),
                wall: WallTime(1),
                skew: trireme_proto::time::Span(0),
                actor,
                origin: None,
                body,
            };
            let place = Position { index: fleet.index + 1, term: 1 };
            let (_, effects) = crate::state::apply(&mut fleet, place, &command);
            entries.push(effects.audit.unwrap());
        }
        for entry in &entries {
            log.push(entry);
        }
        let head = fleet.audit.clone();
        let said = verify(&log.reader(), head.seq, &head.hash);
        assert_eq!(said.as_deref(), Ok("entries 1 to 5 are one chain"));
        let wrong = verify(&log.reader(), head.seq, "another").unwrap_err();
        assert_eq!(wrong, "the audit does not end in what was applied, entry 5");
        let missing = verify(&log.reader(), 6, &head.hash).unwrap_err();
        assert_eq!(missing, "entry 6 of the audit is missing");
        entries[2].actor = "user/eve".to_owned();
        log.push(&entries[2]);
        let changed = verify(&log.reader(), head.seq, &head.hash).unwrap_err();
        assert_eq!(changed, "entry 3 of the audit was changed");
        entries[2] = entries[2].clone().sealed();
        log.push(&entries[2]);
        let anew = verify(&log.reader(), head.seq, &head.hash).unwrap_err();
        assert_eq!(anew, "entry 4 of the audit was changed");
    }
}
