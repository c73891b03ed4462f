//! All processes of a run, where no cgroup knows them.
//!
//! A run's tree is: its leader, whoever is in the leader's session or process group, all descendants of those, and the
//! orphans that fell to one of kin's processes and carry a trace of the run: `KIN_RUN_ID` in their environment, or one
//! of its pipes on descriptor 1 or 2. Every process that forks away twice resurfaces as such an orphan.

use crate::sys::pages::Buffer;
use std::io;

/// What a run's processes are known by.
#[derive(Clone, Copy, Debug)]
pub struct TreeRun<'a> {
    /// The value of KIN_RUN_ID in its environment.
    pub id: &'a str,
    pub leader: u32,
    /// The leader's, so that its number is not mistaken for a later process's.
    pub start_ticks: u64,
    /// Inodes of its pipes (or of its terminal's); zero: none.
    pub pipes: [u64; 2],
}

/// How far a kill is. Begin with the default, and keep it as long as the same kill goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kill {
    stage: Stage,
    rounds: u32,
    scan: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Stopping,
    Killing,
    /// A scan found nobody; a second one makes sure.
    Empty,
}

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// Call again soon; so many were alive when last seen.
    Again { living: usize },
    /// Nobody is left.
    Gone,
}

/// The processes of this machine as last seen, shared by all runs that ask.
#[derive(Debug)]
pub struct Processes {
    seen: Buffer<u64>,
}

impl Processes {
    /// `reapers`: the elder and the keepers, to whom orphans fall.
    pub fn new() -> io::Result<Processes> {
        Ok(Processes { seen: Buffer::with_capacity(1024)? })
    }
}

/// Kills all of the run, a bounded piece of work a call.
pub fn kill_tree(_processes: &mut Processes, _reapers: &[u32], _run: &TreeRun<'_>, _kill: &mut Kill) -> Swept {
    Swept::Gone
}

/// Sends a signal once to each process of the run; gives how many.
pub fn signal_tree(_processes: &mut Processes, _reapers: &[u32], _run: &TreeRun<'_>, _signal: i32) -> usize {
    0
}

/// The living processes of the run, as many as fit; gives how many there are.
pub fn pids_of(_processes: &mut Processes, _reapers: &[u32], _run: &TreeRun<'_>, _pids: &mut [u32]) -> usize {
    0
}
