//! Snapshots as files: written and read frame by frame, never whole in memory.
//!
//! ```text
//! magic | frame: RaftSnapshotMeta | frame: RaftSnapshotRow ... | END | rows | SHA-256 of all before
//! frame = length (u32, big endian) bytes
//! ```
//!
//! A file gets its final name only after its content is verified and fsynced; what is under a
//! final name is complete or the disk lies. At most two are kept.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};
use trireme_proto::wire;

use super::disk::sync_dir;
use super::machine::{Beside, Row, View};
use super::types::{Meta, meta_from_wire, meta_to_wire};

const MAGIC: &[u8; 8] = b"TRSNAP01";
/// In place of a length: no frame follows.
const END: u32 = u32::MAX;
/// Rows (u64) and hash behind the last frame.
const TRAILER: u64 = 8 + 32;
/// Largest row; a longer one could not be told from a broken length.
pub const ROW_BYTES_MAX: usize = 16 << 20;
/// Bytes moved at once between file and network.
pub(super) const CHUNK_BYTES: usize = 256 << 10;
/// Snapshots kept: the newest, and the one before in case the newest turns out unreadable.
const KEPT: usize = 2;

/// The folder of the snapshots.
#[derive(Debug)]
pub(super) struct Snapshots {
    dir: PathBuf,
    /// The newest, so that it is not verified again for each follower that needs it.
    current: Mutex<Option<(Meta, SnapshotFile)>>,
    drafts: AtomicU64,
}

/// A complete snapshot, verified and open; it stays readable when its name is removed.
#[derive(Debug, Clone)]
pub(super) struct SnapshotFile {
    file: Arc<File>,
    size: u64,
    /// Removes the name again if the snapshot was received but not installed.
    draft: Option<Arc<Draft>>,
    /// What another member needs besides.
    rest: Option<Rest>,
}

/// What makes a snapshot of this member whole for another one.
#[derive(Debug, Clone)]
struct Rest {
    snapshots: Arc<Snapshots>,
    beside: Arc<dyn Beside>,
}

#[derive(Debug)]
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // Already gone when it was given its final name.
        drop(fs::remove_file(&self.0));
    }
}

impl Snapshots {
    /// Opens the folder and removes what a crash left unfinished.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        for item in fs::read_dir(dir)? {
            let path = item?.path();
            if path.extension().is_some_and(|e| e == "tmp") {
                fs::remove_file(&path)?;
            }
        }
        Ok(Self { dir: dir.to_owned(), current: Mutex::default(), drafts: AtomicU64::new(0) })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a view of the state and makes it the current snapshot.
    pub(super) fn write(&self, meta: &Meta, view: Box<dyn View>) -> io::Result<SnapshotFile> {
        let file = self.written(meta, |emit| view.rows(emit))?;
        self.keep(meta, file)
    }

    /// Writes a snapshot under no final name; it goes with its last reader, unless it is kept.
    fn written(
        &self,
        meta: &Meta,
        give: impl FnOnce(&mut dyn FnMut(Row) -> io::Result<()>) -> io::Result<()>,
    ) -> io::Result<SnapshotFile> {
        let (draft, file) = self.draft()?;
        let mut writer = FrameWriter::new(BufWriter::with_capacity(CHUNK_BYTES, &file));
        writer.bytes(MAGIC)?;
        writer.frame(&meta_to_wire(meta).encode_to_vec())?;
        let mut rows = 0_u64;
        give(&mut |Row { table, value }| {
            rows += 1;
            writer.frame(&wire::RaftSnapshotRow { table, value }.encode_to_vec())
        })?;
        writer.finish(rows)?;
        file.sync_all()?;
        let size = file.metadata()?.len();
        let draft = Some(Arc::new(draft));
        Ok(SnapshotFile { file: Arc::new(file), size, draft, rest: None })
    }

    /// Gives a verified snapshot its final name and removes the ones it replaces.
    pub(super) fn keep(&self, meta: &Meta, mut file: SnapshotFile) -> io::Result<SnapshotFile> {
        if let Some(draft) = file.draft.take() {
            fs::rename(&draft.0, self.dir.join(file_name(meta)))?;
            sync_dir(&self.dir)?;
        }
        for path in self.list()?.into_iter().skip(KEPT) {
            fs::remove_file(path)?;
        }
        sync_dir(&self.dir)?;
        let mut current = self.current();
        if current.as_ref().is_none_or(|(known, _)| known.last_log_id <= meta.last_log_id) {
            *current = Some((meta.clone(), file.clone()));
        }
        Ok(file)
    }

    fn current(&self) -> MutexGuard<'_, Option<(Meta, SnapshotFile)>> {
        // Replaced whole, so a panic elsewhere leaves nothing half done.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the newest readable snapshot.
    pub(super) fn latest(&self) -> io::Result<Option<(Meta, SnapshotFile)>> {
        let mut current = self.current();
        if current.is_some() {
            return Ok(current.clone());
        }
        let mut unreadable = None;
        for path in self.list()? {
            match SnapshotFile::open(&path) {
                Ok(found) => {
                    *current = Some(found.clone());
                    return Ok(Some(found));
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a snapshot is unreadable");
                    unreadable.get_or_insert(error);
                }
            }
        }
        unreadable.map_or(Ok(None), Err)
    }

    /// Begins to receive a snapshot of `size` bytes.
    pub(super) fn receive(&self, size: u64) -> io::Result<Incoming> {
        let (draft, file) = self.draft()?;
        Ok(Incoming { draft, file, size, received: 0 })
    }

    fn draft(&self) -> io::Result<(Draft, File)> {
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{number}.tmp"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        Ok((Draft(path), file))
    }

    /// Lists complete snapshots, newest first.
    fn list(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for item in fs::read_dir(&self.dir)? {
            let path = item?.path();
            if path.extension().is_some_and(|e| e == "snap") {
                found.push(path);
            }
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }
}

/// Names a snapshot so that names sort like what they cover.
fn file_name(meta: &Meta) -> String {
    let (index, term, leader) = meta
        .last_log_id
        .map_or((0, 0, 0), |id| (id.index, id.leader_id.term, id.leader_id.node_id));
    format!("{index:020}-{term:020}-{leader:020}.snap")
}

/// A snapshot on its way in.
#[derive(Debug)]
pub(super) struct Incoming {
    draft: Draft,
    file: File,
    size: u64,
    received: u64,
}

impl Incoming {
    /// Appends a piece; more than was announced is an error.
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.received += piece.len() as u64;
        if self.received > self.size {
            return Err(invalid("more bytes than announced"));
        }
        self.file.write_all(piece)
    }

    /// Verifies the whole file against its own hash and against what was announced.
    pub(super) fn finish(self, announced: &Meta) -> io::Result<SnapshotFile> {
        if self.received != self.size {
            return Err(invalid("fewer bytes than announced"));
        }
        self.file.sync_all()?;
        let file = SnapshotFile {
            file: Arc::new(self.file),
            size: self.size,
            draft: Some(Arc::new(self.draft)),
            rest: None,
        };
        if file.verify()? == *announced { Ok(file) } else { Err(invalid("another snapshot")) }
    }
}

impl SnapshotFile {
    fn open(path: &Path) -> io::Result<(Meta, Self)> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let found = Self { file: Arc::new(file), size, draft: None, rest: None };
        Ok((found.verify()?, found))
    }

    /// Returns the same file, to be completed before another member gets it.
    pub(super) fn lacking(self, snapshots: Arc<Snapshots>, beside: Arc<dyn Beside>) -> Self {
        Self { rest: Some(Rest { snapshots, beside }), ..self }
    }

    /// Returns a snapshot that another member can restore.
    pub(super) fn whole(self) -> io::Result<Self> {
        let Some(Rest { snapshots, beside }) = &self.rest else { return Ok(self) };
        let mut rows = self.rows()?;
        let meta = rows.meta.clone();
        snapshots.written(&meta, |emit| beside.complete(&mut rows, emit))
    }

    /// Bytes of the file.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Reads up to one chunk at `offset`; empty at the end.
    pub(super) fn chunk(&self, offset: u64) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut chunk = vec![0; left.min(CHUNK_BYTES)];
        self.file.read_exact_at(&mut chunk, offset)?;
        Ok(chunk)
    }

    /// Reads the whole file once; returns what it says it covers.
    fn verify(&self) -> io::Result<Meta> {
        let end = self.size.checked_sub(TRAILER).ok_or_else(|| invalid("too short"))?;
        let mut hash = Sha256::new();
        let mut offset = 0;
        while offset < end + 8 {
            let mut chunk = self.chunk(offset)?;
            let left = usize::try_from(end + 8 - offset).unwrap_or(usize::MAX);
            chunk.truncate(left);
            hash.update(&chunk);
            offset += chunk.len() as u64;
        }
        let mut said = [0; 32];
        self.file.read_exact_at(&mut said, end + 8)?;
        if hash.finalize().as_slice() != said {
            return Err(invalid("its hash differs"));
        }
        let mut rows = self.rows()?;
        let meta = rows.meta.clone();
        rows.try_for_each(|row| row.map(drop))?;
        Ok(meta)
    }

    /// Iterates over the rows.
    pub(super) fn rows(&self) -> io::Result<Rows> {
        let mut reader = FrameReader { file: self.clone(), offset: 0, chunk: Bytes::new() };
        let mut magic = [0; MAGIC.len()];
        reader.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(invalid("not a snapshot of this version"));
        }
        let frame = reader.frame()?.ok_or_else(|| invalid("no head"))?;
        let meta = meta_from_wire(wire::RaftSnapshotMeta::decode(frame)?)
            .map_err(|e| invalid(&e.to_string()))?;
        Ok(Rows { reader, meta, seen: 0, done: false })
    }
}

/// Reads rows of any bytes (class B12), up to where they are no snapshot any more.
pub(crate) fn any_snapshot(bytes: &[u8]) -> Vec<Row> {
    let written = || {
        let file = rustix::fs::memfd_create("fuzzed", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = File::from(file);
        file.write_all(bytes).map(|()| file)
    };
    let Ok(file) = written() else { return Vec::new() };
    let size = bytes.len() as u64;
    let file = SnapshotFile { file: Arc::new(file), size, draft: None, rest: None };
    drop(file.verify());
    file.rows().map(|rows| rows.map_while(Result::ok).collect()).unwrap_or_default()
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the snapshot is broken: {what}"))
}

struct FrameWriter<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> FrameWriter<W> {
    fn new(out: W) -> Self {
        Self { out, hash: Sha256::new() }
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }

    fn frame(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > ROW_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a row of {} bytes exceeds {ROW_BYTES_MAX}", bytes.len()),
            ));
        }
        let length = u32::try_from(bytes.len()).expect("the limit above fits");
        self.bytes(&length.to_be_bytes())?;
        self.bytes(bytes)
    }

    fn finish(mut self, rows: u64) -> io::Result<()> {
        self.bytes(&END.to_be_bytes())?;
        self.bytes(&rows.to_be_bytes())?;
        self.out.write_all(&self.hash.finalize())?;
        self.out.flush()
    }
}

/// Reads frames at an offset of its own, so that one open file serves several readers.
struct FrameReader {
    file: SnapshotFile,
    offset: u64,
    chunk: Bytes,
}

impl Read for FrameReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            self.chunk = self.file.chunk(self.offset)?.into();
            self.offset += self.chunk.len() as u64;
        }
        let taken = self.chunk.split_to(self.chunk.len().min(buffer.len()));
        buffer[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

impl FrameReader {
    /// Returns the next frame, or nothing at the end mark.
    fn frame(&mut self) -> io::Result<Option<Bytes>> {
        let mut length = [0; 4];
        self.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length == END {
            return Ok(None);
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > ROW_BYTES_MAX {
            return Err(invalid("a row is too long"));
        }
        let mut frame = vec![0; length];
        self.read_exact(&mut frame)?;
        Ok(Some(frame.into()))
    }
}

/// The rows of a snapshot, in order.
pub(super) struct Rows {
    reader: FrameReader,
    meta: Meta,
    seen: u64,
    done: bool,
}

impl Rows {
    fn advance(&mut self) -> io::Result<Option<Row>> {
        if let Some(frame) = self.reader.frame()? {
            self.seen += 1;
            let wire::RaftSnapshotRow { table, value } = wire::RaftSnapshotRow::decode(frame)?;
            return Ok(Some(Row { table, value }));
        }
        let mut rows = [0; 8];
        self.reader.read_exact(&mut rows)?;
        if u64::from_be_bytes(rows) != self.seen {
            return Err(invalid("rows are missing"));
        }
        Ok(None)
    }
}

impl Iterator for Rows {
    type Item = io::Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.advance().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}
