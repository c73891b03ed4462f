//! One run: one start of one process tree, and all that is known of it.
//!
//! ```text
//!             let go               gates open            keeper has it
//!   held ───────────────▶ queued ─────────────▶ starting ────────────▶ running
//!    ▲ │ ▲                 ▲  │                   ▲  │                   │   │
//!    │ │ └──── waiting ────┘  │                   │  │ could not      stop │  │ leader ended
//!    │ │         │ └──────────│───────────────────┘  │                  ▼  ▼
//!    │ ▼ stop    ▼ stop       ▼ stop                 ▼             stopping ─▶ draining ─▶ ended
//!    │ ended(cancelled)  ended(cancelled)   ended(spawn-failed)
//! ```
//! `held`: at a latch, or until what its job needs is ready. `waiting`: for an instant, after the end of the run that it
//! follows. `draining`: the leader is dead and its exit is known, but somebody still holds its pipes. Every state before
//! `ended` counts as live. A restart and a retry are new runs that name the one they follow, so a run's life is a line and
//! never a loop.

use crate::job::Millis;
use crate::wish::StopKind;
use crate::{Exit, JobName, Outcome, RunId, RunNo, Time};
use alloc::collections::BTreeMap;
use alloc::{string::String, vec::Vec};

/// Why a run exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// By hand or by a client: `by` says who, as `uid:1000`.
    Manual { by: String },
    /// By its schedule: the nominal instant in seconds since 1970, how late it was decided, whether it is run although it
    /// was missed (one of several may be, that is not older than `GRACE`), and for how many before it that were missed it
    /// stands too; from `tick::COUNTED` on there may be more.
    Schedule { at: i64, late_ms: u64, late: bool, missed: u64 },
    /// By the end of another run: of `next`, of `error`, or the last that `after` waited for.
    Chain { run: RunNo, error: bool },
    /// The machine was started, and it was up before.
    Boot,
    /// A service's run has ended, and another takes its slot.
    Restart { run: RunNo },
    /// It failed, and is tried again. What a caller had added to the first try holds for this one too; so does the instant
    /// that it was for, which `of` says, whether the tries before it are remembered or not.
    Retry { run: RunNo, of: Option<Nominal> },
    /// This path changed.
    Watch { path: String },
    /// Another job needs it.
    Dependency,
    /// kin did not start it: `by` gave a process that lived already into its care.
    Adopt { by: String },
}

/// The instant of a schedule that a run is for, in seconds since 1970, and for how many before it that were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nominal {
    pub at: i64,
    pub missed: u64,
}

impl Trigger {
    /// Of a try of what its schedule began. (Of ledgers of before, a retry does not say it.)
    pub const fn nominal(&self) -> Option<Nominal> {
        match *self {
            Trigger::Schedule { at, missed, .. } => Some(Nominal { at, missed }),
            Trigger::Retry { of, .. } => of,
            Trigger::Manual { .. }
            | Trigger::Chain { .. }
            | Trigger::Boot
            | Trigger::Restart { .. }
            | Trigger::Watch { .. }
            | Trigger::Dependency
            | Trigger::Adopt { .. } => None,
        }
    }

    /// A schedule's instant at which nobody was there.
    pub const fn is_late(&self) -> bool {
        matches!(self, Trigger::Schedule { late: true, .. })
    }

    /// It is late, or is there for others before it too.
    pub const fn is_caught_up(&self) -> bool {
        self.is_late() || matches!(self, Trigger::Schedule { missed: 1.., .. })
    }
}

/// An instant is on time for so many seconds. Whoever wakes up later than that was not there. It is cron's own grain: a
/// server that was replaced, or a machine that was too busy for a moment, loses no run.
pub(crate) const GRACE: u64 = 60;

/// What a held run waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Somebody's release.
    Latch(String),
    /// These jobs are not ready.
    Needs(Vec<JobName>),
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    Held {
        on: Hold,
    },
    /// Until then, `wait` in all: a restart or a retry, after the end of the run that it follows.
    Waiting {
        until: Time,
        wait: Millis,
    },
    /// For its gates: a place in its group, its queue, among its job's runs, or a mutex.
    Queued,
    /// Decided to start; no keeper has said yet that it lives. `generation` is the keeper it was given to, if it was.
    Starting {
        generation: Option<u64>,
    },
    /// `unowned`: no keeper has it. Both died at once and it lives on without them, or none of them ever started it. `interrupted`: the caller's own INT or TERM was
    /// passed on to it, which it may well survive; only a run that then ends otherwise than ok ends `interrupted`.
    Running {
        unowned: bool,
        interrupted: bool,
    },
    /// Somebody wants its end; the keeper climbs the ladder. Also a run whose stop came while it was starting: one that
    /// was never seen alive (`started_at` is empty) and turns out to have no slot is cancelled. `kind` is what is said again
    /// to whoever has it, so that a kill stays one whoever dies before it is sent.
    Stopping {
        why: StopWhy,
        kind: StopKind,
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
    /// kin itself, by plan: a new definition, fewer instances, what it needs goes down. Outcome `stopped`; whether another
    /// follows is decided when it is over.
    Planned,
    /// Its job's `alive` said so too often: outcome `unhealthy(sick)`.
    Sick,
    /// It was not ready in time: outcome `unhealthy(not-ready)`.
    NotReady,
}

/// What the definition said of a run when it was made. Nothing, for a run without a definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The revision of its job's definition; 0: it has none.
    pub rev: u64,
    pub priority: i32,
    pub queue: Option<String>,
    /// What it takes of its queue, by resource.
    pub need: BTreeMap<String, u32>,
    pub mutex: Vec<String>,
    /// Waits until fewer than so many runs of its job are going; 0: does not wait for them (they may wait for
    /// it), or waits for its jitter, after which it is asked whether there is room.
    pub turn: u32,
    /// The jobs whose ends led to it, the first one first.
    pub chain: Vec<JobName>,
}

/// What is known of a run's well-being, and when kin acts on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Since when it is ready.
    pub ready_at: Option<Time>,
    /// Not ready by then, it has failed.
    pub ready_by: Option<Time>,
    /// Alive until then, its end begins the count of attempts anew.
    pub healthy_at: Option<Time>,
}

/// What else is known of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The port it was told to listen on.
    pub port: Option<u16>,
    /// What its definition asks for and cannot be kept here, in words; `best_effort` let it begin without.
    pub left_out: Vec<String>,
    /// From and to disks, by its leader and whom that waited for.
    pub read_bytes: Option<u64>,
    pub write_bytes: Option<u64>,
    /// How it is, in its own words, as it said last.
    pub status: Option<String>,
    /// It said that it is on its way out: it serves nobody any more.
    pub leaving: bool,
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
    /// Where it begins: as its definition says it before that, and empty while its spec is being made.
    pub directory: String,
    pub timeout_ms: Option<u64>,
    pub tags: Vec<String>,
    pub tty: bool,
    /// The boot identity it was started under.
    pub boot: String,
    pub terms: Terms,
    pub health: Health,
    pub notes: Notes,
}

impl Run {
    pub fn id(&self) -> RunId {
        RunId { job: self.job.clone(), no: self.no }
    }
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            RunState::Ended { outcome } => Some(outcome),
            RunState::Held { .. }
            | RunState::Waiting { .. }
            | RunState::Queued
            | RunState::Starting { .. }
            | RunState::Running { .. }
            | RunState::Stopping { .. }
            | RunState::Draining { .. } => None,
        }
    }
    /// A run of a definition, not of `exec`.
    pub const fn is_defined(&self) -> bool {
        self.terms.rev != 0
    }
    /// Decided to start, and its spec is not there yet: no keeper ever heard of it.
    pub const fn is_being_made(&self) -> bool {
        let is_starting = matches!(self.state, RunState::Starting { generation: None });
        is_starting && self.is_defined() && self.directory.is_empty()
    }
}

impl RunState {
    /// A keeper has it, or may have it: it counts at its gates.
    pub const fn is_going(&self) -> bool {
        match self {
            RunState::Starting { .. }
            | RunState::Running { .. }
            | RunState::Stopping { .. }
            | RunState::Draining { .. } => true,
            RunState::Held { .. } | RunState::Waiting { .. } | RunState::Queued | RunState::Ended { .. } => false,
        }
    }
    /// No keeper ever heard of it.
    pub const fn is_pending(&self) -> bool {
        matches!(self, RunState::Held { .. } | RunState::Waiting { .. } | RunState::Queued)
    }

    /// Until when it waits, if it waits for an instant.
    pub const fn until(&self) -> Option<Time> {
        match self {
            RunState::Waiting { until, .. } => Some(*until),
            RunState::Held { .. }
            | RunState::Queued
            | RunState::Starting { .. }
            | RunState::Running { .. }
            | RunState::Stopping { .. }
            | RunState::Draining { .. }
            | RunState::Ended { .. } => None,
        }
    }

    pub const fn word(&self) -> &'static str {
        match self {
            RunState::Held { .. } => "held",
            RunState::Waiting { .. } => "waiting",
            RunState::Queued => "queued",
            RunState::Starting { .. } => "starting",
            RunState::Running { .. } => "running",
            RunState::Stopping { .. } => "stopping",
            RunState::Draining { .. } => "draining",
            RunState::Ended { .. } => "ended",
        }
    }
}
