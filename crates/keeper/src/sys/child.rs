//! What the child does between clone and exec.
//!
//! It may share the keeper's memory, its stack is a small one of its own, and the keeper stands still until it has
//! become the program (or the keeper's memory was copied, with whatever locks were held). So: system calls only, no
//! allocation, no locks, no errno, no panic. What fails is put into the run's slot, which the kernel shares between
//! all three processes: first the errno, then the step.
//!
//! The order is not free. The cgroup comes first, so that everything counts in it. Limits, priority and OOM score come
//! while the child still has the keeper's rights. The directory comes after the user, for it may only be the user's.
//! Signals are let in last, when nothing of the keeper is left to be reached by a handler.

use super::arena::Lists;
use super::raw::{call, check};
use kin_core::SpawnStep;
use std::ffi::CStr;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, Ordering};

/// Descriptors beside the three: the sockets it is passed, and the one for its readiness.
pub(super) const EXTRA_MAX: usize = crate::spec::SOCKETS + 1;
/// `LISTEN_PID=`, a number, and a NUL.
pub(super) const LISTEN_PID: &[u8] = b"LISTEN_PID=";
pub(super) type PidText = [AtomicU8; 32];

/// Everything the child reads. Lives on the keeper's stack while the child needs it.
pub(super) struct Plan<'a> {
    pub(super) lists: Lists<'a>,
    pub(super) directory: &'a CStr,
    /// What becomes descriptors 0, 1 and 2.
    pub(super) stdio: [i32; 3],
    /// What becomes further descriptors: which of ours, and its number there. In the order of those numbers.
    pub(super) extra: &'a [(i32, i32)],
    /// Where the child writes its own pid, when its environment is to name it.
    pub(super) listen_pid: Option<&'a PidText>,
    /// The table of descriptors is the keeper's own.
    pub(super) shares_files: bool,
    /// Closes on exec, and is held open until then: the keeper, which does not wait, sees that it is gone.
    pub(super) news: Option<i32>,
    /// The terminal side of a pty, to be the controlling terminal.
    pub(super) tty: Option<i32>,
    /// A cgroup's directory to move into, where clone could not do it.
    pub(super) join: Option<i32>,
    pub(super) umask: u32,
    pub(super) nice: Option<i32>,
    pub(super) oom_score_adj: Option<i32>,
    /// The soft and hard limit of open files to put back.
    pub(super) nofile: Option<(u64, u64)>,
    pub(super) user: Option<(u32, u32)>,
    pub(super) no_new_privileges: bool,
    /// Signals that are not at their default, one bit each from 1 on.
    pub(super) altered_signals: u64,
    pub(super) step: &'a AtomicU32,
    pub(super) errno: &'a AtomicI32,
}

type Fallible = Result<(), (SpawnStep, i32)>;

/// A system call of the child: plain numbers, or pointers that are good for as long as the plan is.
fn sys(number: i64, args: [usize; 6]) -> Result<usize, i32> {
    // SAFETY: only called below, with numbers, pointers into the plan, or null.
    check(unsafe { call(number, args) })
}

/// Becomes the program, or notes why not and ends with 127.
pub(super) extern "C" fn run(plan: *const Plan<'_>) -> ! {
    // SAFETY: the parent keeps the plan alive: it waits (vfork), or this is our own copy of its memory.
    let plan = unsafe { &*plan };
    if let Err((step, errno)) = become_program(plan) {
        plan.errno.store(errno, Ordering::Relaxed);
        plan.step.store(step as u32, Ordering::Release);
    }
    loop {
        // SAFETY: ends this process and touches no memory.
        unsafe { call(libc::SYS_exit_group, [127, 0, 0, 0, 0, 0]) };
    }
}

fn become_program(plan: &Plan<'_>) -> Fallible {
    if plan.shares_files {
        unshare_files(plan).map_err(|e| (SpawnStep::Stdio, e))?;
    }
    if let Some(directory) = plan.join {
        join(directory).map_err(|e| (SpawnStep::Cgroup, e))?;
    }
    sys(libc::SYS_setsid, [0; 6]).map_err(|e| (SpawnStep::Session, e))?;
    if let Some(tty) = plan.tty {
        let args = [tty as usize, libc::TIOCSCTTY as usize, 0, 0, 0, 0];
        sys(libc::SYS_ioctl, args).map_err(|e| (SpawnStep::Session, e))?;
    }
    stdio(plan.stdio, plan.extra, plan.news).map_err(|e| (SpawnStep::Stdio, e))?;
    if let Some(text) = plan.listen_pid {
        name_ourselves(text).map_err(|e| (SpawnStep::Stdio, e))?;
    }
    sys(libc::SYS_umask, [plan.umask as usize & 0o777, 0, 0, 0, 0, 0]).map_err(|e| (SpawnStep::Stdio, e))?;
    priority(plan).map_err(|e| (SpawnStep::Priority, e))?;
    limits(plan).map_err(|e| (SpawnStep::Rlimit, e))?;
    user(plan).map_err(|e| (SpawnStep::User, e))?;
    let directory = plan.directory.as_ptr() as usize;
    sys(libc::SYS_chdir, [directory, 0, 0, 0, 0, 0]).map_err(|e| (SpawnStep::Directory, e))?;
    signals(plan.altered_signals).map_err(|e| (SpawnStep::Exec, e))?;
    Err((SpawnStep::Exec, exec(plan)))
}

/// A table of descriptors of its own, with no more in it than is needed: copying thousands takes longer than all else.
fn unshare_files(plan: &Plan<'_>) -> Result<(), i32> {
    let needed = plan.stdio.into_iter().chain(plan.extra.iter().map(|(from, _)| *from));
    let first = needed.fold(2, i32::max) as usize + 1;
    let all = u32::MAX as usize;
    match sys(libc::SYS_close_range, [first, all, libc::CLOSE_RANGE_UNSHARE as usize, 0, 0, 0]) {
        Ok(_) => Ok(()),
        Err(libc::ENOSYS | libc::EPERM | libc::EINVAL) => {
            sys(libc::SYS_unshare, [libc::CLONE_FILES as usize, 0, 0, 0, 0, 0]).map(|_| ())
        }
        Err(e) => Err(e),
    }
}

/// Into the cgroup by its own hand.
fn join(directory: i32) -> Result<(), i32> {
    let path = c"cgroup.procs".as_ptr() as usize;
    let flags = (libc::O_WRONLY | libc::O_CLOEXEC) as usize;
    let file = sys(libc::SYS_openat, [directory as usize, path, flags, 0, 0, 0])?;
    sys(libc::SYS_write, [file, c"0".as_ptr() as usize, 1, 0, 0, 0])?;
    sys(libc::SYS_close, [file, 0, 0, 0, 0, 0])?;
    Ok(())
}

/// Puts all where they belong and closes all else. Each is first lifted above the numbers that are given out, so none is
/// overwritten by another's copy; `dup3` then leaves them open over exec. The news are kept behind them, until exec.
fn stdio(from: [i32; 3], extra: &[(i32, i32)], news: Option<i32>) -> Result<(), i32> {
    let above = extra.iter().fold(2, |most, (_, to)| most.max(*to)) + 1;
    let lift = |fd: i32| {
        if fd >= above {
            return Ok(fd as usize);
        }
        sys(libc::SYS_fcntl, [fd as usize, libc::F_DUPFD_CLOEXEC as usize, above as usize, 0, 0, 0])
    };
    let news = news.map(lift).transpose()?;
    let mut lifted = [0; 3 + EXTRA_MAX];
    let all = from.into_iter().chain(extra.iter().map(|(from, _)| *from));
    for (place, fd) in lifted.iter_mut().zip(all) {
        *place = lift(fd)?;
    }
    let places = (0..3).chain(extra.iter().map(|(_, to)| *to));
    for (fd, to) in lifted.into_iter().zip(places) {
        sys(libc::SYS_dup3, [fd, to as usize, 0, 0, 0, 0])?;
    }
    let mut first = 3;
    for (_, to) in extra {
        let to = *to as usize;
        if to > first {
            close_range(first, to - 1)?;
        }
        first = to + 1;
    }
    if let Some(news) = news {
        if news != above as usize {
            sys(libc::SYS_dup3, [news, above as usize, libc::O_CLOEXEC as usize, 0, 0, 0])?;
        }
        first = above as usize + 1;
    }
    close_range(first, u32::MAX as usize)
}

fn close_range(first: usize, last: usize) -> Result<(), i32> {
    match sys(libc::SYS_close_range, [first, last, 0, 0, 0, 0]) {
        Ok(_) => Ok(()),
        // Before 5.9, or forbidden: each descriptor that can be open, one by one. All of kin's own close on exec.
        Err(libc::ENOSYS | libc::EPERM) => {
            let mut limit = [0u64; 2];
            let at = limit.as_mut_ptr() as usize;
            sys(libc::SYS_prlimit64, [0, libc::RLIMIT_NOFILE as usize, 0, at, 0, 0])?;
            for fd in first..(limit[0].min(1 << 16) as usize).min(last.saturating_add(1)) {
                if let Err(e) = sys(libc::SYS_close, [fd, 0, 0, 0, 0, 0])
                    && e != libc::EBADF
                {
                    return Err(e);
                }
            }
            Ok(())
        }
        Err(e) => Err(e),
    }
}

/// Whoever is passed sockets must know that they are meant for it, and for none of its children.
fn name_ourselves(text: &PidText) -> Result<(), i32> {
    let pid = sys(libc::SYS_getpid, [0; 6])?;
    let mut digits = [0u8; 12];
    let digits = decimal(pid as i32, &mut digits);
    for (to, from) in text.iter().zip(LISTEN_PID.iter().chain(digits).chain(&[0])) {
        to.store(*from, Ordering::Relaxed);
    }
    Ok(())
}

fn priority(plan: &Plan<'_>) -> Result<(), i32> {
    if let Some(nice) = plan.nice {
        sys(libc::SYS_setpriority, [libc::PRIO_PROCESS as usize, 0, nice as isize as usize, 0, 0, 0])?;
    }
    if let Some(score) = plan.oom_score_adj {
        let mut text = [0u8; 12];
        let digits = decimal(score, &mut text);
        let path = c"/proc/self/oom_score_adj".as_ptr() as usize;
        let flags = (libc::O_WRONLY | libc::O_CLOEXEC) as usize;
        let file = sys(libc::SYS_openat, [libc::AT_FDCWD as isize as usize, path, flags, 0, 0, 0])?;
        sys(libc::SYS_write, [file, digits.as_ptr() as usize, digits.len(), 0, 0, 0])?;
        sys(libc::SYS_close, [file, 0, 0, 0, 0, 0])?;
    }
    Ok(())
}

/// The number in decimal, at the end of `text`.
fn decimal(number: i32, text: &mut [u8; 12]) -> &[u8] {
    let mut at = text.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        text[at] = b'-';
    }
    &text[at..]
}

fn limits(plan: &Plan<'_>) -> Result<(), i32> {
    let set = |resource: usize, soft: u64, hard: u64| {
        let limit = [soft, hard];
        sys(libc::SYS_prlimit64, [0, resource, limit.as_ptr() as usize, 0, 0, 0]).map(|_| ())
    };
    if let Some((soft, hard)) = plan.nofile {
        set(libc::RLIMIT_NOFILE as usize, soft, hard)?;
    }
    for limit in plan.lists.limits {
        set(limit.resource as usize, limit.soft, limit.hard)?;
    }
    Ok(())
}

/// Becomes the user for good: groups first, as long as we may, then all three gids and uids, each read back.
fn user(plan: &Plan<'_>) -> Result<(), i32> {
    if let Some((uid, gid)) = plan.user {
        let (uid, gid) = (uid as usize, gid as usize);
        let groups = plan.lists.groups;
        // Rights that a keeper was given beside its user would outlive the change. Before 4.3 there were none.
        match sys(libc::SYS_prctl, [libc::PR_CAP_AMBIENT as usize, libc::PR_CAP_AMBIENT_CLEAR_ALL as usize, 0, 0, 0, 0])
        {
            Ok(_) | Err(libc::EINVAL) => {}
            Err(e) => return Err(e),
        }
        sys(libc::SYS_setgroups, [groups.len(), groups.as_ptr() as usize, 0, 0, 0, 0])?;
        sys(libc::SYS_setresgid, [gid, gid, gid, 0, 0, 0])?;
        sys(libc::SYS_setresuid, [uid, uid, uid, 0, 0, 0])?;
        for (number, id) in [(libc::SYS_getresuid, uid), (libc::SYS_getresgid, gid)] {
            let mut ids = [!0u32; 3];
            let at = ids.as_mut_ptr() as usize;
            sys(number, [at, at + 4, at + 8, 0, 0, 0])?;
            if ids != [id as u32; 3] {
                return Err(libc::EPERM);
            }
        }
        if sys(libc::SYS_getgroups, [0; 6])? != groups.len() {
            return Err(libc::EPERM);
        }
    }
    if plan.no_new_privileges {
        sys(libc::SYS_prctl, [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0, 0])?;
    }
    Ok(())
}

/// Every signal to its default, then all of them let in. A program finds none ignored, none blocked. Only those that the
/// keeper does not have at their default are touched: one call for each of 62 signals would be felt in every start.
fn signals(altered: u64) -> Result<(), i32> {
    /// `struct sigaction` as the kernel has it: handler, flags, restorer, mask. All zero is the default.
    const DEFAULT: [usize; 4] = [0; 4];
    for signal in (1..=64).filter(|signal| altered & (1 << (signal - 1)) != 0) {
        sys(libc::SYS_rt_sigaction, [signal, DEFAULT.as_ptr() as usize, 0, 8, 0, 0])?;
    }
    let none = 0u64;
    let at = (&raw const none) as usize;
    sys(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK as usize, at, 0, 8, 0, 0])?;
    Ok(())
}

/// Tries the programs in turn as a search of PATH does: what is not there, or not ours to run, is passed over; the
/// first other refusal is the answer. Returns only when none could be run.
fn exec(plan: &Plan<'_>) -> i32 {
    let (argv, env) = (plan.lists.argv.as_ptr() as usize, plan.lists.env.as_ptr() as usize);
    let mut forbidden = false;
    let mut last = libc::ENOENT;
    for program in plan.lists.programs {
        match sys(libc::SYS_execve, [*program as usize, argv, env, 0, 0, 0]) {
            Err(libc::EACCES) => forbidden = true,
            Err(e @ (libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT)) => last = e,
            Err(e) => return e,
            Ok(_) => {}
        }
    }
    if forbidden { libc::EACCES } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, -1, 1000, -1000, i32::MAX, i32::MIN] {
            assert_eq!(decimal(number, &mut [0; 12]), number.to_string().as_bytes());
        }
    }
}
