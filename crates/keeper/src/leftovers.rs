//! Cgroups of runs that have ended and left somebody behind: they go when that somebody goes.
//!
//! Nobody polls: a cgroup says when it has become empty, by inotify on its `cgroup.events`. The list is only in memory; who
//! takes over looks through the directory instead.

use crate::clock::{self, SECOND};
use crate::keeper::{Keeper, arm};
use crate::start::run_name;
use crate::table::{EXITED, INTENT, RUNNING};
use crate::token::Token;
use kin_core::RunNo;
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use rustix::io::Errno;
use std::path::Path;
use std::sync::atomic::Ordering;

/// So many are watched at a time; what is beyond goes with the server, or at a takeover.
const MOST: usize = 256;
const AGAIN: u64 = 5 * SECOND;

#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    watch: Option<OwnedFd>,
    runs: Vec<u64>,
    /// When to look through the directory, for one could not be minded for want of something of ours; zero: all are.
    pub(crate) again_at: u64,
}

impl Leftovers {
    pub(crate) fn with_room() -> Leftovers {
        Leftovers { watch: None, runs: Vec::with_capacity(MOST), again_at: 0 }
    }
    /// In a forked child: all of it is the parent's.
    pub(crate) fn forget(&mut self) {
        self.watch = None;
        self.runs.clear();
        self.again_at = 0;
    }
}

impl Keeper {
    /// The run has ended, and its cgroup is not empty.
    pub(crate) fn mind_leftover(&mut self, run: u64) {
        let Some(base) = self.cgroups.path() else { return };
        if self.leftovers.runs.len() >= MOST || self.leftovers.runs.contains(&run) {
            return;
        }
        let path = base.join(run_name(run)).join("cgroup.events");
        match self.watch_leftover(&path) {
            Ok(()) => {
                self.leftovers.runs.push(run);
                // It may have become empty before we watched.
                self.try_leftovers();
            }
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOSPC) => {
                self.leftovers.again_at = clock::mono() + AGAIN;
            }
            // ENOENT: it went just now. Anything else: it goes with the server.
            Err(_) => {}
        }
    }

    fn watch_leftover(&mut self, path: &Path) -> rustix::io::Result<()> {
        let watch = match self.leftovers.watch.take() {
            Some(watch) => watch,
            None => {
                let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
                arm(&self.epoll, &watch, Token::Leftover, EventFlags::IN, false);
                watch
            }
        };
        let added = inotify::add_watch(&watch, path, inotify::WatchFlags::MODIFY);
        self.leftovers.watch = Some(watch);
        added.map(drop)
    }

    pub(crate) fn leftover_changed(&mut self) {
        let mut buffer = [0u8; 4096];
        if let Some(watch) = &self.leftovers.watch {
            while rustix::io::read(watch, &mut buffer).is_ok_and(|n| n > 0) {}
        }
        self.try_leftovers();
    }

    fn try_leftovers(&mut self) {
        let mut runs = std::mem::take(&mut self.leftovers.runs);
        runs.retain(|run| !self.drop_cgroup(*run));
        self.leftovers.runs = runs;
    }

    /// What a dead keeper, or an earlier server, was minding; and what we could not mind.
    pub(crate) fn adopt_leftovers(&mut self) {
        self.leftovers.again_at = 0;
        self.cgroups.remove_probes();
        let mut found = Vec::new();
        self.cgroups.each(|name| found.extend(name.to_str().ok().and_then(RunNo::parse).map(RunNo::get)));
        for run in found {
            // Before a run has a cgroup it has an intent, in a table that we know.
            let lives = self.generations.iter().flatten().any(|generation| {
                generation.table.find(run).is_some_and(|slot| {
                    let state = generation.table.slots()[slot as usize].state.load(Ordering::Acquire);
                    matches!(state, INTENT | RUNNING | EXITED)
                })
            });
            if !lives && !self.drop_cgroup(run) {
                self.mind_leftover(run);
            }
        }
    }
}
