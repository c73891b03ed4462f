//! `kin restart`

use crate::cli::Face;
use crate::job::{self, Asked};
use crate::listing::JsonArgs;
use crate::report::Failure;
use clap::Args;
use kin_client::api::job::RestartRequest;

/// Restart services, as their definitions say, or as is said here; run a task anew.
///
/// A task that is named is run once more, and those of its runs that live are stopped first; a glob or @tag means the
/// services among the jobs that it matches.
/// A restart that is rolling replaces one instance after the other, each once the one before it is ready, and goes back
/// to the revision there was when the new one does not become ready.
#[derive(Args, Debug)]
#[command(
    after_help = "EXAMPLE\n  kin restart web\n  kin restart backup\n  kin restart web --rolling\n  kin restart @app --at-once"
)]
pub(crate) struct RestartArgs {
    /// A job, a glob, @tag.
    #[arg(value_name = "JOB", required = true)]
    what: Vec<String>,
    /// One instance after the other.
    #[arg(long, conflicts_with = "at_once")]
    rolling: bool,
    /// All instances together.
    #[arg(long)]
    at_once: bool,
    #[command(flatten)]
    json: JsonArgs,
}

impl RestartArgs {
    pub(crate) async fn run(mut self, face: &Face) -> Result<u8, Failure> {
        self.what = face.jobs_meant(self.what).await?;
        let request = RestartRequest { rolling: (self.rolling || self.at_once).then_some(self.rolling) };
        let meant = job::services(&face.client, &self.what).await?;
        let mut asked = Asked::of(face, &meant, self.json).await?;
        for job in &meant.jobs {
            asked.take(&job.name, face.client.restart_job(&job.name, &request).await)?;
        }
        asked.end()
    }
}
