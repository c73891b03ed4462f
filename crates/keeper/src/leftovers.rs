//! Cgroups of runs that have ended and left somebody behind: they go when that somebody goes.
//!
//! Nobody polls: a cgroup says when it has become empty, by inotify on its `cgroup.events`. The list is only in memory; who
//! takes over looks through the directory instead.

use crate::keeper::{Keeper, arm};
use crate::start::run_name;
use crate::table::{EXITED, INTENT, RUNNING};
use crate::token::Token;
use kin_core::RunNo;
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use std::sync::atomic::Ordering;

/// So many are watched at a time; what is beyond goes with the server, or at a takeover.
const MOST: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    watch: Option<OwnedFd>,
    runs: Vec<u64>,
}

impl Leftovers {
    pub(crate) fn with_room() -> Leftovers {
        Leftovers { watch: None, runs: Vec::with_capacity(MOST) }
    }
    /// In a forked child: all of it is the parent's.
    pub(crate) fn forget(&mut self) {
        self.watch = None;
        self.runs.clear();
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
        if self.leftovers.watch.is_none() {
            let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
            let Ok(watch) = inotify::init(flags) else { return };
            arm(&self.epoll, &watch, Token::Leftover, EventFlags::IN, false);
            self.leftovers.watch = Some(watch);
        }
        let Some(watch) = &self.leftovers.watch else { return };
        // ENOENT: it went just now. Anything else: it goes with the server.
        if inotify::add_watch(watch, &path, inotify::WatchFlags::MODIFY).is_ok() {
            self.leftovers.runs.push(run);
            // It may have become empty before we watched.
            self.try_leftovers();
        }
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

    /// What a dead keeper, or an earlier server, was minding.
    pub(crate) fn adopt_leftovers(&mut self) {
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
