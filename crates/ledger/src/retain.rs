//! Forgetting: old runs, events and keys, a small slice at a time, and never a run that lives.

use crate::event;
use crate::period;
use crate::row::Row;
use crate::shelf::Shelf;
use crate::write::Work;
use crate::{Durability, Error, Ledger, done, key};
use kin_core::{Run, RunId, RunNo, Time};
use std::collections::{BTreeMap, BTreeSet};

/// The most that one transaction removes of anything.
pub const SLICE_MAX: u32 = 1_000;
/// Jobs whose runs are counted in one sweep.
const JOBS: i64 = 64;

/// What may stay. `None` means no such limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Ended runs: so long after their end. Decisions of ticks: so long after their instant.
    pub max_age_ms: Option<u64>,
    /// Ended runs in all.
    pub max_count: Option<u64>,
    /// Runs of one job; those that live count too, and stay whatever their number.
    pub per_job: Option<u64>,
    /// The same, for jobs that say so themselves; the lesser of both counts.
    pub jobs: BTreeMap<String, u64>,
    pub events_max_age_ms: Option<u64>,
    pub events_max_count: Option<u64>,
    /// Runs that stay, whatever else holds: somebody still has something to say of them.
    pub held: BTreeSet<RunNo>,
}

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Their logs may go too.
    pub runs: Vec<RunId>,
    pub events: u64,
    pub keys: u64,
    pub ticks: u64,
    /// There is more to look at: come again soon. False once every job has been looked at and nothing is left to remove.
    pub more: bool,
}

/// Where the next sweep goes on, so that runs which stay are not looked at again and again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Broom {
    /// All runs up to this number have been judged by their age.
    past: u64,
    /// All jobs up to this one have been counted.
    job: i64,
    /// All decisions of ticks up to this one have been judged by their age.
    tick: i64,
}

impl Ledger {
    /// Removes at most `slice` (and at most 1,000) runs, and as many events and keys, in one short transaction.
    ///
    /// Runs whose record is damaged stay: nobody knows any more how old they are.
    pub fn sweep(&mut self, retention: &Retention, now: Time, slice: u32) -> Result<Swept, Error> {
        let slice = slice.clamp(1, SLICE_MAX);
        let broom = self.broom;
        let (swept, broom) = self.transact(Durability::Normal, |work| work.sweep(broom, retention, now, slice))?;
        self.broom = broom;
        Ok(swept)
    }
}

impl Work<'_> {
    fn sweep(
        &mut self,
        mut broom: Broom,
        retention: &Retention,
        now: Time,
        slice: u32,
    ) -> Result<(Swept, Broom), Error> {
        let mut swept = Swept::default();
        self.sweep_old(&mut broom, retention, now, slice, &mut swept)?;
        self.sweep_jobs(&mut broom, retention, slice, &mut swept)?;
        swept.events = self.sweep_events(retention, now, slice)?;
        swept.keys = key::sweep(self.shelf, now, slice)?.max(done::sweep(self.shelf, now, slice)?);
        if let Some(ms) = retention.max_age_ms {
            (swept.ticks, broom.tick) = self.sweep_ticks(broom.tick, before(now, ms), now, slice)?;
        }
        if broom.tick > 0
            || swept.events == u64::from(slice)
            || swept.keys == u64::from(slice)
            || swept.runs.len() >= slice as usize
        {
            swept.more = true;
        }
        if !swept.runs.is_empty() {
            period::sweep(self.shelf)?;
        }
        Ok((swept, broom))
    }

    /// By age and by count in all, from the oldest up.
    fn sweep_old(
        &mut self,
        broom: &mut Broom,
        retention: &Retention,
        now: Time,
        slice: u32,
        swept: &mut Swept,
    ) -> Result<(), Error> {
        let cutoff = retention.max_age_ms.map(|ms| before(now, ms));
        let ended = |work: &Self| work.book.all() - work.book.live();
        let too_many = |work: &Self| retention.max_count.is_some_and(|max| ended(work) > max);
        if cutoff.is_none() && !too_many(self) {
            return Ok(());
        }
        let rows = rows(self.shelf, "no > ?1 ORDER BY no LIMIT ?2", (broom.past.cast_signed(), i64::from(slice)))?;
        let whole_slice = rows.len() == slice as usize;
        for row in rows {
            if let Ok(run) = self.shelf.unpack(&row)? {
                let old = cutoff.is_some_and(|cutoff| run.ended_at.unwrap_or(run.created_at) < cutoff);
                let may_go = run.outcome().is_some() && !retention.held.contains(&run.no);
                // Of a later time than now it is no proof that all that follow are younger.
                let young = |cutoff: Time| (cutoff..=now).contains(&run.created_at);
                if may_go && (old || too_many(self)) {
                    self.forget(&row, &run, swept)?;
                } else if !too_many(self) && cutoff.is_none_or(young) {
                    // All that follow are younger still. The next sweep begins at the oldest again.
                    broom.past = 0;
                    return Ok(());
                }
            }
            broom.past = row.no.get();
        }
        if whole_slice {
            swept.more = true;
        } else {
            broom.past = 0;
        }
        Ok(())
    }

    fn sweep_jobs(
        &mut self,
        broom: &mut Broom,
        retention: &Retention,
        slice: u32,
        swept: &mut Swept,
    ) -> Result<(), Error> {
        if retention.per_job.is_none() && retention.jobs.is_empty() {
            return Ok(());
        }
        let jobs: Vec<(i64, String)> = self
            .shelf
            .conn
            .prepare_cached("SELECT id, name FROM job WHERE id > ?1 ORDER BY id LIMIT ?2")?
            .query_map([broom.job, JOBS], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let last = jobs.len() < JOBS as usize;
        for (job, name) in jobs {
            let own = retention.jobs.get(&name).copied();
            let Some(per_job) = own.into_iter().chain(retention.per_job).min() else {
                broom.job = job;
                continue;
            };
            let room = (slice as usize).saturating_sub(swept.runs.len());
            if room == 0 {
                swept.more = true;
                return Ok(());
            }
            let removed = self.sweep_job(job, per_job, room, &retention.held, swept)?;
            if removed == room {
                // There may be more of this one: it is looked at again.
                swept.more = true;
                return Ok(());
            }
            broom.job = job;
        }
        if last {
            broom.job = 0;
        } else {
            swept.more = true;
        }
        Ok(())
    }

    fn sweep_job(
        &mut self,
        job: i64,
        per_job: u64,
        room: usize,
        held: &BTreeSet<RunNo>,
        swept: &mut Swept,
    ) -> Result<usize, Error> {
        let first_too_many: Option<i64> = {
            let mut select = self.shelf.conn.prepare_cached(
                "SELECT no FROM run INDEXED BY run_by_job WHERE job = ?1 ORDER BY no DESC LIMIT 1 OFFSET ?2",
            )?;
            let mut rows = select.query((job, i64::try_from(per_job).unwrap_or(i64::MAX)))?;
            rows.next()?.map(|row| row.get(0)).transpose()?
        };
        let Some(greatest) = first_too_many else { return Ok(0) };
        // Those that live or are held are few; so many more are looked at that they cannot stand in the way for ever.
        let look_at = i64::try_from(room as u64 + self.book.live() + held.len() as u64).unwrap_or(i64::MAX);
        let found = rows(
            self.shelf,
            "no IN (SELECT no FROM run INDEXED BY run_by_job WHERE job = ?1 AND no <= ?2 ORDER BY no LIMIT ?3)",
            (job, greatest, look_at),
        )?;
        let mut removed = 0;
        for row in found {
            if removed == room {
                break;
            }
            if let Ok(run) = self.shelf.unpack(&row)?
                && run.outcome().is_some()
                && !held.contains(&run.no)
            {
                self.forget(&row, &run, swept)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn forget(&mut self, row: &Row, run: &Run, swept: &mut Swept) -> Result<(), Error> {
        self.remove(row)?;
        swept.runs.push(run.id());
        Ok(())
    }

    fn sweep_events(&mut self, retention: &Retention, now: Time, slice: u32) -> Result<u64, Error> {
        let cutoff = retention.events_max_age_ms.map(|ms| before(now, ms));
        let surplus = retention.events_max_count.map_or(0, |max| self.book.events.saturating_sub(max));
        if cutoff.is_none() && surplus == 0 {
            return Ok(0);
        }
        let first = self.book.last_event - self.book.events + 1;
        let mut gone = 0;
        {
            let mut select = self
                .shelf
                .conn
                .prepare_cached("SELECT seq, run, body FROM event WHERE seq >= ?1 ORDER BY seq LIMIT ?2")?;
            let mut rows = select.query((first, slice))?;
            while let Some(row) = rows.next()? {
                let (seq, run, body): (u64, Option<u64>, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
                // One that cannot be read is as old as its neighbours; so is one of a later time than now, once an old one
                // follows it.
                let at = event::unpack(seq, run.and_then(RunNo::new), &body).map(|found| found.event.at);
                let old = |cutoff| at.is_none_or(|at| at < cutoff);
                if seq - first >= surplus && !cutoff.is_some_and(old) {
                    if cutoff.is_some() && at.is_some_and(|at| at > now) {
                        continue;
                    }
                    break;
                }
                gone = seq - first + 1;
            }
        }
        if gone > 0 {
            self.shelf.conn.prepare_cached("DELETE FROM event WHERE seq < ?1")?.execute([first + gone])?;
            self.book.events -= gone;
        }
        Ok(gone)
    }
}

fn before(now: Time, ms: u64) -> Time {
    Time(now.0.saturating_sub_unsigned(ms.saturating_mul(1_000_000)))
}

fn rows(shelf: &Shelf, which: &str, bound: impl rusqlite::Params) -> rusqlite::Result<Vec<Row>> {
    let sql = format!("SELECT no, job, class, body FROM run WHERE {which}");
    let mut select = shelf.conn.prepare_cached(&sql)?;
    let mut found = select.query(bound)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        if let Some(no) = RunNo::new(row.get(0)?) {
            rows.push(Row { no, job: row.get(1)?, class: row.get(2)?, body: row.get(3)? });
        }
    }
    Ok(rows)
}
