//! What /proc says of processes: who belongs to a test, what they hold, what they cost.

use rustix::process::{Pid, PidfdFlags, Signal};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

/// The variable that marks every process of one test: kin keeps `KIN_` variables for itself and gives them to runs.
pub const MARK: &str = "KIN_TESTKIT";

pub fn all_pids() -> Vec<u32> {
    let Ok(dir) = std::fs::read_dir("/proc") else { return Vec::new() };
    dir.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Whether this process was given `MARK=mark`. False when it is gone, or not ours to look at.
pub fn is_marked(pid: u32, mark: &str) -> bool {
    let want = format!("{MARK}={mark}");
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|env| env.split(|b| *b == 0).any(|pair| pair == want.as_bytes()))
}

/// Every living process with that mark; zombies have no environment and do not count.
pub fn marked(mark: &str) -> Vec<u32> {
    all_pids().into_iter().filter(|pid| is_marked(*pid, mark)).collect()
}

/// Fields of /proc/PID/stat after the name; field 3 (the state letter) has index 0.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(String::from).collect())
}

/// Alive, and not a zombie.
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| !matches!(fields.first().map(String::as_str), Some("Z" | "X") | None))
}

pub fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

pub fn children(pid: u32) -> Vec<u32> {
    all_pids().into_iter().filter(|child| parent(*child) == Some(pid)).collect()
}

/// The command line in one string.
pub fn command_line(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " ")
}

/// What each descriptor of a process points at.
pub fn descriptors(pid: u32) -> io::Result<BTreeMap<u32, String>> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Ok(target) = std::fs::read_link(entry.path()) {
            out.insert(fd, target.to_string_lossy().into_owned());
        }
    }
    Ok(out)
}

/// Processor time used, of itself and (`waited`) of the children it has waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cpu {
    pub own: Duration,
    pub waited: Duration,
}

impl Cpu {
    pub fn total(self) -> Duration {
        self.own + self.waited
    }
    #[must_use]
    pub fn since(self, before: Cpu) -> Cpu {
        Cpu { own: self.own.saturating_sub(before.own), waited: self.waited.saturating_sub(before.waited) }
    }
}

/// By /proc/PID/schedstat for its own threads (ns), by stat (10 ms ticks) for its children. A thread that ended is in stat
/// alone, so what stat says counts where it is more.
pub fn cpu(pid: u32) -> Option<Cpu> {
    let mut own = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let path = task.ok()?.path().join("schedstat");
        if let Ok(text) = std::fs::read_to_string(path) {
            own += text.split(' ').next()?.parse::<u64>().ok()?;
        }
    }
    let fields = stat(pid)?;
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok());
    let hz = rustix::param::clock_ticks_per_second();
    let time = |ticks: u64| Duration::from_nanos(ticks * 1_000_000_000 / hz);
    let own = Duration::from_nanos(own).max(time(ticks(11)? + ticks(12)?));
    Some(Cpu { own, waited: time(ticks(13)? + ticks(14)?) })
}

/// How often its threads went to sleep and were woken, or were made to wait for the processor.
pub fn switches(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
        for line in text.lines() {
            if line.contains("ctxt_switches") {
                sum += line.rsplit(char::is_whitespace).next()?.parse::<u64>().ok()?;
            }
        }
    }
    Some(sum)
}

/// Anonymous private memory in bytes.
pub fn anonymous(pid: u32) -> Option<u64> {
    field_kib(&format!("/proc/{pid}/smaps_rollup"), "Anonymous:")
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// What no other process has.
    pub private: u64,
    /// Its share of what is no file's: a page that two have counts half.
    pub anonymous_share: u64,
}

pub fn memory(pid: u32) -> Option<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let private = field_kib(&path, "Private_Clean:")? + field_kib(&path, "Private_Dirty:")?;
    Some(Memory { private, anonymous_share: field_kib(&path, "Pss_Anon:")? })
}

/// What the kernel holds for processes and files: slab, stacks, page tables; bytes.
pub fn kernel_memory() -> Option<u64> {
    ["Slab:", "KernelStack:", "PageTables:"].into_iter().map(|f| field_kib("/proc/meminfo", f)).sum()
}

fn field_kib(path: &str, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|l| l.starts_with(field))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// SIGKILL for a process that carries the mark; `false` when there is no such process (any more). By pidfd, looked at
/// again after it was opened, so that a number used anew is never hit.
pub fn kill_marked(pid: u32, mark: &str, signal: Signal) -> io::Result<bool> {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(false) };
    let pidfd = match rustix::process::pidfd_open(raw, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    if !is_marked(pid, mark) {
        return Ok(false);
    }
    match rustix::process::pidfd_send_signal(&pidfd, signal) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Waits until a process is gone (or a zombie), by its pidfd. True when it is.
pub fn gone_within(pid: u32, deadline: Duration) -> bool {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return true };
    let Ok(pidfd) = rustix::process::pidfd_open(raw, PidfdFlags::empty()) else { return true };
    let timeout = rustix::event::Timespec {
        tv_sec: i64::try_from(deadline.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(deadline.subsec_nanos()),
    };
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    matches!(rustix::event::poll(&mut fds, Some(&timeout)), Ok(n) if n > 0)
}

/// Every regular file below a directory.
pub fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut out = Vec::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(dir) = todo.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.filter_map(Result::ok) {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => todo.push(entry.path()),
                Ok(kind) if kind.is_file() => out.push(entry.path()),
                Ok(_) | Err(_) => {}
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_marked_child_is_found_and_killed_and_no_other() {
        let mark = format!("t{}", std::process::id());
        let mut child = Command::new("/bin/sleep").arg("60").env(MARK, &mark).spawn().expect("sleep starts");
        let pid = child.id();
        crate::eventually("the child is the program", Duration::from_secs(5), || {
            (marked(&mark) == [pid]).then_some(())
        });
        assert_eq!(parent(pid), Some(std::process::id()));
        assert!(!kill_marked(pid, "another", Signal::KILL).expect("asks"));
        assert!(is_alive(pid) && cpu(pid).is_some() && switches(pid).is_some() && anonymous(pid).is_some());
        assert!(kill_marked(pid, &mark, Signal::KILL).expect("kills"));
        assert!(gone_within(pid, Duration::from_secs(5)));
        assert!(!is_alive(pid));
        child.wait().expect("reaped");
        assert!(!kill_marked(pid, &mark, Signal::KILL).expect("asks"));
    }
}
