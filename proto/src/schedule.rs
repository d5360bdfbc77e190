//! When what is scheduled is due, by wall time and the database of time zones that is built in.
//!
//! A function of its arguments and of that database. Programs with databases of different years may
//! disagree about a zone, so nothing that several controllers must compute alike may ask here: the
//! leader does, and commits what it found.

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::{Date, Time, Weekday as Day};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::model::{Schedule, Weekday, Zone};
use crate::time::WallTime;

/// Days within which something scheduled is due at least once: two months and what zones shift.
const DAYS_MAX: usize = 64;

/// One time at which something is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Day, week or month that it is for: `2026-11-22`, `2026-W47` or `2026-11`.
    pub period: String,
    /// When.
    pub at: WallTime,
}

/// Tells that the database that is built in does not know a zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone `{0}`")]
pub struct UnknownZone(String);

/// Fails unless there is such a zone.
pub fn check_zone(zone: &Zone) -> Result<(), UnknownZone> {
    time_zone(zone).map(drop)
}

/// Returns when it was due last, at `now` or before; `None` before 1970.
pub fn last_due(schedule: &Schedule, now: WallTime) -> Result<Option<Due>, UnknownZone> {
    let zone = time_zone(schedule.zone())?;
    let Some(today) = date(&zone, now) else { return Ok(None) };
    let days = std::iter::successors(today.tomorrow().ok(), |day| day.yesterday().ok());
    let due = days.take(DAYS_MAX).filter(|day| is_day(schedule, *day));
    Ok(due.filter_map(|day| due_on(schedule, &zone, day)).find(|due| due.at <= now))
}

/// Returns when it is due next, after `now`.
pub fn next_due(schedule: &Schedule, now: WallTime) -> Result<Option<Due>, UnknownZone> {
    let zone = time_zone(schedule.zone())?;
    let Some(today) = date(&zone, now) else { return Ok(None) };
    let days = std::iter::successors(today.yesterday().ok(), |day| day.tomorrow().ok());
    let due = days.take(DAYS_MAX).filter(|day| is_day(schedule, *day));
    Ok(due.filter_map(|day| due_on(schedule, &zone, day)).find(|due| due.at > now))
}

fn time_zone(zone: &Zone) -> Result<TimeZone, UnknownZone> {
    // Not what lies on this host: it would be asked by trictl and answered by another host.
    static BUNDLED: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
    BUNDLED.get(zone.as_str()).map_err(|_| UnknownZone(zone.to_string()))
}

fn date(zone: &TimeZone, now: WallTime) -> Option<Date> {
    let stamp = Timestamp::from_millisecond(i64::try_from(now.0).ok()?).ok()?;
    Some(zone.to_datetime(stamp).date())
}

/// Returns whether it is due on this day at all.
fn is_day(schedule: &Schedule, day: Date) -> bool {
    match schedule {
        Schedule::Daily(_) => true,
        Schedule::Weekly(week) => day.weekday() == weekday(week.day),
        Schedule::Monthly(month) => {
            // Not `min` alone: a day 0 would never come.
            let wanted = i8::try_from(month.day).unwrap_or(i8::MAX).max(1);
            day.day() == wanted.min(day.days_in_month())
        }
    }
}

fn due_on(schedule: &Schedule, zone: &TimeZone, day: Date) -> Option<Due> {
    let at = schedule.at();
    let shown = day.to_datetime(Time::new(at.hour, at.minute, 0, 0).ok()?);
    // What clocks skip counts as much later, what they show twice the first time.
    let stamp = zone.to_ambiguous_timestamp(shown).compatible().ok()?;
    let at = WallTime(u64::try_from(stamp.as_millisecond()).ok()?);
    let period = match schedule {
        Schedule::Daily(_) => day.to_string(),
        Schedule::Weekly(_) => {
            let week = day.iso_week_date();
            format!("{:04}-W{:02}", week.year(), week.week())
        }
        Schedule::Monthly(_) => format!("{:04}-{:02}", day.year(), day.month()),
    };
    Some(Due { period, at })
}

fn weekday(day: Weekday) -> Day {
    match day {
        Weekday::Mon => Day::Monday,
        Weekday::Tue => Day::Tuesday,
        Weekday::Wed => Day::Wednesday,
        Weekday::Thu => Day::Thursday,
        Weekday::Fri => Day::Friday,
        Weekday::Sat => Day::Saturday,
        Weekday::Sun => Day::Sunday,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Daily, Monthly, Weekly};

    fn daily(at: &str, zone: &str) -> Schedule {
        Schedule::Daily(Daily { at: at.parse().unwrap(), zone: zone.parse().unwrap() })
    }

    fn wall(text: &str) -> WallTime {
        let stamp: Timestamp = text.parse().unwrap();
        WallTime(stamp.as_millisecond().try_into().unwrap())
    }

    /// Returns period and time of what was due last, and what is next.
    fn around(schedule: &Schedule, now: &str) -> [String; 2] {
        let now = wall(now);
        let text = |due: Option<Due>| due.map(|due| format!("{} {}", due.period, due.at)).unwrap();
        [text(last_due(schedule, now).unwrap()), text(next_due(schedule, now).unwrap())]
    }

    #[test]
    fn tsp_04_a_day_is_due_once_by_the_clocks_of_its_zone() {
        let shanghai = daily("09:00", "Asia/Shanghai");
        assert_eq!(
            around(&shanghai, "2026-11-22T00:59:59.999Z"),
            ["2026-11-21 2026-11-21T01:00:00.000Z", "2026-11-22 2026-11-22T01:00:00.000Z"]
        );
        assert_eq!(
            around(&shanghai, "2026-11-22T01:00:00Z"),
            ["2026-11-22 2026-11-22T01:00:00.000Z", "2026-11-23 2026-11-23T01:00:00.000Z"]
        );
    }

    /// In Berlin the clocks skip 02:00 to 03:00 on 2026-03-29 and repeat it on 2026-10-25.
    #[test]
    fn dvn_01_summer_time_neither_skips_a_day_nor_repeats_it() {
        let night = daily("02:30", "Europe/Berlin");
        assert_eq!(
            around(&night, "2026-03-29T01:29:59Z"),
            ["2026-03-28 2026-03-28T01:30:00.000Z", "2026-03-29 2026-03-29T01:30:00.000Z"]
        );
        assert_eq!(
            around(&night, "2026-03-29T12:00:00Z"),
            ["2026-03-29 2026-03-29T01:30:00.000Z", "2026-03-30 2026-03-30T00:30:00.000Z"]
        );
        // The first of the two; between them, and after both, the next is that of the next day.
        for now in ["2026-10-25T00:30:00Z", "2026-10-25T01:15:00Z", "2026-10-25T01:30:00Z"] {
            assert_eq!(
                around(&night, now),
                ["2026-10-25 2026-10-25T00:30:00.000Z", "2026-10-26 2026-10-26T01:30:00.000Z"],
                "{now}"
            );
        }
    }

    /// Each of two years' days, whatever the clocks do, is due once and in order.
    #[test]
    fn dvn_01_every_day_of_two_years_is_due_exactly_once() {
        for zone in ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Asia/Shanghai"] {
            for at in ["00:00", "02:30", "23:59"] {
                let schedule = daily(at, zone);
                let mut now = wall("2026-01-01T00:00:00Z");
                let mut day: Option<Date> = None;
                for _ in 0..730 {
                    let due = next_due(&schedule, now).unwrap().unwrap();
                    let this: Date = due.period.parse().unwrap();
                    assert!(due.at > now, "{zone} {at}");
                    if let Some(before) = day {
                        assert_eq!(before.tomorrow().unwrap(), this, "{zone} {at}");
                    }
                    assert_eq!(last_due(&schedule, due.at).unwrap(), Some(due.clone()));
                    (now, day) = (due.at, Some(this));
                }
            }
        }
    }

    #[test]
    fn dvn_02_a_week_is_due_on_its_day_also_across_a_year() {
        let at = "09:00".parse().unwrap();
        let zone = Zone::default();
        let weekly = Schedule::Weekly(Weekly { day: Weekday::Mon, at, zone });
        assert_eq!(
            around(&weekly, "2026-11-22T12:00:00Z"),
            ["2026-W47 2026-11-16T09:00:00.000Z", "2026-W48 2026-11-23T09:00:00.000Z"]
        );
        assert_eq!(
            around(&weekly, "2027-01-01T00:00:00Z"),
            ["2026-W53 2026-12-28T09:00:00.000Z", "2027-W01 2027-01-04T09:00:00.000Z"]
        );
    }

    #[test]
    fn dvn_03_a_month_without_the_day_is_due_on_its_last() {
        let at = "04:00".parse().unwrap();
        let zone = Zone::default();
        let monthly = Schedule::Monthly(Monthly { day: 31, at, zone });
        assert_eq!(
            around(&monthly, "2026-02-28T04:00:00Z"),
            ["2026-02 2026-02-28T04:00:00.000Z", "2026-03 2026-03-31T04:00:00.000Z"]
        );
        assert_eq!(
            around(&monthly, "2028-03-01T00:00:00Z"),
            ["2028-02 2028-02-29T04:00:00.000Z", "2028-03 2028-03-31T04:00:00.000Z"]
        );
    }

    #[test]
    fn a_zone_that_nobody_knows_is_refused() {
        let unknown = daily("09:00", "Asia/Atlantis");
        assert_eq!(
            last_due(&unknown, WallTime(0)).unwrap_err().to_string(),
            "there is no time zone `Asia/Atlantis`"
        );
        assert!(check_zone(&Zone::default()).is_ok());
    }
}
