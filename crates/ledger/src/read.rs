//! Reading, beside the writer and never in its way.

use crate::event::{self, Event};
use crate::open::DB;
use crate::shelf::{Shelf, damage};
use crate::{OutcomeKind, Page, Query, ReadError, mark};
use kin_core::{JobName, Run, RunId, RunNo};
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A read-only connection of its own. It may be sent to another thread, but not shared. Each answer is one moment of the
/// ledger, and whatever was committed before the question is in it.
#[derive(Debug)]
pub struct Reader {
    pub(crate) shelf: Shelf,
    pub(crate) dir: PathBuf,
}

/// How many there are. Kept, never counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    pub live: u64,
    pub events: u64,
    pub by_outcome: [(OutcomeKind, u64); OutcomeKind::ALL.len()],
}

impl Reader {
    /// Of a ledger that [`crate::Ledger::open`] has opened or looked after before.
    pub fn open(dir: &Path) -> Result<Reader, ReadError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(dir.join(DB), flags)?;
        settle(&conn)?;
        conn.pragma_update(None, "query_only", true)?;
        Ok(Reader { shelf: Shelf::new(conn), dir: dir.to_owned() })
    }

    /// To be called when an answer was a [`ReadError::Damage`], or had damaged runs: the next [`crate::Ledger::open`] looks at
    /// everything, and sets aside and saves if need be. Until then the ledger goes on as well as it can.
    pub fn suspect(&self, what: &str) -> std::io::Result<()> {
        mark::suspect(&self.dir, what)
    }

    /// `None`: no such run. A damaged row is an error, never a `None`.
    pub fn run(&self, no: RunNo) -> Result<Option<Run>, ReadError> {
        self.shelf.run(no)
    }

    pub fn runs(&self, query: &Query) -> Result<Page, ReadError> {
        self.shelf.page(query)
    }

    /// The first runs of a job with a greater number, oldest first; damaged ones are passed over.
    pub fn runs_after(&self, job: &JobName, no: RunNo, limit: u32) -> Result<Vec<Run>, ReadError> {
        let _moment = self.shelf.moment()?;
        let Some(job) = self.shelf.job_id(job)? else { return Ok(Vec::new()) };
        let mut select = self.shelf.conn.prepare_cached(
            "SELECT no FROM run INDEXED BY run_by_job WHERE job = ?1 AND no > ?2 ORDER BY no LIMIT ?3",
        )?;
        let numbers = select.query_map((job, no.get(), limit), |row| row.get(0))?.collect::<Result<Vec<u64>, _>>()?;
        let mut runs = Vec::with_capacity(numbers.len());
        for no in numbers.into_iter().filter_map(RunNo::new) {
            runs.extend(self.shelf.fetch(no)?.and_then(Result::ok));
        }
        Ok(runs)
    }

    /// Every run that has not ended, newest first.
    pub fn live(&self) -> Result<Page, ReadError> {
        self.shelf.living()
    }

    /// At most `limit` events with a greater number, oldest first.
    pub fn events_after(&self, seq: u64, limit: u32) -> Result<Vec<Event>, ReadError> {
        let _moment = self.shelf.moment()?;
        let events =
            self.shelf.events("SELECT seq, run, body FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2", seq, limit)?;
        let book = self.shelf.book()?;
        let first = seq.max(book.last_event.saturating_sub(book.events)).saturating_add(1);
        let all_there = events.iter().zip(first..).all(|(event, seq)| event.seq == seq);
        let expected = (book.last_event.saturating_add(1)).saturating_sub(first).min(u64::from(limit));
        if all_there && events.len() as u64 == expected { Ok(events) } else { Err(damage("events are missing")) }
    }

    /// At most `limit` events of one run, oldest first, as far as they are kept.
    pub fn events_of(&self, no: RunNo, limit: u32) -> Result<Vec<Event>, ReadError> {
        let _moment = self.shelf.moment()?;
        self.shelf.events("SELECT seq, run, body FROM event WHERE run = ?1 ORDER BY seq LIMIT ?2", no.get(), limit)
    }

    /// The number of the newest event; 0 before the first.
    pub fn last_event(&self) -> Result<u64, ReadError> {
        Ok(self.shelf.book()?.last_event)
    }

    pub fn counters(&self) -> Result<Counters, ReadError> {
        let book = self.shelf.book()?;
        let by_outcome = OutcomeKind::ALL.map(|kind| (kind, book.runs[1 + kind as usize]));
        Ok(Counters { live: book.live(), events: book.events, by_outcome })
    }
}

impl Shelf {
    pub(crate) fn run(&self, no: RunNo) -> Result<Option<Run>, ReadError> {
        let _moment = self.moment()?;
        Ok(self.fetch(no)?.transpose()?)
    }

    pub(crate) fn events(&self, sql: &str, from: u64, limit: u32) -> Result<Vec<Event>, ReadError> {
        // SQLite's integers have a sign, and no event has a number beyond them.
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let mut select = self.conn.prepare_cached(sql)?;
        let mut rows = select.query((from, limit))?;
        let mut events = Vec::new();
        while let Some(row) = rows.next()? {
            let body: Vec<u8> = row.get(2)?;
            let run: Option<u64> = row.get(1)?;
            let unnamed = event::unpack(row.get(0)?, run.and_then(RunNo::new), &body)
                .ok_or_else(|| damage("an event is unreadable"))?;
            let mut event = unnamed.event;
            if let Some((no, job)) = unnamed.run {
                event.run = Some(RunId { job: self.job_name(job)?, no });
            }
            events.push(event);
        }
        Ok(events)
    }
}

/// How every connection is set, to whichever file.
pub(crate) fn settle(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    // In KiB. Memory-mapped reading stays off: a disk error must be an error, not a signal.
    conn.pragma_update(None, "cache_size", -4096)
}
