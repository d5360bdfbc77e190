//! Applies what operators leave on objects for each other.

use trireme_proto::id::UpgradeId;
use trireme_proto::problem::{Code, Problem};

use super::Context;
use crate::state::command::Outcome;
use crate::state::fleet::{Fleet, Note};

/// Bytes of one note: a remark and a link, not a document.
const TEXT_MAX: usize = 1000;

/// Notes kept at once; a person reads them, and all fit into one row of a snapshot.
const NOTES_MAX: usize = 1000;

/// Leaves `text` on an object, or removes what is there if it is empty.
pub(super) fn set(
    fleet: &mut Fleet,
    context: &Context<'_>,
    object: &str,
    text: &str,
) -> Result<Outcome, Problem> {
    if text.is_empty() {
        return match fleet.notes.remove(object) {
            Some(_) => Ok(Outcome::Done),
            None => Err(Problem::new(Code::NotFound, format!("there is no note on {object}"))
                .hint("list them: trictl get note")),
        };
    }
    if text.len() > TEXT_MAX {
        let message = format!("a note of {} bytes is longer than {TEXT_MAX}", text.len());
        return Err(Problem::new(Code::Usage, message).hint("leave a link to the rest"));
    }
    if !exists(fleet, object) {
        return Err(Problem::new(Code::NotFound, format!("there is no {object}"))
            .hint("name a region, service, node or upgrade as KIND/NAME, such as service/web"));
    }
    if fleet.notes.len() >= NOTES_MAX && !fleet.notes.contains_key(object) {
        let message = format!("there are {NOTES_MAX} notes already");
        return Err(Problem::new(Code::Conflict, message)
            .hint("remove one: trictl note KIND/NAME --remove"));
    }
    let note = Note {
        text: text.to_owned(),
        actor: context.command.actor.subject.clone(),
        at: context.command.wall,
    };
    fleet.notes.insert(object.to_owned(), note);
    Ok(Outcome::Done)
}

fn exists(fleet: &Fleet, object: &str) -> bool {
    let Some((kind, name)) = object.split_once('/') else { return false };
    match kind {
        "region" => name.parse().is_ok_and(|id| fleet.regions.contains_key(&id)),
        "service" => name.parse().is_ok_and(|id| fleet.services.contains_key(&id)),
        "node" => name.parse().is_ok_and(|id| fleet.nodes.contains_key(&id)),
        "upgrade" => name.parse::<UpgradeId>().is_ok_and(|id| fleet.upgrades.contains_key(&id)),
        _ => false,
    }
}
