//! A run's output on its way, and a run's end.
//!
//! *Noted before reaped*: the leader's zombie is looked at, what it says is stored, and only then is it let go; a keeper
//! that dies anywhere between leaves either the zombie or the note.
//!
//! *Paced*: the first bytes are moved at once, then the stream is left alone for two milliseconds. A program that
//! writes line by line would otherwise wake us for each of them, and fight us for its pipe's lock.

use crate::clock::{self, MS, SECOND};
use crate::fault;
use crate::index::{self, End, EndExit, Stream};
use crate::keeper::{Keeper, Paced, arm, disarm};
use crate::leader::{self, Leader};
use crate::output::{self, Look};
use crate::start::has_begun;
use crate::sys::wait::{self, Corpse, ExitInfo, Stranger, Waited};
use crate::table::{DRAINED, EXITED, FREE, INTENT, RUNNING, Slot, flag};
use crate::token::{Token, check_of};
use crate::wire::Tell;
use rustix::event::epoll::EventFlags;
use rustix::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

const PAUSE: u64 = 2 * MS;
/// A look that found so much is followed by another at once: the child was waiting.
const FULL: usize = 48 << 10;
const LARGE: usize = 1 << 20;
/// How long somebody else may take to reap a leader that fell to him.
const REAPED_WITHIN: u64 = 10 * SECOND;
/// Turns before others have theirs.
const TURNS: usize = 8;

const CLD_EXITED: i32 = 1;
const CLD_DUMPED: i32 = 3;

impl Keeper {
    pub(crate) fn look(&mut self, at: usize, slot_at: u16, check: u32, stream: Stream) {
        let now = clock::mono();
        let Some(generation) = self.generations.get_mut(at).and_then(Option::as_mut) else { return };
        let slots = generation.table.slots();
        let Some(live) = generation.lives.checked(slot_at, check) else { return };
        let slot = &slots[usize::from(slot_at)];
        let was_blocked = slot.has_flag(flag::OUTPUT_BLOCKED);
        let mut looked = Look::Empty;
        for _turn in 0..TURNS {
            looked = self.mover.look(slot, live, stream, now);
            let feed = if stream == Stream::Out { &mut live.out } else { &mut live.err };
            let full = match feed.by_hand() {
                Some(_) => crate::byhand::TURN,
                None if feed.grown => LARGE * 3 / 4,
                None => FULL,
            };
            match looked {
                Look::Moved(n) if n >= full => {
                    feed.busy = feed.busy.saturating_add(1);
                    if feed.busy >= 2 && !feed.grown {
                        // EPERM: the user's budget for pipes is used up; it stays as it is.
                        feed.grown =
                            feed.pipe.as_ref().is_some_and(|p| rustix::pipe::fcntl_setpipe_size(p, LARGE).is_ok());
                    }
                }
                Look::Moved(_) => {
                    feed.busy = 0;
                    break;
                }
                Look::Empty | Look::Closed | Look::End | Look::Blocked => break,
            }
        }
        let (run, is_blocked) = (live.run, slot.has_flag(flag::OUTPUT_BLOCKED));
        let feed = if stream == Stream::Out { &mut live.out } else { &mut live.err };
        let paced = |due: u64| Paced { generation: at as u16, slot: slot_at, check, stream, due };
        match looked {
            Look::Moved(_) => {
                if !feed.paced {
                    feed.paced = true;
                    self.soon.push_back(paced(now + PAUSE));
                }
            }
            // One that is closed says so for as long as it is: nothing tells when it is opened again.
            Look::Closed | Look::Blocked => {
                if !feed.paced {
                    feed.paced = true;
                    self.later.push_back(paced(now + SECOND));
                }
            }
            Look::Empty => {
                let token = match stream {
                    Stream::Out => Token::Out { generation: at as u16, slot: slot_at, check },
                    Stream::Err => Token::Err { generation: at as u16, slot: slot_at, check },
                };
                let source = match (&live.tty, stream) {
                    (Some(tty), Stream::Out) => Some(tty.master.as_fd()),
                    (Some(_) | None, _) => feed.pipe.as_ref().map(AsFd::as_fd),
                };
                if let (false, Some(source)) = (feed.paced, source) {
                    arm(&self.epoll, source, token, EventFlags::IN | EventFlags::ONESHOT, true);
                }
            }
            Look::End => {
                if let Some(pipe) = feed.pipe.take() {
                    match (&live.tty, stream) {
                        (Some(tty), Stream::Out) => disarm(&self.epoll, &tty.master),
                        (Some(_) | None, _) => disarm(&self.epoll, &pipe),
                    }
                }
                feed.file = None;
                self.perhaps_finish(at, slot_at, check);
            }
        }
        if was_blocked != is_blocked {
            // The daemon can make room where we cannot.
            self.tell_generation(at, Tell::Changed { run, slot: u32::from(slot_at) });
        }
    }

    /// The feeds whose pause is over.
    pub(crate) fn look_again(&mut self, now: u64) {
        for queue in [0, 1] {
            let mut left = if queue == 0 { self.soon.len() } else { self.later.len() };
            while left > 0 {
                left -= 1;
                let line = if queue == 0 { &mut self.soon } else { &mut self.later };
                let Some(paced) = line.pop_front_if(|p| p.due <= now) else { break };
                if let Some(live) = self
                    .generation(usize::from(paced.generation))
                    .and_then(|g| g.lives.checked(paced.slot, paced.check))
                {
                    let feed = if paced.stream == Stream::Out { &mut live.out } else { &mut live.err };
                    feed.paced = false;
                }
                self.look(usize::from(paced.generation), paced.slot, paced.check, paced.stream);
            }
        }
    }

    /// The pidfd of a leader spoke, or the news of one that was on its way to exec, or it is time to look at that.
    pub(crate) fn leader_ended(&mut self, at: usize, slot_at: u16, check: u32) {
        let Some(generation) = self.generations.get_mut(at).and_then(Option::as_mut) else { return };
        let slots = generation.table.slots();
        let Some(live) = generation.lives.checked(slot_at, check) else { return };
        let slot = &slots[usize::from(slot_at)];
        let linger_from = clock::mono().saturating_add(live.linger_ns);
        let noted = !matches!(slot.state.load(Ordering::Relaxed), INTENT | RUNNING);
        if slot.linger_deadline.load(Ordering::Relaxed) == 0 || !noted {
            // Before the end is noted: whoever takes over in between must find a date.
            slot.linger_deadline.store(linger_from, Ordering::Relaxed);
        }
        let pid = slot.pid.load(Ordering::Relaxed);
        if live.ours {
            let waited = live.pidfd.as_ref().map_or_else(|| wait::peek_pid(pid), wait::peek);
            // Asked after its state and before it is reaped: a zombie, too, tells whether it ever was the program.
            let begun = has_begun(slot);
            match waited {
                Waited::Alive => return self.leader_goes_on(at, slot_at, check, begun),
                Waited::Zombie { si_code, si_status, user_us, system_us, max_rss_kib, read_blocks, write_blocks } => {
                    if !noted {
                        slot.user_us.store(user_us, Ordering::Relaxed);
                        slot.system_us.store(system_us, Ordering::Relaxed);
                        slot.max_rss_kib.store(max_rss_kib, Ordering::Relaxed);
                        slot.read_bytes.store(read_blocks.saturating_mul(512), Ordering::Relaxed);
                        slot.write_bytes.store(write_blocks.saturating_mul(512), Ordering::Relaxed);
                        let killed = si_code != CLD_EXITED && si_status == 9 && slot.has_flag(flag::CGROUP);
                        if killed && self.cgroups.oom_kills(&crate::stop::cgroup_name(live.run)).is_some_and(|n| n > 0)
                        {
                            slot.set_flag(flag::OOM);
                        }
                        note(slot, si_code, si_status);
                    }
                    fault::point("exit-noted");
                    live.pidfd.as_ref().map_or_else(|| wait::reap_pid(pid), wait::reap);
                    fault::point("exit-reaped");
                }
                Waited::NotOurs if !noted => match live.pidfd.as_ref().and_then(wait::exit_info) {
                    Some(info) => note(slot, info.code, info.status),
                    None => note_unknown(slot),
                },
                Waited::NotOurs => {}
            }
        } else if !noted {
            let now = clock::mono();
            if live.pidfd.is_none() {
                match leader::hold(slot, false) {
                    Leader::Held(pidfd) => {
                        let token = Token::Exit { generation: at as u16, slot: slot_at, check };
                        arm(&self.epoll, &pidfd, token, EventFlags::IN | EventFlags::ONESHOT, false);
                        live.pidfd = Some(pidfd);
                    }
                    Leader::NotNow(_) => {
                        live.look_at = now + SECOND;
                        return self.due_by(now + SECOND);
                    }
                    Leader::Gone => {}
                }
            }
            let end = foreign_end(live.pidfd.as_ref());
            let begun = has_begun(slot);
            match end {
                Foreign::Ended(info) => note(slot, info.code, info.status),
                // Its parent has not reaped it yet, and the kernel tells us only then.
                Foreign::Unreaped if self.learns_exits && (live.reaped_by == 0 || now < live.reaped_by) => {
                    let Some(pidfd) = live.pidfd.as_ref() else { return };
                    if live.reaped_by == 0 {
                        live.reaped_by = now + REAPED_WITHIN;
                    }
                    let until = live.reaped_by;
                    let token = Token::Exit { generation: at as u16, slot: slot_at, check };
                    // HUP, which always comes, is when it is reaped.
                    arm(&self.epoll, pidfd, token, EventFlags::ONESHOT, true);
                    return self.due_by(until);
                }
                Foreign::Alive => return self.leader_goes_on(at, slot_at, check, begun),
                Foreign::Unreaped | Foreign::Unknown => note_unknown(slot),
            }
        }
        for fd in [live.pidfd.take(), live.news.take()].into_iter().flatten() {
            disarm(&self.epoll, &fd);
        }
        let run = live.run;
        let until = slot.linger_deadline.load(Ordering::Relaxed);
        self.due_by(until);
        self.tell_generation(at, Tell::Changed { run, slot: u32::from(slot_at) });
        self.look_both(at, slot_at, run);
        self.perhaps_finish(at, slot_at, check);
    }

    /// It lives. `begun`: it has just become its program.
    fn leader_goes_on(&mut self, at: usize, slot_at: u16, check: u32, begun: bool) {
        let Some(generation) = self.generations.get_mut(at).and_then(Option::as_mut) else { return };
        let Some(live) = generation.lives.checked(slot_at, check) else { return };
        let run = live.run;
        if begun && let Some(news) = live.news.take() {
            disarm(&self.epoll, &news);
        }
        if let Some(pidfd) = live.pidfd.as_ref() {
            let token = Token::Exit { generation: at as u16, slot: slot_at, check };
            arm(&self.epoll, pidfd, token, EventFlags::IN | EventFlags::ONESHOT, true);
        }
        if begun {
            // One that was told to end before it was its program has not been asked yet.
            self.send_rung(at, slot_at, run);
            self.tell_generation(at, Tell::Changed { run, slot: u32::from(slot_at) });
        }
    }

    /// Ends a run whose leader is dead and whose streams are dry, unless its tree is still being stopped.
    pub(crate) fn perhaps_finish(&mut self, at: usize, slot_at: u16, check: u32) {
        let Some(generation) = self.generations.get_mut(at).and_then(Option::as_mut) else { return };
        let slots = generation.table.slots();
        let Some(live) = generation.lives.checked(slot_at, check) else { return };
        let slot = &slots[usize::from(slot_at)];
        let dry = live.is_dry();
        match slot.state.load(Ordering::Relaxed) {
            EXITED if dry => {
                if slot.stop_stage.load(Ordering::Relaxed) > 0 && !self.tree_is_gone(at, slot_at) {
                    return;
                }
                self.finish(at, slot_at, false);
            }
            DRAINED if dry => self.release(at, slot_at),
            _ => {}
        }
    }

    /// The run is at its end: say how it ended, and what it left.
    pub(crate) fn finish(&mut self, at: usize, slot_at: u16, leaky: bool) {
        self.measure(at, slot_at);
        let left = self.count_left(at, slot_at);
        let Some(generation) = self.generations.get_mut(at).and_then(Option::as_mut) else { return };
        let slots = generation.table.slots();
        let Some(live) = generation.lives.get(slot_at) else { return };
        let slot = &slots[usize::from(slot_at)];
        let run = live.run;
        output::settle(slot, live);
        slot.left_behind.store(left, Ordering::Relaxed);
        if leaky {
            slot.set_flag(flag::LEAKY);
        }
        slot.t_drained.store(clock::wall(), Ordering::Relaxed);
        self.record_end(at, slot_at, run);
        fault::point("end-recorded");
        let Some(generation) = self.generations.get_mut(at).and_then(Option::as_mut) else { return };
        let slot = &generation.table.slots()[usize::from(slot_at)];
        let strained = slot.has_flag(flag::DEGRADED);
        slot.state.store(DRAINED, Ordering::Release);
        // Only now: whoever takes over a run that is not at its end must find a date.
        for deadline in [&slot.stop_deadline, &slot.timeout_deadline, &slot.linger_deadline] {
            deadline.store(0, Ordering::Relaxed);
        }
        fault::point("drained");
        if !leaky && let Some(mut gone) = generation.lives.remove(slot_at) {
            crate::typing::rest(&self.epoll, &mut gone);
        }
        if strained {
            self.kick_elder();
        }
        self.tell_generation(at, Tell::Changed { run, slot: u32::from(slot_at) });
    }

    /// What the whole tree used, where its cgroup tells; the leader's own account is only of what it waited for.
    fn measure(&mut self, at: usize, slot_at: u16) {
        let Some(generation) = self.generations.get_mut(at).and_then(Option::as_mut) else { return };
        let slot = &generation.table.slots()[usize::from(slot_at)];
        if !slot.has_flag(flag::CGROUP) {
            return;
        }
        let name = crate::stop::cgroup_name(slot.run.load(Ordering::Relaxed));
        let (cpu, peak) = self.cgroups.used(&name);
        if let Some((user, system)) = cpu {
            slot.user_us.fetch_max(user, Ordering::Relaxed);
            slot.system_us.fetch_max(system, Ordering::Relaxed);
        }
        if let Some(peak) = peak {
            slot.max_rss_kib.fetch_max(peak / 1024, Ordering::Relaxed);
        }
    }

    /// Appends the end record that a lost ledger is rebuilt from. A full disk costs that record, not the run.
    pub(crate) fn record_end(&mut self, at: usize, slot_at: u16, run: u64) {
        let Some(generation) = self.generations.get(at).and_then(Option::as_ref) else { return };
        let slot = &generation.table.slots()[usize::from(slot_at)];
        let flags = slot.flags.load(Ordering::Relaxed);
        let status = slot.si_status.load(Ordering::Relaxed);
        let exit = if flags & flag::SPAWN_FAILED != 0 {
            EndExit::SpawnFailed { step: slot.step.load(Ordering::Relaxed), errno: slot.errno.load(Ordering::Relaxed) }
        } else {
            match slot.si_code.load(Ordering::Relaxed) {
                CLD_EXITED => EndExit::Code(status),
                code => EndExit::Signal { signal: status, core: code == CLD_DUMPED },
            }
        };
        let end = End {
            run,
            started_us: slot.t_start.load(Ordering::Relaxed) / 1_000,
            ended_us: slot.t_exit.load(Ordering::Relaxed) / 1_000,
            out_bytes: slot.out_len.load(Ordering::Relaxed),
            err_bytes: slot.err_len.load(Ordering::Relaxed),
            exit,
            flags,
        };
        let held =
            self.generation(at).and_then(|g| g.lives.get(slot_at)).map(|live| live.logs.append_end(&index::end(&end)));
        let written = held.unwrap_or_else(|| self.place.logs(run).append_end(&index::end(&end)));
        if let Err(errno) = written {
            crate::say(format_args!("no end record for run {}: {errno}", crate::start::run_name(run)));
        }
    }

    /// The daemon has the end in its ledger.
    pub(crate) fn forget(&mut self, at: usize, run: u64) {
        if !self.serves(at) {
            return;
        }
        let Some(generation) = self.generations[at].as_mut() else { return };
        let Some(slot_at) = generation.table.find(run).map(|slot| slot as u16) else { return };
        let slot = &generation.table.slots()[usize::from(slot_at)];
        if slot.state.load(Ordering::Relaxed) != DRAINED {
            return;
        }
        match generation.lives.checked(slot_at, check_of(run)) {
            Some(live) => live.forgotten = true,
            None => slot.state.store(FREE, Ordering::Release),
        }
        if at != self.own {
            self.retire();
        }
        self.sweep();
        self.nudge_to_look();
        self.kick_soon();
    }

    /// A leaky run's last writer has gone.
    fn release(&mut self, at: usize, slot_at: u16) {
        let Some(generation) = self.generations.get_mut(at).and_then(Option::as_mut) else { return };
        let Some(mut live) = generation.lives.remove(slot_at) else { return };
        crate::typing::rest(&self.epoll, &mut live);
        if live.forgotten {
            generation.table.slots()[usize::from(slot_at)].state.store(FREE, Ordering::Release);
        }
    }

    /// Orphans that fell to us. One of ours in front of them is noted and reaped first.
    pub(crate) fn reap_strangers(&mut self) {
        for _many in 0..1024 {
            let mut leader = None;
            let found = wait::reap_any_stranger(|pid| {
                leader = self.leader(pid);
                leader.is_some() || self.daemon.is(pid) || self.is_younger(pid)
            });
            match (found, leader) {
                (Stranger::None, _) => return,
                (Stranger::Reaped(_), _) => {}
                (Stranger::Ours(_), Some((at, slot, check))) => self.leader_ended(at, slot, check),
                // The daemon or the keeper: their own descriptors tell, in this same round or the next.
                (Stranger::Ours(_), None) => {
                    self.strangers_at = clock::mono() + 100 * MS;
                    return;
                }
            }
        }
        self.strangers_at = clock::mono();
    }

    fn leader(&mut self, pid: u32) -> Option<(usize, u16, u32)> {
        for at in 0..self.generations.len() {
            let Some(generation) = self.generations[at].as_mut() else { continue };
            if generation.serving != crate::generation::Serving::Mine {
                continue;
            }
            let slots = generation.table.slots();
            let found = generation.lives.iter_mut().find(|live| {
                let slot = &slots[usize::from(live.slot)];
                let there = live.pidfd.is_some() || matches!(slot.state.load(Ordering::Relaxed), INTENT | RUNNING);
                live.ours && there && slot.pid.load(Ordering::Relaxed) == pid
            });
            if let Some(live) = found {
                return Some((at, live.slot, check_of(live.run)));
            }
        }
        None
    }
}

/// Stores how the leader ended, then that it has.
fn note(slot: &Slot, si_code: i32, si_status: i32) {
    slot.si_code.store(si_code, Ordering::Relaxed);
    slot.si_status.store(si_status, Ordering::Relaxed);
    if slot.step.load(Ordering::Acquire) != 0 {
        slot.set_flag(flag::SPAWN_FAILED);
    }
    slot.t_exit.store(clock::wall(), Ordering::Relaxed);
    slot.state.store(EXITED, Ordering::Release);
}

/// It has ended, and nobody can tell how.
fn note_unknown(slot: &Slot) {
    slot.set_flag(flag::STATUS_UNKNOWN);
    slot.t_exit.store(clock::wall(), Ordering::Relaxed);
    slot.state.store(EXITED, Ordering::Release);
}

/// What can be known of a leader that is somebody else's child.
enum Foreign {
    Alive,
    Ended(ExitInfo),
    /// Dead, and not reaped: how it ended is not for us to see.
    Unreaped,
    /// Reaped, on a kernel that tells only parents.
    Unknown,
}

fn foreign_end(pidfd: Option<&OwnedFd>) -> Foreign {
    let Some(pidfd) = pidfd else { return Foreign::Unknown };
    if !wait::has_ended(pidfd) {
        return Foreign::Alive;
    }
    let corpse = wait::corpse(pidfd);
    // Before its end is asked for: who is reaped by now has said it, if this kernel says it at all. Who is not may be on
    // its way out, neither a corpse any more nor with an end to tell, and it may be we who could not look.
    let is_reaped = wait::is_reaped(pidfd);
    // Asked last: it may have been reaped a moment ago.
    match (corpse, wait::exit_info(pidfd)) {
        (_, Some(info)) | (Corpse::Ended(info), None) => Foreign::Ended(info),
        (Corpse::Closed, None) => Foreign::Unreaped,
        (Corpse::None, None) if !is_reaped => Foreign::Unreaped,
        (Corpse::None, None) => Foreign::Unknown,
    }
}
