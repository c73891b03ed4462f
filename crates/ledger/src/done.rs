//! Wishes that made no run and were granted under an idempotency key: a repeat is answered by what stands here.

use crate::key::KEY_KEPT_MS;
use crate::shelf::{Shelf, damage};
use crate::sum::Sum;
use crate::{Error, Ledger, NewDone, ReadError};
use kin_core::Time;
use rusqlite::OptionalExtension;

fn sum(key: &str, content: i64, at: i64, answer: &str) -> i64 {
    let numbers = Sum::new().number(content.cast_unsigned()).number(at.cast_unsigned());
    numbers.number(key.len() as u64).bytes(key.as_bytes()).bytes(answer.as_bytes()).signed()
}

impl Ledger {
    /// The content sum of the wish that was granted under an idempotency key, and what it came to.
    pub fn done(&self, key: &str) -> Result<Option<(u64, String)>, ReadError> {
        self.meet(self.stored_done(key))
    }

    fn stored_done(&self, key: &str) -> Result<Option<(u64, String)>, ReadError> {
        let found: Option<(i64, i64, String, i64)> = self
            .shelf
            .conn
            .prepare_cached("SELECT content, at, answer, sum FROM done WHERE key = ?1")?
            .query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .optional()?;
        let Some((content, at, answer, kept)) = found else { return Ok(None) };
        if sum(key, content, at, &answer) != kept {
            return Err(damage("an idempotency key is unreadable"));
        }
        Ok(Some((content.cast_unsigned(), answer)))
    }
}

pub(crate) fn put(shelf: &Shelf, new: &NewDone) -> Result<(), Error> {
    let (content, at) = (new.content.cast_signed(), new.at.0);
    shelf
        .conn
        .prepare_cached("INSERT INTO done (key, content, at, answer, sum) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute((&new.key, content, at, &new.answer, sum(&new.key, content, at, &new.answer)))?;
    Ok(())
}

/// Forgets those that are old enough; how many.
pub(crate) fn sweep(shelf: &Shelf, now: Time, slice: u32) -> Result<u64, Error> {
    let before = Time(now.0.saturating_sub(Time::from_millis(KEY_KEPT_MS).0));
    let old = "DELETE FROM done WHERE key IN (SELECT key FROM done WHERE at < ?1 ORDER BY at LIMIT ?2)";
    Ok(shelf.conn.prepare_cached(old)?.execute((before.0, slice))? as u64)
}

/// Every one that can be believed, for a new ledger.
pub(crate) fn all(shelf: &Shelf, mut take: impl FnMut(NewDone)) -> rusqlite::Result<()> {
    let mut select = shelf.conn.prepare("SELECT key, content, at, answer, sum FROM done")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (key, content, at): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (answer, kept): (String, i64) = (row.get(3)?, row.get(4)?);
        if sum(&key, content, at, &answer) == kept {
            take(NewDone { key, content: content.cast_unsigned(), at: Time(at), answer });
        }
    }
    Ok(())
}

/// How many there are, and how many of them can be believed.
pub(crate) fn count(shelf: &Shelf) -> rusqlite::Result<(u64, u64)> {
    let mut good = 0;
    all(shelf, |_| good += 1)?;
    let kept = shelf.conn.query_row("SELECT count(*) FROM done", [], |row| row.get(0))?;
    Ok((kept, good))
}
