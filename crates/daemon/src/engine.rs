//! The engine: one thread that owns the world and the ledger.
//!
//! Everything that happens becomes one `Input`. The loop takes all that are there, tells them to the world, commits what
//! came of it in one transaction, answers, and only then does what was decided:
//!
//! ```text
//!   inputs ──▶ world ──▶ commit ──▶ answers ──▶ acts (perform.rs) ──▶ keepers
//!     ▲          ▲         │ failed
//!     │          └─────────┘ the world is loaded again, wishes are refused, facts are read again each second;
//!     │                      what ends something is done all the same (ending.rs)
//!     └── HTTP (handle.rs) · keepers (link.rs) · recovery (recover.rs) · time
//! ```
//! A commit that fails is a death of the mind alone, and is recovered from like any other: nothing that was not recorded
//! has been done but ends, and every fact still stands in a table. On a full disk there is a reserve for it (reserve.rs).
//!
//! No timer runs while nothing is pending; what the rules wait for, the alarm tells (alarm.rs).

mod adopt;
mod alarm;
mod before;
mod care;
mod chain;
mod clash;
mod commit;
mod dirs;
mod done;
mod ending;
pub mod handle;
mod jobs;
mod journal;
mod keepers;
mod link;
mod making;
mod mend;
mod names;
mod pack;
mod perform;
mod polite;
mod probed;
mod projects;
mod readers;
pub(crate) mod rebuild;
mod record;
mod recover;
mod reserve;
pub(crate) mod slot;
mod specs;
mod survivors;
#[cfg(test)]
mod tests;
mod timing;
mod trim;
mod upgrade;
mod wishes;

pub use adopt::{Adopt, Adopted};
pub(crate) use care::JOB_OUTPUT_MAX;
pub use ending::Unwritten;
pub use handle::{
    Accepted, ChainInfo, Committed, Gone, Handle, JobNow, Key, Link, ProjectNow, QueueNow, Reloaded, RunJob, Step,
    Submit, TimedNow, Timetable, Trouble,
};
pub(crate) use making::not_begun;
pub use probed::Probed;
pub use readers::{PooledReader, Readers};
pub use timing::{Times, ZoneFiles};
pub use upgrade::Progress;

use crate::clock;
use crate::makers::Makers;
use crate::surroundings::Server;
use alarm::Alarm;
use chain::{Tables, Told};
use dirs::Dirs;
use ending::Wished;
use handle::Call;
use journal::Journal;
use kin_core::{Act, Effects, Event, Fact, JobName, Mint, Refusal, RunNo, Time, What, World};
use kin_keeper::wire::{Ask, Guard};
use kin_ledger::{Durability, Found, Ledger, NewDone, NewKey, OpenError, Opened, ReadError, Retention};
use link::Link as Wires;
use reserve::Reserve;
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use survivors::Survivors;
use tokio::sync::{oneshot, watch};
use upgrade::Upgrade;

/// Inputs taken into one commit, at most: so that nobody waits long for an answer.
const BATCH: usize = 256;
/// Run numbers reserved ahead in the ledger: a minute's worth.
const MINT_AHEAD: u64 = 64 * 1000 * 60;
/// What could not be recorded, or has no keeper, is tried again after that.
const AGAIN: Duration = Duration::from_secs(1);
/// The wall clock was set if it differs by more, in nanoseconds: less than anybody waits for, more than reading it takes.
const STEP: i64 = 100_000_000;

/// What the engine is told at its start.
pub struct Config {
    /// `<state>`: kin.db, logs, left.
    pub state: PathBuf,
    /// `<run>`: run tables, their sockets, specs.
    pub run: PathBuf,
    /// `kin_keeper::boot::identity()`.
    pub boot: String,
    /// Of batches that hold a promise: `Normal` is `[kin] durability = "fast"`.
    pub durability: Durability,
    pub retention: Retention,
    /// What the ended runs of one job may have written, before the oldest of it goes.
    pub job_output_max: u64,
    /// Old runs and logs are looked at so long after a run has ended.
    pub care_after: Duration,
    /// What a run finds around it is waited for so long.
    pub make_within: Duration,
    /// What all runs of defined jobs share.
    pub server: Server,
    /// What all schedules share.
    pub times: Times,
    /// Makes a new elder when both keepers are gone. Returns when it was spawned; the engine hears of it by itself.
    pub new_elder: Box<dyn Fn() -> io::Result<()> + Send>,
    /// The wall clock, by the daemon's one seam.
    pub clock: Box<dyn Fn() -> Time + Send>,
    /// This process came here by exec from the one before (`Ended::Upgrade`): now the keepers are told to do the same.
    pub upgraded: bool,
}

/// A started engine.
#[derive(Debug)]
pub struct Started {
    pub handle: Handle,
    /// What the ledger was found as: good, fresh, or set aside and rebuilt.
    pub found: Found,
    /// Of each job file, what was good of it when a former daemon read it.
    pub remembered: Vec<(PathBuf, String)>,
    /// Stop commands that are to go, and to go no more.
    pub asking: tokio::sync::mpsc::UnboundedReceiver<crate::stopping::Word>,
    /// Says why the engine ended. Its thread is over then, and the ledger closed.
    pub ended: oneshot::Receiver<Ended>,
}

/// Why the engine ended.
#[derive(Debug)]
pub enum Ended {
    /// A shutdown, all of it done and recorded.
    Shutdown,
    /// Become this program, keeping the listening socket; all is recorded.
    Upgrade { program: PathBuf },
    /// It cannot go on; being started anew is the remedy. Nothing is lost.
    Failed { why: String },
}

/// Why no engine could be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("could not {what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
}

/// Opens the ledger and starts the engine's thread. Blocks until the ledger is open and its rows are loaded; handles may
/// be used at once.
pub fn start(config: Config) -> Result<Started, StartError> {
    let io = |what: &str| {
        let what = what.to_string();
        move |source| StartError::Io { what, source }
    };
    let dirs = Dirs { state: config.state.clone(), run: config.run.clone() };
    let lock = only_one(&dirs).map_err(io("take the ledger: another daemon has it, or it cannot be locked"))?;
    std::fs::create_dir_all(dirs.specs()).map_err(io("make the directory of specs"))?;
    std::fs::create_dir_all(dirs.logs()).map_err(io("make the directory of logs"))?;
    let mut reserve = Reserve::open(&config.state);
    let mut slices = 1;
    let Opened { ledger, found, acquitted } = loop {
        match Ledger::open(&config.state, (config.clock)()) {
            Err(OpenError::Full { .. }) if reserve.give(slices) => slices *= 2,
            opened => break opened?,
        }
    };
    let (sender, inputs) = mpsc::channel();
    let link = Wires::open(&config.run, sender.clone()).map_err(io("listen for keepers"))?;
    let (probed, probed_seen) = watch::channel(Vec::new());
    let (zones, zones_seen) = watch::channel(ZoneFiles::default());
    let (watching, watching_seen) = watch::channel(Vec::new());
    let (committed, committed_seen) = watch::channel(Committed { event_seq: ledger.last_event() });
    let nobody = ChainInfo {
        guard: Guard::Degraded,
        elder: None,
        keeper: None,
        front: None,
        settled: false,
        upgrade: upgrade::Progress::None,
    };
    let (chain, chain_seen) = watch::channel(nobody);
    let (trouble, trouble_seen) = watch::channel(Trouble::default());
    let (tell_end, ended) = oneshot::channel();
    let (ask, asking) = tokio::sync::mpsc::unbounded_channel();
    let journal = Journal::new(&config.state);
    let makers = Makers::default();
    let handle = Handle {
        makers: makers.clone(),
        make_within: config.make_within,
        journal: journal.watch_trouble(),
        trouble: trouble_seen,
        inputs: sender.clone(),
        committed: committed_seen,
        probed: probed_seen,
        zones: zones_seen,
        watching: watching_seen,
        chain: chain_seen,
        readers: Readers::new(config.state.clone(), ledger.footing()),
        key: None,
    };
    let reserved = ledger.mint_reserved();
    let ringing = sender.clone();
    // An engine that has ended wants no alarm.
    let alarm = Alarm::new(move || drop(ringing.send(Input::Alarm))).map_err(io("make a timer"))?;
    let origin = clock::origin(&config.clock);
    let survivors = Survivors::new(&dirs);
    let mut engine = Engine {
        alarm,
        origin,
        dirs,
        world: World::load(config.boot.clone(), Mint::after(reserved), []),
        ledger,
        reserved,
        link,
        tables: Tables::default(),
        told: None,
        fronts: BTreeMap::new(),
        survivors,
        unsaid: Vec::new(),
        sender,
        inputs,
        committed,
        chain,
        probed,
        zones,
        watching,
        found: found.clone(),
        look: true,
        booted: false,
        damaged: Vec::new(),
        upgrade: if config.upgraded { Upgrade::Wanted } else { Upgrade::None },
        closing: None,
        ending: None,
        later: Vec::new(),
        once: Vec::new(),
        stalled: None,
        quiet: false,
        reserve,
        trouble,
        blocked: BTreeSet::new(),
        untold: Vec::new(),
        room_at: None,
        chain_at: None,
        orphaned: false,
        care: care::Care::default(),
        names: names::Names::default(),
        damage: mend::Damage::new(acquitted),
        journal,
        book: jobs::Book::default(),
        polite: polite::Polite::new(ask),
        making: making::Making::new(makers, &config.server, config.make_within),
        looked: probed::Looked::default(),
        statuses: probed::Statuses::default(),
        config,
        _lock: lock,
    };
    engine.load().map_err(|e| StartError::Io { what: "read the ledger".into(), source: io::Error::other(e) })?;
    let remembered = engine.book.remembered();
    std::thread::Builder::new()
        .name("kin-engine".into())
        .spawn(move || {
            // Declared in this order, so that also in a panic the engine is gone before its end is told.
            let tell_end = tell_end;
            let mut engine = engine;
            let end = engine.run();
            drop(engine);
            // Nobody waits for it when the daemon is ending anyway.
            drop(tell_end.send(end));
        })
        .map_err(io("start the engine's thread"))?;
    Ok(Started { handle, found, remembered, asking, ended })
}

/// Two engines on one ledger would each start what the other has. The lock is held for life.
fn only_one(dirs: &Dirs) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(dirs.state.join("engine.lock"), flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Everything that can reach the engine.
#[derive(Debug)]
enum Input {
    /// Somebody in the daemon wants something.
    Call(Call, Option<Key>),
    /// The link heard something.
    Mail,
    /// The files of time zones may be others.
    Zones,
    /// It is time for something, or the clock was set.
    Alarm,
    /// A slow check of the ledger has come to its end.
    Cared(care::Cared),
    /// Of a run that is looked at.
    Said(crate::probe::Said),
    /// A stop command has ended.
    Asked(crate::stopping::Asked),
    /// What came of a run's making.
    Made(RunNo, making::Answer),
    /// Of the ledger, met by somebody who read it; who gets no answer has reached an engine that mends it.
    Damaged(String, Option<oneshot::Sender<()>>),
}

struct Engine {
    alarm: Alarm,
    /// The wall clock at the machine's start, as the rules were told of it.
    origin: i64,
    dirs: Dirs,
    config: Config,
    ledger: Ledger,
    world: World,
    reserved: u64,
    link: Wires,
    tables: Tables,
    /// What a keeper said last; none since the one it named hung up.
    told: Option<Told>,
    /// The front that is attached to each of those who answer.
    fronts: BTreeMap<u64, Option<u32>>,
    survivors: Survivors,
    /// What is to be done to survivors, once it is known who of all processes is kin's own.
    unsaid: Vec<Act>,
    inputs: mpsc::Receiver<Input>,
    /// For those who work for us.
    sender: mpsc::Sender<Input>,
    committed: watch::Sender<Committed>,
    chain: watch::Sender<ChainInfo>,
    probed: watch::Sender<Vec<Probed>>,
    /// Which files the zones of all schedules are from.
    zones: watch::Sender<ZoneFiles>,
    watching: watch::Sender<Vec<std::sync::Arc<kin_core::job::Job>>>,
    found: Found,
    /// Names, tables and the chain have to be looked at before the next commit.
    look: bool,
    /// What an earlier boot, and an earlier server, left is in the ledger.
    booted: bool,
    /// Live runs whose rows cannot be read.
    damaged: Vec<RunNo>,
    upgrade: Upgrade,
    closing: Option<Closing>,
    ending: Option<Ended>,
    /// Facts learned while performing.
    later: Vec<Fact>,
    /// What is said only once, and was not recorded: told to the rules again when a commit may go well again.
    once: Vec<Fact>,
    /// When to try again what could not be recorded.
    stalled: Option<Instant>,
    /// By what could not be recorded, no run has a process any more.
    quiet: bool,
    reserve: Reserve,
    trouble: watch::Sender<Trouble>,
    /// Runs of which it was said that their output is blocked: once, however often it is.
    blocked: BTreeSet<RunNo>,
    /// Of the engine's own doing, for the next commit.
    untold: Vec<Event>,
    /// When to ask again for room in a full table.
    room_at: Option<Instant>,
    /// When to look again for a chain, while there is none.
    chain_at: Option<Instant>,
    /// It was said that both keepers are gone.
    orphaned: bool,
    care: care::Care,
    names: names::Names,
    damage: mend::Damage,
    journal: Journal,
    book: jobs::Book,
    polite: polite::Polite,
    making: making::Making,
    looked: probed::Looked,
    statuses: probed::Statuses,
    /// Last, so that the ledger is closed before another engine may open it.
    _lock: OwnedFd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// When all that was decided is done.
    Now,
    /// When no run has a process any more.
    WhenQuiet,
}

/// Says its answer, or that all was for nothing.
type Answer = Box<dyn FnOnce(Option<&Refusal>)>;

/// What is committed together.
#[derive(Default)]
struct Batch {
    fx: Effects,
    keys: BTreeMap<String, NewKey>,
    /// Wishes that made no run, by their keys.
    done: BTreeMap<String, NewDone>,
    /// Specs written for runs that are not committed yet.
    specs: Vec<RunNo>,
    /// Runs of which a keeper counted all they wrote.
    counted: BTreeSet<RunNo>,
    /// Processes that are watched as runs which are not committed yet.
    adopted: Vec<RunNo>,
    /// Specs of runs of defined jobs, written for what begins with this batch.
    made: Vec<RunNo>,
    /// Runs that are to be made by others, once it is recorded that they are.
    slow: Vec<RunNo>,
    /// Those that were not made in time.
    late: Vec<RunNo>,
    /// Runs of defined jobs that somebody was promised.
    jobs_accepted: Vec<RunNo>,
    /// Where the definitions of the batch come from.
    sources: BTreeMap<(JobName, u64), kin_ledger::Source>,
    /// Revisions that change no rule.
    definitions: Vec<kin_ledger::Definition>,
    /// Queues whose definition is another now.
    queues: BTreeSet<String>,
    /// What all schedules shared before it, if that is something else now.
    times: Option<timing::Shared>,
    answers: Vec<Answer>,
    /// Answered as of this commit.
    looks: Vec<handle::Look>,
    /// A new run, or a release: nothing of that is worth the reserve.
    accepts: bool,
    /// Answered when they are done.
    endings: Vec<Wished>,
    /// What probes said, and say only once.
    once: Vec<Fact>,
    /// Files whose content is in the ledger once this is.
    read: Vec<PathBuf>,
    /// Generations that nobody serves, and that hold nothing more.
    dead: Vec<u64>,
    /// What the rules were told of the clock.
    origin: Option<i64>,
    boots: bool,
    settles: bool,
    closing: Option<Closing>,
    ending: Option<Ended>,
}

impl Engine {
    fn now(&self) -> Time {
        (self.config.clock)()
    }

    /// The world as the ledger has it.
    fn load(&mut self) -> Result<(), ReadError> {
        let page = self.ledger.live()?;
        for damaged in &page.damaged {
            crate::say!("kin daemon: {damaged}");
        }
        self.damaged = page.damaged.iter().map(|damaged| damaged.no).collect();
        self.booted &= self.damaged.is_empty();
        // Also a number that was never committed may stand in the name of a spec.
        let minted = Mint::after(self.world.minted());
        self.world = World::load(self.config.boot.clone(), minted, page.runs);
        self.load_jobs()?;
        if let Some(closing) = self.closing {
            self.world.close(closing == Closing::WhenQuiet);
        }
        Ok(())
    }

    fn run(&mut self) -> Ended {
        let mut batch = Batch::default();
        self.begin(&mut batch);
        self.commit(batch);
        loop {
            self.journal.catch_up(&self.ledger);
            if let Some(end) = self.perhaps_over() {
                self.journal.finish(&self.ledger);
                return end;
            }
            let first = match self.wait() {
                Waited::Input(input) => Some(input),
                Waited::Time => None,
                Waited::Alone => return Ended::Shutdown,
            };
            let mut batch = Batch::default();
            self.look_at_the_clock(&mut batch);
            for fact in std::mem::take(&mut self.later) {
                self.fact(fact, &mut batch);
            }
            let more = std::iter::from_fn(|| self.inputs.try_recv().ok()).take(BATCH);
            let inputs: Vec<Input> = first.into_iter().chain(more).collect();
            for input in inputs {
                self.take(input, &mut batch);
            }
            self.times(&mut batch);
            self.record_statuses(&mut batch);
            self.look(&mut batch);
            self.commit(batch);
            self.look_at_touched();
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&mut self) -> Waited {
        if !self.later.is_empty() || self.look {
            return Waited::Time;
        }
        let due = self.due();
        self.alarm.set(due);
        let pending = [self.stalled, self.room_at, self.chain_at];
        let others = [self.survivors.wake_at(), self.care.wake_at(), self.journal.wake_at(), self.reserve.wake_at()];
        let making = self.making.wake_at().filter(|_| self.stalled.is_none());
        let others =
            others.into_iter().chain([self.statuses.wake_at(), self.upgrade_wake_at(), self.names.wake_at(), making]);
        let wake = pending.into_iter().chain(others);
        match wake.flatten().min() {
            None => self.inputs.recv().map_or(Waited::Alone, Waited::Input),
            Some(at) => match self.inputs.recv_timeout(at.saturating_duration_since(Instant::now())) {
                Ok(input) => Waited::Input(input),
                Err(mpsc::RecvTimeoutError::Timeout) => Waited::Time,
                Err(mpsc::RecvTimeoutError::Disconnected) => Waited::Alone,
            },
        }
    }

    /// When the rules have something to do. While nothing can be recorded, or nothing new is begun, that can wait.
    fn due(&self) -> Option<Time> {
        self.world.due().filter(|_| self.stalled.is_none() && self.reserve.wake_at().is_none())
    }

    fn is_due(&self) -> bool {
        self.due().is_some_and(|at| at <= self.now())
    }

    /// A clock that was set is told to the rules before anything else, and again until that is recorded.
    fn look_at_the_clock(&mut self, batch: &mut Batch) {
        let origin = clock::origin(&self.config.clock);
        let by = origin.saturating_sub(self.origin);
        if by.abs() > STEP {
            self.fact(Fact::Stepped { by }, batch);
            batch.origin = Some(origin);
        }
    }

    fn take(&mut self, input: Input, batch: &mut Batch) {
        match input {
            Input::Call(call, key) => self.call(call, key, batch),
            Input::Mail => self.mail(batch),
            Input::Alarm => self.alarm.rang(),
            Input::Zones => self.zones_may_differ(batch),
            Input::Cared(cared) => self.cared(cared, batch),
            Input::Asked(asked) => self.asked(asked, batch),
            Input::Said(said) => self.said(said, batch),
            Input::Made(no, answer) => self.answered(no, answer, batch),
            Input::Damaged(what, reply) => self.is_damaged(what, reply),
        }
    }

    fn fact(&mut self, fact: Fact, batch: &mut Batch) {
        let now = self.now();
        self.world.fact(now, fact, &mut batch.fx);
    }

    fn note(&self, kind: &'static str, message: String, batch: &mut Batch) {
        let what = What::Note { kind, run: None, message };
        batch.fx.events.push(Event { at: self.now(), what });
    }

    // ---- the end ----

    fn perhaps_over(&mut self) -> Option<Ended> {
        match self.ending.take() {
            Some(end @ (Ended::Upgrade { .. } | Ended::Failed { .. } | Ended::Shutdown)) => return Some(end),
            None => {}
        }
        let closing = self.closing?;
        // What cannot be recorded stays in the run tables, and the next server reads it there.
        let is_over = match (closing, self.stalled) {
            (Closing::Now, _) => true,
            (Closing::WhenQuiet, None) => !self.world.is_going() && !self.polite.is_busy(),
            (Closing::WhenQuiet, Some(_)) => self.quiet,
        };
        if !self.later.is_empty() || !is_over {
            return None;
        }
        let all: Vec<u64> = self.link.connected().collect();
        for generation in all {
            self.link.send(generation, &[Ask::Shutdown { leave: true }.encode()]);
        }
        if !self.link.is_flushed() {
            crate::say!("kin daemon: a keeper does not listen; it will hear of the end from the other");
        }
        Some(Ended::Shutdown)
    }
}

enum Waited {
    Input(Input),
    Time,
    /// Every handle is gone, and nothing is pending.
    Alone,
}

/// An error and its causes, in one line.
fn words(e: &dyn std::error::Error) -> String {
    let mut line = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        line.push_str(": ");
        line.push_str(&e.to_string());
        cause = e.source();
    }
    line
}
