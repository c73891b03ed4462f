//! What a process has from whoever made it and no safe crate can put back: for one with a single thread, that is about to
//! become somebody else's server.

use super::misc;
use super::raw::{call, check};
use std::io;

fn done(result: isize) -> io::Result<()> {
    check(result).map(|_| ()).map_err(io::Error::from_raw_os_error)
}

/// No signal is ignored, but PIPE, which every program of ours ignores by itself; none is blocked.
pub fn default_signals() -> io::Result<()> {
    for signal in (1..=64usize).filter(|signal| *signal != libc::SIGPIPE as usize) {
        let (mut now, default) = ([0usize; 4], [0usize; 4]);
        // SAFETY: asks into, and sets from, a `struct sigaction` as the kernel has it; all zero is the default.
        unsafe {
            done(call(libc::SYS_rt_sigaction, [signal, 0, now.as_mut_ptr() as usize, 8, 0, 0]))?;
            if now[0] == libc::SIG_IGN {
                done(call(libc::SYS_rt_sigaction, [signal, default.as_ptr() as usize, 0, 8, 0, 0]))?;
            }
        }
    }
    misc::set_mask(0);
    Ok(())
}

/// The policy of an ordinary process, neither real-time nor idle.
pub fn ordinary_policy() -> io::Result<()> {
    let priority = 0i32;
    let args = [0, libc::SCHED_OTHER as usize, (&raw const priority) as usize, 0, 0, 0];
    // SAFETY: reads one `struct sched_param`, which is one int.
    done(unsafe { call(libc::SYS_sched_setscheduler, args) })
}

/// Disk access in the class that follows from the nice value.
pub fn ordinary_disk_priority() -> io::Result<()> {
    const WHO_PROCESS: usize = 1;
    // SAFETY: numbers only.
    done(unsafe { call(libc::SYS_ioprio_set, [WHO_PROCESS, 0, 0, 0, 0, 0]) })
}

/// Memory from whichever node is near.
pub fn ordinary_memory() -> io::Result<()> {
    // SAFETY: MPOL_DEFAULT with no set of nodes.
    done(unsafe { call(libc::SYS_set_mempolicy, [libc::MPOL_DEFAULT as usize, 0, 0, 0, 0, 0]) })
}

/// Linux as it is: random addresses, its own version.
pub fn ordinary_personality() -> io::Result<()> {
    // SAFETY: numbers only; what is mapped already stays where it is.
    done(unsafe { call(libc::SYS_personality, [0, 0, 0, 0, 0, 0]) })
}

/// A session keyring of our own, with the user's in it.
pub fn own_keyring() -> io::Result<()> {
    const USER: isize = -4;
    const SESSION: isize = -3;
    let join = [libc::KEYCTL_JOIN_SESSION_KEYRING as usize, 0, 0, 0, 0, 0];
    let link = [libc::KEYCTL_LINK as usize, USER as usize, SESSION as usize, 0, 0, 0];
    // SAFETY: numbers and a null name, which makes a keyring without one.
    unsafe {
        done(call(libc::SYS_keyctl, join))?;
        done(call(libc::SYS_keyctl, link))
    }
}
