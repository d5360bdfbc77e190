//! Applies what was found on checklists, by the leader and by people.

use trireme_proto::id::{ChecklistId, ItemId, RunId};
use trireme_proto::model::{Ask, By, Checklist, Link};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::WallTime;
use trireme_proto::view::Change;

use super::Context;
use crate::state::checklist::{
    Answer, ChecklistStep, Closed, Findings, Found, ItemRecord, ListRecord, Run, Tally,
};
use crate::state::command::Outcome;
use crate::state::fleet::Fleet;

/// Checklists at once: the leader looks at each every second.
const LISTS_MAX: usize = 50;

/// Runs that are kept of each: two months of days, a year of weeks. The audit keeps more. What is
/// over is forgotten first, so that nothing open is lost as long as anything is closed.
const RUNS_KEPT: usize = 60;

/// Longest text that is kept of what was seen or said, in characters.
const TEXT_MAX: usize = 500;

pub(super) fn step(
    fleet: &mut Fleet,
    context: &Context<'_>,
    step: &ChecklistStep,
) -> Result<Outcome, Problem> {
    match step {
        ChecklistStep::Open { checklist, period, due, ends, findings } => {
            open(fleet, context, checklist, (period, *due, *ends), findings)
        }
        ChecklistStep::Run { checklist, findings } => run(fleet, context, checklist, findings),
        ChecklistStep::Answer { checklist, run, item, answer, review } => {
            let record = find(fleet, checklist)?;
            let run = open_run(record, checklist, *run)?;
            let found = answered(run, context, (checklist, item), answer, *review)?;
            let item = run.items.iter_mut().find(|record| record.item.name == *item);
            if let Some(item) = item {
                item.found = Some(found);
            }
            end_if_well(run, context);
            Ok(Outcome::Checked(Tally::of(run)))
        }
        ChecklistStep::Close { checklist, run, note } => {
            let record = find(fleet, checklist)?;
            let run = open_run(record, checklist, *run)?;
            close(run, context, checklist, note)?;
            Ok(Outcome::Checked(Tally::of(run)))
        }
    }
}

/// Declares a checklist; its runs stay as they are.
pub(super) fn put(fleet: &mut Fleet, list: &Checklist) -> Result<Change, Problem> {
    let (revision, wall, count) = (fleet.revision, fleet.wall, fleet.checklists.len());
    let Some(record) = fleet.checklists.get_mut(&list.name) else {
        if count >= LISTS_MAX {
            let message = format!("there are {LISTS_MAX} checklists already");
            return Err(Problem::new(Code::Conflict, message)
                .hint("delete one: trictl delete checklist NAME"));
        }
        let manifest = list.clone();
        let (since, last_due, runs) = (wall, WallTime::default(), Vec::new());
        let record = ListRecord { manifest, revision, since, last_due, runs };
        fleet.checklists.insert(list.name.clone(), record);
        return Ok(Change::Created);
    };
    if record.manifest == *list {
        return Ok(Change::Unchanged);
    }
    if record.manifest.schedule != list.schedule {
        record.since = wall;
    }
    (record.manifest, record.revision) = (list.clone(), revision);
    Ok(Change::Changed)
}

/// Refuses a checklist about a service, a check or a region that does not exist.
pub(super) fn check(fleet: &Fleet, list: &Checklist) -> Result<(), Problem> {
    let missing = |kind: &str, name: &str| {
        let message = format!("checklist {} names {kind} {name}, which does not exist", list.name);
        Err(Problem::new(Code::NotFound, message)
            .hint(format!("apply the {kind} with it, or before it")))
    };
    for item in &list.items {
        let services = match &item.by {
            By::Serving(served) => served.services.as_slice(),
            By::Alerts(quiet) => quiet.services.as_slice(),
            By::Check(passing) => {
                let known = fleet.services.get(&passing.service).is_some_and(|record| {
                    record.manifest.checks.iter().any(|check| check.name == passing.check)
                });
                if !known {
                    return missing("check", &format!("{}/{}", passing.service, passing.check));
                }
                &[]
            }
            By::Nodes(nodes) => {
                let unknown = nodes.regions.iter().find(|one| !fleet.regions.contains_key(*one));
                if let Some(region) = unknown {
                    return missing("region", region.as_str());
                }
                &[]
            }
            By::Fact(_) | By::Ask(_) => &[],
        };
        if let Some(service) = services.iter().find(|one| !fleet.services.contains_key(*one)) {
            return missing("service", service.as_str());
        }
    }
    Ok(())
}

fn find<'f>(fleet: &'f mut Fleet, name: &ChecklistId) -> Result<&'f mut ListRecord, Problem> {
    fleet.checklists.get_mut(name).ok_or_else(|| {
        Problem::new(Code::NotFound, format!("there is no checklist {name}"))
            .hint("list them: trictl checklist list")
    })
}

/// Returns the run that is meant, if it is open.
fn open_run<'f>(
    record: &'f mut ListRecord,
    name: &ChecklistId,
    id: Option<RunId>,
) -> Result<&'f mut Run, Problem> {
    let meant = |run: &&mut Run| id.map_or(run.closed.is_none(), |id| run.id == id);
    let list = format!("trictl checklist show {name}");
    match (record.runs.iter_mut().rev().find(meant), id) {
        (Some(run), _) if run.closed.is_none() => Ok(run),
        (Some(run), _) => {
            let message = format!("{} of checklist {name} is closed", run.id);
            Err(Problem::new(Code::Conflict, message).hint(list))
        }
        (None, Some(id)) => {
            let message = format!("checklist {name} has no {id}");
            Err(Problem::new(Code::NotFound, message).hint(list))
        }
        (None, None) => {
            let message = format!("no run of checklist {name} is open");
            Err(Problem::new(Code::Conflict, message)
                .hint(format!("open one: trictl checklist run {name}")))
        }
    }
}

fn open(
    fleet: &mut Fleet,
    context: &Context<'_>,
    name: &ChecklistId,
    (period, due, ends): (&str, WallTime, WallTime),
    findings: &Findings,
) -> Result<Outcome, Problem> {
    let record = find(fleet, name)?;
    // Two leaders in a row may have seen that it is due; it opens once.
    let known = record.runs.iter().any(|run| run.period == period && run.ends.is_some());
    if known || due <= record.last_due {
        let message = format!("checklist {name} has opened for {period} already");
        return Err(Problem::new(Code::Conflict, message));
    }
    if findings.revision != record.revision {
        return Err(changed(name));
    }
    record.last_due = due;
    let opened = begin(fleet, context, name, (period.to_owned(), Some(ends)))?;
    find_all(opened, context, findings);
    end_if_well(opened, context);
    Ok(Outcome::Checked(Tally::of(opened)))
}

/// Looks up in the open run, or in a new one that only this person asked for.
fn run(
    fleet: &mut Fleet,
    context: &Context<'_>,
    name: &ChecklistId,
    findings: &Findings,
) -> Result<Outcome, Problem> {
    let record = find(fleet, name)?;
    let open = record.open_run().map(|run| run.id);
    if findings.run != open || (open.is_none() && findings.revision != record.revision) {
        return Err(changed(name));
    }
    let run = match open {
        Some(_) => open_run(record, name, open)?,
        None => begin(fleet, context, name, (context.command.wall.to_string(), None))?,
    };
    find_all(run, context, findings);
    end_if_well(run, context);
    Ok(Outcome::Checked(Tally::of(run)))
}

fn changed(name: &ChecklistId) -> Problem {
    let message = format!("checklist {name} changed while it was looked at");
    Problem::new(Code::Conflict, message).hint(format!("again: trictl checklist run {name}"))
}

/// Opens a run of the items as they are declared now.
fn begin<'f>(
    fleet: &'f mut Fleet,
    context: &Context<'_>,
    name: &ChecklistId,
    (period, ends): (String, Option<WallTime>),
) -> Result<&'f mut Run, Problem> {
    let id = RunId(fleet.take_id());
    let record = find(fleet, name)?;
    if record.runs.len() >= RUNS_KEPT {
        let over = record.runs.iter().position(|run| run.closed.is_some()).unwrap_or(0);
        record.runs.remove(over);
    }
    let items = record.manifest.items.iter().cloned();
    let run = Run {
        id,
        period,
        opened: context.command.wall,
        by: context.command.actor.subject.clone(),
        ends,
        items: items.map(|item| ItemRecord { item, found: None }).collect(),
        closed: None,
    };
    record.runs.push(run);
    open_run(record, name, Some(id))
}

/// Takes in what the leader found; what a person is asked is left alone.
fn find_all(run: &mut Run, context: &Context<'_>, findings: &Findings) {
    for finding in &findings.items {
        let items = run.items.iter_mut();
        let automatic = |record: &&mut ItemRecord| {
            record.item.name == finding.item && record.item.by.asked().is_none()
        };
        let Some(record) = items.into_iter().find(automatic) else { continue };
        record.found = Some(Found {
            passed: finding.passed,
            at: context.command.wall,
            actor: context.command.actor.subject.clone(),
            note: cut(&finding.seen),
            count: None,
            link: None,
        });
    }
}

/// Ends a run in which everything is done and well: there is nothing left to say.
fn end_if_well(run: &mut Run, context: &Context<'_>) {
    let well = |record: &ItemRecord| record.found.as_ref().is_some_and(|found| found.passed);
    if run.items.iter().all(well) {
        run.closed = Some(closed(context, "every item is well"));
    }
}

fn close(
    run: &mut Run,
    context: &Context<'_>,
    name: &ChecklistId,
    note: &str,
) -> Result<(), Problem> {
    let left: Vec<_> = run.left().map(|record| record.item.name.to_string()).collect();
    if let Some(first) = left.first() {
        let mut problem = Problem::new(
            Code::Conflict,
            format!(
                "{} of checklist {name} cannot be closed: nobody has looked at {}",
                run.id,
                left.join(", ")
            ),
        );
        for ask in run.left().filter_map(|record| record.item.by.asked()) {
            if let Some(link) = ask.link {
                problem = problem.because(format!("an answer must be linked to {}", link.form()));
            }
        }
        let asked = run.left().next().is_some_and(|record| record.item.by.asked().is_some());
        return Err(problem.hint(if asked {
            format!("answer it: trictl checklist answer {name} {first} --note WHAT")
        } else {
            format!("look it up: trictl checklist run {name}")
        }));
    }
    if note.trim().is_empty() {
        let failed: Vec<_> = run.failed().map(|record| record.item.name.to_string()).collect();
        let message = format!("say what is done about {}", failed.join(", "));
        return Err(Problem::new(Code::Usage, message)
            .hint(format!("trictl checklist close {name} --note WHAT")));
    }
    run.closed = Some(closed(context, note));
    Ok(())
}

fn closed(context: &Context<'_>, note: &str) -> Closed {
    let actor = context.command.actor.subject.clone();
    Closed { at: context.command.wall, actor, note: cut(note) }
}

/// Returns what a person found, if it is an answer to what was asked.
fn answered(
    run: &Run,
    context: &Context<'_>,
    (list, name): (&ChecklistId, &ItemId),
    answer: &Answer,
    review: bool,
) -> Result<Found, Problem> {
    let record = run.items.iter().find(|record| record.item.name == *name).ok_or_else(|| {
        let known: Vec<_> = run.items.iter().map(|record| record.item.name.to_string()).collect();
        Problem::new(Code::NotFound, format!("{} has no item {name}", run.id))
            .because(format!("there are {}", known.join(", ")))
    })?;
    let Some(ask) = record.item.by.asked() else {
        let message = format!("item {name} is looked up by the controllers");
        return Err(Problem::new(Code::Conflict, message)
            .because("nobody can answer it in their place")
            .hint(format!("look it up: trictl checklist run {list}")));
    };
    if ask.review != review {
        let (who, verb) = if ask.review {
            ("those who review: an auditor or an admin", "review")
        } else {
            ("those who operate", "answer")
        };
        return Err(Problem::new(Code::Denied, format!("item {name} is answered by {who}"))
            .hint(format!("one of them: trictl checklist {verb} {list} {name}")));
    }
    complete(name, ask, answer)?;
    Ok(Found {
        passed: answer.passed,
        at: context.command.wall,
        actor: context.command.actor.subject.clone(),
        note: cut(&answer.note),
        count: answer.count.map(|count| (count, cut(&answer.query))),
        link: answer.link.clone(),
    })
}

/// Refuses an answer that lacks what was asked for.
fn complete(name: &ItemId, ask: &Ask, answer: &Answer) -> Result<(), Problem> {
    let lacks = |what: String, hint: &str| {
        Err(Problem::new(Code::Usage, format!("the answer to item {name} {what}")).hint(hint))
    };
    if (ask.note || !answer.passed) && answer.note.trim().is_empty() {
        return lacks("must say what was found".to_owned(), "add --note WHAT");
    }
    if ask.count && (answer.count.is_none() || answer.query.trim().is_empty()) {
        let what = "must say by which query, and how many were found";
        return lacks(what.to_owned(), "add --query TEXT --count N");
    }
    let given = answer.link.as_deref().map(|text| (text, Link::of(text)));
    if let Some((text, None)) = given {
        let what = format!("is linked to `{}`, which is no link", cut(text));
        return lacks(what, "write drill/ID, incident-N or a URL of http or https");
    }
    let given = given.and_then(|(_, link)| link);
    let wanted = ask.link.or(ask.link_if_failed.filter(|_| !answer.passed));
    match wanted.filter(|wanted| given != Some(*wanted)) {
        Some(wanted) => {
            let what = format!("must be linked to {}", wanted.form());
            lacks(what, &format!("add --link {}", wanted.form()))
        }
        None => Ok(()),
    }
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect()
}
