//! Where the controllers are, as agents and operators are told.

use trireme_proto::id::ControllerId;
use trireme_proto::wire::{ControllerAddress, ControllerList};

use crate::state::Fleet;
use crate::state::fleet::Controller;

/// Returns where agents and operators find the controllers.
pub fn addresses(fleet: &Fleet) -> Vec<ControllerAddress> {
    let address = |(name, one): (&ControllerId, &Controller)| ControllerAddress {
        name: name.to_string(),
        region: one.region.to_string(),
        address: one.address.clone(),
        enrol: one.enrol.clone(),
    };
    fleet.controllers.iter().map(address).collect()
}

/// Returns the same with its place among all such lists.
pub fn listed(fleet: &Fleet) -> ControllerList {
    let removed = fleet.denied.keys().filter_map(|name| name.strip_prefix("controller/"));
    ControllerList {
        controllers: addresses(fleet),
        epoch: fleet.epoch,
        at: fleet.controllers_at,
        removed: removed.map(str::to_owned).collect(),
    }
}
