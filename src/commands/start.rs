//! `kin start`

use crate::cli::Face;
use crate::job::{self, Asked};
use crate::listing::JsonArgs;
use crate::report::Failure;
use clap::Args;

/// Start services, and what they need; they are kept running until kin stop.
///
/// What is up already stays as it is. A glob or @tag means the services among the jobs that it matches; kin run is for
/// a job that is no service.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin start web\n  kin start 'db*' @app")]
pub(crate) struct StartArgs {
    /// A job, a glob, @tag.
    #[arg(value_name = "JOB", required = true)]
    what: Vec<String>,
    #[command(flatten)]
    json: JsonArgs,
}

impl StartArgs {
    pub(crate) async fn run(mut self, face: &Face) -> Result<u8, Failure> {
        self.what = face.jobs_meant(self.what).await?;
        let meant = job::services(&face.client, &self.what).await?;
        let mut asked = Asked::of(face, &meant, self.json).await?;
        for job in &meant.jobs {
            asked.take(&job.name, face.client.start_job(&job.name).await)?;
        }
        asked.end()
    }
}
