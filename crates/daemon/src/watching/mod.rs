//! `watch`: when a file of a service changes, it is restarted.
//!
//! ```text
//!   jobs that watch ──▶ the directories that may hold what fits ──▶ inotify ──▶ quiet for a moment ──▶ Wish::Changed
//! ```
//! Nothing is polled. A directory that is not there yet is waited for at the nearest one that is; one that comes is watched,
//! and what lies in it has changed. What changed while no daemon lived is found by its time: whatever is younger than the
//! run that lives. Links are not followed, a file system that tells nobody (NFS) is not heard, nor that something above a
//! job's own directory is renamed.

mod globs;

use crate::engine::Handle;
use crate::surroundings::{self, Server};
use globs::{Globs, nearest};
use kin_core::job::Job;
use kin_core::{JobName, Refusal, RunNo, RunState, Time, Wish};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// So long nothing may happen to a job's files before it is told.
const QUIET: Duration = Duration::from_millis(200);
/// At the latest then, whatever goes on happening.
const LATEST: Duration = Duration::from_secs(2);
/// So long a change is kept that was refused, before it is told again.
const AGAIN: Duration = Duration::from_secs(3);
/// Directories watched for all jobs together; the kernel has a limit of its own.
const DIRS_MAX: usize = 8192;

/// A job and where it watches.
#[derive(Clone, Debug)]
struct Watching {
    job: Arc<Job>,
    dir: PathBuf,
    globs: Globs,
}

/// A job's files are changing.
#[derive(Clone, Debug)]
struct Pending {
    path: PathBuf,
    first: Instant,
    last: Instant,
    /// It was refused, and is not told again before.
    not_before: Option<Instant>,
}

impl Pending {
    fn due(&self) -> Instant {
        let quiet = (self.last + QUIET).min(self.first + LATEST);
        self.not_before.map_or(quiet, |at| at.max(quiet))
    }

    /// What is left to be told after this refusal: all of it, as the next time there may be room, unless nobody is there.
    fn refused(self, refusal: &Refusal, now: Instant) -> Option<Pending> {
        let is_there = !matches!(refusal, Refusal::UnknownJob { .. });
        is_there.then_some(Pending { not_before: Some(now + AGAIN), ..self })
    }
}

struct Watcher {
    handle: Handle,
    server: Server,
    inotify: AsyncFd<OwnedFd>,
    /// What the kernel watches, and every path that led there.
    dirs: HashMap<i32, BTreeSet<PathBuf>>,
    jobs: BTreeMap<JobName, Watching>,
    pending: BTreeMap<JobName, Pending>,
    /// It was said that there is no room for more.
    full: bool,
}

/// Watches for as long as the runtime lives. Must be called inside it.
pub(crate) fn begin(handle: &Handle, server: Server) -> io::Result<()> {
    let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd that is never replaced is what it asks for")]
    let inotify = AsyncFd::new(inotify)?;
    let (dirs, jobs, pending) = (HashMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut watcher = Watcher { handle: handle.clone(), server, inotify, dirs, jobs, pending, full: false };
    let mut watching = handle.watching();
    tokio::spawn(async move {
        loop {
            let now: Vec<Arc<Job>> = watching.borrow_and_update().clone();
            watcher.set(now).await;
            loop {
                let due = watcher.pending.values().map(Pending::due).min();
                let time = async {
                    match due {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    changed = watching.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    heard = watcher.hear() => if let Err(e) = heard {
                        return crate::say!("kin daemon: files are not watched any more: {e}");
                    },
                    () = time => watcher.tell().await,
                }
            }
        }
    });
    Ok(())
}

impl Watcher {
    /// These and no others.
    async fn set(&mut self, jobs: Vec<Arc<Job>>) {
        self.jobs.retain(|name, known| jobs.iter().any(|job| job.name == *name && Arc::ptr_eq(job, &known.job)));
        for job in jobs.into_iter().filter(|job| !job.watch.is_empty()) {
            if self.jobs.contains_key(&job.name) {
                continue;
            }
            let dir = match surroundings::directory_of(&job, &self.server) {
                Ok(dir) => dir,
                Err(why) => {
                    crate::say!("kin daemon: the files of {} are not watched: {why}", job.name);
                    continue;
                }
            };
            let watching = Watching { globs: Globs::of(&job.watch), dir, job };
            let since = self.since(&watching.job.name).await;
            self.jobs.insert(watching.job.name.clone(), watching.clone());
            self.arm(&watching, &watching.dir, since);
        }
        let known: BTreeSet<JobName> = self.jobs.keys().cloned().collect();
        self.pending.retain(|name, _| known.contains(name));
        self.drop_unused();
    }

    /// Since when its oldest run lives: what is younger than that was changed while nobody watched.
    async fn since(&self, job: &JobName) -> Option<Time> {
        let now = self.handle.jobs(Some(job.clone())).await.ok()?.pop()?;
        let running = now.runs.iter().filter(|run| matches!(run.state, RunState::Running { .. }));
        let begun = running.filter_map(|run| Some((run.no, run.started_at?)));
        oldest(begun, now.standing.renewal.as_ref().map(|renewal| renewal.upto))
    }

    /// Watches a directory and all below it that may hold what the job watches. Files in it that are younger than `since`
    /// have changed.
    fn arm(&mut self, of: &Watching, dir: &Path, since: Option<Time>) {
        let Some(mut there) = nearest(dir) else { return };
        // The next level may come before this one is watched: nobody tells of it then.
        loop {
            self.add(&there);
            match nearest(dir) {
                Some(now) if now != there => there = now,
                Some(_) => break,
                None => return,
            }
        }
        // A parent that stands in for it tells when it comes.
        if !there.starts_with(&of.dir) {
            return;
        }
        let mut todo = vec![there];
        while let Some(dir) = todo.pop() {
            self.add(&dir);
            for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
                let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
                let Ok(below) = path.strip_prefix(&of.dir) else { continue };
                if kind.is_dir() && of.globs.may_hold(below) {
                    todo.push(path);
                } else if !kind.is_dir() && of.globs.fit(below) && since.is_some_and(|since| is_younger(&entry, since))
                {
                    self.note(&of.job.name, path);
                }
            }
        }
    }

    fn add(&mut self, dir: &Path) {
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let full = self.dirs.len() >= DIRS_MAX;
        let added = if full { Err(rustix::io::Errno::NOSPC) } else { inotify::add_watch(&self.inotify, dir, flags) };
        match added {
            Ok(wd) => drop(self.dirs.entry(wd).or_default().insert(dir.to_path_buf())),
            // Gone already.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
            Err(e) => {
                if !std::mem::replace(&mut self.full, true) {
                    crate::say!("kin daemon: {} is not watched, nor what comes after it: {e}", dir.display());
                }
            }
        }
    }

    /// Of jobs that watch no more.
    fn drop_unused(&mut self) {
        let jobs = &self.jobs;
        let used = |dir: &Path| {
            jobs.values().any(|of| match dir.strip_prefix(&of.dir) {
                Ok(below) => of.globs.may_hold(below),
                Err(_) => of.dir.starts_with(dir) && nearest(&of.dir).is_some_and(|there| there == dir),
            })
        };
        for (wd, dirs) in &mut self.dirs {
            dirs.retain(|dir| used(dir));
            if dirs.is_empty() {
                // It may have gone with its directory.
                inotify::remove_watch(&self.inotify, *wd).ok();
            }
        }
        self.dirs.retain(|_, dirs| !dirs.is_empty());
    }

    fn note(&mut self, job: &JobName, path: PathBuf) {
        let now = Instant::now();
        let pending =
            self.pending.entry(job.clone()).or_insert(Pending { path, first: now, last: now, not_before: None });
        pending.last = now;
    }

    async fn hear(&mut self) -> io::Result<()> {
        let mut news = Vec::new();
        {
            let mut ready = self.inotify.readable().await?;
            let mut buffer = [MaybeUninit::uninit(); 8192];
            let mut reader = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => {
                        let name = event.file_name().and_then(|name| name.to_str().ok()).map(PathBuf::from);
                        news.push((event.wd(), event.events(), name));
                    }
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            ready.clear_ready();
        }
        for (wd, events, name) in news {
            self.heard(wd, events, name);
        }
        Ok(())
    }

    fn heard(&mut self, wd: i32, events: ReadFlags, name: Option<PathBuf>) {
        let all: Vec<Watching> = self.jobs.values().cloned().collect();
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            // Nobody knows what it was: whoever watches is told.
            all.iter().for_each(|of| self.note(&of.job.name, of.dir.clone()));
            return;
        }
        let Some(dirs) = self.dirs.get(&wd).cloned() else { return };
        if events.intersects(ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF) {
            return self.went(&dirs, &all);
        }
        let Some(name) = name else { return };
        for dir in dirs {
            self.heard_of(&dir.join(&name), events, &all);
        }
    }

    /// A directory is no longer where it was, nor is what lies in it: the kernel follows them to wherever they are now. They
    /// are let go, and whatever is in their place is new.
    fn went(&mut self, dirs: &BTreeSet<PathBuf>, all: &[Watching]) {
        let is_below = |path: &PathBuf| dirs.iter().any(|dir| path.starts_with(dir));
        let mut gone = BTreeSet::new();
        let gone_wds: Vec<i32> =
            self.dirs.iter().filter(|(_, paths)| paths.iter().any(is_below)).map(|(wd, _)| *wd).collect();
        for wd in gone_wds {
            gone.extend(self.dirs.remove(&wd).into_iter().flatten());
            // The kernel may have let it go already.
            inotify::remove_watch(&self.inotify, wd).ok();
        }
        let tops = gone.iter().filter(|path| !path.ancestors().skip(1).any(|above| gone.contains(above)));
        for top in tops {
            for of in all {
                match top.strip_prefix(&of.dir) {
                    // If nothing is there yet, the directory above tells when it comes.
                    Ok(below) if below != Path::new("") => {
                        if top.is_dir() && of.globs.may_hold(below) {
                            self.arm(of, top, Some(Time(0)));
                        }
                    }
                    Ok(_) => self.arm(of, &of.dir, Some(Time(0))),
                    Err(_) if of.dir.starts_with(top) => self.arm(of, &of.dir, Some(Time(0))),
                    Err(_) => {}
                }
            }
        }
    }

    fn heard_of(&mut self, path: &Path, events: ReadFlags, all: &[Watching]) {
        let is_dir = events.contains(ReadFlags::ISDIR);
        let came = events.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
        for of in all {
            let below = path.strip_prefix(&of.dir);
            match below {
                // All that lies in what comes is new.
                Ok(below) if is_dir && came && of.globs.may_hold(below) => self.arm(of, path, Some(Time(0))),
                // With a directory that goes, what was in it.
                Ok(below) if is_dir && !came && of.globs.may_hold(below) => self.note(&of.job.name, path.to_path_buf()),
                // A file that is only just made is told when it is written.
                Ok(below) if !is_dir && !events.contains(ReadFlags::CREATE) && of.globs.fit(below) => {
                    self.note(&of.job.name, path.to_path_buf());
                }
                Ok(_) => {}
                Err(_) if is_dir && came && of.dir.starts_with(path) => self.arm(of, &of.dir, Some(Time(0))),
                Err(_) => {}
            }
        }
    }

    /// Those whose files are quiet again.
    async fn tell(&mut self) {
        let now = Instant::now();
        let due: Vec<JobName> =
            self.pending.iter().filter(|(_, pending)| pending.due() <= now).map(|(name, _)| name.clone()).collect();
        for job in due {
            let Some(pending) = self.pending.remove(&job) else { continue };
            let path = pending.path.display().to_string();
            if let Err(refusal) = self.handle.wish(Wish::Changed { job: job.clone(), path }).await {
                if pending.not_before.is_none() {
                    crate::say!("kin daemon: {job} is not restarted for its files: {refusal}");
                }
                if let Some(pending) = pending.refused(&refusal, Instant::now()) {
                    self.pending.insert(job, pending);
                }
            }
        }
    }
}

/// When the oldest began of those that stay. Those up to this one are being replaced already, by what begins after every
/// change that can be found now.
fn oldest(begun: impl Iterator<Item = (RunNo, Time)>, leaving: Option<RunNo>) -> Option<Time> {
    begun.filter(|(no, _)| leaving.is_none_or(|upto| *no > upto)).map(|(_, at)| at).min()
}

/// What lies in the future was dated by somebody's hand, or by another clock: it says nothing.
fn is_younger(entry: &std::fs::DirEntry, since: Time) -> bool {
    let time = entry.metadata().and_then(|meta| meta.modified()).ok();
    let ns = time.and_then(|time| i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok());
    ns.is_some_and(|ns| ns > since.0 && ns <= crate::clock::now().0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_is_refused_is_told_later() {
        let now = Instant::now();
        let pending = || Pending { path: "/app/a".into(), first: now, last: now, not_before: None };
        assert_eq!(pending().due(), now + QUIET);
        let kept = pending().refused(&Refusal::Closing, now + LATEST).expect("it is kept");
        assert_eq!((kept.due(), kept.path.as_path()), (now + LATEST + AGAIN, Path::new("/app/a")));
        let job = JobName::parse("web").expect("a name");
        assert!(pending().refused(&Refusal::UnknownJob { job }, now).is_none(), "nobody is there to be told");
    }

    #[test]
    fn runs_that_are_being_replaced_do_not_say_since_when() {
        let no = |no| RunNo::new(no).expect("a number");
        let begun = [(no(3), Time(30)), (no(4), Time(40)), (no(7), Time(70)), (no(8), Time(80))];
        assert_eq!(oldest(begun.into_iter(), None), Some(Time(30)));
        assert_eq!(oldest(begun.into_iter(), Some(no(4))), Some(Time(70)), "in the middle of a roll");
        assert_eq!(oldest(begun.into_iter(), Some(no(8))), None, "all give way");
    }
}
