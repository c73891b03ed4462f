//! The tables, and how an older ledger becomes one of today.
//!
//! `PRAGMA user_version` counts the steps taken. Each step is one transaction together with its count, so a death in the
//! middle leaves the ledger as it was before the step.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// "kin1": this file is a ledger of kin and nobody else's database.
pub(crate) const APPLICATION_ID: u32 = 0x6b69_6e31;

/// Never change one that was released: add another.
///
/// `run`: one row a run (row.rs). `run_by_job` serves a job's listing; `run_odd` the few that are alive or did not end ok,
/// `run_odd_by_job` a job's bad ones. An index on a run ends with its number by itself, so each is in order of time.
/// `period` knows between which numbers the runs created in ten minutes lie, so that a listing by time need not trust numbers.
/// `definition` has a row for each revision of each job's definition (definition.rs).
/// `standing` has a row for each job that is there, `queue` one for each queue that was defined or changed (standing.rs).
/// `tick` has a row for each decision about an instant of a schedule; `tick_once` is why there is only one (tick.rs).
/// `done` has a row for each wish that made no run and was granted under an idempotency key (done.rs).
/// `tagged` has a row for each job that ever had a run with the tag: more than it need be, never less.
pub(crate) const STEPS: &[&str] = &["
    CREATE TABLE book (one INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
    CREATE TABLE job (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, sum INTEGER NOT NULL) STRICT;
    CREATE TABLE making (id INTEGER PRIMARY KEY, sum INTEGER NOT NULL, runs INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
    CREATE INDEX making_by_sum ON making (sum);
    CREATE TABLE tagged (tag TEXT NOT NULL, job INTEGER NOT NULL, sum INTEGER NOT NULL,
                         PRIMARY KEY (tag, job)) STRICT, WITHOUT ROWID;
    CREATE TABLE run (no INTEGER PRIMARY KEY, job INTEGER NOT NULL, class INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
    CREATE INDEX run_by_job ON run (job);
    CREATE INDEX run_odd ON run (class) WHERE class <> 1;
    CREATE INDEX run_odd_by_job ON run (job, class) WHERE class > 1;
    CREATE TABLE period (period INTEGER PRIMARY KEY, lo INTEGER NOT NULL, hi INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT;
    CREATE TABLE event (seq INTEGER PRIMARY KEY, run INTEGER, body BLOB NOT NULL) STRICT;
    CREATE INDEX event_by_run ON event (run) WHERE run IS NOT NULL;
    CREATE TABLE idem (key TEXT PRIMARY KEY, content INTEGER NOT NULL, run INTEGER NOT NULL, at INTEGER NOT NULL,
                       sum INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX idem_by_at ON idem (at);
", "
    CREATE TABLE definition (job TEXT NOT NULL, rev INTEGER NOT NULL, at INTEGER NOT NULL, kind INTEGER NOT NULL,
                             source TEXT NOT NULL, text TEXT, sum INTEGER NOT NULL, PRIMARY KEY (job, rev)) STRICT, WITHOUT ROWID;
    CREATE TABLE standing (job TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE queue (name TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE tick (seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, schedule INTEGER NOT NULL, at INTEGER NOT NULL,
                       body BLOB NOT NULL) STRICT;
    CREATE UNIQUE INDEX tick_once ON tick (job, at, schedule);
    CREATE INDEX tick_by_job ON tick (job);
", "
    CREATE TABLE done (key TEXT PRIMARY KEY, content INTEGER NOT NULL, at INTEGER NOT NULL, answer TEXT NOT NULL,
                       sum INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX done_by_at ON done (at);
"];

/// The version that this kin writes.
pub(crate) const KNOWN: u32 = STEPS.len() as u32;

pub(crate) fn version(conn: &Connection) -> rusqlite::Result<u32> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Takes each of `steps` that was not taken yet.
pub(crate) fn migrate(conn: &Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let have = version(conn)?;
    for (n, step) in (1u32..).zip(steps).skip(usize::try_from(have).unwrap_or(usize::MAX)) {
        let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
        tx.execute_batch(step)?;
        tx.pragma_update(None, "user_version", n)?;
        tx.commit()?;
    }
    Ok(())
}

/// Everything that defines the tables, to compare with what it should be.
pub(crate) fn definition(conn: &Connection) -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
    let mut select = conn.prepare("SELECT name, tbl_name, sql FROM sqlite_schema ORDER BY name")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect()
}

/// What `definition` should say of a ledger of today.
pub(crate) fn expected() -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
    let conn = Connection::open_in_memory()?;
    migrate(&conn, STEPS)?;
    definition(&conn)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A death in the middle of a step is a transaction that was never committed.
    #[test]
    fn a_step_that_dies_leaves_the_version_before_it() {
        let conn = Connection::open_in_memory().expect("memory");
        migrate(&conn, STEPS).expect("today's");
        let before = definition(&conn).expect("readable");
        let dying =
            [STEPS, &["ALTER TABLE job ADD COLUMN label TEXT; CREATE TABLE future (at INTEGER); SELECT no_such()"]];
        migrate(&conn, &dying.concat()).expect_err("the step is broken");
        assert_eq!(version(&conn), Ok(KNOWN));
        assert_eq!(definition(&conn).expect("readable"), before);
        let good = [STEPS, &["CREATE TABLE future (at INTEGER)"]];
        migrate(&conn, &good.concat()).expect("a good step");
        assert_eq!(version(&conn), Ok(KNOWN + 1));
    }
}
