//! Days that come again, as RFC 5545 says it (`RRULE`): yearly, monthly, weekly, daily.
//!
//! Each rule is a predicate: of the days of a period (a year's months, a month, a week, a day) those are taken that fit. What the
//! standard calls expanding and limiting is then the same.

use super::wall::{Date, YEAR_MAX, days_in_month, is_leap};
use alloc::boxed::Box;
use alloc::vec::Vec;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recurrence {
    pub every: Every,
    /// Only each so many-th of these periods; not 0.
    pub interval: u32,
    /// Bits 1 to 12; none: whichever.
    pub months: u16,
    /// 1 to 31, or -1 for the last day, down to -31.
    pub month_days: Vec<i8>,
    pub weekdays: Vec<NthDay>,
    /// Weeks begin on it; 0 is Sunday. It matters when not each week counts.
    pub week_start: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    Year,
    Month,
    Week,
    Day,
}

/// A day of the week: each, or the n-th in its month (in its year, if the rule names no month).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NthDay {
    /// Never 0; negative: from the end.
    pub nth: Option<i8>,
    /// 0 is Sunday.
    pub weekday: u8,
}

const LAST: i64 = Date { year: YEAR_MAX, month: 12, day: 31 }.days();

impl Recurrence {
    pub const fn new(every: Every) -> Recurrence {
        Recurrence { every, interval: 1, months: 0, month_days: Vec::new(), weekdays: Vec::new(), week_start: 1 }
    }

    /// The days that fit, in order, from the first one on up to the end of 2199.
    pub fn days(&self, first: Date) -> impl Iterator<Item = Date> + '_ {
        self.walk(first, first).flatten()
    }

    /// As `days`, and `None` for each day that was looked at and does not fit: a rule may have few days and a long way to
    /// each. Days in periods that end before `from` are not looked at.
    pub fn walk(&self, first: Date, from: Date) -> impl Iterator<Item = Option<Date>> + '_ {
        let interval = i64::from(self.interval.max(1));
        // No period is longer than that; the first that matters is not passed over.
        let (gap, longest) = ((from.days() - first.days()).max(0), self.longest());
        let passed = (gap / longest - 1).max(0) / interval;
        let periods = (passed..).map(move |n: i64| n.saturating_mul(interval));
        let fits = move |day: Date| day >= first && day.days() <= LAST && self.fits(day, first);
        let days = periods.map_while(move |n| self.period(first, n)).flatten().map(Date::from_days);
        days.map(move |day| fits(day).then_some(day))
    }

    /// Whether the first day is one of them.
    pub fn begins(&self, first: Date) -> bool {
        first.days() <= LAST && self.fits(first, first)
    }

    /// A period has at most so many days.
    const fn longest(&self) -> i64 {
        match self.every {
            Every::Year => 366,
            Every::Month => 31,
            Every::Week => 7,
            Every::Day => 1,
        }
    }

    /// Days among which those of the n-th period after the first one are. `None`: schedules do not know it any more.
    fn period(&self, first: Date, n: i64) -> Option<Box<dyn Iterator<Item = i64> + '_>> {
        let month = |year: i64, month: u8| {
            let year = i32::try_from(year).ok().filter(|year| *year <= YEAR_MAX)?;
            let start = Date { year, month, day: 1 }.days();
            Some(start..start + i64::from(days_in_month(year, month)))
        };
        Some(match self.every {
            Every::Day => {
                let day = first.days() + n;
                Box::new((day <= LAST).then_some(day)?..=day)
            }
            Every::Week => {
                let before = (7 + first.weekday() - self.week_start % 7) % 7;
                let start = first.days() - i64::from(before) + 7 * n;
                Box::new((start <= LAST).then_some(start)?..start + 7)
            }
            Every::Month => {
                let months = i64::from(first.year) * 12 + i64::from(first.month) - 1 + n;
                Box::new(month(months.div_euclid(12), months.rem_euclid(12) as u8 + 1)?)
            }
            Every::Year => {
                let year = i64::from(first.year) + n;
                month(year, 1)?;
                let months = (1..=12).filter(move |month| self.fits_month(*month, first));
                Box::new(months.filter_map(move |of| month(year, of)).flatten())
            }
        })
    }

    fn fits_month(&self, month: u8, first: Date) -> bool {
        if self.months != 0 {
            return self.months >> month & 1 == 1;
        }
        // A yearly day that says no more is that of the first time.
        let says_no_more = self.month_days.is_empty() && self.weekdays.is_empty();
        !(self.every == Every::Year && says_no_more) || month == first.month
    }

    fn fits(&self, day: Date, first: Date) -> bool {
        let length = days_in_month(day.year, day.month) as i8;
        let in_month = self.month_days.is_empty()
            || self.month_days.iter().any(|n| if *n < 0 { length + 1 + n } else { *n } == day.day as i8);
        let in_week = self.weekdays.is_empty() || self.weekdays.iter().any(|nth| self.is_nth(day, *nth));
        let by_default = !(self.month_days.is_empty() && self.weekdays.is_empty())
            || match self.every {
                Every::Year | Every::Month => day.day == first.day,
                Every::Week => day.weekday() == first.weekday(),
                Every::Day => true,
            };
        self.fits_month(day.month, first) && in_month && in_week && by_default
    }

    fn is_nth(&self, day: Date, NthDay { nth, weekday }: NthDay) -> bool {
        if day.weekday() != weekday {
            return false;
        }
        let Some(nth) = nth else { return true };
        // Days before it and after it, in what is counted through.
        let (before, after) = if self.every == Every::Year && self.months == 0 {
            let before = day.days() - Date { year: day.year, month: 1, day: 1 }.days();
            (before, 364 + i64::from(is_leap(day.year)) - before)
        } else {
            (i64::from(day.day) - 1, i64::from(days_in_month(day.year, day.month) - day.day))
        };
        i64::from(nth) == if nth > 0 { before / 7 + 1 } else { -(after / 7 + 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::format;
    use std::string::String;

    fn date(text: &str) -> Date {
        let number = |range: core::ops::Range<usize>| text[range].parse::<u16>().expect("a number");
        Date::new(number(0..4).into(), number(5..7) as u8, number(8..10) as u8).expect("a date")
    }

    fn first(rule: &Recurrence, from: &str, n: usize) -> String {
        let days: Vec<String> = rule.days(date(from)).take(n).map(|day| format!("{day}")).collect();
        days.join(" ")
    }

    fn each(weekday: u8) -> NthDay {
        NthDay { nth: None, weekday }
    }

    fn nth(nth: i8, weekday: u8) -> NthDay {
        NthDay { nth: Some(nth), weekday }
    }

    /// The examples of RFC 5545, 3.8.5.3, as far as they are about days.
    #[test]
    fn examples_of_the_standard() {
        let of = Recurrence::new;
        for (what, rule, from, days) in [
            (
                "every other day",
                Recurrence { interval: 2, ..of(Every::Day) },
                "1997-09-02",
                "1997-09-02 1997-09-04 1997-09-06",
            ),
            (
                "every day in January",
                Recurrence { months: 1 << 1, ..of(Every::Day) },
                "1998-01-30",
                "1998-01-30 1998-01-31 1999-01-01",
            ),
            (
                "weekly on Tuesday and Thursday",
                Recurrence { weekdays: Vec::from([each(2), each(4)]), ..of(Every::Week) },
                "1997-09-02",
                "1997-09-02 1997-09-04 1997-09-09 1997-09-11",
            ),
            (
                "every other week on Monday, Wednesday, Friday, weeks from Sunday",
                Recurrence {
                    interval: 2,
                    week_start: 0,
                    weekdays: Vec::from([each(1), each(3), each(5)]),
                    ..of(Every::Week)
                },
                "1997-09-01",
                "1997-09-01 1997-09-03 1997-09-05 1997-09-15 1997-09-17",
            ),
            (
                "weeks that begin on Monday",
                Recurrence { interval: 2, weekdays: Vec::from([each(2), each(0)]), ..of(Every::Week) },
                "1997-08-05",
                "1997-08-05 1997-08-10 1997-08-19 1997-08-24",
            ),
            (
                "and on Sunday",
                Recurrence { interval: 2, week_start: 0, weekdays: Vec::from([each(2), each(0)]), ..of(Every::Week) },
                "1997-08-05",
                "1997-08-05 1997-08-17 1997-08-19 1997-08-31",
            ),
            (
                "monthly on the first Friday",
                Recurrence { weekdays: Vec::from([nth(1, 5)]), ..of(Every::Month) },
                "1997-09-05",
                "1997-09-05 1997-10-03 1997-11-07",
            ),
            (
                "every other month on the first and last Sunday",
                Recurrence { interval: 2, weekdays: Vec::from([nth(1, 0), nth(-1, 0)]), ..of(Every::Month) },
                "1997-09-07",
                "1997-09-07 1997-09-28 1997-11-02 1997-11-30",
            ),
            (
                "monthly on the second-to-last Monday",
                Recurrence { weekdays: Vec::from([nth(-2, 1)]), ..of(Every::Month) },
                "1997-09-22",
                "1997-09-22 1997-10-20 1997-11-17",
            ),
            (
                "monthly on the third-to-the-last day",
                Recurrence { month_days: Vec::from([-3]), ..of(Every::Month) },
                "1997-09-28",
                "1997-09-28 1997-10-29 1997-11-28",
            ),
            (
                "every 18 months on the 10th through the 12th",
                Recurrence { interval: 18, month_days: Vec::from([10, 11, 12]), ..of(Every::Month) },
                "1997-09-10",
                "1997-09-10 1997-09-11 1997-09-12 1999-03-10",
            ),
            (
                "yearly in June and July",
                Recurrence { months: 1 << 6 | 1 << 7, ..of(Every::Year) },
                "1997-06-10",
                "1997-06-10 1997-07-10 1998-06-10",
            ),
            (
                "the 20th Monday of the year",
                Recurrence { weekdays: Vec::from([nth(20, 1)]), ..of(Every::Year) },
                "1997-05-19",
                "1997-05-19 1998-05-18 1999-05-17",
            ),
            (
                "every Thursday in March",
                Recurrence { months: 1 << 3, weekdays: Vec::from([each(4)]), ..of(Every::Year) },
                "1997-03-13",
                "1997-03-13 1997-03-20 1997-03-27 1998-03-05",
            ),
            (
                "every Friday the 13th",
                Recurrence { month_days: Vec::from([13]), weekdays: Vec::from([each(5)]), ..of(Every::Month) },
                "1998-02-13",
                "1998-02-13 1998-03-13 1998-11-13 1999-08-13 2000-10-13",
            ),
            (
                "the U.S. day of elections",
                Recurrence {
                    interval: 4,
                    months: 1 << 11,
                    weekdays: Vec::from([each(2)]),
                    month_days: (2..=8).collect(),
                    ..of(Every::Year)
                },
                "1996-11-05",
                "1996-11-05 2000-11-07 2004-11-02",
            ),
            (
                "an invalid date is ignored",
                Recurrence { month_days: Vec::from([15, 30]), ..of(Every::Month) },
                "2007-01-15",
                "2007-01-15 2007-01-30 2007-02-15 2007-03-15 2007-03-30",
            ),
            ("a leap day", of(Every::Year), "2096-02-29", "2096-02-29 2104-02-29"),
            ("the last day that there is", of(Every::Day), "2199-12-30", "2199-12-30 2199-12-31"),
        ] {
            let n = days.split(' ').count();
            assert_eq!(first(&rule, from, if what.contains("that there is") { 9 } else { n }), days, "{what}");
        }
    }

    #[test]
    fn it_ends_also_when_nothing_fits() {
        let never = Recurrence { months: 1 << 2, month_days: Vec::from([30]), ..Recurrence::new(Every::Year) };
        assert_eq!(never.days(date("1970-01-01")).next(), None);
        let far = Recurrence { interval: u32::MAX, ..Recurrence::new(Every::Year) };
        assert_eq!(far.days(date("1970-01-01")).count(), 1);
    }

    fn rules() -> impl Strategy<Value = Recurrence> {
        let every = prop_oneof![Just(Every::Year), Just(Every::Month), Just(Every::Week), Just(Every::Day)];
        let month_day = prop_oneof![1i8..=31, -31i8..=-1];
        let weekday = (proptest::option::of(prop_oneof![1i8..=5, -5i8..=-1]), 0u8..7);
        let weekdays = proptest::collection::vec(weekday, 0..3);
        (
            every,
            1u32..5,
            0u16..0x2000,
            proptest::bool::ANY,
            proptest::collection::vec(month_day, 0..3),
            weekdays,
            0u8..7,
        )
            .prop_map(|(every, interval, months, any, month_days, weekdays, week_start)| {
                let counts = matches!(every, Every::Year | Every::Month);
                let weekdays = weekdays.into_iter();
                Recurrence {
                    every,
                    interval,
                    months: if any { 0 } else { months & !1 },
                    month_days: if every == Every::Week { Vec::new() } else { month_days },
                    weekdays: weekdays.map(|(nth, weekday)| NthDay { nth: nth.filter(|_| counts), weekday }).collect(),
                    week_start,
                }
            })
    }

    /// Day by day, each asked alone, and what is the n-th of a month counted through.
    fn slow(rule: &Recurrence, first: Date, until: Date) -> Vec<Date> {
        let walk = (first.days()..=until.days()).map(Date::from_days);
        let week = |day: Date| (day.days() + 4 - i64::from(rule.week_start)).div_euclid(7);
        let month = |day: Date| i64::from(day.year) * 12 + i64::from(day.month);
        let bare = rule.month_days.is_empty() && rule.weekdays.is_empty();
        let of_month =
            |day: Date| (1..=31).filter_map(move |n| Date::new(day.year, day.month, n)).collect::<Vec<Date>>();
        let of_year = |day: Date| {
            (1..=12).flat_map(move |m| (1..=31).filter_map(move |n| Date::new(day.year, m, n))).collect::<Vec<Date>>()
        };
        walk.filter(|day| {
            let passed = match rule.every {
                Every::Year => i64::from(day.year - first.year),
                Every::Month => month(*day) - month(first),
                Every::Week => week(*day) - week(first),
                Every::Day => day.days() - first.days(),
            };
            let in_turn = passed % i64::from(rule.interval) == 0;
            let months = rule.months == 0 || (1..=12).any(|m| rule.months >> m & 1 == 1 && m == day.month);
            let all = of_month(*day);
            let month_days = rule.month_days.is_empty()
                || rule.month_days.iter().any(|n| {
                    let at = if *n > 0 { i64::from(*n) - 1 } else { all.len() as i64 + i64::from(*n) };
                    usize::try_from(at).is_ok_and(|at| all.get(at) == Some(day))
                });
            let scope = if rule.every == Every::Year && rule.months == 0 { of_year(*day) } else { all };
            let weekdays = rule.weekdays.is_empty()
                || rule.weekdays.iter().any(|which| {
                    let such: Vec<Date> = scope.iter().copied().filter(|d| d.weekday() == which.weekday).collect();
                    match which.nth {
                        None => such.contains(day),
                        Some(n) if n > 0 => such.get(n as usize - 1) == Some(day),
                        Some(n) => such.iter().rev().nth(n.unsigned_abs() as usize - 1) == Some(day),
                    }
                });
            let as_first = !bare
                || match rule.every {
                    Every::Year => day.day == first.day && (rule.months != 0 || day.month == first.month),
                    Every::Month => day.day == first.day,
                    Every::Week => day.weekday() == first.weekday(),
                    Every::Day => true,
                };
            in_turn && months && month_days && weekdays && as_first
        })
        .collect()
    }

    proptest! {
        #[test]
        fn it_is_what_a_walk_finds(rule in rules(), first in 0i64..40_000) {
            let first = Date::from_days(first);
            let until = Date::from_days(first.days() + 2500);
            let fast: Vec<Date> = rule.days(first).take_while(|day| *day <= until).collect();
            prop_assert_eq!(fast, slow(&rule, first, until));
            prop_assert_eq!(rule.begins(first), rule.days(first).next() == Some(first));
        }

        #[test]
        fn what_lies_before_is_passed_over(rule in rules(), first in 0i64..40_000, after in 0i64..20_000) {
            let (first, from) = (Date::from_days(first), Date::from_days(first + after));
            let near: Vec<Date> = rule.walk(first, from).flatten().filter(|day| *day >= from).take(50).collect();
            let all: Vec<Date> = rule.days(first).filter(|day| *day >= from).take(50).collect();
            prop_assert_eq!(near, all);
        }
    }
}
