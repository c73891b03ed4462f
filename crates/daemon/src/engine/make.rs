//! From a job's definition to the spec of one of its runs.
//!
//! A run gets the server's plain variables, those that its job names, what this one run was given, and kin's own. What the
//! definition asks for and cannot be had is named, and the run ends `spawn-failed` with that step.

use crate::http::{glob, inherited, request};
use kin_core::job::{Job, OnFull as Keep, Program};
use kin_core::{RunId, SpawnStep};
use kin_keeper::spec::{OnFull, Output, Spec};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A run's environment. Names and values are bytes, and no name holds `=`.
pub type Env = BTreeMap<Vec<u8>, Vec<u8>>;

/// What of the server's own environment every run gets.
const PLAIN: [&str; 10] = ["HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "TZ", "LC_*", "XDG_*", "KIN_*"];
/// Of those, what is the server's own business.
const NOT_PASSED: [&str; 6] = ["KIN_NOFILE_SOFT", "KIN_FAULTS", "KIN_JOB", "KIN_RUN_ID", "KIN_SLOT", "KIN_ATTEMPT"];
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";
const EINVAL: i32 = 22;
const ENOTSUP: i32 = 95;

/// What all runs of this server share.
#[derive(Clone, Debug)]
pub struct Server {
    pub env: Env,
    pub run: PathBuf,
    /// The soft limit of open files to give back.
    pub files_soft: Option<u64>,
}

impl Server {
    /// As this process finds it.
    pub fn this(run: &Path, files_soft: Option<u64>) -> Server {
        let env = std::env::vars_os().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
        Server { env, run: run.to_path_buf(), files_soft }
    }
}

/// Which run of its job it is.
#[derive(Clone, Debug)]
pub struct Which<'a> {
    pub id: &'a RunId,
    pub slot: u32,
    pub attempt: u32,
    /// What this one run was given beside the definition.
    pub env: &'a BTreeMap<String, String>,
    /// The path of its logs without their extension.
    pub log_base: &'a Path,
}

#[derive(Clone, Debug)]
pub struct Made {
    pub spec: Spec,
}

/// Why a run cannot be made: it ends `spawn-failed(step, errno)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmakeable {
    pub step: SpawnStep,
    pub errno: i32,
    pub message: String,
}

fn wrong(message: impl Into<String>) -> Unmakeable {
    Unmakeable { step: SpawnStep::Spec, errno: EINVAL, message: message.into() }
}

pub fn make(job: &Job, which: &Which<'_>, server: &Server) -> Result<Made, Unmakeable> {
    not_here(job)?;
    let mut env = environment(job, which, server)?;
    let ours: [(&str, Vec<u8>); 5] = [
        ("KIN_JOB", which.id.job.as_str().into()),
        ("KIN_RUN_ID", which.id.to_string().into()),
        ("KIN_SLOT", which.slot.to_string().into()),
        ("KIN_ATTEMPT", which.attempt.to_string().into()),
        ("KIN_SOCKET", server.run.join("kin.sock").as_os_str().as_bytes().to_vec()),
    ];
    env.extend(ours.map(|(name, value)| (name.into(), value)));
    let mut spec = Spec::new(&directory(job, &env)?, which.log_base.as_os_str().as_bytes());
    match &job.program {
        Program::Shell(line) => {
            spec.programs = vec![b"/bin/sh".to_vec()];
            spec.argv = vec![b"sh".to_vec(), b"-c".to_vec(), line.clone().into_bytes()];
        }
        Program::Exec(words) => {
            let first =
                words.first().filter(|first| !first.is_empty()).ok_or_else(|| wrong("exec names no program"))?;
            let path = env.get(&b"PATH"[..]).map_or(DEFAULT_PATH, Vec::as_slice);
            spec.programs = request::programs(first.as_bytes(), path);
            spec.argv = words.iter().map(|word| word.clone().into_bytes()).collect();
        }
    }
    spec.cgroup = which.id.no.to_string().into_bytes();
    spec.no_new_privileges = job.around.no_new_privileges.unwrap_or(false);
    spec.umask = job.around.umask.unwrap_or(spec.umask);
    spec.nice = job.around.nice;
    let asked = job.around.limits.rlimits.iter();
    let asked = asked.map(|(name, (soft, hard))| (name.clone(), kin_api::run::Rlimit { soft: *soft, hard: *hard }));
    spec.rlimits = inherited::limits(&asked.collect(), server.files_soft).map_err(|e| wrong(e.error.message))?;
    spec.output = if job.around.tty { Output::Tty { rows: 24, cols: 80 } } else { Output::Pipes };
    spec.on_full = match job.keep.on_full {
        Keep::Drop => OnFull::Drop,
        Keep::Block => OnFull::Block,
    };
    spec.keep_bytes = job.keep.run_bytes;
    spec.stop_signal = job.life.stop.signals.first().copied().unwrap_or(spec.stop_signal);
    spec.stop_wait_ms = job.life.stop.wait.0;
    spec.timeout_ms = job.life.timeout.map_or(0, |timeout| timeout.0);
    spec.linger_ms = job.life.linger.0;
    spec.env = env.iter().map(|(name, value)| [name.as_slice(), value].join(&b'=')).collect();
    Ok(Made { spec })
}

/// What a definition can say and nobody here can do. A run without it would be another one than was asked for.
fn not_here(job: &Job) -> Result<(), Unmakeable> {
    let around = &job.around;
    let asked = [
        (around.user.is_some() || around.group.is_some(), "user", SpawnStep::User),
        (!around.env_files.is_empty(), "env_file", SpawnStep::Spec),
        (!around.credentials.is_empty(), "credentials", SpawnStep::Spec),
        (around.port.is_some(), "port", SpawnStep::Spec),
        (!around.sockets.is_empty(), "sockets", SpawnStep::Spec),
        (around.limits.memory.is_some(), "limits.memory", SpawnStep::Cgroup),
        (around.limits.cpu_millis.is_some(), "limits.cpu", SpawnStep::Cgroup),
        (around.limits.pids.is_some(), "limits.pids", SpawnStep::Cgroup),
    ];
    match asked.into_iter().find(|(asks, ..)| *asks) {
        Some((_, key, step)) => {
            Err(Unmakeable { step, errno: ENOTSUP, message: format!("this kin cannot do what `{key}` asks for yet") })
        }
        None => Ok(()),
    }
}

fn environment(job: &Job, which: &Which<'_>, server: &Server) -> Result<Env, Unmakeable> {
    let fits = |name: &[u8], pattern: &str| std::str::from_utf8(name).is_ok_and(|name| glob::fits(pattern, name));
    let mut env = Env::new();
    for (name, value) in &server.env {
        let own = NOT_PASSED.iter().any(|own| own.as_bytes() == name);
        let passes = PLAIN.iter().any(|plain| fits(name, plain)) || job.around.env_pass.iter().any(|p| fits(name, p));
        if passes && !own {
            env.insert(name.clone(), value.clone());
        }
    }
    for (name, value) in job.around.env.iter().chain(which.env) {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(wrong(format!("{name:?} and its value cannot stand in an environment")));
        }
        env.insert(name.clone().into_bytes(), kin_api::run::from_wire(value));
    }
    Ok(env)
}

fn directory(job: &Job, env: &Env) -> Result<Vec<u8>, Unmakeable> {
    let home = || env.get(&b"HOME"[..]).filter(|home| home.starts_with(b"/")).cloned();
    let step = |message: String| Unmakeable { step: SpawnStep::Directory, errno: EINVAL, message };
    match &job.around.dir {
        None => home().ok_or_else(|| step("no dir is named, and HOME is none".into())),
        Some(dir) if dir.starts_with('/') => Ok(dir.clone().into_bytes()),
        Some(dir) if dir == "~" || dir.starts_with("~/") => {
            let home = home().ok_or_else(|| step(format!("dir {dir:?}: HOME is none")))?;
            Ok([home.as_slice(), &dir.as_bytes()[1..]].concat())
        }
        Some(dir) => Err(step(format!("dir {dir:?} is not an absolute path"))),
    }
}
