//! Definitions of jobs, and their revisions.

use crate::runs::*;
use kin_core::JobName;
use kin_ledger::{Batch, Definition, Durability, REVISIONS_KEPT, Source};

fn name(job: &str) -> JobName {
    JobName::parse(job).expect("a name")
}

fn definition(job: &str, rev: u64, text: Option<&str>) -> Definition {
    let source = match rev % 3 {
        0 => Source::Project { project: "shop".into(), path: "/srv/my shop/kin.toml".into() },
        1 => Source::File { path: "/etc/kin/jobs.toml".into() },
        _ => Source::Api { by: "uid:1000".into() },
    };
    Definition { job: name(job), rev, at: NOON, source, text: text.map(str::to_owned) }
}

fn define(ledger: &mut kin_ledger::Ledger, definitions: Vec<Definition>) {
    ledger.apply(&Batch { definitions, ..Batch::default() }, Durability::Full).expect("a commit");
}

#[test]
fn the_newest_revision_holds_and_the_former_are_there() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    define(&mut ledger, vec![definition("web", 1, Some("exec = [\"a\"]")), definition("db", 1, Some("x"))]);
    define(&mut ledger, vec![definition("web", 2, Some("exec = [\"b\"]")), definition("db", 3, None)]);
    let reader = ledger.reader().expect("a reader");
    let now = reader.definitions().expect("readable");
    assert_eq!(now, [definition("db", 3, None), definition("web", 2, Some("exec = [\"b\"]"))]);
    let former = reader.definition(&name("web"), 1).expect("readable");
    assert_eq!(former, Some(definition("web", 1, Some("exec = [\"a\"]"))));
    assert_eq!(reader.revisions(&name("web")).expect("readable").len(), 2);
    assert_eq!(reader.definition(&name("none"), 1).expect("readable"), None);
    assert_eq!(ledger.quick_check().expect("a check"), Vec::<String>::new());
}

#[test]
fn a_revision_is_never_written_over() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    define(&mut ledger, vec![definition("web", 1, Some("a"))]);
    let again = Batch { definitions: vec![definition("web", 1, Some("b"))], ..Batch::default() };
    ledger.apply(&again, Durability::Full).expect_err("it is there");
    let kept = ledger.reader().expect("a reader").definition(&name("web"), 1).expect("readable");
    assert_eq!(kept, Some(definition("web", 1, Some("a"))));
}

#[test]
fn the_oldest_revisions_go() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    let last = REVISIONS_KEPT + 7;
    define(&mut ledger, (1..=last).map(|rev| definition("web", rev, Some("a"))).collect());
    let kept = ledger.reader().expect("a reader").revisions(&name("web")).expect("readable");
    assert_eq!((kept.len() as u64, kept[0].rev, kept.last().expect("some").rev), (REVISIONS_KEPT, last, 8));
}

#[test]
fn a_definition_that_was_altered_is_damage_and_the_others_are_saved() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    define(&mut ledger, vec![definition("web", 1, Some("a")), definition("db", 1, Some("b"))]);
    drop(ledger);
    let conn = rusqlite::Connection::open(dir.path().join("kin.db")).expect("readable");
    conn.execute("UPDATE definition SET text = 'rm -rf /' WHERE job = 'web'", []).expect("a vandal");
    drop(conn);
    // A ledger this small is looked at whole whenever it is opened.
    let opened = kin_ledger::Ledger::open(dir.path(), NOON).expect("a ledger");
    let kin_ledger::Found::SetAside { why, .. } = &opened.found else { panic!("{:?}", opened.found) };
    assert_eq!(why, "1 definitions of jobs are unreadable");
    let saved = opened.ledger.reader().expect("a reader").definitions().expect("readable");
    assert_eq!(saved, [definition("db", 1, Some("b"))]);
}

#[test]
fn a_revision_that_is_in_use_stays_however_old_it_is() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    define(&mut ledger, vec![definition("web", 1, Some("a"))]);
    let in_use = [(name("web"), 1), (name("web"), 3), (name("db"), 2)];
    for rev in 2..=REVISIONS_KEPT + 7 {
        let definitions = vec![definition("web", rev, Some("a"))];
        let batch = Batch { definitions, in_use: in_use.clone().into(), ..Batch::default() };
        ledger.apply(&batch, Durability::Normal).expect("a commit");
    }
    let revs = |ledger: &kin_ledger::Ledger| -> Vec<u64> {
        let kept = ledger.reader().expect("a reader").revisions(&name("web")).expect("readable");
        kept.iter().rev().map(|found| found.rev).take(3).collect()
    };
    assert_eq!(revs(&ledger), [1, 3, 8]);
    define(&mut ledger, vec![definition("web", REVISIONS_KEPT + 8, Some("a"))]);
    assert_eq!(revs(&ledger), [9, 10, 11]);
}
