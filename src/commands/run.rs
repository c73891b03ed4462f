//! `kin run`

use crate::cli::Face;
use crate::commands::exec::{NOBODY_READS, introduction, output_of, unread};
use crate::commands::unwritable;
use crate::job;
use crate::listing::{self, json_line};
use crate::printer::Cleaned;
use crate::report::{Failure, Fate};
use crate::verdict;
use crate::when;
use clap::Args;
use jiff::tz::TimeZone;
use kin_client::api::job::{DryRun, JobRunRequest};
use kin_client::api::{Run, RunQuery};
use kin_client::{Error, Key};

/// Run a defined job now, once, and print the run's id.
///
/// With --wait its output is followed to its end, and its exit code is ours; of a job with `tries`, to the end of the
/// last one, and stderr says when another follows. Ctrl-C leaves it then: the run goes on. A job whose run still lives is refused, unless it says overlap = "queue" or "allow".
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLE
  kin run backup
  kin run backup --wait --env LEVEL=full
  kin run backup --dry-run

EXIT CODES
  0 it was accepted, 4 no such job, 5 refused (with --dry-run: it would be, or skipped; 2 where it
  could not be started); with --wait as kin exec: the run's own, or 128+n")]
pub(crate) struct RunArgs {
    /// The job's name.
    job: String,
    /// Follow its output to its end, and end as it did.
    #[arg(long, visible_short_alias = 'f', visible_alias = "follow", short = 'w')]
    wait: bool,
    /// A variable of this run alone, over what the job says; may be repeated. It is not stored.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Say what would be run, what it would wait for or why it would be refused now, and run nothing.
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// The run as a JSON object; with --wait once it has ended, and without its output.
    #[arg(long)]
    json: bool,
    /// Its output as it is, also on a terminal.
    #[arg(long)]
    raw: bool,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        Some(_) | None => Err("it is written NAME=VALUE".into()),
    }
}

impl RunArgs {
    pub(crate) async fn run(mut self, face: &Face) -> Result<u8, Failure> {
        self.job = face.job_meant(self.job).await?;
        let request = JobRunRequest { env: self.env.iter().cloned().collect(), dry_run: self.dry_run };
        if self.dry_run {
            let dry = self.found(face, face.client.dry_run(&self.job, &request).await).await?;
            let text = if self.json { json_line(&dry).map_err(unwritable)? + "\n" } else { dry_words(&dry) };
            face.screen.print(&text)?;
            return Ok(if dry.refused.is_some() { 5 } else { 0 });
        }
        let key = Key::random()?;
        let run = self.found(face, face.client.run_job(&self.job, &request, &key).await).await?;
        face.notices();
        // It is accepted: that nothing can be said of its file is no failure.
        job::tell_of_stale(&face.screen, face.client.jobs(Some(&self.job)).await.iter().flatten());
        if !self.wait {
            // It is recorded, and that is all there will be of it.
            let skipped = (run.state == "ended").then(|| verdict::sentence(&run)).flatten();
            let text = if self.json { json_line(&run).map_err(unwritable)? } else { run.id };
            face.screen.print(&format!("{text}\n"))?;
            skipped.iter().for_each(|sentence| face.screen.note(sentence));
            return Ok(0);
        }
        let mut run = run;
        match self.to_the_end(face, &mut run).await {
            Err(Failure::Closed) => {
                if face.screen.err_terminal {
                    face.screen.note(&unread(&run.id, false));
                }
                Ok(NOBODY_READS)
            }
            Err(failure @ Failure::Client(_)) => {
                let lives = face.client.server_lives().unwrap_or(false);
                Err(Failure::Left { run: run.id, fate: Fate::of_what_goes_on(lives), source: Box::new(failure) })
            }
            ended => ended,
        }
    }

    /// Of a job with `tries` to the end of the last one; `run` is the one that is followed just now.
    async fn to_the_end(&self, face: &Face, run: &mut Run) -> Result<u8, Failure> {
        if face.screen.err_terminal && !self.json {
            face.screen.note(&introduction(run));
        }
        loop {
            let ended = if self.json {
                face.wait(&run.id).await?
            } else {
                let cleaned = Cleaned::of(&face.screen, self.raw);
                output_of(face.client.clone(), face.screen.clone(), run.id.clone(), cleaned, false).await?
            };
            if let Some(next) = next_try(face, &ended).await? {
                face.screen.note(&another(&ended, &next, face.screen.zone()));
                *run = next;
                continue;
            }
            if self.json {
                face.screen.print(&(json_line(&ended).map_err(unwritable)? + "\n"))?;
            }
            if let Some(sentence) = verdict::sentence(&ended) {
                face.screen.note(&sentence);
            }
            return Ok(verdict::exit_code(&ended));
        }
    }

    /// A job that is not there gets the names that are near.
    async fn found<T>(&self, face: &Face, answer: Result<T, Error>) -> Result<T, Failure> {
        match answer {
            Err(error) if error.is_not_found() => Err(job::unknown(&face.client, &self.job).await?),
            answer => Ok(answer?),
        }
    }
}

/// The try that follows a run which ended badly. It is on record together with that end, or there is none.
async fn next_try(face: &Face, ended: &Run) -> Result<Option<Run>, Failure> {
    if verdict::is_ok(ended) {
        return Ok(None);
    }
    let number = ended.id.rsplit('-').next();
    let mut query = RunQuery { job: Some(ended.job.clone()), ..RunQuery::default() };
    loop {
        // Newest first: what is older than the run itself does not follow it.
        let page = face.client.runs(&query).await?;
        for run in page.runs {
            if run.id == ended.id {
                return Ok(None);
            }
            if run.trigger.kind == "retry" && run.follows.as_deref() == number {
                return Ok(Some(run));
            }
        }
        match page.next {
            Some(next) => query.before = Some(next),
            None => return Ok(None),
        }
    }
}

fn another(ended: &Run, next: &Run, zone: &TimeZone) -> String {
    let at = next.until.as_deref().and_then(when::from_wire);
    let at = at.map_or("now".into(), |at| format!("at {}", when::second(at, zone)));
    let (id, outcome) = (&ended.id, verdict::outcome(ended));
    format!("{id} ended {outcome}; attempt {} follows {at}: {}", next.attempt, next.id)
}

fn dry_words(dry: &DryRun) -> String {
    let mut lines = vec![
        format!("job        {} (revision {})", dry.job, dry.rev),
        format!("command    {}", listing::typed(&dry.argv)),
        format!("directory  {}", dry.directory),
    ];
    lines.extend(dry.user.as_ref().map(|user| format!("user       {user}")));
    lines.push(format!("variables  {}", dry.env.join(" ")));
    lines.extend(dry.refused.iter().map(|why| format!("refused    {why}")));
    lines.extend(dry.waits.iter().map(|what| format!("waits      {what}")));
    lines.extend(dry.left_out.iter().map(|what| format!("without    {what}")));
    lines.iter().map(|line| format!("{}\n", crate::clean::name(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_has_a_name_and_a_value() {
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(variable("A="), Ok(("A".into(), String::new())));
        assert!(variable("A").is_err() && variable("=a").is_err());
    }

    #[test]
    fn a_dry_run_says_what_there_would_be() {
        let dry = DryRun {
            job: "backup".into(),
            rev: 3,
            argv: vec!["sh".into(), "-c".into(), "pg_dump app".into()],
            directory: "/srv".into(),
            env: vec!["HOME".into(), "PATH".into()],
            user: Some("backup".into()),
            waits: vec!["its queue \"heavy\" is paused (`kin queue heavy --resume` lets it go on)".into()],
            refused: Some("run backup-00000001 of the same job is not over yet".into()),
            left_out: vec!["memory: the controller is not there".into()],
        };
        insta::assert_snapshot!(dry_words(&dry));
    }
}
