//! Data directories on small file systems of their own, which can be filled and write-protected.
//!
//! Mounting needs root; where it is not possible the run says so loudly and goes on without.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Name of the file that takes what is left of the space.
const BALLAST: &str = "ballast";

/// What a file must be larger than the disk to fill it, were it empty.
const PAGE: usize = 4096;

/// A small file system, unmounted in the end.
#[derive(Debug)]
pub struct Disk {
    at: PathBuf,
    bytes: usize,
}

impl Disk {
    /// Mounts a file system of `bytes` at a directory that is made if need be.
    pub fn mount(at: &Path, bytes: usize) -> Result<Self> {
        fs::create_dir_all(at)?;
        let size = format!("size={bytes},mode=700");
        mount(&["-t", "tmpfs", "-o", &size, "tmpfs"], at)?;
        Ok(Self { at: at.to_owned(), bytes })
    }

    /// Takes all the space that is left.
    pub fn fill(&self) -> Result<()> {
        let filled = fs::write(self.at.join(BALLAST), vec![7; self.bytes + PAGE]);
        let kind = filled.err().map(|error| error.kind());
        ensure!(kind == Some(io::ErrorKind::StorageFull), "the disk is not full: {kind:?}");
        Ok(())
    }

    /// Gives the space back.
    pub fn free(&self) -> Result<()> {
        match fs::remove_file(self.at.join(BALLAST)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} stays full", self.at.display()))
            }
            _ => Ok(()),
        }
    }

    /// Lets nobody write; fails while somebody has a file open for writing.
    pub fn protect(&self) -> Result<()> {
        mount(&["-o", "remount,ro"], &self.at)
    }

    /// Lets everybody write again.
    pub fn unprotect(&self) -> Result<()> {
        mount(&["-o", "remount,rw"], &self.at)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: on the way out of a failed run its holder may still be there for a moment.
        let _ = Command::new("/bin/umount").arg("-l").arg(&self.at).status();
    }
}

fn mount(options: &[&str], at: &Path) -> Result<()> {
    let output = Command::new("/bin/mount").args(options).arg(at).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    ensure!(output.status.success(), "mount {} {}: {said}", options.join(" "), at.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_can_be_filled_and_protected_where_mounting_is_possible() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("data");
        let Ok(disk) = Disk::mount(&at, 1 << 20) else { return };
        disk.fill().unwrap();
        let full = fs::write(at.join("more"), [7; 8192]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        disk.free().unwrap();
        disk.free().unwrap();
        fs::write(at.join("more"), [7; 8192]).unwrap();
        let open = fs::OpenOptions::new().append(true).open(at.join("more")).unwrap();
        assert!(disk.protect().is_err(), "somebody writes");
        drop(open);
        disk.protect().unwrap();
        let refused = fs::write(at.join("again"), [7]).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem);
        disk.unprotect().unwrap();
        fs::write(at.join("again"), [7]).unwrap();
    }
}
