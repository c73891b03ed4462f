//! Saving: a new ledger with all that can still be proven in the damaged one.
//!
//! ```text
//!   kin.db, damaged ──read only──▶ kin.db.new ──whole, on the disk──▶ kin.db.saved      1. nothing was moved yet
//!   kin.db, -wal, -shm ──rename──▶ kin.db.corrupt-<time>, …                              2.
//!   kin.db.saved ──rename──▶ kin.db                                                      3.
//! ```
//! A death before 1 leaves everything as it was; after it, the next start finds `kin.db.saved` and takes steps 2 and 3.
//!
//! Four sources are read: what the last writer left when it met the damage (leave.rs), the database with its log, the database
//! alone (its log may be what is damaged), and the nightly backup. Each run is taken where its sum is right, from whichever has it furthest in its life. Where a page cannot be read
//! the search jumps on, so that what lies beyond is found too.

use crate::mark::{private, remove, sync_dir};
use crate::media::beside;
use crate::open::{BACKUP, DB, KNOWN, NEW, SAVED};
use crate::row::{Row, progress};
use crate::shelf::Shelf;
use crate::{
    Batch, Definition, Durability, Error, Ledger, NewKey, ReadError, definition, done, key, read, schema, standing,
    tick,
};
use kin_core::{Decided, JobName, Run, RunNo, RunState, Time};
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Saved runs written in one transaction.
const SLICE: usize = 1_000;

/// The damaged files are away and a new ledger is in place.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) path: Option<PathBuf>,
    pub(crate) runs: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SalvageError {
    #[error(transparent)]
    Write(#[from] Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<rusqlite::Error> for SalvageError {
    fn from(error: rusqlite::Error) -> SalvageError {
        SalvageError::Write(Error::from(error))
    }
}

pub(crate) fn salvage(dir: &Path, now: Time) -> Result<Saved, SalvageError> {
    let runs = build(dir)?;
    let path = replace(dir, now)?;
    Ok(Saved { path, runs })
}

/// Steps 2 and 3; where the damaged database is now, if there was any.
pub(crate) fn replace(dir: &Path, now: Time) -> io::Result<Option<PathBuf>> {
    let db = dir.join(DB);
    let aside = free_name(dir, now);
    let mut moved = None;
    // The database goes last: while it is there, this is not done.
    for suffix in ["-shm", "-wal", ""] {
        match std::fs::rename(beside(&db, suffix), beside(&aside, suffix)) {
            Ok(()) if suffix.is_empty() => moved = Some(aside.clone()),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    remove(&dir.join(KNOWN))?;
    std::fs::rename(dir.join(SAVED), &db)?;
    sync_dir(dir)?;
    Ok(moved)
}

/// A new ledger with nothing in it but what the damaged one can prove; how many runs.
fn build(dir: &Path) -> Result<u64, SalvageError> {
    clean(dir)?;
    let mut ledger = create(dir, NEW)?;
    let mut saved = 0;
    let with_log = (DB, "?mode=ro");
    let alone = (DB, "?immutable=1");
    let backup = (BACKUP, "?immutable=1");
    // First, because it is the newest: of what is not a run, the first word counts.
    let known = (KNOWN, "?immutable=1");
    let mut rest = Rest::default();
    for (name, how) in [known, with_log, alone, backup] {
        let path = dir.join(name);
        if std::fs::metadata(&path).is_ok_and(|found| found.len() > 0) {
            saved += take(&mut ledger, &path, how, &mut rest)?;
        }
    }
    finish(ledger, dir)?;
    Ok(saved)
}

/// An empty ledger under this name, which only its owner may read.
pub(crate) fn create(dir: &Path, name: &str) -> Result<Ledger, SalvageError> {
    let path = dir.join(name);
    private(&path)?;
    let conn = Connection::open(&path)?;
    conn.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    schema::migrate(&conn, schema::STEPS)?;
    read::settle(&conn)?;
    let mut ledger = Ledger::over(conn, dir, crate::book::Book::new());
    // The book stands in the file from its first commit on.
    ledger.transact(Durability::Normal, |work| {
        work.book.mint_reserved = 1;
        Ok(())
    })?;
    Ok(ledger)
}

/// `kin.db.new` is whole: from now on it is `kin.db.saved`.
pub(crate) fn finish(ledger: Ledger, dir: &Path) -> Result<(), SalvageError> {
    finish_as(ledger, dir, SAVED)
}

/// `kin.db.new` is whole: from now on it has this name.
pub(crate) fn finish_as(ledger: Ledger, dir: &Path, name: &str) -> Result<(), SalvageError> {
    let new = dir.join(NEW);
    // Closing alone says nothing of a log that found no room in the database, and leaves it behind.
    ledger.shelf.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))?;
    ledger.close()?;
    if std::fs::metadata(beside(&new, "-wal")).is_ok_and(|log| log.len() > 0) {
        return Err(io::Error::other("the log of kin.db.new could not be written into it").into());
    }
    File::open(&new)?.sync_all()?;
    std::fs::rename(&new, dir.join(name))?;
    sync_dir(dir)?;
    Ok(())
}

/// What a death in the middle of step 1 left.
pub(crate) fn clean(dir: &Path) -> io::Result<()> {
    let new = dir.join(NEW);
    ["-wal", "-shm", "-journal", ""].into_iter().try_for_each(|suffix| remove(&beside(&new, suffix)))
}

/// What a newer source had whole: an older one has nothing to add to it.
#[derive(Debug, Default)]
struct Rest {
    standings: bool,
    queues: bool,
}

fn take(ledger: &mut Ledger, path: &Path, how: &str, rest: &mut Rest) -> Result<u64, SalvageError> {
    let Some(source) = open(path, how) else { return Ok(0) };
    let is_old = path.ends_with(BACKUP);
    let mut saved = 0;
    let mut slice = BTreeMap::new();
    let mut failed = None;
    each_run(&source, |mut run| {
        if is_old && (run.state.is_pending() || matches!(run.state, RunState::Starting { .. })) {
            run.state = MAY_HAVE_BEGUN;
        }
        slice.insert(run.no, run);
        if slice.len() >= SLICE && failed.is_none() {
            match put(ledger, &mut slice) {
                Ok(new) => saved += new,
                Err(error) => failed = Some(error),
            }
        }
        failed.is_none()
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    saved += put(ledger, &mut slice)?;
    take_rest(ledger, &source, rest)?;
    Ok(saved)
}

/// What a copy says of a run that had not begun when it was made: it may have begun, and ended, since. So nobody may begin
/// it; if no table has it, it is lost.
const MAY_HAVE_BEGUN: RunState = RunState::Running { unowned: false, interrupted: false };

/// `None`: it cannot be opened at all, so there is nothing in it to save.
fn open(path: &Path, how: &str) -> Option<Shelf> {
    // In a URI these three mean something else.
    let name = path.to_str()?.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(format!("file:{name}{how}"), flags).ok()?;
    read::settle(&conn).ok()?;
    Some(Shelf::new(conn))
}

fn put(ledger: &mut Ledger, slice: &mut BTreeMap<RunNo, Run>) -> Result<u64, Error> {
    let runs = std::mem::take(slice);
    ledger.transact(Durability::Normal, |work| {
        let mut new = 0;
        for run in runs.values() {
            match work.shelf.fetch(run.no)? {
                None => {
                    work.add(run)?;
                    new += 1;
                }
                Some(Ok(known)) if progress(&known) < progress(run) => work.put(run)?,
                Some(_) => {}
            }
        }
        Ok(new)
    })
}

/// Every run whose sum is right, until `take` says that it is enough; some perhaps twice.
///
/// Downwards first. At a page that cannot be read it jumps, each time twice as far until it lands; then, for each jump,
/// upwards again to the page from below.
fn each_run(source: &Shelf, mut take: impl FnMut(Run) -> bool) {
    const JUMP: i64 = 16;
    // One more than any run's number.
    let mut below: i64 = 218_340_105_584_896;
    let mut jump = JUMP;
    let mut jumped_over = Vec::new();
    while below > 0 {
        let mut last = None;
        match stretch(source, 0..below, "DESC", &mut last, &mut take) {
            // All, or enough, or a file that cannot be read at all, or no ledger.
            Ok(Stretch::End) => break,
            Ok(Stretch::Enough) | Err(ReadError::Damaged(_) | ReadError::Sqlite(_) | ReadError::Copy(_)) => return,
            Err(ReadError::Damage { .. }) => {
                jump = if last.is_some() { JUMP } else { jump.saturating_mul(2) };
                below = last.unwrap_or(below);
                jumped_over.push(below.saturating_sub(jump)..below);
                below = below.saturating_sub(jump);
            }
        }
    }
    for range in jumped_over {
        // It ends at the damage, as expected; what else it may be was met on the way down.
        match stretch(source, range, "ASC", &mut None, &mut take) {
            Ok(Stretch::Enough) => return,
            Ok(Stretch::End) | Err(_) => {}
        }
    }
}

enum Stretch {
    End,
    Enough,
}

/// The runs of a range, in one direction, until the first that cannot be reached; `last` is the last that could.
fn stretch(
    source: &Shelf,
    range: Range<i64>,
    direction: &str,
    last: &mut Option<i64>,
    take: &mut impl FnMut(Run) -> bool,
) -> Result<Stretch, ReadError> {
    let sql = format!("SELECT no, job, class, body FROM run WHERE no >= ?1 AND no < ?2 ORDER BY no {direction}");
    let mut select = source.conn.prepare_cached(&sql)?;
    let mut rows = select.query([range.start, range.end])?;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        *last = Some(number);
        let Some(no) = u64::try_from(number).ok().and_then(RunNo::new) else { continue };
        let (Ok(job), Ok(class), Ok(body)) = (row.get(1), row.get(2), row.get(3)) else { continue };
        if let Ok(run) = source.unpack(&Row { no, job, class, body })?
            && !take(run)
        {
            return Ok(Stretch::Enough);
        }
    }
    Ok(Stretch::End)
}

/// Keys, definitions, how jobs stand, queues, ticks, and the numbers that must not be given twice. Events are not saved: their numbers go on where they were.
fn take_rest(ledger: &mut Ledger, source: &Shelf, rest: &mut Rest) -> Result<(), Error> {
    let mut keys: Vec<NewKey> = Vec::new();
    if key::all(source, |key| keys.push(key)).is_err() {
        // The table ends in damage, and has given what it has.
    }
    let mut batch = Batch::default();
    for key in keys {
        if ledger.key(&key.key)?.is_none() {
            batch.keys.push(key);
        }
    }
    let mut done = Vec::new();
    if done::all(source, |found| done.push(found)).is_err() {
        // As above. (A ledger of before there were any has no such table.)
    }
    for found in done {
        if ledger.done(&found.key)?.is_none() {
            batch.done.push(found);
        }
    }
    let mut definitions = Vec::new();
    if definition::all(source, |found| definitions.push(found)).is_err() {
        // As above. (A ledger of before there were definitions has no such table.)
    }
    for found in &definitions {
        if !definition::has(&ledger.shelf, &found.job, found.rev)? {
            batch.definitions.push(found.clone());
            batch.in_use.insert((found.job.clone(), found.rev));
        }
    }
    let of_source: BTreeMap<JobName, u64> = definitions_of(&definitions);
    ledger.apply(&batch, Durability::Normal)?;
    let mut batch = Batch::default();
    let mut definitions = Vec::new();
    if definition::all(&ledger.shelf, |found| definitions.push(found)).is_err() {
        // It was made a moment ago.
    }
    let newest = definitions_of(&definitions);
    let (mut standings, mut queues) = (Vec::new(), Vec::new());
    if standing::all(source, |found| standings.push(found), |found| queues.push(found)).is_err() {
        // As above.
    }
    // A job that was removed, or is another since, stands nowhere as this source says; nor is a queue that went.
    for found in standings.into_iter().filter(|_| !rest.standings) {
        let is_current = newest.get(&found.job) == of_source.get(&found.job);
        if is_current && !standing::has(&ledger.shelf, &found.job)? {
            batch.standings.push((found.job.clone(), Some(found)));
        }
    }
    for found in queues.into_iter().filter(|_| !rest.queues) {
        if !standing::has_queue(&ledger.shelf, &found.queue.name)? {
            batch.queues.push((found.queue.name.clone(), Some(found)));
        }
    }
    if let Ok((standings, queues)) = standing::bad(source) {
        rest.standings |= standings == 0;
        rest.queues |= queues == 0;
    }
    ledger.apply(&batch, Durability::Normal)?;
    let mut ticks = Vec::new();
    if tick::all(source, |decided| ticks.push(decided)).is_err() {
        // As above.
    }
    for slice in ticks.chunks(SLICE) {
        let known = |decided: &&Decided| tick::has(&ledger.shelf, &decided.tick).unwrap_or(false);
        let ticks = slice.iter().filter(|decided| !known(decided)).cloned().collect();
        ledger.apply(&Batch { ticks, ..Batch::default() }, Durability::Normal)?;
    }
    let last_event = source.conn.query_row("SELECT coalesce(max(seq), 0) FROM event", [], |row| row.get::<_, u64>(0));
    let (book, last_event) = (source.book().ok(), last_event.unwrap_or(0));
    ledger.transact(Durability::Normal, |work| {
        let book = book.unwrap_or_else(crate::book::Book::new);
        work.book.mint_reserved = work.book.mint_reserved.max(book.mint_reserved);
        work.book.last_event = work.book.last_event.max(book.last_event).max(last_event);
        Ok(())
    })?;
    Ok(())
}

/// The newest revision of each job.
fn definitions_of(all: &[Definition]) -> BTreeMap<JobName, u64> {
    all.iter().fold(BTreeMap::new(), |mut newest, found| {
        let rev = newest.entry(found.job.clone()).or_insert(found.rev);
        *rev = found.rev.max(*rev);
        newest
    })
}

/// `kin.db.corrupt-20261120T135401Z`, or the first of `…-2`, `…-3` that is free.
fn free_name(dir: &Path, now: Time) -> PathBuf {
    let stem = format!("kin.db.corrupt-{}", stamp(now));
    let name = |n: u32| if n == 1 { dir.join(&stem) } else { dir.join(format!("{stem}-{n}")) };
    let taken = |path: &Path| ["", "-wal", "-shm"].into_iter().any(|suffix| beside(path, suffix).exists());
    (1..).map(name).find(|path| !taken(path)).unwrap_or_else(|| dir.join(&stem))
}

/// `20261120T135401Z`.
fn stamp(now: Time) -> String {
    let seconds = now.millis().div_euclid(1_000);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years begin in March here, so that the leap day is the last of its year; an era is 400 of them.
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + 400 * era + i64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_days_of_the_calendar() {
        for (ms, text) in [
            (0, "19700101T000000Z"),
            (951_782_399_000, "20000228T235959Z"),
            (951_782_400_000, "20000229T000000Z"),
            (1_795_182_841_120, "20261120T135401Z"),
            (-1_000, "19691231T235959Z"),
        ] {
            assert_eq!(stamp(Time::from_millis(ms)), text);
        }
    }
}
