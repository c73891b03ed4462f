//! After the loss: what the backup and the indexes' end records still know.

use crate::runs::*;
use kin_core::{Outcome, RunState};
use kin_ledger::{BACKUP, Found, Ledger};

fn aside(found: &Found) -> (bool, &str, u64) {
    match found {
        Found::SetAside { path, why, saved } => (path.is_some(), why, *saved),
        Found::Fresh | Found::Good => panic!("{found:?}"),
    }
}

#[test]
fn a_lost_ledger_is_not_a_new_one() {
    for expected in [
        "it is missing, and one was made here",
        "it is empty, and one was made here",
        "it is missing, and there are logs of runs",
    ] {
        let dir = scratch();
        let mut ledger = open(dir.path());
        put(&mut ledger, &[ok("a", 1)]);
        drop(ledger);
        let db = dir.path().join("kin.db");
        if expected.contains("missing") {
            std::fs::remove_file(db).expect("gone");
        } else {
            std::fs::write(db, "").expect("emptied");
        }
        if expected.contains("logs") {
            std::fs::remove_file(dir.path().join("kin.db.made")).expect("gone");
            std::fs::create_dir_all(dir.path().join("logs/backup")).expect("made");
        }
        let opened = Ledger::open(dir.path(), NOON).expect("a ledger");
        let (_, why, saved) = aside(&opened.found);
        assert_eq!((why, saved), (expected, 0));
        drop(opened);
        assert_eq!(Ledger::open(dir.path(), NOON).expect("a ledger").found, Found::Good);
    }
}

#[test]
fn the_backup_and_the_end_records_bring_it_back() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    let running = live("web", 2, RunState::Running { unowned: false, interrupted: false });
    put(&mut ledger, &[ok("a", 1), running]);
    ledger.backup_to(&dir.path().join(BACKUP)).expect("a copy");
    // After the backup one ends and one comes; then the disk eats the ledger.
    let (stopped, later) = (ended("web", 2, Outcome::Stopped), failed("late", 3));
    put(&mut ledger, &[stopped.clone(), later.clone()]);
    drop(ledger);
    std::fs::write(dir.path().join("kin.db"), vec![0; 8192]).expect("eaten");

    let mut opened = Ledger::open(dir.path(), NOON).expect("a ledger");
    assert_eq!(aside(&opened.found), (true, "it is not a database", 2));
    let ledger = &mut opened.ledger;
    assert_eq!(ledger.last_event(), 2);
    // An end record knows neither command nor tags.
    let record =
        |run: &kin_core::Run| kin_core::Run { command: vec![], tags: vec![], boot: String::new(), ..run.clone() };
    let records = [record(&ok("a", 1)), record(&stopped), record(&later)];
    assert_eq!(ledger.insert_rebuilt(&records).expect("a commit"), 2);
    assert_eq!(ledger.run(no(1)).expect("readable"), Some(ok("a", 1)));
    let found = ledger.run(no(2)).expect("readable").expect("there");
    assert_eq!((found.outcome(), &found.command), (Some(&Outcome::Stopped), &stopped.command));
    assert_eq!(ledger.run(no(3)).expect("readable"), Some(record(&later)));
    assert_eq!(ledger.insert_rebuilt(&records).expect("a commit"), 0);
    assert!(ledger.mint_reserved() >= no(3).get());
    assert_eq!(ledger.quick_check().expect("a check"), Vec::<String>::new());
}

#[test]
fn a_death_while_setting_aside_is_made_good_by_the_next_start() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    put(&mut ledger, &[ok("a", 1)]);
    drop(ledger);
    let path = |name: &str| dir.path().join(name);
    // Killed with the saved one whole, before and after the damaged one was moved away; and in the middle of writing it.
    for moved in [false, true] {
        std::fs::copy(path("kin.db"), path("kin.db.saved")).expect("a copy");
        if moved {
            std::fs::rename(path("kin.db"), path("kin.db.corrupt-20260101T000000Z")).expect("moved");
        }
        let opened = Ledger::open(dir.path(), NOON).expect("a ledger");
        assert_eq!((aside(&opened.found).0, aside(&opened.found).2), (!moved, 1));
        assert_eq!(opened.ledger.run(no(1)).expect("readable"), Some(ok("a", 1)));
        assert!(!path("kin.db.saved").exists());
    }
    std::fs::write(path("kin.db.new"), "half").expect("half");
    let ledger = open(dir.path());
    assert_eq!(ledger.run(no(1)).expect("readable"), Some(ok("a", 1)));
}

#[test]
fn damage_that_was_met_is_looked_for_at_the_next_start() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    // More than is looked at without a reason.
    ledger.bulk_insert((0..80_000).map(|n| ok("a", n))).expect("a commit");
    ledger.close().expect("closed");
    let db = dir.path().join("kin.db");
    let mut bytes = std::fs::read(&db).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&db, bytes).expect("flipped");
    let opened = Ledger::open(dir.path(), NOON).expect("a ledger");
    assert_eq!(opened.found, Found::Good);
    assert_ne!(opened.ledger.quick_check().expect("a check"), Vec::<String>::new());
    drop(opened);
    let opened = Ledger::open(dir.path(), NOON).expect("a ledger");
    let (moved, _, saved) = aside(&opened.found);
    assert!(moved && (79_800..=80_000).contains(&saved), "{:?}", opened.found);
    assert_eq!(opened.ledger.quick_check().expect("a check"), Vec::<String>::new());
    drop(opened);
    assert_eq!(Ledger::open(dir.path(), NOON).expect("a ledger").found, Found::Good);
}

#[test]
fn what_only_the_backup_has_and_had_not_begun_is_begun_by_nobody() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    let pending =
        [RunState::Queued, RunState::Starting { generation: Some(1) }, RunState::Starting { generation: None }];
    let runs: Vec<_> = pending.iter().zip(1..).map(|(state, n)| live("web", n, state.clone())).collect();
    put(&mut ledger, &runs);
    ledger.backup_to(&dir.path().join(BACKUP)).expect("a copy");
    drop(ledger);
    std::fs::write(dir.path().join("kin.db"), vec![0; 8192]).expect("eaten");
    let opened = Ledger::open(dir.path(), NOON).expect("a ledger");
    for run in runs {
        let found = opened.ledger.run(run.no).expect("readable").expect("there");
        assert!(matches!(found.state, RunState::Running { .. }), "{found:?}");
    }
}

#[test]
fn a_memo_is_of_one_run_and_says_all_but_what_it_runs() {
    let terms = kin_core::Terms { rev: 7, mutex: vec!["m".into()], queue: Some("q".into()), ..Default::default() };
    let run = kin_core::Run { terms, slot: 2, attempt: 3, ..live("a", 5, RunState::Queued) };
    let text = kin_ledger::memo(&run);
    assert!(text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let state = RunState::Running { unowned: false, interrupted: false };
    let want = kin_core::Run { command: Vec::new(), directory: String::new(), state, ..run.clone() };
    assert_eq!(kin_ledger::recall(text.as_bytes(), run.no), Some(want));
    assert_eq!(kin_ledger::recall(text.as_bytes(), no(6)), None);
    for at in 0..text.len() {
        let mut spoilt = text.clone().into_bytes();
        spoilt[at] = if spoilt[at] == b'0' { b'1' } else { b'0' };
        assert_eq!(kin_ledger::recall(&spoilt, run.no), None, "{at}");
        assert_eq!(kin_ledger::recall(&text.as_bytes()[..at], run.no), None, "{at}");
    }
}
