//! Defined jobs: what the ledger knows of them, what the job files say now, and what is asked of them.
//!
//! ```text
//!   a reading of the files ──▶ what differs from the newest revisions ──▶ one Plan, or nothing ──▶ commit
//! ```
//! A reading is compared with the newest revision of each job and not with the one in force: a revision that did not become
//! ready, and was gone back from, is not tried again only because a daemon read the same file once more.

use super::clash::{self, HeldBack};
use super::handle::{JobNow, Look, QueueNow, Reloaded, RunJob, Step, TimedNow, Timetable};
use super::timing::Shared;
use super::wishes::answering;
use super::{Accepted, Batch, Engine, Key};
use kin_config::good::Reading;
use kin_config::key::Effect;
use kin_config::{Code, Mistake, Plan as Difference, Report, canon};
use kin_core::job::{Job, Queue};
use kin_core::{
    Effects, Granted, JobName, JobPlan, Plan, QueuePlan, Reason, Refusal, Run, RunState, Standing, StopKind, StopWhy,
    Wish, World,
};
use kin_ledger::{Definition, NewKey, QueueRow, ReadError, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The newest revision of a job.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) rev: u64,
    pub(super) source: Source,
    /// `None`: it was taken away, or cannot be read any more.
    pub(super) job: Option<Arc<Job>>,
}

/// What is known of jobs beside the world.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) known: BTreeMap<JobName, Known>,
    /// Queues as the job files say them.
    pub(super) queues: BTreeMap<String, Queue>,
    /// Those of them that the last reading has, each with its file.
    pub(super) of_files: BTreeMap<String, PathBuf>,
    /// Revisions of which it was said that they cannot be read: once in a life.
    unreadable: BTreeSet<(JobName, u64)>,
    /// Jobs that are defined, and of which the ledger does not say how they stand, or by what.
    stood_nowhere: BTreeSet<JobName>,
    /// The mistakes that were said last.
    mistakes: String,
    /// Files that do not hold as they are now, and why: their last good jobs do, or none.
    stale: BTreeMap<PathBuf, String>,
    /// A reading of which something was held back, because of what was defined otherwise.
    held_back: Option<Arc<Reading>>,
}

impl Known {
    /// Of the file that defines it.
    fn path(&self) -> Option<PathBuf> {
        match &self.source {
            Source::File { path } => Some(path.into()),
            Source::Api { .. } | Source::Project { .. } => None,
        }
    }
}

impl Book {
    fn why_stale(&self, source: &Source) -> Option<&String> {
        match source {
            Source::File { path } => self.stale.get(Path::new(path)),
            Source::Api { .. } | Source::Project { .. } => None,
        }
    }

    /// Each file's jobs, in words that do without what the file says for all of them.
    pub(super) fn remembered(&self) -> Vec<(PathBuf, String)> {
        let mut texts: BTreeMap<PathBuf, String> = BTreeMap::new();
        for known in self.known.values() {
            if let (Source::File { path }, Some(job)) = (&known.source, &known.job) {
                let text = texts.entry(path.into()).or_default();
                text.push_str(&canon::canonical(job));
                text.push('\n');
            }
        }
        texts.into_iter().collect()
    }
}

/// What a reading asks for.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) plan: Plan,
    /// Of jobs that are taken away.
    pub(super) rows: Vec<Definition>,
    pub(super) known: Vec<(JobName, Known)>,
    pub(super) queues: BTreeMap<String, Option<Queue>>,
    pub(super) steps: Vec<Step>,
}

impl Engine {
    // ---- from the ledger ----

    /// What the ledger has of jobs, into a world that has its runs already.
    pub(super) fn load_jobs(&mut self) -> Result<(), ReadError> {
        let (reader, boot) = (self.ledger.reader()?, self.config.boot.clone());
        let mut read = |book: &mut Book, world: &mut World| -> Result<Vec<(JobName, u64)>, ReadError> {
            let mut unreadable = Vec::new();
            let mut parse = |found: &Definition| {
                let parsed = found.text.as_ref().map(|text| canon::parse(text));
                if matches!(parsed, Some(Err(_))) {
                    unreadable.push((found.job.clone(), found.rev));
                }
                parsed.and_then(Result::ok)
            };
            book.known.clear();
            for found in reader.definitions()? {
                let job = parse(&found);
                book.known.insert(found.job, Known { rev: found.rev, source: found.source, job });
            }
            let mut standings = reader.standings()?;
            for standing in &mut standings {
                // A ledger that was rebuilt may have the decisions, and a standing from before them.
                if let Some(line) = standing.line_of_ticks()
                    && let Some(at) = reader.last_tick(&standing.job, line)?
                {
                    standing.decided_to(at);
                }
            }
            let of_runs = world.live().filter(|run| run.is_defined()).map(|run| (run.job.clone(), run.terms.rev));
            let in_force = standings.iter().flat_map(|standing| {
                [Some(standing.rev), standing.former].into_iter().flatten().map(|rev| (standing.job.clone(), rev))
            });
            let needed: BTreeSet<(JobName, u64)> = of_runs.chain(in_force).collect();
            let mut definitions = Vec::new();
            for (name, rev) in needed {
                let newest = book.known.get(&name).filter(|known| known.rev == rev).and_then(|known| known.job.clone());
                let job = match newest {
                    Some(job) => Some(job),
                    None => reader.definition(&name, rev)?.as_ref().and_then(&mut parse),
                };
                definitions.extend(job.map(|job| kin_core::Definition { rev, job }));
            }
            // A job that is defined is not to vanish: it stands as one that was just defined.
            let is_there = |name: &JobName, rev: u64| {
                definitions.iter().any(|found: &kin_core::Definition| found.rev == rev && found.job.name == *name)
            };
            let fits = |standing: &&Standing| is_there(&standing.job, standing.rev);
            let fit: BTreeSet<JobName> = standings.iter().filter(fits).map(|standing| standing.job.clone()).collect();
            let lost = book.known.iter().filter(|(name, known)| known.job.is_some() && !fit.contains(*name));
            book.stood_nowhere = lost.map(|(name, _)| name.clone()).collect();
            for name in &book.stood_nowhere {
                let Some((rev, job)) = book.known.get(name).and_then(|known| Some((known.rev, known.job.clone()?)))
                else {
                    continue;
                };
                match standings.iter_mut().find(|standing| standing.job == *name) {
                    Some(standing) => standing.rev = rev,
                    None => standings.push(Standing::new(name.clone(), rev, job.life.is_service(), boot.clone())),
                }
                definitions.push(kin_core::Definition { rev, job });
            }
            let times = self.config.times.of_all(definitions.iter().map(|found| (found.rev, &found.job)));
            let queues = reader.queues()?;
            book.queues =
                queues.iter().filter_map(|row| Some((row.queue.name.clone(), row.defined.clone()?))).collect();
            world.know(standings, definitions, queues.into_iter().map(|row| row.queue));
            world.know_times(times);
            Ok(unreadable)
        };
        let unreadable = match read(&mut self.book, &mut self.world) {
            Ok(unreadable) => unreadable,
            Err(error) => {
                if let ReadError::Damage { what } = &error
                    && let Err(e) = reader.suspect(what)
                {
                    crate::say!("kin daemon: no mark could be left for the next start: {e}");
                }
                return Err(error);
            }
        };
        for (job, rev) in unreadable {
            if self.book.unreadable.insert((job.clone(), rev)) {
                let message = format!("revision {rev} of {job} cannot be read by this kin, and does not count");
                crate::say!("kin daemon: {message}");
                let what = kin_core::What::Note { kind: "job.unreadable", run: None, message };
                self.untold.push(kin_core::Event { at: self.now(), what });
            }
        }
        Ok(())
    }

    /// Revisions in force, those that may be gone back to, and those of living runs.
    pub(super) fn revisions_in_use(&self) -> BTreeSet<(JobName, u64)> {
        let of_runs = self.world.live().filter(|run| run.is_defined()).map(|run| (run.job.clone(), run.terms.rev));
        let of_jobs = self.world.standings().flat_map(|standing| {
            [Some(standing.rev), standing.former].into_iter().flatten().map(|rev| (standing.job.clone(), rev))
        });
        of_runs.chain(of_jobs).collect()
    }

    /// Jobs of which it was lost how they stand: as they stand now is recorded, and said.
    pub(super) fn record_what_stood_nowhere(&mut self, batch: &mut Batch) {
        // Should this not be recorded, the ledger is read again, and has them again.
        let lost = std::mem::take(&mut self.book.stood_nowhere);
        if lost.is_empty() {
            return;
        }
        let mut plan = Plan::default();
        for name in &lost {
            let timed = self.world.defined(name).and_then(|found| self.config.times.of(&found.job).ok().flatten());
            plan.timed.extend(timed.map(|timed| (name.clone(), timed)));
        }
        // Their schedules count from now on. While the server closes nothing is due.
        drop(self.world.wish(self.now(), Wish::Plan(plan), &mut batch.fx));
        for name in &lost {
            let standing = self.world.standing(name).cloned();
            batch.fx.standings.entry(name.clone()).or_insert(standing);
        }
        let names: Vec<&str> = lost.iter().map(JobName::as_str).collect();
        let names = names.join(", ");
        let message =
            format!("how these jobs stood is lost, and what was said of them by hand: {names}; they are as defined");
        crate::say!("kin daemon: {message}");
        self.note("job.standing-lost", message, batch);
    }

    /// Rows of what the rules changed.
    pub(super) fn definitions_of(&self, fx: &Effects, batch: &mut Batch) -> Vec<Definition> {
        let at = self.now();
        let mut rows = std::mem::take(&mut batch.definitions);
        for ((name, rev), job) in &fx.defined {
            let source = batch.sources.get(&(name.clone(), *rev)).cloned();
            let source = source.unwrap_or_else(|| Source::Api { by: "unknown".into() });
            rows.push(Definition { job: name.clone(), rev: *rev, at, source, text: Some(canon::canonical(job)) });
        }
        rows
    }

    pub(super) fn queues_of(&self, fx: &Effects, batch: &Batch) -> Vec<(String, Option<QueueRow>)> {
        let names: BTreeSet<&String> = fx.queues.keys().chain(&batch.queues).collect();
        let row = |name: &str| {
            let queue = self.world.queues().find(|queue| queue.name == name)?.clone();
            Some(QueueRow { queue, defined: self.book.queues.get(name).cloned() })
        };
        names.into_iter().map(|name| (name.clone(), row(name))).collect()
    }

    // ---- the job files ----

    /// What was read, against what is known. `plan`: it is only said.
    pub(super) fn files(&mut self, reading: &Arc<Reading>, plan: bool, batch: &mut Batch) -> Result<Reloaded, Refusal> {
        let (mut wanted, held) = self.fitting(reading)?;
        let steps = std::mem::take(&mut wanted.steps);
        let (is_whole, files) = (held.is_empty(), held.files.clone());
        let mistakes = held.report(reading);
        if plan {
            return Ok(Reloaded { applied: false, steps, mistakes });
        }
        self.say_mistakes(reading, &mistakes, batch);
        let of_files = reading.kept.iter().chain(&reading.left_out);
        let why = |path: &Path| match &reading.hides {
            Some(main) if main != path && !is_wrong(path, &reading.report) => {
                format!("{} cannot be read, and may have [defaults] for it", main.display())
            }
            Some(_) | None => why_stale(path, &reading.report),
        };
        self.book.stale = of_files.map(|path| (path.clone(), why(path))).collect();
        self.book.stale.extend(files.iter().map(|path| (path.clone(), why_stale(path, &mistakes))));
        self.book.held_back = (!is_whole).then(|| reading.clone());
        let before = self.settle_times(reading, &mut wanted);
        let touched: Vec<PathBuf> = wanted.known.iter().filter_map(|(_, known)| known.path()).collect();
        let changes = !(wanted.plan == Plan::default() && wanted.known.is_empty() && wanted.queues.is_empty());
        if changes && let Err(refusal) = self.take_files(wanted, batch) {
            // The next reading asks for it again, and so does a name that becomes free.
            if !matches!(refusal, Refusal::NoRoom { .. } | Refusal::Closing | Refusal::Unavailable { .. }) {
                self.book.stale.extend(touched.into_iter().map(|path| (path, refusal.to_string())));
                self.book.held_back = Some(reading.clone());
            }
            if let Some(before) = before {
                self.config.times.swap(before);
            }
            return Err(refusal);
        }
        if let Some(before) = before {
            self.settle_former();
            batch.times.get_or_insert(before);
        }
        // A file with mistakes may be the one that has others.
        if reading.report.errors() == 0 && is_whole {
            self.book.of_files.clear();
        }
        let queues = reading.set.settings.queues.keys();
        self.book.of_files.extend(queues.filter_map(|name| Some((name.clone(), clash::file_of_queue(reading, name)?))));
        if self.config.times.lacks_some() {
            self.zones_may_differ(batch);
        }
        Ok(Reloaded { applied: true, steps, mistakes })
    }

    /// A name has become free: what the files were refused because of it is theirs now.
    pub(super) fn files_again(&mut self, batch: &mut Batch) {
        let Some(reading) = self.book.held_back.clone() else { return };
        // What is refused was said in the history, and the next reading asks for it again.
        drop(self.files(&reading, false, batch));
        // Should this not be recorded, the next free name asks for it once more; what holds already is no change.
        self.book.held_back = Some(reading);
    }

    fn take_files(&mut self, wanted: Wanted, batch: &mut Batch) -> Result<(), Refusal> {
        self.has_room()?;
        let taken = self.plan(wanted, batch);
        if let Err(refusal) = &taken {
            self.note("jobs.refused", format!("the job files do not fit what is there: {refusal}"), batch);
        }
        taken
    }

    /// What all schedules share may be another now: what it was, if so.
    fn settle_times(&mut self, reading: &Reading, wanted: &mut Wanted) -> Option<Shared> {
        // What could not be read may be what held it.
        if reading.set.settings.hidden.is_some() {
            return None;
        }
        let before = self.config.times.settle(&reading.set.settings)?;
        let in_force = self
            .world
            .standings()
            .filter_map(|standing| Some((standing.rev, self.world.revision(&standing.job, standing.rev)?)));
        let timed = self.config.times.of_all(in_force);
        wanted.plan.timed.extend(timed.into_iter().map(|(job, _, timed)| (job, timed)));
        Some(before)
    }

    /// Those that kin may go back to.
    fn settle_former(&mut self) {
        let former = self.world.standings().filter_map(|standing| {
            let rev = standing.former?;
            Some((rev, self.world.revision(&standing.job, rev)?))
        });
        let times = self.config.times.of_all(former);
        self.world.know_times(times);
    }

    /// Schedules go by what the zones say now.
    pub(super) fn zones_may_differ(&mut self, batch: &mut Batch) {
        let others = self.config.times.read_again();
        if others.is_empty() {
            return;
        }
        let all = self.world.standings().flat_map(|standing| {
            let revisions = [Some(standing.rev), standing.former].into_iter().flatten();
            revisions.filter_map(|rev| Some((rev, self.world.revision(&standing.job, rev)?)))
        });
        let times = self.config.times.of_all(all);
        self.world.know_times(times);
        let message = format!("schedules go by new data of {}", others.join(", "));
        crate::say!("kin daemon: {message}");
        self.note("zones.changed", message, batch);
    }

    /// Says which files schedules depend on.
    pub(super) fn tell_zones(&mut self) {
        if let Some(files) = self.config.times.other_files() {
            self.zones.send_replace(files);
        }
    }

    pub(super) fn plan(&mut self, mut wanted: Wanted, batch: &mut Batch) -> Result<(), Refusal> {
        let now = self.now();
        for change in &wanted.plan.jobs {
            let JobPlan::Put { job, .. } = change else { continue };
            // That of the revision before it may be there, by a timezone that changed with it.
            wanted.plan.timed.remove(&job.name);
            match self.config.times.of(job) {
                Ok(timed) => wanted.plan.timed.extend(timed.map(|timed| (job.name.clone(), timed))),
                Err(why) => {
                    let message = self.config.times.untimed(job, &why);
                    crate::say!("kin daemon: {message}");
                    self.note("job.untimed", message, batch);
                }
            }
        }
        self.world.wish(now, Wish::Plan(wanted.plan), &mut batch.fx)?;
        batch.accepts = true;
        let at = self.now();
        for (name, known) in wanted.known {
            let by_the_rules = batch.fx.defined.contains_key(&(name.clone(), known.rev));
            if let Some(job) = known.job.as_ref().filter(|_| !by_the_rules) {
                // In force already: it is in another file now, or kin had gone back to it.
                let (rev, source, text) = (known.rev, known.source.clone(), Some(canon::canonical(job)));
                batch.definitions.push(Definition { job: name.clone(), rev, at, source, text });
            }
            batch.sources.insert((name.clone(), known.rev), known.source.clone());
            self.book.known.insert(name, known);
        }
        batch.definitions.extend(wanted.rows);
        for (name, queue) in wanted.queues {
            match queue {
                Some(queue) => drop(self.book.queues.insert(name.clone(), queue)),
                None => drop(self.book.queues.remove(&name)),
            }
            batch.queues.insert(name);
        }
        Ok(())
    }

    pub(super) fn next_rev(&self, name: &JobName) -> u64 {
        self.book.known.get(name).map_or(1, |known| known.rev + 1)
    }

    /// Jobs of files whose names belong to somebody else: no file takes those over.
    pub(super) fn taken_names(&self, reading: &Reading) -> Vec<Mistake> {
        let taken = reading.set.jobs.iter().filter_map(|(name, definition)| {
            let known = self.book.known.get(name).filter(|known| known.job.is_some())?;
            let (message, help) = match &known.source {
                Source::File { .. } => return None,
                Source::Api { by } => (
                    format!("'{name}' is defined over the API, by {by}, and no file takes it over"),
                    format!("DELETE /v1/jobs/{name} removes it there, and then the file is read"),
                ),
                Source::Project { project, .. } => (
                    format!("'{name}' is defined by the project {project}, and no file takes it over"),
                    format!("`kin down --project {project}` ends the project, and then the file is read"),
                ),
            };
            let mistake = Mistake::error(Code::Twice, message).key(name.as_str()).help(help);
            Some(match definition.source {
                Some(source) => mistake.at(source, &definition.at),
                None => mistake,
            })
        });
        taken.collect()
    }

    /// Of a file that is held back the last good jobs stay, as of every file with a mistake.
    pub(super) fn wanted(&self, reading: &Reading, held: &HeldBack) -> Wanted {
        let mut wanted = Wanted::default();
        let at = self.now();
        let path_of = |source: Option<usize>| {
            let source = source.and_then(|n| reading.set.report.sources.get(n));
            source.map(|source| source.path.clone()).unwrap_or_default()
        };
        let may_go = |path: &Path| !reading.leaves_out(path) && !held.files.contains(path);
        let free = |definition: &kin_config::Definition| !held.files.contains(&path_of(definition.source));
        for (name, definition) in reading.set.jobs.iter().filter(|(_, definition)| free(definition)) {
            let source = Source::File { path: path_of(definition.source).display().to_string() };
            let (rev, job) = (self.next_rev(name), definition.job.clone());
            let before = self.book.known.get(name).filter(|known| known.job.as_ref() == Some(&job));
            match before {
                Some(known) if known.source == source => continue,
                // It is only in another file now.
                Some(_) => {}
                None => wanted.plan.jobs.push(JobPlan::Put { job: job.clone(), rev }),
            }
            wanted.known.push((name.clone(), Known { rev, source, job: Some(job) }));
        }
        for (name, known) in &self.book.known {
            let (Source::File { path }, Some(_)) = (&known.source, &known.job) else { continue };
            if !reading.set.jobs.contains_key(name) && may_go(Path::new(path)) {
                let (rev, source) = (known.rev + 1, known.source.clone());
                wanted.rows.push(Definition { job: name.clone(), rev, at, source: source.clone(), text: None });
                wanted.known.push((name.clone(), Known { rev, source, job: None }));
                if self.world.defined(name).is_some() {
                    wanted.plan.jobs.push(JobPlan::Remove(name.clone()));
                }
            }
        }
        let queues = &reading.set.settings.queues;
        let differs = |queue: &&Queue| match self.book.queues.get(&queue.name) {
            Some(before) => before != *queue && !held.keeps_queue(reading, &queue.name),
            None => true,
        };
        for queue in queues.values().filter(differs) {
            wanted.plan.queues.push(QueuePlan::Put(queue.clone()));
            wanted.queues.insert(queue.name.clone(), Some(queue.clone()));
        }
        // A file with mistakes may be the one that has them.
        if reading.report.errors() == 0 && held.files.is_empty() {
            let gone = |name: &&String| !queues.contains_key(*name) && !self.is_of_a_project(name);
            let gone = |name: &&String| gone(name) && !held.keeps_queue(reading, name);
            for name in self.book.queues.keys().filter(gone) {
                wanted.plan.queues.push(QueuePlan::Remove(name.clone()));
                wanted.queues.insert(name.clone(), None);
            }
        }
        wanted.steps = self.steps(&wanted.plan.jobs);
        wanted
    }

    /// In words of the contract.
    pub(super) fn steps(&self, changes: &[JobPlan]) -> Vec<Step> {
        let known = |name: &JobName| self.book.known.get(name).and_then(|known| known.job.clone());
        let (mut from, mut to) = (BTreeMap::new(), BTreeMap::new());
        for change in changes {
            let name = match change {
                JobPlan::Put { job, .. } => {
                    to.insert(job.name.clone(), job.clone());
                    &job.name
                }
                JobPlan::Remove(name) => name,
            };
            from.extend(known(name).map(|job| (name.clone(), job)));
        }
        let plan = Difference::between(&from, &to);
        let step = |job: &Job, what, follows: &str, keys| Step {
            job: job.name.clone(),
            what,
            follows: follows.to_string(),
            keys,
        };
        let added = plan.added.iter().map(|job| {
            let starts = job.life.is_service() && !job.disabled;
            step(job, "add", if starts { "start" } else { "stored" }, Vec::new())
        });
        let changed = plan.changed.iter().map(|change| {
            let follows = match change.effect {
                Effect::Stored | Effect::NextRun | Effect::AtOnce | Effect::Restart => change.effect.word(),
            };
            step(&change.to, "change", follows, change.keys.iter().map(|key| key.key.clone()).collect())
        });
        let removed = plan.removed.iter().map(|job| {
            let follows = if job.life.is_service() { "stop" } else { "stored" };
            step(job, "remove", follows, Vec::new())
        });
        added.chain(changed).chain(removed).collect()
    }

    /// Once for each time that something else is wrong.
    fn say_mistakes(&mut self, reading: &Reading, held: &Report, batch: &mut Batch) {
        let said = |mistake: &Mistake, report: &Report| match mistake.at.as_ref().and_then(|spot| report.place(spot)) {
            Some((source, place)) => format!("{}:{}:{}: {}", source.name, place.line, place.column, mistake.message),
            None => mistake.message.clone(),
        };
        let of_files = reading.report.mistakes.iter().filter(|mistake| mistake.is_error());
        let of_files = of_files.map(|mistake| said(mistake, &reading.report));
        let errors: Vec<String> = of_files.chain(held.mistakes.iter().map(|mistake| said(mistake, held))).collect();
        let all = errors.join("\n");
        if all == self.book.mistakes {
            return;
        }
        self.book.mistakes = all;
        for error in errors {
            self.note("jobs.broken", error, batch);
        }
        for path in &reading.kept {
            self.note("jobs.broken", format!("of {} its last good jobs stay", path.display()), batch);
        }
        for path in &reading.left_out {
            self.note("jobs.broken", format!("{} is left out", path.display()), batch);
        }
    }

    // ---- by request ----

    pub(super) fn define(&mut self, job: &Arc<Job>, by: String, batch: &mut Batch) -> Result<(), Refusal> {
        let name = job.name.clone();
        self.not_of_a_file(&name)?;
        self.has_room()?;
        if self.book.known.get(&name).is_some_and(|known| known.job.as_ref() == Some(job)) {
            return Ok(());
        }
        let rev = self.next_rev(&name);
        let known = Known { rev, source: Source::Api { by }, job: Some(job.clone()) };
        let plan = Plan { jobs: vec![JobPlan::Put { job: job.clone(), rev }], queues: Vec::new(), ..Plan::default() };
        self.plan(Wanted { plan, known: vec![(name, known)], ..Wanted::default() }, batch)?;
        // It may have named before what a file is to take away.
        self.files_again(batch);
        Ok(())
    }

    pub(super) fn undefine(&mut self, name: &JobName, by: String, batch: &mut Batch) -> Result<(), Refusal> {
        self.not_of_a_file(name)?;
        let rev = self.next_rev(name);
        let source = Source::Api { by };
        let row = Definition { job: name.clone(), rev, at: self.now(), source: source.clone(), text: None };
        let known = Known { rev, source, job: None };
        let plan = Plan { jobs: vec![JobPlan::Remove(name.clone())], queues: Vec::new(), ..Plan::default() };
        let wanted = Wanted { plan, rows: vec![row], known: vec![(name.clone(), known)], ..Wanted::default() };
        self.plan(wanted, batch)?;
        self.files_again(batch);
        Ok(())
    }

    fn not_of_a_file(&self, name: &JobName) -> Result<(), Refusal> {
        match self.book.known.get(name) {
            Some(Known { source: Source::File { path }, job: Some(_), .. }) => {
                Err(Refusal::OfFile { job: name.clone(), path: path.clone() })
            }
            Some(Known { source: Source::Project { project, .. }, job: Some(_), .. }) => {
                Err(Refusal::OfProject { job: name.clone(), project: project.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn run_job(&mut self, wish: RunJob, batch: &mut Batch) -> Result<Accepted, Refusal> {
        let now = self.now();
        if let Some(repeat) = self.repeat(wish.key.as_ref(), &wish.job, batch)? {
            return Ok(repeat);
        }
        self.has_room()?;
        let written = if wish.env.is_empty() { None } else { Some(self.write_given(&wish.env)?) };
        let granted = self.world.wish(now, Wish::RunJob { job: wish.job.clone(), by: wish.by }, &mut batch.fx)?;
        let Granted::Run(run) = granted else { return Err(Refusal::UnknownJob { job: wish.job }) };
        let is_there = run.outcome().is_none();
        if let Some(Err(e)) = written.filter(|_| is_there).map(|written| self.give_to(run.no, &written)) {
            let stop = Wish::Stop { run: run.no, kind: StopKind::Ladder, why: StopWhy::Asked };
            self.world.wish(now, stop, &mut batch.fx)?;
            return Err(Refusal::Unavailable { why: format!("the run's environment could not be written: {e}") });
        }
        batch.accepts = true;
        batch.jobs_accepted.push(run.no);
        if let Some(Key { text, content }) = wish.key {
            batch.keys.insert(text.clone(), NewKey { key: text, content, run: run.no, at: now });
        }
        Ok(Accepted { run: *run, repeat: false })
    }

    pub(super) fn wish_job(&mut self, wish: Wish, batch: &mut Batch) -> Result<Granted, Refusal> {
        let begins = !matches!(wish, Wish::Disable { .. } | Wish::Pause { .. });
        if begins {
            self.has_room()?;
        }
        let granted = self.world.wish(self.now(), wish, &mut batch.fx)?;
        batch.accepts |= begins;
        Ok(granted)
    }

    // ---- looking ----

    pub(super) fn answer_look(&mut self, look: Look) {
        // Who asked may have gone.
        match look {
            Look::Jobs { job, reply } => drop(reply.send(self.jobs_now(job.as_ref()))),
            Look::Queues { reply } => drop(reply.send(self.queues_now())),
            Look::StaleFiles { reply } => drop(reply.send(self.book.stale.keys().cloned().collect())),
            Look::Times { reply } => drop(reply.send(self.times_now())),
            Look::Projects { reply } => drop(reply.send(self.projects_now())),
            Look::Rehearse { job, reply } => {
                let now = self.now();
                let come = self.has_room().and_then(|()| self.world.rehearse(now, &job, String::new()));
                drop(reply.send(come));
            }
            Look::Why { run, reply } => {
                let outlook = self.world.outlook(self.now(), &run);
                drop(reply.send((self.world.why(run.no), outlook)));
            }
        }
    }

    fn jobs_now(&self, only: Option<&JobName>) -> Vec<JobNow> {
        let mut runs: BTreeMap<&JobName, Vec<Run>> = BTreeMap::new();
        let wanted = |job: &JobName| only.is_none_or(|only| only == job);
        for run in self.world.live().filter(|run| run.is_defined() && wanted(&run.job)) {
            runs.entry(&run.job).or_default().push(run.clone());
        }
        let now = |standing: &Standing| {
            let name = &standing.job;
            let job = self.world.revision(name, standing.rev)?.clone();
            let known = self.book.known.get(name);
            let next = self.world.next_open(name);
            // What is due in a pause, or while it is disabled, is not run.
            let next = match (next.flatten(), standing.paused, self.world.timed(name)) {
                _ if standing.disabled.unwrap_or(job.disabled) => None,
                (Some(next), Some(until), Some(timed)) if next < until => timed.next_open(until - 1),
                (next, _, _) => next,
            };
            Some(JobNow {
                standing: standing.clone(),
                stale: known.and_then(|known| self.book.why_stale(&known.source)).cloned(),
                source: known.map_or(Source::Api { by: "unknown".into() }, |known| known.source.clone()),
                runs: runs.remove(name).unwrap_or_default(),
                why: self
                    .untimed(name)
                    .into_iter()
                    .chain(self.world.why_never(name))
                    .chain(self.world.why_job(name))
                    .collect(),
                next,
                job,
            })
        };
        match only {
            Some(name) => self.world.standing(name).into_iter().filter_map(now).collect(),
            None => self.world.standings().filter_map(now).collect(),
        }
    }

    /// What the rules do not know: zones and calendars are read outside of them.
    fn untimed(&self, name: &JobName) -> Option<Reason> {
        let job = self.world.defined(name)?.job;
        let is_timed = job.time.schedules.is_empty() || self.world.timed(name).is_some();
        let (of, why) = if is_timed { None } else { self.config.times.why_untimed(&job) }?;
        Some(Reason::Untimed { of, why })
    }

    fn times_now(&self) -> Timetable {
        let now = |standing: &Standing| {
            let job = self.world.revision(&standing.job, standing.rev)?;
            Some(TimedNow {
                job: standing.job.clone(),
                timed: self.world.timed(&standing.job)?.clone(),
                decided: standing.ticks.map_or(i64::MIN, |ticks| ticks.to),
                disabled: standing.disabled.unwrap_or(job.disabled),
                paused: standing.paused.unwrap_or(i64::MIN),
                tags: job.tags.clone(),
            })
        };
        let jobs = self.world.standings().filter_map(now).collect();
        Timetable { timezone: self.config.times.timezone().map(str::to_owned), jobs }
    }

    fn queues_now(&self) -> Vec<QueueNow> {
        let of = |queue: &Queue| {
            let runs = || self.world.live().filter(|run| run.terms.queue.as_ref() == Some(&queue.name));
            let running: Vec<Run> = runs().filter(|run| run.state.is_going()).cloned().collect();
            let mut waiting: Vec<Run> = runs().filter(|run| run.state == RunState::Queued).cloned().collect();
            waiting.sort_by_key(|run| (std::cmp::Reverse(run.terms.priority), run.no));
            QueueNow { queue: queue.clone(), running, waiting }
        };
        let known: BTreeSet<&str> = self.world.queues().map(|queue| queue.name.as_str()).collect();
        let named = self.world.live().filter_map(|run| run.terms.queue.as_deref());
        let bare: BTreeSet<&str> = named.filter(|name| !known.contains(name)).collect();
        let bare = bare.into_iter().map(|name| Queue {
            name: name.into(),
            slots: BTreeMap::from([("slots".into(), 1)]),
            paused: false,
        });
        let mut all: Vec<QueueNow> = self.world.queues().cloned().chain(bare).map(|queue| of(&queue)).collect();
        all.sort_by(|a, b| a.queue.name.cmp(&b.queue.name));
        all
    }

    /// What a call about jobs answers, once it is recorded.
    pub(super) fn job_call(&mut self, call: super::handle::JobCall, key: Option<Key>, batch: &mut Batch) {
        use super::handle::JobCall;
        match call {
            JobCall::Files { reading, plan, reply } => {
                let answer = self.files(&reading, plan, batch);
                batch.answers.push(answering(reply, answer));
            }
            JobCall::Define { job, by, reply } => {
                let answer = self.define(&job, by, batch);
                self.keep_done(key, &answer, batch);
                batch.answers.push(answering(reply, answer));
            }
            JobCall::Undefine { job, by, reply } => {
                let answer = self.undefine(&job, by, batch);
                self.keep_done(key, &answer, batch);
                batch.answers.push(answering(reply, answer));
            }
            JobCall::Run { wish, reply } => {
                let answer = self.run_job(*wish, batch);
                batch.answers.push(answering(reply, answer));
            }
            JobCall::Wish { wish, reply } => {
                let answer = self.wish_job(wish, batch);
                self.keep_done(key, &answer, batch);
                batch.answers.push(answering(reply, answer));
            }
            JobCall::Up { project, plan, by, reply } => {
                let answer = self.project_up(&project, plan, &by, batch);
                batch.answers.push(answering(reply, answer));
            }
            JobCall::ProjectDown { project, by, reply } => {
                let answer = self.project_down(&project, &by, batch);
                self.keep_done(key, &answer, batch);
                batch.answers.push(answering(reply, answer));
            }
            JobCall::Look(look) => batch.looks.push(look),
        }
    }
}

fn is_wrong(path: &Path, report: &Report) -> bool {
    report.mistakes.iter().filter(|mistake| mistake.is_error()).any(|mistake| {
        let place = mistake.at.as_ref().and_then(|spot| report.place(spot));
        place.is_some_and(|(source, _)| source.path == path)
    })
}

/// Why a file does not hold as it is, in words.
fn why_stale(path: &Path, report: &Report) -> String {
    let mut of_it = report.mistakes.iter().filter(|mistake| mistake.is_error()).filter_map(|mistake| {
        let (source, place) = report.place(mistake.at.as_ref()?)?;
        (source.path == path).then_some((mistake, place))
    });
    let Some((first, place)) = of_it.next() else { return "it does not go together with other files".into() };
    let more = match of_it.count() {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    };
    match first.at.as_ref().is_some_and(|spot| spot.span != (0..0)) {
        true => format!("line {}: {}{more}", place.line, first.message),
        false => format!("{}{more}", first.message),
    }
}
