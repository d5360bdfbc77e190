//! Where a service's output goes: a file it writes to directly, so that the agent may come and go.
//!
//! Bounded by copy-and-truncate: the process keeps its file open (for appending, so that it goes
//! on at the new end), hence renaming alone would bound nothing. Lines written between the copy
//! and the truncation are lost; of the rest, the newest one to two limits are kept.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Size at which the file is moved aside: with the one moved aside, 32 MiB for each service.
const LOG_BYTES_MAX: u64 = 16 << 20;
/// Time between looks at the size.
pub(super) const LOG_LOOK_EVERY: Duration = Duration::from_secs(10);

const CURRENT: &str = "output.log";
const PREVIOUS: &str = "output.log.1";

/// Opens the log for a process that is about to start.
pub(super) fn open(dir: &Path) -> io::Result<File> {
    trim(dir)?;
    OpenOptions::new().append(true).create(true).mode(0o640).open(dir.join(CURRENT))
}

/// Moves the output aside if it has grown too large.
pub(super) fn trim(dir: &Path) -> io::Result<()> {
    trim_above(dir, LOG_BYTES_MAX)
}

fn trim_above(dir: &Path, bytes_max: u64) -> io::Result<()> {
    let current = dir.join(CURRENT);
    match fs::metadata(&current) {
        Ok(metadata) if metadata.len() > bytes_max => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    // A full disk must not keep the log from being cut: then the old half is given up.
    let copied = fs::copy(&current, dir.join(PREVIOUS));
    if copied.is_err() {
        fs::remove_file(dir.join(PREVIOUS)).or_else(|error| {
            if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
        })?;
    }
    OpenOptions::new().write(true).open(&current)?.set_len(0)
}

/// Returns the file that holds the newest output.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join(CURRENT)
}

/// Returns device and inode of the newest output, by which a process of the service is known.
pub(super) fn inode(dir: &Path) -> Option<(u64, u64)> {
    fs::metadata(dir.join(CURRENT)).ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_writer_that_never_reopens_goes_on_after_the_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = open(dir.path()).unwrap();
        let before = inode(dir.path());
        writer.write_all(b"old output\n").unwrap();
        trim_above(dir.path(), 100).unwrap();
        assert!(!dir.path().join(PREVIOUS).exists());
        trim_above(dir.path(), 5).unwrap();
        writer.write_all(b"new\n").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(CURRENT)).unwrap(), "new\n");
        assert_eq!(fs::read_to_string(dir.path().join(PREVIOUS)).unwrap(), "old output\n");
        assert_eq!(inode(dir.path()), before);
    }
}
