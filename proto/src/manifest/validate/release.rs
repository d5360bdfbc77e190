//! Releases that no node could fetch or start.

use super::{Faults, http_url};
use crate::model::Release;

pub(super) fn validate(release: &Release, faults: &mut Faults) {
    let url = release.artifact.url.as_str();
    if let Err(why) = artifact_url(url) {
        let help = "write file:///path, http://host/path or https://host/path";
        faults.add("artifact.url", format!("`{url}` {why}"), help);
    }
    faults.argv("argv", &release.argv);
    faults.env("env", &release.env);
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
