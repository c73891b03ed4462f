//! Making an elder: whoever holds the server's lock may, and hands the lock on to it.
//!
//! The lock is free only when the whole chain of keepers is dead, because each of them inherits it. So whoever finds it
//! held never starts another server.

use crate::place::Place;
use kin_keeper::boot;
use kin_keeper::sys::wait;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::FdFlags;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Said of the run a caller is, never of a server.
pub const OF_A_RUN: [&str; 8] = [
    "KIN_JOB",
    "KIN_RUN_ID",
    "KIN_SLOT",
    "KIN_ATTEMPT",
    "KIN_SOCKET",
    "KIN_SCHEDULED_FOR",
    "KIN_TICK",
    "KIN_MISSED_COUNT",
];

/// The server's lock, held.
#[derive(Debug)]
pub struct Lock(OwnedFd);

/// `None`: a server has it.
pub fn lock(state: &Path) -> io::Result<Option<Lock>> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let file = rustix::fs::open(state.join("server.lock"), flags, Mode::RUSR | Mode::WUSR)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// A daemon, by its own lock.
#[derive(Debug)]
pub struct Daemon(OwnedFd);

/// The daemon that serves this state, if one lives.
pub fn daemon(state: &Path) -> Option<Daemon> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let file = rustix::fs::open(state.join("run/daemon.lock"), flags, Mode::empty()).ok()?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let mut text = String::new();
    File::from(file).take(64).read_to_string(&mut text).ok()?;
    let mut words = text.split_whitespace();
    let (pid, ticks) = (words.next()?.parse().ok()?, words.next()?.parse::<u64>().ok()?);
    let pidfd = wait::pidfd_open(pid).ok()?;
    // Its number may have been given to another since, but not with the same start.
    (boot::start_ticks(pid) == Some(ticks)).then_some(Daemon(pidfd))
}

impl Daemon {
    pub fn kill(&self) -> io::Result<()> {
        wait::pidfd_send_signal(&self.0, 9, false)
    }
}

/// Where keepers and daemon say what nobody asked them.
pub fn log(state: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
    Ok(File::from(rustix::fs::open(state.join("server.log"), flags, Mode::RUSR | Mode::WUSR)?))
}

/// Starts an elder and comes back when it stands. `listener` and `notify`: sockets that serve already, for
/// the elder to keep.
pub fn elder(place: &Place, lock: &Lock, listener: Option<&OwnedFd>, notify: Option<&OwnedFd>) -> io::Result<()> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("kin").args(["keep", "--elder", "--state"]).arg(&place.state).arg("--run").arg(&place.run);
    command.arg("--lock-fd").arg(lock.0.as_raw_fd().to_string());
    if let Some(listener) = listener {
        command.arg("--listen-fd").arg(listener.as_raw_fd().to_string());
    }
    if let Some(notify) = notify {
        command.arg("--notify-fd").arg(notify.as_raw_fd().to_string());
    }
    for name in OF_A_RUN {
        command.env_remove(name);
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log(&place.state)?);
    let handed = || std::iter::once(&lock.0).chain(listener).chain(notify);
    handed().try_for_each(|fd| rustix::io::fcntl_setfd(fd, FdFlags::empty()))?;
    let status = command.status();
    handed().try_for_each(|fd| rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC))?;
    match status? {
        status if status.success() => Ok(()),
        status => Err(io::Error::other(format!("the elder did not stand up ({status}); {} says why", "server.log"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_one_lock() {
        let dir = tempfile::tempdir().expect("a directory");
        let held = lock(dir.path()).expect("a lock");
        assert!(held.is_some());
        assert!(lock(dir.path()).expect("asked").is_none());
        drop(held);
        assert!(lock(dir.path()).expect("asked").is_some());
    }
}
