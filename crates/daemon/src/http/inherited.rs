//! What a run has of its caller beside directory, environment and mask: priority and limits, as far as this server may
//! give them. A keeper that tried to give more would have no run at all, so that is settled here.

use super::error::{Answer, Failure};
use kin_api::run::{RLIMITS, Rlimit as Asked};
use kin_keeper::spec::Rlimit;
use rustix::process::Resource;
use rustix::thread::CapabilitySet;
use std::collections::BTreeMap;

const UNLIMITED: u64 = u64::MAX;

fn may(capability: CapabilitySet) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// The nice value asked for, or the next that we may give.
pub(super) fn nice(asked: i32) -> Answer<i32> {
    if !(-20..=19).contains(&asked) {
        return Err(Failure::bad("nice is a number from -20 to 19"));
    }
    let ours = rustix::process::getpriority_process(None).unwrap_or(0);
    Ok(if asked >= ours || may(CapabilitySet::SYS_NICE) { asked } else { asked.max(ours.min(lowest_nice())) })
}

/// Below this not even a process that was allowed to raise itself may go.
fn lowest_nice() -> i32 {
    let ceiling = rustix::process::getrlimit(Resource::Nice).current.unwrap_or(40).min(40);
    20 - i32::try_from(ceiling).unwrap_or(0)
}

/// Those that were asked for, and of the others the soft limit of open files, which we raised for ourselves.
pub(crate) fn limits(asked: &BTreeMap<String, Asked>, files_soft: Option<u64>) -> Answer<Vec<Rlimit>> {
    let mut limits = Vec::with_capacity(asked.len() + 1);
    for (name, limit) in asked {
        let unknown = || Failure::bad(format!("there is no limit {name:?}; those there are: {}", RLIMITS.join(", ")));
        let resource = RLIMITS.iter().position(|known| known == name).ok_or_else(unknown)?;
        limits.push(given(resource as u32, *limit));
    }
    let files = Resource::Nofile as u32;
    if let Some(soft) = files_soft
        && !limits.iter().any(|limit| limit.resource == files)
    {
        let hard = ours(files);
        limits.push(Rlimit { resource: files, soft: soft.min(hard), hard });
    }
    Ok(limits)
}

fn given(resource: u32, asked: Asked) -> Rlimit {
    let ours = ours(resource);
    // The kernel gives nobody an unlimited number of open files.
    let most = if resource == Resource::Nofile as u32 { ours } else { UNLIMITED };
    let asked_hard = asked.hard.unwrap_or(most);
    let hard = if asked_hard <= ours || may(CapabilitySet::SYS_RESOURCE) { asked_hard } else { ours };
    Rlimit { resource, soft: asked.soft.unwrap_or(UNLIMITED).min(hard), hard }
}

/// Our own hard limit, which is the keeper's too.
fn ours(resource: u32) -> u64 {
    ALL.into_iter()
        .find(|known| *known as u32 == resource)
        .map_or(UNLIMITED, |known| rustix::process::getrlimit(known).maximum.unwrap_or(UNLIMITED))
}

const ALL: [Resource; 16] = [
    Resource::Cpu,
    Resource::Fsize,
    Resource::Data,
    Resource::Stack,
    Resource::Core,
    Resource::Rss,
    Resource::Nproc,
    Resource::Nofile,
    Resource::Memlock,
    Resource::As,
    Resource::Locks,
    Resource::Sigpending,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Rtprio,
    Resource::Rttime,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_stands_at_its_number() {
        for (number, resource) in ALL.into_iter().enumerate() {
            let name = format!("{resource:?}").to_lowercase();
            assert_eq!((RLIMITS[resource as usize], resource as usize), (name.as_str(), number));
        }
    }

    #[test]
    fn what_is_asked_for_wins_over_what_was_raised() {
        let asked = |soft| BTreeMap::from([("nofile".to_string(), Asked { soft: Some(soft), hard: Some(9) })]);
        let files = |soft, hard| Rlimit { resource: Resource::Nofile as u32, soft, hard };
        assert_eq!(limits(&asked(7), Some(64)).expect("limits"), [files(7, 9)]);
        assert_eq!(limits(&asked(70), Some(64)).expect("limits"), [files(9, 9)]);
        let ours = ours(Resource::Nofile as u32);
        assert_eq!(limits(&BTreeMap::new(), Some(1)).expect("limits"), [files(1, ours)]);
    }
}
