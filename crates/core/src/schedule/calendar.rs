//! systemd's calendar language, as systemd.time(7) tells it: `Mon..Fri *-*-* 08:30`, `*-*~07/1`, `*-*-* 00/2:00`.
//!
//! Where systemd says no and the meaning is plain, as `Sat..Mon` and `22..2`, kin says yes. Fractions of seconds are refused.

use super::Named;
use super::near;
use super::pattern::{ALL_60, ALL_HOURS, ALL_MONTHS, Days, Join, MonthDays, Pattern, WeekDays, Years};
use super::problem::{Field, Found, Part, Problems};
use super::remark::{self, Remark};
use super::wall::{Date, Wall, YEAR_MAX, YEAR_MIN};
use super::words::weekday_name;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const SHORTHANDS: [(&str, &str); 13] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
    ("anually", "*-01-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("semi-annually", "*-01,07-01 00:00:00"),
    ("biannually", "*-01,07-01 00:00:00"),
    ("bi-annually", "*-01,07-01 00:00:00"),
];

#[derive(Debug)]
pub(super) struct Calendar {
    pub(super) pattern: Pattern,
    /// The zone that the text itself names.
    pub(super) zone: Option<Named>,
    pub(super) remarks: Vec<Remark>,
}

pub(super) fn parse(whole: Part<'_>) -> Result<Calendar, Problems> {
    let mut words: Vec<Part<'_>> = whole.words().collect();
    let mut zone = None;
    let first = words.first().map_or("", |word| word.text).to_ascii_lowercase();
    let shorthand = SHORTHANDS.iter().find(|(name, _)| *name == first).map(|(_, text)| *text);
    let is_zone =
        |word: &Part<'_>| word.text.starts_with(|c: char| c.is_ascii_alphabetic()) && !word.text.contains(':');
    if words.len() > 1 && words.last().is_some_and(is_zone) {
        zone = words.pop();
    }
    if let Some(half) = zone.filter(|word| ["am", "pm"].iter().any(|half| word.text.eq_ignore_ascii_case(half))) {
        let what = "hours go from 0 to 23 here, without AM and PM; 8:30 PM is written 20:30";
        return Err(half.problem(Some(Field::Hour), what).into());
    }
    let zone = zone.map(|word| Named { zone: word.text.to_string(), column: word.column });
    if let Some(text) = shorthand {
        if let Some(extra) = words.get(1) {
            return Err(extra.problem(None, "only a time zone may follow a shorthand").into());
        }
        return parse(Part::whole(text)).map(|calendar| Calendar { zone, ..calendar });
    }
    let mut reader = Reader { found: Found::default(), time: None };
    let mut pattern = Pattern {
        seconds: 1,
        minutes: 1,
        hours: 1,
        days: Days { month: MonthDays::ANY, week: WeekDays::ANY, join: Join::Both },
        months: ALL_MONTHS,
        years: Years::ALL,
        fixed: true,
    };
    let mut rest = words.as_slice();
    if let Some((word, after)) = rest.split_first().filter(|(w, _)| w.text.starts_with(|c: char| c.is_alphabetic())) {
        pattern.days.week = reader.weekdays(*word);
        rest = after;
    }
    let mut dated = None;
    if let Some((word, after)) =
        rest.split_first().filter(|(w, _)| !w.text.contains(':') && w.text.contains(['-', '~']))
    {
        reader.date(*word, &mut pattern);
        dated = Some(*word);
        rest = after;
    }
    if let Some((word, after)) = rest.split_first().filter(|(w, _)| w.text.contains(':')) {
        reader.time(*word, &mut pattern);
        rest = after;
    }
    if let Some(word) = rest.first() {
        let what = "is neither a date as *-*-01 nor a time as 08:30; the order is weekday, date, time, zone";
        reader.found.add(*word, None, format!("{:?} {what}", word.text));
    } else if words.is_empty() {
        let what = "it is empty; write weekday, date and time as \"Mon..Fri *-*-* 08:30\", or daily, weekly, monthly";
        reader.found.add(whole, None, what);
    }
    if reader.found.is_empty() && !pattern.ever() {
        let mut any_weekday = pattern.clone();
        any_weekday.days.week = WeekDays::ANY;
        let (from, to) = (first_of(YEAR_MIN), first_of(YEAR_MAX + 1));
        if let Some(day) = any_weekday.next(from, to).map(Wall::date) {
            let on = weekday_name(day.weekday());
            let what = format!("it never fires: no such day falls on these days of the week; {day} is a {on}");
            reader.found.add(words[0], Some(Field::DayOfWeek), what);
        } else {
            let what = "it never fires: there is no such day; for the last day of a month write *-*~01";
            reader.found.add(dated.unwrap_or(whole), Some(Field::DayOfMonth), what);
        }
    }
    let mut remarks = Vec::new();
    if reader.found.is_empty() {
        let time = reader.time.unwrap_or_default();
        let at = |field: Field| match field {
            Field::Hour => time[0],
            Field::Minute => time[1],
            Field::Second => time[2],
            Field::DayOfMonth | Field::Month | Field::DayOfWeek | Field::Year | Field::Zone => "*",
        };
        remark::of_calendar(&pattern, &at, &mut remarks);
    }
    reader.found.or(Calendar { pattern, zone, remarks })
}

struct Reader<'a> {
    found: Found,
    /// The texts of hour, minute and second.
    time: Option<[&'a str; 3]>,
}

impl<'a> Reader<'a> {
    fn weekdays(&mut self, word: Part<'_>) -> WeekDays {
        let mut days = 0u8;
        // systemd lets the list end in a comma.
        let list =
            word.text.strip_suffix(',').filter(|rest| !rest.is_empty()).map_or(word, |rest| word.until(rest.len()));
        for item in list.pieces(",") {
            let ends = item.split("..").or_else(|| item.split("-"));
            let (low, high) = match ends {
                Some((low, high)) => (self.weekday(low), self.weekday(high)),
                None => {
                    let day = self.weekday(item);
                    (day, day)
                }
            };
            let (Some(low), Some(high)) = (low, high) else { continue };
            let high = if low > high { high + 7 } else { high };
            (low..=high).for_each(|day| days |= 1 << (day % 7));
        }
        WeekDays { days, ..WeekDays::default() }
    }

    fn weekday(&mut self, part: Part<'_>) -> Option<usize> {
        let known = |name: &&str| name.eq_ignore_ascii_case(part.text) || name[..3].eq_ignore_ascii_case(part.text);
        if let Some(at) = WEEKDAYS.iter().position(known) {
            return Some(at);
        }
        let shorthands = SHORTHANDS.map(|(name, _)| name);
        let short = WEEKDAYS.map(|name| &name[..3]);
        let meant = near::one_of(part.text, &short)
            .or_else(|| near::one_of(part.text, &WEEKDAYS))
            .or_else(|| near::one_of(part.text, &shorthands));
        let message = match (part.text, meant) {
            ("", _) => String::from("a weekday is missing; write as Mon,Wed or Mon..Fri"),
            (text, Some(name)) => format!("{text:?} is no weekday; did you mean {name}?"),
            (text, None) => format!("{text:?} is no weekday; write Mon to Sun, as Mon,Wed or Mon..Fri"),
        };
        self.found.add(part, Some(Field::DayOfWeek), message);
        None
    }

    fn date(&mut self, word: Part<'_>, pattern: &mut Pattern) {
        // The day is counted from the end of the month after a ~.
        let (before, day, from_end) = match word.split("~") {
            Some((before, day)) => (before, day, true),
            None => match word.text.rfind('-') {
                Some(at) => (word.until(at), word.from(at + 1), false),
                None => (word, word, false),
            },
        };
        let (year, month) = match before.split("-") {
            Some((year, month)) => (Some(year), month),
            None => (None, before),
        };
        if let Some(year) = year {
            pattern.years = Years::NONE;
            self.list(Field::Year, year, false, &mut |n| pattern.years = pattern.years.with(n as i32));
        }
        pattern.months = 0;
        self.list(Field::Month, month, false, &mut |n| pattern.months |= 1 << n);
        let mut days = MonthDays::default();
        self.list(Field::DayOfMonth, day, from_end, &mut |n| {
            if from_end {
                days.from_end |= 1 << (n - 1);
            } else {
                days.days |= 1 << n;
            }
        });
        pattern.days.month = if from_end && day.text == "*" { MonthDays::ANY } else { days };
    }

    fn time<'b: 'a>(&mut self, word: Part<'b>, pattern: &mut Pattern) {
        let parts: Vec<Part<'b>> = word.pieces(":").collect();
        let (hour, minute, second) = match parts.as_slice() {
            [hour, minute] => (*hour, *minute, None),
            [hour, minute, second] => (*hour, *minute, Some(*second)),
            _ => {
                self.found.add(word, None, "a time is hour:minute or hour:minute:second");
                return;
            }
        };
        let (mut hours, mut minutes, mut seconds) = (0u64, 0u64, 0u64);
        let whole_hours = self.list(Field::Hour, hour, false, &mut |n| hours |= 1 << n);
        let whole_minutes = self.list(Field::Minute, minute, false, &mut |n| minutes |= 1 << n);
        match second {
            Some(part) => {
                self.list(Field::Second, part, false, &mut |n| seconds |= 1 << n);
            }
            None => seconds = 1,
        }
        pattern.hours = hours as u32 & ALL_HOURS;
        (pattern.minutes, pattern.seconds) = (minutes & ALL_60, seconds & ALL_60);
        let follows = whole_hours || whole_minutes || pattern.hours == ALL_HOURS || pattern.minutes == ALL_60;
        pattern.fixed = !follows;
        self.time = Some([hour.text, minute.text, second.map_or("0", |part| part.text)]);
    }

    /// A list of values, ranges and steps; whether a piece goes round the whole field.
    fn list(&mut self, field: Field, part: Part<'_>, from_end: bool, add: &mut dyn FnMut(u32)) -> bool {
        let (min, max) = match field {
            Field::Year => (YEAR_MIN as u32, YEAR_MAX as u32),
            Field::Month => (1, 12),
            Field::DayOfMonth => (1, 31),
            Field::Hour => (0, 23),
            Field::Minute | Field::Second | Field::DayOfWeek | Field::Zone => (0, 59),
        };
        let mut whole = false;
        for item in part.pieces(",") {
            if item.text == "*" {
                (min..=max).for_each(&mut *add);
                whole = true;
                continue;
            }
            let (base, step) = match item.split("/") {
                Some((base, step)) => (base, Some(step)),
                None => (item, None),
            };
            if base.text == "*" {
                let zero = format!("{min:02}/{}", step.map_or("", |step| step.text));
                self.found.add(item, Some(field), format!("a step begins at a number here; write {zero}"));
                continue;
            }
            let step = match step.map(|step| (step, step.text.parse::<u32>())) {
                None => None,
                Some((_, Ok(n @ 1..=9999))) => Some(n),
                Some((at, Ok(0))) => {
                    self.found.add(at, Some(field), "a step of 0 never arrives; write 1 or more");
                    continue;
                }
                Some((at, _)) => {
                    self.found.add(at, Some(field), "a step is a number, 1 or more");
                    continue;
                }
            };
            let (low, high) = match base.split("..") {
                Some((low, high)) => {
                    (self.value(field, (min, max), low), self.value(field, (min, max), high).map(Some))
                }
                None => (self.value(field, (min, max), base), Some(None)),
            };
            let (Some(low), Some(high)) = (low, high) else { continue };
            if from_end {
                // Towards the end of the month: from the greater number down.
                let (low, high) = match high {
                    Some(high) => (low.min(high), low.max(high)),
                    None => (if step.is_some() { 1 } else { low }, low),
                };
                (low..=high).rev().step_by(step.unwrap_or(1) as usize).for_each(&mut *add);
                continue;
            }
            let high = high.unwrap_or(if step.is_some() { max } else { low });
            if low > high && field == Field::Year {
                self.found.add(base, Some(field), format!("it goes backwards; write {high}..{low}"));
                continue;
            }
            let span = max - min + 1;
            let high = if low > high { high + span } else { high };
            whole |= high + 1 - low >= span;
            (low..=high).step_by(step.unwrap_or(1) as usize).for_each(|n| add(min + (n - min) % span));
        }
        whole
    }

    fn value(&mut self, field: Field, (min, max): (u32, u32), part: Part<'_>) -> Option<u32> {
        let number = part.text.bytes().all(|b| b.is_ascii_digit()).then(|| part.text.parse::<u32>());
        let wrong = match number {
            _ if part.text.is_empty() => format!("a value is missing; {}", plain_range(field)),
            Some(Ok(n)) if (min..=max).contains(&n) => return Some(n),
            // As systemd reads years of two digits.
            Some(Ok(n)) if field == Field::Year && n < 70 && part.text.len() <= 2 => return Some(2000 + n),
            Some(Ok(n)) if field == Field::Year && n < 100 && part.text.len() <= 2 => return Some(1900 + n),
            Some(Ok(n)) if n < min => format!("{n} is too small; {}", plain_range(field)),
            Some(_) => format!("{} is too large; {}", part.text, plain_range(field)),
            None if field == Field::Second && part.text.contains('.') => {
                String::from("kin's schedules are of whole seconds; leave the fraction out")
            }
            None => format!("{:?} is no number; {}, * is any", part.text, plain_range(field)),
        };
        self.found.add(part, Some(field), wrong);
        None
    }
}

const fn first_of(year: i32) -> Wall {
    Wall::new(Date { year, month: 1, day: 1 }, 0, 0, 0)
}

/// Months have no names in this language.
const fn plain_range(field: Field) -> &'static str {
    if matches!(field, Field::Month) { "months are 1 to 12" } else { field.range() }
}
