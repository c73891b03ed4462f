//! What can go wrong between the ledger and its disk: no room, damage, the rest.

use kin_core::{RunNo, Tick};
use rusqlite::{ErrorCode, ffi};
use std::io::Write;
use std::path::Path;

/// A run whose row is there and not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record of run {no} is damaged: {why}")]
pub struct Damaged {
    pub no: RunNo,
    pub why: &'static str,
}

/// Why nothing was written. Nothing is half applied, and the same ledger may be used again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the disk is full")]
    Full(#[source] rusqlite::Error),
    /// The next [`crate::Ledger::open`] looks at everything, sets the file aside if need be and saves what is true in it.
    #[error("the ledger is damaged: {what}")]
    Damage { what: String },
    /// The key stands for another run already; ask [`crate::Ledger::key`] first.
    #[error("the idempotency key {key:?} is in use already")]
    KeyTaken { key: String },
    /// This instant of this schedule was decided before; ask [`crate::Reader::tick`] how.
    #[error("the tick of {} at {} was decided before", tick.job, tick.at)]
    Decided { tick: Tick },
    #[error("the ledger could not be written")]
    Sqlite(#[source] rusqlite::Error),
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error("the ledger is damaged: {what}")]
    Damage { what: String },
    #[error("the ledger could not be read")]
    Sqlite(#[source] rusqlite::Error),
    #[error("the copy could not be written")]
    Copy(#[source] std::io::Error),
}

impl ReadError {
    /// What is damaged, if that is why.
    pub fn damage(&self) -> Option<String> {
        match self {
            ReadError::Damaged(damaged) => Some(damaged.to_string()),
            ReadError::Damage { what } => Some(what.clone()),
            ReadError::Sqlite(_) | ReadError::Copy(_) => None,
        }
    }
}

/// What an error of SQLite means for the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Full,
    Damage,
    /// The disk did not do as told; whether for want of room must be asked.
    Disk,
    Other,
}

impl Meaning {
    pub(crate) fn of(error: &rusqlite::Error) -> Meaning {
        // A column holds what its table does not allow.
        let column = matches!(
            error,
            rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::Utf8Error(..)
        );
        // The file system's own sums were wrong.
        let sums = |code| matches!(code, ffi::SQLITE_IOERR_CORRUPTFS | ffi::SQLITE_IOERR_DATA);
        match error.sqlite_error() {
            Some(failure) if failure.code == ErrorCode::DiskFull => Meaning::Full,
            Some(failure) if matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Meaning::Damage
            }
            // A word of SQLite's without a code of its own.
            Some(_) if error.to_string().contains("unsupported file format") => Meaning::Damage,
            Some(failure) if sums(failure.extended_code) => Meaning::Damage,
            Some(failure) if failure.code == ErrorCode::SystemIoFailure => Meaning::Disk,
            Some(_) => Meaning::Other,
            None if column => Meaning::Damage,
            None => Meaning::Other,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        match Meaning::of(&error) {
            Meaning::Full => Error::Full(error),
            Meaning::Damage => Error::Damage { what: error.to_string() },
            Meaning::Disk | Meaning::Other => Error::Sqlite(error),
        }
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> ReadError {
        match Meaning::of(&error) {
            Meaning::Damage => ReadError::Damage { what: error.to_string() },
            Meaning::Full | Meaning::Disk | Meaning::Other => ReadError::Sqlite(error),
        }
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Error {
        match error {
            ReadError::Damaged(damaged) => Error::Damage { what: damaged.to_string() },
            ReadError::Damage { what } => Error::Damage { what },
            ReadError::Sqlite(error) => Error::from(error),
            ReadError::Copy(error) => Error::Damage { what: error.to_string() },
        }
    }
}

/// SQLite names a full disk only when a write met it; a failed sync or a quota it calls an I/O error. So the disk is asked.
pub(crate) fn is_full(dir: &Path) -> bool {
    let path = dir.join("kin.db.probe");
    let probe = || {
        let mut file = std::fs::File::create(&path)?;
        file.write_all(&[1; 1 << 16])?;
        file.sync_all()
    };
    let full = probe().is_err_and(|error| no_room(&error));
    // A probe that stays behind is made anew by the next.
    std::fs::remove_file(&path).is_ok() && full
}

pub(crate) fn no_room(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}
