//! A process that lives already, looked at: what it is, and whether kin may take care of it.

use super::body::{Peer, Said};
use super::door::Door;
use super::error::{Answer, Failure};
use super::runs;
use crate::clock;
use crate::engine::{Adopt, Adopted, Key};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use kin_api::Run;
use kin_api::run::{AdoptRequest, to_wire};
use kin_config::signal;
use kin_core::{JobName, NewRun, Refusal, RunId, Time, Trigger};
use kin_keeper::boot::start_ticks;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The stop ladder of a run that says nothing of it.
const STOP_WAIT_MS: u64 = 10_000;

pub async fn adopt(
    State(door): State<Arc<Door>>,
    peer: Peer,
    headers: HeaderMap,
    Said(wish): Said<AdoptRequest>,
) -> Answer<(StatusCode, Json<Run>)> {
    let key = runs::key(&headers)?.map(|text| Answer::Ok(Key { text: text.into(), content: content(&wish)? }));
    let process = Process::look(wish.pid)?;
    process.may_be_adopted(rustix::process::geteuid().as_raw())?;
    if let Some(run) = process.of_run() {
        let live = door.read(move |ledger| Ok(ledger.run(run.no)?)).await?;
        if let Some(live) = live.filter(|live| live.state.is_going()) {
            return Err(Refusal::IsRun { pid: wish.pid, run: live.id() }.into());
        }
    }
    let job = match &wish.job {
        Some(job) => JobName::parse(job).map_err(|e| Failure::bad(e.to_string()))?,
        None => JobName::from_program(process.command.first().map_or("process", String::as_str)),
    };
    let signal = match &wish.stop_signal {
        Some(text) => signal::parse(text).map_err(Failure::bad)?,
        None => 15,
    };
    let new = NewRun {
        job,
        trigger: Trigger::Adopt { by: peer.words() },
        command: process.command.clone(),
        directory: process.directory.clone(),
        timeout_ms: None,
        tags: wish.tags.clone(),
        tty: false,
        latch: None,
        serial: None,
        no_overlap: false,
    };
    let wait_ms = wish.stop_wait_ms.unwrap_or(STOP_WAIT_MS);
    let identity = Adopted { pid: wish.pid, ticks: process.ticks, signal, wait_ms };
    let started_at = process.started_at(clock::now());
    let accepted = door.engine.adopt(Adopt { new, process: identity, started_at, key: key.transpose()? }).await?;
    let status = if accepted.repeat { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(door.said(&accepted.run))))
}

struct Process {
    pid: u32,
    dir: PathBuf,
    ticks: u64,
    state: char,
    tgid: u32,
    uid: u32,
    command: Vec<String>,
    directory: String,
}

impl Process {
    fn look(pid: u32) -> Answer<Process> {
        let none = || Failure::from(Refusal::NoProcess { pid });
        let dir = Path::new("/proc").join(pid.to_string());
        let ticks = start_ticks(pid).filter(|_| pid != 0).ok_or_else(none)?;
        let status = std::fs::read_to_string(dir.join("status")).map_err(|_| none())?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.split_whitespace().next()).unwrap_or_default().to_owned()
        };
        let command = std::fs::read(dir.join("cmdline")).unwrap_or_default();
        let words = command.strip_suffix(b"\0").unwrap_or(&command).split(|b| *b == 0);
        // A link that may not be read is another user's.
        let directory = std::fs::read_link(dir.join("cwd")).map(|path| path.to_string_lossy().into_owned());
        Ok(Process {
            pid,
            ticks,
            state: field("State").chars().next().unwrap_or('?'),
            tgid: field("Tgid").parse().unwrap_or(pid),
            uid: field("Uid").parse().unwrap_or(u32::MAX),
            command: if command.is_empty() { Vec::new() } else { words.map(to_wire).collect() },
            directory: directory.unwrap_or_default(),
            dir,
        })
    }

    fn may_be_adopted(&self, server: u32) -> Answer<()> {
        let why = if self.pid == 1 {
            "it is the first process of this machine".to_string()
        } else if self.pid == std::process::id() {
            "it is a process of kin itself".into()
        } else if matches!(self.state, 'Z' | 'X') {
            "it has ended already, and only its parent has not noticed".into()
        } else if self.tgid != self.pid {
            format!("it is a thread of process {}", self.tgid)
        } else if self.command.is_empty() {
            "it has no command line: it belongs to the kernel, or is just ending".into()
        } else if server != 0 && self.uid != server {
            format!("it belongs to uid {}, and this server, of uid {server}, could not stop it", self.uid)
        } else {
            return Ok(());
        };
        Err(Refusal::NotAdoptable { pid: self.pid, why }.into())
    }

    /// The run that it, or who started it, was told to be.
    fn of_run(&self) -> Option<RunId> {
        let env = std::fs::read(self.dir.join("environ")).ok()?;
        let id = env.split(|b| *b == 0).find_map(|entry| entry.strip_prefix(b"KIN_RUN_ID="))?;
        RunId::parse(std::str::from_utf8(id).ok()?)
    }

    /// By the clock, as near as the kernel counts it.
    fn started_at(&self, now: Time) -> Time {
        let uptime = std::fs::read_to_string("/proc/uptime").ok();
        let uptime = uptime.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
        let hertz = rustix::param::clock_ticks_per_second() as f64;
        let age = uptime.map_or(0.0, |uptime| (uptime - self.ticks as f64 / hertz).max(0.0));
        now.plus(-((age * 1e9) as i64))
    }
}

fn content(wish: &AdoptRequest) -> Answer<u64> {
    let json = serde_json::to_vec(wish).map_err(|e| Failure::internal(e.to_string()))?;
    Ok(json.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)))
}
