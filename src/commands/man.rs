//! `kin man`

use crate::report::Failure;
use crate::screen::Screen;
use clap::{Args, Command};
use clap_mangen::Man;
use std::io::Write;
use std::path::PathBuf;

/// Print the manual page of kin or of one of its verbs, or write all of them into a directory.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin man exec | man -l -\n  kin man --dir ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// The verb; without it, kin itself.
    #[arg(conflicts_with = "dir")]
    verb: Option<String>,
    /// Write kin.1, kin-exec.1 and so on there.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl ManArgs {
    /// `cli` is the whole command line.
    pub(crate) fn run(&self, mut cli: Command) -> Result<u8, Failure> {
        cli.build();
        match &self.dir {
            Some(dir) => {
                let written = pages(&cli).try_for_each(|page| page.generate_to(dir).map(drop));
                written.map_err(|source| Failure::System { what: "could not write the manual pages", source })?;
            }
            None => Screen::of_process().print_bytes(&self.page(&cli)?)?,
        }
        Ok(0)
    }

    fn page(&self, cli: &Command) -> Result<Vec<u8>, Failure> {
        let name = self.verb.as_ref().map_or("kin".to_owned(), |verb| format!("kin-{verb}"));
        let page = pages(cli).find(|page| page.get_filename() == format!("{name}.1"));
        let page = page.ok_or_else(|| Failure::Usage {
            message: format!("there is no verb {:?}", self.verb.as_deref().unwrap_or_default()),
            hint: Some("kin help lists them".into()),
        })?;
        let mut text = Vec::new();
        page.render(&mut text).and_then(|()| text.flush()).map_err(Failure::output)?;
        Ok(text)
    }
}

/// The first page and one for each verb.
fn pages(cli: &Command) -> impl Iterator<Item = Man> {
    let verbs = cli.get_subcommands().filter(|verb| verb.get_name() != "help");
    std::iter::once(cli.clone()).chain(verbs.cloned()).map(Man::new)
}
