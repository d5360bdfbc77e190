//! The journal before the store: each batch is one write and one fsync here, and goes into the
//! store with hundreds of others.
//!
//! ```text
//! magic │ record 0 │ record 1 │ …        a record begins on a sector:
//!                                         generation, number, length, hash, bytes
//! ```
//!
//! The file has its size from the beginning, so that an fsync writes data and nothing about the
//! file. A generation ends when what it holds is in the store, which remembers the next one in the
//! same transaction; records of an older generation are then overwritten from the front.
//!
//! Invariant: a record is written only after the one before it is on disk. What follows the first
//! record that does not read is therefore a write that was never acknowledged, or there is none;
//! a good record behind a bad one means that the disk has lost what it had.

use std::io;

use redb::StorageBackend;
use sha2::{Digest, Sha256};

/// Bytes of a journal. Entries in it are also kept in memory, and are written to the store at once.
pub(super) const JOURNAL_BYTES: u64 = 1 << 20;

/// First bytes of a journal of this form.
const MAGIC: &[u8; 8] = b"TRJRNL01";

/// Records begin on multiples of this: what a disk writes whole.
const SECTOR: u64 = 512;

/// Length of a record's hash: enough that chance does not match it.
const HASH: usize = 16;

/// Generation, number, length and hash.
const HEAD: usize = 8 + 8 + 4 + HASH;

/// The file behind a journal.
pub type File = Box<dyn StorageBackend>;

/// A journal that is written.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    size: u64,
    generation: u64,
    /// Number and place of the next record.
    number: u64,
    offset: u64,
    /// The last record; kept for its memory.
    record: Vec<u8>,
}

impl Journal {
    /// Makes a file a journal of so many bytes, whatever it holds.
    pub(super) fn format(file: &File, size: u64) -> io::Result<()> {
        let mut bytes = vec![0; length(size)?];
        file.set_len(size)?;
        // All of it is written, not left out, so that its blocks are there.
        bytes[..MAGIC.len()].copy_from_slice(MAGIC);
        file.write(0, &bytes)?;
        file.sync_data()
    }

    /// Returns the records of a generation, and the journal for the next one.
    pub(super) fn open(file: File, generation: u64) -> io::Result<(Self, Vec<Vec<u8>>)> {
        let size = file.len()?;
        let mut magic = [0; MAGIC.len()];
        if size >= SECTOR {
            file.read(0, &mut magic)?;
        }
        if magic != *MAGIC {
            return Err(damaged("it is not a journal of this version"));
        }
        let next = generation + 1;
        let mut journal =
            Self { file, size, generation, number: 0, offset: SECTOR, record: Vec::new() };
        let mut records = Vec::new();
        while let Some((number, bytes)) = journal.at(journal.offset)? {
            if number != journal.number {
                break;
            }
            journal.offset += padded(HEAD + bytes.len());
            journal.number += 1;
            records.push(bytes);
        }
        let mut offset = journal.offset + SECTOR;
        while offset < size {
            if journal.at(offset)?.is_some_and(|(number, _)| number >= journal.number) {
                return Err(damaged(&format!("record {} is lost", journal.number)));
            }
            offset += SECTOR;
        }
        journal.begin(next);
        Ok((journal, records))
    }

    /// Reads the record that begins here, if it is one of this generation.
    fn at(&self, offset: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
        if offset + SECTOR > self.size {
            return Ok(None);
        }
        let mut head = [0; HEAD];
        self.file.read(offset, &mut head)?;
        let (fixed, said) = head.split_at(HEAD - HASH);
        let word = |at: usize| u64::from_be_bytes(fixed[at..at + 8].try_into().expect("eight"));
        let length = u32::from_be_bytes(fixed[16..20].try_into().expect("four"));
        let end = offset + HEAD as u64 + u64::from(length);
        if word(0) != self.generation || end > self.size {
            return Ok(None);
        }
        let mut bytes = vec![0; length as usize];
        self.file.read(offset + HEAD as u64, &mut bytes)?;
        Ok((hash(fixed, &bytes) == said).then(|| (word(8), bytes)))
    }

    /// Returns the generation of what is appended.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Begins another generation, now that the store remembers it.
    pub(super) fn begin(&mut self, generation: u64) {
        (self.generation, self.number, self.offset) = (generation, 0, SECTOR);
    }

    /// Makes a record durable; tells whether there was room for it.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let takes = padded(HEAD + bytes.len());
        let Ok(length) = u32::try_from(bytes.len()) else { return Ok(false) };
        if self.offset + takes > self.size {
            return Ok(false);
        }
        self.record.clear();
        self.record.extend_from_slice(&self.generation.to_be_bytes());
        self.record.extend_from_slice(&self.number.to_be_bytes());
        self.record.extend_from_slice(&length.to_be_bytes());
        let hash = hash(&self.record, bytes);
        self.record.extend_from_slice(&hash);
        self.record.extend_from_slice(bytes);
        self.file.write(self.offset, &self.record)?;
        self.file.sync_data()?;
        self.offset += takes;
        self.number += 1;
        Ok(true)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Releases the lock on the file; nothing is left to be written.
        drop(self.file.close());
    }
}

fn padded(bytes: usize) -> u64 {
    (bytes as u64).next_multiple_of(SECTOR)
}

fn length(size: u64) -> io::Result<usize> {
    usize::try_from(size).map_err(io::Error::other)
}

fn hash(head: &[u8], bytes: &[u8]) -> [u8; HASH] {
    let digest = Sha256::new().chain_update(head).chain_update(bytes).finalize();
    let mut hash = [0; HASH];
    hash.copy_from_slice(&digest[..HASH]);
    hash
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the journal is damaged: {what}"))
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;

    /// A file that outlives the journal on it.
    #[derive(Debug, Clone)]
    struct Shared(std::sync::Arc<InMemoryBackend>);

    impl StorageBackend for Shared {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.0.write(offset, data)
        }
    }

    impl Shared {
        fn new(size: u64) -> Self {
            let shared = Self(std::sync::Arc::new(InMemoryBackend::new()));
            Journal::format(&shared.file(), size).unwrap();
            shared
        }

        fn file(&self) -> File {
            Box::new(self.clone())
        }

        fn open(&self, generation: u64) -> io::Result<(Journal, Vec<Vec<u8>>)> {
            Journal::open(self.file(), generation)
        }
    }

    #[test]
    fn records_are_found_in_order_until_their_generation_ends() {
        let shared = Shared::new(16 << 10);
        let (mut journal, found) = shared.open(1).unwrap();
        assert!(found.is_empty() && journal.generation() == 2);
        let records = [vec![1; 3], Vec::new(), vec![2; 600], vec![3; 476]];
        for record in &records {
            assert!(journal.append(record).unwrap());
        }
        assert_eq!(shared.open(2).unwrap().1, records);
        assert!(shared.open(1).unwrap().1.is_empty());
        assert!(shared.open(3).unwrap().1.is_empty());
        journal.begin(3);
        assert!(journal.append(b"later").unwrap());
        assert_eq!(shared.open(3).unwrap().1, [b"later".to_vec()]);
    }

    #[test]
    fn what_does_not_fit_is_told_and_not_written() {
        let shared = Shared::new(4 << 10);
        let (mut journal, _) = shared.open(1).unwrap();
        let mut count = 0;
        while journal.append(&[7; 400]).unwrap() {
            count += 1;
        }
        assert_eq!(count, 7);
        assert!(!journal.append(&[7; 5000]).unwrap());
        assert_eq!(shared.open(2).unwrap().1.len(), count);
    }

    #[test]
    fn a_torn_end_is_left_out_and_a_loss_before_it_is_refused() {
        let shared = Shared::new(16 << 10);
        let (mut journal, _) = shared.open(1).unwrap();
        for record in 0..4_u8 {
            journal.append(&[record; 700]).unwrap();
        }
        // Each takes two sectors; the second of the last was not written.
        shared.0.write(SECTOR * 8, &[0; 512]).unwrap();
        assert_eq!(shared.open(2).unwrap().1.len(), 3);
        shared.0.write(SECTOR * 4, &[0; 512]).unwrap();
        let refused = shared.open(2).unwrap_err();
        assert!(refused.to_string().contains("record 1 is lost"), "{refused}");
    }

    #[test]
    fn another_file_is_refused() {
        let shared = Shared::new(4 << 10);
        shared.0.write(0, &[9; 8]).unwrap();
        assert!(shared.open(1).is_err());
        let empty = Shared(std::sync::Arc::new(InMemoryBackend::new()));
        assert!(empty.open(1).is_err());
    }
}
