//! Old and forged offers: an action that is over, the newest again, another under its fence, or a
//! true one on a view of the node that is too old.

use std::rc::Rc;

use trireme_agent::plan::NONCE_AGE_MAX;
use trireme_proto::action::Action;
use trireme_proto::time::Span;

use super::super::message::Message;
use super::super::net::Peer;
use super::{Fault, World};

pub(super) const FAULT: Fault = Fault {
    name: "forge",
    what: "offers are replayed, forged, or made on an old view",
    weight: 5,
    strike: World::forge,
};

impl World {
    /// A confused controller offers what it should not: an action that is over, the newest one
    /// again, or another one under its fence.
    fn forge(&mut self) {
        let n = self.rng.below(self.nodes.len());
        let kind = self.rng.below(3);
        let Some((c, session, nonce)) = self.session_with(n) else { return };
        let forgery = (kind..kind + 3).find_map(|kind| self.forgery(n, kind % 3));
        let Some(action) = forgery else { return };
        self.story.say(self.now, "net", || {
            format!("offers {} again to {} (an old or forged one)", action.id, action.node)
        });
        self.send(Peer::Controller(c), Peer::Node(n), Message::Offer { session, action, nonce });
    }

    /// Offers what was just committed on a view of the node that is too old.
    pub(in crate::sim) fn offer_on_an_old_view(&mut self, action: Rc<Action>) {
        let Some(n) = self.place_of(&action.node) else { return };
        let Some((c, session, _)) = self.session_with(n) else { return };
        let nonce = self.old_nonce(n);
        self.story.say(self.now, "net", || {
            format!("offers {} to {} on an old view", action.id, action.node)
        });
        self.send(Peer::Controller(c), Peer::Node(n), Message::Offer { session, action, nonce });
    }

    /// Returns a controller that node `n` is connected to, its session, and its newest nonce.
    fn session_with(&self, n: usize) -> Option<(usize, u64, u64)> {
        let mut controllers = self.controllers.iter().enumerate();
        controllers.find_map(|(c, controller)| {
            let (session, nonce) = controller.session_of(n)?;
            Some((c, session, nonce))
        })
    }

    /// Returns an action that node `n` must not take, or not take again.
    fn forgery(&self, n: usize, kind: usize) -> Option<Rc<Action>> {
        let node = &self.nodes[n];
        let last = node.agent.disk.last.as_ref()?;
        let here = || self.actions.iter().filter(|action| action.node == node.id);
        let newest = || here().find(|action| action.id == last.action).map(Rc::clone);
        match kind {
            0 => here().find(|a| a.fence.order() < last.fence.order()).map(Rc::clone),
            1 => newest(),
            _ => newest().map(|action| {
                let deadline = Span(action.deadline.0 + 1);
                Rc::new(Action { deadline, ..Action::clone(&action) })
            }),
        }
    }

    /// Returns a nonce that node `n` takes no offer for: too old, or never given.
    fn old_nonce(&self, n: usize) -> u64 {
        let node = &self.nodes[n];
        let local = node.local(self.now);
        let old = |(_, sent): &&(u64, u64)| local.saturating_sub(*sent) > NONCE_AGE_MAX;
        node.agent.nonces.iter().find(old).map_or(0, |(nonce, _)| *nonce)
    }
}
