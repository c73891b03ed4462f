//! Values read by their kind. A value that is wrong is said and left out; the rest is read on, so that all that is wrong is
//! said at once.

use crate::kind::{Field, Kind, Pair, RETRY_WORDS, Unit, WHO_MAX};
use crate::mistake::{Code, Mistake};
use crate::quantity;
use crate::read::Reader;
use crate::rule::Rule;
use crate::signal;
use crate::tree::{Tree, Value};
use kin_core::JobName;
use kin_core::job::{AgainOn, Millis, Port, Program};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Bytes `at..at+len` of a text, where the text stands as it is written; else the whole of it.
pub(crate) fn within(tree: &Tree, at: usize, len: usize) -> Range<usize> {
    let Value::Text(text) = &tree.value else { return tree.span.clone() };
    if tree.span.len() != text.len() + 2 || at > text.len() {
        return tree.span.clone();
    }
    let start = tree.span.start + 1 + at;
    start..(start + len.max(1)).min(tree.span.end)
}

impl<T> Kind<T> {
    /// Reads it into `to`, or says why not.
    pub(crate) fn read(&self, r: &mut Reader<'_>, tree: &Tree, to: &mut T) {
        match self {
            Kind::Bool(field) => put(field, to, bool(r, tree)),
            Kind::Int { min, max, field } => put(field, to, int(r, tree, *min, *max)),
            Kind::Count { min, word, field } => put(field, to, count(r, tree, *min, word)),
            Kind::Cpu(field) => put(field, to, cpu(r, tree)),
            Kind::Percent(field) => put(field, to, percent(r, tree)),
            Kind::Text(rule, field) => put(field, to, text(r, tree, rule)),
            Kind::Who(field) => put(field, to, who(r, tree)),
            Kind::Texts(rule, field) => put(field, to, texts(r, tree, rule)),
            Kind::Choice(words, _) => {
                let all = || words.iter().flat_map(|w| std::iter::once(w.word).chain(w.aliases.iter().copied()));
                if let Some(index) = choice(r, tree, &|said| {
                    words.iter().position(|w| w.word == said || w.aliases.contains(&said)).ok_or_else(|| {
                        let list = words.iter().map(|w| w.word).collect::<Vec<_>>().join("', '");
                        (crate::guess::hint(said, all()), list)
                    })
                }) {
                    (words[index].set)(to);
                }
            }
            Kind::Length(field) => put(field, to, length(r, tree)),
            Kind::LengthOr(word, field) => {
                let said = if is_word(tree, word) { Some(None) } else { length(r, tree).map(Some) };
                put(field, to, said);
            }
            Kind::Size(field) => put(field, to, size(r, tree)),
            Kind::Map(names, rule, field) => {
                let new = map(r, tree, names, rule);
                merge(field, to, new);
            }
            Kind::Counts(field) => {
                let new = counts(r, tree);
                merge(field, to, new);
            }
            Kind::Codes { max, field } => put(field, to, codes(r, tree, *max)),
            Kind::Umask(field) => put(field, to, umask(r, tree)),
            Kind::Signals(field) => put(field, to, signals(r, tree)),
            Kind::Program(field) => put(field, to, program(r, tree)),
            Kind::Argv(field) => put(field, to, argv(r, tree)),
            Kind::Names(field) => {
                put(field, to, names(r, tree).map(|all| all.into_iter().map(|(name, _)| name).collect()));
            }
            Kind::Port(field) => put(field, to, port(r, tree)),
            Kind::Rlimit(unit, field) => put(field, to, rlimit(r, tree, *unit)),
            Kind::RetryOn(field) => put(field, to, retry_on(r, tree)),
            Kind::Records(records) => records.read(r, tree, to),
        }
    }
}

fn put<T, X>(field: &Field<T, X>, to: &mut T, value: Option<X>) {
    if let Some(value) = value {
        (field.set)(to, value);
    }
}

fn merge<T, X>(field: &Field<T, BTreeMap<String, X>>, to: &mut T, new: Option<BTreeMap<String, X>>) {
    if let Some(new) = new {
        let mut all = (field.get)(to).unwrap_or_default();
        all.extend(new);
        (field.set)(to, all);
    }
}

fn is_word(tree: &Tree, word: &str) -> bool {
    matches!(&tree.value, Value::Text(text) if text == word)
}

fn bool(r: &mut Reader<'_>, tree: &Tree) -> Option<bool> {
    if let Value::Bool(b) = &tree.value {
        return Some(*b);
    }
    r.not(tree, "true or false");
    None
}

fn int(r: &mut Reader<'_>, tree: &Tree, min: i64, max: i64) -> Option<i64> {
    match &tree.value {
        Value::Int { n, .. } if (min..=max).contains(n) => Some(*n),
        Value::Int { .. } | Value::Huge(_) => {
            let key = r.key.clone();
            r.wrong(&tree.span, format!("'{key}' is a number from {min} to {max}"));
            None
        }
        Value::Text(text) if text.parse::<i64>().is_ok_and(|n| (min..=max).contains(&n)) => {
            let key = r.key.clone();
            let mistake = Mistake::error(Code::WrongType, format!("'{key}' is a number, not a text"));
            r.say(&tree.span, mistake.help(format!("write {key} = {text}")));
            None
        }
        Value::Text(_) | Value::Real(_) | Value::Bool(_) | Value::Date(_) | Value::List(_) | Value::Table(_) => {
            r.not(tree, "a whole number");
            None
        }
    }
}

fn count(r: &mut Reader<'_>, tree: &Tree, min: u64, word: &str) -> Option<Option<u64>> {
    if is_word(tree, word) {
        return Some(None);
    }
    let least = i64::try_from(min).unwrap_or(i64::MAX);
    match &tree.value {
        Value::Int { n, .. } if *n >= least => Some(u64::try_from(*n).ok()),
        Value::Int { .. } | Value::Huge(_) => {
            let key = r.key.clone();
            r.wrong(&tree.span, format!("'{key}' is at least {min}, or \"{word}\""));
            None
        }
        Value::Text(_) | Value::Real(_) | Value::Bool(_) | Value::Date(_) | Value::List(_) | Value::Table(_) => {
            r.not(tree, &format!("a whole number or \"{word}\""));
            None
        }
    }
}

fn cpu(r: &mut Reader<'_>, tree: &Tree) -> Option<u32> {
    let processors = match &tree.value {
        Value::Int { n, .. } => *n as f64,
        Value::Real(x) => *x,
        Value::Text(_) | Value::Huge(_) | Value::Bool(_) | Value::Date(_) | Value::List(_) | Value::Table(_) => {
            r.not(tree, "a number of processors, as 1.5");
            return None;
        }
    };
    let millis = (processors * 1000.0).round();
    if (1.0..=4_000_000.0).contains(&millis) {
        return Some(millis as u32);
    }
    let key = r.key.clone();
    r.wrong(&tree.span, format!("'{key}' is a number of processors from 0.001 to 4000"));
    None
}

fn percent(r: &mut Reader<'_>, tree: &Tree) -> Option<u8> {
    let n = match &tree.value {
        Value::Int { n, .. } => u8::try_from(*n).ok(),
        Value::Text(text) => text.strip_suffix('%').and_then(|n| n.trim().parse().ok()),
        Value::Huge(_) | Value::Real(_) | Value::Bool(_) | Value::Date(_) | Value::List(_) | Value::Table(_) => None,
    };
    if n.is_none_or(|n| n > 100) {
        let key = r.key.clone();
        r.wrong(&tree.span, format!("'{key}' is a part of a hundred, as \"10%\""));
    }
    n.filter(|n| *n <= 100)
}

/// One text that keeps the rule.
pub(crate) fn text(r: &mut Reader<'_>, tree: &Tree, rule: &Rule) -> Option<String> {
    let Value::Text(text) = &tree.value else {
        r.not(tree, &format!("a {}", rule.word));
        return None;
    };
    keeps(r, tree, text, 0, rule).then(|| text.clone())
}

/// A user or a group, by name or number.
fn who(r: &mut Reader<'_>, tree: &Tree) -> Option<String> {
    match &tree.value {
        Value::Int { n, .. } if u64::try_from(*n).is_ok_and(|n| n <= WHO_MAX) => Some(n.to_string()),
        Value::Int { .. } | Value::Huge(_) => {
            let key = r.key.clone();
            r.wrong(&tree.span, format!("'{key}' is a name, or a number from 0 to {WHO_MAX}"));
            None
        }
        Value::Text(_) | Value::Real(_) | Value::Bool(_) | Value::Date(_) | Value::List(_) | Value::Table(_) => {
            text(r, tree, &crate::rule::USER)
        }
    }
}

/// `part` begins at byte `offset` of the text that `tree` is.
fn keeps(r: &mut Reader<'_>, tree: &Tree, part: &str, offset: usize, rule: &Rule) -> bool {
    let all = (rule.check)(part);
    let code = if rule.word == "schedule" { Code::Schedule } else { Code::WrongValue };
    for wrong in &all {
        let rest = part.len().saturating_sub(wrong.at);
        let at = within(tree, offset + wrong.at, wrong.len.map_or(rest, |len| len.min(rest)));
        let message = format!("'{}': {}", r.key, wrong.message);
        r.say(&at, Mistake::error(code, message));
    }
    all.is_empty()
}

/// Its parts between commas, without the spaces around them, and where each begins.
fn parts(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split(',').map(move |part| {
        let begins = at + (part.len() - part.trim_start().len());
        at += part.len() + 1;
        (begins, part.trim())
    })
}

fn texts(r: &mut Reader<'_>, tree: &Tree, rule: &Rule) -> Option<Vec<String>> {
    match &tree.value {
        Value::Text(text) if rule.commas => {
            let mut good = true;
            let mut out = Vec::new();
            for (at, part) in parts(text).filter(|(_, part)| !part.is_empty()) {
                good &= keeps(r, tree, part, at, rule);
                out.push(part.to_string());
            }
            good.then_some(out)
        }
        Value::Text(_) => text(r, tree, rule).map(|one| vec![one]),
        Value::List(items) => {
            let all: Vec<Option<String>> = items.iter().map(|item| text(r, item, rule)).collect();
            all.into_iter().collect()
        }
        Value::Int { .. } | Value::Huge(_) | Value::Real(_) | Value::Bool(_) | Value::Date(_) | Value::Table(_) => {
            r.not(tree, &format!("a {} or a list of them", rule.word));
            None
        }
    }
}

type Found = Result<usize, (String, String)>;

fn choice(r: &mut Reader<'_>, tree: &Tree, find: &dyn Fn(&str) -> Found) -> Option<usize> {
    let Value::Text(said) = &tree.value else {
        let list = find("").err().map(|(_, list)| list).unwrap_or_default();
        r.not(tree, &format!("one of '{list}'"));
        return None;
    };
    match find(said) {
        Ok(index) => Some(index),
        Err((hint, list)) => {
            let message = format!("'{}' cannot be '{said}'{hint}", r.key);
            r.say(&tree.span, Mistake::error(Code::WrongValue, message).help(format!("it is one of '{list}'")));
            None
        }
    }
}

fn length(r: &mut Reader<'_>, tree: &Tree) -> Option<Millis> {
    let ms = match &tree.value {
        Value::Int { n, .. } => quantity::milliseconds(*n as f64 * 1000.0),
        Value::Real(x) => quantity::milliseconds(x * 1000.0),
        Value::Text(text) => quantity::length(text),
        Value::Huge(_) => Err("it is longer than a hundred years".into()),
        Value::Bool(_) | Value::Date(_) | Value::List(_) | Value::Table(_) => {
            r.not(tree, "a length of time, as 90 or \"1h 30m\"");
            return None;
        }
    };
    r.ok(&tree.span, ms).map(Millis)
}

fn size(r: &mut Reader<'_>, tree: &Tree) -> Option<u64> {
    let bytes = match &tree.value {
        Value::Int { n, .. } => u64::try_from(*n).map_err(|_| "a size is not negative".to_string()),
        Value::Text(text) => quantity::size(text),
        Value::Huge(_) => Err("it is too large".into()),
        Value::Real(_) | Value::Bool(_) | Value::Date(_) | Value::List(_) | Value::Table(_) => {
            r.not(tree, "a size, as \"512M\"");
            return None;
        }
    };
    r.ok(&tree.span, bytes)
}

/// Numbers and truths are taken as they are written: `PORT = 80`.
fn map(r: &mut Reader<'_>, tree: &Tree, names: &Rule, rule: &Rule) -> Option<BTreeMap<String, String>> {
    let Value::Table(entries) = &tree.value else {
        let message = format!("'{}' is a table of names and texts, not {}", r.key, tree.value.kind());
        let help = format!("write {} = {{ NAME = \"value\" }}", r.key);
        r.say(&tree.span, Mistake::error(Code::WrongType, message).help(help));
        return None;
    };
    let (mut all, mut good) = (BTreeMap::new(), true);
    let whole = r.key.clone();
    for entry in entries {
        r.key = format!("{whole}.{}", entry.key);
        let wrongs = (names.check)(&entry.key);
        if !wrongs.is_empty() {
            wrongs.into_iter().for_each(|wrong| r.wrong(&entry.at, wrong.message));
            good = false;
            continue;
        }
        let value = match &entry.tree.value {
            Value::Int { n, .. } => Some(n.to_string()),
            Value::Bool(b) => Some(b.to_string()),
            Value::Real(x) => Some(x.to_string()),
            Value::Text(_) | Value::Huge(_) | Value::Date(_) | Value::List(_) | Value::Table(_) => {
                text(r, &entry.tree, rule)
            }
        };
        good &= value.is_some();
        all.extend(value.map(|value| (entry.key.clone(), value)));
    }
    r.key = whole;
    good.then_some(all)
}

fn counts(r: &mut Reader<'_>, tree: &Tree) -> Option<BTreeMap<String, u32>> {
    let Value::Table(entries) = &tree.value else {
        r.not(tree, "a table of names and numbers");
        return None;
    };
    let (mut all, mut good) = (BTreeMap::new(), true);
    let whole = r.key.clone();
    for entry in entries {
        r.key = format!("{whole}.{}", entry.key);
        if let Err(why) = JobName::parse(&entry.key) {
            r.wrong(&entry.at, why.to_string().replace("a job's name", "a name"));
            good = false;
        }
        match int(r, &entry.tree, 0, i64::from(u32::MAX)).and_then(|n| u32::try_from(n).ok()) {
            Some(n) => drop(all.insert(entry.key.clone(), n)),
            None => good = false,
        }
    }
    r.key = whole;
    good.then_some(all)
}

/// One of something, or a list of it.
fn items(tree: &Tree) -> &[Tree] {
    if let Value::List(items) = &tree.value { items } else { std::slice::from_ref(tree) }
}

fn codes(r: &mut Reader<'_>, tree: &Tree, max: u16) -> Option<BTreeSet<u16>> {
    let all: Vec<_> =
        items(tree).iter().map(|item| int(r, item, 0, i64::from(max)).and_then(|n| u16::try_from(n).ok())).collect();
    all.into_iter().collect()
}

fn umask(r: &mut Reader<'_>, tree: &Tree) -> Option<u32> {
    let mask = match &tree.value {
        Value::Int { n, octal: true } => u32::try_from(*n).ok(),
        Value::Text(text) if text.len() <= 4 => u32::from_str_radix(text, 8).ok(),
        Value::Int { n, octal: false } => {
            let mistake = Mistake::error(Code::WrongType, "'umask' is written in octal, as a text");
            r.say(&tree.span, mistake.help(format!("write umask = \"{n:03}\"")));
            return None;
        }
        Value::Text(_)
        | Value::Huge(_)
        | Value::Real(_)
        | Value::Bool(_)
        | Value::Date(_)
        | Value::List(_)
        | Value::Table(_) => None,
    };
    if mask.is_none_or(|mask| mask > 0o777) {
        r.wrong(&tree.span, "'umask' is a text of octal digits up to \"777\", as \"027\"");
    }
    mask.filter(|mask| *mask <= 0o777)
}

fn signals(r: &mut Reader<'_>, tree: &Tree) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let mut good = true;
    for item in items(tree) {
        let one = match &item.value {
            Value::Int { n, .. } => signal::number(*n),
            Value::Text(text) => signal::parse(text),
            Value::Huge(_) | Value::Real(_) | Value::Bool(_) | Value::Date(_) | Value::List(_) | Value::Table(_) => {
                r.not(item, "a signal or a list of them, as \"TERM\" or 15");
                good = false;
                continue;
            }
        };
        let one = r.ok(&item.span, one);
        good &= one.is_some();
        all.extend(one);
    }
    if good && all.is_empty() {
        let key = r.key.clone();
        r.wrong(&tree.span, format!("'{key}' names no signal"));
        good = false;
    }
    good.then_some(all)
}

fn program(r: &mut Reader<'_>, tree: &Tree) -> Option<Program> {
    match &tree.value {
        Value::Text(_) => text(r, tree, &crate::rule::SCRIPT).map(Program::Shell),
        Value::List(_) => argv(r, tree).map(Program::Exec),
        Value::Int { .. } | Value::Huge(_) | Value::Real(_) | Value::Bool(_) | Value::Date(_) | Value::Table(_) => {
            r.not(tree, "a text for `sh -c`, or a list of a program and its arguments");
            None
        }
    }
}

fn argv(r: &mut Reader<'_>, tree: &Tree) -> Option<Vec<String>> {
    let Value::List(items) = &tree.value else {
        let message = format!("'{}' is a list of a program and its arguments, not {}", r.key, tree.value.kind());
        let mistake = Mistake::error(Code::WrongType, message);
        let mistake = match tree.value.as_text() {
            Some(text) if r.key == "exec" => {
                let words: Vec<_> = text.split_whitespace().map(Value::text).collect();
                mistake.help(format!("write exec = {}, or command = … for a shell", Value::list(words).toml()))
            }
            Some(_) | None => mistake,
        };
        r.say(&tree.span, mistake);
        return None;
    };
    match items.first() {
        None => {
            let key = r.key.clone();
            r.wrong(&tree.span, format!("'{key}' names no program"));
            None
        }
        Some(first) => {
            let program = argument(r, first, &crate::rule::PATH);
            let rest: Vec<_> = items[1..].iter().map(|item| argument(r, item, &crate::rule::TEXT)).collect();
            std::iter::once(program).chain(rest).collect()
        }
    }
}

fn argument(r: &mut Reader<'_>, item: &Tree, rule: &Rule) -> Option<String> {
    if item.value.as_text().is_some() {
        return text(r, item, rule);
    }
    let message = format!("each word of '{}' is a text, not {}", r.key, item.value.kind());
    r.say(&item.span, Mistake::error(Code::WrongType, message));
    None
}

/// Names of jobs and where each stands.
pub(crate) fn names(r: &mut Reader<'_>, tree: &Tree) -> Option<Vec<(JobName, Range<usize>)>> {
    let (mut out, mut good) = (Vec::new(), true);
    for item in items(tree) {
        let Value::Text(text) = &item.value else {
            r.not(item, "the name of a job, or a list of them");
            good = false;
            continue;
        };
        for (at, part) in parts(text).filter(|(_, part)| !part.is_empty()) {
            let at = within(item, at, part.len());
            match JobName::parse(part) {
                Ok(name) => out.push((name, at)),
                Err(why) => {
                    r.say(&at, Mistake::error(Code::JobName, why.to_string()));
                    good = false;
                }
            }
        }
    }
    good.then_some(out)
}

fn port(r: &mut Reader<'_>, tree: &Tree) -> Option<Port> {
    if is_word(tree, "auto") {
        return Some(Port::Auto);
    }
    let number = tree.value.as_int().and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
    if number.is_none() {
        let key = r.key.clone();
        r.wrong(&tree.span, format!("'{key}' is a number from 1 to 65535, or \"auto\" for a free one"));
    }
    number.map(Port::From)
}

fn rlimit(r: &mut Reader<'_>, tree: &Tree, unit: Unit) -> Option<Pair> {
    let Value::Table(entries) = &tree.value else {
        return one_limit(r, tree, unit).map(|n| (n, n));
    };
    let (mut soft, mut hard) = (None, None);
    for entry in entries {
        match entry.key.as_str() {
            "soft" => soft = Some(one_limit(r, &entry.tree, unit)?),
            "hard" => hard = Some(one_limit(r, &entry.tree, unit)?),
            other => {
                let key = r.key.clone();
                let mistake = Mistake::error(Code::UnknownKey, format!("unknown key '{other}' in '{key}'"));
                r.say(&entry.at, mistake.help("a limit is one value, or { soft = …, hard = … }"));
                return None;
            }
        }
    }
    match (soft, hard) {
        (Some(soft), Some(hard)) if hard.is_none_or(|hard| soft.is_some_and(|soft| soft <= hard)) => Some((soft, hard)),
        (Some(_), Some(_)) => {
            r.wrong(&tree.span, "the soft limit is above the hard one");
            None
        }
        (None, _) | (_, None) => {
            r.wrong(&tree.span, "a limit is one value, or { soft = …, hard = … }");
            None
        }
    }
}

fn one_limit(r: &mut Reader<'_>, tree: &Tree, unit: Unit) -> Option<Option<u64>> {
    if is_word(tree, "unlimited") {
        return Some(None);
    }
    match unit {
        Unit::Number => count(r, tree, 0, "unlimited"),
        Unit::Size => size(r, tree).map(Some),
        Unit::Seconds => length(r, tree).map(|ms| Some(ms.0.div_ceil(1000))),
    }
}

fn retry_on(r: &mut Reader<'_>, tree: &Tree) -> Option<AgainOn> {
    let mut on = AgainOn { codes: Some(BTreeSet::new()), signals: false, timeout: false, spawn: false, lost: false };
    let mut good = true;
    for item in items(tree) {
        let Some(word) = item.value.as_text() else {
            match int(r, item, 0, 255).and_then(|n| u8::try_from(n).ok()) {
                // "failed" stands for every code there is.
                Some(code) => drop(on.codes.as_mut().map(|codes| codes.insert(code))),
                None => good = false,
            }
            continue;
        };
        match word {
            "failed" => on.codes = None,
            "signaled" => on.signals = true,
            "timed-out" => on.timeout = true,
            "spawn-failed" => on.spawn = true,
            "lost" => on.lost = true,
            other => {
                let hint = crate::guess::hint(other, RETRY_WORDS);
                let message = format!("'{}' cannot hold '{other}'{hint}", r.key);
                let help = format!("it holds exit codes and any of '{}'", RETRY_WORDS.join("', '"));
                r.say(&item.span, Mistake::error(Code::WrongValue, message).help(help));
                good = false;
            }
        }
    }
    good.then_some(on)
}
