//! What job files say against what requests and projects defined.
//!
//! A set of files fits together by itself. Beside the other jobs it may not: one that was defined by a request may name a job
//! that a file has no more. Then the file whose change is in the way is held back, as one with a mistake is: its last good
//! jobs stay, and all other files are taken.

use super::Engine;
use super::jobs::Wanted;
use kin_config::good::Reading;
use kin_config::keys::kin::QUEUES;
use kin_config::set::SETTINGS;
use kin_config::{Code, Mistake, Report, Source as Text};
use kin_core::{JobName, JobPlan, Refusal};
use kin_ledger::Source;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What of a reading does not come to hold, and why.
#[derive(Debug, Default)]
pub(super) struct HeldBack {
    pub(super) files: BTreeSet<PathBuf>,
    queues: BTreeSet<String>,
    mistakes: Vec<Mistake>,
    /// Files that are not there any more.
    gone: Vec<PathBuf>,
}

impl HeldBack {
    pub(super) fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// A queue that is defined already stays as it is.
    pub(super) fn keeps_queue(&self, reading: &Reading, name: &str) -> bool {
        let file = || place_of_queue(reading, name).and_then(|(source, _)| path_of(reading, Some(source)));
        self.queues.contains(name) || file().is_some_and(|path| self.files.contains(&path))
    }

    /// With the texts that it is about.
    pub(super) fn report(self, reading: &Reading) -> Report {
        let gone = self.gone.iter().map(|path| Text::new(path, ""));
        let sources = reading.set.report.sources.iter().cloned().chain(gone).collect();
        Report::new(sources, self.mistakes)
    }

    /// The number by which a mistake names the file, also of one that is gone.
    fn source(&mut self, reading: &Reading, path: &Path) -> usize {
        let sources = &reading.set.report.sources;
        sources.iter().position(|source| source.path == path).unwrap_or_else(|| {
            let known = self.gone.iter().position(|gone| gone == path);
            sources.len()
                + known.unwrap_or_else(|| {
                    self.gone.push(path.to_path_buf());
                    self.gone.len() - 1
                })
        })
    }
}

impl Engine {
    /// As much of a reading as can be had beside all that is defined otherwise.
    pub(super) fn fitting(&self, reading: &Reading) -> Result<(Wanted, HeldBack), Refusal> {
        let mut held = HeldBack { mistakes: self.taken_names(reading), ..HeldBack::default() };
        let sources = held.mistakes.iter().filter_map(|mistake| mistake.at.as_ref()).map(|spot| spot.source);
        held.files = sources.filter_map(|source| path_of(reading, Some(source))).collect();
        // Each round holds back one file or one queue more, so it ends.
        loop {
            let wanted = self.wanted(reading, &held);
            match self.world.check_plan(&wanted.plan) {
                Ok(()) => return Ok((wanted, held)),
                Err(refusal) if self.hold_back(reading, &wanted, &refusal, &mut held) => {}
                Err(refusal) => return Err(refusal),
            }
        }
    }

    /// Whether something could be held back because of which the whole is refused.
    fn hold_back(&self, reading: &Reading, wanted: &Wanted, refusal: &Refusal, held: &mut HeldBack) -> bool {
        let is_put = |name: &JobName| {
            wanted.plan.jobs.iter().any(|change| matches!(change, JobPlan::Put { job, .. } if job.name == *name))
        };
        if let Refusal::Missing { job, named, key } = refusal
            && wanted.plan.jobs.contains(&JobPlan::Remove(named.clone()))
        {
            return self.hold_back_removal(reading, job, named, key, held);
        }
        if let Refusal::Missing { job, .. } = refusal {
            return is_put(job) && hold_back_job(reading, job, refusal, Code::UnknownJob, held);
        }
        if let Refusal::Circle { jobs } = refusal {
            let job = jobs.iter().find(|job| is_put(job));
            return job.is_some_and(|job| hold_back_job(reading, job, refusal, Code::Cycle, held));
        }
        // Nothing else depends on what a single file says.
        let Refusal::TooLarge { job, queue, .. } = refusal else { return false };
        if is_put(job) {
            return hold_back_job(reading, job, refusal, Code::UnknownQueue, held);
        }
        wanted.queues.contains_key(queue) && self.hold_back_queue(reading, job, queue, refusal, held)
    }

    fn hold_back_removal(
        &self,
        reading: &Reading,
        job: &JobName,
        named: &JobName,
        key: &str,
        held: &mut HeldBack,
    ) -> bool {
        let Some(Source::File { path }) = self.book.known.get(named).map(|known| &known.source) else { return false };
        let (who, help) = self.in_the_way(job);
        let message = format!("'{named}' is not there any more, and {job}{who} names it in `{key}`");
        let help = format!("put '{named}' back, or {help}; then the file is read");
        let mistake = Mistake::error(Code::UnknownJob, message).key(named.as_str()).help(help);
        let source = held.source(reading, Path::new(path));
        held.mistakes.push(mistake.at(source, &(0..0)));
        held.files.insert(path.into())
    }

    fn hold_back_queue(
        &self,
        reading: &Reading,
        job: &JobName,
        queue: &str,
        refusal: &Refusal,
        held: &mut HeldBack,
    ) -> bool {
        let (who, help) = self.in_the_way(job);
        let key = format!("{SETTINGS}.{QUEUES}.{queue}");
        let said = |message: String, todo: &str| {
            let help = format!("{todo}, or {help}; then the file is read");
            Mistake::error(Code::UnknownQueue, message).key(key.as_str()).help(help)
        };
        let gone = || format!("the queue {queue} is not there any more, and {job}{who} needs it: {refusal}");
        let mistake = match (place_of_queue(reading, queue), self.book.of_files.get(queue)) {
            (Some((source, span)), _) => {
                held.files.extend(path_of(reading, Some(source)));
                let message = format!("{refusal}; {job} is there already{who} and the queue stays as it was");
                said(message, "give the queue more").at(source, &span)
            }
            (None, Some(file)) => {
                held.files.insert(file.clone());
                let source = held.source(reading, file);
                said(gone(), "put it back").at(source, &(0..0))
            }
            // It went while no daemon was there that had read its file.
            (None, None) => said(gone(), "put it back into a job file"),
        };
        held.mistakes.push(mistake);
        held.queues.insert(queue.to_owned())
    }

    /// Who defined a job, and what to do about it.
    fn in_the_way(&self, job: &JobName) -> (String, String) {
        match self.book.known.get(job).map(|known| &known.source) {
            Some(Source::Api { by }) => (
                format!(", defined over the API by {by},"),
                format!("change {job} there (PUT or DELETE /v1/jobs/{job})"),
            ),
            Some(Source::Project { project, .. }) => (
                format!(", of the project {project},"),
                format!("change the project's file and `kin up`, or `kin down --project {project}`"),
            ),
            Some(Source::File { path }) => (format!(", which {path} keeps,"), format!("mend {path}")),
            None => (String::new(), format!("change {job}")),
        }
    }
}

fn path_of(reading: &Reading, source: Option<usize>) -> Option<PathBuf> {
    source.and_then(|n| reading.set.report.sources.get(n)).map(|source| source.path.clone())
}

/// The file that says a queue.
pub(super) fn file_of_queue(reading: &Reading, name: &str) -> Option<PathBuf> {
    path_of(reading, place_of_queue(reading, name).map(|(source, _)| source))
}

fn place_of_queue(reading: &Reading, name: &str) -> Option<(usize, std::ops::Range<usize>)> {
    let spot = reading.set.said.get(&format!("{SETTINGS}.{QUEUES}.{name}"))?;
    Some((spot.source, spot.span.clone()))
}

fn hold_back_job(reading: &Reading, job: &JobName, refusal: &Refusal, code: Code, held: &mut HeldBack) -> bool {
    let Some(definition) = reading.set.jobs.get(job) else { return false };
    let (Some(source), Some(path)) = (definition.source, path_of(reading, definition.source)) else { return false };
    let message = format!("{refusal}, as things stand beside what requests, projects and other files define");
    let mistake = Mistake::error(code, message).key(job.as_str()).at(source, &definition.at);
    held.mistakes.push(match refusal.hint() {
        Some(hint) => mistake.help(hint),
        None => mistake,
    });
    held.files.insert(path)
}
