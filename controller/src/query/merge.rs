//! Lines of several sources in the order of time. Pure.
//!
//! Promised: the lines of one source stay in their order; of several, a line comes before those
//! with a later time, as far as every source is read. A line that says no time belongs to the one
//! before it. While following, a source with nothing to say is not waited for beyond a moment, so
//! order holds within that moment.

use std::collections::VecDeque;

use trireme_proto::query::LogLine;

/// Merges the lines of sources, which are known by their number.
#[derive(Debug)]
pub(super) struct Merge {
    lanes: Vec<Lane>,
}

#[derive(Debug, Default)]
struct Lane {
    pending: VecDeque<LogLine>,
    /// Time of its newest line that was taken in, by which lines without one are placed.
    newest: u64,
    /// Times of the pending lines.
    keys: VecDeque<u64>,
    state: Waiting,
}

/// What may still come of a source with nothing pending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Waiting {
    /// Older lines than others have.
    #[default]
    Reading,
    /// Lines that are being written.
    Idle,
    /// Nothing.
    Ended,
}

/// What keeps lines from being shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// No line is there.
    Nothing,
    /// Some source is still being read.
    Reading,
    /// Some source may be written to this moment.
    Idle,
}

impl Merge {
    /// Merges `sources` sources.
    pub(super) fn new(sources: usize) -> Self {
        Self { lanes: (0..sources).map(|_| Lane::default()).collect() }
    }

    /// Takes in lines of a source.
    pub(super) fn push(&mut self, source: usize, lines: Vec<LogLine>) {
        let lane = &mut self.lanes[source];
        for line in lines {
            // Never backwards within a source: its own order is what its writer meant.
            lane.newest = line.time.map_or(lane.newest, |time| time.0.max(lane.newest));
            lane.keys.push_back(lane.newest);
            lane.pending.push_back(line);
        }
    }

    /// Notes that a source was read up to what is being written.
    pub(super) fn idle(&mut self, source: usize) {
        self.lanes[source].state = Waiting::Idle;
    }

    /// Notes that nothing more comes of a source.
    pub(super) fn end(&mut self, source: usize) {
        self.lanes[source].state = Waiting::Ended;
    }

    /// Returns whether a source has room for more.
    pub(super) fn wants(&self, source: usize) -> bool {
        self.lanes[source].pending.is_empty()
    }

    /// Takes the lines that may be shown, at most `most`; with `hurry` idle sources are not waited
    /// for.
    pub(super) fn take(&mut self, hurry: bool, most: usize) -> Vec<(usize, LogLine)> {
        let mut taken = Vec::new();
        while taken.len() < most && self.is_free(hurry) {
            let first = self
                .lanes
                .iter()
                .enumerate()
                .filter_map(|(source, lane)| lane.keys.front().map(|key| (*key, source)));
            let Some((_, source)) = first.min() else { break };
            let lane = &mut self.lanes[source];
            lane.keys.pop_front();
            taken.extend(lane.pending.pop_front().map(|line| (source, line)));
        }
        taken
    }

    /// Returns what keeps the oldest line from being shown.
    pub(super) fn held(&self) -> Held {
        if self.lanes.iter().all(|lane| lane.pending.is_empty()) {
            return Held::Nothing;
        }
        if self.is_free(true) { Held::Idle } else { Held::Reading }
    }

    fn is_free(&self, hurry: bool) -> bool {
        self.lanes.iter().all(|lane| {
            !lane.pending.is_empty()
                || match lane.state {
                    Waiting::Reading => false,
                    Waiting::Idle => hurry,
                    Waiting::Ended => true,
                }
        })
    }
}

#[cfg(test)]
mod tests {
    use trireme_proto::query::Cursor;
    use trireme_proto::time::WallTime;

    use super::*;

    fn lines(texts: &[&str]) -> Vec<LogLine> {
        let line = |text: &&str| {
            let time = text.split(' ').next().and_then(|word| word.parse().ok()).map(WallTime);
            LogLine { time, text: (*text).to_owned(), cut: false, cursor: Cursor::default() }
        };
        texts.iter().map(line).collect()
    }

    fn texts(taken: Vec<(usize, LogLine)>) -> Vec<String> {
        taken.into_iter().map(|(source, line)| format!("{source}:{}", line.text)).collect()
    }

    #[test]
    fn lines_come_in_the_order_of_time_and_stay_with_the_line_they_belong_to() {
        let mut merge = Merge::new(2);
        merge.push(0, lines(&["1 a", "  at a", "4 d"]));
        merge.push(1, lines(&["2 b", "3 c", "5 e"]));
        assert_eq!(merge.held(), Held::Idle);
        let expected = ["0:1 a", "0:  at a", "1:2 b", "1:3 c", "0:4 d"];
        assert_eq!(texts(merge.take(false, 100)), expected);
        assert_eq!(merge.held(), Held::Reading, "source 0 may have a line older than 5");
        assert!(merge.wants(0) && !merge.wants(1));
        merge.end(0);
        merge.end(1);
        assert_eq!(texts(merge.take(false, 100)), ["1:5 e"]);
        assert_eq!(merge.held(), Held::Nothing);
    }

    #[test]
    fn a_clock_that_goes_back_does_not_turn_a_source_around() {
        let mut merge = Merge::new(2);
        merge.push(0, lines(&["5 first", "3 second"]));
        merge.push(1, lines(&["4 x", "6 y"]));
        merge.end(0);
        merge.end(1);
        assert_eq!(texts(merge.take(false, 3)), ["1:4 x", "0:5 first", "0:3 second"]);
        assert_eq!(texts(merge.take(false, 3)), ["1:6 y"]);
    }

    #[test]
    fn an_idle_source_is_waited_for_only_so_long() {
        let mut merge = Merge::new(3);
        merge.push(0, lines(&["7 a"]));
        merge.idle(1);
        assert_eq!(texts(merge.take(true, 9)), [""; 0], "source 2 is still being read");
        merge.idle(2);
        assert_eq!(merge.held(), Held::Idle);
        assert_eq!(texts(merge.take(false, 9)), [""; 0]);
        merge.push(1, lines(&["6 b"]));
        assert_eq!(texts(merge.take(true, 9)), ["1:6 b", "0:7 a"]);
    }

    #[test]
    fn lines_without_any_time_keep_the_order_of_their_source() {
        let mut merge = Merge::new(2);
        merge.push(0, lines(&["x", "y"]));
        merge.push(1, lines(&["3 z"]));
        merge.end(0);
        merge.end(1);
        assert_eq!(texts(merge.take(false, 9)), ["0:x", "0:y", "1:3 z"]);
    }
}
