//! Which boot this is, and when a process started: together with a pid, the name of a process that is never used twice.

use crate::text::{Text, number, read_start};
use std::ffi::CStr;
use std::fmt::Write as _;

/// The identity of this boot of this machine or container: the kernel's boot id, which a restarted container keeps, and
/// the start of process 1 of our pid namespace, which it does not. The file named by `KIN_BOOT_ID_FILE` replaces all.
pub fn identity() -> String {
    if let Some(path) = std::env::var_os("KIN_BOOT_ID_FILE")
        && let Ok(text) = std::fs::read_to_string(path)
    {
        return text.trim().to_string();
    }
    // Where /proc hides either, the other still tells boots apart.
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("{}:{}", boot.trim(), start_ticks(1).unwrap_or(0))
}

/// When a process started, in clock ticks since boot; `None` when there is no such process.
pub fn start_ticks(pid: u32) -> Option<u64> {
    Stat::of(pid).map(|stat| stat.start_ticks)
}

/// Whether a child has become its program; its zombie tells it too. `None`: it is gone, and nobody can tell any more.
pub(crate) fn has_execed(pid: u32, start_ticks: u64) -> Option<bool> {
    /// Forked, and not yet execed; the kernel clears it before it closes what closes on exec.
    const PF_FORKNOEXEC: u64 = 0x40;
    let stat = Stat::of(pid).filter(|stat| stat.start_ticks == start_ticks)?;
    Some(stat.flags & PF_FORKNOEXEC == 0)
}

/// The fields of /proc/PID/stat that kin looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) state: u8,
    pub(crate) ppid: u32,
    pub(crate) pgid: u32,
    pub(crate) sid: u32,
    /// The kernel's `PF_` flags.
    pub(crate) flags: u64,
    pub(crate) start_ticks: u64,
    /// As `wait` would give it; zero for whoever may not know.
    pub(crate) exit_status: i32,
}

impl Stat {
    pub(crate) fn of(pid: u32) -> Option<Stat> {
        let mut path = Text::<32>::new();
        write!(path, "/proc/{pid}/stat").ok()?;
        Stat::read(path.as_cstr())
    }

    fn read(path: &CStr) -> Option<Stat> {
        let mut buffer = [0; 1024];
        Stat::parse(read_start(path, &mut buffer).ok()?)
    }

    /// The name may hold anything, also `)` and blanks; what follows its last `)` never does.
    pub(crate) fn parse(line: &[u8]) -> Option<Stat> {
        let after_name = line.iter().rposition(|b| *b == b')')? + 1;
        let mut fields = line[after_name..].split(|b| *b == b' ').filter(|field| !field.is_empty());
        let state = *fields.next()?.first()?;
        let mut next = || fields.next().and_then(number);
        let (ppid, pgid, sid) = (next()? as u32, next()? as u32, next()? as u32);
        let flags = fields.nth(2).and_then(number)?;
        let start_ticks = fields.nth(12).and_then(number)?;
        let exit_status = fields.nth(29).and_then(number).unwrap_or(0) as i32;
        Some(Stat { state, ppid, pgid, sid, flags, start_ticks, exit_status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_process_is_field_22_whatever_its_name() {
        let line = b"77 (a) S 1) (x) S 5 6 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 10 11";
        let stat = Stat::parse(line).expect("parses");
        assert_eq!(
            stat,
            Stat { state: b'S', ppid: 5, pgid: 6, sid: 7, flags: 4_194_560, start_ticks: 987_654, exit_status: 0 }
        );
        assert_eq!(Stat::parse(b"77 (a"), None);
    }

    #[test]
    fn this_process_has_started_and_the_last_one_has_not() {
        assert!(start_ticks(std::process::id()).is_some_and(|ticks| ticks > 0));
        assert_eq!(start_ticks(u32::MAX), None);
    }

    #[test]
    fn the_identity_fits_into_a_table() {
        let identity = identity();
        assert!(identity.len() <= 64 && identity.len() > 36, "{identity}");
    }
}
