//! `kin release`

use crate::cli::Face;
use crate::commands::unwritable;
use crate::listing::{self, JsonArgs};
use crate::report::Failure;
use clap::Args;

/// Let the runs go that are held at a latch, all of them, and print their ids.
///
/// Nobody waiting is no error: nothing is printed but a word on stderr. With --json the runs come as in kin ps.
#[derive(Args, Debug)]
#[command(
    after_help = "EXAMPLE\n  kin exec --detach --pending go -- make\n  kin release go\n  kin release go --json | jq -r '.[].state'"
)]
pub(crate) struct ReleaseArgs {
    /// The latch's name, as given to --pending.
    latch: String,
    #[command(flatten)]
    json: JsonArgs,
}

impl ReleaseArgs {
    pub(crate) async fn run(mut self, face: &Face) -> Result<u8, Failure> {
        self.latch = face.name_meant(self.latch, |project| project.latches).await?;
        let released = face.client.release(&self.latch).await?;
        if released.runs.is_empty() {
            face.screen.note(&format!("nothing is held at {:?}", self.latch));
        }
        if let Some(form) = self.json.json {
            let mut runs = Vec::with_capacity(released.runs.len());
            for id in &released.runs {
                runs.push(face.client.run(id).await?);
            }
            face.screen.print(&listing::json(&runs, form).map_err(unwritable)?)?;
            return Ok(0);
        }
        face.screen.print(&released.runs.iter().map(|id| format!("{id}\n")).collect::<String>())?;
        Ok(0)
    }
}
