//! Zones and schedules as the judge knows them: slowly, and by what they mean.
//!
//! A schedule is made here from its meaning, and its text is written from that; so nothing that reads texts is asked. An
//! instant is found by going through all readings of a day and looking, for each, at which instants a clock shows it.

use crate::job::{Dst, Timing};
use crate::schedule::{Schedule, Wall, Way, Zone};
use crate::tick::{COUNTED, Moved};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::string::{String, ToString};
use std::sync::Arc;
use std::vec::Vec;
use std::{format, vec};

pub(super) const MINUTE: i64 = 60;
pub(super) const HOUR: i64 = 3600;
pub(super) const DAY: i64 = 86_400;

/// A zone: its offset long ago, and each change with the offset from then on.
#[derive(Clone, Debug)]
pub(super) struct Area {
    pub(super) name: String,
    /// `$TZ`, for those that are made from it.
    rule: Option<&'static str>,
    first: i64,
    changes: Vec<(i64, i64)>,
}

/// A rule of `$TZ` and what it means: offsets, and when summer begins and ends (month, week, weekday, time of day).
struct Rule {
    text: &'static str,
    standard: i64,
    summer: i64,
    begins: (i64, i64, i64, i64),
    ends: (i64, i64, i64, i64),
}

const RULES: [Rule; 4] = [
    Rule {
        text: "CET-1CEST,M3.5.0,M10.5.0/3",
        standard: HOUR,
        summer: 2 * HOUR,
        begins: (3, 5, 0, 2 * HOUR),
        ends: (10, 5, 0, 3 * HOUR),
    },
    Rule {
        text: "EST5EDT,M3.2.0,M11.1.0",
        standard: -5 * HOUR,
        summer: -4 * HOUR,
        begins: (3, 2, 0, 2 * HOUR),
        ends: (11, 1, 0, 2 * HOUR),
    },
    Rule {
        text: "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
        standard: 37_800,
        summer: 39_600,
        begins: (10, 1, 0, 2 * HOUR),
        ends: (4, 1, 0, 2 * HOUR),
    },
    Rule {
        text: "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
        standard: -2 * HOUR,
        summer: -HOUR,
        begins: (3, 5, 0, -HOUR),
        ends: (10, 5, 0, 0),
    },
];

impl Area {
    pub(super) fn utc(name: String) -> Area {
        Area { name, rule: None, first: 0, changes: Vec::new() }
    }

    pub(super) const fn made(name: String, first: i64, changes: Vec<(i64, i64)>) -> Area {
        Area { name, rule: None, first, changes }
    }

    pub(super) fn of_rule(name: String, which: u64) -> Area {
        let rule = &RULES[which as usize % RULES.len()];
        let mut changes = Vec::new();
        for year in 2024..2042 {
            changes.push((day_of(year, rule.begins) - rule.standard, rule.summer));
            changes.push((day_of(year, rule.ends) - rule.summer, rule.standard));
        }
        changes.sort_unstable();
        let first = if changes[0].1 == rule.summer { rule.standard } else { rule.summer };
        Area { name, rule: Some(rule.text), first, changes }
    }

    pub(super) fn changes(&self) -> &[(i64, i64)] {
        &self.changes
    }

    pub(super) fn zone(&self) -> Zone {
        match self.rule {
            Some(rule) => Zone::of_rule(rule).expect("a rule"),
            None => {
                let changes = self.changes.iter().map(|(at, offset)| (*at, *offset as i32));
                Zone::new(&self.name, self.first as i32, changes)
            }
        }
    }

    /// What its clock shows then.
    fn shown(&self, at: i64) -> i64 {
        let last = self.changes.iter().rev().find(|(change, _)| *change <= at);
        at + last.map_or(self.first, |(_, offset)| *offset)
    }

    /// From when to when it has which offset, near a day of the wall.
    fn spans(&self, day: i64) -> Vec<(i64, i64, i64)> {
        let mut all = Vec::new();
        let (mut start, mut offset) = (i64::MIN, self.first);
        for (at, next) in self.changes.iter().copied().chain([(i64::MAX, 0)]) {
            all.push((start, at, offset));
            (start, offset) = (at, next);
        }
        all.retain(|(start, end, _)| *end >= (day - 4) * DAY && *start <= (day + 4) * DAY);
        all
    }
}

/// Seconds of the wall at which a rule's change is, in that year.
fn day_of(year: i64, (month, week, weekday, time): (i64, i64, i64, i64)) -> i64 {
    let first = days(year, month, 1);
    let next = if month == 12 { days(year + 1, 1, 1) } else { days(year, month + 1, 1) };
    let such: Vec<i64> = (first..next).filter(|day| self::weekday(*day) == weekday).collect();
    let day = if week == 5 { such[such.len() - 1] } else { such[week as usize - 1] };
    day * DAY + time
}

/// Days since 1970, counted year by year and month by month.
pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    let years: i64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    years + (1..month).map(|month| length(year, month)).sum::<i64>() + day - 1
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn length(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day.
pub(super) fn date(mut day: i64) -> (i64, i64, i64) {
    let mut year = 1970;
    while day >= if is_leap(year) { 366 } else { 365 } {
        day -= if is_leap(year) { 366 } else { 365 };
        year += 1;
    }
    let mut month = 1;
    while day >= length(year, month) {
        day -= length(year, month);
        month += 1;
    }
    (year, month, day + 1)
}

/// Sunday is 0; 1970 began on a Thursday.
pub(super) const fn weekday(day: i64) -> i64 {
    (day + 4).rem_euclid(7)
}

/// One schedule.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) text: String,
    /// The zone that it names itself.
    pub(super) zone: Option<String>,
    pub(super) when: When,
}

#[derive(Clone, Debug)]
pub(super) enum When {
    Marks(Marks),
    Every { period: i64, anchor: i64 },
    At(i64),
    Reboot,
}

/// Readings of a clock.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    /// Times of day that somebody wrote down; else it follows real time.
    pub(super) fixed: bool,
    pub(super) hours: Vec<i64>,
    pub(super) minutes: Vec<i64>,
    pub(super) seconds: Vec<i64>,
    pub(super) days: Days,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Days {
    /// Empty: any.
    pub(super) of_month: Vec<i64>,
    /// Empty: any. Sunday is 0.
    pub(super) of_week: Vec<i64>,
    /// One of both is enough.
    pub(super) either: bool,
    /// Only the last day of each month.
    pub(super) last: bool,
    pub(super) only: Option<i64>,
}

impl Days {
    fn has(&self, day: i64) -> bool {
        let (year, month, of_month) = date(day);
        if self.only.is_some_and(|only| only != day) || (self.last && of_month != length(year, month)) {
            return false;
        }
        let month = self.of_month.is_empty() || self.of_month.contains(&of_month);
        let week = self.of_week.is_empty() || self.of_week.contains(&weekday(day));
        if self.either {
            self.of_month.contains(&of_month) || self.of_week.contains(&weekday(day))
        } else {
            month && week
        }
    }
}

/// At which instants a reading is due: where the clock shows it, or for what somebody wrote down, as `dst` says.
fn instants(spans: &[(i64, i64, i64)], reading: i64, fixed: bool, dst: Dst) -> Vec<i64> {
    let shown = |(start, end, offset): &(i64, i64, i64)| {
        let at = reading - offset;
        (at >= *start && at < *end).then_some(at)
    };
    let mut exact: Vec<i64> = spans.iter().filter_map(shown).collect();
    if !fixed {
        return exact;
    }
    let later = spans.iter().find(|(_, end, offset)| *end == i64::MAX || end + offset > reading);
    let first = later.map(|(start, _, offset)| (reading - offset).max(*start)).expect("time goes on");
    match dst {
        Dst::Once => vec![first],
        Dst::Skip => {
            if exact.contains(&first) {
                vec![first]
            } else {
                Vec::new()
            }
        }
        Dst::Both => {
            if !exact.contains(&first) {
                exact.insert(0, first);
            }
            exact
        }
    }
}

/// An instant at which a job is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Which of its schedules names it, the first that does.
    pub(super) part: usize,
    /// The day that was written down, as days since 1970.
    pub(super) day: i64,
}

/// When a job is due, with all that its definition says about it.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) timing: Timing,
    /// Which zone was the machine's own.
    pub(super) here: usize,
    parts: Vec<(Shape, Rc<Area>)>,
    /// Those whose days `shift` asks for, and which way it moves; `None`: nothing is moved.
    moves: Option<(Way, Vec<Cal>)>,
    known: RefCell<Known>,
    /// Never twice within a day.
    pub(super) rare: bool,
}

/// What was worked out, by days of UTC.
#[derive(Debug, Default)]
struct Known {
    days: Option<(i64, i64)>,
    all: BTreeMap<i64, Due>,
    /// Of those that were moved: what was written down, as readings of the clock.
    moved: BTreeMap<i64, BTreeSet<i64>>,
}

impl Words {
    /// With `shift` by the days that count now: when others do, these are other words.
    pub(super) fn new(timing: Timing, here: usize, parts: Vec<(Shape, Rc<Area>)>, calendars: &Arc<Vec<Cal>>) -> Words {
        let mut words = Words { timing, here, parts, moves: None, known: RefCell::default(), rare: true };
        // As of 2025, and as far as forty instants go. What has fewer by then has no more than what is due once.
        let from = days(2025, 1, 1);
        let once = |(shape, _): &(Shape, Rc<Area>)| match &shape.when {
            When::At(at) => Some(at.div_euclid(DAY)),
            When::Marks(marks) => marks.days.only,
            When::Every { .. } | When::Reboot => None,
        };
        // A clock may show a day of the wall up to two days before or after it.
        let once: BTreeSet<i64> = words.parts.iter().filter_map(once).flat_map(|day| day - 2..=day + 2).collect();
        let mut found: Vec<i64> = Vec::new();
        for day in (from..from + 1300).chain(once.range(from + 1300..).copied()) {
            found.extend(words.within(day * DAY, (day + 1) * DAY - 1));
            if found.len() >= 40 || found.windows(2).any(|two| two[1] - two[0] < 21 * HOUR) {
                break;
            }
        }
        words.rare = found.iter().take(40).collect::<Vec<_>>().windows(2).all(|two| two[1] - two[0] >= 21 * HOUR);
        words.known = RefCell::default();
        let of_job = |name: &String| calendars.iter().find(|cal| cal.name == *name).cloned();
        words.moves = words.timing.shift.map(|way| (way, words.timing.calendars.iter().filter_map(of_job).collect()));
        words
    }

    /// Whether they hold with these calendars too.
    pub(super) fn hold_with(&self, calendars: &[Cal]) -> bool {
        let is_there = |cal: &Cal| calendars.iter().any(|other| other == cal);
        self.moves.as_ref().is_none_or(|(_, known)| known.iter().all(is_there))
    }

    /// What is to be recorded of an instant: from where it was moved, or others to it.
    pub(super) fn moved(&self, at: i64) -> Option<Moved> {
        self.work_out(at.div_euclid(DAY), at.div_euclid(DAY));
        let known = self.known.borrow();
        let from = known.moved.get(&at)?;
        let first = *from.first()?;
        let (_, calendars) = self.moves.as_ref()?;
        let by = calendars.iter().find(|cal| !cal.counts(first.div_euclid(DAY)))?;
        let count = COUNTED.min(from.len() as u64);
        Some(Moved { from: Wall(first), count, by: by.name.clone() })
    }

    /// The day on which a day's times are due: the nearest that all calendars count.
    fn lands(&self, day: i64) -> i64 {
        let Some((way, calendars)) = &self.moves else { return day };
        let step = if *way == Way::Next { 1 } else { -1 };
        let mut nearest = (0..=366).map(|far| day + step * far);
        nearest.find(|day| calendars.iter().all(|cal| cal.counts(*day))).unwrap_or(day)
    }

    /// The other days whose times are due on this one.
    fn comes_from(&self, day: i64) -> Vec<i64> {
        let Some((way, _)) = &self.moves else { return Vec::new() };
        let step = if *way == Way::Next { -1 } else { 1 };
        (1..=366).map(|far| day + step * far).take_while(|other| self.lands(*other) == day).collect()
    }

    pub(super) fn at_boot(&self) -> bool {
        self.parts.iter().any(|(shape, _)| matches!(shape.when, When::Reboot))
    }

    /// All instants of that time, both ends among them.
    pub(super) fn within(&self, from: i64, until: i64) -> Vec<i64> {
        if from > until {
            return Vec::new();
        }
        self.work_out(from.div_euclid(DAY), until.div_euclid(DAY));
        self.known.borrow().all.range(from..=until).map(|(at, _)| *at).collect()
    }

    pub(super) fn due(&self, at: i64) -> Option<Due> {
        self.work_out(at.div_euclid(DAY), at.div_euclid(DAY));
        self.known.borrow().all.get(&at).copied()
    }

    /// All of them follow real time; none names a time of day.
    pub(super) fn is_rhythm(&self) -> bool {
        let beats = |when: &When| matches!(when, When::Every { .. } | When::Marks(Marks { fixed: false, .. }));
        let whens: Vec<&When> = self.parts.iter().map(|(shape, _)| &shape.when).collect();
        self.timing.shift.is_none()
            && whens.iter().any(|when| beats(when))
            && whens.iter().all(|when| beats(when) || matches!(when, When::Reboot))
    }

    /// Of the last 420 days.
    pub(super) fn last_until(&self, at: i64) -> Option<i64> {
        let mut to = at;
        for _ in 0..420 {
            let begin = to.div_euclid(DAY) * DAY;
            if let Some(last) = self.within(begin, to).last() {
                return Some(*last);
            }
            to = begin - 1;
        }
        None
    }

    /// Within the next 420 days.
    pub(super) fn next_after(&self, at: i64) -> Option<i64> {
        let mut from = at + 1;
        for _ in 0..420 {
            let end = (from.div_euclid(DAY) + 1) * DAY - 1;
            if let Some(next) = self.within(from, end).first() {
                return Some(*next);
            }
            from = end + 1;
        }
        None
    }

    fn work_out(&self, first: i64, last: i64) {
        let (mut first, mut last) = (first, last);
        // No clock is further from UTC than a day and two hours.
        (first, last) = (first - 2, last + 2);
        let known = self.known.borrow().days;
        let todo: Vec<i64> = match known {
            None => (first..=last).collect(),
            Some((from, to)) => {
                let todo = (first..from).chain(to + 1..=last).collect();
                (first, last) = (first.min(from), last.max(to));
                todo
            }
        };
        if todo.is_empty() {
            return;
        }
        let mut known = self.known.borrow_mut();
        known.days = Some((first, last));
        for day in todo {
            let others = self.comes_from(day);
            for (part, (shape, area)) in self.parts.iter().enumerate() {
                let mut of_day = self.of_day(shape, area, day);
                of_day.retain(|(_, written)| self.lands(*written) == *written);
                for other in &others {
                    // The same time of day, once, by the first clock that shows it or something later.
                    let spans = area.spans(day);
                    for reading in readings(shape, area, *other) {
                        let at = instants(&spans, reading + (day - other) * DAY, true, Dst::Once)[0];
                        known.moved.entry(at).or_default().insert(reading);
                        of_day.push((at, day));
                    }
                }
                for (at, day_written) in of_day {
                    let due = Due { part, day: day_written };
                    let at = known.all.entry(at).or_insert(due);
                    if at.part == part {
                        at.day = at.day.min(day_written);
                    } else if part < at.part {
                        // It is on a later day by its own zone.
                        *at = due;
                    }
                }
            }
        }
    }

    /// Those that are written down for a day, or are in that day of UTC; each with the day that was written down.
    fn of_day(&self, shape: &Shape, area: &Area, day: i64) -> Vec<(i64, i64)> {
        let within = day * DAY..(day + 1) * DAY;
        let today = area.spans(day);
        let shown = |at: i64| {
            let span = today.iter().find(|(start, end, _)| *start <= at && at < *end);
            (at + span.map_or(0, |(_, _, offset)| *offset)).div_euclid(DAY)
        };
        match &shape.when {
            When::Reboot => Vec::new(),
            When::At(at) => {
                if within.contains(at) {
                    vec![(*at, shown(*at))]
                } else {
                    Vec::new()
                }
            }
            When::Every { period, anchor } => {
                let first = within.start + (anchor - within.start).rem_euclid(*period);
                (first..within.end).step_by(*period as usize).map(|at| (at, shown(at))).collect()
            }
            When::Marks(marks) => {
                let mut all = Vec::new();
                if marks.days.has(day) {
                    for hour in &marks.hours {
                        for minute in &marks.minutes {
                            for second in &marks.seconds {
                                let reading = day * DAY + hour * HOUR + minute * MINUTE + second;
                                let at = instants(&today, reading, marks.fixed, self.timing.dst);
                                all.extend(at.into_iter().map(|at| (at, day)));
                            }
                        }
                    }
                }
                all
            }
        }
    }
}

/// What is written down for a day, by the clock.
fn readings(shape: &Shape, area: &Area, day: i64) -> Vec<i64> {
    match &shape.when {
        When::Marks(marks) if marks.days.has(day) => {
            let mut all = Vec::new();
            for hour in &marks.hours {
                for minute in &marks.minutes {
                    all.extend(marks.seconds.iter().map(|second| day * DAY + hour * HOUR + minute * MINUTE + second));
                }
            }
            all
        }
        When::At(at) => {
            let shown = area.shown(*at);
            if shown.div_euclid(DAY) == day { vec![shown] } else { Vec::new() }
        }
        When::Marks(_) | When::Every { .. } | When::Reboot => Vec::new(),
    }
}

/// A calendar, in numbers of days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cal {
    pub(super) name: String,
    pub(super) weekdays: Vec<i64>,
    pub(super) include: Vec<i64>,
    pub(super) exclude: Vec<i64>,
    /// Of its file, which excludes them, or includes them.
    pub(super) file: Vec<i64>,
    pub(super) file_includes: bool,
    pub(super) blackouts: Vec<(i64, i64)>,
}

impl Cal {
    fn counts(&self, day: i64) -> bool {
        let (mut include, mut exclude) = (self.include.clone(), self.exclude.clone());
        if self.file_includes { &mut include } else { &mut exclude }.extend(&self.file);
        (self.weekdays.contains(&weekday(day)) || include.contains(&day)) && !exclude.contains(&day)
    }

    fn says_no(&self, at: i64, day: i64) -> bool {
        !self.counts(day) || self.blackouts.iter().any(|(from, to)| *from <= at && at < *to)
    }
}

/// The first calendar of a job that says no to an instant.
pub(super) fn closed_by(words: &Words, calendars: &[Cal], at: i64) -> Option<String> {
    let due = words.due(at)?;
    let of_job = words.timing.calendars.iter().filter_map(|name| calendars.iter().find(|cal| cal.name == *name));
    of_job.into_iter().find(|cal| cal.says_no(at, due.day)).map(|cal| cal.name.to_string())
}

/// As texts have it: `2027-03-28T02:30:00`.
pub(super) fn written(reading: i64) -> String {
    let (year, month, day) = date(reading.div_euclid(DAY));
    let second = reading.rem_euclid(DAY);
    format!("{year}-{month:02}-{day:02}T{:02}:{:02}:{:02}", second / HOUR, second / MINUTE % 60, second % 60)
}

/// Whether the text can be read at all: what is written here always can.
pub(super) fn assert_readable(shape: &Shape) {
    let read = Schedule::parse(&shape.text, "j0", crate::schedule::Dst::Once);
    assert!(read.is_ok(), "{}: {read:?}", shape.text);
}
