//! Job files that change while the server runs.
//!
//! ```text
//!   watch ──▶ read ──▶ judge ──▶ told, when anything is other than before
//!     ▲                              │
//!     └──── something happened, then nothing for a moment ◀──┘
//! ```
//! The watches are set before the files are read, so that no change falls between the two. Editors write a file in several
//! steps and package managers many files: what is read is read when it has been quiet for a moment, or at the latest after
//! a second. What is told is always a whole set: see [`Good`] for what becomes of a broken file.
//!
//! A directory that is not there yet is waited for at the nearest one that is. Links are followed, and both ends watched.
//! A file system that tells nobody of its changes (NFS, when another host writes) needs [`Look::now`]. Whoever asks is told by
//! whoever takes the readings, so that they are acted on in the order in which they were read.

pub(crate) mod kept;

use crate::engine::Reloaded;
use kept::Kept;
use kin_config::files::Reader;
use kin_config::good::{Good, Reading};
use kin_config::{Code, Input, Mistake};
use kin_core::Refusal;
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// So long nothing may happen before the files are read.
const QUIET: Duration = Duration::from_millis(100);
/// At the latest then, whatever goes on happening.
const LATEST: Duration = Duration::from_secs(1);
/// What cannot be read is looked at again after a second, and then ever less often: nobody tells when it can be.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// As many as the kernel follows.
const LINKS_MAX: usize = 40;

/// The files of some directories, and what was good of them.
#[derive(Debug)]
pub struct JobFiles {
    dirs: Vec<PathBuf>,
    reader: Reader,
    good: Good,
    seen: Option<Vec<Seen>>,
    /// Something that is there could not be read.
    unread: bool,
    /// Where the last good texts are kept for the next daemon.
    keep: Option<Kept>,
}

/// What was read of a file: when all of it is the same again, nothing is told.
type Seen = (PathBuf, Arc<str>, Vec<Mistake>);

impl JobFiles {
    /// `good`: what a former daemon knew.
    pub fn new(dirs: Vec<PathBuf>, good: Good) -> JobFiles {
        JobFiles { dirs, reader: Reader::of_process(), good, seen: None, unread: false, keep: None }
    }

    /// What is good is kept there.
    #[must_use]
    pub(crate) fn keeping(self, kept: Kept) -> JobFiles {
        JobFiles { keep: Some(kept), ..self }
    }

    /// Whose jobs are meant where two have the same.
    pub(crate) fn rank(dirs: &[PathBuf], path: &Path) -> usize {
        dirs.iter().position(|dir| path.starts_with(dir)).unwrap_or(0)
    }

    fn judge(&mut self, inputs: Vec<Input>) -> Reading {
        let reading = self.good.judge(inputs);
        if let Some(kept) = &mut self.keep {
            kept.keep(self.good.written());
        }
        reading
    }

    /// Files beside the directories that the last reading was made of.
    fn beside(&self) -> Vec<PathBuf> {
        let seen = self.seen.iter().flatten().map(|(path, ..)| path);
        seen.filter(|path| kin_config::ics::is_calendar(path)).cloned().collect()
    }

    /// What holds now.
    pub fn read(&mut self) -> Reading {
        let inputs = self.inputs();
        self.unread = is_unread(&inputs);
        self.seen = Some(seen(&inputs));
        self.judge(inputs)
    }

    /// What holds now: for whoever cannot wait for news, and reads only once.
    #[expect(clippy::disallowed_methods, reason = "what is away for a moment is polled: no watch is there yet to tell")]
    pub(crate) fn read_when_whole(mut self) -> Reading {
        let latest = std::time::Instant::now() + LATEST;
        if let Some(away) = self.good.misses(&self.inputs(), &self.dirs) {
            crate::say!("kin daemon: {} is gone or empty: it is looked at again for a second", away.display());
        }
        while std::time::Instant::now() < latest {
            if let Again::Told(reading) = self.read_again(false) {
                return *reading;
            }
            std::thread::sleep(QUIET);
        }
        self.read()
    }

    /// What would hold now, without remembering it.
    fn peek(&self) -> Reading {
        self.good.clone().judge(self.inputs())
    }

    /// `believe`: also that a file that held something is empty now, or gone. Whoever writes a file in place empties it first,
    /// and who brings another in its place may take it away first; that moment must not be taken for the end of all its jobs.
    fn read_again(&mut self, believe: bool) -> Again {
        let inputs = self.inputs();
        self.unread = is_unread(&inputs);
        let now = seen(&inputs);
        let Some(before) = self.seen.as_deref() else {
            // A daemon that begins knows what the one before it read.
            if !believe && self.good.misses(&inputs, &self.dirs).is_some() {
                return Again::Emptied;
            }
            self.seen = Some(now);
            return Again::Told(Box::new(self.judge(inputs)));
        };
        if now == before {
            return Again::Same;
        }
        let held = |path: &PathBuf| before.iter().any(|(other, text, _)| other == path && !text.trim().is_empty());
        // A calendar file that nobody names any more is not gone, and of what is in a directory that cannot be read nothing is.
        let is_there = |path: &Path| now.iter().any(|(other, ..)| path.starts_with(other));
        let mut before = before.iter().map(|(path, ..)| path).filter(|path| !kin_config::ics::is_calendar(path));
        let is_empty = |(path, text, mistakes): &Seen| text.trim().is_empty() && mistakes.is_empty() && held(path);
        if !believe && (now.iter().any(is_empty) || before.any(|path| held(path) && !is_there(path))) {
            return Again::Emptied;
        }
        self.seen = Some(now);
        Again::Told(Box::new(self.judge(inputs)))
    }

    fn inputs(&self) -> Vec<Input> {
        self.reader.directories(&self.dirs)
    }

    /// Reads and goes on reading. The first reading is told at once (or, when a file is away that was there, after a second), the others when something has changed. It ends when
    /// nobody listens any more. Must be called inside the runtime.
    pub fn watch(self) -> io::Result<(mpsc::Receiver<Told>, Look)> {
        let watches = Watches::new()?;
        let (tell, told) = mpsc::channel(1);
        let (look, asked) = mpsc::unbounded_channel();
        tokio::spawn(go_on(self, watches, tell, asked));
        Ok((told, Look(look)))
    }
}

/// A reading, and who asked for it.
#[derive(Debug)]
pub struct Told {
    pub reading: Arc<Reading>,
    pub asked: Vec<Asked>,
}

/// Somebody who asked for a reading.
#[derive(Debug)]
pub struct Asked {
    /// Only what would follow from it.
    pub plan: bool,
    pub reply: oneshot::Sender<Outcome>,
}

/// What was read, and what came of it.
pub type Outcome = (Arc<Reading>, Result<Reloaded, Refusal>);

#[derive(Debug)]
enum Again {
    /// All is as it was.
    Same,
    /// Somebody may be in the middle of writing.
    Emptied,
    Told(Box<Reading>),
}

fn seen(inputs: &[Input]) -> Vec<Seen> {
    inputs.iter().map(|i| (i.source.path.clone(), i.source.text.clone(), i.mistakes.clone())).collect()
}

fn is_unread(inputs: &[Input]) -> bool {
    let of_all = |m: &Mistake| m.code == Code::File && m.at.as_ref().is_none_or(|spot| spot.span.is_empty());
    inputs.iter().any(|input| input.mistakes.iter().any(of_all))
}

/// Asks for a reading, whether anything has changed or not.
#[derive(Clone, Debug)]
pub struct Look(mpsc::UnboundedSender<Asked>);

impl Look {
    /// `None`: nobody reads any more.
    pub async fn now(&self, plan: bool) -> Option<Outcome> {
        let (reply, outcome) = oneshot::channel();
        self.0.send(Asked { plan, reply }).ok()?;
        outcome.await.ok()
    }
}

/// What makes the files be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Asked,
    News,
    /// What looked like the middle of a change has been looked at for long enough.
    Still,
}

async fn go_on(
    mut files: JobFiles,
    mut watches: Watches,
    tell: mpsc::Sender<Told>,
    mut look: mpsc::UnboundedReceiver<Asked>,
) {
    let (mut why, mut asked) = (Why::News, Vec::new());
    let mut beside = Vec::new();
    let mut pause = LOOK_AGAIN.0;
    loop {
        watches.set(&files.dirs, &beside);
        // What is only to be planned must not be taken for known afterwards.
        let only_planned = !asked.is_empty() && asked.iter().all(|asked: &Asked| asked.plan);
        let work = move || {
            let again = match why {
                Why::Asked if only_planned => Again::Told(Box::new(files.peek())),
                Why::Asked => Again::Told(Box::new(files.read())),
                Why::News | Why::Still => files.read_again(why == Why::Still),
            };
            (files, again)
        };
        let Ok((back, again)) = tokio::task::spawn_blocking(work).await else { return };
        files = back;
        // A calendar file that was not watched may have changed since it was read.
        let more = std::mem::replace(&mut beside, files.beside()) != beside;
        // So long nothing needs to happen before it is looked at again, and as what.
        let again_after = match again {
            Again::Emptied => Some((LATEST, Why::Still)),
            Again::Same | Again::Told(_) if files.unread => {
                let after = pause;
                pause = LOOK_AGAIN.1.min(pause * 2);
                Some((after, Why::News))
            }
            Again::Same | Again::Told(_) => {
                pause = LOOK_AGAIN.0;
                None
            }
        };
        if let Again::Told(reading) = again
            && tell.send(Told { reading: Arc::from(reading), asked: std::mem::take(&mut asked) }).await.is_err()
        {
            return;
        }
        if only_planned || more {
            // Somebody's question may have come between a change and its reading.
            why = Why::News;
            continue;
        }
        let news = async {
            let Some((after, why)) = again_after else {
                return watches.quiet_after_news().await.map(|()| Why::News);
            };
            match tokio::time::timeout(after, watches.quiet_after_news()).await {
                Ok(heard) => heard.map(|()| Why::News),
                Err(_) => Ok(why),
            }
        };
        why = tokio::select! {
            heard = news => match heard {
                Ok(why) => why,
                // Nothing can be heard any more: only who asks is answered.
                Err(_) => tokio::select! {
                    ask = look.recv() => {
                        asked.extend(ask);
                        Why::Asked
                    }
                    () = tell.closed() => return,
                },
            },
            Some(ask) = look.recv() => {
                asked.push(ask);
                Why::Asked
            }
            () = tell.closed() => return,
        };
    }
}

/// What matters in a directory.
#[derive(Debug, Default)]
struct Interest {
    job_files: bool,
    names: BTreeSet<OsString>,
}

#[derive(Debug)]
pub(crate) struct Watches {
    inotify: AsyncFd<OwnedFd>,
    of: HashMap<i32, Interest>,
}

impl Watches {
    pub(crate) fn new() -> io::Result<Watches> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd that is never replaced is what it asks for")]
        let inotify = AsyncFd::new(fd)?;
        Ok(Watches { inotify, of: HashMap::new() })
    }

    /// Watches these files, and nothing else.
    pub(crate) fn set_files<'a>(&mut self, files: impl IntoIterator<Item = &'a Path>) {
        let before: Vec<i32> = std::mem::take(&mut self.of).into_keys().collect();
        for file in files {
            self.follow(file);
        }
        self.drop_others(before);
    }

    /// Watches what these directories depend on, and these files, and nothing else.
    fn set(&mut self, dirs: &[PathBuf], files: &[PathBuf]) {
        let before: Vec<i32> = std::mem::take(&mut self.of).into_keys().collect();
        for dir in dirs {
            let Some(real) = self.follow(dir) else { continue };
            let Some(interest) = self.add(&real) else { continue };
            interest.job_files = true;
            let entries = std::fs::read_dir(&real).into_iter().flatten().filter_map(Result::ok);
            for link in entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_symlink())).map(|e| e.path()) {
                if link.extension().is_some_and(|ending| ending == "toml") {
                    self.follow(&link);
                }
            }
        }
        for file in files {
            self.follow(file);
        }
        self.drop_others(before);
    }

    fn drop_others(&self, before: Vec<i32>) {
        for wd in before.into_iter().filter(|wd| !self.of.contains_key(wd)) {
            // Fails only when the directory is gone already, and the watch with it.
            inotify::remove_watch(&self.inotify, wd).ok();
        }
    }

    /// Watches each name on the way to what a path means, and gives the end of the way; `None`: there is none yet.
    fn follow(&mut self, path: &Path) -> Option<PathBuf> {
        let mut path = path.to_path_buf();
        for _ in 0..LINKS_MAX {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Some(path) };
            match std::fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_symlink() => {
                    let to = std::fs::read_link(&path).ok()?;
                    self.mind(parent, name);
                    path = parent.join(to);
                }
                Ok(meta) => {
                    if meta.is_file() {
                        self.mind(parent, name);
                    }
                    return Some(path);
                }
                Err(_) => {
                    self.wait_for(&path);
                    return None;
                }
            }
        }
        None
    }

    /// Hears when the nearest directory that is there gets the next part of the path.
    fn wait_for(&mut self, path: &Path) {
        let mut path = path;
        while let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            if self.mind(parent, name) {
                return;
            }
            path = parent;
        }
    }

    fn mind(&mut self, dir: &Path, name: &OsStr) -> bool {
        let interest = self.add(dir);
        interest.map(|interest| interest.names.insert(name.to_os_string())).is_some()
    }

    fn add(&mut self, dir: &Path) -> Option<&mut Interest> {
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let wd = inotify::add_watch(&self.inotify, dir, flags).ok()?;
        Some(self.of.entry(wd).or_default())
    }

    /// Waits until something happened that matters, and then until nothing more does.
    pub(crate) async fn quiet_after_news(&self) -> io::Result<()> {
        while !self.hear().await? {}
        let latest = Instant::now() + LATEST;
        loop {
            let until = latest.min(Instant::now() + QUIET);
            match tokio::time::timeout_at(until, self.hear()).await {
                Ok(heard) => drop(heard?),
                Err(_) => return Ok(()),
            }
            if Instant::now() >= latest {
                return Ok(());
            }
        }
    }

    /// Takes the news that are there, or waits for some: whether they matter.
    async fn hear(&self) -> io::Result<bool> {
        let mut ready = self.inotify.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
        let mut matters = false;
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            };
            let name = event.file_name().map(|name| OsStr::new(name.to_str().unwrap_or_default()).to_os_string());
            matters |= match (self.of.get(&event.wd()), name) {
                _ if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => true,
                (Some(interest), Some(name)) => {
                    let job_file =
                        name.as_encoded_bytes().ends_with(b".toml") && !name.as_encoded_bytes().starts_with(b".");
                    interest.names.contains(&name) || (interest.job_files && job_file)
                }
                // The directory itself.
                (Some(_), None) => true,
                // Of a watch that was taken away.
                (None, _) => false,
            };
        }
        ready.clear_ready();
        Ok(matters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const DEADLINE: Duration = Duration::from_secs(20);

    async fn next(told: &mut mpsc::Receiver<Told>) -> Reading {
        let told = tokio::time::timeout(DEADLINE, told.recv()).await.expect("told in time").expect("watches");
        Arc::into_inner(told.reading).expect("nobody else has it")
    }

    fn jobs(reading: &Reading) -> Vec<String> {
        reading.set.jobs.keys().map(ToString::to_string).collect()
    }

    fn job(name: &str) -> String {
        format!("[{name}]\ncommand = 'x'\n")
    }

    #[tokio::test]
    async fn a_change_is_told_a_broken_file_keeps_its_jobs_and_other_files_do_not_matter() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("a.toml");
        std::fs::write(&file, job("a")).expect("writes");
        let files = JobFiles::new(vec![dir.path().into()], Good::default());
        let (mut told, look) = files.watch().expect("watches");
        assert_eq!(jobs(&next(&mut told).await), ["a"]);

        std::fs::write(&file, job("a") + &job("b")).expect("writes");
        assert_eq!(jobs(&next(&mut told).await), ["a", "b"]);

        std::fs::write(&file, "[a]\ncomand = 'x'\n").expect("writes");
        let reading = next(&mut told).await;
        assert_eq!((jobs(&reading), reading.kept), (vec!["a".into(), "b".into()], vec![file.clone()]));
        assert!(reading.report.text(false).contains("did you mean 'command'?"));

        // The same words again, and what is no job file: nothing to tell. A reading that is asked for comes all the same,
        // and is the first that comes.
        std::fs::write(&file, "[a]\ncomand = 'x'\n").expect("writes");
        std::fs::write(dir.path().join("note.txt"), "x").expect("writes");
        tokio::spawn(async move { look.now(false).await });
        assert_eq!(jobs(&next(&mut told).await), ["a", "b"]);

        // As editors do it: another file in its place.
        let new = dir.path().join(".a.new");
        std::fs::write(&new, job("c")).expect("writes");
        std::fs::rename(&new, &file).expect("renames");
        assert_eq!(jobs(&next(&mut told).await), ["c"]);
        std::fs::remove_file(&file).expect("removes");
        assert!(jobs(&next(&mut told).await).is_empty());
    }

    #[tokio::test]
    async fn what_is_not_there_yet_is_waited_for_and_links_are_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("deep/config");
        let files = JobFiles::new(vec![config.clone(), dir.path().join("link")], Good::default());
        let (mut told, _look) = files.watch().expect("watches");
        assert!(jobs(&next(&mut told).await).is_empty());

        // Two steps, and a file whose text lies elsewhere.
        let elsewhere = dir.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).expect("makes");
        std::fs::write(elsewhere.join("text"), job("a")).expect("writes");
        std::fs::create_dir_all(&config).expect("makes");
        symlink("../../elsewhere/text", config.join("a.toml")).expect("links");
        assert_eq!(jobs(&next(&mut told).await), ["a"]);
        std::fs::write(elsewhere.join("text"), job("b")).expect("writes");
        assert_eq!(jobs(&next(&mut told).await), ["b"]);

        // A directory that is a link, and leads elsewhere later.
        for name in ["one", "two"] {
            std::fs::create_dir(dir.path().join(name)).expect("makes");
            std::fs::write(dir.path().join(name).join("x.toml"), job(name)).expect("writes");
        }
        symlink("one", dir.path().join("link")).expect("links");
        assert_eq!(jobs(&next(&mut told).await), ["b", "one"]);
        symlink("two", dir.path().join("new")).expect("links");
        std::fs::rename(dir.path().join("new"), dir.path().join("link")).expect("renames");
        assert_eq!(jobs(&next(&mut told).await), ["b", "two"]);

        // Gone, and there again.
        std::fs::remove_dir_all(&config).expect("removes");
        assert_eq!(jobs(&next(&mut told).await), ["two"]);
        std::fs::create_dir_all(&config).expect("makes");
        std::fs::write(config.join("z.toml"), job("z")).expect("writes");
        assert_eq!(jobs(&next(&mut told).await), ["two", "z"]);
    }

    #[test]
    fn the_middle_of_writing_is_not_taken_for_the_end_of_all_jobs() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("a.toml");
        std::fs::write(&file, job("a")).expect("writes");
        let mut files = JobFiles::new(vec![dir.path().into()], Good::default());
        assert_eq!(jobs(&files.read()), ["a"]);
        std::fs::File::create(&file).expect("empties");
        assert!(matches!(files.read_again(false), Again::Emptied));
        assert!(matches!(files.read_again(true), Again::Told(reading) if reading.set.jobs.is_empty()));
        assert!(matches!(files.read_again(false), Again::Same));
        std::fs::write(&file, job("b")).expect("writes");
        assert!(matches!(files.read_again(false), Again::Told(reading) if jobs(&reading) == ["b"]));
        // Away for a moment, as when another is brought in its place.
        let away = dir.path().join("away");
        std::fs::rename(&file, &away).expect("takes away");
        assert!(matches!(files.read_again(false), Again::Emptied));
        std::fs::rename(&away, &file).expect("brings back");
        assert!(matches!(files.read_again(false), Again::Same));
        std::fs::remove_file(&file).expect("removes");
        assert!(matches!(files.read_again(false), Again::Emptied));
        assert!(matches!(files.read_again(true), Again::Told(reading) if reading.set.jobs.is_empty()));
        assert!(matches!(files.read_again(false), Again::Same));
    }

    #[tokio::test]
    async fn a_file_that_is_away_when_a_daemon_begins_is_gone_only_after_a_moment() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, away) = (dir.path().join("a.toml"), dir.path().join("away"));
        let dirs = vec![dir.path().to_path_buf()];
        let known = |path: &Path| Good::remembering([(path.to_path_buf(), 0, job("a"))], []);
        let begin = || JobFiles::new(dirs.clone(), known(&file));
        for empties in [false, true] {
            std::fs::write(&away, job("a")).expect("writes");
            if empties {
                std::fs::write(&file, "").expect("empties");
            }
            let mut files = begin();
            assert!(matches!(files.read_again(false), Again::Emptied));
            std::fs::rename(&away, &file).expect("brings back");
            assert!(matches!(files.read_again(false), Again::Told(reading) if jobs(&reading) == ["a"]));
            assert!(matches!(files.read_again(false), Again::Same));
            std::fs::remove_file(&file).expect("removes");
        }
        assert!(matches!(begin().read_again(true), Again::Told(reading) if reading.set.jobs.is_empty()));
        // It is believed in the end, and a file of another directory was never meant.
        assert!(jobs(&begin().read_when_whole()).is_empty());
        let (mut told, _look) = begin().watch().expect("watches");
        assert!(jobs(&next(&mut told).await).is_empty());
        let mut elsewhere = JobFiles::new(dirs.clone(), known(Path::new("/elsewhere/a.toml")));
        assert!(matches!(elsewhere.read_again(false), Again::Told(_)));
    }

    #[tokio::test]
    async fn many_changes_at_once_are_few_readings() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut told, _look) = JobFiles::new(vec![dir.path().into()], Good::default()).watch().expect("watches");
        next(&mut told).await;
        for n in 0..300 {
            std::fs::write(dir.path().join(format!("{n}.toml")), job(&format!("job-{n}"))).expect("writes");
        }
        let mut readings = 0;
        while jobs(&next(&mut told).await).len() < 300 {
            readings += 1;
            assert!(readings < 30, "each file was read for itself");
        }
    }
}
