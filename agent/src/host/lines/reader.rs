//! Reads the lines of a file that grows, is cut, and is replaced under the reader.
//!
//! ```text
//!  the file at the path           what is done
//!  grew                           read on
//!  is shorter, or its bytes       cut after a copy (`host/log.rs`, logrotate's copytruncate): the
//!    before our place differ      rest of the copy in `path.1`, then the file from its beginning
//!  is another one                 renamed away (logrotate): the rest of the old one, then the new
//! ```
//!
//! A place in the file is its offset and a checksum of the bytes before it, so that a place in a
//! file that was cut meanwhile is never taken for one in what was written since.

use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;

use regex::bytes::Regex;
use trireme_proto::query::{
    CHUNK_BYTES_GOOD, Cursor, LINE_BYTES_MAX, LogLine, LogPiece, LogsQuestion, TAIL_MAX,
};
use trireme_proto::time::WallTime;

use super::LinesError;
use super::open::open;
use super::stamp::stamp;
use super::tail::{self, Found, Stop};

/// Bytes read at once.
const BLOCK: usize = 64 * 1024;
/// Bytes looked through before whoever asked can leave: some milliseconds.
const READ_MAX: usize = 4 << 20;
/// Bytes before a place by which it is known again: a line with a time in it.
const ANCHOR: usize = 64;

/// Which lines are wanted.
#[derive(Debug)]
pub(super) struct Filter {
    grep: Option<Regex>,
    pub(super) since: Option<WallTime>,
}

impl Filter {
    /// Returns which lines a question wants.
    pub(super) fn of(question: &LogsQuestion) -> Result<Self, LinesError> {
        let grep = question.grep.as_ref().map(trireme_proto::query::Grep::compile).transpose()?;
        Ok(Self { grep, since: question.since })
    }

    pub(super) fn matches(&self, line: &[u8]) -> bool {
        self.grep.as_ref().is_none_or(|grep| grep.is_match(line))
    }
}

/// Whether there is more to read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    More,
    Idle,
}

/// Reads one source.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    filter: Filter,
    follow: bool,
    /// `None` while there is no file to follow.
    file: Option<File>,
    /// Whether `file` is the one moved aside, after which the one at the path comes.
    older: bool,
    /// Where the next read begins.
    at: u64,
    /// Up to [`ANCHOR`] bytes before it.
    anchor: Vec<u8>,
    /// Where the last line ended.
    ended: Cursor,
    /// What was read of a line that has not ended.
    line: Begun,
    /// What lines that say no time are: they belong to the line before them.
    timeless: Timeless,
    notice: Option<String>,
}

/// A line that has not ended.
#[derive(Debug, Default)]
struct Begun {
    bytes: Vec<u8>,
    /// Whether more of it was left out.
    cut: bool,
}

/// What becomes of lines that say no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timeless {
    /// They are shown.
    Shown,
    /// They would be left out; there was none.
    Hidden,
    /// At least one was left out.
    LeftOut,
}

impl Reader {
    /// Finds the first wanted line.
    pub(super) fn open(path: PathBuf, question: &LogsQuestion) -> Result<Self, LinesError> {
        let filter = Filter::of(question)?;
        let file = open(&path)?;
        // A service that was never started has written nothing; a declared file should be there.
        if file.is_none() && !question.follow && question.file.is_some() {
            return Err(LinesError::Missing { path });
        }
        let mut this = Self {
            path,
            filter,
            follow: question.follow,
            file,
            older: false,
            at: 0,
            anchor: Vec::new(),
            ended: Cursor::default(),
            line: Begun::default(),
            timeless: if question.since.is_some() { Timeless::Hidden } else { Timeless::Shown },
            notice: None,
        };
        match &question.from {
            Some(cursor) => this.resume(cursor)?,
            None => this.find_tail(question.tail)?,
        }
        Ok(this)
    }

    fn io(&self) -> impl FnOnce(io::Error) -> LinesError {
        let path = self.path.clone();
        move |source| LinesError::Io { path, source }
    }

    fn aside(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".1");
        name.into()
    }

    /// Opens the file that was moved aside; one that may not be read is as good as none.
    fn open_aside(&self) -> Option<File> {
        open(&self.aside()).ok().flatten()
    }

    /// Goes to the oldest of the newest lines that are wanted.
    fn find_tail(&mut self, tail: Option<u32>) -> Result<(), LinesError> {
        let Some(file) = &self.file else { return Ok(()) };
        let wanted = match tail {
            Some(lines) => lines.min(TAIL_MAX),
            None => u32::MAX,
        };
        let look = |file: &File, wanted: u32| -> io::Result<Found> {
            // All there is: nothing has to be searched for.
            if tail.is_none() && self.filter.since.is_none() {
                return Ok(Found { start: 0, lines: 0, stop: Stop::Beginning });
            }
            tail::find(file, file.metadata()?.len(), &self.filter, wanted)
        };
        let found = look(file, wanted).map_err(self.io())?;
        self.at = found.start;
        let mut limit = found.stop == Stop::Limit;
        if found.stop == Stop::Beginning
            && found.lines < wanted
            && let Some(aside) = self.open_aside()
        {
            let older = look(&aside, wanted - found.lines).map_err(self.io())?;
            limit = older.stop == Stop::Limit;
            if older.lines > 0 || tail.is_none() {
                (self.at, self.older) = (older.start, true);
                self.file = Some(aside);
            }
        }
        if limit {
            let text = format!("only the newest {} MiB were searched", tail::SCAN_MAX >> 20);
            self.notice = Some(text);
        }
        self.read_anchor().map_err(self.io())
    }

    /// Goes to where an earlier answer was left off.
    fn resume(&mut self, cursor: &Cursor) -> Result<(), LinesError> {
        self.timeless = Timeless::Shown;
        let Some((at, sum)) = parse(cursor) else {
            return Err(self.io()(io::Error::other("the place to go on from is none of ours")));
        };
        let is_there = |file: &File| -> io::Result<bool> {
            Ok(file.metadata()?.len() >= at && checksum(&before(file, at)?) == sum)
        };
        self.at = at;
        let current = self.file.as_ref().map(is_there).transpose().map_err(self.io())?;
        if current != Some(true) {
            let aside = self.open_aside();
            if let Some(aside) = aside.filter(|file| is_there(file).unwrap_or(false)) {
                (self.file, self.older) = (Some(aside), true);
            } else {
                self.at = 0;
                self.notice = Some(LOST.to_owned());
            }
        }
        self.read_anchor().map_err(self.io())
    }

    fn read_anchor(&mut self) -> io::Result<()> {
        self.anchor = match &self.file {
            Some(file) => before(file, self.at)?,
            None => Vec::new(),
        };
        self.ended = self.cursor();
        Ok(())
    }

    /// Returns the next lines, and whether there are more already.
    pub(super) fn read(&mut self) -> Result<(LogPiece, State), LinesError> {
        let mut piece = LogPiece { notice: self.notice.take(), ..LogPiece::default() };
        let mut room = CHUNK_BYTES_GOOD;
        let mut looked = 0;
        let mut block = vec![0; BLOCK];
        while room > 0 && looked < READ_MAX {
            let read = match &self.file {
                Some(file) => file.read_at(&mut block, self.at).map_err(self.io())?,
                None => 0,
            };
            // After reading: whatever was cut before is seen now.
            if read > 0 && !self.is_cut()? {
                self.take(&block[..read], &mut piece.lines, &mut room);
                looked += read;
                continue;
            }
            if self.older && read == 0 {
                self.older = false;
                self.file = open(&self.path)?;
                self.begin();
            } else if !self.turn()? {
                if !self.follow && !self.line.bytes.is_empty() {
                    self.flush(&mut piece.lines, &mut room);
                }
                if self.timeless == Timeless::LeftOut {
                    self.timeless = Timeless::Hidden;
                    self.notice = Some(TIMELESS.to_owned());
                }
                return Ok((self.told(piece), State::Idle));
            }
        }
        Ok((self.told(piece), State::More))
    }

    fn told(&mut self, mut piece: LogPiece) -> LogPiece {
        piece.notice = piece.notice.or_else(|| self.notice.take());
        piece.at = Some(self.ended.clone());
        piece
    }

    /// Returns whether the file is no longer the one whose bytes were read up to here.
    fn is_cut(&self) -> Result<bool, LinesError> {
        let bytes = self.file.as_ref().map(|file| before(file, self.at));
        Ok(bytes.transpose().map_err(self.io())?.is_some_and(|bytes| bytes != self.anchor))
    }

    /// Goes to the beginning of another file; a line that was begun goes on in it.
    fn begin(&mut self) {
        self.at = 0;
        self.anchor.clear();
        self.ended = self.cursor();
    }

    /// Looks whether another file has taken the place of the one that was read to its end, or it
    /// was cut; returns whether there may be something to read.
    fn turn(&mut self) -> Result<bool, LinesError> {
        let Some(file) = &self.file else {
            self.file = if self.follow { open(&self.path)? } else { None };
            return Ok(self.file.is_some());
        };
        if self.is_cut()? {
            let aside = self.open_aside().filter(|aside| {
                aside.metadata().is_ok_and(|metadata| metadata.len() >= self.at)
                    && before(aside, self.at).is_ok_and(|bytes| bytes == self.anchor)
            });
            if aside.is_some() {
                (self.file, self.older) = (aside, true);
            } else {
                self.notice = Some(LOST.to_owned());
                self.line = Begun::default();
                self.begin();
            }
            return Ok(true);
        }
        if file.metadata().map_err(self.io())?.len() > self.at {
            return Ok(true);
        }
        match open(&self.path)? {
            Some(other) if identity(&other) != identity(file) => {
                // What was written to the old one between the last read and now.
                let grown = file.metadata().map_err(self.io())?.len() > self.at;
                if !grown {
                    self.file = Some(other);
                    self.begin();
                }
                Ok(true)
            }
            // Renamed away, and the new one is not there yet.
            _ => Ok(false),
        }
    }

    /// Takes in what was read, up to the end of the last line that fits.
    fn take(&mut self, bytes: &[u8], lines: &mut Vec<LogLine>, room: &mut usize) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if *room == 0 {
                return;
            }
            self.at += part.len() as u64;
            let kept = part.len().min(ANCHOR);
            self.anchor.extend_from_slice(&part[part.len() - kept..]);
            let excess = self.anchor.len().saturating_sub(ANCHOR);
            self.anchor.drain(..excess);
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            let fits = text.len().min(LINE_BYTES_MAX - self.line.bytes.len());
            self.line.bytes.extend_from_slice(&text[..fits]);
            self.line.cut |= fits < text.len();
            if text.len() < part.len() {
                self.flush(lines, room);
            }
        }
    }

    /// Ends the line that was begun, and shows it if it is wanted.
    fn flush(&mut self, lines: &mut Vec<LogLine>, room: &mut usize) {
        self.ended = self.cursor();
        let Begun { bytes, cut } = mem::take(&mut self.line);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(&bytes);
        let time = stamp(bytes);
        if let (Some(since), Some(time)) = (self.filter.since, time) {
            self.timeless = if time >= since { Timeless::Shown } else { Timeless::Hidden };
        } else if self.timeless != Timeless::Shown {
            self.timeless = Timeless::LeftOut;
        }
        if self.timeless != Timeless::Shown || !self.filter.matches(bytes) {
            return;
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        *room = room.saturating_sub(json_len(&text));
        lines.push(LogLine { time, text, cut, cursor: self.ended.clone() });
    }

    fn cursor(&self) -> Cursor {
        Cursor(format!("{:x}.{:x}", self.at, checksum(&self.anchor)))
    }
}

/// Returns the bytes that a line takes in JSON, about.
pub(super) fn json_len(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    LINE_OVERHEAD + text.bytes().map(escaped).sum::<usize>()
}

/// Bytes of a line's JSON besides its text.
const LINE_OVERHEAD: usize = 80;

const TIMELESS: &str = "lines that say no time were left out, because of --since";

pub(super) const LOST: &str =
    "lines were lost: the file was cut or replaced, and its rest is not in `.1`";

fn parse(cursor: &Cursor) -> Option<(u64, u64)> {
    let (at, sum) = cursor.0.split_once('.')?;
    Some((u64::from_str_radix(at, 16).ok()?, u64::from_str_radix(sum, 16).ok()?))
}

/// Returns the bytes before a place, as many as it is known by.
fn before(file: &File, at: u64) -> io::Result<Vec<u8>> {
    let from = at.saturating_sub(ANCHOR as u64);
    let mut bytes = vec![0; usize::try_from(at - from).unwrap_or(0)];
    match file.read_exact_at(&mut bytes, from) {
        Ok(()) => Ok(bytes),
        // Cut in this very moment: no bytes are those that were there.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn identity(file: &File) -> Option<(u64, u64)> {
    file.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// FNV-1a: tells places apart, and nobody gains anything by fooling it.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
