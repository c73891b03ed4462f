//! The stop ladder, and every other deadline of a run. It stands in the slot, so that whoever takes over goes on with it.
//!
//! ```text
//!   stage 0 ──Stop, or the timeout──▶ 1 the run's stop signal to its whole tree, and a deadline; then the next signal
//!      │                              ▲ │ deadline of the last, or Stop(Kill)
//!      └─Await─▶ 1 without a signal ──┘ ▼
//!               Stop, or a deadline     2 KILL to the whole tree, again and again until nobody is left
//! ```
//! Without a signal: somebody else asks the run to end (its stop command, which the daemon has started). Should nobody say
//! more about it, the ladder begins by itself.
//!
//! A child that is not its program yet, because its directory hangs, say, gets no signal: it could not answer. It has its
//! deadline like any other, and once it is its program the signal, and the whole wait from then on.
//!
//! A leader that ends on the first rung does not end the run: what it started has the rest of the time to end too.

use crate::clock::{self, MS, SECOND};
use crate::fault;
use crate::generation::Generation;
use crate::keeper::Keeper;
use crate::start::run_name;
use crate::sys::wait;
use crate::table::{
    DRAINED, EXITED, FREE, INTENT, RUNG, RUNG_ASKED, RUNG_BITS, RUNG_COMMAND, RUNNING, SIGNAL_BITS, SIGNAL_SENT, Slot,
    flag,
};
use crate::token::check_of;
use crate::tree::{self, Kill, Swept, TreeRun};
use crate::wire::{AwaitBy, StopKind};
use std::ffi::CString;
use std::sync::atomic::Ordering;

/// How long KILL is tried before the run ends with what it leaves behind (processes that no signal reaches).
const GIVE_UP: u64 = 10 * SECOND;

impl Keeper {
    pub(crate) fn stop(&mut self, at: usize, run: u64, why: StopKind) {
        if !self.serves(at) {
            return;
        }
        let Some(generation) = self.generations[at].as_ref() else { return };
        let Some(slot_at) = generation.table.find(run).map(|slot| slot as u16) else { return };
        let slot = &generation.table.slots()[usize::from(slot_at)];
        match slot.state.load(Ordering::Relaxed) {
            // Before the first signal: what follows is seen as what was wished, whoever forgets the wish.
            INTENT | RUNNING => slot.set_flag(flag::STOP_ASKED),
            // How it ended is known; only what it left behind is ended now.
            EXITED => {}
            _ => return,
        }
        match why {
            StopKind::Ladder => self.climb(at, slot_at, run),
            StopKind::Kill => self.kill_stage(at, slot_at, run),
        }
    }

    /// Its end is asked for by other means: what is left of it after `ms` climbs the ladder.
    pub(crate) fn await_end(&mut self, at: usize, run: u64, by: AwaitBy, ms: u32) {
        if !self.serves(at) {
            return;
        }
        let Some(generation) = self.generations[at].as_ref() else { return };
        let Some(slot_at) = generation.table.find(run).map(|slot| slot as u16) else { return };
        let slot = &generation.table.slots()[usize::from(slot_at)];
        let lives = match slot.state.load(Ordering::Relaxed) {
            INTENT | RUNNING => true,
            EXITED => false,
            _ => return,
        };
        let rung = match by {
            AwaitBy::Command => RUNG_COMMAND,
            AwaitBy::Asked => RUNG_ASKED,
        };
        let climbs = slot.stop_stage.load(Ordering::Relaxed) != 0;
        if climbs && !(is_awaited(slot) && rung_of(slot) < rung) {
            return;
        }
        if lives {
            slot.set_flag(flag::STOP_ASKED);
        }
        let now = clock::mono();
        let deadline = now.saturating_add(u64::from(ms).saturating_mul(MS));
        slot.stop_deadline.store(deadline, Ordering::Relaxed);
        slot.stop_signal.store(SIGNAL_SENT | rung << RUNG, Ordering::Release);
        slot.stop_stage.store(1, Ordering::Release);
        fault::point("stop-awaited");
        self.look_soon(at, slot_at, run, now);
        self.due_by(deadline);
    }

    /// First rung, unless it is climbing already; a signal that could not be sent before is sent now.
    fn climb(&mut self, at: usize, slot_at: u16, run: u64) {
        let Some(generation) = self.generations[at].as_ref() else { return };
        let slot = &generation.table.slots()[usize::from(slot_at)];
        let now = clock::mono();
        if slot.stop_stage.load(Ordering::Relaxed) != 0 && !is_awaited(slot) {
            self.send_rung(at, slot_at, run);
            return self.look_soon(at, slot_at, run, now);
        }
        self.step_on(at, slot_at, run, 0);
    }

    /// The signal of this rung, and its deadline; past the last one it is KILL.
    fn step_on(&mut self, at: usize, slot_at: u16, run: u64, rung: u32) {
        let (signal, wait_ms) = self.rung(at, slot_at, rung);
        let Some(signal) = signal else { return self.kill_stage(at, slot_at, run) };
        let Some(generation) = self.generations[at].as_ref() else { return };
        let slot = &generation.table.slots()[usize::from(slot_at)];
        let now = clock::mono();
        let deadline = now.saturating_add(wait_ms.saturating_mul(MS));
        // The deadline first: whoever dies in between leaves the last rung with more time, not this one with none.
        slot.stop_deadline.store(deadline, Ordering::Relaxed);
        slot.stop_signal.store(u32::from(signal) | rung << RUNG, Ordering::Release);
        slot.stop_stage.store(1, Ordering::Release);
        fault::point("stop-noted");
        self.send_rung(at, slot_at, run);
        self.look_soon(at, slot_at, run, now);
        self.due_by(deadline);
    }

    /// The signal of a rung, if there is one, and how long each is waited for.
    fn rung(&mut self, at: usize, slot_at: u16, rung: u32) -> (Option<u8>, u64) {
        let spec = self.generation(at).and_then(|g| g.lives.get(slot_at)).and_then(|live| live.logs.spec().ok());
        match spec.as_ref().map(|spec| spec.view()) {
            Some(Ok(view)) => (view.stop_rung(rung as usize), view.stop_wait_ms()),
            Some(Err(_)) | None => ((rung == 0).then_some(15), 10_000),
        }
    }

    /// Sends the signal of the rung it stands on, unless that was done; from here on it has the whole wait to answer. Killed
    /// between sending and noting it, it is sent once more: better than a run that is killed without ever having been asked.
    pub(crate) fn send_rung(&mut self, at: usize, slot_at: u16, run: u64) {
        let Some(generation) = self.generations[at].as_ref() else { return };
        let slot = &generation.table.slots()[usize::from(slot_at)];
        let is_over = !matches!(slot.state.load(Ordering::Relaxed), RUNNING | EXITED);
        let stage = slot.stop_stage.load(Ordering::Acquire);
        let signal = slot.stop_signal.load(Ordering::Acquire);
        if is_over || stage != 1 || signal & SIGNAL_SENT != 0 {
            return;
        }
        let (_, wait_ms) = self.rung(at, slot_at, (signal >> RUNG) & RUNG_BITS);
        let deadline = clock::mono().saturating_add(wait_ms.saturating_mul(MS));
        if let Some(generation) = self.generations[at].as_ref() {
            generation.table.slots()[usize::from(slot_at)].stop_deadline.store(deadline, Ordering::Relaxed);
        }
        self.due_by(deadline);
        self.signal_all(at, slot_at, run, (signal & SIGNAL_BITS) as i32);
        if let Some(generation) = self.generations[at].as_ref() {
            generation.table.slots()[usize::from(slot_at)].stop_signal.fetch_or(SIGNAL_SENT, Ordering::Relaxed);
        }
    }

    fn kill_stage(&mut self, at: usize, slot_at: u16, run: u64) {
        let Some(generation) = self.generations[at].as_ref() else { return };
        let slot = &generation.table.slots()[usize::from(slot_at)];
        if slot.stop_stage.load(Ordering::Relaxed) < 2 {
            slot.set_flag(flag::KILLED);
            slot.stop_deadline.store(clock::mono() + GIVE_UP, Ordering::Relaxed);
            slot.stop_stage.store(2, Ordering::Release);
        }
        self.kill_step(at, slot_at, run);
    }

    /// One bounded piece of killing; comes back by time until the tree is gone.
    fn kill_step(&mut self, at: usize, slot_at: u16, run: u64) {
        let now = clock::mono();
        if self.has_cgroup(at, slot_at) {
            if let Err(e) = self.cgroups.kill(&cgroup_name(run)) {
                crate::say(format_args!("cannot kill the cgroup of run {}: {e}", run_name(run)));
            }
        } else {
            let run_id = self.run_id(at, slot_at);
            let reapers = self.reapers();
            let (leader, start_ticks, pipes) = self.marks(at, slot_at);
            let traces = TreeRun { id: &run_id, leader, start_ticks, pipes, known: &[] };
            let mut kill = self.kills.take(run);
            if let Swept::Again { .. } = tree::kill_tree(&mut self.processes, &reapers, &traces, &mut kill) {
                self.kills.put(run, kill);
            }
        }
        // The leader is ours: it can be reached whatever the scan saw, and before it has moved into its cgroup.
        self.signal_leader(at, slot_at, 9, true);
        self.look_soon(at, slot_at, run, now);
    }

    /// Looks at the tree again in a moment, then in longer ones.
    fn look_soon(&mut self, at: usize, slot_at: u16, run: u64, now: u64) {
        let Some(live) = self.generation(at).and_then(|g| g.lives.checked(slot_at, check_of(run))) else { return };
        live.look_pause = (live.look_pause * 2).clamp(5 * MS, 250 * MS);
        live.look_at = now + live.look_pause;
        let look_at = live.look_at;
        self.due_by(look_at);
    }

    pub(crate) fn signal(&mut self, at: usize, run: u64, signal: u8, leader_only: bool) {
        if !self.serves(at) {
            return;
        }
        let Some(generation) = self.generations[at].as_ref() else { return };
        if let Some(slot_at) = generation.table.find(run) {
            self.signal_leader(at, slot_at as u16, i32::from(signal), !leader_only);
        }
    }

    /// The leader, or its process group; only while it is there. Whether it was.
    fn signal_leader(&mut self, at: usize, slot_at: u16, signal: i32, group: bool) -> bool {
        let Some(generation) = self.generations.get_mut(at).and_then(Option::as_mut) else { return false };
        let slots = generation.table.slots();
        let Some(live) = generation.lives.get(slot_at) else { return false };
        let slot = &slots[usize::from(slot_at)];
        let state = slot.state.load(Ordering::Relaxed);
        // Before exec it is alone, and its group may still be ours.
        let group = group && state != INTENT;
        let sent = match live.pidfd.as_ref() {
            Some(pidfd) => wait::pidfd_send_signal(pidfd, signal, group),
            // Our child, and not reaped before its end is noted: the number is still its own.
            None if live.ours && matches!(state, INTENT | RUNNING) => {
                wait::signal_child(slot.pid.load(Ordering::Relaxed), signal, group)
            }
            None => return false,
        };
        match sent {
            Ok(()) => true,
            Err(e) => {
                if e.raw_os_error() != Some(rustix::io::Errno::SRCH.raw_os_error()) {
                    crate::say(format_args!("cannot signal: {e}"));
                }
                false
            }
        }
    }

    fn signal_all(&mut self, at: usize, slot_at: u16, run: u64, signal: i32) {
        if !self.has_cgroup(at, slot_at) {
            let run_id = self.run_id(at, slot_at);
            let reapers = self.reapers();
            let (leader, start_ticks, pipes) = self.marks(at, slot_at);
            let traces = TreeRun { id: &run_id, leader, start_ticks, pipes, known: &[] };
            if tree::signal_tree(&mut self.processes, &reapers, &traces, signal).is_err() {
                self.signal_leader(at, slot_at, signal, true);
            }
            return;
        }
        // Of a leader that has ended the group is not reached through it: who is left of it is told one by one.
        let told = self.signal_leader(at, slot_at, signal, true);
        let (mut pids, mut still) = ([0u32; 256], [0u32; 256]);
        let leader = self.marks(at, slot_at).0;
        let known = self.tree_pids(at, slot_at, run, &mut pids).unwrap_or(0).min(pids.len());
        for pid in &pids[..known] {
            // The leader's group has it already; a second TERM means something to some programs.
            if told && (*pid == leader || group_of(*pid) == Some(leader)) {
                continue;
            }
            let Ok(pidfd) = wait::pidfd_open(*pid) else { continue };
            // Still of this run, now that its number is held: not another's who got the number meanwhile.
            let there = self.tree_pids(at, slot_at, run, &mut still).unwrap_or(0).min(still.len());
            if still[..there].contains(pid)
                && let Err(e) = wait::pidfd_send_signal(&pidfd, signal, false)
                && e.raw_os_error() != Some(rustix::io::Errno::SRCH.raw_os_error())
            {
                crate::say(format_args!("cannot signal process {pid} of run {}: {e}", run_name(run)));
            }
        }
    }

    /// The living processes of a run, as many as fit; how many there are, or `None` when that cannot be seen now.
    fn tree_pids(&mut self, at: usize, slot_at: u16, run: u64, pids: &mut [u32]) -> Option<usize> {
        if self.has_cgroup(at, slot_at) {
            return self.cgroups.pids(&cgroup_name(run), pids).ok();
        }
        let run_id = self.run_id(at, slot_at);
        let reapers = self.reapers();
        let (leader, start_ticks, pipes) = self.marks(at, slot_at);
        tree::pids_of(
            &mut self.processes,
            &reapers,
            &TreeRun { id: &run_id, leader, start_ticks, pipes, known: &[] },
            pids,
        )
        .ok()
    }

    /// Whether a stopped run's tree has nobody left (its leader's zombie does not count).
    pub(crate) fn tree_is_gone(&mut self, at: usize, slot_at: u16) -> bool {
        let Some(run) = self.generation(at).and_then(|g| g.lives.get(slot_at)).map(|live| live.run) else {
            return true;
        };
        if self.has_cgroup(at, slot_at) {
            return !self.cgroups.populated(&cgroup_name(run)).unwrap_or(true);
        }
        let mut pids = [0u32; 8];
        let empty = self.tree_pids(at, slot_at, run, &mut pids) == Some(0);
        // A process that is just dying has lost what it is known by before it is gone: empty twice is empty.
        let Some(live) = self.generation(at).and_then(|g| g.lives.get(slot_at)) else { return true };
        std::mem::replace(&mut live.seen_empty, empty) && empty
    }

    /// At a run's end: how many of its processes live on. Its cgroup goes if it is empty.
    pub(crate) fn count_left(&mut self, at: usize, slot_at: u16) -> u32 {
        let Some((run, dry)) =
            self.generation(at).and_then(|g| g.lives.get(slot_at)).map(|live| (live.run, live.is_dry()))
        else {
            return 0;
        };
        self.kills.take(run);
        if self.has_cgroup(at, slot_at) {
            if self.drop_cgroup(run) {
                return 0;
            }
            self.mind_leftover(run);
            let mut pids = [0u32; 64];
            return self.cgroups.pids(&cgroup_name(run), &mut pids).unwrap_or(0) as u32;
        }
        let stopped = self.generations[at]
            .as_ref()
            .is_some_and(|g| g.table.slots()[usize::from(slot_at)].stop_stage.load(Ordering::Relaxed) > 0);
        if dry && !stopped {
            // A scan of all processes for each end would cost more than the run: only those who hold a pipe are counted.
            return 0;
        }
        let mut pids = [0u32; 64];
        self.tree_pids(at, slot_at, run, &mut pids).unwrap_or(0) as u32
    }

    /// `true`: it is gone.
    pub(crate) fn drop_cgroup(&mut self, run: u64) -> bool {
        match self.cgroups.remove(&cgroup_name(run)) {
            Ok(gone) => gone,
            Err(e) => {
                crate::say(format_args!("cannot remove the cgroup of run {}: {e}", run_name(run)));
                false
            }
        }
    }

    fn has_cgroup(&self, at: usize, slot_at: u16) -> bool {
        self.generations[at].as_ref().is_some_and(|g| g.table.slots()[usize::from(slot_at)].has_flag(flag::CGROUP))
    }

    /// What a run's processes are known by where there is no cgroup.
    fn marks(&mut self, at: usize, slot_at: u16) -> (u32, u64, [u64; 2]) {
        let Some(generation) = self.generation(at) else { return (0, 0, [0; 2]) };
        let slot = &generation.table.slots()[usize::from(slot_at)];
        let (leader, ticks) = (slot.pid.load(Ordering::Relaxed), slot.start_ticks.load(Ordering::Relaxed));
        let pipes = generation.lives.get(slot_at).map_or([0; 2], |live| {
            [&live.out, &live.err]
                .map(|feed| feed.pipe.as_ref().and_then(|p| rustix::fs::fstat(p).ok()).map_or(0, |s| s.st_ino))
        });
        (leader, ticks, pipes)
    }

    fn run_id(&mut self, at: usize, slot_at: u16) -> String {
        self.generation(at).and_then(|g| g.lives.get(slot_at)).map(|live| live.logs.run_id()).unwrap_or_default()
    }

    /// To whom orphans fall.
    fn reapers(&self) -> [u32; 2] {
        let me = std::process::id();
        match &self.role {
            crate::keeper::Role::Elder { younger, .. } => [me, younger.as_ref().map_or(me, |y| y.pid)],
            crate::keeper::Role::Keeper { elder, .. } => [me, *elder],
        }
    }

    /// Everything whose time has come, and the next time anything does.
    pub(crate) fn deadlines(&mut self, now: u64) {
        self.due = u64::MAX;
        for at in self.mine() {
            let mut i = 0;
            while let Some(slot_at) = self.generations[at].as_ref().and_then(|g| g.lives.slot_at(i)) {
                let before = self.generations[at].as_ref().map_or(0, |g| g.lives.len());
                self.deadlines_of(at, slot_at, now);
                let after = self.generations[at].as_ref().map_or(0, |g| g.lives.len());
                if after == before {
                    i += 1;
                }
            }
        }
    }

    /// A child that hangs before its program, and sends no news, is looked at; and a leader that we do not hold. `false`: it
    /// is so no more.
    fn still_waits(&mut self, at: usize, slot_at: u16, now: u64) -> bool {
        let waits = |keeper: &Keeper| {
            let generation = keeper.generations[at].as_ref();
            let intent = |g: &Generation| g.table.slots()[usize::from(slot_at)].state.load(Ordering::Relaxed) == INTENT;
            generation.is_some_and(intent) || keeper.is_unheld(at, slot_at)
        };
        if !waits(self) {
            return true;
        }
        let Some(live) = self.generation(at).and_then(|g| g.lives.get(slot_at)) else { return true };
        if live.look_at == 0 || now < live.look_at {
            return true;
        }
        let check = check_of(live.run);
        self.leader_ended(at, slot_at, check);
        waits(self)
    }

    fn deadlines_of(&mut self, at: usize, slot_at: u16, now: u64) {
        if !self.still_waits(at, slot_at, now) {
            return self.due_by(now);
        }
        let Some(generation) = self.generations[at].as_mut() else { return };
        let slots = generation.table.slots();
        let slot = &slots[usize::from(slot_at)];
        let Some(live) = generation.lives.get(slot_at) else { return };
        let (run, look_at, linger_ns) = (live.run, live.look_at, live.linger_ns);
        let state = slot.state.load(Ordering::Relaxed);
        let stage = slot.stop_stage.load(Ordering::Relaxed);
        let (stop, timeout) =
            (slot.stop_deadline.load(Ordering::Relaxed), slot.timeout_deadline.load(Ordering::Relaxed));
        let linger = slot.linger_deadline.load(Ordering::Relaxed);
        let lives = matches!(state, INTENT | RUNNING);
        if lives && live.reaped_by != 0 && now >= live.reaped_by {
            return self.leader_ended(at, slot_at, check_of(run));
        }
        match state {
            INTENT | RUNNING | EXITED => {}
            FREE | DRAINED => return,
            _ => return,
        }
        if lives && timeout != 0 && now >= timeout {
            slot.set_flag(flag::TIMED_OUT);
            self.climb(at, slot_at, run);
            // Only now, when the ladder stands in the slot: whoever dies in between leaves the one or the other.
            let Some(generation) = self.generations[at].as_ref() else { return };
            generation.table.slots()[usize::from(slot_at)].timeout_deadline.store(0, Ordering::Relaxed);
        } else if stage == 1 && stop != 0 && now >= stop {
            let next = if is_awaited(slot) { 0 } else { rung_of(slot) + 1 };
            self.step_on(at, slot_at, run, next);
        } else if stage > 0 && look_at != 0 && now >= look_at {
            if state == EXITED && (self.tree_is_gone(at, slot_at) || (stage == 2 && now >= stop)) {
                if !self.settle_stopped(at, slot_at, run, now, linger) {
                    self.look_soon(at, slot_at, run, now);
                }
            } else if stage == 2 {
                self.kill_step(at, slot_at, run);
            } else {
                self.look_soon(at, slot_at, run, now);
            }
        } else if state == INTENT && look_at != 0 && now >= look_at {
            self.look_soon(at, slot_at, run, now);
        } else if state == EXITED && stage == 0 && linger != 0 && now >= linger {
            if slot.has_flag(flag::OUTPUT_BLOCKED) {
                // What is still in the pipe was written by the run: it waits for the disk, not for the linger.
                slot.linger_deadline.store(now + linger_ns.max(SECOND), Ordering::Relaxed);
            } else {
                self.finish(at, slot_at, true);
            }
        }
        self.due_again(at, slot_at, now);
    }

    /// A stopped run whose tree is gone: its pipes are at their end, or soon.
    fn settle_stopped(&mut self, at: usize, slot_at: u16, run: u64, now: u64, linger: u64) -> bool {
        self.look_both(at, slot_at, run);
        self.perhaps_finish(at, slot_at, check_of(run));
        let left = self.generation(at).and_then(|g| g.lives.checked(slot_at, check_of(run)));
        match left {
            None => true,
            Some(live) if now >= linger => {
                let leaky = !live.is_dry();
                let Some(generation) = self.generations[at].as_ref() else { return true };
                // What is still in the pipe was written by the run: told to end or not, it waits for the disk.
                if leaky && generation.table.slots()[usize::from(slot_at)].has_flag(flag::OUTPUT_BLOCKED) {
                    return false;
                }
                self.finish(at, slot_at, leaky);
                true
            }
            Some(_) => false,
        }
    }

    /// The next deadline of one run, into the earliest of all.
    fn due_again(&mut self, at: usize, slot_at: u16, now: u64) {
        let unheld = self.is_unheld(at, slot_at);
        let Some(generation) = self.generations[at].as_mut() else { return };
        let slot = &generation.table.slots()[usize::from(slot_at)];
        let state = slot.state.load(Ordering::Relaxed);
        let stage = slot.stop_stage.load(Ordering::Relaxed);
        let mut next = u64::MAX;
        if matches!(state, INTENT | RUNNING) {
            let reaped_by = generation.lives.get(slot_at).map_or(0, |live| live.reaped_by);
            next = least(next, reaped_by);
            next = least(next, slot.timeout_deadline.load(Ordering::Relaxed));
        }
        if stage == 1 {
            next = least(next, slot.stop_deadline.load(Ordering::Relaxed));
        }
        if state == EXITED && stage == 0 {
            next = least(next, slot.linger_deadline.load(Ordering::Relaxed));
        }
        if (stage > 0 || state == INTENT || unheld)
            && let Some(live) = generation.lives.get(slot_at)
        {
            next = least(next, live.look_at);
        }
        if next != u64::MAX {
            self.due_by(next.max(now + MS / 10));
        }
    }
}

fn rung_of(slot: &Slot) -> u32 {
    (slot.stop_signal.load(Ordering::Relaxed) >> RUNG) & RUNG_BITS
}

/// It stands before the first signal.
fn is_awaited(slot: &Slot) -> bool {
    slot.stop_stage.load(Ordering::Relaxed) == 1 && rung_of(slot) >= RUNG_COMMAND
}

fn least(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { a.min(b) }
}

fn group_of(pid: u32) -> Option<u32> {
    let pid = rustix::process::Pid::from_raw(pid as i32)?;
    rustix::process::getpgid(Some(pid)).ok().map(|group| group.as_raw_nonzero().get() as u32)
}

pub(crate) fn cgroup_name(run: u64) -> CString {
    CString::new(run_name(run)).unwrap_or_default()
}

/// The kills that are under way without cgroups: few, and only while they last.
#[derive(Debug, Default)]
pub(crate) struct Kills(Vec<(u64, Kill)>);

impl Kills {
    pub(crate) fn with_room() -> Kills {
        Kills(Vec::with_capacity(64))
    }
    fn take(&mut self, run: u64) -> Kill {
        match self.0.iter().position(|(of, _)| *of == run) {
            Some(at) => self.0.swap_remove(at).1,
            None => Kill::default(),
        }
    }
    fn put(&mut self, run: u64, kill: Kill) {
        self.0.push((run, kill));
    }
}
