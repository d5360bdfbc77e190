//! One process held by a descriptor, so that a signal can never reach another one.
//!
//! Works alike for children and for processes an earlier agent started. The exit code is known
//! only of children; the number of a child stays taken until it is reaped, so its group can be
//! killed without fear up to then.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Child;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open,
    pidfd_send_signal, waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::procfs;
use super::record::{Exit, ProcessId};

/// A process that was started as the leader of its own group.
#[derive(Debug)]
pub(crate) struct Process {
    id: ProcessId,
    pid: Pid,
    fd: AsyncFd<OwnedFd>,
}

impl Process {
    /// Holds a child that has not been waited for.
    pub(crate) fn of_child(child: &Child) -> io::Result<Self> {
        let number = child.id();
        let opened = Self::open(number)?;
        let stat = procfs::stat(number).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { id: stat.id, ..opened })
    }

    /// Holds a process started earlier; `None` if it has ended, whoever has its number now.
    pub(super) fn adopt(id: ProcessId) -> io::Result<Option<Self>> {
        let opened = match Self::open(id.pid) {
            Ok(opened) => opened,
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // Read after opening: if the number still names the recorded process now, it did so when
        // the descriptor was opened.
        let is_same = procfs::stat(id.pid).is_some_and(|stat| stat.id == id && !stat.is_zombie);
        Ok(is_same.then_some(Self { id, ..opened }))
    }

    fn open(number: u32) -> io::Result<Self> {
        let pid = i32::try_from(number)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let fd = pidfd_open(pid, PidfdFlags::empty())?;
        let fd = register(fd)?;
        Ok(Self { id: ProcessId { pid: number, ticks: 0 }, pid, fd })
    }

    /// Returns by what it is known.
    pub(super) fn id(&self) -> ProcessId {
        self.id
    }

    /// Waits until it has ended.
    pub(crate) async fn exited(&self) {
        // An error means that the runtime is going, and then nobody waits any more.
        if self.fd.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns whether it has ended.
    pub(crate) fn has_exited(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// Sends it a signal; one that has ended has no use for it.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.fd.as_fd(), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills its whole group at once.
    ///
    /// Only for a process that has not ended, or a child that was not reaped: else the number
    /// may be another's.
    pub(crate) fn kill_group(&self) -> io::Result<()> {
        match kill_process_group(self.pid, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns how it ended, and lets the host forget it if it is our child; call once, after
    /// its end.
    pub(crate) fn reap(&self) -> Exit {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match waitid(WaitId::PidFd(self.fd.as_fd()), options) {
            Ok(Some(status)) => status
                .exit_status()
                .map(Exit::Code)
                .or_else(|| status.terminating_signal().map(Exit::Signal))
                .unwrap_or(Exit::Unknown),
            Ok(None) | Err(_) => Exit::Unknown,
        }
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for the sake of types that lie about their descriptor; \
              an OwnedFd owns the one that it names, and unsafe code is forbidden here"
)]
fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}
