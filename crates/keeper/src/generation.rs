//! One generation: a run table, its socket, and the runs of it that this process serves or backs up.

use crate::live::Lives;
use crate::table::{DRAINED, EXITED, FREE, INTENT, RUNNING, Table};
use rustix::fd::OwnedFd;
use std::sync::atomic::Ordering;

/// What this process is to a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serving {
    /// Owns it: writes the table, moves the output, answers on the socket.
    Mine,
    /// The younger owns it; we hold duplicates.
    Backup,
    /// The elder owns it; we inherited what it had when it forked us.
    Dormant,
}

#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) id: u64,
    pub(crate) table: Table,
    pub(crate) listener: OwnedFd,
    pub(crate) serving: Serving,
    pub(crate) lives: Lives,
}

impl Generation {
    /// No run in it whose end is not yet known to be recorded.
    pub(crate) fn is_empty(&self) -> bool {
        self.table.slots().iter().all(|slot| slot.state.load(Ordering::Relaxed) == FREE)
    }

    /// No run in it that is not yet at its end.
    pub(crate) fn is_quiet(&self) -> bool {
        self.table.slots().iter().all(|slot| match slot.state.load(Ordering::Relaxed) {
            INTENT | RUNNING | EXITED => false,
            FREE | DRAINED => true,
            _ => true,
        })
    }
}
