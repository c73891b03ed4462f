//! `kin stop`

use crate::cli::Face;
use crate::commands::unwritable;
use crate::job;
use crate::listing::{self, JsonArgs};
use crate::report::Failure;
use crate::select::{self, Selected, Which, select};
use crate::verdict;
use crate::when;
use clap::Args;
use kin_client::Error;
use kin_client::api::Run;
use kin_client::api::job::Job;
use kin_client::api::run::StopRequest;

/// Ask runs to end: TERM to all they started, after a while KILL. A service stays down until kin start.
///
/// A run that has not started yet is cancelled. One that has ended is named, with its end, and that is no failure. A
/// service is down until kin start; of one that is named by the id of a run, only that run ends, and none takes its
/// place until kin start. With --json services come as jobs, as in kin list; all else as runs, as in kin ps.
#[derive(Args, Debug)]
#[command(
    after_help = "EXAMPLE\n  kin stop backup\n  kin stop web\n  kin stop NeP8nb4q 'web*' @night --wait\n  kin stop @night --json | jq -r '.[] | .id // .name'"
)]
pub(crate) struct StopArgs {
    /// A run's id or its last 8 characters, a job, a glob, @tag.
    #[arg(value_name = "RUN|JOB", required = true)]
    what: Vec<String>,
    /// Return when they have ended.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    json: JsonArgs,
}

impl StopArgs {
    pub(crate) async fn run(mut self, face: &Face) -> Result<u8, Failure> {
        self.what = face.jobs_meant(self.what).await?;
        let (services, tasks) = defined(face, &self.what).await?;
        let (mut code, mut down) = (0, Vec::new());
        for service in &services.jobs {
            match self.down(face, service).await? {
                Ok(job) => down.push(job),
                Err(refused) => code = code.max(refused),
            }
        }
        // A word that a service answers for, or a task without a run, need not mean a run as well.
        let answered = |word: &String| services.words.contains(word) || tasks.words.contains(word);
        let mut selected = select(&face.client, &self.what, Which::LiveOrNamed).await?;
        let idle: Vec<String> = selected.unmatched.iter().filter(|word| tasks.words.contains(word)).cloned().collect();
        idle.iter().for_each(|word| face.screen.note(&format!("{word} has no runs")));
        selected.unmatched.retain(|word| !answered(word));
        selected.runs.retain(|run| !services.jobs.iter().any(|job| job.name == run.job) || named(&self.what, run));
        if selected.runs.is_empty() && selected.unmatched.is_empty() {
            say_idle(face, selected.idle.iter().filter(|word| !answered(word)));
            print(face, self.json, &down, &[])?;
            return Ok(code);
        }
        let no_jobs = services.jobs.is_empty() && tasks.jobs.is_empty();
        if selected.runs.is_empty() && !no_jobs {
            selected.unmatched.iter().for_each(|word| face.screen.note(&format!("nothing matches {word:?}")));
            print(face, self.json, &down, &[])?;
            return Ok(code.max(4));
        }
        let (runs, ended) = end(face, selected, &StopRequest::default(), self.wait, self.json).await?;
        print(face, self.json, &down, &runs)?;
        Ok(code.max(ended))
    }

    /// Wishes a service down; the exit code of a refusal.
    async fn down(&self, face: &Face, service: &Job) -> Result<Result<Job, u8>, Failure> {
        let job = match face.client.stop_job(&service.name).await {
            Ok(job) => job,
            Err(Error::Refused(refused)) => {
                face.screen.note(&format!("{}: {}", service.name, refused.message));
                return Ok(Err(Failure::Client(Error::Refused(refused)).exit_code()));
            }
            Err(error) => return Err(error.into()),
        };
        let now = if self.wait {
            for run in &job.runs {
                face.wait(&run.id).await?;
            }
            face.client.job(&job.name).await?
        } else {
            job
        };
        if self.json.json.is_none() {
            face.screen.print(&format!("{}  {}\n", now.name, job::words(&now, &face.screen)))?;
        }
        Ok(Ok(now))
    }
}

/// What was asked for, in JSON; in words it was said one by one.
fn print(face: &Face, json: JsonArgs, jobs: &[Job], runs: &[Run]) -> Result<(), Failure> {
    let Some(form) = json.json else { return Ok(()) };
    let jobs = jobs.iter().map(serde_json::to_value);
    let all: Vec<_> =
        jobs.chain(runs.iter().map(serde_json::to_value)).collect::<Result<_, _>>().map_err(unwritable)?;
    face.screen.print(&listing::json(&all, form).map_err(unwritable)?)
}

/// Defined jobs, and the words that they answer for.
#[derive(Default)]
struct Defined {
    jobs: Vec<Job>,
    words: Vec<String>,
}

/// What the words mean among the defined jobs: services, and tasks.
async fn defined(face: &Face, what: &[String]) -> Result<(Defined, Defined), Failure> {
    let (mut services, mut tasks) = (Defined::default(), Defined::default());
    for word in what {
        if select::is_run(&face.client, word).await? {
            continue;
        }
        for job in face.client.jobs(Some(word)).await? {
            let among = if job.kind == "service" { &mut services } else { &mut tasks };
            among.words.push(word.clone());
            if !among.jobs.iter().any(|have| have.name == job.name) {
                among.jobs.push(job);
            }
        }
    }
    Ok((services, tasks))
}

/// Whether a word is this run's own id.
fn named(what: &[String], run: &Run) -> bool {
    what.iter()
        .any(|word| *word == run.id || run.id.strip_suffix(word.as_str()).is_some_and(|rest| rest.ends_with('-')))
}

/// Nothing to do is no failure.
fn say_idle<'a>(face: &Face, words: impl IntoIterator<Item = &'a String>) {
    words.into_iter().for_each(|word| face.screen.note(&format!("nothing that matches {word:?} lives")));
}

/// Both of `stop` and `kill`: the runs that were meant, as they are now, and the exit code. In words they are said as
/// they come; in JSON the caller does it.
pub(crate) async fn end(
    face: &Face,
    selected: Selected,
    request: &StopRequest,
    wait: bool,
    json: JsonArgs,
) -> Result<(Vec<Run>, u8), Failure> {
    let mut tally = Tally::of(face, &selected)?;
    let mut runs = Vec::new();
    for run in &selected.runs {
        if run.state == "ended" {
            tally.over(run);
            runs.push(run.clone());
            continue;
        }
        let answer = face.client.stop(&run.id, request).await;
        if matches!(answer, Err(Error::Refused(_))) {
            let now = face.client.run(&run.id).await?;
            if now.state == "ended" {
                tally.over(&now);
                runs.push(now);
                continue;
            }
        }
        if let Some(asked) = tally.take(run, answer)? {
            let now = if wait { face.wait(&run.id).await? } else { asked };
            if json.json.is_none() {
                tally.say_state(&now)?;
            }
            runs.push(now);
        }
    }
    Ok((runs, tally.code))
}

/// What was done, run by run, and what comes of it.
pub(crate) struct Tally<'a> {
    face: &'a Face,
    pub(crate) code: u8,
}

impl Tally<'_> {
    /// Says which words mean nothing. When none means anything, that is all there is to do.
    pub(crate) fn of<'a>(face: &'a Face, selected: &Selected) -> Result<Tally<'a>, Failure> {
        say_idle(face, &selected.idle);
        match selected.unmatched.as_slice() {
            [] => Ok(Tally { face, code: 0 }),
            [first, ..] if selected.runs.is_empty() => Err(Failure::not_found(first)),
            some => {
                some.iter().for_each(|word| face.screen.note(&format!("nothing matches {word:?}")));
                Ok(Tally { face, code: 4 })
            }
        }
    }

    /// A refusal of one run does not keep the others from being asked.
    pub(crate) fn take(&mut self, run: &Run, answer: Result<Run, Error>) -> Result<Option<Run>, Failure> {
        match answer {
            Ok(run) => Ok(Some(run)),
            Err(Error::Refused(refused)) => {
                // It may name the run itself.
                match refused.message.contains(&run.id) {
                    true => self.face.screen.note(&refused.message),
                    false => self.face.screen.note(&format!("{}: {}", run.id, refused.message)),
                }
                self.code = self.code.max(Failure::Client(Error::Refused(refused)).exit_code());
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// There is nothing to do about it, which is what was asked for.
    fn over(&self, run: &Run) {
        let at = run.ended_at.as_deref().and_then(when::from_wire);
        let at = at.map_or(String::new(), |at| format!(", at {}", when::second(at, self.face.screen.zone())));
        self.face.screen.note(&format!("{} has ended already: {}{at}", run.id, verdict::outcome(run)));
    }

    pub(crate) fn say_state(&self, run: &Run) -> Result<(), Failure> {
        self.say(run, &verdict::words(run))?;
        if let Some(why) = &run.not_recorded {
            self.face.screen.note(&format!("{}: it is done, and not recorded yet: {why}", run.id));
        }
        Ok(())
    }

    pub(crate) fn say(&self, run: &Run, what: &str) -> Result<(), Failure> {
        self.face.screen.print(&format!("{}  {what}\n", run.id))
    }
}
