//! A job: what a person wrote down once, to be run for years.
//!
//! Plain data, and complete: whoever reads a definition (a file, a request, another tool's words) fills in every default
//! and says all that is wrong with it; from here on nobody asks "and if it is missing?". Strings stand as they were
//! written: `$NAME` is expanded when a run is made.

use crate::JobName;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// Milliseconds: the finest that a definition can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    pub const fn seconds(s: u64) -> Millis {
        Millis(s.saturating_mul(1000))
    }
    /// As a distance between two `Time`s.
    pub const fn ns(self) -> i64 {
        let ns = self.0.saturating_mul(1_000_000);
        if ns > i64::MAX as u64 { i64::MAX } else { ns as i64 }
    }
}

/// Everything that is known of a job before any of its runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub name: JobName,
    /// One line for people.
    pub description: String,
    pub tags: Vec<String>,
    /// Asked to run, it records a skipped run instead.
    pub disabled: bool,
    pub program: Program,
    pub around: Around,
    pub life: Life,
    pub gates: Gates,
    pub chain: Chain,
    pub time: Timing,
    pub keep: Keep,
    /// Paths whose change restarts it, as globs below its directory.
    pub watch: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// `command`: given to `sh -c`.
    Shell(String),
    /// `exec`: the program and its arguments; no shell.
    Exec(Vec<String>),
}

/// What a run finds around it.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Around {
    /// `None`: HOME, or the directory of the file under `kin up`.
    pub dir: Option<String>,
    pub env: BTreeMap<String, String>,
    /// Files of `NAME=value` lines, read when a run is made; owner-only, or the run is refused.
    pub env_files: Vec<String>,
    /// Names (or globs) taken over from the server's own environment.
    pub env_pass: Vec<String>,
    /// Name to file: copied into the run's own credentials directory, which `$CREDENTIALS_DIRECTORY` names.
    pub credentials: BTreeMap<String, String>,
    pub user: Option<String>,
    pub group: Option<String>,
    pub umask: Option<u32>,
    pub nice: Option<i32>,
    /// `None`: only where kin itself changes the user.
    pub no_new_privileges: Option<bool>,
    pub limits: Limits,
    /// `PORT` in the run's environment.
    pub port: Option<Port>,
    /// Sockets that stay open between runs, passed as `LISTEN_FDS`.
    pub sockets: Vec<Socket>,
    pub tty: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Limits {
    /// By cgroup: bytes.
    pub memory: Option<u64>,
    /// By cgroup: thousandths of a processor.
    pub cpu_millis: Option<u32>,
    /// By cgroup: processes and threads.
    pub pids: Option<u64>,
    /// By rlimit. `core`, `nofile`, `nproc`, `stack`, `fsize`, `data`, `as`, `memlock`, `cpu`: soft and hard; `None` is
    /// unlimited.
    pub rlimits: BTreeMap<String, (Option<u64>, Option<u64>)>,
    /// What no controller here can keep is left out, and said, instead of refusing the run.
    pub best_effort: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// This and the slot's number together.
    From(u16),
    /// A free one, kept over restarts.
    Auto,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// In `LISTEN_FDNAMES`.
    pub name: String,
    pub at: SocketAt,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketAt {
    Tcp(String),
    Udp(String),
    Unix(String),
}

/// How often it is to be there, how its runs begin, end, and begin again.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    pub restart: Restart,
    /// For a service: so many slots, each with one run.
    pub instances: u32,
    pub again: Again,
    /// Exit codes that are a success.
    pub success: BTreeSet<u8>,
    pub ready: Option<Ready>,
    pub alive: Option<Alive>,
    /// Started when these are ready, stopped before them.
    pub needs: Vec<Need>,
    pub stop: Stop,
    /// From its start to its end.
    pub timeout: Option<Millis>,
    /// How long somebody may hold its pipes after its leader's end.
    pub linger: Millis,
    /// A new definition replaces instances one by one, each once the one before is ready.
    pub rolling: bool,
}

impl Life {
    /// A service has no more slots than that, whoever says how many.
    pub const MOST_INSTANCES: u32 = 10_000;

    /// A service is wished up, and kept so; everything else is run.
    pub const fn is_service(&self) -> bool {
        !matches!(self.restart, Restart::Never)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Not a service.
    Never,
    /// A service that may end well by itself.
    OnFailure,
    Always,
}

/// When and how often a run is followed by another try. Of a service: its restarts; else: its retries.
#[derive(Clone, Debug, PartialEq)]
pub struct Again {
    /// Runs in all, the first among them; `None`: without end.
    pub tries: Option<u32>,
    pub delay: Millis,
    pub backoff: Backoff,
    /// No delay is longer, jitter included.
    pub max_delay: Millis,
    /// Up to so many hundredths of the delay are added, by a hash of run and attempt.
    pub jitter_percent: u8,
    /// A run that was healthy for so long begins the count anew.
    pub healthy_after: Millis,
    pub on: AgainOn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    Fixed,
    /// delay × 2^(attempt − 1).
    Exponential,
}

/// Which bad ends are followed by another try. (`lost` only where it is named.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgainOn {
    /// `None`: every code that is no success.
    pub codes: Option<BTreeSet<u8>>,
    pub signals: bool,
    pub timeout: bool,
    pub spawn: bool,
    pub lost: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ready {
    pub by: Check,
    /// Between two looks.
    pub every: Millis,
    /// Of one look.
    pub look_timeout: Millis,
    /// Not ready by then: the run has failed and is stopped.
    pub within: Option<Millis>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Alive {
    pub by: Check,
    pub every: Millis,
    pub look_timeout: Millis,
    /// So many bad looks in a row, and it is restarted.
    pub failures: u32,
    /// No look before that, from its readiness on.
    pub grace: Millis,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    Http {
        url: String,
        /// Empty: 200 to 399.
        codes: BTreeSet<u16>,
    },
    Tcp {
        address: String,
    },
    /// Exit code 0 is yes. A string is given to `sh -c`.
    Exec(Program),
    /// A line of its output matches.
    Line(String),
    /// `READY=1` to `$NOTIFY_SOCKET`.
    Notify,
    /// A newline on this descriptor.
    Fd(u32),
    /// It simply has lived so long.
    After(Millis),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    pub job: JobName,
    /// Restarted when the needed one is.
    pub restart: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    /// Run first, with the run's surroundings; the signals come after it, or at once when it fails.
    pub command: Option<Program>,
    pub command_timeout: Millis,
    /// One after the other, each waited for; then KILL, of the whole tree.
    pub signals: Vec<u8>,
    pub wait: Millis,
}

/// What a run may have to wait for before it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Gates {
    pub overlap: Overlap,
    /// At most one run of all jobs that name the same.
    pub mutex: Vec<String>,
    pub queue: Option<String>,
    /// In its queue: greater goes first, then older.
    pub priority: i32,
    /// What it takes of its queue's slots, by resource; the plain slot is `slots`.
    pub need: BTreeMap<String, u32>,
    pub latch: Option<String>,
}

/// A tick or a chain that comes while a run of the same job lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    Skip,
    /// Waits for its turn; so many may wait.
    Queue(u32),
    Allow,
    /// Stops the one that lives, and starts when it has ended.
    Replace,
}

/// What comes before and after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// Run when it ends ok.
    pub next: Vec<JobName>,
    /// Run when it ends otherwise and is not tried again. (`stopped`, `interrupted`, `cancelled`, `skipped` are neither.)
    pub error: Vec<JobName>,
    /// Runs once for each round of these.
    pub after: Option<After>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    pub jobs: Vec<JobName>,
    pub rule: AfterRule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRule {
    /// Every one ended ok since the last round.
    AllOk,
    /// Every one ended.
    AllDone,
    /// One of them ended ok.
    Any,
}

/// Its schedules, as they were written; `kin_core::schedule` reads them.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    pub schedules: Vec<String>,
    /// An IANA name; `None`: the server's.
    pub timezone: Option<String>,
    pub dst: Dst,
    /// `None`: `once` for what fires daily or more rarely, else `none`.
    pub catch_up: Option<CatchUp>,
    pub catch_up_window: Millis,
    pub catch_up_max: u32,
    pub catch_up_delay: Millis,
    pub jitter: Millis,
    pub jitter_mode: JitterMode,
    /// Names of calendars: it runs only on their days.
    pub calendars: Vec<String>,
    /// What is due on a day that they do not count is moved to one that they do; `None`: it is not run.
    pub shift: Option<crate::schedule::Way>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dst {
    Once,
    Skip,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    None,
    Once,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JitterMode {
    /// The same for each tick, by a hash of host and job.
    Stable,
    Random,
}

/// What of its output and history is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    pub age: Option<Millis>,
    /// Output of all its ended runs together.
    pub bytes: u64,
    /// Output of one run and stream.
    pub run_bytes: u64,
    pub runs: Option<u64>,
    pub on_full: OnFull,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// The program waits for a minute, then output is dropped and counted.
    Drop,
    /// The program waits for ever.
    Block,
}

/// A queue: named places that jobs share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    pub name: String,
    /// By resource; `slots` is the number of runs at once.
    pub slots: BTreeMap<String, u32>,
    pub paused: bool,
}

impl Job {
    /// Every default there is: what a definition of nothing but a name and a program means.
    pub fn new(name: JobName, program: Program) -> Job {
        Job {
            name,
            description: String::new(),
            tags: Vec::new(),
            disabled: false,
            program,
            around: Around::default(),
            life: Life::default(),
            gates: Gates::default(),
            chain: Chain { next: Vec::new(), error: Vec::new(), after: None },
            time: Timing::default(),
            keep: Keep::default(),
            watch: Vec::new(),
        }
    }
}

impl Default for Life {
    fn default() -> Life {
        Life {
            restart: Restart::Never,
            instances: 1,
            again: Again::retries(),
            success: BTreeSet::from([0]),
            ready: None,
            alive: None,
            needs: Vec::new(),
            stop: Stop::default(),
            timeout: None,
            linger: Millis::seconds(5),
            rolling: true,
        }
    }
}

impl Again {
    /// Of a job that is run: one try, unless it asks for more.
    pub fn retries() -> Again {
        Again {
            tries: Some(1),
            delay: Millis::seconds(10),
            backoff: Backoff::Fixed,
            max_delay: Millis::seconds(300),
            jitter_percent: 0,
            healthy_after: Millis::seconds(60),
            on: AgainOn::default(),
        }
    }
    /// Of a service: without end, from half a second up to a minute.
    pub fn restarts() -> Again {
        Again {
            tries: None,
            delay: Millis(500),
            backoff: Backoff::Exponential,
            max_delay: Millis::seconds(60),
            jitter_percent: 10,
            healthy_after: Millis::seconds(60),
            on: AgainOn { lost: true, ..AgainOn::default() },
        }
    }
}

impl Default for AgainOn {
    fn default() -> AgainOn {
        AgainOn { codes: None, signals: true, timeout: true, spawn: true, lost: false }
    }
}

impl Default for Stop {
    fn default() -> Stop {
        Stop {
            command: None,
            command_timeout: Millis::seconds(10),
            signals: Vec::from([15]),
            wait: Millis::seconds(10),
        }
    }
}

impl Default for Gates {
    fn default() -> Gates {
        Gates {
            overlap: Overlap::Skip,
            mutex: Vec::new(),
            queue: None,
            priority: 0,
            need: BTreeMap::new(),
            latch: None,
        }
    }
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            schedules: Vec::new(),
            timezone: None,
            dst: Dst::Once,
            catch_up: None,
            catch_up_window: Millis::seconds(24 * 3600),
            catch_up_max: 20,
            catch_up_delay: Millis::seconds(120),
            jitter: Millis(0),
            jitter_mode: JitterMode::Stable,
            calendars: Vec::new(),
            shift: None,
        }
    }
}

impl Default for Keep {
    fn default() -> Keep {
        Keep {
            age: Some(Millis::seconds(30 * 24 * 3600)),
            bytes: 10 << 30,
            run_bytes: 1 << 30,
            runs: None,
            on_full: OnFull::Drop,
        }
    }
}
