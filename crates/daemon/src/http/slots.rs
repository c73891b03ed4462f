//! What the run tables say just now: they are files, and whoever wants to know reads them himself.

use super::convert::system_words;
use kin_core::{RunNo, Time};
use kin_keeper::table::{DRAINED, Snapshot, Table, flag};
use std::io;
use std::path::Path;

#[derive(Debug)]
pub struct Slots(Vec<Table>);

/// A run whose output waits because it cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// `None`: nobody wrote it down.
    pub since: Option<Time>,
    /// What the system said; `None`: nobody wrote it down.
    pub errno: Option<i32>,
    pub dropped: u64,
}

impl Slots {
    /// A table that is being made, or is gone by now, has nothing to say.
    pub fn open(run_dir: &Path) -> io::Result<Slots> {
        let mut tables = Vec::new();
        for entry in std::fs::read_dir(run_dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "tab") {
                tables.extend(Table::open(&path).ok());
            }
        }
        Ok(Slots(tables))
    }

    pub fn of(&self, no: RunNo) -> Option<Snapshot> {
        self.0.iter().find_map(|table| {
            let at = table.find(no.get())?;
            table.slots().get(at as usize)?.snapshot(at).filter(|slot| slot.run == no.get())
        })
    }

    /// Every run whose output waits, by number.
    pub fn blocked(&self) -> Vec<(RunNo, Blocked)> {
        let all = self.0.iter().flat_map(Table::snapshots);
        let mut blocked: Vec<_> = all.filter_map(|slot| Some((RunNo::new(slot.run)?, blocked(&slot)?))).collect();
        blocked.sort_by_key(|(no, _)| *no);
        blocked
    }
}

const ENOSPC: i32 = 28;

impl Blocked {
    /// Reads after "blocked".
    pub fn why(&self) -> String {
        match self.errno {
            Some(ENOSPC) | None => "the disk is full".into(),
            Some(errno) => format!("it cannot be written: {}", system_words(errno)),
        }
    }
}

pub fn blocked(slot: &Snapshot) -> Option<Blocked> {
    if slot.flags & flag::OUTPUT_BLOCKED == 0 || slot.state == DRAINED {
        return None;
    }
    let since = i64::try_from(slot.t_blocked).ok().filter(|at| *at != 0).map(Time);
    let errno = i32::try_from(slot.blocked_errno).ok().filter(|errno| *errno != 0);
    Some(Blocked { since, errno, dropped: slot.out_dropped.saturating_add(slot.err_dropped) })
}
