//! The commit: what was decided is recorded whole or not at all; then come the answers, then the acts.

use super::handle::{ChainInfo, Committed, Link};
use super::record::{NotWritten, Worth};
use super::{AGAIN, Batch, Ended, Engine, MINT_AHEAD, perform, words};
use kin_core::{Event, Run, What};
use kin_keeper::wire::Guard;
use kin_ledger::{Batch as Rows, Change, Durability, NewEvent, Stage};
use std::collections::BTreeSet;
use std::time::Instant;

impl Engine {
    /// All or nothing; then the answers, then the acts.
    pub(super) fn commit(&mut self, mut batch: Batch) {
        self.make_specs(&mut batch);
        let mut fx = std::mem::take(&mut batch.fx);
        let counted = |run: &Run| batch.counted.contains(&run.no);
        for run in fx.changed.values_mut().filter(|run| run.outcome().is_some() && !counted(run)) {
            self.measure(run);
        }
        // More may come to it while this is written.
        let told = self.untold.len();
        fx.events.splice(0..0, self.untold.iter().cloned());
        let accepted = !batch.specs.is_empty();
        let ended = fx.changed.values().filter(|run| run.outcome().is_some());
        let (ended, written) = ended.fold((0, 0), |(n, bytes), run| (n + 1, bytes + run.out_bytes + run.err_bytes));
        let minted = self.world.minted();
        let reserve = (minted > self.reserved).then(|| minted.saturating_add(MINT_AHEAD));
        let definitions = self.definitions_of(&fx, &mut batch);
        let rows = Rows {
            runs: fx.changed.values().collect(),
            events: fx.events.iter().map(row_of_event).collect(),
            keys: std::mem::take(&mut batch.keys).into_values().collect(),
            done: std::mem::take(&mut batch.done).into_values().collect(),
            mint_reserved: reserve,
            in_use: if definitions.is_empty() { BTreeSet::new() } else { self.revisions_in_use() },
            definitions,
            standings: fx.standings.iter().map(|(job, now)| (job.clone(), now.clone())).collect(),
            queues: self.queues_of(&fx, &batch),
            ticks: std::mem::take(&mut fx.ticks),
        };
        if let Some(what) = self.met_damage(&batch) {
            // Nobody is answered by us: whoever asked asks the next, which knows of all of it.
            return self.leave_ledger(&what, &rows);
        }
        let decides = !rows.ticks.is_empty();
        if decides {
            self.step("ticks-decided");
        }
        let mut seqs = 0..0;
        let changes = !(rows.runs.is_empty()
            && rows.events.is_empty()
            && rows.keys.is_empty()
            && rows.done.is_empty()
            && rows.definitions.is_empty()
            && rows.standings.is_empty()
            && rows.queues.is_empty()
            && rows.ticks.is_empty()
            && reserve.is_none());
        if changes {
            let durability = if fx.promises { self.config.durability } else { Durability::Normal };
            let worth = match batch.accepts {
                true => Worth::New,
                false if ended > 0 || !batch.endings.is_empty() => Worth::Ends,
                false => Worth::News,
            };
            match self.write(&rows, durability, worth) {
                Ok(applied) => {
                    let event_seq = applied.seqs.end.saturating_sub(1).max(self.committed.borrow().event_seq);
                    self.committed.send_replace(Committed { event_seq });
                    seqs = applied.seqs;
                }
                Err(not) if not.is_damage() && self.may_mend(&batch) => return self.leave_ledger(&not.why, &rows),
                Err(not) => return self.not_recorded(batch, &not),
            }
            self.untold.drain(..told);
        }
        let events = rows.events;
        self.reserved = reserve.unwrap_or(self.reserved);
        if accepted {
            self.step("accept-committed");
        }
        if decides {
            self.step("ticks-committed");
        }
        if ended > 0 {
            self.step("end-committed");
            self.care.ended(written, self.config.care_after);
            self.look_for_room();
        }
        if self.stalled.is_none() {
            self.quiet = false;
            self.trouble.send_if_modified(|trouble| trouble.unwritten.take().is_some());
        }
        if batch.boots {
            self.booted = true;
            self.sweep_specs();
            // Also when the daemon before us died between taking the elder's word and doing this.
            self.restore_runs();
            self.sweep_adopted();
            self.sweep_given();
        }
        self.origin = batch.origin.unwrap_or(self.origin);
        if self.closing.is_none()
            && batch.closing.is_some()
            && let Err(e) = std::fs::write(self.dirs.run.join(crate::front::CLOSING), "")
        {
            crate::say!("kin daemon: it cannot be said that the server is ending: {e}");
        }
        self.closing = batch.closing.or(self.closing);
        self.ending = batch.ending.take();
        self.publish(batch.settles);
        for answer in batch.answers {
            answer(None);
        }
        for look in batch.looks {
            self.answer_look(look);
        }
        if accepted {
            self.step("accept-answered");
        }
        for path in &batch.read {
            perform::remove(path);
        }
        // After its mark is gone: what vanishes from here on leaves another.
        if batch.read.iter().any(|path| path.ends_with(kin_keeper::MADE_AGAIN)) {
            self.restore_runs();
        }
        let watching = batch.boots || self.watching_may_differ(&fx);
        let sockets = batch.boots || ended > 0 || !fx.defined.is_empty() || fx.standings.values().any(Option::is_none);
        let probes = batch.boots || self.probes_may_differ(&fx);
        self.tell_zones();
        self.perform(fx.acts);
        self.hand_to_makers(batch.slow);
        if probes {
            self.tell_probes();
        }
        if sockets {
            self.release_sockets();
        }
        if watching {
            self.tell_watching();
        }
        for wished in batch.endings {
            wished.answer();
        }
        for generation in batch.dead {
            self.bury(generation);
        }
        self.journal.tell(&seqs, &events);
        self.room_at = self.world.wants_room().then(|| self.room_at.unwrap_or_else(|| Instant::now() + AGAIN));
    }

    /// Nothing of it is true. Wishes for something new are refused; the world is loaded again; facts are read again in a
    /// second; what ends something is done.
    pub(super) fn not_recorded(&mut self, mut batch: Batch, not: &NotWritten) {
        let why = &not.why;
        // Once, and not each second.
        if self.trouble.borrow().unwritten.is_none() {
            crate::say!("kin daemon: not recorded: {why}");
        }
        for fact in std::mem::take(&mut batch.once) {
            if !self.once.contains(&fact) {
                self.once.push(fact);
            }
        }
        let times = batch.times.take().map(|before| self.config.times.swap(before));
        self.load_again();
        // A commit may fail after all of it was written: then it is true, and is answered so.
        let mut promised = batch.specs.iter().chain(&batch.adopted).chain(&batch.jobs_accepted);
        let is_there = promised.any(|no| self.world.get(*no).is_some());
        if let Some(times) = times.filter(|_| is_there) {
            self.config.times.swap(times);
            self.load_again();
        }
        self.unmake(&batch.made);
        self.making.too_late_again(&batch.late);
        if !is_there {
            for no in batch.specs {
                self.remove_spec(no);
            }
            for no in batch.adopted {
                self.unadopt(no);
            }
        }
        for answer in batch.answers {
            answer((!is_there).then_some(&not.refusal()));
        }
        for look in batch.looks {
            self.answer_look(look);
        }
        self.stalled = Some(Instant::now() + AGAIN);
        self.journal.doubt();
        self.publish(false);
        if batch.accepts {
            // What else was in it can do with less room.
            self.look = true;
            return self.wish_ends_again(batch.endings);
        }
        self.end_unrecorded(batch.endings, why);
    }

    pub(super) fn load_again(&mut self) {
        if let Err(e) = self.load() {
            self.ending = Some(Ended::Failed { why: format!("the ledger cannot be read: {}", words(&e)) });
        }
    }

    /// Says how the chain stands to whoever watches.
    pub(super) fn publish(&mut self, settles: bool) {
        let link = |generation: u64| Link { generation, pid: self.link.pid(generation) };
        let before = *self.chain.borrow();
        let settled = self.told.is_some() && self.stalled.is_none() && (settles || before.settled);
        // A ledger that can take nothing makes no keeper weaker.
        let believed = settled || self.stalled.is_some();
        let info = ChainInfo {
            guard: self.told.filter(|_| believed).map_or(Guard::Degraded, |told| told.guard),
            elder: self.told.map(|told| link(told.elder)),
            keeper: self.told.map(|told| link(told.keeper)),
            front: self.front(),
            settled,
            upgrade: self.upgrade.progress(),
        };
        if info != before {
            self.chain.send_replace(info);
        }
    }
}

fn row_of_event(event: &Event) -> NewEvent {
    let new = |kind: &str| NewEvent { at: event.at, kind: kind.to_string(), run: None, change: None, message: None };
    match &event.what {
        What::State { run, from, to, exit } => {
            let outcome = match to {
                kin_core::RunState::Ended { outcome } => Some(outcome.clone()),
                kin_core::RunState::Held { .. }
                | kin_core::RunState::Waiting { .. }
                | kin_core::RunState::Queued
                | kin_core::RunState::Starting { .. }
                | kin_core::RunState::Running { .. }
                | kin_core::RunState::Stopping { .. }
                | kin_core::RunState::Draining { .. } => None,
            };
            let change = Change { from: from.and_then(Stage::parse), to: Stage::of(to), outcome, exit: *exit };
            NewEvent { run: Some(run.clone()), change: Some(change), ..new("run.state") }
        }
        What::Defined { job, from, to } => {
            let words = match (from, to) {
                (0, rev) => format!("{job} is defined, as revision {rev}"),
                (_, 0) => format!("{job} is not defined any more"),
                (from, to) => format!("{job} is revision {to} now, after {from}"),
            };
            NewEvent { message: Some(words), ..new("job.defined") }
        }
        What::Released { latch, runs } => {
            let message = format!("latch {latch} was released, with {runs} run{}", if *runs == 1 { "" } else { "s" });
            NewEvent { message: Some(message), ..new("latch.released") }
        }
        What::Note { kind, run, message } => NewEvent { run: run.clone(), message: Some(message.clone()), ..new(kind) },
    }
}
