//! Care of the ledger and the logs: old runs go, too much output goes, old output is packed, a copy is kept, the
//! database is looked over.
//!
//! Only after there was something to do: an idle server has no timer. Sweeping goes in small slices between other
//! inputs; what reads the whole database, or every directory of logs, does so in a thread of its own, beside the writer.

use super::dirs::Dirs;
use super::pack::Which;
use super::{Batch, Engine, Input, pack, perform, slot, trim};
use crate::output::LogFiles;
use kin_core::{RunId, RunNo};
use kin_keeper::index::Stream;
use kin_ledger::Reader;
use std::time::{Duration, Instant};

/// Between two slices of one sweep.
const BREATH: Duration = Duration::from_millis(50);
/// Between two copies.
const DAY: Duration = Duration::from_secs(86_400);
const SLICE: u32 = 200;
/// The logs are looked at whenever that part of what one job may have was written.
const OFTEN: u64 = 10;

#[derive(Debug, Default)]
pub(super) struct Care {
    sweep_at: Option<Instant>,
    looked: Option<Instant>,
    /// Bytes that ended runs had written since the logs were looked at.
    written: u64,
    /// A thread is looking everything over. There is never a second one.
    looking: bool,
}

/// What the thread that looked everything over has to say.
#[derive(Debug)]
pub(super) struct Cared {
    /// By kind.
    notes: Vec<(&'static str, String)>,
    /// It has nothing more to say.
    over: bool,
}

impl Care {
    /// Runs that had written so much; care is taken `after` the first of them.
    pub(super) fn ended(&mut self, bytes: u64, after: Duration) {
        self.written = self.written.saturating_add(bytes);
        self.sweep_at.get_or_insert_with(|| Instant::now() + after);
    }
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.sweep_at
    }
}

impl Engine {
    pub(super) fn care_times(&mut self, batch: &mut Batch) {
        if self.care.sweep_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.care.sweep_at = None;
        match self.ledger.sweep(&self.config.retention, self.now(), SLICE) {
            Ok(swept) => {
                for id in &swept.runs {
                    self.remove_logs(id);
                }
                if swept.more {
                    self.care.sweep_at = Some(Instant::now() + BREATH);
                }
            }
            Err(e) => self.note("ledger.trouble", format!("old runs cannot go: {}", super::words(&e)), batch),
        }
        if self.care.looking {
            return;
        }
        let daily = self.care.looked.is_none_or(|at| at.elapsed() > DAY);
        // No job can have grown by more than was written in all.
        if daily || self.care.written > self.config.job_output_max / OFTEN {
            if daily {
                self.care.looked = Some(Instant::now());
            }
            self.care.written = 0;
            self.look_over(daily);
        }
    }

    /// In a thread of its own; its words come back as inputs.
    fn look_over(&mut self, whole: bool) {
        let (dirs, sender, max) = (self.dirs.clone(), self.sender.clone(), self.config.job_output_max);
        // Who writes into a run that ended long ago is known only by its slot. Without a table nobody is known.
        let pack = (whole && !self.tables.any_unreadable()).then(|| Which { now: self.now(), held: self.held() });
        let look = move || {
            let say = |notes, over| {
                // An engine that has ended wants no news.
                drop(sender.send(Input::Cared(Cared { notes, over })));
            };
            say(look_over(&dirs, max, whole).unwrap_or_else(|e| vec![("ledger.trouble", e)]), false);
            say(pack.map_or_else(Vec::new, |which| pack_old(&dirs, &which)), true);
        };
        match std::thread::Builder::new().name("kin-care".into()).spawn(look) {
            Ok(_detached) => self.care.looking = true,
            Err(e) => crate::say!("kin daemon: cannot look the ledger over: {e}"),
        }
    }

    /// Runs that have a slot in any table.
    fn held(&self) -> std::collections::BTreeSet<RunNo> {
        let slots = self.tables.iter().flat_map(|(_, known)| slot::all(&known.table));
        slots.filter_map(|snapshot| RunNo::new(snapshot.run)).collect()
    }

    pub(super) fn cared(&mut self, cared: Cared, batch: &mut Batch) {
        if cared.over {
            self.care.looking = false;
            // What was written meanwhile may be too much by now.
            if self.care.written > self.config.job_output_max / OFTEN {
                self.care.sweep_at.get_or_insert_with(|| Instant::now() + BREATH);
            }
        }
        for (kind, message) in cared.notes {
            self.note(kind, message, batch);
        }
    }

    /// Of a run that the ledger has forgotten.
    fn remove_logs(&self, id: &RunId) {
        let files = LogFiles::of(&self.dirs.state, id);
        perform::remove(&files.index());
        for stream in [Stream::Out, Stream::Err] {
            match files.stream(stream).files() {
                Ok(paths) => paths.iter().for_each(|path| perform::remove(path)),
                Err(e) => crate::say!("kin daemon: cannot remove the output of {id}: {e}"),
            }
        }
    }
}

fn pack_old(dirs: &Dirs, which: &Which) -> Vec<(&'static str, String)> {
    let problems = match Reader::open(&dirs.state) {
        Ok(reader) => pack::pack(&reader, &dirs.logs(), which),
        Err(e) => vec![format!("the ledger cannot be read: {}", super::words(&e))],
    };
    problems.into_iter().map(|problem| ("logs.trouble", problem)).collect()
}

/// What there is to say. Too much output goes; with `whole` the ledger is checked too, and a good one copied.
fn look_over(dirs: &Dirs, max: u64, whole: bool) -> Result<Vec<(&'static str, String)>, String> {
    let failed = |what: &str, e: &dyn std::error::Error| format!("{what}: {}", super::words(e));
    let reader = Reader::open(&dirs.state).map_err(|e| failed("the ledger cannot be read", &e))?;
    let (trimmed, problems) = trim::trim(&reader, &dirs.logs(), max);
    let mut notes: Vec<_> = trimmed.iter().map(|trimmed| ("logs.trimmed", trimmed.to_string())).collect();
    notes.extend(problems.into_iter().map(|problem| ("logs.trouble", problem)));
    if whole {
        let problems = reader.quick_check().map_err(|e| failed("the ledger cannot be checked", &e))?;
        if problems.is_empty() {
            let copied = reader.backup_to(&dirs.state.join("kin.db.bak"));
            copied.map_err(|e| failed("the ledger cannot be copied", &e))?;
        }
        notes.extend(problems.into_iter().map(|problem| ("ledger.trouble", problem)));
    }
    Ok(notes)
}
