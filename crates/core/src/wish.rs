//! What somebody may want. A wish is granted, or refused with a reason (`Refusal`).

use crate::job::{Job, Queue};
use crate::run::StopWhy;
use crate::{JobName, Run, RunId, RunNo, Time, Timed, Trigger};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// A run, under a number never used before.
    Submit {
        no: RunNo,
        new: Box<NewRun>,
    },
    /// A process that lives already becomes a run: watched, stopped when asked, and no keeper's.
    Adopt {
        no: RunNo,
        new: Box<NewRun>,
        pid: u32,
        started_at: Time,
    },
    /// An adopted process is watched no more. It goes on as it is.
    Disown {
        run: RunNo,
    },
    /// Its end: by the ladder, or at once.
    Stop {
        run: RunNo,
        kind: StopKind,
        why: StopWhy,
    },
    /// `interrupt`: it is the caller's own INT or TERM, passed on.
    Signal {
        run: RunNo,
        signal: u8,
        leader_only: bool,
        interrupt: bool,
    },
    /// All that are held at this latch.
    Release {
        latch: String,
    },
    /// Definitions and queues that come, change and go, all or none.
    Plan(Plan),
    /// One run of a defined job, by hand or by a client.
    RunJob {
        job: JobName,
        by: String,
    },
    /// One of the paths that it watches has changed.
    Changed {
        job: JobName,
        path: String,
    },
    /// A service is to be there, and what it needs with it.
    Up {
        job: JobName,
        by: String,
    },
    /// All runs of the job are to end; a service stays down.
    Down {
        job: JobName,
    },
    /// Each run of a service gives way to a new one. `None`: one by one if its definition says so.
    Restart {
        job: JobName,
        by: String,
        rolling: Option<bool>,
    },
    Scale {
        job: JobName,
        instances: u32,
        by: String,
    },
    /// Nothing of it begins any more; what goes on goes on.
    Disable {
        job: JobName,
    },
    Enable {
        job: JobName,
        by: String,
    },
    /// Its schedule begins nothing until then; by hand, and by others, it may begin.
    Pause {
        job: JobName,
        until: Time,
    },
    Queue {
        name: String,
        how: QueueWish,
    },
    /// The end of the server; `stop_runs` climbs the ladder for all that live, and cancels what could not be started
    /// again. `cancel`: and what jobs have not started. (When the machine goes down that waits for the next server:
    /// else a reboot in the time of a jitter would cost the day's run.)
    Shutdown {
        stop_runs: bool,
        cancel: bool,
    },
}

/// Definitions that come and go together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub jobs: Vec<JobPlan>,
    pub queues: Vec<QueuePlan>,
    /// When jobs are due, as their definitions say it. A definition that comes without has no schedule; of one that stays,
    /// this may come alone, when zones or calendars have changed.
    pub timed: BTreeMap<JobName, Arc<Timed>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum JobPlan {
    /// Under a revision greater than every one that the job ever had. What is defined so already stays as it is.
    Put {
        job: Arc<Job>,
        rev: u64,
    },
    Remove(JobName),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueuePlan {
    Put(Queue),
    /// What still names it finds a queue of one slot.
    Remove(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueWish {
    Pause,
    Resume,
    Slots(BTreeMap<String, u32>),
}

/// What a wish for a run says that the rules must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    pub job: JobName,
    pub trigger: Trigger,
    /// For people: the program and its arguments, never the environment.
    pub command: Vec<String>,
    pub directory: String,
    pub timeout_ms: Option<u64>,
    pub tags: Vec<String>,
    pub tty: bool,
    /// Held until this latch is released.
    pub latch: Option<String>,
    /// Waits for a place in this group.
    pub serial: Option<Serial>,
    /// Refused while another run of its job lives.
    pub no_overlap: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial {
    pub group: String,
    /// At most so many at once, when this one is about to start.
    pub max: u32,
}

/// How a run is ended. Of two wishes the greater holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopKind {
    /// The stop signal, the wait, then KILL of the whole tree.
    Ladder,
    /// KILL of the whole tree at once.
    Kill,
}

/// A wish that was granted.
#[derive(Clone, Debug, PartialEq)]
pub enum Granted {
    /// The run it was about, as it is now.
    Run(Box<Run>),
    /// The runs that were let go, oldest first.
    Released(Vec<RunId>),
    /// The live runs of the job it was about, as they are now.
    Job(Vec<Run>),
    Done,
    Farewell(Farewell),
}

/// What the end of the server means for each live run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Farewell {
    /// They go on without a server.
    pub left: Vec<RunId>,
    /// Their ladder has begun.
    pub stopping: Vec<RunId>,
    /// They had not started, and never will.
    pub cancelled: Vec<RunId>,
    /// Not yet started: they wait for the next server.
    pub waiting: Vec<RunId>,
}
