//! Controllers beyond those that a local fleet was made with: prepared as an operator prepares one,
//! and left to be started and taken in.

use std::fs;

use trireme_proto::id::ControllerId;
use trireme_proto::keyfile::{create_private_dir, write_private};
use trireme_proto::pki::Root;

use super::super::error::LocalError;
use super::super::identity;
use super::super::programs::run;
use super::super::slot;
use super::{Fleet, Shape, controller};

impl Fleet {
    /// Makes the files and the identity of one controller more, in the region that is next; starts
    /// nothing. Kept while this value lives.
    pub async fn prepare_controller(&mut self) -> Result<ControllerId, LocalError> {
        let number = u8::try_from(self.controllers.len() + 1).unwrap_or(u8::MAX);
        let place = Shape::controller(self.record.slot, number);
        slot::free(vec![place.peer(), place.api(), place.enrol(), place.dns()])?;
        let name = place.name.clone();
        self.write_controller(&place)?;
        self.controllers.push(controller(&self.files, &self.programs, place));
        let root = identity::load_root(&self.files, &self.record.shape.fleet)?;
        self.identify(&root, &name).await?;
        Ok(name)
    }

    /// Empties the disk of a controller that does not run, and prepares it anew under another Raft
    /// id, as an operator does before a repair.
    pub async fn prepare_again(
        &mut self,
        name: &ControllerId,
        raft_id: u64,
    ) -> Result<(), LocalError> {
        let places = (1..=u8::try_from(self.controllers.len()).unwrap_or(u8::MAX))
            .map(|number| Shape::controller(self.record.slot, number));
        let Some(mut place) = places.into_iter().find(|place| place.name == *name) else {
            return Err(LocalError::NoFleet(self.files.controller(name)));
        };
        place.raft_id = raft_id;
        let data = self.files.controller(name).join("data");
        fs::remove_dir_all(&data).map_err(LocalError::io("empty", &data))?;
        self.write_controller(&place)?;
        let root = identity::load_root(&self.files, &self.record.shape.fleet)?;
        self.identify(&root, name).await
    }

    /// Writes the configuration of a controller.
    pub(super) fn write_controller(
        &self,
        place: &super::layout::ControllerPlace,
    ) -> Result<(), LocalError> {
        let dir = self.files.controller(&place.name);
        create_private_dir(&dir)?;
        let slot = self.record.slot;
        let config = self.record.shape.controller_config(slot, place, &dir.join("data"));
        Ok(write_private(&dir.join("controller.yaml"), config.as_bytes())?)
    }

    /// Gives a controller its right to issue.
    pub(super) async fn identify(
        &self,
        root: &Root,
        name: &ControllerId,
    ) -> Result<(), LocalError> {
        let dir = self.files.controller(name);
        let config = dir.join("controller.yaml").display().to_string();
        let program = &self.programs.controller;
        let request = run(program, &["request", "--config", &config]).await?;
        let issuing = dir.join("issuing.crt");
        identity::sign(root, name, request.as_bytes(), &issuing)?;
        let (root, issuing) = (self.files.ca().join("root.pem"), issuing.display().to_string());
        let root = root.display().to_string();
        let install = ["install", "--config", &config, "--root", &root, "--issuing", &issuing];
        run(program, &install).await.map(drop)
    }
}
