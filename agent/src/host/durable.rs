//! Small files written so that a crash leaves the old content or the new, never half of one.
//!
//! Written beside the target, flushed, renamed over it, and the directory flushed: after the
//! call returns, power may fail.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::HostError;

/// Begins the name of every file that is not finished; such files are swept when the agent starts.
pub(super) const UNFINISHED: &str = ".unfinished-";

/// Flushes a directory, which makes the names in it durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Returns a new unfinished file in `dir`, removed when dropped.
pub(super) fn unfinished(dir: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(dir)
}

/// Replaces the file at `path` by the JSON of `value`.
pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), HostError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|source| HostError::Damaged { path: path.to_owned(), source })?;
    text.push(b'\n');
    replace(path, &text).map_err(HostError::io("write", path))
}

/// Replaces the file at `path` whole.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = unfinished(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_dir(dir)
}

/// Removes the file at `path`, if there is one.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads JSON from the file at `path`; `None` if there is no such file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, HostError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HostError::io("read", path)(error)),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|source| HostError::Damaged { path: path.to_owned(), source })
}

/// Removes what a crash left unfinished in `dir`; a directory that is not there has nothing.
pub(super) fn sweep(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_files_and_sweeps_what_a_crash_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("value.json");
        assert_eq!(read_json::<u32>(&path).unwrap(), None);
        write_json(&path, &1).unwrap();
        write_json(&path, &2).unwrap();
        fs::write(dir.path().join(".unfinished-x"), "half").unwrap();
        sweep(dir.path()).unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap(), Some(2));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(&path, "{").unwrap();
        assert!(matches!(read_json::<u32>(&path), Err(HostError::Damaged { .. })));
    }
}
