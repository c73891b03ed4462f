//! Runs that begin come by their surroundings: at once, before the commit that says so, where nobody has to be asked; by a
//! thread of makers.rs, after it, where somebody may not answer.
//!
//! ```text
//!   begins ─┬─ asks nobody ──▶ spec ──▶ Fact::Made ──▶ commit ──▶ Start
//!           └─ may wait ──▶ commit ──▶ makers ──┬─▶ its answer ──▶ spec ──▶ Fact::Made ──▶ commit ──▶ Start
//!                                               └─▶ none in time ──▶ Fact::Unmakeable
//! ```
//! The row says that it is being made (`Run::is_being_made`). So whoever dies in between, the next daemon makes it anew; and
//! an answer of somebody for whom the rules wait no longer is nothing but something to clean up.

use super::specs::Order;
use super::{Batch, Engine, Input};
use crate::http::convert;
use crate::makers::{AtWork, Errand, Makers, Progress, Ticket};
use crate::surroundings::{self, Asked, Server, Tell, Unmakeable, sockets};
use kin_core::run::Notes;
use kin_core::{Fact, JobName, Run, RunNo};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is being made.
#[derive(Debug)]
pub(super) struct Making {
    makers: Makers,
    server: Arc<Server>,
    within: Duration,
    under_way: BTreeMap<RunNo, UnderWay>,
    /// In the order in which they began, so the first is the next one that is over.
    until: VecDeque<(Instant, RunNo)>,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    ticket: Ticket,
    /// Found for it, and nobody else's.
    port: Option<u16>,
}

/// A spec, and what the rules are to know of it.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) bytes: Vec<u8>,
    pub(super) directory: String,
    pub(super) port: Option<u16>,
    pub(super) auto: bool,
    pub(super) left_out: Vec<String>,
}

/// What a maker has to say.
#[derive(Debug)]
pub(super) enum Answer {
    Made(Result<Ready, Unmakeable>),
    /// What a live run had lost is there again, or cannot be had.
    Restored(Result<(), Unmakeable>),
}

impl Making {
    pub(super) fn new(makers: Makers, server: &Server, within: Duration) -> Making {
        let server = Arc::new(server.clone());
        Making { makers, server, within, under_way: BTreeMap::new(), until: VecDeque::new() }
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.until.front().map(|(at, _)| *at)
    }

    /// The ports that were found for those that are not made yet.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.under_way.values().filter_map(|under_way| under_way.port)
    }

    /// Nobody waits for it any more. What a thread has begun, it ends.
    pub(super) fn forget(&mut self, no: RunNo) {
        if self.under_way.get(&no).is_some_and(|under_way| self.makers.forget(under_way.ticket)) {
            self.is_over(no);
        }
    }

    /// Nobody is to be woken for it any more.
    fn is_over(&mut self, no: RunNo) {
        self.under_way.remove(&no);
        while self.until.front().is_some_and(|(_, no)| !self.under_way.contains_key(no)) {
            self.until.pop_front();
        }
    }

    /// Whoever is at it leaves his place to others.
    fn give_up(&self, no: RunNo) {
        if let Some(under_way) = self.under_way.get(&no) {
            self.makers.give_up(under_way.ticket);
        }
    }

    /// That they are not made in time could not be recorded: it is said again.
    pub(super) fn too_late_again(&mut self, late: &[RunNo]) {
        let now = Instant::now();
        late.iter().for_each(|no| self.until.push_front((now, *no)));
    }

    /// Until when it has time: who only waits in line, or has just been begun with, is not late. `None`: it is.
    fn more_time(&self, no: RunNo, job: &JobName, now: Instant) -> Option<Instant> {
        let under_way = self.under_way.get(&no)?;
        match (self.makers.begun(under_way.ticket), self.makers.progress(under_way.ticket)) {
            (Some(begun), _) => Some(begun + self.within).filter(|until| *until > now),
            (None, Progress::InLine { .. }) if self.makers.hangs(Errand::Start, job).is_none() => {
                Some(now + self.within)
            }
            (None, _) => None,
        }
    }

    fn wait_until(&mut self, until: Instant, no: RunNo) {
        let at = self.until.partition_point(|(before, _)| *before <= until);
        self.until.insert(at, (until, no));
    }

    fn why_late(&self, no: RunNo, job: &JobName) -> Unmakeable {
        match self.under_way.get(&no).map(|under_way| self.makers.progress(under_way.ticket)) {
            Some(Progress::At(at)) => at.asked.not_in_time(self.within),
            Some(Progress::InLine { .. } | Progress::Nothing) | None => match self.makers.hangs(Errand::Start, job) {
                Some(at) => not_begun(&at),
                None => Asked::Nothing.not_in_time(self.within),
            },
        }
    }
}

/// Nothing is begun for a job while one of its runs hangs.
pub(crate) fn not_begun(hangs: &AtWork) -> Unmakeable {
    let AtWork { run, asked, since } = hangs;
    asked.hangs(&format!("{run} has waited for {} since {}", asked.wait(), convert::time(*since)))
}

impl Order {
    /// All of it but the spec's file.
    pub(super) fn make(&self, server: &Server, tell: &mut Tell<'_>) -> Result<Ready, Unmakeable> {
        let given = BTreeSet::new();
        let mut made = surroundings::make(&self.job, &self.which(&given), server, tell)?;
        tell(&Asked::Logs(self.logs().into()));
        made.spec.logs_by_hand = self.make_room()?;
        for socket in &made.sockets {
            tell(&Asked::Socket(socket.name().into()));
            sockets::ensure(&server.run, std::slice::from_ref(socket))?;
        }
        let directory = String::from_utf8_lossy(&made.spec.directory).into_owned();
        let notes = Notes { port: made.port, left_out: made.warnings.clone(), ..self.run.notes.clone() };
        let begun = Run { notes, directory: directory.clone(), ..self.run.clone() };
        made.spec.memo = kin_ledger::memo(&begun).into_bytes();
        let bytes = made.spec.encode().map_err(|bad| Unmakeable::spec(0, bad.to_string()))?;
        Ok(Ready { bytes, directory, port: made.port, auto: self.auto, left_out: made.warnings })
    }
}

impl Engine {
    /// Of runs that are recorded as being made. Those at whom somebody is already are left to him.
    pub(super) fn hand_to_makers(&mut self, runs: Vec<RunNo>) {
        for no in runs {
            let wanted = self.closing.is_none() && self.world.get(no).is_some_and(Run::is_being_made);
            if !wanted || self.making.under_way.contains_key(&no) {
                continue;
            }
            let hangs = self.world.get(no).and_then(|run| self.making.makers.hangs(Errand::Start, &run.job));
            match hangs.map_or_else(|| self.order(no), |at| Err(not_begun(&at))) {
                Ok(order) => {
                    let (id, port) = (order.id.clone(), order.port);
                    let (answers, server) = (self.sender.clone(), Arc::clone(&self.making.server));
                    let ticket = self.making.makers.send(&id, Errand::Start, move |tell| {
                        let made = order.make(&server, tell);
                        // An engine that has ended leaves it to the next.
                        drop(answers.send(Input::Made(no, Answer::Made(made))));
                    });
                    self.making.under_way.insert(no, UnderWay { ticket, port });
                    self.making.until.push_back((Instant::now() + self.making.within, no));
                }
                Err(Unmakeable { step, errno, message }) => {
                    self.later.push(Fact::Unmakeable { run: no, step, errno, message });
                }
            }
        }
    }

    pub(super) fn answered(&mut self, no: RunNo, answer: Answer, batch: &mut Batch) {
        let made = match answer {
            Answer::Made(made) => made,
            Answer::Restored(restored) => return self.restored(no, restored),
        };
        self.making.is_over(no);
        let run = self.world.get(no);
        if self.closing.is_some() || !run.is_some_and(Run::is_being_made) {
            // Stopped, or given up: nobody can have started it. At a server's end the next one makes it anew.
            if run.is_none_or(Run::is_being_made) {
                self.remove_spec(no);
                self.release_sockets();
            }
            return;
        }
        let fact = match made.and_then(|ready| self.put_ready(no, ready)) {
            Ok(fact) => fact,
            Err(Unmakeable { step, errno, message }) => Fact::Unmakeable { run: no, step, errno, message },
        };
        self.fact(fact, batch);
    }

    /// Whose time is over.
    pub(super) fn give_up_making(&mut self, batch: &mut Batch) {
        let now = Instant::now();
        while let Some((_, no)) = self.making.until.front().copied().filter(|(at, _)| *at <= now) {
            if self.stalled.is_some() {
                // Nothing can be recorded: later.
                return;
            }
            self.making.until.pop_front();
            let Some(job) = self.world.get(no).filter(|run| run.is_being_made()).map(|run| run.job.clone()) else {
                self.making.give_up(no);
                continue;
            };
            if let Some(until) = self.making.more_time(no, &job, now) {
                self.making.wait_until(until, no);
                continue;
            }
            let Unmakeable { step, errno, message } = self.making.why_late(no, &job);
            self.making.give_up(no);
            if self.closing.is_some() {
                continue;
            }
            self.fact(Fact::Unmakeable { run: no, step, errno, message }, batch);
            batch.late.push(no);
        }
    }

    /// What runs that live had in the runtime directory, beside what their keepers hold open.
    pub(super) fn restore_runs(&mut self) {
        let server = Arc::clone(&self.making.server);
        for run in self.world.live().filter(|run| run.state.is_going() && run.is_defined() && !run.is_being_made()) {
            let (id, no) = (run.id(), run.no);
            let Some(job) = self.world.revision(&run.job, run.terms.rev) else { continue };
            if !surroundings::lacks(job, &id, &server) {
                continue;
            }
            if !Asked::may_wait(job) {
                tell_lack(&id, surroundings::restore(job, &id, &server, &mut |_| ()));
                continue;
            }
            let (job, server, answers) = (Arc::clone(job), Arc::clone(&server), self.sender.clone());
            self.making.makers.send(&run.id(), Errand::Restore, move |tell| {
                let restored = surroundings::restore(&job, &id, &server, tell);
                drop(answers.send(Input::Made(no, Answer::Restored(restored))));
            });
        }
    }

    fn restored(&self, no: RunNo, restored: Result<(), Unmakeable>) {
        match self.world.get(no) {
            Some(run) => tell_lack(&run.id(), restored),
            // It has ended meanwhile.
            None => self.remove_spec(no),
        }
    }
}

fn tell_lack(id: &kin_core::RunId, restored: Result<(), Unmakeable>) {
    if let Err(why) = restored {
        crate::say!("kin daemon: what {id} had in the runtime directory is gone: {why}");
    }
}
