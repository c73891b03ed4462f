//! Forks of ourselves, and the signals a keeper does not want.

use rustix::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::io;

/// Which side of a fork we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Parent { child: i32 },
    Child,
}

/// A plain fork. Only for processes with one thread; the keepers have no other.
pub fn fork() -> io::Result<Side> {
    // SAFETY: one thread, so that no lock can be held by another at this instant.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        child => Ok(Side::Parent { child }),
    }
}

/// Blocks every signal that can be blocked, but those that tell of a broken instruction.
pub fn block_signals() -> io::Result<()> {
    // SAFETY: an all-zero sigset is a valid value to fill; the pointers are to locals.
    let result = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut set);
        for fault in
            [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGTRAP, libc::SIGSYS]
        {
            libc::sigdelset(&mut set, fault);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &set, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

/// A descriptor that is readable when a child has changed. The signal must be blocked.
pub fn children_changed() -> io::Result<OwnedFd> {
    // SAFETY: the set is a local; the descriptor returned is ours alone.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        match libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Kills and reaps a child that was made a moment ago.
pub fn kill_child(child: i32) {
    // SAFETY: numbers only; it is our child and unreaped, so the number is its own.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
}

/// Takes over a descriptor whose number was told on the command line. Fails when it is not open.
pub fn inherited(number: i32) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a descriptor that is handed over"));
    }
    // SAFETY: fcntl on any number is harmless; it tells whether it is open.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: open, and named on our own command line for us to own.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// Borrows a descriptor of ours by its number.
pub fn with_fd<T>(number: i32, then: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
    // SAFETY: the caller holds the owner of this number for as long as this call lasts.
    then(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Ends the process at once: no destructors, no flushing of what a fork has copied.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes any code and does not come back.
    unsafe { libc::_exit(code) }
}
