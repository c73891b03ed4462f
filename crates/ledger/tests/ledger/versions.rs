//! Ledgers of other versions.

use crate::runs::*;
use kin_ledger::{Ledger, OpenError};
use std::path::Path;

fn bytes(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).expect("readable")))
        .collect();
    files.sort();
    files
}

#[test]
fn a_newer_ledger_is_refused_and_not_touched() {
    let (dir, image) = (scratch(), scratch());
    let mut ledger = open(dir.path());
    put(&mut ledger, &[ok("a", 1)]);
    drop(ledger);
    let conn = rusqlite::Connection::open(dir.path().join("kin.db")).expect("readable");
    conn.execute_batch("CREATE TABLE future (at INTEGER); PRAGMA user_version = 99").expect("a newer kin");
    // Its version stands in the log alone, as a kill leaves it; and then in the database.
    killed(dir.path(), image.path());
    drop(conn);
    for dir in [image.path(), dir.path()] {
        let before = bytes(dir);
        let refused = Ledger::open(dir, NOON);
        assert!(matches!(refused, Err(OpenError::Newer { found: 99, known: 3, .. })), "{refused:?}");
        assert_eq!(bytes(dir), before);
    }
}

#[test]
fn tables_that_are_not_ours_are_damage() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    put(&mut ledger, &[ok("a", 1)]);
    drop(ledger);
    let conn = rusqlite::Connection::open(dir.path().join("kin.db")).expect("readable");
    conn.execute_batch("DROP INDEX run_odd").expect("a vandal");
    drop(conn);
    let opened = Ledger::open(dir.path(), NOON).expect("a ledger");
    let kin_ledger::Found::SetAside { why, saved, .. } = &opened.found else { panic!("{:?}", opened.found) };
    assert_eq!((why.as_str(), *saved), ("its tables are not as they should be", 1));
    assert_eq!(opened.ledger.run(no(1)).expect("readable"), Some(ok("a", 1)));
}
