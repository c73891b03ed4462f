//! What happened. A fact is never refused: a surprising one is news, and is recorded as such.

use crate::seen::Seen;
use crate::{Run, RunNo, SpawnStep};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A run table says this of the run.
    Slot { run: RunNo, seen: Seen },
    /// The keeper of that generation will not start the run, and has not.
    Refused { run: RunNo, generation: u64, why: StartRefusal },
    /// Its spec is gone, and no table had it afterwards: it never ran, and never will.
    Withdrawn { run: RunNo },
    /// A slot may have become free: those that waited for one are started.
    Room,
    /// The keeper that took the starts does not answer.
    KeeperGone { generation: u64 },
    /// The chain stands still: every generation was connected to, and every table read.
    Settled(Settled),
    /// All that could be learned of an earlier boot has been said: its rows did not survive it.
    Booted,
    /// Both keepers are dead, and this run lives on without them. (Its end is said as that of a slot is.)
    Survivor { run: RunNo, seen: Seen },
    /// It is `now`: what was due is.
    Time,
    /// The wall clock was set, by so many nanoseconds: what waits for an instant waits as long as it was to.
    /// Said before anything else with the new time, and again after a commit that failed, until one holds it.
    Stepped { by: i64 },
    /// Its readiness check said yes.
    Ready { run: RunNo },
    /// Why it is not ready yet. (That it has failed is the rules' to say, when its time is over.)
    NotReady { run: RunNo, why: String },
    /// Its liveness check said no, as often as its job allows.
    Sick { run: RunNo, why: String },
    /// Its spec, which `Effects::make` asked for, could not be made, or not in time.
    Unmakeable { run: RunNo, step: SpawnStep, errno: i32, message: String },
    /// Its spec is made, and a keeper may be told: where it begins (never empty), its port (`auto`: found, and to be kept for its slot), what was left out.
    Made { run: RunNo, directory: String, port: Option<u16>, auto: bool, left_out: Vec<String> },
    /// How it is, in its own words.
    Status { run: RunNo, text: String },
    /// It says that it is on its way out.
    Leaving { run: RunNo },
    /// A run that the ledger does not know of was found in a table or in the logs.
    Found { run: Box<Run> },
}

/// Read after a change of the chain; only this may conclude anything from the *absence* of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Who takes starts from now on; none: nobody yet.
    pub keeper: Option<u64>,
    /// Every run that some table has.
    pub found: BTreeSet<RunNo>,
    /// Runs that a table which could not be read may have had.
    pub unproven: BTreeSet<RunNo>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartRefusal {
    /// No free slot.
    Full,
    /// It takes no starts any more: another does, or the server is ending.
    NotCurrent,
    /// There is no spec to start it from.
    NoSpec,
}
