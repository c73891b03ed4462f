//! A copy of the ledger, as of one moment, while it is being written.

use crate::mark::{private, remove, sync_dir};
use crate::{Ledger, ReadError, Reader};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use std::fs::File;
use std::path::Path;

/// Pages copied between two looks at the clock of others: 1 MiB.
const STEP: std::ffi::c_int = 256;

impl Reader {
    /// Writes the copy beside `path` and renames it when it is whole and on the disk: a death on the way leaves the copy
    /// that was there before.
    ///
    /// The whole copy is of the moment at which it began, so the writer does not make it start over; the log that the
    /// writer keeps grows until it is done.
    pub fn backup_to(&self, path: &Path) -> Result<(), ReadError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = Path::new(&name);
        private(new).map_err(ReadError::Copy)?;
        let moment = self.shelf.moment()?;
        // The moment begins with the first look.
        self.shelf.book()?;
        let mut copy = Connection::open(new)?;
        {
            let backup = Backup::new(&self.shelf.conn, &mut copy)?;
            while backup.step(STEP)? != StepResult::Done {}
        }
        drop(moment);
        copy.close().map_err(|(_, error)| error)?;
        let settle = || {
            File::open(new)?.sync_all()?;
            std::fs::rename(new, path)?;
            sync_dir(path.parent().unwrap_or(Path::new("/")))
        };
        settle().map_err(|error| match remove(new) {
            Ok(()) => ReadError::Copy(error),
            Err(left) => ReadError::Copy(std::io::Error::new(
                error.kind(),
                format!("{error} (and {} could not be removed: {left})", new.display()),
            )),
        })
    }
}

impl Ledger {
    /// As [`Reader::backup_to`], which a thread of its own can do while this ledger goes on.
    pub fn backup_to(&self, path: &Path) -> Result<(), ReadError> {
        self.reader()?.backup_to(path)
    }
}
