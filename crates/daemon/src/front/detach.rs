//! A server in the background: nothing of its first caller goes with it.
//!
//! ```text
//!   caller ──▶ kin front session ──▶ kin front attend
//!              a session of its own,  the front; says on its standard output how it went,
//!              then ends              and then lets go of it
//! ```
//! The caller waits for that word and ends with it. Limits, priority and the like it gave up before: see `fresh`.

use super::birth::{OF_A_RUN, log};
use kin_api::home::Home;
use rustix::fs::Mode;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const KEPT: [&str; 8] = ["HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "TZ", "TZDIR"];
const KEPT_FAMILIES: [&str; 3] = ["LC_", "XDG_", "KIN_"];

/// Starts a front in the background, and comes back when the server serves or could not: the exit code, and the words.
pub fn start(home: &Home) -> io::Result<(u8, String)> {
    let (mut said, say) = io::pipe()?;
    let mut session = stage("session");
    session.env_clear().envs(kept());
    session.current_dir("/").stdin(Stdio::null()).stdout(say).stderr(log(&home.state)?);
    let status = session.status()?;
    // Our own end of the pipe goes with the command; the front's goes when it has said its word.
    drop(session);
    if !status.success() {
        return Err(io::Error::other(format!("the server could not be put into the background ({status})")));
    }
    let mut words = String::new();
    said.read_to_string(&mut words)?;
    Ok(understand(&words))
}

pub(super) fn stage(name: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("kin").args(["front", name]);
    command
}

/// Of our environment, what a server keeps.
pub(super) fn kept() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| is_kept(name))
}

fn is_kept(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    !OF_A_RUN.contains(&name) && (KEPT.contains(&name) || KEPT_FAMILIES.iter().any(|family| name.starts_with(family)))
}

pub(super) fn understand(words: &str) -> (u8, String) {
    if words.starts_with("ready") {
        return (0, String::new());
    }
    let (code, message) = words.trim_end().split_once(' ').unwrap_or(("1", "the server ended before it could serve"));
    (code.parse().unwrap_or(1), message.to_string())
}

/// The first stage: a session of its own, no descriptors but the first three, nobody's directory.
pub fn session() -> io::Result<()> {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    rustix::process::setsid()?;
    close_others()?;
    let mut attend = stage("attend");
    attend.spawn().map(|_| ())
}

/// Descriptors that others left open are not handed on.
fn close_others() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|n| n.parse::<i32>().ok());
        if let Some(number) = number.filter(|n| *n > 2) {
            kin_keeper::sys::process::with_fd(number, |fd| rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC))?;
        }
    }
    Ok(())
}

/// Says how it went to whoever waits for it. Once it has said that all is well, standard output is the log.
pub fn report(home: &Home, outcome: Result<(), (u8, &str)>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match outcome {
        Ok(()) => writeln!(out, "ready")?,
        Err((code, message)) => writeln!(out, "{code} {message}")?,
    }
    out.flush()?;
    Ok(rustix::stdio::dup2_stdout(log(&home.state)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_server_needs_is_kept_of_the_environment() {
        for (name, want) in [
            ("HOME", true),
            ("LC_ALL", true),
            ("XDG_STATE_HOME", true),
            ("KIN_HOME", true),
            ("KIN_RUN_ID", false),
            ("SECRET", false),
            ("LD_PRELOAD", false),
            ("NOTIFY_SOCKET", false),
        ] {
            assert_eq!(is_kept(OsStr::new(name)), want, "{name}");
        }
    }

    #[test]
    fn a_fronts_last_word_is_understood() {
        assert_eq!(understand("ready\n"), (0, String::new()));
        assert_eq!(understand("5 already running, pid 7\n"), (5, "already running, pid 7".into()));
        assert_eq!(understand("").0, 1);
    }
}
