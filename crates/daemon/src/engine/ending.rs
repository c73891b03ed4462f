//! Wishes that only end something, or signal it.
//!
//! Nobody has to be promised anything for them: they are done, and the run tables remember it. So also a ledger that can
//! take nothing keeps no run alive:
//!
//! ```text
//!   wish ──▶ world ──▶ commit ──▶ done, answered
//!                        │ failed
//!                        ▼
//!      what the tables say is told to the world ──▶ the wish ──▶ done, answered; then the world is loaded again
//! ```
//! A keeper that was told to stop a run notes that in its slot before it sends the first signal, and what stands there is
//! a fact like any other: it is recorded as soon as there is room. What lies only in the ledger, a run that has not
//! started, cannot be cancelled without it; that is refused, and nothing runs.

use super::handle::{Key, Reply};
use super::{Batch, Closing, Engine, words};
use kin_core::{
    Act, Event, Farewell, Granted, JobName, Refusal, Run, RunId, RunNo, StopKind, StopWhy, Time, What, Wish,
};
use kin_keeper::table::{EXITED, RUNNING};
use std::collections::BTreeMap;
use std::mem;

/// Notes that wait for a ledger that can take them; beyond that they are not kept.
const UNTOLD_MAX: usize = 1000;

/// One of them. `by` says who, as `uid:1000`.
#[derive(Debug)]
pub(super) enum Ending {
    Stop {
        no: RunNo,
        kind: StopKind,
        why: StopWhy,
        by: String,
        reply: Reply<Run>,
    },
    Signal {
        no: RunNo,
        signal: u8,
        leader_only: bool,
        interrupt: bool,
        by: String,
        reply: Reply<Run>,
    },
    Shutdown {
        stop_runs: bool,
        /// And what jobs have not started is cancelled.
        cancel: bool,
        by: String,
        reply: Reply<Farewell>,
    },
    /// All runs of a job; a service stays down.
    Down {
        job: JobName,
        by: String,
        reply: Reply<Granted>,
    },
}

/// What the world said to it.
#[derive(Debug)]
pub(super) struct Wished {
    ending: Ending,
    key: Option<Key>,
    granted: Result<Granted, Refusal>,
}

/// What the engine knows and the ledger does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Unwritten {
    /// Why it could not be recorded.
    pub why: String,
    pub since: Time,
    pub runs: BTreeMap<RunNo, Run>,
}

impl Unwritten {
    pub(super) fn has_ended(&self, no: RunNo) -> bool {
        self.runs.get(&no).is_some_and(|run| run.outcome().is_some())
    }
}

impl Ending {
    fn wish(&self) -> Wish {
        match self {
            Ending::Stop { no, kind, why, .. } => Wish::Stop { run: *no, kind: *kind, why: *why },
            Ending::Signal { no, signal, leader_only, interrupt, .. } => {
                Wish::Signal { run: *no, signal: *signal, leader_only: *leader_only, interrupt: *interrupt }
            }
            Ending::Shutdown { stop_runs, cancel, .. } => Wish::Shutdown { stop_runs: *stop_runs, cancel: *cancel },
            Ending::Down { job, .. } => Wish::Down { job: job.clone() },
        }
    }

    fn closing(&self) -> Option<Closing> {
        match self {
            Ending::Shutdown { stop_runs: true, .. } => Some(Closing::WhenQuiet),
            Ending::Shutdown { stop_runs: false, .. } => Some(Closing::Now),
            Ending::Stop { .. } | Ending::Signal { .. } | Ending::Down { .. } => None,
        }
    }

    fn answer(self, granted: Result<Granted, Refusal>) {
        // Who asked may have gone.
        match self {
            Ending::Stop { no, reply, .. } | Ending::Signal { no, reply, .. } => {
                drop(reply.send(granted.and_then(|granted| match granted {
                    Granted::Run(run) => Ok(*run),
                    Granted::Released(_) | Granted::Job(_) | Granted::Done | Granted::Farewell(_) => {
                        Err(Refusal::Unknown { run: no })
                    }
                })));
            }
            Ending::Down { reply, .. } => drop(reply.send(granted)),
            Ending::Shutdown { reply, .. } => drop(reply.send(granted.map(|granted| match granted {
                Granted::Farewell(farewell) => farewell,
                Granted::Run(_) | Granted::Released(_) | Granted::Job(_) | Granted::Done => Farewell::default(),
            }))),
        }
    }

    /// What the history says of who asked. `changed`: something follows from it that was not to follow before.
    fn notes(&self, granted: &Granted, changed: bool) -> Vec<(&'static str, Option<RunId>, String)> {
        match (self, granted) {
            (Ending::Stop { kind: StopKind::Kill, by, .. }, Granted::Run(run)) => {
                vec![("run.stop-asked", Some(run.id()), format!("{by} asked to have it killed"))]
            }
            (Ending::Stop { why: StopWhy::Interrupt, by, .. }, Granted::Run(run)) if changed => {
                vec![("run.stop-asked", Some(run.id()), format!("its caller, {by}, interrupted it"))]
            }
            (Ending::Stop { by, .. }, Granted::Run(run)) if changed => {
                vec![("run.stop-asked", Some(run.id()), format!("{by} asked for its end"))]
            }
            (Ending::Signal { signal, interrupt, by, .. }, Granted::Run(run)) => {
                let name = kin_config::signal::name(*signal);
                let whose = if *interrupt { "its caller's own" } else { "the signal" };
                vec![("run.signal", Some(run.id()), format!("{by} had {whose} {name} sent to it"))]
            }
            (Ending::Shutdown { stop_runs: true, by, .. }, Granted::Farewell(farewell)) => {
                let runs = farewell.stopping.iter().chain(&farewell.cancelled);
                let words = format!("{by} asked for the end of the server and of its runs");
                let mut notes: Vec<_> = runs.map(|id| ("run.stop-asked", Some(id.clone()), words.clone())).collect();
                notes.push(("server.closing", None, format!("{by} asked for it: the server ends, and stops its runs")));
                notes
            }
            (Ending::Shutdown { by, .. }, Granted::Farewell(_)) => {
                vec![("server.closing", None, format!("{by} asked for it: the server ends"))]
            }
            (Ending::Down { job, by, .. }, Granted::Job(_)) if changed => {
                vec![("job.stop-asked", None, format!("{by} asked for the end of {job}"))]
            }
            (Ending::Stop { .. } | Ending::Signal { .. } | Ending::Shutdown { .. } | Ending::Down { .. }, _) => {
                Vec::new()
            }
        }
    }
}

impl Wished {
    /// All of it is recorded, and done.
    pub(super) fn answer(self) {
        self.ending.answer(self.granted);
    }
}

impl Engine {
    pub(super) fn wish_end(&mut self, ending: Ending, key: Option<Key>, batch: &mut Batch) {
        let begin = batch.fx.events.len();
        let granted = match &ending {
            Ending::Stop { no, .. } | Ending::Signal { no, .. } => {
                self.about(*no, ending.wish(), batch).map(|run| Granted::Run(Box::new(run)))
            }
            Ending::Shutdown { .. } | Ending::Down { .. } => self.world.wish(self.now(), ending.wish(), &mut batch.fx),
        };
        if let Ok(granted) = &granted {
            let at = self.now();
            let changed = batch.fx.events.len() > begin;
            let notes = ending.notes(granted, changed).into_iter();
            let notes = notes.map(|(kind, run, message)| Event { at, what: What::Note { kind, run, message } });
            // Who asked comes before what became of it.
            batch.fx.events.splice(begin..begin, notes);
        }
        self.keep_done(key.clone(), &granted, batch);
        batch.closing = ending.closing().or(batch.closing);
        batch.endings.push(Wished { ending, key, granted });
    }

    /// Once more, in a commit that accepts nothing.
    pub(super) fn wish_ends_again(&mut self, endings: Vec<Wished>) {
        let mut batch = Batch::default();
        for Wished { ending, key, .. } in endings {
            self.wish_end(ending, key, &mut batch);
        }
        self.commit(batch);
    }

    /// The ledger can take nothing: what ends something is done all the same. The world is as the ledger has it, before
    /// and after.
    pub(super) fn end_unrecorded(&mut self, endings: Vec<Wished>, why: &str) {
        let mut facts = Batch::default();
        self.read_tables(&mut facts);
        let mut known = mem::take(&mut facts.fx.changed);
        let (mut acts, mut answers) = (Vec::new(), Vec::new());
        for Wished { ending, .. } in endings {
            let mut batch = Batch::default();
            let reached = match &ending {
                Ending::Stop { no, .. } | Ending::Signal { no, .. } => self.is_within_reach(*no),
                Ending::Shutdown { .. } => true,
                Ending::Down { job, .. } => self.all_within_reach(job),
            };
            self.closing = ending.closing().or(self.closing);
            let granted = match &ending {
                Ending::Stop { no, .. } | Ending::Signal { no, .. } => {
                    self.about(*no, ending.wish(), &mut batch).map(|run| Granted::Run(Box::new(run)))
                }
                Ending::Shutdown { .. } | Ending::Down { .. } => {
                    self.world.wish(self.now(), ending.wish(), &mut batch.fx)
                }
            };
            let granted = match granted {
                Ok(_) if !reached => Err(Refusal::Unavailable { why: why.to_string() }),
                Ok(Granted::Farewell(mut farewell)) => {
                    // That they were cancelled is nowhere: they wait for the next server.
                    batch.fx.changed.retain(|no, _| !farewell.cancelled.iter().any(|id| id.no == *no));
                    farewell.waiting.append(&mut farewell.cancelled);
                    Ok(Granted::Farewell(farewell))
                }
                granted => granted,
            };
            if let Ok(granted) = &granted {
                self.untold_of(&ending, granted, !batch.fx.events.is_empty());
                acts.extend(batch.fx.acts.into_iter().filter(is_end));
                known.append(&mut batch.fx.changed);
            }
            answers.push((ending, granted));
        }
        if self.closing == Some(Closing::WhenQuiet) {
            let going = self.world.live().filter(|run| run.state.is_going());
            acts.extend(going.map(|run| Act::Stop { run: run.no, kind: StopKind::Ladder }));
        }
        self.quiet = !self.world.is_going();
        self.perform(acts);
        for run in known.values_mut().filter(|run| run.outcome().is_some()) {
            self.measure(run);
        }
        self.publish_unwritten(why, known);
        for (ending, granted) in answers {
            ending.answer(granted);
        }
        if let Err(e) = self.load() {
            crate::say!("kin daemon: the ledger cannot be read: {}", words(&e));
        }
        self.step("done-unrecorded");
    }

    /// Who asked is kept for the next commit, which a death of this process may prevent.
    fn untold_of(&mut self, ending: &Ending, granted: &Granted, changed: bool) {
        let at = self.now();
        let room = UNTOLD_MAX.saturating_sub(self.untold.len());
        let notes = ending.notes(granted, changed).into_iter().take(room);
        self.untold.extend(notes.map(|(kind, run, message)| Event { at, what: What::Note { kind, run, message } }));
    }

    /// Somebody has it who can be told.
    fn is_within_reach(&self, no: RunNo) -> bool {
        self.survivors.has(no)
            || self
                .tables
                .find(no, |generation| self.link.is_connected(generation))
                .is_some_and(|(_, slot)| slot.state == RUNNING || slot.state == EXITED)
    }

    /// All runs of a job have somebody who can be told: what has not begun lies in the ledger alone.
    fn all_within_reach(&self, job: &JobName) -> bool {
        let mut runs = self.world.live().filter(|run| run.is_defined() && run.job == *job).peekable();
        runs.peek().is_some() && runs.all(|run| self.is_within_reach(run.no))
    }

    fn publish_unwritten(&self, why: &str, runs: BTreeMap<RunNo, Run>) {
        let now = self.now();
        self.trouble.send_modify(|trouble| {
            let since = trouble.unwritten.as_ref().map_or(now, |before| before.since);
            trouble.unwritten = Some(std::sync::Arc::new(Unwritten { why: why.to_string(), since, runs }));
        });
    }
}

/// Nothing but the end of what is there, or a signal to it.
fn is_end(act: &Act) -> bool {
    match act {
        Act::Stop { .. } | Act::Signal { .. } => true,
        Act::Start { .. } | Act::Withdraw { .. } | Act::RemoveSpec { .. } | Act::Forget { .. } => false,
    }
}
