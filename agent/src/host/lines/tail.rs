//! Finds where the newest wanted lines of a file begin, reading backwards from its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use trireme_proto::query::LINE_BYTES_MAX;

use super::reader::Filter;
use super::stamp::stamp;

/// Bytes read at once.
const BLOCK: u64 = 64 * 1024;
/// Bytes searched at most, of each file: a second of reading. Older lines are not looked for.
pub(super) const SCAN_MAX: u64 = 256 << 20;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Where the oldest wanted line begins.
    pub(super) start: u64,
    /// How many wanted lines begin there.
    pub(super) lines: u32,
    /// Why nothing older is wanted.
    pub(super) stop: Stop,
}

/// Why nothing older was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The file begins there.
    Beginning,
    /// As many as wanted were found, or all that are new enough.
    Enough,
    /// [`SCAN_MAX`] was searched.
    Limit,
}

/// Looks for the `wanted` newest lines of the first `len` bytes.
pub(super) fn find(file: &File, len: u64, filter: &Filter, wanted: u32) -> io::Result<Found> {
    let mut found = Found { start: len, lines: 0, stop: Stop::Enough };
    // What stands before the first line feed that was seen, as far as it was read: the rest of a
    // line that begins further ahead. Of long lines the beginning matters, so the end is let go.
    let mut rest: Vec<u8> = Vec::new();
    let mut block = Vec::new();
    let mut at = len;
    // A line feed at the very end ends the last line and begins none.
    let mut ends_line = true;
    while found.lines < wanted {
        if at == 0 {
            let whole = !rest.is_empty() || !ends_line;
            if whole && !count(&rest, 0, filter, &mut found) {
                return Ok(found);
            }
            found.stop = Stop::Beginning;
            return Ok(found);
        }
        if len - at >= SCAN_MAX {
            found.stop = Stop::Limit;
            return Ok(found);
        }
        let from = at.saturating_sub(BLOCK);
        block.resize(usize::try_from(at - from).unwrap_or(0), 0);
        file.read_exact_at(&mut block, from)?;
        let mut end = block.len();
        while let Some(feed) = block[..end].iter().rposition(|byte| *byte == b'\n') {
            let line = joined(&block[feed + 1..end], &rest);
            let begins = from + feed as u64 + 1;
            let is_last_feed = ends_line && begins == len;
            ends_line = false;
            rest.clear();
            end = feed;
            if !is_last_feed && !count(&line, begins, filter, &mut found) {
                return Ok(found);
            }
            if found.lines >= wanted {
                return Ok(found);
            }
        }
        rest = joined(&block[..end], &rest);
        at = from;
    }
    Ok(found)
}

fn joined(head: &[u8], rest: &[u8]) -> Vec<u8> {
    let head = &head[..head.len().min(LINE_BYTES_MAX)];
    let room = LINE_BYTES_MAX - head.len();
    [head, &rest[..rest.len().min(room)]].concat()
}

/// Counts a line that begins at `begins` if it is wanted; returns whether to look further back.
fn count(line: &[u8], begins: u64, filter: &Filter, found: &mut Found) -> bool {
    if filter.since.is_some_and(|since| stamp(line).is_some_and(|time| time < since)) {
        return false;
    }
    if filter.matches(line) {
        found.lines += 1;
        found.start = begins;
    }
    true
}
