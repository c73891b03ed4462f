//! Looking at a child's end without taking it, taking it, and learning of an end that somebody else took.
//!
//! A status is first peeked at and written down, and only then reaped: whoever is killed in between leaves a zombie,
//! and the next parent sees the same status again. Nothing here ever blocks.

use super::raw::{call, check};
use crate::text::Text;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::fmt::Write as _;
use std::io;
use std::mem::MaybeUninit;
use std::sync::LazyLock;

/// What a look at a child found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    Alive,
    /// Ended; `si_code` is one of CLD_EXITED, CLD_KILLED and CLD_DUMPED. The usage is its own and its waited children's;
    /// a second look may find some microseconds more, for a zombie may still be leaving the processor.
    Zombie {
        si_code: i32,
        si_status: i32,
        user_us: u64,
        system_us: u64,
        max_rss_kib: u64,
        /// From and to disks, in blocks of 512 bytes.
        read_blocks: u64,
        write_blocks: u64,
    },
    /// Not a child of this process, or reaped already.
    NotOurs,
}

impl std::fmt::Display for Waited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const CLD_EXITED: i32 = 1;
        match self {
            Waited::Alive => f.write_str("alive"),
            Waited::Zombie { si_code: CLD_EXITED, si_status, .. } => write!(f, "exit code {si_status}"),
            Waited::Zombie { si_status, .. } => write!(f, "killed by signal {si_status}"),
            Waited::NotOurs => f.write_str("how it ended is not known"),
        }
    }
}

/// How a process ended, in the terms of `waitid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitInfo {
    pub code: i32,
    pub status: i32,
}

impl ExitInfo {
    /// From the status that `wait` gives.
    fn of(status: i32) -> ExitInfo {
        match status & 0x7f {
            0 => ExitInfo { code: libc::CLD_EXITED, status: (status >> 8) & 0xff },
            signal if status & 0x80 != 0 => ExitInfo { code: libc::CLD_DUMPED, status: signal },
            signal => ExitInfo { code: libc::CLD_KILLED, status: signal },
        }
    }
}

/// What a look for the ends of unknown children found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// Nobody has ended.
    None,
    /// One that is ours has ended; it was left as it is, and hides strangers until it is reaped.
    Ours(u32),
    /// A stranger's zombie was reaped.
    Reaped(u32),
}

const PEEK: i32 = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
const REAP: i32 = libc::WEXITED | libc::WNOHANG;

/// Looks; a zombie stays a zombie.
pub fn peek(pidfd: impl AsFd) -> Waited {
    waitid(libc::P_PIDFD, pidfd.as_fd().as_raw_fd() as u32, PEEK).1
}
/// Looks; a zombie is gone afterwards.
pub fn reap(pidfd: impl AsFd) -> Waited {
    waitid(libc::P_PIDFD, pidfd.as_fd().as_raw_fd() as u32, REAP).1
}
/// As `peek`, by pid: safe only for a child that nobody has reaped.
pub fn peek_pid(pid: u32) -> Waited {
    waitid(libc::P_PID, pid, PEEK).1
}
/// As `reap`, by pid.
pub fn reap_pid(pid: u32) -> Waited {
    waitid(libc::P_PID, pid, REAP).1
}

/// Reaps one orphan that fell to us and belongs to nobody's run; `is_ours` knows the leaders. Call it again until it
/// finds none: one that is ours has to be noted and reaped first.
pub fn reap_any_stranger(mut is_ours: impl FnMut(u32) -> bool) -> Stranger {
    match waitid(libc::P_ALL, 0, PEEK) {
        (_, Waited::Alive | Waited::NotOurs) => Stranger::None,
        (pid, Waited::Zombie { .. }) if is_ours(pid) => Stranger::Ours(pid),
        (pid, Waited::Zombie { .. }) => {
            reap_pid(pid);
            Stranger::Reaped(pid)
        }
    }
}

fn waitid(kind: libc::idtype_t, id: u32, options: i32) -> (u32, Waited) {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let (at, usage_at) = (info.as_mut_ptr() as usize, usage.as_mut_ptr() as usize);
    let args = [kind as usize, id as usize, at, options as usize, usage_at, 0];
    // SAFETY: both are ours and as large as the kernel fills them.
    let result = check(unsafe { call(libc::SYS_waitid, args) });
    if let Err(e) = result {
        debug_assert_eq!(e, libc::ECHILD, "a look at a child that does not block fails only for want of the child");
        return (0, Waited::NotOurs);
    }
    // SAFETY: all zero is a value of both, and the kernel wrote over it; on success the fields of SIGCHLD are there.
    let (info, usage) = unsafe { (info.assume_init(), usage.assume_init()) };
    // SAFETY: as above: no child in the state asked for leaves the pid zero.
    let (pid, si_status) = unsafe { (info.si_pid() as u32, info.si_status()) };
    if pid == 0 {
        return (0, Waited::Alive);
    }
    let us = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    let zombie = Waited::Zombie {
        si_code: info.si_code,
        si_status,
        user_us: us(usage.ru_utime),
        system_us: us(usage.ru_stime),
        max_rss_kib: usage.ru_maxrss as u64,
        read_blocks: usage.ru_inblock as u64,
        write_blocks: usage.ru_oublock as u64,
    };
    (pid, zombie)
}

/// Waits until a child has ended and reaps it. For the start of a keeper only: it blocks.
pub(crate) fn wait_for_end(pidfd: &OwnedFd) -> io::Result<()> {
    let mut fds = [rustix::event::PollFd::new(pidfd, rustix::event::PollFlags::IN)];
    loop {
        match reap(pidfd) {
            Waited::Alive => {}
            Waited::Zombie { .. } | Waited::NotOurs => return Ok(()),
        }
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// A descriptor that stands for the process, also when its number is used again.
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: numbers only.
    let fd = check(unsafe { call(libc::SYS_pidfd_open, [pid as usize, 0, 0, 0, 0, 0]) });
    let fd = fd.map_err(io::Error::from_raw_os_error)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// The process number behind a pidfd, in our pid namespace; `None` once it has been reaped.
pub fn pidfd_pid(pidfd: impl AsFd) -> Option<u32> {
    let mut path = Text::<64>::new();
    write!(path, "/proc/self/fdinfo/{}", pidfd.as_fd().as_raw_fd()).ok()?;
    let mut bytes = [0; 512];
    let text = crate::text::read_start(path.as_cstr(), &mut bytes).ok()?;
    let line = text.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"Pid:"))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

/// Sends a signal to the process, or to the process group it leads. Zero only asks whether it is there.
///
/// For the group a kernel before 6.9 has only the group's number, which may be used again once the leader was reaped;
/// so there it is refused (ESRCH) unless the leader is still a child of ours.
pub fn pidfd_send_signal(pidfd: impl AsFd, signal: i32, group: bool) -> io::Result<()> {
    const PROCESS_GROUP: usize = 1 << 2;
    let pidfd = pidfd.as_fd();
    let send = |flags: usize| {
        let args = [pidfd.as_raw_fd() as usize, signal as usize, 0, flags, 0, 0];
        // SAFETY: numbers only, and no siginfo.
        check(unsafe { call(libc::SYS_pidfd_send_signal, args) })
    };
    let result = if group { send(PROCESS_GROUP) } else { send(0) };
    match result {
        Ok(_) => Ok(()),
        Err(libc::EINVAL) if group => signal_group_by_number(pidfd, signal),
        Err(e) => Err(io::Error::from_raw_os_error(e)),
    }
}

fn signal_group_by_number(leader: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let gone = || io::Error::from_raw_os_error(libc::ESRCH);
    match peek(leader) {
        Waited::NotOurs => return Err(gone()),
        Waited::Alive | Waited::Zombie { .. } => {}
    }
    let pid = pidfd_pid(leader).filter(|pid| *pid > 1).ok_or_else(gone)?;
    // The group's number is that of an unreaped child, so it is still its own.
    signal_child(pid, signal, true)
}

/// `struct pidfd_info` as of 6.13, the 64 bytes that every kernel which has the call takes.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ids: [u32; 8],
    exit_code: i32,
}
const _: () = assert!(size_of::<PidfdInfo>() == 64);

/// How a process ended that somebody has reaped: from 6.15 on, for whoever holds a pidfd of it. `None` while it is
/// alive or a zombie, and on kernels that cannot tell. `KIN_NO_PIDFD_INFO=1` makes this one of them.
pub fn exit_info(pidfd: impl AsFd) -> Option<ExitInfo> {
    const PIDFD_GET_INFO: usize = 0xC040_FF0B;
    const EXIT: u64 = 1 << 3;
    static SWITCHED_OFF: LazyLock<bool> =
        LazyLock::new(|| std::env::var_os("KIN_NO_PIDFD_INFO").is_some_and(|v| v == "1"));
    if *SWITCHED_OFF {
        return None;
    }
    let mut info = PidfdInfo { mask: EXIT, ..PidfdInfo::default() };
    let args = [pidfd.as_fd().as_raw_fd() as usize, PIDFD_GET_INFO, (&raw mut info) as usize, 0, 0, 0];
    // SAFETY: `info` is as large as the call's number says.
    check(unsafe { call(libc::SYS_ioctl, args) }).ok()?;
    if info.mask & EXIT == 0 {
        return None;
    }
    Some(ExitInfo::of(info.exit_code))
}

/// What can be seen of a process that has ended, and that its parent has not reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corpse {
    Ended(ExitInfo),
    /// It is there, and we may not know how it ended.
    Closed,
    /// It does not lie there: it was reaped, or it lives.
    None,
}

/// Looks at the zombie of somebody else's child, who perhaps never reaps it: a container's first process may not.
///
/// /proc tells its status to whoever might trace it, and zero to all others; so it is first asked for something that it
/// refuses to others instead of lying.
pub fn corpse(pidfd: impl AsFd) -> Corpse {
    let Some(pid) = pidfd_pid(&pidfd) else { return Corpse::None };
    let Some(stat) = crate::boot::Stat::of(pid).filter(|stat| stat.state == b'Z') else { return Corpse::None };
    let mut path = Text::<32>::new();
    if write!(path, "/proc/{pid}/cwd").is_err() {
        return Corpse::Closed;
    }
    // A zombie has no directory any more, which is said only to those who may ask.
    let asked = rustix::fs::readlink(path.as_cstr(), []);
    // Not reaped until now, so all of this was about the same process.
    if pidfd_pid(&pidfd) != Some(pid) {
        return Corpse::None;
    }
    match asked {
        Err(rustix::io::Errno::NOENT) => Corpse::Ended(ExitInfo::of(stat.exit_status)),
        Ok(_) | Err(_) => Corpse::Closed,
    }
}

/// Whether the process has ended, reaped or not.
pub fn has_ended(pidfd: impl AsFd) -> bool {
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&zero)).is_ok_and(|n| n > 0)
}

/// Whether the process was reaped, whoever did it; a kernel before 6.9 does not say so.
pub fn is_reaped(pidfd: impl AsFd) -> bool {
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::empty())];
    let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    let polled = rustix::event::poll(&mut fds, Some(&zero));
    polled.is_ok() && fds[0].revents().contains(rustix::event::PollFlags::HUP)
}

/// Signals a child of ours, or its group, by number: safe only while nobody has reaped it.
pub fn signal_child(pid: u32, signal: i32, group: bool) -> io::Result<()> {
    let number = if group { -(pid as isize) } else { pid as isize };
    // SAFETY: numbers only.
    let result = check(unsafe { call(libc::SYS_kill, [number as usize, signal as usize, 0, 0, 0, 0]) });
    result.map(|_| ()).map_err(io::Error::from_raw_os_error)
}
