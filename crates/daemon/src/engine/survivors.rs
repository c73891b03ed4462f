//! Runs that no keeper has: those that outlived both keepers, and processes that were adopted. Nobody holds their pipes,
//! and nobody of ours is their parent, but they live.
//!
//! Each is watched by pidfd. While it lives it counts as any other run, and a stop works on it; when it is gone, the
//! kernel may still say how (from 6.15 on), else nobody knows and the run is lost.

use super::adopt::Adopted;
use super::dirs::Dirs;
use super::link::Link;
use super::slot;
use kin_core::{Close, How, RunId, RunNo, StopKind, Time};
use kin_keeper::boot::start_ticks;
use kin_keeper::spec::SpecView;
use kin_keeper::sys::wait::{exit_info, pidfd_open, pidfd_send_signal};
use kin_keeper::table::{Snapshot, flag};
use rustix::fd::OwnedFd;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

const SIGTERM: u8 = 15;
const SIGKILL: i32 = 9;
/// How long a survivor's zombie may wait for somebody to reap it before it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// So long its parent is waited for; one that never reaps keeps no run alive.
const REAP_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Survivor {
    generation: u64,
    number: u64,
    pidfd: OwnedFd,
    pid: u32,
    ticks: u64,
    flags: u32,
    /// Its stop signal and the wait after it, where no spec says them.
    ladder: Option<(u8, u64)>,
    /// When its time is over; its keepers, who would have seen to that, are dead.
    timeout_at: Option<Instant>,
    /// When the ladder comes to KILL.
    kill_at: Option<Instant>,
    /// It is dead, and not yet reaped.
    look_at: Option<Instant>,
    /// Since when.
    dead_since: Option<Instant>,
    /// How it ended; said again until it is recorded.
    close: Option<Close>,
}

#[derive(Debug, Default)]
pub(super) struct Survivors {
    runs: BTreeMap<RunNo, Survivor>,
}

/// What became of a run in a table that nobody serves.
#[derive(Debug)]
pub(super) enum Fate {
    Alive,
    /// It was watched until its end.
    Ended(Close),
    /// It was gone before anybody watched it.
    Gone,
}

impl Survivors {
    pub(super) fn has(&self, no: RunNo) -> bool {
        self.runs.contains_key(&no)
    }
    pub(super) fn of_generation(&self, generation: u64) -> usize {
        self.runs.values().filter(|s| s.generation == generation).count()
    }
    pub(super) fn all(&self) -> BTreeSet<RunNo> {
        self.runs.keys().copied().collect()
    }

    /// Looks whether the run of this slot lives, and watches it if so.
    pub(super) fn look(
        &mut self,
        link: &mut Link,
        generation: u64,
        no: RunNo,
        id: Option<&RunId>,
        s: &Snapshot,
    ) -> io::Result<Fate> {
        if let Some(survivor) = self.runs.get(&no) {
            return Ok(survivor.close.clone().map_or(Fate::Alive, Fate::Ended));
        }
        // The descriptor first: what is then asked by number is asked of this process, or the number was used again.
        let Ok(pidfd) = pidfd_open(s.pid) else { return Ok(Fate::Gone) };
        let Some(ticks) = start_ticks(s.pid) else { return Ok(Fate::Gone) };
        let same = if s.start_ticks != 0 { ticks == s.start_ticks } else { id.is_some_and(|id| carries(s.pid, id)) };
        if !same {
            return Ok(Fate::Gone);
        }
        let number = link.watch_survivor(&pidfd)?;
        let survivor = Survivor {
            generation,
            number,
            pidfd,
            pid: s.pid,
            ticks,
            flags: s.flags,
            ladder: None,
            timeout_at: None,
            kill_at: None,
            look_at: None,
            dead_since: None,
            close: None,
        };
        self.runs.insert(no, survivor);
        Ok(Fate::Alive)
    }

    /// Watches a process that was adopted, if it is still the same one.
    pub(super) fn adopt(&mut self, link: &mut Link, no: RunNo, adopted: &Adopted) -> io::Result<bool> {
        if self.runs.contains_key(&no) {
            return Ok(true);
        }
        let Adopted { pid, ticks, signal, wait_ms } = *adopted;
        let pidfd = match pidfd_open(pid) {
            Ok(pidfd) => pidfd,
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => return Ok(false),
            Err(e) => return Err(e),
        };
        if start_ticks(pid) != Some(ticks) {
            return Ok(false);
        }
        let number = link.watch_survivor(&pidfd)?;
        let survivor = Survivor {
            generation: 0,
            number,
            pidfd,
            pid,
            ticks,
            flags: 0,
            ladder: Some((signal, wait_ms)),
            timeout_at: None,
            kill_at: None,
            look_at: None,
            dead_since: None,
            close: None,
        };
        self.runs.insert(no, survivor);
        Ok(true)
    }

    /// How it ended, if it was watched until then.
    pub(super) fn close_of(&self, no: RunNo) -> Option<Close> {
        self.runs.get(&no).and_then(|survivor| survivor.close.clone())
    }

    /// Its keepers are dead, and with them the clock of its timeout: it is ours now.
    pub(super) fn limit(&mut self, dirs: &Dirs, no: RunNo, s: &Snapshot, now: Time) {
        if let Some(survivor) = self.runs.get_mut(&no)
            && survivor.kill_at.is_none()
        {
            survivor.timeout_at = timeout(dirs, no, s, now);
        }
    }

    /// A pidfd spoke: its run, and how it ended if it is quite gone.
    pub(super) fn spoke(&mut self, link: &mut Link, number: u64, now: Time) -> Option<(RunNo, Close)> {
        let no = self.runs.iter().find(|(_, s)| s.number == number).map(|(no, _)| *no)?;
        self.ended(link, no, now)
    }

    fn ended(&mut self, link: &mut Link, no: RunNo, now: Time) -> Option<(RunNo, Close)> {
        let survivor = self.runs.get_mut(&no).filter(|survivor| survivor.close.is_none())?;
        survivor.look_at = None;
        let how = match exit_info(&survivor.pidfd) {
            Some(info) => slot::exit(info.code, info.status).map_or(How::Unknown, How::Exit),
            // Dead, but its parent has not taken its exit yet; only then will the kernel tell us.
            None if start_ticks(survivor.pid) == Some(survivor.ticks)
                && survivor.dead_since.get_or_insert_with(Instant::now).elapsed() < REAP_MAX =>
            {
                survivor.look_at = Some(Instant::now() + LOOK_AGAIN);
                return None;
            }
            None => How::Unknown,
        };
        let close = Close {
            how,
            at: now,
            timed_out: survivor.flags & flag::TIMED_OUT != 0,
            oom: survivor.flags & flag::OOM != 0,
        };
        link.unwatch_survivor(survivor.number, &survivor.pidfd);
        (survivor.kill_at, survivor.timeout_at) = (None, None);
        survivor.close = Some(close.clone());
        Some((no, close))
    }

    /// Its end is in the ledger.
    pub(super) fn forget(&mut self, no: RunNo) -> bool {
        self.runs.remove(&no).is_some()
    }

    pub(super) fn stop(&mut self, dirs: &Dirs, no: RunNo, kind: StopKind) {
        let Some(survivor) = self.runs.get_mut(&no) else { return };
        match kind {
            StopKind::Kill => survivor.signal(SIGKILL),
            StopKind::Ladder if survivor.kill_at.is_some() => {}
            StopKind::Ladder => {
                let (signal, wait_ms) = survivor.ladder.unwrap_or_else(|| ladder(dirs, no));
                survivor.signal(i32::from(signal));
                survivor.kill_at = Some(Instant::now() + Duration::from_millis(wait_ms));
            }
        }
    }

    pub(super) fn signal(&self, no: RunNo, signal: u8, leader_only: bool) {
        if let Some(survivor) = self.runs.get(&no)
            && let Err(e) = pidfd_send_signal(&survivor.pidfd, i32::from(signal), !leader_only)
        {
            crate::say!("kin daemon: cannot signal run {no}: {e}");
        }
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.runs.values().flat_map(|s| [s.timeout_at, s.kill_at, s.look_at]).flatten().min()
    }

    /// What the time says: the last rung, and another look at the dead.
    pub(super) fn times(&mut self, dirs: &Dirs, link: &mut Link, now: Time) -> Vec<(RunNo, Close)> {
        let instant = Instant::now();
        let mut dead = Vec::new();
        let over = |s: &Survivor| s.timeout_at.is_some_and(|at| at <= instant);
        let late: Vec<RunNo> = self.runs.iter().filter(|(_, s)| over(s)).map(|(no, _)| *no).collect();
        for no in late {
            if let Some(survivor) = self.runs.get_mut(&no) {
                survivor.timeout_at = None;
                if survivor.kill_at.is_none() {
                    survivor.flags |= flag::TIMED_OUT;
                }
            }
            self.stop(dirs, no, StopKind::Ladder);
        }
        for (no, survivor) in &mut self.runs {
            if survivor.kill_at.is_some_and(|at| at <= instant) {
                survivor.kill_at = Some(instant + LOOK_AGAIN);
                survivor.signal(SIGKILL);
            }
            if survivor.look_at.is_some_and(|at| at <= instant) {
                dead.push(*no);
            }
        }
        dead.into_iter().filter_map(|no| self.ended(link, no, now)).collect()
    }
}

impl Survivor {
    /// To its group where the kernel can name that, else to the leader.
    fn signal(&self, signal: i32) {
        let sent =
            pidfd_send_signal(&self.pidfd, signal, true).or_else(|_| pidfd_send_signal(&self.pidfd, signal, false));
        if let Err(e) = sent
            && e.raw_os_error() != Some(rustix::io::Errno::SRCH.raw_os_error())
        {
            crate::say!("kin daemon: cannot signal process {}: {e}", self.pid);
        }
    }
}

/// The stop signal and the wait, as its spec has them.
fn ladder(dirs: &Dirs, no: RunNo) -> (u8, u64) {
    let default = (SIGTERM, 10_000);
    let Ok(bytes) = std::fs::read(dirs.spec(no)) else { return default };
    SpecView::check(&bytes).map_or(default, |view| (view.stop_signal(), view.stop_wait_ms()))
}

/// When its timeout comes, as its spec has it.
fn timeout(dirs: &Dirs, no: RunNo, s: &Snapshot, now: Time) -> Option<Instant> {
    let bytes = std::fs::read(dirs.spec(no)).ok()?;
    let limit = SpecView::check(&bytes).ok()?.timeout_ms();
    let age_ms = u64::try_from(now.0).ok()?.saturating_sub(s.t_start) / 1_000_000;
    (limit > 0).then(|| Instant::now() + Duration::from_millis(limit.saturating_sub(age_ms)))
}

/// Whether a process is of this run, by its environment.
fn carries(pid: u32, id: &RunId) -> bool {
    let want = format!("KIN_RUN_ID={id}");
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|bytes| bytes.split(|b| *b == 0).any(|entry| entry == want.as_bytes()))
}
