//! What a run finds around it: from a job's definition to the spec that a keeper starts it from.
//!
//! ```text
//!   the server's environment ▸ env_pass ▸ the user's own ▸ env files ▸ env ▸ what this run was given ▸ kin's variables
//!        then, with that environment: directory, program and arguments ▸ user ▸ limits ▸ credentials ▸ the spec
//! ```
//! Nothing here asks the engine anything or decides anything. What is read (files, the user database, a free port) is
//! read when a run is made, so that a changed file counts for the next run. What cannot be had is named: by the step at
//! which the run would have failed, an errno, and a sentence that says which key asks for what.

mod asked;
mod checks;
mod credentials;
mod env_file;
mod expand;
mod helper;
mod limits;
mod people;
mod port;
mod program;
pub mod sockets;

pub use asked::Asked;
pub use checks::Checks;
pub(crate) use env_file::secret;
pub use helper::{helper, helper_of};
pub use people::People;
pub(crate) use port::free as free_port;
pub(crate) use program::{DEFAULT_PATH, open_files, programs};

use crate::http::glob;
use kin_core::job::{Check, Job, Port};
use kin_core::{RunId, RunNo, SpawnStep};
use kin_keeper::cgroup::Offered;
use kin_keeper::spec::{OnFull, Output, Spec};
use people::Person;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A run's environment. Names and values are bytes, and no name holds `=`.
pub type Env = BTreeMap<Vec<u8>, Vec<u8>>;

/// What of the server's own environment every run gets.
const PLAIN: [&str; 10] = ["HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "TZ", "LC_*", "XDG_*", "KIN_*"];
/// Of those, what is the server's own business.
const NOT_PASSED: [&str; 9] = [
    "KIN_NOFILE_SOFT",
    "KIN_FAULTS",
    "KIN_JOB",
    "KIN_RUN_ID",
    "KIN_SLOT",
    "KIN_ATTEMPT",
    "KIN_SCHEDULED_FOR",
    "KIN_TICK",
    "KIN_MISSED_COUNT",
];

/// What all runs of this server share.
#[derive(Clone, Debug)]
pub struct Server {
    /// The server's whole environment; runs get what is plain of it, and what they name.
    pub env: Env,
    pub run: PathBuf,
    pub uid: u32,
    pub gid: u32,
    /// The soft limit of open files to give back.
    pub files_soft: Option<u64>,
    /// What cgroups can limit here.
    pub offered: Offered,
    pub people: People,
}

impl Server {
    /// As this process finds it.
    pub fn this(run: &Path, state: &Path, files_soft: Option<u64>) -> Server {
        let uid = rustix::process::geteuid().as_raw();
        let people = People::this();
        let mut env = std::env::vars_os().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
        people.complete(&mut env, uid);
        Server {
            env,
            run: run.to_path_buf(),
            uid,
            gid: rustix::process::getegid().as_raw(),
            files_soft,
            offered: kin_keeper::cgroup::Cgroups::offered(state),
            people,
        }
    }

    /// Where runs say that they are ready; other users' runs too.
    pub fn notify_socket(&self) -> PathBuf {
        self.run.join("notify.sock")
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
    /// The directory of the file that defines the job, where relative directories begin (`kin up`).
    pub here: Option<&'a Path>,
    /// The port that this slot had before, for `port = "auto"`.
    pub port: Option<u16>,
    /// The ports that `auto` found for others.
    pub given: &'a BTreeSet<u16>,
    /// The path of its logs without their extension.
    pub log_base: &'a Path,
}

/// A run's spec, and what came out on the way.
#[derive(Clone, Debug)]
pub struct Made {
    pub spec: Spec,
    /// Its checks and its stop command, with every variable in its place.
    pub checks: Checks,
    /// What PORT says; with `auto`, to be kept for the slot's next run.
    pub port: Option<u16>,
    /// Those that must listen before the run is started: `sockets::ensure`.
    pub sockets: Vec<sockets::Listening>,
    /// What was left out because `best_effort` allows it.
    pub warnings: Vec<String>,
}

/// Why a run cannot be made: it ends `spawn-failed(step, errno)`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unmakeable {
    pub step: SpawnStep,
    pub errno: i32,
    pub message: String,
}

impl Unmakeable {
    fn new(step: SpawnStep, errno: Errno, message: impl Into<String>) -> Unmakeable {
        Unmakeable { step, errno: errno.raw_os_error(), message: message.into() }
    }
    /// It has no spec.
    pub(crate) fn spec(errno: i32, message: impl Into<String>) -> Unmakeable {
        Unmakeable { step: SpawnStep::Spec, errno, message: message.into() }
    }
    /// The definition itself is at fault.
    fn defined(message: impl Into<String>) -> Unmakeable {
        Unmakeable::new(SpawnStep::Spec, Errno::INVAL, message)
    }
    fn io(step: SpawnStep, what: impl std::fmt::Display, e: &std::io::Error) -> Unmakeable {
        Unmakeable { step, errno: e.raw_os_error().unwrap_or(0), message: format!("{what}: {e}") }
    }
}

type Makes<T> = Result<T, Unmakeable>;

/// Who is told what is asked for, before it is.
pub type Tell<'a> = dyn FnMut(&Asked) + 'a;

/// Makes the spec of a run. Where `Asked::may_wait` says so it may wait, for ever if nobody answers.
pub fn make(job: &Job, which: &Which<'_>, server: &Server, tell: &mut Tell<'_>) -> Makes<Made> {
    let around = &job.around;
    if around.user.is_some() || around.group.is_some() {
        tell(&Asked::User { user: around.user.clone(), group: around.group.clone() });
    }
    let person = server.people.person(around.user.as_deref(), around.group.as_deref(), server.uid, server.gid)?;
    let changes = person.as_ref().is_some_and(|person| person.uid != server.uid);
    let port = match &around.port {
        None => None,
        Some(Port::From(first)) => Some(port::from(*first, which.slot)?),
        Some(Port::Auto) => Some(port::auto(which.port, which.given)?),
    };
    let mut env = environment(job, which, server, person.as_ref().filter(|_| changes), tell)?;
    let put = |env: &mut Env, name: &str, value: &[u8]| drop(env.insert(name.into(), value.to_vec()));
    put(&mut env, "KIN_JOB", which.id.job.as_str().as_bytes());
    put(&mut env, "KIN_RUN_ID", which.id.to_string().as_bytes());
    put(&mut env, "KIN_SLOT", which.slot.to_string().as_bytes());
    put(&mut env, "KIN_ATTEMPT", which.attempt.to_string().as_bytes());
    put(&mut env, "KIN_SOCKET", server.run.join("kin.sock").as_os_str().as_bytes());
    if let Some(port) = port {
        put(&mut env, "PORT", port.to_string().as_bytes());
    }
    let ready = job.life.ready.as_ref().map(|ready| &ready.by);
    let dog = job.life.alive.as_ref().filter(|alive| matches!(alive.by, Check::Notify));
    let notifies = matches!(ready, Some(Check::Notify)) || dog.is_some();
    if let Some(alive) = dog {
        put(&mut env, "WATCHDOG_USEC", alive.every.0.saturating_mul(1000).to_string().as_bytes());
    }
    if notifies {
        put(&mut env, "NOTIFY_SOCKET", server.notify_socket().as_os_str().as_bytes());
    }
    if !around.sockets.is_empty() {
        let names: Vec<&str> = around.sockets.iter().map(|socket| socket.name.as_str()).collect();
        put(&mut env, "LISTEN_FDS", names.len().to_string().as_bytes());
        put(&mut env, "LISTEN_FDNAMES", names.join(":").as_bytes());
    }
    let credentials = credentials::place(server, which.id);
    if !around.credentials.is_empty() {
        put(&mut env, "CREDENTIALS_DIRECTORY", credentials.as_os_str().as_bytes());
    }

    let directory = directory(job, which, &env)?;
    let mut spec = Spec::new(&directory, which.log_base.as_os_str().as_bytes());
    (spec.programs, spec.argv) = program::program(&job.program, &env, "exec")?;
    let checks = Checks::of(job, &env)?;
    spec.cgroup = which.id.no.to_string().into_bytes();
    spec.no_new_privileges = around.no_new_privileges.unwrap_or(changes);
    if let Some(umask) = around.umask {
        if umask > 0o777 {
            return Err(Unmakeable::defined("umask is at most 0777"));
        }
        spec.umask = umask;
    }
    spec.nice = around.nice;
    spec.rlimits = limits::rlimits(&around.limits, server.files_soft)?;
    let mut warnings = Vec::new();
    spec.cgroup_files = limits::cgroup_files(&around.limits, server.offered, &mut warnings)?;
    spec.output = if around.tty { Output::Tty { rows: 24, cols: 80 } } else { Output::Pipes };
    spec.on_full = match job.keep.on_full {
        kin_core::job::OnFull::Drop => OnFull::Drop,
        kin_core::job::OnFull::Block => OnFull::Block,
    };
    spec.keep_bytes = job.keep.run_bytes;
    let signals = &job.life.stop.signals;
    if let Some((first, more)) = signals.split_first() {
        spec.stop_signal = *first;
        spec.stop_more = more.to_vec();
    }
    spec.stop_wait_ms = job.life.stop.wait.0;
    spec.timeout_ms = job.life.timeout.map_or(0, |timeout| timeout.0);
    spec.linger_ms = job.life.linger.0;
    if let Some(Check::Fd(number)) = ready {
        let number =
            u16::try_from(*number).map_err(|_| Unmakeable::defined(format!("ready.fd = {number} is no descriptor")));
        spec.ready_fd = Some(number?);
    }
    let sockets = sockets::of(job, &env)?;
    spec.sockets = sockets.iter().map(|socket| socket.key).collect();
    spec.env = env.iter().map(|(name, value)| [name.as_slice(), value].join(&b'=')).collect();
    spec.user = person.map(Person::into_user);
    // What is wrong with it is said before anything is left lying about.
    spec.encode().map_err(|bad| Unmakeable::defined(bad.to_string()))?;
    if matches!(ready, Some(Check::Fd(_) | Check::Notify)) {
        ready_file(&server.run, which.id)?;
    }
    let (uid, gid) = spec.user.as_ref().map_or((server.uid, server.gid), |user| (user.uid, user.gid));
    if changes && (!around.credentials.is_empty() || notifies) {
        // Other users pass through to what is theirs; nothing in there is open to them but that.
        let passable = rustix::fs::Mode::from_raw_mode(0o711);
        let opened = rustix::fs::chmod(&server.run, passable);
        opened.map_err(|e| Unmakeable::io(SpawnStep::Spec, server.run.display(), &e.into()))?;
    }
    if !around.credentials.is_empty() {
        credentials::copy(&credentials, &around.credentials, (uid, gid), server.uid, tell)?;
    }
    Ok(Made { spec, checks, port, sockets, warnings })
}

/// What a run that lives had in the runtime directory, if its names are gone: its credentials, as their files are now, and
/// the place of its word.
pub fn restore(job: &Job, id: &RunId, server: &Server, tell: &mut Tell<'_>) -> Makes<()> {
    let around = &job.around;
    let place = credentials::place(server, id);
    if !around.credentials.is_empty() && !place.exists() {
        tell(&Asked::User { user: around.user.clone(), group: around.group.clone() });
        let person = server.people.person(around.user.as_deref(), around.group.as_deref(), server.uid, server.gid)?;
        let owner = person.map_or((server.uid, server.gid), |person| (person.uid, person.gid));
        credentials::copy(&place, &around.credentials, owner, server.uid, tell)?;
    }
    if lacks_word(job, id, server) {
        ready_file(&server.run, id)?;
    }
    Ok(())
}

/// Whether there is anything to restore.
pub fn lacks(job: &Job, id: &RunId, server: &Server) -> bool {
    let lacks_credentials = !job.around.credentials.is_empty() && !credentials::place(server, id).exists();
    lacks_credentials || lacks_word(job, id, server)
}

fn lacks_word(job: &Job, id: &RunId, server: &Server) -> bool {
    let by = job.life.ready.as_ref().map(|ready| &ready.by);
    matches!(by, Some(Check::Fd(_) | Check::Notify)) && !ready_path(&server.run, id.no).exists()
}

/// Where a run of this job begins: of no run in particular.
pub fn directory_of(job: &Job, server: &Server) -> Makes<PathBuf> {
    let id = RunId { job: job.name.clone(), no: RunNo::LAST };
    let (given, base) = (BTreeSet::new(), Path::new("/"));
    let none = BTreeMap::new();
    let which =
        Which { id: &id, slot: 0, attempt: 1, env: &none, here: None, port: None, given: &given, log_base: base };
    let env = environment(job, &which, server, None, &mut |_| ())?;
    let directory = directory(job, &which, &env)?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(directory)))
}

/// All but kin's own variables.
fn environment(
    job: &Job,
    which: &Which<'_>,
    server: &Server,
    other: Option<&Person>,
    tell: &mut Tell<'_>,
) -> Makes<Env> {
    let around = &job.around;
    let mut env = Env::new();
    for (name, value) in &server.env {
        let own = NOT_PASSED.iter().any(|own| own.as_bytes() == name);
        // Another user's session directories are not this one's.
        let plain = fits_any(PLAIN.into_iter(), name) && !(other.is_some() && name.starts_with(b"XDG_"));
        if !own && (plain || fits_any(around.env_pass.iter().map(String::as_str), name)) {
            env.insert(name.clone(), value.clone());
        }
    }
    if let Some(person) = other {
        env.extend(person.variables());
    }
    for file in &around.env_files {
        let path = expand::text(file, &env).map_err(|why| Unmakeable::defined(format!("env_file {file:?}: {why}")))?;
        let (path, may_miss) = path.strip_prefix('-').map_or((path.as_str(), false), |path| (path, true));
        let path = which.here.map_or_else(|| PathBuf::from(path), |here| here.join(path));
        tell(&Asked::EnvFile(path.clone()));
        crate::seams::hang(&path);
        env.extend(env_file::read(&path, server.uid, may_miss)?);
    }
    let given = which.env.iter();
    for (name, value) in around.env.iter().chain(given) {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(Unmakeable::defined(format!("{name:?} and its value cannot stand in an environment")));
        }
        env.insert(name.clone().into_bytes(), kin_api::run::from_wire(value));
    }
    Ok(env)
}

fn fits_any<'a>(mut globs: impl Iterator<Item = &'a str>, name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| globs.any(|pattern| glob::fits(pattern, name)))
}

fn directory(job: &Job, which: &Which<'_>, env: &Env) -> Makes<Vec<u8>> {
    let wrong = |why: String| Unmakeable::new(SpawnStep::Directory, Errno::INVAL, why);
    let home = || env.get(&b"HOME"[..]).filter(|home| home.starts_with(b"/")).cloned();
    let Some(dir) = &job.around.dir else {
        return match which.here {
            Some(here) => Ok(here.as_os_str().as_bytes().to_vec()),
            None => home().ok_or_else(|| wrong("no dir is named, and HOME is none".into())),
        };
    };
    let text = expand::text(dir, env).map_err(|why| wrong(format!("dir {dir:?}: {why}")))?;
    let path = match (text.strip_prefix('~'), which.here) {
        (Some(rest), _) if rest.is_empty() || rest.starts_with('/') => {
            let mut path = home().ok_or_else(|| wrong(format!("dir {dir:?}: HOME is none")))?;
            path.extend_from_slice(rest.as_bytes());
            path
        }
        (_, Some(here)) => here.join(&text).as_os_str().as_bytes().to_vec(),
        (_, None) => text.into_bytes(),
    };
    if path.first() == Some(&b'/') {
        return Ok(path);
    }
    Err(wrong(format!("dir {dir:?} is not an absolute path, and it is not said where it begins")))
}

/// Made empty: a newline in it is the word.
fn ready_file(run: &Path, id: &RunId) -> Makes<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let path = ready_path(run, id.no);
    let make = || {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(run.join("ready"))?;
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)
    };
    make().map(drop).map_err(|e| Unmakeable::io(SpawnStep::Stdio, path.display(), &e))
}

/// Where it stands, as a newline, that a run is ready: written by the run itself, or for one that said so by datagram. It
/// outlives every process of kin, and goes with the run.
pub fn ready_path(run: &Path, no: RunNo) -> PathBuf {
    run.join("ready").join(format!("{no}.word"))
}

/// Whether making a run of this job leaves names in the runtime directory.
pub fn leaves_names(job: &Job) -> bool {
    let by = job.life.ready.as_ref().map(|ready| &ready.by);
    !job.around.credentials.is_empty() || matches!(by, Some(Check::Fd(_) | Check::Notify))
}

/// Takes away what a run had beside its spec: it has ended.
pub fn clear(run: &Path, no: RunNo) -> std::io::Result<()> {
    for path in [ready_path(run, no), crate::stopping::mark(run, no)] {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
    }
    credentials::sweep(run, |other| other == no)
}

/// Takes away what belongs to runs that a former server had.
pub fn sweep(run: &Path, lives: impl Fn(RunNo) -> bool) -> std::io::Result<()> {
    credentials::sweep(run, |no| !lives(no))?;
    crate::stopping::sweep(run, |no| !lives(no))?;
    let entries = match std::fs::read_dir(run.join("ready")) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().to_str().and_then(|name| RunNo::parse(name.strip_suffix(".word")?)).is_some_and(&lives) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
