//! Linearizability: the log is the one order of all writes, and every answer, a read's or a
//! write's, comes from a place in it that is not before what had been told when it was asked for.

use super::{Look, Moment, Scene};
use crate::raft_sim::scene::Told;

#[derive(Debug)]
pub(super) struct Reads;

impl Look for Reads {
    fn look(&mut self, scene: &Scene, moment: &Moment) -> Result<(), String> {
        let Moment::Told(told) = moment else { return Ok(()) };
        match told {
            Told::Written { written, floor } if written.index <= *floor => {
                Err(format!("{written:?} began after {floor} had been told, and was put before it"))
            }
            Told::Read { client, last, floor, .. } if last < floor => Err(format!(
                "client {client} read the state of {last}, but {floor} had been told before"
            )),
            Told::Read { client, last, digest, .. } => match scene.truth.digests.get(last) {
                Some(wanted) if wanted != digest => Err(format!(
                    "client {client} read a state that the log does not give at {last}"
                )),
                _ => Ok(()),
            },
            Told::Written { .. } => Ok(()),
        }
    }
}
