//! The leader changes for no reason, at any step.

use super::{Fault, World};

pub(super) const FAULT: Fault = Fault {
    name: "leader",
    what: "another controller is elected",
    weight: 2,
    strike: World::elect,
};
