//! A stop that begins with a command: the keeper waits, and the command goes (`crate::stopping`).

use super::{Batch, Engine};
use crate::stopping::{Asked, Asking, Mark, Word, mark, marks};
use kin_core::job::{Job, Millis};
use kin_core::{Event, RunNo, What};
use kin_keeper::table::{INTENT, RUNG, RUNG_ASKED, RUNG_BITS, RUNG_COMMAND, RUNNING, Snapshot};
use kin_keeper::wire::{Ask, AwaitBy, StopKind};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// How much longer than the command the keeper waits for it: its end has a way to go.
const MARGIN: Millis = Millis(2_000);

#[derive(Debug)]
pub(super) struct Polite {
    ask: UnboundedSender<Word>,
    /// Those that were asked in this life; what came of it, once it is known.
    asked: BTreeMap<RunNo, Option<bool>>,
}

impl Polite {
    pub(super) const fn new(ask: UnboundedSender<Word>) -> Polite {
        Polite { ask, asked: BTreeMap::new() }
    }
    /// It has ended. Its command may go on for as long as it was given.
    pub(super) fn forget(&mut self, no: RunNo) {
        self.asked.retain(|of, came| *of != no || came.is_none());
    }
    /// Also of a command that a daemon before us has begun: whoever runs them knows whether there is one.
    pub(super) fn give_up(&self, no: RunNo) {
        drop(self.ask.send(Word::GiveUp(no)));
    }
    /// It has ended, or waits for no command any more. Before its mark goes: a command that was begun by a daemon before
    /// us, and that nobody of ours waits for, is ended.
    pub(super) fn over(&self, run: &Path, no: RunNo) {
        if !self.asked.contains_key(&no)
            && let Some(mark) = Mark::read(&mark(run, no))
        {
            drop(self.ask.send(Word::Over(mark.no)));
        }
    }
    /// The same of all marks whose runs are gone.
    pub(super) fn over_but(&self, run: &Path, lives: impl Fn(RunNo) -> bool) {
        for (no, _) in marks(run).into_iter().filter(|(no, _)| !lives(*no)) {
            self.over(run, no);
        }
    }
    /// A command goes.
    pub(super) fn is_busy(&self) -> bool {
        self.asked.values().any(Option::is_none)
    }
}

impl Engine {
    /// What its keeper is told when it is to end. May be asked again and again.
    pub(super) fn ask_to_end(&mut self, no: RunNo) -> Ask {
        let run = no.get();
        let ladder = Ask::Stop { run, why: StopKind::Ladder };
        let Some((id, job)) = self.has_command(no) else { return ladder };
        let slot = self.tables.find(no, |generation| self.link.is_connected(generation)).map(|(_, slot)| slot);
        let rung = |slot: &Snapshot| (slot.stop_signal >> RUNG) & RUNG_BITS;
        // Without a slot, or with one that has no pid, its process is only just being made. The keeper waits then too, and
        // the command is begun when there is somebody to ask: the world says the stop again with the first word of a pid.
        let waits = slot.as_ref().is_none_or(|slot| match slot.stop_stage {
            0 => matches!(slot.state, INTENT | RUNNING),
            1 => rung(slot) >= RUNG_COMMAND,
            _ => false,
        });
        // From the slot: the run's own may not be recorded yet, when it is stopped as soon as it begins.
        let pid = slot.as_ref().map(|slot| slot.pid).filter(|pid| *pid != 0);
        let was_asked = slot.as_ref().is_some_and(|slot| slot.stop_stage == 1 && rung(slot) == RUNG_ASKED);
        if !waits {
            return ladder;
        }
        let stop = &job.life.stop;
        let wait = |by, ms: u64| Ask::Await { run, by, ms: u32::try_from(ms).unwrap_or(u32::MAX) };
        let command = wait(AwaitBy::Command, stop.command_timeout.0.saturating_add(MARGIN.0));
        match self.polite.asked.get(&no) {
            Some(Some(true)) => wait(AwaitBy::Asked, stop.wait.0),
            Some(Some(false)) => ladder,
            Some(None) => command,
            // By a daemon before us, and its command ended well: the slot says so.
            None if was_asked => {
                self.polite.over(&self.dirs.run, no);
                self.polite.asked.insert(no, Some(true));
                wait(AwaitBy::Asked, stop.wait.0)
            }
            None if pid.is_none() => command,
            None => {
                self.polite.asked.insert(no, None);
                // Whoever runs them has gone only when this process ends.
                drop(self.polite.ask.send(Word::Ask(Asking { id, pid, job })));
                command
            }
        }
    }

    /// The command was asked for when keepers waited for it, and they are dead: what came of it stands in the slot.
    pub(super) fn tell_survivors(&self) {
        for no in self.survivors.all() {
            let Some(Some(well)) = self.polite.asked.get(&no) else { continue };
            let wait = self.has_command(no).filter(|_| *well).map(|(_, job)| job.life.stop.wait);
            self.survivors.was_asked(no, wait.map(|wait| Duration::from_millis(wait.0)));
        }
    }

    fn has_command(&self, no: RunNo) -> Option<(kin_core::RunId, Arc<Job>)> {
        let run = self.world.get(no)?;
        let job = self.world.revision(&run.job, run.terms.rev)?;
        job.life.stop.command.is_some().then(|| (run.id(), Arc::clone(job)))
    }

    /// A stop command has ended: its run is given time, or signals.
    pub(super) fn asked(&mut self, asked: Asked, batch: &mut Batch) {
        let Asked { run: no, well, message } = asked;
        // It has ended meanwhile, most likely by that command.
        let Some(id) = self.world.get(no).map(kin_core::Run::id) else {
            self.polite.asked.remove(&no);
            return;
        };
        if let Some(known) = self.polite.asked.get_mut(&no) {
            *known = Some(well);
        }
        let what = What::Note { kind: "run.stop-command", run: Some(id), message };
        batch.fx.events.push(Event { at: self.now(), what });
        if self.survivors.has(no) {
            return self.tell_survivors();
        }
        let mut out = BTreeMap::new();
        let ask = self.ask_to_end(no);
        self.to_holder(&mut out, no, ask);
        for (generation, records) in out {
            self.link.send(generation, &records);
        }
    }
}
