//! Care of the ledger and the logs: old runs go, a copy is kept, the database is looked over.
//!
//! Only after there was something to do: an idle server has no timer. Sweeping goes in small slices between other
//! inputs; what reads the whole database does so in a thread of its own, beside the writer.

use super::{Batch, Engine, Input, perform};
use kin_core::RunId;
use kin_ledger::Reader;
use std::path::Path;
use std::time::{Duration, Instant};

/// So long after the first run has ended.
const SOON: Duration = Duration::from_secs(300);
/// Between two slices of one sweep.
const BREATH: Duration = Duration::from_millis(50);
/// Between two copies.
const DAY: Duration = Duration::from_secs(86_400);
const SLICE: u32 = 200;

#[derive(Debug, Default)]
pub(super) struct Care {
    sweep_at: Option<Instant>,
    copied: Option<Instant>,
}

/// What the thread that looked the ledger over has to say.
#[derive(Debug)]
pub(super) struct Cared {
    problems: Vec<String>,
}

impl Care {
    pub(super) fn ended(&mut self, count: u64) {
        if count > 0 && self.sweep_at.is_none() {
            self.sweep_at = Some(Instant::now() + SOON);
        }
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
        if self.care.copied.is_none_or(|at| at.elapsed() > DAY) {
            self.care.copied = Some(Instant::now());
            self.look_over();
        }
    }

    /// In a thread of its own; its word comes back as an input.
    fn look_over(&self) {
        let (state, sender) = (self.dirs.state.clone(), self.sender.clone());
        let look = move || {
            let problems = look_over(&state).unwrap_or_else(|e| vec![e]);
            // An engine that has ended wants no news.
            drop(sender.send(Input::Cared(Cared { problems })));
        };
        if let Err(e) = std::thread::Builder::new().name("kin-care".into()).spawn(look) {
            crate::say!("kin daemon: cannot look the ledger over: {e}");
        }
    }

    pub(super) fn cared(&self, cared: Cared, batch: &mut Batch) {
        for problem in cared.problems {
            self.note("ledger.trouble", problem, batch);
        }
    }

    /// Of a run that the ledger has forgotten.
    fn remove_logs(&self, id: &RunId) {
        let base = self.dirs.log_base(id);
        let with = |extension: &str| base.with_file_name(format!("{id}.{extension}"));
        perform::remove(&with("idx"));
        for stream in ["out", "err"] {
            perform::remove(&with(stream));
            for segment in 2.. {
                let path = with(&format!("{stream}.{segment}"));
                if !path.exists() {
                    break;
                }
                perform::remove(&path);
            }
        }
    }
}

/// What is wrong with the ledger, in words. A good one is copied.
fn look_over(state: &Path) -> Result<Vec<String>, String> {
    let failed = |what: &str, e: &dyn std::error::Error| format!("{what}: {}", super::words(e));
    let reader = Reader::open(state).map_err(|e| failed("the ledger cannot be read", &e))?;
    let problems = reader.quick_check().map_err(|e| failed("the ledger cannot be checked", &e))?;
    if problems.is_empty() {
        reader.backup_to(&state.join("kin.db.bak")).map_err(|e| failed("the ledger cannot be copied", &e))?;
    }
    Ok(problems)
}
