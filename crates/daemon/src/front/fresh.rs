//! What a background server must not have of its first caller: how much it may use, and how soon it gets it.
//!
//! Everybody's later runs are the children of this server, so it takes back what it may. A process without privileges
//! cannot raise its hard limits or its priority again: that is said, once, to whoever starts such a server.

use kin_keeper::sys::origin;
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CpuSet};
use std::num::NonZeroU64;

/// 50 µs, as every process begins.
const TIMER_SLACK: Option<NonZeroU64> = NonZeroU64::new(50_000);
/// Soft limits that are usually below the hard ones.
const USUAL: [(Resource, u64); 3] = [(Resource::Core, 0), (Resource::Stack, 8 << 20), (Resource::Nofile, 1024)];
/// The hard limit of open files that the kernel begins with.
const FILES_HARD: u64 = 4096;
/// Of these a finite hard limit is unusual where the machine's first process has none; of the others it is not.
const SET_BY_HAND: [Resource; 8] = [
    Resource::Cpu,
    Resource::Fsize,
    Resource::Data,
    Resource::Stack,
    Resource::Core,
    Resource::Rss,
    Resource::As,
    Resource::Locks,
];

/// Each limit, as /proc names it.
const LIMITS: [(Resource, &str); 16] = [
    (Resource::Cpu, "cpu time"),
    (Resource::Fsize, "file size"),
    (Resource::Data, "data size"),
    (Resource::Stack, "stack size"),
    (Resource::Core, "core file size"),
    (Resource::Rss, "resident set"),
    (Resource::Nproc, "processes"),
    (Resource::Nofile, "open files"),
    (Resource::Memlock, "locked memory"),
    (Resource::As, "address space"),
    (Resource::Locks, "file locks"),
    (Resource::Sigpending, "pending signals"),
    (Resource::Msgqueue, "msgqueue size"),
    (Resource::Nice, "nice priority"),
    (Resource::Rtprio, "realtime priority"),
    (Resource::Rttime, "realtime timeout"),
];

/// Takes all of it back in this process, which must have one thread. Gives the words for what stays.
pub(super) fn begin() -> Option<String> {
    // Where one of these is not to be had (an old kernel, a filter of system calls), the server is none the worse.
    for done in [
        origin::default_signals(),
        origin::ordinary_policy(),
        origin::ordinary_disk_priority(),
        origin::ordinary_memory(),
        origin::ordinary_personality(),
        origin::own_keyring(),
        all_processors(),
        rustix::thread::set_current_timer_slack(TIMER_SLACK).map_err(Into::into),
        rustix::thread::disable_transparent_huge_pages(false).map_err(Into::into),
        std::fs::write("/proc/self/oom_score_adj", "0"),
        std::fs::write("/proc/self/coredump_filter", "0x33"),
    ] {
        done.unwrap_or(());
    }
    words(&[priority(), limits()].concat())
}

fn words(stays: &[String]) -> Option<String> {
    (!stays.is_empty()).then(|| {
        format!(
            "this server keeps {} of the shell that starts it, for all of its runs: uid {} cannot raise it again; \
             kin shutdown, and a kin command elsewhere, makes one without",
            stays.join(", "),
            rustix::process::getuid().as_raw(),
        )
    })
}

fn all_processors() -> std::io::Result<()> {
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| all.set(cpu));
    Ok(rustix::thread::sched_setaffinity(None, &all)?)
}

fn priority() -> Vec<String> {
    let back = rustix::process::setpriority_process(None, 0);
    let now = rustix::process::getpriority_process(None).unwrap_or(0);
    if back.is_err() && now > 0 { vec![format!("the nice value {now}")] } else { vec![] }
}

/// Hard limits as the machine's first process has them, where we may; soft ones as usual.
fn limits() -> Vec<String> {
    let first = std::fs::read_to_string("/proc/1/limits").unwrap_or_default();
    let may_raise = rustix::thread::capabilities(None).is_ok_and(|c| c.effective.contains(CapabilitySet::SYS_RESOURCE));
    let mut stays = Vec::new();
    for (resource, name) in LIMITS {
        let now = rustix::process::getrlimit(resource).maximum;
        let firsts = hard_of(&first, name);
        let hard = if may_raise { firsts.unwrap_or(now) } else { now };
        let limit = Rlimit { current: usual(resource, hard), maximum: hard };
        if rustix::process::setrlimit(resource, limit).is_err() || !may_raise {
            stays.extend(
                now.filter(|most| is_low(resource, *most, firsts)).map(|most| format!("the limit of {name} ({most})")),
            );
        }
    }
    stays
}

/// Whether somebody must have set it.
fn is_low(resource: Resource, most: u64, firsts: Option<Option<u64>>) -> bool {
    if resource == Resource::Nofile {
        most < FILES_HARD
    } else {
        SET_BY_HAND.contains(&resource) && firsts == Some(None)
    }
}

fn usual(resource: Resource, hard: Option<u64>) -> Option<u64> {
    match USUAL.iter().find(|(known, _)| *known == resource) {
        Some((_, usual)) => Some(hard.map_or(*usual, |hard| hard.min(*usual))),
        None => hard,
    }
}

/// The hard limit in the text of /proc/PID/limits: `None` where it is not told, `Some(None)` where there is none.
fn hard_of(text: &str, name: &str) -> Option<Option<u64>> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max ")?.strip_prefix(name)?.strip_prefix(' '))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hard_limit_is_read_by_its_name() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max cpu time              unlimited            unlimited            seconds   \n\
                    Max open files            1024                 524288               files     \n\
                    Max nice priority         0                    0                    \n";
        assert_eq!(hard_of(text, "cpu time"), Some(None));
        assert_eq!(hard_of(text, "open files"), Some(Some(524_288)));
        assert_eq!(hard_of(text, "nice priority"), Some(Some(0)));
        assert_eq!(hard_of(text, "stack size"), None);
    }

    #[test]
    fn every_limit_is_found_in_proc() {
        let text = std::fs::read_to_string("/proc/self/limits").expect("our limits");
        for (resource, name) in LIMITS {
            assert_eq!(hard_of(&text, name), Some(rustix::process::getrlimit(resource).maximum), "{name}");
        }
    }
}
