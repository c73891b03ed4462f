//! Care of the ledger and the logs: old runs go, too much output goes, old output is packed, a copy is kept, the
//! database is looked over.
//!
//! Only after there was something to do: an idle server has no timer. Sweeping goes in small slices between other
//! inputs; what reads the whole database, or every directory of logs, does so in a thread of its own, beside the writer.

use super::dirs::Dirs;
use super::names::Left;
use super::pack::Which;
use super::{Batch, Engine, Input, pack, perform, slot, trim};
use crate::output::LogFiles;
use kin_core::{RunId, RunNo};
use kin_keeper::index::Stream;
use kin_keeper::room;
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
    room: Room,
    /// A thread is looking everything over. There is never a second one.
    looking: bool,
}

/// How far making room on a disk that is nearly full has come.
#[derive(Debug, Default)]
enum Room {
    #[default]
    Rests,
    /// In a thread of its own. `again`: it was asked for once more meanwhile.
    BeingMade { again: bool },
    /// Just made; not again before that, and then only if it was asked for.
    Made { until: Instant, again: bool },
}

/// Between two looks for room on a disk that is nearly full.
const ROOM: Duration = Duration::from_secs(1);

/// What follows when a thread of care has said its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It says more.
    More,
    LookedOver,
    MadeRoom,
}

/// What a thread of care has to say.
#[derive(Debug)]
pub(super) struct Cared {
    notes: Notes,
    /// Names that may go.
    left: Option<Left>,
    then: Then,
}

/// What the runs of one job may have on the disk, unless it says so itself.
pub(crate) const JOB_OUTPUT_MAX: u64 = 10 << 30;

impl Care {
    /// Runs that had written so much; care is taken `after` the first of them.
    pub(super) fn ended(&mut self, bytes: u64, after: Duration) {
        self.written = self.written.saturating_add(bytes);
        self.sweep_at.get_or_insert_with(|| Instant::now() + after);
    }
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let room = match self.room {
            Room::Made { until, again: true } => Some(until),
            Room::Made { again: false, .. } | Room::Rests | Room::BeingMade { .. } => None,
        };
        self.sweep_at.into_iter().chain(room).min()
    }
}

impl Engine {
    pub(super) fn care_times(&mut self, batch: &mut Batch) {
        if let Room::Made { until, again: true } = self.care.room
            && until <= Instant::now()
        {
            self.look_for_room();
        }
        if self.care.sweep_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.care.sweep_at = None;
        let mut retention = self.config.retention.clone();
        // A job's own word, where it says less than the server's.
        let own = self.world.standings().filter_map(|standing| {
            let runs = self.world.revision(&standing.job, standing.rev)?.keep.runs?;
            Some((standing.job.to_string(), runs))
        });
        retention.jobs = own.collect();
        // A slot that outlives its run's row would be a run that nobody knows.
        retention.held = self.held();
        let mut more = false;
        match self.ledger.sweep(&retention, self.now(), SLICE) {
            Ok(swept) => {
                more = swept.more;
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
        // Not in the middle of a sweep: what it is about to forget would keep its names for another day.
        let daily = !more && self.care.looked.is_none_or(|at| at.elapsed() > DAY);
        // No job can have grown by more than was written in all.
        let kept = self.output_kept();
        let least = kept.jobs.values().map(|most| most.bytes).fold(kept.others.bytes, u64::min);
        if daily || self.care.written > least / OFTEN {
            if daily {
                self.care.looked = Some(Instant::now());
            }
            self.care.written = 0;
            self.look_over(daily, kept);
        }
    }

    /// Of how much output each job's definition says that it stays.
    fn output_kept(&self) -> trim::Kept {
        let now = self.now();
        let others = trim::Most { bytes: self.config.job_output_max, since: None };
        let most = |job: &kin_core::job::Job| trim::Most {
            // What every job has unless it says so itself, a test may set.
            bytes: if job.keep.bytes == JOB_OUTPUT_MAX { others.bytes } else { job.keep.bytes },
            since: job.keep.age.map(|age| kin_core::Time(now.0.saturating_sub(age.ns()))),
        };
        let own = self.world.standings().filter_map(|standing| {
            let job = self.world.revision(&standing.job, standing.rev)?;
            Some((standing.job.to_string(), most(job)))
        });
        trim::Kept { jobs: own.collect(), others }
    }

    /// In a thread of its own; its words come back as inputs.
    fn look_over(&mut self, whole: bool, kept: trim::Kept) {
        let (dirs, sender) = (self.dirs.clone(), self.sender.clone());
        // Who writes into a run that ended long ago is known only by its slot. Without a table nobody is known.
        let pack = (whole && !self.tables.any_unreadable()).then(|| Which { now: self.now(), held: self.held() });
        let look = move || {
            let say = |notes, left, then| {
                // An engine that has ended wants no news.
                drop(sender.send(Input::Cared(Cared { notes, left, then })));
            };
            let looked = look_over(&dirs, &kept, whole);
            let looked = looked.unwrap_or_else(|e| Looked { notes: vec![("ledger.trouble", e)], ..Looked::default() });
            say(looked.notes, looked.left, Then::More);
            if let Some(what) = looked.damage {
                // As above.
                drop(sender.send(Input::Damaged(what, None)));
            }
            say(pack.map_or_else(Vec::new, |which| pack_old(&dirs, &which)), None, Then::LookedOver);
        };
        match std::thread::Builder::new().name("kin-care".into()).spawn(look) {
            Ok(_detached) => self.care.looking = true,
            Err(e) => crate::say!("kin daemon: cannot look the ledger over: {e}"),
        }
    }

    /// If the disk of the logs has less room than is to stay free, old output goes; in a thread of its own.
    pub(super) fn look_for_room(&mut self) {
        match &mut self.care.room {
            Room::Made { until, again } if *until > Instant::now() => return *again = true,
            Room::BeingMade { again } => return *again = true,
            Room::Rests | Room::Made { .. } => self.care.room = Room::Rests,
        }
        let Ok(stat) = rustix::fs::statvfs(self.dirs.logs()) else { return };
        let lacks = room::floor(&stat).saturating_sub(room::free(&stat));
        if lacks == 0 {
            return;
        }
        let (dirs, sender) = (self.dirs.clone(), self.sender.clone());
        let make = move || {
            let notes = make_room(&dirs, lacks).unwrap_or_else(|e| vec![("logs.trouble", e)]);
            // An engine that has ended wants no news.
            drop(sender.send(Input::Cared(Cared { notes, left: None, then: Then::MadeRoom })));
        };
        match std::thread::Builder::new().name("kin-room".into()).spawn(make) {
            Ok(_detached) => self.care.room = Room::BeingMade { again: false },
            Err(e) => crate::say!("kin daemon: cannot make room: {e}"),
        }
    }

    /// Runs that have a slot in any table.
    pub(super) fn held(&self) -> std::collections::BTreeSet<RunNo> {
        let slots = self.tables.iter().flat_map(|(_, known)| slot::all(&known.table));
        slots.filter_map(|snapshot| RunNo::new(snapshot.run)).collect()
    }

    pub(super) fn cared(&mut self, cared: Cared, batch: &mut Batch) {
        match cared.then {
            Then::More => {}
            Then::LookedOver => {
                self.care.looking = false;
                // What was written meanwhile may be too much by now.
                let kept = self.output_kept();
                let least = kept.jobs.values().map(|most| most.bytes).fold(kept.others.bytes, u64::min);
                if self.care.written > least / OFTEN {
                    self.care.sweep_at.get_or_insert_with(|| Instant::now() + BREATH);
                }
            }
            Then::MadeRoom => {
                let again = matches!(self.care.room, Room::BeingMade { again: true });
                self.care.room = Room::Made { until: Instant::now() + ROOM, again };
            }
        }
        if let Some(left) = cared.left {
            self.names.found(left);
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

fn make_room(dirs: &Dirs, lacks: u64) -> Result<Vec<(&'static str, String)>, String> {
    let reader = Reader::open(&dirs.state).map_err(|e| format!("the ledger cannot be read: {}", super::words(&e)))?;
    let (freed, problems) = trim::make_room(&reader, &dirs.logs(), lacks);
    let mut notes = Vec::new();
    if freed.runs > 0 {
        notes.push(("logs.trimmed", freed.to_string()));
    }
    notes.extend(problems.into_iter().map(|problem| ("logs.trouble", problem)));
    Ok(notes)
}

fn pack_old(dirs: &Dirs, which: &Which) -> Vec<(&'static str, String)> {
    let problems = match Reader::open(&dirs.state) {
        Ok(reader) => pack::pack(&reader, &dirs.logs(), which),
        Err(e) => vec![format!("the ledger cannot be read: {}", super::words(&e))],
    };
    problems.into_iter().map(|problem| ("logs.trouble", problem)).collect()
}

/// By kind.
type Notes = Vec<(&'static str, String)>;

/// What a look over everything found.
#[derive(Debug, Default)]
struct Looked {
    notes: Notes,
    damage: Option<String>,
    left: Option<Left>,
}

/// Too much output goes; with `whole` the ledger is checked too, a good one copied, and names found that may go.
fn look_over(dirs: &Dirs, kept: &trim::Kept, whole: bool) -> Result<Looked, String> {
    let failed = |what: &str, e: &dyn std::error::Error| format!("{what}: {}", super::words(e));
    let reader = Reader::open(&dirs.state).map_err(|e| failed("the ledger cannot be read", &e))?;
    let (trimmed, problems) = trim::trim(&reader, &dirs.logs(), kept);
    let mut looked = Looked::default();
    looked.notes.extend(trimmed.iter().map(|trimmed| ("logs.trimmed", trimmed.to_string())));
    looked.notes.extend(problems.into_iter().map(|problem| ("logs.trouble", problem)));
    if whole {
        let problems = reader.quick_check().map_err(|e| failed("the ledger cannot be checked", &e))?;
        if problems.is_empty() {
            let copied = reader.backup_to(&dirs.state.join("kin.db.bak"));
            copied.map_err(|e| failed("the ledger cannot be copied", &e))?;
            let left = Left::find(&reader, dirs).map_err(|e| failed("old names cannot be looked for", &e))?;
            looked.left = Some(left);
        }
        looked.damage = problems.first().cloned();
        looked.notes.extend(problems.into_iter().map(|problem| ("ledger.trouble", problem)));
    }
    Ok(looked)
}
