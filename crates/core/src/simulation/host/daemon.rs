//! The daemon of the machine: what it loads, is told and asked, and what it commits and does about it; and its keeper's hands.

use super::*;

impl Host {
    pub(super) fn loaded(&self) -> World {
        let live = self.ledger.runs.values().filter(|run| run.outcome().is_none()).cloned();
        let mut world = World::load(format!("boot-{}", self.boot), Mint::after(self.minted), live);
        let definitions = self.ledger.definitions.iter();
        let definitions = definitions.map(|((_, rev), job)| Definition { rev: *rev, job: job.clone() });
        world.know(self.ledger.standings.values().cloned(), definitions, self.ledger.queues.values().cloned());
        let times = self.times.iter().filter(|(key, _)| self.ledger.definitions.contains_key(key));
        world.know_times(times.map(|((job, rev), timed)| (job.clone(), *rev, timed.clone())));
        world.break_rule(self.mutant);
        world
    }

    pub(super) fn daemon_dies(&mut self) -> Result<(), String> {
        self.told.deaths += 1;
        self.say(|| "the daemon is killed".into());
        self.daemon_starts()
    }

    pub(super) fn daemon_starts(&mut self) -> Result<(), String> {
        self.minted = self.minted.max(self.world.minted());
        self.calendars = self.atlas.calendars.clone();
        self.world = self.loaded();
        self.making.clear();
        let live: BTreeSet<RunNo> = self.world.live().map(|run| run.no).collect();
        self.specs.retain(|no| live.contains(no));
        self.table.retain(|no, _| live.contains(no));
        let mut facts = Vec::new();
        if self.unsaid != 0 {
            facts.push(Fact::Stepped { by: self.unsaid });
        }
        facts.append(&mut self.left);
        facts.push(Fact::Booted);
        facts
            .extend(self.table.iter().map(|(run, process)| Fact::Slot { run: *run, seen: seen(process, self.passed) }));
        let found = self.table.keys().copied().collect();
        facts.push(Fact::Settled(Settled { keeper: Some(KEEPER), found, unproven: BTreeSet::new() }));
        let answering = self.table.iter().filter(|(_, process)| process.answers && process.ended.is_none());
        facts.extend(answering.map(|(run, _)| Fact::Ready { run: *run }));
        facts.push(Fact::Time);
        self.facts(facts)
    }

    pub(in crate::simulation) fn facts(&mut self, facts: Vec<Fact>) -> Result<(), String> {
        let single = facts.len() == 1;
        let stepped = facts.iter().find_map(|fact| if let Fact::Stepped { by } = fact { Some(*by) } else { None });
        let looked = facts.contains(&Fact::Time);
        let mut fx = Effects::default();
        for fact in facts {
            self.say(|| format!("fact {fact:?}"));
            self.world.fact(self.now(), fact, &mut fx);
        }
        self.commit(fx, single, Cause::Facts { looked, only: single && looked, stepped }).map(|_| ())
    }

    pub(in crate::simulation) fn stop(&mut self, run: RunNo) -> Result<(), String> {
        let wish = Wish::Stop { run, kind: crate::wish::StopKind::Ladder, why: crate::run::StopWhy::Asked };
        if self.wish(wish)?.is_ok() {
            // A process takes its time, and so does the word of it.
            let until = self.passed + (500 * self.pace as i64 + 2_000) * 1_000_000;
            self.judge.stop_was_granted(run, &self.ledger, until)?;
        }
        Ok(())
    }

    /// A wish that may as well be refused.
    pub(in crate::simulation) fn wants(&mut self, wish: Wish) -> Result<(), String> {
        self.wish(wish).map(|_| ())
    }

    /// Outside: the judge's word. Inside: the world's.
    pub(in crate::simulation) fn wish(&mut self, mut wish: Wish) -> Result<Result<Granted, Refusal>, String> {
        if let Wish::Plan(plan) = &mut wish {
            self.tell_times(plan);
        }
        self.say(|| format!("wish {wish:?}"));
        let before = self.world.clone();
        let mut fx = Effects::default();
        let answer = self.world.wish(self.now(), wish.clone(), &mut fx);
        if let Err(refusal) = &answer {
            self.told.refusals += 1;
            self.say(|| format!("refused: {refusal}"));
            if !fx.is_empty() {
                return Err(format!("a refused wish ({refusal}) has effects: {fx:?}"));
            }
            self.world.same_as(&before).map_err(|what| format!("a refused wish ({refusal}) changed {what}"))?;
            let live: BTreeSet<RunNo> = self.world.live().map(|run| run.no).collect();
            self.specs.retain(|no| live.contains(no));
            return Ok(answer);
        }
        let recorded = self.commit(fx, true, Cause::Wish(&wish))?;
        self.calendars = self.atlas.calendars.clone();
        if !recorded {
            return Ok(Err(Refusal::Unavailable { why: "the disk".into() }));
        }
        Ok(answer)
    }

    /// As whoever reads zones and calendars does it.
    pub(super) fn tell_times(&mut self, plan: &mut Plan) {
        for change in &plan.jobs {
            let JobPlan::Put { job, rev } = change else { continue };
            if let Some(timed) = self.atlas.timed(job) {
                plan.timed.insert(job.name.clone(), timed.clone());
                let words = self.atlas.words(&job.time).expect("it has a schedule");
                self.times.insert((job.name.clone(), *rev), timed);
                self.words.insert((job.name.clone(), *rev), words);
            }
        }
    }

    /// The next server has another environment, or its machine another name; the words are as they were.
    pub(in crate::simulation) fn elsewhere(&mut self) {
        self.say(|| "the next server begins in other surroundings".into());
        self.atlas.elsewhere(&mut self.dice);
        self.judge.ticks.elsewhere();
        for ((name, rev), timed) in &mut self.times {
            let Some(job) = self.ledger.definitions.get(&(name.clone(), *rev)) else { continue };
            *timed = self.atlas.timed(job).expect("it has a schedule");
            let words = self.atlas.words(&job.time).expect("it has a schedule");
            self.words.insert((name.clone(), *rev), words);
        }
    }

    /// Other days off: what is in force goes by them from now on.
    pub(in crate::simulation) fn other_calendars(&mut self) -> Wish {
        let now = self.now().0.div_euclid(SECOND);
        self.atlas.calendars = Arc::new(self.atlas.some_calendars(&mut self.dice, now));
        let mut plan = Plan::default();
        let mut others = Vec::new();
        for ((name, rev), timed) in &mut self.times {
            let Some(job) = self.ledger.definitions.get(&(name.clone(), *rev)) else { continue };
            *timed = self.atlas.timed(job).expect("it has a schedule");
            let words = self.atlas.words(&job.time).expect("it has a schedule");
            self.words.insert((name.clone(), *rev), words);
            if self.ledger.standings.get(name).is_some_and(|standing| standing.rev == *rev) {
                plan.timed.insert(name.clone(), timed.clone());
            } else {
                others.push((name.clone(), *rev, timed.clone()));
            }
        }
        self.world.know_times(others);
        Wish::Plan(plan)
    }

    /// What the judge must know of what is recorded.
    pub(super) fn is_judged(
        &mut self,
        changed: &[RunNo],
        ticks: &[Decided],
        before: &Ledger,
        single: bool,
        cause: &Cause<'_>,
    ) -> Result<(), String> {
        let (fact, looked, only_time, stepped) = match cause {
            Cause::Facts { looked, only, stepped } => (true, *looked, *only && single, *stepped),
            Cause::Wish(wish) => (false, matches!(wish, Wish::Plan(_)), false, None),
        };
        let wish = match cause {
            Cause::Wish(wish) => Some(*wish),
            Cause::Facts { .. } => None,
        };
        match wish {
            Some(Wish::Pause { job, until }) => self.judge.ticks.paused(job, until.0.div_euclid(SECOND)),
            Some(Wish::Enable { job, .. }) => self.judge.ticks.enabled(job),
            _ => {}
        }
        let in_force = self.ledger.standings.values().filter(|standing| !standing.removed);
        let words = in_force.filter_map(|standing| {
            let words = self.words.get(&(standing.job.clone(), standing.rev))?;
            Some((standing.job.clone(), words.clone()))
        });
        let words = words.collect();
        let commit = Commit {
            before,
            after: &self.ledger,
            changed,
            ticks,
            now: self.now(),
            passed: self.passed,
            stepped,
            fact,
            looked,
            only_time,
            calendars: &self.calendars,
        };
        self.judge.look(commit, &words, wish, single)
    }

    /// Whether it was recorded.
    pub(super) fn commit(&mut self, mut fx: Effects, mut single: bool, cause: Cause<'_>) -> Result<bool, String> {
        let mut todo: Vec<RunNo> = fx.make.iter().copied().collect();
        let mut slow = Vec::new();
        while let Some(run) = todo.pop() {
            // It was stopped in the same commit; or it is asked for again.
            if !self.world.get(run).is_some_and(Run::is_being_made) || self.making.contains(&run) {
                continue;
            }
            if self.dice.one_in(6) {
                slow.push(run);
                continue;
            }
            let fact = if !self.calm && self.dice.one_in(100) {
                single = false;
                unmakeable(run)
            } else {
                self.specs.insert(run);
                made(run)
            };
            let asked = fx.make.clone();
            self.world.fact(self.now(), fact, &mut fx);
            todo.extend(fx.make.difference(&asked));
        }
        // Of a decision, or of anything else: refused, or killed before it was recorded. It is the same to who comes after.
        let odds = if fx.ticks.is_empty() { 150 } else { 40 };
        if !self.calm && !fx.is_empty() && self.dice.one_in(odds) {
            self.say(|| "the disk is full".into());
            self.daemon_starts()?;
            return Ok(false);
        }
        for run in slow {
            let after = self.soon(2_000);
            let never = !self.calm && self.dice.one_in(20);
            let in_time = !never && after < PATIENCE;
            self.later(if in_time { after } else { PATIENCE }, Happens::Made { run, in_time });
            self.making.insert(run);
        }
        self.told.commits += 1;
        self.unsaid = 0;
        let before = self.ledger.clone();
        let changed: Vec<RunNo> = fx.changed.keys().copied().collect();
        for (no, run) in fx.changed {
            self.say(|| format!("  {} is {:?} ({:?}, attempt {})", run.id(), run.state, run.trigger, run.attempt));
            self.told.runs += u64::from(!self.ledger.runs.contains_key(&no));
            self.ledger.runs.insert(no, run);
        }
        for (job, standing) in fx.standings {
            match standing {
                Some(standing) => self.ledger.standings.insert(job, standing),
                None => self.ledger.standings.remove(&job),
            };
        }
        if !fx.defined.is_empty() {
            Arc::make_mut(&mut self.ledger.definitions).extend(fx.defined);
        }
        for (name, queue) in fx.queues {
            match queue {
                Some(queue) => self.ledger.queues.insert(name, queue),
                None => self.ledger.queues.remove(&name),
            };
        }
        self.told.ticks += fx.ticks.len() as u64;
        for decided in &fx.ticks {
            self.say(|| format!("  {} at {}: {:?}", decided.tick.job, decided.tick.at, decided.decision));
        }
        self.is_judged(&changed, &fx.ticks, &before, single, &cause)?;
        self.ledger.runs.retain(|_, run| run.outcome().is_none());
        if self.calm || self.told.commits.is_multiple_of(5) {
            let again = self.loaded();
            self.world.same_as(&again).map_err(|what| format!("what was recorded does not give back {what}"))?;
        }
        for act in fx.acts {
            if !self.calm && self.dice.one_in(100) {
                self.say(|| format!("killed before {act:?}"));
                self.daemon_dies()?;
                return Ok(true);
            }
            self.perform(&act)?;
        }
        Ok(true)
    }

    pub(super) fn perform(&mut self, act: &Act) -> Result<(), String> {
        match *act {
            Act::Start { run, generation } => {
                if !self.world.may_start(run, generation) || self.table.contains_key(&run) {
                    return Ok(());
                }
                if !self.specs.contains(&run) {
                    if let Some(run) =
                        self.ledger.runs.get(&run).filter(|run| !matches!(run.state, RunState::Stopping { .. }))
                    {
                        return Err(format!("{} is given to a keeper, and has no spec", run.id()));
                    }
                    return self.facts(vec![Fact::Refused { run, generation, why: StartRefusal::NoSpec }]);
                }
                self.judge.executed(run, &self.ledger)?;
                self.process(run);
            }
            Act::Withdraw { run } => {
                self.specs.remove(&run);
                if !self.table.contains_key(&run) {
                    return self.facts(vec![Fact::Withdrawn { run }]);
                }
            }
            Act::Stop { run, .. } => {
                let after = self.soon(500);
                let passed = self.passed;
                if let Some(process) = self.table.get_mut(&run).filter(|process| process.drains > passed) {
                    process.drains = passed;
                    self.later(after, Happens::Tell(run));
                } else if let Some(process) = self.table.get_mut(&run).filter(|process| process.ended.is_none()) {
                    process.stopped = true;
                    self.later(after, Happens::Exits(run));
                }
            }
            Act::RemoveSpec { run } => {
                self.specs.remove(&run);
            }
            Act::Forget { run } => {
                self.table.remove(&run);
            }
            Act::Signal { .. } => {}
        }
        Ok(())
    }

    pub(in crate::simulation) fn spec_of_exec(&mut self, run: RunNo) {
        self.specs.insert(run);
    }

    pub(super) fn process(&mut self, run: RunNo) {
        let code = [0, 0, 1, 2, 3][self.dice.below(5) as usize];
        let process = Process { started: self.now(), code, ended: None, drains: 0, stopped: false, answers: false };
        self.table.insert(run, process);
        let hears = self.soon(50);
        self.later(hears.min(SECOND), Happens::Tell(run));
        let service = self.ledger.runs.get(&run).is_some_and(|run| {
            let job = self.ledger.definitions.get(&(run.job.clone(), run.terms.rev));
            job.is_some_and(|job| job.life.is_service())
        });
        let life = match self.dice.below(3) {
            0 => self.soon(2_000),
            1 => self.soon(60_000),
            _ if service => self.soon(3_000_000),
            _ => self.soon(300_000),
        };
        self.later(life, Happens::Exits(run));
        if service && !self.dice.one_in(6) {
            let answers = self.soon(10_000).min(20 * SECOND);
            self.later(answers, Happens::Answers(run));
        }
        if service && self.dice.one_in(4) {
            let sickens = self.soon(600_000);
            self.later(sickens, Happens::Sickens(run));
        }
    }
}

pub(super) fn made(run: RunNo) -> Fact {
    Fact::Made { run, directory: "/".to_string(), port: None, auto: false, left_out: Vec::new() }
}

pub(super) fn unmakeable(run: RunNo) -> Fact {
    Fact::Unmakeable { run, step: SpawnStep::Spec, errno: 13, message: "no env_file".to_string() }
}
