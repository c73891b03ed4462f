//! What was written is what is read.

use crate::runs::*;
use kin_core::{Outcome, RunState};
use kin_ledger::{Batch, Durability, Error, Found, Ledger, NewKey, OutcomeKind, Query, Reader, Stage};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_run_comes_back_as_it_was(runs in prop::collection::vec(any_run(), 1..20)) {
        let dir = scratch();
        let mut ledger = open(dir.path());
        let reader = ledger.reader().expect("a reader");
        let mut last = std::collections::BTreeMap::new();
        for run in &runs {
            let batch = Batch { runs: vec![run], events: vec![event(run)], ..Batch::default() };
            ledger.apply(&batch, Durability::Normal).expect("a commit");
            last.insert(run.no, run);
        }
        for (no, run) in &last {
            let found = reader.run(*no).expect("readable");
            prop_assert_eq!(found.as_ref(), Some(*run));
        }
        let page = reader.runs(&Query { limit: 100, ..Query::default() }).expect("a page");
        prop_assert_eq!(page.runs.iter().collect::<Vec<_>>(), last.values().rev().copied().collect::<Vec<_>>());
        let events = reader.events_after(0, 100).expect("events");
        for (n, (run, found)) in runs.iter().zip(&events).enumerate() {
            let expected = event(run);
            prop_assert_eq!(found.seq, n as u64 + 1);
            prop_assert_eq!((found.at, &found.kind, &found.run), (expected.at, &expected.kind, &expected.run));
            prop_assert_eq!((&found.change, &found.message), (&expected.change, &expected.message));
        }
        prop_assert_eq!(reader.quick_check().expect("a check"), Vec::<String>::new());
    }
}

#[test]
fn words_are_those_of_the_rules() {
    for outcome in [Outcome::Ok, Outcome::TimedOut, Outcome::Cancelled, Outcome::Failed { code: 1 }] {
        let kind = OutcomeKind::of(&outcome);
        assert_eq!((kind.word(), kind.is_failure()), (outcome.word(), outcome.is_failure()));
        assert_eq!(OutcomeKind::parse(outcome.word()), Some(kind));
    }
    assert_eq!(Stage::parse(RunState::Queued.word()), Some(Stage::Queued));
    assert_eq!(OutcomeKind::ALL.map(OutcomeKind::word).map(OutcomeKind::parse), OutcomeKind::ALL.map(Some));
    assert_eq!(Stage::ALL.map(Stage::word).map(Stage::parse), Stage::ALL.map(Some));
}

#[test]
fn events_have_no_gaps_and_an_empty_batch_has_none() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    let run = ok("backup", 1);
    let two = Batch { runs: vec![&run], events: vec![event(&run), event(&run)], ..Batch::default() };
    assert_eq!(ledger.apply(&two, Durability::Full).expect("a commit").seqs, 1..3);
    assert_eq!(ledger.apply(&Batch::default(), Durability::Full).expect("nothing").seqs, 3..3);
    assert_eq!(ledger.apply(&two, Durability::Normal).expect("a commit").seqs, 3..5);
    drop(ledger);
    let ledger = open(dir.path());
    assert_eq!(ledger.last_event(), 4);
    let reader = ledger.reader().expect("a reader");
    assert_eq!(reader.last_event().expect("a number"), 4);
    let seqs = |after, limit| -> Vec<u64> {
        reader.events_after(after, limit).expect("events").iter().map(|event| event.seq).collect()
    };
    assert_eq!((seqs(0, 3), seqs(3, 9), seqs(4, 9), seqs(u64::MAX, 9)), (vec![1, 2, 3], vec![4], vec![], vec![]));
    assert_eq!(reader.events_of(run.no, 10).expect("events").len(), 4);
}

#[test]
fn a_key_finds_its_run_and_is_taken_once() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    let run = ok("backup", 1);
    let key = NewKey { key: "k\0é".into(), content: u64::MAX - 7, run: run.no, at: NOON };
    let batch = Batch { runs: vec![&run], keys: vec![key.clone()], ..Batch::default() };
    ledger.apply(&batch, Durability::Full).expect("a commit");
    assert_eq!(ledger.key("k\0é").expect("readable"), Some((u64::MAX - 7, run.no)));
    assert_eq!(ledger.key("k").expect("readable"), None);

    let other = ok("backup", 2);
    let again = Batch { runs: vec![&other], keys: vec![key], events: vec![event(&other)], ..Batch::default() };
    let refused = ledger.apply(&again, Durability::Full);
    assert!(matches!(&refused, Err(Error::KeyTaken { key }) if key == "k\0é"), "{refused:?}");
    // Nothing of it is there, and the same ledger goes on.
    assert_eq!(ledger.run(other.no).expect("readable"), None);
    assert_eq!(ledger.last_event(), 0);
    put(&mut ledger, &[other]);
    assert_eq!(ledger.last_event(), 1);
}

#[test]
fn a_commit_that_failed_gives_its_numbers_back() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    let first = ok("backup", 1);
    let key = NewKey { key: "k".into(), content: 1, run: first.no, at: NOON };
    ledger.apply(&Batch { keys: vec![key.clone()], ..Batch::default() }, Durability::Normal).expect("a commit");
    // A job and a making that were numbered in a transaction that failed, and then others under the same numbers.
    let (lost, kept) = (ok("lost", 2), ok("kept", 3));
    let failing = Batch { runs: vec![&lost], keys: vec![key], ..Batch::default() };
    ledger.apply(&failing, Durability::Normal).expect_err("the key is taken");
    put(&mut ledger, &[kept.clone(), lost.clone()]);
    assert_eq!(ledger.run(kept.no).expect("readable"), Some(kept));
    assert_eq!(ledger.run(lost.no).expect("readable"), Some(lost));
    assert_eq!(ledger.quick_check().expect("a check"), Vec::<String>::new());
}

#[test]
fn what_was_committed_survives_a_kill() {
    for durability in [Durability::Full, Durability::Normal] {
        let (dir, image) = (scratch(), scratch());
        let mut ledger = open(dir.path());
        let run = live("web", 1, RunState::Starting { generation: Some(7) });
        let batch = Batch { runs: vec![&run], mint_reserved: Some(FIRST + 4096), ..Batch::default() };
        ledger.apply(&batch, durability).expect("a commit");
        killed(dir.path(), image.path());
        let opened = Ledger::open(image.path(), NOON).expect("a ledger");
        assert_eq!(opened.found, Found::Good);
        assert_eq!(opened.ledger.live().expect("readable").runs, [run]);
        assert_eq!(opened.ledger.mint_reserved(), FIRST + 4096);
    }
}

#[test]
fn readers_see_whole_commits_while_the_writer_writes() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    put(&mut ledger, &[ok("a", 0), ok("b", 1)]);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let reader = Reader::open(dir.path()).expect("a reader");
                let done = &done;
                scope.spawn(move || {
                    let mut seen = 0;
                    while !done.load(std::sync::atomic::Ordering::Acquire) {
                        // Runs come in pairs, so an odd page would be half a commit.
                        let page = reader.runs(&Query { limit: 10_000, ..Query::default() }).expect("a page");
                        assert_eq!(page.runs.len() % 2, 0);
                        assert!(page.runs.len() >= seen, "the past does not shrink");
                        assert_eq!(page.damaged, []);
                        seen = page.runs.len();
                    }
                    seen
                })
            })
            .collect();
        for n in 1..500 {
            put(&mut ledger, &[ok("a", 2 * n), ok("b", 2 * n + 1)]);
        }
        done.store(true, std::sync::atomic::Ordering::Release);
        for reader in readers {
            assert!(reader.join().expect("no panic") >= 2);
        }
    });
}

#[test]
fn only_the_owner_may_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = scratch();
    let mut ledger = open(dir.path());
    put(&mut ledger, &[ok("a", 1)]);
    ledger.backup_to(&dir.path().join(kin_ledger::BACKUP)).expect("a copy");
    let modes = || -> Vec<(String, u32)> {
        let entries = std::fs::read_dir(dir.path()).expect("a directory").map(|entry| entry.expect("an entry"));
        let mode = |entry: &std::fs::DirEntry| entry.metadata().expect("there").permissions().mode() & 0o777;
        entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), mode(&entry))).collect()
    };
    assert!(modes().len() >= 5, "{:?}", modes());
    assert!(modes().iter().all(|(_, mode)| *mode == 0o600), "{:?}", modes());
    drop(ledger);
    std::fs::set_permissions(dir.path().join("kin.db"), std::fs::Permissions::from_mode(0o644)).expect("allowed");
    let _ledger = open(dir.path());
    assert!(modes().iter().all(|(_, mode)| *mode == 0o600), "{:?}", modes());
}
