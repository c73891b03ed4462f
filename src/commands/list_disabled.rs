//! `kin list-disabled`

use crate::cli::Face;
use crate::commands::unwritable;
use crate::job;
use crate::listing::{self, JsonArgs};
use crate::report::Failure;
use clap::Args;

/// The jobs that are disabled, by hand or by their definition, and those whose schedules are paused.
#[derive(Args, Debug)]
#[command(
    after_help = "EXAMPLE\n  kin list-disabled\n  kin list-disabled --json | jq -r '.[].name' | xargs -r kin enable"
)]
pub(crate) struct ListDisabledArgs {
    #[command(flatten)]
    json: JsonArgs,
}

impl ListDisabledArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let mut jobs = face.client.jobs(None).await?;
        jobs.retain(|job| job.disabled || job::paused(job, face.screen.now).is_some());
        let text = match self.json.json {
            Some(form) => listing::json(&jobs, form).map_err(unwritable)?,
            None => job::table(&jobs, &face.screen),
        };
        face.screen.print(&text)?;
        Ok(0)
    }
}
