//! `kin release`

use crate::cli::Face;
use crate::report::Failure;
use clap::Args;

/// Let the runs go that are held at a latch, all of them, and print their ids.
///
/// Nobody waiting is no error: nothing is printed but a word on stderr.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin exec --detach --pending go -- make\n  kin release go")]
pub(crate) struct ReleaseArgs {
    /// The latch's name, as given to --pending.
    latch: String,
}

impl ReleaseArgs {
    pub(crate) async fn run(mut self, face: &Face) -> Result<u8, Failure> {
        self.latch = face.name_meant(self.latch, |project| project.latches).await?;
        let released = face.client.release(&self.latch).await?;
        if released.runs.is_empty() {
            face.screen.note(&format!("nothing is held at {:?}", self.latch));
        }
        face.screen.print(&released.runs.iter().map(|id| format!("{id}\n")).collect::<String>())?;
        Ok(0)
    }
}
