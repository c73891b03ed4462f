//! A run's checks and its stop command, with every variable in its place.
//!
//! They are made with the run, so that a variable that is not defined is said then; and again from the run's spec by a
//! daemon that comes later, which finds the environment there.

use super::{Env, Makes, Unmakeable, expand, program};
use kin_core::job::{Check, Job, Program};
use kin_keeper::spec::SpecView;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checks {
    pub ready: Option<Check>,
    pub alive: Option<Check>,
    pub stop: Option<Program>,
}

impl Checks {
    pub fn of(job: &Job, env: &Env) -> Makes<Checks> {
        let life = &job.life;
        Ok(Checks {
            ready: life.ready.as_ref().map(|ready| check(&ready.by, env, "ready")).transpose()?,
            alive: life.alive.as_ref().map(|alive| check(&alive.by, env, "alive")).transpose()?,
            stop: life.stop.command.as_ref().map(|p| program::expanded(p, env, "stop.command")).transpose()?,
        })
    }

    /// Of a run that was made before, by its spec.
    pub fn again(job: &Job, spec: &SpecView<'_>) -> Makes<Checks> {
        Checks::of(job, &env_of(spec))
    }
}

/// The environment in a spec.
pub(super) fn env_of(spec: &SpecView<'_>) -> Env {
    let entries = spec.programs_argv_env().skip(spec.program_count() + spec.argv_count());
    let pair = |entry: &[u8]| {
        let cut = entry.iter().position(|b| *b == b'=')?;
        Some((entry[..cut].to_vec(), entry[cut + 1..].to_vec()))
    };
    entries.filter_map(|entry| pair(entry.to_bytes())).collect()
}

fn check(check: &Check, env: &Env, key: &str) -> Makes<Check> {
    let text = |what: &str, text: &str| {
        expand::text(text, env).map_err(|why| Unmakeable::defined(format!("{key}.{what}, {text:?}: {why}")))
    };
    Ok(match check {
        Check::Http { url, codes } => Check::Http { url: text("http", url)?, codes: codes.clone() },
        Check::Tcp { address } => Check::Tcp { address: text("tcp", address)? },
        Check::Exec(words) => Check::Exec(program::expanded(words, env, &format!("{key}.exec"))?),
        // A `$` in a pattern is a line's end.
        Check::Line(_) | Check::Notify | Check::Fd(_) | Check::After(_) => check.clone(),
    })
}
