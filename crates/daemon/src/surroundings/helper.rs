//! A helper: a probe or a stop command. It finds around it what its run does, and is started by the same keepers; but it
//! is in no history, writes into no log, and has its own short time.

use super::{DEFAULT_PATH, Makes, Unmakeable, checks, program};
use kin_core::job::Program;
use kin_core::{RunId, RunNo, SpawnStep};
use kin_keeper::spec::{Output, Spec, SpecView, User};
use std::path::Path;

/// Its spec, from that of a run that lives: what a probe and a stop command begin with.
pub fn helper_of(
    dir: &Path,
    of: &RunId,
    pid: Option<u32>,
    program: &Program,
    no: RunNo,
    timeout_ms: u64,
) -> Makes<Spec> {
    let path = dir.join("spec").join(of.no.to_string());
    let bytes = std::fs::read(&path).map_err(|e| Unmakeable::io(SpawnStep::Spec, path.display(), &e))?;
    let view = SpecView::check(&bytes).map_err(|bad| Unmakeable::defined(bad.to_string()))?;
    helper(&view, of, pid, program, no, timeout_ms)
}

/// Its spec, from that of the run it helps. `pid`: the run's leader, in KIN_PID.
pub fn helper(
    run: &SpecView<'_>,
    of: &RunId,
    pid: Option<u32>,
    program: &Program,
    no: RunNo,
    timeout_ms: u64,
) -> Makes<Spec> {
    let mut env = checks::env_of(run);
    if let Some(pid) = pid {
        env.insert(b"KIN_PID".to_vec(), pid.to_string().into_bytes());
    }
    // Not below any directory: a helper has no logs. The name is what its processes are known by.
    let name = RunId { job: of.job.clone(), no }.to_string();
    let mut spec = Spec::new(run.directory().to_bytes(), name.as_bytes());
    // Its words were expanded when the run was made.
    (spec.programs, spec.argv) = match program {
        Program::Shell(_) => program::program(program, &env, "exec")?,
        Program::Exec(words) => {
            let Some(first) = words.first() else { return Err(Unmakeable::defined("a helper without a program")) };
            let path = env.get(&b"PATH"[..]).map_or(DEFAULT_PATH, Vec::as_slice);
            (super::programs(first.as_bytes(), path), words.iter().map(|w| w.clone().into_bytes()).collect())
        }
    };
    // Sockets and words of readiness are the run's own.
    let not_its = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"];
    let its = env.iter().filter(|(name, _)| !not_its.iter().any(|not| not.as_bytes() == name.as_slice()));
    spec.env = its.map(|(name, value)| [name.as_slice(), value].join(&b'=')).collect();
    spec.user = run.user().map(|(uid, gid)| User { uid, gid, groups: run.groups().collect() });
    spec.umask = run.umask();
    spec.nice = run.nice();
    spec.no_new_privileges = run.no_new_privileges();
    spec.rlimits = run.rlimits().collect();
    spec.cgroup = no.to_string().into_bytes();
    spec.output = Output::Null;
    spec.timeout_ms = timeout_ms.max(1);
    // It had its time: nothing more is waited for.
    spec.stop_signal = 9;
    spec.stop_wait_ms = 0;
    spec.linger_ms = 0;
    Ok(spec)
}
