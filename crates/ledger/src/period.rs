//! Periods: between which numbers the runs created in the same ten minutes of the wall clock lie.
//!
//! Numbers follow the clock, but when the clock steps back they do not step back with it; nothing ever reads a time out of
//! a number. So the ledger keeps, for each period in which a run was created, the least and the greatest number of those
//! runs: a listing of last Tuesday looks at last Tuesday's numbers, and checks each run's own time all the same.

use crate::ReadError;
use crate::shelf::Shelf;
use crate::sum::Sum;
use kin_core::{RunNo, Time};
use rusqlite::OptionalExtension;
use std::ops::Range;

const PERIOD_NS: i64 = 600_000_000_000;

pub(crate) const fn of(at: Time) -> i64 {
    at.0.div_euclid(PERIOD_NS)
}

fn sum(period: i64, lo: i64, hi: i64) -> i64 {
    Sum::new().number(period.cast_unsigned()).number(lo.cast_unsigned()).number(hi.cast_unsigned()).signed()
}

/// Notes that these runs were created in this period.
pub(crate) fn note(shelf: &Shelf, period: i64, least: RunNo, greatest: RunNo) -> rusqlite::Result<()> {
    let known: Option<(i64, i64, i64)> = shelf
        .conn
        .prepare_cached("SELECT lo, hi, sum FROM period WHERE period = ?1")?
        .query_row([period], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let (mut lo, mut hi) = (least.get().cast_signed(), greatest.get().cast_signed());
    if let Some((known_lo, known_hi, known_sum)) = known {
        if known_sum != sum(period, known_lo, known_hi) {
            // Damaged, and better left so than made to look whole: listings by time then do without.
            return Ok(());
        }
        (lo, hi) = (lo.min(known_lo), hi.max(known_hi));
        if (lo, hi) == (known_lo, known_hi) {
            return Ok(());
        }
    }
    shelf
        .conn
        .prepare_cached("INSERT OR REPLACE INTO period (period, lo, hi, sum) VALUES (?1, ?2, ?3, ?4)")?
        .execute([period, lo, hi, sum(period, lo, hi)])?;
    Ok(())
}

/// The numbers among which all runs are that were created from `since` and before `until`; `None`: there are none.
pub(crate) fn between(
    shelf: &Shelf,
    since: Option<Time>,
    until: Option<Time>,
) -> Result<Option<Range<i64>>, ReadError> {
    if since.is_none() && until.is_none() {
        return Ok(Some(0..i64::MAX));
    }
    let first = since.map_or(i64::MIN, of);
    let last = until.map_or(i64::MAX, |until| of(until.plus(-1)));
    let mut select =
        shelf.conn.prepare_cached("SELECT period, lo, hi, sum FROM period WHERE period BETWEEN ?1 AND ?2")?;
    let mut rows = select.query([first, last])?;
    let mut numbers: Option<(i64, i64)> = None;
    while let Some(row) = rows.next()? {
        let (period, lo, hi) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if row.get::<_, i64>(3)? != sum(period, lo, hi) {
            return Ok(Some(0..i64::MAX));
        }
        let (least, greatest) = numbers.unwrap_or((lo, hi));
        numbers = Some((least.min(lo), greatest.max(hi)));
    }
    Ok(numbers.map(|(lo, hi)| lo..hi.saturating_add(1)))
}

/// Forgets periods all of whose runs are gone.
pub(crate) fn sweep(shelf: &Shelf) -> rusqlite::Result<()> {
    shelf.conn.prepare_cached("DELETE FROM period WHERE hi < (SELECT coalesce(min(no), 0) FROM run)")?.execute([])?;
    Ok(())
}

pub(crate) fn check(shelf: &Shelf) -> Result<(), ReadError> {
    let mut select = shelf.conn.prepare("SELECT period, lo, hi, sum FROM period")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(3)? != sum(row.get(0)?, row.get(1)?, row.get(2)?) {
            return Err(crate::shelf::damage("a period's numbers are unreadable"));
        }
    }
    Ok(())
}
