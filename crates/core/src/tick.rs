//! A tick: one nominal instant of one of a job's schedules. It is decided once, and what was decided is kept.

use crate::schedule::Wall;
use crate::{JobName, RunNo, Time};
use alloc::string::String;

/// What tells a tick from every other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick {
    pub job: JobName,
    /// Which schedule: a sum of its words, zone and policy, and of the line of time that it goes by (`Reckoning`). An
    /// edited schedule is another one.
    pub schedule: u64,
    /// The nominal instant, in seconds since the Unix epoch.
    pub at: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    pub tick: Tick,
    /// When, by the wall clock; how late it was follows from that.
    pub decided_at: Time,
    pub decision: Decision,
    /// It is due also, or only, because of days that do not count.
    pub moved: Option<Moved>,
}

/// What a job's `shift` has moved to an instant: those that land together are one tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// What was due by the clock of the schedule's zone, on a day that does not count: the first of them.
    pub from: Wall,
    /// How many there are, counted up to `COUNTED`: in a gap of the clocks many may land.
    pub count: u64,
    /// The calendar that does not count that day.
    pub by: String,
}

/// Missed ticks are counted up to here: a year of minutes is not walked through.
pub const COUNTED: u64 = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It made this run; whether that starts at once is the run's own story.
    Run { run: RunNo },
    /// It made this run, for itself and so many ticks before it that were missed, and are decided as such.
    CaughtUp { run: RunNo, missed: u64 },
    /// It comes while a run of its job lives, and the job skips then. `run`: the record of that; `live`: which lived.
    /// `None` in ledgers of before it was said, where it may also be `SkippedLineFull`.
    SkippedOverlap { run: RunNo, live: Option<RunNo> },
    /// It comes while so many runs of its job wait as may. `run`: the record of that.
    SkippedLineFull { run: RunNo, waiting: u32 },
    /// Its job is disabled. `run`: a record of it, which ledgers of before have.
    SkippedDisabled { run: Option<RunNo> },
    /// A calendar or a blackout says no.
    Suppressed { by: String },
    /// The job is paused.
    Paused,
    /// Nobody was there, or the clock jumped over it. So many ticks in a row, from this one to the one at `until`; where
    /// it says `COUNTED`, there may be more.
    Missed { count: u64, until: i64 },
}
