//! The words of states and outcomes without their data, as filters and events use them, and the class by which a run is
//! indexed.

use kin_core::{Outcome, RunState};

/// A state's bare word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    Held,
    Queued,
    Starting,
    Running,
    Stopping,
    Draining,
    Ended,
    // Later than the others: their numbers stand in databases.
    Waiting,
}

impl Stage {
    pub const ALL: [Stage; 8] = [
        Stage::Held,
        Stage::Waiting,
        Stage::Queued,
        Stage::Starting,
        Stage::Running,
        Stage::Stopping,
        Stage::Draining,
        Stage::Ended,
    ];

    pub const fn of(state: &RunState) -> Stage {
        match state {
            RunState::Held { .. } => Stage::Held,
            RunState::Waiting { .. } => Stage::Waiting,
            RunState::Queued => Stage::Queued,
            RunState::Starting { .. } => Stage::Starting,
            RunState::Running { .. } => Stage::Running,
            RunState::Stopping { .. } => Stage::Stopping,
            RunState::Draining { .. } => Stage::Draining,
            RunState::Ended { .. } => Stage::Ended,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Stage::Held => "held",
            Stage::Waiting => "waiting",
            Stage::Queued => "queued",
            Stage::Starting => "starting",
            Stage::Running => "running",
            Stage::Stopping => "stopping",
            Stage::Draining => "draining",
            Stage::Ended => "ended",
        }
    }

    pub fn parse(word: &str) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| stage.word() == word)
    }

    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_number(n: u64) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| u64::from(stage.number()) == n)
    }
}

/// An outcome's bare word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutcomeKind {
    Ok,
    Failed,
    Signaled,
    TimedOut,
    OomKilled,
    Stopped,
    Interrupted,
    SpawnFailed,
    Skipped,
    Cancelled,
    Lost,
    Unhealthy,
}

impl OutcomeKind {
    pub const ALL: [OutcomeKind; 12] = [
        OutcomeKind::Ok,
        OutcomeKind::Failed,
        OutcomeKind::Signaled,
        OutcomeKind::TimedOut,
        OutcomeKind::OomKilled,
        OutcomeKind::Stopped,
        OutcomeKind::Interrupted,
        OutcomeKind::SpawnFailed,
        OutcomeKind::Skipped,
        OutcomeKind::Cancelled,
        OutcomeKind::Lost,
        OutcomeKind::Unhealthy,
    ];

    pub const fn of(outcome: &Outcome) -> OutcomeKind {
        match outcome {
            Outcome::Ok => OutcomeKind::Ok,
            Outcome::Failed { .. } => OutcomeKind::Failed,
            Outcome::Signaled { .. } => OutcomeKind::Signaled,
            Outcome::TimedOut => OutcomeKind::TimedOut,
            Outcome::OomKilled => OutcomeKind::OomKilled,
            Outcome::Stopped => OutcomeKind::Stopped,
            Outcome::Interrupted => OutcomeKind::Interrupted,
            Outcome::SpawnFailed { .. } => OutcomeKind::SpawnFailed,
            Outcome::Skipped(_) => OutcomeKind::Skipped,
            Outcome::Cancelled => OutcomeKind::Cancelled,
            Outcome::Lost(_) => OutcomeKind::Lost,
            Outcome::Unhealthy(_) => OutcomeKind::Unhealthy,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            OutcomeKind::Ok => "ok",
            OutcomeKind::Failed => "failed",
            OutcomeKind::Signaled => "signaled",
            OutcomeKind::TimedOut => "timed-out",
            OutcomeKind::OomKilled => "oom-killed",
            OutcomeKind::Stopped => "stopped",
            OutcomeKind::Interrupted => "interrupted",
            OutcomeKind::SpawnFailed => "spawn-failed",
            OutcomeKind::Skipped => "skipped",
            OutcomeKind::Cancelled => "cancelled",
            OutcomeKind::Lost => "lost",
            OutcomeKind::Unhealthy => "unhealthy",
        }
    }

    pub fn parse(word: &str) -> Option<OutcomeKind> {
        OutcomeKind::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// As [`Outcome::is_failure`] of any outcome of this kind.
    pub const fn is_failure(self) -> bool {
        match self {
            OutcomeKind::Ok | OutcomeKind::Stopped | OutcomeKind::Skipped | OutcomeKind::Cancelled => false,
            OutcomeKind::Failed
            | OutcomeKind::Signaled
            | OutcomeKind::TimedOut
            | OutcomeKind::OomKilled
            | OutcomeKind::Interrupted
            | OutcomeKind::SpawnFailed
            | OutcomeKind::Unhealthy
            | OutcomeKind::Lost => true,
        }
    }
}

/// What a run is indexed by: alive, or how it ended. The numbers stand in databases; never renumber. 0 and 1 are the two
/// that nearly every row has, because SQLite stores exactly these two in no bytes at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    Live,
    Ended(OutcomeKind),
}

impl Class {
    /// How many there are; their numbers are below it.
    pub(crate) const COUNT: usize = 1 + OutcomeKind::ALL.len();
    pub(crate) const OK: Class = Class::Ended(OutcomeKind::Ok);

    pub(crate) const fn of(state: &RunState) -> Class {
        match state {
            RunState::Ended { outcome } => Class::Ended(OutcomeKind::of(outcome)),
            RunState::Held { .. }
            | RunState::Waiting { .. }
            | RunState::Queued
            | RunState::Starting { .. }
            | RunState::Running { .. }
            | RunState::Stopping { .. }
            | RunState::Draining { .. } => Class::Live,
        }
    }

    pub(crate) const fn number(self) -> u8 {
        match self {
            Class::Live => 0,
            Class::Ended(kind) => 1 + kind as u8,
        }
    }

    pub(crate) fn from_number(n: i64) -> Option<Class> {
        match usize::try_from(n).ok()? {
            0 => Some(Class::Live),
            n => OutcomeKind::ALL.get(n - 1).map(|kind| Class::Ended(*kind)),
        }
    }
}
