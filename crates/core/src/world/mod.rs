//! The world: every job, every run that is not over, and all the rules about them.
//!
//! It is told wishes and facts with the time it is, and answers with effects; it keeps nothing that could not be loaded
//! again from the rows it asked to be recorded. After any death a new world is loaded from the ledger, and recovery says
//! the same facts to it that a calm day would have said.
//!
//! ```text
//!                  Release, needs ready      gates open           Slot: Running
//!   ●──▶ held ──────────────────────▶ queued ─────────▶ starting ─────────────────▶ running ◀──▶ running, unowned
//!   │    │ ▲ │ Stop                    ▲ │ Stop          │  │ ▲                   │   │              │ Slot: Drained
//!   │    │ │ ▼                         │ ▼               │  └─┘ Settled without   │   │              ▼
//!   │    │ │ ended(cancelled)          │ ended(cancelled)│      it: again         │   │         ended(its exit or
//!   │    │ │ needs are not ready       │                 │                  Stop  │   │               lost)
//!   ├──▶ waiting ──────────────────────┘                 │  ┌──── Stop ─────┐     │   │ Slot: Exited
//!   │    │ Time: it is due                               │  │               ▼     ▼   ▼
//!   └────┴──▶ starting, when nothing is in the way   ◀───┘──┘            stopping ─▶ draining ─▶ ended(verdict)
//!                                                    │                       │ Withdrawn
//!                              ended(spawn-failed) ◀─┘ Slot: Drained         ▼
//!                                                                       ended(cancelled)
//! ```
//!
//! | from → to | moved by |
//! |---|---|
//! | (new) → held, queued, starting | `Wish::Submit` (submit.rs), a job's run (make.rs) |
//! | (new) → waiting | the end of the run it follows, in the same commit (follow.rs) |
//! | (new) → ended(skipped) | a run of a disabled job, or of a full one that a tick, a chain or a change asked for (run_job.rs); not for a tick of a disabled one |
//! | held → queued, starting | `Wish::Release`, each run once (latch.rs); what it needs is ready (needs.rs) |
//! | starting, being made → ended(cancelled) | `Wish::Stop` (stop.rs): nobody can have started it |
//! | starting, being made → ended(spawn-failed) | `Fact::Unmakeable` (begin.rs) |
//! | waiting → held, queued, starting | `Fact::Time`, when it is due (clock.rs) |
//! | waiting → ended(skipped) | `Fact::Time`: the jitter of its tick is over, and there is no room for it (overtake.rs) |
//! | queued → starting | `admit` (gates.rs): whenever one of its gates may have opened |
//! | starting: no generation → a generation | `Fact::Settled`, and when a keeper is known: at once, or with `Fact::Made` (begin.rs) |
//! | starting → no generation | `Fact::Refused(NotCurrent)`: it proves that nothing ran (slot.rs) |
//! | starting → starting, other generation | `Fact::Settled` without it: no table has it, so nothing ran (settled.rs) |
//! | held, waiting, queued → ended(cancelled) | `Wish::Stop`, and its service when it is not wanted any more |
//! | starting, running → stopping | `Wish::Stop`, `Wish::Signal` as an interrupt of one that is only starting (stop.rs); the service's own doings (service.rs, needs.rs, probe.rs) |
//! | stopping, never seen alive → ended(cancelled) | `Fact::Withdrawn`, asked for by `Act::Withdraw` when nobody seems to have it |
//! | any but ended → running, draining, ended | `Fact::Slot`: what a keeper has written is the truth |
//! | any but ended → ended(lost) | `Fact::Booted` (another boot), `Fact::Settled` (a going run that no table has) |
//! | starting, running → running, unowned | `Fact::Survivor` |
//! | (new) → running, unowned | `Wish::Adopt` (submit.rs) |
//!
//! What is true in each state:
//! - *held, waiting, queued*: no keeper ever heard of it. A run of `exec` has its spec as a file; the spec of a defined
//!   job's run is made when it begins, so that it runs what is defined then.
//! - *starting, no generation*: no keeper ever took it; while it is being made (`Run::is_being_made`: it has no directory
//!   yet) none ever heard of it. *starting, generation g*: g may have it, nobody else ever may.
//! - *stopping*: the wish is recorded, and said again to whoever has the run after every change of the chain.
//! - *draining*: `exit` is final; the outcome waits for the pipes.
//! - *ended*: final. Its spec goes, and only then its slot.
//!
//! Two kinds of rules. What follows from the *end* of a run (a restart, a retry, a chain) is decided in the very commit that
//! records the end, because afterwards nobody would remember. All else is decided by *looking*: `tend` (service.rs) and
//! `admit` (gates.rs) compare what is wished with what is, and may be asked at any time and any number of times. `record`
//! says which jobs and gates are to be looked at, and every wish and fact ends with looking until nothing is left.

mod again;
mod agenda;
mod begin;
mod chain;
mod clock;
mod end;
mod follow;
mod gates;
mod graph;
#[cfg(test)]
mod job_tests;
mod latch;
mod make;
mod mutant;
mod needs;
mod outlook;
mod overtake;
mod places;
mod plan;
mod post;
mod probe;
mod queue;
mod record;
mod rehearse;
mod run_job;
mod service;
mod settled;
mod slot;
mod stop;
mod submit;
#[cfg(test)]
mod tests;
mod ticks;
mod verdict;
mod why;

pub use again::{next_try, wait_after};
pub use mutant::Mutant;
pub use outlook::{Join, Outlook};
pub use plan::{Difference, Follows, differences};
pub use post::Definition;
pub use probe::Watched;
pub use rehearse::Rehearsal;
pub use why::{NeedWhy, Reason};

use crate::effect::Effects;
use crate::fact::Fact;
use crate::job::Queue;
use crate::wish::{Granted, Wish};
use crate::{JobName, Mint, Refusal, Run, RunNo, RunState, Standing, Time};
use agenda::Agenda;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use graph::Graph;
use places::{Gate, Places};
use post::Post;

#[derive(Clone, Debug, Default)]
pub struct World {
    live: BTreeMap<RunNo, Run>,
    jobs: BTreeMap<JobName, Post>,
    queues: BTreeMap<String, Queue>,
    /// Who needs whom, who waits for whose end. Wholly derived from the definitions in force.
    graph: Graph,
    mint: Mint,
    /// Who takes starts, while that is known.
    keeper: Option<u64>,
    /// The generation each start was sent to in this life; what a refusal must name to be believed.
    given: BTreeMap<RunNo, u64>,
    /// Refused for want of a slot: nobody has them until there is room.
    roomless: BTreeSet<RunNo>,
    boot: String,
    closing: Closing,
    places: Places,
    agenda: Agenda,
    /// Jobs and gates to be looked at before this wish or fact is done with.
    look_jobs: BTreeSet<JobName>,
    look_gates: BTreeSet<Gate>,
    /// Jobs of which a run gave way: who waits for them asks again, when no other of their runs has come.
    gave_way: BTreeSet<JobName>,
    /// The latest time it ever was.
    latest: Time,
    /// Why a run is not ready yet, as its probe said last.
    unready: BTreeMap<RunNo, String>,
    /// How many runs were looked at for the sake of their jobs.
    #[cfg(test)]
    looked: core::cell::Cell<u64>,
    #[cfg(any(test, feature = "simulation"))]
    broken: Option<Mutant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Closing {
    #[default]
    No,
    /// Nothing is accepted or started any more.
    Leave,
    /// And all that goes is stopped.
    Stop,
}

impl World {
    /// The world as the ledger last recorded it, in the boot that it is. Nothing is started before `Fact::Settled`.
    pub fn load(boot: String, mint: Mint, live: impl IntoIterator<Item = Run>) -> World {
        let mut world = World { boot, mint, latest: Time(i64::MAX), ..World::default() };
        for run in live {
            if run.outcome().is_none() {
                world.put(run);
            }
        }
        world
    }

    /// The jobs and queues that go with it: each job's standing, its definition in force, the one to go back to, and those
    /// that live runs name.
    pub fn know(
        &mut self,
        standings: impl IntoIterator<Item = Standing>,
        definitions: impl IntoIterator<Item = Definition>,
        queues: impl IntoIterator<Item = Queue>,
    ) {
        self.jobs = standings.into_iter().map(|standing| (standing.job.clone(), Post::new(standing))).collect();
        for definition in definitions {
            if let Some(post) = self.jobs.get_mut(&definition.job.name) {
                post.definitions.insert(definition.rev, definition.job);
            }
        }
        self.queues = queues.into_iter().map(|queue| (queue.name.clone(), queue)).collect();
        // A job whose definition is nowhere to be found cannot be tended.
        self.jobs.retain(|_, post| post.definitions.contains_key(&post.standing.rev));
        let all: Vec<JobName> = self.jobs.keys().cloned().collect();
        for job in all {
            self.forget_definitions(&job);
        }
        self.draw_graph();
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
    pub fn is_closing(&self) -> bool {
        self.closing != Closing::No
    }
    /// A number that no run ever had.
    pub fn mint(&mut self, now: Time) -> RunNo {
        self.mint.next(now)
    }
    /// Runs were found with numbers up to this one.
    pub fn mint_after(&mut self, greatest: u64) {
        self.mint = Mint::after(greatest.max(self.mint.last()));
    }
    /// The greatest number ever given out. What is beyond those reserved in the ledger must be reserved with the commit.
    pub const fn minted(&self) -> u64 {
        self.mint.last()
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
    /// Nothing is accepted or started any more; `stop_runs`: and all that goes is stopped.
    pub fn close(&mut self, stop_runs: bool) {
        self.closing = if stop_runs { Closing::Stop } else { Closing::Leave };
    }
    /// Whether starts were refused for want of a slot.
    pub fn wants_room(&self) -> bool {
        !self.roomless.is_empty()
    }
    /// Whether any run may have a process.
    pub fn is_going(&self) -> bool {
        self.live.values().any(|run| run.state.is_going() && run.state != RunState::Starting { generation: None })
    }
    /// How each job stands.
    pub fn standings(&self) -> impl Iterator<Item = &Standing> {
        self.jobs.values().map(|post| &post.standing)
    }
    pub fn standing(&self, job: &JobName) -> Option<&Standing> {
        self.jobs.get(job).map(|post| &post.standing)
    }
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.values()
    }

    /// Granted, or refused; a refused wish changes nothing.
    pub fn wish(&mut self, now: Time, wish: Wish, fx: &mut Effects) -> Result<Granted, Refusal> {
        let granted = match wish {
            Wish::Submit { no, new } => self.submit(now, no, *new, fx),
            Wish::Adopt { no, new, pid, started_at } => self.adopt(now, no, *new, (pid, started_at), fx),
            Wish::Disown { run } => self.disown(now, run, fx),
            Wish::Stop { run, kind, why } => self.stop(now, run, kind, why, fx),
            Wish::Signal { run, signal, leader_only, interrupt } => {
                self.signal(now, run, signal, leader_only, interrupt, fx)
            }
            Wish::Release { latch } => self.release(now, &latch, fx),
            Wish::Plan(plan) => self.plan(now, plan, fx),
            Wish::RunJob { job, by } => self.run_job(now, &job, by, fx),
            Wish::Changed { job, path } => self.path_changed(now, &job, path, fx),
            Wish::Up { job, by } => self.up(now, &job, by, fx),
            Wish::Down { job } => self.down(now, &job, fx),
            Wish::Restart { job, by, rolling } => self.restart(now, &job, by, rolling, fx),
            Wish::Scale { job, instances, by } => self.scale(now, &job, instances, by, fx),
            Wish::Disable { job } => self.disable(&job, fx),
            Wish::Pause { job, until } => self.pause(&job, until, fx),
            Wish::Enable { job, by } => self.enable(now, &job, by, fx),
            Wish::Queue { name, how } => self.turn_queue(&name, how, fx),
            Wish::Shutdown { stop_runs, cancel } => Ok(self.shutdown(now, stop_runs, cancel, fx)),
        }?;
        self.look(now, fx);
        Ok(self.as_it_is_now(granted, fx))
    }

    pub fn fact(&mut self, now: Time, fact: Fact, fx: &mut Effects) {
        // A step that is told is dealt with exactly; only one that shows itself is guessed at.
        if matches!(fact, Fact::Stepped { .. }) {
            self.latest = now;
        } else {
            self.notice_the_time(now, fx);
        }
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
            Fact::Time => self.time(now, fx),
            Fact::Stepped { by } => self.stepped(now, by, fx),
            Fact::Ready { run } => self.ready(now, run, fx),
            Fact::NotReady { run, why } => self.not_ready(run, why),
            Fact::Sick { run, why } => self.sick(now, run, &why, fx),
            Fact::Unmakeable { run, step, errno, message } => self.unmakeable(now, run, step, errno, message, fx),
            Fact::Made { run, directory, port, auto, left_out } => {
                self.made(now, run, directory, (port, auto), left_out, fx);
            }
            Fact::Status { run, text } => self.status(now, run, text, fx),
            Fact::Leaving { run } => self.leaving(now, run, fx),
            Fact::Found { run } => self.found(now, *run, fx),
        }
        self.look(now, fx);
    }

    /// Until nothing is left to be looked at. Each look that changes something brings a run further on its line, so there
    /// is an end.
    fn look(&mut self, now: Time, fx: &mut Effects) {
        loop {
            if let Some(job) = self.look_jobs.pop_first() {
                self.tend(now, &job, fx);
            } else if let Some(job) = self.gave_way.pop_first() {
                self.dependents_ask_again(now, &job, fx);
            } else if let Some(gate) = self.look_gates.pop_first() {
                // Last: whom the others bring to a line stands in it when its first is let through.
                self.admit(now, &gate, fx);
            } else {
                break;
            }
        }
    }

    /// What was granted may have come further by the looking.
    fn as_it_is_now(&self, granted: Granted, fx: &Effects) -> Granted {
        let now = |run: Run| self.live.get(&run.no).or_else(|| fx.changed.get(&run.no)).cloned().unwrap_or(run);
        match granted {
            Granted::Run(run) => Granted::Run(Box::new(now(*run))),
            Granted::Job(runs) => Granted::Job(runs.into_iter().map(now).collect()),
            Granted::Released(_) | Granted::Done | Granted::Farewell(_) => granted,
        }
    }

    fn granted(&self, no: RunNo) -> Result<Granted, Refusal> {
        let run = self.live.get(&no).ok_or(Refusal::Unknown { run: no })?;
        Ok(Granted::Run(Box::new(run.clone())))
    }
}

impl World {
    #[cfg(any(test, feature = "simulation"))]
    fn breaks(&self, mutant: Mutant) -> bool {
        self.broken == Some(mutant)
    }
    #[cfg(not(any(test, feature = "simulation")))]
    #[expect(clippy::unused_self, reason = "of one signature with its other half")]
    const fn breaks(&self, _: Mutant) -> bool {
        false
    }
    #[cfg(any(test, feature = "simulation"))]
    const fn broken_rule(&self) -> Option<Mutant> {
        self.broken
    }
    #[cfg(not(any(test, feature = "simulation")))]
    #[expect(clippy::unused_self, reason = "of one signature with its other half")]
    const fn broken_rule(&self) -> Option<Mutant> {
        None
    }
    /// In all that is recorded and derived; else in what they differ.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn same_as(&self, other: &World) -> Result<(), String> {
        let differs = [
            (self.live != other.live, "the runs"),
            (self.jobs != other.jobs, "the jobs"),
            (self.queues != other.queues, "the queues"),
            (self.graph != other.graph, "the graph"),
            (self.places != other.places, "the places"),
            (self.agenda != other.agenda, "the agenda of ticks"),
        ];
        match differs.into_iter().find(|(differs, _)| *differs) {
            Some((_, what)) => Err(what.into()),
            None => Ok(()),
        }
    }
    #[cfg(any(test, feature = "simulation"))]
    pub fn break_rule(&mut self, mutant: Option<Mutant>) {
        self.broken = mutant;
    }
}
