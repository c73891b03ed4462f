//! What follows from a wish or a fact, as data: what to record, what to announce, what to do.
//!
//! The order is fixed: the specs of `make` that take no time are made, all that is to be remembered is committed together, then callers are answered, then `acts` are done
//! one after the other. Every act may be done again: whoever dies between two of them finds out from ledger and tables
//! what is still to do, and does that.

use crate::job::{Job, Queue};
use crate::run::RunState;
use crate::standing::Standing;
use crate::wish::StopKind;
use crate::{Decided, Exit, JobName, Run, RunId, RunNo, Time};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// The runs that are not as they were, as they are now.
    pub changed: BTreeMap<RunNo, Run>,
    /// How each job stands now; `None`: it is gone.
    pub standings: BTreeMap<JobName, Option<Standing>>,
    /// Definitions never recorded before, by job and revision.
    pub defined: BTreeMap<(JobName, u64), Arc<Job>>,
    pub queues: BTreeMap<String, Option<Queue>>,
    /// Runs of defined jobs that begin: the spec of each is made from the revision that its row names. `Fact::Made` or
    /// `Fact::Unmakeable` says what came of it: in the same batch, before all this is committed, or in a later one. No keeper
    /// hears of the run before. Asked again of what is being made already: whoever was at it may have died.
    pub make: BTreeSet<RunNo>,
    /// What was decided of ticks. Each can be decided once, ever: whoever records them refuses a second time.
    pub ticks: Vec<Decided>,
    pub events: Vec<Event>,
    pub acts: Vec<Act>,
    /// Somebody was promised something, or a run is about to start: this must outlive a power cut.
    pub promises: bool,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
            && self.standings.is_empty()
            && self.defined.is_empty()
            && self.queues.is_empty()
            && self.make.is_empty()
            && self.ticks.is_empty()
            && self.events.is_empty()
            && self.acts.is_empty()
    }
}

/// One line of the history.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub at: Time,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A run came from one state (none: it is new) to another.
    State {
        run: RunId,
        from: Option<&'static str>,
        to: RunState,
        exit: Option<Exit>,
    },
    Released {
        latch: String,
        runs: usize,
    },
    /// A definition came into force: `from` is the revision before it (0: none), `to` the new one (0: it is gone).
    Defined {
        job: JobName,
        from: u64,
        to: u64,
    },
    /// News that is no change of state, in words for people.
    Note {
        kind: &'static str,
        run: Option<RunId>,
        message: String,
    },
}

/// Something to do, once all is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Give it to the keeper of this generation.
    Start {
        run: RunNo,
        generation: u64,
    },
    /// Take its spec away, and then look whether any table has it; if none does, say `Fact::Withdrawn`, else put it
    /// back. After that no start that is still on its way can find anything to start.
    Withdraw {
        run: RunNo,
    },
    /// To whoever has it.
    Stop {
        run: RunNo,
        kind: StopKind,
    },
    Signal {
        run: RunNo,
        signal: u8,
        leader_only: bool,
    },
    /// Its end is in the ledger: nothing may start it any more.
    RemoveSpec {
        run: RunNo,
    },
    /// Only after its spec is gone: the slot may be used again.
    Forget {
        run: RunNo,
    },
}
