//! `kin token`

use crate::definitions;
use crate::report::Failure;
use crate::screen::Screen;
use clap::Args;
use kin_client::api::home::Home;
use kin_config::settings::Listen;
use std::io::ErrorKind;
use std::path::PathBuf;

/// The token that opens the API on TCP, where `[kin] listen` offers it.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE
  [kin]
  listen = [\"127.0.0.1:7070\"]

  curl -H \"Authorization: Bearer $(kin token)\" http://127.0.0.1:7070/v1/runs

Whoever has it can do all that you can: run any command as the server's user. To replace it, write
another into its file (umask 077; at least 32 characters): the old one opens nothing from then on.")]
pub(crate) struct TokenArgs {
    /// Of which address; must be said where not all share one token.
    address: Option<String>,
    /// The path of its file instead.
    #[arg(long)]
    path: bool,
}

impl TokenArgs {
    pub(crate) fn run(&self, screen: &Screen) -> Result<u8, Failure> {
        let file = self.file()?;
        if self.path {
            screen.print(&format!("{}\n", file.display()))?;
            return Ok(0);
        }
        let text = std::fs::read_to_string(&file).map_err(|source| {
            if source.kind() != ErrorKind::NotFound {
                return Failure::System { what: "could not read the token", source };
            }
            Failure::Usage {
                message: format!("there is no token in {} yet", file.display()),
                hint: Some(
                    "a server makes it when it reads that `listen`; one that runs already does so at `kin upgrade`"
                        .into(),
                ),
            }
        })?;
        screen.print(&format!("{}\n", text.trim()))?;
        Ok(0)
    }

    fn file(&self) -> Result<PathBuf, Failure> {
        let root = rustix::process::geteuid().is_root();
        let dirs = definitions::directories()?;
        let home = Home::of_process(root).map_err(|why| Failure::usage(why.to_string()))?;
        let settings = definitions::read(&dirs).settings;
        let config = dirs.first().unwrap_or(&home.state);
        let meant = |entry: &&Listen| self.address.as_ref().is_none_or(|address| entry.address == *address);
        let native = settings.listen.iter().filter(|entry| entry.native().is_some()).filter(meant);
        let mut files: Vec<PathBuf> = native.map(|entry| entry.token_file(config, &home.state)).collect();
        files.dedup();
        match (files.pop(), &self.address) {
            (Some(file), _) if files.is_empty() => Ok(file),
            (Some(_), _) => Err(Failure::Usage {
                message: "not all addresses have the same token".into(),
                hint: Some("say which is meant, as it stands in [kin] listen: kin token 127.0.0.1:7070".into()),
            }),
            (None, Some(address)) => Err(Failure::usage(format!("[kin] listen does not name {address}"))),
            (None, None) => Err(Failure::Usage {
                message: "the API is not offered on TCP".into(),
                hint: Some(format!(
                    "write [kin] listen = [\"127.0.0.1:7070\"] into {}",
                    definitions::main_file(&dirs).display()
                )),
            }),
        }
    }
}
