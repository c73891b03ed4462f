//! The specs of runs that begin: made before the commit that says so, taken away when it came to nothing.
//!
//! What one run was given beside its definition waits in `<run>/given`, on tmpfs, until the run has ended; a retry takes
//! it over.

use super::{Batch, Engine, perform};
use crate::surroundings::{self, Unmakeable, Which, sockets};
use kin_core::job::Port;
use kin_core::run::{Nominal, Notes};
use kin_core::{Fact, JobName, Refusal, Run, RunNo, SpawnStep, Trigger};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A run that cannot be made may be followed by another at once. So often in one commit; then everybody else has a turn.
const ROUNDS: usize = 100;

impl Engine {
    /// Makes the spec of each run that begins with this batch. What cannot be made ends with it.
    pub(super) fn make_specs(&mut self, batch: &mut Batch) {
        self.pass_on_what_was_given(batch);
        let mut done = BTreeSet::new();
        for _ in 0..ROUNDS {
            let new: Vec<RunNo> = batch.fx.make.difference(&done).copied().collect();
            for no in &new {
                match self.make_spec(*no) {
                    Ok(Some(made)) => self.fact(made, batch),
                    Ok(None) => {}
                    Err(Unmakeable { step, errno, message }) => {
                        self.fact(Fact::Unmakeable { run: *no, step, errno, message }, batch);
                    }
                }
            }
            if new.is_empty() {
                break;
            }
            self.pass_on_what_was_given(batch);
            batch.made.extend(&new);
            done.extend(new);
        }
    }

    /// `None`: it has ended in the same batch.
    fn make_spec(&self, no: RunNo) -> Result<Option<Fact>, Unmakeable> {
        let Some(run) = self.world.get(no) else { return Ok(None) };
        let gone = |message: &str| Unmakeable { step: SpawnStep::Spec, errno: 0, message: message.into() };
        let job = self.world.revision(&run.job, run.terms.rev).ok_or_else(|| gone("its definition is not there"))?;
        let io = |what: &str, e: &io::Error| Unmakeable {
            step: SpawnStep::Spec,
            errno: e.raw_os_error().unwrap_or(0),
            message: format!("{what}: {e}"),
        };
        let id = run.id();
        let (mut env, base) = (self.given(no).map_err(|e| io("what it was given", &e))?, self.dirs.log_base(&id));
        env.extend(self.instant_of(run).into_iter().flat_map(variables));
        let (slot, attempt) = (run.slot, run.attempt);
        let auto = job.around.port == Some(Port::Auto);
        let port = self.world.port_before(no);
        let given = if auto && port.is_none() { self.world.ports().collect() } else { BTreeSet::new() };
        let which = Which { id: &id, slot, attempt, env: &env, here: None, port, given: &given, log_base: &base };
        let mut made = surroundings::make(job, &which, &self.config.server)?;
        made.spec.logs_by_hand = self.make_room(&base).map_err(|e| io("its logs have no directory", &e))?;
        sockets::ensure(&self.dirs.run, &made.sockets)?;
        let notes = Notes { port: made.port, left_out: made.warnings.clone(), ..run.notes.clone() };
        made.spec.memo = kin_ledger::memo(&Run { notes, ..run.clone() }).into_bytes();
        let bytes = made.spec.encode().map_err(|bad| gone(&bad.to_string()))?;
        self.put_spec(no, &bytes).map_err(|e| io("its spec could not be written", &e))?;
        let directory = String::from_utf8_lossy(&made.spec.directory).into_owned();
        Ok(Some(Fact::Made { run: no, directory, port: made.port, auto, left_out: made.warnings }))
    }

    /// Closes the sockets that neither a definition in force nor that of a run that goes names any more.
    pub(super) fn release_sockets(&self) {
        for kept in sockets::kept(&self.dirs.run) {
            let Ok(name) = JobName::parse(&kept.job) else { continue };
            let going = self.world.live().filter(|run| run.job == name && run.state.is_going());
            let revs = going.map(|run| run.terms.rev).chain(self.world.standing(&name).map(|standing| standing.rev));
            let named = revs.filter_map(|rev| self.world.revision(&name, rev)).any(|job| kept.is_named(job));
            if !named && let Err(e) = sockets::release(&self.dirs.run, &kept) {
                crate::say!("kin daemon: a socket of {name} cannot be closed: {e}");
            }
        }
    }

    /// The instant that it is run for, also when it is another try; and for how many before it.
    fn instant_of(&self, run: &Run) -> Option<Nominal> {
        let mut run = run.clone();
        loop {
            let before = match run.trigger {
                // A ledger of before has tries that do not say it themselves.
                Trigger::Retry { run, of: None } => run,
                Trigger::Retry { of: Some(_), .. } | Trigger::Schedule { .. } => return run.trigger.nominal(),
                Trigger::Manual { .. }
                | Trigger::Chain { .. }
                | Trigger::Boot
                | Trigger::Restart { .. }
                | Trigger::Watch { .. }
                | Trigger::Dependency
                | Trigger::Adopt { .. } => return None,
            };
            // A try before it that is not known any more: nobody knows its instant either.
            run = self.any_run(before).ok()??;
        }
    }

    /// The directory of a run's logs, and whether output goes there by hand: on another file system than the rest of them
    /// (something is mounted there, or linked to) there may be no splice.
    pub(super) fn make_room(&self, base: &Path) -> io::Result<bool> {
        let Some(dir) = base.parent() else { return Ok(false) };
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let device = |dir: &Path| Ok::<u64, io::Error>(std::fs::metadata(dir)?.dev());
        Ok(device(dir)? != device(&self.dirs.state)? && !kin_keeper::splices(dir))
    }

    pub(super) fn put_spec(&self, no: RunNo, bytes: &[u8]) -> io::Result<()> {
        let new = self.dirs.spec_new(no);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        std::fs::rename(&new, self.dirs.spec(no))
    }

    /// The batch came to nothing: a spec of what has not begun would be another's in the end.
    pub(super) fn unmake(&self, made: &[RunNo]) {
        for no in made {
            if !self.world.get(*no).is_some_and(|run| run.state.is_going()) {
                self.remove_spec(*no);
            }
        }
    }

    fn given_dir(&self) -> PathBuf {
        self.dirs.run.join("given")
    }

    /// Before the run has a number.
    pub(super) fn write_given(&self, env: &BTreeMap<String, String>) -> Result<PathBuf, Refusal> {
        let write = || -> io::Result<PathBuf> {
            DirBuilder::new().recursive(true).mode(0o700).create(self.given_dir())?;
            let path = self.given_dir().join(".new");
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            serde_json::to_writer(&mut file, env)?;
            Ok(path)
        };
        write().map_err(|e| Refusal::Unavailable { why: format!("the run's environment could not be written: {e}") })
    }

    pub(super) fn give_to(&self, no: RunNo, written: &Path) -> io::Result<()> {
        std::fs::rename(written, self.given_dir().join(no.to_string()))
    }

    fn given(&self, no: RunNo) -> io::Result<BTreeMap<String, String>> {
        match std::fs::read(self.given_dir().join(no.to_string())) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(e) => Err(e),
        }
    }

    /// A retry has what the first try was given; the one before it goes with its spec.
    fn pass_on_what_was_given(&self, batch: &Batch) {
        for run in batch.fx.changed.values().filter(|run| run.outcome().is_none()) {
            if let Trigger::Retry { run: before, .. } = run.trigger {
                let (from, to) = (self.given_dir().join(before.to_string()), self.given_dir().join(run.no.to_string()));
                match std::fs::hard_link(&from, &to) {
                    Err(e) if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {
                        crate::say!("kin daemon: {} cannot be passed on: {e}", from.display());
                    }
                    Ok(()) | Err(_) => {}
                }
            }
        }
    }

    pub(super) fn remove_given(&self, no: RunNo) {
        perform::remove(&self.given_dir().join(no.to_string()));
    }

    /// What was given to runs that are no more.
    pub(super) fn sweep_given(&self) {
        let Ok(entries) = std::fs::read_dir(self.given_dir()) else { return };
        for entry in entries.flatten() {
            let lives =
                entry.file_name().to_str().and_then(RunNo::parse).is_some_and(|no| self.world.get(no).is_some());
            if !lives {
                perform::remove(&entry.path());
            }
        }
    }
}

/// What a run is told of the instant that it is run for.
fn variables(Nominal { at, missed }: Nominal) -> [(String, String); 3] {
    let words = jiff::Timestamp::from_second(at).map_or_else(|_| String::new(), |at| format!("{at:.0}"));
    [
        ("KIN_SCHEDULED_FOR".into(), words),
        ("KIN_TICK".into(), at.to_string()),
        ("KIN_MISSED_COUNT".into(), missed.to_string()),
    ]
}
