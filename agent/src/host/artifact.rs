//! Brings a release's file to the machine and proves that it is the one that was named.
//!
//! ```text
//!  file, http or https ──chunks──▶ unfinished file + SHA-256 ──digest agrees──▶ flushed, renamed
//!                                           └── anything else: removed, nothing is left
//! ```
//!
//! A file that is already there is read again in full: disks rot and people edit.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::timeout;
use trireme_proto::digest::Digest;
use trireme_proto::model::Artifact;

use super::{blocking, durable};
use crate::http::{Client, HttpError, Response, Url};

/// Largest artifact: beyond this it is an image or a mistake.
const ARTIFACT_BYTES_MAX: u64 = 8 << 30;
/// Redirects followed, as release hosts send to their stores: one or two are usual.
const REDIRECTS_MAX: u32 = 5;
/// Longest wait for a connection and the head of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest silence in the middle of a body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest download; actions have a shorter deadline of their own, this bounds the rest.
const FETCH_TIMEOUT: Duration = Duration::from_hours(1);
/// Chunks between network and disk: enough to keep both busy, little to hold in memory.
const CHUNKS_MAX: usize = 8;
/// Bytes read from a local file at once.
const READ_BYTES: usize = 128 << 10;
/// Readable and executable by all, written by none but the agent.
const MODE: u32 = 0o755;

/// What [`fetch`] had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// The right file was there already.
    Already,
    /// So many bytes were brought.
    Now {
        /// Length of the file.
        bytes: u64,
    },
    /// Images were brought to the engine.
    Images,
}

/// Tells why an artifact did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL is none that an artifact can come from.
    #[error("artifact URL {url} {why}: write file:///…, http://… or https://…")]
    Url {
        /// As written.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The server did not answer, or stopped in the middle.
    #[error("artifact {url} cannot be fetched: got {got} bytes")]
    Http {
        /// Where it was asked for.
        url: String,
        /// Bytes of the body that had come.
        got: u64,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// The server answered that it is not there.
    #[error("artifact {url} cannot be fetched: the server answered {status}")]
    Status {
        /// Where it was asked for.
        url: String,
        /// Its answer.
        status: u16,
    },
    /// The server sent us on too often, or to where we do not go.
    #[error("artifact {url} cannot be fetched: redirect to {to} {why}")]
    Redirect {
        /// Where it was asked for.
        url: String,
        /// Where the server pointed.
        to: String,
        /// Why it is not followed.
        why: &'static str,
    },
    /// Nothing came for too long.
    #[error("artifact {url} cannot be fetched: nothing came for {} s after {got} bytes", .after.as_secs())]
    Stalled {
        /// Where it was asked for.
        url: String,
        /// Bytes of the body that had come.
        got: u64,
        /// How long nothing came.
        after: Duration,
    },
    /// It is larger than any artifact should be.
    #[error("artifact {url} is larger than {ARTIFACT_BYTES_MAX} bytes")]
    TooLarge {
        /// Where it was asked for.
        url: String,
    },
    /// The local file cannot be read.
    #[error("artifact {url} cannot be read")]
    Unreadable {
        /// Where it was asked for.
        url: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is another file than the one that was named.
    #[error("artifact {url} has digest {got}, expected {expected}: nothing was kept")]
    Mismatch {
        /// Where it was asked for.
        url: String,
        /// Digest in the release.
        expected: Digest,
        /// Digest of what came.
        got: Digest,
    },
    /// There is no room for it.
    #[error("artifact does not fit: the disk of {} is full", .path.display())]
    DiskFull {
        /// Where it was to be kept.
        path: PathBuf,
    },
    /// It cannot be kept.
    #[error("artifact cannot be kept at {}", .path.display())]
    Keep {
        /// Where it was to be kept.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Makes `to` the artifact's file; its directory must exist.
pub(super) async fn fetch(
    client: &Client,
    artifact: &Artifact,
    to: &Path,
) -> Result<Fetched, FetchError> {
    let (path, expected) = (to.to_owned(), artifact.sha256);
    if blocking(move || digest_of(&path)).await.is_ok_and(|found| found == expected) {
        return Ok(Fetched::Already);
    }
    let url = artifact.url.clone();
    let incoming = if let Some(path) = url.strip_prefix("file://") {
        let source = local_path(path)
            .ok_or_else(|| FetchError::Url { url: url.clone(), why: "names no absolute path" })?;
        let (incoming, url) = (Incoming::new(to)?, url.clone());
        blocking(move || incoming.copy(&source, url)).await?
    } else {
        match timeout(FETCH_TIMEOUT, download(client, &url, to)).await {
            Ok(incoming) => incoming?,
            Err(_) => return Err(FetchError::Stalled { url, got: 0, after: FETCH_TIMEOUT }),
        }
    };
    blocking(move || incoming.finish(url, expected)).await
}

/// Returns the digest of a file.
pub(super) fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hash.finalize().into())),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// Returns the path in a file URL behind `file://`, percent escapes undone.
fn local_path(text: &str) -> Option<PathBuf> {
    let text = text.strip_prefix("localhost").unwrap_or(text);
    if !text.starts_with('/') {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(PathBuf::from(std::ffi::OsString::from(String::from_utf8(bytes).ok()?)))
}

/// Asks for the file, following redirects, and brings its body to disk.
async fn download(client: &Client, url: &str, to: &Path) -> Result<Incoming, FetchError> {
    let failed = |source| FetchError::Http { url: url.to_owned(), got: 0, source };
    let mut at = Url::parse(url).map_err(failed)?;
    for _ in 0..=REDIRECTS_MAX {
        let answer = timeout(ANSWER_TIMEOUT, client.get_url(&at)).await;
        let response = answer
            .map_err(|_| FetchError::Stalled {
                url: url.to_owned(),
                got: 0,
                after: ANSWER_TIMEOUT,
            })?
            .map_err(failed)?;
        if response.is_success() {
            return receive(response, url, to).await;
        }
        let Some(location) = response.redirect() else {
            return Err(FetchError::Status { url: url.to_owned(), status: response.status() });
        };
        let refused =
            |why| FetchError::Redirect { url: url.to_owned(), to: location.to_owned(), why };
        let next = at.join(location).map_err(|_| refused("is not an http or https URL"))?;
        if at.is_https() && !next.is_https() {
            return Err(refused("gives up encryption"));
        }
        at = next;
    }
    Err(FetchError::Redirect { url: url.to_owned(), to: at.to_string(), why: "is one too many" })
}

async fn receive(mut response: Response, url: &str, to: &Path) -> Result<Incoming, FetchError> {
    let too_large = || FetchError::TooLarge { url: url.to_owned() };
    if response.length().is_some_and(|length| length > ARTIFACT_BYTES_MAX) {
        return Err(too_large());
    }
    let incoming = Incoming::new(to)?;
    let (chunks, inbox) = mpsc::channel(CHUNKS_MAX);
    let network = async move {
        let mut got = 0;
        loop {
            match timeout(IDLE_TIMEOUT, response.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    got += chunk.len() as u64;
                    if got > ARTIFACT_BYTES_MAX {
                        return Err(too_large());
                    }
                    // The disk has given up; its error says why.
                    if chunks.send(chunk).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(source)) => {
                    return Err(FetchError::Http { url: url.to_owned(), got, source });
                }
                Err(_) => {
                    let url = url.to_owned();
                    return Err(FetchError::Stalled { url, got, after: IDLE_TIMEOUT });
                }
            }
        }
    };
    let (network, disk) = tokio::join!(network, blocking(move || incoming.drain(inbox)));
    let incoming = disk?;
    network.map(|()| incoming)
}

/// A file on its way in, removed when dropped before it is finished.
struct Incoming {
    file: tempfile::NamedTempFile,
    hash: Sha256,
    bytes: u64,
    to: PathBuf,
}

impl Incoming {
    fn new(to: &Path) -> Result<Self, FetchError> {
        let dir = to.parent().unwrap_or(Path::new("/"));
        let file = durable::unfinished(dir).map_err(|error| keep(to, error))?;
        Ok(Self { file, hash: Sha256::new(), bytes: 0, to: to.to_owned() })
    }

    fn write(&mut self, chunk: &[u8]) -> Result<(), FetchError> {
        self.hash.update(chunk);
        self.bytes += chunk.len() as u64;
        self.file.as_file_mut().write_all(chunk).map_err(|error| keep(&self.to, error))
    }

    fn drain(mut self, mut inbox: mpsc::Receiver<Bytes>) -> Result<Self, FetchError> {
        while let Some(chunk) = inbox.blocking_recv() {
            self.write(&chunk)?;
        }
        Ok(self)
    }

    fn copy(mut self, from: &Path, url: String) -> Result<Self, FetchError> {
        let unreadable = |source| FetchError::Unreadable { url: url.clone(), source };
        let mut file = File::open(from).map_err(unreadable)?;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = file.read(&mut buffer).map_err(unreadable)?;
            if read == 0 {
                return Ok(self);
            }
            self.write(&buffer[..read])?;
            if self.bytes > ARTIFACT_BYTES_MAX {
                return Err(FetchError::TooLarge { url });
            }
        }
    }

    fn finish(self, url: String, expected: Digest) -> Result<Fetched, FetchError> {
        let Self { file, hash, bytes, to } = self;
        let got = Digest::from_bytes(hash.finalize().into());
        if got != expected {
            return Err(FetchError::Mismatch { url, expected, got });
        }
        let kept = (|| {
            fs::set_permissions(file.path(), Permissions::from_mode(MODE))?;
            file.as_file().sync_all()?;
            file.persist(&to)?;
            durable::sync_dir(to.parent().unwrap_or(Path::new("/")))
        })();
        kept.map(|()| Fetched::Now { bytes }).map_err(|error| keep(&to, error))
    }
}

fn keep(to: &Path, source: io::Error) -> FetchError {
    let path = to.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FetchError::DiskFull { path },
        _ => FetchError::Keep { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_called_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("artifact");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let path = durable::unfinished(dir.path()).unwrap().into_temp_path();
        let file = tempfile::NamedTempFile::from_parts(full, path);
        let mut incoming = Incoming { file, hash: Sha256::new(), bytes: 0, to: to.clone() };
        let error = incoming.write(b"some").unwrap_err();
        let message = format!("artifact does not fit: the disk of {} is full", to.display());
        assert_eq!(error.to_string(), message);
        drop(incoming);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
