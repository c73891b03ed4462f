//! The daemon's life, as the elder sees it: started when there is none, started again when it dies.
//!
//! ```text
//!   Absent ──wanted──▶ Living ──died──▶ Resting until a time ──▶ Living …
//!                        │ ended by itself with 2 or 5 before it was ready; of a server without runs that never
//!                        ▼ served also the first for want of room, and the third for whatever it said
//!                      GaveUp
//! ```
//! At most one daemon lives, because it holds `daemon.lock`; a new elder finds the one of the old elder by that.

use crate::clock::{self, MS, SECOND};
use crate::keeper::{Keeper, arm, disarm};
use crate::sys::wait::{self, Waited};
use crate::token::Token;
use crate::wire::{self, Tell};
use rustix::event::epoll::EventFlags;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// In the runtime directory: the daemon has ended the server. It goes when another one is asked for, or begins.
pub const CLOSED: &str = "closed";

/// A daemon's exit code: there is no room to begin. Later there may be: only a server that never served ends with it.
pub const NO_ROOM: u8 = 7;

/// So often may the daemon of a server that never served fail to begin: whoever wanted one is waiting for a word.
const FALLS_MOST: u32 = 3;
const REST_FIRST: u64 = 50 * MS;
const REST_MOST: u64 = 5 * SECOND;
/// A daemon that lived so long starts with a clean record.
const HEALTHY: u64 = 60 * SECOND;

#[derive(Debug)]
enum State {
    Absent,
    Living { pid: u32, pidfd: OwnedFd, check: u32, ours: bool, ready: bool, born: u64 },
    Resting { until: u64 },
    GaveUp { code: u32 },
}

#[derive(Debug)]
pub(crate) struct Daemon {
    state: State,
    /// Ends by itself within its first minute, in a row.
    falls: u32,
    /// One has served, under us or the elder before us.
    has_served: bool,
}

/// Who holds `daemon.lock`.
enum Holder {
    Nobody,
    Somebody {
        pid: u32,
        pidfd: OwnedFd,
    },
    /// It is held, but its holder has not written who it is yet.
    Unsaid,
    /// It could not be looked at, most likely for want of descriptors.
    Unknown(Errno),
}

impl Daemon {
    pub(crate) fn new() -> Daemon {
        Daemon { state: State::Absent, falls: 0, has_served: false }
    }
    /// In a keeper: the daemon is the elder's business.
    pub(crate) fn forget(&mut self) {
        self.state = State::Absent;
        self.falls = 0;
    }
    pub(crate) fn wake_at(&self) -> u64 {
        match self.state {
            State::Resting { until } => until,
            State::Absent | State::Living { .. } | State::GaveUp { .. } => u64::MAX,
        }
    }
    pub(crate) fn is(&self, by_pid: u32) -> bool {
        matches!(self.state, State::Living { pid, .. } if pid == by_pid)
    }
    pub(crate) fn lives(&self) -> bool {
        matches!(self.state, State::Living { .. } | State::Resting { .. })
    }
    pub(crate) fn gave_up(&self) -> Option<u32> {
        match self.state {
            State::GaveUp { code } => Some(code),
            State::Absent | State::Living { .. } | State::Resting { .. } => None,
        }
    }
    pub(crate) fn ready_pid(&self) -> Option<u32> {
        match self.state {
            State::Living { pid, ready: true, .. } => Some(pid),
            State::Absent | State::Living { .. } | State::Resting { .. } | State::GaveUp { .. } => None,
        }
    }
}

impl Keeper {
    /// Sees to it that there is a daemon, also where the last one has ended the server.
    pub(crate) fn want_daemon(&mut self) {
        match self.daemon.state {
            State::Absent | State::GaveUp { .. } => self.see_to_daemon(true),
            State::Living { .. } | State::Resting { .. } => {}
        }
    }

    /// A new elder: the daemon of the old one most likely lives.
    pub(crate) fn adopt_daemon(&mut self) {
        self.daemon.has_served = true;
        if !self.closing {
            self.want_daemon_now();
        }
    }

    /// As long as none has ended the server.
    pub(crate) fn want_daemon_now(&mut self) {
        self.see_to_daemon(false);
    }

    /// An elder that made the API's socket anew: a daemon of the chain before it serves one that nobody finds any more. It
    /// starts again on ours, which loses nothing.
    pub(crate) fn end_deaf_daemon(&self) {
        if let Holder::Somebody { pidfd, .. } = self.holder()
            && let Err(e) = wait::pidfd_send_signal(&pidfd, 9, false)
        {
            crate::say(format_args!("cannot end a daemon that serves a socket of an earlier server: {e}"));
        }
    }

    fn see_to_daemon(&mut self, asked_for: bool) {
        if !self.is_elder() || self.closing {
            self.daemon.state = State::Absent;
            return;
        }
        match self.holder() {
            Holder::Somebody { pid, pidfd } => self.daemon_lives(pid, pidfd, false),
            Holder::Unsaid => self.daemon.state = State::Resting { until: clock::mono() + 20 * MS },
            Holder::Unknown(errno) => {
                crate::say(format_args!("cannot look for the daemon, trying again in a second: {errno}"));
                self.daemon.state = State::Resting { until: clock::mono() + SECOND };
            }
            // Whoever becomes the elder, by promotion or as another program, may have missed its end and what it said of it.
            Holder::Nobody if self.is_there(CLOSED) && !asked_for => {
                self.daemon.state = State::Absent;
                self.close();
            }
            Holder::Nobody => match self.reopen().and_then(|()| self.spawn_daemon()) {
                Ok((pid, pidfd)) => self.daemon_lives(pid, pidfd, true),
                Err(e) => {
                    crate::say(format_args!("cannot start the daemon, trying again in a second: {e}"));
                    self.daemon.state = State::Resting { until: clock::mono() + SECOND };
                }
            },
        }
    }

    /// Before there is one: who follows us, should we die on the way, starts it as well.
    fn reopen(&self) -> std::io::Result<()> {
        match rustix::fs::unlinkat(self.place.run_dir(), CLOSED, rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn daemon_lives(&mut self, pid: u32, pidfd: OwnedFd, ours: bool) {
        self.serial = self.serial.wrapping_add(1) & 0xff_ffff;
        let check = self.serial;
        arm(&self.epoll, &pidfd, Token::Daemon { check }, EventFlags::IN | EventFlags::ONESHOT, false);
        let ready = self.conns.iter().flatten().any(|c| c.role == Some(wire::Role::Daemon) && c.pid == pid);
        self.daemon.state = State::Living { pid, pidfd, check, ours, ready: ready && !ours, born: clock::mono() };
    }

    fn holder(&self) -> Holder {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(self.place.run_dir(), "daemon.lock", flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Holder::Nobody,
            Err(errno) => return Holder::Unknown(errno),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Holder::Nobody,
            Err(Errno::WOULDBLOCK) => {}
            Err(errno) => return Holder::Unknown(errno),
        }
        let mut text = [0u8; 64];
        let said = rustix::io::pread(&file, &mut text, 0).ok().and_then(|n| {
            let mut words = std::str::from_utf8(&text[..n]).ok()?.split_whitespace();
            Some((words.next()?.parse::<u32>().ok()?, words.next()?.parse::<u64>().ok()?))
        });
        let Some((pid, ticks)) = said else { return Holder::Unsaid };
        // What comes now needs descriptors of its own.
        drop(file);
        match wait::pidfd_open(pid) {
            // Its number could have been given to another since, but not with the same start.
            Ok(pidfd) => match crate::boot::start_ticks(pid) {
                Some(start) if start == ticks => Holder::Somebody { pid, pidfd },
                Some(_) => Holder::Unsaid,
                // It has gone in this very moment, or /proc could not be read.
                None => Holder::Unknown(Errno::AGAIN),
            },
            Err(e) if e.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Holder::Unsaid,
            Err(e) => Holder::Unknown(e.raw_os_error().map_or(Errno::AGAIN, Errno::from_raw_os_error)),
        }
    }

    fn spawn_daemon(&mut self) -> std::io::Result<(u32, OwnedFd)> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("kin").arg("daemon").arg("--state").arg(&self.place.state).arg("--run").arg(&self.place.run);
        command.arg("--listen-fd").arg(self.api.as_raw_fd().to_string());
        command.arg("--notify-fd").arg(self.notify.as_raw_fd().to_string());
        if let Some((soft, _hard)) = self.restore.nofile {
            command.env("KIN_NOFILE_SOFT", soft.to_string());
        }
        command.stdin(Stdio::null());
        // It is to inherit these two descriptors, and nothing else of ours is without CLOEXEC.
        let handed = [&self.api, &self.notify];
        handed.iter().try_for_each(|fd| rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()))?;
        let spawned = command.spawn();
        handed.iter().try_for_each(|fd| rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC))?;
        let pid = spawned?.id();
        // What protects us from the OOM killer is not for the one that grows.
        if let Some(before) = self.restore.oom_score_adj
            && let Err(e) = std::fs::write(format!("/proc/{pid}/oom_score_adj"), before.to_string())
        {
            crate::say(format_args!("the daemon keeps our protection from the OOM killer: {e}"));
        }
        Ok((pid, wait::pidfd_open(pid)?))
    }

    /// Its listening socket has lost its name: it starts again with the new one.
    pub(crate) fn restart_daemon(&mut self) {
        if let State::Living { pidfd, .. } = &self.daemon.state
            && let Err(e) = wait::pidfd_send_signal(pidfd, 9, false)
        {
            crate::say(format_args!("cannot restart the daemon: {e}"));
        }
    }

    pub(crate) fn daemon_ready(&mut self, conn: usize) {
        let by = self.conns.get(conn).and_then(Option::as_ref).map_or(0, |c| c.pid);
        match &mut self.daemon.state {
            State::Living { pid, ready, .. } if *pid == by => {
                *ready = true;
                self.daemon.has_served = true;
            }
            // One we do not know yet: the old elder's.
            State::Absent | State::Resting { .. } | State::GaveUp { .. } | State::Living { .. } => return,
        }
        for conn in self.conns.iter_mut().flatten().filter(|c| c.role == Some(wire::Role::Front)) {
            conn.tell(Tell::DaemonReady { pid: by });
        }
    }

    pub(crate) fn daemon_died(&mut self, of: u32) {
        let State::Living { pidfd, check, ours, ready, born, .. } = &self.daemon.state else { return };
        if *check != of {
            return;
        }
        let (ready, born, ours) = (*ready, *born, *ours);
        let end = if ours { wait::reap(pidfd) } else { Waited::NotOurs };
        if matches!(end, Waited::Alive) {
            arm(&self.epoll, pidfd, Token::Daemon { check: of }, EventFlags::IN | EventFlags::ONESHOT, true);
            return;
        }
        disarm(&self.epoll, pidfd);
        self.daemon.state = State::Absent;
        // It ended the server. What it said of that to us may lie unheard, on a connection that is not even let in yet.
        if self.is_there(CLOSED) {
            self.close();
        }
        if self.closing {
            return;
        }
        let now = clock::mono();
        let code = match end {
            Waited::Zombie { si_code: 1, si_status, .. } => Some(si_status),
            Waited::Zombie { .. } | Waited::Alive | Waited::NotOurs => None,
        };
        let is_new = !self.daemon.has_served && self.is_quiet();
        let in_vain = match code {
            Some(2 | 5) => true,
            Some(code) if code == i32::from(NO_ROOM) => is_new,
            Some(_) => is_new && self.daemon.falls + 1 >= FALLS_MOST,
            None => false,
        };
        if let Some(code) = code.filter(|_| in_vain && !ready)
            && matches!(self.holder(), Holder::Nobody)
        {
            return self.give_up(code as u32);
        }
        let killed = matches!(end, Waited::Zombie { si_code: 2, si_status: 9, .. } | Waited::NotOurs);
        self.daemon.falls =
            if (killed && ready) || now.saturating_sub(born) >= HEALTHY { 0 } else { self.daemon.falls + 1 };
        if self.daemon.falls <= 1 {
            return self.want_daemon_now();
        }
        let rest = (REST_FIRST << (self.daemon.falls - 2).min(10)).min(REST_MOST);
        crate::say(format_args!("the daemon ended ({end}); started again in {} ms", rest / MS));
        self.daemon.state = State::Resting { until: now + rest };
    }

    /// It cannot start as things are, and has said why. A server without a run ends with it.
    fn give_up(&mut self, code: u32) {
        self.daemon.state = State::GaveUp { code };
        for conn in self.conns.iter_mut().flatten().filter(|c| c.role == Some(wire::Role::Front)) {
            conn.tell(Tell::DaemonGaveUp { code });
        }
        if self.is_quiet() {
            self.close();
        }
    }
}
