//! I13: the audit is complete and cannot be rewritten.

use trireme_controller::state::fleet::AuditHead;

use super::{Look, Moment};
use crate::sim::World;

/// Remembers the end of the chain.
#[derive(Debug, Default)]
pub(super) struct Audit {
    last: AuditHead,
}

impl Look for Audit {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        let Moment::Committed(committed) = moment else { return Ok(()) };
        let earlier = &world.log.entries;
        let repeated = committed.command.origin.as_ref().is_some_and(|(client, sequence)| {
            let older = earlier.iter().filter(|entry| entry.index < committed.index);
            older
                .filter_map(|entry| entry.command.origin.as_ref())
                .any(|(other, number)| other == client && number >= sequence)
        });
        let Some(entry) = &committed.audit else {
            let index = committed.index;
            return if repeated { Ok(()) } else { Err(format!("entry {index} was not audited")) };
        };
        if repeated {
            return Err(format!("entry {} repeats a command and was applied", committed.index));
        }
        let chained = entry.seq == self.last.seq + 1 && entry.previous == self.last.hash;
        if !chained || entry.hash != entry.computed_hash() || entry.index != committed.index {
            return Err(format!("the audit chain breaks at {entry:?}"));
        }
        self.last = AuditHead { seq: entry.seq, hash: entry.hash.clone() };
        Ok(())
    }
}
