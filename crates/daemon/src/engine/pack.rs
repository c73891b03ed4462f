//! Packs what runs wrote that ended more than a day ago. How one file is packed is in `output/packed.rs`.

use crate::output::packed::{self, Done};
use crate::output::{Form, Part};
use kin_core::{RunNo, Time};
use kin_ledger::Reader;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Output that somebody may still look at with a pager, or follow, stays plain for so long.
const DAY_MS: i64 = 86_400_000;

/// Whose output may be packed.
#[derive(Debug)]
pub(super) struct Which {
    pub(super) now: Time,
    /// These have a slot in a run table, and so perhaps somebody who still writes, long after their end.
    pub(super) held: BTreeSet<RunNo>,
}

impl Which {
    fn has(&self, reader: &Reader, no: RunNo) -> bool {
        let long_ago = |at: Time| at.plus(DAY_MS * 1_000_000) < self.now;
        let ended = || reader.run(no).ok().flatten().filter(|run| run.outcome().is_some()).and_then(|run| run.ended_at);
        !self.held.contains(&no) && ended().is_some_and(long_ago)
    }
}

/// Of all jobs. What cannot be packed stays as it was, and is said.
pub(super) fn pack(reader: &Reader, logs: &Path, which: &Which) -> Vec<String> {
    let mut problems = Vec::new();
    let jobs = match std::fs::read_dir(logs) {
        Ok(jobs) => jobs,
        Err(e) => return vec![format!("the logs cannot be listed: {e}")],
    };
    for job in jobs.flatten() {
        let files = match plain(&job.path()) {
            Ok(files) => files,
            Err(e) => {
                problems.push(format!("{} cannot be packed: {e}", job.path().display()));
                continue;
            }
        };
        for path in files.into_iter().filter(|(no, _)| which.has(reader, *no)).flat_map(|(_, paths)| paths) {
            match packed::pack(&path) {
                Ok(Done::Packed { .. } | Done::Gone | Done::Holed) => {}
                // Nothing else would fit either.
                Err(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                    problems.push(format!("{} stays as it is: there is no room to pack it", path.display()));
                    return problems;
                }
                Err(e) => problems.push(format!("{} stays as it is: it cannot be packed: {e}", path.display())),
            }
        }
    }
    problems
}

/// What is worth packing, by run, oldest first. What a death left half done goes on the way.
fn plain(dir: &Path) -> io::Result<BTreeMap<RunNo, Vec<PathBuf>>> {
    let mut runs: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let entries = match std::fs::read_dir(dir) {
        // A stray file among the jobs' directories is not ours; and a directory of which nothing is left may go meanwhile.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::NotFound) => return Ok(runs),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let part = name.to_str().and_then(Part::of).filter(|part| dir.ends_with(part.run.job.as_str()));
        match part {
            Some(Part { form: Form::Begun, .. }) => super::perform::remove(&entry.path()),
            Some(Part { form: Form::Plain, run }) => match entry.metadata() {
                Ok(meta) if meta.is_file() && meta.len() >= packed::LEAST => {
                    runs.entry(run.no).or_default().push(entry.path());
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            },
            Some(Part { form: Form::Packed, .. }) | None => {}
        }
    }
    Ok(runs)
}
