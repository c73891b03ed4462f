//! The world: every run that is not over, and all the rules about them.
//!
//! It is told wishes and facts with the time it is, and answers with effects; it keeps nothing that could not be loaded
//! again from the rows it asked to be recorded. After any death a new world is loaded from the ledger, and recovery says
//! the same facts to it that a calm day would have said.
//!
//! ```text
//!                 Release              place free               Slot: Running
//!   ●──▶ held ───────────────▶ queued ───────────▶ starting ─────────────────▶ running ◀──▶ running, unowned
//!   │     │ Stop                │ Stop              │  │ │ ▲                   │   │              │ SurvivorGone
//!   │     ▼                     ▼                   │  │ └─┘ Settled without   │   │              ▼
//!   │   ended(cancelled)      ended(cancelled)      │  │     it: again         │   │         ended(its exit or
//!   │                                               │  │                 Stop  │   │               lost)
//!   └──▶ starting, when neither latch nor group     │  └──── Stop ─────┐       │   │ Slot: Exited
//!                                                   │                  ▼       ▼   ▼
//!              ended(spawn-failed) ◀─ Slot: Drained ┘              stopping ─▶ draining ─▶ ended(verdict)
//!                                                                      │ Withdrawn
//!                                                                      ▼
//!                                                                 ended(cancelled)
//! ```
//!
//! | from → to | moved by |
//! |---|---|
//! | (new) → held, queued, starting | `Wish::Submit` |
//! | held → queued, starting | `Wish::Release`, each run once |
//! | queued → starting | `promote`: whenever a place in its group may have become free, oldest number first |
//! | starting: no generation → a generation | `Fact::Settled`, and at once when a keeper is known |
//! | starting → no generation | `Fact::Refused(NotCurrent)`: it proves that nothing ran |
//! | starting → starting, other generation | `Fact::Settled` without it: no table has it, so nothing ran |
//! | held, queued → ended(cancelled) | `Wish::Stop` |
//! | starting, running → stopping | `Wish::Stop`, and `Wish::Signal` as an interrupt of one that is only starting; `Fact::Slot` that says that its keeper was told to stop it |
//! | stopping, never seen alive → ended(cancelled) | `Fact::Withdrawn`, asked for by `Act::Withdraw` when nobody seems to have it |
//! | any but ended → running, draining, ended | `Fact::Slot`: what a keeper has written is the truth |
//! | any but ended → ended(lost) | `Fact::Booted` (another boot), `Fact::Settled` (a going run that no table has) |
//! | starting, running → running, unowned | `Fact::Survivor` |
//!
//! What is true in each state:
//! - *held, queued*: no keeper ever heard of it; its spec is a file.
//! - *starting, no generation*: no keeper ever took it. *starting, generation g*: g may have it, nobody else ever may.
//! - *stopping*: the wish is recorded, and said again to whoever has the run after every change of the chain.
//! - *draining*: `exit` is final; the outcome waits for the pipes.
//! - *ended*: final. Its spec goes, and only then its slot.

use crate::effect::{Act, Effects, Event, What};
use crate::fact::{Fact, Settled, StartRefusal};
use crate::run::StopWhy;
use crate::seen::{Close, Ladder, Phase, Seen};
use crate::wish::{Farewell, Granted, NewRun, StopKind, Wish};
use crate::{JobName, LostWhy, Outcome, Refusal, Run, RunNo, RunState, SpawnStep, Time};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// "No such file": what a spawn without a spec failed with.
const ENOENT: i32 = 2;

#[derive(Clone, Debug, Default)]
pub struct World {
    live: BTreeMap<RunNo, Run>,
    /// Who takes starts, while that is known.
    keeper: Option<u64>,
    /// The generation each start was sent to in this life; what a refusal must name to be believed.
    given: BTreeMap<RunNo, u64>,
    /// Refused for want of a slot: nobody has them until there is room.
    roomless: BTreeSet<RunNo>,
    boot: String,
    closing: bool,
    places: Places,
}

/// Who stands where, by latch, group and job. Wholly derived from `live`; changed only by `World::put` and
/// `World::take`, so that no place can leak.
#[derive(Clone, Debug, Default, PartialEq)]
struct Places {
    latches: BTreeMap<String, BTreeSet<RunNo>>,
    groups: BTreeMap<String, Group>,
    jobs: BTreeMap<JobName, BTreeSet<RunNo>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Group {
    going: BTreeSet<RunNo>,
    queue: BTreeSet<RunNo>,
}

impl Places {
    fn add(&mut self, run: &Run) {
        self.jobs.entry(run.job.clone()).or_default().insert(run.no);
        if let RunState::Held { latch } = &run.state {
            self.latches.entry(latch.clone()).or_default().insert(run.no);
        }
        if let Some(name) = &run.group {
            if run.state.is_going() {
                self.groups.entry(name.clone()).or_default().going.insert(run.no);
            } else if run.state == RunState::Queued {
                self.groups.entry(name.clone()).or_default().queue.insert(run.no);
            }
        }
    }

    fn remove(&mut self, run: &Run) {
        if let Some(runs) = self.jobs.get_mut(&run.job) {
            runs.remove(&run.no);
            if runs.is_empty() {
                self.jobs.remove(&run.job);
            }
        }
        if let RunState::Held { latch } = &run.state
            && let Some(runs) = self.latches.get_mut(latch)
        {
            runs.remove(&run.no);
            if runs.is_empty() {
                self.latches.remove(latch);
            }
        }
        if let Some(name) = &run.group
            && let Some(group) = self.groups.get_mut(name)
        {
            group.going.remove(&run.no);
            group.queue.remove(&run.no);
            if group.going.is_empty() && group.queue.is_empty() {
                self.groups.remove(name);
            }
        }
    }
}

impl World {
    /// The world as the ledger last recorded it, in the boot that it is. Nothing is started before `Fact::Settled`.
    pub fn load(boot: String, live: impl IntoIterator<Item = Run>) -> World {
        let mut world = World { boot, ..World::default() };
        for run in live {
            if run.outcome().is_none() {
                world.put(run);
            }
        }
        world
    }

    pub fn get(&self, no: RunNo) -> Option<&Run> {
        self.live.get(&no)
    }
    /// Every run that is not over, oldest first.
    pub fn live(&self) -> impl Iterator<Item = &Run> {
        self.live.values()
    }
    pub fn len(&self) -> usize {
        self.live.len()
    }
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }
    /// Who takes starts now, as far as is known.
    pub const fn keeper(&self) -> Option<u64> {
        self.keeper
    }
    pub const fn is_closing(&self) -> bool {
        self.closing
    }
    /// Whether an `Act::Start` still stands: effects of several inputs are performed together, and a later one may have
    /// taken the run from that keeper again.
    pub fn may_start(&self, run: RunNo, generation: u64) -> bool {
        self.given.get(&run) == Some(&generation)
            && self
                .live
                .get(&run)
                .is_some_and(|run| matches!(run.state, RunState::Starting { .. } | RunState::Stopping { .. }))
    }
    /// Nothing is accepted or started any more.
    pub fn close(&mut self) {
        self.closing = true;
    }
    /// Whether starts were refused for want of a slot.
    pub fn wants_room(&self) -> bool {
        !self.roomless.is_empty()
    }
    /// Whether any run may have a process.
    pub fn is_going(&self) -> bool {
        self.live.values().any(|run| run.state.is_going() && run.state != RunState::Starting { generation: None })
    }

    // ---- wishes ----

    pub fn wish(&mut self, now: Time, wish: Wish, fx: &mut Effects) -> Result<Granted, Refusal> {
        match wish {
            Wish::Submit { no, new } => self.submit(now, no, *new, fx),
            Wish::Stop { run, kind, why } => self.stop(now, run, kind, why, fx),
            Wish::Signal { run, signal, leader_only, interrupt } => {
                self.signal(now, run, signal, leader_only, interrupt, fx)
            }
            Wish::Release { latch } => self.release(now, &latch, fx),
            Wish::Shutdown { stop_runs } => Ok(self.shutdown(now, stop_runs, fx)),
        }
    }

    fn submit(&mut self, now: Time, no: RunNo, new: NewRun, fx: &mut Effects) -> Result<Granted, Refusal> {
        if self.closing {
            return Err(Refusal::Closing);
        }
        if self.live.contains_key(&no) {
            return Err(Refusal::Malformed { what: alloc::format!("the run number {no} is taken") });
        }
        if new.no_overlap
            && let Some(live) =
                self.places.jobs.get(&new.job).and_then(BTreeSet::first).and_then(|no| self.live.get(no))
        {
            return Err(Refusal::Overlap { live: live.id() });
        }
        if let Some(serial) = &new.serial
            && serial.max == 0
        {
            return Err(Refusal::NoPlaces { group: serial.group.clone() });
        }
        let state = match (&new.latch, &new.serial) {
            (Some(latch), _) => RunState::Held { latch: latch.clone() },
            (None, Some(_)) => RunState::Queued,
            (None, None) => RunState::Starting { generation: None },
        };
        let (group, group_max) = new.serial.map_or((None, 0), |serial| (Some(serial.group), serial.max));
        let run = Run {
            no,
            job: new.job,
            slot: 0,
            attempt: 1,
            follows: None,
            trigger: new.trigger,
            state: state.clone(),
            exit: None,
            pid: None,
            created_at: now,
            started_at: None,
            ended_at: None,
            out_bytes: 0,
            err_bytes: 0,
            out_dropped: 0,
            err_dropped: 0,
            max_rss_bytes: None,
            cpu_ms: None,
            left_behind: 0,
            group: group.clone(),
            group_max,
            command: new.command,
            directory: new.directory,
            timeout_ms: new.timeout_ms,
            tags: new.tags,
            tty: new.tty,
            boot: self.boot.clone(),
        };
        fx.promises = true;
        self.record(now, run, None, fx);
        if let Some(group) = &group {
            self.promote(now, group, fx);
        }
        if matches!(state, RunState::Starting { .. }) {
            self.give(now, no, fx);
        }
        self.granted(no)
    }

    fn stop(
        &mut self,
        now: Time,
        no: RunNo,
        kind: StopKind,
        why: StopWhy,
        fx: &mut Effects,
    ) -> Result<Granted, Refusal> {
        let run = self.live.get(&no).ok_or(Refusal::Unknown { run: no })?;
        match &run.state {
            RunState::Held { .. } | RunState::Queued => {
                fx.promises = true;
                return Ok(Granted::Run(Box::new(self.end(now, run.clone(), Outcome::Cancelled, fx))));
            }
            // Nobody has it as far as we know. But a start that an earlier daemon said may still be on its way.
            RunState::Starting { generation } if generation.is_none() || self.roomless.contains(&no) => {
                self.roomless.remove(&no);
                fx.promises = true;
                self.change(now, no, fx, |run| run.state = RunState::Stopping { why });
                fx.acts.push(Act::Withdraw { run: no });
            }
            RunState::Starting { .. } | RunState::Running { .. } => {
                fx.promises = true;
                self.change(now, no, fx, |run| run.state = RunState::Stopping { why });
            }
            // A plain stop outweighs an interruption; nothing outweighs a stop.
            RunState::Stopping { why: StopWhy::Interrupt } if why == StopWhy::Asked => {
                fx.promises = true;
                self.change(now, no, fx, |run| run.state = RunState::Stopping { why });
            }
            // Of a draining run, what it left behind is ended; its own end is known already.
            RunState::Stopping { .. } | RunState::Draining { .. } => {}
            RunState::Ended { outcome } => {
                return Err(Refusal::Ended { run: run.id(), outcome: outcome.clone() });
            }
        }
        fx.acts.push(Act::Stop { run: no, kind });
        self.granted(no)
    }

    fn signal(
        &mut self,
        now: Time,
        no: RunNo,
        signal: u8,
        leader_only: bool,
        interrupt: bool,
        fx: &mut Effects,
    ) -> Result<Granted, Refusal> {
        let run = self.live.get(&no).ok_or(Refusal::Unknown { run: no })?;
        match &run.state {
            // Nothing could take the signal, but the wish behind an interrupt is clear: it shall not go on.
            RunState::Held { .. } | RunState::Queued | RunState::Starting { .. } if interrupt => {
                return self.stop(now, no, StopKind::Ladder, StopWhy::Interrupt, fx);
            }
            RunState::Held { .. } | RunState::Queued | RunState::Starting { .. } => {
                return Err(Refusal::NotStarted { run: run.id() });
            }
            RunState::Running { unowned, interrupted: false } if interrupt => {
                let unowned = *unowned;
                self.change(now, no, fx, |run| run.state = RunState::Running { unowned, interrupted: true });
            }
            RunState::Running { .. } | RunState::Stopping { .. } => {}
            RunState::Draining { .. } => return Err(Refusal::LeaderEnded { run: run.id() }),
            RunState::Ended { outcome } => {
                return Err(Refusal::Ended { run: run.id(), outcome: outcome.clone() });
            }
        }
        fx.acts.push(Act::Signal { run: no, signal, leader_only });
        self.granted(no)
    }

    fn release(&mut self, now: Time, latch: &str, fx: &mut Effects) -> Result<Granted, Refusal> {
        if self.closing {
            return Err(Refusal::Closing);
        }
        let held: Vec<RunNo> = self.places.latches.get(latch).into_iter().flatten().copied().collect();
        if held.is_empty() {
            return Ok(Granted::Released(Vec::new()));
        }
        fx.promises = true;
        let what = What::Released { latch: latch.into(), runs: held.len() };
        fx.events.push(Event { at: now, what });
        let mut ids = Vec::with_capacity(held.len());
        let mut groups = BTreeSet::new();
        for no in held {
            let Some(run) = self.live.get(&no) else { continue };
            ids.push(run.id());
            match run.group.clone() {
                Some(group) => {
                    groups.insert(group);
                    self.change(now, no, fx, |run| run.state = RunState::Queued);
                }
                None => self.begin(now, no, fx),
            }
        }
        for group in groups {
            self.promote(now, &group, fx);
        }
        Ok(Granted::Released(ids))
    }

    fn shutdown(&mut self, now: Time, stop_runs: bool, fx: &mut Effects) -> Granted {
        self.closing = true;
        let mut farewell = Farewell::default();
        let all: Vec<RunNo> = self.live.keys().copied().collect();
        for no in all {
            let Some(run) = self.live.get(&no) else { continue };
            let id = run.id();
            match run.state {
                RunState::Held { .. } | RunState::Queued if stop_runs => {
                    if self.stop(now, no, StopKind::Ladder, StopWhy::Asked, fx).is_ok() {
                        farewell.cancelled.push(id);
                    }
                }
                RunState::Starting { generation: None } if !stop_runs => farewell.waiting.push(id),
                RunState::Held { .. } | RunState::Queued => farewell.waiting.push(id),
                RunState::Starting { generation: Some(_) } if !stop_runs && self.roomless.remove(&no) => {
                    self.given.remove(&no);
                    self.change(now, no, fx, |run| run.state = RunState::Starting { generation: None });
                    farewell.waiting.push(id);
                }
                RunState::Starting { .. }
                | RunState::Running { .. }
                | RunState::Stopping { .. }
                | RunState::Draining { .. }
                    if stop_runs =>
                {
                    if self.stop(now, no, StopKind::Ladder, StopWhy::Asked, fx).is_ok() {
                        farewell.stopping.push(id);
                    }
                }
                RunState::Starting { .. }
                | RunState::Running { .. }
                | RunState::Stopping { .. }
                | RunState::Draining { .. } => farewell.left.push(id),
                RunState::Ended { .. } => {}
            }
        }
        Granted::Farewell(farewell)
    }

    // ---- facts ----

    pub fn fact(&mut self, now: Time, fact: Fact, fx: &mut Effects) {
        match fact {
            Fact::Slot { run, seen } => self.slot(now, run, &seen, fx),
            Fact::Refused { run, generation, why } => self.refused(now, run, generation, why, fx),
            Fact::Withdrawn { run } => self.withdrawn(now, run, fx),
            Fact::Room => self.room(fx),
            Fact::KeeperGone { generation } => {
                if self.keeper == Some(generation) {
                    self.keeper = None;
                }
            }
            Fact::Settled(settled) => self.settled(now, &settled, fx),
            Fact::Booted => self.booted(now, fx),
            Fact::Survivor { run, seen } => self.survivor(now, run, &seen, fx),
            Fact::SurvivorGone { run, close } => {
                let seen = Seen::bare(Phase::Drained(close.clone()));
                if self.live.contains_key(&run) {
                    self.ended_by(now, run, &seen, &close, fx);
                }
            }
            Fact::Found { run } => self.found(now, *run, fx),
        }
    }

    fn slot(&mut self, now: Time, no: RunNo, seen: &Seen, fx: &mut Effects) {
        let Some(run) = self.live.get(&no) else { return };
        self.roomless.remove(&no);
        match &seen.phase {
            Phase::Intent => {}
            Phase::Running => {
                let state = match &run.state {
                    // The ledger could not take the wish when it was done.
                    RunState::Starting { .. } | RunState::Running { .. } if seen.stop_asked => {
                        RunState::Stopping { why: StopWhy::Asked }
                    }
                    RunState::Held { .. } | RunState::Queued | RunState::Starting { .. } => {
                        RunState::Running { unowned: false, interrupted: false }
                    }
                    RunState::Running { interrupted, .. } => {
                        RunState::Running { unowned: false, interrupted: *interrupted }
                    }
                    RunState::Stopping { why } => {
                        // A start that was late met a stop that was early: said once more, now that there is a process.
                        if run.started_at.is_none() {
                            fx.acts.push(Act::Stop { run: no, kind: StopKind::Ladder });
                        }
                        RunState::Stopping { why: *why }
                    }
                    RunState::Draining { .. } | RunState::Ended { .. } => return,
                };
                let started_at = seen.started_at.or(run.started_at).unwrap_or(now);
                if run.state != state || run.pid != seen.pid || run.started_at != Some(started_at) {
                    self.change(now, no, fx, |run| {
                        run.state = state;
                        run.pid = seen.pid;
                        run.started_at = Some(started_at);
                    });
                }
            }
            Phase::Exited(close) => {
                if !matches!(run.state, RunState::Draining { .. }) {
                    let why = wanted_by(&run.state, seen);
                    self.change(now, no, fx, |run| {
                        run.state = RunState::Draining { why };
                        close_of(run, seen, close);
                    });
                }
            }
            Phase::Drained(close) => self.ended_by(now, no, seen, close, fx),
        }
    }

    fn ended_by(&mut self, now: Time, no: RunNo, seen: &Seen, close: &Close, fx: &mut Effects) {
        let Some(mut run) = self.live.get(&no).cloned() else { return };
        let outcome = close.verdict(wanted_by(&run.state, seen));
        close_of(&mut run, seen, close);
        for (kind, message) in told_at_the_end(seen) {
            let what = What::Note { kind, run: Some(run.id()), message: message.into() };
            fx.events.push(Event { at: close.at, what });
        }
        self.end(now, run, outcome, fx);
    }

    fn refused(&mut self, now: Time, no: RunNo, generation: u64, why: StartRefusal, fx: &mut Effects) {
        if why == StartRefusal::NotCurrent && self.keeper == Some(generation) {
            self.keeper = None;
        }
        // A late word about an earlier try says nothing of the latest one.
        if self.given.get(&no) != Some(&generation) {
            return;
        }
        let Some(run) = self.live.get(&no) else { return };
        match &run.state {
            RunState::Starting { .. } => match why {
                StartRefusal::Full => {
                    self.roomless.insert(no);
                }
                StartRefusal::NotCurrent => {
                    self.given.remove(&no);
                    self.change(now, no, fx, |run| run.state = RunState::Starting { generation: None });
                    // Another keeper may have been told of meanwhile.
                    self.give(now, no, fx);
                }
                StartRefusal::NoSpec => {
                    let outcome = Outcome::SpawnFailed { step: SpawnStep::Spec, errno: ENOENT };
                    self.end(now, run.clone(), outcome, fx);
                }
            },
            RunState::Stopping { .. } if run.started_at.is_none() => fx.acts.push(Act::Withdraw { run: no }),
            RunState::Held { .. }
            | RunState::Queued
            | RunState::Running { .. }
            | RunState::Stopping { .. }
            | RunState::Draining { .. }
            | RunState::Ended { .. } => {}
        }
    }

    fn withdrawn(&mut self, now: Time, no: RunNo, fx: &mut Effects) {
        if let Some(run) = self.live.get(&no)
            && matches!(run.state, RunState::Stopping { .. })
            && run.started_at.is_none()
        {
            self.end(now, run.clone(), Outcome::Cancelled, fx);
        }
    }

    fn room(&mut self, fx: &mut Effects) {
        for no in core::mem::take(&mut self.roomless) {
            if let Some(RunState::Starting { generation: Some(generation) }) = self.live.get(&no).map(|run| &run.state)
            {
                fx.acts.push(Act::Start { run: no, generation: *generation });
            }
        }
    }

    fn settled(&mut self, now: Time, settled: &Settled, fx: &mut Effects) {
        self.keeper = settled.keeper;
        let all: Vec<RunNo> = self.live.keys().copied().collect();
        for no in all {
            let Some(run) = self.live.get(&no) else { continue };
            let found = settled.found.contains(&no);
            let unproven = settled.unproven.contains(&no);
            match &run.state {
                RunState::Held { .. } | RunState::Queued => {}
                RunState::Starting { .. } if found => {}
                RunState::Starting { generation: None } => self.give(now, no, fx),
                RunState::Starting { generation: Some(_) } if unproven => self.lose(now, no, LostWhy::Unknown, fx),
                RunState::Starting { generation: Some(generation) } => {
                    // The same keeper: the start may be on its way, and may be said twice. Another one, or none: no
                    // table has it, so nothing ran.
                    if settled.keeper == Some(*generation) {
                        let generation = *generation;
                        self.roomless.remove(&no);
                        self.given.insert(no, generation);
                        fx.acts.push(Act::Start { run: no, generation });
                    } else {
                        self.roomless.remove(&no);
                        self.given.remove(&no);
                        self.change(now, no, fx, |run| run.state = RunState::Starting { generation: None });
                        self.give(now, no, fx);
                    }
                }
                RunState::Stopping { .. } if found => fx.acts.push(Act::Stop { run: no, kind: StopKind::Ladder }),
                RunState::Stopping { .. } if run.started_at.is_none() && !unproven => {
                    fx.acts.push(Act::Withdraw { run: no });
                }
                RunState::Running { .. } | RunState::Draining { .. } if found => {}
                RunState::Running { .. } | RunState::Stopping { .. } | RunState::Draining { .. } => {
                    self.lose(now, no, LostWhy::Unknown, fx);
                }
                RunState::Ended { .. } => {}
            }
        }
        let groups: Vec<String> = self.places.groups.keys().cloned().collect();
        for group in groups {
            self.promote(now, &group, fx);
        }
    }

    fn booted(&mut self, now: Time, fx: &mut Effects) {
        let others: Vec<RunNo> = self.live.values().filter(|run| run.boot != self.boot).map(|run| run.no).collect();
        for no in others {
            self.lose(now, no, LostWhy::Reboot, fx);
        }
    }

    fn survivor(&mut self, now: Time, no: RunNo, seen: &Seen, fx: &mut Effects) {
        let Some(run) = self.live.get(&no) else { return };
        let state = match &run.state {
            // Its keepers were told to stop it, and took that with them.
            RunState::Starting { .. } | RunState::Running { .. } if seen.stop_asked => {
                fx.acts.push(Act::Stop { run: no, kind: StopKind::Ladder });
                RunState::Stopping { why: StopWhy::Asked }
            }
            RunState::Held { .. } | RunState::Queued | RunState::Starting { .. } => {
                RunState::Running { unowned: true, interrupted: false }
            }
            RunState::Running { interrupted, .. } => RunState::Running { unowned: true, interrupted: *interrupted },
            RunState::Stopping { why } => {
                fx.acts.push(Act::Stop { run: no, kind: StopKind::Ladder });
                RunState::Stopping { why: *why }
            }
            RunState::Draining { .. } | RunState::Ended { .. } => return,
        };
        let started_at = seen.started_at.or(run.started_at).unwrap_or(now);
        if run.state != state || run.pid != seen.pid || run.started_at != Some(started_at) {
            let is_news = matches!(state, RunState::Running { .. })
                && !matches!(run.state, RunState::Running { unowned: true, .. });
            if is_news {
                let message = "both keepers died at once, and it goes on: until it ends nobody keeps its output";
                let what = What::Note { kind: "run.unowned", run: Some(run.id()), message: message.into() };
                fx.events.push(Event { at: now, what });
            }
            self.change(now, no, fx, |run| {
                run.state = state;
                run.pid = seen.pid;
                run.started_at = Some(started_at);
            });
        }
    }

    fn found(&mut self, now: Time, run: Run, fx: &mut Effects) {
        if self.live.contains_key(&run.no) {
            return;
        }
        let message = alloc::format!("{} was found, and the ledger did not know of it", run.id());
        let what = What::Note { kind: "run.found", run: Some(run.id()), message };
        fx.events.push(Event { at: now, what });
        self.record(now, run, None, fx);
    }

    // ---- the few ways in which a run changes ----

    /// Decided to start: given to the keeper at once when one is known.
    fn begin(&mut self, now: Time, no: RunNo, fx: &mut Effects) {
        self.change(now, no, fx, |run| run.state = RunState::Starting { generation: None });
        self.give(now, no, fx);
    }

    fn give(&mut self, now: Time, no: RunNo, fx: &mut Effects) {
        let Some(generation) = self.keeper.filter(|_| !self.closing) else { return };
        fx.promises = true;
        self.given.insert(no, generation);
        self.change(now, no, fx, |run| run.state = RunState::Starting { generation: Some(generation) });
        fx.acts.push(Act::Start { run: no, generation });
    }

    /// Starts the oldest of a group's queue for as long as there are places. The oldest waits for its own maximum, and
    /// the others wait behind it.
    fn promote(&mut self, now: Time, group: &str, fx: &mut Effects) {
        while !self.closing
            && let Some(places) = self.places.groups.get(group)
            && let Some(first) = places.queue.first().copied()
            && let Some(run) = self.live.get(&first)
            && places.going.len() < run.group_max as usize
        {
            self.begin(now, first, fx);
        }
    }

    fn lose(&mut self, now: Time, no: RunNo, why: LostWhy, fx: &mut Effects) {
        if let Some(run) = self.live.get(&no).cloned() {
            self.end(now, run, Outcome::Lost(why), fx);
        }
    }

    fn end(&mut self, now: Time, mut run: Run, outcome: Outcome, fx: &mut Effects) -> Run {
        let from = self.live.get(&run.no).map(|run| run.state.word());
        let (no, group) = (run.no, run.group.clone());
        run.state = RunState::Ended { outcome };
        run.ended_at = run.ended_at.or(Some(now));
        self.record(now, run.clone(), from, fx);
        self.given.remove(&no);
        self.roomless.remove(&no);
        fx.acts.push(Act::RemoveSpec { run: no });
        fx.acts.push(Act::Forget { run: no });
        self.room(fx);
        if let Some(group) = group {
            self.promote(now, &group, fx);
        }
        run
    }

    fn change(&mut self, now: Time, no: RunNo, fx: &mut Effects, how: impl FnOnce(&mut Run)) {
        if let Some(run) = self.live.get(&no) {
            let mut run = run.clone();
            let from = run.state.word();
            how(&mut run);
            self.record(now, run, Some(from), fx);
        }
    }

    /// Every change of every run goes through here: into the indices, the batch, and the history.
    fn record(&mut self, now: Time, run: Run, from: Option<&'static str>, fx: &mut Effects) {
        if from != Some(run.state.word()) {
            let what = What::State { run: run.id(), from, to: run.state.clone(), exit: run.exit };
            fx.events.push(Event { at: now, what });
        }
        fx.changed.insert(run.no, run.clone());
        self.take(run.no);
        if run.outcome().is_none() {
            self.put(run);
        }
    }

    fn put(&mut self, run: Run) {
        self.places.add(&run);
        self.live.insert(run.no, run);
    }

    fn take(&mut self, no: RunNo) {
        if let Some(run) = self.live.remove(&no) {
            self.places.remove(&run);
        }
    }

    fn granted(&self, no: RunNo) -> Result<Granted, Refusal> {
        let run = self.live.get(&no).ok_or(Refusal::Unknown { run: no })?;
        Ok(Granted::Run(Box::new(run.clone())))
    }
}

/// Who wanted the end of a run in this state.
const fn wanted_end(state: &RunState) -> Option<StopWhy> {
    match state {
        RunState::Stopping { why } => Some(*why),
        RunState::Draining { why } => *why,
        RunState::Running { interrupted: true, .. } => Some(StopWhy::Interrupt),
        RunState::Running { interrupted: false, .. }
        | RunState::Held { .. }
        | RunState::Queued
        | RunState::Starting { .. }
        | RunState::Ended { .. } => None,
    }
}

/// The same, where the run's slot may know of a wish that the row has never heard of.
const fn wanted_by(state: &RunState, seen: &Seen) -> Option<StopWhy> {
    if seen.stop_asked && matches!(state, RunState::Starting { .. } | RunState::Running { .. }) {
        return Some(StopWhy::Asked);
    }
    wanted_end(state)
}

/// What happened to it in between and changed no state: said once, with its end.
fn told_at_the_end(seen: &Seen) -> impl Iterator<Item = (&'static str, &'static str)> {
    let adopted = "its keeper died during its life, and the other one took it over";
    let killed = match seen.ladder {
        Ladder::Untouched | Ladder::Asked => None,
        Ladder::KilledAfter => Some("it did not end within its grace after the stop signal: KILL was needed"),
        Ladder::Killed => Some("KILL was sent to all of its processes at once"),
    };
    let adopted = seen.adopted.then_some(("run.adopted", adopted));
    adopted.into_iter().chain(killed.map(|killed| ("run.killed", killed)))
}

/// What the leader's end says goes into the row. Numbers only grow: a later reader may have seen less.
fn close_of(run: &mut Run, seen: &Seen, close: &Close) {
    run.exit = close.exit().or(run.exit);
    run.ended_at = Some(close.at);
    run.pid = seen.pid.or(run.pid);
    run.started_at = seen.started_at.or(run.started_at);
    run.out_bytes = seen.out_bytes.max(run.out_bytes);
    run.err_bytes = seen.err_bytes.max(run.err_bytes);
    run.out_dropped = seen.out_dropped.max(run.out_dropped);
    run.err_dropped = seen.err_dropped.max(run.err_dropped);
    run.max_rss_bytes = seen.max_rss_bytes.or(run.max_rss_bytes);
    run.cpu_ms = seen.cpu_ms.or(run.cpu_ms);
    run.left_behind = seen.left_behind.max(run.left_behind);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seen::How;
    use crate::wish::Serial;
    use crate::{Exit, Trigger};
    use proptest::prelude::*;
    use std::string::ToString;
    use std::vec;

    fn no(n: u64) -> RunNo {
        RunNo::new(n).expect("a small number")
    }

    fn new_run() -> NewRun {
        NewRun {
            job: JobName::parse("job").expect("a name"),
            trigger: Trigger::Manual { by: "uid:0".to_string() },
            command: Vec::new(),
            directory: String::new(),
            timeout_ms: None,
            tags: Vec::new(),
            tty: false,
            latch: None,
            serial: None,
            no_overlap: false,
        }
    }

    fn settled(keeper: u64) -> Fact {
        Fact::Settled(Settled { keeper: Some(keeper), ..Settled::default() })
    }

    fn exited(code: u8) -> Seen {
        let close = Close { how: How::Exit(Exit::Code(code)), at: Time(9), timed_out: false, oom: false };
        Seen::bare(Phase::Drained(close))
    }

    /// A world with a keeper, and what follows from one wish.
    fn wish(world: &mut World, wish: Wish) -> (Result<Granted, Refusal>, Effects) {
        let mut fx = Effects::default();
        let answer = world.wish(Time(5), wish, &mut fx);
        (answer, fx)
    }

    fn fact(world: &mut World, fact: Fact) -> Effects {
        let mut fx = Effects::default();
        world.fact(Time(6), fact, &mut fx);
        fx
    }

    fn submit(world: &mut World, n: u64, new: NewRun) -> Effects {
        let (answer, fx) = wish(world, Wish::Submit { no: no(n), new: Box::new(new) });
        assert!(matches!(answer, Ok(Granted::Run(_))), "{answer:?}");
        fx
    }

    #[test]
    fn a_run_is_given_to_the_keeper_in_the_commit_that_accepts_it() {
        let mut world = World::load("boot".to_string(), []);
        fact(&mut world, settled(3));
        let fx = submit(&mut world, 1, new_run());
        assert_eq!(fx.changed[&no(1)].state, RunState::Starting { generation: Some(3) });
        assert_eq!(fx.acts, [Act::Start { run: no(1), generation: 3 }]);
        assert!(fx.promises);
        assert_eq!(fx.events.len(), 1);
    }

    #[test]
    fn overlap_names_the_run_that_lives() {
        let mut world = World::load("boot".to_string(), []);
        submit(&mut world, 1, new_run());
        let new = NewRun { no_overlap: true, ..new_run() };
        let (answer, fx) = wish(&mut world, Wish::Submit { no: no(2), new: Box::new(new) });
        let words = answer.expect_err("refused").to_string();
        assert_eq!(words, "run job-00000001 of the same job is not over yet");
        assert!(fx.is_empty());
    }

    #[test]
    fn an_interrupt_that_is_survived_leaves_an_ok() {
        for (code, want) in [(0, "ok"), (1, "interrupted")] {
            let mut world = World::load("boot".to_string(), []);
            fact(&mut world, settled(3));
            submit(&mut world, 1, new_run());
            fact(&mut world, Fact::Slot { run: no(1), seen: Seen::bare(Phase::Running) });
            let signal = Wish::Signal { run: no(1), signal: 2, leader_only: false, interrupt: true };
            let (_, fx) = wish(&mut world, signal);
            assert_eq!(fx.acts, [Act::Signal { run: no(1), signal: 2, leader_only: false }]);
            assert_eq!(world.get(no(1)).expect("lives").state.word(), "running");
            let fx = fact(&mut world, Fact::Slot { run: no(1), seen: exited(code) });
            assert_eq!(fx.changed[&no(1)].outcome().expect("ended").to_string(), want);
        }
    }

    #[test]
    fn a_stop_that_only_the_table_remembers_is_a_stop() {
        let asked = |seen: Seen| Seen { stop_asked: true, ..seen };
        let killed = |ladder| Seen { ladder, adopted: true, ..asked(exited(3)) };
        for (first, end, want) in [
            (asked(Seen::bare(Phase::Running)), exited(3), "stopped"),
            (Seen::bare(Phase::Running), killed(Ladder::KilledAfter), "stopped"),
            (Seen::bare(Phase::Running), exited(3), "failed(3)"),
        ] {
            let mut world = World::load("boot".to_string(), []);
            fact(&mut world, settled(3));
            submit(&mut world, 1, new_run());
            fact(&mut world, Fact::Slot { run: no(1), seen: first.clone() });
            let stopping = world.get(no(1)).expect("lives").state.word() == "stopping";
            assert_eq!(stopping, first.stop_asked);
            let fx = fact(&mut world, Fact::Slot { run: no(1), seen: end.clone() });
            assert_eq!(fx.changed[&no(1)].outcome().expect("ended").to_string(), want);
            let notes: Vec<_> = fx
                .events
                .iter()
                .filter_map(|event| match &event.what {
                    What::Note { kind, .. } => Some(*kind),
                    What::State { .. } | What::Released { .. } => None,
                })
                .collect();
            let all = ["run.adopted", "run.killed"];
            assert_eq!(notes, if end.adopted { &all[..] } else { &[] });
        }
    }

    #[test]
    fn the_end_of_a_server_with_its_runs_cancels_what_has_not_started() {
        for (stop_runs, want) in [(true, "cancelled"), (false, "held")] {
            let mut world = World::load("boot".to_string(), []);
            fact(&mut world, settled(3));
            submit(&mut world, 1, NewRun { latch: Some("go".into()), ..new_run() });
            let serial = || Some(Serial { group: "g".into(), max: 1 });
            submit(&mut world, 2, NewRun { serial: serial(), ..new_run() });
            submit(&mut world, 3, NewRun { serial: serial(), ..new_run() });
            let (answer, fx) = wish(&mut world, Wish::Shutdown { stop_runs });
            let Ok(Granted::Farewell(farewell)) = answer else { panic!("{answer:?}") };
            let numbers = |ids: &[crate::RunId]| ids.iter().map(|id| id.no).collect::<Vec<_>>();
            let (cancelled, waiting) = (numbers(&farewell.cancelled), numbers(&farewell.waiting));
            let both = vec![no(1), no(3)];
            assert_eq!((cancelled, waiting), if stop_runs { (both, vec![]) } else { (vec![], both) });
            let held = fx.changed.get(&no(1)).or(world.get(no(1))).expect("there");
            let word = held.outcome().map_or(held.state.word(), Outcome::word);
            assert_eq!(word, want);
            assert!(!fx.acts.iter().any(|act| matches!(act, Act::Start { .. })), "nothing takes a free place any more");
        }
    }

    #[test]
    fn the_end_removes_the_spec_and_only_then_the_slot() {
        let mut world = World::load("boot".to_string(), []);
        fact(&mut world, settled(3));
        submit(&mut world, 1, new_run());
        let fx = fact(&mut world, Fact::Slot { run: no(1), seen: exited(0) });
        assert_eq!(fx.acts, [Act::RemoveSpec { run: no(1) }, Act::Forget { run: no(1) }]);
        assert_eq!(fx.changed[&no(1)].ended_at, Some(Time(9)));
        assert!(fact(&mut world, Fact::Slot { run: no(1), seen: exited(1) }).is_empty());
    }

    #[test]
    fn what_a_table_that_cannot_be_read_may_have_had_is_lost() {
        let mut world = World::load("boot".to_string(), []);
        fact(&mut world, settled(3));
        submit(&mut world, 1, new_run());
        let unproven = BTreeSet::from([no(1)]);
        let fx = fact(&mut world, Fact::Settled(Settled { keeper: Some(4), unproven, ..Settled::default() }));
        assert_eq!(fx.changed[&no(1)].outcome().expect("ended").to_string(), "lost(unknown)");
    }

    #[test]
    fn another_boot_loses_held_and_queued_runs_too() {
        let mut world = World::load("one".to_string(), []);
        submit(&mut world, 1, NewRun { latch: Some("a".to_string()), ..new_run() });
        let mut world = World::load("two".to_string(), world.live().cloned().collect::<Vec<_>>());
        let fx = fact(&mut world, Fact::Booted);
        assert_eq!(fx.changed[&no(1)].outcome().expect("ended").to_string(), "lost(reboot)");
    }

    #[test]
    fn a_survivor_counts_and_can_be_stopped() {
        let mut world = World::load("boot".to_string(), []);
        fact(&mut world, settled(3));
        submit(&mut world, 1, new_run());
        fact(&mut world, Fact::Survivor { run: no(1), seen: Seen::bare(Phase::Running) });
        assert_eq!(world.get(no(1)).expect("lives").state, RunState::Running { unowned: true, interrupted: false });
        let (_, fx) = wish(&mut world, Wish::Stop { run: no(1), kind: StopKind::Kill, why: StopWhy::Asked });
        assert_eq!(fx.acts, [Act::Stop { run: no(1), kind: StopKind::Kill }]);
        let close = Close { how: How::Unknown, at: Time(9), timed_out: false, oom: false };
        let fx = fact(&mut world, Fact::SurvivorGone { run: no(1), close });
        assert_eq!(fx.changed[&no(1)].outcome().expect("ended").to_string(), "lost(unknown)");
    }

    #[test]
    fn places_follow_from_the_runs_alone() {
        let mut world = World::load("boot".to_string(), []);
        let serial = Some(Serial { group: "g".to_string(), max: 1 });
        for n in 1..=3 {
            submit(&mut world, n, NewRun { serial: serial.clone(), ..new_run() });
        }
        let (_, fx) = wish(&mut world, Wish::Stop { run: no(1), kind: StopKind::Ladder, why: StopWhy::Asked });
        assert_eq!(fx.acts[0], Act::Withdraw { run: no(1) });
        let fx = fact(&mut world, Fact::Withdrawn { run: no(1) });
        assert_eq!(fx.changed[&no(1)].outcome(), Some(&Outcome::Cancelled));
        assert_eq!(fx.changed[&no(2)].state.word(), "starting");
        assert_eq!(world.get(no(3)).expect("lives").state, RunState::Queued);
    }

    fn any_wish() -> impl Strategy<Value = Wish> {
        let run = (1u64..12).prop_map(no);
        let name = prop_oneof![Just("a".to_string()), Just("b".to_string())];
        prop_oneof![
            (
                run.clone(),
                proptest::option::of(name.clone()),
                proptest::option::of((name.clone(), 0u32..3)),
                any::<bool>(),
                name.clone()
            )
                .prop_map(|(no, latch, serial, no_overlap, job)| {
                    let serial = serial.map(|(group, max)| Serial { group, max });
                    let job = JobName::parse(&job).expect("a name");
                    Wish::Submit { no, new: Box::new(NewRun { job, latch, serial, no_overlap, ..new_run() }) }
                }),
            (run.clone(), any::<bool>(), any::<bool>()).prop_map(|(run, kill, interrupt)| Wish::Stop {
                run,
                kind: if kill { StopKind::Kill } else { StopKind::Ladder },
                why: if interrupt { StopWhy::Interrupt } else { StopWhy::Asked },
            }),
            (run, any::<bool>()).prop_map(|(run, interrupt)| Wish::Signal {
                run,
                signal: 2,
                leader_only: false,
                interrupt
            }),
            name.prop_map(|latch| Wish::Release { latch }),
        ]
    }

    fn any_fact() -> impl Strategy<Value = Fact> {
        let run = (1u64..12).prop_map(no);
        let how = prop_oneof![
            Just(How::Unknown),
            Just(How::Exit(Exit::Code(0))),
            Just(How::Exit(Exit::Signal { signal: 9, core: false })),
            Just(How::SpawnFailed { step: SpawnStep::Exec, errno: 2 }),
        ];
        let close = (how, any::<bool>()).prop_map(|(how, timed_out)| Close { how, at: Time(3), timed_out, oom: false });
        let phase = prop_oneof![
            Just(Phase::Intent),
            Just(Phase::Running),
            close.clone().prop_map(Phase::Exited),
            close.clone().prop_map(Phase::Drained),
        ];
        let seen = phase.prop_map(Seen::bare);
        let runs = proptest::collection::btree_set(run.clone(), 0..6);
        let why = prop_oneof![Just(StartRefusal::Full), Just(StartRefusal::NotCurrent), Just(StartRefusal::NoSpec)];
        prop_oneof![
            4 => (run.clone(), seen.clone()).prop_map(|(run, seen)| Fact::Slot { run, seen }),
            2 => (run.clone(), 1u64..4, why).prop_map(|(run, generation, why)| Fact::Refused { run, generation, why }),
            1 => Just(Fact::Room),
            1 => run.clone().prop_map(|run| Fact::Withdrawn { run }),
            1 => Just(Fact::Booted),
            1 => (1u64..4).prop_map(|generation| Fact::KeeperGone { generation }),
            2 => (proptest::option::of(1u64..4), runs.clone(), runs)
                .prop_map(|(keeper, found, unproven)| Fact::Settled(Settled { keeper, found, unproven })),
            1 => (run.clone(), seen).prop_map(|(run, seen)| Fact::Survivor { run, seen }),
            1 => (run, close).prop_map(|(run, close)| Fact::SurvivorGone { run, close }),
        ]
    }

    proptest! {
        /// Also facts that no keeper would say: whatever is said in whatever order, the story of a run stays a story.
        #[test]
        fn no_history_breaks_the_rules(
            inputs in proptest::collection::vec(proptest::strategy::Union::new_weighted(vec![
                (1, any_wish().prop_map(Ok).boxed()),
                (1, any_fact().prop_map(Err).boxed()),
            ]), 0..80)
        ) {
            let mut world = World::load("boot".to_string(), []);
            let mut rows: BTreeMap<RunNo, Run> = BTreeMap::new();
            for input in inputs {
                // A number is used once, as the mint promises.
                if let Ok(Wish::Submit { no, .. }) = &input && rows.contains_key(no) {
                    continue;
                }
                let (fx, refused) = match input {
                    Ok(input) => {
                        let (answer, fx) = wish(&mut world, input);
                        (fx, answer.is_err())
                    }
                    Err(input) => (fact(&mut world, input), false),
                };
                prop_assert!(!refused || fx.is_empty(), "a refused wish changes nothing");
                for (no, run) in fx.changed {
                    prop_assert!(rows.get(&no).is_none_or(|run| run.outcome().is_none()), "a run ended twice");
                    prop_assert_eq!(run.outcome().is_some(), run.outcome().is_some() && run.ended_at.is_some());
                    rows.insert(no, run);
                }
                for act in &fx.acts {
                    if let Act::Start { run, generation } = act {
                        let state = RunState::Starting { generation: Some(*generation) };
                        let now = world.get(*run).map(|run| run.state.clone());
                        prop_assert!(now == Some(state) || now.is_none(), "started without being recorded so");
                    }
                }
                // All that the world knows can be loaded again from what it asked to be recorded.
                let live: Vec<Run> = rows.values().filter(|run| run.outcome().is_none()).cloned().collect();
                let again = World::load("boot".to_string(), live);
                prop_assert_eq!(&again.live, &world.live);
                prop_assert_eq!(&again.places, &world.places);
            }
        }
    }
}
