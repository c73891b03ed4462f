//! `kin shutdown`

use crate::cli::Face;
use crate::commands::unwritable;
use crate::listing::json_line;
use crate::report::Failure;
use clap::Args;
use kin_client::Error;
use kin_client::api::server::ShutdownRequest;

/// End the server, and say what it leaves running or stops.
///
/// Runs that have not started are cancelled by --stop-runs, and else wait for the next server. A service that is up stays so: the next server starts it again, and `kin stop JOB` ends it for good. Without --stop-runs the runs go on, with their output and exit codes kept; the next server takes them over.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin shutdown --stop-runs --wait\n  kin shutdown --json | jq -r '.left[]'")]
pub(crate) struct ShutdownArgs {
    /// Stop all runs first, and cancel those that have not started.
    #[arg(long, conflicts_with = "leave_runs")]
    stop_runs: bool,
    /// Leave the runs running; so it is without this too, unless the settings say otherwise.
    #[arg(long)]
    leave_runs: bool,
    /// Return when the server has ended.
    #[arg(long)]
    wait: bool,
    /// What becomes of the runs, as a JSON object: left, stopping, cancelled, waiting.
    #[arg(long)]
    json: bool,
}

impl ShutdownArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let runs = match (self.stop_runs, self.leave_runs) {
            (true, _) => Some("stop".to_owned()),
            (false, true) => Some("leave".to_owned()),
            (false, false) => None,
        };
        let answer = match face.client.shutdown(&ShutdownRequest { runs }).await {
            // It can do nothing, and cannot be started: then it is about those who are there.
            Err(Error::Silent { daemon: None, .. } | Error::Silent { why: Some(_), .. }) => {
                return self.keepers(face).await;
            }
            answer => answer?,
        };
        let mut text = if self.json { json_line(&answer).map_err(unwritable)? + "\n" } else { String::new() };
        for (ids, what) in [
            (&answer.left, "left running"),
            (&answer.stopping, "stopping"),
            (&answer.cancelled, "cancelled"),
            (&answer.waiting, "waiting"),
        ] {
            ids.iter().filter(|_| !self.json).for_each(|id| text.push_str(&format!("{id}  {what}\n")));
        }
        face.screen.print(&text)?;
        if let Some(why) = &answer.not_recorded {
            face.screen.note(&format!("it is done, and not recorded yet: {why}; the next server finds out"));
        }
        if self.wait {
            // What is left keeps the two keepers; without it they end too.
            face.client.until_gone(answer.left.is_empty()).await?;
        }
        Ok(0)
    }

    /// Where no daemon runs, and none can.
    async fn keepers(&self, face: &Face) -> Result<u8, Failure> {
        face.client.shutdown_keepers().await?;
        face.screen
            .note("the server's daemon does not run; its keepers were told to end, and do so when their runs have");
        if self.stop_runs {
            face.screen.note("runs that are left were not stopped: only a daemon can");
        }
        if self.wait {
            face.client.until_gone(true).await?;
        }
        Ok(u8::from(self.stop_runs))
    }
}
