//! `kin why`

use crate::clean;
use crate::cli::Face;
use crate::commands::unwritable;
use crate::listing::json_line;
use crate::report::Failure;
use crate::select;
use clap::Args;

/// The story of a run in words: what happened, why it waits, what comes next.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin why backup")]
pub(crate) struct WhyArgs {
    /// A run's id or its last 8 characters; of a job, its newest run.
    #[arg(value_name = "RUN|JOB")]
    run: String,
    /// As a JSON object: the run and its story.
    #[arg(long)]
    json: bool,
}

impl WhyArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let run = select::one(&face.client, &self.run).await?;
        let why = face.client.why(&run.id).await?;
        let text = if self.json {
            json_line(&why).map_err(unwritable)? + "\n"
        } else {
            why.story.iter().map(|line| format!("{}\n", clean::name(line))).collect()
        };
        face.screen.print(&text)?;
        Ok(0)
    }
}
