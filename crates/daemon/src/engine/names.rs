//! Names of which nothing is left: rows of jobs and tags, and the directories that their logs were in.
//!
//! Whoever gives each of his runs a name of its own would fill the ledger and the disk with names for ever. The daily look
//! finds them; they go in small slices between other inputs, and each is asked about once more before it goes. Of a
//! directory only end records may be left, and of runs that the ledger had and has forgotten.

use super::dirs::Dirs;
use super::{Batch, Engine, perform};
use kin_core::{JobName, RunNo};
use kin_ledger::{IdleNames, ReadError, Reader};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

const SLICE: u32 = 100;
/// Between two slices.
const BREATH: Duration = Duration::from_millis(50);
/// What keepers write of ends, in each directory of logs.
const ENDS: [&str; 2] = ["ends.1", "ends"];

/// What is to go.
#[derive(Debug, Default)]
pub(super) struct Names {
    left: Left,
    at: Option<Instant>,
    /// What a rebuilding could not put back is known from end records alone.
    ends_needed: bool,
}

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Left {
    rows: IdleNames,
    directories: Vec<JobName>,
}

impl Left {
    /// Reads the whole ledger, and every directory of logs.
    pub(super) fn find(reader: &Reader, dirs: &Dirs) -> Result<Left, ReadError> {
        Ok(Left { rows: reader.idle_names()?, directories: empty_directories(&dirs.logs()) })
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.directories.is_empty()
    }
}

impl Names {
    pub(super) fn found(&mut self, left: Left) {
        self.left = left;
        self.at = Some(Instant::now());
    }
    pub(super) const fn wake_at(&self) -> Option<Instant> {
        self.at
    }
    pub(super) const fn need_ends(&mut self) {
        self.ends_needed = true;
    }
}

impl Engine {
    /// The next slice of what is to go, if it is time.
    pub(super) fn forget_names(&mut self, batch: &mut Batch) {
        if self.names.at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        // While nothing can be recorded, nobody knows what will be.
        if self.stalled.is_some() {
            self.names.at = Some(Instant::now() + BREATH * 20);
            return;
        }
        self.names.at = None;
        if !self.names.left.rows.is_empty() {
            match self.ledger.forget_names(&mut self.names.left.rows, SLICE) {
                Ok(0) => {}
                Ok(_) => self.step("names-forgotten"),
                Err(e) => {
                    self.names.left.rows = IdleNames::default();
                    self.note("ledger.trouble", format!("old names cannot go: {}", super::words(&e)), batch);
                }
            }
        } else if self.may_lose_ends() {
            let rest = self.names.left.directories.len().saturating_sub(SLICE as usize);
            for job in self.names.left.directories.split_off(rest) {
                if let Err(e) = self.forget_directory(&job, batch) {
                    crate::say!("kin daemon: the directory of the logs of {job} cannot go: {e}");
                }
            }
        } else {
            // The next look finds them again.
            self.names.left.directories = Vec::new();
        }
        if !self.names.left.is_empty() {
            self.names.at = Some(Instant::now() + BREATH);
        }
    }

    /// Each end that a keeper wrote down is in the ledger, or was: so none is needed to rebuild it.
    fn may_lose_ends(&self) -> bool {
        let known =
            |no: RunNo| no.is_helper() || self.world.get(no).is_some() || matches!(self.ledger.run(no), Ok(Some(_)));
        !self.names.ends_needed && !self.tables.any_unreadable() && self.held().into_iter().all(known)
    }

    /// A directory in which nothing of a run is left, and to which none is about to write.
    fn forget_directory(&self, job: &JobName, batch: &Batch) -> io::Result<()> {
        let lives = self.world.live().chain(batch.fx.changed.values()).any(|run| run.job == *job);
        if lives || self.world.standing(job).is_some() || self.ledger.has_runs(job).unwrap_or(true) {
            return Ok(());
        }
        let directory = self.dirs.logs().join(job.as_str());
        if !is_empty(&directory) {
            return Ok(());
        }
        ENDS.iter().for_each(|name| perform::remove(&directory.join(name)));
        self.step("ends-removed");
        match fs::remove_dir(&directory) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn empty_directories(logs: &Path) -> Vec<JobName> {
    let entries = fs::read_dir(logs).into_iter().flatten().flatten();
    // Not what something is linked to: that is somebody's place for it.
    let directories =
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_empty(&entry.path()));
    directories.filter_map(|entry| JobName::parse(entry.file_name().to_str()?).ok()).collect()
}

/// Nothing is in it but end records.
fn is_empty(directory: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(directory) else { return false };
    entries.all(|entry| entry.is_ok_and(|entry| ENDS.iter().any(|name| entry.file_name() == *name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_anything_but_ends_is_not_empty() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = |name: &str| dir.path().join(name);
        for (job, files) in [("none", &[][..]), ("ends", &["ends", "ends.1"]), ("log", &["ends", "log-NeP8nb4q.idx"])] {
            fs::create_dir(place(job)).expect("a directory");
            files.iter().for_each(|file| fs::write(place(job).join(file), "").expect("written"));
        }
        fs::write(place("file"), "").expect("written");
        std::os::unix::fs::symlink(place("none"), place("link")).expect("linked");
        let mut found: Vec<String> = empty_directories(dir.path()).iter().map(ToString::to_string).collect();
        found.sort();
        assert_eq!(found, ["ends", "none"]);
    }
}
