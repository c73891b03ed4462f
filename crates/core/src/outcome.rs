//! How a run ended.

use crate::RunNo;
use core::fmt;

/// What the kernel said of the leader process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(u8),
    Signal { signal: u8, core: bool },
}

/// The verdict on an ended run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    Failed {
        code: u8,
    },
    Signaled {
        signal: u8,
    },
    TimedOut,
    OomKilled,
    /// Somebody asked for it, and it was so.
    Stopped,
    /// The caller's INT or TERM was passed on, and the run ended by it.
    Interrupted,
    SpawnFailed {
        step: SpawnStep,
        errno: i32,
    },
    /// kin ended it, because it was not ready in time or did not answer any more.
    Unhealthy(UnhealthyWhy),
    /// Never started, and never will be.
    Skipped(SkipWhy),
    /// Ended before it was started, because somebody asked.
    Cancelled,
    /// kin cannot know. Never guessed into anything else.
    Lost(LostWhy),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipWhy {
    /// A run of its job lived. `live`: which; `None` in records of before it was said, of which some are `LineFull`.
    Overlap {
        live: Option<RunNo>,
    },
    /// With `overlap = "queue"`: so many waited already, and no more may.
    LineFull {
        waiting: u32,
    },
    Disabled,
    Calendar,
    Dependency,
    /// Its chain had come to this job before, or is too long.
    Loop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnhealthyWhy {
    Sick,
    NotReady,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostWhy {
    Reboot,
    Unknown,
    /// It was adopted, and given up again: it goes on, and nobody of kin looks.
    Disowned,
}

/// The step at which the child could not become the program. The numbers stand in run tables; never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SpawnStep {
    /// Reading the run's spec.
    Spec = 1,
    /// Making its pipes.
    Pipe = 2,
    /// Making the process.
    Fork = 3,
    /// Its own session and terminal.
    Session = 4,
    Rlimit = 5,
    Priority = 6,
    User = 7,
    Directory = 8,
    Stdio = 9,
    Exec = 10,
    /// Its cgroup or its limits.
    Cgroup = 11,
    /// Opening its log files.
    Logs = 12,
}

impl SpawnStep {
    pub const ALL: [SpawnStep; 12] = [
        SpawnStep::Spec,
        SpawnStep::Pipe,
        SpawnStep::Fork,
        SpawnStep::Session,
        SpawnStep::Rlimit,
        SpawnStep::Priority,
        SpawnStep::User,
        SpawnStep::Directory,
        SpawnStep::Stdio,
        SpawnStep::Exec,
        SpawnStep::Cgroup,
        SpawnStep::Logs,
    ];

    pub fn from_number(n: u8) -> Option<SpawnStep> {
        SpawnStep::ALL.into_iter().find(|step| *step as u8 == n)
    }

    pub const fn word(self) -> &'static str {
        match self {
            SpawnStep::Spec => "spec",
            SpawnStep::Pipe => "pipe",
            SpawnStep::Fork => "fork",
            SpawnStep::Session => "session",
            SpawnStep::Rlimit => "rlimit",
            SpawnStep::Priority => "priority",
            SpawnStep::User => "user",
            SpawnStep::Directory => "directory",
            SpawnStep::Stdio => "stdio",
            SpawnStep::Exec => "exec",
            SpawnStep::Cgroup => "cgroup",
            SpawnStep::Logs => "logs",
        }
    }
}

impl Outcome {
    /// The bare word of JSON, CLI and docs.
    pub const fn word(&self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Failed { .. } => "failed",
            Outcome::Signaled { .. } => "signaled",
            Outcome::TimedOut => "timed-out",
            Outcome::OomKilled => "oom-killed",
            Outcome::Stopped => "stopped",
            Outcome::Interrupted => "interrupted",
            Outcome::SpawnFailed { .. } => "spawn-failed",
            Outcome::Unhealthy(_) => "unhealthy",
            Outcome::Skipped(_) => "skipped",
            Outcome::Cancelled => "cancelled",
            Outcome::Lost(_) => "lost",
        }
    }

    /// The word in the field `reason`, where the outcome has one.
    pub const fn reason(&self) -> Option<&'static str> {
        match self {
            Outcome::Skipped(SkipWhy::Overlap { .. }) => Some("overlap"),
            Outcome::Skipped(SkipWhy::LineFull { .. }) => Some("line-full"),
            Outcome::Skipped(SkipWhy::Disabled) => Some("disabled"),
            Outcome::Skipped(SkipWhy::Calendar) => Some("calendar"),
            Outcome::Skipped(SkipWhy::Dependency) => Some("dependency"),
            Outcome::Skipped(SkipWhy::Loop) => Some("loop"),
            Outcome::Unhealthy(UnhealthyWhy::Sick) => Some("sick"),
            Outcome::Unhealthy(UnhealthyWhy::NotReady) => Some("not-ready"),
            Outcome::Lost(LostWhy::Reboot) => Some("reboot"),
            Outcome::Lost(LostWhy::Unknown) => Some("unknown"),
            Outcome::Lost(LostWhy::Disowned) => Some("disowned"),
            Outcome::Ok
            | Outcome::Failed { .. }
            | Outcome::Signaled { .. }
            | Outcome::TimedOut
            | Outcome::OomKilled
            | Outcome::Stopped
            | Outcome::Interrupted
            | Outcome::SpawnFailed { .. }
            | Outcome::Cancelled => None,
        }
    }

    /// Whether a chain's `error` side, and a listing of failures, takes it.
    pub const fn is_failure(&self) -> bool {
        match self {
            Outcome::Ok | Outcome::Stopped | Outcome::Skipped(_) | Outcome::Cancelled => false,
            Outcome::Failed { .. }
            | Outcome::Signaled { .. }
            | Outcome::TimedOut
            | Outcome::OomKilled
            | Outcome::Interrupted
            | Outcome::SpawnFailed { .. }
            | Outcome::Unhealthy(_)
            | Outcome::Lost(_) => true,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Failed { code } => write!(f, "failed({code})"),
            Outcome::Signaled { signal } => write!(f, "signaled({signal})"),
            Outcome::SpawnFailed { step, errno } => write!(f, "spawn-failed({}, {errno})", step.word()),
            Outcome::Unhealthy(_) | Outcome::Skipped(_) | Outcome::Lost(_) => {
                write!(f, "{}({})", self.word(), self.reason().unwrap_or_default())
            }
            Outcome::Ok
            | Outcome::TimedOut
            | Outcome::OomKilled
            | Outcome::Stopped
            | Outcome::Interrupted
            | Outcome::Cancelled => f.write_str(self.word()),
        }
    }
}
