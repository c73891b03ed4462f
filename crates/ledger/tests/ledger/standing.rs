//! How jobs stand, and queues.

use crate::runs::*;
use kin_core::job::Queue;
use kin_core::{Rest, Standing};
use kin_ledger::{BACKUP, Batch, Definition, Durability, Found, Ledger, QueueRow, Source};
use std::collections::BTreeMap;

fn standing(name: &str, rev: u64) -> Standing {
    Standing {
        ticks: None,
        paused: Some(7),
        job: job(name),
        rev,
        up: true,
        removed: false,
        disabled: None,
        scale: Some(3),
        rest: BTreeMap::from([(1, Rest::GaveUp)]),
        renewal: None,
        former: None,
        failed: None,
        done: Some(no(5)),
        round: BTreeMap::from([(job("db"), true)]),
        ports: [(1, 40_001)].into(),
        rung: false,
        boot: "boot".into(),
    }
}

fn queue(name: &str, slots: u32) -> QueueRow {
    let queue = Queue { name: name.into(), slots: BTreeMap::from([("slots".into(), slots)]), paused: false };
    QueueRow { defined: Some(queue.clone()), queue }
}

fn write(ledger: &mut Ledger, standings: &[Standing], queues: &[QueueRow]) {
    let standings = standings.iter().map(|standing| (standing.job.clone(), Some(standing.clone()))).collect();
    let queues = queues.iter().map(|row| (row.queue.name.clone(), Some(row.clone()))).collect();
    ledger.apply(&Batch { standings, queues, ..Batch::default() }, Durability::Full).expect("a commit");
}

#[test]
fn the_last_word_about_a_job_holds_until_it_is_gone() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    write(&mut ledger, &[standing("web", 1), standing("db", 1)], &[queue("heavy", 1), queue("light", 9)]);
    write(&mut ledger, &[standing("web", 2)], &[queue("heavy", 2)]);
    let reader = ledger.reader().expect("a reader");
    assert_eq!(reader.standings().expect("readable"), [standing("db", 1), standing("web", 2)]);
    assert_eq!(reader.queues().expect("readable"), [queue("heavy", 2), queue("light", 9)]);
    let gone = Batch { standings: vec![(job("db"), None)], queues: vec![("light".into(), None)], ..Batch::default() };
    ledger.apply(&gone, Durability::Full).expect("a commit");
    assert_eq!(reader.standings().expect("readable"), [standing("web", 2)]);
    assert_eq!(reader.queues().expect("readable"), [queue("heavy", 2)]);
    assert_eq!(ledger.quick_check().expect("a check"), Vec::<String>::new());
}

#[test]
fn a_row_that_was_altered_is_damage_and_the_others_are_saved() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    write(&mut ledger, &[standing("web", 1), standing("db", 1)], &[queue("heavy", 1), queue("light", 9)]);
    drop(ledger);
    let conn = rusqlite::Connection::open(dir.path().join("kin.db")).expect("readable");
    for sql in
        ["UPDATE standing SET job = 'other' WHERE job = 'web'", "UPDATE queue SET body = x'00' WHERE name = 'light'"]
    {
        conn.execute(sql, []).expect("a vandal");
    }
    drop(conn);
    let opened = Ledger::open(dir.path(), NOON).expect("a ledger");
    let Found::SetAside { why, .. } = &opened.found else { panic!("{:?}", opened.found) };
    assert!(why.contains("how 1 jobs stand is unreadable"), "{why}");
    let reader = opened.ledger.reader().expect("a reader");
    assert_eq!(reader.standings().expect("readable"), [standing("db", 1)]);
    assert_eq!(reader.queues().expect("readable"), [queue("heavy", 1)]);
}

fn definition(name: &str, rev: u64, text: Option<&str>) -> Definition {
    let source = Source::File { path: "/etc/kin/jobs.toml".into() };
    Definition { job: job(name), rev, at: NOON, source, text: text.map(str::to_owned) }
}

/// Whatever it is that is damaged.
#[test]
fn what_was_removed_since_the_backup_does_not_come_back() {
    for harm in ["UPDATE run SET body = x'00'", "UPDATE standing SET body = x'00'", "UPDATE queue SET body = x'00'"] {
        let dir = scratch();
        let mut ledger = open(dir.path());
        let names = ["kept", "changed", "removed"];
        let definitions = names.map(|name| definition(name, 1, Some("a"))).to_vec();
        ledger.apply(&Batch { definitions, ..Batch::default() }, Durability::Full).expect("a commit");
        put(&mut ledger, &[ok("kept", 1)]);
        write(&mut ledger, &names.map(|name| standing(name, 1)), &[queue("heavy", 1), queue("light", 9)]);
        ledger.backup_to(&dir.path().join(BACKUP)).expect("a copy");
        let gone = Batch {
            definitions: vec![definition("changed", 2, Some("b")), definition("removed", 2, None)],
            standings: vec![(job("changed"), Some(standing("changed", 2))), (job("removed"), None)],
            queues: vec![("light".into(), None)],
            ..Batch::default()
        };
        ledger.apply(&gone, Durability::Full).expect("a commit");
        drop(ledger);
        let conn = rusqlite::Connection::open(dir.path().join("kin.db")).expect("readable");
        conn.execute(harm, []).expect("a vandal");
        drop(conn);
        let opened = Ledger::open(dir.path(), NOON).expect("a ledger");
        assert!(matches!(opened.found, Found::SetAside { .. }), "{harm}: {:?}", opened.found);
        let reader = opened.ledger.reader().expect("a reader");
        let (changed, kept) = (standing("changed", 2), standing("kept", 1));
        // How a job stands whose definition is another since, no copy knows.
        let all = if harm.contains("standing") { vec![kept] } else { vec![changed, kept] };
        assert_eq!(reader.standings().expect("readable"), all, "{harm}");
        if !harm.contains("queue") {
            assert_eq!(reader.queues().expect("readable"), [queue("heavy", 1)], "{harm}");
        }
    }
}
