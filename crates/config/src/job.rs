//! One job: from its table to a definition, by the table of keys.

use crate::keys::job::JOB;
use crate::mistake::{Code, Mistake, Spot};
use crate::read::{self, Reader, Said};
use crate::tree::{Entry, Tree, Value};
use kin_core::JobName;
use kin_core::job::{Job, Program};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// A definition and where its keys stand.
#[derive(Clone, Debug)]
pub struct Definition {
    pub job: Arc<Job>,
    /// Which source, if it has one.
    pub source: Option<usize>,
    /// Its name.
    pub at: Range<usize>,
    pub(crate) keys: Keys,
}

/// By the key's name.
pub(crate) type Keys = BTreeMap<&'static str, SaidHere>;

/// A value as it was written.
#[derive(Clone, Debug)]
pub(crate) struct SaidHere {
    pub(crate) source: Option<usize>,
    pub(crate) tree: Tree,
    /// By the job itself, not by `[defaults]`.
    pub(crate) own: bool,
}

impl Definition {
    /// Where a key's value stands; where it was not said, the job's name.
    pub(crate) fn spot(&self, key: &str) -> Option<Spot> {
        let (source, span) = match self.keys.get(key) {
            Some(said) => (said.source, &said.tree.span),
            None => (self.source, &self.at),
        };
        source.map(|source| Spot { source, span: span.clone() })
    }
    pub(crate) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.job.name)
    }
    /// Its file and line.
    pub fn place<'s>(&self, sources: &'s [crate::Source]) -> Option<(&'s crate::Source, usize)> {
        self.source.and_then(|n| sources.get(n)).map(|source| (source, source.place(self.at.start).line))
    }
}

/// `[defaults]` of one file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults<'t> {
    pub(crate) source: Option<usize>,
    pub(crate) entries: &'t [Entry],
}

impl<'t> Defaults<'t> {
    /// What they say, nothing said about it.
    fn said(&self) -> Vec<Said<'t, Job>> {
        let (mut nowhere, mut said) = (Vec::new(), Vec::new());
        let mut r = Reader {
            source: None,
            mistakes: &mut nowhere,
            table: String::new(),
            key: String::new(),
            quiet: true,
            unknown: Vec::new(),
        };
        read::said(&mut r, &JOB, "", self.entries, &mut said);
        said
    }

    /// Says what is wrong with them: once, and not again with every job.
    pub(crate) fn check(&self, mistakes: &mut Vec<Mistake>) {
        let mut r = Reader {
            source: self.source,
            mistakes,
            table: "defaults".into(),
            key: String::new(),
            quiet: false,
            unknown: Vec::new(),
        };
        let mut said = Vec::new();
        read::said(&mut r, &JOB, "", self.entries, &mut said);
        said.retain(|one: &Said<'_, Job>| {
            if !one.key.shared {
                r.key = one.key.name.into();
                let message = format!("'{}' is each job's own, and cannot stand in [defaults]", one.key.name);
                r.say(&one.entry.at, Mistake::error(Code::Conflict, message));
            }
            one.key.shared
        });
        read::rules(&mut r, &JOB, &(0..0), &said, false);
        let Ok(name) = JobName::parse("defaults") else { return };
        let mut nobody = Job::new(name, Program::Exec(Vec::new()));
        set(&mut r, said, &mut nobody);
    }
}

fn set(r: &mut Reader<'_>, mut said: Vec<Said<'_, Job>>, job: &mut Job) {
    said.sort_by_key(|one| one.index);
    for one in said {
        r.key = one.key.name.into();
        one.key.kind.read(r, &one.entry.tree, job);
    }
    r.key.clear();
}

/// `None`: it has no name, or is no table. What is wrong with it is said; what is right is read all the same.
pub(crate) fn read(
    source: Option<usize>,
    entry: &Entry,
    defaults: &[Defaults<'_>],
    mistakes: &mut Vec<Mistake>,
) -> Option<Definition> {
    let mut r = Reader::new(source, mistakes, &entry.key);
    let name = match JobName::parse(&entry.key) {
        Ok(name) => Some(name),
        Err(why) => {
            r.say(&entry.at, Mistake::error(Code::JobName, format!("'{}': {why}", entry.key.escape_debug())));
            None
        }
    };
    let Value::Table(entries) = &entry.tree.value else {
        let shown = entry.key.escape_debug();
        // `[[name]]`: the list begins at its brackets, before the name.
        let listed = matches!(entry.tree.value, Value::List(_)) && entry.tree.span.start < entry.at.start;
        let (message, help) = if listed {
            (format!("'{shown}' is a list of tables"), format!("a job is one table: [{shown}]"))
        } else {
            let message = format!("'{shown}' stands before any [job], and is no setting");
            (message, "the keys of a job stand below its name: [name]".into())
        };
        r.say(&entry.at, Mistake::error(Code::UnknownKey, message).help(help));
        return None;
    };
    let mut own = Vec::new();
    read::said(&mut r, &JOB, "", entries, &mut own);
    let name = name?;
    if own.is_empty() && !entries.is_empty() && entries.iter().all(|e| matches!(e.tree.value, Value::Table(_))) {
        // `[web.api]`, meant as a job's name: that was said, and "no command" would only be noise.
        return None;
    }
    read::rules(&mut r, &JOB, &entry.at, &own, true);
    let mut job = Job::new(name, Program::Exec(Vec::new()));
    let mut keys = Keys::new();
    let mut all: Vec<(usize, usize, Option<usize>, Said<'_, Job>)> = Vec::new();
    for (order, defaults) in defaults.iter().enumerate() {
        let said = defaults.said();
        let names: Vec<&str> = said.iter().chain(&own).map(|one| one.key.name).collect();
        let fits = |one: &Said<'_, Job>| {
            one.key.shared
                && !excluded(one.key.name, &own)
                && one.key.wants.is_none_or(|wanted| names.contains(&wanted))
        };
        all.extend(said.into_iter().filter(fits).map(|one| (one.index, order, defaults.source, one)));
    }
    all.extend(own.into_iter().map(|one| (one.index, usize::MAX, source, one)));
    all.sort_by_key(|(index, order, ..)| (*index, *order));
    for (_, order, from, one) in all {
        r.key = one.key.name.into();
        r.quiet = order != usize::MAX;
        if r.quiet && !suits(one.key.name, &job) {
            continue;
        }
        one.key.kind.read(&mut r, &one.entry.tree, &mut job);
        let here = SaidHere { source: from, tree: one.entry.tree.clone(), own: !r.quiet };
        keys.insert(one.key.name, here);
    }
    let again = &mut job.life.again;
    if keys.get("max_delay").is_some_and(|said| !said.own) {
        again.max_delay = again.max_delay.max(again.delay);
    }
    forget_self(&mut job, &keys);
    Some(Definition { job: Arc::new(job), source, at: entry.at.clone(), keys })
}

/// Keys that mean something only of a service, or of a job with a schedule.
pub(crate) const OF_SERVICE: [&str; 3] = ["instances", "rolling", "watch"];
pub(crate) const OF_SCHEDULE: [&str; 10] = [
    "catch_up",
    "catch_up_max",
    "catch_up_window",
    "catch_up_delay",
    "jitter",
    "jitter_mode",
    "dst",
    "calendars",
    "shift",
    "timezone",
];

/// Whether what all jobs share is meant for this one too. Keys are read in their table's order, so that what decides it
/// was read before.
fn suits(key: &str, job: &Job) -> bool {
    let service = !OF_SERVICE.contains(&key) || job.life.is_service();
    let group = key != "group" || job.around.user.is_some();
    service && group && (!OF_SCHEDULE.contains(&key) || !job.time.schedules.is_empty())
}

/// The job has chosen another way than the defaults.
fn excluded(name: &str, own: &[Said<'_, Job>]) -> bool {
    JOB.one_of
        .iter()
        .filter(|rule| rule.keys.contains(&name))
        .any(|rule| own.iter().any(|said| rule.keys.contains(&said.key.name) && said.key.name != name))
}

/// `[defaults] error = "page-me"` is not meant for page-me itself.
fn forget_self(job: &mut Job, keys: &Keys) {
    let shared = |key: &str| keys.get(key).is_some_and(|said| !said.own);
    let name = job.name.clone();
    if shared("next") {
        job.chain.next.retain(|other| *other != name);
    }
    if shared("error") {
        job.chain.error.retain(|other| *other != name);
    }
}
