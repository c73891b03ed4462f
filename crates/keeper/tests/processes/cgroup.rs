//! A tree in a cgroup: made there, counted there, killed there.

use crate::support::{House, await_end, not_run, read_line};
use kin_keeper::cgroup::Cgroups;
use kin_keeper::spawn::Way;
use rustix::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The cgroups of a house, or a word that they are not to be had here.
fn cgroups(house: &House) -> Option<Cgroups> {
    let cgroups = Cgroups::open(house.path());
    if let Cgroups::None { why } = &cgroups {
        not_run(why.words());
        return None;
    }
    Some(cgroups)
}

fn clean_up(cgroups: &Cgroups) {
    std::fs::remove_dir(cgroups.path().expect("a path")).expect("all runs' cgroups are gone");
}

#[test]
fn a_run_is_born_in_its_cgroup_and_nowhere_else() {
    for way in [Way::Clone3, Way::Clone] {
        let mut house = House::new();
        house.arena.force(way);
        let Some(cgroups) = cgroups(&house) else { return };
        let directory = cgroups.create(c"run-1").expect("made");
        assert!(!cgroups.populated(c"run-1").expect("asked"));
        let spec =
            house.sh("while read line; do case $line in 0::*) echo $line;; esac; done </proc/self/cgroup; read x");
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        let started = house.try_start(&spec, Some(read.as_fd()), Some(directory.as_fd())).expect("a child");
        assert!(read_line(&started.out).ends_with("/run-1"));
        let mut pids = [0; 4];
        assert_eq!(cgroups.pids(c"run-1", &mut pids).expect("asked"), 1);
        assert_eq!(pids[0], house.slot(started.slot).pid.load(Ordering::Relaxed));
        assert!(cgroups.populated(c"run-1").expect("asked"));
        assert!(!cgroups.remove(c"run-1").expect("asked"), "not while somebody is in it");
        drop(write);
        house.finish(&started);
        assert!(cgroups.remove(c"run-1").expect("removed"));
        assert!(cgroups.remove(c"run-1").expect("is gone"));
        assert!(!cgroups.populated(c"run-1").expect("asked"));
        clean_up(&cgroups);
    }
}

#[test]
fn a_kill_reaches_who_moved_to_a_cgroup_below() {
    let mut house = House::new();
    let Some(cgroups) = cgroups(&house) else { return };
    let directory = cgroups.create(c"run-2").expect("made");
    let below = cgroups.path().expect("a path").join("run-2/own");
    let script = format!(
        "mkdir -p {0}/deeper; setsid sleep 100 & echo $! >{0}/deeper/cgroup.procs; echo ready; sleep 100",
        below.display()
    );
    let started = house.try_start(&house.sh(&script), None, Some(directory.as_fd())).expect("a child");
    assert_eq!(read_line(&started.out), "ready");
    let mut pids = [0; 1];
    assert!(cgroups.pids(c"run-2", &mut pids).expect("asked") >= 2, "more than fit are counted");
    cgroups.kill(c"run-2").expect("killed");
    await_end(&started.pidfd);
    // The end of the output is the end of all who held it.
    let ended = house.finish(&started);
    assert_eq!((ended.si_code, ended.si_status), (libc::CLD_KILLED, 9));
    let until = Instant::now() + crate::support::PATIENCE;
    while !cgroups.remove(c"run-2").expect("asked") {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    clean_up(&cgroups);
}

#[test]
fn a_cgroup_that_is_gone_is_named_as_the_step_that_failed() {
    let mut house = House::new();
    let Some(cgroups) = cgroups(&house) else { return };
    let directory = cgroups.create(c"run-3").expect("made");
    assert!(cgroups.remove(c"run-3").expect("removed"));
    let refused = house.try_start(&house.sh("true"), None, Some(directory.as_fd()));
    let (step, errno) = refused.err().expect("no child");
    assert_eq!(step, kin_core::SpawnStep::Cgroup);
    assert!([libc::ENOENT, libc::ENODEV].contains(&errno), "{errno}");
    clean_up(&cgroups);
}

#[test]
fn switched_off_there_are_none() {
    let cgroups = Cgroups::none();
    assert!(!cgroups.is_some() && cgroups.path().is_none());
    assert!(cgroups.create(c"x").is_err() && cgroups.kill(c"x").is_err());
}

#[test]
fn what_a_whole_tree_used_is_known_also_of_those_nobody_waited_for() {
    let mut house = House::new();
    let Some(cgroups) = cgroups(&house) else { return };
    let directory = cgroups.create(c"run-4").expect("made");
    // The one that works is nobody's child in the end, so the leader's own account has none of it.
    let work = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo done";
    let spec = house.sh(&format!("(sh -c '{work}' &) ; exit 0"));
    let started = house.try_start(&spec, None, Some(directory.as_fd())).expect("a child");
    assert_eq!(read_line(&started.out), "done");
    let leader = match await_end(&started.pidfd) {
        kin_keeper::sys::wait::Waited::Zombie { user_us, .. } => user_us,
        other @ (kin_keeper::sys::wait::Waited::Alive | kin_keeper::sys::wait::Waited::NotOurs) => panic!("{other:?}"),
    };
    let (cpu, _) = cgroups.used(c"run-4");
    let (user, _) = cpu.expect("counted");
    assert!(user > leader + 10_000, "{user} µs of the tree, {leader} µs of the leader");
    house.finish(&started);
    cgroups.kill(c"run-4").expect("killed");
    let until = Instant::now() + crate::support::PATIENCE;
    while !cgroups.remove(c"run-4").expect("asked") {
        assert!(Instant::now() < until, "somebody stays in it");
    }
    clean_up(&cgroups);
}

#[test]
fn a_limit_of_memory_is_kept_and_its_kill_is_told_apart() {
    let mut house = House::new();
    let Some(cgroups) = cgroups(&house) else { return };
    if !Cgroups::offered(house.path()).memory {
        clean_up(&cgroups);
        return not_run("no memory controller");
    }
    let directory = cgroups.create(c"run-5").expect("made");
    let file = |name: &str, value: &str| {
        std::fs::write(cgroups.path().expect("a path").join("run-5").join(name), value).expect("written");
    };
    file("memory.max", "16777216");
    file("memory.oom.group", "1");
    let spec = house.sh("a=x; while :; do a=$a$a; done");
    let started = house.try_start(&spec, None, Some(directory.as_fd())).expect("a child");
    let ended = house.finish(&started);
    assert_eq!((ended.si_code, ended.si_status), (libc::CLD_KILLED, 9));
    assert!(cgroups.oom_kills(c"run-5").is_some_and(|kills| kills > 0));
    assert!(cgroups.used(c"run-5").1.is_some_and(|peak| peak > 8 << 20));
    assert!(cgroups.remove(c"run-5").expect("removed"));
    clean_up(&cgroups);
}
