//! Projects: the jobs of one file, which come, change and go together.
//!
//! No table knows them. A definition says which project it is of, and from which file; the projects that are up are those
//! that some definition in force names.

use super::jobs::{Known, Wanted};
use super::{Batch, Engine, Gone, ProjectNow, Reloaded, Step};
use kin_config::Report;
use kin_config::project::Project;
use kin_core::{JobName, JobPlan, QueuePlan, Refusal, Run, StopKind, StopWhy, Wish};
use kin_ledger::{Definition, Source};
use std::collections::{BTreeMap, BTreeSet};

impl Engine {
    /// One commit: the plan of the file, and the wish that its services be up.
    pub(super) fn project_up(
        &mut self,
        project: &Project,
        only_plan: bool,
        by: &str,
        batch: &mut Batch,
    ) -> Result<Reloaded, Refusal> {
        self.check_project(project)?;
        let mut wanted = Wanted::default();
        let source = Source::Project { project: project.name.clone(), path: project.path.display().to_string() };
        for (name, job) in &project.jobs {
            if self.book.known.get(name).is_none_or(|known| known.job.as_ref() != Some(job)) {
                let rev = self.next_rev(name);
                wanted.plan.jobs.push(JobPlan::Put { job: job.clone(), rev });
                wanted.known.push((name.clone(), Known { rev, source: source.clone(), job: Some(job.clone()) }));
            }
        }
        for name in self.jobs_of(&project.name).into_iter().filter(|name| !project.jobs.contains_key(name)) {
            self.forget(&name, &source, &mut wanted);
        }
        for queue in project.queues.values().filter(|queue| self.book.queues.get(&queue.name) != Some(queue)) {
            wanted.plan.queues.push(QueuePlan::Put(queue.clone()));
            wanted.queues.insert(queue.name.clone(), Some(queue.clone()));
        }
        for name in self.queues_of_project(&project.name).filter(|name| !project.queues.contains_key(*name)) {
            wanted.plan.queues.push(QueuePlan::Remove(name.clone()));
            wanted.queues.insert(name.clone(), None);
        }
        let mut steps = self.steps(&wanted.plan.jobs);
        steps.extend(self.starts_again(project, &wanted));
        if only_plan {
            self.world.check_plan(&wanted.plan)?;
            return Ok(Reloaded { applied: false, steps, mistakes: Report::default() });
        }
        self.has_room()?;
        if !(wanted.known.is_empty() && wanted.queues.is_empty()) {
            self.plan(wanted, batch)?;
            let message = format!("{}: {by} brought it up, from {}", project.name, project.path.display());
            self.note("project.up", message, batch);
        }
        let now = self.now();
        for (name, _) in project.jobs.iter().filter(|(_, job)| job.life.is_service() && !job.disabled) {
            self.world.wish(now, Wish::Up { job: name.clone(), by: by.to_string() }, &mut batch.fx)?;
            batch.accepts = true;
        }
        Ok(Reloaded { applied: true, steps, mistakes: Report::default() })
    }

    /// Services that are the same, and were stopped or have given up.
    fn starts_again(&self, project: &Project, wanted: &Wanted) -> Vec<Step> {
        let changes = |name: &JobName| wanted.known.iter().any(|(other, _)| other == name);
        let is_down = |name: &JobName| {
            self.world.standing(name).is_some_and(|standing| !standing.up || !standing.rest.is_empty())
        };
        let services = project.jobs.iter().filter(|(_, job)| job.life.is_service() && !job.disabled);
        let down = services.filter(|(name, _)| !changes(name) && is_down(name));
        down.map(|(name, _)| Step { job: name.clone(), what: "start", follows: "start".into(), keys: Vec::new() })
            .collect()
    }

    /// One commit: its definitions go, and with them its services; what else runs of it is stopped.
    pub(super) fn project_down(&mut self, project: &str, by: &str, batch: &mut Batch) -> Result<Gone, Refusal> {
        let jobs = self.jobs_of(project);
        let Some(source) = jobs.first().and_then(|name| self.book.known.get(name)).map(|known| known.source.clone())
        else {
            return Err(Refusal::UnknownProject { project: project.to_string() });
        };
        let mut wanted = Wanted::default();
        for name in &jobs {
            self.forget(name, &source, &mut wanted);
        }
        for name in self.queues_of_project(project) {
            wanted.plan.queues.push(QueuePlan::Remove(name.clone()));
            wanted.queues.insert(name.clone(), None);
        }
        let is_task = |name: &JobName| {
            self.book.known.get(name).and_then(|known| known.job.as_ref()).is_some_and(|job| !job.life.is_service())
        };
        let tasks: BTreeSet<JobName> = jobs.iter().filter(|name| is_task(name)).cloned().collect();
        let of_it = |run: &&Run| run.is_defined() && jobs.contains(&run.job);
        let runs: Vec<Run> = self.world.live().filter(of_it).cloned().collect();
        let now = self.now();
        self.note("project.down", format!("{project}: {by} asked for its end"), batch);
        self.plan(wanted, batch)?;
        self.files_again(batch);
        for run in runs.iter().filter(|run| tasks.contains(&run.job)) {
            // What had not begun went with its definition.
            if self.world.get(run.no).is_some() {
                let stop = Wish::Stop { run: run.no, kind: StopKind::Ladder, why: StopWhy::Asked };
                self.world.wish(now, stop, &mut batch.fx)?;
            }
        }
        let as_it_is = |run: Run| self.world.get(run.no).cloned().or_else(|| batch.fx.changed.get(&run.no).cloned());
        let path = match &source {
            Source::Project { path, .. } => path.clone(),
            Source::File { .. } | Source::Api { .. } => String::new(),
        };
        Ok(Gone { path, runs: runs.into_iter().filter_map(as_it_is).collect() })
    }

    pub(super) fn projects_now(&self) -> Vec<ProjectNow> {
        let mut all: BTreeMap<&str, ProjectNow> = BTreeMap::new();
        for (name, known) in &self.book.known {
            let (Source::Project { project, path }, Some(job)) = (&known.source, &known.job) else { continue };
            let now = all.entry(project).or_insert_with(|| ProjectNow {
                name: project.clone(),
                path: path.clone(),
                jobs: Vec::new(),
                queues: self.queues_of_project(project).cloned().collect(),
                latches: Vec::new(),
            });
            now.jobs.push(name.clone());
            now.latches.extend(
                job.gates.latch.iter().filter(|latch| !now.latches.contains(latch)).cloned().collect::<Vec<_>>(),
            );
        }
        all.into_values().collect()
    }

    /// Queues of projects are no job file's to take away.
    pub(super) fn is_of_a_project(&self, queue: &str) -> bool {
        let Some((project, _)) = queue.split_once('.') else { return false };
        self.book.known.values().any(|known| known.job.is_some() && is_of(&known.source, project))
    }

    /// A queue of a job file may be called as if it were of a project; it is the file's all the same.
    fn queues_of_project(&self, project: &str) -> impl Iterator<Item = &String> {
        let of_it = move |name: &&String| {
            name.split_once('.').is_some_and(|(of, _)| of == project) && !self.book.of_files.contains_key(*name)
        };
        self.book.queues.keys().filter(of_it)
    }

    fn jobs_of(&self, project: &str) -> Vec<JobName> {
        let of_it = |known: &Known| known.job.is_some() && is_of(&known.source, project);
        self.book.known.iter().filter(|(_, known)| of_it(known)).map(|(name, _)| name.clone()).collect()
    }

    /// Nobody else's jobs are taken over, and one name is one file's.
    fn check_project(&self, project: &Project) -> Result<(), Refusal> {
        let path = project.path.display().to_string();
        for (name, known) in self.book.known.iter().filter(|(_, known)| known.job.is_some()) {
            match &known.source {
                Source::Project { project: other, path: elsewhere } if *other == project.name => {
                    if *elsewhere != path {
                        let (project, path) = (other.clone(), elsewhere.clone());
                        return Err(Refusal::ProjectElsewhere { project, path });
                    }
                }
                Source::Project { .. } | Source::File { .. } | Source::Api { .. }
                    if !project.jobs.contains_key(name) => {}
                Source::Project { project, .. } => {
                    return Err(Refusal::OfProject { job: name.clone(), project: project.clone() });
                }
                Source::File { path } => return Err(Refusal::OfFile { job: name.clone(), path: path.clone() }),
                Source::Api { .. } => return Err(Refusal::OfRequest { job: name.clone() }),
            }
        }
        Ok(())
    }

    fn forget(&self, name: &JobName, source: &Source, wanted: &mut Wanted) {
        let (rev, source) = (self.next_rev(name), source.clone());
        wanted.rows.push(Definition { job: name.clone(), rev, at: self.now(), source: source.clone(), text: None });
        wanted.known.push((name.clone(), Known { rev, source, job: None }));
        if self.world.defined(name).is_some() {
            wanted.plan.jobs.push(JobPlan::Remove(name.clone()));
        }
    }
}

fn is_of(source: &Source, name: &str) -> bool {
    matches!(source, Source::Project { project, .. } if project == name)
}
