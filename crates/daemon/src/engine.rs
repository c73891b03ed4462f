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
mod care;
mod chain;
mod dirs;
mod ending;
pub mod handle;
mod jobs;
mod journal;
mod link;
mod pack;
mod perform;
mod polite;
mod probed;
mod projects;
mod readers;
mod rebuild;
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

pub use adopt::{Adopt, Adopted};
pub(crate) use care::JOB_OUTPUT_MAX;
pub use ending::Unwritten;
pub use handle::{
    Accepted, ChainInfo, Committed, Handle, JobNow, Key, Link, ProjectNow, QueueNow, Reloaded, RunJob, Step, Submit,
    TimedNow, Timetable, Trouble,
};
pub use probed::Probed;
pub use readers::{PooledReader, Readers};
pub use timing::Times;

use crate::clock;
use crate::surroundings::Server;
use alarm::Alarm;
use chain::{Tables, Told};
use dirs::Dirs;
use ending::Wished;
use handle::Call;
use journal::Journal;
use kin_core::{
    Act, Effects, Event, Fact, Granted, JobName, Mint, Refusal, Run, RunId, RunNo, Time, What, Wish, World,
};
use kin_keeper::wire::{Ask, Guard};
use kin_ledger::{
    Batch as Rows, Change, Durability, Found, Ledger, NewEvent, NewKey, OpenError, Opened, ReadError, Retention, Stage,
};
use link::Link as Wires;
use record::NotWritten;
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
    let Opened { ledger, found } = loop {
        match Ledger::open(&config.state, (config.clock)()) {
            Err(OpenError::Full { .. }) if reserve.give(slices) => slices *= 2,
            opened => break opened?,
        }
    };
    let (sender, inputs) = mpsc::channel();
    let link = Wires::open(&config.run, sender.clone()).map_err(io("listen for keepers"))?;
    let (probed, probed_seen) = watch::channel(Vec::new());
    let (zones, zones_seen) = watch::channel(BTreeSet::new());
    let (watching, watching_seen) = watch::channel(Vec::new());
    let (committed, committed_seen) = watch::channel(Committed { event_seq: ledger.last_event() });
    let nobody = ChainInfo { guard: Guard::Degraded, elder: None, keeper: None, front: None, settled: false };
    let (chain, chain_seen) = watch::channel(nobody);
    let (trouble, trouble_seen) = watch::channel(Trouble::default());
    let (tell_end, ended) = oneshot::channel();
    let (ask, asking) = tokio::sync::mpsc::unbounded_channel();
    let journal = Journal::new(&config.state);
    let handle = Handle {
        journal: journal.watch_trouble(),
        trouble: trouble_seen,
        inputs: sender.clone(),
        committed: committed_seen,
        probed: probed_seen,
        zones: zones_seen,
        watching: watching_seen,
        chain: chain_seen,
        readers: Readers::new(config.state.clone()),
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
        journal,
        book: jobs::Book::default(),
        polite: polite::Polite::new(ask),
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
    Call(Call),
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
    zones: watch::Sender<BTreeSet<PathBuf>>,
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
    journal: Journal,
    book: jobs::Book,
    polite: polite::Polite,
    looked: probed::Looked,
    statuses: probed::Statuses,
    /// Last, so that the ledger is closed before another engine may open it.
    _lock: OwnedFd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upgrade {
    None,
    /// The daemon is new; the keepers are to follow, the younger first.
    Wanted,
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
    /// Specs written for runs that are not committed yet.
    specs: Vec<RunNo>,
    /// Runs of which a keeper counted all they wrote.
    counted: BTreeSet<RunNo>,
    /// Processes that are watched as runs which are not committed yet.
    adopted: Vec<RunNo>,
    /// Specs of runs of defined jobs, written for what begins with this batch.
    made: Vec<RunNo>,
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
        let others = others.into_iter().chain([self.statuses.wake_at()]);
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
            Input::Call(call) => self.call(call, batch),
            Input::Mail => self.mail(batch),
            Input::Alarm => self.alarm.rang(),
            Input::Zones => self.zones_may_differ(batch),
            Input::Cared(cared) => self.cared(cared, batch),
            Input::Asked(asked) => self.asked(asked, batch),
            Input::Said(said) => self.said(said, batch),
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

    // ---- wishes ----

    fn call(&mut self, call: Call, batch: &mut Batch) {
        let now = self.now();
        match call {
            Call::Submit { submits, reply } => {
                let results: Vec<Result<Accepted, Refusal>> =
                    submits.into_iter().map(|submit| self.submit(submit, batch)).collect();
                batch.answers.push(Box::new(move |failed| {
                    let answer = match failed {
                        Some(refusal) => results.iter().map(|_| Err(refusal.clone())).collect(),
                        None => results,
                    };
                    // Who asked may have gone; the key, or the listing, finds the run.
                    drop(reply.send(answer));
                }));
            }
            Call::End(ending) => self.wish_end(ending, batch),
            Call::Job(call) => self.job_call(call, batch),
            Call::Adopt { wish, reply } => {
                let answer = self.adopt_process(*wish, batch);
                batch.answers.push(answering(reply, answer));
            }
            Call::Release { latch, reply } => {
                let answer =
                    self.has_room().and_then(|()| self.world.wish(now, Wish::Release { latch }, &mut batch.fx));
                let answer = answer.map(|granted| match granted {
                    Granted::Released(ids) => ids,
                    Granted::Run(_) | Granted::Job(_) | Granted::Done | Granted::Farewell(_) => Vec::new(),
                });
                batch.accepts |= answer.as_ref().is_ok_and(|ids| !ids.is_empty());
                batch.answers.push(answering(reply, answer));
            }
            Call::Upgrade { program, reply } => {
                let answer = self.upgrade(&program, batch);
                if answer.is_ok() {
                    batch.ending = Some(Ended::Upgrade { program });
                }
                batch.answers.push(answering(reply, answer));
            }
            Call::Ready => self.link.ready(),
        }
    }

    fn submit(&mut self, mut submit: Submit, batch: &mut Batch) -> Result<Accepted, Refusal> {
        let now = self.now();
        if let Some(repeat) = self.repeat(submit.key.as_ref(), batch)? {
            return Ok(repeat);
        }
        if self.world.is_closing() {
            return Err(Refusal::Closing);
        }
        self.has_room()?;
        let no = self.world.mint(now);
        self.step("accept-minted");
        let id = RunId { job: submit.new.job.clone(), no };
        self.write_spec(&id, &mut submit)?;
        self.step("accept-spec");
        let key = submit.key;
        match self.world.wish(now, Wish::Submit { no, new: Box::new(submit.new) }, &mut batch.fx) {
            Ok(Granted::Run(run)) => {
                batch.specs.push(no);
                batch.accepts = true;
                if let Some(Key { text, content }) = key {
                    let new = NewKey { key: text.clone(), content, run: no, at: now };
                    batch.keys.insert(text, new);
                }
                Ok(Accepted { run: *run, repeat: false })
            }
            Ok(Granted::Released(_) | Granted::Job(_) | Granted::Done | Granted::Farewell(_)) => {
                Err(Refusal::Unknown { run: no })
            }
            Err(refusal) => {
                self.remove_spec(no);
                Err(refusal)
            }
        }
    }

    /// The run of the first request under this key, if there was one.
    fn repeat(&self, key: Option<&Key>, batch: &Batch) -> Result<Option<Accepted>, Refusal> {
        let Some(key) = key else { return Ok(None) };
        let Some((content, no)) = self.known_key(&key.text, batch)? else { return Ok(None) };
        let run = match batch.fx.changed.get(&no) {
            Some(run) => Some(run.clone()),
            None => self.any_run(no)?,
        };
        match run {
            Some(run) if content == key.content => Ok(Some(Accepted { run, repeat: true })),
            Some(run) => Err(Refusal::KeyReused { key: key.text.clone(), first: run.id() }),
            None => Err(Refusal::Unavailable { why: format!("run {no}, of the same key, is not to be found") }),
        }
    }

    /// What a key stands for, in this batch or before it.
    fn known_key(&self, key: &str, batch: &Batch) -> Result<Option<(u64, RunNo)>, Refusal> {
        match batch.keys.get(key) {
            Some(new) => Ok(Some((new.content, new.run))),
            None => self.ledger.key(key).map_err(|e| unavailable(&e)),
        }
    }

    /// A run as it is now, whether it lives or not.
    fn any_run(&self, no: RunNo) -> Result<Option<Run>, Refusal> {
        match self.world.get(no) {
            Some(run) => Ok(Some(run.clone())),
            None => self.ledger.run(no).map_err(|e| unavailable(&e)),
        }
    }

    /// A wish about one run, which may have ended.
    fn about(&mut self, no: RunNo, wish: Wish, batch: &mut Batch) -> Result<Run, Refusal> {
        let now = self.now();
        match self.world.wish(now, wish, &mut batch.fx) {
            Ok(Granted::Run(run)) => Ok(*run),
            Ok(Granted::Released(_) | Granted::Job(_) | Granted::Done | Granted::Farewell(_)) => {
                Err(Refusal::Unknown { run: no })
            }
            Err(Refusal::Unknown { run }) => match batch.fx.changed.get(&run) {
                Some(ended) => Err(has_ended(ended)),
                None => Err(self.any_run(run)?.map_or(Refusal::Unknown { run }, |run| has_ended(&run))),
            },
            Err(refusal) => Err(refusal),
        }
    }

    fn upgrade(&self, program: &std::path::Path, batch: &mut Batch) -> Result<(), Refusal> {
        let info = *self.chain.borrow();
        if info.guard != Guard::Whole || !info.settled {
            return Err(Refusal::Degraded);
        }
        self.write_upgrade(program).map_err(|e| Refusal::Unavailable { why: format!("the upgrade: {e}") })?;
        self.note("server.upgrade", format!("the server becomes {}", program.display()), batch);
        Ok(())
    }

    // ---- the commit ----

    /// All or nothing; then the answers, then the acts.
    fn commit(&mut self, mut batch: Batch) {
        self.make_specs(&mut batch);
        let mut fx = std::mem::take(&mut batch.fx);
        let counted = |run: &Run| batch.counted.contains(&run.no);
        for run in fx.changed.values_mut().filter(|run| run.outcome().is_some() && !counted(run)) {
            self.measure(run);
        }
        // More may come to it while this is written.
        let told = self.untold.len();
        fx.events.splice(0..0, self.untold.iter().cloned());
        let accepted = !batch.specs.is_empty();
        let ended = fx.changed.values().filter(|run| run.outcome().is_some());
        let (ended, written) = ended.fold((0, 0), |(n, bytes), run| (n + 1, bytes + run.out_bytes + run.err_bytes));
        let minted = self.world.minted();
        let reserve = (minted > self.reserved).then(|| minted.saturating_add(MINT_AHEAD));
        let definitions = self.definitions_of(&fx, &mut batch);
        let rows = Rows {
            runs: fx.changed.values().collect(),
            events: fx.events.iter().map(row_of_event).collect(),
            keys: std::mem::take(&mut batch.keys).into_values().collect(),
            mint_reserved: reserve,
            definitions,
            standings: fx.standings.iter().map(|(job, now)| (job.clone(), now.clone())).collect(),
            queues: self.queues_of(&fx, &batch),
            ticks: std::mem::take(&mut fx.ticks),
        };
        let decides = !rows.ticks.is_empty();
        if decides {
            self.step("ticks-decided");
        }
        let mut seqs = 0..0;
        let changes = !(rows.runs.is_empty()
            && rows.events.is_empty()
            && rows.keys.is_empty()
            && rows.definitions.is_empty()
            && rows.standings.is_empty()
            && rows.queues.is_empty()
            && rows.ticks.is_empty()
            && reserve.is_none());
        if changes {
            let durability = if fx.promises { self.config.durability } else { Durability::Normal };
            match self.write(&rows, durability, batch.accepts) {
                Ok(applied) => {
                    let event_seq = applied.seqs.end.saturating_sub(1).max(self.committed.borrow().event_seq);
                    self.committed.send_replace(Committed { event_seq });
                    seqs = applied.seqs;
                }
                Err(not) => return self.not_recorded(batch, &not),
            }
            self.untold.drain(..told);
        }
        let events = rows.events;
        self.reserved = reserve.unwrap_or(self.reserved);
        if accepted {
            self.step("accept-committed");
        }
        if decides {
            self.step("ticks-committed");
        }
        if ended > 0 {
            self.step("end-committed");
            self.care.ended(written, self.config.care_after);
            self.look_for_room();
        }
        if self.stalled.is_none() {
            self.quiet = false;
            self.trouble.send_if_modified(|trouble| trouble.unwritten.take().is_some());
        }
        if batch.boots {
            self.booted = true;
            self.sweep_specs();
            // Also when the daemon before us died between taking the elder's word and doing this.
            self.restore_runs();
            self.sweep_adopted();
            self.sweep_given();
        }
        self.origin = batch.origin.unwrap_or(self.origin);
        self.closing = batch.closing.or(self.closing);
        self.ending = batch.ending.take();
        self.publish(batch.settles);
        for answer in batch.answers {
            answer(None);
        }
        for look in batch.looks {
            self.answer_look(look);
        }
        if accepted {
            self.step("accept-answered");
        }
        for path in &batch.read {
            perform::remove(path);
        }
        // After its mark is gone: what vanishes from here on leaves another.
        if batch.read.iter().any(|path| path.ends_with(kin_keeper::MADE_AGAIN)) {
            self.restore_runs();
        }
        let watching = batch.boots || self.watching_may_differ(&fx);
        let sockets = batch.boots || ended > 0 || !fx.defined.is_empty() || fx.standings.values().any(Option::is_none);
        let probes = batch.boots || self.probes_may_differ(&fx);
        self.tell_zones();
        self.perform(fx.acts);
        if probes {
            self.tell_probes();
        }
        if sockets {
            self.release_sockets();
        }
        if watching {
            self.tell_watching();
        }
        for wished in batch.endings {
            wished.answer();
        }
        for generation in batch.dead {
            self.bury(generation);
        }
        self.journal.tell(&seqs, &events);
        self.room_at = self.world.wants_room().then(|| self.room_at.unwrap_or_else(|| Instant::now() + AGAIN));
    }

    /// Nothing of it is true. Wishes for something new are refused; the world is loaded again; facts are read again in a
    /// second; what ends something is done.
    fn not_recorded(&mut self, mut batch: Batch, not: &NotWritten) {
        let why = &not.why;
        // Once, and not each second.
        if self.trouble.borrow().unwritten.is_none() {
            crate::say!("kin daemon: not recorded: {why}");
        }
        let times = batch.times.take().map(|before| self.config.times.swap(before));
        self.load_again();
        // A commit may fail after all of it was written: then it is true, and is answered so.
        let mut promised = batch.specs.iter().chain(&batch.adopted).chain(&batch.jobs_accepted);
        let is_there = promised.any(|no| self.world.get(*no).is_some());
        if let Some(times) = times.filter(|_| is_there) {
            self.config.times.swap(times);
            self.load_again();
        }
        self.unmake(&batch.made);
        if !is_there {
            for no in batch.specs {
                self.remove_spec(no);
            }
            for no in batch.adopted {
                self.unadopt(no);
            }
        }
        for answer in batch.answers {
            answer((!is_there).then_some(&not.refusal()));
        }
        for look in batch.looks {
            self.answer_look(look);
        }
        self.stalled = Some(Instant::now() + AGAIN);
        self.journal.doubt();
        self.publish(false);
        if batch.accepts {
            // What else was in it can do with less room.
            self.look = true;
            return self.wish_ends_again(batch.endings);
        }
        self.end_unrecorded(batch.endings, why);
    }

    fn load_again(&mut self) {
        if let Err(e) = self.load() {
            self.ending = Some(Ended::Failed { why: format!("the ledger cannot be read: {}", words(&e)) });
        }
    }

    /// Says how the chain stands to whoever watches.
    fn publish(&mut self, settles: bool) {
        let link = |generation: u64| Link { generation, pid: self.link.pid(generation) };
        let before = *self.chain.borrow();
        let settled = self.told.is_some() && self.stalled.is_none() && (settles || before.settled);
        // A ledger that can take nothing makes no keeper weaker.
        let believed = settled || self.stalled.is_some();
        let info = ChainInfo {
            guard: self.told.filter(|_| believed).map_or(Guard::Degraded, |told| told.guard),
            elder: self.told.map(|told| link(told.elder)),
            keeper: self.told.map(|told| link(told.keeper)),
            front: self.front(),
            settled,
        };
        if info != before {
            self.chain.send_replace(info);
        }
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

fn answering<T: 'static>(reply: handle::Reply<T>, answer: Result<T, Refusal>) -> Answer {
    Box::new(move |failed| {
        // Who asked may have gone.
        drop(reply.send(match failed {
            Some(refusal) => answer.and(Err(refusal.clone())),
            None => answer,
        }));
    })
}

fn has_ended(run: &Run) -> Refusal {
    match run.outcome() {
        Some(outcome) => Refusal::Ended { run: run.id(), outcome: outcome.clone() },
        None => Refusal::Unknown { run: run.no },
    }
}

fn unavailable(e: &ReadError) -> Refusal {
    Refusal::Unavailable { why: words(e) }
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

fn row_of_event(event: &Event) -> NewEvent {
    let new = |kind: &str| NewEvent { at: event.at, kind: kind.to_string(), run: None, change: None, message: None };
    match &event.what {
        What::State { run, from, to, exit } => {
            let outcome = match to {
                kin_core::RunState::Ended { outcome } => Some(outcome.clone()),
                kin_core::RunState::Held { .. }
                | kin_core::RunState::Waiting { .. }
                | kin_core::RunState::Queued
                | kin_core::RunState::Starting { .. }
                | kin_core::RunState::Running { .. }
                | kin_core::RunState::Stopping { .. }
                | kin_core::RunState::Draining { .. } => None,
            };
            let change = Change { from: from.and_then(Stage::parse), to: Stage::of(to), outcome, exit: *exit };
            NewEvent { run: Some(run.clone()), change: Some(change), ..new("run.state") }
        }
        What::Defined { job, from, to } => {
            let words = match (from, to) {
                (0, rev) => format!("{job} is defined, as revision {rev}"),
                (_, 0) => format!("{job} is not defined any more"),
                (from, to) => format!("{job} is revision {to} now, after {from}"),
            };
            NewEvent { message: Some(words), ..new("job.defined") }
        }
        What::Released { latch, runs } => {
            let message = format!("latch {latch} was released, with {runs} run{}", if *runs == 1 { "" } else { "s" });
            NewEvent { message: Some(message), ..new("latch.released") }
        }
        What::Note { kind, run, message } => NewEvent { run: run.clone(), message: Some(message.clone()), ..new(kind) },
    }
}
