//! Making a process: `clone3` where it is, `clone` where it is not.
//!
//! Either way the kernel itself writes the child's pid into the run's slot before the child first runs, so there is no
//! instant at which a child exists that its table does not know. All signals are blocked around the call: a handler of
//! ours must not run in the child, which may share our memory.
//!
//! ```text
//!   shared   CLONE_VM|FILES|VFORK: the keeper stands still until exec; neither page tables nor descriptors are copied;
//!            on a stack of its own
//!   copied   the keeper goes on at once: for children that may hang (remote directories) or that change the user
//! ```

use super::arena::{Arena, Way};
use super::child::{self, EXTRA_MAX, Plan};
use super::misc::Blocked;
use super::pages::Pages;
use super::raw::{call, check};
use crate::spawn::Prepared;
use kin_core::SpawnStep;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::arch::asm;

const PIDFD: u64 = 0x1000;
const VM: u64 = 0x100;
const FILES: u64 = 0x400;
const VFORK: u64 = 0x4000;
const PARENT_SETTID: u64 = 0x0010_0000;
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args`, 88 bytes since 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Whose memory the child runs in until exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// The keeper's, which waits.
    Shared,
    /// Its own copy; the keeper goes on.
    Copied,
}

/// Makes the child of `p` and gives its pidfd (`None`: the old call, and no descriptor left). Its pid is then in the slot; what it could not do will be there too.
pub(crate) fn start(arena: &mut Arena, p: &Prepared<'_>, memory: Memory) -> Result<Option<OwnedFd>, (SpawnStep, i32)> {
    arena.load(&p.view).map_err(|e| (SpawnStep::Fork, e.raw_os_error().unwrap_or(libc::ENOMEM)))?;
    if memory == Memory::Copied || arena.way == Way::Clone {
        let (news, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            // No descriptor left: the child is none the worse, and is looked at by time.
            .map_or((None, None), |(news, tell)| (Some(news), Some(tell)));
        let stdio = arena.streams(p).map(|fd| fd.as_raw_fd());
        let made = make(arena, p, stdio, tell.as_ref().map(AsRawFd::as_raw_fd), Memory::Copied);
        // Our copy of the child's end goes here, and the child's with exec or with its death.
        drop(tell);
        arena.news = news.filter(|_| made.is_ok());
        arena.waited = false;
        return made;
    }
    arena.waited = true;
    let made = match arena.lend(p) {
        Ok(stdio) => make(arena, p, stdio, None, Memory::Shared),
        Err(e) => Err((SpawnStep::Stdio, e.raw_os_error())),
    };
    arena.take_back();
    made
}

fn make(
    arena: &Arena,
    p: &Prepared<'_>,
    stdio: [i32; 3],
    news: Option<i32>,
    memory: Memory,
) -> Result<Option<OwnedFd>, (SpawnStep, i32)> {
    let mut extra = [(0, 0); EXTRA_MAX];
    for (place, (fd, to)) in extra.iter_mut().zip(p.extra) {
        *place = (fd.as_raw_fd(), i32::from(*to));
    }
    let mut plan = Plan {
        extra: &extra[..p.extra.len().min(EXTRA_MAX)],
        listen_pid: arena.listen_pid(&p.view),
        lists: arena.lists(&p.view),
        directory: p.view.directory(),
        stdio,
        shares_files: memory == Memory::Shared,
        news,
        tty: p.tty_slave.map(|_| stdio[0]),
        join: None,
        umask: p.view.umask(),
        nice: p.view.nice(),
        oom_score_adj: p.view.oom_score_adj().or(p.restore.oom_score_adj),
        nofile: p.restore.nofile,
        user: p.view.user(),
        no_new_privileges: p.view.no_new_privileges(),
        altered_signals: arena.altered_signals,
        step: &p.slot.step,
        errno: &p.slot.errno,
    };
    let slot_pid = p.slot.pid.as_ptr() as u64;
    if arena.way == Way::Clone3 {
        match clone3(&arena.stack, &plan, slot_pid, p.cgroup, memory) {
            Ok(pidfd) => return Ok(Some(pidfd)),
            // Missing, or forbidden by a filter; or by a cgroup, which the child will then hear itself.
            Err(libc::ENOSYS | libc::EPERM) => {}
            Err(e) => return Err((refused_step(e, p.cgroup), e)),
        }
    }
    plan.shares_files = false;
    plan.join = p.cgroup.map(|fd| fd.as_raw_fd());
    clone(&plan, slot_pid).map_err(|e| (SpawnStep::Fork, e))
}

/// Which part of the call an errno of `clone3` speaks of.
fn refused_step(errno: i32, cgroup: Option<BorrowedFd<'_>>) -> SpawnStep {
    match errno {
        libc::EACCES | libc::EBADF | libc::EBUSY | libc::ENODEV | libc::ENOENT | libc::EOPNOTSUPP
            if cgroup.is_some() =>
        {
            SpawnStep::Cgroup
        }
        _ => SpawnStep::Fork,
    }
}

fn clone3(
    stack: &Pages,
    plan: &Plan<'_>,
    slot_pid: u64,
    cgroup: Option<BorrowedFd<'_>>,
    memory: Memory,
) -> Result<OwnedFd, i32> {
    let mut pidfd = -1i32;
    let mut args = CloneArgs {
        flags: PIDFD | PARENT_SETTID,
        pidfd: (&raw mut pidfd) as u64,
        parent_tid: slot_pid,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(directory) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = directory.as_raw_fd() as u64;
    }
    if memory == Memory::Shared {
        args.flags |= VM | VFORK | FILES;
        args.stack = stack.start().as_ptr() as u64;
        args.stack_size = stack.len() as u64;
    }
    let blocked = Blocked::all();
    // SAFETY: `args` is whole and its pointers are ours or the slot's; a child that shares our memory has the arena's
    // stack for itself while we wait for it; `child::run` never returns.
    let result = check(unsafe { bear(libc::SYS_clone3, clone3_words(&args), child::run, plan) });
    drop(blocked);
    result?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}

/// The old call: a copy of our memory, the pid in the slot, and a pidfd opened afterwards (the child cannot be reaped
/// by anybody else in between). Where that cannot be, there is a child all the same.
fn clone(plan: &Plan<'_>, slot_pid: u64) -> Result<Option<OwnedFd>, i32> {
    let flags = PARENT_SETTID | libc::SIGCHLD as u64;
    let blocked = Blocked::all();
    let words = [flags as usize, 0, slot_pid as usize, 0, 0];
    // SAFETY: the child has a copy of our memory and stack; `slot_pid` lies in the shared table.
    let result = check(unsafe { bear(libc::SYS_clone, words, child::run, plan) });
    drop(blocked);
    Ok(super::wait::pidfd_open(result? as u32).ok())
}

/// What a child runs, in its memory or ours.
type Entry<T> = extern "C" fn(*const T) -> !;

fn clone3_words(args: &CloneArgs) -> [usize; 5] {
    [(&raw const *args) as usize, size_of::<CloneArgs>(), 0, 0, 0]
}

/// A call that comes back twice. In the parent it is a plain call; the child never comes back, but runs `run(plan)`.
///
/// # Safety
/// `number` must be `clone3` or `clone`, and `words` valid for it; with CLONE_VM its stack must belong to the child alone.
#[cfg(target_arch = "x86_64")]
unsafe fn bear<T>(number: i64, words: [usize; 5], run: Entry<T>, plan: &T) -> isize {
    let [a, b, c, d, e] = words;
    let result: isize;
    // SAFETY: in the child rax is 0 and all but rax, rcx, r11 and rsp are as they were; it calls `run`.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r9",
            "ud2",
            "2:",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            in("r12") plan,
            in("r9") run,
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}

/// A call that comes back twice. In the parent it is a plain call; the child never comes back, but runs `run(plan)`.
///
/// # Safety
/// `number` must be `clone3` or `clone`, and `words` valid for it; with CLONE_VM its stack must belong to the child alone.
#[cfg(target_arch = "aarch64")]
unsafe fn bear<T>(number: i64, words: [usize; 5], run: Entry<T>, plan: &T) -> isize {
    // Here the old call has its last two words the other way round, and both are zero.
    let [a, b, c, d, e] = words;
    let result: isize;
    // SAFETY: in the child x0 is 0 and all but x0 and sp are as they were; it calls `run`.
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x9",
            "blr x10",
            "brk #1",
            "2:",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            in("x9") plan,
            in("x10") run,
            out("x30") _,
        );
    }
    result
}

/// The least that can be done to run a program in a session of its own, for measuring the rest against: shared memory,
/// setsid, exec, and nothing else. Its standard streams are ours.
pub fn floor(arena: &Arena, program: &std::ffi::CStr) -> std::io::Result<OwnedFd> {
    extern "C" fn run(program: *const libc::c_char) -> ! {
        let argv = [program, std::ptr::null()];
        let env = [std::ptr::null::<libc::c_char>()];
        let args = [program as usize, argv.as_ptr() as usize, env.as_ptr() as usize, 0, 0, 0];
        // SAFETY: strings and arrays end as exec wants them; the last call ends this process.
        unsafe {
            call(libc::SYS_setsid, [0; 6]);
            call(libc::SYS_execve, args);
            loop {
                call(libc::SYS_exit_group, [127, 0, 0, 0, 0, 0]);
            }
        }
    }
    let mut pidfd = -1i32;
    let args = CloneArgs {
        flags: PIDFD | VM | VFORK,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: arena.stack.start().as_ptr() as u64,
        stack_size: arena.stack.len() as u64,
        ..CloneArgs::default()
    };
    // SAFETY: the program's name outlives the child's need of it: we wait until it has been run.
    let program = unsafe { &*program.as_ptr() };
    // SAFETY: as in `clone3`.
    let result = check(unsafe { bear(libc::SYS_clone3, clone3_words(&args), run, program) });
    result.map_err(std::io::Error::from_raw_os_error)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}

/// Whether a process may be made inside the cgroup of this directory. Makes one that ends at once, and reaps it.
pub fn probe_cgroup(directory: BorrowedFd<'_>) -> std::io::Result<()> {
    let mut pidfd = -1i32;
    let args = CloneArgs {
        flags: PIDFD | INTO_CGROUP,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: directory.as_raw_fd() as u64,
        ..CloneArgs::default()
    };
    let blocked = Blocked::all();
    let at = (&raw const args) as usize;
    // SAFETY: a copy of our memory, as by fork.
    let result = check(unsafe { call(libc::SYS_clone3, [at, size_of::<CloneArgs>(), 0, 0, 0, 0]) });
    if result == Ok(0) {
        loop {
            // SAFETY: the child: ends, and touches no memory.
            unsafe { call(libc::SYS_exit_group, [0; 6]) };
        }
    }
    drop(blocked);
    result.map_err(std::io::Error::from_raw_os_error)?;
    // SAFETY: the kernel has just made it for us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    super::wait::wait_for_end(&pidfd)
}
