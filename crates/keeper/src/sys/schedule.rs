//! The turns that the kernel's scheduler gives us.

use super::raw::{call, check};

/// `struct sched_attr` as the first kernels with it had it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

const SIZE: usize = size_of::<Attributes>();
const RESET_ON_FORK: u64 = 1;
/// The shortest that the kernel takes.
const TURN_NS: u64 = 100_000;

/// Asks for short turns that come soon, instead of long ones (Linux 6.12): a keeper has little to do each time, and every
/// run that is to start waits for it behind those that were started. It gets no more of the processor by that. Children
/// begin with ordinary turns. Not for who is scheduled in a special way already: children would not inherit that.
pub fn take_short_turns() {
    let mut now = Attributes::default();
    // SAFETY: the kernel writes at most `SIZE` bytes into what is ours and as large.
    let known = check(unsafe { call(libc::SYS_sched_getattr, [0, (&raw mut now) as usize, SIZE, 0, 0, 0]) });
    if known.is_err() || now.policy != libc::SCHED_OTHER as u32 || now.nice < 0 {
        return;
    }
    let wanted = Attributes { size: SIZE as u32, flags: RESET_ON_FORK, runtime: TURN_NS, ..now };
    // A kernel that does not take it leaves us as we were.
    // SAFETY: reads as many bytes as `size` says, which are ours.
    let _refused: isize = unsafe { call(libc::SYS_sched_setattr, [0, (&raw const wanted) as usize, 0, 0, 0, 0]) };
}
