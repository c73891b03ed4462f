//! Keys whose value is a list of tables, each with keys of its own.

use crate::key::{Key, OneOf, Table};
use crate::kind::{Field, Kind, Records};
use crate::mistake::{Code, Mistake};
use crate::read::{self, Reader};
use crate::rule;
use crate::settings::{Listen, Settings};
use crate::tree::{Entry, Tree, Value};
use kin_core::JobName;
use kin_core::job::{Job, Need, Socket, SocketAt};
use std::ops::Range;
use std::sync::OnceLock;

/// A list of `U`s in a `T`.
pub(crate) struct List<T: 'static, U: 'static> {
    pub(crate) table: &'static Table<U>,
    pub(crate) new: fn() -> U,
    /// What a text alone stands for, and which key a table of nothing but that key is written as.
    pub(crate) short: Option<&'static str>,
    pub(crate) get: fn(&T) -> &Vec<U>,
    pub(crate) set: fn(&mut T, Vec<U>),
}

impl<T, U> Records<T> for List<T, U> {
    fn read(&self, r: &mut Reader<'_>, tree: &Tree, to: &mut T) {
        let whole = r.key.clone();
        let one = std::slice::from_ref(tree);
        let items = if let Value::List(items) = &tree.value { items } else { one };
        let mut all = Vec::new();
        let before = r.mistakes.len();
        for item in items {
            let mut record = (self.new)();
            match (&item.value, self.short) {
                (Value::Table(entries), _) => self.record(r, &whole, &item.span, entries, &mut record),
                (Value::Text(text), Some(short)) if short == "job" && text.contains(',') => {
                    // Names of jobs, with commas.
                    for (name, at) in crate::value::names(r, item).into_iter().flatten() {
                        let part = Tree { span: at.clone(), value: Value::text(name.to_string()) };
                        let entry = Entry { key: short.into(), at, tree: part };
                        let mut one = (self.new)();
                        self.record(r, &whole, &item.span, std::slice::from_ref(&entry), &mut one);
                        all.push(one);
                    }
                    continue;
                }
                (Value::Text(_), Some(short)) => {
                    let entry = Entry { key: short.into(), at: item.span.clone(), tree: item.clone() };
                    self.record(r, &whole, &item.span, std::slice::from_ref(&entry), &mut record);
                }
                (_, short) => {
                    let shape = if short.is_some() { "a list of texts or tables" } else { "a list of tables" };
                    let message = format!("'{whole}' is {shape}, not {}", item.value.kind());
                    r.say(&item.span, Mistake::error(Code::WrongType, message));
                }
            }
            all.push(record);
        }
        r.key = whole;
        if r.mistakes.len() == before {
            (self.set)(to, all);
        }
    }

    fn write(&self, of: &T) -> Option<Value> {
        let record = |record: &U| {
            let new = (self.new)();
            let keys = self.table.keys.iter();
            let said: Vec<(String, Value)> = keys
                .filter_map(|key| {
                    let value = key.kind.write(record)?;
                    (key.kind.write(&new).as_ref() != Some(&value)).then(|| (key.name.to_string(), value))
                })
                .collect();
            match (said.as_slice(), self.short) {
                ([(name, value)], Some(short)) if name == short => value.clone(),
                (_, _) => Value::table(said),
            }
        };
        Some(Value::list((self.get)(of).iter().map(record)))
    }

    fn schema(&self) -> serde_json::Value {
        let table = crate::schema::table(self.table, false);
        let one = match self.short {
            Some(_) => serde_json::json!({ "anyOf": [{ "type": "string" }, table] }),
            None => table,
        };
        serde_json::json!({ "anyOf": [one, { "type": "array", "items": one }] })
    }

    fn words(&self) -> String {
        let keys = self.table.keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", ");
        match self.short {
            Some(short) => format!("list of texts ({short}) or tables: {keys}"),
            None => format!("list of tables: {keys}"),
        }
    }
}

impl<T, U> List<T, U> {
    fn record(&self, r: &mut Reader<'_>, whole: &str, span: &Range<usize>, entries: &[Entry], to: &mut U) {
        let table = std::mem::take(&mut r.table);
        r.table = if table.is_empty() { whole.into() } else { format!("{table}.{whole}") };
        let mut said = Vec::new();
        read::said(r, self.table, "", entries, &mut said);
        read::rules(r, self.table, span, &said, true);
        said.sort_by_key(|said| said.index);
        for said in said {
            r.key = said.key.name.into();
            said.key.kind.read(r, &said.entry.tree, to);
        }
        r.table = table;
        r.key = whole.into();
    }
}

macro_rules! field {
    ($t:ty: |$a:ident| $get:expr, |$b:ident, $v:ident| $set:expr) => {
        Field { get: |$a: &$t| $get, set: |$b: &mut $t, $v| $set }
    };
    ($t:ty: $get:expr, |$b:ident, $v:ident| $set:expr) => {
        Field { get: $get, set: |$b: &mut $t, $v| $set }
    };
    ($t:ty: $get:expr, $set:expr) => {
        Field { get: $get, set: $set }
    };
}

pub(crate) static NEEDS: List<Job, Need> = List {
    table: &NEED,
    // Replaced, or the need is refused: `job` must be said.
    new: || Need { job: JobName::from_program(""), restart: false },
    short: Some("job"),
    get: |j| &j.life.needs,
    set: |j, v| j.life.needs = v,
};

fn set_job(need: &mut Need, name: &str) {
    // Its rule has said already what is wrong with it.
    if let Ok(name) = JobName::parse(name) {
        need.job = name;
    }
}

static NEED: Table<Need> = Table {
    keys: &[
        Key::new("job", Kind::Text(&rule::JOB, field!(Need: |n| Some(n.job.to_string()), |n, v| set_job(n, &v))))
            .doc("Which.")
            .example("\"db\""),
        Key::new("restart", Kind::Bool(field!(Need: |n| Some(n.restart), |n, v| n.restart = v)))
            .doc("Restarted when the needed one is.")
            .example("true"),
    ],
    groups: &[],
    one_of: &[OneOf { table: "", keys: &["job"], needed: true }],
    index: OnceLock::new(),
};

pub(crate) static SOCKETS: List<Job, Socket> = List {
    table: &SOCKET,
    new: || Socket { name: String::new(), at: SocketAt::Tcp(String::new()) },
    short: None,
    get: |j| &j.around.sockets,
    set: |j, v| j.around.sockets = v,
};

fn tcp(s: &Socket) -> Option<String> {
    if let SocketAt::Tcp(at) = &s.at { Some(at.clone()) } else { None }
}
fn udp(s: &Socket) -> Option<String> {
    if let SocketAt::Udp(at) = &s.at { Some(at.clone()) } else { None }
}
fn unix(s: &Socket) -> Option<String> {
    if let SocketAt::Unix(at) = &s.at { Some(at.clone()) } else { None }
}

static SOCKET: Table<Socket> = Table {
    keys: &[
        Key::new("name", Kind::Text(&rule::WORD, field!(Socket: |s| Some(s.name.clone()), |s, v| s.name = v)))
            .doc("In `LISTEN_FDNAMES`.")
            .example("\"http\""),
        Key::new("tcp", Kind::Text(&rule::ADDRESS, field!(Socket: tcp, |s, v| s.at = SocketAt::Tcp(v))))
            .doc("Address and port.")
            .example("\"127.0.0.1:8080\""),
        Key::new("udp", Kind::Text(&rule::ADDRESS, field!(Socket: udp, |s, v| s.at = SocketAt::Udp(v))))
            .doc("Address and port.")
            .example("\"127.0.0.1:5353\""),
        Key::new("unix", Kind::Text(&rule::PATH, field!(Socket: unix, |s, v| s.at = SocketAt::Unix(v))))
            .doc("Path of a socket that is made.")
            .example("\"/run/app.sock\""),
    ],
    groups: &[],
    one_of: &[
        OneOf { table: "", keys: &["name"], needed: true },
        OneOf { table: "", keys: &["tcp", "udp", "unix"], needed: true },
    ],
    index: OnceLock::new(),
};

pub(crate) static LISTENS: List<Settings, Listen> =
    List { table: &LISTEN, new: Listen::default, short: Some("address"), get: |s| &s.listen, set: |s, v| s.listen = v };

static LISTEN: Table<Listen> = Table {
    keys: &[
        Key::new(
            "address",
            Kind::Text(&rule::LISTEN_ADDRESS, field!(Listen: |l| Some(l.address.clone()), |l, v| l.address = v)),
        )
        .doc("Where, on this machine alone: 127.0.0.1, [::1] or localhost with a port, or a port alone.")
        .example("\"127.0.0.1:7070\""),
        Key::new("dialect", Kind::Text(&rule::WORD, field!(Listen: |l| l.dialect.clone(), |l, v| l.dialect = Some(v))))
            .doc("Another tool's API instead of kin's own. None is spoken yet: nothing listens there.")
            .example("\"k1s\"")
            .absent("kin's own API"),
        Key::new(
            "token_file",
            Kind::Text(&rule::PATH, field!(Listen: |l| l.token_file.clone(), |l, v| l.token_file = Some(v))),
        )
        .doc("The file that holds its token, at least 32 characters that nobody else may read. A relative one is beside the job files.")
        .example("\"kin.token\"")
        .absent("`token` in the state directory, which the server makes"),
    ],
    groups: &[],
    one_of: &[OneOf { table: "", keys: &["address"], needed: true }],
    index: OnceLock::new(),
};
