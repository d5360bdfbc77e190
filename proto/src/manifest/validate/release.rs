//! Releases that no node could fetch or start.

use super::{Faults, http_url};
use crate::model::{Artifact, Release};

/// Most images of one release: each is a service that is asked about and pinned on every node.
const IMAGES_MAX: usize = 64;

pub(super) fn validate(release: &Release, faults: &mut Faults) {
    match &release.artifact {
        Some(artifact) => validate_file(artifact, release, faults),
        None if release.images.is_empty() => faults.add(
            "artifact",
            "a release without a file and without images is nothing",
            "write `artifact` with url and sha256, or for the driver compose `images`",
        ),
        None => {}
    }
    if !release.images.is_empty() {
        validate_images(release, faults);
    }
    if !release.argv.is_empty() {
        faults.argv("argv", &release.argv);
    }
    faults.env("env", &release.env);
}

fn validate_file(artifact: &Artifact, release: &Release, faults: &mut Faults) {
    let url = artifact.url.as_str();
    if let Err(why) = artifact_url(url) {
        let help = "write file:///path, http://host/path or https://host/path";
        faults.add("artifact.url", format!("`{url}` {why}"), help);
    }
    if !release.images.is_empty() {
        let message = "a release is a file or images, not both";
        faults.add("artifact", message, "leave out `artifact` for the driver compose");
    }
}

fn validate_images(release: &Release, faults: &mut Faults) {
    if release.images.len() > IMAGES_MAX {
        let message = format!("{} images are more than {IMAGES_MAX}", release.images.len());
        faults.add("images", message, "make it several services of the fleet");
    }
    if !release.argv.is_empty() {
        let help = "leave out `argv`: the compose file says what each container runs";
        faults.add("argv", "images are not started by argv", help);
    }
    let letters = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    for name in release.images.keys() {
        if name.is_empty() || name.starts_with('-') || !name.bytes().all(letters) {
            let message = format!("`{name}` cannot be a service of a compose file");
            faults.add(format!("images.{name}"), message, "use letters, digits, - _ and .");
        }
    }
}

/// The digest names one file, so the address is one as well: nothing is filled in.
fn artifact_url(url: &str) -> Result<(), &'static str> {
    if url.contains(['{', '}']) {
        return Err("holds a placeholder, but is the same on every node");
    }
    match url.split_once("://") {
        Some(("file", path)) if !path.starts_with('/') => {
            Err("is not an absolute path: three slashes follow `file:`")
        }
        Some(("file", path)) if path.contains('\0') || path.ends_with('/') => Err("names no file"),
        Some(("file", _)) => Ok(()),
        Some(("http" | "https", _)) => http_url(url),
        _ => Err("has a scheme other than file, http and https"),
    }
}
