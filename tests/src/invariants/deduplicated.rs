//! A client's command repeated under the same number has one effect and one answer, however often
//! it is sent, to whom, and whoever leads.

use std::collections::BTreeMap;

use trireme_controller::state::{Fleet, Outcome};

use super::{Look, Moment};
use crate::sim::World;
use crate::sim::raft::Committed;

/// Remembers the first outcome of each command, and each client's newest number.
#[derive(Debug, Default)]
pub(super) struct Deduplicated {
    first: BTreeMap<(String, u64), Outcome>,
    newest: BTreeMap<String, u64>,
}

impl Look for Deduplicated {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        match moment {
            Moment::Committed(committed) => self.committed(world, committed),
            Moment::Answered { operator, sequence, outcome } => {
                let client = &world.operators[*operator].subject;
                self.same(client, *sequence, outcome)
            }
            _ => Ok(()),
        }
    }
}

impl Deduplicated {
    fn committed(&mut self, world: &World, committed: &Committed) -> Result<(), String> {
        let Some((client, sequence)) = &committed.command.origin else { return Ok(()) };
        let newest = self.newest.entry(client.clone()).or_default();
        let late = *sequence < *newest;
        *newest = (*newest).max(*sequence);
        let key = (client.clone(), *sequence);
        if !self.first.contains_key(&key) && !late {
            self.first.insert(key, committed.reply.outcome.clone());
            return Ok(());
        }
        self.same(client, *sequence, &committed.reply.outcome)?;
        // A controller that has not applied it yet holds what was before.
        let before = world.controllers.iter().map(|controller| &controller.fleet);
        let before = before.into_iter().find(|fleet| fleet.index + 1 == committed.index);
        if before.is_some_and(|before| carried_on(before, &world.log.fleet) != world.log.fleet) {
            return Err(format!("{sequence} of {client} has had an effect a second time"));
        }
        Ok(())
    }

    fn same(&self, client: &str, sequence: u64, outcome: &Outcome) -> Result<(), String> {
        let first = self.first.get(&(client.to_owned(), sequence));
        let late = self.newest.get(client).is_some_and(|newest| *newest > sequence);
        if first == Some(outcome) || (late && matches!(outcome, Outcome::Refused(_))) {
            return Ok(());
        }
        Err(format!("{sequence} of {client} came to {first:?} and is now answered {outcome:?}"))
    }
}

/// Returns `before` with what every entry moves as it is in `after`.
fn carried_on(before: &Fleet, after: &Fleet) -> Fleet {
    let (index, term, now, wall) = (after.index, after.term, after.now, after.wall);
    Fleet { index, term, now, wall, ..before.clone() }
}
