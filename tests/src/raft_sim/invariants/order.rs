//! The marks of one member stand in order.

use super::{Look, Moment, Scene};

#[derive(Debug)]
pub(super) struct Order;

impl Look for Order {
    fn look(&mut self, scene: &Scene, moment: &Moment) -> Result<(), String> {
        let Moment::Looked(id) = moment else { return Ok(()) };
        let Some(glance) = &scene.members[id].glance else { return Ok(()) };
        let marks = [
            glance.purged.map(|it| it.index),
            glance.snapshot.map(|it| it.index),
            glance.applied.map(|it| it.index),
            glance.committed.map(|it| it.index),
            glance.last,
        ];
        if marks.is_sorted() {
            return Ok(());
        }
        Err(format!("member {id}: purged, snapshot, applied, committed, last are {marks:?}"))
    }
}
