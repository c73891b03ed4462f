//! `kin completions`

use crate::report::Failure;
use crate::screen::Screen;
use clap::{Args, Command};
use clap_complete::Shell;

/// Print what makes a shell complete kin's verbs and options.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLE
  kin completions bash > ~/.local/share/bash-completion/completions/kin
  kin completions zsh > ~/.zfunc/_kin          # with ~/.zfunc in fpath
  kin completions fish > ~/.config/fish/completions/kin.fish")]
pub(crate) struct CompletionsArgs {
    shell: Shell,
}

impl CompletionsArgs {
    /// `cli` is the whole command line.
    pub(crate) fn run(&self, mut cli: Command) -> Result<u8, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut cli, "kin", &mut script);
        Screen::of_process().print_bytes(&script)?;
        Ok(0)
    }
}
