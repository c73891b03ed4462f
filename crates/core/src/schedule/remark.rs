//! What a schedule does that its reader may not expect.

use super::pattern::{Join, Pattern, bits};
use super::problem::Field;
use super::wall::{DAY, Wall, days_in_month};
use super::words::{and, clock, month_name, span};
use super::zone::{Change, Zone};
use super::{Dst, Schedule, When};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// How far ahead changes of the clocks are looked at.
const YEARS_AHEAD: i64 = 3 * 366 * DAY;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// One word for programs.
    pub code: &'static str,
    pub text: String,
}

impl Remark {
    fn new(code: &'static str, text: String) -> Remark {
        Remark { code, text }
    }

    pub(super) fn long_step(field: Field, item: &str, step: u32) -> Remark {
        let text = format!(
            "`{item}` has a step longer than its range: of the {} field only the first value counts{}",
            field.word(),
            instead(field, step)
        );
        Remark::new("long-step", text)
    }

    /// Of `H` and `a~b`, one value of which is chosen.
    pub(super) fn long_step_of_chosen(field: Field, range: &str, step: u32) -> Remark {
        let text = format!(
            "`{range}/{step}` has a step longer than its range: of the {} field one value counts, as of `{range}`{}",
            field.word(),
            instead(field, step)
        );
        Remark::new("long-step", text)
    }
}

fn instead(field: Field, step: u32) -> String {
    match field {
        Field::Second => format!("; for every {step} seconds write @every {step}s"),
        Field::Minute => format!("; for every {step} minutes write @every {step}m"),
        Field::Hour => format!("; for every {step} hours write @every {step}h"),
        Field::DayOfMonth | Field::Month | Field::DayOfWeek | Field::Year | Field::Zone => String::new(),
    }
}

type TextOf<'a> = dyn Fn(Field) -> &'a str + 'a;

pub(super) fn of_cron(pattern: &Pattern, at: &TextOf<'_>, out: &mut Vec<Remark>) {
    of_calendar(pattern, at, out);
    let (day, week) = (at(Field::DayOfMonth), at(Field::DayOfWeek));
    for (field, text) in [(Field::DayOfMonth, day), (Field::Month, at(Field::Month)), (Field::DayOfWeek, week)] {
        if let Some(step) = text.strip_prefix("*/").and_then(|step| step.parse::<u32>().ok()).filter(|n| *n > 1) {
            let anew = match field {
                Field::DayOfMonth => "begins anew on the 1st of each month: the last gap of a month is shorter",
                Field::Month if 12 % step != 0 => "begins anew each January: the last gap of a year is shorter",
                Field::DayOfWeek => "begins anew each Sunday: the last gap of a week is shorter",
                Field::Second | Field::Minute | Field::Hour | Field::Month | Field::Year | Field::Zone => continue,
            };
            out.push(Remark::new("step-begins-anew", format!("`{text}` in the {} field {anew}", field.word())));
        }
    }
    let days = pattern.days;
    if days.join == Join::Either {
        let text = format!(
            "`{day}` or `{week}`: when both day fields are restricted, cron fires if either matches; \
             write `+{week}` for both"
        );
        out.push(Remark::new("day-or-weekday", text));
    } else if !week.starts_with('+') && !days.month.is_any() && !days.week.is_any() {
        let star = if day.starts_with(['*', '?']) { day } else { week };
        let begins = if star.starts_with('?') { '?' } else { '*' };
        let text =
            format!("`{day}` and `{week}`: because `{star}` begins with `{begins}`, cron fires only if both match");
        out.push(Remark::new("day-and-weekday", text));
    }
}

/// What both languages have.
pub(super) fn of_calendar(pattern: &Pattern, at: &TextOf<'_>, out: &mut Vec<Remark>) {
    let units = [
        (Field::Second, pattern.seconds, 60, "seconds"),
        (Field::Minute, pattern.minutes, 60, "minutes"),
        (Field::Hour, u64::from(pattern.hours), 24, "hours"),
    ];
    for (field, set, turn, unit) in units {
        uneven(at(field), set, turn, unit, out);
    }
    let per_minute = pattern.seconds.count_ones();
    if per_minute > 1 {
        out.push(Remark::new("often", format!("it fires {per_minute} times in each minute that matches")));
    }
    if pattern.minutes.count_ones() == 60 && pattern.hours.count_ones() < 24 {
        let hour = bits(u64::from(pattern.hours)).next().unwrap_or(0);
        let text = format!(
            "the minute is `*`: it fires 60 times in each of these hours, as {hour:02}:00, {hour:02}:01 and so on; \
             for once an hour write 0 for the minute"
        );
        out.push(Remark::new("every-minute", text));
    }
    short_months(pattern, out);
}

/// `*/45` fires at :00 and :45: gaps of 45 and 15 minutes.
fn uneven(text: &str, set: u64, turn: u8, unit: &str, out: &mut Vec<Remark>) {
    let Some((base, _)) = text.split_once('/').filter(|_| !text.contains(',')) else { return };
    if !matches!(base, "*" | "H" | "h" | "~" | "0" | "00") {
        return;
    }
    let values: Vec<u8> = bits(set).collect();
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return };
    let Some(gap) = values.get(1).map(|second| second - first) else { return };
    let around = first + turn - last;
    if gap == around {
        return;
    }
    let shown: Vec<String> =
        values.iter().map(|v| if turn == 24 { format!("{v:02}:00") } else { format!(":{v:02}") }).collect();
    let shown = if values.len() > 5 {
        format!("{}, {} … {}", shown[0], shown[1], shown[values.len() - 1])
    } else {
        and(&shown)
    };
    let text = format!("`{text}` fires at {shown}: gaps of {gap} and {around} {unit}");
    out.push(Remark::new("uneven", text));
}

/// Day 31 in a month of thirty.
fn short_months(pattern: &Pattern, out: &mut Vec<Remark>) {
    let days = pattern.days;
    let late = days.month.days & !0x1fff_ffff;
    let only_late = days.month.days & 0x1fff_fffe == 0 && days.month.from_end == 0 && days.month.nearest == 0;
    if late == 0 || !only_late || days.month.last_workday || days.join == Join::Either {
        return;
    }
    let first = late.trailing_zeros() as u8;
    let without: Vec<&str> =
        bits(u64::from(pattern.months)).filter(|month| days_in_month(2027, *month) < first).map(month_name).collect();
    if first == 29 && pattern.months == 1 << 2 {
        let text = "February has a day 29 in leap years only: it does not fire in others".to_string();
        out.push(Remark::new("short-month", text));
    } else if !without.is_empty() {
        let leap = if first == 29 { " (leap years excepted)" } else { "" };
        let text = format!(
            "{} {} no day {first}{leap}: it does not fire then; `L` is the last day of every month",
            and(&without),
            if without.len() == 1 { "has" } else { "have" }
        );
        out.push(Remark::new("short-month", text));
    }
}

pub(super) fn of_every(period: i64) -> Vec<Remark> {
    let mut out = Vec::new();
    if period % DAY != 0 && DAY % period != 0 {
        let text = format!("{} do not divide a day: it fires at other times each day", span(period));
        out.push(Remark::new("drift", text));
    }
    if period < 60 {
        out.push(Remark::new("often", format!("it fires every {}: more than once a minute", span(period))));
    }
    out
}

impl Schedule {
    /// What a reader may not expect: from the text alone, and from what the zone's clocks will do after `now`.
    pub fn remarks(&self, zone: &Zone, now: i64) -> Vec<Remark> {
        let mut out = self.remarks.clone();
        let ahead = || zone.changes_after(now).take_while(|change| change.at < now.saturating_add(YEARS_AHEAD));
        match &self.when {
            When::Pattern(pattern) => {
                let gap = ahead().filter(Change::is_gap).find_map(|change| self.remark_of_gap(pattern, zone, change));
                let fold =
                    ahead().filter(|c| !c.is_gap()).find_map(|change| self.remark_of_fold(pattern, zone, change));
                out.extend(gap.into_iter().chain(fold));
                if self.next_after(now, zone).is_none() {
                    out.push(Remark::new("over", "it will not fire any more".to_string()));
                }
            }
            When::Every { period, .. } if *period % DAY == 0 && ahead().next().is_some() => {
                let text = "`@every` counts real time: after a change of the clocks it fires an hour earlier or later \
                            by the wall; for the same time each day write it as cron does, `30 3 * * *`";
                out.push(Remark::new("drift", text.to_string()));
            }
            When::At(at) if *at <= now => out.push(Remark::new("over", "that time is over: it will not fire".into())),
            When::At(_) | When::Every { .. } | When::Reboot => {}
        }
        out
    }

    fn remark_of_gap(&self, pattern: &Pattern, zone: &Zone, change: Change) -> Option<Remark> {
        let missed = pattern.next(change.from(), change.to())?;
        let skipped = format!("{} to {}", moves(change, zone), reading(change.to(), change));
        let then = match (pattern.fixed, self.dst) {
            (true, Dst::Skip) => format!("{} is left out (dst = \"skip\")", clock(missed)),
            (true, Dst::Once | Dst::Both) => {
                let at =
                    if missed == change.to() { String::new() } else { format!(" at {}", reading(change.to(), change)) };
                format!("there is no {}, and it fires once{at}", clock(missed))
            }
            // Following real time only shows where whole hours are left out.
            (false, _) if pattern.hours.count_ones() == 24 => return None,
            (false, _) => format!("there is no {}, and as it follows real time, it does not fire then", clock(missed)),
        };
        Some(Remark::new("gap", format!("{skipped}: {then}")))
    }

    fn remark_of_fold(&self, pattern: &Pattern, zone: &Zone, change: Change) -> Option<Remark> {
        let again = pattern.next(change.to(), change.from())?;
        let back = moves(change, zone);
        let shown = format!("{back} back to {}: {} comes twice", reading(change.to(), change), clock(again));
        let then = match (pattern.fixed, self.dst) {
            (true, Dst::Once | Dst::Skip) => "and it fires the first time only",
            (true, Dst::Both) => "and it fires both times (dst = \"both\")",
            (false, _) if pattern.hours.count_ones() == 24 => return None,
            (false, _) => "and as it follows real time, it fires both times",
        };
        Some(Remark::new("fold", format!("{shown}, {then}")))
    }

    /// What one of its ticks has to do with a change of the clocks.
    pub fn note(&self, tick: &super::Tick, zone: &Zone) -> Option<String> {
        use super::How;
        let before = |at: i64| zone.changes_after(at - DAY).take_while(|change| change.at <= at).last();
        match tick.how {
            How::Moved => Some(format!("{} does not exist on {}", clock(tick.due), tick.due.date())),
            How::Again => Some(format!("{} for the second time: clocks went back", clock(tick.due))),
            How::Exact => {
                let When::Pattern(pattern) = &self.when else { return None };
                let again = zone.instants(tick.due).nth(1).is_some_and(|second| second > tick.at);
                match before(tick.at) {
                    _ if again && pattern.fixed && self.dst != Dst::Both => {
                        Some(format!("{} comes twice; this is the first", clock(tick.due)))
                    }
                    Some(change) if change.at == tick.at => {
                        let way = if change.is_gap() { "forward" } else { "back" };
                        let hours = span(i64::from((change.after - change.before).abs()));
                        Some(format!("clocks go {way} by {hours} at this instant"))
                    }
                    Some(_) | None => None,
                }
            }
        }
    }
}

/// `on 2026-03-08 clocks in America/New_York go from 02:00`
fn moves(change: Change, zone: &Zone) -> String {
    format!("on {} clocks in {} go from {}", change.from().date(), zone.name(), clock(change.from()))
}

/// With its date, where that is not the one of the change.
fn reading(wall: Wall, change: Change) -> String {
    let date = wall.date();
    if date == change.from().date() { clock(wall) } else { format!("{} on {date}", clock(wall)) }
}
