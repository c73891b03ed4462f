//! What the engine knows of the keepers: their run tables, mapped, and what the last of them said of the chain.
//!
//! A table stays mapped for as long as anything in it may matter, also when its name is gone: its owner unlinks it when
//! all its slots are free, and a look at the mapping proves that.

use super::dirs::{self, Dirs, Name};
use super::slot;
use kin_core::RunNo;
use kin_keeper::table::{Snapshot, Table};
use kin_keeper::wire::Guard;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// The chain, as a keeper told it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) elder: u64,
    pub(super) keeper: u64,
    pub(super) guard: Guard,
    /// Later chains have greater ones.
    pub(super) turn: u64,
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) table: Table,
    /// It has its name in the runtime directory.
    pub(super) named: bool,
}

#[derive(Debug, Default)]
pub(super) struct Tables {
    known: BTreeMap<u64, Known>,
    /// There, and not to be read.
    unreadable: BTreeSet<u64>,
    /// Socket names without a table that we know.
    sockets: BTreeSet<u64>,
}

impl Tables {
    /// Looks for tables and sockets that are new, or gone.
    pub(super) fn scan(&mut self, dirs: &Dirs) -> io::Result<()> {
        self.unreadable.clear();
        self.sockets.clear();
        for known in self.known.values_mut() {
            known.named = false;
        }
        for entry in std::fs::read_dir(&dirs.run)? {
            match dirs::parse(std::path::Path::new(&entry?.file_name())) {
                Some(Name::Table(generation)) => self.see(dirs, generation),
                Some(Name::Socket(generation)) => {
                    self.sockets.insert(generation);
                }
                None => {}
            }
        }
        Ok(())
    }

    fn see(&mut self, dirs: &Dirs, generation: u64) {
        if let Some(known) = self.known.get_mut(&generation) {
            known.named = true;
            return;
        }
        match Table::open(&dirs.table(generation)) {
            Ok(table) if table.generation() == generation => {
                self.known.insert(generation, Known { table, named: true });
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Ok(_) | Err(_) => {
                self.unreadable.insert(generation);
            }
        }
    }

    /// Every generation that may be served.
    pub(super) fn generations(&self) -> BTreeSet<u64> {
        self.known.keys().chain(&self.sockets).copied().collect()
    }
    pub(super) fn get(&self, generation: u64) -> Option<&Known> {
        self.known.get(&generation)
    }
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Known)> {
        self.known.iter().map(|(generation, known)| (*generation, known))
    }
    pub(super) fn is_unreadable(&self, generation: u64) -> bool {
        self.unreadable.contains(&generation)
    }
    pub(super) fn any_unreadable(&self) -> bool {
        !self.unreadable.is_empty()
    }
    pub(super) fn forget(&mut self, generation: u64) {
        self.known.remove(&generation);
    }

    /// Where a run has a slot, among the generations that `which` lets through.
    pub(super) fn find(&self, no: RunNo, which: impl Fn(u64) -> bool) -> Option<(u64, Snapshot)> {
        self.known.iter().filter(|(generation, _)| which(**generation)).find_map(|(generation, known)| {
            slot::of_run(&known.table, no.get()).map(|snapshot| (*generation, snapshot))
        })
    }
}
