//! `kin upgrade`

use crate::cli::Face;
use crate::report::Failure;
use clap::Args;
use kin_client::Error;
use std::path::PathBuf;
use std::time::Duration;

/// Replace the running server by another program, in place. Runs notice nothing.
///
/// The new program is asked first whether it understands what is there; if not, nothing is changed.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin upgrade /usr/local/bin/kin")]
pub(crate) struct UpgradeArgs {
    /// The new program; without it, this one.
    #[arg(value_name = "PROGRAM")]
    program: Option<PathBuf>,
}

/// The new server serves, with both its keepers, within this time.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

impl UpgradeArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let program = match self.program {
            Some(program) => program,
            None => std::env::current_exe()
                .map_err(|source| Failure::System { what: "could not find this program's own file", source })?,
        };
        let program = program.canonicalize().map_err(|e| Failure::usage(format!("{}: {e}", program.display())))?;
        if !face.client.server_lives()? {
            return Err(Error::NoServer { state: face.client.home().state.clone() }.into());
        }
        let before = face.client.server().await?.started_at;
        face.client.upgrade(&program).await?;
        let replaced = async {
            loop {
                let server = face.client.server().await?;
                let is_over = server.upgrade.as_deref() != Some("under way");
                if server.started_at != before && server.guard == "whole" && is_over {
                    return Ok::<_, Failure>(server);
                }
                #[expect(clippy::disallowed_methods, reason = "no event outlives the daemon that would send it")]
                tokio::time::sleep(LOOK).await;
            }
        };
        let late = |_| Failure::TimedOut("the server has not been replaced; kin doctor may say why".into());
        let server = tokio::time::timeout(PATIENCE, replaced).await.map_err(late)??;
        if let Some(why) = &server.upgrade {
            let source = std::io::Error::other(format!("{why}. Runs go on; kin doctor says how the server is"));
            return Err(Failure::System { what: "the keepers were not upgraded", source });
        }
        face.screen.print(&format!("kin {} serves, pid {}\n", server.version, server.pid))?;
        Ok(0)
    }
}
