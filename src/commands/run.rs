//! `kin run`

use crate::cli::Face;
use crate::commands::exec::{NOBODY_READS, introduction, output_of, unread};
use crate::commands::unwritable;
use crate::job;
use crate::listing::{self, json_line};
use crate::printer::Cleaned;
use crate::report::Failure;
use crate::verdict;
use clap::Args;
use kin_client::api::Run;
use kin_client::api::job::{DryRun, JobRunRequest};
use kin_client::{Error, Key};

/// Run a defined job now, once, and print the run's id.
///
/// With --wait its output is followed to its end, and its exit code is ours. Ctrl-C leaves it then: the run goes on. A
/// job whose run still lives is refused, unless it says overlap = "queue" or "allow".
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLE
  kin run backup
  kin run backup --wait --env LEVEL=full
  kin run backup --dry-run

EXIT CODES
  0 it was accepted, 4 no such job, 5 refused; with --wait as kin exec: the run's own, or 128+n")]
pub(crate) struct RunArgs {
    /// The job's name.
    job: String,
    /// Follow its output to its end, and end as it did.
    #[arg(long, visible_short_alias = 'f', visible_alias = "follow", short = 'w')]
    wait: bool,
    /// A variable of this run alone, over what the job says; may be repeated. It is not stored.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Say what would be run, and run nothing.
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
            return Ok(0);
        }
        let key = Key::random()?;
        let run = self.found(face, face.client.run_job(&self.job, &request, &key).await).await?;
        face.notices();
        if !self.wait {
            // It is recorded, and that is all there will be of it.
            let skipped = (run.state == "ended").then(|| verdict::sentence(&run)).flatten();
            let text = if self.json { json_line(&run).map_err(unwritable)? } else { run.id };
            face.screen.print(&format!("{text}\n"))?;
            skipped.iter().for_each(|sentence| face.screen.note(sentence));
            return Ok(0);
        }
        match self.to_the_end(face, &run).await {
            Err(Failure::Closed) => {
                if face.screen.err_terminal {
                    face.screen.note(&unread(&run.id, false));
                }
                Ok(NOBODY_READS)
            }
            Err(failure @ Failure::Client(_)) => {
                let lives = face.client.server_lives().unwrap_or(false);
                Err(Failure::Left { run: run.id, lives, source: Box::new(failure) })
            }
            ended => ended,
        }
    }

    async fn to_the_end(&self, face: &Face, run: &Run) -> Result<u8, Failure> {
        let ended = if self.json {
            let ended = face.wait(&run.id).await?;
            face.screen.print(&(json_line(&ended).map_err(unwritable)? + "\n"))?;
            ended
        } else {
            if face.screen.err_terminal {
                face.screen.note(&introduction(run));
            }
            let cleaned = Cleaned::of(&face.screen, self.raw);
            output_of(face.client.clone(), face.screen.clone(), run.id.clone(), cleaned, false).await?
        };
        if let Some(sentence) = verdict::sentence(&ended) {
            face.screen.note(&sentence);
        }
        Ok(verdict::exit_code(&ended))
    }

    /// A job that is not there gets the names that are near.
    async fn found<T>(&self, face: &Face, answer: Result<T, Error>) -> Result<T, Failure> {
        match answer {
            Err(error) if error.is_not_found() => Err(job::unknown(&face.client, &self.job).await?),
            answer => Ok(answer?),
        }
    }
}

fn dry_words(dry: &DryRun) -> String {
    let mut lines = vec![
        format!("job        {} (revision {})", dry.job, dry.rev),
        format!("command    {}", listing::typed(&dry.argv)),
        format!("directory  {}", dry.directory),
    ];
    lines.extend(dry.user.as_ref().map(|user| format!("user       {user}")));
    lines.push(format!("variables  {}", dry.env.join(" ")));
    lines.extend(dry.waits.iter().map(|what| format!("waits for  {what}")));
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
            waits: vec!["a place in the queue heavy".into()],
        };
        insta::assert_snapshot!(dry_words(&dry));
    }
}
