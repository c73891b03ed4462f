//! The keys of `[kin]`, of a queue, and of a calendar.

use crate::key::{Key, Table};
use crate::keys::records::LISTENS;
use crate::kind::{Field, Kind, Word};
use crate::rule;
use crate::settings::{Calendar, Durability, OnExit, Settings};
use kin_core::job::Queue;
use std::collections::BTreeMap;
use std::sync::OnceLock;

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

/// Tables of `[kin]` whose keys are names.
pub const QUEUES: &str = "queues";
pub const CALENDARS: &str = "calendars";

pub static KIN: Table<Settings> = Table {
    keys: &[
        Key::new("listen", Kind::Records(&LISTENS))
            .doc("Where the API is offered besides the socket of the user; whoever asks there must show the token that `kin token` prints. It holds from the server's start.")
            .example("[{ address = \"127.0.0.1:7070\" }]"),
        Key::new("durability", Kind::Choice(&DURABILITY, |s| Some(s.durability.word())))
            .doc("`full`: what was accepted outlives a power cut. `fast` is quicker on slow disks; a power cut may then forget or repeat what was accepted in the last second.")
            .example("\"fast\""),
        Key::new("project", Kind::Text(&rule::WORD, field!(Settings: |s| s.project.clone(), |s, v| s.project = Some(v))))
            .doc("What `kin up` puts before the names of this file's jobs.")
            .example("\"shop\"")
            .absent("the name of the directory"),
        Key::new("timezone", Kind::Text(&rule::ZONE, field!(Settings: |s| s.timezone.clone(), |s, v| s.timezone = Some(v))))
            .doc("In which schedules are meant that name none.")
            .example("\"Europe/Paris\"")
            .absent("the machine's"),
        Key::new("on_exit", Kind::Choice(&ON_EXIT, |s| Some(s.on_exit.word())))
            .doc("When the server is ended and nobody says more: `leave` lets the runs go on, `stop` stops them. It holds from the server's start.")
            .example("\"stop\""),
        Key::new("history.keep", Kind::LengthOr("forever", field!(Settings: |s| Some(s.history.age), |s, v| s.history.age = v)))
            .doc("How long ended runs stay in the ledger. What may go is looked for five minutes after a run has ended, not while none does; so also of the next four.")
            .example("\"1w\""),
        Key::new("history.runs", Kind::Count { min: 1, word: "all", field: field!(Settings: |s| Some(s.history.runs), |s, v| s.history.runs = v) })
            .doc("How many ended runs stay, of all jobs together.")
            .example("100000"),
        Key::new("history.runs_per_job", Kind::Count { min: 1, word: "all", field: field!(Settings: |s| Some(s.history.runs_per_job), |s, v| s.history.runs_per_job = v) })
            .doc("How many ended runs of each job stay.")
            .example("1000"),
        Key::new("history.events_keep", Kind::LengthOr("forever", field!(Settings: |s| Some(s.history.events_age), |s, v| s.history.events_age = v)))
            .doc("How long events stay in the ledger.")
            .example("\"1w\""),
        Key::new("history.events", Kind::Count { min: 1, word: "all", field: field!(Settings: |s| Some(s.history.events), |s, v| s.history.events = v) })
            .doc("How many events stay.")
            .example("100000"),
    ],
    groups: &[("history", "How much of the ledger is kept.")],
    one_of: &[],
    index: OnceLock::new(),
};

static DURABILITY: [Word<Settings>; 2] = [
    Word { word: "full", aliases: &[], set: |s| s.durability = Durability::Full },
    Word { word: "fast", aliases: &[], set: |s| s.durability = Durability::Fast },
];
static ON_EXIT: [Word<Settings>; 2] = [
    Word { word: "leave", aliases: &[], set: |s| s.on_exit = OnExit::Leave },
    Word { word: "stop", aliases: &[], set: |s| s.on_exit = OnExit::Stop },
];

pub static QUEUE: Table<Queue> = Table {
    keys: &[
        // Resources alone limit nothing else: without `slots` beside them the number of runs is free.
        Key::new("resources", Kind::Counts(field!(Queue: resources, |q, v| q.slots = v)))
            .doc("What its runs share by number, besides slots: each takes what its `need` says.")
            .example("{ cpu = 8, gpu = 1 }"),
        Key::new(
            "slots",
            Kind::Int {
                min: 0,
                max: 1_000_000,
                field: field!(Queue: slots, |q, v| q.slots.extend([("slots".into(), u32::try_from(v).unwrap_or(0))])),
            },
        )
        .doc("Runs at once.")
        .example("4")
        .absent("1; without end where `resources` are said"),
        Key::new("paused", Kind::Bool(field!(Queue: |q| Some(q.paused), |q, v| q.paused = v)))
            .doc("Nobody starts until it is resumed.")
            .example("true"),
    ],
    groups: &[],
    one_of: &[],
    index: OnceLock::new(),
};

fn resources(queue: &Queue) -> Option<BTreeMap<String, u32>> {
    let mut all = queue.slots.clone();
    all.remove("slots");
    Some(all).filter(|all| !all.is_empty())
}

fn slots(queue: &Queue) -> Option<i64> {
    queue.slots.get("slots").map(|n| i64::from(*n))
}

pub static CALENDAR: Table<Calendar> = Table {
    keys: &[
        Key::new("weekdays", Kind::Texts(&rule::WEEKDAY, field!(Calendar: weekdays, |c, v| set_weekdays(c, &v))))
            .doc("Days of the week that count.")
            .example("\"mon, tue, wed, thu, fri\""),
        Key::new(
            "include",
            Kind::Texts(&rule::DATE, field!(Calendar: |c| Some(c.include.clone()), |c, v| c.include = v)),
        )
        .doc("Days that count besides.")
        .example("[\"2026-12-19\"]"),
        Key::new(
            "exclude",
            Kind::Texts(&rule::DATE, field!(Calendar: |c| Some(c.exclude.clone()), |c, v| c.exclude = v)),
        )
        .doc("Days that do not count, whatever else says so.")
        .example("[\"2026-12-25\", \"2027-01-01\"]"),
        Key::new("ics", Kind::Text(&rule::ICS, field!(Calendar: |c| c.ics.clone(), |c, v| c.ics = Some(v))))
            .doc("A calendar file (RFC 5545), from the directory of this file on; it is watched as this one is. The days of its events do not count, unless `ics_days` says that they do.")
            .example("\"holidays.ics\""),
        Key::new("ics_days", Kind::Choice(&ICS_DAYS, |c| c.ics.as_ref().map(|_| if c.file_includes { "include" } else { "exclude" })))
            .doc("What the days of the file's events are: as those of `exclude`, or as those of `include`.")
            .example("\"include\"")
            .absent("\"exclude\"")
            .wants("ics"),
        Key::new(
            "blackouts",
            Kind::Texts(&rule::STRETCH, field!(Calendar: |c| Some(c.blackouts.clone()), |c, v| c.blackouts = v)),
        )
        .doc("Stretches of time that do not count: from an instant until before another, by the server's clocks or with an offset.")
        .example("[\"2026-12-24T18:00/2026-12-27T06:00\"]"),
    ],
    groups: &[],
    one_of: &[],
    index: OnceLock::new(),
};

static ICS_DAYS: [Word<Calendar>; 2] = [
    Word { word: "exclude", aliases: &[], set: |c| c.file_includes = false },
    Word { word: "include", aliases: &[], set: |c| c.file_includes = true },
];

fn weekdays(calendar: &Calendar) -> Option<Vec<String>> {
    let names = rule::WEEKDAYS.iter().zip(0u8..).filter(|(_, n)| calendar.weekdays.contains(n));
    Some(names.map(|(name, _)| (*name).to_string()).collect())
}

fn set_weekdays(calendar: &mut Calendar, names: &[String]) {
    let numbers = rule::WEEKDAYS.iter().zip(0u8..).filter(|(name, _)| names.iter().any(|n| n == *name));
    calendar.weekdays = numbers.map(|(_, n)| n).collect();
}
