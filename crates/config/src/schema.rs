//! The tables of keys as a JSON Schema, for editors.

use crate::key::{Key, Table};
use crate::keys::job::JOB;
use crate::keys::kin::{CALENDAR, CALENDARS, KIN, QUEUE, QUEUES};
use crate::kind::{Kind, RETRY_WORDS, Unit, WHO_MAX};
use kin_core::JobName;
use serde_json::{Map, Value as Json, json};

/// Draft 7, which is what editors of TOML understand.
pub fn schema() -> Json {
    let name = format!("^[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{}}}$", JobName::MAX - 1);
    let mut kin = table(&KIN, false);
    for (named, keys) in [(QUEUES, table(&QUEUE, false)), (CALENDARS, table(&CALENDAR, false))] {
        kin["properties"][named] = json!({
            "type": "object",
            "patternProperties": { name.as_str(): keys },
            "additionalProperties": false,
        });
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "kin: jobs",
        "description": "A table at the top is a job; [kin] holds the server's settings, [defaults] what all jobs share.",
        "type": "object",
        "properties": { "kin": kin, "defaults": table_of(JOB.keys.iter().filter(|key| key.shared), &JOB, false) },
        "patternProperties": { name: table(&JOB, true) },
        "additionalProperties": false,
    })
}

/// `whole`: with the rules that want something.
pub(crate) fn table<T>(of: &'static Table<T>, whole: bool) -> Json {
    table_of(of.keys.iter(), of, whole)
}

fn table_of<T>(keys: impl Iterator<Item = &'static Key<T>>, of: &Table<T>, whole: bool) -> Json {
    let mut properties: Map<String, Json> = Map::new();
    for (group, doc) in of.groups {
        properties.insert(
            (*group).into(),
            json!({ "type": "object", "description": doc, "properties": {}, "additionalProperties": false }),
        );
    }
    for key in keys {
        let mut one = key.kind.schema();
        one["description"] = key.doc.into();
        for name in key.spellings() {
            match name.split_once('.') {
                Some((group, inner)) => {
                    if let Some(group) = properties.get_mut(group) {
                        group["properties"][inner] = one.clone();
                    }
                }
                None => drop(properties.insert(name.into(), one.clone())),
            }
        }
    }
    let mut out = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if whole {
        let wanted = of.one_of.iter().filter(|rule| rule.table.is_empty() && rule.needed);
        for rule in wanted {
            out["oneOf"] = rule.keys.iter().map(|key| json!({ "required": [key] })).collect();
        }
    }
    out
}

impl<T> Kind<T> {
    pub fn schema(&self) -> Json {
        let text = || json!({ "type": "string" });
        let or_list = |one: Json| json!({ "anyOf": [one, { "type": "array", "items": one }] });
        let length = || json!({ "anyOf": [{ "type": "number", "minimum": 0 }, { "type": "string" }] });
        match self {
            Kind::Bool(_) => json!({ "type": "boolean" }),
            Kind::Int { min, max, .. } => json!({ "type": "integer", "minimum": min, "maximum": max }),
            Kind::Count { min, word, .. } => {
                json!({ "anyOf": [{ "type": "integer", "minimum": min }, { "const": word }] })
            }
            Kind::Cpu(_) => json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 4000 }),
            Kind::Percent(_) => {
                json!({ "anyOf": [{ "type": "integer", "minimum": 0, "maximum": 100 }, { "type": "string", "pattern": "^[0-9]{1,3} *%$" }] })
            }
            Kind::Text(..) => text(),
            Kind::Who(_) => {
                json!({ "anyOf": [text(), { "type": "integer", "minimum": 0, "maximum": WHO_MAX }] })
            }
            Kind::Texts(..) | Kind::Names(_) => or_list(text()),
            Kind::Choice(words, _) => {
                let all = words.iter().flat_map(|w| std::iter::once(w.word).chain(w.aliases.iter().copied()));
                json!({ "enum": all.collect::<Vec<_>>() })
            }
            Kind::Length(_) | Kind::LengthOr(..) => length(),
            Kind::Size(_) => json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string" }] }),
            Kind::Map(..) => {
                json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
            }
            Kind::Counts(_) => {
                json!({ "type": "object", "additionalProperties": { "type": "integer", "minimum": 0, "maximum": u32::MAX } })
            }
            Kind::Codes { max, .. } => or_list(json!({ "type": "integer", "minimum": 0, "maximum": max })),
            Kind::Umask(_) => {
                json!({ "anyOf": [{ "type": "string", "pattern": "^0?[0-7]{1,3}$" }, { "type": "integer" }] })
            }
            Kind::Signals(_) => {
                or_list(json!({ "anyOf": [{ "type": "string" }, { "type": "integer", "minimum": 1, "maximum": 64 }] }))
            }
            Kind::Program(_) => json!({ "anyOf": [text(), { "type": "array", "items": text(), "minItems": 1 }] }),
            Kind::Argv(_) => json!({ "type": "array", "items": text(), "minItems": 1 }),
            Kind::Port(_) => {
                json!({ "anyOf": [{ "type": "integer", "minimum": 1, "maximum": 65535 }, { "const": "auto" }] })
            }
            Kind::Rlimit(..) => json!({ "anyOf": [
                { "type": ["integer", "string"] },
                { "type": "object", "properties": { "soft": { "type": ["integer", "string"] }, "hard": { "type": ["integer", "string"] } },
                  "required": ["soft", "hard"], "additionalProperties": false },
            ] }),
            Kind::RetryOn(_) => or_list(
                json!({ "anyOf": [{ "type": "integer", "minimum": 0, "maximum": 255 }, { "enum": RETRY_WORDS }] }),
            ),
            Kind::Records(records) => records.schema(),
        }
    }

    /// What its value is, for the reference.
    pub fn words(&self) -> String {
        match self {
            Kind::Bool(_) => "true or false".into(),
            Kind::Int { min, max, .. } => format!("{min} to {max}"),
            Kind::Count { min, word, .. } => format!("number from {min}, or `\"{word}\"`"),
            Kind::Cpu(_) => "number of processors".into(),
            Kind::Percent(_) => "part of a hundred".into(),
            Kind::Text(rule, _) => rule.word.into(),
            Kind::Who(_) => crate::rule::USER.word.into(),
            Kind::Texts(rule, _) => format!("{} or list", rule.word),
            Kind::Choice(words, _) => words.iter().map(|w| format!("`\"{}\"`", w.word)).collect::<Vec<_>>().join(", "),
            Kind::Length(_) => "length of time".into(),
            Kind::LengthOr(word, _) => format!("length of time, or `\"{word}\"`"),
            Kind::Size(_) => "size".into(),
            Kind::Map(_, rule, _) => format!("table: name = {}", rule.word),
            Kind::Counts(_) => "table: name = number".into(),
            Kind::Codes { max, .. } => format!("number up to {max}, or list"),
            Kind::Umask(_) => "octal text".into(),
            Kind::Signals(_) => "signal or list".into(),
            Kind::Program(_) => "text for `sh -c`, or list".into(),
            Kind::Argv(_) => "list of texts".into(),
            Kind::Names(_) => "job, several with commas, or list".into(),
            Kind::Port(_) => "port, or `\"auto\"`".into(),
            Kind::Rlimit(unit, _) => {
                let one = match unit {
                    Unit::Number => "number",
                    Unit::Size => "size",
                    Unit::Seconds => "length of time",
                };
                format!("{one}, `\"unlimited\"`, or `{{ soft, hard }}`")
            }
            Kind::RetryOn(_) => "list of words and exit codes".into(),
            Kind::Records(records) => records.words(),
        }
    }
}
