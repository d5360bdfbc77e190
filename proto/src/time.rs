//! Times and spans as whole milliseconds.
//!
//! Fleet time is not wall time: it advances by the leader's monotonic clock and only while there
//! is a leader, so that neither a jump of a wall clock nor an outage of the controllers ends a
//! bake early or a deadline late (DESIGN rule 15).

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in fleet time, in milliseconds since the fleet was initialised.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct FleetTime(pub u64);

impl FleetTime {
    /// Returns the span since `earlier`, zero if that lies ahead.
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// Returns the point `span` later.
    #[must_use]
    pub fn after(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

/// A point in wall time, in milliseconds since 1970 UTC: for people and certificates, never for
/// deciding.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct WallTime(pub u64);

impl WallTime {
    /// Returns the time that a calendar and a clock show `offset_minutes` ahead of UTC; `None` if
    /// they show what does not exist, or a time before 1970.
    pub fn from_civil(
        [year, month, day]: [i16; 3],
        [hour, minute, second]: [i8; 3],
        millis: u32,
        offset_minutes: i32,
    ) -> Option<Self> {
        let (month, day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
        let nanos = i32::try_from(millis).ok()?.checked_mul(1_000_000)?;
        // A leap second has no place of its own on our clocks.
        let second = second.min(59);
        let shown =
            jiff::civil::DateTime::new(year, month, day, hour, minute, second, nanos).ok()?;
        let stamp = jiff::tz::Offset::from_seconds(offset_minutes.checked_mul(60)?)
            .and_then(|offset| offset.to_timestamp(shown))
            .ok()?;
        u64::try_from(stamp.as_millisecond()).ok().map(Self)
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(stamp) => f.pad(&format!("{stamp:.3}")),
            Err(_) => f.pad("out-of-range"),
        }
    }
}

impl WallTime {
    /// Returns the day it falls on in UTC.
    pub fn date(self) -> Date {
        let stamp = jiff::Timestamp::from_millisecond(i64::try_from(self.0).unwrap_or(i64::MAX));
        Date(stamp.map_or(jiff::civil::Date::MAX, |stamp| {
            jiff::tz::Offset::UTC.to_datetime(stamp).date()
        }))
    }
}

/// A day of the calendar, written as `2027-06-30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Date(jiff::civil::Date);

/// Tells that a string is not a day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a day: write it like 2027-06-30")]
pub struct DateError(String);

impl Date {
    /// The last day there is, for what never ends.
    pub const MAX: Self = Self(jiff::civil::Date::MAX);
}

impl FromStr for Date {
    type Err = DateError;
    fn from_str(text: &str) -> Result<Self, DateError> {
        let refused = || DateError(text.chars().take(32).collect());
        // A time of day or a zone behind it would be dropped in silence.
        if text.len() != "2027-06-30".len() {
            return Err(refused());
        }
        text.parse().map(Self).map_err(|_| refused())
    }
}

impl TryFrom<String> for Date {
    type Error = DateError;
    fn try_from(text: String) -> Result<Self, DateError> {
        text.parse()
    }
}

impl From<Date> for String {
    fn from(date: Date) -> Self {
        date.to_string()
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl schemars::JsonSchema for Date {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Date".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "a day, such as 2027-06-30" })
    }
}

/// A length of time, written as `500ms`, `2s`, `1m30s` or `4h`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub u64);

/// Tells why a string is not a span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a span of time: write it like 500ms, 2s, 1m30s or 4h (at most 366 days)")]
pub struct SpanError(String);

impl Span {
    /// Longest span a manifest may ask for.
    pub const MAX: Self = Self(366 * 24 * 3600 * 1000);

    /// Returns a span of whole seconds.
    pub const fn secs(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    /// Returns the span for APIs of the standard library.
    pub const fn to_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for Span {
    type Err = SpanError;
    fn from_str(text: &str) -> Result<Self, SpanError> {
        let refused = || SpanError(text.to_owned());
        let parsed: jiff::SignedDuration = text.parse().map_err(|_| refused())?;
        let millis = u64::try_from(parsed.as_millis()).map_err(|_| refused())?;
        if millis > Self::MAX.0 { Err(refused()) } else { Ok(Self(millis)) }
    }
}

impl TryFrom<String> for Span {
    type Error = SpanError;
    fn try_from(text: String) -> Result<Self, SpanError> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.pad("0s");
        }
        let mut rest = self.0;
        let mut text = String::new();
        for (unit, millis) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            if rest >= millis {
                let _ = write!(text, "{}{unit}", rest / millis);
                rest %= millis;
            }
        }
        f.pad(&text)
    }
}

impl schemars::JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "description": "a span of time, such as 500ms, 2s, 1m30s or 4h"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calendar_a_clock_and_a_zone_make_a_time() {
        let at = |offset| WallTime::from_civil([2026, 11, 21], [22, 25, 1], 7, offset);
        assert_eq!(at(0).unwrap().to_string(), "2026-11-21T22:25:01.007Z");
        assert_eq!(at(8 * 60).unwrap().to_string(), "2026-11-21T14:25:01.007Z");
        assert_eq!(WallTime::from_civil([2026, 2, 30], [0, 0, 0], 0, 0), None);
        assert_eq!(WallTime::from_civil([1969, 12, 31], [0, 0, 0], 0, 0), None);
    }

    #[test]
    fn spans_are_written_as_they_are_read() {
        for (text, millis) in [("0s", 0), ("500ms", 500), ("1m30s", 90_000), ("4h", 14_400_000)] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.0, span.to_string().as_str()), (millis, text));
        }
        for bad in ["", "5", "-1s", "soon", "9000d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn days_are_those_of_utc_and_nothing_else_is_one() {
        let day: Date = "2027-06-30".parse().unwrap();
        assert_eq!(day.to_string(), "2027-06-30");
        assert_eq!(WallTime(1_814_399_999_999).date(), day);
        assert!(WallTime(1_814_400_000_000).date() > day);
        assert_eq!(WallTime(u64::MAX).date(), Date::MAX);
        for bad in ["", "2027-6-30", "2027-02-30", "20270630", "2027-06-30T10:00", "tomorrow.."] {
            assert!(bad.parse::<Date>().is_err(), "{bad:?} passed");
        }
    }
}
