//! Opens files that services write, without being led elsewhere.
//!
//! Services own the directories of their logs, and the agent may read more than they may: what is
//! opened must therefore be the file of that very path. No part of it may be a symbolic link, and
//! the file itself must be an ordinary one that has no second name.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, openat};

use super::LinesError;

/// Opens the file at an absolute path; `None` if there is none.
pub(super) fn open(path: &Path) -> Result<Option<File>, LinesError> {
    let refused = |why| LinesError::Refused { path: path.to_owned(), why };
    let failed = |source: io::Error| LinesError::Io { path: path.to_owned(), source };
    if !path.is_absolute() {
        return Err(refused("is not absolute"));
    }
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::RootDir => {}
            Component::Normal(name) => names.push(name),
            _ => return Err(refused("leads out of its directory")),
        }
    }
    let Some((last, directories)) = names.split_last() else {
        return Err(refused("names no file"));
    };
    let step = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let end = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let root =
        rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mut at: OwnedFd = root.map_err(|error| failed(error.into()))?;
    let entries = directories.iter().map(|name| (name, step)).chain([(last, end)]);
    for (name, flags) in entries {
        at = match openat(&at, *name, flags, Mode::empty()) {
            Ok(opened) => opened,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            // A link where a directory or a file was declared.
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
                return Err(refused(
                    "goes through a symbolic link, or through what is no directory",
                ));
            }
            Err(error) => return Err(failed(error.into())),
        };
    }
    let file = File::from(at);
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(refused("is no ordinary file"));
    }
    if metadata.nlink() > 1 {
        return Err(refused("has a second name, under which it may be another's file"));
    }
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn refusal(path: &Path) -> String {
        open(path).unwrap_err().to_string()
    }

    /// B2: no way that a service could prepare leads the agent to another file.
    #[test]
    fn opens_that_very_file_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (secret, log) = (root.join("secret"), root.join("log"));
        fs::create_dir(&log).unwrap();
        fs::write(&secret, "s3cret").unwrap();
        fs::write(log.join("good"), "fine\n").unwrap();
        assert!(open(&log.join("good")).unwrap().is_some());
        assert!(open(&log.join("absent")).unwrap().is_none());
        assert!(open(&root.join("absent/good")).unwrap().is_none());

        symlink(&secret, log.join("link")).unwrap();
        assert!(refusal(&log.join("link")).ends_with("through what is no directory"));
        symlink(&root, root.join("way")).unwrap();
        assert!(refusal(&root.join("way/secret")).contains("symbolic link"));
        fs::hard_link(&secret, log.join("hard")).unwrap();
        assert!(refusal(&log.join("hard")).contains("a second name"));
        assert!(refusal(&log.join("../secret")).contains("leads out of its directory"));
        assert!(refusal(&log).contains("no ordinary file"));
        assert!(refusal(Path::new("secret")).contains("is not absolute"));
        assert!(refusal(Path::new("/")).contains("names no file"));
        let pipe = log.join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        // Must not wait for a writer either.
        assert!(refusal(&pipe).contains("no ordinary file"));
    }
}
