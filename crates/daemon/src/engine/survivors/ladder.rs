//! The stop ladder and the timeout of a run that outlived its keepers, as `kin_keeper` has them, in the same fields of the
//! same slot: whoever comes after us goes on from there.

use super::{PAUSE, PAUSE_GIVEN_UP, PAUSE_MAX, Survivor, Survivors};
use crate::engine::dirs::Dirs;
use crate::engine::link::Link;
use kin_core::{RunNo, Seen, StopKind, Time};
use kin_keeper::clock::{MS, mono};
use kin_keeper::spec::SpecView;
use kin_keeper::sys::wait::pidfd_send_signal;
use kin_keeper::table::{RUNG, RUNG_ASKED, RUNG_BITS, RUNG_COMMAND, SIGNAL_BITS, SIGNAL_SENT, Slot, flag};
use kin_keeper::tree::{self, Kill, Processes, Swept};
use rustix::io::Errno;
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const SIGTERM: u8 = 15;
/// How long one piece of killing may take.
const SWEEP: Duration = Duration::from_millis(100);
/// How long KILL is tried, as a keeper does, before the run may end with what it leaves behind: who is stuck in the
/// kernel, or another user's, hears no signal.
const GIVE_UP: Duration = Duration::from_secs(10);
/// A signal of the ladder that reached nobody is sent again after so long.
const SEND_AGAIN: Duration = Duration::from_secs(1);

impl Survivors {
    /// It is ours from now on: what its keepers, or an earlier daemon, had begun with it goes on.
    pub(super) fn take_up(&mut self, no: RunNo) {
        let Some(slot) = self.slot(no) else { return };
        match slot.stop_stage.load(Ordering::Relaxed) {
            0 => {}
            // As soon as it is time for anything.
            _ => self.look_now(no),
        }
    }

    /// No table says when its time is over: after so long, from its start on.
    pub(in crate::engine) fn limit(&mut self, no: RunNo, limit: Duration, age: Duration) {
        let Some(slot) = self.runs.get(&no).and_then(|survivor| survivor.slot.as_deref()) else { return };
        // Once: what is over is not begun again.
        if slot.t_intent.swap(1, Ordering::Relaxed) == 0 {
            let left = u64::try_from(limit.saturating_sub(age).as_nanos()).unwrap_or(u64::MAX);
            slot.timeout_deadline.store(mono().saturating_add(left), Ordering::Relaxed);
        }
    }

    /// Somebody wants its end, or wanted it and did not see it.
    pub(in crate::engine) fn stop(&mut self, dirs: &Dirs, no: RunNo, kind: StopKind) {
        let Some(slot) = self.slot(no) else { return };
        slot.set_flag(flag::STOP_ASKED);
        match kind {
            StopKind::Kill => self.kill_stage(no),
            StopKind::Ladder if slot.stop_stage.load(Ordering::Relaxed) == 0 => self.step_on(dirs, no, 0),
            StopKind::Ladder => {}
        }
    }

    /// Its stop command has ended, if that is what it waits for: well, and then it has that long to go, or it is time for
    /// the first signal, as soon as signals may be sent.
    pub(in crate::engine) fn was_asked(&self, no: RunNo, wait: Option<Duration>) {
        let Some(slot) = self.slot(no).filter(|slot| is_awaited(slot) && rung_of(slot) == RUNG_COMMAND) else { return };
        let nanos = wait.map_or(0, |wait| u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
        slot.stop_deadline.store(mono().saturating_add(nanos), Ordering::Relaxed);
        if wait.is_some() {
            slot.stop_signal.store(SIGNAL_SENT | RUNG_ASKED << RUNG, Ordering::Release);
        }
    }

    pub(in crate::engine) fn signal(&mut self, no: RunNo, signal: u8, leader_only: bool) {
        let Some(survivor) = self.runs.get(&no) else { return };
        let sent = match survivor.watch.as_ref().filter(|watch| watch.is_leader) {
            Some(leader) => match pidfd_send_signal(&leader.pidfd, i32::from(signal), !leader_only) {
                // It leads no group, or this kernel knows groups by number alone.
                Err(e) if !leader_only && is_gone(&e) => self.signal_all(no, i32::from(signal)).map(drop),
                sent => sent,
            },
            None if leader_only => return,
            None => self.signal_all(no, i32::from(signal)).map(drop),
        };
        if let Err(e) = sent.or_else(gone_is_fine) {
            crate::say!("kin daemon: cannot signal run {no}: {e}");
        }
    }

    /// The signal of this rung, and its deadline; past the last one it is KILL.
    fn step_on(&mut self, dirs: &Dirs, no: RunNo, rung: u32) {
        let (first, wait_ms) = self.runs.get(&no).and_then(|survivor| survivor.stop).unwrap_or((SIGTERM, 10_000));
        let (signal, wait_ms) = spec(dirs, no, |view| (view.stop_rung(rung as usize), view.stop_wait_ms()))
            .unwrap_or(((rung == 0).then_some(first), wait_ms));
        let Some(signal) = signal else { return self.kill_stage(no) };
        let Some(slot) = self.slot(no) else { return };
        // The deadline first: whoever dies in between leaves the last rung with more time, not this one with none.
        slot.stop_deadline.store(mono().saturating_add(wait_ms.saturating_mul(MS)), Ordering::Relaxed);
        slot.stop_signal.store(u32::from(signal) | rung << RUNG, Ordering::Release);
        slot.stop_stage.store(1, Ordering::Release);
        self.send_rung(no);
    }

    fn send_rung(&mut self, no: RunNo) {
        let Some(signal) = self.slot(no).map(|slot| slot.stop_signal.load(Ordering::Acquire)) else { return };
        if signal & SIGNAL_SENT != 0 {
            return;
        }
        let sent = self.signal_all(no, (signal & SIGNAL_BITS) as i32);
        if let Err(e) = &sent {
            crate::say!("kin daemon: cannot signal run {no}: {e}");
        }
        if sent.unwrap_or(0) == 0 {
            if let Some(survivor) = self.runs.get_mut(&no) {
                let at = Instant::now() + SEND_AGAIN;
                survivor.look_at = Some(survivor.look_at.map_or(at, |sooner| sooner.min(at)));
            }
            return;
        }
        if let Some(slot) = self.slot(no) {
            slot.stop_signal.fetch_or(SIGNAL_SENT, Ordering::Relaxed);
        }
    }

    fn kill_stage(&mut self, no: RunNo) {
        let Some(slot) = self.slot(no) else { return };
        if slot.stop_stage.load(Ordering::Relaxed) < 2 {
            slot.set_flag(flag::KILLED);
            let deadline = mono().saturating_add(u64::try_from(GIVE_UP.as_nanos()).unwrap_or(u64::MAX));
            slot.stop_deadline.store(deadline, Ordering::Relaxed);
            slot.stop_stage.store(2, Ordering::Release);
            if let Some(survivor) = self.runs.get_mut(&no) {
                survivor.pause = PAUSE;
            }
        }
        self.kill_step(no);
    }

    /// One bounded piece of killing; comes back by time until nobody is left.
    fn kill_step(&mut self, no: RunNo) {
        let ours = self.ours;
        let given_up = self.has_given_up(no);
        let Some((processes, survivor)) = self.with_processes(no) else { return };
        let mut kill = survivor.kill;
        // Longer than a keeper may: nobody's output waits for us, and all that a bomb of processes needs is a pause.
        let until = Instant::now() + SWEEP;
        loop {
            let mut met = Vec::new();
            let tell = |pid, ticks| met.push((pid, ticks));
            let swept = tree::kill_tree_and_tell(processes, &ours, &survivor.tree(), &mut kill, tell);
            survivor.learn(met);
            if swept == Swept::Gone || given_up || Instant::now() >= until {
                break;
            }
        }
        survivor.kill = kill;
        // Whether it is over is seen by whoever watches its processes.
        let (least, most) = if given_up { (PAUSE_MAX, PAUSE_GIVEN_UP) } else { (PAUSE, PAUSE_MAX) };
        survivor.pause = (survivor.pause * 2).clamp(least, most);
        survivor.look_at = Some(Instant::now() + survivor.pause);
        self.begin_look();
    }

    /// It was told KILL for as long as that is worth anything.
    fn has_given_up(&self, no: RunNo) -> bool {
        let until = self.slot(no).map_or(0, |slot| slot.stop_deadline.load(Ordering::Relaxed));
        until != 0 && until <= mono()
    }

    /// Its end, when its leader is dead and nobody of those who are left hears a KILL.
    fn give_up(&mut self, no: RunNo, now: Time) -> Option<Seen> {
        let survivor = self.runs.get(&no)?;
        let leader_lives = survivor.watch.as_ref().is_some_and(|watch| watch.is_leader);
        // At least once it is told so by us.
        if leader_lives || survivor.kill == Kill::default() || !self.has_given_up(no) {
            return None;
        }
        self.begin_look();
        self.look_around().ok()?;
        let Survivors { processes, runs, .. } = self;
        let left = processes.as_mut()?.members(&runs.get(&no)?.tree()).len();
        Some(self.end(no, u32::try_from(left).unwrap_or(u32::MAX), now))
    }

    fn look_now(&mut self, no: RunNo) {
        if let Some(survivor) = self.runs.get_mut(&no) {
            survivor.look_at = Some(Instant::now());
        }
    }

    /// Once to each of its processes; to how many.
    fn signal_all(&mut self, no: RunNo, signal: i32) -> io::Result<usize> {
        self.begin_look();
        self.open_processes()?;
        let ours = self.ours;
        let Some((processes, survivor)) = self.with_processes(no) else { return Ok(0) };
        let told = tree::signal_tree(processes, &ours, &survivor.tree(), signal)?;
        survivor.learn(processes.members(&survivor.tree()));
        Ok(told)
    }

    fn with_processes(&mut self, no: RunNo) -> Option<(&mut Processes, &mut Survivor)> {
        self.open_processes().ok()?;
        Some((self.processes.as_mut()?, self.runs.get_mut(&no).filter(|survivor| survivor.ended.is_none())?))
    }

    pub(in crate::engine) fn wake_at(&self) -> Option<Instant> {
        if !self.knows_ours {
            return None;
        }
        let deadlines = self.runs.keys().filter_map(|no| self.deadline(*no)).min();
        let deadline = deadlines.map(|at| Instant::now() + Duration::from_nanos(at.saturating_sub(mono())));
        self.runs.values().filter_map(|survivor| survivor.look_at).chain(deadline).min()
    }

    /// The next date in its slot.
    fn deadline(&self, no: RunNo) -> Option<u64> {
        self.runs.get(&no).filter(|survivor| survivor.ended.is_none())?;
        let slot = self.slot(no)?;
        let timeout = slot.timeout_deadline.load(Ordering::Relaxed);
        let rung =
            if slot.stop_stage.load(Ordering::Relaxed) == 1 { slot.stop_deadline.load(Ordering::Relaxed) } else { 0 };
        [timeout, rung].into_iter().filter(|at| *at != 0).min()
    }

    /// What the time says: who is out of time, the next rung, and another look.
    pub(in crate::engine) fn times(&mut self, dirs: &Dirs, link: &mut Link, now: Time) -> Vec<(RunNo, Seen)> {
        let mut ends = Vec::new();
        if !self.knows_ours {
            return ends;
        }
        self.begin_look();
        let all: Vec<RunNo> = self.runs.keys().copied().collect();
        for no in all {
            if self.deadline(no).is_some_and(|at| at <= mono()) {
                self.date_has_come(dirs, no);
            }
            let is_due = |survivor: &Survivor| survivor.look_at.is_some_and(|at| at <= Instant::now());
            let Some(survivor) = self.runs.get_mut(&no).filter(|survivor| is_due(survivor)) else { continue };
            survivor.look_at = None;
            if let Some(seen) = self.follow(link, no, now) {
                ends.push((no, seen));
                continue;
            }
            match self.slot(no).map_or(0, |slot| slot.stop_stage.load(Ordering::Relaxed)) {
                0 => {}
                1 => self.send_rung(no),
                _ => match self.give_up(no, now) {
                    Some(seen) => ends.push((no, seen)),
                    None => self.kill_step(no),
                },
            }
        }
        ends
    }

    fn date_has_come(&mut self, dirs: &Dirs, no: RunNo) {
        let Some(slot) = self.slot(no) else { return };
        let (timeout, stage) = (slot.timeout_deadline.load(Ordering::Relaxed), slot.stop_stage.load(Ordering::Relaxed));
        if timeout != 0 && timeout <= mono() {
            slot.set_flag(flag::TIMED_OUT);
            if stage == 0 {
                self.step_on(dirs, no, 0);
            }
            // Only now, when the ladder stands in the slot: whoever dies in between leaves the one or the other.
            if let Some(slot) = self.slot(no) {
                slot.timeout_deadline.store(0, Ordering::Relaxed);
            }
        } else if stage == 1 {
            let next = if is_awaited(slot) { 0 } else { rung_of(slot) + 1 };
            self.step_on(dirs, no, next);
        }
    }
}

fn rung_of(slot: &Slot) -> u32 {
    (slot.stop_signal.load(Ordering::Relaxed) >> RUNG) & RUNG_BITS
}

/// It stands before the first signal: at its stop command, or at the time it has after that.
fn is_awaited(slot: &Slot) -> bool {
    slot.stop_stage.load(Ordering::Relaxed) == 1 && rung_of(slot) >= RUNG_COMMAND
}

/// What its spec says, if that can still be read.
fn spec<T>(dirs: &Dirs, no: RunNo, what: impl Fn(&SpecView<'_>) -> T) -> Option<T> {
    let bytes = std::fs::read(dirs.spec(no)).ok()?;
    SpecView::check(&bytes).ok().map(|view| what(&view))
}

/// Whoever is not there any more needs no signal.
fn gone_is_fine(e: io::Error) -> io::Result<()> {
    if is_gone(&e) { Ok(()) } else { Err(e) }
}

fn is_gone(e: &io::Error) -> bool {
    e.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}
