//! Stop commands: what a job says is run before the first signal.
//!
//! ```text
//!   stop recorded ▸ the keeper waits, without a signal (`Ask::Await`) ▸ the command, as a helper ▸ it went well: the keeper
//!   waits as long as for a signal ▸ else, and after that: the ladder
//! ```
//! That the command was begun stands in `<run>/stopping/<run>`, with the helper's number, so that a daemon that comes later
//! waits for the same command and starts no second one. Its time stands in the run's slot: a keeper whose daemon is dead
//! climbs the ladder by itself when it is over.

use crate::helper::{HelperEnd, HelperError, Helpers};
use crate::surroundings::{Checks, helper_of};
use kin_core::job::Job;
use kin_core::{RunId, RunNo};
use kin_keeper::spec::SpecView;
use std::collections::BTreeSet;
use std::io;
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

/// The helpers that an earlier daemon left at it.
pub(crate) fn left(run: &Path) -> BTreeSet<RunNo> {
    let entries = std::fs::read_dir(run.join("stopping")).into_iter().flatten().flatten();
    entries.filter_map(|entry| begun(&entry.path())).collect()
}

fn begun(mark: &Path) -> Option<RunNo> {
    RunNo::parse(std::fs::read_to_string(mark).ok()?.trim_end()).filter(|no| no.is_helper())
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
                    if let Some(no) = begun(&mark(&run, no)) {
                        helpers.end(no).await;
                    }
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
    let end = match begun(&mark) {
        Some(no) => helpers.run_again(no).await,
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
        Err(HelperError::Spec(e)) if e.kind() == io::ErrorKind::NotFound && begun(&mark).is_some() => {
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
