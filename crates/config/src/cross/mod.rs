//! What no key can know alone: whether jobs, queues and keys fit together.

mod fit;
mod graph;
mod places;
mod times;
mod variables;

use crate::job::Definition;
use crate::mistake::{Code, Mistake, Spot};
use crate::set::{Look, Set};
use crate::tree::{Tree, Value};
use crate::value::within;

/// What can be said of one job by itself.
pub(crate) fn alone(definition: &Definition, mistakes: &mut Vec<Mistake>) {
    variables::check(definition, mistakes);
    fit::check(definition, mistakes);
    times::check(definition, mistakes);
}

/// The same of a job that is in no project: no directory is there where another could begin.
pub(crate) fn of_server(definition: &Definition, mistakes: &mut Vec<Mistake>) {
    alone(definition, mistakes);
    if let Some(dir) = definition.job.around.dir.as_deref().filter(|dir| !dir.starts_with(['/', '~', '$'])) {
        let message = format!("'dir' is an absolute path, or begins at ~, and '{dir}' does not say where it begins");
        let help = "only in the file of a project, for kin up, it begins at the file";
        mistakes.push(wrong(definition, "dir", Code::WrongValue, message).help(help));
    }
}

pub(crate) fn check(set: &Set, look: Look, mistakes: &mut Vec<Mistake>) {
    for definition in set.jobs.values() {
        look(definition, mistakes);
        graph::names(set, definition, mistakes);
        places::queues(set, definition, mistakes);
        times::shut(set, definition, mistakes);
        times::skipped(set, definition, mistakes);
    }
    times::empty(set, mistakes);
    graph::cycles(set, mistakes);
    places::ports(set, mistakes);
}

/// About the value of a key of a job.
fn about(definition: &Definition, key: &str, mistake: Mistake) -> Mistake {
    let mistake = mistake.key(definition.key(key));
    match definition.spot(key) {
        Some(spot) => mistake.at(spot.source, &spot.span),
        None => mistake,
    }
}

fn wrong(definition: &Definition, key: &str, code: Code, message: impl Into<String>) -> Mistake {
    about(definition, key, Mistake::error(code, message))
}

/// Where a word stands among the texts of a key's value.
fn spot_of(definition: &Definition, key: &str, word: &str) -> Option<Spot> {
    fn find(tree: &Tree, word: &str) -> Option<std::ops::Range<usize>> {
        match &tree.value {
            Value::Text(text) => {
                let mut at = 0;
                for part in text.split(',') {
                    if part.trim() == word {
                        return Some(within(tree, at + (part.len() - part.trim_start().len()), word.len()));
                    }
                    at += part.len() + 1;
                }
                None
            }
            Value::List(items) => items.iter().find_map(|item| find(item, word)),
            Value::Table(entries) => entries.iter().find_map(|entry| find(&entry.tree, word)),
            Value::Int { .. } | Value::Huge(_) | Value::Real(_) | Value::Bool(_) | Value::Date(_) => None,
        }
    }
    let said = definition.keys.get(key)?;
    let span = find(&said.tree, word)?;
    said.source.map(|source| Spot { source, span })
}

/// The same as `about`, at the word.
fn at_word(definition: &Definition, key: &str, word: &str, mistake: Mistake) -> Mistake {
    match spot_of(definition, key, word) {
        Some(spot) => mistake.key(definition.key(key)).at(spot.source, &spot.span),
        None => about(definition, key, mistake),
    }
}
