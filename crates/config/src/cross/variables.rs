//! `$NAME` where it is expanded: whether anything will define it.

use super::wrong;
use crate::guess;
use crate::job::Definition;
use crate::mistake::{Code, Mistake};
use crate::tree::{Tree, Value};
use crate::value::within;
use crate::variables::{Piece, pieces};
use kin_core::job::{Check, Job, Program};

/// In every run's environment.
const ALWAYS: [&str; 11] = [
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PATH",
    "KIN_JOB",
    "KIN_RUN_ID",
    "KIN_SLOT",
    "KIN_ATTEMPT",
    "KIN_SOCKET",
    "KIN_HOME",
];
/// Taken from the server's environment where they are there.
const FAMILIES: [&str; 3] = ["LC_", "XDG_", "KIN_"];

/// Whether a text of this key is expanded, and not left to a shell.
fn expanded(job: &Job, key: &str) -> bool {
    let by_argv = |program: Option<&Program>| matches!(program, Some(Program::Exec(_)));
    let check = |by: Option<&Check>| match by {
        Some(Check::Exec(program)) => by_argv(Some(program)),
        Some(
            Check::Http { .. } | Check::Tcp { .. } | Check::Line(_) | Check::Notify | Check::Fd(_) | Check::After(_),
        )
        | None => false,
    };
    match key {
        "exec" | "dir" | "ready.http" | "ready.tcp" | "alive.http" | "alive.tcp" => true,
        "ready.exec" => check(job.life.ready.as_ref().map(|ready| &ready.by)),
        "alive.exec" => check(job.life.alive.as_ref().map(|alive| &alive.by)),
        "stop.command" => by_argv(job.life.stop.command.as_ref()),
        _ => false,
    }
}

pub(super) fn check(definition: &Definition, mistakes: &mut Vec<Mistake>) {
    let job = &definition.job;
    for (key, said) in &definition.keys {
        if !expanded(job, key) {
            continue;
        }
        let one = std::slice::from_ref(&said.tree);
        let items = if let Value::List(items) = &said.tree.value { items } else { one };
        for item in items {
            texts(definition, key, said.source, item, mistakes);
        }
    }
}

fn texts(definition: &Definition, key: &str, source: Option<usize>, tree: &Tree, mistakes: &mut Vec<Mistake>) {
    let Value::Text(text) = &tree.value else { return };
    if !text.contains('$') {
        return;
    }
    for (span, piece) in pieces(text) {
        let message = match piece {
            Piece::Text(_) => continue,
            Piece::Name(name) if known(definition, name) => continue,
            Piece::Name(name) => {
                let job = &definition.job;
                let near = ALWAYS.iter().copied().chain(["PORT"]).chain(job.around.env.keys().map(String::as_str));
                format!("${name} is not defined{}", guess::hint(name, near.filter(|other| *other != name)))
            }
            Piece::Stray => "this $ begins no name".into(),
        };
        let at = within(tree, span.start, span.len());
        let help = if message.starts_with("$PORT ") {
            "port = 3000 or port = \"auto\" defines it; $$ stands for a dollar sign"
        } else {
            "'env' defines it, or 'env_pass' takes it over; $$ stands for a dollar sign"
        };
        let mut mistake = wrong(definition, key, Code::Variable, message).help(help);
        if let Some(source) = source {
            mistake = mistake.at(source, &at);
        }
        mistakes.push(mistake);
    }
}

/// What comes from files is not known before the run is made.
fn known(definition: &Definition, name: &str) -> bool {
    let job = &definition.job;
    let around = &job.around;
    ALWAYS.contains(&name)
        || ["LANG", "TZ"].contains(&name)
        || FAMILIES.iter().any(|family| name.starts_with(family))
        || around.env.contains_key(name)
        || !around.env_files.is_empty()
        || around.env_pass.iter().any(|pattern| matches(pattern, name))
        || (name == "PORT" && around.port.is_some())
        || (name == "CREDENTIALS_DIRECTORY" && !around.credentials.is_empty())
        || (name == "NOTIFY_SOCKET" && matches!(job.life.ready.as_ref().map(|r| &r.by), Some(Check::Notify)))
}

/// `*` and `?` of a glob.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            Some(_) | None => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn globs() {
        for (pattern, name, yes) in [
            ("AWS_*", "AWS_KEY", true),
            ("AWS_*", "AWS_", true),
            ("*", "", true),
            ("A?C", "ABC", true),
            ("A?C", "AC", false),
            ("*_X*", "A_B_XY", true),
            ("AWS", "AWS_KEY", false),
        ] {
            assert_eq!(matches(pattern, name), yes, "{pattern} {name}");
        }
    }
}
