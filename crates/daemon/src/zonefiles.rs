//! The files of time zones: when one of those that schedules depend on changes, the engine is told.

use crate::engine::Handle;
use crate::jobfiles::Watches;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Not every error of reading comes from a change that somebody tells.
const AGAIN: Duration = Duration::from_secs(60);

/// Watches for as long as the runtime lives. Must be called inside it.
pub(crate) fn begin(engine: &Handle) -> io::Result<()> {
    let engine = engine.clone();
    let mut watches = Watches::new()?;
    let mut files = engine.zones();
    tokio::spawn(async move {
        loop {
            let now = files.borrow_and_update().clone();
            watches.set_files(now.files.iter().map(PathBuf::as_path));
            // Also what changed before it was watched.
            engine.zones_changed();
            let news = async {
                match now.lack {
                    true => tokio::time::timeout(AGAIN, watches.quiet_after_news()).await.unwrap_or(Ok(())),
                    false => watches.quiet_after_news().await,
                }
            };
            tokio::select! {
                heard = news => if heard.is_err() {
                    return;
                },
                changed = files.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    });
    Ok(())
}
