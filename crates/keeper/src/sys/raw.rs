//! The bare system call: no errno, no cancellation points, no locks, so that it may be used between clone and exec.

use std::arch::asm;

/// A system call with up to six arguments. Gives what the kernel gives: a negative errno on failure.
///
/// # Safety
/// As unsafe as the call itself: every pointer in `args` must be good for what the kernel does with it.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) unsafe fn call(number: i64, args: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = args;
    let result: isize;
    // SAFETY: the x86_64 convention: the kernel keeps every register but rax, rcx and r11, and uses no stack of ours.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// A system call with up to six arguments. Gives what the kernel gives: a negative errno on failure.
///
/// # Safety
/// As unsafe as the call itself: every pointer in `args` must be good for what the kernel does with it.
#[cfg(target_arch = "aarch64")]
#[inline]
pub(super) unsafe fn call(number: i64, args: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = args;
    let result: isize;
    // SAFETY: the aarch64 convention: the kernel keeps every register but x0, and uses no stack of ours.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    result
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the keeper knows the system call conventions of x86_64 and aarch64 only");

/// What a bare call gave, as a result with an errno.
pub(super) fn check(result: isize) -> Result<usize, i32> {
    if result < 0 { Err(-result as i32) } else { Ok(result as usize) }
}
