//! The rules of kin: what a run is, what may happen to it, and what follows.
//!
//! Nothing here does anything. The crate is told *wishes* (which may be refused) and *facts* (which may not), each with
//! the time it is, and answers with what to record and what to do. It is `no_std` so that clocks, files, threads and
//! random hash order are not merely discouraged but absent.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "simulation"))]
extern crate std;

pub mod effect;
pub mod fact;
pub mod id;
pub mod job;
pub mod outcome;
pub mod refusal;
pub mod run;
pub mod schedule;
pub mod seen;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
pub mod standing;
pub mod tick;
pub mod timed;
pub mod wish;
pub mod world;

pub use effect::{Act, Effects, Event, What};
pub use fact::{Fact, Settled, StartRefusal};
pub use id::{JobName, Mint, RunId, RunNo};
pub use outcome::{Exit, LostWhy, Outcome, SkipWhy, SpawnStep, UnhealthyWhy};
pub use refusal::Refusal;
pub use run::{Health, Hold, Notes, Run, RunState, StopWhy, Terms, Trigger};
pub use seen::{Close, How, Ladder, Phase, Seen};
pub use standing::{Reckoning, Renewal, Rest, Standing};
pub use tick::{Decided, Decision, Moved, Tick};
pub use timed::{Calendar, Coming, Timed, Untimed};
pub use wish::{Farewell, Granted, JobPlan, NewRun, Plan, QueuePlan, QueueWish, Serial, StopKind, Wish};
pub use world::{Definition, Difference, Follows, Join, NeedWhy, Outlook, Reason, Rehearsal, World, differences};

/// Nanoseconds since the Unix epoch, by the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub i64);

impl Time {
    pub const fn from_millis(ms: i64) -> Time {
        Time(ms.saturating_mul(1_000_000))
    }
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
    pub const fn plus(self, ns: i64) -> Time {
        Time(self.0.saturating_add(ns))
    }
}
