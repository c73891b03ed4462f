//! From spec to process, with real ones: what fails is named, and what runs is clean.

use crate::support::{
    Ended, House, PATIENCE, await_end, is_root, not_run, open_fds, read_line, status_field, wait_readable,
};
use kin_core::SpawnStep;
use kin_keeper::spawn::{Restore, Way};
use kin_keeper::spec::{Rlimit, User};
use kin_keeper::sys::wait::{Waited, peek, reap};
use rustix::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;
use std::time::Instant;

const RLIMIT_CORE: u32 = 4;
const RLIMIT_NPROC: u32 = 6;
const RLIMIT_NOFILE: u32 = 7;

/// Runs the same body by each way and memory that a child can be made with.
fn each_way(body: impl Fn(&mut House)) {
    for way in [Way::Clone3, Way::Clone] {
        let mut house = House::new();
        house.arena.force(way);
        body(&mut house);
    }
}

fn failed(ended: &Ended) -> (SpawnStep, i32) {
    assert_eq!((ended.si_code, ended.si_status), (libc::CLD_EXITED, 127), "{ended:?}");
    ended.failed.expect("a step")
}

#[test]
fn a_program_runs_and_its_code_comes_back() {
    each_way(|house| {
        let ended = house.run(&house.sh("echo to out; echo to err >&2; exit 7"));
        assert_eq!((ended.out.as_str(), ended.err.as_str()), ("to out\n", "to err\n"));
        assert_eq!((ended.si_code, ended.si_status, ended.failed), (libc::CLD_EXITED, 7, None));
        let ended = house.run(&house.sh("kill -9 $$"));
        assert_eq!((ended.si_code, ended.si_status), (libc::CLD_KILLED, 9));
    });
}

#[test]
fn what_cannot_be_run_is_named() {
    each_way(|house| {
        let ended = house.run(&house.program(&["/no/such/program"]));
        assert_eq!(failed(&ended), (SpawnStep::Exec, libc::ENOENT));

        let file = house.path().join("plain");
        std::fs::write(&file, "no program").expect("written");
        let ended = house.run(&house.program(&[file.to_str().expect("text")]));
        assert_eq!(failed(&ended), (SpawnStep::Exec, libc::EACCES));

        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("set");
        let ended = house.run(&house.program(&[file.to_str().expect("text")]));
        assert_eq!(failed(&ended), (SpawnStep::Exec, libc::ENOEXEC));

        let mut spec = house.sh("true");
        spec.directory = b"/no/such/directory".to_vec();
        assert_eq!(failed(&house.run(&spec)), (SpawnStep::Directory, libc::ENOENT));

        let mut spec = house.sh("true");
        spec.argv.push(vec![b'x'; 1 << 20]);
        assert_eq!(failed(&house.run(&spec)), (SpawnStep::Exec, libc::E2BIG));

        let mut spec = house.sh("true");
        spec.rlimits = vec![Rlimit { resource: 999, soft: 1, hard: 1 }];
        assert_eq!(failed(&house.run(&spec)), (SpawnStep::Rlimit, libc::EINVAL));

        let mut spec = house.sh("true");
        spec.oom_score_adj = Some(5000);
        assert_eq!(failed(&house.run(&spec)), (SpawnStep::Priority, libc::EINVAL));
    });
}

#[test]
fn programs_are_searched_as_a_path_is() {
    each_way(|house| {
        let forbidden = house.path().join("sh");
        std::fs::write(&forbidden, "").expect("written");
        let forbidden = forbidden.to_str().expect("text").as_bytes().to_vec();
        let mut spec = house.sh("echo found");
        spec.programs =
            vec![b"/nowhere/sh".to_vec(), b"/etc/passwd/sh".to_vec(), forbidden.clone(), b"/bin/sh".to_vec()];
        assert_eq!(house.run(&spec).out, "found\n");
        spec.programs = vec![forbidden, b"/nowhere/sh".to_vec()];
        assert_eq!(failed(&house.run(&spec)), (SpawnStep::Exec, libc::EACCES));
    });
}

#[test]
fn a_child_is_clean() {
    each_way(|house| {
        let pid_of = |house: &House, at: usize| house.slot(at).pid.load(Ordering::Relaxed);
        let _stray = std::fs::File::open("/dev/zero").expect("opens");
        let (_a, inheritable) = rustix::pipe::pipe().expect("a pipe");
        rustix::io::fcntl_setfd(&inheritable, rustix::io::FdFlags::empty()).expect("set");

        let mut spec = house.program(&["/bin/cat", "/proc/self/status"]);
        spec.umask = 0o027;
        let started = house.start(&spec);
        let pid = pid_of(house, started.slot);
        let status = house.finish(&started).out;
        for mask in ["SigBlk", "SigIgn", "SigCgt", "SigPnd"] {
            assert_eq!(status_field(&status, mask), "0000000000000000", "{mask}");
        }
        assert_eq!(status_field(&status, "Umask"), "0027");
        assert_eq!(status_field(&status, "Pid"), pid.to_string());
        assert_eq!(status_field(&status, "NoNewPrivs"), "0");

        let ended = house.run(&house.program(&["/bin/ls", "/proc/self/fd"]));
        assert_eq!(ended.out, "0\n1\n2\n3\n", "3 is the listing's own");

        let started = house.start(&house.program(&["/bin/cat", "/proc/self/stat"]));
        let pid = pid_of(house, started.slot).to_string();
        let stat = house.finish(&started).out;
        let fields: Vec<&str> = stat.split_whitespace().collect();
        assert_eq!((fields[0], fields[4], fields[5]), (&*pid, &*pid, &*pid), "its own group and session");

        let mut spec = house.program(&["/bin/cat", "/proc/self/environ"]);
        spec.env = vec![b"B=2".to_vec(), b"A=\xc3\xa9 x".to_vec(), b"EMPTY=".to_vec(), b"odd".to_vec()];
        assert_eq!(house.run(&spec).out, "B=2\0A=\u{e9} x\0EMPTY=\0odd\0");
        spec.env.clear();
        assert_eq!(house.run(&spec).out, "");

        let ended = house.run(&house.sh("readlink /proc/self/fd/0; pwd"));
        assert_eq!(ended.out, "/dev/null\n/\n");
    });
}

#[test]
fn limits_priority_and_score_are_set_and_restored() {
    each_way(|house| {
        let mut spec = house.sh("ulimit -n; ulimit -c; cat /proc/self/oom_score_adj; nice");
        spec.rlimits = vec![Rlimit { resource: RLIMIT_CORE, soft: 0, hard: 0 }];
        spec.nice = Some(5);
        spec.oom_score_adj = Some(300);
        house.restore = Restore { nofile: Some((1000, 1000)), oom_score_adj: Some(100) };
        assert_eq!(house.run(&spec).out, "1000\n0\n300\n5\n");
        spec.oom_score_adj = None;
        spec.rlimits.push(Rlimit { resource: RLIMIT_NOFILE, soft: 64, hard: 64 });
        assert_eq!(house.run(&spec).out, "64\n0\n100\n5\n");
        assert_eq!(crate::support::read_file("/proc/self/oom_score_adj").trim(), "0", "ours is not touched");
    });
}

#[test]
fn a_user_is_changed_for_good() {
    if !is_root() {
        return not_run("only root may change the user");
    }
    each_way(|house| {
        std::fs::set_permissions(house.path(), std::fs::Permissions::from_mode(0o700)).expect("set");
        let mut spec = house.program(&["/bin/cat", "/proc/self/status"]);
        spec.user = Some(User { uid: 12345, gid: 23456, groups: vec![23456, 34567] });
        spec.no_new_privileges = true;
        let status = house.run(&spec).out;
        assert_eq!(status_field(&status, "Uid"), "12345\t12345\t12345\t12345");
        assert_eq!(status_field(&status, "Gid"), "23456\t23456\t23456\t23456");
        assert_eq!(status_field(&status, "Groups"), "23456 34567");
        for caps in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status_field(&status, caps), "0000000000000000", "{caps}");
        }
        assert_eq!(status_field(&status, "NoNewPrivs"), "1");

        // The directory is entered as the user.
        spec.directory = house.path().to_str().expect("text").as_bytes().to_vec();
        assert_eq!(failed(&house.run(&spec)), (SpawnStep::Directory, libc::EACCES));
        // And our own memory stays ours.
        assert!(rustix::process::dumpable_behavior().is_ok_and(|d| d == rustix::process::DumpableBehavior::Dumpable));

        spec.user = Some(User { uid: u32::MAX, gid: 23456, groups: vec![] });
        assert_eq!(failed(&house.run(&spec)).0, SpawnStep::User);
    });
}

#[test]
fn who_may_not_change_the_user_says_so() {
    if !is_root() {
        return not_run("only root can become one who may not");
    }
    let mut house = House::new();
    rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(12345)).expect("another user");
    let mut spec = house.program(&["/bin/true"]);
    spec.user = Some(User { uid: 0, gid: 0, groups: vec![] });
    assert_eq!(failed(&house.run(&spec)), (SpawnStep::User, libc::EPERM));
}

#[test]
fn stdin_is_what_was_handed_in_whatever_its_number() {
    each_way(|house| {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        rustix::io::write(&write, b"handed in\n").expect("written");
        drop(write);
        let spec = house.program(&["/bin/cat"]);
        let started = house.try_start(&spec, Some(read.as_fd()), None).expect("a child");
        drop(read);
        assert_eq!(house.finish(&started).out, "handed in\n");
        // Our own 0, 1 or 2 as its stdin is lifted out of the way of its stdout and stderr.
        let started = house
            .try_start(&house.sh("readlink /proc/self/fd/0 /proc/self/fd/1"), Some(rustix::stdio::stderr()), None)
            .expect("a child");
        let ours = std::fs::read_link("/proc/self/fd/2").expect("a link");
        let out = house.finish(&started).out;
        assert!(out.starts_with(&format!("{}\npipe:", ours.display())), "{out}");
    });
}

#[test]
fn passed_descriptors_stand_where_they_belong_and_the_pid_is_the_childs_own() {
    each_way(|house| {
        let file = |name: &str| {
            let path = house.path().join(name);
            std::fs::write(&path, name).expect("written");
            rustix::fs::open(path, rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())
                .expect("opens")
        };
        let (a, b, ready) = (file("a"), file("b"), file("ready"));
        // Some of ours lie on the very numbers that others are to have.
        let low = rustix::io::fcntl_dupfd_cloexec(&ready, 3).expect("lifted");
        house.extra = vec![(b, 3), (a, 4), (low, 9)];
        let mut spec = house.sh("cat <&3; cat <&4; cat <&9; echo; ls /proc/$$/fd; echo $$ $LISTEN_PID");
        spec.sockets = vec![1, 2];
        let started = house.start(&spec);
        let pid = house.slot(started.slot).pid.load(Ordering::Relaxed);
        let said = house.finish(&started).out;
        assert_eq!(said, format!("baready\n0\n1\n2\n3\n4\n9\n{pid} {pid}\n"));
        // Without an environment of its own too.
        spec.env.clear();
        spec.programs = vec![b"/bin/cat".to_vec()];
        spec.argv = vec![b"cat".to_vec(), b"/proc/self/environ".to_vec()];
        let started = house.start(&spec);
        let pid = house.slot(started.slot).pid.load(Ordering::Relaxed);
        assert_eq!(house.finish(&started).out, format!("LISTEN_PID={pid}\0"));
        house.extra.clear();
    });
}

#[test]
fn a_terminal_of_its_own_controls_the_session() {
    each_way(|house| {
        let pty = kin_keeper::pty::open(40, 132).expect("a terminal");
        let spec = house.sh("tty; stty size; ps -o tty= -p $$ >/dev/null 2>&1; : </dev/tty && echo controlled");
        let bytes = spec.encode().expect("encodes");
        let slot = &house.table.slots()[9];
        let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty()).expect("opens");
        let prepared = kin_keeper::spawn::Prepared {
            view: kin_keeper::spec::SpecView::check(&bytes).expect("checks"),
            stdin: None,
            out: null.as_fd(),
            err: null.as_fd(),
            tty_slave: Some(pty.slave.as_fd()),
            extra: &[],
            cgroup: None,
            slot,
            restore: &house.restore,
        };
        let pidfd = kin_keeper::spawn::spawn(&mut house.arena, &prepared).expect("a child").expect("a pidfd");
        drop(pty.slave);
        await_end(&pidfd);
        reap(&pidfd);
        // What was said comes through after the end too; then EIO: nobody holds the other side.
        let mut said = Vec::new();
        let mut part = [0; 256];
        loop {
            wait_readable(&pty.master, Instant::now() + PATIENCE);
            match rustix::io::read(&pty.master, &mut part) {
                Ok(count) => said.extend_from_slice(&part[..count]),
                Err(e) => break assert_eq!(e, rustix::io::Errno::IO),
            }
        }
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.starts_with("/dev/pts/") && said.ends_with("40 132\r\ncontrolled\r\n"), "{said:?}");
    });
}

#[test]
fn the_pid_is_in_the_slot_before_the_program_runs() {
    each_way(|house| {
        let mut spec = house.sh("echo $$; read x");
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        let started = house.try_start(&spec, Some(read.as_fd()), None).expect("a child");
        let pid = house.slot(started.slot).pid.load(Ordering::Acquire);
        assert_eq!(read_line(&started.out), pid.to_string());
        assert_eq!(peek(&started.pidfd), Waited::Alive);
        assert!(kin_keeper::boot::start_ticks(pid).is_some());
        drop(write);
        house.finish(&started);
        // A child that fails has been a child too.
        spec.programs = vec![b"/nowhere".to_vec()];
        let started = house.start(&spec);
        assert_ne!(house.slot(started.slot).pid.load(Ordering::Acquire), 0);
        house.finish(&started);
    });
}

#[test]
fn two_thousand_spawns_leave_no_descriptor_open() {
    let mut house = House::new();
    let good = house.program(&["/bin/true"]);
    let bad = house.program(&["/nowhere"]);
    house.run(&good);
    let before = open_fds();
    for i in 0..2_000 {
        let ended = house.run(if i % 10 == 9 { &bad } else { &good });
        assert_eq!(ended.failed.is_some(), i % 10 == 9);
        house.table.slots().iter().for_each(|slot| slot.state.store(kin_keeper::table::FREE, Ordering::Relaxed));
    }
    assert_eq!(open_fds(), before);
}

#[test]
fn an_argument_list_longer_than_the_arena_makes_it_grow() {
    each_way(|house| {
        let mut spec = house.sh("echo $#");
        spec.argv.extend((0..5_000).map(|i| format!("{i}").into_bytes()));
        assert_eq!(house.run(&spec).out, "4999\n");
        spec.env.extend((0..3_000).map(|i| format!("V{i}=x").into_bytes()));
        assert_eq!(house.run(&spec).out, "4999\n");
    });
}

#[test]
fn a_user_with_too_many_processes_gets_no_more() {
    if !is_root() {
        return not_run("only root has a user to spare");
    }
    let mut house = House::new();
    let mut spec = house.sh("echo there; read x");
    spec.user = Some(User { uid: 12346, gid: 12346, groups: vec![] });
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let first = house.try_start(&spec, Some(read.as_fd()), None).expect("a child");
    assert_eq!(read_line(&first.out), "there");
    // The kernel holds the limit against the new user at exec.
    spec.rlimits = vec![Rlimit { resource: RLIMIT_NPROC, soft: 0, hard: 0 }];
    assert_eq!(failed(&house.run(&spec)), (SpawnStep::Exec, libc::EAGAIN));
    drop(write);
    house.finish(&first);
}

/// By the old call the pidfd is opened when the child is there already: for want of one it must not be called unborn.
#[test]
fn a_child_that_cannot_be_watched_is_a_child() {
    let mut house = House::new();
    house.arena.force(Way::Clone);
    let bytes = house.sh("exit 7").encode().expect("encodes");
    let null = std::fs::File::options().write(true).open("/dev/null").expect("opens");
    let slot = house.table.place(9).expect("room") as usize;
    let prepared = kin_keeper::spawn::Prepared {
        view: kin_keeper::spec::SpecView::check(&bytes).expect("checks"),
        stdin: None,
        out: null.as_fd(),
        err: null.as_fd(),
        tty_slave: None,
        extra: &[],
        cgroup: None,
        slot: &house.table.slots()[slot],
        restore: &house.restore,
    };
    // The arena's first look at a kind of file system opens something; not the second.
    let first = kin_keeper::spawn::spawn(&mut house.arena, &prepared).expect("a child").expect("a pidfd");
    crate::support::await_end(&first);
    kin_keeper::sys::wait::reap(&first);
    drop(first);
    let lowest =
        rustix::io::fcntl_dupfd_cloexec(&null, 0).map(|fd| std::os::fd::AsRawFd::as_raw_fd(&fd)).expect("free");
    let before = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit { current: Some(lowest as u64), maximum: before.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, most).expect("lowered");
    let made = kin_keeper::spawn::spawn(&mut house.arena, &prepared);
    rustix::process::setrlimit(rustix::process::Resource::Nofile, before).expect("raised");
    assert!(made.expect("a child").is_none(), "there was no descriptor for its pidfd");
    let pid = house.table.slots()[slot].pid.load(Ordering::Relaxed);
    let pidfd = kin_keeper::sys::wait::pidfd_open(pid).expect("it is our child, and not reaped");
    let ended = crate::support::end_of(crate::support::await_end(&pidfd));
    assert_eq!(ended, (libc::CLD_EXITED, 7));
    kin_keeper::sys::wait::reap(&pidfd);
}
