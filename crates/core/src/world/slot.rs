//! What run tables and survivors say of a run.

use super::World;
use super::end::{healthy_by, wanted_end};
use crate::effect::{Act, Effects, Event, What};
use crate::fact::StartRefusal;
use crate::run::StopWhy;
use crate::seen::{Close, Ladder, Phase, Seen};
use crate::{Outcome, Run, RunNo, RunState, SpawnStep, Time};

/// "No such file": what a spawn without a spec failed with.
const ENOENT: i32 = 2;

impl World {
    pub(super) fn slot(&mut self, now: Time, no: RunNo, seen: &Seen, fx: &mut Effects) {
        let Some(run) = self.live.get(&no) else { return };
        self.roomless.remove(&no);
        match &seen.phase {
            Phase::Intent => {}
            Phase::Running => {
                let state = match &run.state {
                    // The ledger could not take the wish when it was done.
                    RunState::Starting { .. } | RunState::Running { .. } if seen.stop_asked => {
                        RunState::Stopping { why: StopWhy::Asked, kind: seen.ladder.kind() }
                    }
                    RunState::Held { .. } | RunState::Waiting { .. } | RunState::Queued | RunState::Starting { .. } => {
                        RunState::Running { unowned: false, interrupted: false }
                    }
                    RunState::Running { interrupted, .. } => {
                        RunState::Running { unowned: false, interrupted: *interrupted }
                    }
                    RunState::Stopping { why, kind } => {
                        // A start that was late met a stop that was early: said once more, now that there is a process.
                        if run.started_at.is_none() {
                            fx.acts.push(Act::Stop { run: no, kind: *kind });
                        }
                        RunState::Stopping { why: *why, kind: *kind }
                    }
                    RunState::Draining { .. } | RunState::Ended { .. } => return,
                };
                self.is_alive(now, no, state, seen, fx);
            }
            Phase::Exited(close) => {
                if !matches!(run.state, RunState::Draining { .. }) {
                    let why = wanted_by(&run.state, seen);
                    self.change(now, no, fx, |run| {
                        run.state = RunState::Draining { why };
                        run.health.healthy_at = healthy_by(run, now);
                        close_of(run, seen, close);
                    });
                }
            }
            Phase::Drained(close) => self.ended_by(now, no, seen, close, fx),
        }
    }

    fn is_alive(&mut self, now: Time, no: RunNo, state: RunState, seen: &Seen, fx: &mut Effects) {
        let Some(run) = self.live.get(&no) else { return };
        let started_at = seen.started_at.or(run.started_at).unwrap_or(now);
        if run.state == state && run.pid == seen.pid && run.started_at == Some(started_at) {
            return;
        }
        let first = run.started_at.is_none();
        let health = if first { self.health_at_start(run, started_at.min(now), now) } else { run.health.clone() };
        self.change(now, no, fx, |run| {
            run.state = state;
            run.pid = seen.pid;
            run.started_at = Some(started_at);
            run.health = health;
        });
    }

    fn ended_by(&mut self, now: Time, no: RunNo, seen: &Seen, close: &Close, fx: &mut Effects) {
        let Some(mut run) = self.live.get(&no).cloned() else { return };
        let why = wanted_by(&run.state, seen);
        let job = self.job_of(&run);
        let outcome = close.verdict_where(why, |code| job.map_or(code == 0, |job| job.life.success.contains(&code)));
        close_of(&mut run, seen, close);
        for (kind, message) in told_at_the_end(seen) {
            let what = What::Note { kind, run: Some(run.id()), message: message.into() };
            fx.events.push(Event { at: close.at, what });
        }
        self.end(now, run, outcome, why, fx);
    }

    pub(super) fn refused(&mut self, now: Time, no: RunNo, generation: u64, why: StartRefusal, fx: &mut Effects) {
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
                    let run = run.clone();
                    self.end(now, run, outcome, None, fx);
                }
            },
            RunState::Stopping { .. } if run.started_at.is_none() => fx.acts.push(Act::Withdraw { run: no }),
            RunState::Held { .. }
            | RunState::Waiting { .. }
            | RunState::Queued
            | RunState::Running { .. }
            | RunState::Stopping { .. }
            | RunState::Draining { .. }
            | RunState::Ended { .. } => {}
        }
    }

    pub(super) fn withdrawn(&mut self, now: Time, no: RunNo, fx: &mut Effects) {
        if let Some(run) = self.live.get(&no)
            && let RunState::Stopping { why, .. } = run.state
            && run.started_at.is_none()
        {
            let run = run.clone();
            self.end(now, run, Outcome::Cancelled, Some(why), fx);
        }
    }

    pub(super) fn room(&mut self, fx: &mut Effects) {
        for no in core::mem::take(&mut self.roomless) {
            if let Some(RunState::Starting { generation: Some(generation) }) = self.live.get(&no).map(|run| &run.state)
            {
                fx.acts.push(Act::Start { run: no, generation: *generation });
            }
        }
    }

    pub(super) fn survivor(&mut self, now: Time, no: RunNo, seen: &Seen, fx: &mut Effects) {
        let Some(run) = self.live.get(&no) else { return };
        let state = match &run.state {
            // Its keepers were told to stop it, and took that with them.
            RunState::Starting { .. } | RunState::Running { .. } if seen.stop_asked => {
                let kind = seen.ladder.kind();
                fx.acts.push(Act::Stop { run: no, kind });
                RunState::Stopping { why: StopWhy::Asked, kind }
            }
            RunState::Held { .. } | RunState::Waiting { .. } | RunState::Queued | RunState::Starting { .. } => {
                RunState::Running { unowned: true, interrupted: false }
            }
            RunState::Running { interrupted, .. } => RunState::Running { unowned: true, interrupted: *interrupted },
            RunState::Stopping { why, kind } => {
                fx.acts.push(Act::Stop { run: no, kind: *kind });
                RunState::Stopping { why: *why, kind: *kind }
            }
            RunState::Draining { .. } | RunState::Ended { .. } => return,
        };
        let is_news =
            matches!(state, RunState::Running { .. }) && !matches!(run.state, RunState::Running { unowned: true, .. });
        if is_news {
            let message = "both keepers died at once, and it goes on: until it ends nobody keeps its output";
            let what = What::Note { kind: "run.unowned", run: Some(run.id()), message: message.into() };
            fx.events.push(Event { at: now, what });
        }
        self.is_alive(now, no, state, seen, fx);
    }

    pub(super) fn found(&mut self, now: Time, run: Run, fx: &mut Effects) {
        if self.live.contains_key(&run.no) {
            return;
        }
        let message = alloc::format!("{} was found, and the ledger did not know of it", run.id());
        let what = What::Note { kind: "run.found", run: Some(run.id()), message };
        fx.events.push(Event { at: now, what });
        // Nobody had asked whether its slot is to have a run.
        self.look_jobs.insert(run.job.clone());
        self.record(now, run, None, fx);
    }
}

/// Who wanted its end, where the run's slot may know of a wish that the row has never heard of.
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
    // Of a child that never became the program no keeper can say when it did, whatever it looked like for a moment.
    let has_begun = !matches!(close.how, crate::How::SpawnFailed { .. });
    run.started_at = seen.started_at.or(run.started_at).filter(|_| has_begun);
    run.out_bytes = seen.out_bytes.max(run.out_bytes);
    run.err_bytes = seen.err_bytes.max(run.err_bytes);
    run.out_dropped = seen.out_dropped.max(run.out_dropped);
    run.err_dropped = seen.err_dropped.max(run.err_dropped);
    run.max_rss_bytes = seen.max_rss_bytes.or(run.max_rss_bytes);
    run.cpu_ms = seen.cpu_ms.or(run.cpu_ms);
    run.notes.read_bytes = seen.read_bytes.or(run.notes.read_bytes);
    run.notes.write_bytes = seen.write_bytes.or(run.notes.write_bytes);
    run.left_behind = seen.left_behind.max(run.left_behind);
}
