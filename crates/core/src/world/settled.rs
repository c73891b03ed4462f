//! After a change of the chain, after a death of the daemon, after a reboot: what is concluded from absence.

use super::end::wanted_end;
use super::{Mutant, World};
use crate::effect::{Act, Effects};
use crate::fact::Settled;
use crate::{JobName, LostWhy, Outcome, RunNo, RunState, Time};
use alloc::format;
use alloc::vec::Vec;

impl World {
    pub(super) fn settled(&mut self, now: Time, settled: &Settled, fx: &mut Effects) {
        self.keeper = settled.keeper;
        let all: Vec<RunNo> = self.live.keys().copied().collect();
        let mut lost = Vec::new();
        for no in all {
            let Some(run) = self.live.get(&no) else { continue };
            let found = settled.found.contains(&no);
            let unproven = settled.unproven.contains(&no);
            match &run.state {
                RunState::Held { .. } | RunState::Waiting { .. } | RunState::Queued => {}
                RunState::Starting { .. } if found => {}
                // Whoever was making it may have died.
                RunState::Starting { .. } if run.is_being_made() && !self.breaks(Mutant::GiveUnmade) => {
                    if !self.breaks(Mutant::ForgetUnmade) {
                        fx.make.insert(no);
                    }
                }
                RunState::Starting { generation: None } => self.give(now, no, fx),
                RunState::Starting { generation: Some(_) } if unproven => lost.push(no),
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
                RunState::Stopping { kind, .. } if found => fx.acts.push(Act::Stop { run: no, kind: *kind }),
                RunState::Stopping { .. } if run.started_at.is_none() && !unproven => {
                    fx.acts.push(Act::Withdraw { run: no });
                }
                RunState::Running { .. } | RunState::Draining { .. } if found => {}
                RunState::Running { .. } | RunState::Stopping { .. } | RunState::Draining { .. } => lost.push(no),
                RunState::Ended { .. } => {}
            }
        }
        // Last: their ends make room for others, of whom it must be known by then which keeper they are given to.
        for no in lost {
            self.lose(now, no, LostWhy::Unknown, fx);
        }
        self.look_jobs.extend(self.jobs.keys().cloned());
        self.look_gates.extend(self.places.gates.keys().cloned());
    }

    /// What was going is lost. What had not begun and is a job's begins again from its definition; what `exec` had
    /// promised it cannot, because its spec is gone.
    pub(super) fn booted(&mut self, now: Time, fx: &mut Effects) {
        let mut names: Vec<JobName> = self.jobs.keys().cloned().collect();
        names.retain(|job| {
            self.standing(job).is_some_and(|standing| standing.boot != self.boot) || self.breaks(Mutant::BootTwice)
        });
        for job in &names {
            let boot = self.boot.clone();
            self.alter(job, fx, |standing| {
                if standing.boot != boot {
                    standing.rest.clear();
                    standing.done = None;
                    standing.boot = boot;
                }
            });
        }
        let others: Vec<RunNo> = self.live.values().filter(|run| run.boot != self.boot).map(|run| run.no).collect();
        // All that are not there any more before anything that follows from it is thought of.
        let (kept, lost): (Vec<RunNo>, Vec<RunNo>) = others.into_iter().partition(|no| self.may_begin_again(*no));
        for no in &kept {
            let boot = self.boot.clone();
            let began = self.live.get(no).is_some_and(|run| matches!(run.state, RunState::Starting { .. }));
            self.change(now, *no, fx, |run| {
                run.boot = boot;
                if began {
                    run.directory.clear();
                }
            });
            if began {
                fx.make.insert(*no);
            }
        }
        if !(names.is_empty() && kept.is_empty() && lost.is_empty()) {
            let message = format!("the machine was started anew; lost of what was going: {}", lost.len());
            self.note(now, "server.rebooted", None, message, fx);
        }
        for no in lost {
            self.lose(now, no, LostWhy::Reboot, fx);
        }
        self.decide_boot(now, &names, fx);
        // Nothing of what was done counts any more.
        for job in &names {
            self.ask_again_for_needs(now, job, fx);
        }
    }

    /// It never began, surely: and there is a definition to begin from.
    fn may_begin_again(&self, no: RunNo) -> bool {
        let Some(run) = self.live.get(&no) else { return false };
        let never_began = run.state.is_pending() || run.state == RunState::Starting { generation: None };
        never_began && run.is_defined() && self.job(&run.job).is_some()
    }

    fn lose(&mut self, now: Time, no: RunNo, why: LostWhy, fx: &mut Effects) {
        if let Some(run) = self.live.get(&no).cloned() {
            let wanted = wanted_end(&run.state);
            self.end(now, run, Outcome::Lost(why), wanted, fx);
        }
    }
}
