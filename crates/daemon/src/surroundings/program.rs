//! A program and its arguments, as exec wants them.

use super::{Env, Makes, Unmakeable, expand};
use kin_core::job::Program;
use kin_keeper::spec::Rlimit;

/// Where programs are looked for when the run has no PATH, as the C library does.
pub(crate) const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

type Words = Vec<Vec<u8>>;

/// Paths to try, and argv. A command line is the shell's to read; words are expanded here.
pub(super) fn program(program: &Program, env: &Env, key: &str) -> Makes<(Words, Words)> {
    let words = match expanded(program, env, key)? {
        Program::Shell(line) => {
            let argv = vec![b"sh".to_vec(), b"-c".to_vec(), line.into_bytes()];
            return Ok((vec![b"/bin/sh".to_vec()], argv));
        }
        Program::Exec(words) => words,
    };
    let Some(first) = words.first().filter(|first| !first.is_empty()) else {
        return Err(Unmakeable::defined(format!("{key} names no program")));
    };
    let path = env.get(&b"PATH"[..]).map_or(DEFAULT_PATH, Vec::as_slice);
    let programs = programs(first.as_bytes(), path);
    Ok((programs, words.into_iter().map(String::into_bytes).collect()))
}

/// With every variable in its place. What a shell will read is left to it.
pub(super) fn expanded(program: &Program, env: &Env, key: &str) -> Makes<Program> {
    match program {
        Program::Shell(line) if line.trim().is_empty() => Err(Unmakeable::defined(format!("{key} is empty"))),
        Program::Shell(line) => Ok(Program::Shell(line.clone())),
        Program::Exec(words) => {
            let word = |word: &String| {
                expand::text(word, env).map_err(|why| Unmakeable::defined(format!("{key}, {word:?}: {why}")))
            };
            words.iter().map(word).collect::<Makes<_>>().map(Program::Exec)
        }
    }
}

/// A search of PATH as a shell does it, each place to try; an empty place is the run's own directory.
pub(crate) fn programs(program: &[u8], path: &[u8]) -> Vec<Vec<u8>> {
    if program.contains(&b'/') {
        return vec![program.to_vec()];
    }
    let place = |dir: &[u8]| [if dir.is_empty() { b"." } else { dir }, program].join(&b'/');
    path.split(|b| *b == b':').map(place).collect()
}

/// The limit of open files that the server found when it was started: it raised its own.
pub(crate) fn open_files(soft: u64) -> Rlimit {
    let resource = rustix::process::Resource::Nofile;
    let hard = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    Rlimit { resource: resource as u32, soft: soft.min(hard), hard }
}
