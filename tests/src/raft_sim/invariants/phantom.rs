//! What is read was sent by a client, to that register.

use super::{Look, Moment, Scene};
use crate::raft_sim::scene::Told;

#[derive(Debug)]
pub(super) struct Phantom;

impl Look for Phantom {
    fn look(&mut self, scene: &Scene, moment: &Moment) -> Result<(), String> {
        let Moment::Told(Told::Read { key, found: Some(found), .. }) = moment else {
            return Ok(());
        };
        if scene.sent.get(&(found.client, found.number)) == Some(key) {
            return Ok(());
        }
        Err(format!("register {key} holds {found:?}, which nobody has written there"))
    }
}
