//! Idempotency keys: which run a request made, so that its repeat makes no other.

use crate::shelf::{Shelf, damage};
use crate::sum::Sum;
use crate::{Error, Ledger, NewKey, ReadError};
use kin_core::{RunNo, Time};
use rusqlite::{ErrorCode, OptionalExtension};

/// A key is kept so long, or until its run has ended, whichever is later.
pub const KEY_KEPT_MS: i64 = 24 * 3_600_000;

fn sum(key: &str, content: i64, run: i64, at: i64) -> i64 {
    Sum::new()
        .number(content.cast_unsigned())
        .number(run.cast_unsigned())
        .number(at.cast_unsigned())
        .bytes(key.as_bytes())
        .signed()
}

impl Ledger {
    /// The content sum and the run that an idempotency key stands for.
    pub fn key(&self, key: &str) -> Result<Option<(u64, RunNo)>, ReadError> {
        self.meet(self.stored_key(key))
    }

    fn stored_key(&self, key: &str) -> Result<Option<(u64, RunNo)>, ReadError> {
        let found: Option<[i64; 4]> = self
            .shelf
            .conn
            .prepare_cached("SELECT content, run, at, sum FROM idem WHERE key = ?1")?
            .query_row([key], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))
            .optional()?;
        let Some([content, run, at, kept]) = found else {
            return Ok(None);
        };
        let no = u64::try_from(run).ok().and_then(RunNo::new).filter(|_| sum(key, content, run, at) == kept);
        no.map(|no| Some((content.cast_unsigned(), no))).ok_or_else(|| damage("an idempotency key is unreadable"))
    }
}

pub(crate) fn put(shelf: &Shelf, new: &NewKey) -> Result<(), Error> {
    let (content, run, at) = (new.content.cast_signed(), new.run.get().cast_signed(), new.at.0);
    shelf
        .conn
        .prepare_cached("INSERT INTO idem (key, content, run, at, sum) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute((&new.key, content, run, at, sum(&new.key, content, run, at)))
        .map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => Error::KeyTaken { key: new.key.clone() },
            _ => Error::from(error),
        })?;
    Ok(())
}

/// Forgets keys that are old enough, unless their run lives; how many.
pub(crate) fn sweep(shelf: &Shelf, now: Time, slice: u32) -> Result<u64, Error> {
    let before = Time(now.0.saturating_sub(Time::from_millis(KEY_KEPT_MS).0));
    let gone = shelf
        .conn
        .prepare_cached(
            "DELETE FROM idem WHERE key IN (SELECT key FROM idem WHERE at < ?1 AND NOT EXISTS \
             (SELECT 1 FROM run WHERE no = idem.run AND class = 0) ORDER BY at LIMIT ?2)",
        )?
        .execute((before.0, slice))?;
    Ok(gone as u64)
}

/// Every key that can be believed, for a new ledger.
pub(crate) fn all(shelf: &Shelf, mut take: impl FnMut(NewKey)) -> rusqlite::Result<()> {
    let mut select = shelf.conn.prepare("SELECT key, content, run, at, sum FROM idem")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        let [content, run, at, kept] = [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
        if let Some(run) = u64::try_from(run).ok().and_then(RunNo::new)
            && sum(&key, content, run.get().cast_signed(), at) == kept
        {
            take(NewKey { key, content: content.cast_unsigned(), run, at: Time(at) });
        }
    }
    Ok(())
}

/// How many keys there are, and how many of them can be believed.
pub(crate) fn count(shelf: &Shelf) -> rusqlite::Result<(u64, u64)> {
    let mut good = 0;
    all(shelf, |_| good += 1)?;
    let kept = shelf.conn.query_row("SELECT count(*) FROM idem", [], |row| row.get(0))?;
    Ok((kept, good))
}
