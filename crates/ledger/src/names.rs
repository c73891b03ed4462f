//! Names that nothing names any more: rows of jobs and of tags whose runs are all forgotten.
//!
//! A look at everything finds them, beside the writer and as of one moment. The writer removes them in small slices, and
//! spares what was named again since. The number of a job that is gone is never given to another: the greatest stays.

use crate::shelf::{Shelf, damage, job_sum};
use crate::write::Work;
use crate::{Durability, Error, Ledger, ReadError, Reader, event, making, retain};
use kin_core::{JobName, RunNo};
use std::collections::{BTreeMap, BTreeSet};

/// What one look found, and what is left of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdleNames {
    jobs: BTreeSet<i64>,
    tags: BTreeSet<(String, i64)>,
    /// The newest event that was looked at.
    event: u64,
    /// The number of the next making.
    making: i64,
}

impl IdleNames {
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.tags.is_empty()
    }
}

impl Reader {
    /// The jobs that no run, tick, event, definition and standing names, and the tags that no run of theirs has. It may read
    /// the whole ledger, so it belongs on a thread of its own.
    pub fn idle_names(&self) -> Result<IdleNames, ReadError> {
        let _moment = self.shelf.moment()?;
        let book = self.shelf.book()?;
        let mut idle = IdleNames {
            jobs: self.shelf.jobs_without_rows()?,
            tags: BTreeSet::new(),
            event: book.last_event,
            making: book.next_making,
        };
        if !idle.jobs.is_empty() {
            self.shelf.spare_jobs(&mut idle.jobs, 0)?;
        }
        idle.tags = self.shelf.tags_kept()?;
        if !idle.tags.is_empty() {
            self.shelf.spare_tags(&mut idle.tags, 0)?;
        }
        Ok(idle)
    }
}

impl Ledger {
    /// Removes at most `slice` (and at most 1,000) of them in one short transaction; how many. What is named again stays.
    pub fn forget_names(&mut self, idle: &mut IdleNames, slice: u32) -> Result<u64, Error> {
        let slice = slice.clamp(1, retain::SLICE_MAX) as usize;
        let jobs_before = idle.jobs.len();
        let gone = self.transact(Durability::Normal, |work| work.forget_names(idle, slice))?;
        if idle.jobs.len() != jobs_before {
            // The names of those that are gone would stay in memory for ever.
            self.shelf.forget();
        }
        Ok(gone)
    }

    /// Whether it has a run of this job, readable or not.
    pub fn has_runs(&self, job: &JobName) -> Result<bool, ReadError> {
        let Some(id) = self.shelf.job_id(job)? else { return Ok(false) };
        let mut select =
            self.shelf.conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM run INDEXED BY run_by_job WHERE job = ?1)")?;
        Ok(select.query_row([id], |row| row.get(0))?)
    }
}

/// Of jobs named `j`: not the newest, whose number the next one follows, and nothing but events can still name it.
const NO_ROWS: &str = "j.id < (SELECT max(id) FROM job) \
    AND NOT EXISTS (SELECT 1 FROM run INDEXED BY run_by_job WHERE job = j.id) \
    AND NOT EXISTS (SELECT 1 FROM tick INDEXED BY tick_by_job WHERE job = j.id) \
    AND NOT EXISTS (SELECT 1 FROM standing WHERE job = j.name) \
    AND NOT EXISTS (SELECT 1 FROM definition WHERE job = j.name)";

impl Work<'_> {
    fn forget_names(&mut self, idle: &mut IdleNames, slice: usize) -> Result<u64, Error> {
        let spared = self.shelf.spare_jobs(&mut idle.jobs, idle.event);
        spared.and_then(|()| self.shelf.spare_tags(&mut idle.tags, idle.making)).map_err(Error::from)?;
        (idle.event, idle.making) = (self.book.last_event, self.book.next_making);
        let shelf = self.shelf;
        let conn = &shelf.conn;
        let mut gone = 0;
        for _ in 0..slice {
            // Tags first: one without its job could not be told from one that is needed.
            if let Some((tag, job)) = idle.tags.pop_first() {
                gone += conn.prepare_cached("DELETE FROM tagged WHERE tag = ?1 AND job = ?2")?.execute((tag, job))?;
            } else if let Some(job) = idle.jobs.pop_first() {
                let sql = format!("DELETE FROM job AS j WHERE id = ?1 AND {NO_ROWS}");
                gone += conn.prepare_cached(&sql)?.execute([job])?;
                self.forget_number(job);
            } else {
                break;
            }
        }
        Ok(gone as u64)
    }
}

impl Shelf {
    fn jobs_without_rows(&self) -> rusqlite::Result<BTreeSet<i64>> {
        let mut select = self.conn.prepare(&format!("SELECT id FROM job AS j WHERE {NO_ROWS}"))?;
        select.query_map([], |row| row.get(0))?.collect()
    }

    /// Takes out of `jobs` what an event after that one names; all, if one cannot be read.
    fn spare_jobs(&self, jobs: &mut BTreeSet<i64>, after: u64) -> Result<(), ReadError> {
        let mut select = self.conn.prepare_cached("SELECT seq, run, body FROM event WHERE seq > ?1 ORDER BY seq")?;
        let mut rows = select.query([after])?;
        while !jobs.is_empty()
            && let Some(row) = rows.next()?
        {
            let (seq, run, body): (u64, Option<u64>, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            match event::unpack(seq, run.and_then(RunNo::new), &body) {
                Some(event) => event.run.map(|(_, job)| jobs.remove(&job)).map_or((), drop),
                None => jobs.clear(),
            }
        }
        Ok(())
    }

    fn tags_kept(&self) -> Result<BTreeSet<(String, i64)>, ReadError> {
        let mut select = self.conn.prepare("SELECT tag, job, sum FROM tagged")?;
        let mut rows = select.query([])?;
        let mut tags = BTreeSet::new();
        while let Some(row) = rows.next()? {
            let (tag, job): (String, i64) = (row.get(0)?, row.get(1)?);
            if row.get::<_, i64>(2)? != job_sum(job, &tag) {
                return Err(damage("a tag is unreadable"));
            }
            tags.insert((tag, job));
        }
        Ok(tags)
    }

    /// Takes out of `tags` what a making from that number on has; all, if one cannot be read.
    fn spare_tags(&self, tags: &mut BTreeSet<(String, i64)>, from: i64) -> Result<(), ReadError> {
        let mut select = self.conn.prepare_cached("SELECT body FROM making WHERE id >= ?1")?;
        let mut rows = select.query([from])?;
        let mut numbers: BTreeMap<JobName, Option<i64>> = BTreeMap::new();
        while !tags.is_empty()
            && let Some(row) = rows.next()?
        {
            let Some(making) = making::unpack(&row.get::<_, Vec<u8>>(0)?) else {
                tags.clear();
                break;
            };
            if making.tags.is_empty() {
                continue;
            }
            let job = match numbers.get(&making.job) {
                Some(job) => *job,
                None => {
                    let job = self.job_id(&making.job)?;
                    numbers.insert(making.job, job);
                    job
                }
            };
            if let Some(job) = job {
                for tag in making.tags {
                    tags.remove(&(tag, job));
                }
            }
        }
        Ok(())
    }
}
