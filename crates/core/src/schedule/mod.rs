//! Schedules: when a job is due.
//!
//! A text becomes a [`Schedule`]; a schedule and a [`Zone`] give [`Tick`]s, which are instants in whole UTC seconds, strictly
//! increasing. Nothing here knows what time it is, or reads a file.
//!
//! | module | what |
//! |---|---|
//! | `cron`, `calendar`, `special` | the three languages; each ends in a pattern or an instant |
//! | `pattern` | a set of wall-clock readings; its next and its last one |
//! | `zone`, `tzif`, `posix` | which offset clocks have, and where that is read |
//! | `days`, `recur` | sets of days; days that come again, as calendar files say it |
//! | `shift` | times of day that are moved off days that do not count |
//! | `due` | from readings to instants: what happens when clocks change |
//! | `words`, `remark` | what a schedule does, and what about it may surprise |
//! | `problem` | what is wrong with a text, and at which column |
//!
//! How clocks that change are met is one sentence, for times of day that somebody wrote down (`30 2 * * *`): *a reading is due at
//! the first instant at which the clock shows it or something later.* It fires once, whether the clock skips it or shows it
//! twice. Schedules that follow real time (`*/15 * * * *`) fire whenever the clock shows one of their readings.

mod calendar;
mod cron;
mod days;
mod due;
mod hash;
mod near;
mod pattern;
mod posix;
mod problem;
mod recur;
mod remark;
mod shift;
mod special;
#[cfg(test)]
mod tests;
pub mod tzif;
pub mod wall;
mod words;
pub mod zone;

pub use days::DaySet;
pub use due::{How, Plan, Tick};
pub(crate) use hash::stable;
pub use near::{closest, zones_near};
pub use problem::{Field, Problem, Problems};
pub use recur::{Every, NthDay, Recurrence};
pub use remark::Remark;
pub use shift::{Shift, Way};
pub use wall::{Date, Wall};
pub use words::{month_name, weekday_name};
pub use zone::{Change, Offset, Zone};

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use pattern::Pattern;
use problem::Part;

/// What happens to times of day that clocks skip or show twice. Schedules that follow real time do not ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Dst {
    /// A skipped time fires at the first instant after the gap; a repeated one fires the first time.
    #[default]
    Once,
    /// A skipped time does not fire; a repeated one fires the first time.
    Skip,
    /// A skipped time fires at the first instant after the gap; a repeated one fires both times.
    Both,
}

impl Dst {
    pub const ALL: [Dst; 3] = [Dst::Once, Dst::Skip, Dst::Both];

    pub const fn word(self) -> &'static str {
        match self {
            Dst::Once => "once",
            Dst::Skip => "skip",
            Dst::Both => "both",
        }
    }
    pub fn parse(word: &str) -> Option<Dst> {
        Dst::ALL.into_iter().find(|dst| dst.word() == word)
    }
}

/// When a job is due, as one text says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    when: When,
    dst: Dst,
    zone: Option<Named>,
    remarks: Vec<Remark>,
}

/// A zone by its name, and the column where that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    zone: String,
    column: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum When {
    Pattern(Box<Pattern>),
    /// Whenever `(instant - phase)` is a multiple of `period`.
    Every {
        period: i64,
        phase: i64,
    },
    At(i64),
    /// Once a boot: no instant tells when.
    Reboot,
}

impl Schedule {
    /// Reads a text. `job` is the job's name, from which `H`, `a~b` and the phase of `@every` follow.
    ///
    /// ```
    /// use kin_core::schedule::{Dst, Schedule, Zone};
    ///
    /// let nightly = Schedule::parse("30 2 * * MON-FRI", "backup", Dst::Once)?;
    /// assert_eq!(nightly.words(), "at 02:30 on Monday through Friday");
    /// let tick = nightly.next_after(1_795_219_200, &Zone::utc()).expect("there is always another");
    /// assert_eq!(tick.due.to_string(), "2026-11-23 02:30:00");
    ///
    /// let wrong = Schedule::parse("75 2 31 2 *", "backup", Dst::Once).expect_err("minutes end at 59");
    /// assert_eq!(wrong.to_string(), "minute, column 1: 75 is too large; minutes are 0 to 59");
    /// # Ok::<(), kin_core::schedule::Problems>(())
    /// ```
    pub fn parse(text: &str, job: &str, dst: Dst) -> Result<Schedule, Problems> {
        let part = Part::whole(text).trim();
        let mut zone = None;
        let (when, remarks) = if let Some(calendar) = part.strip_any_case("calendar:") {
            let read = calendar::parse(calendar.trim())?;
            zone = read.zone;
            (When::Pattern(Box::new(read.pattern)), read.remarks)
        } else if part.text.starts_with('@') {
            special::parse(part, job)?
        } else {
            let (pattern, remarks) = cron::parse(part, job)?;
            (When::Pattern(Box::new(pattern)), remarks)
        };
        Ok(Schedule { text: part.text.to_string(), when, dst, zone, remarks })
    }

    /// The text it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The zone that the text itself names, as systemd's calendar language may; it wins over the job's.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_ref().map(|named| named.zone.as_str())
    }

    /// What is wrong with that name, as whoever knows zones says it: what is read here knows none.
    pub fn wrong_zone(&self, message: &str) -> Option<Problems> {
        let Named { zone, column } = self.zone.as_ref()?;
        Some(Part { text: zone, column: *column }.problem(Some(Field::Zone), message).into())
    }

    pub const fn dst(&self) -> Dst {
        self.dst
    }

    /// Whether it is due once a boot, and at no instant.
    pub const fn is_reboot(&self) -> bool {
        matches!(self.when, When::Reboot)
    }

    /// Whether it means the same instants in every zone.
    pub const fn needs_no_zone(&self) -> bool {
        match self.when {
            When::Pattern(_) => false,
            When::Every { .. } | When::At(_) | When::Reboot => true,
        }
    }

    /// Whether it follows real time; else it names times of day, or an instant.
    pub fn follows_real_time(&self) -> bool {
        match &self.when {
            When::Pattern(pattern) => !pattern.fixed,
            When::Every { .. } => true,
            When::At(_) | When::Reboot => false,
        }
    }
}
