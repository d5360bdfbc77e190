//! The pins of a project: which image, by digest, each of its services runs.
//!
//! They are a compose file of their own, laid over the operator's, which is never written:
//!
//! ```text
//! services/<service>/
//!   releases/<digest>/pins.yaml   of one release; there once its images are
//!   pins.yaml                     of the release that is pointed at: what compose is given
//!   pins.previous.yaml            what stood there before
//! ```

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;

use trireme_proto::action::RunSpec;

use crate::host::layout::ServiceDir;
use crate::host::{HostError, durable, release_name};

/// Returns where the pins that hold lie.
pub(super) fn path(dir: &ServiceDir) -> PathBuf {
    dir.file("pins.yaml")
}

fn previous_path(dir: &ServiceDir) -> PathBuf {
    dir.file("pins.previous.yaml")
}

/// Returns where the pins of one release lie, pointed at or not.
pub(super) fn of_release(dir: &ServiceDir, spec: &RunSpec) -> PathBuf {
    dir.in_release(&spec.digest(), "pins.yaml")
}

/// Returns the pins of a release as compose reads them.
///
/// Nothing needs escaping: names and images were read with grammars that leave quotes out.
pub(super) fn render(spec: &RunSpec) -> String {
    let mut text = format!(
        "# Images of release {}, pinned by the Trireme agent. Upgrades replace this file.\n\
         services:\n",
        release_name(spec)
    );
    for (service, image) in &spec.release.images {
        let _ = write!(text, "  \"{service}\":\n    image: \"{image}\"\n");
    }
    text
}

/// Writes the pins of a release beside what else is kept of it.
pub(super) fn stage(dir: &ServiceDir, spec: &RunSpec) -> Result<(), HostError> {
    let path = of_release(dir, spec);
    durable::replace(&path, render(spec).as_bytes()).map_err(HostError::io("write", path))
}

/// Removes the pins of a release whose images did not come.
pub(super) fn unstage(dir: &ServiceDir, spec: &RunSpec) -> Result<(), HostError> {
    let path = of_release(dir, spec);
    durable::remove(&path).map_err(HostError::io("remove", path))
}

/// Returns whether the pins of a release were staged.
pub(in crate::host) fn is_staged(dir: &ServiceDir, spec: &RunSpec) -> bool {
    fs::read(of_release(dir, spec)).is_ok_and(|found| found == render(spec).as_bytes())
}

/// Makes the pins of `spec`, or none, the ones that hold; keeps what held before beside them.
///
/// Each file is replaced whole, the kept one first: whenever this is cut off, what is pinned is
/// the old release or the new one, and pointing again goes on from there.
pub(in crate::host) fn point(dir: &ServiceDir, spec: Option<&RunSpec>) -> Result<(), HostError> {
    let (path, previous) = (path(dir), previous_path(dir));
    let held = read(&path)?;
    let wanted = spec.map(render);
    if held == wanted {
        return Ok(());
    }
    if let Some(held) = &held {
        durable::replace(&previous, held.as_bytes()).map_err(HostError::io("write", previous))?;
    }
    match wanted {
        Some(wanted) => {
            durable::replace(&path, wanted.as_bytes()).map_err(HostError::io("write", path))
        }
        None => durable::remove(&path).map_err(HostError::io("remove", path)),
    }
}

/// Returns whether the pins that hold are those of `spec`, or none.
pub(in crate::host) fn is_pointed(
    dir: &ServiceDir,
    spec: Option<&RunSpec>,
) -> Result<bool, HostError> {
    Ok(read(&path(dir))? == spec.map(render))
}

fn read(path: &PathBuf) -> Result<Option<String>, HostError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HostError::io("read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::support::project;

    #[test]
    fn dvn_41_a_pin_is_replaced_whole_and_the_previous_digest_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let dir = ServiceDir::new(root.path(), "dvn".parse().unwrap());
        dir.prepare().unwrap();
        let (old, new) = (project("1.0.0", 1), project("1.1.0", 2));
        let digit = |n: u8| char::from(b'0' + n).to_string().repeat(64);
        point(&dir, Some(&old)).unwrap();
        assert_eq!(
            fs::read_to_string(path(&dir)).unwrap(),
            format!(
                "# Images of release dvn@1.0.0, pinned by the Trireme agent. Upgrades replace \
                 this file.\nservices:\n  \"api\":\n    image: \"registry.example/api@sha256:{d}\"\
                 \n  \"relay\":\n    image: \"registry.example/relay@sha256:{d}\"\n",
                d = digit(1)
            )
        );
        assert!(is_pointed(&dir, Some(&old)).unwrap());
        point(&dir, Some(&new)).unwrap();
        // Once more, as after a crash: the kept one stays the one from before.
        point(&dir, Some(&new)).unwrap();
        assert!(is_pointed(&dir, Some(&new)).unwrap() && !is_pointed(&dir, Some(&old)).unwrap());
        assert_eq!(fs::read_to_string(previous_path(&dir)).unwrap(), render(&old));
        point(&dir, None).unwrap();
        assert!(is_pointed(&dir, None).unwrap());
        assert_eq!(fs::read_to_string(previous_path(&dir)).unwrap(), render(&new));
        // No unfinished file is left: each was renamed into its place.
        let names: Vec<_> =
            fs::read_dir(dir.file(".")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{names:?}");
    }
}
