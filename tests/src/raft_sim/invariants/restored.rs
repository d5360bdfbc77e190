//! A snapshot stands for the log before it: whatever it leaves out is lost for good.

use super::{Look, Moment, Scene};
use crate::raft_sim::registers::{Fact, State};

#[derive(Debug, Default)]
pub(super) struct Restored(Vec<(u64, u64, u64)>);

impl Look for Restored {
    fn look(&mut self, scene: &Scene, moment: &Moment) -> Result<(), String> {
        match moment {
            Moment::Done(id, Fact::Restored { last, digest }) => {
                self.0.push((*id, *last, *digest));
                Ok(())
            }
            Moment::Looked(_) => {
                let known = |last: u64| last < scene.truth.next();
                let (due, later) = self.0.drain(..).partition(|(_, last, _)| known(*last));
                self.0 = later;
                let due: Vec<(u64, u64, u64)> = due;
                for (id, last, digest) in due {
                    let empty = || (last == 0).then(|| State::default().digest());
                    let wanted = scene.truth.digests.get(&last).copied().or_else(empty);
                    if wanted != Some(digest) {
                        return Err(format!(
                            "member {id} was restored to another state than the log gives at {last}"
                        ));
                    }
                }
                Ok(())
            }
            Moment::Ended if !self.0.is_empty() => {
                Err(format!("{:?} were restored from what was never committed", self.0))
            }
            _ => Ok(()),
        }
    }
}
