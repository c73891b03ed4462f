//! The job files as the face sees them: where they are, what they say. No server is asked.

use crate::report::Failure;
use kin_client::api::home::Home;
use kin_config::files::Reader;
use kin_config::{Definition, Set};
use std::path::PathBuf;

/// The directories of job files, the first of which is meant where two have the same job.
pub(crate) fn directories() -> Result<Vec<PathBuf>, Failure> {
    let root = rustix::process::geteuid().is_root();
    let home = Home::of_process(root).map_err(|why| Failure::Usage {
        message: why.to_string(),
        hint: Some("set KIN_HOME to a directory of your own".into()),
    })?;
    Ok(home.config)
}

/// Where new jobs are written, and what holds for all.
pub(crate) fn main_file(dirs: &[PathBuf]) -> PathBuf {
    dirs.first().map_or_else(PathBuf::new, |dir| dir.join(kin_config::set::MAIN_FILE))
}

/// Everything that these directories say.
pub(crate) fn read(dirs: &[PathBuf]) -> Set {
    Set::read(Reader::of_process().directories(dirs))
}

/// `jobs.toml:12`
pub(crate) fn place(set: &Set, definition: &Definition) -> Option<(String, usize)> {
    definition.place(&set.report.sources).map(|(source, line)| (source.name.clone(), line))
}

/// `3 jobs in 2 files`
pub(crate) fn count(set: &Set) -> String {
    let many = |n: usize, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
    format!("{} in {}", many(set.jobs.len(), "job"), many(set.files(), "file"))
}
