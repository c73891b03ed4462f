//! Rows from what lies about: end records beside the logs, run tables, specs.
//!
//! A ledger that was set aside is filled again from these. Ended runs come back from their end records; runs that a table
//! has come back as they are; a run of which only its spec is left was accepted and never seen again: it is lost. Run
//! numbers go on above the greatest that any name shows.

use super::dirs::Dirs;
use super::{Batch, Engine, slot};
use kin_core::{
    Close, Exit, Fact, How, JobName, LostWhy, Outcome, Phase, Run, RunId, RunNo, RunState, Seen, SpawnStep, StopWhy,
    Time, Trigger,
};
use kin_keeper::index::{self, End, EndExit, Item};
use kin_keeper::spec::{Output, SpecView};
use kin_keeper::table::flag;
use kin_ledger::Found;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Who asked for a run that stands in no ledger any more.
pub(crate) const NOBODY_KNOWS: &str = "unknown";

/// Rows inserted at a time.
const ROWS: usize = 1000;

impl Engine {
    /// Fills a ledger that begins anew from what is there. May be done again after a death in the middle: the ledger
    /// counts as new until the first batch reserves run numbers.
    pub(super) fn rebuild(&mut self, batch: &mut Batch) {
        let mut greatest = self.world.minted();
        let mut rows: Vec<Run> = Vec::new();
        for job in jobs(&self.dirs) {
            let dir = self.dirs.logs().join(job.as_str());
            let (ends, names) = read_job(&dir);
            greatest = greatest.max(names).max(greatest_run(ends.keys()));
            rows.extend(ends.into_values().filter_map(|end| ended_row(&self.dirs, &job, &end, &self.config.boot)));
        }
        let mut count = 0;
        for chunk in rows.chunks(ROWS) {
            match self.ledger.insert_rebuilt(chunk) {
                Ok(added) => count += added,
                Err(e) => {
                    self.names.need_ends();
                    crate::say!("kin daemon: runs could not be put back: {}", super::words(&e));
                }
            }
        }
        if count > 0 {
            // What has ended by these records is not to be ended, and followed, once more.
            self.load_again();
        }
        if let Err(e) = self.tables.scan(&self.dirs) {
            crate::say!("kin daemon: cannot read {}: {e}", self.dirs.run.display());
        }
        let in_tables: Vec<u64> =
            self.tables.iter().flat_map(|(_, known)| slot::all(&known.table).map(|s| s.run)).collect();
        let in_specs: Vec<RunNo> = specs(&self.dirs);
        greatest = greatest.max(greatest_run(in_tables.iter()));
        greatest = greatest.max(in_specs.iter().map(|no| no.get()).max().unwrap_or(0));
        let unknown = in_tables.into_iter().filter_map(RunNo::new).filter(|no| self.is_unknown(*no));
        let unknown: Vec<RunNo> = unknown.collect();
        let found: Vec<Run> = unknown.into_iter().map(|no| self.found_run(no, batch)).collect();
        count += found.len() as u64;
        self.put_back(found, batch);
        for no in in_specs {
            if self.is_unknown(no) {
                let (mut run, _) = self.row(no);
                run.state = RunState::Ended { outcome: Outcome::Lost(LostWhy::Unknown) };
                run.ended_at = Some(self.now());
                self.fact(Fact::Found { run: Box::new(run) }, batch);
                count += 1;
            }
        }
        self.world.mint_after(greatest);
        let rebuilt = if count == 1 { "1 run was" } else { &format!("{count} runs were") };
        let rebuilt = format!("{rebuilt} rebuilt from what they left");
        let message = match &self.found {
            Found::SetAside { path: Some(path), why, saved } => {
                let (saved, path) = (saved_runs(*saved), path.display());
                format!("the ledger was damaged: {why}; it is kept as {path}; {saved}, {rebuilt}")
            }
            Found::SetAside { path: None, why, saved: 0 } => format!("the ledger was lost: {why}; {rebuilt}"),
            Found::SetAside { path: None, why, saved } => {
                format!("the ledger was lost: {why}; {}, {rebuilt}", saved_runs(*saved))
            }
            Found::Fresh | Found::Good if count > 0 => format!("there was no ledger; {rebuilt}"),
            Found::Fresh | Found::Good => return,
        };
        crate::say!("kin daemon: {message}");
        let line = format!("{}: {message}", crate::http::convert::time(self.now()));
        if let Err(e) = self.ledger.note_rebuilt(&line) {
            crate::say!("kin daemon: that cannot be noted in {}: {e}", kin_ledger::REBUILT);
        }
        // Who listened to the events of the lost ledger is not to take the next ones for what it has heard.
        if let Err(e) = self.ledger.events_told(self.journal.last_told()) {
            crate::say!("kin daemon: events begin anew: {}", super::words(&e));
        }
        self.trouble.send_modify(|trouble| trouble.rebuilt = Some(message.clone()));
        self.note("ledger.rebuilt", message, batch);
    }

    /// Runs that live. All of them at once: a job of which only some were known would begin the others anew.
    pub(super) fn put_back(&mut self, found: Vec<Run>, batch: &mut Batch) {
        match self.ledger.insert_rebuilt(&found) {
            Ok(0) => {}
            Ok(_) => self.load_again(),
            Err(e) => crate::say!("kin daemon: runs could not be put back: {}", super::words(&e)),
        }
        for run in found {
            if self.world.get(run.no).is_some() {
                let message = format!("{} was found, and the ledger did not know of it", run.id());
                let what = kin_core::What::Note { kind: "run.found", run: Some(run.id()), message };
                batch.fx.events.push(kin_core::Event { at: self.now(), what });
            } else {
                self.fact(Fact::Found { run: Box::new(run) }, batch);
            }
        }
    }

    /// A row for a run that lives in a table. One of a job has its slot, and holds what it held: so its job begins no other
    /// beside it, and nobody takes what it has.
    pub(super) fn found_run(&self, no: RunNo, batch: &mut Batch) -> Run {
        let (mut run, is_known) = self.row(no);
        if is_known {
            if run.terms.rev > 0 && !self.has_revision(&run.job, run.terms.rev) {
                // Whatever defines its job after all else was lost is its first revision.
                run.terms.rev = self.world.defined(&run.job).map_or(1, |found| found.rev);
            }
            return run;
        }
        let Some((slot, attempt)) = place(&self.dirs, &run.id()) else { return run };
        let mut terms = kin_core::Terms { rev: 1, ..kin_core::Terms::default() };
        if let Some(found) = self.world.defined(&run.job) {
            let gates = &found.job.gates;
            terms.rev = found.rev;
            terms.priority = gates.priority;
            terms.queue.clone_from(&gates.queue);
            terms.need.clone_from(&gates.need);
            terms.mutex.clone_from(&gates.mutex);
        }
        // Of one that was put back already it was said.
        if self.world.get(no).is_none() {
            let id = run.id();
            let message = format!("what {id} holds is not known: it counts as what its job's definition says now");
            let what = kin_core::What::Note { kind: "run.found", run: Some(id), message };
            batch.fx.events.push(kin_core::Event { at: self.now(), what });
        }
        Run { slot, attempt, terms, ..run }
    }

    fn has_revision(&self, job: &JobName, rev: u64) -> bool {
        let known = self.ledger.reader().and_then(|reader| reader.definition(job, rev));
        known.is_ok_and(|known| known.is_some_and(|known| known.text.is_some()))
    }

    fn row(&self, no: RunNo) -> (Run, bool) {
        row(&self.dirs, no, &self.config.boot, self.now())
    }

    fn is_unknown(&self, no: RunNo) -> bool {
        self.world.get(no).is_none() && matches!(self.ledger.run(no), Ok(None))
    }
}

fn saved_runs(n: u64) -> String {
    if n == 1 { "1 run was saved".into() } else { format!("{n} runs were saved") }
}

/// A row for a run that must have been accepted, as far as its spec and its logs tell; true: the spec says all that its row
/// said when it began. It reads as running: never will it be started by anybody, and if no table has it, it is lost.
pub(super) fn row(dirs: &Dirs, no: RunNo, boot: &str, now: Time) -> (Run, bool) {
    let bytes = fs::read(dirs.spec(no)).or_else(|_| fs::read(dirs.spec_withdrawn(no))).unwrap_or_default();
    let view = SpecView::check(&bytes).ok();
    let from_spec = view.as_ref().and_then(|view| {
        let base = Path::new(std::ffi::OsStr::from_bytes(view.log_base().to_bytes()));
        RunId::parse(base.file_name()?.to_str()?).map(|id| id.job)
    });
    let known = view.as_ref().and_then(|view| kin_ledger::recall(view.memo(), no));
    let is_known = known.is_some();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    let argv = |view: &SpecView<'_>| {
        view.programs_argv_env().skip(view.program_count()).take(view.argv_count()).map(text).collect()
    };
    let run = known.unwrap_or_else(|| {
        let job = from_spec.or_else(|| job_of_logs(dirs, no)).unwrap_or_else(|| JobName::from_program("unknown"));
        bare(RunId { job, no }, now)
    });
    let run = Run {
        command: view.as_ref().map(argv).unwrap_or_default(),
        directory: view.as_ref().map(|view| text(view.directory())).unwrap_or_default(),
        timeout_ms: view.as_ref().map(SpecView::timeout_ms).filter(|ms| *ms > 0),
        tty: view.as_ref().is_some_and(|view| matches!(view.output(), Output::Tty { .. })),
        boot: boot.to_string(),
        ..run
    };
    (run, is_known)
}

/// Nothing is known of it but that it was accepted, and perhaps began.
pub(super) fn bare(id: RunId, now: Time) -> Run {
    Run {
        no: id.no,
        job: id.job,
        slot: 0,
        attempt: 1,
        follows: None,
        trigger: Trigger::Manual { by: NOBODY_KNOWS.into() },
        state: RunState::Running { unowned: false, interrupted: false },
        exit: None,
        pid: None,
        created_at: now,
        started_at: None,
        ended_at: None,
        out_bytes: 0,
        err_bytes: 0,
        out_dropped: 0,
        err_dropped: 0,
        max_rss_bytes: None,
        cpu_ms: None,
        left_behind: 0,
        group: None,
        group_max: 0,
        command: Vec::new(),
        directory: String::new(),
        timeout_ms: None,
        tags: Vec::new(),
        tty: false,
        boot: String::new(),
        terms: kin_core::Terms::default(),
        health: kin_core::Health::default(),
        notes: kin_core::run::Notes::default(),
    }
}

/// Slot and attempt of a job's run, as it was told them itself.
fn place(dirs: &Dirs, id: &RunId) -> Option<(u32, u32)> {
    let bytes = fs::read(dirs.spec(id.no)).or_else(|_| fs::read(dirs.spec_withdrawn(id.no))).ok()?;
    let view = SpecView::check(&bytes).ok()?;
    let env: BTreeMap<&[u8], &[u8]> = view
        .programs_argv_env()
        .skip(view.program_count() + view.argv_count())
        .filter_map(|pair| {
            let pair = pair.to_bytes();
            let at = pair.iter().position(|b| *b == b'=')?;
            Some((&pair[..at], &pair[at + 1..]))
        })
        .collect();
    let word = |name: &str| std::str::from_utf8(env.get(name.as_bytes())?).ok();
    // What was begun within a job's run may have inherited the rest.
    let is_its_own = word("KIN_RUN_ID")? == id.to_string() && word("KIN_JOB")? == id.job.as_str();
    is_its_own.then_some((word("KIN_SLOT")?.parse().ok()?, word("KIN_ATTEMPT")?.parse().ok()?))
}

/// How a run ended, if a keeper wrote that down beside its logs.
pub(super) fn end_of(dirs: &Dirs, id: &RunId) -> Option<Seen> {
    let dir = dirs.logs().join(id.job.as_str());
    let mut idx = dirs.log_base(id).into_os_string();
    idx.push(".idx");
    let files = [idx.into(), dir.join("ends"), dir.join("ends.1")];
    let end = files.iter().find_map(|path| ends_in(path).find(|end| end.run == id.no.get()))?;
    Some(seen(&end))
}

/// How many bytes of a stream the files hold.
pub(super) fn written(base: &Path, stream: &str) -> u64 {
    let size = |segment: u32| {
        let mut path = base.as_os_str().to_owned();
        path.push(format!(".{stream}"));
        if segment > 1 {
            path.push(format!(".{segment}"));
        }
        fs::metadata(path).ok().map(|file| file.len())
    };
    (1..).map_while(size).sum()
}

fn seen(end: &End) -> Seen {
    let how = if end.flags & flag::STATUS_UNKNOWN != 0 {
        How::Unknown
    } else {
        match end.exit {
            EndExit::Code(code) => How::Exit(Exit::Code(code as u8)),
            EndExit::Signal { signal, core } => How::Exit(Exit::Signal { signal: signal as u8, core }),
            EndExit::SpawnFailed { step, errno } => {
                let step = u8::try_from(step).ok().and_then(SpawnStep::from_number).unwrap_or(SpawnStep::Exec);
                How::SpawnFailed { step, errno }
            }
        }
    };
    let timed_out = end.flags & flag::TIMED_OUT != 0;
    let close = Close { how, at: of_us(end.ended_us), timed_out, oom: end.flags & flag::OOM != 0 };
    let has_begun = end.started_us != 0 && !matches!(close.how, How::SpawnFailed { .. });
    Seen {
        started_at: has_begun.then(|| of_us(end.started_us)),
        out_bytes: end.out_bytes,
        err_bytes: end.err_bytes,
        ..Seen::bare(Phase::Drained(close))
    }
}

fn ended_row(dirs: &Dirs, job: &JobName, end: &End, boot: &str) -> Option<Run> {
    let no = RunNo::new(end.run)?;
    let seen = seen(end);
    let Phase::Drained(close) = &seen.phase else { return None };
    let why = (end.flags & flag::STOP_ASKED != 0).then_some(StopWhy::Asked);
    let (run, _) = row(dirs, no, boot, seen.started_at.unwrap_or(close.at));
    Some(Run {
        job: job.clone(),
        state: RunState::Ended { outcome: close.verdict(why) },
        exit: close.exit(),
        started_at: seen.started_at,
        ended_at: Some(close.at),
        out_bytes: seen.out_bytes,
        err_bytes: seen.err_bytes,
        ..run
    })
}

fn of_us(us: u64) -> Time {
    slot::time(us.saturating_mul(1000))
}

fn ends_in(path: &Path) -> impl Iterator<Item = End> {
    let bytes = fs::read(path).unwrap_or_default();
    let ends: Vec<End> = index::items(&bytes)
        .filter_map(|item| match item {
            Item::End(end) => Some(end),
            Item::Grew { .. } | Item::Gap { .. } => None,
        })
        .collect();
    ends.into_iter()
}

fn jobs(dirs: &Dirs) -> Vec<JobName> {
    let Ok(entries) = fs::read_dir(dirs.logs()) else { return Vec::new() };
    entries.flatten().filter_map(|entry| JobName::parse(entry.file_name().to_str()?).ok()).collect()
}

/// The end records of one job, and the greatest number that any of its logs' names shows.
fn read_job(dir: &Path) -> (BTreeMap<u64, End>, u64) {
    let (mut ends, mut greatest) = (BTreeMap::new(), 0);
    let Ok(entries) = fs::read_dir(dir) else { return (ends, greatest) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name == "ends" || name == "ends.1" || name.ends_with(".idx") {
            ends.extend(ends_in(&entry.path()).map(|end| (end.run, end)));
        }
        if let Some(id) = run_of_log(name).filter(|id| !id.no.is_helper()) {
            greatest = greatest.max(id.no.get());
        }
    }
    (ends, greatest)
}

/// A clock wrong by a century may have given a run a helper's number: no other goes on from that.
fn greatest_run<'a>(numbers: impl Iterator<Item = &'a u64>) -> u64 {
    numbers.copied().filter(|n| RunNo::new(*n).is_some_and(|no| !no.is_helper())).max().unwrap_or(0)
}

/// `<run id>.out`, `.err`, `.idx`, `.out.2`; a job's name may hold dots itself.
fn run_of_log(name: &str) -> Option<RunId> {
    name.match_indices('.').find_map(|(at, _)| RunId::parse(&name[..at]))
}

fn job_of_logs(dirs: &Dirs, no: RunNo) -> Option<JobName> {
    jobs(dirs).into_iter().find(|job| {
        let base = dirs.log_base(&RunId { job: job.clone(), no });
        ["out", "err", "idx", "out.zst", "err.zst"]
            .iter()
            .any(|extension| base.with_file_name(format!("{job}-{no}.{extension}")).exists())
    })
}

fn specs(dirs: &Dirs) -> Vec<RunNo> {
    let Ok(entries) = fs::read_dir(dirs.specs()) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let name = name.to_str()?;
            RunNo::parse(name.strip_prefix(".gone-").unwrap_or(name))
        })
        // Those of helpers are nobody's runs, and no number goes on from theirs.
        .filter(|no| !no.is_helper())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_goes_on_from_a_helpers() {
        let dir = tempfile::tempdir().expect("a directory");
        let (run, helper) = (RunNo::parse("NeP8nb4q").expect("a number"), RunNo::helper(3));
        fs::write(dir.path().join(format!("a-{run}.out")), "").expect("written");
        fs::write(dir.path().join(format!("a-{helper}.out")), "").expect("written");
        assert_eq!(read_job(dir.path()).1, run.get());
        assert_eq!(greatest_run([run.get(), helper.get(), u64::MAX].iter()), run.get());
    }

    #[test]
    fn a_log_names_its_run_also_when_the_job_has_dots() {
        for (name, want) in [
            ("a-NeP8nb4q.out", Some("a-NeP8nb4q")),
            ("a.b-NeP8nb4q.out.2", Some("a.b-NeP8nb4q")),
            ("a.b-NeP8nb4q.idx", Some("a.b-NeP8nb4q")),
            ("ends", None),
            ("ends.1", None),
        ] {
            assert_eq!(run_of_log(name).map(|id| id.to_string()).as_deref(), want);
        }
    }
}
