//! A set of wall-clock readings: which seconds, minutes, hours, days, months and years belong to it.
//!
//! Both languages, cron's and systemd's, end here. Sets are bits, so the next and the last reading are found by counting zeros,
//! month by month, and never by trying one minute after the other.

use super::wall::{DAY, Date, Wall, YEAR_MAX, YEAR_MIN, days_in_month, weekday};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Bits 0 to 59.
    pub(super) seconds: u64,
    /// Bits 0 to 59.
    pub(super) minutes: u64,
    /// Bits 0 to 23.
    pub(super) hours: u32,
    pub(super) days: Days,
    /// Bits 1 to 12.
    pub(super) months: u16,
    pub(super) years: Years,
    /// Whether hour and minute are times of day that somebody wrote down. Else the pattern follows real time.
    pub(super) fixed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Days {
    pub(super) month: MonthDays,
    pub(super) week: WeekDays,
    pub(super) join: Join,
}

/// How the day of the month and the day of the week come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// Both must match. Where only one of them is restricted this is all there is.
    Both,
    /// Either is enough: what cron does when both are restricted.
    Either,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct MonthDays {
    /// Bits 1 to 31.
    pub(super) days: u32,
    /// Bit 0 is the last day, bit 1 the one before it, up to bit 30.
    pub(super) from_end: u32,
    /// Bits 1 to 31: the day of Monday to Friday nearest to it, within the month.
    pub(super) nearest: u32,
    /// The last of Monday to Friday.
    pub(super) last_workday: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct WeekDays {
    /// Bits 0 (Sunday) to 6.
    pub(super) days: u8,
    /// Of each weekday bits 1 to 5: the first to the fifth of the month.
    pub(super) nth: [u8; 7],
    /// Bits 0 to 6: the last such day of the month.
    pub(super) last: u8,
}

/// Bits of the years 1970 to 2199.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Years([u64; 4]);

pub(super) const ALL_60: u64 = (1 << 60) - 1;
pub(super) const ALL_HOURS: u32 = (1 << 24) - 1;
pub(super) const ALL_MONTH_DAYS: u32 = !1;
pub(super) const ALL_MONTHS: u16 = 0b1_1111_1111_1110;
pub(super) const ALL_WEEK_DAYS: u8 = 0x7f;

impl Years {
    pub(super) const NONE: Years = Years([0; 4]);
    pub(super) const ALL: Years = {
        let mut years = Years::NONE;
        let mut year = YEAR_MIN;
        while year <= YEAR_MAX {
            years = years.with(year);
            year += 1;
        }
        years
    };
    /// A year that schedules do not know changes nothing.
    #[must_use]
    pub(super) const fn with(mut self, year: i32) -> Years {
        if year >= YEAR_MIN && year <= YEAR_MAX {
            let bit = (year - YEAR_MIN) as usize;
            self.0[bit / 64] |= 1 << (bit % 64);
        }
        self
    }
    pub(super) const fn has(self, year: i32) -> bool {
        if year < YEAR_MIN || year > YEAR_MAX {
            return false;
        }
        let bit = (year - YEAR_MIN) as usize;
        self.0[bit / 64] >> (bit % 64) & 1 == 1
    }
    pub(super) fn iter(self) -> impl Iterator<Item = i32> {
        (YEAR_MIN..=YEAR_MAX).filter(move |year| self.has(*year))
    }
}

impl MonthDays {
    pub(super) const ANY: MonthDays = MonthDays { days: ALL_MONTH_DAYS, from_end: 0, nearest: 0, last_workday: false };

    pub(super) fn is_any(&self) -> bool {
        self.days == ALL_MONTH_DAYS
    }

    fn of(&self, length: u8, first: u8) -> u32 {
        let mut mask = self.days;
        if self.from_end != 0 {
            for back in bits(u64::from(self.from_end)).filter(|back| *back < length) {
                mask |= 1 << (length - back);
            }
        }
        for day in bits(u64::from(self.nearest)).filter(|day| *day <= length) {
            mask |= 1 << nearest_workday(day, length, first);
        }
        if self.last_workday {
            mask |= 1
                << match weekday_of(length, first) {
                    0 => length - 2,
                    6 => length - 1,
                    _ => length,
                };
        }
        mask
    }
}

impl WeekDays {
    pub(super) const ANY: WeekDays = WeekDays { days: ALL_WEEK_DAYS, nth: [0; 7], last: 0 };

    pub(super) fn is_any(&self) -> bool {
        self.days == ALL_WEEK_DAYS
    }

    fn of(&self, length: u8, first: u8) -> u32 {
        /// The 1st, 8th, 15th, 22nd and 29th.
        const SAME: u32 = 0b0010_0000_0100_0000_1000_0001_0000_0010;
        let within = u32::MAX >> (31 - length);
        let mut mask = 0;
        for day in 0..7u8 {
            let start = (day + 7 - first) % 7;
            let all = (SAME << start) & within;
            if self.days >> day & 1 == 1 {
                mask |= all;
            }
            let nth = bits(u64::from(self.nth[usize::from(day)])).map(|nth| 1 + start + 7 * (nth - 1));
            for day in nth.filter(|day| *day <= length) {
                mask |= 1 << day;
            }
            if self.last >> day & 1 == 1 {
                mask |= 1 << (31 - all.leading_zeros());
            }
        }
        mask
    }
}

const fn weekday_of(day: u8, first: u8) -> u8 {
    (first + day - 1) % 7
}

/// The day of Monday to Friday nearest to `day`, which may be days away at the ends of a month but never leaves it.
const fn nearest_workday(day: u8, length: u8, first: u8) -> u8 {
    match weekday_of(day, first) {
        6 if day == 1 => 3,
        6 => day - 1,
        0 if day == length => day - 2,
        0 => day + 1,
        _ => day,
    }
}

/// The numbers of the bits that are set, in order.
pub(super) fn bits(mut mask: u64) -> impl Iterator<Item = u8> {
    core::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let bit = mask.trailing_zeros() as u8;
        mask &= mask - 1;
        Some(bit)
    })
}

/// The least bit that is set at or above `from`.
const fn at_least(mask: u64, from: u32) -> Option<u32> {
    if from >= 64 {
        return None;
    }
    let rest = mask >> from << from;
    if rest == 0 { None } else { Some(rest.trailing_zeros()) }
}

/// The greatest bit that is set at or below `to`, which is less than 64.
const fn at_most(mask: u64, to: u32) -> Option<u32> {
    let rest = mask << (63 - to) >> (63 - to);
    if rest == 0 { None } else { Some(63 - rest.leading_zeros()) }
}

impl Pattern {
    /// Days of that month, as bits 1 to 31.
    pub(super) fn days_of(&self, year: i32, month: u8) -> u32 {
        if self.months >> month & 1 == 0 || !self.years.has(year) {
            return 0;
        }
        let length = days_in_month(year, month);
        let within = (u32::MAX >> (31 - length)) & !1;
        let first = weekday(Date { year, month, day: 1 }.days());
        let of_month = || self.days.month.of(length, first);
        let of_week = || self.days.week.of(length, first);
        within
            & match self.days.join {
                Join::Either => of_month() | of_week(),
                Join::Both if self.days.month.is_any() && self.days.week.is_any() => u32::MAX,
                Join::Both if self.days.month.is_any() => of_week(),
                Join::Both if self.days.week.is_any() => of_month(),
                Join::Both => of_month() & of_week(),
            }
    }

    /// Whether there is any reading at all.
    pub(super) fn ever(&self) -> bool {
        let times = self.seconds != 0 && self.minutes != 0 && self.hours != 0;
        times && (YEAR_MIN..=YEAR_MAX).any(|year| (1..=12).any(|month| self.days_of(year, month) != 0))
    }

    /// The first reading at or after `from` and before `end`.
    pub(super) fn next(&self, from: Wall, end: Wall) -> Option<Wall> {
        let from = from.max(Wall::new(Date { year: YEAR_MIN, month: 1, day: 1 }, 0, 0, 0));
        if from >= end {
            return None;
        }
        let Date { mut year, mut month, day } = from.date();
        let mut days = self.days_of(year, month) >> day << day;
        if days >> day & 1 == 1 {
            if let Some(second) = self.time_from(from.second_of_day()) {
                let wall = Wall(from.0 - i64::from(from.second_of_day()) + i64::from(second));
                return (wall < end).then_some(wall);
            }
            days &= !(1 << day);
        }
        while days == 0 {
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            if year > YEAR_MAX || Wall::new(Date { year, month, day: 1 }, 0, 0, 0) >= end {
                return None;
            }
            days = self.days_of(year, month);
        }
        let date = Date { year, month, day: days.trailing_zeros() as u8 };
        let wall = Wall(date.days() * DAY + i64::from(self.time_from(0)?));
        (wall < end).then_some(wall)
    }

    /// The last reading at or after `from` and before `end`.
    pub(super) fn last(&self, from: Wall, end: Wall) -> Option<Wall> {
        if from >= end {
            return None;
        }
        let until = end.plus(-1).min(Wall::new(Date { year: YEAR_MAX, month: 12, day: 31 }, 23, 59, 59));
        let Date { mut year, mut month, day } = until.date();
        let mut days = self.days_of(year, month) & (u32::MAX >> (31 - day));
        if days >> day & 1 == 1 {
            if let Some(second) = self.time_until(until.second_of_day()) {
                let wall = Wall(until.0 - i64::from(until.second_of_day()) + i64::from(second));
                return (wall >= from).then_some(wall);
            }
            days &= !(1 << day);
        }
        while days == 0 {
            if year < YEAR_MIN || Wall::new(Date { year, month, day: 1 }, 0, 0, 0) <= from {
                return None;
            }
            (year, month) = if month == 1 { (year - 1, 12) } else { (year, month - 1) };
            days = self.days_of(year, month);
        }
        let date = Date { year, month, day: 31 - days.leading_zeros() as u8 };
        let wall = Wall(date.days() * DAY + i64::from(self.time_until(86_399)?));
        (wall >= from).then_some(wall)
    }

    /// The first time of day at or after that second of the day.
    fn time_from(&self, second_of_day: u32) -> Option<u32> {
        let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        let hours = u64::from(self.hours);
        if hours >> hour & 1 == 1 {
            if self.minutes >> minute & 1 == 1
                && let Some(second) = at_least(self.seconds, second)
            {
                return Some(hour * 3600 + minute * 60 + second);
            }
            if let Some(minute) = at_least(self.minutes, minute + 1) {
                return Some(hour * 3600 + minute * 60 + at_least(self.seconds, 0)?);
            }
        }
        let hour = at_least(hours, hour + 1)?;
        Some(hour * 3600 + at_least(self.minutes, 0)? * 60 + at_least(self.seconds, 0)?)
    }

    /// The last time of day at or before that second of the day.
    fn time_until(&self, second_of_day: u32) -> Option<u32> {
        let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        let hours = u64::from(self.hours);
        if hours >> hour & 1 == 1 {
            if self.minutes >> minute & 1 == 1
                && let Some(second) = at_most(self.seconds, second)
            {
                return Some(hour * 3600 + minute * 60 + second);
            }
            if let Some(minute) = minute.checked_sub(1).and_then(|to| at_most(self.minutes, to)) {
                return Some(hour * 3600 + minute * 60 + at_most(self.seconds, 59)?);
            }
        }
        let hour = hour.checked_sub(1).and_then(|to| at_most(hours, to))?;
        Some(hour * 3600 + at_most(self.minutes, 59)? * 60 + at_most(self.seconds, 59)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn any_pattern() -> impl Strategy<Value = Pattern> {
        let sparse = |all: u64| {
            prop_oneof![
                Just(all),
                any::<u64>().prop_map(move |n| n & all),
                (0u32..60).prop_map(move |n| (1u64 << n) & all)
            ]
        };
        let month = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<bool>()).prop_map(
            |(days, also, from_end, nearest, last_workday)| MonthDays {
                days: days & also & !1,
                from_end: from_end & also & days & (u32::MAX >> 1),
                nearest: nearest & also & days & !1,
                last_workday,
            },
        );
        let week = (any::<u8>(), any::<[u8; 7]>(), any::<u8>()).prop_map(|(days, nth, last)| WeekDays {
            days: days & 0x7f & last,
            nth: nth.map(|n| n & 0b11_1110 & days),
            last: last & 0x55,
        });
        let days =
            (prop_oneof![Just(MonthDays::ANY), month], prop_oneof![Just(WeekDays::ANY), week], any::<bool>()).prop_map(
                |(month, week, either)| Days { month, week, join: if either { Join::Either } else { Join::Both } },
            );
        (sparse(ALL_60), sparse(ALL_60), sparse(u64::from(ALL_HOURS)), days, sparse(u64::from(ALL_MONTHS))).prop_map(
            |(seconds, minutes, hours, days, months)| Pattern {
                seconds,
                minutes,
                hours: hours as u32,
                days,
                months: months as u16,
                years: Years::ALL,
                fixed: true,
            },
        )
    }

    fn slow_day(pattern: &Pattern, date: Date) -> bool {
        let length = days_in_month(date.year, date.month);
        let (day, weekday) = (date.day, date.weekday());
        let wd = |day: u8| Date { day, ..date }.weekday();
        let work = |day: u8| (1..=5).contains(&wd(day));
        let m = pattern.days.month;
        let nearest = |wanted: u8| {
            wanted <= length
                && (1..=length)
                    .filter(|d| work(*d))
                    .min_by_key(|d| (d.abs_diff(wanted), wd(wanted) == 6 && *d > wanted))
                    == Some(day)
        };
        let of_month = m.days >> day & 1 == 1
            || m.from_end >> (length - day) & 1 == 1
            || (1..=31).any(|wanted| m.nearest >> wanted & 1 == 1 && nearest(wanted))
            || m.last_workday && work(day) && !(day + 1..=length).any(work);
        let w = pattern.days.week;
        let of_week = w.days >> weekday & 1 == 1
            || w.nth[usize::from(weekday)] >> (1 + (day - 1) / 7) & 1 == 1
            || w.last >> weekday & 1 == 1 && day + 7 > length;
        pattern.months >> date.month & 1 == 1
            && match pattern.days.join {
                Join::Both => of_month && of_week,
                Join::Either => of_month || of_week,
            }
    }

    proptest! {
        #[test]
        fn days_are_those_of_the_definition(pattern in any_pattern(), year in 1970i32..2200, month in 1u8..=12) {
            let mask = pattern.days_of(year, month);
            for day in 1..=days_in_month(year, month) {
                let date = Date { year, month, day };
                prop_assert_eq!(mask >> day & 1 == 1, slow_day(&pattern, date), "{}", date);
            }
            prop_assert_eq!(mask & 1, 0);
        }

        #[test]
        fn next_and_last_agree_with_a_walk(pattern in any_pattern(), from in 0i64..7_000_000_000, length in 0i64..200_000) {
            let (from, end) = (Wall(from), Wall(from + length));
            let of_time = |wall: Wall| {
                pattern.hours >> wall.hour() & 1 == 1 && pattern.minutes >> wall.minute() & 1 == 1 && pattern.seconds >> wall.second() & 1 == 1
            };
            let all: Vec<Wall> = (from.0..end.0).map(Wall).filter(|wall| of_time(*wall)).filter(|wall| slow_day(&pattern, wall.date())).collect();
            prop_assert_eq!(pattern.next(from, end), all.first().copied());
            prop_assert_eq!(pattern.last(from, end), all.last().copied());
        }
    }
}
