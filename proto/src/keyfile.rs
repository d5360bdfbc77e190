//! Files for keys and certificates: private by mode, replaced in one step, durable.
//!
//! Used by the daemons and the operator's command; the rest of this crate touches no files. A
//! file is written beside its target, synced, renamed over it and the directory synced, so that a
//! crash leaves the old content or the new one, never a part.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Mode of a file that holds a secret.
const PRIVATE_FILE: u32 = 0o600;
/// Mode of a file that anybody may read.
const PUBLIC_FILE: u32 = 0o644;
/// Mode of a directory that holds secrets.
const PRIVATE_DIR: u32 = 0o700;
/// Largest file that is read; keys and chains take a few KiB.
pub const FILE_LEN_MAX: u64 = 64 * 1024;

/// Tells what could not be done with which file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot {what} {path}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may read a secret.
    #[error(
        "{path} may be read by others (mode {mode:o}): run `chmod 600 {path}`",
        path = path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Far larger than any key or chain.
    #[error("{path} is larger than {FILE_LEN_MAX} bytes", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// Makes a directory, and those above it, that only the owner can enter.
pub fn create_private_dir(path: &Path) -> Result<(), FileError> {
    let made = DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(path);
    made.map_err(|source| failed("create directory", path, source))
}

/// Replaces a file with `bytes`, readable by the owner alone.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write(path, bytes, PRIVATE_FILE)
}

/// Replaces a file with `bytes`, readable by everybody.
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write(path, bytes, PUBLIC_FILE)
}

/// Reads a secret, refusing one that others may read too.
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let file = File::open(path).map_err(|source| failed("open", path, source))?;
    let metadata = file.metadata().map_err(|source| failed("inspect", path, source))?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::Exposed { path: path.to_owned(), mode });
    }
    read(&file, path)
}

/// Reads a file that holds no secret.
pub fn read_public(path: &Path) -> Result<Vec<u8>, FileError> {
    let file = File::open(path).map_err(|source| failed("open", path, source))?;
    Ok(read(&file, path)?.to_vec())
}

fn read(file: &File, path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let taken = file.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes);
    taken.map_err(|source| failed("read", path, source))?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= FILE_LEN_MAX) {
        Ok(bytes)
    } else {
        Err(FileError::TooLarge { path: path.to_owned() })
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // Left by a crash; it may have another mode, so it is not reused.
    match fs::remove_file(&beside) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &beside, source));
        }
        _ => {}
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|source| failed("write", &beside, source))?;
    fs::rename(&beside, path).map_err(|source| failed("replace", path, source))?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|source| failed("sync", dir, source))
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> FileError {
    FileError::Io { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_written_for_its_owner_alone_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("a/keys");
        create_private_dir(&keys).unwrap();
        create_private_dir(&keys).unwrap();
        assert_eq!(fs::metadata(&keys).unwrap().mode() & 0o777, 0o700);
        let path = keys.join("agent.key");
        for content in [b"one".as_slice(), b"two"] {
            write_private(&path, content).unwrap();
            assert_eq!(read_private(&path).unwrap().as_slice(), content);
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&keys).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn a_leftover_of_a_crash_neither_blocks_nor_exposes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.key");
        let leftover = dir.path().join("agent.key.new");
        fs::write(&leftover, "part").unwrap();
        fs::set_permissions(&leftover, fs::Permissions::from_mode(0o666)).unwrap();
        write_private(&path, b"whole").unwrap();
        assert_eq!(read_private(&path).unwrap().as_slice(), b"whole");
    }

    #[test]
    fn refuses_a_secret_that_others_may_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.key");
        write_public(&path, b"x").unwrap();
        let error = read_private(&path).unwrap_err();
        assert!(matches!(error, FileError::Exposed { mode: 0o644, .. }), "{error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn refuses_a_file_that_is_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge");
        write_private(&path, &vec![0; 64 * 1024 + 1]).unwrap();
        assert!(matches!(read_private(&path), Err(FileError::TooLarge { .. })));
        assert!(matches!(read_public(&dir.path().join("none")), Err(FileError::Io { .. })));
    }
}
