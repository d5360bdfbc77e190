//! Reads what a unit of systemd wrote, from the journal, through `journalctl`.
//!
//! ```text
//!  newest N wanted:  journalctl --reverse ──▶ where they begin
//!  then:             journalctl from there, to the end ──▶ journalctl --follow from there
//! ```
//!
//! The command is the journal's stable interface, and reads files of every version. A place is an
//! entry's own cursor and the number of its lines that were taken: an entry may have several.

use std::collections::VecDeque;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;
use trireme_proto::query::{
    CHUNK_BYTES_GOOD, Cursor, LINE_BYTES_MAX, LogLine, LogPiece, LogsQuestion, TAIL_MAX,
};
use trireme_proto::time::WallTime;

use super::LinesError;
use super::reader::{Filter, LOST, json_len};
use super::tail::SCAN_MAX;
use crate::host::SEARCH_PATH;

const JOURNALCTL: &str = "journalctl";
/// Longest entry that is read: lines of services have at most 48 KiB where journald is as it comes.
const ENTRY_BYTES_MAX: usize = 256 << 10;
/// Longest wait for more to send along with what there is.
const GATHER: Duration = Duration::from_millis(20);
/// What is kept of what a failed command said.
const SAID_BYTES_MAX: u64 = 600;

/// Reads the journal of one unit.
#[derive(Debug)]
pub(super) struct Journal {
    unit: String,
    filter: Filter,
    follow: bool,
    /// Whether what is read now is yet to be written.
    live: bool,
    entries: Option<Entries>,
    /// Lines of an entry that was read.
    pending: VecDeque<Pending>,
    at: Option<Place>,
    notice: Option<String>,
}

/// A place in the journal: so many lines of that entry were taken, and all before it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    entry: String,
    lines: usize,
}

#[derive(Debug)]
struct Pending {
    time: WallTime,
    bytes: Vec<u8>,
    after: Place,
}

/// One entry, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    micros: String,
    #[serde(rename = "MESSAGE", default)]
    message: Value,
}

impl Journal {
    /// Finds the first wanted line.
    pub(super) async fn open(unit: String, question: &LogsQuestion) -> Result<Self, LinesError> {
        let filter = Filter::of(question)?;
        let follow = question.follow;
        let mut this = Self {
            unit,
            filter,
            follow,
            live: false,
            entries: None,
            pending: VecDeque::new(),
            at: None,
            notice: None,
        };
        this.at = match (&question.from, question.tail) {
            (Some(cursor), _) => Some(parse(cursor).ok_or_else(|| this.failed(&NO_PLACE))?),
            (None, Some(lines)) => this.find_tail(lines.min(TAIL_MAX)).await?,
            (None, None) => None,
        };
        this.entries = Some(this.call(&[])?);
        Ok(this)
    }

    fn failed(&self, why: &impl ToString) -> LinesError {
        LinesError::Journal { unit: self.unit.clone(), why: why.to_string() }
    }

    /// Begins to read from the place, with words of the command besides.
    fn call(&self, more: &[&str]) -> Result<Entries, LinesError> {
        let place = self.at.as_ref().map(|place| format!("--cursor={}", place.entry));
        let since = self.filter.since.map(|since| format!("--since=@{}", since.0 / 1000));
        let words = more.iter().map(|&word| word.to_owned()).chain(place.or(since));
        Entries::begin(&self.unit, words).map_err(|error| self.failed(&error))
    }

    /// Goes to the oldest of the newest lines that are wanted.
    async fn find_tail(&mut self, wanted: u32) -> Result<Option<Place>, LinesError> {
        let mut entries = self.call(&["--reverse"])?;
        let mut left = wanted;
        while let Some(entry) = entries.next(&mut self.notice).await.map_err(|e| self.failed(&e))? {
            let lines = lines_of(&entry.message);
            let mut at = lines.len();
            while left > 0 && at > 0 {
                at -= 1;
                left -= u32::from(self.filter.matches(&lines[at]));
            }
            let limit = entries.read >= SCAN_MAX;
            if limit {
                let text = format!("only the newest {} MiB were searched", SCAN_MAX >> 20);
                self.notice = Some(text);
            }
            if left == 0 || limit {
                return Ok(Some(Place { entry: entry.cursor, lines: at }));
            }
        }
        Ok(None)
    }

    /// Returns what comes next, `None` at the end; while following it waits for it.
    pub(super) async fn next(&mut self) -> Result<Option<LogPiece>, LinesError> {
        let mut piece = LogPiece { notice: self.notice.take(), ..LogPiece::default() };
        let mut room = CHUNK_BYTES_GOOD;
        while room > 0 {
            if self.pending.is_empty() {
                match self.more(!piece.lines.is_empty()).await? {
                    More::Entry => continue,
                    More::NotNow => piece.caught_up = true,
                    More::End if self.live || !self.follow => {
                        if piece.lines.is_empty() && self.entries.is_none() {
                            return Ok(None);
                        }
                        self.entries = None;
                        piece.caught_up = true;
                    }
                    // What there was has been read: from now on it is waited for.
                    More::End => {
                        self.entries = Some(self.call(&["--follow", "--no-tail"])?);
                        self.live = true;
                        piece.caught_up = true;
                    }
                }
                break;
            }
            self.take(&mut piece.lines, &mut room);
        }
        piece.notice = piece.notice.or_else(|| self.notice.take());
        piece.at = self.at.as_ref().map(Place::cursor);
        Ok(Some(piece))
    }

    /// Reads the next entry; does not wait for it long if there is something to send.
    async fn more(&mut self, has_some: bool) -> Result<More, LinesError> {
        let Some(entries) = &mut self.entries else { return Ok(More::End) };
        let reading = entries.next(&mut self.notice);
        let read = if self.live && has_some {
            let Ok(read) = timeout(GATHER, reading).await else { return Ok(More::NotNow) };
            read
        } else {
            reading.await
        };
        let is_first = entries.count == 1;
        let Some(entry) = read.map_err(|error| self.failed(&error))? else { return Ok(More::End) };
        let taken = match self.at.take() {
            Some(place) if place.entry == entry.cursor => place.lines,
            // The entry that was left off at is no longer there.
            Some(_) if is_first => {
                self.notice = Some(LOST.to_owned());
                0
            }
            _ => 0,
        };
        let time = WallTime(entry.micros.parse::<u64>().unwrap_or(0) / 1000);
        let lines = lines_of(&entry.message);
        let place = |lines| Place { entry: entry.cursor.clone(), lines };
        self.at = Some(place(lines.len().min(taken)));
        let pending = lines.into_iter().enumerate().skip(taken);
        let pending = pending.map(|(at, bytes)| Pending { time, bytes, after: place(at + 1) });
        self.pending = pending.collect();
        Ok(More::Entry)
    }

    /// Takes a line that was read, if it is wanted.
    fn take(&mut self, lines: &mut Vec<LogLine>, room: &mut usize) {
        let Some(Pending { time, mut bytes, after }) = self.pending.pop_front() else { return };
        let cut = bytes.len() > LINE_BYTES_MAX;
        bytes.truncate(LINE_BYTES_MAX);
        let cursor = after.cursor();
        self.at = Some(after);
        let is_new = self.filter.since.is_none_or(|since| time >= since);
        if is_new && self.filter.matches(&bytes) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            *room = room.saturating_sub(json_len(&text));
            lines.push(LogLine { time: Some(time), text, cut, cursor });
        }
    }
}

const NO_PLACE: &str = "the place to go on from is none of ours";

enum More {
    Entry,
    /// Nothing has come yet, and there is something to send.
    NotNow,
    End,
}

impl Place {
    fn cursor(&self) -> Cursor {
        Cursor(format!("{}={}", self.lines, self.entry))
    }
}

fn parse(cursor: &Cursor) -> Option<Place> {
    let (lines, entry) = cursor.0.split_once('=')?;
    // It becomes a word of a command; what journalctl writes there is of these letters.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"=;-".contains(&b);
    let entry = Some(entry).filter(|entry| !entry.is_empty() && entry.bytes().all(plain))?;
    Some(Place { entry: entry.to_owned(), lines: lines.parse().ok()? })
}

/// Returns the lines of a message: a text, or bytes where it is none.
fn lines_of(message: &Value) -> Vec<Vec<u8>> {
    let bytes = match message {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Array(bytes) => {
            let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
            bytes.iter().filter_map(byte).collect()
        }
        _ => Vec::new(),
    };
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// Entries that a command prints; it ends when this is dropped.
#[derive(Debug)]
struct Entries {
    child: Child,
    output: BufReader<ChildStdout>,
    /// What was read of an entry that has not ended.
    begun: Vec<u8>,
    /// Bytes read in all, and entries.
    read: u64,
    count: u64,
}

impl Entries {
    fn begin(unit: &str, more: impl Iterator<Item = String>) -> std::io::Result<Self> {
        let mut child = Command::new(JOURNALCTL)
            .args(["--quiet", "--no-pager", "--all", "--output=json", "--output-fields=MESSAGE"])
            .arg(format!("--unit={unit}"))
            .args(more)
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                std::io::Error::other(format!("{JOURNALCTL} does not run: {error}"))
            })?;
        let output = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, output: BufReader::new(output), begun: Vec::new(), read: 0, count: 0 })
    }

    /// Returns the next entry, `None` at the end; nothing is lost if it is not waited for.
    async fn next(&mut self, notice: &mut Option<String>) -> std::io::Result<Option<Entry>> {
        loop {
            let bytes = self.output.fill_buf().await?;
            if bytes.is_empty() {
                return self.ended().await;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(bytes.len(), |end| end + 1);
            let fits = taken.min((ENTRY_BYTES_MAX + 1).saturating_sub(self.begun.len()));
            self.begun.extend_from_slice(&bytes[..fits]);
            self.output.consume(taken);
            self.read += taken as u64;
            if end.is_none() {
                continue;
            }
            let entry = std::mem::take(&mut self.begun);
            if entry.len() > ENTRY_BYTES_MAX {
                let kib = ENTRY_BYTES_MAX >> 10;
                *notice = Some(format!("an entry of more than {kib} KiB was left out"));
                continue;
            }
            self.count += 1;
            return Ok(Some(serde_json::from_slice(&entry)?));
        }
    }

    async fn ended(&mut self) -> std::io::Result<Option<Entry>> {
        let mut said = Vec::new();
        if let Some(errors) = &mut self.child.stderr {
            errors.take(SAID_BYTES_MAX).read_to_end(&mut said).await?;
        }
        let status = self.child.wait().await?;
        if status.success() {
            return Ok(None);
        }
        let said = String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" ");
        Err(std::io::Error::other(format!("{JOURNALCTL} ended with {status}: {said}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(message: &str) -> Vec<String> {
        let entry = format!(
            "{{\"__CURSOR\":\"s=1;i=2\",\"__REALTIME_TIMESTAMP\":\"1700000000123456\",\
             \"_BOOT_ID\":\"x\",\"MESSAGE\":{message}}}"
        );
        let entry: Entry = serde_json::from_str(&entry).unwrap();
        let lines = lines_of(&entry.message);
        lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    #[test]
    fn a_message_is_a_text_or_bytes_of_one_or_more_lines() {
        assert_eq!(lines("\"one\""), ["one"]);
        assert_eq!(lines("\"one\\n\\ntwo\\n\""), ["one", "", "two"]);
        assert_eq!(lines("[104,105,255,10,33]"), ["hi\u{fffd}", "!"]);
        assert_eq!(lines("null"), [""]);
    }

    #[test]
    fn a_place_is_known_again_and_is_no_other_word() {
        let place = Place { entry: "s=1f;i=2;b=3-4".to_owned(), lines: 7 };
        assert_eq!(parse(&place.cursor()), Some(place));
        for other in ["", "7", "7=", "x=s", "1=--file /etc", "1=a b", "1=../x"] {
            assert_eq!(parse(&Cursor(other.to_owned())), None, "{other}");
        }
    }
}
