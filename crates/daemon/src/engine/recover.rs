//! Recovery: looking at what is there, and saying it as facts to the same loop.
//!
//! At the start, after every change of the chain, and after a failed commit, the same is done: names are read, every
//! generation is connected to, every table is read. Only that may conclude anything from a run's absence.
//!
//! ```text
//!   a name, a hang-up ──▶ connect to all ──▶ somebody answers: its `Chain` says who takes starts ──▶ settle
//!                              └─▶ nobody serves anything: look for survivors, settle without a keeper, make an elder
//! ```
//! What a table shows of a run, by who serves the table:
//!
//! | slot | served | nobody serves it |
//! |---|---|---|
//! | INTENT, no process | the keeper has it | nothing ran: as if it were not there |
//! | INTENT with a process, RUNNING | as it says | its leader lives, or anybody of it: unowned, watched; else lost, unless the kernel tells |
//!
//! A run that should be going and has no slot anywhere is looked for among all processes before it is called lost.
//! | EXITED, DRAINED | as it says | it has ended so |

use super::survivors::{Fate, PAUSE};
use super::{AGAIN, Batch, Engine, rebuild, slot};
use kin_core::{Act, Close, Event, Fact, How, Outcome, Phase, RunNo, RunState, Seen, Settled, StopKind, What};
use kin_keeper::table::{DRAINED, EXITED, INTENT, Snapshot, flag};
use kin_ledger::Found;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

impl Engine {
    /// The first batch of an engine's life.
    pub(super) fn begin(&mut self, batch: &mut Batch) {
        // A ledger that has never reserved a number is new, also when we died in the middle of filling it.
        if !matches!(self.found, Found::Good) || self.reserved == 0 {
            self.rebuild(batch);
        }
        // A row that cannot be read says nothing: tables and end records do.
        let damaged = std::mem::take(&mut self.damaged);
        let found = damaged.iter().map(|no| self.found_run(*no, batch)).collect();
        self.put_back(found, batch);
        self.damaged.extend(damaged);
        self.note("server.started", format!("kin {}", env!("CARGO_PKG_VERSION")), batch);
        self.look(batch);
    }

    pub(super) fn is_served(&self, generation: u64) -> bool {
        self.link.is_connected(generation) || self.tables.get(generation).is_some_and(|k| k.table.is_served())
    }

    /// What the time says.
    pub(super) fn times(&mut self, batch: &mut Batch) {
        let instant = Instant::now();
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= instant);
        if due(self.stalled) {
            self.stalled = None;
            self.look = true;
            // Before the time: who was ready in time is not late because that could not be written.
            for fact in std::mem::take(&mut self.once) {
                batch.once.push(fact.clone());
                self.fact(fact, batch);
            }
        }
        if self.is_due() {
            self.fact(Fact::Time, batch);
        }
        if due(self.room_at) {
            self.room_at = None;
            self.fact(Fact::Room, batch);
        }
        if due(self.chain_at) {
            self.chain_at = None;
            self.look = true;
        }
        if due(self.survivors.wake_at()) {
            // A keeper may have been followed by another since.
            self.know_ours();
        }
        self.give_up_making(batch);
        self.upgrade_times(instant, batch);
        let now = self.now();
        for (run, seen) in self.survivors.times(&self.dirs, &mut self.link, now) {
            self.fact(Fact::Slot { run, seen }, batch);
        }
        if self.reserve.is_due() {
            // Full or not, what follows from it has been done.
            let _known = self.has_room().is_ok();
        }
        self.care_times(batch);
        self.forget_names(batch);
    }

    /// Looks at whatever has to be looked at before the commit.
    pub(super) fn look(&mut self, batch: &mut Batch) {
        if !std::mem::take(&mut self.look) {
            return;
        }
        if let Err(e) = self.tables.scan(&self.dirs) {
            crate::say!("kin daemon: cannot read {}: {e}", self.dirs.run.display());
            self.chain_at = Some(Instant::now() + AGAIN);
            return;
        }
        if !self.booted {
            self.first_facts(batch);
        }
        self.say_made_again(batch);
        self.say_no_cgroups(batch);
        let busy = self.connect_all();
        let keeper = self.told.map(|told| told.keeper);
        if self.link.connected().next().is_none() && !busy {
            self.told = None;
            self.settle(None, batch);
            self.want_elder(batch);
        } else if keeper.is_some_and(|keeper| self.link.is_connected(keeper)) {
            self.settle(keeper, batch);
            self.upgrade_keepers(batch);
        } else {
            // Somebody answers, and will say how the chain stands. What its tables say may be said meanwhile.
            self.read_tables(batch);
        }
        self.record_what_stood_nowhere(batch);
    }

    // ---- reading tables ----

    /// Everything was looked at: what no table has is nowhere.
    fn settle(&mut self, keeper: Option<u64>, batch: &mut Batch) {
        let mut found = self.read_tables(batch);
        self.ends_of_missing(&found, batch);
        let mut unproven = BTreeSet::new();
        for run in self.world.live() {
            if found.contains(&run.no) {
                continue;
            }
            let spec_there = || {
                let [spec, withdrawn] = [self.dirs.spec(run.no), self.dirs.spec_withdrawn(run.no)];
                spec.exists() || withdrawn.exists()
            };
            let proven = match &run.state {
                // A table that is gone was empty when its owner removed it; with all of the runtime directory gone,
                // nobody knows.
                RunState::Starting { generation: Some(g) } => {
                    self.tables.get(*g).is_some() || (!self.tables.is_unreadable(*g) && spec_there())
                }
                RunState::Stopping { .. } => !self.tables.any_unreadable() && spec_there(),
                RunState::Held { .. }
                | RunState::Waiting { .. }
                | RunState::Queued
                | RunState::Starting { generation: None }
                | RunState::Running { .. }
                | RunState::Draining { .. }
                | RunState::Ended { .. } => true,
            };
            if !proven {
                unproven.insert(run.no);
            }
        }
        self.look_for_missing(&mut found, &unproven, batch);
        self.fact(Fact::Settled(Settled { keeper, found, unproven }), batch);
        batch.settles = keeper.is_some();
    }

    /// Says what every table shows. The runs that some table has.
    pub(super) fn read_tables(&mut self, batch: &mut Batch) -> BTreeSet<RunNo> {
        self.know_ours();
        self.survivors.begin_look();
        let mut found = self.find_adopted(batch);
        found.extend(self.survivors.all());
        // An end that could not be recorded is said until it is: who knows of it looks at these runs no more.
        for (run, seen) in self.survivors.ended() {
            if self.world.get(run).is_some() {
                self.fact(Fact::Slot { run, seen }, batch);
            }
        }
        let all: Vec<(u64, bool, bool, Vec<Snapshot>)> = self
            .tables
            .iter()
            .map(|(generation, known)| {
                let served = self.is_served(generation);
                (generation, served, known.named, slot::all(&known.table).collect())
            })
            .collect();
        for (generation, served, named, snapshots) in all {
            let mut unclear = false;
            for snapshot in &snapshots {
                let Some(no) = RunNo::new(snapshot.run) else { continue };
                if served {
                    found.insert(no);
                    self.slot_of(no, snapshot, batch);
                } else {
                    match self.unserved(generation, no, snapshot, batch) {
                        Unserved::Nothing => {}
                        Unserved::Said => {
                            found.insert(no);
                        }
                        Unserved::Unclear => {
                            found.insert(no);
                            unclear = true;
                        }
                    }
                }
            }
            if !served && !unclear && self.survivors.of_generation(generation) == 0 {
                batch.dead.push(generation);
            } else if !named && snapshots.is_empty() && !self.link.is_connected(generation) {
                // Its owner has removed it.
                self.tables.forget(generation);
            }
        }
        self.tell_survivors();
        found
    }

    /// Whom no stop of a survivor may reach. A table names who serves it before that one has said a word; who holds the
    /// server's place is the elder's to say.
    pub(super) fn know_ours(&mut self) {
        let served: Vec<u32> = self
            .tables
            .iter()
            .filter(|(_, known)| known.table.is_served())
            .map(|(_, known)| known.table.header().owner.load(Ordering::Relaxed))
            .collect();
        let is_all = match self.told {
            Some(told) => self.fronts.contains_key(&told.elder),
            None => served.is_empty() && self.link.connected().next().is_none(),
        };
        let told = self.link.connected().filter_map(|generation| self.link.pid(generation));
        self.survivors.ours_are(&self.front().into_iter().chain(served).chain(told).collect(), is_all);
    }

    /// Who holds the server's place, as the elder said it.
    pub(super) fn front(&self) -> Option<u32> {
        *self.fronts.get(&self.told?.elder)?
    }

    /// A slot of a table that somebody serves, or that holds an end.
    pub(super) fn slot_of(&mut self, no: RunNo, snapshot: &Snapshot, batch: &mut Batch) {
        let Some(seen) = slot::seen(snapshot) else { return };
        if snapshot.flags & flag::OUTPUT_BLOCKED != 0 {
            self.output_is_blocked(no);
        }
        // One keeper had it from its beginning on, and has counted each byte as it moved it.
        if matches!(seen.phase, Phase::Drained(_)) && snapshot.flags & flag::ADOPTED == 0 {
            batch.counted.insert(no);
        }
        if self.world.get(no).is_some() || self.adopt(no, snapshot, batch) {
            self.fact(Fact::Slot { run: no, seen }, batch);
        }
    }

    /// Room can be made where old output lies; and the history says it once.
    fn output_is_blocked(&mut self, no: RunNo) {
        self.look_for_room();
        if let Some(run) = self.world.get(no).map(kin_core::Run::id)
            && self.blocked.insert(no)
        {
            let message = "its output cannot be written, and it waits".to_string();
            let what = What::Note { kind: "run.output-blocked", run: Some(run), message };
            self.untold.push(Event { at: self.now(), what });
        }
    }

    /// A slot of a table that nobody serves any more.
    fn unserved(&mut self, generation: u64, no: RunNo, snapshot: &Snapshot, batch: &mut Batch) -> Unserved {
        if snapshot.state == INTENT && snapshot.pid == 0 {
            return Unserved::Nothing;
        }
        if snapshot.state == EXITED || snapshot.state == DRAINED {
            self.ended(no, snapshot, batch);
            return Unserved::Said;
        }
        if self.world.get(no).is_none() && !self.adopt(no, snapshot, batch) {
            return Unserved::Said;
        }
        let Some(seen) = slot::seen(snapshot) else { return Unserved::Unclear };
        let Some(id) = self.world.get(no).map(kin_core::Run::id) else { return Unserved::Said };
        match self.survivors.look(&mut self.link, &self.dirs, &id, Some((generation, snapshot))) {
            Ok(Fate::Alive) => {
                self.fact(Fact::Survivor { run: no, seen: Seen { phase: Phase::Running, ..seen } }, batch);
                Unserved::Said
            }
            Ok(Fate::Ended(seen)) => {
                self.fact(Fact::Slot { run: no, seen }, batch);
                Unserved::Said
            }
            Ok(Fate::Unclear) => {
                self.look_again_soon();
                Unserved::Unclear
            }
            Ok(Fate::Gone) => {
                // The end record of a keeper that came so far is better than nothing.
                let unknown = Close { how: How::Unknown, at: self.now(), timed_out: false, oom: false };
                let end = rebuild::end_of(&self.dirs, &id);
                let seen = end.unwrap_or(Seen { phase: Phase::Drained(unknown), ..seen });
                self.fact(Fact::Slot { run: no, seen }, batch);
                Unserved::Said
            }
            Err(e) => {
                crate::say!("kin daemon: cannot watch run {no}: {e}");
                self.chain_at = Some(Instant::now() + AGAIN);
                Unserved::Unclear
            }
        }
    }

    fn look_again_soon(&mut self) {
        let at = Instant::now() + PAUSE;
        self.chain_at = Some(self.chain_at.map_or(at, |sooner| sooner.min(at)));
    }

    /// Going runs that no table has, nor an end record: their tables were taken away. Who of them lives is known by what
    /// their processes carry.
    fn look_for_missing(&mut self, found: &mut BTreeSet<RunNo>, unproven: &BTreeSet<RunNo>, batch: &mut Batch) {
        let would_be_lost = |run: &&kin_core::Run| match run.state {
            RunState::Running { .. } => true,
            RunState::Stopping { .. } => run.started_at.is_some() || unproven.contains(&run.no),
            RunState::Starting { .. } => unproven.contains(&run.no),
            // Of a draining run the leader is dead, and who holds its pipes holds nothing that anybody reads.
            RunState::Draining { .. } => false,
            RunState::Held { .. } | RunState::Waiting { .. } | RunState::Queued | RunState::Ended { .. } => false,
        };
        let here = |run: &&kin_core::Run| run.boot == self.config.boot && !found.contains(&run.no);
        let missing: Vec<kin_core::Run> = self.world.live().filter(here).filter(would_be_lost).cloned().collect();
        for run in missing {
            let mut seen = Seen { pid: run.pid, started_at: run.started_at, ..Seen::bare(Phase::Running) };
            match self.survivors.look(&mut self.link, &self.dirs, &run.id(), None) {
                Ok(Fate::Gone) => continue,
                Ok(Fate::Unclear) => self.look_again_soon(),
                Ok(Fate::Alive) => {
                    if let (Some(limit), Some(began)) = (run.timeout_ms, run.started_at) {
                        let age = u64::try_from(self.now().0.saturating_sub(began.0)).unwrap_or(0);
                        self.survivors.limit(run.no, Duration::from_millis(limit), Duration::from_nanos(age));
                    }
                    self.fact(Fact::Survivor { run: run.no, seen }, batch);
                }
                Ok(Fate::Ended(end)) => {
                    seen.phase = end.phase;
                    self.fact(Fact::Slot { run: run.no, seen }, batch);
                }
                Err(e) => {
                    crate::say!("kin daemon: cannot look for run {}: {e}", run.no);
                    self.chain_at = Some(Instant::now() + AGAIN);
                }
            }
            found.insert(run.no);
        }
    }

    /// A slot whose leader is dead, and whose pipes nobody reads any more.
    pub(super) fn ended(&mut self, no: RunNo, snapshot: &Snapshot, batch: &mut Batch) {
        if self.world.get(no).is_none() && !self.adopt(no, snapshot, batch) {
            return;
        }
        let Some(seen) = slot::seen(snapshot) else { return };
        let (Phase::Exited(close) | Phase::Drained(close)) = seen.phase.clone() else { return };
        self.fact(Fact::Slot { run: no, seen: Seen { phase: Phase::Drained(close), ..seen } }, batch);
    }

    /// A slot of a run that does not live for us. True: nobody knew of it, and now it lives.
    fn adopt(&mut self, no: RunNo, snapshot: &Snapshot, batch: &mut Batch) -> bool {
        if batch.fx.changed.contains_key(&no) {
            // It has ended in this very batch; the act that forgets its slot is in it too.
            return false;
        }
        match self.ledger.run(no) {
            Ok(Some(run)) => {
                let cancelled = matches!(run.outcome(), Some(Outcome::Cancelled));
                if snapshot.state == DRAINED {
                    batch.fx.acts.extend([Act::RemoveSpec { run: no }, Act::Forget { run: no }]);
                } else if cancelled {
                    batch.fx.acts.push(Act::Stop { run: no, kind: StopKind::Kill });
                }
                false
            }
            // In a ledger that lost nothing it had a row, and that was old enough to go.
            Ok(None) if snapshot.state == DRAINED && self.found == Found::Good && self.reserved > 0 => {
                batch.fx.acts.extend([Act::RemoveSpec { run: no }, Act::Forget { run: no }]);
                false
            }
            Ok(None) | Err(kin_ledger::ReadError::Damaged(_)) => {
                let row = self.found_run(no, batch);
                self.fact(Fact::Found { run: Box::new(row) }, batch);
                true
            }
            Err(e) => {
                crate::say!("kin daemon: cannot look run {no} up: {e}");
                false
            }
        }
    }

    /// Going runs that no table has, but whose end a keeper wrote down beside their logs.
    fn ends_of_missing(&mut self, found: &BTreeSet<RunNo>, batch: &mut Batch) {
        let missing: Vec<kin_core::RunId> = self
            .world
            .live()
            .filter(|run| run.state.is_going() && !found.contains(&run.no))
            .filter(|run| run.started_at.is_some())
            .map(kin_core::Run::id)
            .collect();
        self.say_ends(&missing, batch);
    }

    pub(super) fn say_ends(&mut self, runs: &[kin_core::RunId], batch: &mut Batch) {
        for id in runs {
            if let Some(seen) = rebuild::end_of(&self.dirs, id) {
                self.fact(Fact::Slot { run: id.no, seen }, batch);
            }
        }
    }
}

/// What became of a slot that nobody serves.
enum Unserved {
    /// Nothing ran.
    Nothing,
    /// It was said.
    Said,
    /// It could not be found out; the table is kept.
    Unclear,
}
