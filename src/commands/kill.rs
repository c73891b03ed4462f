//! `kin kill`

use crate::cli::Face;
use crate::commands::{stop, unwritable};
use crate::listing::{self, JsonArgs};
use crate::report::Failure;
use crate::select::{Which, select};
use clap::Args;
use kin_client::api::run::StopRequest;

/// End runs at once: KILL to all they started, without asking.
///
/// A service's run that is ended by hand is not started again until kin start.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin kill stuck-NeP8nb4q\n  kin kill stuck --wait --json | jq -r '.[].outcome'")]
pub(crate) struct KillArgs {
    /// A run's id or its last 8 characters, a job, a glob, @tag.
    #[arg(value_name = "RUN|JOB", required = true)]
    what: Vec<String>,
    /// Return when they have ended.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    json: JsonArgs,
}

impl KillArgs {
    pub(crate) async fn run(mut self, face: &Face) -> Result<u8, Failure> {
        self.what = face.jobs_meant(self.what).await?;
        let selected = select(&face.client, &self.what, Which::LiveOrNamed).await?;
        let request = StopRequest { kill: true, interrupt: false };
        let (runs, code) = stop::end(face, selected, &request, self.wait, self.json).await?;
        if let Some(form) = self.json.json {
            face.screen.print(&listing::json(&runs, form).map_err(unwritable)?)?;
        }
        Ok(code)
    }
}
