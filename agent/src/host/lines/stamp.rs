//! When a line was written, as far as the line says so itself. Pure.
//!
//! | form | found |
//! |---|---|
//! | `2026-11-21T22:25:01.123+08:00`, `2026-11-21 22:25:01,123`, `2026/11/21 22:25:01` | near the start |
//! | `[21/Nov/2026:22:25:01 +0800]` | anywhere in the first bytes, as access logs have it |
//! | `{"ts": "..."}`, `time`, `timestamp`, `@timestamp`; a date, or seconds or milliseconds since 1970 | in lines that are JSON |
//!
//! A time without a zone is taken as UTC: which other one was meant nobody can tell.

use trireme_proto::time::WallTime;

/// Bytes in which a date may begin: a level and a name may stand before it.
const DATE_WITHIN: usize = 48;
/// Bytes in which the date of an access log may begin: an address and a user stand before it.
const ACCESS_WITHIN: usize = 256;
/// Bytes in which a field of JSON may begin.
const FIELD_WITHIN: usize = 1024;
/// Numbers from here on are milliseconds since 1970, below it seconds: the year 5138, or 1973.
const MILLIS_FROM: u64 = 100_000_000_000;

const FIELDS: [&[u8]; 4] = [b"\"ts\"", b"\"time\"", b"\"timestamp\"", b"\"@timestamp\""];

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Returns when `line` says that it was written.
pub(crate) fn stamp(line: &[u8]) -> Option<WallTime> {
    if line.first() == Some(&b'{') {
        return field(&line[..line.len().min(FIELD_WITHIN)]);
    }
    let near = (0..line.len().min(DATE_WITHIN)).filter(|&at| line[at].is_ascii_digit());
    let mut starts = near.filter(|&at| at == 0 || !line[at - 1].is_ascii_digit());
    starts.find_map(|at| date(&line[at..])).or_else(|| access(line))
}

/// Reads what is left of a line, piece by piece.
#[derive(Clone, Copy)]
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn number(&mut self, digits: usize) -> Option<i16> {
        let (text, rest) = self.0.split_at_checked(digits)?;
        let number = text.iter().try_fold(0_i16, |number, byte| {
            byte.is_ascii_digit().then(|| number * 10 + i16::from(byte - b'0'))
        })?;
        self.0 = rest;
        Some(number)
    }

    fn two(&mut self) -> Option<i8> {
        i8::try_from(self.number(2)?).ok()
    }

    fn one_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        let found = bytes.contains(first).then_some(*first)?;
        self.0 = rest;
        Some(found)
    }

    fn clock(&mut self) -> Option<[i8; 3]> {
        let hour = self.two()?;
        self.one_of(b":")?;
        let minute = self.two()?;
        self.one_of(b":")?;
        Some([hour, minute, self.two()?])
    }

    /// Reads `.123456` or `,123`, as milliseconds; there may be none.
    fn fraction(&mut self) -> u32 {
        let before = *self;
        if self.one_of(b".,").is_none() {
            return 0;
        }
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            *self = before;
            return 0;
        }
        let padded = self.0[..digits].iter().copied().chain(std::iter::repeat(b'0')).take(3);
        let millis = padded.fold(0, |millis, byte| millis * 10 + u32::from(byte - b'0'));
        self.0 = &self.0[digits..];
        millis
    }

    /// Reads `Z`, `+08:00` or ` +0800`, as minutes ahead of UTC; there may be none.
    fn zone(mut self) -> i32 {
        let _space = self.one_of(b" ");
        let sign = match self.one_of(b"+-") {
            Some(b'-') => -1,
            Some(_) => 1,
            None => return 0,
        };
        let mut parts = || {
            let hours = self.two()?;
            let _colon = self.one_of(b":");
            Some(i32::from(hours) * 60 + i32::from(self.two()?))
        };
        parts().map_or(0, |minutes| sign * minutes)
    }
}

/// Reads `2026-11-21T22:25:01` and what follows of fraction and zone.
fn date(text: &[u8]) -> Option<WallTime> {
    let mut rest = Rest(text);
    let year = rest.number(4)?;
    let between = rest.one_of(b"-/")?;
    let month = rest.number(2)?;
    rest.one_of(&[between])?;
    let day = rest.number(2)?;
    rest.one_of(b"T ")?;
    let clock = rest.clock()?;
    let millis = rest.fraction();
    WallTime::from_civil([year, month, day], clock, millis, rest.zone())
}

/// Reads `[21/Nov/2026:22:25:01 +0800]`.
fn access(line: &[u8]) -> Option<WallTime> {
    let near = &line[..line.len().min(ACCESS_WITHIN)];
    let opens = near.iter().enumerate().filter(|(_, byte)| **byte == b'[');
    opens.map(|(at, _)| &line[at + 1..]).find_map(|text| {
        let mut rest = Rest(text);
        let day = rest.number(2)?;
        rest.one_of(b"/")?;
        let (name, after) = rest.0.split_at_checked(3)?;
        let month = MONTHS.iter().position(|known| known.as_slice() == name)? + 1;
        rest.0 = after;
        rest.one_of(b"/")?;
        let year = rest.number(4)?;
        rest.one_of(b":")?;
        let clock = rest.clock()?;
        WallTime::from_civil([year, i16::try_from(month).ok()?, day], clock, 0, rest.zone())
    })
}

/// Reads the first field of a JSON line whose name is one of those that hold a time.
fn field(line: &[u8]) -> Option<WallTime> {
    let found = (0..line.len()).find_map(|at| {
        let name = FIELDS.iter().find(|name| line[at..].starts_with(name))?;
        let value = line[at + name.len()..].trim_ascii_start().strip_prefix(b":")?;
        Some(value.trim_ascii_start())
    })?;
    match found.strip_prefix(b"\"") {
        Some(text) => date(text),
        None => number(found),
    }
}

fn number(text: &[u8]) -> Option<WallTime> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole: u64 = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
    let millis = u64::from(Rest(&text[digits..]).fraction());
    let since = if whole >= MILLIS_FROM { whole } else { whole.checked_mul(1000)? + millis };
    Some(WallTime(since))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<String> {
        stamp(line.as_bytes()).map(|time| time.to_string())
    }

    #[test]
    fn reads_the_forms_that_logs_have() {
        let at = "2026-11-21T22:25:01.000Z";
        for (line, expected) in [
            ("2026-11-21T22:25:01Z started", at),
            ("2026-11-21 22:25:01 started", at),
            ("2026/11/21 22:25:01 [error] 7#7: gone", at),
            ("INFO [main] 2026-11-22 06:25:01 +0800 started", at),
            ("2026-11-21T22:25:01.123456+00:00 x", "2026-11-21T22:25:01.123Z"),
            ("2026-11-21 22:25:01,5 - root - ERROR", "2026-11-21T22:25:01.500Z"),
            ("10.1.0.1 - - [21/Nov/2026:22:25:01 +0000] \"GET / HTTP/1.1\" 200", at),
            ("10.1.0.1 - - [22/Nov/2026:06:25:01 +0800] \"GET /\" 200", at),
            (r#"{"level":"info","ts":"2026-11-21T22:25:01Z"}"#, at),
            (r#"{"time" : 1795299901, "msg":"x"}"#, "2026-11-21T22:25:01.000Z"),
            (r#"{"ts":1795299901.25}"#, "2026-11-21T22:25:01.250Z"),
            (r#"{"timestamp":1795299901007}"#, "2026-11-21T22:25:01.007Z"),
        ] {
            assert_eq!(read(line).as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for line in [
            "",
            "started",
            "    at web.rs:7",
            "2026-13-01 00:00:00 x",
            "2026-11-21 xx",
            "12026-11-21 22:25:01",
            r#"{"msg":"2026-11-21T22:25:01Z"}"#,
            r#"{"ts":null}"#,
            "[21/Foo/2026:22:25:01 +0000]",
            "\u{fffd}\u{fffd}2026",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_it(line: Vec<u8>) {
            let _whatever_it_is = stamp(&line);
        }
    }
}
