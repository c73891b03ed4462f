//! A set of definitions: what all the texts together say, and all that is wrong with it.

use crate::cross;
use crate::ics;
use crate::job::{self, Defaults, Definition};
use crate::key::Table;
use crate::keys::kin::{CALENDAR, CALENDARS, KIN, QUEUE, QUEUES};
use crate::mistake::{Code, Mistake, Report, Spot};
use crate::read::{self, Reader};
use crate::settings::{self, Calendar, Listen, Settings, loopback};
use crate::source::Source;
use crate::tree::{self, Entry, Tree, Value};
use jiff::tz::TimeZone;
use kin_core::JobName;
use kin_core::job::{Job, Queue};
use kin_core::schedule::DaySet;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const SETTINGS: &str = "kin";
pub const DEFAULTS: &str = "defaults";
/// The file whose `[defaults]` hold for all files.
pub const MAIN_FILE: &str = "kin.toml";

/// Everything that some texts define. Complete only when its report names no error.
#[derive(Clone, Debug, Default)]
pub struct Set {
    pub jobs: BTreeMap<JobName, Definition>,
    pub settings: Settings,
    /// Where each setting was said.
    pub said: BTreeMap<String, Spot>,
    pub report: Report,
    /// Which sources could not be read to their end.
    broken: Vec<bool>,
    /// Where each calendar names its file.
    named: BTreeMap<String, Spot>,
    /// Calendar files of which nothing could be read, by the key that names one: what is wrong is said there.
    unread: BTreeMap<String, PathBuf>,
    /// What those texts may define: where each of their lines begins. `None`: of one nothing could be read.
    lost: Vec<Option<String>>,
}

/// What is asked of each job by itself.
pub(crate) type Look = fn(&Definition, &mut Vec<Mistake>);

/// One text on its way into a set.
#[derive(Debug)]
pub struct Input {
    pub source: Source,
    /// Which directory it is from: of the same job in two directories the first is meant, with a warning; in one it is an
    /// error.
    pub rank: usize,
    pub form: Form,
    /// What is wrong with it before it is read: who may write it, what is not text in it.
    pub mistakes: Vec<Mistake>,
}

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As somebody wrote it.
    Written,
    /// The canonical texts of jobs: all that they say, so nobody's defaults hold for them, and names in them were judged
    /// when they were defined.
    Canonical,
    /// None: a directory whose files are not known, because it could not be read.
    Directory,
}

impl Set {
    /// Reads all texts. They are taken in the order of their directories, then in the given one.
    pub fn read(inputs: Vec<Input>) -> Set {
        Set::judged(inputs, cross::of_server)
    }

    /// The same, where relative directories begin at the file: one that may be a project's.
    pub fn read_project(inputs: Vec<Input>) -> Set {
        Set::judged(inputs, cross::alone)
    }

    fn judged(mut inputs: Vec<Input>, look: Look) -> Set {
        inputs.sort_by_key(|input| input.rank);
        let mut mistakes = Vec::new();
        let mut trees: Vec<Vec<Entry>> = Vec::new();
        let (mut broken, mut lost) = (Vec::new(), Vec::new());
        let mut unread = BTreeMap::new();
        for (n, input) in inputs.iter_mut().enumerate() {
            let is_calendar = ics::is_calendar(&input.source.path);
            for mut mistake in std::mem::take(&mut input.mistakes) {
                if let Some(spot) = &mut mistake.at {
                    spot.source = n;
                }
                let of_all = mistake.at.as_ref().is_none_or(|spot| spot.span.is_empty());
                if is_calendar && mistake.code == Code::File && of_all {
                    unread.insert(n, mistake);
                } else {
                    mistakes.push(mistake);
                }
            }
            let (entries, mut wrong) =
                if is_calendar { (Vec::new(), Vec::new()) } else { tree::of_toml(n, &input.source.text) };
            let of_it = |m: &&Mistake| m.code == Code::File && m.at.as_ref().is_some_and(|spot| spot.source == n);
            let cut = mistakes.iter().find(of_it).filter(|_| !is_calendar);
            broken.push(!wrong.is_empty() || cut.is_some());
            if input.form == Form::Canonical || cut.is_some_and(|_| input.source.text.is_empty()) {
                lost.push(None);
            } else if broken[n] {
                lost.push(Some(begun(&input.source.text)));
            }
            // What is no text has no form that could be wrong.
            if cut.is_some() {
                wrong.clear();
            }
            mistakes.extend(wrong);
            trees.push(entries);
        }
        let ranks: Vec<usize> = inputs.iter().map(|input| input.rank).collect();
        let forms: Vec<Form> = inputs.iter().map(|input| input.form).collect();
        let sources: Vec<Source> = inputs.into_iter().map(|input| input.source).collect();
        let mut set = Set { broken, lost, ..Set::default() };
        let mut found = Vec::new();
        set.fill(&sources, &ranks, &forms, &trees, &mut found);
        set.read_calendars(&sources, &mistakes, unread, &mut found);
        cross::check(&set, look, &mut found);
        set.drop_echoes(&sources, &mistakes, &mut found);
        mistakes.extend(found);
        set.report = Report::new(sources, mistakes);
        set
    }

    /// One text, as `kin check` reads it.
    pub fn of_text(name: &str, text: &str) -> Set {
        let source = Source::new(std::path::Path::new(name), text);
        Set::read(vec![Input { source, rank: 0, form: Form::Written, mistakes: Vec::new() }])
    }

    pub fn is_whole(&self) -> bool {
        self.report.errors() == 0
    }
    /// A text could not be read to its end.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.contains(&true)
    }
    /// How many files were read.
    pub fn files(&self) -> usize {
        let unread = |source: &&Source| self.unread.values().any(|path| *path == source.path);
        self.report.sources.len() - self.report.sources.iter().filter(unread).count()
    }
    /// The files that errors are about: those in which they are said, and of what is said of a file that cannot be read,
    /// that one. Where a text is
    /// broken, its last good one may define what others name: they are asked again beside that.
    pub(crate) fn guilty(&self) -> Vec<PathBuf> {
        let waits = |m: &Mistake| self.is_broken() && m.code.names_nobody();
        let errors =
            self.report.mistakes.iter().filter(|m| m.is_error() && !self.unread.contains_key(&m.key) && !waits(m));
        let numbers: BTreeSet<usize> = errors.filter_map(|m| m.at.as_ref()).map(|spot| spot.source).collect();
        let said = numbers.into_iter().filter_map(|n| self.report.sources.get(n)).map(|source| source.path.clone());
        said.chain(self.unread.values().cloned()).collect()
    }
    /// A text could not be read to its end, and what is not known by this name may stand there.
    pub(crate) fn may_lack(&self, name: &str) -> bool {
        let part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let whole =
            |begun: &str, at: usize| !begun[..at].ends_with(part) && !begun[at + name.len()..].starts_with(part);
        let has = |begun: &String| begun.match_indices(name).any(|(at, _)| whole(begun, at));
        self.lost.iter().any(|begun| begun.as_ref().is_none_or(has))
    }
    pub fn plain(&self) -> BTreeMap<JobName, Arc<Job>> {
        self.jobs.iter().map(|(name, definition)| (name.clone(), definition.job.clone())).collect()
    }
    /// Jobs for each source.
    pub fn of_source(&self, source: usize) -> impl Iterator<Item = &Definition> {
        self.jobs.values().filter(move |definition| definition.source == Some(source))
    }

    fn fill(
        &mut self,
        sources: &[Source],
        ranks: &[usize],
        forms: &[Form],
        trees: &[Vec<Entry>],
        mistakes: &mut Vec<Mistake>,
    ) {
        let defaults: Vec<Option<Defaults<'_>>> = trees
            .iter()
            .enumerate()
            .map(|(n, entries)| {
                let entry = entries.iter().find(|entry| entry.key == DEFAULTS)?;
                let inner = inner(Some(n), entry, mistakes)?;
                let defaults = Defaults { source: Some(n), entries: inner };
                defaults.check(mistakes);
                Some(defaults)
            })
            .collect();
        let main = (0..trees.len()).find(|n| is_main(&sources[*n].path, ranks[*n]));
        for (n, entries) in trees.iter().enumerate() {
            let shared = main.filter(|main| *main != n && forms[n] != Form::Canonical).and_then(|main| defaults[main]);
            let below: Vec<Defaults<'_>> = shared.into_iter().chain(defaults[n]).collect();
            for entry in entries {
                match entry.key.as_str() {
                    DEFAULTS => {}
                    SETTINGS => self.settle(Some(n), entry, mistakes),
                    _ => {
                        if let Some(definition) = job::read(Some(n), entry, &below, mistakes) {
                            self.add(definition, ranks, sources, mistakes);
                        }
                    }
                }
            }
        }
    }

    /// The calendar files: each once, also one that nobody names.
    fn read_calendars(
        &mut self,
        sources: &[Source],
        before: &[Mistake],
        mut unread: BTreeMap<usize, Mistake>,
        mistakes: &mut Vec<Mistake>,
    ) {
        let named = self.settings.timezone.as_deref().and_then(|name| TimeZone::get(name).ok());
        let here = named.unwrap_or_else(TimeZone::system);
        let mut all: BTreeMap<&Path, DaySet> = BTreeMap::new();
        let is_read = |n: usize| ics::is_calendar(&sources[n].path) && !unread.contains_key(&n);
        for (n, source) in sources.iter().enumerate().filter(|(n, _)| is_read(*n)) {
            let unread = before.iter().any(|m| m.code == Code::File && m.at.as_ref().is_some_and(|at| at.source == n));
            let days = if unread { DaySet::default() } else { ics::days(n, &source.text, &here, mistakes) };
            all.insert(&source.path, days);
        }
        for (name, calendar) in &mut self.settings.calendars {
            let key = format!("{SETTINGS}.{CALENDARS}.{name}.ics");
            let (Some(named), Some(spot)) = (&calendar.ics, self.named.get(name)) else { continue };
            let path = ics::path_of(&sources[spot.source].path, named);
            if let Some(days) = all.get(path.as_path()) {
                calendar.days.clone_from(days);
                continue;
            }
            // Where the calendar names it: in a file that cannot be read there is no line.
            let why = unread.iter().find(|(n, _)| sources[**n].path == path).map(|(_, mistake)| &mistake.message);
            let file = path.display();
            let message = match why {
                Some(why) => format!("the file of calendar '{name}', {file}: {why}"),
                None => format!("the file of calendar '{name}', {file}, was not read"),
            };
            mistakes.push(Mistake::error(Code::File, message).key(key.clone()).at(spot.source, &spot.span));
            if why.is_some() {
                self.unread.insert(key, path);
            }
        }
        // Nobody names these.
        unread.retain(|n, _| !self.unread.values().any(|path| *path == sources[*n].path));
        mistakes.extend(unread.into_values());
    }

    fn add(&mut self, new: Definition, ranks: &[usize], sources: &[Source], mistakes: &mut Vec<Mistake>) {
        let name = new.job.name.clone();
        let Some(old) = self.jobs.get(&name) else {
            self.jobs.insert(name, new);
            return;
        };
        let (Some(first), Some(second)) = (old.source, new.source) else { return };
        let spot = Spot { source: first, span: old.at.clone() };
        let other = &sources[first].name;
        let mistake = if ranks[first] == ranks[second] {
            Mistake::error(Code::Twice, format!("the job '{name}' is defined twice")).also(spot, "the first time")
        } else {
            let message = format!("the job '{name}' is defined in {other} too, which is meant");
            Mistake::warning(Code::Twice, message).also(spot, "this one is meant")
        };
        mistakes.push(mistake.key(name.to_string()).at(second, &new.at));
    }

    /// `[kin]` of one text.
    fn settle(&mut self, source: Option<usize>, entry: &Entry, mistakes: &mut Vec<Mistake>) {
        let Some(entries) = inner(source, entry, mistakes) else { return };
        let (named, plain): (Vec<&Entry>, Vec<&Entry>) =
            entries.iter().partition(|e| e.key == QUEUES || e.key == CALENDARS);
        let plain: Vec<Entry> = plain.into_iter().cloned().collect();
        let mut r = Reader::new(source, mistakes, SETTINGS);
        let mut said = Vec::new();
        read::said(&mut r, &KIN, "", &plain, &mut said);
        read::rules(&mut r, &KIN, &entry.at, &said, true);
        for one in said {
            r.key = one.key.name.into();
            if !once(&mut self.said, &mut r, &format!("{SETTINGS}.{}", one.key.name), one.entry) {
                continue;
            }
            one.key.kind.read(&mut r, &one.entry.tree, &mut self.settings);
            if one.key.name == "listen" {
                doors(&mut r, &one.entry.at, &self.settings.listen);
            }
        }
        for table in named {
            r.key.clone_from(&table.key);
            let Value::Table(inner) = &table.tree.value else {
                let message = format!("'{}' is a table of tables, not {}", table.key, table.tree.value.kind());
                r.say(&table.tree.span, Mistake::error(Code::WrongType, message));
                continue;
            };
            for one in inner {
                self.named(&mut r, &table.key, one);
            }
        }
    }

    /// One queue or calendar.
    fn named(&mut self, r: &mut Reader<'_>, of: &str, entry: &Entry) {
        r.key = format!("{of}.{}", entry.key);
        let path = format!("{SETTINGS}.{}", r.key);
        if let Err(why) = JobName::parse(&entry.key) {
            let why = why.to_string().replace("a job's name", "a name");
            r.say(&entry.at, Mistake::error(Code::WrongValue, why));
            return;
        }
        let Value::Table(entries) = &entry.tree.value else {
            let message = format!("'{}' is a table, not {}", r.key, entry.tree.value.kind());
            r.say(&entry.tree.span, Mistake::error(Code::WrongType, message));
            return;
        };
        if !once(&mut self.said, r, &path, entry) {
            return;
        }
        let name = entry.key.clone();
        if of == QUEUES {
            let queue = record(r, &path, &QUEUE, entry, entries, settings::queue(&name));
            self.settings.queues.insert(name, queue);
        } else {
            let calendar = record(r, &path, &CALENDAR, entry, entries, Calendar::new(&name));
            let ics = entries.iter().find(|entry| entry.key == "ics");
            if let (Some(ics), Some(source)) = (ics, r.source) {
                self.named.insert(name.clone(), Spot { source, span: ics.tree.span.clone() });
            }
            self.settings.calendars.insert(name, calendar);
        }
    }

    /// A text that is wrong in its form is not judged by what is missing in it, nor twice on one line.
    fn drop_echoes(&self, sources: &[Source], form: &[Mistake], found: &mut Vec<Mistake>) {
        let line =
            |m: &Mistake| m.at.as_ref().map(|spot| (spot.source, sources[spot.source].place(spot.span.start).line));
        let bad: BTreeSet<_> =
            form.iter().filter(|m| matches!(m.code, Code::Syntax | Code::File)).filter_map(line).collect();
        found.retain(|m| {
            let in_broken = m.at.as_ref().is_some_and(|spot| self.broken[spot.source]);
            !(in_broken && (m.code == Code::Missing || line(m).is_some_and(|line| bad.contains(&line))))
        });
    }
}

/// It is the one whose `[defaults]` hold for all.
pub(crate) fn is_main(path: &Path, rank: usize) -> bool {
    rank == 0 && path.file_name().is_some_and(|name| name == MAIN_FILE)
}

/// A line of it may say something of this table, as far as one can see without understanding it.
pub(crate) fn may_say(text: &str, table: &str) -> bool {
    let begins = |line: &str| {
        let quoted = |c: char| c.is_whitespace() || matches!(c, '"' | '\'');
        let name = line.trim_start_matches(|c: char| c == '[' || quoted(c));
        let Some(rest) = name.strip_prefix(table) else { return false };
        // Without a bracket it may also be a line of a command.
        match line.trim_start().starts_with('[') {
            true => !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-'),
            false => rest.trim_start_matches(quoted).starts_with(['.', '=']),
        }
    };
    text.lines().any(begins)
}

/// The headers and keys of a text, as far as one can see them without understanding it.
fn begun(text: &str) -> String {
    let begin = |line: &'_ str| match line.trim_start().starts_with('[') {
        true => line.to_owned(),
        false => line.split_once('=').map_or_else(String::new, |(key, _)| key.to_owned()),
    };
    text.lines().map(begin).collect::<Vec<_>>().join("\n")
}

fn inner<'t>(source: Option<usize>, entry: &'t Entry, mistakes: &mut Vec<Mistake>) -> Option<&'t [Entry]> {
    if let Value::Table(entries) = &entry.tree.value {
        return Some(entries);
    }
    let message = format!("'{}' is a table: [{}]", entry.key, entry.key);
    let mistake = Mistake::error(Code::WrongType, message).key(entry.key.clone());
    mistakes.push(match source {
        Some(source) => mistake.at(source, &entry.at),
        None => mistake,
    });
    None
}

/// Notes that it was said; no when it was said before.
fn once(all: &mut BTreeMap<String, Spot>, r: &mut Reader<'_>, path: &str, entry: &Entry) -> bool {
    let Some(source) = r.source else { return true };
    if let Some(first) = all.get(path) {
        let message = format!("'{path}' is said in two files");
        r.say(&entry.at, Mistake::error(Code::Twice, message).also(first.clone(), "the first time"));
        return false;
    }
    all.insert(path.into(), Spot { source, span: entry.at.clone() });
    true
}

/// What one place cannot tell of itself.
fn doors(r: &mut Reader<'_>, at: &Range<usize>, listen: &[Listen]) {
    for (n, one) in listen.iter().enumerate() {
        if let Some(dialect) = &one.dialect {
            let message = format!("nothing will listen on {}: this kin does not speak '{dialect}'", one.address);
            r.say(at, Mistake::warning(Code::Conflict, message).help("without `dialect` it is kin's own API"));
        }
        let taken = |other: &Listen| loopback(&other.address) == loopback(&one.address);
        if loopback(&one.address).is_some() && listen.iter().take(n).any(taken) {
            r.say(at, Mistake::error(Code::Conflict, format!("{} is listened on twice", one.address)));
        }
    }
}

fn record<T>(r: &mut Reader<'_>, path: &str, table: &Table<T>, entry: &Entry, entries: &[Entry], mut to: T) -> T {
    let before = (std::mem::replace(&mut r.table, path.into()), std::mem::take(&mut r.key));
    let mut said = Vec::new();
    read::said(r, table, "", entries, &mut said);
    read::rules(r, table, &entry.at, &said, true);
    said.sort_by_key(|one| one.index);
    for one in said {
        r.key = one.key.name.into();
        one.key.kind.read(r, &one.entry.tree, &mut to);
    }
    (r.table, r.key) = before;
    to
}

/// One job as a request says it: `tree` is its table. What is said about it is by key, for there is no text.
pub fn job_of_tree(name: &str, tree: &Tree) -> Result<Arc<Job>, Vec<Mistake>> {
    one_job(name, tree, cross::of_server)
}

/// One job by the keys of its table, as they would stand in a file below its name.
pub fn job_of_text(name: &str, text: &str) -> Result<Arc<Job>, Report> {
    let source = Source::new(std::path::Path::new(name), text);
    let (entries, mut mistakes) = tree::of_toml(0, text);
    let tree = Tree { value: Value::Table(entries), span: 0..text.len() };
    let entry = Entry { key: name.into(), at: 0..0, tree };
    let read = if mistakes.is_empty() { job::read(Some(0), &entry, &[], &mut mistakes) } else { None };
    read.iter().for_each(|definition| cross::of_server(definition, &mut mistakes));
    match read {
        Some(definition) if !mistakes.iter().any(Mistake::is_error) => Ok(definition.job),
        Some(_) | None => Err(Report::new(vec![source], mistakes)),
    }
}

pub(crate) fn job_as_it_is(name: &str, tree: &Tree) -> Result<Arc<Job>, Vec<Mistake>> {
    one_job(name, tree, |_, _| ())
}

fn one_job(name: &str, tree: &Tree, look: Look) -> Result<Arc<Job>, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let entry = Entry { key: name.into(), at: 0..0, tree: tree.clone() };
    let read = job::read(None, &entry, &[], &mut mistakes);
    read.iter().for_each(|definition| look(definition, &mut mistakes));
    match read {
        Some(definition) if !mistakes.iter().any(Mistake::is_error) => Ok(definition.job),
        Some(_) | None => Err(mistakes),
    }
}

impl Set {
    /// A queue by its name.
    pub fn queue(&self, name: &str) -> Option<&Queue> {
        self.settings.queues.get(name)
    }
}
