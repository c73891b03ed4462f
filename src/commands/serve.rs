//! `kin serve`

use clap::Args;
use std::ffi::OsString;
use std::process::ExitCode;

/// The server in the foreground: for a service manager, a container, or a terminal of its own.
///
/// It ends on TERM or INT; runs go on unless the settings say otherwise. Killing it harms nothing: the runs belong to
/// two small processes that outlive it.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin serve")]
pub(crate) struct ServeArgs {
    /// Return as soon as the server serves, and leave it in the background.
    #[arg(long)]
    background: bool,
}

impl ServeArgs {
    /// Becomes the front by `become_front`, which only `main` knows.
    pub(crate) fn run(&self, become_front: fn(&[OsString]) -> ExitCode) -> ExitCode {
        let background: [OsString; 1] = ["--background".into()];
        become_front(if self.background { &background } else { &[] })
    }
}
