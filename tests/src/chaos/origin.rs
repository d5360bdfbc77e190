//! Who dials: the process of the fleet whose socket is at the other end of a connection.
//!
//! All controllers know one address for each of them, so a door alone does not tell who comes by
//! it. The system does: the socket's number stands in its table of connections, and among the
//! open files of its process.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::sleep;

use super::network::Site;

/// Looks for one guest: a process that has just been started may not be known yet.
const LOOKS_MAX: u32 = 25;
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The processes of the fleet, by the files in which their numbers are kept.
#[derive(Debug, Default)]
pub struct Origins(Vec<(PathBuf, Site)>);

/// What is kept of a daemon that runs (ctl/src/local/process.rs).
#[derive(Deserialize)]
struct Record {
    pid: u32,
}

impl Origins {
    /// Tells sites apart by the daemons whose numbers are in these files.
    pub fn new(records: Vec<(PathBuf, Site)>) -> Self {
        Self(records)
    }

    /// Finds out who has connected from `peer` to `door`; `None` if nobody who is known has.
    pub async fn find(&self, peer: SocketAddr, door: SocketAddr) -> Option<Site> {
        for _ in 0..LOOKS_MAX {
            let records = self.0.clone();
            let found = tokio::task::spawn_blocking(move || {
                let inode = socket(peer, door)?;
                records.into_iter().find(|(file, _)| has(file, inode)).map(|(_, site)| site)
            });
            if let Ok(Some(site)) = found.await {
                return Some(site);
            }
            sleep(LOOK_EVERY).await;
        }
        None
    }
}

fn has(record: &Path, inode: u64) -> bool {
    let record = fs::read(record).ok();
    let record = record.and_then(|text| serde_json::from_slice::<Record>(&text).ok());
    record.is_some_and(|record| holds(record.pid, inode))
}

/// Returns the number of the socket that is connected from `local` to `remote`.
fn socket(local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let wanted = (address(local)?, address(remote)?);
    let table = fs::read_to_string("/proc/self/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let found = (fields.next()?, fields.next()?);
        let inode = fields.nth(6)?;
        if found.0 == wanted.0 && found.1 == wanted.1 { inode.parse().ok() } else { None }
    })
}

/// Writes an address as the table does.
fn address(of: SocketAddr) -> Option<String> {
    let IpAddr::V4(ip) = of.ip() else { return None };
    // The table has the address as a number of the machine's own byte order.
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), of.port()))
}

fn holds(pid: u32, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    files
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|link| link.as_os_str().as_bytes() == wanted.as_bytes())
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_guest_is_known_by_its_process() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = listener.local_addr().unwrap();
        let _guest = TcpStream::connect(door).await.unwrap();
        let (_held, peer) = listener.accept().await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let record = |name: &str, pid: u32| {
            let file = dir.path().join(name);
            fs::write(&file, format!(r#"{{"pid":{pid},"ticks":0}}"#)).unwrap();
            file
        };
        let other = (record("other.pid", 1), Site::Controller(0));
        let gone = (dir.path().join("gone.pid"), Site::Controller(1));
        let own = (record("own.pid", std::process::id()), Site::Agent(3));
        let origins = Origins::new(vec![other.clone(), gone, own]);
        assert_eq!(origins.find(peer, door).await, Some(Site::Agent(3)));
        assert_eq!(Origins::new(vec![other]).find(peer, door).await, None, "nobody of the fleet");
    }
}
