//! The guests do what they say, so that a failed test speaks of kin and not of them.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::{eventually, pattern, procfs, witness::Witness};

const DEADLINE: Duration = Duration::from_secs(20);

fn guest() -> Command {
    Command::new(env!("CARGO_BIN_EXE_kin-guest"))
}

#[test]
fn a_run_writes_its_patterns_tells_the_witness_and_ends_as_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("witness");
    for (index, end, code, signal) in [(1, "exit:7", Some(7), None), (2, "signal:9", None, Some(9))] {
        let out = guest()
            .args(["run", "seed=5", "out=1000", "err=333", "chunk=100", "spread_us=1000"])
            .args([format!("index={index}"), format!("witness={}", path.display()), format!("end={end}")])
            .output()
            .expect("the guest runs");
        assert_eq!((out.status.code(), out.status.signal()), (code, signal));
        assert_eq!(pattern::wrong(5, 0, 1000, &out.stdout), None);
        assert_eq!(pattern::wrong(5, 1, 333, &out.stderr), None);
    }
    let mut witness = Witness::open(&path).expect("opens");
    let stories = witness.read_on().expect("reads");
    assert_eq!(stories[&1].ends[0].code, 7);
    assert_eq!((stories[&2].starts.len(), stories[&2].ends[0].code), (1, -9));
}

#[test]
fn a_reader_that_goes_away_is_told_to_the_witness() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("witness");
    let mut child = guest()
        .args(["run", "index=1", "seed=5", "out=1000000", "err=0", "chunk=100", "spread_us=100", "end=exit:0"])
        .arg(format!("witness={}", path.display()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the guest runs");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(i32::from(testkit::guest::BROKEN)));
    let mut witness = Witness::open(&path).expect("opens");
    assert_eq!(witness.read_on().expect("reads")[&1].ends[0].code, i32::from(testkit::guest::BROKEN));
}

#[test]
fn a_tree_has_that_many_and_some_have_left_its_session() {
    let dir = tempfile::tempdir().expect("a directory");
    let pids = dir.path().join("pids");
    let mark = format!("tree-{}", std::process::id());
    let mut root = guest()
        .args(["tree", "n=9", &format!("pids={}", pids.display())])
        .env(procfs::MARK, &mark)
        .stdout(Stdio::null())
        .spawn()
        .expect("the guest runs");
    eventually("ten processes", DEADLINE, || (procfs::marked(&mark).len() == 10).then_some(()));
    let orphans = procfs::marked(&mark).iter().filter(|pid| procfs::parent(**pid) != Some(root.id())).count();
    assert!(orphans >= 3, "those forked twice, and the root itself");
    eventually("nobody is left", DEADLINE, || {
        for pid in procfs::marked(&mark) {
            procfs::kill_marked(pid, &mark, rustix::process::Signal::KILL).expect("kills its own");
        }
        procfs::marked(&mark).is_empty().then_some(())
    });
    root.wait().expect("reaped");
}

#[test]
fn one_that_ignores_term_does() {
    use std::io::BufRead as _;
    let mut child = guest().arg("ignore-term").stdout(Stdio::piped()).spawn().expect("the guest runs");
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("it speaks");
    assert_eq!(line, "ready\n");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signals it");
    let ignored = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it lives");
    let mask = ignored.lines().find_map(|l| l.strip_prefix("SigIgn:\t")).expect("a mask");
    assert_ne!(u64::from_str_radix(mask, 16).expect("hex") & 1 << 14, 0, "TERM is ignored");
    child.kill().expect("kills it");
    child.wait().expect("reaped");
}

#[test]
fn the_probe_prints_json() {
    let out = guest().arg("probe").env("A", "b").output().expect("the guest runs");
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!((json["env"]["A"].as_str(), json["limits"]["Max open files"][0].is_string()), (Some("b"), true));
}
