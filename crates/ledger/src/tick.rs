//! Ticks: which instants of which schedules were decided, and how. The table refuses to decide one twice.

use crate::pack::{Packer, Unpacker};
use crate::shelf::{Shelf, damage};
use crate::sum::Sum;
use crate::write::Work;
use crate::{Error, ReadError, Reader};
use kin_core::schedule::Wall;
use kin_core::{Decided, Decision, JobName, Moved, RunNo, Tick, Time};
use rusqlite::{ErrorCode, OptionalExtension};

const FORMAT: u64 = 1;
/// The same, and behind it what was moved to that instant.
const FORMAT_MOVED: u64 = 2;
const RUN: u64 = 0;
const CAUGHT_UP: u64 = 1;
const SKIPPED_OVERLAP: u64 = 2;
const SKIPPED_DISABLED: u64 = 3;
const SUPPRESSED: u64 = 4;
const PAUSED: u64 = 5;
const MISSED: u64 = 6;
/// Which run lived, and that it was not this reason but the next one, is said since these.
const SKIPPED_OVERLAP_OF: u64 = 7;
const SKIPPED_LINE_FULL: u64 = 8;
/// Without a record of a run.
const DISABLED: u64 = 9;

/// Which of them to show, the newest decision first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TickQuery {
    /// A job's name, or a glob of one; `None`: of all.
    pub job: Option<String>,
    /// Only those that were decided before this one; what `TickPage::next` says.
    pub before: Option<u64>,
    pub limit: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TickPage {
    pub ticks: Vec<Decided>,
    /// There are more, and this is where they go on.
    pub next: Option<u64>,
}

fn seed(seq: i64, job: i64, schedule: i64, at: i64) -> Sum {
    [seq, job, schedule, at].iter().fold(Sum::new(), |sum, n| sum.number(n.cast_unsigned()))
}

fn pack(decided: &Decided, seed: Sum) -> Vec<u8> {
    let mut p = Packer::new();
    p.number(if decided.moved.is_some() { FORMAT_MOVED } else { FORMAT });
    p.signed(decided.decided_at.0.wrapping_sub(nominal(decided.tick.at).0));
    match &decided.decision {
        Decision::Run { run } => [RUN, run.get()].into_iter().for_each(|n| p.number(n)),
        Decision::CaughtUp { run, missed } => [CAUGHT_UP, run.get(), *missed].into_iter().for_each(|n| p.number(n)),
        Decision::SkippedOverlap { run, live: None } => {
            [SKIPPED_OVERLAP, run.get()].into_iter().for_each(|n| p.number(n));
        }
        Decision::SkippedOverlap { run, live: Some(live) } => {
            [SKIPPED_OVERLAP_OF, run.get(), live.get()].into_iter().for_each(|n| p.number(n));
        }
        Decision::SkippedLineFull { run, waiting } => {
            [SKIPPED_LINE_FULL, run.get(), u64::from(*waiting)].into_iter().for_each(|n| p.number(n));
        }
        Decision::SkippedDisabled { run: Some(run) } => {
            [SKIPPED_DISABLED, run.get()].into_iter().for_each(|n| p.number(n));
        }
        Decision::SkippedDisabled { run: None } => p.number(DISABLED),
        Decision::Suppressed { by } => {
            p.number(SUPPRESSED);
            p.text(by);
        }
        Decision::Paused => p.number(PAUSED),
        Decision::Missed { count, until } => {
            p.number(MISSED);
            p.number(*count);
            p.signed(until.wrapping_sub(decided.tick.at));
        }
    }
    if let Some(moved) = &decided.moved {
        p.signed(moved.from.0.wrapping_sub(decided.tick.at));
        p.number(moved.count);
        p.text(&moved.by);
    }
    p.sealed(seed)
}

fn unpack(tick: Tick, body: &[u8], seed: Sum) -> Option<Decided> {
    let mut u = Unpacker::unseal(body, seed)?;
    let format = u.number()?;
    if format != FORMAT && format != FORMAT_MOVED {
        return None;
    }
    let decided_at = Time(nominal(tick.at).0.wrapping_add(u.signed()?));
    let kind = u.number()?;
    let run = |u: &mut Unpacker<'_>| RunNo::new(u.number()?);
    let decision = match kind {
        RUN => Decision::Run { run: run(&mut u)? },
        CAUGHT_UP => Decision::CaughtUp { run: run(&mut u)?, missed: u.number()? },
        SKIPPED_OVERLAP => Decision::SkippedOverlap { run: run(&mut u)?, live: None },
        SKIPPED_OVERLAP_OF => Decision::SkippedOverlap { run: run(&mut u)?, live: Some(run(&mut u)?) },
        SKIPPED_LINE_FULL => Decision::SkippedLineFull { run: run(&mut u)?, waiting: u.small()? },
        SKIPPED_DISABLED => Decision::SkippedDisabled { run: Some(run(&mut u)?) },
        DISABLED => Decision::SkippedDisabled { run: None },
        SUPPRESSED => Decision::Suppressed { by: u.text()?.to_owned() },
        PAUSED => Decision::Paused,
        MISSED => Decision::Missed { count: u.number()?, until: tick.at.wrapping_add(u.signed()?) },
        _ => return None,
    };
    let moved = if format == FORMAT_MOVED {
        let from = Wall(tick.at.wrapping_add(u.signed()?));
        Some(Moved { from, count: u.number()?, by: u.text()?.to_owned() })
    } else {
        None
    };
    Some(Decided { tick, decided_at, decision, moved })
}

fn nominal(at: i64) -> Time {
    Time(at.saturating_mul(1_000_000_000))
}

impl Work<'_> {
    pub(crate) fn decide(&mut self, decided: &Decided) -> Result<(), Error> {
        let Tick { job, schedule, at } = &decided.tick;
        let job = self.job(job)?;
        let conn = &self.shelf.conn;
        let seq: i64 =
            conn.prepare_cached("SELECT coalesce(max(seq), 0) + 1 FROM tick")?.query_row([], |row| row.get(0))?;
        let schedule = schedule.cast_signed();
        conn.prepare_cached("INSERT INTO tick (seq, job, schedule, at, body) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute((seq, job, schedule, at, pack(decided, seed(seq, job, schedule, *at))))
            .map_err(|error| match error.sqlite_error_code() {
                Some(ErrorCode::ConstraintViolation) => Error::Decided { tick: decided.tick.clone() },
                _ => Error::from(error),
            })?;
        Ok(())
    }

    /// Looks at `slice` of them, from the one after `past` on, and forgets those that were due before; how many, and where to
    /// go on: 0 when there is nothing old any more.
    pub(crate) fn sweep_ticks(&self, past: i64, before: Time, now: Time, slice: u32) -> Result<(u64, i64), Error> {
        let [before, now] = [before, now].map(|time| time.0.div_euclid(1_000_000_000));
        let conn = &self.shelf.conn;
        let (seen, last, young): (i64, i64, bool) = conn
            .prepare_cached(
                // Of a later time than now it is no proof that all that follow are younger.
                "SELECT count(*), coalesce(max(seq), 0), coalesce(max(at BETWEEN ?3 AND ?4), 0) FROM \
                 (SELECT seq, at FROM tick WHERE seq > ?1 ORDER BY seq LIMIT ?2)",
            )?
            .query_row((past, slice, before, now), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let gone = conn
            .prepare_cached("DELETE FROM tick WHERE seq > ?1 AND seq <= ?2 AND at < ?3")?
            .execute((past, last, before))?;
        let whole = seen == i64::from(slice);
        Ok((gone as u64, if whole && !young { last } else { 0 }))
    }
}

type Found = (i64, i64, i64, i64, Vec<u8>);

impl Shelf {
    fn decided(&self, (seq, job, schedule, at, body): Found) -> Result<Decided, ReadError> {
        let tick = Tick { job: self.job_name(job)?, schedule: schedule.cast_unsigned(), at };
        unpack(tick, &body, seed(seq, job, schedule, at)).ok_or_else(|| damage("the decision of a tick is unreadable"))
    }
}

fn found(row: &rusqlite::Row<'_>) -> rusqlite::Result<Found> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}

impl Reader {
    /// What was decided of this tick, if it was.
    pub fn tick(&self, tick: &Tick) -> Result<Option<Decided>, ReadError> {
        let _moment = self.shelf.moment()?;
        let Some(job) = self.shelf.job_id(&tick.job)? else { return Ok(None) };
        let row = self
            .shelf
            .conn
            .prepare_cached(
                "SELECT seq, job, schedule, at, body FROM tick WHERE job = ?1 AND at = ?2 AND schedule = ?3",
            )?
            .query_row((job, tick.at, tick.schedule.cast_signed()), found)
            .optional()?;
        row.map(|row| self.shelf.decided(row)).transpose()
    }

    /// The last instant of this schedule that was decided, or that a decision covers.
    pub fn last_tick(&self, job: &JobName, schedule: u64) -> Result<Option<i64>, ReadError> {
        let _moment = self.shelf.moment()?;
        let Some(job) = self.shelf.job_id(job)? else { return Ok(None) };
        let row = self
            .shelf
            .conn
            .prepare_cached(
                "SELECT seq, job, schedule, at, body FROM tick WHERE job = ?1 AND schedule = ?2 ORDER BY at DESC LIMIT 1",
            )?
            .query_row((job, schedule.cast_signed()), found)
            .optional()?;
        let Some(last) = row.map(|row| self.shelf.decided(row)).transpose()? else { return Ok(None) };
        Ok(Some(match last.decision {
            Decision::Missed { until, .. } => until.max(last.tick.at),
            Decision::Run { .. }
            | Decision::CaughtUp { .. }
            | Decision::SkippedOverlap { .. }
            | Decision::SkippedLineFull { .. }
            | Decision::SkippedDisabled { .. }
            | Decision::Suppressed { .. }
            | Decision::Paused => last.tick.at,
        }))
    }

    pub fn ticks(&self, query: &TickQuery) -> Result<TickPage, ReadError> {
        let _moment = self.shelf.moment()?;
        let before = query.before.and_then(|seq| i64::try_from(seq).ok()).unwrap_or(i64::MAX);
        let jobs = query.job.as_deref().map(|glob| self.shelf.jobs_named(glob)).transpose()?.flatten();
        // Numbers of rows, which are no text of anybody's.
        let which = match jobs.as_deref() {
            None => "true".to_owned(),
            Some([job]) => format!("job = {job}"),
            Some(jobs) => format!("job IN ({})", jobs.iter().map(i64::to_string).collect::<Vec<_>>().join(",")),
        };
        let sql = format!(
            "SELECT seq, job, schedule, at, body FROM tick WHERE {which} AND seq < ?1 ORDER BY seq DESC LIMIT ?2"
        );
        let mut select = self.shelf.conn.prepare(&sql)?;
        let rows = select.query_map((before, i64::from(query.limit) + 1), found)?;
        let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
        let more = rows.len() > query.limit as usize;
        rows.truncate(query.limit as usize);
        let next = rows.last().filter(|_| more).map(|row| row.0.cast_unsigned());
        let ticks = rows.into_iter().map(|row| self.shelf.decided(row)).collect::<Result<_, _>>()?;
        Ok(TickPage { ticks, next })
    }
}

/// Every decision that can be believed, oldest first, for a new ledger.
pub(crate) fn all(shelf: &Shelf, mut take: impl FnMut(Decided)) -> Result<(), ReadError> {
    let mut select = shelf.conn.prepare("SELECT seq, job, schedule, at, body FROM tick ORDER BY seq")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        if let Ok(row) = found(row)
            && let Ok(decided) = shelf.decided(row)
        {
            take(decided);
        }
    }
    Ok(())
}

/// How many there are, and how many of them can be believed.
pub(crate) fn count(shelf: &Shelf) -> Result<(u64, u64), ReadError> {
    let mut good = 0;
    all(shelf, |_| good += 1)?;
    let kept = shelf.conn.query_row("SELECT count(*) FROM tick", [], |row| row.get(0))?;
    Ok((kept, good))
}

pub(crate) fn has(shelf: &Shelf, tick: &Tick) -> rusqlite::Result<bool> {
    let Some(job) = shelf.job_id(&tick.job)? else { return Ok(false) };
    shelf
        .conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM tick WHERE job = ?1 AND at = ?2 AND schedule = ?3)")?
        .query_row((job, tick.at, tick.schedule.cast_signed()), |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As kin wrote them before it recorded which run lived, and that too many waited.
    #[test]
    fn skips_of_ledgers_of_before_are_read() {
        let tick = Tick { job: JobName::parse("job").expect("a name"), schedule: 1, at: 60 };
        let seed = || seed(1, 1, 1, 60);
        let run = RunNo::new(3).expect("a number");
        for (kind, decision) in
            [(2, Decision::SkippedOverlap { run, live: None }), (3, Decision::SkippedDisabled { run: Some(run) })]
        {
            let mut p = Packer::new();
            p.number(1);
            p.signed(5);
            [kind, 3].into_iter().for_each(|n| p.number(n));
            let read = unpack(tick.clone(), &p.sealed(seed()), seed());
            let decided_at = Time(nominal(60).0 + 5);
            assert_eq!(read, Some(Decided { tick: tick.clone(), decided_at, decision, moved: None }));
        }
    }
}
