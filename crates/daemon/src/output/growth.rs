//! The news that a run's files have grown: one inotify instance, one watch for each directory of logs that anybody
//! follows, removed with its last follower. A follower hears only of its own run, and however often the files grow
//! while it is busy, it hears of it once.

use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// Whom to ask for news. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inotify: AsyncFd<OwnedFd>,
    watched: Mutex<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    numbers: HashMap<PathBuf, i32>,
    dirs: HashMap<i32, Dir>,
}

#[derive(Debug)]
struct Dir {
    path: PathBuf,
    runs: HashMap<String, Run>,
}

#[derive(Debug)]
struct Run {
    news: watch::Sender<()>,
    followers: usize,
}

/// One follower's ear. Dropping it takes the watch away with the last.
#[derive(Debug)]
pub struct Growth {
    news: watch::Receiver<()>,
    shared: Arc<Shared>,
    wd: i32,
    run: String,
}

impl Watcher {
    /// Must be called inside the runtime: the news are read by a task of their own.
    pub fn new() -> io::Result<Watcher> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd that is never replaced is what it asks for")]
        let inotify = AsyncFd::new(fd)?;
        let shared = Arc::new(Shared { inotify, watched: Mutex::default() });
        let hearing = shared.clone();
        tokio::spawn(async move { while hearing.hear().await.is_ok() {} });
        Ok(Watcher { shared })
    }

    /// Begins to listen for the run whose files begin with `base`. What grows after this call is heard of.
    pub fn listen(&self, base: &Path) -> io::Result<Growth> {
        let not_a_base = || io::Error::new(io::ErrorKind::InvalidInput, "not the path of a run's logs");
        let dir = base.parent().ok_or_else(not_a_base)?;
        let run = base.file_name().and_then(|n| n.to_str()).ok_or_else(not_a_base)?.to_string();
        let mut watched = self.shared.watched();
        let wd = match watched.numbers.get(dir) {
            Some(wd) => *wd,
            None => {
                // Also who removes a file has to be heard of: whoever reads it keeps its room.
                let flags = inotify::WatchFlags::CREATE
                    | inotify::WatchFlags::DELETE
                    | inotify::WatchFlags::MODIFY
                    | inotify::WatchFlags::ONLYDIR
                    | inotify::WatchFlags::DONT_FOLLOW;
                let wd = inotify::add_watch(&self.shared.inotify, dir, flags)?;
                watched.numbers.insert(dir.to_path_buf(), wd);
                watched.dirs.insert(wd, Dir { path: dir.to_path_buf(), runs: HashMap::new() });
                wd
            }
        };
        let dir = watched.dirs.get_mut(&wd).ok_or_else(not_a_base)?;
        let entry = dir.runs.entry(run.clone()).or_insert_with(|| Run { news: watch::channel(()).0, followers: 0 });
        entry.followers += 1;
        Ok(Growth { news: entry.news.subscribe(), shared: self.shared.clone(), wd, run })
    }

    #[cfg(test)]
    fn watches(&self) -> usize {
        self.shared.watched().dirs.len()
    }
}

impl Growth {
    /// Takes note of all news so far: what `changed` waits for comes after this call.
    pub fn note(&mut self) {
        self.news.mark_unchanged();
    }

    pub async fn changed(&mut self) {
        if self.news.changed().await.is_err() {
            // The directory itself is gone; only the run's end is left to wait for.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        let mut watched = self.shared.watched();
        let Some(dir) = watched.dirs.get_mut(&self.wd) else { return };
        let Some(run) = dir.runs.get_mut(&self.run) else { return };
        run.followers -= 1;
        if run.followers == 0 {
            dir.runs.remove(&self.run);
        }
        if dir.runs.is_empty() {
            watched.forget(self.wd);
            // Fails only when the directory is gone already, and the watch with it.
            inotify::remove_watch(&self.shared.inotify, self.wd).ok();
        }
    }
}

impl Watched {
    fn forget(&mut self, wd: i32) {
        if let Some(dir) = self.dirs.remove(&wd) {
            self.numbers.remove(&dir.path);
        }
    }

    /// `name` is `<run id>.out` or `<run id>.out.2`; job names may hold dots, so both readings are tried.
    fn tell(&self, wd: i32, name: &str) {
        let Some(dir) = self.dirs.get(&wd) else { return };
        for run in [name.rsplit_once('.').map(|(run, _)| run), name.rsplitn(3, '.').nth(2)].into_iter().flatten() {
            if let Some(run) = dir.runs.get(run) {
                run.news.send_replace(());
            }
        }
    }

    fn tell_all(&self) {
        for run in self.dirs.values().flat_map(|dir| dir.runs.values()) {
            run.news.send_replace(());
        }
    }
}

impl Shared {
    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for news and passes it on.
    async fn hear(&self) -> io::Result<()> {
        let mut ready = self.inotify.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
        let mut watched = self.watched();
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            };
            if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                watched.tell_all();
            } else if event.events().contains(inotify::ReadFlags::IGNORED) {
                watched.forget(event.wd());
            } else if let Some(name) = event.file_name().and_then(|n| n.to_str().ok()) {
                watched.tell(event.wd(), name);
            }
        }
        ready.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn heard(growth: &mut Growth) -> bool {
        tokio::time::timeout(Duration::from_secs(5), growth.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn a_follower_hears_of_its_own_run_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let watcher = Watcher::new().expect("a watcher");
        let mut a = watcher.listen(&dir.path().join("a.b-00000001")).expect("listens");
        let mut b = watcher.listen(&dir.path().join("a.b-00000002")).expect("listens");
        for name in ["a.b-00000001.out", "a.b-00000001.idx", "a.b-00000001.err.12"] {
            std::fs::write(dir.path().join(name), "x").expect("writes");
            assert!(heard(&mut a).await, "{name}");
        }
        assert!(!b.news.has_changed().expect("open"));
        std::fs::write(dir.path().join("a.b-00000002.out"), "x").expect("writes");
        assert!(heard(&mut b).await);
    }

    #[tokio::test]
    async fn a_follower_hears_that_a_file_is_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("a-00000001.out");
        std::fs::write(&file, "x").expect("writes");
        let watcher = Watcher::new().expect("a watcher");
        let mut growth = watcher.listen(&dir.path().join("a-00000001")).expect("listens");
        std::fs::remove_file(file).expect("removed");
        assert!(heard(&mut growth).await);
    }

    #[tokio::test]
    async fn a_directory_is_watched_once_and_let_go_with_its_last_follower() {
        let dir = tempfile::tempdir().expect("a directory");
        let watcher = Watcher::new().expect("a watcher");
        let base = dir.path().join("a-00000001");
        let (one, two) = (watcher.listen(&base).expect("listens"), watcher.listen(&base).expect("listens"));
        assert_eq!(watcher.watches(), 1);
        drop(one);
        assert_eq!(watcher.watches(), 1);
        drop(two);
        assert_eq!(watcher.watches(), 0);
        assert!(watcher.listen(&dir.path().join("no/such/dir")).is_err());
    }
}
