//! Cron's language, as vixie's cron reads it, with what has grown around it: `30 2 * * MON-FRI`.
//!
//! Five fields; six begin with seconds; seven end with years. What every piece means is told in docs/schedules.md; here is only
//! how it is read, and what is said when it cannot be.

use super::hash::stable;
use super::pattern::{ALL_60, ALL_HOURS, ALL_MONTHS, ALL_WEEK_DAYS, Days, Join, MonthDays, Pattern, WeekDays, Years};
use super::problem::{Field, Found, Part, Problem, Problems};
use super::remark::Remark;
use super::wall::{YEAR_MAX, YEAR_MIN};
use super::{near, remark};
use alloc::format;
use alloc::vec::Vec;

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// What a field's numbers are.
pub(super) struct Kind {
    pub(super) field: Field,
    pub(super) min: u32,
    pub(super) max: u32,
    names: &'static [&'static str],
}

const fn kind(field: Field) -> Kind {
    let (min, max, names): (u32, u32, &[&str]) = match field {
        Field::Second | Field::Minute | Field::Zone => (0, 59, &[]),
        Field::Hour => (0, 23, &[]),
        Field::DayOfMonth => (1, 31, &[]),
        Field::Month => (1, 12, &MONTHS),
        Field::DayOfWeek => (0, 6, &WEEKDAYS),
        Field::Year => (YEAR_MIN as u32, YEAR_MAX as u32, &[]),
    };
    Kind { field, min, max, names }
}

impl Kind {
    /// Whether values begin anew after the greatest.
    const fn turns(&self) -> bool {
        !matches!(self.field, Field::Year)
    }
    /// Where `H` without bounds chooses: days that every month has.
    const fn hashed(&self) -> (u32, u32) {
        if matches!(self.field, Field::DayOfMonth) { (1, 28) } else { (self.min, self.max) }
    }
}

struct Reader<'a> {
    job: &'a str,
    found: Found,
    remarks: Vec<Remark>,
}

pub(super) fn parse(whole: Part<'_>, job: &str) -> Result<(Pattern, Vec<Remark>), Problems> {
    let mut reader = Reader { job, found: Found::default(), remarks: Vec::new() };
    let words: Vec<Part<'_>> = whole.words().collect();
    let zoned = words.iter().find_map(|word| Some((*word, zone_of(word.text)?)));
    if let Some((word, zone)) = zoned {
        let message = format!(
            "the time zone is not part of the expression; it is a setting of its own: \
             timezone = \"{zone}\", or --tz {zone} with kin cron"
        );
        return Err(word.problem(None, message).into());
    }
    let fields: &[Field] = match words.len() {
        5 => &[Field::Minute, Field::Hour, Field::DayOfMonth, Field::Month, Field::DayOfWeek],
        6 => &[Field::Second, Field::Minute, Field::Hour, Field::DayOfMonth, Field::Month, Field::DayOfWeek],
        7 => {
            &[Field::Second, Field::Minute, Field::Hour, Field::DayOfMonth, Field::Month, Field::DayOfWeek, Field::Year]
        }
        n => {
            let problem = wrong_count(whole, &words, n);
            return Err(problem.into());
        }
    };
    let mut pattern = Pattern {
        seconds: 1,
        minutes: 0,
        hours: 0,
        days: Days { month: MonthDays::default(), week: WeekDays::default(), join: Join::Both },
        months: 0,
        years: Years::ALL,
        fixed: true,
    };
    let (mut month_star, mut week_star, mut plus, mut follows) = (false, false, false, false);
    for (field, part) in fields.iter().zip(&words) {
        match field {
            Field::Second => pattern.seconds = reader.set(Field::Second, *part).0 & ALL_60,
            Field::Minute => {
                let (set, whole) = reader.set(Field::Minute, *part);
                (pattern.minutes, follows) = (set & ALL_60, follows | whole | (set == ALL_60));
            }
            Field::Hour => {
                let (set, whole) = reader.set(Field::Hour, *part);
                pattern.hours = set as u32 & ALL_HOURS;
                follows |= whole | (pattern.hours == ALL_HOURS);
            }
            Field::DayOfMonth => (pattern.days.month, month_star) = reader.month_days(*part),
            Field::Month => pattern.months = reader.set(Field::Month, *part).0 as u16 & ALL_MONTHS,
            Field::DayOfWeek => {
                plus = part.text.starts_with('+');
                (pattern.days.week, week_star) = reader.week_days(part.strip("+").unwrap_or(*part));
            }
            Field::Year => pattern.years = reader.years(*part),
            Field::Zone => {}
        }
    }
    pattern.fixed = !follows;
    pattern.days.join = if month_star || week_star || plus { Join::Both } else { Join::Either };
    if reader.found.is_empty() && !pattern.ever() {
        reader.never(&words, fields);
    }
    if reader.found.is_empty() {
        let at = |field: Field| fields.iter().position(|f| *f == field).map_or("*", |i| words[i].text);
        remark::of_cron(&pattern, &at, &mut reader.remarks);
    }
    let remarks = core::mem::take(&mut reader.remarks);
    reader.found.or((pattern, remarks))
}

impl Reader<'_> {
    fn years(&mut self, part: Part<'_>) -> Years {
        let mut years = Years::NONE;
        self.list(Field::Year, part, &mut |year| years = years.with(year as i32));
        years
    }

    /// A field whose values fit 64 bits, and whether a piece goes round all of it.
    fn set(&mut self, field: Field, part: Part<'_>) -> (u64, bool) {
        let mut set = 0;
        let whole = self.list(field, part, &mut |value| set |= 1u64 << value);
        (set, whole)
    }

    fn list(&mut self, field: Field, part: Part<'_>, add: &mut dyn FnMut(u32)) -> bool {
        let mut whole = false;
        for item in part.pieces(",") {
            whole |= self.item(&kind(field), item, add);
        }
        whole
    }

    /// One piece of a list; whether it goes round the whole field.
    fn item(&mut self, kind: &Kind, item: Part<'_>, add: &mut dyn FnMut(u32)) -> bool {
        let (base, step) = match item.split("/") {
            Some((base, step)) => (base, Some(self.step(kind, step))),
            None => (item, None),
        };
        let step = match step {
            Some(None) => return false,
            Some(Some(n)) => Some(n),
            None => None,
        };
        let span = kind.max - kind.min + 1;
        let (from, to, whole) = match base.text {
            "*" => (kind.min, kind.max, true),
            "?" if matches!(kind.field, Field::DayOfMonth | Field::DayOfWeek) => (kind.min, kind.max, true),
            "?" => {
                self.found.add(base, Some(kind.field), "? may stand for a day only; write * for any");
                return false;
            }
            "" => {
                let what = if item.text.is_empty() { "nothing stands here" } else { "nothing stands before the step" };
                self.found.add(item, Some(kind.field), format!("{what}; {}, * is any", kind.field.range()));
                return false;
            }
            text if text.starts_with(['H', 'h']) && !text.eq_ignore_ascii_case("hour") => {
                return self.hashed(kind, base, step, add);
            }
            text if text.contains('~') => return self.between(kind, base, step, add),
            text if text.contains('-') => {
                let Some((low, high)) = base.split("-") else { return false };
                let (Some(low), Some(high)) = (self.value(kind, low), self.value(kind, high)) else { return false };
                if low > high && !kind.turns() {
                    self.found.add(base, Some(kind.field), format!("it goes backwards; write {high}-{low}"));
                    return false;
                }
                // Sunday is the 7 at the end of a range and the 0 at its beginning.
                let low = if kind.field == Field::DayOfWeek && low == 7 && high < 7 { 0 } else { low };
                let high = if low > high { high + span } else { high };
                (low, high, high + 1 - low >= span)
            }
            _ => {
                let Some(value) = self.value(kind, base) else { return false };
                let value = if step.is_some() && value > kind.max { kind.min } else { value };
                (value, if step.is_some() { kind.max } else { value }, step.is_some() && value == kind.min)
            }
        };
        if let Some(step) = step {
            self.long_step(kind, item, step, to + 1 - from);
        }
        for value in (from..=to).step_by(step.unwrap_or(1) as usize) {
            add(kind.min + (value - kind.min) % span);
        }
        whole
    }

    fn step(&mut self, kind: &Kind, step: Part<'_>) -> Option<u32> {
        let wrong = match step.text.parse::<u32>() {
            Ok(0) => "a step of 0 never arrives; write 1 or more".into(),
            Ok(n) if n < 10_000 => return Some(n),
            Ok(n) => format!("a step of {n} is longer than any range"),
            Err(_) if step.text.is_empty() => "the step is missing; write a number after the /".into(),
            Err(_) => format!("{:?} is no step; write a number, 1 or more", step.text),
        };
        self.found.add(step, Some(kind.field), wrong);
        None
    }

    fn long_step(&mut self, kind: &Kind, item: Part<'_>, step: u32, length: u32) {
        if step >= length && length > 1 {
            self.remarks.push(Remark::long_step(kind.field, item.text, step));
        }
    }

    /// `H`, `H(a-b)`, each with a step or without.
    fn hashed(&mut self, kind: &Kind, base: Part<'_>, step: Option<u32>, add: &mut dyn FnMut(u32)) -> bool {
        let rest = base.from(1);
        if kind.field == Field::Year {
            self.found.add(base, Some(kind.field), "H cannot choose a year; write one");
            return false;
        }
        let (from, to, bounded) = if rest.text.is_empty() {
            let (from, to) = kind.hashed();
            (from, to, false)
        } else {
            let inner = rest.text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
            let bounds = inner.and_then(|inner| rest.from(1).until(inner.len()).split("-"));
            let Some((low, high)) = bounds else {
                self.found.add(base, Some(kind.field), "after H comes nothing, or a range in brackets as H(0-29)");
                return false;
            };
            let (Some(low), Some(high)) = (self.value(kind, low), self.value(kind, high)) else { return false };
            (low, high, true)
        };
        self.choose(kind, base, (from, to), step, add);
        step.is_some() && !bounded
    }

    /// `a~b`, where either end may be missing.
    fn between(&mut self, kind: &Kind, base: Part<'_>, step: Option<u32>, add: &mut dyn FnMut(u32)) -> bool {
        let Some((low, high)) = base.split("~") else { return false };
        let low = if low.text.is_empty() { Some(kind.min) } else { self.value(kind, low) };
        let high = if high.text.is_empty() { Some(kind.max) } else { self.value(kind, high) };
        let (Some(low), Some(high)) = (low, high) else { return false };
        self.choose(kind, base, (low, high), step, add);
        step.is_some() && (low, high) == (kind.min, kind.max)
    }

    /// One value of a range, or one of each step, by the job's name.
    fn choose(
        &mut self,
        kind: &Kind,
        base: Part<'_>,
        (from, to): (u32, u32),
        step: Option<u32>,
        add: &mut dyn FnMut(u32),
    ) {
        let span = kind.max - kind.min + 1;
        if from > to && !kind.turns() {
            self.found.add(base, Some(kind.field), format!("it goes backwards; write {to} first"));
            return;
        }
        let length = if from > to { to + span + 1 - from } else { to + 1 - from };
        if let Some(step) = step.filter(|step| *step >= length && length > 1) {
            self.remarks.push(Remark::long_step_of_chosen(kind.field, base.text, step));
        }
        let hash = stable(self.job, kind.field.word());
        let every = step.unwrap_or(length).min(length);
        let first = from + (hash % u64::from(every)) as u32;
        for value in (first..from + length).step_by(every as usize) {
            add(kind.min + (value - kind.min) % span);
        }
    }

    /// A number or a name.
    fn value(&mut self, kind: &Kind, part: Part<'_>) -> Option<u32> {
        let text = part.text;
        let wrong = if let Some(at) = kind.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Some(at as u32 + kind.min);
        } else if text.is_empty() {
            format!("a value is missing; {}", kind.field.range())
        } else if text.bytes().all(|b| b.is_ascii_digit()) {
            match text.parse::<u32>() {
                Ok(7) if kind.field == Field::DayOfWeek => return Some(7),
                Ok(n) if (kind.min..=kind.max).contains(&n) => return Some(n),
                Ok(n) if n < kind.min => format!("{n} is too small; {}", kind.field.range()),
                Ok(_) | Err(_) => format!("{text} is too large; {}", kind.field.range()),
            }
        } else if let Some(name) = near::one_of(text, kind.names) {
            format!("{text:?} is no name; did you mean {name}?")
        } else {
            format!("{text:?} is not known here; {}", kind.field.range())
        };
        self.found.add(part, Some(kind.field), wrong);
        None
    }

    /// The day of month, and whether it restricts nothing.
    fn month_days(&mut self, part: Part<'_>) -> (MonthDays, bool) {
        let mut days = MonthDays::default();
        for item in part.pieces(",") {
            let upper = item.text.to_ascii_uppercase();
            match upper.as_bytes() {
                b"L" => days.from_end |= 1,
                b"LW" | b"WL" => days.last_workday = true,
                [b'L', b'-', digits @ ..] => match core::str::from_utf8(digits).ok().and_then(|d| d.parse().ok()) {
                    Some(n @ 0..=30u32) => days.from_end |= 1 << n,
                    Some(_) | None => self.found.add(
                        item,
                        Some(Field::DayOfMonth),
                        "after L- comes how many days before the last, 0 to 30",
                    ),
                },
                [digits @ .., b'W'] if !digits.is_empty() => {
                    if let Some(day) = self.value(&kind(Field::DayOfMonth), item.until(digits.len())) {
                        days.nearest |= 1 << day;
                    }
                }
                b"W" => self.found.add(
                    item,
                    Some(Field::DayOfMonth),
                    "W needs a day before it: 15W is the weekday nearest the 15th, LW the last of the month",
                ),
                _ => {
                    self.item(&kind(Field::DayOfMonth), item, &mut |day| days.days |= 1 << day);
                }
            }
        }
        (days, part.text.starts_with(['*', '?']))
    }

    fn week_days(&mut self, part: Part<'_>) -> (WeekDays, bool) {
        const FIELD: Option<Field> = Some(Field::DayOfWeek);
        let mut days = WeekDays::default();
        for item in part.pieces(",") {
            let of = kind(Field::DayOfWeek);
            if let Some((day, nth)) = item.split("#") {
                if let Some((first, last)) = day.split("-") {
                    let (Some(first), Some(last)) = (self.value(&of, first), self.value(&of, last)) else { continue };
                    let nth = nth.text;
                    let each = |day: u32| format!("{}#{nth}", WEEKDAYS[day as usize % 7]);
                    let last = if last < first { last + 7 } else { last };
                    let each: Vec<_> = (first..=last).map(each).collect();
                    let message = format!("# chooses one weekday, not a range of them; write {}", each.join(","));
                    self.found.add(item, FIELD, message);
                    continue;
                }
                let Some(day) = self.value(&of, day) else { continue };
                match nth.text {
                    "L" | "l" => days.last |= 1 << (day % 7),
                    text => match text.parse::<u8>() {
                        Ok(n @ 1..=5) => days.nth[(day % 7) as usize] |= 1 << n,
                        Ok(_) | Err(_) => {
                            self.found.add(
                                nth,
                                FIELD,
                                "after # comes which one of the month, 1 to 5, or L for the last",
                            );
                        }
                    },
                }
            } else if item.text.eq_ignore_ascii_case("L") {
                self.found.add(item, FIELD, "L needs a weekday before it: 5L or FRIL is the last Friday of the month");
            } else if let Some(day) = item.text.strip_suffix(['L', 'l']) {
                if let Some(day) = self.value(&of, item.until(day.len())) {
                    days.last |= 1 << (day % 7);
                }
            } else {
                self.item(&of, item, &mut |day| days.days |= 1 << (day % 7));
            }
        }
        debug_assert_eq!(days.days & !ALL_WEEK_DAYS, 0);
        (days, part.text.starts_with(['*', '?']))
    }

    /// It can be read, and there is no such day.
    fn never(&mut self, words: &[Part<'_>], fields: &[Field]) {
        let at = |field: Field| fields.iter().position(|f| *f == field).map(|i| words[i]);
        let (Some(day), Some(month)) = (at(Field::DayOfMonth), at(Field::Month)) else { return };
        let message = format!(
            "it never fires: no day is {} in the day field and {} in the month field{}; \
             for the last day of a month write L",
            day.text,
            month.text,
            if words.len() == 7 { " in one of those years" } else { "" },
        );
        self.found.add(day, Some(Field::DayOfMonth), message);
    }
}

/// The zone that a word of a crontab's line names, as `CRON_TZ=Asia/Tokyo` before it or `Asia/Tokyo` behind it.
fn zone_of(word: &str) -> Option<&str> {
    if let Some(zone) = word.strip_prefix("CRON_TZ=").or_else(|| word.strip_prefix("TZ=")) {
        return Some(if zone.is_empty() { "UTC" } else { zone });
    }
    // A step has a number behind it, and no word before it but a name of three letters, or H.
    let is_region = |(region, city): (&str, &str)| {
        region.len() > 3 && region.bytes().all(|b| b.is_ascii_alphabetic()) && city.starts_with(char::is_alphabetic)
    };
    (["UTC", "GMT"].contains(&word) || word.split_once('/').is_some_and(is_region)).then_some(word)
}

/// Neither five, six nor seven fields: most likely something else was meant.
fn wrong_count(whole: Part<'_>, words: &[Part<'_>], n: usize) -> Problem {
    const FIVE: &str = "write five: minute hour day-of-month month day-of-week \
         (six begin with seconds, seven end with years)";
    let first = words.first().map_or("", |word| word.text);
    let (at, message) = match words {
        [] => (whole, format!("it is empty; {FIVE}")),
        _ if whole.text.contains("..") || whole.text.contains(':') || whole.text.contains("*-") => (
            whole.trim(),
            format!("this is not cron's language; for systemd's write \"calendar: {}\"", whole.text.trim()),
        ),
        _ if n < 5 && first.chars().all(char::is_alphabetic) && near::special(first).is_some() => {
            (words[0], format!("{first:?} is no schedule; did you mean {}?", near::special(first).unwrap_or_default()))
        }
        _ if n < 5 => {
            let end = words[n - 1].from(words[n - 1].text.len());
            let fields = if n == 1 { "field" } else { "fields" };
            (end, format!("it ends after {n} {fields}; {FIVE}"))
        }
        _ => (words[7], format!("it has {n} fields; {FIVE}")),
    };
    at.problem(None, message)
}
