//! Looking at everything: SQLite's own check, every sum, and every counter against a recount.

use crate::class::Class;
use crate::row::Row;
use crate::shelf::Shelf;
use crate::{Ledger, ReadError, Reader, event, mark};
use kin_core::RunNo;

/// After so many complaints the rest is silence.
const COMPLAINTS_MAX: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// `PRAGMA quick_check`: all but whether each index has each row, which is counted instead.
    Quick,
    /// `PRAGMA integrity_check`.
    Full,
}

impl Reader {
    /// What is wrong, in words; empty when all is well. It reads the whole ledger, so it belongs on a thread of its own.
    pub fn quick_check(&self) -> Result<Vec<String>, ReadError> {
        self.shelf.check(Depth::Quick)
    }
}

impl Ledger {
    /// As [`Reader::quick_check`]; what it finds makes the next [`Ledger::open`] look at everything too.
    pub fn quick_check(&self) -> Result<Vec<String>, ReadError> {
        let complaints = self.shelf.check(Depth::Quick)?;
        if let Some(first) = complaints.first() {
            mark::suspect(&self.dir, first).map_err(ReadError::Copy)?;
        }
        Ok(complaints)
    }
}

impl Shelf {
    pub(crate) fn check(&self, depth: Depth) -> Result<Vec<String>, ReadError> {
        let _moment = self.moment()?;
        let mut complaints = Vec::new();
        // A page that cannot be read ends a part of the check, and is itself the complaint.
        for part in [Shelf::check_file, Shelf::check_runs, Shelf::check_indexes, Shelf::check_events, Shelf::check_rest]
        {
            match part(self, depth, &mut complaints) {
                Ok(()) => {}
                Err(ReadError::Damage { what }) => complaints.push(what),
                Err(other) => return Err(other),
            }
            complaints.truncate(COMPLAINTS_MAX);
        }
        Ok(complaints)
    }

    fn check_file(&self, depth: Depth, complaints: &mut Vec<String>) -> Result<(), ReadError> {
        let sql = match depth {
            Depth::Quick => "PRAGMA quick_check(20)",
            Depth::Full => "PRAGMA integrity_check(20)",
        };
        let mut pragma = self.conn.prepare(sql)?;
        let lines = pragma.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        complaints.extend(lines.into_iter().filter(|line| line != "ok"));
        Ok(())
    }

    fn check_runs(&self, _: Depth, complaints: &mut Vec<String>) -> Result<(), ReadError> {
        let book = self.book()?;
        let mut recount = [0; Class::COUNT];
        let mut greatest = 0;
        let mut select = self.conn.prepare("SELECT no, job, class, body FROM run ORDER BY no")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            if complaints.len() >= COMPLAINTS_MAX {
                return Ok(());
            }
            let number: i64 = row.get(0)?;
            let Some(no) = u64::try_from(number).ok().and_then(RunNo::new) else {
                complaints.push(format!("a run has the number {number}, which is none"));
                continue;
            };
            if no.get() <= greatest {
                complaints.push(format!("run {no} is out of order"));
            }
            greatest = no.get();
            let row = Row { no, job: row.get(1)?, class: row.get(2)?, body: row.get(3)? };
            match self.unpack(&row)? {
                Ok(run) if self.job_name(row.job)? != run.job => {
                    complaints.push(format!("run {no} is filed under another job"));
                }
                Ok(run) => recount[usize::from(Class::of(&run.state).number())] += 1,
                Err(damaged) => complaints.push(damaged.to_string()),
            }
        }
        if complaints.is_empty() && recount != book.runs {
            complaints.push("runs are missing, or counted twice".to_owned());
        }
        Ok(())
    }

    fn check_indexes(&self, _: Depth, complaints: &mut Vec<String>) -> Result<(), ReadError> {
        let book = self.book()?;
        let count = |sql: &str| -> Result<u64, ReadError> { Ok(self.conn.query_row(sql, [], |row| row.get(0))?) };
        let (all, ok) = (book.all(), book.runs[usize::from(Class::OK.number())]);
        for (index, expected, sql) in [
            ("run_by_job", all, "SELECT count(*) FROM run INDEXED BY run_by_job WHERE job > 0"),
            ("run_odd", all - ok, "SELECT count(*) FROM run INDEXED BY run_odd WHERE class <> 1"),
            (
                "run_odd_by_job",
                all - ok - book.live(),
                "SELECT count(*) FROM run INDEXED BY run_odd_by_job WHERE class > 1",
            ),
        ] {
            let found = count(sql)?;
            if found != expected {
                complaints.push(format!("the index {index} has {found} runs, and there are {expected}"));
            }
        }
        Ok(())
    }

    fn check_events(&self, _: Depth, complaints: &mut Vec<String>) -> Result<(), ReadError> {
        let book = self.book()?;
        let mut expected = book.last_event - book.events.min(book.last_event) + 1;
        let mut select = self.conn.prepare("SELECT seq, run, body FROM event ORDER BY seq")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (seq, run, body): (u64, Option<u64>, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if seq != expected {
                complaints.push(format!("event {expected} is missing"));
                return Ok(());
            }
            if event::unpack(seq, run.and_then(RunNo::new), &body).is_none() {
                complaints.push(format!("event {seq} is unreadable"));
            }
            expected += 1;
        }
        if expected != book.last_event + 1 {
            complaints.push(format!("event {expected} is missing"));
        }
        Ok(())
    }

    /// Names, tags, hours and keys: a search for one that cannot exist reads them all.
    fn check_rest(&self, _: Depth, complaints: &mut Vec<String>) -> Result<(), ReadError> {
        let jobs: Vec<i64> =
            self.conn.prepare("SELECT id FROM job")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for job in jobs {
            self.job_name(job)?;
        }
        self.jobs_tagged("")?;
        crate::hour::check(self)?;
        let (kept, good) = crate::key::count(self)?;
        if kept != good {
            complaints.push(format!("{} idempotency keys are unreadable", kept - good));
        }
        Ok(())
    }
}
