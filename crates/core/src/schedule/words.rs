//! A schedule in plain English.
//!
//! The words are made from the sets that decide, not from the text that was read, so they cannot say anything else than what
//! happens.

use super::pattern::{ALL_60, ALL_HOURS, ALL_MONTHS, Join, MonthDays, Pattern, WeekDays, Years, bits};
use super::wall::{DAY, HOUR, MINUTE, Wall};
use super::{Schedule, When};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
/// More times of day than these are told by their rule.
const LISTED_MAX: u32 = 6;

pub fn month_name(month: u8) -> &'static str {
    MONTHS.get(usize::from(month).wrapping_sub(1)).copied().unwrap_or("")
}
/// 0 is Sunday.
pub fn weekday_name(day: u8) -> &'static str {
    WEEKDAYS[usize::from(day % 7)]
}

/// `1st`, `2nd`, `23rd`.
pub(super) fn ordinal(n: u8) -> String {
    let ending = match (n % 10, n % 100) {
        (1, 1 | 21 | 31) => "st",
        (2, 2 | 22) => "nd",
        (3, 3 | 23) => "rd",
        _ => "th",
    };
    format!("{n}{ending}")
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn and(parts: &[impl AsRef<str>]) -> String {
    join(parts, "and")
}

fn join(parts: &[impl AsRef<str>], word: &str) -> String {
    let mut out = String::new();
    for (i, part) in parts.iter().enumerate() {
        if i > 0 && i + 1 == parts.len() {
            out += &format!(" {word} ");
        } else if i > 0 {
            out += ", ";
        }
        out += part.as_ref();
    }
    out
}

/// `02:30`, or `02:30:15` where there are seconds.
pub(super) fn clock(wall: Wall) -> String {
    time(wall.hour(), wall.minute(), wall.second())
}

fn time(hour: u8, minute: u8, second: u8) -> String {
    if second == 0 { format!("{hour:02}:{minute:02}") } else { format!("{hour:02}:{minute:02}:{second:02}") }
}

/// `1 hour and 30 minutes`
pub(super) fn span(seconds: i64) -> String {
    let units = [(DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (1, "second")];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (length, unit) in units {
        let n = rest / length;
        rest %= length;
        if n > 0 {
            parts.push(format!("{n} {unit}{}", if n == 1 { "" } else { "s" }));
        }
    }
    and(&parts)
}

/// Values that follow each other, with the turn: 22, 23, 0, 1.
fn run(values: &[u8], turn: u8, min: u8) -> Option<(u8, u8)> {
    let breaks: Vec<usize> = (0..values.len())
        .filter(|i| {
            let next = values[(i + 1) % values.len()];
            (values[*i] - min + 1) % turn + min != next
        })
        .collect();
    match breaks.as_slice() {
        [last] => Some((values[(last + 1) % values.len()], values[*last])),
        _ => None,
    }
}

/// The distance, where each value is equally far from the one before.
fn step(values: &[u8]) -> Option<u8> {
    let step = values.get(1)? - values.first()?;
    values.windows(2).all(|pair| pair[1] - pair[0] == step).then_some(step)
}

/// The distance, where it is the same around the turn too.
fn even(values: &[u8], turn: u8) -> Option<u8> {
    let step = step(values)?;
    (usize::from(step) * values.len() == usize::from(turn)).then_some(step)
}

impl Schedule {
    /// What it does, in words.
    pub fn words(&self) -> String {
        match &self.when {
            When::Pattern(pattern) => pattern_words(pattern),
            When::Every { period, phase } => {
                let first = Wall(*phase);
                match DAY % period {
                    0 if *period > 1 => format!("every {}, the first of a UTC day at {}", span(*period), clock(first)),
                    _ => format!("every {}, whatever clocks show", span(*period)),
                }
            }
            When::At(at) => format!("once, at {} UTC", Wall(*at)),
            When::Reboot => "once after each start of the machine".into(),
        }
    }
}

fn pattern_words(pattern: &Pattern) -> String {
    let (words, of_day) = time_words(pattern);
    let mut days = day_words(pattern);
    if days.is_empty() && of_day {
        days += " every day";
    }
    // Two conditions and a month: the comma says that it is of both.
    let comma = if days.contains(", ") && pattern.months != ALL_MONTHS { "," } else { "" };
    let months = month_words(pattern.months);
    let comma = if months.starts_with(',') { "" } else { comma };
    words + &days + comma + &months + &year_words(pattern.years)
}

/// When on a day; and whether these are times of a day, rather than a rhythm.
fn time_words(pattern: &Pattern) -> (String, bool) {
    let seconds: Vec<u8> = bits(pattern.seconds).collect();
    let minutes: Vec<u8> = bits(pattern.minutes).collect();
    let hours: Vec<u8> = bits(u64::from(pattern.hours)).collect();
    let times = |seconds: &[u8]| {
        let each = hours.iter().flat_map(|h| minutes.iter().map(move |m| (*h, *m)));
        let each = each.flat_map(|(h, m)| seconds.iter().map(move |s| time(h, m, *s)));
        and(&each.collect::<Vec<_>>())
    };
    let per_day = pattern.minutes.count_ones() * pattern.hours.count_ones();
    if per_day * pattern.seconds.count_ones() <= LISTED_MAX {
        return (format!("at {}", times(&seconds)), true);
    }
    if pattern.seconds == 1 {
        return minute_words(&minutes, &hours);
    }
    let of_second = match (seconds.as_slice(), even(&seconds, 60)) {
        ([one], _) => format!("at second {one}"),
        (_, Some(1)) => "every second".into(),
        (_, Some(step)) if seconds[0] == 0 => format!("every {step} seconds"),
        _ => format!("at seconds {}", and(&seconds.iter().map(u8::to_string).collect::<Vec<_>>())),
    };
    let always = pattern.minutes == ALL_60 && pattern.hours == ALL_HOURS;
    if always {
        let minute = if of_second.starts_with("at") { "every minute, " } else { "" };
        return (format!("{minute}{of_second}"), false);
    }
    if per_day <= LISTED_MAX {
        let s = if per_day == 1 { "" } else { "s" };
        return (format!("{of_second} of the minute{s} {}", times(&[0])), true);
    }
    let (of_minute, of_day) = minute_words(&minutes, &hours);
    (format!("{of_second} of these minutes: {of_minute}"), of_day)
}

fn minute_words(minutes: &[u8], hours: &[u8]) -> (String, bool) {
    let (first, last) = (minutes[0], minutes[minutes.len() - 1]);
    let colon = |values: &[u8]| and(&values.iter().map(|v| format!(":{v:02}")).collect::<Vec<_>>());
    let all_hours = hours.len() == 24;
    let hour_run = run(hours, 24, 0);
    if let [minute] = minutes {
        let through = |from: u8, to: u8| format!("from {from:02}:{minute:02} through {to:02}:{minute:02}");
        return match (all_hours, hour_run, step(hours)) {
            (true, _, _) if *minute == 0 => ("every hour, on the hour".into(), false),
            (true, _, _) => (format!("at :{minute:02} of every hour"), false),
            (false, Some((from, to)), _) => (format!("every hour {}", through(from, to)), false),
            (false, None, Some(step)) => {
                (format!("every {step} hours {}", through(hours[0], hours[hours.len() - 1])), false)
            }
            (false, None, None) => {
                let times: Vec<String> = hours.iter().map(|hour| time(*hour, *minute, 0)).collect();
                (format!("at {}", and(&times)), true)
            }
        };
    }
    let (of_minute, exact) = match (even(minutes, 60), step(minutes)) {
        (Some(1), _) => ("every minute".to_string(), true),
        (Some(step), _) if first == 0 => (format!("every {step} minutes"), true),
        (Some(step), _) if minutes.len() > 4 => (format!("every {step} minutes beginning at :{first:02}"), true),
        (None, Some(1)) if minutes.len() > 2 => (format!("every minute from :{first:02} through :{last:02}"), false),
        (_, Some(step)) if minutes.len() > 4 => {
            (format!("every {step} minutes from :{first:02} through :{last:02}"), false)
        }
        _ => (format!("at {}", colon(minutes)), false),
    };
    let words = match (all_hours, hour_run, exact) {
        (true, _, true) => of_minute,
        (true, _, false) => format!("{of_minute} of every hour"),
        (false, Some((from, to)), true) => format!("{of_minute} from {from:02}:{first:02} through {to:02}:{last:02}"),
        (false, Some((from, to)), false) if hours.len() > 2 => {
            format!("{of_minute} of the hours {from:02} through {to:02}")
        }
        (false, _, _) => {
            let list: Vec<String> = hours.iter().map(|hour| format!("{hour:02}")).collect();
            format!("{of_minute} of the hour{} {}", if list.len() == 1 { "" } else { "s" }, and(&list))
        }
    };
    (words, false)
}

fn day_words(pattern: &Pattern) -> String {
    let (month, week) = (&pattern.days.month, &pattern.days.week);
    match (pattern.days.join, month.is_any(), week.is_any()) {
        (Join::Either, true, _) | (Join::Either, _, true) | (Join::Both, true, true) => String::new(),
        (Join::Both, false, true) => format!(" on {}", month_day_words(month)),
        (Join::Both, true, false) => format!(" on {}", weekday_words(week, Grammar::Plural, "and")),
        (Join::Either, false, false) => {
            format!(" on {}, or on {}", month_day_words(month), weekday_words(week, Grammar::Any, "or"))
        }
        (Join::Both, false, false) => {
            let each = month_day_words(month);
            format!(" on {each}, but only if that day is {}", weekday_words(week, Grammar::One, "or"))
        }
    }
}

fn month_day_words(of: &MonthDays) -> String {
    let mut parts = Vec::new();
    let days: Vec<u8> = bits(u64::from(of.days)).collect();
    match (run(&days, 31, 1), step(&days)) {
        (Some((from, to)), _) if days.len() > 2 => {
            parts.push(format!("the {} through the {}", ordinal(from), ordinal(to)));
        }
        (None, Some(step)) if days.len() > 3 => {
            let (from, to) = (days[0], days[days.len() - 1]);
            parts.push(format!("every {} day from the {} through the {}", ordinal(step), ordinal(from), ordinal(to)));
        }
        _ => parts.extend(days.iter().map(|day| format!("the {}", ordinal(*day)))),
    }
    let back: Vec<u8> = bits(u64::from(of.from_end)).collect();
    match back.as_slice() {
        [0, .., last] if usize::from(*last) + 1 == back.len() => parts.push(format!("the last {} days", back.len())),
        _ => parts.extend(back.iter().map(|n| match n {
            0 => "the last day".into(),
            1 => "the day before the last".into(),
            n => format!("the day {n} days before the last"),
        })),
    }
    parts.extend(
        bits(u64::from(of.nearest)).map(|day| format!("the weekday (Monday to Friday) nearest the {}", ordinal(day))),
    );
    if of.last_workday {
        parts.push("the last weekday (Monday to Friday)".into());
    }
    and(&parts) + " of the month"
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grammar {
    /// On Mondays.
    Plural,
    /// On any Monday.
    Any,
    /// If it is a Monday.
    One,
}

fn weekday_words(of: &WeekDays, grammar: Grammar, word: &str) -> String {
    // The week of people begins on Monday.
    let from_monday = |mask: u8| (1..=7u8).map(|day| day % 7).filter(move |day| mask >> day & 1 == 1);
    let days: Vec<u8> = from_monday(of.days).collect();
    let mut parts = Vec::new();
    let sorted: Vec<u8> = bits(u64::from(of.days)).collect();
    match run(&sorted, 7, 0) {
        Some((from, to)) if days.len() > 2 && days.len() < 7 => {
            let any = match grammar {
                Grammar::Plural => "",
                Grammar::Any => "any day of ",
                Grammar::One => "one of ",
            };
            parts.push(format!("{any}{} through {}", weekday_name(from), weekday_name(to)));
        }
        Some(_) if days.len() == 7 => parts.push("any day".into()),
        _ => parts.extend(days.iter().map(|day| match grammar {
            Grammar::Plural => format!("{}s", weekday_name(*day)),
            Grammar::Any => format!("any {}", weekday_name(*day)),
            Grammar::One => format!("a {}", weekday_name(*day)),
        })),
    }
    for day in from_monday(0x7f) {
        let nth = bits(u64::from(of.nth[usize::from(day)]));
        parts.extend(nth.map(|n| format!("the {} {} of the month", COUNTS[usize::from(n)], weekday_name(day))));
    }
    parts.extend(from_monday(of.last).map(|day| format!("the last {} of the month", weekday_name(day))));
    join(&parts, word)
}

const COUNTS: [&str; 6] = ["", "first", "second", "third", "fourth", "fifth"];

fn month_words(months: u16) -> String {
    if months == ALL_MONTHS {
        return String::new();
    }
    let list: Vec<u8> = bits(u64::from(months)).collect();
    match run(&list, 12, 1) {
        Some((from, to)) if list.len() > 2 => format!(", from {} through {}", month_name(from), month_name(to)),
        Some(_) | None => format!(" in {}", and(&list.iter().map(|month| month_name(*month)).collect::<Vec<_>>())),
    }
}

fn year_words(years: Years) -> String {
    if years == Years::ALL {
        return String::new();
    }
    let list: Vec<i32> = years.iter().collect();
    match list.as_slice() {
        [from, .., to] if list.len() > 2 && usize::try_from(to - from + 1) == Ok(list.len()) => {
            format!(", from {from} through {to}")
        }
        _ => format!(" in {}", and(&list.iter().map(i32::to_string).collect::<Vec<_>>())),
    }
}
