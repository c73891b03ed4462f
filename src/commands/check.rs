//! `kin check`

use crate::commands::unwritable;
use crate::definitions;
use crate::listing::{self, JsonArgs};
use crate::report::Failure;
use crate::screen::Screen;
use clap::Args;
use kin_config::Set;
use kin_config::files::Reader;
use kin_config::set::MAIN_FILE;
use std::path::PathBuf;

/// Reads the job files and says all that is wrong with them; changes nothing and needs no server.
///
/// Without FILES those of kin's directories are read; given files are taken together, as if there were no others.
/// Exit code 2 when there is a mistake.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin check\n  kin check jobs.toml --json | jq -r '.[].message'")]
pub(crate) struct CheckArgs {
    /// Only these, whatever kin's directories hold.
    files: Vec<PathBuf>,
    #[command(flatten)]
    json: JsonArgs,
}

impl CheckArgs {
    pub(crate) fn run(&self, screen: &Screen) -> Result<u8, Failure> {
        let set = if self.files.is_empty() {
            let dirs = definitions::directories()?;
            let set = definitions::read(&dirs);
            if set.report.sources.is_empty() {
                let words: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
                screen.note(&format!("no job files in {}; kin edit makes one", words.join(" and ")));
            }
            set
        } else {
            // Such a file may be a project's, whose directories begin at it.
            let may_be_project = |path: &PathBuf| path.file_name().is_some_and(|name| name == MAIN_FILE);
            let inputs = Reader::of_process().files(&self.files);
            if self.files.iter().any(may_be_project) { Set::read_project(inputs) } else { Set::read(inputs) }
        };
        let code = if set.is_whole() { 0 } else { 2 };
        if let Some(form) = self.json.json {
            let all = set.report.json();
            let items = all.as_array().map_or(&[][..], Vec::as_slice);
            screen.print(&listing::json(items, form).map_err(unwritable)?)?;
        } else {
            let sum = format!("{}, {}\n", definitions::count(&set), set.report.sum());
            screen.print(&(set.report.text(screen.colour) + &sum))?;
        }
        Ok(code)
    }
}
