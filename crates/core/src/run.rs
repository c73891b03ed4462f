//! One run: one start of one process tree, and all that is known of it.
//!
//! ```text
//!            release                 slot free            keeper has it
//!   held ───────────────▶ queued ───────────────▶ starting ───────────▶ running
//!    │                      │                        │                   │   │
//!    │ stop                 │ stop                   │ could not        stop │ leader ended
//!    ▼                      ▼                        ▼                   ▼   ▼
//!  ended(cancelled)    ended(cancelled)      ended(spawn-failed)   stopping ─▶ draining ─▶ ended
//! ```
//! `draining`: the leader is dead and its exit is known, but somebody still holds its pipes. Every state before `ended`
//! counts as live. A retry is a new run that names the one it follows, so a run's life is a line and never a loop.

use crate::{Exit, JobName, Outcome, RunId, RunNo, Time};
use alloc::{string::String, vec::Vec};

/// Why a run exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// By hand or by a client: `by` says who, as `uid:1000`.
    Manual { by: String },
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// At a latch, until it is released.
    Held {
        latch: String,
    },
    /// For a place in its serial group.
    Queued,
    /// Decided to start; no keeper has said yet that it lives. `generation` is the keeper it was given to, if it was.
    Starting {
        generation: Option<u64>,
    },
    /// `unowned`: both keepers died at once and it lives on without them. `interrupted`: the caller's own INT or TERM was
    /// passed on to it, which it may well survive; only a run that then ends otherwise than ok ends `interrupted`.
    Running {
        unowned: bool,
        interrupted: bool,
    },
    /// Somebody wants its end; the keeper climbs the ladder. Also a run whose stop came while it was starting: one that
    /// was never seen alive (`started_at` is empty) and turns out to have no slot is cancelled.
    Stopping {
        why: StopWhy,
    },
    /// The leader is dead; its pipes are not.
    Draining {
        why: Option<StopWhy>,
    },
    Ended {
        outcome: Outcome,
    },
}

/// Who wanted the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopWhy {
    /// `kin stop`, `kin kill`: outcome `stopped`.
    Asked,
    /// The caller's own INT or TERM: outcome `interrupted`.
    Interrupt,
}

/// A run, as the ledger keeps it and every listing shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub no: RunNo,
    pub job: JobName,
    pub slot: u32,
    pub attempt: u32,
    pub follows: Option<RunNo>,
    pub trigger: Trigger,
    pub state: RunState,
    /// What the kernel said of the leader, from `draining` on.
    pub exit: Option<Exit>,
    pub pid: Option<u32>,
    pub created_at: Time,
    pub started_at: Option<Time>,
    pub ended_at: Option<Time>,
    pub out_bytes: u64,
    pub err_bytes: u64,
    /// Bytes that were read and not kept: caps, or a full disk.
    pub out_dropped: u64,
    pub err_dropped: u64,
    pub max_rss_bytes: Option<u64>,
    pub cpu_ms: Option<u64>,
    /// Processes that outlived the leader and its pipes.
    pub left_behind: u32,
    /// The serial group whose place it needs, if any.
    pub group: Option<String>,
    /// At most this many of its group at once.
    pub group_max: u32,
    /// What was run, for people: the program and its arguments, never the environment.
    pub command: Vec<String>,
    pub directory: String,
    pub timeout_ms: Option<u64>,
    pub tags: Vec<String>,
    pub tty: bool,
    /// The boot identity it was started under.
    pub boot: String,
}

impl Run {
    pub fn id(&self) -> RunId {
        RunId { job: self.job.clone(), no: self.no }
    }
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            RunState::Ended { outcome } => Some(outcome),
            RunState::Held { .. }
            | RunState::Queued
            | RunState::Starting { .. }
            | RunState::Running { .. }
            | RunState::Stopping { .. }
            | RunState::Draining { .. } => None,
        }
    }
}

impl RunState {
    /// A keeper has it, or may have it: it counts in its serial group.
    pub const fn is_going(&self) -> bool {
        match self {
            RunState::Starting { .. }
            | RunState::Running { .. }
            | RunState::Stopping { .. }
            | RunState::Draining { .. } => true,
            RunState::Held { .. } | RunState::Queued | RunState::Ended { .. } => false,
        }
    }

    pub const fn word(&self) -> &'static str {
        match self {
            RunState::Held { .. } => "held",
            RunState::Queued => "queued",
            RunState::Starting { .. } => "starting",
            RunState::Running { .. } => "running",
            RunState::Stopping { .. } => "stopping",
            RunState::Draining { .. } => "draining",
            RunState::Ended { .. } => "ended",
        }
    }
}
