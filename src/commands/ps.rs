//! `kin ps`

use crate::cli::Face;
use crate::commands::unwritable;
use crate::listing::{self, JsonArgs};
use crate::report::Failure;
use crate::select::{Which, select};
use clap::Args;
use kin_client::Page;
use kin_client::api::{Run, RunQuery};

/// The runs that live: running, held, queued, or on their way to an end.
///
/// `ER:` before an id says that something was written to stderr.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin ps\n  kin ps 'backup*' --json=lines")]
pub(crate) struct PsArgs {
    /// Only these: a run's id or its last 8 characters, a job, a glob, @tag.
    #[arg(value_name = "RUN|JOB")]
    what: Vec<String>,
    #[command(flatten)]
    json: JsonArgs,
}

impl PsArgs {
    pub(crate) async fn run(mut self, face: &Face) -> Result<u8, Failure> {
        self.what = face.jobs_meant(self.what).await?;
        let mut runs = Vec::new();
        if self.what.is_empty() {
            let live = RunQuery { state: Some("live".into()), ..RunQuery::default() };
            runs = face.client.runs_of(&live, Page::All, |_| true).await?;
            runs.reverse();
        } else {
            let selected = select(&face.client, &self.what, Which::Live).await?;
            if let (true, Some(word)) = (selected.runs.is_empty(), selected.unmatched.first()) {
                face.screen.note(&format!("no run that lives matches {word:?}"));
                // An empty table would say no more; an empty list is what a program expects.
                if let Some(form) = self.json.json {
                    face.screen.print(&listing::json::<Run>(&[], form).map_err(unwritable)?)?;
                }
                return Ok(4);
            }
            runs.extend(selected.runs.into_iter().filter(|run| run.state != "ended"));
        }
        let text = match self.json.json {
            Some(form) => listing::json(&runs, form).map_err(unwritable)?,
            None => listing::ps(&runs, &face.screen),
        };
        face.screen.print(&text)?;
        Ok(0)
    }
}
