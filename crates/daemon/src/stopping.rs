//! Stop commands: what a job says is run before the first signal.
//!
//! ```text
//!   stop recorded ▸ the keeper waits, without a signal (`Ask::Await`) ▸ the command, as a helper ▸ it went well: the keeper
//!   waits as long as for a signal ▸ else, and after that: the ladder
//! ```
//! That the command was begun stands in `<run>/stopping/<run>`, with the helper's number, so that a daemon that comes later
//! waits for the same command and starts no second one; and how it ended, before that is forgotten anywhere else. Its time stands in the run's slot: a keeper whose daemon is dead
//! climbs the ladder by itself when it is over.

use crate::helper::{HelperEnd, HelperError, Helpers};
use crate::surroundings::{Checks, helper_of};
use kin_core::job::Job;
use kin_core::{RunId, RunNo};
use kin_keeper::spec::SpecView;
use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedReceiver;

/// What the engine wants of them.
#[derive(Clone, Debug)]
pub enum Word {
    Ask(Asking),
    /// Its run is killed: there is nobody to be asked.
    GiveUp(RunNo),
    /// The helper of a run that is over, begun by a daemon before us: nobody waits for it.
    Over(RunNo),
}

/// A run whose stop command is to go.
#[derive(Clone, Debug)]
pub struct Asking {
    pub id: RunId,
    pub pid: Option<u32>,
    pub job: Arc<Job>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub run: RunNo,
    /// The command ended well: the run has been asked.
    pub well: bool,
    pub message: String,
}

pub(crate) fn mark(run: &Path, no: RunNo) -> PathBuf {
    run.join("stopping").join(no.to_string())
}

/// The runs that have a mark, each with its helper.
pub(crate) fn marks(run: &Path) -> Vec<(RunNo, RunNo)> {
    let entries = std::fs::read_dir(run.join("stopping")).into_iter().flatten().flatten();
    let of =
        |entry: std::fs::DirEntry| Some((RunNo::parse(entry.file_name().to_str()?)?, Mark::read(&entry.path())?.no));
    entries.filter_map(of).collect()
}

/// The helpers that an earlier daemon left at it.
pub(crate) fn left(run: &Path) -> BTreeSet<RunNo> {
    let entries = std::fs::read_dir(run.join("stopping")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Mark::read(&entry.path()))
        .filter(|mark| mark.end.is_none())
        .map(|mark| mark.no)
        .collect()
}

/// What stands in a mark: a number, and below it how that helper ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) no: RunNo,
    end: Option<HelperEnd>,
}

impl Mark {
    pub(crate) fn read(path: &Path) -> Option<Mark> {
        Mark::parse(&std::fs::read_to_string(path).ok()?)
    }

    fn parse(text: &str) -> Option<Mark> {
        let mut lines = text.split_inclusive('\n');
        let no = RunNo::parse(lines.next()?.trim_end()).filter(|no| no.is_helper())?;
        // A line that is not whole says nothing.
        let end = lines.next().and_then(|line| line.strip_suffix('\n')).and_then(|line| {
            match line.split_once(' ').map_or((line, None), |(word, number)| (word, number.parse().ok())) {
                ("code", Some(code)) => Some(HelperEnd::Code(code)),
                ("signal", Some(signal)) => Some(HelperEnd::Signal(signal)),
                ("timed-out", None) => Some(HelperEnd::TimedOut),
                _ => None,
            }
        });
        Some(Mark { no, end })
    }

    /// How it ended is written down before its slot is free: whoever comes later starts from there.
    pub(crate) fn add(path: &Path, end: HelperEnd) -> io::Result<()> {
        let line = match end {
            HelperEnd::Code(code) => format!("code {code}\n"),
            HelperEnd::Signal(signal) => format!("signal {signal}\n"),
            HelperEnd::TimedOut => "timed-out\n".into(),
            HelperEnd::SpawnFailed { .. } | HelperEnd::Unknown => return Ok(()),
        };
        match std::fs::OpenOptions::new().append(true).open(path) {
            Ok(mut file) => file.write_all(line.as_bytes()),
            // Its run has ended.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }
}

/// Takes away what says that a command was begun for one of these.
pub(crate) fn sweep(run: &Path, gone: impl Fn(RunNo) -> bool) -> io::Result<()> {
    let entries = match std::fs::read_dir(run.join("stopping")) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_str().and_then(RunNo::parse).is_none_or(&gone) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Runs each for as long as the runtime lives. Must be called inside it.
pub(crate) fn begin(
    run: &Path,
    helpers: Helpers,
    mut words: UnboundedReceiver<Word>,
    say: impl Fn(Asked) + Clone + Send + 'static,
) {
    let run = run.to_path_buf();
    tokio::spawn(async move {
        while let Some(word) = words.recv().await {
            let asking = match word {
                Word::Ask(asking) => asking,
                Word::GiveUp(no) => {
                    if let Some(mark) = Mark::read(&mark(&run, no)) {
                        helpers.end(mark.no).await;
                    }
                    continue;
                }
                Word::Over(helper) => {
                    helpers.end(helper).await;
                    continue;
                }
            };
            let (run, helpers, say) = (run.clone(), helpers.clone(), say.clone());
            tokio::spawn(async move {
                let no = asking.id.no;
                let (well, message) = match ask(&run, &asking, &helpers).await {
                    Ok(HelperEnd::Code(0)) => (true, "its stop command has ended well".to_string()),
                    Ok(end) => (false, format!("its stop command did not end well: {end}")),
                    Err(why) => (false, why),
                };
                say(Asked { run: no, well, message });
            });
        }
    });
}

async fn ask(run: &Path, asking: &Asking, helpers: &Helpers) -> Result<HelperEnd, String> {
    let mark = mark(run, asking.id.no);
    let end = match Mark::read(&mark) {
        Some(Mark { end: Some(end), .. }) => return Ok(end),
        Some(Mark { no, end: None }) => helpers.run_again(no, mark.clone()).await,
        None => {
            let no = helpers.number();
            let spec = spec(run, asking, no).map_err(|why| format!("its stop command cannot be made: {why}"))?;
            if let Some(dir) = mark.parent() {
                let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
                made.map_err(|e| format!("{} cannot be made: {e}", dir.display()))?;
            }
            helpers.run_marked(no, &spec, Some(mark.clone())).await
        }
    };
    match end {
        Err(HelperError::Spec(e)) if e.kind() == io::ErrorKind::NotFound && Mark::read(&mark).is_some() => {
            Err("its stop command has ended, and nobody knows how".into())
        }
        end => end.map_err(|e| format!("its stop command did not run: {e}")),
    }
}

fn spec(run: &Path, asking: &Asking, no: RunNo) -> Result<kin_keeper::spec::Spec, String> {
    let path = run.join("spec").join(asking.id.no.to_string());
    let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let view = SpecView::check(&bytes).map_err(|bad| bad.to_string())?;
    let program = Checks::again(&asking.job, &view).map_err(|e| e.to_string())?.stop;
    let program = program.ok_or("its job has none")?;
    let ms = asking.job.life.stop.command_timeout.0;
    helper_of(run, &asking.id, asking.pid, &program, no, ms).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_holds_a_number_and_how_that_one_ended() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("00000001");
        let no = RunNo::helper(7);
        for (end, kept) in [
            (HelperEnd::Code(0), true),
            (HelperEnd::Code(255), true),
            (HelperEnd::Signal(9), true),
            (HelperEnd::TimedOut, true),
            (HelperEnd::Unknown, false),
        ] {
            std::fs::write(&path, format!("{no}\n")).expect("writes");
            assert_eq!(Mark::read(&path), Some(Mark { no, end: None }));
            Mark::add(&path, end).expect("adds");
            assert_eq!(Mark::read(&path), Some(Mark { no, end: kept.then_some(end) }));
        }
        assert_eq!(Mark::parse(&format!("{no}\ncode 0")), Some(Mark { no, end: None }), "it was cut off");
        assert_eq!(Mark::parse("00000001\n"), None, "no helper's");
        Mark::add(&dir.path().join("gone"), HelperEnd::Code(0)).expect("nobody needs it");
        assert!(!dir.path().join("gone").exists());
    }
}
