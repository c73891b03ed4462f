//! Trees that try to get away, with and without a cgroup, and one that grows faster than one can look.

use crate::support::{House, PATIENCE, Started, is_root, not_run, read_line};
use kin_keeper::cgroup::Cgroups;
use kin_keeper::spec::{Rlimit, Spec, User};
use kin_keeper::sys::misc::set_subreaper;
use kin_keeper::sys::wait::{Stranger, pidfd_open, reap, reap_any_stranger};
use kin_keeper::tree::{Kill, Processes, Swept, TreeRun, kill_tree, pids_of, signal_tree};
use rustix::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// 24 descendants of the leader, which says when all are there: children, grandchildren, sessions of their own, and
/// ones that forked twice so that only their environment or their output tells whose they are.
const FAMILY: &str = "
    n=0
    for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done
    for i in 1 2 3 4; do (sleep 1000 & wait) & done
    for i in 1 2 3 4; do setsid sleep 1000 & done
    for i in 1 2; do (setsid sh -c 'sleep 1000 >/dev/null 2>&1 & exec >/dev/null 2>&1') ; done
    for i in 1 2; do (setsid env -i sh -c 'sleep 1000 &') ; done
    echo ready; read x";

/// The user of the fork bomb.
const BOMBER: u32 = 54_321;

struct Family {
    _house: House,
    started: Started,
    leader: u32,
    _hold: OwnedFd,
}

fn with_id(mut spec: Spec, id: &str) -> Spec {
    spec.env.push(format!("KIN_RUN_ID={id}").into_bytes());
    spec
}

impl Family {
    fn new(id: &str, cgroup: Option<&OwnedFd>) -> Family {
        set_subreaper().expect("set");
        let mut house = House::new();
        let spec = with_id(house.sh(FAMILY), id);
        let (read, hold) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        let started = house.try_start(&spec, Some(read.as_fd()), cgroup.map(AsFd::as_fd)).expect("a child");
        assert_eq!(read_line(&started.out), "ready");
        let leader = house.slot(started.slot).pid.load(Ordering::Relaxed);
        Family { _house: house, started, leader, _hold: hold }
    }

    /// Asks for the members until all have become what they stay.
    fn settled(mut members: impl FnMut(&mut [u32]) -> usize) -> Vec<u32> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut pids = [0; 64];
            let count = members(&mut pids);
            let sleeps =
                |pid: &&u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
            if count == 25 && pids[..count].iter().filter(sleeps).count() == 20 {
                return pids[..count].to_vec();
            }
            assert!(Instant::now() < until, "{count} members: {pids:?}");
            std::thread::yield_now();
        }
    }

    fn run<'a>(&self, id: &'a str) -> TreeRun<'a> {
        tree_run(&self.started, self.leader, id)
    }
}

fn tree_run<'a>(started: &Started, leader: u32, id: &'a str) -> TreeRun<'a> {
    let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).expect("a status").st_ino;
    let start_ticks = kin_keeper::boot::start_ticks(leader).unwrap_or(0);
    TreeRun { id, leader, start_ticks, pipes: [inode(&started.out), inode(&started.err)], known: &[] }
}

/// Kills as a keeper would: call after call, reaping in between. Gives the calls and the longest of them.
fn kill_all(processes: &mut Processes, run: &TreeRun<'_>, leader: &OwnedFd, patience: Duration) -> (u32, Duration) {
    let reapers = [std::process::id()];
    let (mut kill, mut calls, mut longest) = (Kill::default(), 0, Duration::ZERO);
    let until = Instant::now() + patience;
    loop {
        let begun = Instant::now();
        let swept = kill_tree(processes, &reapers, run, &mut kill);
        longest = longest.max(begun.elapsed());
        calls += 1;
        reap(leader);
        while let Stranger::Reaped(_) = reap_any_stranger(|pid| pid == run.leader) {}
        match swept {
            Swept::Gone => return (calls, longest),
            Swept::Again { living } => {
                assert!(Instant::now() < until, "{living} still alive after {calls} calls");
                std::thread::yield_now();
            }
        }
    }
}

/// Pidfds of these processes, to see that they have really ended.
fn watch(pids: &[u32]) -> Vec<OwnedFd> {
    pids.iter().filter_map(|pid| pidfd_open(*pid).ok()).collect()
}

fn assert_ended(watched: &[OwnedFd]) {
    for pidfd in watched {
        crate::support::wait_readable(pidfd, Instant::now() + PATIENCE);
    }
}

#[test]
fn a_family_of_25_is_found_and_killed_without_a_cgroup() {
    let family = Family::new("a-00000001", None);
    let other = Family::new("a-00000002", None);
    let mut processes = Processes::new().expect("memory");
    let reapers = [std::process::id()];
    let run = family.run("a-00000001");
    let pids = Family::settled(|pids| pids_of(&mut processes, &reapers, &run, pids).expect("looked"));
    let other_run = other.run("a-00000002");
    let others = Family::settled(|pids| pids_of(&mut processes, &reapers, &other_run, pids).expect("looked"));
    assert!(others.iter().all(|pid| !pids.contains(pid)));
    let watched = watch(&pids);
    let (calls, longest) = kill_all(&mut processes, &run, &family.started.pidfd, PATIENCE);
    println!("25 processes: {calls} calls, the longest {longest:?}");
    assert_ended(&watched);
    assert_eq!(pids_of(&mut processes, &reapers, &run, &mut []).expect("looked"), 0);
    assert_eq!(
        pids_of(&mut processes, &reapers, &other.run("a-00000002"), &mut []).expect("looked"),
        25,
        "another run's family lives on"
    );
    kill_all(&mut processes, &other.run("a-00000002"), &other.started.pidfd, PATIENCE);
}

#[test]
fn who_is_left_behind_is_still_found_when_the_leader_is_gone() {
    let family = Family::new("b-00000001", None);
    let run = family.run("b-00000001");
    let mut processes = Processes::new().expect("memory");
    let leader = &family.started.pidfd;
    Family::settled(|pids| pids_of(&mut processes, &[std::process::id()], &run, pids).expect("looked"));
    kin_keeper::sys::wait::pidfd_send_signal(leader, libc::SIGKILL, false).expect("sent");
    crate::support::await_end(leader);
    reap(leader);
    let mut pids = [0; 64];
    let count = pids_of(&mut processes, &[std::process::id()], &run, &mut pids).expect("looked");
    assert_eq!(count, 24);
    let watched = watch(&pids[..count]);
    kill_all(&mut processes, &run, leader, PATIENCE);
    assert_ended(&watched);
}

#[test]
fn the_same_family_is_killed_at_once_by_its_cgroup() {
    let house = House::new();
    let cgroups = Cgroups::open(house.path());
    if let Cgroups::None { why } = &cgroups {
        return not_run(why.words());
    }
    let directory = cgroups.create(c"family").expect("made");
    let family = Family::new("c-00000001", Some(&directory));
    let watched = watch(&Family::settled(|pids| cgroups.pids(c"family", pids).expect("asked")));
    cgroups.kill(c"family").expect("killed");
    assert_ended(&watched);
    reap(&family.started.pidfd);
    while let Stranger::Reaped(_) = reap_any_stranger(|_| false) {}
    assert!(cgroups.remove(c"family").expect("removed"));
    std::fs::remove_dir(cgroups.path().expect("a path")).expect("empty");
}

#[test]
fn a_signal_reaches_every_member_once() {
    set_subreaper().expect("set");
    let mut house = House::new();
    let script = "trap 'echo one; exit' USR1; setsid sh -c \"trap 'echo two; exit' USR1; echo ready; while :; do wait; done\" & \
                  while :; do wait; done";
    let started = house.start(&with_id(house.sh(script), "d-00000001"));
    assert_eq!(read_line(&started.out), "ready");
    let leader = house.slot(started.slot).pid.load(Ordering::Relaxed);
    let run = tree_run(&started, leader, "d-00000001");
    let mut processes = Processes::new().expect("memory");
    let told = signal_tree(&mut processes, &[std::process::id()], &run, libc::SIGUSR1).expect("looked");
    assert_eq!(told, 2);
    let ended = house.finish(&started);
    let mut said: Vec<&str> = ended.out.lines().collect();
    said.sort_unstable();
    assert_eq!(said, ["one", "two"]);
}

#[test]
fn a_process_with_the_leaders_number_is_not_the_leader() {
    let mut house = House::new();
    let started = house.start(&house.sh("echo ready; sleep 1000 & read x </dev/zero"));
    assert_eq!(read_line(&started.out), "ready");
    let leader = house.slot(started.slot).pid.load(Ordering::Relaxed);
    let mut run = tree_run(&started, leader, "e-00000001");
    run.start_ticks += 1;
    run.pipes = [0; 2];
    let mut processes = Processes::new().expect("memory");
    let reapers = [std::process::id()];
    assert_eq!(pids_of(&mut processes, &reapers, &run, &mut []).expect("looked"), 0);
    run.start_ticks -= 1;
    assert!(pids_of(&mut processes, &reapers, &run, &mut []).expect("looked") >= 1);
    kill_all(&mut processes, &run, &started.pidfd, PATIENCE);
}

#[test]
fn a_fork_bomb_is_stopped() {
    if !is_root() {
        return not_run("only root has a user to spare for a fork bomb");
    }
    set_subreaper().expect("set");
    let mut house = House::new();
    // Ends by itself after 30 s. Each of its processes makes two more, one of them in a session of its own, and makes
    // new ones when both have failed at their limit.
    let bomb = house.path().join("bomb");
    let text = "while read up rest </proc/uptime && [ \"${up%%.*}\" -lt \"$END\" ]; do\n\
                setsid sh \"$0\" & sh \"$0\" & wait\ndone\n";
    std::fs::write(&bomb, text).expect("written");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(house.path(), std::fs::Permissions::from_mode(0o755)).expect("set");
    let uptime: f64 = crate::support::read_file("/proc/uptime")
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .expect("a number");
    let mut spec = with_id(house.program(&["/bin/sh", bomb.to_str().expect("text")]), "f-00000001");
    spec.env.push(format!("END={}", uptime as u64 + 30).into_bytes());
    spec.user = Some(User { uid: BOMBER, gid: BOMBER, groups: vec![] });
    spec.rlimits = vec![Rlimit { resource: 6, soft: 300, hard: 300 }];
    spec.nice = Some(10);
    let started = house.start(&spec);
    let leader = house.slot(started.slot).pid.load(Ordering::Relaxed);
    let run = tree_run(&started, leader, "f-00000001");
    let mut processes = Processes::new().expect("memory");
    let reapers = [std::process::id()];
    let until = Instant::now() + PATIENCE;
    // Until it is at its limit, or near.
    while pids_of(&mut processes, &reapers, &run, &mut []).expect("looked") < 150 {
        assert!(Instant::now() < until, "the bomb did not go off");
        while let Stranger::Reaped(_) = reap_any_stranger(|pid| pid == leader) {}
    }
    let begun = Instant::now();
    let (calls, longest) = kill_all(&mut processes, &run, &started.pidfd, Duration::from_secs(10));
    println!("fork bomb: {:?}, {calls} calls, the longest {longest:?}", begun.elapsed());
    // Who is just dying has no traces any more, and is not waited for; but nobody of that user stays.
    let until = Instant::now() + PATIENCE;
    while let Some(pid) = somebody_of(BOMBER) {
        assert!(Instant::now() < until, "{}", crate::support::read_file(format!("/proc/{pid}/status")));
        while let Stranger::Reaped(_) = reap_any_stranger(|_| false) {}
    }
}

fn somebody_of(uid: u32) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir("/proc").expect("reads").filter_map(Result::ok);
    let mut of = entries.filter(|entry| entry.metadata().is_ok_and(|meta| meta.uid() == uid));
    of.next().map(|entry| entry.file_name().to_string_lossy().into_owned())
}
