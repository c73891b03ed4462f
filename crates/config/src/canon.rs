//! One job as a text, always the same for the same job: what a revision is stored as, and what two are compared by.

use crate::key::{Effect, Key};
use crate::keys::job::JOB;
use crate::mistake::Mistake;
use crate::set::Set;
use crate::tree::{Value, toml_key};
use kin_core::job::{Again, Job, Program};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One line of it: a key, or one name of a key that is a table of names.
pub(crate) struct Leaf {
    pub(crate) key: &'static Key<Job>,
    pub(crate) value: Value,
}

/// What a job of this kind says that says nothing.
fn bare(job: &Job) -> Job {
    let mut bare = Job::new(job.name.clone(), Program::Exec(Vec::new()));
    bare.life.again = if job.life.is_service() { Again::restarts() } else { Again::retries() };
    // Where it says how it is ready, the rest of that has defaults of its own.
    bare.life.ready = job.life.ready.as_ref().map(|_| crate::keys::job::plain_ready());
    bare.life.alive = job.life.alive.as_ref().map(|_| crate::keys::job::plain_alive());
    bare
}

/// By path: everything that it says besides what every job says.
pub(crate) fn leaves(job: &Job) -> Vec<(String, Leaf)> {
    let bare = bare(job);
    let mut out = Vec::new();
    for key in JOB.keys {
        let Some(value) = key.kind.write(job) else { continue };
        let path: Vec<String> = key.name.split('.').map(toml_key).collect();
        let path = path.join(".");
        match (&value, key.kind.is_open_table()) {
            (Value::Table(entries), true) => {
                for entry in entries {
                    let path = format!("{path}.{}", toml_key(&entry.key));
                    out.push((path, Leaf { key, value: entry.tree.value.clone() }));
                }
            }
            (_, _) => {
                if key.kind.write(&bare).as_ref() != Some(&value) || is_way(key.name) {
                    out.push((path, Leaf { key, value }));
                }
            }
        }
    }
    out
}

/// How it is ready or alive is said always, also where it is what nothing would mean.
fn is_way(name: &str) -> bool {
    JOB.one_of.iter().any(|rule| !rule.table.is_empty() && rule.keys.contains(&name))
}

pub fn canonical(job: &Job) -> String {
    let mut out = format!("[{}]\n", toml_key(job.name.as_str()));
    for (path, leaf) in leaves(job) {
        out += &format!("{path} = {}\n", leaf.value.toml());
    }
    out
}

/// A job from its canonical text. What other jobs there are is not asked.
pub fn parse(text: &str) -> Result<Arc<Job>, Vec<Mistake>> {
    let (entries, mistakes) = crate::tree::of_toml(0, text);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    match entries.as_slice() {
        // It was checked when it was made; whether it fits its time is no question any more.
        [one] => crate::set::job_as_it_is(&one.key, &one.tree),
        _ => Err(vec![Mistake::error(crate::mistake::Code::Syntax, "it is not one job")]),
    }
}

/// As an object, its keys as in a file: what is not said is not there.
pub fn json(job: &Job) -> serde_json::Value {
    let mut all = serde_json::Map::new();
    for key in JOB.keys {
        let Some(value) = key.kind.write(job) else { continue };
        if key.kind.write(&bare(job)).as_ref() == Some(&value) && !is_way(key.name) {
            continue;
        }
        match key.name.split_once('.') {
            Some((group, name)) => {
                if let Some(inner) = all.entry(group).or_insert_with(|| serde_json::json!({})).as_object_mut() {
                    inner.insert(name.into(), value.json());
                }
            }
            None => drop(all.insert(key.name.into(), value.json())),
        }
    }
    serde_json::Value::Object(all)
}

/// A key that says something else than before.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyChange {
    /// Its path: `env.RUST_LOG`.
    pub key: String,
    /// As TOML; `None`: it was not said.
    pub from: Option<String>,
    pub to: Option<String>,
    /// Values of it are nobody's business: they are not shown.
    pub secret: bool,
    pub effect: Effect,
}

/// By which keys two definitions of a job differ.
pub fn diff(from: &Job, to: &Job) -> Vec<KeyChange> {
    let by_path = |job: &Job| leaves(job).into_iter().collect::<BTreeMap<String, Leaf>>();
    let (from, mut to) = (by_path(from), by_path(to));
    let change = |key: String, from: Option<&Leaf>, to: Option<&Leaf>| {
        let known = from.or(to)?.key;
        let show = |leaf: Option<&Leaf>| leaf.map(|leaf| leaf.value.toml());
        Some(KeyChange { key, from: show(from), to: show(to), secret: known.name == "env", effect: known.effect })
    };
    let mut out = Vec::new();
    for (path, old) in &from {
        match to.remove(path) {
            Some(new) if new.value == old.value => {}
            new => out.extend(change(path.clone(), Some(old), new.as_ref())),
        }
    }
    out.extend(to.iter().filter_map(|(path, new)| change(path.clone(), None, Some(new))));
    out.sort_by(|a, b| a.key.cmp(&b.key));
    out
}

/// All jobs of one source, as one text: what of it is good, when the file itself is not any more.
pub fn canonical_of(set: &Set, source: usize) -> String {
    set.of_source(source).map(|definition| canonical(&definition.job)).collect::<Vec<_>>().join("\n")
}
