//! What was written, before anybody asks what it means: values, each with the place where it stands.
//!
//! Two readers make such trees, TOML (with places in a text) and JSON (without), so that whatever comes by file or by
//! request is checked by the same table of keys.

use crate::mistake::{Code, Mistake, Spot};
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// A value and where it stands: bytes of its source. `0..0` where there is no text.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    pub span: Range<usize>,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    /// `octal`: written as `0o…`.
    Int {
        n: i64,
        octal: bool,
    },
    Real(f64),
    Bool(bool),
    Date(String),
    List(Vec<Tree>),
    /// In the order in which it was written.
    Table(Vec<Entry>),
    /// A number that no machine here can hold.
    Huge(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub at: Range<usize>,
    pub tree: Tree,
}

impl Value {
    pub fn int(n: i64) -> Value {
        Value::Int { n, octal: false }
    }
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }
    pub fn list(values: impl IntoIterator<Item = Value>) -> Value {
        Value::List(values.into_iter().map(Tree::from).collect())
    }
    pub fn table(entries: impl IntoIterator<Item = (String, Value)>) -> Value {
        Value::Table(entries.into_iter().map(|(key, value)| Entry { key, at: 0..0, tree: value.into() }).collect())
    }

    pub fn as_text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }
    pub const fn as_int(&self) -> Option<i64> {
        if let Value::Int { n, .. } = self { Some(*n) } else { None }
    }

    /// What it is, for people.
    pub const fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a text",
            Value::Int { .. } | Value::Huge(_) => "a number",
            Value::Real(_) => "a number with a point",
            Value::Bool(true) => "true",
            Value::Bool(false) => "false",
            Value::Date(_) => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// As TOML, on one line.
    pub fn toml(&self) -> String {
        use toml_writer::ToTomlValue;
        match self {
            Value::Text(text) => text.as_str().to_toml_value(),
            Value::Int { n, octal: true } => format!("0o{n:o}"),
            Value::Int { n, octal: false } => n.to_string(),
            Value::Real(x) => x.to_toml_value(),
            Value::Bool(b) => b.to_string(),
            Value::Date(text) | Value::Huge(text) => text.clone(),
            Value::List(items) => {
                format!("[{}]", items.iter().map(|item| item.value.toml()).collect::<Vec<_>>().join(", "))
            }
            Value::Table(entries) if entries.is_empty() => "{}".into(),
            Value::Table(entries) => {
                let inner = entries.iter().map(|e| format!("{} = {}", toml_key(&e.key), e.tree.value.toml()));
                format!("{{ {} }}", inner.collect::<Vec<_>>().join(", "))
            }
        }
    }

    pub fn json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Value::Text(text) | Value::Date(text) | Value::Huge(text) => Json::from(text.as_str()),
            Value::Int { n, .. } => Json::from(*n),
            Value::Real(x) => Json::from(*x),
            Value::Bool(b) => Json::from(*b),
            Value::List(items) => items.iter().map(|item| item.value.json()).collect(),
            Value::Table(entries) => {
                Json::Object(entries.iter().map(|e| (e.key.clone(), e.tree.value.json())).collect())
            }
        }
    }
}

/// A key as TOML has it: quoted where it must be.
pub fn toml_key(key: &str) -> String {
    use toml_writer::ToTomlKey;
    key.to_toml_key()
}

impl From<Value> for Tree {
    fn from(value: Value) -> Tree {
        Tree { span: 0..0, value }
    }
}

/// Reads a TOML document as far as it can be read, and says all that is wrong with its form.
///
/// One bracket that is never closed makes everything below it wrong. So a text that is wrong is read again table by table:
/// what is wrong in one says nothing about the next.
pub(crate) fn of_toml(source: usize, text: &str) -> (Vec<Entry>, Vec<Mistake>) {
    let (entries, mistakes) = part(source, text, 0..text.len());
    if mistakes.iter().all(|(_, again)| *again) {
        return (entries, mistakes.into_iter().map(|(mistake, _)| mistake).collect());
    }
    let (mut all, mut said) = (Vec::new(), Vec::new());
    let begins = headers(text);
    let mut n = 0;
    while let Some(from) = begins.get(n).copied() {
        let end = |n: usize| begins.get(n).copied().unwrap_or(text.len());
        let (mut entries, mut mistakes) = part(source, text, from..end(n + 1));
        let mut next = n + 1;
        if !mistakes.is_empty() {
            // What looks like the next table may be a line of a text that goes on.
            for more in (n + 2..=begins.len()).take(LOOK_AHEAD) {
                let (longer, wrong) = part(source, text, from..end(more));
                if wrong.is_empty() {
                    (entries, mistakes, next) = (longer, Vec::new(), more);
                    break;
                }
            }
        }
        join(&mut all, entries, source, &mut said);
        said.extend(distinct(text, mistakes));
        n = next;
    }
    (all, said)
}

/// Tables further than this are not asked whether they belong to a text that began above.
const LOOK_AHEAD: usize = 8;

/// Where the text begins, and each line after it that is the header of a table.
fn headers(text: &str) -> Vec<usize> {
    let mut begins = vec![0];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let header = line.split('#').next().unwrap_or_default().trim_end();
        if at > 0 && header.starts_with('[') && header.ends_with(']') && !header.contains([',', '=']) {
            begins.push(at);
        }
        at += line.len();
    }
    begins
}

/// Of several mistakes on one line the first; and where something is not closed, only the first of all.
fn distinct(text: &str, mistakes: Vec<(Mistake, bool)>) -> Vec<Mistake> {
    let line = |m: &Mistake| {
        let at = m.at.as_ref().map_or(0, |spot| spot.span.start);
        text.get(..at).map_or(0, |before| before.matches('\n').count())
    };
    let open = mistakes.iter().find(|(m, _)| m.message.starts_with("unclosed")).map(|(m, _)| m.message.clone());
    let mut out: Vec<Mistake> = Vec::new();
    for (mistake, _) in mistakes {
        if out.iter().all(|other| line(other) != line(&mistake)) {
            out.push(mistake);
        }
    }
    if let Some(open) = open {
        out.truncate(1);
        let help = |mistake: Mistake| if mistake.message == open { mistake } else { mistake.help(open.clone()) };
        return out.into_iter().map(help).collect();
    }
    out
}

/// Some bytes of a text as a document of its own, and of each mistake whether it is only something said again.
fn part(source: usize, text: &str, of: Range<usize>) -> (Vec<Entry>, Vec<(Mistake, bool)>) {
    let (from, whole) = (of.start, text);
    let Some(text) = text.get(of) else { return (Vec::new(), Vec::new()) };
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut entries = table(document.into_inner());
    if from > 0 {
        shift(&mut entries, from);
    }
    let mut mistakes = Vec::new();
    for error in errors {
        let span = error.span().map_or(from..from, |span| span.start + from..span.end + from);
        let mut mistake = Mistake::error(Code::Syntax, error.message()).at(source, &span);
        let again = error.message() == "duplicate key";
        if again {
            let word = whole.get(span.clone()).unwrap_or_default().trim_matches(['"', '\'']);
            mistake.message = format!("'{word}' is said twice");
            if let Some(first) = first_place(&entries, whole, word, span.start) {
                mistake.also.push((Spot { source, span: first }, "the first time".into()));
            }
        }
        mistakes.push((mistake, again));
    }
    (entries, mistakes)
}

fn shift(entries: &mut [Entry], by: usize) {
    fn tree(of: &mut Tree, by: usize) {
        of.span = of.span.start + by..of.span.end + by;
        match &mut of.value {
            Value::List(items) => items.iter_mut().for_each(|item| tree(item, by)),
            Value::Table(inner) => shift(inner, by),
            Value::Text(_) | Value::Int { .. } | Value::Real(_) | Value::Bool(_) | Value::Date(_) | Value::Huge(_) => {}
        }
    }
    for entry in entries {
        entry.at = entry.at.start + by..entry.at.end + by;
        tree(&mut entry.tree, by);
    }
}

/// Adds entries to those of the tables above; what both say is said to be there twice.
fn join(all: &mut Vec<Entry>, more: Vec<Entry>, source: usize, said: &mut Vec<Mistake>) {
    for entry in more {
        let Some(old) = all.iter_mut().find(|old| old.key == entry.key) else {
            all.push(entry);
            continue;
        };
        match (&mut old.tree.value, entry.tree.value) {
            (Value::Table(old), Value::Table(new)) => join(old, new, source, said),
            (_, _) => {
                let first = Spot { source, span: old.at.clone() };
                let mistake = Mistake::error(Code::Syntax, format!("'{}' is said twice", entry.key));
                said.push(mistake.at(source, &entry.at).also(first, "the first time"));
            }
        }
    }
}

/// Where a key that comes again at `before` stood first: in the same table, so nearest above. The header of a table is
/// kept by the parser at its last place only, so it is looked for in the text.
fn first_place(entries: &[Entry], text: &str, word: &str, before: usize) -> Option<Range<usize>> {
    fn nearest(entries: &[Entry], word: &str, before: usize, best: &mut Option<Range<usize>>) {
        for entry in entries {
            let nearer = entry.at.start < before && best.as_ref().is_none_or(|b| b.start < entry.at.start);
            if entry.key == word && nearer {
                *best = Some(entry.at.clone());
            }
            if let Value::Table(inner) = &entry.tree.value {
                nearest(inner, word, before, best);
            }
        }
    }
    let line_start = text[..before].rfind('\n').map_or(0, |n| n + 1);
    let line = text[line_start..].lines().next().unwrap_or_default().trim();
    if line.starts_with('[') {
        let mut at = 0;
        for other in text[..line_start].split_inclusive('\n') {
            if other.trim() == line {
                let start = at + other.find(word)?;
                return Some(start..start + word.len());
            }
            at += other.len();
        }
        return None;
    }
    let mut best = None;
    nearest(entries, word, before, &mut best);
    best
}

fn table(table: DeTable<'_>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| {
            let (at, span) = (key.span(), value.span());
            Entry { key: key.into_inner().into_owned(), at, tree: Tree { span, value: of(value.into_inner()) } }
        })
        .collect();
    entries.sort_by_key(|entry| entry.at.start);
    entries
}

fn of(value: DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(int) => match i64::from_str_radix(int.as_str(), int.radix()) {
            Ok(n) => Value::Int { n, octal: int.radix() == 8 },
            Err(_) => Value::Huge(int.to_string()),
        },
        DeValue::Float(float) => match float.as_str().parse() {
            Ok(x) => Value::Real(x),
            Err(_) => Value::Huge(float.to_string()),
        },
        DeValue::Boolean(b) => Value::Bool(b),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(items) => Value::List(
            items
                .into_iter()
                .map(|item| {
                    let span = item.span();
                    Tree { span, value: of(item.into_inner()) }
                })
                .collect(),
        ),
        DeValue::Table(inner) => Value::Table(table(inner)),
    }
}

/// What a request says. `null` is as if it were not there.
pub fn of_json(json: &serde_json::Value) -> Option<Tree> {
    use serde_json::Value as Json;
    let value = match json {
        Json::Null => return None,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(n), _) => Value::int(n),
            (None, Some(x)) if n.is_f64() => Value::Real(x),
            (None, _) => Value::Huge(n.to_string()),
        },
        Json::String(text) => Value::text(text.as_str()),
        Json::Array(items) => Value::List(items.iter().filter_map(of_json).collect()),
        Json::Object(map) => Value::Table(
            map.iter()
                .filter_map(|(key, value)| Some(Entry { key: key.clone(), at: 0..0, tree: of_json(value)? }))
                .collect(),
        ),
    };
    Some(value.into())
}
