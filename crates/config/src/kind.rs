//! What a key's value may be. Each kind knows how its values are read, written, and told of; and each key brings two
//! functions that carry a value of just that type into a definition and out of it again.

use crate::read::Reader;
use crate::rule::Rule;
use crate::tree::{Tree, Value};
use kin_core::JobName;
use kin_core::job::{AgainOn, Millis, Port, Program};
use std::collections::{BTreeMap, BTreeSet};

pub struct Field<T, X> {
    /// `None`: it does not say.
    pub get: fn(&T) -> Option<X>,
    pub set: fn(&mut T, X),
}

/// One word of a choice, and what choosing it does.
pub struct Word<T> {
    pub word: &'static str,
    /// Other spellings.
    pub aliases: &'static [&'static str],
    pub set: fn(&mut T),
}

/// Soft and hard; `None` is unlimited.
pub(crate) type Pair = (Option<u64>, Option<u64>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Number,
    Size,
    Seconds,
}

pub enum Kind<T: 'static> {
    Bool(Field<T, bool>),
    Int {
        min: i64,
        max: i64,
        field: Field<T, i64>,
    },
    /// A number, or a word for "without end".
    Count {
        min: u64,
        word: &'static str,
        field: Field<T, Option<u64>>,
    },
    /// Thousandths of a processor.
    Cpu(Field<T, u32>),
    Percent(Field<T, u8>),
    Text(&'static Rule, Field<T, String>),
    /// A user or a group.
    Who(Field<T, String>),
    /// One text or a list of them.
    Texts(&'static Rule, Field<T, Vec<String>>),
    Choice(&'static [Word<T>], fn(&T) -> Option<&'static str>),
    Length(Field<T, Millis>),
    /// A length of time, or a word for "never".
    LengthOr(&'static str, Field<T, Option<Millis>>),
    Size(Field<T, u64>),
    /// Name to text; tables of it in `[defaults]` and in a job are one.
    /// The rules are of the names and of the texts.
    Map(&'static Rule, &'static Rule, Field<T, BTreeMap<String, String>>),
    /// Name to number.
    Counts(Field<T, BTreeMap<String, u32>>),
    /// Numbers up to so many: exit codes, HTTP statuses.
    Codes {
        max: u16,
        field: Field<T, BTreeSet<u16>>,
    },
    Umask(Field<T, u32>),
    Signals(Field<T, Vec<u8>>),
    /// A text is given to `sh -c`, a list is a program and its arguments.
    Program(Field<T, Program>),
    Argv(Field<T, Vec<String>>),
    /// Names of jobs; a text may hold several, with commas.
    Names(Field<T, Vec<JobName>>),
    Port(Field<T, Port>),
    Rlimit(Unit, Field<T, Pair>),
    RetryOn(Field<T, AgainOn>),
    Records(&'static dyn Records<T>),
}

/// A list of tables.
pub trait Records<T>: Sync {
    fn read(&self, reader: &mut Reader<'_>, tree: &Tree, to: &mut T);
    fn write(&self, of: &T) -> Option<Value>;
    fn schema(&self) -> serde_json::Value;
    fn words(&self) -> String;
}

/// The greatest number that a user or a group can have.
pub(crate) const WHO_MAX: u64 = u32::MAX as u64 - 1;

/// The words of `retry_on`: outcomes, as they are called everywhere.
pub(crate) const RETRY_WORDS: [&str; 5] = ["failed", "signaled", "timed-out", "spawn-failed", "lost"];

impl<T> Kind<T> {
    /// What it is in a definition, in its canonical spelling.
    pub fn write(&self, of: &T) -> Option<Value> {
        let int = |n: u64| Value::int(i64::try_from(n).unwrap_or(i64::MAX));
        let length = |ms: Millis| Value::text(crate::quantity::show_length(ms.0));
        let texts = |list: Vec<String>| Value::list(list.into_iter().map(Value::text));
        Some(match self {
            Kind::Bool(field) => Value::Bool((field.get)(of)?),
            Kind::Int { field, .. } => Value::int((field.get)(of)?),
            Kind::Count { word, field, .. } => (field.get)(of)?.map_or_else(|| Value::text(*word), int),
            Kind::Cpu(field) => {
                let millis = (field.get)(of)?;
                match millis % 1000 {
                    0 => Value::int(i64::from(millis / 1000)),
                    _ => Value::Real(f64::from(millis) / 1000.0),
                }
            }
            Kind::Percent(field) => Value::text(format!("{}%", (field.get)(of)?)),
            Kind::Text(_, field) | Kind::Who(field) => Value::text((field.get)(of)?),
            Kind::Texts(_, field) => texts((field.get)(of)?),
            Kind::Choice(_, get) => Value::text(get(of)?),
            Kind::Length(field) => length((field.get)(of)?),
            Kind::LengthOr(word, field) => (field.get)(of)?.map_or_else(|| Value::text(*word), length),
            Kind::Size(field) => Value::text(crate::quantity::show_size((field.get)(of)?)),
            Kind::Map(_, _, field) => {
                Value::table((field.get)(of)?.into_iter().map(|(name, text)| (name, Value::text(text))))
            }
            Kind::Counts(field) => {
                Value::table((field.get)(of)?.into_iter().map(|(name, n)| (name, Value::int(i64::from(n)))))
            }
            Kind::Codes { field, .. } => Value::list((field.get)(of)?.into_iter().map(|n| Value::int(i64::from(n)))),
            Kind::Umask(field) => Value::text(format!("{:03o}", (field.get)(of)?)),
            Kind::Signals(field) => texts((field.get)(of)?.into_iter().map(crate::signal::name).collect()),
            Kind::Program(field) => match (field.get)(of)? {
                Program::Shell(text) => Value::text(text),
                Program::Exec(argv) => texts(argv),
            },
            Kind::Argv(field) => texts((field.get)(of)?),
            Kind::Names(field) => texts((field.get)(of)?.iter().map(ToString::to_string).collect()),
            Kind::Port(field) => match (field.get)(of)? {
                Port::From(n) => Value::int(i64::from(n)),
                Port::Auto => Value::text("auto"),
            },
            Kind::Rlimit(unit, field) => {
                let one = |n: Option<u64>| match (n, unit) {
                    (None, _) => Value::text("unlimited"),
                    (Some(n), Unit::Number) => int(n),
                    (Some(n), Unit::Size) => Value::text(crate::quantity::show_size(n)),
                    (Some(n), Unit::Seconds) => Value::text(crate::quantity::show_length(n.saturating_mul(1000))),
                };
                let (soft, hard) = (field.get)(of)?;
                if soft == hard {
                    one(soft)
                } else {
                    Value::table([("soft".to_string(), one(soft)), ("hard".to_string(), one(hard))])
                }
            }
            Kind::RetryOn(field) => {
                let on = (field.get)(of)?;
                let said = [on.codes.is_none(), on.signals, on.timeout, on.spawn, on.lost];
                let words = RETRY_WORDS.iter().zip(said).filter(|(_, said)| *said).map(|(word, _)| Value::text(*word));
                let codes = on.codes.iter().flatten().map(|code| Value::int(i64::from(*code)));
                Value::list(words.chain(codes))
            }
            Kind::Records(records) => records.write(of)?,
        })
    }

    /// Whether what a job says is added to what `[defaults]` say, name by name, instead of replacing it.
    pub const fn is_open_table(&self) -> bool {
        matches!(self, Kind::Map(..) | Kind::Counts(_))
    }
}
