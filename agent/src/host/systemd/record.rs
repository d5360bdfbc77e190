//! What is known on disk of a service's unit: written before systemd is called and after.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trireme_proto::action::RunSpec;
use trireme_proto::digest::Digest;
use trireme_proto::id::{ActionId, Version};
use trireme_proto::model::Driver;
use trireme_proto::time::Span;

use crate::host::facts::{Facts, FillError};
use crate::host::outside::Stage;

/// The content of `unit.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Digest of the specification that runs or last ran.
    pub(super) spec: Digest,
    /// Version of that, for people.
    pub(super) version: Version,
    /// How it is stopped and known again, so that this needs no other file.
    pub(super) target: Target,
    /// Action that started it.
    pub(super) action: ActionId,
    /// Boot of the host in which all this holds.
    pub(super) boot: String,
    /// How far it came.
    pub(super) stage: Stage,
    /// The unit's invocation before the start; each start has one of its own.
    pub(super) before: String,
}

/// A unit with everything that the agent lays over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Target {
    /// Its full name.
    pub(super) unit: String,
    /// Program and arguments.
    pub(super) argv: Vec<String>,
    /// Environment besides its own.
    pub(super) env: BTreeMap<String, String>,
    /// Time it has to stop.
    pub(super) stop_timeout: Span,
}

impl Target {
    /// Fills in what the release says for this node; `None` if another driver runs it.
    pub(super) fn of(spec: &RunSpec, facts: &Facts) -> Option<Result<Self, FillError>> {
        let Driver::Systemd(driver) = &spec.driver else { return None };
        let filled = || {
            let mut env = BTreeMap::new();
            for (name, template) in &spec.release.env {
                env.insert(name.clone(), facts.fill(template)?);
            }
            for (name, value) in [
                ("TRIREME_SERVICE", &facts.service),
                ("TRIREME_NODE", &facts.node),
                ("TRIREME_REGION", &facts.region),
                ("TRIREME_VERSION", &facts.version),
                ("TRIREME_ADDRESS", &facts.address),
            ] {
                env.insert(name.to_owned(), value.clone());
            }
            let argv = spec.release.argv.iter().map(|template| facts.fill(template));
            Ok(Self {
                unit: facts.fill(&driver.unit)?,
                argv: argv.collect::<Result<_, _>>()?,
                env,
                stop_timeout: driver.stop_timeout,
            })
        };
        Some(filled())
    }
}
