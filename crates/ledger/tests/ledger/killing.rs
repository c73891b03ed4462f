//! SIGKILL, for real: what a writer said was committed is there, and a death is never taken for damage.

use crate::runs::*;
use kin_core::Run;
use kin_ledger::{Batch, Durability, Found, Ledger, Query};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const DIR: &str = "KIN_TEST_LEDGER_DIR";

fn batch_of(n: u64) -> Vec<Run> {
    // Enough that the log is moved into the database now and then, also in the middle of being killed.
    (0..20).map(|i| Run { directory: format!("/srv/{n}/{i}"), ..ok("web", 20 * n + i) }).collect()
}

/// Not a test of its own: the process that is killed.
#[test]
fn writer() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let mut ledger = open(Path::new(&dir));
    let first = ledger.last_event() / 20;
    for n in first.. {
        let runs = batch_of(n);
        let batch = Batch { runs: runs.iter().collect(), events: runs.iter().map(event).collect(), ..Batch::default() };
        let durability = if n % 2 == 0 { Durability::Full } else { Durability::Normal };
        ledger.apply(&batch, durability).expect("a commit");
        // Straight to the pipe, for the test harness keeps what is printed; and in one piece, or half of it may be read.
        std::io::stderr().write_all(format!("said {n}\n").as_bytes()).expect("a reader");
    }
}

#[test]
fn a_killed_writer_loses_nothing_that_it_said() {
    let dir = scratch();
    let mut said = None;
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "killing::writer", "--nocapture", "--test-threads=1"])
            .env(DIR, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        // It dies some commits further each round, wherever it is then.
        for line in lines.by_ref().map_while(Result::ok) {
            if let Some(n) = line.strip_prefix("said ") {
                said = Some(n.parse::<u64>().expect("a number"));
                if said.is_some_and(|n| n % 37 == round * 3) {
                    break;
                }
            }
        }
        child.kill().expect("killed");
        for line in lines.map_while(Result::ok) {
            said = line.strip_prefix("said ").map(|n| n.parse().expect("a number")).or(said);
        }
        child.wait().expect("waited for");

        let opened = Ledger::open(dir.path(), NOON).expect("a ledger");
        assert_eq!(opened.found, Found::Good, "round {round}");
        let runs = opened.ledger.last_event();
        assert!(
            runs.is_multiple_of(20) && said.is_some_and(|n| runs >= 20 * (n + 1)),
            "{said:?} was said, {runs} are there"
        );
        let page = opened.ledger.reader().and_then(|reader| reader.runs(&Query { limit: 20, ..Query::default() }));
        let newest: Vec<Run> = batch_of(runs / 20 - 1).into_iter().rev().collect();
        assert_eq!(page.expect("a page").runs, newest);
        assert_eq!(opened.ledger.quick_check().expect("a check"), Vec::<String>::new());
    }
}

#[test]
fn an_image_of_any_moment_is_good() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    for n in 0..250 {
        put(&mut ledger, &batch_of(n));
        if n % 9 == 0 {
            let image = scratch();
            killed(dir.path(), image.path());
            assert_eq!(open(image.path()).last_event(), 20 * (n + 1));
        }
    }
}
