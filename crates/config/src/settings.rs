//! What `[kin]` says: the server's own settings, its queues and its calendars.

use kin_core::job::{Millis, Queue};
use kin_core::schedule::{Date, DaySet};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub listen: Vec<Listen>,
    pub durability: Durability,
    /// What `kin up` puts before the names of its jobs; `None`: the name of the directory.
    pub project: Option<String>,
    /// In which schedules are meant that name none; `None`: the machine's.
    pub timezone: Option<String>,
    pub on_exit: OnExit,
    pub history: History,
    pub queues: BTreeMap<String, Queue>,
    pub calendars: BTreeMap<String, Calendar>,
    /// A file that says more of it, and cannot be read: what is not said here is not known.
    pub hidden: Option<PathBuf>,
}

/// One place where the server listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    pub address: String,
    pub dialect: Option<String>,
    pub token_file: Option<String>,
}

impl Listen {
    /// `None`: another tool's API, which this kin does not speak.
    pub fn native(&self) -> Option<SocketAddr> {
        if self.dialect.is_some() { None } else { loopback(&self.address) }
    }

    /// The file whose content opens it. A relative one is beside the job files.
    pub fn token_file(&self, config: &Path, state: &Path) -> PathBuf {
        self.token_file.as_ref().map_or_else(|| state.join("token"), |file| config.join(file))
    }
}

/// `7070`, `127.0.0.1:7070`, `[::1]:7070`, `localhost:7070`: an address that nobody reaches from another machine.
pub(crate) fn loopback(text: &str) -> Option<SocketAddr> {
    let here = |port: &str| Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.parse().ok()?));
    match text.strip_prefix("localhost:") {
        Some(port) => here(port),
        None if !text.contains(':') => here(text),
        None => text.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// What was accepted outlives a power cut.
    Full,
    /// A power cut may repeat or forget what was accepted in the last second.
    Fast,
}

impl Durability {
    pub const fn word(self) -> &'static str {
        match self {
            Durability::Full => "full",
            Durability::Fast => "fast",
        }
    }
}

/// What becomes of the runs when the server is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    Leave,
    Stop,
}

impl OnExit {
    pub const fn word(self) -> &'static str {
        match self {
            OnExit::Leave => "leave",
            OnExit::Stop => "stop",
        }
    }
}

/// How much of the ledger is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    pub age: Option<Millis>,
    pub runs: Option<u64>,
    pub runs_per_job: Option<u64>,
    pub events_age: Option<Millis>,
    pub events: Option<u64>,
}

/// Days on which schedules count: those of its weekdays and those it includes, without those it excludes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    pub name: String,
    /// 0 is Monday.
    pub weekdays: BTreeSet<u8>,
    /// `2026-12-24`.
    pub include: Vec<String>,
    pub exclude: Vec<String>,
    /// A calendar file, as it is named.
    pub ics: Option<String>,
    /// The days of its events count; else they do not.
    pub file_includes: bool,
    /// Which days these are.
    pub days: DaySet,
    /// `2026-12-24T18:00/2026-12-27T06:00`.
    pub blackouts: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            listen: Vec::new(),
            durability: Durability::Full,
            project: None,
            timezone: None,
            on_exit: OnExit::Leave,
            history: History::default(),
            queues: BTreeMap::new(),
            calendars: BTreeMap::new(),
            hidden: None,
        }
    }
}

impl Default for History {
    fn default() -> History {
        let month = Some(Millis::seconds(30 * 86_400));
        History { age: month, runs: None, runs_per_job: None, events_age: month, events: None }
    }
}

impl Calendar {
    pub fn new(name: &str) -> Calendar {
        Calendar {
            name: name.into(),
            weekdays: (0..7).collect(),
            include: Vec::new(),
            exclude: Vec::new(),
            ics: None,
            file_includes: false,
            days: DaySet::default(),
            blackouts: Vec::new(),
        }
    }

    /// As the rules have it, without its blackouts: those need to be told by which clocks they are meant. `None`: one of
    /// its dates is none.
    pub fn days_alone(&self) -> Option<kin_core::Calendar> {
        // Settings count days from Monday, the rules from Sunday.
        let weekdays = self.weekdays.iter().fold(0, |days, day| days | 1 << ((day + 1) % 7));
        let dates = |texts: &[String]| texts.iter().map(|text| date(text)).collect::<Option<_>>();
        let (include, exclude) = (dates(&self.include)?, dates(&self.exclude)?);
        let (file, file_includes) = (self.days.clone(), self.file_includes);
        let open = kin_core::Calendar::open(&self.name);
        Some(kin_core::Calendar { weekdays, include, exclude, file, file_includes, ..open })
    }
}

/// `2026-12-24`.
fn date(text: &str) -> Option<Date> {
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Date::new(year, month, day)
}

/// One run at a time, unless it says otherwise.
pub(crate) fn queue(name: &str) -> Queue {
    Queue { name: name.into(), slots: BTreeMap::from([("slots".into(), 1)]), paused: false }
}
