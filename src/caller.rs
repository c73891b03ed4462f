//! What a run has of whoever asks for it, so that it is as if it had been typed here.

use crate::report::Failure;
use kin_client::api::RunRequest;
use kin_client::api::run::{RLIMITS, Rlimit, to_wire};
use rustix::process::Resource;
use std::os::unix::ffi::OsStrExt;

const LIMITS: [Resource; 16] = [
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

/// A request that asks for nothing yet, but has our directory, environment, mask, nice value and limits.
pub(crate) fn request() -> Result<RunRequest, Failure> {
    let directory = std::env::current_dir()
        .map_err(|source| Failure::System { what: "could not find the directory we are in", source })?;
    let wire = |text: &std::ffi::OsStr| to_wire(text.as_bytes());
    Ok(RunRequest {
        directory: wire(directory.as_os_str()),
        env: std::env::vars_os().map(|(name, value)| (wire(&name), wire(&value))).collect(),
        umask: Some(umask()),
        nice: rustix::process::getpriority_process(None).ok(),
        rlimits: LIMITS.into_iter().map(|resource| (RLIMITS[resource as usize].to_owned(), limit(resource))).collect(),
        ..RunRequest::default()
    })
}

/// It can only be read by setting it; this is the only thread.
fn umask() -> u32 {
    let ours = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(ours);
    ours.as_raw_mode()
}

fn limit(resource: Resource) -> Rlimit {
    let ours = rustix::process::getrlimit(resource);
    Rlimit { soft: ours.current, hard: ours.maximum }
}
