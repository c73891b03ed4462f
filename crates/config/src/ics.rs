//! Calendar files (iCalendar, RFC 5545): on which days their events are.
//!
//! ```text
//!   lines ──▶ components and properties ──▶ events ──▶ days, up to the end of 2199
//! ```
//! Strict on purpose: a holiday that is left out in silence is a job that runs on it. Whatever decides about days and is not
//! understood is refused with its line; what says nothing of days (summaries, alarms, to-dos) is passed over.
//!
//! An event of whole days is on these days. One at a time of day that names a zone, or UTC, is on the days that the server's
//! clocks show meanwhile; without a zone it is on the days that it says.

mod line;
mod value;

use crate::mistake::{Code, Mistake};
use crate::source::Source;
use crate::tree::{self, Value};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use kin_core::schedule::{Date, DaySet, Recurrence};
use line::{Line, lines};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use value::{Moment, Until};

pub use line::mend_folds;

/// Holidays of a country for a century are a tenth of it.
pub const FILE_MAX: u64 = 4 << 20;
/// So many days all events of a file have together, at most: a hundred people who never work are a mistake.
const DAYS_MAX: usize = 1_000_000;
/// And so many days are looked at for them: a rule may have few days, and a long way to each.
const STEPS_MAX: usize = 20_000_000;
/// Nothing is due before it, so no day before it matters; unless a rule counts them.
const SINCE: Date = Date { year: 1969, month: 1, day: 1 };
/// So many mistakes of one file are said.
const SAID_MAX: usize = 20;

pub fn is_calendar(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("ics"))
}

/// What a job file means by it.
pub fn path_of(job_file: &Path, named: &str) -> PathBuf {
    job_file.parent().unwrap_or(Path::new("")).join(named)
}

/// The calendar files that a job file names.
pub fn named_in(source: &Source) -> impl Iterator<Item = PathBuf> {
    // Few name one, and a text is read for it once more.
    let entries = if !is_calendar(&source.path) && source.text.contains(".ics") {
        tree::of_toml(0, &source.text).0
    } else {
        Vec::new()
    };
    let table = |value: &Value, key: &str| {
        let Value::Table(entries) = value else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| entry.tree.value.clone())
    };
    let kin = entries.into_iter().find(|entry| entry.key == crate::set::SETTINGS).map(|entry| entry.tree.value);
    let calendars = kin.and_then(|kin| table(&kin, crate::keys::kin::CALENDARS));
    let all = if let Some(Value::Table(entries)) = calendars { entries } else { Vec::new() };
    let named = all.into_iter().filter_map(move |entry| table(&entry.tree.value, "ics"));
    let file = source.path.clone();
    named.filter_map(move |value| if let Value::Text(text) = value { Some(path_of(&file, &text)) } else { None })
}

/// Something wrong, on the line that it is about.
struct Wrong {
    at: Range<usize>,
    message: String,
}

fn wrong<T>(line: &Line, message: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { at: line.at.clone(), message: message.into() })
}

/// The days of all events. `here`: the server's clocks.
pub fn days(source: usize, text: &str, here: &TimeZone, mistakes: &mut Vec<Mistake>) -> DaySet {
    let mut all = Vec::new();
    let events = read(text, &mut all);
    let mut days = DaySet::default();
    let mut others: BTreeMap<&str, Vec<&Moment>> = BTreeMap::new();
    for event in &events {
        if let Some(instead) = &event.instead_of {
            others.entry(&event.uid).or_default().push(instead);
        }
    }
    let mut left = Left { days: DAYS_MAX, steps: STEPS_MAX };
    for event in events.iter().filter(|event| !event.cancelled) {
        let replaced = match event.instead_of {
            None => others.get(event.uid.as_str()).map_or(&[][..], Vec::as_slice),
            Some(_) => &[],
        };
        if let Err(wrong) = event.days(here, replaced, &mut left, &mut days) {
            all.push(wrong);
        }
    }
    let more = all.len().saturating_sub(SAID_MAX);
    for (n, Wrong { at, message }) in all.into_iter().take(SAID_MAX).enumerate() {
        let message = if n + 1 == SAID_MAX && more > 0 { format!("{message} (and {more} more)") } else { message };
        mistakes.push(Mistake::error(Code::Calendar, message).at(source, &at));
    }
    days
}

/// What a file says of an event that has to do with days.
struct Event {
    /// Where it begins.
    at: Range<usize>,
    uid: String,
    start: Moment,
    /// Seconds by the clock that it starts by; of whole days, days of them.
    length: i64,
    rule: Option<(Recurrence, Until, Range<usize>)>,
    also: Vec<Moment>,
    not: Vec<Moment>,
    /// It takes the place of this one of another event's days.
    instead_of: Option<Moment>,
    cancelled: bool,
}

fn read(text: &str, all: &mut Vec<Wrong>) -> Vec<Event> {
    let mut events = Vec::new();
    let mut within: Vec<String> = Vec::new();
    let mut said: Vec<Line> = Vec::new();
    let (mut begun, mut calendars) = (0..0, 0);
    for line in lines(text) {
        let line = match line {
            Ok(line) => line,
            Err(wrong) => {
                all.push(wrong);
                continue;
            }
        };
        let value = line.value.to_ascii_uppercase();
        match (line.name.as_str(), within.as_slice()) {
            ("BEGIN", []) if value == "VCALENDAR" => {
                calendars += 1;
                within.push(value);
            }
            (_, []) => {
                let message = "it is no calendar: nothing stands before BEGIN:VCALENDAR or behind its end";
                all.push(Wrong { at: line.at, message: message.into() });
                return events;
            }
            ("BEGIN", outer) => {
                if outer.len() == 1 && value == "VEVENT" {
                    begun = line.at.clone();
                    said.clear();
                }
                within.push(value);
            }
            ("END", [outer @ .., last]) => {
                if *last != value {
                    let message = format!("this ends {value}, where {last} has not ended");
                    all.push(Wrong { at: line.at, message });
                    return events;
                }
                if outer.len() == 1 && value == "VEVENT" {
                    match event(&begun, &std::mem::take(&mut said)) {
                        Ok(event) => events.push(event),
                        Err(wrong) => all.push(wrong),
                    }
                }
                within.pop();
            }
            ("VERSION", [_]) if line.value.trim() != "2.0" => {
                all.push(Wrong { at: line.at, message: format!("version {} is not understood, only 2.0", line.value) });
            }
            ("CALSCALE", [_]) if value.trim() != "GREGORIAN" => {
                all.push(Wrong { at: line.at, message: format!("the calendar {} is not understood", line.value) });
            }
            (_, [_, event]) if event == "VEVENT" => said.push(line),
            _ => {}
        }
    }
    let end = text.len()..text.len();
    if let Some(last) = within.last() {
        all.push(Wrong { at: end, message: format!("it breaks off within {last}") });
    } else if calendars == 0 && all.is_empty() {
        all.push(Wrong { at: end, message: "it is empty: a calendar begins with BEGIN:VCALENDAR".into() });
    }
    events
}

fn event(begun: &Range<usize>, said: &[Line]) -> Result<Event, Wrong> {
    let one = |name: &str| {
        let mut such = said.iter().filter(|line| line.name == name);
        match (such.next(), such.next()) {
            (_, Some(second)) => wrong(second, format!("{name} stands twice in one event")),
            (first, None) => Ok(first),
        }
    };
    let Some(start_line) = one("DTSTART")? else {
        return Err(Wrong { at: begun.clone(), message: "this event has no DTSTART".into() });
    };
    let start = value::moment(start_line)?;
    let length = match (one("DTEND")?, one("DURATION")?) {
        (Some(_), Some(line)) => return wrong(line, "DTEND and DURATION exclude each other"),
        (Some(line), None) => value::length_to(&start, &value::moment(line)?, line)?,
        (None, Some(line)) => value::duration(&start, line)?,
        (None, None) => {
            if matches!(start, Moment::Day(_)) {
                86_400
            } else {
                0
            }
        }
    };
    if let Some(line) = one("EXRULE")? {
        return wrong(line, "EXRULE is not understood; write the days as EXDATE");
    }
    let rule = match one("RRULE")? {
        None => None,
        Some(line) => {
            let (rule, until) = value::rule(&start, line)?;
            if !rule.begins(start.date()) && start.is_known() {
                return wrong(line, "this names other days than DTSTART: which is meant, nobody can know");
            }
            Some((rule, until, line.at.clone()))
        }
    };
    let list = |name: &'static str| {
        let lines = said.iter().filter(move |line| line.name == name);
        lines.map(|line| value::moments(&start, line)).collect::<Result<Vec<_>, _>>().map(|lists| lists.concat())
    };
    let (also, not) = (list("RDATE")?, list("EXDATE")?);
    let instead_of = match one("RECURRENCE-ID")? {
        None => None,
        Some(line) if line.param("RANGE").is_some() => {
            return wrong(line, "RANGE is not understood: each event is changed by itself");
        }
        Some(line) => Some(value::moment(line)?),
    };
    let uid = one("UID")?.map_or_else(String::new, |line| line.text());
    if instead_of.is_some() && uid.is_empty() {
        return Err(Wrong { at: begun.clone(), message: "RECURRENCE-ID without UID: of which event?".into() });
    }
    let cancelled = one("STATUS")?.is_some_and(|line| line.value.trim().eq_ignore_ascii_case("CANCELLED"));
    Ok(Event { at: begun.clone(), uid, start, length, rule, also, not, instead_of, cancelled })
}

/// What the events of a file may still cost.
struct Left {
    days: usize,
    steps: usize,
}

impl Event {
    fn days(&self, here: &TimeZone, replaced: &[&Moment], left: &mut Left, days: &mut DaySet) -> Result<(), Wrong> {
        let Left { days: days_left, steps } = left;
        let key = |moment: &Moment| moment.key(&self.start);
        let mut gone: Vec<i64> = self.not.iter().map(key).collect();
        gone.extend(replaced.iter().map(|moment| key(moment)));
        gone.sort_unstable();
        let mut put = |moment: &Moment| {
            if gone.binary_search(&key(moment)).is_ok() {
                return true;
            }
            let (from, to) = moment.days(self.length, here);
            let known = from.max(-1)..=to.min(Date { year: 2199, month: 12, day: 31 }.days());
            for day in known {
                if *days_left == 0 {
                    return false;
                }
                *days_left -= 1;
                days.insert(Date::from_days(day));
            }
            true
        };
        let mut fits = true;
        match &self.rule {
            None => fits &= put(&self.start),
            Some((rule, until, _)) => {
                let first = self.start.date();
                // What lasts long may reach into what matters.
                let since = Date::from_days(SINCE.days() - self.length.max(0) / 86_400);
                let (mut most, from) = if let Until::Count(n) = until { (*n, first) } else { (usize::MAX, since) };
                for day in rule.walk(first, from) {
                    if *steps == 0 {
                        return self.costs_too_much();
                    }
                    *steps -= 1;
                    let Some(moment) = day.map(|day| self.start.on(day)) else { continue };
                    if most == 0 || !until.has(&moment) {
                        break;
                    }
                    most -= 1;
                    fits &= put(&moment);
                    if !fits {
                        break;
                    }
                }
            }
        }
        for moment in &self.also {
            fits = fits && put(moment);
        }
        if fits {
            return Ok(());
        }
        let message =
            format!("the events of this file have more than {DAYS_MAX} days up to 2199: give this one an end");
        Err(Wrong { at: self.at_rule(), message })
    }

    fn costs_too_much(&self) -> Result<(), Wrong> {
        let message = format!(
            "to find the days of this file's events, more than {STEPS_MAX} would have to be looked at: let this one begin \
             later, end (UNTIL), or say which days it has by FREQ=YEARLY or MONTHLY"
        );
        Err(Wrong { at: self.at_rule(), message })
    }

    /// What it is about, when its days are.
    fn at_rule(&self) -> Range<usize> {
        self.rule.as_ref().map_or_else(|| self.at.clone(), |(.., at)| at.clone())
    }
}

/// The core's own day.
fn day(of: DateTime) -> Date {
    Date { year: of.year().into(), month: of.month().unsigned_abs(), day: of.day().unsigned_abs() }
}

#[cfg(test)]
mod tests;
