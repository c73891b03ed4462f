//! What the job files say, brought to the engine: one reading after the other, in the order in which they were read.

use crate::engine::Handle;
use crate::jobfiles::kept::{self, Kept};
use crate::jobfiles::{JobFiles, Look, Told};
use kin_config::good::{Good, Reading};
use kin_core::Refusal;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What could not be recorded is tried again after that, unless the files say something else by then.
const AGAIN: Duration = Duration::from_secs(1);

/// Watches the job files from now on; the second is there when what they said at first was brought to the engine. `remembered`:
/// of each file, the canonical texts of its jobs.
pub(crate) fn job_files(
    dirs: Vec<PathBuf>,
    remembered: Vec<(PathBuf, String)>,
    state: &Path,
    engine: Handle,
) -> io::Result<(Look, oneshot::Receiver<()>)> {
    let ranked = |(path, text): (PathBuf, String)| {
        let rank = JobFiles::rank(&dirs, &path);
        (path, rank, text)
    };
    let good = Good::remembering(kept::all(state).into_iter().map(ranked), remembered.into_iter().map(ranked));
    let (told, look) = JobFiles::new(dirs, good).keeping(Kept::below(state)).watch()?;
    let (first, applied) = oneshot::channel();
    tokio::spawn(apply(told, engine, first));
    Ok((look, applied))
}

async fn apply(mut told: mpsc::Receiver<Told>, engine: Handle, first: oneshot::Sender<()>) {
    let mut waits: Option<Arc<Reading>> = None;
    let mut first = Some(first);
    loop {
        let next = match &waits {
            None => told.recv().await,
            Some(_) => match tokio::time::timeout(AGAIN, told.recv()).await {
                Ok(next) => next,
                Err(_) => waits.take().map(|reading| Told { reading, asked: Vec::new() }),
            },
        };
        let Some(Told { reading, asked }) = next else { return };
        if !asked.is_empty() && asked.iter().all(|asked| asked.plan) {
            let planned = engine.files(Arc::clone(&reading), true).await;
            for asked in asked {
                // Who asked may have gone.
                drop(asked.reply.send((Arc::clone(&reading), planned.clone())));
            }
            continue;
        }
        let done = engine.files(Arc::clone(&reading), false).await;
        if first.take().is_some_and(|first| first.send(()).is_err()) {
            // Nobody waits for it any more.
        }
        let later = matches!(done, Err(Refusal::NoRoom { .. } | Refusal::Unavailable { .. }));
        waits = later.then(|| Arc::clone(&reading));
        for asked in asked {
            drop(asked.reply.send((Arc::clone(&reading), done.clone())));
        }
        if matches!(done, Err(Refusal::Closing)) {
            return;
        }
    }
}
