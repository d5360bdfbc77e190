//! Checklists: what is looked at again and again, by whom, and by when.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alert::Severity;
use crate::id::{ChecklistId, ItemId, RegionId, ServiceId};
use crate::time::Span;

/// What is looked at again and again, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Checklist {
    /// Name of the checklist.
    pub name: ChecklistId,
    /// Person or team that answers for it.
    pub owner: String,
    /// When it opens by itself; without it only people run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// How long after it opened by itself every item must be done; after that each is an alert.
    #[serde(default = "window_default")]
    pub window: Span,
    /// What is looked at, in this order.
    pub items: Vec<Item>,
}

/// When a checklist opens; exactly one of these.
///
/// What the clocks skip when summer begins opens as much later; what they show twice opens once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Every day.
    Daily(Daily),
    /// On one day of every week.
    Weekly(Weekly),
    /// On one day of every month.
    Monthly(Monthly),
}

impl Schedule {
    /// Returns the time of day at which it opens.
    pub fn at(&self) -> ClockTime {
        match self {
            Self::Daily(Daily { at, .. })
            | Self::Weekly(Weekly { at, .. })
            | Self::Monthly(Monthly { at, .. }) => *at,
        }
    }

    /// Returns whose clocks show that time.
    pub fn zone(&self) -> &Zone {
        match self {
            Self::Daily(Daily { zone, .. })
            | Self::Weekly(Weekly { zone, .. })
            | Self::Monthly(Monthly { zone, .. }) => zone,
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Daily(day) => format!("daily {} {}", day.at, day.zone),
            Self::Weekly(week) => format!("{} {} {}", week.day, week.at, week.zone),
            Self::Monthly(month) => format!("day {} {} {}", month.day, month.at, month.zone),
        };
        f.pad(&text)
    }
}

/// Every day at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Daily {
    /// Time of day.
    pub at: ClockTime,
    /// Whose clocks show it.
    #[serde(default)]
    pub zone: Zone,
}

/// One day of every week at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Weekly {
    /// Day of the week.
    pub day: Weekday,
    /// Time of day.
    pub at: ClockTime,
    /// Whose clocks show it.
    #[serde(default)]
    pub zone: Zone,
}

/// One day of every month at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Monthly {
    /// Day of the month; the last day of a month that has no such day.
    pub day: u8,
    /// Time of day.
    pub at: ClockTime,
    /// Whose clocks show it.
    #[serde(default)]
    pub zone: Zone,
}

/// Day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Weekday {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl fmt::Display for Weekday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}"))
    }
}

/// A time of day, written as `09:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClockTime {
    /// Hour, 0 to 23.
    pub hour: i8,
    /// Minute, 0 to 59.
    pub minute: i8,
}

/// Tells that a string is not a time of day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time of day: write it like 09:00")]
pub struct ClockTimeError(String);

impl FromStr for ClockTime {
    type Err = ClockTimeError;
    fn from_str(text: &str) -> Result<Self, ClockTimeError> {
        let refused = || ClockTimeError(text.chars().take(32).collect());
        let two = |part: &str, most: i8| {
            let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            part.parse::<i8>().ok().filter(|number| digits && *number <= most)
        };
        let (hour, minute) = text.split_once(':').ok_or_else(refused)?;
        let hour = two(hour, 23).ok_or_else(refused)?;
        let minute = two(minute, 59).ok_or_else(refused)?;
        Ok(Self { hour, minute })
    }
}

impl TryFrom<String> for ClockTime {
    type Error = ClockTimeError;
    fn try_from(text: String) -> Result<Self, ClockTimeError> {
        text.parse()
    }
}

impl From<ClockTime> for String {
    fn from(time: ClockTime) -> Self {
        time.to_string()
    }
}

impl fmt::Display for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:02}:{:02}", self.hour, self.minute))
    }
}

impl JsonSchema for ClockTime {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ClockTime".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "a time of day, such as 09:00" })
    }
}

/// Longest name of a time zone; the longest there is has 32 letters.
const ZONE_LEN_MAX: usize = 64;

/// Name of a time zone of the IANA database, such as `Asia/Shanghai`.
///
/// Only its form is checked where it is read: what is kept must stay readable for programs with an
/// older database. Whether there is such a zone is asked when it is declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(String);

/// Tells that a string cannot be the name of a time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a time zone: write it like Asia/Shanghai or UTC")]
pub struct ZoneError(String);

impl Zone {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self("UTC".to_owned())
    }
}

impl FromStr for Zone {
    type Err = ZoneError;
    fn from_str(text: &str) -> Result<Self, ZoneError> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"/_+-".contains(&b);
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
        if first && text.len() <= ZONE_LEN_MAX && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ZoneError(text.chars().take(32).collect()))
        }
    }
}

impl TryFrom<String> for Zone {
    type Error = ZoneError;
    fn try_from(text: String) -> Result<Self, ZoneError> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.0
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl JsonSchema for Zone {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Zone".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "a time zone, such as UTC" })
    }
}

/// One thing that is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Name, unique within the checklist.
    pub name: ItemId,
    /// What is looked at, in a line.
    pub title: String,
    /// By what it is known to be well.
    pub by: By,
}

/// By what an item is known to be well; exactly one of these. All but `ask` are looked up by the
/// controllers, and nobody can answer them in their place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Services are served in every region that has nodes of theirs.
    Serving(InService),
    /// No alert as bad as this goes on.
    Alerts(Quiet),
    /// A check passes on every node of a service.
    Check(Passing),
    /// Every node is in sight.
    Nodes(InSight),
    /// Something that the controllers know of themselves.
    Fact(Fact),
    /// A person looks, and says what was found.
    Ask(Ask),
}

impl By {
    /// Returns the kind in a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Serving(_) => "serving",
            Self::Alerts(_) => "alerts",
            Self::Check(_) => "check",
            Self::Nodes(_) => "nodes",
            Self::Fact(_) => "fact",
            Self::Ask(_) => "ask",
        }
    }

    /// Returns what a person is asked; none where the controllers look it up.
    pub fn asked(&self) -> Option<&Ask> {
        match self {
            Self::Ask(ask) => Some(ask),
            _ => None,
        }
    }
}

/// Services that must be served everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InService {
    /// The services; every one of the fleet if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceId>,
}

/// Alerts that must not go on; those about the checklist itself are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Quiet {
    /// The least bad that counts.
    pub severity: Severity,
    /// Services whose alerts count; all alerts if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceId>,
}

/// A check that must pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Passing {
    /// Service it is a check of.
    pub service: ServiceId,
    /// Name of the check.
    pub check: String,
}

/// Nodes that must be in sight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InSight {
    /// Their regions; every one if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<RegionId>,
}

/// Something that the controllers know of themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
    /// The newest 100,000 entries of the audit are one chain, up to the last that was applied.
    AuditVerified,
    /// Every start without approvals was reviewed by another person.
    GlassReviewed,
    /// Every controller answers the leader.
    ControllersAnswer,
}

/// What a person is asked; the title says what to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ask {
    /// Where to look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether the answer says in words what was found.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub note: bool,
    /// Whether the answer says by which query it was looked for, and how many were found.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub count: bool,
    /// What every answer must be linked to; nothing can be closed without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// What an answer must be linked to that finds something wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_if_failed: Option<Link>,
    /// Whether it is answered by those who review, auditors and admins, and by nobody else.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub review: bool,
}

/// What an answer is linked to. Its form is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// The record of a drill, `drill/ID`.
    Drill,
    /// An incident, `incident-N`.
    Incident,
    /// A page, by its URL of http or https.
    Page,
}

impl Link {
    /// Returns how such a link is written.
    pub fn form(self) -> &'static str {
        match self {
            Self::Drill => "drill/ID",
            Self::Incident => "incident-N",
            Self::Page => "https://…",
        }
    }

    /// Returns which of the links a text is, if it is one.
    pub fn of(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|b| b.is_ascii_graphic());
        if let Some(id) = text.strip_prefix("drill/") {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            let first = id.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
            return (first && id.len() <= DRILL_LEN_MAX && id.bytes().all(fits))
                .then_some(Self::Drill);
        }
        if text.parse::<crate::id::IncidentId>().is_ok() {
            return Some(Self::Incident);
        }
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        (plain && !host.is_empty() && text.len() <= PAGE_LEN_MAX).then_some(Self::Page)
    }
}

/// Longest name of a drill.
const DRILL_LEN_MAX: usize = 64;
/// Longest URL that an answer is linked to.
const PAGE_LEN_MAX: usize = 300;

fn window_default() -> Span {
    Span::secs(24 * 3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_and_zones_are_read_exactly() {
        let time: ClockTime = "09:05".parse().unwrap();
        assert_eq!((time.hour, time.minute, time.to_string().as_str()), (9, 5, "09:05"));
        for bad in ["", "9:05", "24:00", "12:60", "12:5", "+1:00", "12:00:00", "12.00"] {
            assert!(bad.parse::<ClockTime>().is_err(), "{bad:?} passed");
        }
        assert!("America/Argentina/Buenos_Aires".parse::<Zone>().is_ok());
        for bad in ["", "/etc/passwd", "Asia Shanghai", "+08:00", "../UTC"] {
            assert!(bad.parse::<Zone>().is_err(), "{bad:?} passed");
        }
    }

    /// DVN-03: what stands for a drill has the form of one.
    #[test]
    fn dvn_03_a_link_is_known_by_its_form() {
        assert_eq!(Link::of("drill/2026-11-gcp"), Some(Link::Drill));
        assert_eq!(Link::of("incident-7"), Some(Link::Incident));
        assert_eq!(Link::of("https://wiki.example.com/a?b=c"), Some(Link::Page));
        for bad in ["", "drill/", "drill/../x", "drill/a b", "incident-", "https://", "see wiki"] {
            assert_eq!(Link::of(bad), None, "{bad:?} passed");
        }
    }
}
