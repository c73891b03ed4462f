//! A table read by its keys: which are said, which are none, and which do not go together.

use crate::key::{Key, OneOf, Table};
use crate::mistake::{Code, Mistake};
use crate::tree::{Entry, Tree, Value};
use std::ops::Range;

/// Where mistakes are said, and what they are about just now.
pub struct Reader<'a> {
    /// `None`: there is no text.
    pub(crate) source: Option<usize>,
    pub(crate) mistakes: &'a mut Vec<Mistake>,
    /// Of the table that is read: a job's name, `kin`, `defaults`.
    pub(crate) table: String,
    /// Of the key, below it.
    pub(crate) key: String,
    /// What was said already, when the same is read again.
    pub(crate) quiet: bool,
    /// Keys of the table that are none: what is missing may have been meant by one of them.
    pub(crate) unknown: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(source: Option<usize>, mistakes: &'a mut Vec<Mistake>, table: &str) -> Reader<'a> {
        Reader { source, mistakes, table: table.into(), key: String::new(), quiet: false, unknown: Vec::new() }
    }

    pub(crate) fn path(&self) -> String {
        match (self.table.as_str(), self.key.as_str()) {
            (table, "") => table.into(),
            ("", key) => key.into(),
            (table, key) => format!("{table}.{key}"),
        }
    }

    pub(crate) fn say(&mut self, at: &Range<usize>, mistake: Mistake) {
        if self.quiet {
            return;
        }
        let mistake = mistake.key(self.path());
        self.mistakes.push(match self.source {
            Some(source) => mistake.at(source, at),
            None => mistake,
        });
    }

    pub(crate) fn wrong(&mut self, at: &Range<usize>, message: impl Into<String>) {
        self.say(at, Mistake::error(Code::WrongValue, message));
    }

    /// Of the wrong kind altogether.
    pub(crate) fn not(&mut self, tree: &Tree, expected: &str) {
        let message = format!("'{}' is {expected}, not {}", self.key, tree.value.kind());
        self.say(&tree.span, Mistake::error(Code::WrongType, message));
    }

    pub(crate) fn ok<X>(&mut self, at: &Range<usize>, result: Result<X, String>) -> Option<X> {
        result.map_err(|why| self.wrong(at, format!("'{}': {why}", self.key))).ok()
    }
}

/// One key that was said, as it stands in its tree.
pub(crate) struct Said<'t, T: 'static> {
    pub(crate) index: usize,
    pub(crate) key: &'static Key<T>,
    pub(crate) entry: &'t Entry,
}

/// Which keys of `table` these entries say; whatever is none of them is said to be wrong.
pub(crate) fn said<'t, T>(
    r: &mut Reader<'_>,
    table: &Table<T>,
    group: &str,
    entries: &'t [Entry],
    out: &mut Vec<Said<'t, T>>,
) {
    for entry in entries {
        let name = if group.is_empty() { entry.key.clone() } else { format!("{group}.{}", entry.key) };
        r.key.clone_from(&name);
        if let Some((index, key)) = table.key(&name) {
            if let Some(first) = out.iter().find(|said| said.index == index) {
                let message = format!("'{}' and '{}' are the same key", first.entry.key, entry.key);
                let first = first.entry.at.clone();
                let mut mistake = Mistake::error(Code::Conflict, message);
                if let Some(source) = r.source {
                    mistake = mistake.also(crate::mistake::Spot { source, span: first }, "the first");
                }
                r.say(&entry.at, mistake);
                continue;
            }
            out.push(Said { index, key, entry });
        } else if group.is_empty() && table.is_group(&name) {
            let rule = table.one_of.iter().find(|rule| rule.needed && rule.table == name);
            if let (Value::Table(inner), Some(rule)) = (&entry.tree.value, rule)
                && inner.is_empty()
            {
                r.say(&entry.at, no_way(rule));
            } else if let Value::Table(inner) = &entry.tree.value {
                said(r, table, &name, inner, out);
            } else {
                let keys = in_group(table, &name).collect::<Vec<_>>().join(", ");
                let message = format!("'{name}' is a table, not {}", entry.tree.value.kind());
                r.say(&entry.tree.span, Mistake::error(Code::WrongType, message).help(format!("its keys are {keys}")));
            }
        } else {
            let mistake = unknown(table, group, entry, &r.table);
            r.unknown.push(name);
            r.say(&entry.at, mistake);
        }
        r.key.clear();
    }
}

fn in_group<'k, T>(table: &'k Table<T>, group: &'k str) -> impl Iterator<Item = &'static str> {
    let all = table.keys.iter().flat_map(Key::spellings);
    let prefix = if group.is_empty() { String::new() } else { format!("{group}.") };
    all.filter_map(move |name| name.strip_prefix(prefix.as_str()).filter(|rest| !rest.contains('.')))
}

fn unknown<T>(table: &Table<T>, group: &str, entry: &Entry, of: &str) -> Mistake {
    let near: Vec<&str> = if group.is_empty() {
        in_group(table, "").chain(table.groups.iter().map(|(name, _)| *name)).collect()
    } else {
        in_group(table, group).collect()
    };
    let shown = entry.key.escape_debug().to_string();
    let hint = crate::guess::hint(&entry.key, near.iter().copied());
    let mistake = Mistake::error(Code::UnknownKey, format!("unknown key '{shown}'{hint}"));
    if !hint.is_empty() {
        return mistake;
    }
    let elsewhere =
        table.keys.iter().flat_map(Key::spellings).find(|name| name.rsplit('.').next() == Some(entry.key.as_str()));
    match (elsewhere, &entry.tree.value) {
        (Some(name), _) => mistake.help(format!("there is '{name}'")),
        (None, Value::Table(_)) if group.is_empty() && !of.is_empty() => {
            mistake.help(format!("if it is a job of its own, its name is written in quotes: [\"{of}.{shown}\"]"))
        }
        (None, _) if !group.is_empty() => mistake.help(format!("the keys of '{group}' are {}", near.join(", "))),
        (None, _) => mistake,
    }
}

/// None of the keys is said of which one must be.
fn no_way(rule: &OneOf) -> Mistake {
    let names = rule.keys.join("', '");
    let message = match (rule.keys, rule.table) {
        ([one], _) => format!("'{one}' is missing"),
        (_, "") => format!("one of '{names}' is missing"),
        (_, table) => format!("'{table}' says not how: one of '{names}' is missing"),
    };
    Mistake::error(Code::Missing, message)
}

/// The rules between keys: what excludes what, what must be there, what says nothing alone.
pub(crate) fn rules<T>(r: &mut Reader<'_>, table: &Table<T>, of: &Range<usize>, all: &[Said<'_, T>], complete: bool) {
    for rule in table.one_of {
        let mut chosen = all.iter().filter(|said| rule.keys.contains(&said.key.name));
        let first = chosen.next();
        for other in chosen {
            r.key = other.key.name.into();
            let one = first.map_or("", |said| said.key.name);
            let message = format!("'{}' and '{one}' exclude each other", other.key.name);
            r.say(&other.entry.at, Mistake::error(Code::Conflict, message));
        }
        let inside =
            |said: &&Said<'_, T>| said.key.name.strip_prefix(rule.table).is_some_and(|rest| rest.starts_with('.'));
        let begun = if rule.table.is_empty() { complete } else { all.iter().any(|said| inside(&said)) };
        let meant = |name: &String| crate::guess::nearest(name, rule.keys.iter().copied()).is_some();
        if rule.needed && begun && first.is_none() && !r.unknown.iter().any(meant) {
            r.key = rule.table.into();
            let at = all.iter().find(inside).map_or_else(|| of.clone(), |said| said.entry.at.clone());
            r.say(&at, no_way(rule));
        }
    }
    for said in all {
        if let Some(wanted) = said.key.wants
            && complete
            && !all.iter().any(|other| other.key.name == wanted)
        {
            r.key = said.key.name.into();
            let message = format!("'{}' means nothing without '{wanted}'", said.key.name);
            r.say(&said.entry.at, Mistake::error(Code::Missing, message));
        }
    }
    r.unknown.clear();
    r.key.clear();
}
