//! `kin disable` and `kin enable`

use crate::cli::Face;
use crate::job::{self, Asked, Meant};
use crate::listing::JsonArgs;
use crate::report::Failure;
use crate::when;
use clap::Args;
use regex_lite::Regex;

/// Keep jobs from running: their schedules, chains and restarts start nothing more, until kin enable.
///
/// Runs that live go on. It holds over restarts of the server and changes of the job's file, until kin enable, or until
/// the file says another `disabled` than before. With --until only the schedules are paused, and only until then; by hand
/// the jobs may be run.
#[derive(Args, Debug)]
#[command(
    after_help = "EXAMPLE\n  kin disable backup\n  kin disable backup --until 18:00\n  kin disable --regex 'nightly-(eu|us)-.*'\n  kin list-disabled"
)]
pub(crate) struct DisableArgs {
    #[command(flatten)]
    which: Which,
    /// Only their schedules, until: 2h (from now), 18:00, tomorrow, 2026-12-24, '2026-12-24 18:00'.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// Let jobs run again that are disabled, by hand or by their definition.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin enable backup\n  kin enable --regex 'nightly-.*'")]
pub(crate) struct EnableArgs {
    #[command(flatten)]
    which: Which,
}

#[derive(Args, Debug)]
struct Which {
    /// A job, a glob, @tag.
    #[arg(value_name = "JOB", required = true)]
    what: Vec<String>,
    /// Each JOB is a regular expression for whole names of jobs.
    #[arg(long)]
    regex: bool,
    #[command(flatten)]
    json: JsonArgs,
}

impl DisableArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let now = face.screen.now.to_zoned(face.screen.zone().clone());
        let until = self.until.as_ref().map(|text| when::later(text, &now)).transpose();
        let until = until.map_err(|e| Failure::usage(format!("--until: {e}")))?.map(when::wire);
        let meant = self.which.meant(face).await?;
        let mut asked = Asked::of(face, &meant, self.which.json).await?;
        for job in &meant.jobs {
            if until.is_some() && job.schedule.is_empty() {
                asked.pass_over(&format!(
                    "{}: it has no schedule that could be paused; without --until it is disabled",
                    job.name
                ));
                continue;
            }
            asked.take(&job.name, face.client.disable_job(&job.name, until.clone()).await)?;
        }
        asked.end()
    }
}

impl EnableArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let meant = self.which.meant(face).await?;
        let mut asked = Asked::of(face, &meant, self.which.json).await?;
        for job in &meant.jobs {
            asked.take(&job.name, face.client.enable_job(&job.name).await)?;
        }
        asked.end()
    }
}

impl Which {
    async fn meant(&self, face: &Face) -> Result<Meant, Failure> {
        if !self.regex {
            let words = face.jobs_meant(self.what.clone()).await?;
            return job::meant(&face.client, &words).await;
        }
        let patterns = self.what.iter().map(|text| Ok((text, whole(text)?))).collect::<Result<Vec<_>, Failure>>()?;
        let mut jobs = face.client.jobs(None).await?;
        let matches_none = |pattern: &Regex| !jobs.iter().any(|job| pattern.is_match(&job.name));
        let unmatched: Vec<String> =
            patterns.iter().filter(|(_, p)| matches_none(p)).map(|(text, _)| (*text).clone()).collect();
        jobs.retain(|job| patterns.iter().any(|(_, pattern)| pattern.is_match(&job.name)));
        match unmatched.first() {
            Some(text) if jobs.is_empty() => Err(Failure::NotFound {
                message: format!("no job's whole name matches {text:?}"),
                hint: Some("kin list shows them; .* stands for anything".into()),
            }),
            _ => Ok(Meant { jobs, unmatched }),
        }
    }
}

fn whole(text: &str) -> Result<Regex, Failure> {
    Regex::new(&format!("^(?:{text})$"))
        .map_err(|bad| Failure::usage(format!("{text:?} is no regular expression: {bad}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_means_whole_names() {
        let nightly = whole("nightly-(eu|us)").expect("an expression");
        assert!(
            nightly.is_match("nightly-eu") && !nightly.is_match("nightly-eu-2") && !nightly.is_match("a-nightly-eu")
        );
        assert!(whole("a|b").expect("an expression").is_match("b"));
        assert_eq!(whole("(").expect_err("no expression").exit_code(), 2);
    }
}
