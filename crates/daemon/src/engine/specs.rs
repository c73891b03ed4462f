//! The specs of runs that begin: made before the commit that says so, taken away when it came to nothing.
//!
//! What one run was given beside its definition waits in `<run>/given`, on tmpfs, until the run has ended; a retry takes
//! it over.

use super::making::Ready;
use super::{Batch, Engine, perform};
use crate::surroundings::{self, Asked, Unmakeable, Which, sockets};
use kin_core::job::{Job, Port};
use kin_core::run::Nominal;
use kin_core::{Fact, JobName, Refusal, Run, RunId, RunNo, Trigger};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A run that cannot be made may be followed by another at once. So often in one commit; then everybody else has a turn.
const ROUNDS: usize = 100;

/// What is to be made, by whomever.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) id: RunId,
    pub(super) job: Arc<Job>,
    /// As it begins.
    pub(super) run: Run,
    env: BTreeMap<String, String>,
    /// The slot's own; with `auto` a free one, if it has none yet.
    pub(super) port: Option<u16>,
    pub(super) auto: bool,
    base: PathBuf,
    /// Where all that is kept lies.
    state: PathBuf,
}

impl Order {
    /// `given`: nobody's, because a port was found.
    pub(super) fn which<'a>(&'a self, given: &'a BTreeSet<u16>) -> Which<'a> {
        let Order { id, run, env, port, base, .. } = self;
        Which { id, slot: run.slot, attempt: run.attempt, env, here: None, port: *port, given, log_base: base }
    }

    /// The directory of its logs.
    pub(super) fn logs(&self) -> &Path {
        self.base.parent().unwrap_or(&self.base)
    }

    /// Asks the file system of the logs.
    pub(super) fn make_room(&self) -> Result<bool, Unmakeable> {
        crate::seams::hang(self.logs());
        make_room(&self.base, &self.state).map_err(|e| io("its logs have no directory", &e))
    }
}

/// The directory of a run's logs, and whether output goes there by hand: on another file system than the rest of them
/// (something is mounted there, or linked to) there may be no splice.
pub(super) fn make_room(base: &Path, state: &Path) -> io::Result<bool> {
    let Some(dir) = base.parent() else { return Ok(false) };
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let device = |dir: &Path| Ok::<u64, io::Error>(std::fs::metadata(dir)?.dev());
    Ok(device(dir)? != device(state)? && !kin_keeper::splices(dir))
}

fn io(what: &str, e: &io::Error) -> Unmakeable {
    Unmakeable::spec(e.raw_os_error().unwrap_or(0), format!("{what}: {e}"))
}

impl Engine {
    /// Makes the spec of each run that begins with this batch and asks nobody. What cannot be made ends with it.
    pub(super) fn make_specs(&mut self, batch: &mut Batch) {
        self.pass_on_what_was_given(batch);
        let mut done = BTreeSet::new();
        for _ in 0..ROUNDS {
            let new: Vec<RunNo> = batch.fx.make.difference(&done).copied().collect();
            for no in &new {
                // It may have ended in the same batch.
                let Some(run) = self.world.get(*no).filter(|run| run.is_being_made()) else { continue };
                if self.world.revision(&run.job, run.terms.rev).is_some_and(|job| Asked::may_wait(job)) {
                    batch.slow.push(*no);
                    continue;
                }
                batch.made.push(*no);
                let made = self.order(*no).and_then(|order| order.make(&self.config.server, &mut |_| ()));
                match made.and_then(|ready| self.put_ready(*no, ready)) {
                    Ok(made) => self.fact(made, batch),
                    Err(Unmakeable { step, errno, message }) => {
                        self.fact(Fact::Unmakeable { run: *no, step, errno, message }, batch);
                    }
                }
            }
            if new.is_empty() {
                break;
            }
            self.pass_on_what_was_given(batch);
            done.extend(new);
        }
    }

    /// All that is to be known of a run that is made; what only we know is found out now.
    pub(super) fn order(&self, no: RunNo) -> Result<Order, Unmakeable> {
        let gone = || Unmakeable::spec(0, "its definition is not there");
        let run = self.world.get(no).ok_or_else(gone)?;
        let job = Arc::clone(self.world.revision(&run.job, run.terms.rev).ok_or_else(gone)?);
        let (id, auto) = (run.id(), job.around.port == Some(Port::Auto));
        let mut env = self.given(no).map_err(|e| io("what it was given", &e))?;
        env.extend(self.instant_of(run).into_iter().flat_map(variables));
        let base = self.dirs.log_base(&id);
        let port = match self.world.port_before(no) {
            None if auto => Some(surroundings::free_port(&self.world.ports().chain(self.making.ports()).collect())?),
            before => before,
        };
        Ok(Order { id, job, run: run.clone(), env, port, auto, base, state: self.dirs.state.clone() })
    }

    /// A keeper can start it from now on, and is not told before that is recorded.
    pub(super) fn put_ready(&self, no: RunNo, ready: Ready) -> Result<Fact, Unmakeable> {
        let Ready { bytes, directory, port, auto, left_out } = ready;
        self.put_spec(no, &bytes).map_err(|e| io("its spec could not be written", &e))?;
        Ok(Fact::Made { run: no, directory, port, auto, left_out })
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
