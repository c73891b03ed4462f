//! What was there before this daemon: tables that a server left, specs and names that belong to nobody, what runs wrote.

use super::{Batch, Engine, perform, rebuild, slot};
use kin_core::{Fact, RunNo};
use kin_keeper::table::{DRAINED, EXITED, Snapshot, Table};
use std::io;
use std::path::Path;

impl Engine {
    /// What earlier boots and earlier servers left: said once, and recorded with the end of whatever did not survive.
    pub(super) fn first_facts(&mut self, batch: &mut Batch) {
        for path in tables_in(&self.dirs.left()) {
            match Table::open(&path) {
                Ok(table) => self.say_table(&table, batch),
                Err(e) => crate::say!("kin daemon: {} cannot be read: {e}", path.display()),
            }
            batch.read.push(path);
        }
        let strange: Vec<u64> = self
            .tables
            .iter()
            .filter(|(_, known)| known.table.boot() != first_64(&self.config.boot))
            .map(|(generation, _)| generation)
            .collect();
        for generation in strange {
            let Some(known) = self.tables.get(generation) else { continue };
            let snapshots: Vec<Snapshot> = slot::all(&known.table).collect();
            for snapshot in snapshots {
                self.say_end(&snapshot, batch);
            }
            self.tables.forget(generation);
            batch.read.extend([self.dirs.table(generation), self.dirs.socket(generation)]);
        }
        let others: Vec<kin_core::RunId> = self
            .world
            .live()
            .filter(|run| run.boot != self.config.boot && run.state.is_going())
            .map(kin_core::Run::id)
            .collect();
        self.say_ends(&others, batch);
        for no in std::mem::take(&mut self.damaged) {
            let run = self.found_run(no, batch);
            let id = run.id();
            // At the start they are there already; others are met when a commit has failed.
            self.fact(Fact::Found { run: Box::new(run) }, batch);
            self.say_ends(&[id], batch);
        }
        self.fact(Fact::Booted, batch);
        batch.boots = true;
    }

    pub(super) fn say_table(&mut self, table: &Table, batch: &mut Batch) {
        let snapshots: Vec<Snapshot> = slot::all(table).collect();
        for snapshot in snapshots {
            self.say_end(&snapshot, batch);
        }
    }

    pub(super) fn say_end(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        if let Some(no) = RunNo::new(snapshot.run)
            && (snapshot.state == EXITED || snapshot.state == DRAINED)
        {
            self.ended(no, snapshot, batch);
        }
    }

    /// What a run wrote is what its files hold, unless one keeper had it from beginning to end: another may have died
    /// between writing and noting how much, and of what outlived both nobody noted anything. What was cut from the files is
    /// in the keeper's count.
    pub(super) fn measure(&self, run: &mut kin_core::Run) {
        if run.started_at.is_some() {
            let base = self.dirs.log_base(&run.id());
            run.out_bytes = run.out_bytes.max(rebuild::written(&base, "out"));
            run.err_bytes = run.err_bytes.max(rebuild::written(&base, "err"));
        }
    }

    /// Specs that no row knows were written by a daemon that died before it accepted anything.
    pub(super) fn sweep_specs(&self) {
        self.polite.over_but(&self.dirs.run, |no| self.world.get(no).is_some());
        if let Err(e) = crate::surroundings::sweep(&self.dirs.run, |no| self.world.get(no).is_some()) {
            crate::say!("kin daemon: cannot take away what earlier runs had: {e}");
        }
        self.sweep_hands();
        let Ok(entries) = std::fs::read_dir(self.dirs.specs()) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let withdrawn = name.strip_prefix(".gone-").and_then(RunNo::parse);
            match (RunNo::parse(&name), withdrawn) {
                (Some(no), _) if no.is_helper() || self.world.get(no).is_some() => {}
                // A daemon died while it looked whether anybody had used it: it is looked at again.
                (_, Some(no)) if self.world.get(no).is_some() => {
                    if let Err(e) = std::fs::rename(&path, self.dirs.spec(no)) {
                        crate::say!("kin daemon: cannot put {} back: {e}", path.display());
                    }
                }
                _ => perform::remove(&path),
            }
        }
    }

    /// Links of keys whose runs are gone.
    fn sweep_hands(&self) {
        for entry in std::fs::read_dir(self.dirs.run.join("hands")).into_iter().flatten().flatten() {
            let no = std::fs::read_link(entry.path()).ok();
            let no = no.as_deref().and_then(Path::file_name).and_then(|name| RunNo::parse(name.to_str()?));
            if no.is_none_or(|no| self.world.get(no).is_none()) {
                perform::remove(&entry.path());
            }
        }
    }

    /// All that a dead generation's table held is in the ledger.
    pub(super) fn bury(&mut self, generation: u64) {
        // Only when nothing changed its mind since: a served table is its owner's.
        if self.is_served(generation) || self.survivors.of_generation(generation) > 0 {
            return;
        }
        self.tables.forget(generation);
        perform::remove(&self.dirs.table(generation));
        perform::remove(&self.dirs.socket(generation));
    }
}

fn tables_in(dir: &Path) -> Vec<std::path::PathBuf> {
    let read = |dir: &Path| -> io::Result<Vec<std::path::PathBuf>> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "tab") {
                paths.push(path);
            }
        }
        Ok(paths)
    };
    match read(dir) {
        Ok(paths) => paths,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => {
            crate::say!("kin daemon: cannot read {}: {e}", dir.display());
            Vec::new()
        }
    }
}

/// A table's header holds no more of a boot's identity.
fn first_64(boot: &str) -> String {
    String::from_utf8_lossy(&boot.as_bytes()[..boot.len().min(64)]).into_owned()
}
