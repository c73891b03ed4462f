//! What a clock on the wall shows: a date and a time of day, without a zone.
//!
//! Kept as seconds since the wall showed 1970-01-01 00:00:00, so that order and distance are those of integers.

use core::fmt;

pub const MINUTE: i64 = 60;
pub const HOUR: i64 = 3600;
pub const DAY: i64 = 86_400;
/// Schedules know no year before it.
pub const YEAR_MIN: i32 = 1970;
/// Schedules know no year after it.
pub const YEAR_MAX: i32 = 2199;

/// A reading of a wall clock, in seconds since it read 1970-01-01 00:00:00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub i64);

/// A day of the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    pub year: i32,
    pub month: u8,
    pub day: u8,
}

impl Wall {
    pub const fn new(date: Date, hour: u8, minute: u8, second: u8) -> Wall {
        Wall(date.days() * DAY + hour as i64 * HOUR + minute as i64 * MINUTE + second as i64)
    }
    pub const fn date(self) -> Date {
        Date::from_days(self.0.div_euclid(DAY))
    }
    /// Seconds since midnight.
    pub const fn second_of_day(self) -> u32 {
        self.0.rem_euclid(DAY) as u32
    }
    pub const fn hour(self) -> u8 {
        (self.second_of_day() / 3600) as u8
    }
    pub const fn minute(self) -> u8 {
        (self.second_of_day() / 60 % 60) as u8
    }
    pub const fn second(self) -> u8 {
        (self.second_of_day() % 60) as u8
    }
    pub const fn plus(self, seconds: i64) -> Wall {
        Wall(self.0.saturating_add(seconds))
    }
}

/// `2026-03-08 02:30:00`
impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:02}:{:02}:{:02}", self.date(), self.hour(), self.minute(), self.second())
    }
}

impl Date {
    /// `None` when the month has no such day.
    pub fn new(year: i32, month: u8, day: u8) -> Option<Date> {
        let known = (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
        known.then_some(Date { year, month, day })
    }
    /// Days since 1970-01-01.
    pub const fn days(self) -> i64 {
        days(self.year as i64, self.month as i64) + self.day as i64 - 1
    }
    /// The day that is so many days after 1970-01-01.
    pub const fn from_days(days: i64) -> Date {
        // Eras of 400 years, counted from 1 March 0000, so that a leap day is the last of its year.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + (month <= 2) as i64;
        Date { year: year as i32, month: month as u8, day: day as u8 }
    }
    /// 0 is Sunday.
    pub const fn weekday(self) -> u8 {
        weekday(self.days())
    }
}

/// `2026-03-08`
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Days from 1970-01-01 to the first of that month.
const fn days(year: i64, month: i64) -> i64 {
    let shifted_year = year - (month <= 2) as i64;
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted_month + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

/// 0 is Sunday.
pub const fn weekday(days: i64) -> u8 {
    (days + 4).rem_euclid(7) as u8
}

pub const fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub const fn days_in_month(year: i32, month: u8) -> u8 {
    match month {
        2 => 28 + is_leap(year) as u8,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn days_that_everybody_knows() {
        for (text, days, weekday) in [
            ("1970-01-01", 0, 4),
            ("2000-02-29", 11_016, 2),
            ("2026-11-21", 20_778, 6),
            ("1969-12-31", -1, 3),
            ("2199-12-31", 84_005, 2),
        ] {
            let date = Date::from_days(days);
            assert_eq!((date.to_string().as_str(), date.days(), date.weekday()), (text, days, weekday));
        }
        assert_eq!(Date::new(2026, 2, 29), None);
        assert_eq!(Date::new(2100, 2, 29), None);
        assert_eq!(Date::new(2026, 13, 1), None);
        assert!(Date::new(2028, 2, 29).is_some());
        assert_eq!(Wall::new(Date { year: 2026, month: 3, day: 8 }, 2, 30, 5).to_string(), "2026-03-08 02:30:05");
    }

    proptest! {
        #[test]
        fn each_day_follows_the_one_before(days in -1_000_000i64..1_000_000) {
            let (date, next) = (Date::from_days(days), Date::from_days(days + 1));
            prop_assert_eq!(date.days(), days);
            let expected = if date.day < days_in_month(date.year, date.month) {
                Date { day: date.day + 1, ..date }
            } else if date.month < 12 {
                Date { month: date.month + 1, day: 1, ..date }
            } else {
                Date { year: date.year + 1, month: 1, day: 1 }
            };
            prop_assert_eq!(next, expected);
        }
    }
}
