//! A job's timing, ready to be asked: its schedules with their zones, its calendars, and what becomes of instants at which
//! nobody was there.
//!
//! Whoever has zone data makes it from a definition; the rules only ask. It is plain data, and of two that were made from the
//! same words each says the same.

use crate::JobName;
use crate::job::{self, CatchUp, JitterMode, Job, Millis};
use crate::schedule::wall::{DAY, HOUR};
use crate::schedule::{Date, DaySet, Dst, How, Plan, Problems, Schedule, Shift, Tick, Wall, Way, Zone, stable};
use crate::tick::{COUNTED, Moved};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// So far ahead an instant is looked for at which calendars say nothing against it.
const YEARS_AHEAD: i64 = 10 * 366 * DAY;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    /// Which schedule it is: of its words, its zones by name, and what is to follow from them.
    pub sum: u64,
    parts: Vec<(Schedule, Arc<Zone>)>,
    pub(crate) calendars: Vec<Calendar>,
    pub(crate) shift: Option<Way>,
    pub catch_up: CatchUp,
    /// Nothing older is caught up; seconds.
    pub window: i64,
    /// With `all`: so many at most.
    pub most: u32,
    /// A run that is caught up waits for so long.
    pub delay: Millis,
    pub jitter: Jitter,
    /// Due daily or more rarely.
    pub rare: bool,
}

/// How long after its instant a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// Always the same, by a hash of host and job: the distance of two runs stays that of their instants.
    Stable(Millis),
    /// Another each time, below this.
    Random(Millis),
}

/// Days and stretches of time at which nothing is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    pub name: String,
    /// Runs on these days of the week; bit 0 is Sunday.
    pub weekdays: u8,
    /// And on these, whatever day of the week they are.
    pub include: BTreeSet<Date>,
    /// But never on these.
    pub exclude: BTreeSet<Date>,
    /// The days of a calendar file: they are as those of `exclude`; or of `include`, if `file_includes`.
    pub file: DaySet,
    pub file_includes: bool,
    /// Nor from an instant until before another, in UTC seconds.
    pub blackouts: Vec<(i64, i64)>,
}

impl Calendar {
    pub const ALL_DAYS: u8 = 0x7f;

    /// One that says yes to everything.
    pub fn open(name: &str) -> Calendar {
        Calendar {
            name: name.to_string(),
            weekdays: Calendar::ALL_DAYS,
            include: BTreeSet::new(),
            exclude: BTreeSet::new(),
            file: DaySet::default(),
            file_includes: false,
            blackouts: Vec::new(),
        }
    }

    /// Whether it counts that day.
    pub fn has(&self, day: Date) -> bool {
        let by_weekday = self.weekdays & (1 << day.weekday()) != 0;
        let by_file = self.file.has(day);
        let (opened, closed) = if self.file_includes { (by_file, false) } else { (false, by_file) };
        (by_weekday || opened || self.include.contains(&day)) && !closed && !self.exclude.contains(&day)
    }

    /// It counts no day at all, whatever day comes.
    pub fn is_empty(&self) -> bool {
        let included = self.include.iter().copied().chain(self.file.iter().filter(|_| self.file_includes));
        self.weekdays & Calendar::ALL_DAYS == 0 && !included.into_iter().any(|day| self.has(day))
    }
}

/// An instant at which nothing is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed<'a> {
    /// The calendar that says so.
    pub by: &'a str,
    /// It is closed from here on at the latest; never after the instant.
    pub since: i64,
}

/// An instant to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coming {
    /// In UTC seconds.
    pub at: i64,
    /// Which of the job's schedules names it: the first that does.
    pub schedule: usize,
    /// What the schedule asked for, by the wall, and how it came to its instant.
    pub due: Wall,
    pub how: How,
    /// The run begins so long after it; with a random jitter, at most so long.
    pub jitter: Millis,
    /// The calendar that says no to it.
    pub closed: Option<String>,
    /// It is due also, or only, because of days that do not count.
    pub moved: Option<Moved>,
}

/// Why a definition has no timing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untimed {
    Schedule {
        text: String,
        problems: Problems,
    },
    Zone {
        name: String,
    },
    /// The zone of this machine, or of `$TZ`, cannot be told; and it names no other.
    Here,
    Calendar {
        name: String,
    },
}

impl core::fmt::Display for Untimed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Untimed::Schedule { text, problems } => write!(f, "schedule {text:?}: {problems}"),
            Untimed::Zone { name } => write!(f, "there is no time zone {name:?}"),
            Untimed::Here => f.write_str("the server's own time zone is not known"),
            Untimed::Calendar { name } => write!(f, "there is no calendar {name:?}"),
        }
    }
}

impl core::error::Error for Untimed {}

impl Timed {
    /// From a definition; `None` when it has no schedule. `host` is this machine's own name, for the jitter. `zone` knows
    /// zones, the server's own when it is asked for none; `calendar` knows calendars.
    pub fn read(
        job: &Job,
        host: &str,
        mut zone: impl FnMut(Option<&str>) -> Option<Arc<Zone>>,
        mut calendar: impl FnMut(&str) -> Option<Calendar>,
    ) -> Result<Option<Timed>, Untimed> {
        let time = &job.time;
        let dst = match time.dst {
            job::Dst::Once => Dst::Once,
            job::Dst::Skip => Dst::Skip,
            job::Dst::Both => Dst::Both,
        };
        let mut parts = Vec::new();
        for text in &time.schedules {
            let schedule = Schedule::parse(text, job.name.as_str(), dst)
                .map_err(|problems| Untimed::Schedule { text: text.clone(), problems })?;
            let named = schedule.zone().or(time.timezone.as_deref());
            let found = match zone(named) {
                // Its days are those of its zone, if any are asked for.
                None if named.is_none() && schedule.needs_no_zone() && time.calendars.is_empty() => {
                    Some(Arc::new(Zone::utc()))
                }
                found => found,
            };
            let unknown = || named.map_or(Untimed::Here, |name| Untimed::Zone { name: name.to_string() });
            let zone = found.ok_or_else(unknown)?;
            parts.push((schedule, zone));
        }
        if parts.is_empty() {
            return Ok(None);
        }
        let known = |name: &String| calendar(name).ok_or_else(|| Untimed::Calendar { name: name.clone() });
        let calendars = time.calendars.iter().map(known).collect::<Result<_, _>>()?;
        Ok(Some(Timed::new(job, host, parts, calendars)))
    }

    fn new(job: &Job, host: &str, parts: Vec<(Schedule, Arc<Zone>)>, calendars: Vec<Calendar>) -> Timed {
        let time = &job.time;
        let jitter = match time.jitter_mode {
            JitterMode::Stable => Jitter::Stable(below(time.jitter, stable(host, job.name.as_str()))),
            JitterMode::Random => Jitter::Random(time.jitter),
        };
        let mut timed = Timed {
            sum: 0,
            parts,
            calendars,
            shift: time.shift,
            catch_up: CatchUp::None,
            window: i64::try_from(time.catch_up_window.0 / 1000).unwrap_or(i64::MAX),
            most: time.catch_up_max,
            delay: time.catch_up_delay,
            jitter,
            rare: false,
        };
        timed.rare = timed.is_rare();
        timed.catch_up = time.catch_up.unwrap_or(if timed.rare { CatchUp::Once } else { CatchUp::None });
        timed.sum = timed.summed(time.jitter);
        timed
    }

    /// Zones by name: a new edition of their data moves instants that are to come, and is no other schedule. The jitter by
    /// its length: which wait comes of that follows from the name of the machine.
    fn summed(&self, jitter: Millis) -> u64 {
        let words = self
            .parts
            .iter()
            .map(|(schedule, zone)| format!("{}\n{}\n{}\n", schedule.text(), zone.name(), schedule.dst().word()));
        let mut text: String = words.collect();
        let policy = match self.catch_up {
            CatchUp::None => "none",
            CatchUp::Once => "once",
            CatchUp::All => "all",
        };
        text += &format!("{policy} {} {} {}\n", self.window, self.most, self.delay.0);
        text += &match self.jitter {
            Jitter::Stable(_) => format!("stable {}\n", jitter.0),
            Jitter::Random(_) => format!("random {}\n", jitter.0),
        };
        for calendar in &self.calendars {
            text += &format!("{}\n", calendar.name);
        }
        // What has none keeps the sum that it had before there was any.
        if let Some(way) = self.shift {
            text += &format!("{}\n", way.word());
        }
        stable(&text, "schedule")
    }

    /// No two of forty instants are nearer than a day, less what clocks may be set forward in it.
    fn is_rare(&self) -> bool {
        const FROM: i64 = 1_735_689_600;
        let instants: Vec<i64> = self.plan().after(FROM).take(40).map(|(_, tick)| tick.at).collect();
        instants.windows(2).all(|two| two[1] - two[0] >= DAY - 3 * HOUR)
    }

    /// Its schedules, each with the zone that it goes by.
    pub fn parts(&self) -> impl Iterator<Item = (&Schedule, &Zone)> {
        self.parts.iter().map(|(schedule, zone)| (schedule, &**zone))
    }

    pub fn part(&self, schedule: usize) -> Option<(&Schedule, &Zone)> {
        self.parts().nth(schedule)
    }

    pub fn is_random(&self) -> bool {
        matches!(self.jitter, Jitter::Random(_))
    }

    fn plan(&self) -> Plan<'_> {
        Plan::new(self.parts.iter().map(|(schedule, zone)| (schedule, &**zone)))
    }

    /// It follows real time in all that it says, and names no time of day.
    pub(crate) fn is_rhythm(&self) -> bool {
        let mut parts = self.parts.iter().filter(|(schedule, _)| !schedule.is_reboot()).peekable();
        self.shift.is_none() && parts.peek().is_some() && parts.all(|(schedule, _)| schedule.follows_real_time())
    }

    /// Due once a boot, whatever else it is.
    pub fn at_boot(&self) -> bool {
        self.parts.iter().any(|(schedule, _)| schedule.is_reboot())
    }

    pub fn next_after(&self, at: i64) -> Option<i64> {
        Some(self.next_tick(at)?.1.at)
    }

    pub fn last_before(&self, at: i64) -> Option<i64> {
        let Some(way) = self.way() else { return Some(self.plan().last_before(at)?.1.at) };
        let counts = |day| self.counts(day);
        let shift = Shift { way, counts: &counts };
        self.parts().filter_map(|(schedule, zone)| Some(schedule.last_shifted(at, zone, shift)?.at)).max()
    }

    /// The first tick after that instant, and which schedule it is of: the first of those that name it.
    fn next_tick(&self, at: i64) -> Option<(usize, Tick)> {
        let Some(way) = self.way() else { return self.plan().next_after(at) };
        let counts = |day| self.counts(day);
        let shift = Shift { way, counts: &counts };
        let ticks = self.parts().enumerate();
        let ticks = ticks.filter_map(|(part, (schedule, zone))| Some((part, schedule.next_shifted(at, zone, shift)?)));
        ticks.min_by_key(|(part, tick)| (tick.at, *part))
    }

    fn ticks_after(&self, at: i64) -> impl Iterator<Item = (usize, Tick)> + '_ {
        core::iter::successors(self.next_tick(at), |(_, tick)| self.next_tick(tick.at))
    }

    /// The same schedule, and other days that count: what `shift` moves lands elsewhere.
    pub(crate) fn lands_elsewhere(&self, before: &Timed) -> bool {
        self.shift.is_some() && self.sum == before.sum && self.calendars != before.calendars
    }

    /// Without calendars every day counts.
    fn way(&self) -> Option<Way> {
        self.shift.filter(|_| !self.calendars.is_empty())
    }

    fn counts(&self, day: Date) -> bool {
        self.calendars.iter().all(|calendar| calendar.has(day))
    }

    /// The first instant after that one at which no calendar says no. `None`: there is none in the next ten years.
    pub fn next_open(&self, after: i64) -> Option<i64> {
        if self.calendars.iter().any(Calendar::is_empty) {
            return None;
        }
        let mut at = after;
        while at - after < YEARS_AHEAD {
            let (_, tick) = self.next_tick(at)?;
            match self.shut_until(&tick) {
                None => return Some(tick.at),
                Some(until) => at = until.max(tick.at),
            }
        }
        None
    }

    /// `None`: it is open. Else nothing after it is open up to there.
    fn shut_until(&self, tick: &Tick) -> Option<i64> {
        let day = tick.due.date();
        self.calendars.iter().find_map(|calendar| {
            let blackout = calendar.blackouts.iter().find(|(from, to)| (*from..*to).contains(&tick.at));
            match blackout {
                Some((_, to)) => Some(to - 1),
                None if calendar.has(day) => None,
                None => Some(self.shut_day(calendar, tick.at)),
            }
        })
    }

    /// As `closed_since`, the other way: to the end of a day that none of its zones sees as one that counts.
    fn shut_day(&self, calendar: &Calendar, at: i64) -> i64 {
        let in_zone = |zone: &Zone| {
            let wall = zone.wall(at);
            let last = at + DAY - 1 - i64::from(wall.second_of_day());
            // After a change of the clocks it may be another day.
            let change = zone.changes_after(at).next().map_or(last, |change| change.at - 1);
            if calendar.has(wall.date()) { at } else { last.min(change) }
        };
        self.parts().map(|(_, zone)| in_zone(zone)).min().unwrap_or(at)
    }

    /// What was moved to that instant, from days that do not count.
    pub fn moved(&self, at: i64) -> Option<Moved> {
        let way = self.way()?;
        let counts = |day| self.counts(day);
        let shift = Shift { way, counts: &counts };
        let most = usize::try_from(COUNTED).unwrap_or(usize::MAX);
        let of_part = |(schedule, zone): (&Schedule, &Zone)| -> Vec<Wall> {
            schedule.moved_to(at, zone, shift).take(most).collect()
        };
        let from: BTreeSet<Wall> = self.parts().flat_map(of_part).collect();
        let first = *from.first()?;
        let by = self.calendars.iter().find(|calendar| !calendar.has(first.date()))?;
        Some(Moved { from: first, count: COUNTED.min(from.len() as u64), by: by.name.clone() })
    }

    /// How many instants there are from that one to that one, both among them; counted up to `COUNTED`.
    pub(crate) fn count(&self, from: i64, to: i64) -> u64 {
        let ticks = self.ticks_after(from - 1).take_while(|(_, tick)| tick.at <= to);
        ticks.take(usize::try_from(COUNTED).unwrap_or(usize::MAX)).count() as u64
    }

    /// Whether a calendar says no to that instant of this schedule.
    pub fn closed(&self, at: i64) -> Option<Closed<'_>> {
        let (_, tick) = if self.calendars.is_empty() { None } else { self.next_tick(at - 1) }?;
        if tick.at == at { self.closed_for(&tick) } else { None }
    }

    fn closed_for(&self, tick: &Tick) -> Option<Closed<'_>> {
        let day = tick.due.date();
        self.calendars.iter().find_map(|calendar| {
            let blackout = calendar.blackouts.iter().find(|(from, to)| (*from..*to).contains(&tick.at));
            let since = match blackout {
                Some((from, _)) => *from,
                None if calendar.has(day) => return None,
                None => self.closed_since(calendar, tick.at),
            };
            Some(Closed { by: &calendar.name, since })
        })
    }

    /// It may be another day by another of its zones, and that may count; so each of them is asked.
    fn closed_since(&self, calendar: &Calendar, at: i64) -> i64 {
        let in_zone = |zone: &Zone| {
            let wall = zone.wall(at);
            let midnight = at - i64::from(wall.second_of_day());
            // Where clocks changed meanwhile, midnight was at another instant; then nothing is said of before.
            let changed = zone.changes_after(midnight).next().is_some_and(|change| change.at <= at);
            if changed || calendar.has(wall.date()) { at } else { midnight }
        };
        self.parts().map(|(_, zone)| in_zone(zone)).max().unwrap_or(at)
    }

    /// The next instants, closed ones among them.
    pub fn coming(&self, after: i64, n: usize) -> Vec<Coming> {
        let jitter = match self.jitter {
            Jitter::Stable(wait) | Jitter::Random(wait) => wait,
        };
        let ticks = self.ticks_after(after).take(n).map(|(schedule, tick)| {
            let closed = self.closed_for(&tick).map(|closed| closed.by.to_string());
            let moved = self.moved(tick.at);
            Coming { at: tick.at, schedule, due: tick.due, how: tick.how, jitter, closed, moved }
        });
        ticks.collect()
    }

    /// How long the run waits; `draw` is another number for each.
    pub(crate) fn wait(&self, job: &JobName, draw: u64) -> Millis {
        match self.jitter {
            Jitter::Stable(wait) => wait,
            Jitter::Random(most) => below(most, stable(job.as_str(), &format!("{draw}"))),
        }
    }
}

const fn below(most: Millis, hash: u64) -> Millis {
    if most.0 == 0 { most } else { Millis(hash % most.0) }
}
