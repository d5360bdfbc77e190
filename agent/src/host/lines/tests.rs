//! Files as services and log rotation leave them, and what is read of them, line by line.

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use tempfile::TempDir;
use trireme_proto::query::{Cursor, Grep, LINE_BYTES_MAX, LogLine};
use trireme_proto::time::WallTime;

use super::*;

/// Longest wait for lines; only a broken test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A file that somebody writes to.
struct Log {
    _dir: TempDir,
    path: PathBuf,
}

impl Log {
    fn new(content: impl AsRef<[u8]>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("app.log");
        fs::write(&path, content).unwrap();
        Self { _dir: dir, path }
    }

    fn aside(&self) -> PathBuf {
        self.path.with_extension("log.1")
    }

    fn append(&self, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Moves the content aside as `host/log.rs` and copytruncate do.
    fn cut(&self) {
        fs::copy(&self.path, self.aside()).unwrap();
        OpenOptions::new().write(true).open(&self.path).unwrap().set_len(0).unwrap();
    }

    async fn open(&self, question: &LogsQuestion) -> Result<FileLines, LinesError> {
        FileLines::open(self.path.clone(), question.clone()).await
    }

    async fn read(&self, question: &LogsQuestion) -> Vec<LogLine> {
        all(&mut self.open(question).await.unwrap()).await.0
    }

    async fn texts(&self, question: &LogsQuestion) -> Vec<String> {
        self.read(question).await.into_iter().map(|line| line.text).collect()
    }
}

/// Reads until there is nothing more at present; returns notices too.
async fn all(lines: &mut FileLines) -> (Vec<LogLine>, Vec<String>) {
    let (mut found, mut notices) = (Vec::new(), Vec::new());
    let next = async |lines: &mut FileLines| {
        let next = tokio::time::timeout(PATIENCE, lines.next()).await;
        next.expect("there is nothing more to come").unwrap()
    };
    while let Some(piece) = next(lines).await {
        found.extend(piece.lines);
        notices.extend(piece.notice);
        if piece.caught_up && lines.follow {
            break;
        }
    }
    (found, notices)
}

async fn next_texts(lines: &mut FileLines) -> Vec<String> {
    all(lines).await.0.into_iter().map(|line| line.text).collect()
}

fn question(tail: Option<u32>) -> LogsQuestion {
    LogsQuestion {
        service: "web".parse().unwrap(),
        file: Some("app".to_owned()),
        tail,
        since: None,
        grep: None,
        follow: false,
        from: None,
    }
}

fn grep(pattern: &str, ignore_case: bool) -> Grep {
    Grep { pattern: pattern.to_owned(), ignore_case }
}

fn numbered(lines: std::ops::Range<u32>) -> String {
    lines.fold(String::new(), |text, n| text + &format!("line {n}\n"))
}

/// DVN-59, TSP-09: the newest lines, across the file that was moved aside.
#[tokio::test]
async fn shows_the_newest_lines_and_looks_into_the_file_moved_aside() {
    let log = Log::new("d\n\ne");
    assert_eq!(log.texts(&question(Some(2))).await, ["", "e"]);
    assert_eq!(log.texts(&question(Some(9))).await, ["d", "", "e"]);
    assert_eq!(log.texts(&question(Some(0))).await, [""; 0]);
    fs::write(log.aside(), "a\nb\nc\n").unwrap();
    assert_eq!(log.texts(&question(Some(4))).await, ["c", "d", "", "e"]);
    assert_eq!(log.texts(&question(Some(3))).await, ["d", "", "e"]);
    assert_eq!(log.texts(&question(None)).await, ["a", "b", "c", "d", "", "e"]);
}

#[tokio::test]
async fn finds_the_newest_lines_whatever_blocks_they_lie_in() {
    let log = Log::new(numbered(0..40_000));
    for tail in [1, 2, 7000, 39_999, 40_000, 50_000] {
        let texts = log.texts(&question(Some(tail))).await;
        let expected = tail.min(40_000) as usize;
        assert_eq!(texts.len(), expected);
        assert_eq!(texts[0], format!("line {}", 40_000 - expected));
        assert_eq!(texts[expected - 1], "line 39999");
    }
}

/// TSP-09: as many matching lines as were asked for, not what matches among so many lines.
#[tokio::test]
async fn counts_only_lines_that_match() {
    let log = Log::new("ERROR one\nfine\nan Error two\nfine\nfine\n");
    let errors = LogsQuestion { grep: Some(grep("error", true)), ..question(Some(2)) };
    assert_eq!(log.texts(&errors).await, ["ERROR one", "an Error two"]);
    let exact = LogsQuestion { grep: Some(grep("^ERROR", false)), ..question(Some(2)) };
    assert_eq!(log.texts(&exact).await, ["ERROR one"]);
    let wrong = LogsQuestion { grep: Some(grep("(", false)), ..question(None) };
    assert!(matches!(log.open(&wrong).await, Err(LinesError::Grep(_))));
}

#[tokio::test]
async fn since_shows_what_is_new_enough_and_what_belongs_to_it() {
    let log =
        Log::new("2026-11-21T10:00:00Z old\n  at old.rs\n2026-11-21T11:00:00Z new\n  at new.rs\n");
    let since = WallTime::from_civil([2026, 11, 21], [10, 30, 0], 0, 0);
    let new = LogsQuestion { since, ..question(None) };
    assert_eq!(log.texts(&new).await, ["2026-11-21T11:00:00Z new", "  at new.rs"]);
    let one = LogsQuestion { since, ..question(Some(1)) };
    assert_eq!(log.read(&one).await.len(), 0, "a line without a time and none before it");
    let timeless = Log::new("one\ntwo\n");
    let (lines, notices) = all(&mut timeless.open(&new).await.unwrap()).await;
    assert_eq!((lines, notices.len()), (vec![], 1));
    assert!(notices[0].contains("say no time"), "{notices:?}");
}

#[tokio::test]
async fn long_and_broken_lines_are_cut_and_mended() {
    let log = Log::new([&vec![b'x'; 3 * LINE_BYTES_MAX][..], b"\nbad \xff\r\n"].concat());
    for tail in [Some(2), None] {
        let lines = log.read(&question(tail)).await;
        assert_eq!((lines[0].text.len(), lines[0].cut), (LINE_BYTES_MAX, true));
        assert_eq!((lines[1].text.as_str(), lines[1].cut), ("bad \u{fffd}", false));
    }
}

#[tokio::test]
async fn no_piece_is_larger_than_what_is_sent_as_one() {
    let log = Log::new(format!("{}\n", "\u{1}".repeat(LINE_BYTES_MAX)).repeat(40));
    let mut lines = log.open(&question(None)).await.unwrap();
    let mut count = 0;
    while let Some(piece) = lines.next().await.unwrap() {
        let len = serde_json::to_vec(&piece).unwrap().len();
        assert!(len <= trireme_proto::query::CHUNK_BYTES_MAX, "{len}");
        count += piece.lines.len();
    }
    assert_eq!(count, 40);
}

/// DVN-04, DVN-11: what is written from now on, whole lines only.
#[tokio::test]
async fn follows_what_is_written_and_shows_a_line_when_it_has_ended() {
    let log = Log::new("one\n");
    let follow = LogsQuestion { follow: true, ..question(Some(10)) };
    let mut lines = log.open(&follow).await.unwrap();
    assert_eq!(next_texts(&mut lines).await, ["one"]);
    log.append("two\nthr");
    assert_eq!(next_texts(&mut lines).await, ["two"]);
    log.append("ee\n");
    assert_eq!(next_texts(&mut lines).await, ["three"]);
}

#[tokio::test]
async fn loses_no_line_when_the_file_is_cut_after_a_copy() {
    let log = Log::new("one\n");
    let follow = LogsQuestion { follow: true, ..question(Some(10)) };
    let mut lines = log.open(&follow).await.unwrap();
    assert_eq!(next_texts(&mut lines).await, ["one"]);
    log.append("two\nthree\n");
    log.cut();
    log.append("four\n");
    assert_eq!(next_texts(&mut lines).await, ["two", "three", "four"]);
    // Longer than before when it is looked at again: only its bytes tell that it was cut.
    log.cut();
    log.append(&numbered(0..100));
    assert_eq!(next_texts(&mut lines).await.len(), 100);
    // Twice between two looks: then the copy is not of what was being read.
    log.cut();
    log.append("lost\n");
    log.cut();
    log.append("there\n");
    let (found, notices) = all(&mut lines).await;
    assert_eq!(found[0].text, "there");
    assert_eq!(notices, [super::reader::LOST]);
}

#[tokio::test]
async fn loses_no_line_when_the_file_is_renamed_away() {
    let log = Log::new("one\n");
    let follow = LogsQuestion { follow: true, ..question(Some(10)) };
    let mut lines = log.open(&follow).await.unwrap();
    assert_eq!(next_texts(&mut lines).await, ["one"]);
    let mut writer = OpenOptions::new().append(true).open(&log.path).unwrap();
    fs::rename(&log.path, log.aside()).unwrap();
    writer.write_all(b"two\n").unwrap();
    log.append("three\n");
    assert_eq!(next_texts(&mut lines).await, ["two", "three"]);
}

#[tokio::test]
async fn goes_on_from_where_an_earlier_answer_was_left_off() {
    let log = Log::new(numbered(0..10));
    let first = log.read(&question(None)).await;
    let from = |cursor: &Cursor| LogsQuestion { from: Some(cursor.clone()), ..question(Some(1)) };
    let rest = log.texts(&from(&first[6].cursor)).await;
    assert_eq!(rest, ["line 7", "line 8", "line 9"]);
    log.cut();
    log.append("after\n");
    let rest = log.texts(&from(&first[8].cursor)).await;
    assert_eq!(rest, ["line 9", "after"], "the place is in the file that was moved aside");
    log.cut();
    log.append("later\n");
    let (found, notices) = all(&mut log.open(&from(&first[8].cursor)).await.unwrap()).await;
    assert_eq!((found[0].text.as_str(), notices.len()), ("later", 1), "the place is gone");
    let forged = from(&Cursor("../../etc".to_owned()));
    assert!(matches!(log.open(&forged).await, Err(LinesError::Io { .. })));
}

#[tokio::test]
async fn a_file_may_come_later_if_it_is_followed() {
    let log = Log::new("");
    fs::remove_file(&log.path).unwrap();
    assert!(matches!(log.open(&question(None)).await, Err(LinesError::Missing { .. })));
    let own = LogsQuestion { file: None, ..question(None) };
    assert_eq!(log.texts(&own).await, [""; 0], "a service that was never started wrote nothing");
    let follow = LogsQuestion { follow: true, ..question(Some(10)) };
    let mut lines = log.open(&follow).await.unwrap();
    assert_eq!(next_texts(&mut lines).await, [""; 0]);
    log.append("one\n");
    assert_eq!(next_texts(&mut lines).await, ["one"]);
}
