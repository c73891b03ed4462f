//! `kin upgrade`

use crate::cli::Face;
use crate::report::Failure;
use clap::Args;
use std::path::PathBuf;

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

impl UpgradeArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let program = match self.program {
            Some(program) => program,
            None => std::env::current_exe()
                .map_err(|source| Failure::System { what: "could not find this program's own file", source })?,
        };
        let program = program.canonicalize().map_err(|e| Failure::usage(format!("{}: {e}", program.display())))?;
        face.client.upgrade(&program).await?;
        let server = face.client.server().await?;
        face.screen.print(&format!("kin {} serves, pid {}\n", server.version, server.pid))?;
        Ok(0)
    }
}
