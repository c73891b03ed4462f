//! Opening: a good ledger, a fresh one, or one set aside. Never one that is silently empty.

use crate::{Applied, Batch, Durability};
use crate::{Error, Page, ReadError, Reader, Retention, Swept};
use kin_core::{Run, RunNo, Time};
use std::path::{Path, PathBuf};

/// The one writer.
#[derive(Debug)]
pub struct Ledger {}

#[derive(Debug)]
pub struct Opened {
    pub ledger: Ledger,
    pub found: Found,
}

/// What was in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, and nothing says that there ever was a ledger here.
    Fresh,
    Good,
    /// Damage. What could still be proven by its sums was carried over (`saved` runs); say it loudly, and rebuild the rest
    /// from the index end records with [`Ledger::insert_rebuilt`].
    SetAside {
        /// Where the damaged files are now; `None` when the database was gone and nothing was left to keep.
        path: Option<PathBuf>,
        /// Reads after "the ledger is damaged: ".
        why: String,
        saved: u64,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{path} was written by a newer kin (its version is {found}, this kin knows up to {known}): start that one, or move the file away"
    )]
    Newer { found: u32, known: u32, path: PathBuf },
    #[error("this kin was built with SQLite {found}, which can lose data; it needs {needed} or newer")]
    OldSqlite { found: &'static str, needed: &'static str },
    #[error("the disk is full")]
    Full { path: PathBuf },
    #[error("{path}")]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} could not be opened")]
    Sqlite {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
}

impl Ledger {
    /// Opens `<dir>/kin.db`, or makes it. `now` names a set-aside file.
    pub fn open(dir: &Path, now: Time) -> Result<Opened, OpenError> {
        todo!("{dir:?} {now:?}")
    }
    /// Commits all of the batch or nothing, in one transaction.
    pub fn apply(&mut self, batch: &Batch<'_>, durability: Durability) -> Result<Applied, Error> {
        todo!("{batch:?} {durability:?}")
    }
    /// Adds a run known from its index's end record, unless the ledger has it already. True: it was added.
    pub fn insert_rebuilt(&mut self, runs: &[Run]) -> Result<u64, Error> {
        todo!("{runs:?}")
    }
    /// The content sum and the run that an idempotency key stands for.
    pub fn key(&self, key: &str) -> Result<Option<(u64, RunNo)>, ReadError> {
        todo!("{key:?}")
    }
    /// Every run that has not ended, newest first.
    pub fn live(&self) -> Result<Page, ReadError> {
        todo!()
    }
    pub fn run(&self, no: RunNo) -> Result<Option<Run>, ReadError> {
        todo!("{no:?}")
    }
    /// All run numbers up to this one may have been given out.
    pub fn mint_reserved(&self) -> u64 {
        todo!()
    }
    /// The number of the newest event; 0 before the first.
    pub fn last_event(&self) -> u64 {
        todo!()
    }
    /// Removes at most `slice` (and at most 1,000) runs, and as many events and keys, in one short transaction.
    pub fn sweep(&mut self, retention: &Retention, now: Time, slice: u32) -> Result<Swept, Error> {
        todo!("{retention:?} {now:?} {slice:?}")
    }
    pub fn backup_to(&self, path: &Path) -> Result<(), ReadError> {
        todo!("{path:?}")
    }
    /// What is wrong, in words; empty when all is well. Slow on a big ledger: [`Reader::quick_check`] does it beside the
    /// writer.
    pub fn quick_check(&self) -> Result<Vec<String>, ReadError> {
        todo!()
    }
    pub fn reader(&self) -> Result<Reader, ReadError> {
        todo!()
    }
}
