//! Survivors by themselves: processes of this test's own, adopted, and no keeper.

use super::*;
use kin_core::{JobName, StopKind};
use kin_keeper::table::{SIGNAL_BITS, SIGNAL_SENT};
use rustix::process::{Pid, Signal, Uid};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use tempfile::TempDir;

struct House {
    /// Of the runtime directory, and the state.
    _dir: TempDir,
    dirs: Dirs,
    link: Link,
    survivors: Survivors,
    /// Nobody listens; it is looked at whether a process has ended.
    _mail: mpsc::Receiver<crate::engine::Input>,
    next: u64,
}

impl House {
    fn new() -> House {
        let dir = tempfile::tempdir().expect("a directory");
        let dirs = Dirs { state: dir.path().join("state"), run: dir.path().join("run") };
        for path in [&dirs.state, &dirs.run] {
            std::fs::create_dir(path).expect("a directory");
        }
        let (sender, mail) = mpsc::channel();
        let link = Link::open(&dirs.run, sender).expect("a link");
        let mut survivors = Survivors::new(&dirs);
        survivors.ours_are(&BTreeSet::new(), true);
        House { _dir: dir, dirs, link, survivors, _mail: mail, next: 64 }
    }

    fn id(&mut self) -> RunId {
        self.next += 1;
        RunId { job: JobName::parse("foreign").expect("a name"), no: RunNo::new(self.next).expect("a number") }
    }

    fn adopts(&mut self, child: &Child) -> RunNo {
        let id = self.id();
        let ticks = start_ticks(child.id()).expect("it lives");
        let adopted = Adopted { pid: child.id(), ticks, signal: 15, wait_ms: 60_000 };
        let fate = self.survivors.adopt(&mut self.link, &self.dirs, &id, &adopted).expect("watched");
        assert!(matches!(fate, Fate::Alive), "{fate:?}");
        id.no
    }

    /// Waits for the time at which it wants to be called, and calls it.
    fn when_due(&mut self) -> Vec<(RunNo, Seen)> {
        let at = self.survivors.wake_at().expect("it waits for something");
        sleep_until(at);
        self.survivors.times(&self.dirs, &mut self.link, Time(0))
    }
}

#[expect(clippy::disallowed_methods, reason = "the time itself is what is waited for, as the engine's loop does")]
fn sleep_until(at: Instant) {
    std::thread::sleep(at.saturating_duration_since(Instant::now()));
}

fn sleeper() -> Child {
    Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().expect("sleep starts")
}

/// Nobody carries anything of the run while it becomes another program; a moment later somebody does.
#[test]
fn nobody_is_gone_because_one_look_did_not_find_them() {
    let mut house = House::new();
    let (gone, late) = (house.id(), house.id());
    let look = |house: &mut House, id: &RunId| {
        house.survivors.begin_look();
        house.survivors.look(&mut house.link, &house.dirs, id, None).expect("looked")
    };
    for id in [&gone, &late] {
        assert!(matches!(look(&mut house, id), Fate::Unclear));
        assert!(!house.survivors.has(id.no));
    }
    let mut command = Command::new("sleep");
    command.arg("600").env("KIN_RUN_ID", late.to_string()).env("KIN_SOCKET", house.dirs.run.join("kin.sock"));
    let mut child = command.spawn().expect("sleep starts");
    sleep_until(Instant::now() + PAUSE);
    assert!(matches!(look(&mut house, &late), Fate::Alive));
    assert!(matches!(look(&mut house, &gone), Fate::Gone));
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
}

/// A daemon that has just been born knows neither its keepers nor who holds its place, and each may live in the run.
#[test]
fn nobody_is_killed_before_it_is_known_who_is_kin() {
    let mut house = House::new();
    house.survivors.knows_ours = false;
    let mut child = sleeper();
    let no = house.adopts(&child);
    house.survivors.slot(no).expect("a slot").stop_stage.store(2, Ordering::Relaxed);
    house.survivors.take_up(no);
    assert!(house.survivors.wake_at().is_none());
    assert!(house.survivors.times(&house.dirs, &mut house.link, Time(0)).is_empty());
    assert!(child.try_wait().expect("asked").is_none());
    house.survivors.ours_are(&BTreeSet::new(), true);
    while child.try_wait().expect("asked").is_none() {
        house.when_due();
    }
}

#[test]
fn many_that_end_together_are_looked_for_once() {
    let mut house = House::new();
    let mut children = [sleeper(), sleeper(), sleeper()];
    let runs = [0, 1, 2].map(|i| house.adopts(&children[i]));
    for child in &mut children {
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
    }
    let numbers = runs.map(|no| house.survivors.runs[&no].watch.as_ref().expect("watched").number);
    // No kernel is waited for that might tell how they ended.
    for survivor in house.survivors.runs.values_mut() {
        survivor.reaped_by = Some(Instant::now());
    }
    house.survivors.begin_look();
    for number in numbers {
        house.survivors.spoke(&mut house.link, number, Time(0));
    }
    assert_eq!(house.survivors.processes.as_ref().expect("looked").looks(), 1);
}

/// This thread alone becomes another user, who may signal nobody of root's; or root again.
fn act_as(uid: u32) {
    let uid = Uid::from_raw(uid);
    rustix::thread::set_thread_res_uid(Some(uid), Some(uid), Some(Uid::ROOT)).expect("allowed");
}

#[test]
fn a_kill_that_ends_nobody_is_not_tried_for_ever() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut house = House::new();
    let mut parent = Command::new("sh");
    parent.args(["-c", "sleep 600 & echo $!; wait"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut parent = parent.spawn().expect("sh starts");
    let mut line = String::new();
    BufReader::new(parent.stdout.take().expect("a pipe")).read_line(&mut line).expect("it says so");
    let child = Pid::from_raw(line.trim().parse().expect("a pid")).expect("a pid");
    let no = house.adopts(&parent);
    act_as(65_534);
    house.survivors.stop(&house.dirs, no, StopKind::Kill);
    let pause = |house: &House| house.survivors.runs[&no].pause;
    assert!(house.when_due().is_empty() && pause(&house) <= PAUSE_MAX);
    // The time for it is over.
    house.survivors.slot(no).expect("a slot").stop_deadline.store(1, Ordering::Relaxed);
    while pause(&house) <= PAUSE_MAX {
        assert!(house.when_due().is_empty(), "its leader lives");
    }
    act_as(0);
    parent.kill().expect("it is ours");
    parent.wait().expect("it ends");
    act_as(65_534);
    let ends = loop {
        let ends = house.when_due();
        if !ends.is_empty() {
            break ends;
        }
    };
    act_as(0);
    rustix::process::kill_process(child, Signal::KILL).expect("it is there");
    assert_eq!((ends[0].0, ends[0].1.left_behind), (no, 1));
}

#[test]
fn a_signal_of_the_ladder_that_reached_nobody_is_sent_again() {
    let mut house = House::new();
    let mut child = sleeper();
    let no = house.adopts(&child);
    // What is kin's own is spared: so nobody can be reached.
    house.survivors.ours[1] = child.id();
    house.survivors.stop(&house.dirs, no, StopKind::Ladder);
    let signal = |house: &House| house.survivors.slot(no).expect("a slot").stop_signal.load(Ordering::Relaxed);
    assert_eq!((signal(&house) & SIGNAL_BITS, signal(&house) & SIGNAL_SENT), (15, 0));
    house.survivors.ours[1] = 0;
    assert!(house.when_due().is_empty());
    assert_ne!(signal(&house) & SIGNAL_SENT, 0);
    assert!(!child.wait().expect("it ends").success());
}
