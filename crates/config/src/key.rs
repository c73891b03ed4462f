//! A key: everything that is known of it, in one place. Checking, the JSON Schema, the reference page, the canonical
//! text and the plan of a change are all made from tables of these.

use crate::kind::Kind;
use std::collections::HashMap;
use std::sync::OnceLock;

pub struct Key<T: 'static> {
    /// Below its table, with dots: `stop.signal`.
    pub name: &'static str,
    /// Other spellings of the same, as other tools have them.
    pub aliases: &'static [&'static str],
    pub kind: Kind<T>,
    pub effect: Effect,
    /// May stand in `[defaults]`.
    pub shared: bool,
    /// Says nothing without this one.
    pub wants: Option<&'static str>,
    /// Understood because another tool writes it so.
    pub foreign: bool,
    pub doc: &'static str,
    /// What it means that it is not there, where no value says it.
    pub absent: &'static str,
    /// A value, as TOML.
    pub example: &'static str,
}

/// What a change of it does to a job that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It is shown from now on; nothing else follows.
    Stored,
    /// It counts from the next run on; what runs goes on as it began.
    NextRun,
    /// It counts at once, and no process notices.
    AtOnce,
    /// A service is restarted, for a process cannot be given it later; of any other job it counts from the next run on.
    Restart,
}

impl Effect {
    pub const fn word(self) -> &'static str {
        match self {
            Effect::Stored => "stored",
            Effect::NextRun => "next-run",
            Effect::AtOnce => "at-once",
            Effect::Restart => "restart",
        }
    }
    pub const fn sentence(self) -> &'static str {
        match self {
            Effect::Stored => "shown from now on",
            Effect::NextRun => "from the next run on",
            Effect::AtOnce => "at once",
            Effect::Restart => "restarts a service",
        }
    }
}

impl<T> Key<T> {
    pub(crate) const fn new(name: &'static str, kind: Kind<T>) -> Key<T> {
        Key {
            name,
            aliases: &[],
            kind,
            effect: Effect::AtOnce,
            shared: true,
            wants: None,
            foreign: false,
            doc: "",
            absent: "",
            example: "",
        }
    }
    pub(crate) const fn doc(self, doc: &'static str) -> Key<T> {
        Key { doc, ..self }
    }
    pub(crate) const fn example(self, example: &'static str) -> Key<T> {
        Key { example, ..self }
    }
    pub(crate) const fn absent(self, absent: &'static str) -> Key<T> {
        Key { absent, ..self }
    }
    pub(crate) const fn effect(self, effect: Effect) -> Key<T> {
        Key { effect, ..self }
    }
    pub(crate) const fn aliases(self, aliases: &'static [&'static str]) -> Key<T> {
        Key { aliases, ..self }
    }
    pub(crate) const fn wants(self, other: &'static str) -> Key<T> {
        Key { wants: Some(other), ..self }
    }
    /// Each job says it itself.
    pub(crate) const fn own(self) -> Key<T> {
        Key { shared: false, ..self }
    }
    pub(crate) const fn foreign(self) -> Key<T> {
        Key { foreign: true, ..self }
    }
    pub(crate) fn spellings(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

/// Keys of which at most one may be said.
#[derive(Debug)]
pub struct OneOf {
    /// The table they stand in, empty for the job itself.
    pub table: &'static str,
    /// Whole names.
    pub keys: &'static [&'static str],
    /// One of them must be said: always, or where the table is there at all.
    pub needed: bool,
}

/// A table of keys with its rules.
pub struct Table<T: 'static> {
    pub keys: &'static [Key<T>],
    /// Sub-tables, each with a sentence: `stop`.
    pub groups: &'static [(&'static str, &'static str)],
    pub one_of: &'static [OneOf],
    /// By each of its spellings; made when it is first asked.
    pub index: OnceLock<HashMap<&'static str, usize>>,
}

impl<T> Table<T> {
    pub fn key(&self, name: &str) -> Option<(usize, &'static Key<T>)> {
        let index = self.index.get_or_init(|| {
            let all = self.keys.iter().enumerate();
            all.flat_map(|(n, key)| key.spellings().map(move |name| (name, n))).collect()
        });
        index.get(name).map(|n| (*n, &self.keys[*n]))
    }
    pub fn is_group(&self, name: &str) -> bool {
        self.groups.iter().any(|(group, _)| *group == name)
    }
}
