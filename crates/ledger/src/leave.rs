//! What a writer leaves whose files were damaged or taken away under it, for the next [`Ledger::open`].
//!
//! ```text
//!   all of it can still be read (its files only lost their names)  ──▶ kin.db.saved: a whole copy, with the last batch
//!   not all                                                        ──▶ kin.db.known: what its owner knows by heart
//! ```
//! The next opening puts the one in place as it is, and takes the other before all that the damaged files can prove.

use crate::check::Depth;
use crate::mark::{self, private};
use crate::open::{KNOWN, NEW, SAVED};
use crate::salvage::{SalvageError, clean, create, finish_as};
use crate::shelf::{Shelf, damage};
use crate::{Batch, Durability, Error, Ledger, read};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;

/// Pages copied at a time: 4 MiB.
const STEP: std::ffi::c_int = 1024;

impl Ledger {
    /// `last` is what could not be committed; `known` is that too, and all that must not be lost. Nothing is to be written
    /// with this ledger any more. True: all of it was saved.
    pub fn leave(&self, why: &str, last: &Batch<'_>, known: &Batch<'_>) -> Result<bool, Error> {
        let failed = |error: SalvageError| match error {
            SalvageError::Write(error) => error,
            SalvageError::Io(error) => Error::Damage { what: error.to_string() },
        };
        mark::suspect(&self.dir, why).map_err(SalvageError::Io).map_err(failed)?;
        // What lies in the files stays as it was found.
        self.shelf.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        if self.leave_all(last).is_ok() {
            // That it could be said in full is part of what the next opening says.
            let all = format!("{why}, and all of it was saved");
            mark::suspect(&self.dir, &all).map_err(SalvageError::Io).map_err(failed)?;
            return Ok(true);
        }
        self.leave_known(known).map_err(failed)?;
        Ok(false)
    }

    fn leave_all(&self, last: &Batch<'_>) -> Result<(), SalvageError> {
        clean(&self.dir)?;
        let path = self.dir.join(NEW);
        private(&path)?;
        let mut copy = Connection::open(&path)?;
        {
            let moment = self.shelf.moment().map_err(Error::from)?;
            let backup = Backup::new(&self.shelf.conn, &mut copy)?;
            while backup.step(STEP)? != StepResult::Done {}
            drop(backup);
            drop(moment);
        }
        read::settle(&copy)?;
        let shelf = Shelf::new(copy);
        // Nothing that was committed is missing, and all of it is sound.
        if shelf.book().map_err(Error::from)? != self.book {
            return Err(Error::from(damage("its last commits are gone")).into());
        }
        if let Some(complaint) = shelf.check(Depth::Full).map_err(Error::from)?.into_iter().next() {
            return Err(Error::Damage { what: complaint }.into());
        }
        let mut copy = Ledger::over(shelf.conn, &self.dir, self.book.clone());
        copy.apply(last, Durability::Normal)?;
        finish_as(copy, &self.dir, SAVED)
    }

    fn leave_known(&self, known: &Batch<'_>) -> Result<(), SalvageError> {
        clean(&self.dir)?;
        let mut ledger = create(&self.dir, NEW)?;
        ledger.transact(Durability::Normal, |work| {
            work.book.mint_reserved = work.book.mint_reserved.max(self.book.mint_reserved);
            work.book.last_event = self.book.last_event;
            Ok(())
        })?;
        ledger.apply(known, Durability::Normal)?;
        finish_as(ledger, &self.dir, KNOWN)
    }
}
