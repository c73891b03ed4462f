//! Writing: one batch, one transaction.
//!
//! What the ledger knows outside the file (the book, the numbers of makings and jobs) changes only after the commit; a
//! commit that failed leaves it as it was and throws away the numbers it had given.

use crate::book::Book;
use crate::error::{Meaning, is_full};
use crate::row::{self, Row};
use crate::shelf::{Shelf, job_sum};
use crate::{Definition, Error, Ledger, NewEvent, QueueRow, definition, event, key, making, mark, period, standing};
use kin_core::{Decided, JobName, Mint, Run, RunNo, Standing, Time};
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

/// Beyond this the writer looks the numbers up again.
const REMEMBERED: usize = 4096;

/// What is committed together.
#[derive(Clone, Debug, Default)]
pub struct Batch<'a> {
    /// Each in full; a run that is there already is replaced.
    pub runs: Vec<&'a Run>,
    pub events: Vec<NewEvent>,
    pub keys: Vec<NewKey>,
    pub done: Vec<NewDone>,
    pub definitions: Vec<Definition>,
    /// Revisions that stay however old they are: those in force, those that may be gone back to, and those of living runs.
    pub in_use: BTreeSet<(JobName, u64)>,
    /// How a job stands now; `None`: it is gone.
    pub standings: Vec<(JobName, Option<Standing>)>,
    pub queues: Vec<(String, Option<QueueRow>)>,
    pub ticks: Vec<Decided>,
    /// Run numbers up to this one may be given out from now on. A smaller one than before changes nothing.
    pub mint_reserved: Option<u64>,
}

/// A request's idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    pub key: String,
    /// A sum of the request's content: the same key with another one is a conflict.
    pub content: u64,
    pub run: RunNo,
    pub at: Time,
}

/// A wish that made no run, granted under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDone {
    pub key: String,
    /// As of a [`NewKey`].
    pub content: u64,
    pub at: Time,
    /// What a repeat is told, in words that only its writer knows.
    pub answer: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On the disk when `apply` returns; a power cut takes nothing back.
    Full,
    /// Safe from any death of a process; a power cut may take the last commits back.
    Normal,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The numbers of the batch's events, in their order; `seqs.end - 1` is the newest event now.
    pub seqs: Range<u64>,
}

/// The numbers by which rows refer to what repeats.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    makings: HashMap<Vec<u8>, i64>,
    jobs: HashMap<JobName, i64>,
}

impl Ledger {
    /// Commits all of the batch or nothing, in one transaction.
    pub fn apply(&mut self, batch: &Batch<'_>, durability: Durability) -> Result<Applied, Error> {
        let next = self.book.last_event + 1;
        if batch.runs.is_empty()
            && batch.events.is_empty()
            && batch.keys.is_empty()
            && batch.done.is_empty()
            && batch.definitions.is_empty()
            && batch.standings.is_empty()
            && batch.queues.is_empty()
            && batch.ticks.is_empty()
            && batch.mint_reserved.is_none_or(|no| no <= self.book.mint_reserved)
        {
            return Ok(Applied { seqs: next..next });
        }
        self.transact(durability, |work| work.apply(batch)).map(|seqs| Applied { seqs })
    }

    /// One transaction: all that `write` does, or nothing.
    pub(crate) fn transact<T>(
        &mut self,
        durability: Durability,
        write: impl FnOnce(&mut Work<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.stand()?;
        let done = self.try_transact(durability, write);
        if let Some(footing) = &self.footing {
            self.written = footing.written();
        }
        match done {
            Ok(done) => Ok(done),
            Err(error) => {
                self.numbers = Numbers::default();
                self.shelf.forget();
                Err(self.explain(error))
            }
        }
    }

    /// Whether its files are still there, and its own.
    fn stand(&mut self) -> Result<(), Error> {
        let Some(footing) = &self.footing else { return Ok(()) };
        match footing.find() {
            Ok(found) => self.touched |= found != self.written,
            Err(what) => return Err(self.explain(Error::Damage { what })),
        }
        Ok(())
    }

    fn try_transact<T>(
        &mut self,
        durability: Durability,
        write: impl FnOnce(&mut Work<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.sync(durability)?;
        let tx = Transaction::new_unchecked(&self.shelf.conn, TransactionBehavior::Immediate)?;
        let mut work = Work {
            shelf: &self.shelf,
            numbers: &mut self.numbers,
            book: self.book.clone(),
            users: BTreeMap::new(),
            periods: BTreeMap::new(),
        };
        let done = write(&mut work)?;
        let book = work.finish(&self.book)?;
        tx.commit()?;
        self.book = book;
        Ok(done)
    }

    fn sync(&mut self, durability: Durability) -> rusqlite::Result<()> {
        if self.synchronous != Some(durability) {
            self.synchronous = None;
            let value = match durability {
                Durability::Full => "FULL",
                Durability::Normal => "NORMAL",
            };
            self.shelf.conn.pragma_update(None, "synchronous", value)?;
            self.synchronous = Some(durability);
        }
        Ok(())
    }

    /// Finds out what an I/O error was, and leaves a mark at the sight of damage, so that the next start looks at everything.
    fn explain(&self, error: Error) -> Error {
        match error {
            Error::Sqlite(error) if Meaning::of(&error) == Meaning::Disk && is_full(&self.dir) => Error::Full(error),
            Error::Damage { what } => match mark::suspect(&self.dir, &what) {
                Ok(()) => Error::Damage { what },
                Err(error) => Error::Damage { what: format!("{what} (and no mark of it could be left: {error})") },
            },
            Error::Full(_) | Error::KeyTaken { .. } | Error::Decided { .. } | Error::Sqlite(_) => error,
        }
    }
}

/// An open transaction.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) shelf: &'a Shelf,
    numbers: &'a mut Numbers,
    pub(crate) book: Book,
    /// By how much each making's users grow or shrink.
    users: BTreeMap<i64, i64>,
    /// The least and the greatest number of new runs, by the period of their creation.
    periods: BTreeMap<i64, (RunNo, RunNo)>,
}

impl Work<'_> {
    fn apply(&mut self, batch: &Batch<'_>) -> Result<Range<u64>, Error> {
        for run in &batch.runs {
            self.put(run)?;
        }
        for key in &batch.keys {
            key::put(self.shelf, key)?;
        }
        for done in &batch.done {
            crate::done::put(self.shelf, done)?;
        }
        for new in &batch.definitions {
            definition::put(self.shelf, new, &batch.in_use)?;
        }
        for (job, now) in &batch.standings {
            standing::put(self.shelf, job, now.as_ref())?;
        }
        for (name, now) in &batch.queues {
            standing::put_queue(self.shelf, name, now.as_ref())?;
        }
        for decided in &batch.ticks {
            self.decide(decided)?;
        }
        let first = self.book.last_event + 1;
        for event in &batch.events {
            self.tell(event)?;
        }
        self.book.mint_reserved = self.book.mint_reserved.max(batch.mint_reserved.unwrap_or(0));
        Ok(first..self.book.last_event + 1)
    }

    /// The run as it is now, whether it was there or not.
    pub(crate) fn put(&mut self, run: &Run) -> Result<(), Error> {
        match self.shelf.row(run.no)? {
            None => self.add(run),
            Some(before) => self.replace(run, &before),
        }
    }

    /// A run that is not there.
    pub(crate) fn add(&mut self, run: &Run) -> Result<(), Error> {
        let row = self.row_of(run)?;
        self.shelf.conn.prepare_cached("INSERT INTO run (no, job, class, body) VALUES (?1, ?2, ?3, ?4)")?.execute((
            row.no.get(),
            row.job,
            row.class,
            &row.body,
        ))?;
        self.use_making(&row, 1);
        self.book.count(row.class, 1);
        self.book.mint_reserved = self.book.mint_reserved.max(Mint::after(run.no.get()).last());
        let (least, greatest) = self.periods.entry(period::of(run.created_at)).or_insert((run.no, run.no));
        (*least, *greatest) = (run.no.min(*least), run.no.max(*greatest));
        Ok(())
    }

    fn replace(&mut self, run: &Run, before: &Row) -> Result<(), Error> {
        let row = self.row_of(run)?;
        let conn = &self.shelf.conn;
        // SQLite rewrites the index entries of every column that a statement names, changed or not.
        if row.job != before.job {
            conn.prepare_cached("UPDATE run SET job = ?2, class = ?3, body = ?4 WHERE no = ?1")?.execute((
                row.no.get(),
                row.job,
                row.class,
                &row.body,
            ))?;
        } else if row.class != before.class {
            conn.prepare_cached("UPDATE run SET class = ?2, body = ?3 WHERE no = ?1")?.execute((
                row.no.get(),
                row.class,
                &row.body,
            ))?;
        } else {
            conn.prepare_cached("UPDATE run SET body = ?2 WHERE no = ?1")?.execute((row.no.get(), &row.body))?;
        }
        if row.making() != before.making() {
            // A damaged row may name a making that it never had, and would take it from those who do.
            if self.shelf.unpack(before)?.is_ok() {
                self.use_making(before, -1);
            }
            self.use_making(&row, 1);
        }
        self.book.count(before.class, -1);
        self.book.count(row.class, 1);
        Ok(())
    }

    /// Takes a run out for good.
    pub(crate) fn remove(&mut self, row: &Row) -> Result<(), Error> {
        self.shelf.conn.prepare_cached("DELETE FROM run WHERE no = ?1")?.execute([row.no.get()])?;
        self.use_making(row, -1);
        self.book.count(row.class, -1);
        Ok(())
    }

    fn use_making(&mut self, row: &Row, by: i64) {
        if let Some(making) = row.making() {
            *self.users.entry(making).or_insert(0) += by;
        }
    }

    pub(crate) fn tell(&mut self, event: &NewEvent) -> Result<(), Error> {
        let seq = self.book.last_event + 1;
        let job = event.run.as_ref().map(|run| self.job(&run.job)).transpose()?;
        let body = event::pack(seq, event, job);
        self.shelf.conn.prepare_cached("INSERT INTO event (seq, run, body) VALUES (?1, ?2, ?3)")?.execute((
            seq,
            event.run.as_ref().map(|run| run.no.get()),
            body,
        ))?;
        self.book.last_event = seq;
        self.book.events += 1;
        Ok(())
    }

    fn row_of(&mut self, run: &Run) -> Result<Row, Error> {
        let job = self.job(&run.job)?;
        let packed = making::pack(run);
        let sum = making::sum(&packed);
        let making = self.making(run, job, packed, sum)?;
        Ok(row::Row::pack(run, job, making, sum))
    }

    pub(crate) fn job(&mut self, name: &JobName) -> Result<i64, Error> {
        if let Some(id) = self.numbers.jobs.get(name) {
            return Ok(*id);
        }
        let conn = &self.shelf.conn;
        let id = match self.shelf.job_id(name)? {
            Some(id) => id,
            None => {
                let id: i64 = conn.query_row("SELECT coalesce(max(id), 0) + 1 FROM job", [], |row| row.get(0))?;
                conn.prepare_cached("INSERT INTO job (id, name, sum) VALUES (?1, ?2, ?3)")?.execute((
                    id,
                    name.as_str(),
                    job_sum(id, name.as_str()),
                ))?;
                id
            }
        };
        if self.numbers.jobs.len() >= REMEMBERED {
            self.numbers.jobs.clear();
        }
        self.numbers.jobs.insert(name.clone(), id);
        Ok(id)
    }

    /// Of a job whose row is gone.
    pub(crate) fn forget_number(&mut self, gone: i64) {
        self.numbers.jobs.retain(|_, job| *job != gone);
    }

    fn making(&mut self, run: &Run, job: i64, packed: Vec<u8>, sum: making::Sum64) -> Result<i64, Error> {
        if let Some(id) = self.numbers.makings.get(&packed) {
            return Ok(*id);
        }
        let conn = &self.shelf.conn;
        let known: Option<i64> = conn
            .prepare_cached("SELECT id FROM making WHERE sum = ?1 AND body = ?2")?
            .query_row((sum.cast_signed(), &packed), |row| row.get(0))
            .optional()?;
        let id =
            match known {
                Some(id) => id,
                None => {
                    let id = self.book.next_making;
                    self.book.next_making += 1;
                    conn.prepare_cached("INSERT INTO making (id, sum, runs, body) VALUES (?1, ?2, 0, ?3)")?
                        .execute((id, sum.cast_signed(), &packed))?;
                    for tag in &run.tags {
                        conn.prepare_cached("INSERT OR IGNORE INTO tagged (tag, job, sum) VALUES (?1, ?2, ?3)")?
                            .execute((tag, job, job_sum(job, tag)))?;
                    }
                    id
                }
            };
        if self.numbers.makings.len() >= REMEMBERED {
            self.numbers.makings.clear();
        }
        self.numbers.makings.insert(packed, id);
        Ok(id)
    }

    /// Writes what was gathered; the book that holds once this is committed.
    fn finish(self, before: &Book) -> Result<Book, Error> {
        let conn = &self.shelf.conn;
        for (making, by) in self.users {
            if by != 0 {
                conn.prepare_cached("UPDATE making SET runs = runs + ?2 WHERE id = ?1")?.execute((making, by))?;
            }
            // Also one that was made and left within this transaction.
            if by <= 0 && conn.prepare_cached("DELETE FROM making WHERE id = ?1 AND runs <= 0")?.execute([making])? > 0
            {
                self.numbers.makings.retain(|_, id| *id != making);
            }
        }
        for (period, (least, greatest)) in self.periods {
            period::note(self.shelf, period, least, greatest)?;
        }
        if self.book != *before {
            conn.prepare_cached("INSERT OR REPLACE INTO book (one, body) VALUES (1, ?1)")?
                .execute([self.book.pack()])?;
        }
        Ok(self.book)
    }
}
