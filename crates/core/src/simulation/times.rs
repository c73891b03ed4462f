//! Random schedules, zones and calendars.

use super::almanac::{Area, Cal, DAY, Days, HOUR, MINUTE, Marks, Shape, When, Words, assert_readable, date, written};
use super::dice::Dice;
use crate::job::{CatchUp, Dst, JitterMode, Job, Millis, Timing};
use crate::schedule::{Date, Way, Zone};
use crate::timed::{Calendar, Timed};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::string::{String, ToString};
use std::sync::Arc;
use std::vec::Vec;
use std::{format, vec};

/// What the schedules of one world are made of.
#[derive(Debug)]
pub(super) struct Atlas {
    /// Everything takes longer by that factor, and so it is due more rarely.
    pace: i64,
    /// The second at which the world begins.
    pub(super) begin: i64,
    jitter: Millis,
    /// What this machine is called, and which zone is its own: another server may begin in other surroundings.
    pub(super) host: String,
    here: usize,
    areas: Vec<(Rc<Area>, Arc<Zone>)>,
    pub(super) calendars: Arc<Vec<Cal>>,
    shapes: BTreeMap<String, Shape>,
    words: Vec<Rc<Words>>,
}

const NAMES: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

impl Atlas {
    pub(super) fn new(dice: &mut Dice, pace: u64) -> Atlas {
        let pace = pace as i64;
        let mut areas = vec![Area::utc("z0".into()), Area::of_rule("z1".into(), dice.below(4))];
        // Mostly the night before clocks change.
        let changes: Vec<i64> = areas[1].changes().iter().map(|(at, _)| *at).filter(|at| *at > 1_790_000_000).collect();
        let change = changes[dice.below(8) as usize];
        let begin = match dice.below(3) {
            0 => 1_800_000_000 + dice.below(400) as i64 * DAY,
            _ => change - dice.below(5 * HOUR as u64 * pace as u64) as i64,
        };
        areas.push(wild(dice, begin, pace));
        let areas = areas.into_iter().map(|area| (Rc::new(area.clone()), Arc::new(area.zone()))).collect();
        let jitter = Millis(dice.between(1, 600) * 1000 * pace as u64);
        let mut atlas = Atlas {
            pace,
            begin,
            jitter,
            host: "host".into(),
            here: 0,
            areas,
            calendars: Arc::default(),
            shapes: BTreeMap::new(),
            words: Vec::new(),
        };
        atlas.calendars = Arc::new(atlas.some_calendars(dice, begin));
        atlas
    }

    /// The machine gets another name, or another zone.
    pub(super) fn elsewhere(&mut self, dice: &mut Dice) {
        if dice.one_in(2) {
            self.host = format!("host{}", dice.below(9));
        } else {
            self.here = dice.below(3) as usize;
        }
    }

    /// Days off and stretches of time, near now.
    pub(super) fn some_calendars(&self, dice: &mut Dice, now: i64) -> Vec<Cal> {
        let today = now.div_euclid(DAY);
        let mut some = |n: u64| -> Vec<i64> { (0..n).map(|_| today + dice.below(20) as i64 - 2).collect() };
        let (include, exclude, file) = (some(3), some(3), some(4));
        let file_includes = dice.one_in(2);
        let blackouts = (0..4).map(|n| {
            let from = now + dice.below((4 * HOUR * self.pace) as u64) as i64 + n * self.pace * HOUR;
            (from, from + dice.between(1, (2 * HOUR * self.pace) as u64) as i64)
        });
        let blackouts = blackouts.collect();
        let days = |days: std::ops::RangeInclusive<i64>| days.collect::<Vec<i64>>();
        let open = |name: &str| Cal {
            name: name.into(),
            weekdays: days(0..=6),
            include: Vec::new(),
            exclude: Vec::new(),
            file: Vec::new(),
            file_includes: false,
            blackouts: Vec::new(),
        };
        vec![
            Cal { weekdays: days(1..=5), include, file, file_includes, ..open("work") },
            Cal { exclude, ..open("off") },
            Cal { blackouts, ..open("black") },
        ]
    }

    // ---- what it means to the rules, and to the judge ----

    pub(super) fn timed(&self, job: &Job) -> Option<Arc<Timed>> {
        let zone = |name: Option<&str>| {
            let found = self.areas.iter().find(|(area, _)| Some(area.name.as_str()) == name);
            Some(found.unwrap_or(&self.areas[self.here]).1.clone())
        };
        let calendar = |name: &str| {
            let cal = self.calendars.iter().find(|cal| cal.name == name)?;
            let day = |day: &i64| {
                let (year, month, day) = date(*day);
                Date { year: year as i32, month: month as u8, day: day as u8 }
            };
            Some(Calendar {
                weekdays: cal.weekdays.iter().fold(0, |all, day| all | 1 << day),
                include: cal.include.iter().map(day).collect::<BTreeSet<_>>(),
                exclude: cal.exclude.iter().map(day).collect::<BTreeSet<_>>(),
                file: cal.file.iter().map(day).collect(),
                file_includes: cal.file_includes,
                blackouts: cal.blackouts.clone(),
                ..Calendar::open(name)
            })
        };
        Timed::read(job, &self.host, zone, calendar).expect("what is written can be read").map(Arc::new)
    }

    pub(super) fn words(&mut self, timing: &Timing) -> Option<Rc<Words>> {
        if timing.schedules.is_empty() {
            return None;
        }
        if let Some(words) = self
            .words
            .iter()
            .find(|words| words.timing == *timing && words.here == self.here && words.hold_with(&self.calendars))
        {
            return Some(words.clone());
        }
        let area = |name: Option<&str>| {
            let found = self.areas.iter().find(|(area, _)| Some(area.name.as_str()) == name);
            found.unwrap_or(&self.areas[self.here]).0.clone()
        };
        let part = |text: &String| {
            let shape = self.shapes[text].clone();
            let area = area(shape.zone.as_deref().or(timing.timezone.as_deref()));
            (shape, area)
        };
        let parts = timing.schedules.iter().map(part).collect();
        let words = Rc::new(Words::new(timing.clone(), self.here, parts, &self.calendars));
        self.words.push(words.clone());
        Some(words)
    }

    // ---- chance ----

    pub(super) fn some_timing(&mut self, dice: &mut Dice) -> Timing {
        let mut time = Timing::default();
        for _ in 0..[1, 1, 1, 2, 3][dice.below(5) as usize] {
            let shape = self.some_shape(dice);
            assert_readable(&shape);
            time.schedules.push(shape.text.clone());
            self.shapes.insert(shape.text.clone(), shape);
        }
        time.timezone = (!dice.one_in(4)).then(|| format!("z{}", dice.below(3)));
        time.dst = [Dst::Once, Dst::Once, Dst::Skip, Dst::Both][dice.below(4) as usize];
        time.catch_up = [None, Some(CatchUp::None), Some(CatchUp::Once), Some(CatchUp::All)][dice.below(4) as usize];
        time.catch_up_window = Millis(dice.between(1, (24 * HOUR * self.pace) as u64) * 1000);
        time.catch_up_max = dice.between(1, 6) as u32;
        time.catch_up_delay = if dice.one_in(2) { Millis(0) } else { Millis(dice.between(1, 120) * 1000) };
        if dice.one_in(3) {
            time.jitter = self.jitter;
            time.jitter_mode = if dice.one_in(2) { JitterMode::Stable } else { JitterMode::Random };
        }
        for name in ["work", "off", "black"] {
            if dice.one_in(4) {
                time.calendars.push(name.to_string());
            }
        }
        // What follows no clock has no time of day to move. By a number that is there: so each seed's chances stay its own.
        let no_clock = |text: &String| text.starts_with("@every");
        if !time.calendars.is_empty() && !time.schedules.iter().any(no_clock) {
            time.shift = match time.catch_up_window.0 / 1000 % 4 {
                0 => Some(Way::Next),
                1 => Some(Way::Previous),
                _ => None,
            };
        }
        time
    }

    fn some_shape(&self, dice: &mut Dice) -> Shape {
        let zone = None;
        match dice.below(12) {
            0 => Shape { text: "@reboot".into(), zone, when: When::Reboot },
            1 | 2 => self.every(dice),
            3 => self.at(dice),
            4 | 5 => self.calendar(dice),
            _ => self.cron(dice),
        }
    }

    fn every(&self, dice: &mut Dice) -> Shape {
        let period = dice.between(20, 900) as i64 * self.pace;
        let anchor = self.begin - 1000 + dice.below(3000) as i64;
        let text = format!("@every {period}s anchor={}Z", written(anchor));
        Shape { text, zone: None, when: When::Every { period, anchor } }
    }

    fn at(&self, dice: &mut Dice) -> Shape {
        let at = self.begin + dice.below((3 * HOUR * self.pace) as u64) as i64;
        if dice.one_in(2) {
            return Shape { text: format!("@at {}Z", written(at)), zone: None, when: When::At(at) };
        }
        let second = at.rem_euclid(DAY);
        let marks = Marks {
            fixed: true,
            hours: vec![second / HOUR],
            minutes: vec![second / MINUTE % 60],
            seconds: vec![second % 60],
            days: Days { only: Some(at.div_euclid(DAY)), ..Days::default() },
        };
        Shape { text: format!("@at {}", written(at)), zone: None, when: When::Marks(marks) }
    }

    /// Hours near which clocks change, mostly.
    fn hours(dice: &mut Dice) -> Vec<i64> {
        let n = dice.between(1, 3);
        let mut hours: Vec<i64> =
            (0..n).map(|_| if dice.one_in(3) { dice.below(24) } else { dice.below(4) } as i64).collect();
        hours.sort_unstable();
        hours.dedup();
        hours
    }

    fn cron(&self, dice: &mut Dice) -> Shape {
        let mut days = Days::default();
        let (mut month_text, mut week_text) = ("*".to_string(), "*".to_string());
        let minute = dice.below(60) as i64;
        let all = |step: i64, to: i64| (0..to).step_by(step as usize).collect::<Vec<i64>>();
        let level = match self.pace {
            1 => dice.below(4),
            10 => dice.between(1, 4),
            _ => dice.between(3, 6),
        };
        let (minutes, minute_text, hours, hour_text, fixed) = match level {
            0 => (all(1, 60), "*".to_string(), all(1, 24), "*".to_string(), false),
            1 => {
                let step = dice.between(5, 25) as i64;
                (all(step, 60), format!("*/{step}"), all(1, 24), "*".to_string(), false)
            }
            2 => (vec![minute], minute.to_string(), all(1, 24), "*".to_string(), false),
            3 => {
                // A range of hours, and a list of minutes: times of day. With a step over all minutes: real time.
                let from = dice.below(3) as i64;
                let hours: Vec<i64> = (from..from + 3).collect();
                let text = format!("{from}-{}", from + 2);
                if dice.one_in(2) {
                    (all(30, 60), "*/30".to_string(), hours, text, false)
                } else {
                    (vec![15, 45], "15,45".to_string(), hours, text, true)
                }
            }
            _ => {
                let hours = Atlas::hours(dice);
                let text = list(&hours);
                (vec![minute], minute.to_string(), hours, text, true)
            }
        };
        let rarely = level >= 5 || dice.one_in(5);
        if rarely && dice.one_in(2) {
            days.of_month = vec![1 + dice.below(9) as i64, 10 + dice.below(18) as i64];
            month_text = list(&days.of_month);
        }
        if rarely && dice.one_in(2) {
            let from = dice.below(4) as i64;
            days.of_week = (from..from + 2).collect();
            week_text = if dice.one_in(2) { list(&days.of_week) } else { format!("{from}-{}", from + 1) };
        }
        days.either = !days.of_month.is_empty() && !days.of_week.is_empty();
        let (seconds, second_text) = match dice.below(6) {
            0 => (vec![30], "30 ".to_string()),
            1 if level == 0 => (all(20, 60), "*/20 ".to_string()),
            _ => (vec![0], String::new()),
        };
        let text = format!("{second_text}{minute_text} {hour_text} {month_text} * {week_text}");
        Shape { text, zone: None, when: When::Marks(Marks { fixed, hours, minutes, seconds, days }) }
    }

    fn calendar(&self, dice: &mut Dice) -> Shape {
        let mut days = Days::default();
        let mut text = "calendar:".to_string();
        if self.pace > 1 && dice.one_in(3) {
            let from = dice.below(3) as i64;
            days.of_week = (from..=from + 3).collect();
            text += &format!("{}..{} ", NAMES[from as usize], NAMES[from as usize + 3]);
        }
        match dice.below(6) {
            0 if self.pace == 100 => {
                days.last = true;
                text += "*-*~01 ";
            }
            1 if self.pace == 100 => {
                days.of_month = vec![1, 15];
                text += "*-*-01,15 ";
            }
            _ => text += "*-*-* ",
        }
        let (hours, minutes, second, fixed);
        if self.pace < 100 && dice.one_in(2) {
            let step = dice.between(10, 30) as i64;
            (hours, minutes, second, fixed) =
                ((0..24).collect(), (0..60).step_by(step as usize).collect(), dice.below(60) as i64, false);
            text += &format!("*:00/{step}:{second:02}");
        } else {
            (hours, minutes, second, fixed) = (Atlas::hours(dice), vec![dice.below(60) as i64], 0, true);
            text += &format!("{}:{:02}", list(&hours), minutes[0]);
        }
        let zone = dice.one_in(3).then(|| format!("z{}", dice.below(3)));
        if let Some(zone) = &zone {
            text += &format!(" {zone}");
        }
        let marks = Marks { fixed, hours, minutes, seconds: vec![second], days };
        Shape { text, zone, when: When::Marks(marks) }
    }
}

fn list(numbers: &[i64]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Clocks as no government would have them: they change every few hours or days, by minutes, hours, or a day.
fn wild(dice: &mut Dice, begin: i64, pace: i64) -> Area {
    let first = (dice.below(24) as i64 - 12) * HOUR;
    let (mut at, mut offset) = (begin - 2 * DAY, first);
    let mut changes = Vec::new();
    for _ in 0..60 {
        at += dice.between(1, (5 * HOUR * pace) as u64) as i64;
        let by = [30 * MINUTE, HOUR, 2 * HOUR, 10 * MINUTE, DAY][dice.below(5) as usize];
        let by = if dice.one_in(2) { by } else { -by };
        if (offset + by).abs() <= 25 * HOUR {
            offset += by;
            changes.push((at, offset));
        }
    }
    Area::made("z2".into(), first, changes)
}
