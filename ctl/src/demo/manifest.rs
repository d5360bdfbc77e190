//! What the demo declares: the manifest that `deploy/` holds, and the artifacts it speaks of.
//!
//! An artifact is a small JSON file: it is what a release behaves like, so its digest is the
//! release's own.

use std::fs;
use std::path::Path;

use trireme_proto::digest::Digest;
use trireme_proto::manifest::parse;
use trireme_proto::model::{Object, Service};
use trireme_proto::problem::Problem;

use super::service::Behaviour;
use crate::error::failed;

/// The manifest as operators can read it.
const TEMPLATE: &str = include_str!("../../../deploy/demo.yaml");
/// Name that errors in it are told with.
const NAME: &str = "deploy/demo.yaml";
/// Work of one request: long enough that a pause of a busy machine does not drown it.
const WORK_MS: u64 = 8;

/// Releases of the demo, in the order they appear.
pub(super) const FIRST: &str = "1.0.0";
/// The one that replaces it.
pub(super) const GOOD: &str = "1.1.0";
/// The one that never becomes healthy.
pub(super) const BAD: &str = "1.2.0";
/// The one in whose upgrade the leader dies.
pub(super) const NEXT: &str = "1.3.0";
/// The one that is refused.
pub(super) const REFUSED: &str = "1.4.0";

const VERSIONS: [&str; 5] = [FIRST, GOOD, BAD, NEXT, REFUSED];

/// Writes the artifacts to `dir` and returns everything that is declared.
pub(super) fn objects(dir: &Path, trictl: &Path) -> Result<Vec<Object>, Problem> {
    let io = |error: std::io::Error| failed("the demo's artifacts cannot be written", &error);
    fs::create_dir_all(dir).map_err(io)?;
    let mut text = TEMPLATE
        .replace("@artifacts@", &dir.display().to_string())
        .replace("@trictl@", &trictl.display().to_string());
    for version in VERSIONS {
        let artifact = artifact(version);
        fs::write(dir.join(format!("web-{version}.json")), &artifact).map_err(io)?;
        let digest = Digest::of(&artifact).to_string();
        text = text.replace(&format!("@sha256:{version}@"), &digest);
    }
    let objects = parse(NAME, &text).map_err(|error| Problem::from(&error))?;
    Ok(objects.into_iter().map(|object| object.value).collect())
}

fn artifact(version: &str) -> Vec<u8> {
    let health = if version == BAD { 500 } else { 200 };
    let behaviour = Behaviour { version: version.to_owned(), health, work_ms: WORK_MS };
    serde_json::to_vec_pretty(&behaviour).unwrap_or_default()
}

/// Returns the service that is upgraded.
pub(super) fn service(objects: &[Object]) -> Option<&Service> {
    objects.iter().find_map(|object| match object {
        Object::Service(service) => Some(service),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use trireme_proto::manifest::{Known, validate_set};

    use super::*;

    #[test]
    fn the_manifest_is_valid_and_complete() {
        let dir = tempfile::tempdir().unwrap();
        let objects = objects(dir.path(), Path::new("/usr/bin/trictl")).unwrap();
        assert_eq!(validate_set(&objects, &Known::default()), []);
        let releases = objects.iter().filter(|object| object.kind() == "Release").count();
        assert_eq!(releases, VERSIONS.len());
        assert_eq!(service(&objects).unwrap().name.as_str(), "web");
        let artifact = fs::read(dir.path().join("web-1.2.0.json")).unwrap();
        let bad: Behaviour = serde_json::from_slice(&artifact).unwrap();
        assert_eq!((bad.version.as_str(), bad.health), (BAD, 500));
    }
}
