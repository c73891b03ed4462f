//! `docs/job-keys.md`: the tables of keys as a page. Made by `cargo xtask gen`.

use crate::key::{Key, Table};
use crate::keys::job::JOB;
use crate::keys::kin::{CALENDAR, KIN, QUEUE};
use crate::settings::{self, Calendar, Settings};
use kin_core::JobName;
use kin_core::job::{Again, Job, Program, Restart};

const HEAD: &str = "\
# Every key

<!-- Made by `cargo xtask gen` from the tables in crates/config/src/keys. -->

How jobs are written is told in [jobs.md](jobs.md); this page is for looking up. A *length of time* is a number of seconds or a text as `\"1h 30m\"`
(ms, s, m, h, d, w), a *size* a number of bytes or a text as `\"512M\"` (K, M, G, T, P; K is 1024), a *signal* a name or a number.

*What a change does*: **restarts a service**: its processes are replaced, for a living process cannot be given the new value; for any other job it counts from
the next run on. **At once**: it counts from now on, and no process notices. **From the next run on**: what runs goes on as it began. **Shown**: nothing
follows.
";

pub fn page() -> String {
    let mut out = String::from(HEAD);
    let bare = |restart: Restart| {
        let mut job = Job::new(JobName::from_program("x"), Program::Exec(Vec::new()));
        job.life.ready = Some(crate::keys::job::plain_ready());
        job.life.alive = Some(crate::keys::job::plain_alive());
        job.life.again = if restart == Restart::Never { Again::retries() } else { Again::restarts() };
        job.life.restart = restart;
        job
    };
    let (once, service) = (bare(Restart::Never), bare(Restart::Always));
    let default = |key: &Key<Job>| {
        let one = shown(key, &once);
        let other = shown(key, &service);
        if one == other || key.name == "restart" { one } else { format!("{one}; of a service {other}") }
    };
    out += "\n## A job: `[NAME]`\n\nA name has letters, digits, `_`, `.` and `-`, at most 100, and begins with none of `.` and `-`. ";
    out += "Exactly one of `command` and `exec` is said.\n";
    section(&mut out, &JOB, "", true, &default);
    for (group, doc) in JOB.groups {
        out += &format!("\n### `{group}`\n\n{doc}\n");
        section(&mut out, &JOB, group, true, &default);
    }
    out += "\n## What all jobs share: `[defaults]`\n\nAny key of a job but these: ";
    let own: Vec<String> = JOB.keys.iter().filter(|key| !key.shared).map(|key| format!("`{}`", key.name)).collect();
    out += &format!("{}. ", own.join(", "));
    out += "What a job says itself wins; tables of names (`env`, `credentials`, `need`) are joined name by name.\n";
    out += "\n## The server: `[kin]`\n";
    let settings = Settings::default();
    section(&mut out, &KIN, "", false, &|key| shown(key, &settings));
    for (group, doc) in KIN.groups {
        out += &format!("\n### `{group}`\n\n{doc}\n");
        section(&mut out, &KIN, group, false, &|key| shown(key, &settings));
    }
    out += "\n## A queue: `[kin.queues.NAME]`\n";
    let queue = settings::queue("x");
    section(&mut out, &QUEUE, "", false, &|key| shown(key, &queue));
    out += "\n## A calendar: `[kin.calendars.NAME]`\n";
    let calendar = Calendar::new("x");
    section(&mut out, &CALENDAR, "", false, &|key| shown(key, &calendar));
    out
}

/// Its default: what it says where nobody says anything.
fn shown<T>(key: &Key<T>, bare: &T) -> String {
    if !key.absent.is_empty() {
        return key.absent.into();
    }
    match key.kind.write(bare) {
        Some(value) if !is_chosen(key.name) => match value.toml().as_str() {
            "[]" | "{}" => "none".into(),
            text => format!("`{text}`"),
        },
        Some(_) | None => "–".into(),
    }
}

/// A way that a check is done has no default: one is chosen.
fn is_chosen(name: &str) -> bool {
    JOB.one_of.iter().any(|rule| rule.needed && rule.keys.contains(&name))
}

fn section<T>(out: &mut String, table: &Table<T>, group: &str, effects: bool, default: &dyn Fn(&Key<T>) -> String) {
    *out += if effects {
        "\n| key | value | default | what a change does | |\n|---|---|---|---|---|\n"
    } else {
        "\n| key | value | default | |\n|---|---|---|---|\n"
    };
    for key in table.keys {
        let inside = match key.name.split_once('.') {
            Some((of, _)) => of == group,
            None => group.is_empty(),
        };
        if !inside {
            continue;
        }
        let mut names = format!("`{}`", key.name);
        if !key.aliases.is_empty() {
            let others: Vec<String> = key.aliases.iter().map(|name| format!("`{name}`")).collect();
            names += &format!(" (also {})", others.join(", "));
        }
        let effect = if effects { format!(" {} |", key.effect.sentence()) } else { String::new() };
        let default = if key.foreign { "–".to_string() } else { default(key) };
        let cell = |text: &str| text.replace('|', "\\|");
        *out += &format!(
            "| {names} | {} | {} |{effect} {} `{} = {}` |\n",
            cell(&key.kind.words()),
            cell(&default),
            cell(key.doc),
            key.name,
            cell(key.example)
        );
    }
}
