//! A full disk: a small tmpfs, where we may mount one.

use crate::runs::*;
use kin_ledger::{Batch, Durability, Error, Found, Ledger, OpenError, Query};
use std::path::Path;
use std::process::Command;

/// Unmounted at the end, also when the test fails.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    /// `None`: we may not, and it is said.
    fn mount(at: &'a Path, size: &str) -> Option<Small<'a>> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(at).output();
        match mounted {
            Ok(done) if done.status.success() => Some(Small(at)),
            Ok(_) | Err(_) => {
                eprintln!("not run: a full disk needs the right to mount a tmpfs");
                None
            }
        }
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(self.0).status();
        assert!(done.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}

#[test]
fn a_full_disk_is_named_and_nothing_is_half_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(_small) = Small::mount(dir.path(), "size=1m") else { return };
    let mut ledger = open(dir.path());
    let mut written = Vec::new();
    for n in 0.. {
        let runs: Vec<_> =
            (0..50).map(|i| kin_core::Run { directory: format!("/{n}/{i}"), ..ok("a", 50 * n + i) }).collect();
        let events = runs.iter().map(event).collect();
        let batch = Batch { runs: runs.iter().collect(), events, ..Batch::default() };
        match ledger.apply(&batch, if n % 2 == 0 { Durability::Full } else { Durability::Normal }) {
            Ok(_) => written.extend(runs),
            Err(Error::Full(_)) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(!written.is_empty());
    let events = ledger.last_event();
    assert_eq!(events, written.len() as u64);
    let check = |ledger: &Ledger| {
        let reader = ledger.reader().expect("a reader");
        let page = reader.runs(&Query { limit: 10_000, ..Query::default() }).expect("a page");
        assert_eq!(page.runs.iter().rev().collect::<Vec<_>>(), written.iter().collect::<Vec<_>>());
    };
    check(&ledger);
    // It stays full for a while, and says so each time.
    let late = ok("late", 1_000_000);
    let big = kin_core::Run { directory: "x".repeat(1 << 20), ..ok("big", 1_000_001) };
    let refused = ledger.apply(&Batch { runs: vec![&big], ..Batch::default() }, Durability::Full);
    assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
    check(&ledger);
    // There is room again, and the same ledger goes on.
    let room = Command::new("mount").args(["-o", "remount,size=16m"]).arg(dir.path()).status();
    assert!(room.is_ok_and(|status| status.success()));
    put(&mut ledger, std::slice::from_ref(&late));
    assert_eq!(ledger.last_event(), events + 1);
    assert_eq!(ledger.run(late.no).expect("readable"), Some(late.clone()));
    // What the full disk left in the log is not taken for damage, neither after a kill nor after a good end.
    let image = scratch();
    killed(dir.path(), image.path());
    assert_eq!(open(image.path()).last_event(), events + 1);
    drop(ledger);
    let ledger = open(dir.path());
    assert_eq!(ledger.run(late.no).expect("readable"), Some(late));
    assert_eq!(ledger.quick_check().expect("a check"), Vec::<String>::new());
}

#[test]
fn no_ledger_is_made_on_a_full_disk_and_none_is_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(_small) = Small::mount(dir.path(), "size=64k") else { return };
    let refused = Ledger::open(dir.path(), NOON);
    assert!(matches!(refused, Err(OpenError::Full { .. })), "{refused:?}");
    let room = Command::new("mount").args(["-o", "remount,size=16m"]).arg(dir.path()).status();
    assert!(room.is_ok_and(|status| status.success()));
    assert_eq!(Ledger::open(dir.path(), NOON).expect("a ledger").found, kin_ledger::Found::Fresh);
}

/// Wherever in its making the room ends: what was begun is no ledger, and none is called damaged that never was whole.
#[test]
fn a_ledger_whose_making_found_no_room_is_made_anew() {
    for pages in 1..=96 {
        let dir = scratch();
        let Some(_small) = Small::mount(dir.path(), &format!("size={}k", 4 * pages)) else { return };
        match Ledger::open(dir.path(), NOON) {
            Ok(opened) => assert_eq!(opened.found, Found::Fresh, "{pages} pages"),
            Err(OpenError::Full { .. }) => {}
            Err(other) => panic!("{pages} pages: {other:?}"),
        }
        let room = Command::new("mount").args(["-o", "remount,size=16m"]).arg(dir.path()).status();
        assert!(room.is_ok_and(|status| status.success()));
        let found = Ledger::open(dir.path(), NOON).expect("there is room").found;
        assert!(matches!(found, Found::Fresh | Found::Good), "{pages} pages: {found:?}");
    }
}
