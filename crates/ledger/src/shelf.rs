//! What the writer and every reader do alike: a connection, and finding a run, its making and its job by number.

use crate::book::Book;
use crate::making::{self, Making};
use crate::row::Row;
use crate::sum::Sum;
use crate::{Damaged, ReadError};
use kin_core::{JobName, Run, RunNo};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Beyond this a memory is emptied: a ledger whose runs have all one making each would fill it with what is never asked again.
const REMEMBERED: usize = 1024;

#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) conn: Connection,
    makings: RefCell<HashMap<i64, Arc<Making>>>,
    jobs: RefCell<HashMap<i64, JobName>>,
}

/// A run as it was found: whole, or damaged.
pub(crate) type Fetched = Result<Run, Damaged>;

impl Shelf {
    pub(crate) fn new(conn: Connection) -> Shelf {
        conn.set_prepared_statement_cache_capacity(64);
        Shelf { conn, makings: RefCell::default(), jobs: RefCell::default() }
    }

    /// One moment of the ledger, for as long as the answer lives.
    pub(crate) fn moment(&self) -> Result<Transaction<'_>, ReadError> {
        Ok(Transaction::new_unchecked(&self.conn, TransactionBehavior::Deferred)?)
    }

    /// What was numbered in a transaction that failed may be numbered again.
    pub(crate) fn forget(&self) {
        self.makings.borrow_mut().clear();
        self.jobs.borrow_mut().clear();
    }

    pub(crate) fn book(&self) -> Result<Book, ReadError> {
        let body: Option<Vec<u8>> = self
            .conn
            .prepare_cached("SELECT body FROM book WHERE one = 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        body.and_then(|body| Book::unpack(&body)).ok_or_else(|| damage("its counters are unreadable"))
    }

    pub(crate) fn row(&self, no: RunNo) -> rusqlite::Result<Option<Row>> {
        self.conn
            .prepare_cached("SELECT job, class, body FROM run WHERE no = ?1")?
            .query_row([no.get()], |row| Ok(Row { no, job: row.get(0)?, class: row.get(1)?, body: row.get(2)? }))
            .optional()
    }

    /// A run by its number. A page that SQLite cannot read is damage to this run, and to others as they are asked for.
    pub(crate) fn fetch(&self, no: RunNo) -> Result<Option<Fetched>, ReadError> {
        match self.row(no).map_err(ReadError::from) {
            Ok(None) => Ok(None),
            Ok(Some(row)) => self.unpack(&row).map(Some),
            Err(ReadError::Damage { .. }) => Ok(Some(Err(Damaged { no, why: "its page cannot be read" }))),
            Err(other) => Err(other),
        }
    }

    pub(crate) fn unpack(&self, row: &Row) -> Result<Fetched, ReadError> {
        let damaged = |why| Damaged { no: row.no, why };
        let Some(id) = row.making() else {
            return Ok(Err(damaged("it is too short")));
        };
        Ok(match self.making(id) {
            Ok(Some(making)) => row.unpack(&making).map_err(damaged),
            Ok(None) => Err(damaged("its command is missing or unreadable")),
            Err(ReadError::Damage { .. }) => Err(damaged("its command cannot be read")),
            Err(other) => return Err(other),
        })
    }

    fn making(&self, id: i64) -> Result<Option<Arc<Making>>, ReadError> {
        if let Some(making) = self.makings.borrow().get(&id) {
            return Ok(Some(Arc::clone(making)));
        }
        let body: Option<Vec<u8>> = self
            .conn
            .prepare_cached("SELECT body FROM making WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?;
        let making = body.and_then(|body| making::unpack(&body)).map(Arc::new);
        if let Some(making) = &making {
            let mut makings = self.makings.borrow_mut();
            if makings.len() >= REMEMBERED {
                makings.clear();
            }
            makings.insert(id, Arc::clone(making));
        }
        Ok(making)
    }

    pub(crate) fn job_name(&self, id: i64) -> Result<JobName, ReadError> {
        if let Some(name) = self.jobs.borrow().get(&id) {
            return Ok(name.clone());
        }
        let found: Option<(String, i64)> = self
            .conn
            .prepare_cached("SELECT name, sum FROM job WHERE id = ?1")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let name = found
            .filter(|(name, sum)| job_sum(id, name) == *sum)
            .and_then(|(name, _)| JobName::parse(&name).ok())
            .ok_or_else(|| damage("the name of a job is unreadable"))?;
        let mut jobs = self.jobs.borrow_mut();
        if jobs.len() >= REMEMBERED {
            jobs.clear();
        }
        jobs.insert(id, name.clone());
        Ok(name)
    }

    pub(crate) fn job_id(&self, name: &JobName) -> rusqlite::Result<Option<i64>> {
        self.conn
            .prepare_cached("SELECT id FROM job WHERE name = ?1")?
            .query_row([name.as_str()], |row| row.get(0))
            .optional()
    }
}

pub(crate) fn job_sum(id: i64, name: &str) -> i64 {
    Sum::new().number(id.cast_unsigned()).bytes(name.as_bytes()).signed()
}

pub(crate) fn damage(what: &str) -> ReadError {
    ReadError::Damage { what: what.to_owned() }
}
