//! How long a budget lasts, on whose calendar.
//!
//! Days, weeks and months begin at midnight of the budget's time zone (default UTC), weeks on its first day (default
//! Monday). An hour is the full hour of UTC: zones that are half an hour apart share it.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

/// How long a budget lasts before it begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// The full hour.
    Hour,
    /// Midnight to midnight.
    Day,
    /// From the first day of the week to the next one.
    Week,
    /// The calendar month.
    Month,
    /// For good.
    Total,
}

/// Where midnight is, and which day a week begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// The time zone.
    pub zone: TimeZone,
    /// The first day of a week.
    pub week_starts: Weekday,
}

// === impl Calendar ===

impl Default for Calendar {
    fn default() -> Self {
        Self { zone: TimeZone::UTC, week_starts: Weekday::Monday }
    }
}

impl Calendar {
    /// The zone's name, `UTC` by default.
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    fn midnight(&self, date: Date) -> Option<Timestamp> {
        // Where midnight does not exist, or twice, the first moment of the day counts.
        date.to_zoned(self.zone.clone()).ok().and_then(|zoned| zoned.start_of_day().ok()).map(|zoned| zoned.timestamp())
    }
}

// === impl Window ===

impl Window {
    /// Begin and end of the window that holds `now`.
    pub fn around(self, now: Timestamp, calendar: &Calendar) -> (Timestamp, Option<Timestamp>) {
        let day = now.to_zoned(calendar.zone.clone()).date();
        let first = match self {
            Self::Total => return (Timestamp::UNIX_EPOCH, None),
            Self::Hour => {
                let second = now.as_second();
                let start = second - second.rem_euclid(3_600);
                let at = |second: i64| Timestamp::from_second(second).unwrap_or(now);
                return (at(start), Some(at(start + 3_600)));
            }
            Self::Day => day,
            Self::Week => day.saturating_sub(i64::from(calendar.week_starts.until(day.weekday())).days()),
            Self::Month => day.first_of_month(),
        };
        let next = match self {
            Self::Month => first.saturating_add(1.month()),
            Self::Week => first.saturating_add(7.days()),
            Self::Day | Self::Hour | Self::Total => first.saturating_add(1.day()),
        };
        let midnight = |date: Date| calendar.midnight(date).unwrap_or(now);
        (midnight(first), Some(midnight(next)))
    }

    /// `hour`, `day`, `week`, `month` or `total`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn windows_begin_where_calendars_do() {
        for (window, now, start, end) in [
            (Window::Hour, "2026-03-01T10:59:59Z", "2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z"),
            (Window::Day, "2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
            (Window::Week, "2026-03-01T10:00:00Z", "2026-02-23T00:00:00Z", "2026-03-02T00:00:00Z"),
            (Window::Month, "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(window.around(at(now), &Calendar::default()), (at(start), Some(at(end))), "{window:?}");
        }
    }

    #[test]
    fn a_calendar_says_where_midnight_is_and_which_day_a_week_begins_with() {
        let madrid = Calendar { zone: TimeZone::get("Europe/Madrid").unwrap(), week_starts: Weekday::Sunday };
        for (window, now, start, end) in [
            // A day of 23 hours, one of 25.
            (Window::Day, "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            (Window::Day, "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
            (Window::Week, "2026-03-04T12:00:00Z", "2026-02-28T23:00:00Z", "2026-03-07T23:00:00Z"),
            (Window::Month, "2026-02-28T23:30:00Z", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"),
        ] {
            assert_eq!(window.around(at(now), &madrid), (at(start), Some(at(end))), "{window:?} {now}");
        }
    }
}
