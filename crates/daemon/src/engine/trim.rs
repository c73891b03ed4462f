//! Keeps what the runs of each job wrote below a size, and some of the disk free: the output of the oldest goes first.
//!
//! Only of runs that have ended, and never of a job's newest. The run stays in the history, and its index stays beside
//! where its output was, because the ledger could be rebuilt from it; whoever asks for the output is told that it is gone.

use crate::output::Part;
use kin_core::{RunId, RunNo, Time};
use kin_ledger::Reader;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What was removed of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trimmed {
    pub(super) job: String,
    pub(super) runs: u64,
    pub(super) bytes: u64,
}

impl fmt::Display for Trimmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = if self.runs == 1 { "run" } else { "runs" };
        write!(f, "the output of the oldest {} {runs} of {} is gone, {} bytes", self.runs, self.job, self.bytes)
    }
}

/// What one run wrote, as it lies on the disk.
#[derive(Debug, Default)]
struct Wrote {
    bytes: u64,
    files: Vec<PathBuf>,
}

/// What was removed to keep some of the disk free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Freed {
    pub(super) runs: u64,
    pub(super) bytes: u64,
}

impl fmt::Display for Freed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = if self.runs == 1 { "run" } else { "runs" };
        write!(
            f,
            "the disk is nearly full: the output of the oldest {} {runs} is gone, {} bytes",
            self.runs, self.bytes
        )
    }
}

impl Wrote {
    fn remove(&self) -> io::Result<()> {
        for path in &self.files {
            match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// Removes output until so many bytes more are free, of whichever job; each job's newest stays.
pub(super) fn make_room(reader: &Reader, logs: &Path, lacks: u64) -> (Freed, Vec<String>) {
    let (mut freed, mut problems) = (Freed::default(), Vec::new());
    let mut all = BTreeMap::new();
    let jobs = fs::read_dir(logs).map(|jobs| jobs.flatten().collect::<Vec<_>>()).unwrap_or_default();
    for job in jobs {
        match wrote(&job.path()) {
            Ok(mut runs) => {
                runs.pop_last();
                all.append(&mut runs);
            }
            Err(e) => problems.push(format!("{} cannot be looked at: {e}", job.path().display())),
        }
    }
    for (no, wrote) in all {
        if freed.bytes >= lacks {
            break;
        }
        let has_ended = reader.run(no).is_ok_and(|run| run.is_some_and(|run| run.outcome().is_some()));
        if !has_ended || wrote.bytes == 0 {
            continue;
        }
        match wrote.remove() {
            Ok(()) => {
                freed.runs += 1;
                freed.bytes += wrote.bytes;
            }
            Err(e) => problems.push(format!("the output of run {no} cannot be removed: {e}")),
        }
    }
    (freed, problems)
}

/// How much output of a job stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Most {
    pub(super) bytes: u64,
    /// What ended before that goes.
    pub(super) since: Option<Time>,
}

/// What each job's definition says; of all others the same.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) jobs: BTreeMap<String, Most>,
    pub(super) others: Most,
}

/// Of every job that has more output than may stay. What cannot be looked at is said, and the rest is done.
pub(super) fn trim(reader: &Reader, logs: &Path, kept: &Kept) -> (Vec<Trimmed>, Vec<String>) {
    let (mut trimmed, mut problems) = (Vec::new(), Vec::new());
    let jobs = match fs::read_dir(logs) {
        Ok(jobs) => jobs,
        Err(e) => return (trimmed, vec![format!("the logs cannot be listed: {e}")]),
    };
    for job in jobs.flatten() {
        let most = job.file_name().to_str().and_then(|name| kept.jobs.get(name)).copied().unwrap_or(kept.others);
        match trim_job(reader, &job.path(), most) {
            Ok(None) => {}
            Ok(Some(done)) => trimmed.push(done),
            Err(e) => problems.push(format!("{} cannot be kept below its size: {e}", job.path().display())),
        }
    }
    (trimmed, problems)
}

fn trim_job(reader: &Reader, dir: &Path, most: Most) -> io::Result<Option<Trimmed>> {
    let mut runs = wrote(dir)?;
    // Numbers grow with time: the last is the newest, and stays.
    let newest = runs.pop_last();
    let mut all: u64 = runs.values().chain(newest.as_ref().map(|(_, wrote)| wrote)).map(|wrote| wrote.bytes).sum();
    let job = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut done = Trimmed { job, runs: 0, bytes: 0 };
    for (no, wrote) in runs {
        let too_much = all > most.bytes;
        if !too_much && most.since.is_none() {
            break;
        }
        // Of a run that lives, or that nobody knows any more, nothing goes.
        let Ok(Some(run)) = reader.run(no) else { continue };
        let Some(ended_at) = run.ended_at.filter(|_| run.outcome().is_some()) else { continue };
        let too_old = most.since.is_some_and(|since| ended_at < since);
        if !too_much && !too_old {
            // All that follow began later; the few of them that ended earlier have their turn another day.
            break;
        }
        if wrote.bytes > 0 {
            wrote.remove()?;
            all -= wrote.bytes;
            done.runs += 1;
            done.bytes += wrote.bytes;
        }
    }
    Ok((done.runs > 0).then_some(done))
}

/// By run, oldest first.
fn wrote(dir: &Path) -> io::Result<BTreeMap<RunNo, Wrote>> {
    let mut runs: BTreeMap<_, Wrote> = BTreeMap::new();
    let entries = match fs::read_dir(dir) {
        // A stray file among the jobs' directories is not ours; and a directory of which nothing is left may go meanwhile.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::NotFound) => return Ok(runs),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(run_of).filter(|id| dir.ends_with(id.job.as_str())) else { continue };
        match entry.metadata() {
            Ok(meta) if meta.is_file() => {
                let wrote = runs.entry(id.no).or_default();
                wrote.bytes += meta.len();
                wrote.files.push(entry.path());
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(runs)
}

/// Whose output it is, in whichever form.
fn run_of(name: &str) -> Option<RunId> {
    Part::of(name).map(|part| part.run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kin_core::{Outcome, Run, RunState, Wish, World};
    use kin_ledger::{Batch, Durability, Ledger};

    fn run(job: &str, no: u64, ended: bool) -> Run {
        let mut world = World::load("boot".into(), kin_core::Mint::after(0), []);
        let mut fx = kin_core::Effects::default();
        let no = RunNo::new(no).expect("a number");
        let new = super::super::tests::submit(job).new;
        world.wish(Time(0), Wish::Submit { no, new: Box::new(new) }, &mut fx).expect("accepted");
        let mut run = fx.changed.remove(&no).expect("the run");
        if ended {
            run.state = RunState::Ended { outcome: Outcome::Ok };
            run.ended_at = Some(Time(1));
        }
        run
    }

    #[test]
    fn the_oldest_output_goes_and_never_that_of_a_run_that_lives() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut ledger = Ledger::open(dir.path(), Time(0)).expect("a ledger").ledger;
        let runs: Vec<Run> = (1..=6).map(|no| run("a.b", no, no != 2)).chain([run("c", 9, true)]).collect();
        let batch = Batch { runs: runs.iter().collect(), ..Batch::default() };
        ledger.apply(&batch, Durability::Normal).expect("a commit");
        let logs = dir.path().join("logs");
        let file = |id: &RunId, end: &str, len: usize| {
            let dir = logs.join(id.job.as_str());
            fs::create_dir_all(&dir).expect("a directory");
            fs::write(dir.join(format!("{id}.{end}")), vec![b'x'; len]).expect("writes");
        };
        for run in &runs {
            file(&run.id(), "out", 100);
            file(&run.id(), "out.2.zst", 50);
            file(&run.id(), "err", 50);
            file(&run.id(), "idx", 1000);
        }
        // For room the oldest goes, of whichever job, and no more than is needed.
        let (freed, problems) = make_room(&ledger.reader().expect("a reader"), &logs, 150);
        assert_eq!((freed, problems.len()), (Freed { runs: 1, bytes: 200 }, 0));
        assert!(!logs.join("a.b").join(format!("{}.out", runs[0].id())).exists());
        file(&runs[0].id(), "out", 200);
        // One that the ledger does not know.
        file(&RunId { job: runs[0].job.clone(), no: RunNo::new(3000).expect("a number") }, "out", 1);
        fs::write(logs.join("stray"), "x").expect("writes");
        let reader = ledger.reader().expect("a reader");
        let lengths = || {
            let wrote = wrote(&logs.join("a.b")).expect("listed");
            wrote.into_iter().map(|(no, wrote)| (no.get(), wrote.bytes)).collect::<Vec<_>>()
        };
        let kept = |bytes| Kept { jobs: BTreeMap::new(), others: Most { bytes, since: None } };
        assert_eq!(trim(&reader, &logs, &kept(1201)), (vec![], vec![]));
        let (trimmed, problems) = trim(&reader, &logs, &kept(650));
        assert_eq!(trimmed, [Trimmed { job: "a.b".into(), runs: 3, bytes: 600 }]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(lengths(), [(2, 200), (5, 200), (6, 200), (3000, 1)]);
        assert!(logs.join("a.b").join(format!("{}.idx", runs[0].id())).exists());
        // The newest stays, whatever its size; so does what lives.
        let (trimmed, _) = trim(&reader, &logs, &kept(0));
        assert_eq!(trimmed.len(), 1);
        assert_eq!(lengths(), [(2, 200), (3000, 1)]);
        assert_eq!(fs::metadata(logs.join("c").join(format!("{}.out", runs[6].id()))).expect("there").len(), 100);
    }

    #[test]
    fn a_jobs_own_word_counts_and_what_is_too_old_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut ledger = Ledger::open(dir.path(), Time(0)).expect("a ledger").ledger;
        let mut runs: Vec<Run> =
            (1..=4).map(|no| run("own", no, true)).chain((5..=7).map(|no| run("other", no, true))).collect();
        for run in &mut runs {
            run.ended_at = Some(Time(i64::try_from(run.no.get()).expect("small")));
        }
        let batch = Batch { runs: runs.iter().collect(), ..Batch::default() };
        ledger.apply(&batch, Durability::Normal).expect("a commit");
        let logs = dir.path().join("logs");
        for run in &runs {
            fs::create_dir_all(logs.join(run.job.as_str())).expect("a directory");
            fs::write(logs.join(run.job.as_str()).join(format!("{}.out", run.id())), [0; 10]).expect("writes");
        }
        let (own, others) = (Most { bytes: 25, since: None }, Most { bytes: 100, since: Some(Time(6)) });
        let kept = Kept { jobs: BTreeMap::from([("own".into(), own)]), others };
        let (mut trimmed, problems) = trim(&ledger.reader().expect("a reader"), &logs, &kept);
        trimmed.sort_by(|a, b| a.job.cmp(&b.job));
        let gone = |job: &str, runs, bytes| Trimmed { job: job.into(), runs, bytes };
        assert_eq!((trimmed, problems), (vec![gone("other", 1, 10), gone("own", 2, 20)], vec![]));
    }
}
