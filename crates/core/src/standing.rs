//! How a job stands: which revision is in force, what was wished of it, and the little that its live runs do not say.
//!
//! With the rows of live runs and the definitions this is all that the rules need to go on after any death.

use crate::run::Trigger;
use crate::{JobName, RunNo};
use alloc::collections::BTreeMap;
use alloc::string::String;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub job: JobName,
    /// The revision in force.
    pub rev: u64,
    /// Of a service: it is to be there.
    pub up: bool,
    /// Its definition is gone, and it goes when the last of its runs has ended.
    pub removed: bool,
    /// By hand, over what the definition says.
    pub disabled: Option<bool>,
    /// Its schedule begins nothing before that, in UTC seconds.
    pub paused: Option<i64>,
    /// Instances, by hand, over what the definition says.
    pub scale: Option<u32>,
    /// Slots that stay empty although the service is up.
    pub rest: BTreeMap<u32, Rest>,
    /// Runs that are to give way to new ones of the same definition.
    pub renewal: Option<Renewal>,
    /// While a new revision replaces instances one by one: where to go back to.
    pub former: Option<u64>,
    /// The revision that was tried and did not become ready.
    pub failed: Option<u64>,
    /// Of what is run: the last run that ended ok, in this boot and by a definition that would run the same.
    pub done: Option<RunNo>,
    /// Of a job with `after`: who has ended in this round, and whether ok.
    pub round: BTreeMap<JobName, bool>,
    /// `Any` has run in this round.
    pub rung: bool,
    /// With `port = "auto"`: the port of each slot, found once and kept.
    pub ports: BTreeMap<u32, u16>,
    /// The boot that `rest` and `done` are of, and for which `@reboot` was decided.
    pub boot: String,
    /// How far its schedule is decided; `None`: it never had one.
    pub ticks: Option<Reckoning>,
}

/// How far a job's ticks are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reckoning {
    /// The schedule that it was decided by.
    pub schedule: u64,
    /// All instants up to this one, in UTC seconds, are decided: by this schedule, or because another held then.
    pub to: i64,
    /// The line of time: a number that changes when the clock was set back so far that instants must come again.
    pub line: u64,
    /// Until this line has proved itself.
    pub former: Option<Former>,
}

/// The line of time before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Former {
    /// By it, all up to here was decided.
    pub to: i64,
    /// From where on this one decides: where the clock was set back to, or a little later.
    pub since: i64,
}

/// Why a slot stays empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Somebody stopped its run.
    Stopped,
    /// It ended as a run that is not to be followed: well, or in a way that is not tried again.
    Finished,
    /// All its tries are used up.
    GaveUp,
}

/// Every run up to this number is to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    pub upto: RunNo,
    pub why: Trigger,
    pub rolling: bool,
}

impl Standing {
    /// Of a job that was just defined.
    pub fn new(job: JobName, rev: u64, up: bool, boot: String) -> Standing {
        Standing {
            job,
            rev,
            up,
            removed: false,
            disabled: None,
            paused: None,
            scale: None,
            rest: BTreeMap::new(),
            renewal: None,
            former: None,
            failed: None,
            done: None,
            round: BTreeMap::new(),
            rung: false,
            ports: BTreeMap::new(),
            boot,
            ticks: None,
        }
    }
}
