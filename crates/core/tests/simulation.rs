//! A small host, driven by a seed: clients, a daemon that dies between any two effects, a disk that is full at times, an
//! elder and a keeper that are killed and replaced, children, reboots. The world under test is the real one.
//!
//! The keepers are modelled as the contract says: a start for a known run is left alone; a start without a spec, without
//! room, or at a keeper that is not current is refused; at a takeover an intent without a process is freed; what was on its
//! way to a dead process is lost, what was on its way from a dead daemon is not.
//!
//! `KIN_SIM_SEEDS=100000` runs longer; `KIN_SIM_SEED=42` runs one and prints its steps.

use kin_core::{
    Act, Close, Effects, Exit, Fact, Farewell, Granted, How, JobName, LostWhy, Mint, NewRun, Outcome, Phase, Refusal,
    Run, RunNo, RunState, Seen, Serial, Settled, SpawnStep, StartRefusal, StopKind, StopWhy, Time, Trigger, Wish,
    World,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const SLOTS: usize = 4;

/// xorshift64*: the same steps for the same seed, everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.below(from.len() as u64) as usize])
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum SlotPhase {
    Intent,
    Running,
    Failed,
    Exited,
    Drained,
}

#[derive(Clone, Debug)]
struct Slot {
    phase: SlotPhase,
    stop: bool,
    /// The stop came while it ran, and is noted.
    noted: bool,
}

/// One generation: a table, and what is on its way to who owns it.
#[derive(Debug, Default)]
struct Generation {
    slots: BTreeMap<RunNo, Slot>,
    inbox: VecDeque<Act>,
    /// What an earlier daemon had said, on a connection of its own: it may be read before or after anything later.
    late: VecDeque<Act>,
    /// The process that serves it; none: nobody does any more.
    owner: Option<u64>,
}

#[derive(Debug)]
struct Child {
    alive: bool,
    /// Never ends by itself.
    endless: bool,
    code: u8,
}

#[derive(Debug, Clone)]
enum Tell {
    Changed(RunNo),
    Refused(RunNo, u64, StartRefusal),
    HungUp(u64),
    Chain,
}

/// What is true of each accepted run, for the judgement at the end.
#[derive(Debug, Default)]
struct Story {
    executed: u32,
    stop_accepted: bool,
    left_the_latch: u32,
    ended: Option<Outcome>,
    /// Both keepers died at once while it lived: its exit may honestly be unknown.
    pair_killed: bool,
    rebooted: bool,
    code: Option<u8>,
    spawn_failed: bool,
}

struct Host {
    dice: Dice,
    now: Time,
    talk: bool,
    // The disk and the tmpfs.
    ledger: BTreeMap<RunNo, Run>,
    disk_full: bool,
    specs: BTreeSet<RunNo>,
    boot: u32,
    // The chain.
    generations: BTreeMap<u64, Generation>,
    current: Option<u64>,
    elder: Option<u64>,
    keeper: Option<u64>,
    next_id: u64,
    children: BTreeMap<RunNo, Child>,
    // The daemon.
    world: World,
    /// What several inputs come to, until it is committed.
    batch: Effects,
    /// Runs whose stop is granted once the batch is committed.
    promised: Vec<RunNo>,
    acts: VecDeque<Act>,
    tells: VecDeque<Tell>,
    settled: bool,
    next_run: u64,
    // The judge.
    stories: BTreeMap<RunNo, Story>,
}

impl Host {
    fn new(seed: u64, talk: bool) -> Host {
        let mut host = Host {
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            now: Time(1),
            talk,
            ledger: BTreeMap::new(),
            disk_full: false,
            specs: BTreeSet::new(),
            boot: 1,
            generations: BTreeMap::new(),
            current: None,
            elder: None,
            keeper: None,
            next_id: 1,
            children: BTreeMap::new(),
            world: World::default(),
            batch: Effects::default(),
            promised: Vec::new(),
            acts: VecDeque::new(),
            tells: VecDeque::new(),
            settled: false,
            next_run: 1,
            stories: BTreeMap::new(),
        };
        host.new_chain();
        host.daemon_starts();
        host
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.talk {
            println!("{:>5} {}", self.now.0, what());
        }
    }

    // ---- the chain ----

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn new_chain(&mut self) {
        let elder = self.id();
        self.elder = Some(elder);
        self.new_keeper();
    }

    fn new_keeper(&mut self) {
        let (keeper, generation) = (self.id(), self.id());
        self.keeper = Some(keeper);
        self.generations.insert(generation, Generation { owner: Some(keeper), ..Generation::default() });
        self.current = Some(generation);
        self.tells.push_back(Tell::Chain);
        let current = self.current;
        self.generations.retain(|id, g| Some(*id) == current || g.owner.is_none() || !g.slots.is_empty());
    }

    fn kill_keeper(&mut self) {
        let (Some(elder), Some(keeper)) = (self.elder, self.keeper) else { return };
        self.say(|| "the keeper is killed".into());
        for (id, generation) in &mut self.generations {
            if generation.owner == Some(keeper) {
                generation.owner = Some(elder);
                generation.inbox.clear();
                generation.late.clear();
                generation.slots.retain(|_, slot| slot.phase != SlotPhase::Intent);
                self.tells.push_back(Tell::HungUp(*id));
            }
        }
        self.new_keeper();
    }

    fn kill_elder(&mut self) {
        let (Some(elder), Some(keeper)) = (self.elder, self.keeper) else { return };
        self.say(|| "the elder is killed".into());
        for (id, generation) in &mut self.generations {
            if generation.owner == Some(elder) {
                generation.owner = Some(keeper);
                generation.inbox.clear();
                generation.late.clear();
                self.tells.push_back(Tell::HungUp(*id));
            }
        }
        self.elder = Some(keeper);
        self.new_keeper();
    }

    fn kill_both(&mut self) {
        self.say(|| "both keepers are killed".into());
        for generation in self.generations.values_mut() {
            generation.owner = None;
            generation.inbox.clear();
            generation.late.clear();
        }
        (self.elder, self.keeper, self.current) = (None, None, None);
        self.tells.push_back(Tell::Chain);
        for (no, story) in &mut self.stories {
            if story.ended.is_none() && self.children.contains_key(no) {
                story.pair_killed = true;
            }
        }
    }

    fn reboot(&mut self) {
        self.say(|| "the machine is rebooted".into());
        self.boot += 1;
        self.generations.clear();
        self.specs.clear();
        self.children.clear();
        (self.elder, self.keeper, self.current) = (None, None, None);
        for story in self.stories.values_mut() {
            story.rebooted |= story.ended.is_none();
        }
        self.new_chain();
        self.daemon_starts();
    }

    /// One message at one generation is read by its owner.
    fn keeper_reads(&mut self, id: u64) {
        let current = self.current == Some(id);
        let specs = &self.specs;
        let Some(generation) = self.generations.get_mut(&id) else { return };
        if generation.owner.is_none() {
            return;
        }
        let late_first = self.dice.one_in(2);
        let next = if late_first { generation.late.pop_front() } else { None };
        let Some(ask) = next.or_else(|| generation.inbox.pop_front()).or_else(|| generation.late.pop_front()) else {
            return;
        };
        match ask {
            Act::Start { run, .. } => {
                let why = if generation.slots.contains_key(&run) {
                    return self.tells.push_back(Tell::Changed(run));
                } else if !current {
                    Some(StartRefusal::NotCurrent)
                } else if !specs.contains(&run) {
                    Some(StartRefusal::NoSpec)
                } else if generation.slots.len() >= SLOTS {
                    Some(StartRefusal::Full)
                } else {
                    None
                };
                match why {
                    Some(why) => self.tells.push_back(Tell::Refused(run, id, why)),
                    None => {
                        generation.slots.insert(run, Slot { phase: SlotPhase::Intent, stop: false, noted: false });
                    }
                }
            }
            Act::Stop { run, .. } => {
                if let Some(slot) = generation.slots.get_mut(&run) {
                    slot.stop = true;
                    slot.noted |= slot.phase == SlotPhase::Running;
                }
            }
            Act::Signal { .. } => {}
            Act::Forget { run } => {
                if generation.slots.get(&run).is_some_and(|s| matches!(s.phase, SlotPhase::Drained | SlotPhase::Failed))
                {
                    generation.slots.remove(&run);
                }
            }
            Act::RemoveSpec { .. } | Act::Withdraw { .. } => unreachable!("specs are the daemon's"),
        }
    }

    /// One run comes one step further.
    fn run_moves(&mut self, id: u64, run: RunNo) {
        let spawn_fails = self.dice.one_in(12);
        let (endless, code) = (self.dice.one_in(4), self.dice.below(3) as u8);
        let Some(generation) = self.generations.get_mut(&id) else { return };
        if generation.owner.is_none() {
            return;
        }
        let Some(slot) = generation.slots.get_mut(&run) else { return };
        let story = self.stories.get_mut(&run).expect("a started run was accepted");
        slot.phase = match slot.phase {
            SlotPhase::Intent if spawn_fails => {
                story.spawn_failed = true;
                SlotPhase::Failed
            }
            SlotPhase::Intent => {
                story.executed += 1;
                assert_eq!(story.executed, 1, "run {run} was executed twice");
                story.code = Some(code);
                self.children.insert(run, Child { alive: true, endless, code });
                SlotPhase::Running
            }
            SlotPhase::Running => {
                let child = self.children.get_mut(&run).expect("a running run has a child");
                if slot.stop {
                    child.alive = false;
                }
                child.alive &= child.endless;
                if child.alive {
                    return;
                }
                SlotPhase::Exited
            }
            SlotPhase::Exited | SlotPhase::Drained => SlotPhase::Drained,
            SlotPhase::Failed => SlotPhase::Failed,
        };
        self.tells.push_back(Tell::Changed(run));
    }

    fn seen(&self, run: RunNo, slot: &Slot) -> Seen {
        let close = |how| Close { how, at: self.now, timed_out: false, oom: false };
        let exit = || How::Exit(Exit::Code(self.children[&run].code));
        let phase = match slot.phase {
            SlotPhase::Intent => Phase::Intent,
            SlotPhase::Running => Phase::Running,
            SlotPhase::Failed => Phase::Drained(close(How::SpawnFailed { step: SpawnStep::Exec, errno: 2 })),
            SlotPhase::Exited => Phase::Exited(close(exit())),
            SlotPhase::Drained => Phase::Drained(close(exit())),
        };
        Seen { pid: Some(7), started_at: Some(Time(1)), stop_asked: slot.noted, ..Seen::bare(phase) }
    }

    // ---- the daemon ----

    /// What the engine does at its start, up to the first settlement.
    fn daemon_starts(&mut self) {
        self.tells.clear();
        self.acts.clear();
        self.batch = Effects::default();
        self.promised.clear();
        let boot = format!("boot-{}", self.boot);
        self.world =
            World::load(boot, Mint::after(0), self.ledger.values().filter(|run| run.outcome().is_none()).cloned());
        self.settled = false;
        let live: BTreeSet<RunNo> = self.world.live().map(|run| run.no).collect();
        self.specs.retain(|no| live.contains(no));
    }

    fn daemon_dies(&mut self) {
        self.say(|| format!("the daemon is killed, with {} acts undone", self.acts.len()));
        for generation in self.generations.values_mut() {
            generation.late.append(&mut generation.inbox);
        }
        self.daemon_starts();
    }

    /// All or nothing. A failed commit is a small death: the world is loaded again, and the facts are said again.
    fn commit(&mut self) {
        let fx = std::mem::take(&mut self.batch);
        let promised = std::mem::take(&mut self.promised);
        if self.disk_full && !fx.is_empty() {
            self.say(|| "the disk is full".into());
            return self.daemon_starts();
        }
        let waited: Vec<(RunNo, Option<String>)> = self
            .ledger
            .values()
            .filter(|run| run.state == RunState::Queued)
            .map(|run| (run.no, run.group.clone()))
            .collect();
        for (no, run) in fx.changed {
            let before = self.ledger.get(&no);
            self.say(|| format!("run {} is {:?}", no.get(), run.state));
            let story = self.stories.entry(no).or_default();
            assert_eq!(story.ended, None, "run {no} changed after its end");
            let was_held = before.is_some_and(|run| matches!(run.state, RunState::Held { .. }));
            let is_held = matches!(run.state, RunState::Held { .. });
            if was_held && !is_held && run.outcome().is_none() {
                story.left_the_latch += 1;
                assert_eq!(story.left_the_latch, 1, "run {no} was released twice");
            }
            assert!(!is_held || before.is_none() || was_held, "run {no} came back to its latch");
            if run.state.is_going()
                && let Some(group) = &run.group
                && before.is_none_or(|run| !run.state.is_going())
            {
                let older = waited.iter().find(|(other, of)| {
                    *other < no
                        && of.as_ref() == Some(group)
                        && self.world.get(*other).is_some_and(|run| run.state == RunState::Queued)
                });
                assert!(older.is_none(), "run {no} went before {older:?}");
            }
            story.ended = run.outcome().cloned();
            self.ledger.insert(no, run);
        }
        for no in promised {
            self.stories.get_mut(&no).expect("a live run has a story").stop_accepted = true;
        }
        self.acts.extend(fx.acts);
        self.check_groups();
    }

    fn check_groups(&self) {
        let live = |run: &&Run| run.outcome().is_none();
        let mut groups: BTreeMap<&str, (usize, Option<&Run>)> = BTreeMap::new();
        for run in self.ledger.values().filter(live) {
            let Some(group) = &run.group else { continue };
            let entry = groups.entry(group).or_default();
            entry.0 += usize::from(run.state.is_going());
            if run.state == RunState::Queued && entry.1.is_none() {
                entry.1 = Some(run);
            }
        }
        for (group, (going, first)) in groups {
            assert!(going <= max_of(group), "{going} of group {group} at once");
            if let Some(first) = first {
                assert!(going >= first.group_max as usize, "run {} waits for a place that is free", first.no);
            }
        }
    }

    fn fact(&mut self, fact: Fact) {
        self.world.fact(self.now, fact, &mut self.batch);
        self.perhaps_commit();
    }

    /// All that one look at all tables came to is one batch.
    fn facts(&mut self, facts: impl IntoIterator<Item = Fact>) {
        for fact in facts {
            self.world.fact(self.now, fact, &mut self.batch);
        }
    }

    fn wish(&mut self, wish: Wish) -> Result<Granted, Refusal> {
        self.wish_that_promises(wish, |_| None)
    }

    /// `end`: the run whose end the wish promises, once it is committed, given its state before.
    fn wish_that_promises(
        &mut self,
        wish: Wish,
        end: impl FnOnce(&World) -> Option<RunNo>,
    ) -> Result<Granted, Refusal> {
        let end = end(&self.world);
        let answer = self.world.wish(self.now, wish, &mut self.batch);
        if answer.is_ok() {
            self.promised.extend(end);
        }
        self.perhaps_commit();
        answer
    }

    /// Inputs that arrive together are committed together.
    fn perhaps_commit(&mut self) {
        if !self.dice.one_in(3) {
            self.commit();
        }
    }

    /// The table that has the run: one that is served before one that is not, where an old intent means nothing.
    fn table_of(&self, run: RunNo) -> Option<u64> {
        let having = || self.generations.iter().filter(|(_, g)| g.slots.contains_key(&run));
        having().find(|(_, g)| g.owner.is_some()).or_else(|| having().next()).map(|(id, _)| *id)
    }
    fn served_table_of(&self, run: RunNo) -> Option<u64> {
        self.table_of(run).filter(|id| self.generations[id].owner.is_some())
    }

    fn perform(&mut self, act: &Act) {
        self.say(|| format!("does {act:?}"));
        match act {
            Act::Start { run, generation } if !self.world.may_start(*run, *generation) => {}
            Act::Start { generation, .. } => {
                if let Some(g) = self.generations.get_mut(generation).filter(|g| g.owner.is_some()) {
                    g.inbox.push_back(act.clone());
                }
            }
            Act::Stop { run, .. } | Act::Signal { run, .. } | Act::Forget { run } => {
                let only = self.table_of(*run);
                let is_stop = matches!(act, Act::Stop { .. });
                for (id, generation) in &mut self.generations {
                    if only.is_some_and(|only| only != *id) {
                        continue;
                    }
                    if generation.owner.is_some() {
                        generation.inbox.push_back(act.clone());
                    } else if is_stop && let Some(child) = self.children.get_mut(run) {
                        child.alive = false;
                    } else if matches!(act, Act::Forget { .. }) {
                        generation.slots.remove(run);
                    }
                }
            }
            Act::RemoveSpec { run } => {
                self.specs.remove(run);
            }
            Act::Withdraw { run } => {
                let had = self.specs.remove(run);
                // An intent in a table that nobody serves proves that nothing ran; anything else means that it did.
                let having = self.generations.values().find(|g| {
                    g.slots.get(run).is_some_and(|slot| g.owner.is_some() || slot.phase != SlotPhase::Intent)
                });
                match having {
                    None => self.fact(Fact::Withdrawn { run: *run }),
                    Some(_) if had => {
                        self.specs.insert(*run);
                        self.tells.push_back(Tell::Changed(*run));
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// Reads all tables, and says what it found.
    fn settle(&mut self) {
        self.settled = true;
        self.facts([Fact::Booted]);
        let mut found = BTreeSet::new();
        let mut facts = Vec::new();
        for generation in self.generations.values_mut() {
            let ledger = &self.ledger;
            let over = |no: &RunNo| ledger.get(no).is_some_and(|run| run.outcome().is_some());
            if generation.owner.is_none() {
                generation.slots.retain(|no, _| !over(no));
            } else {
                let drained: Vec<RunNo> = generation.slots.keys().filter(|no| over(no)).copied().collect();
                generation.inbox.extend(drained.into_iter().map(|run| Act::Forget { run }));
            }
        }
        for generation in self.generations.values() {
            for (no, slot) in &generation.slots {
                let seen = self.seen(*no, slot);
                match (generation.owner, slot.phase) {
                    (Some(_), _) => {
                        found.insert(*no);
                        facts.push(Fact::Slot { run: *no, seen });
                    }
                    // Nobody serves it: an intent without a process proves that nothing ran.
                    (None, SlotPhase::Intent) => {}
                    (None, SlotPhase::Running) => {
                        found.insert(*no);
                        if self.children[no].alive {
                            facts.push(Fact::Survivor { run: *no, seen });
                        } else {
                            let close = Close { how: How::Unknown, at: self.now, timed_out: false, oom: false };
                            facts.push(Fact::Slot { run: *no, seen: Seen::bare(Phase::Drained(close)) });
                        }
                    }
                    (None, SlotPhase::Exited | SlotPhase::Failed | SlotPhase::Drained) => {
                        found.insert(*no);
                        let (Phase::Exited(close) | Phase::Drained(close)) = seen.phase.clone() else { continue };
                        facts.push(Fact::Slot { run: *no, seen: Seen { phase: Phase::Drained(close), ..seen } });
                    }
                }
            }
        }
        self.facts(facts);
        let settled = Settled { keeper: self.current, found, unproven: BTreeSet::new() };
        self.say(|| format!("{settled:?}"));
        self.facts([Fact::Settled(settled)]);
        self.perhaps_commit();
    }

    fn daemon_hears(&mut self) {
        match self.tells.pop_front() {
            Some(Tell::Changed(run)) => {
                let slot = self.table_of(run).and_then(|id| {
                    let generation = &self.generations[&id];
                    generation.owner.and(generation.slots.get(&run)).cloned()
                });
                if let Some(slot) = slot {
                    let seen = self.seen(run, &slot);
                    self.fact(Fact::Slot { run, seen });
                }
            }
            Some(Tell::Refused(run, generation, why)) if self.served_table_of(run).is_none() => {
                self.fact(Fact::Refused { run, generation, why });
                self.settled &= self.world.keeper().is_some();
            }
            Some(Tell::Refused(..)) => {}
            Some(Tell::HungUp(generation)) => {
                self.fact(Fact::KeeperGone { generation });
                self.settled = false;
            }
            Some(Tell::Chain) => self.settled = false,
            None if !self.settled => self.settle(),
            None => {}
        }
    }

    fn daemon_steps(&mut self) {
        self.commit();
        match self.acts.pop_front() {
            Some(act) => self.perform(&act),
            None => self.daemon_hears(),
        }
    }

    // ---- clients ----

    fn client(&mut self) {
        let live: Vec<RunNo> = self.world.live().map(|run| run.no).collect();
        match self.dice.below(10) {
            0..=4 => {
                let no = RunNo::new(self.next_run).expect("a small number");
                self.next_run += 1;
                let new = self.some_run();
                self.specs.insert(no);
                if self.dice.one_in(10) {
                    return self.daemon_dies();
                }
                let wish = Wish::Submit { no, new: Box::new(new) };
                if let Err(refusal) = self.wish(wish) {
                    self.say(|| format!("refused: {refusal}"));
                    self.specs.remove(&no);
                }
            }
            5 | 6 => {
                let Some(run) = self.dice.pick(&live) else { return };
                let why = if self.dice.one_in(3) { StopWhy::Interrupt } else { StopWhy::Asked };
                if !(self.disk_full && self.stop_unrecorded(run)) {
                    self.stop(run, why);
                }
            }
            7 => {
                let Some(run) = self.dice.pick(&live) else { return };
                let interrupt = self.dice.one_in(2);
                let signal = Wish::Signal { run, signal: 2, leader_only: false, interrupt };
                // Before there is a process, an interrupt is a stop.
                let answer = self.wish_that_promises(signal, |world| {
                    let state = world.get(run).map(|run| &run.state);
                    let has_process = matches!(state, Some(RunState::Running { .. } | RunState::Stopping { .. }));
                    (!has_process).then_some(run)
                });
                if let Err(refusal) = answer {
                    self.say(|| format!("refused: {refusal}"));
                }
            }
            _ => {
                let latch = ["a", "b"][self.dice.below(2) as usize].to_string();
                if let Ok(Granted::Released(ids)) = self.wish(Wish::Release { latch }) {
                    assert!(ids.is_sorted_by_key(|id| id.no), "released oldest first");
                }
            }
        }
    }

    fn some_run(&mut self) -> NewRun {
        let job = format!("job{}", self.dice.below(4));
        let group = ["one", "two"][self.dice.below(2) as usize].to_string();
        NewRun {
            job: JobName::parse(&job).expect("a name"),
            trigger: Trigger::Manual { by: "uid:0".into() },
            command: Vec::new(),
            directory: "/".into(),
            timeout_ms: None,
            tags: Vec::new(),
            tty: false,
            latch: self.dice.one_in(4).then(|| ["a", "b"][self.dice.below(2) as usize].to_string()),
            serial: self.dice.one_in(2).then(|| Serial { max: max_of(&group) as u32, group }),
            no_overlap: self.dice.one_in(6),
        }
    }

    fn stop(&mut self, run: RunNo, why: StopWhy) {
        let wish = Wish::Stop { run, kind: StopKind::Ladder, why };
        if let Err(refusal) = self.wish_that_promises(wish, |_| Some(run)) {
            self.say(|| format!("refused: {refusal}"));
        }
    }

    /// Nothing can be recorded: it is done, and its keeper remembers it.
    fn stop_unrecorded(&mut self, run: RunNo) -> bool {
        let slot = self.generations.values_mut().filter(|g| g.owner.is_some()).find_map(|g| g.slots.get_mut(&run));
        let Some(slot) = slot.filter(|slot| slot.phase == SlotPhase::Running) else { return false };
        (slot.stop, slot.noted) = (true, true);
        self.stories.get_mut(&run).expect("a live run has a story").stop_accepted = true;
        self.say(|| format!("run {} is stopped, and nobody wrote it down", run.get()));
        true
    }

    // ---- time passes ----

    fn step(&mut self) {
        self.now = self.now.plus(1);
        let generations: Vec<u64> = self.generations.keys().copied().collect();
        match self.dice.below(100) {
            0..=14 => self.client(),
            15..=44 => self.daemon_steps(),
            45..=64 => {
                if let Some(id) = self.dice.pick(&generations) {
                    self.keeper_reads(id);
                }
            }
            65..=89 => {
                if let Some(id) = self.dice.pick(&generations) {
                    let runs: Vec<RunNo> = self.generations[&id].slots.keys().copied().collect();
                    if let Some(run) = self.dice.pick(&runs) {
                        self.run_moves(id, run);
                    }
                }
            }
            90..=92 => self.daemon_dies(),
            93 | 94 => self.kill_keeper(),
            95 | 96 => self.kill_elder(),
            97 if self.dice.one_in(6) => self.kill_both(),
            97 if self.dice.one_in(10) => self.reboot(),
            97 => {
                if let Some(run) = self.dice.pick(&self.children.keys().copied().collect::<Vec<_>>())
                    && self.served_table_of(run).is_none()
                {
                    self.children.get_mut(&run).expect("picked").alive = false;
                }
            }
            98 => self.disk_full = !self.disk_full && self.dice.one_in(3),
            _ => {
                if self.elder.is_none() {
                    self.new_chain();
                }
            }
        }
    }

    /// No more faults: whatever was accepted must come to its end.
    fn calm(&mut self) {
        self.say(|| "calm".into());
        self.disk_full = false;
        if self.elder.is_none() {
            self.new_chain();
        }
        for _ in 0..60 {
            self.round();
        }
        for latch in ["a", "b"] {
            self.wish(Wish::Release { latch: latch.into() }).expect("released");
        }
        for _ in 0..40 {
            self.round();
        }
        let unhonoured: Vec<RunNo> =
            self.stories.iter().filter(|(_, s)| s.stop_accepted && s.ended.is_none()).map(|(no, _)| *no).collect();
        assert!(unhonoured.is_empty(), "accepted stops were forgotten: {unhonoured:?}");
        for _ in 0..400 {
            let endless: Vec<RunNo> = self
                .world
                .live()
                .filter(|run| matches!(run.state, RunState::Running { .. }))
                .map(|run| run.no)
                .filter(|no| self.children.get(no).is_some_and(|child| child.alive && child.endless))
                .collect();
            for no in endless {
                self.stop(no, StopWhy::Asked);
            }
            self.round();
        }
    }

    fn round(&mut self) {
        self.now = self.now.plus(1);
        while !self.batch.is_empty() || !self.acts.is_empty() || !self.tells.is_empty() || !self.settled {
            self.daemon_steps();
        }
        // The engine's timer, while runs wait for room.
        if self.world.wants_room() {
            self.fact(Fact::Room);
        }
        let generations: Vec<u64> = self.generations.keys().copied().collect();
        for id in generations {
            for _ in 0..50 {
                self.keeper_reads(id);
            }
            let runs: Vec<RunNo> = self.generations[&id].slots.keys().copied().collect();
            for run in runs {
                self.run_moves(id, run);
            }
        }
        // What survived both keepers ends too, and its pidfd says so.
        let unserved: Vec<RunNo> = self
            .generations
            .values()
            .filter(|g| g.owner.is_none())
            .flat_map(|g| g.slots.iter().filter(|(_, slot)| slot.phase == SlotPhase::Running).map(|(no, _)| *no))
            .collect();
        for run in unserved {
            let Some(child) = self.children.get_mut(&run) else { continue };
            child.alive &= child.endless;
            if !child.alive {
                let close = Close { how: How::Unknown, at: self.now, timed_out: false, oom: false };
                self.fact(Fact::Slot { run, seen: Seen::bare(Phase::Drained(close)) });
            }
        }
    }

    fn judge(&self) {
        for (no, story) in &self.stories {
            let ended = story.ended.as_ref().unwrap_or_else(|| panic!("run {no} never ended: {:?}", self.ledger[no]));
            let code = story.code;
            let ran = story.executed == 1;
            let fine = match ended {
                Outcome::Ok => ran && code == Some(0),
                Outcome::Failed { code: said } => ran && code == Some(*said),
                Outcome::Stopped | Outcome::Interrupted => {
                    ran && (story.stop_accepted || *ended == Outcome::Interrupted)
                }
                Outcome::Cancelled => !ran && story.stop_accepted,
                Outcome::SpawnFailed { .. } => !ran && story.spawn_failed,
                Outcome::Lost(LostWhy::Reboot) => story.rebooted,
                Outcome::Lost(LostWhy::Unknown) => story.pair_killed,
                Outcome::Signaled { .. }
                | Outcome::TimedOut
                | Outcome::OomKilled
                | Outcome::Unhealthy(_)
                | Outcome::Lost(LostWhy::Disowned)
                | Outcome::Skipped(_) => false,
            };
            assert!(fine, "run {no} is said to be {ended}, but {story:?}");
        }
        for generation in self.generations.values().filter(|g| g.owner.is_some()) {
            assert!(generation.slots.is_empty(), "slots were not given back: {:?}", generation.slots);
        }
        assert!(self.specs.is_empty(), "specs were left behind: {:?}", self.specs);
        assert!(self.world.is_empty());
    }
}

fn max_of(group: &str) -> usize {
    if group == "one" { 1 } else { 2 }
}

fn live_a_life(seed: u64, talk: bool) {
    let mut host = Host::new(seed, talk);
    let steps = 100 + host.dice.below(900);
    for _ in 0..steps {
        host.step();
    }
    host.calm();
    host.judge();
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn nothing_is_lost_and_nothing_runs_twice() {
    if let Some(seed) = number("KIN_SIM_SEED") {
        return live_a_life(seed, true);
    }
    for seed in 1..=number("KIN_SIM_SEEDS").unwrap_or(700) {
        let life = std::panic::catch_unwind(|| live_a_life(seed, false));
        if life.is_err() {
            panic!("the life of seed {seed} went wrong: KIN_SIM_SEED={seed} shows its steps");
        }
    }
}

#[test]
fn a_server_that_ends_starts_nothing_and_says_what_it_leaves() {
    let mut host = Host::new(7, false);
    host.settle();
    let submit = |host: &mut Host, no: u64, latch: Option<&str>| {
        let mut new = host.some_run();
        (new.latch, new.serial, new.no_overlap) = (latch.map(Into::into), None, false);
        let no = RunNo::new(no).expect("a number");
        host.specs.insert(no);
        host.wish(Wish::Submit { no, new: Box::new(new) }).map(|_| no)
    };
    let going = submit(&mut host, 1, None).expect("accepted");
    let held = submit(&mut host, 2, Some("a")).expect("accepted");
    let Ok(Granted::Farewell(Farewell { left, stopping, waiting, .. })) =
        host.wish(Wish::Shutdown { stop_runs: false, cancel: false })
    else {
        panic!("a shutdown is granted")
    };
    assert_eq!(left.iter().map(|id| id.no).collect::<Vec<_>>(), [going]);
    assert_eq!(waiting.iter().map(|id| id.no).collect::<Vec<_>>(), [held]);
    assert!(stopping.is_empty());
    assert_eq!(submit(&mut host, 3, None), Err(Refusal::Closing));
    assert_eq!(host.wish(Wish::Release { latch: "a".into() }), Err(Refusal::Closing));
}
