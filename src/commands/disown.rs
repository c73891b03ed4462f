//! `kin disown`

use crate::cli::Face;
use crate::commands::stop::Tally;
use crate::commands::unwritable;
use crate::listing::{self, JsonArgs};
use crate::report::Failure;
use crate::select::{Which, select};
use clap::Args;

/// Give up processes that were adopted: they go on as they are, and kin watches them no more.
///
/// In the history such a run ends as lost(disowned), for how its process will end kin does not know then. A run that kin
/// started is refused: it is kin's until it ends.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin disown nginx-NeP8nb4q\n  kin disown @web --json")]
pub(crate) struct DisownArgs {
    /// A run's id or its last 8 characters, a job, a glob, @tag.
    #[arg(value_name = "RUN|JOB", required = true)]
    what: Vec<String>,
    #[command(flatten)]
    json: JsonArgs,
}

impl DisownArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let selected = select(&face.client, &self.what, Which::LiveOrNewest).await?;
        let mut tally = Tally::of(face, &selected)?;
        let mut given_up = Vec::new();
        for run in &selected.runs {
            if let Some(now) = tally.take(run, face.client.disown(&run.id).await)? {
                if self.json.json.is_none() {
                    tally.say_state(&now)?;
                }
                given_up.push(now);
            }
        }
        if let Some(form) = self.json.json {
            face.screen.print(&listing::json(&given_up, form).map_err(unwritable)?)?;
        }
        Ok(tally.code)
    }
}
