//! Ends are seen before they are taken, and can be learnt of after somebody else took them.

use crate::support::{House, await_end, end_of, not_run, read_line};
use kin_keeper::sys::misc::set_subreaper;
use kin_keeper::sys::wait::{
    Corpse, ExitInfo, Stranger, Waited, corpse, exit_info, has_ended, is_reaped, peek, peek_pid, pidfd_open, pidfd_pid,
    pidfd_send_signal, reap, reap_any_stranger, reap_pid,
};
use std::sync::atomic::Ordering;

#[test]
fn a_look_leaves_the_zombie_and_reaping_takes_it() {
    let mut house = House::new();
    let started = house.start(&house.sh("read x; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 42"));
    let first = await_end(&started.pidfd);
    let pid = house.slot(started.slot).pid.load(Ordering::Relaxed);
    let Waited::Zombie { si_code, si_status, user_us, system_us, max_rss_kib, .. } = first else { panic!("{first:?}") };
    assert_eq!((si_code, si_status), (libc::CLD_EXITED, 42));
    assert!(user_us + system_us > 0 && max_rss_kib > 100, "{first:?}");
    for again in [peek(&started.pidfd), peek_pid(pid), reap(&started.pidfd)] {
        assert_eq!(end_of(again), (libc::CLD_EXITED, 42));
    }
    assert_eq!((peek(&started.pidfd), reap_pid(pid)), (Waited::NotOurs, Waited::NotOurs));
}

#[test]
fn an_exit_is_known_after_somebody_else_reaped_it() {
    let mut house = House::new();
    for (script, want) in [
        ("exit 42", ExitInfo { code: libc::CLD_EXITED, status: 42 }),
        ("kill -15 $$", ExitInfo { code: libc::CLD_KILLED, status: 15 }),
    ] {
        let started = house.start(&house.sh(script));
        let pid = house.slot(started.slot).pid.load(Ordering::Relaxed);
        let second = pidfd_open(pid).expect("a pidfd");
        assert_eq!(pidfd_pid(&second), Some(pid));
        await_end(&started.pidfd);
        assert_eq!((exit_info(&second), is_reaped(&second)), (None, false), "a zombie is not reaped");
        reap(&started.pidfd);
        assert_eq!(pidfd_pid(&second), None);
        match exit_info(&second) {
            Some(info) => assert_eq!((info, is_reaped(&second)), (want, true)),
            None => not_run("this kernel has no PIDFD_INFO_EXIT (6.15)"),
        }
    }
}

#[test]
fn signals_go_to_one_or_to_its_group() {
    let mut house = House::new();
    let script = "trap 'echo told' USR1; (trap 'echo group' USR1; echo ready; while :; do read x </dev/zero; done) & read y </dev/zero & \
                  while :; do wait; done";
    let started = house.start(&house.sh(script));
    assert_eq!(read_line(&started.out), "ready");
    pidfd_send_signal(&started.pidfd, libc::SIGUSR1, false).expect("sent");
    assert_eq!(read_line(&started.out), "told");
    pidfd_send_signal(&started.pidfd, libc::SIGKILL, true).expect("sent to the group");
    // The output's end is the end of all of the group.
    let ended = house.finish(&started);
    assert_eq!((ended.si_code, ended.si_status), (libc::CLD_KILLED, 9));
}

#[test]
fn a_group_without_its_leader_is_not_signalled_by_number() {
    let mut house = House::new();
    let started = house.start(&house.program(&["/bin/true"]));
    let pidfd = started.pidfd.try_clone().expect("a duplicate");
    house.finish(&started);
    assert!(pidfd_send_signal(&pidfd, 0, false).is_err());
    assert!(pidfd_send_signal(&pidfd, libc::SIGKILL, true).is_err());
}

#[test]
fn strangers_are_reaped_and_ours_are_not() {
    set_subreaper().expect("set");
    let mut house = House::new();
    assert_eq!(reap_any_stranger(|_| false), Stranger::None);
    let started = house.start(&house.sh("(echo $(sh -c 'echo $PPID'); exec sleep 0) & wait; exit 3"));
    let ours = house.slot(started.slot).pid.load(Ordering::Relaxed);
    await_end(&started.pidfd);
    assert_eq!(reap_any_stranger(|pid| pid == ours), Stranger::Ours(ours));
    let ended = house.finish(&started);
    assert_eq!(ended.si_status, 3);

    let started = house.start(&house.sh("(sleep 0.05 & echo $!) ; exit 0"));
    let orphan: u32 = read_line(&started.out).parse().expect("a pid");
    let orphan_fd = pidfd_open(orphan);
    house.finish(&started);
    if let Ok(fd) = orphan_fd {
        await_end(&fd);
    }
    assert_eq!(reap_any_stranger(|_| false), Stranger::Reaped(orphan));
    assert_eq!(reap_any_stranger(|_| false), Stranger::None);
}

/// A process that has ended with 7 and that its parent never reaps; the parent, and a pidfd of the dead one.
/// Its child ends only when `sleep` has taken the shell's place, which might have reaped it.
fn unreaped(house: &mut House) -> (crate::support::Started, rustix::fd::OwnedFd) {
    let started =
        house.start(&house.sh("(until grep -q sleep /proc/$$/comm; do :; done; exit 7) & echo $!; exec sleep 1000"));
    let pid: u32 = read_line(&started.out).parse().expect("a pid");
    let pidfd = pidfd_open(pid).expect("a pidfd");
    // Readable: it has ended.
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut fds, None), Ok(1));
    (started, pidfd)
}

#[test]
fn a_zombie_that_nobody_reaps_tells_how_it_ended() {
    let mut house = House::new();
    let (parent, pidfd) = unreaped(&mut house);
    assert!(has_ended(&pidfd) && !has_ended(&parent.pidfd));
    assert_eq!((peek(&pidfd), exit_info(&pidfd)), (Waited::NotOurs, None));
    assert_eq!(corpse(&pidfd), Corpse::Ended(ExitInfo { code: libc::CLD_EXITED, status: 7 }));
    assert_eq!(corpse(&parent.pidfd), Corpse::None);
    pidfd_send_signal(&parent.pidfd, libc::SIGKILL, false).expect("sent");
    await_end(&parent.pidfd);
    reap(&parent.pidfd);
}

/// What the kernel hides it shows as zero: whoever may not know must not take that for the code 0.
#[test]
fn who_may_not_know_how_a_zombie_ended_is_not_told_zero() {
    if !rustix::process::geteuid().is_root() {
        return not_run("only root can look with another's eyes");
    }
    let mut house = House::new();
    let (parent, pidfd) = unreaped(&mut house);
    let pid = pidfd_pid(&pidfd).expect("not reaped");
    let nobody = |program: &str, args: &[&str]| {
        use std::os::unix::process::CommandExt;
        std::process::Command::new(program).args(args).uid(65534).gid(65534).output().expect("it ran")
    };
    let stat = nobody("cat", &[&format!("/proc/{pid}/stat")]);
    assert!(String::from_utf8_lossy(&stat.stdout).trim().ends_with(" 0"), "{stat:?}");
    let cwd = nobody("readlink", &["-v", &format!("/proc/{pid}/cwd")]);
    assert!(String::from_utf8_lossy(&cwd.stderr).contains("Permission denied"), "{cwd:?}");
    pidfd_send_signal(&parent.pidfd, libc::SIGKILL, false).expect("sent");
    await_end(&parent.pidfd);
    reap(&parent.pidfd);
}
