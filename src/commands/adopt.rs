//! `kin adopt`

use crate::cli::Face;
use crate::commands::unwritable;
use crate::durations;
use crate::listing::json_line;
use crate::report::Failure;
use clap::Args;
use kin_client::Key;
use kin_client::api::run::AdoptRequest;
use std::time::Duration;

/// Take a process that kin did not start into its care, and print the run that it is now.
///
/// It shows in kin ps, can be stopped, signalled and waited for, and is in the history. It goes on as it is: its output
/// stays where it goes, and it is not started again. How it ended is known to a server that runs at that moment, mostly;
/// else it is lost(unknown). A process of another user, of a run, or of kin itself is refused. kin disown gives it up
/// again, without ending it.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin adopt 4711\n  kin adopt \"$(pgrep -o nginx)\" --id nginx --stop-signal QUIT")]
pub(crate) struct AdoptArgs {
    /// The process.
    #[arg(value_name = "PID")]
    pid: u32,
    /// The name under which it is known; else that of its program.
    #[arg(long, visible_alias = "job", value_name = "NAME")]
    id: Option<String>,
    /// A word to select it by, as @TAG; may be repeated.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// What kin stop sends first: TERM unless said otherwise.
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// How long it may take after that before KILL: 10s unless said otherwise.
    #[arg(long, value_name = "TIME", value_parser = durations::parse)]
    stop_wait: Option<Duration>,
    /// The run as a JSON object.
    #[arg(long)]
    json: bool,
}

impl AdoptArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let signal = self.stop_signal.as_deref().map(kin_config::signal::parse).transpose().map_err(Failure::usage)?;
        let signal = signal.map(kin_config::signal::name);
        let request = AdoptRequest {
            pid: self.pid,
            job: self.id,
            tags: self.tags,
            stop_signal: signal,
            stop_wait_ms: self.stop_wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        };
        let run = face.client.adopt(&request, &Key::random()?).await?;
        face.notices();
        let text = if self.json { json_line(&run).map_err(unwritable)? } else { run.id };
        face.screen.print(&format!("{text}\n"))?;
        Ok(0)
    }
}
