//! How services run this moment, asked of the host for operators: a look changes nothing.
//!
//! One file a driver; what a look finds is the same of all of them.

mod process;
mod usage;

use trireme_proto::id::ServiceId;
use trireme_proto::query::Instance;

pub(super) use self::usage::Sample;

use super::unit::Kind;
use super::{Host as _, HostError, Machine, Observation};

/// What a look at a service finds.
#[derive(Debug)]
pub struct Looked {
    /// Which driver runs it.
    pub driver: &'static str,
    /// What its supervisor says.
    pub observation: Observation,
    /// Its processes or containers.
    pub instances: Vec<Instance>,
}

impl Machine {
    /// Looks at a service; nothing is known of one that was never here.
    pub async fn look(&self, service: &ServiceId) -> Result<Option<Looked>, HostError> {
        let Some(unit) = self.unit(service) else { return Ok(None) };
        let observation = self.observe(service);
        let (driver, instances) = match unit.kind {
            Kind::Process => ("process", process::instances(service, &observation)),
            Kind::Systemd => ("systemd", process::instances(service, &observation)),
            Kind::Compose => ("compose", self.docker().instances(&unit.dir, &self.node()).await?),
        };
        Ok(Some(Looked { driver, observation, instances }))
    }
}
