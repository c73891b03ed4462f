//! A server in the background, as a transient unit of systemd: it then belongs to no login and to no other service.
//!
//! ```text
//!   caller ──▶ systemd-run ──▶ systemd ──▶ kin front unit NAME… ──▶ kin front attend
//!      ▲                                   keeps these variables     the front
//!      └────────── a named pipe, which is the unit's standard output ──┘
//! ```
//! The pipe is at its end when the front has said how it went, or died. Whatever fails before that is no reason not to
//! serve: the double fork of `detach` does as well, until the caller's own place goes.

use super::birth::log;
use super::detach;
use kin_api::home::Home;
use kin_keeper::sys::wait::pidfd_open;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Whoever manages services answers so fast, or is not asked.
const ANSWERS: i64 = 1;
/// So long it may take to start a unit.
const STARTS: i64 = 10;

/// Starts a front as a unit: its exit code and words. `None`: nobody manages services here, or it did not work, which
/// is then said in the server's log.
pub(super) fn start(home: &Home) -> Option<(u8, String)> {
    if !answers() {
        return None;
    }
    match try_start(home) {
        Ok(outcome) => Some(outcome),
        Err(e) => {
            let words =
                format!("kin: systemd could not start the server as a unit, so it is started without one: {e}\n");
            if log(&home.state).and_then(|mut log| log.write_all(words.as_bytes())).is_err() {
                crate::say!("{}", words.trim_end());
            }
            None
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The socket of the manager that is ours.
fn socket() -> PathBuf {
    if let Some(path) = crate::seams::systemd() {
        return path;
    }
    if is_root() {
        return PathBuf::from("/run/systemd/private");
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    let runtime = runtime
        .map_or_else(|| PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw())), PathBuf::from);
    runtime.join("systemd/private")
}

/// Whether systemd is there and takes orders.
fn answers() -> bool {
    if std::env::var_os("KIN_NO_SYSTEMD").is_some_and(|no| no == "1") || !socket().exists() {
        return false;
    }
    let mut ask = tool("systemctl");
    ask.arg("is-system-running");
    run(&mut ask, ANSWERS).is_ok_and(|said| takes_orders(&said.stdout))
}

fn takes_orders(said: &[u8]) -> bool {
    matches!(said.trim_ascii(), b"initializing" | b"starting" | b"running" | b"degraded" | b"maintenance")
}

fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    if !is_root() {
        command.arg("--user");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Its output, which must be little, if it ends within so many seconds.
fn run(command: &mut Command, seconds: i64) -> io::Result<Output> {
    let mut child = command.spawn()?;
    if !ends_within(&child, seconds)? {
        child.kill()?;
        child.wait()?;
        return Err(io::Error::other(format!("{:?} did not end within {seconds} s", command.get_program())));
    }
    child.wait_with_output()
}

fn ends_within(child: &Child, seconds: i64) -> io::Result<bool> {
    let pidfd = pidfd_open(child.id())?;
    let within = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&within))? > 0)
}

/// A named pipe below the state directory, which goes with this value.
struct Said {
    path: PathBuf,
    read: File,
}

impl Said {
    fn below(state: &Path) -> io::Result<Said> {
        let path = state.join(format!(".said-{}", std::process::id()));
        if let Err(e) = std::fs::remove_file(&path)
            && e.kind() != io::ErrorKind::NotFound
        {
            return Err(e);
        }
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let read = File::from(rustix::fs::open(&path, flags, Mode::empty())?);
        Ok(Said { path, read })
    }

    /// All that is said until nobody can say any more.
    fn words(mut self) -> io::Result<String> {
        rustix::io::ioctl_fionbio(&self.read, false)?;
        let mut words = String::new();
        self.read.read_to_string(&mut words)?;
        Ok(words)
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        // What is left of it is an empty name, which the next of our number takes away.
        std::fs::remove_file(&self.path).unwrap_or(());
    }
}

fn try_start(home: &Home) -> io::Result<(u8, String)> {
    let said = Said::below(&home.state)?;
    let program = std::env::current_exe()?;
    let kept: Vec<(OsString, OsString)> = detach::kept().collect();
    let mut ask = tool("systemd-run");
    ask.args(properties(&home.state, &said.path, std::process::id()));
    for (name, value) in &kept {
        let mut set = OsString::from("--setenv=");
        set.push(name);
        set.push("=");
        set.push(value);
        ask.arg(set);
    }
    ask.arg("--").arg(program).args(["front", "unit"]).args(kept.iter().map(|(name, _)| name));
    // It comes back when the unit's program runs, and so has opened the pipe.
    let done = run(&mut ask, STARTS)?;
    if !done.status.success() {
        let why = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        return Err(io::Error::other(format!("systemd-run: {why} ({})", done.status)));
    }
    Ok(detach::understand(&said.words()?))
}

fn properties(state: &Path, said: &Path, caller: u32) -> Vec<OsString> {
    let mut all: Vec<OsString> = ["--quiet", "--collect", "--description=kin server"].map(OsString::from).into();
    all.push(format!("--unit=kin-server-{caller}").into());
    for property in [
        "Type=exec",
        "Delegate=yes",
        // The front may die; elder, keeper, daemon and runs stay.
        "KillMode=process",
        "OOMPolicy=continue",
        "UMask=0077",
        "WorkingDirectory=/",
        "StandardInput=null",
    ] {
        all.extend(["-p".into(), property.into()]);
    }
    for (name, path) in [("StandardOutput=file:", said.to_owned()), ("StandardError=append:", state.join("server.log"))]
    {
        let mut property = OsString::from(name);
        property.push(path);
        all.extend(["-p".into(), property]);
    }
    all
}

/// The unit's first program: keeps the variables with these names, and becomes the front.
pub(super) fn become_front(names: &[OsString]) -> io::Result<()> {
    let mut attend = detach::stage("attend");
    attend.env_clear().envs(std::env::vars_os().filter(|(name, _)| names.contains(name)));
    Err(attend.exec())
}

/// Words for whoever starts a server that will be killed with the place it is started from.
pub(super) fn doomed() -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let user = std::env::var_os("USER").unwrap_or_default();
    doom_of(&text, !user.is_empty() && Path::new("/var/lib/systemd/linger").join(&user).exists(), &user)
}

fn doom_of(cgroup: &str, lingers: bool, user: &OsStr) -> Option<String> {
    let place = cgroup
        .lines()
        .find_map(|line| line.strip_prefix("0::").or_else(|| line.split_once(":name=systemd:").map(|it| it.1)))?;
    let unit = place.rsplit('/').next()?;
    if unit.starts_with("session-") && unit.ends_with(".scope") && !lingers {
        return Some(format!(
            "this server lives in the login {unit} and may be killed with it; so that it stays: loginctl enable-linger {}",
            user.display()
        ));
    }
    (unit.ends_with(".service") && !unit.starts_with("kin")).then(|| {
        format!("this server lives in {unit} and ends with it; so that it stays, run kin serve as a service of its own")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_goes_with_its_caller_is_known() {
        let doom = |text: &str, lingers| doom_of(text, lingers, OsStr::new("ann"));
        let login = "0::/user.slice/user-7.slice/session-3.scope\n";
        assert!(doom(login, false).is_some_and(|words| words.contains("enable-linger ann")));
        assert_eq!(doom(login, true), None);
        assert!(doom("1:name=systemd:/system.slice/cron.service\n", true).is_some_and(|w| w.contains("cron.service")));
        assert_eq!(doom("0::/system.slice/kin.service\n", false), None);
        assert_eq!(doom("0::/\n", false), None);
    }

    #[test]
    fn only_a_manager_that_takes_orders_answers() {
        assert!(takes_orders(b"degraded\n"));
        assert!(!takes_orders(b"offline\n") && !takes_orders(b"stopping\n") && !takes_orders(b""));
    }
}
