//! One kin server of a test's own: the real binary, its own home, its processes by role, and its end.

use crate::http::{Http, Request};
use crate::{procfs, wait};
use kin_keeper::cgroup::Cgroups;
use kin_keeper::table::Table;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long anything here may take before the test fails and says what did not come.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The processes of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Front,
    Elder,
    Keeper,
    Daemon,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Front, Role::Elder, Role::Keeper, Role::Daemon];

    pub const fn word(self) -> &'static str {
        match self {
            Role::Front => "front",
            Role::Elder => "elder",
            Role::Keeper => "keeper",
            Role::Daemon => "daemon",
        }
    }
    pub fn parse(word: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// Who is who just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pids {
    pub elder: u32,
    pub keeper: u32,
    pub daemon: u32,
}

/// How a server is to be started.
#[derive(Clone, Debug)]
pub struct Options {
    kin: PathBuf,
    env: Vec<(String, String)>,
    below: Option<PathBuf>,
    config: Option<String>,
}

impl Options {
    pub fn new(kin: impl Into<PathBuf>) -> Options {
        Options { kin: kin.into(), env: Vec::new(), below: None, config: None }
    }
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Options {
        self.env.push((name.into(), value.into()));
        self
    }
    /// Makes the home below this directory (a small tmpfs, say).
    #[must_use]
    pub fn below(mut self, dir: &Path) -> Options {
        self.below = Some(dir.into());
        self
    }
    /// The text of `kin.toml`.
    #[must_use]
    pub fn config(mut self, text: &str) -> Options {
        self.config = Some(text.into());
        self
    }
    /// `fast` or `full`.
    #[must_use]
    pub fn durability(self, word: &str) -> Options {
        self.config(&format!("[kin]\ndurability = \"{word}\"\n"))
    }
    /// Makes the home and starts nothing.
    pub fn prepare(self) -> Server {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut builder = tempfile::Builder::new();
        builder.prefix("kin-");
        let home = match &self.below {
            Some(dir) => builder.tempdir_in(dir),
            None => builder.tempdir_in("/tmp"),
        }
        .expect("a home for the server");
        if let Some(text) = &self.config {
            std::fs::write(home.path().join("kin.toml"), text).expect("writes the settings");
        }
        let mark = format!("{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Server { options: self, home: Some(home), mark, front: Mutex::new(None) }
    }
    /// Makes the home, starts the server, and waits until it serves with its guard whole.
    #[track_caller]
    pub fn start(self) -> Server {
        let server = self.prepare();
        server.start_front();
        server.wait_whole(DEADLINE);
        server
    }
}

#[derive(Debug)]
pub struct Server {
    options: Options,
    /// Taken when the test failed, so that the directory stays.
    home: Option<tempfile::TempDir>,
    mark: String,
    front: Mutex<Option<Child>>,
}

impl Server {
    #[track_caller]
    pub fn start(kin: impl Into<PathBuf>) -> Server {
        Options::new(kin).start()
    }

    /// For what is started from now on.
    pub fn set_env(&mut self, name: &str, value: impl Into<String>) {
        self.options.env.retain(|(known, _)| known != name);
        self.options.env.push((name.into(), value.into()));
    }

    pub fn kin(&self) -> &Path {
        &self.options.kin
    }
    pub fn home(&self) -> &Path {
        self.home.as_ref().expect("the home is there until the drop").path()
    }
    pub fn state(&self) -> PathBuf {
        self.home().join("state")
    }
    pub fn run_dir(&self) -> PathBuf {
        self.state().join("run")
    }
    pub fn socket(&self) -> PathBuf {
        self.run_dir().join("kin.sock")
    }
    /// What marks the processes of this server, and of its runs.
    pub fn mark(&self) -> &str {
        &self.mark
    }
    pub fn processes(&self) -> Vec<u32> {
        procfs::marked(&self.mark)
    }

    /// The environment that everything of this test gets, and nothing else.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut env: Vec<(String, String)> = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("LANG", "C.UTF-8"),
            ("TZ", "UTC"),
            ("COLUMNS", "100"),
            // A test's servers are not the machine's, unless it is about that.
            ("KIN_NO_SYSTEMD", "1"),
            (procfs::MARK, self.mark()),
        ]
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .into();
        for name in ["HOME", "KIN_HOME"] {
            env.push((name.into(), self.home().to_string_lossy().into_owned()));
        }
        env.extend(self.options.env.iter().cloned());
        env
    }

    /// The binary in this server's environment, without arguments yet.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.options.kin);
        command.env_clear().envs(self.environment()).current_dir(self.home()).stdin(Stdio::null());
        command
    }

    /// Starts a front (`kin serve`), which makes the server or attaches itself to it. Does not wait.
    pub fn start_front(&self) {
        let mut front = self.front.lock().expect("no thread fell over with the front");
        if let Some(mut old) = front.take() {
            old.kill().expect("the old front can be killed");
            old.wait().expect("the old front is reaped");
        }
        let log = self.log_file("serve.log");
        let errors = log.try_clone().expect("a second descriptor");
        let child = self.command().arg("serve").stdout(log).stderr(errors).spawn();
        *front = Some(child.expect("kin serve starts"));
    }

    /// Starts again on the same state, and waits until it serves.
    #[track_caller]
    pub fn start_again(&self) {
        self.start_front();
        self.wait_whole(DEADLINE);
    }

    /// A new front if there is none that lives. True when one was started.
    pub fn ensure_front(&self) -> bool {
        let lives = match self.front.lock().expect("no thread fell over with the front").as_mut() {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => false,
        };
        if !lives {
            self.start_front();
        }
        !lives
    }

    fn log_file(&self, name: &str) -> File {
        OpenOptions::new().append(true).create(true).open(self.home().join(name)).expect("a log for the front")
    }

    pub fn front_pid(&self) -> Option<u32> {
        self.front.lock().expect("no thread fell over with the front").as_ref().map(Child::id)
    }

    /// The pid of a role by what its processes left in the runtime directory; nobody is asked.
    pub fn pid(&self, role: Role) -> Option<u32> {
        let pid = match role {
            Role::Front => self.front_pid(),
            Role::Elder => self.owner("elder"),
            Role::Keeper => self.owner("keeper"),
            Role::Daemon => {
                let text = std::fs::read_to_string(self.run_dir().join("daemon.lock")).ok()?;
                text.split_whitespace().next()?.parse().ok()
            }
        }?;
        procfs::is_alive(pid).then_some(pid)
    }

    /// Who answers at the socket that a role's symlink names: the owner in the header of the table beside it.
    fn owner(&self, link: &str) -> Option<u32> {
        let owner = self.table_of(link)?.header().owner.load(Ordering::Acquire);
        (owner != 0).then_some(owner)
    }

    /// The run table of the keeper that starts runs now.
    pub fn table(&self) -> Option<Table> {
        self.table_of("keeper")
    }

    fn table_of(&self, link: &str) -> Option<Table> {
        let target = std::fs::read_link(self.run_dir().join(link)).ok()?;
        Table::open(&self.run_dir().join(target.file_name()?).with_extension("tab")).ok()
    }

    pub fn pids(&self) -> Option<Pids> {
        Some(Pids { elder: self.pid(Role::Elder)?, keeper: self.pid(Role::Keeper)?, daemon: self.pid(Role::Daemon)? })
    }

    /// Kills one process of this server by SIGKILL. The pid, if there was one to kill.
    pub fn kill(&self, role: Role) -> Option<u32> {
        let pid = self.pid(role)?;
        let killed = procfs::kill_marked(pid, &self.mark, Signal::KILL).expect("may signal its own processes");
        // The signal is on its way for a while, in which the victim still looks alive and the guard still looks whole.
        (killed && procfs::gone_within(pid, DEADLINE)).then_some(pid)
    }

    /// Sends one process of this server a signal that it survives. True when it was there.
    pub fn signal(&self, role: Role, signal: Signal) -> bool {
        let pid = self.pid(role);
        pid.is_some_and(|pid| procfs::kill_marked(pid, &self.mark, signal).expect("may signal its own processes"))
    }

    /// As a machine that loses its power: every process is killed, the server's and its runs', and what was in memory is gone.
    #[track_caller]
    pub fn crash(&self) {
        let memory = std::fs::canonicalize(self.run_dir()).expect("a runtime directory");
        self.kill_until_gone(DEADLINE).expect("all of them die");
        std::fs::remove_dir_all(memory).expect("the runtime directory goes");
    }

    fn kill_until_gone(&self, deadline: Duration) -> Option<()> {
        wait::within(deadline, || {
            self.reap_front();
            let left = self.processes();
            for pid in &left {
                if let Err(error) = procfs::kill_marked(*pid, &self.mark, Signal::KILL) {
                    eprintln!("process {pid} could not be killed: {error}");
                }
            }
            left.is_empty().then_some(())
        })
    }

    /// Kills all processes of this server at one instant, as far as anybody can tell: none sees another die.
    pub fn kill_all(&self) {
        for signal in [Signal::STOP, Signal::KILL] {
            let pids: Vec<u32> = Role::ALL.into_iter().filter_map(|role| self.pid(role)).collect();
            for pid in &pids {
                procfs::kill_marked(*pid, &self.mark, signal).expect("may signal its own processes");
            }
            assert!(signal == Signal::STOP || pids.iter().all(|pid| procfs::gone_within(*pid, DEADLINE)));
        }
        self.reap_front();
    }

    pub fn http(&self) -> Http {
        Http::new(&self.socket())
    }

    /// What the server says of itself when its guard is whole and each of its processes lives; else why not.
    pub fn look(&self, http: &mut Http) -> Result<Pids, String> {
        self.ensure_front();
        let answer = http.send(&Request::get("/v1/server")).map_err(|e| format!("no answer: {e}"))?;
        if answer.status != 200 {
            return Err(format!("status {}", answer.status));
        }
        let server = answer.json();
        if server["guard"] != "whole" {
            return Err(format!("guard: {}", server["guard"]));
        }
        let pids = self.pids().ok_or("not all of elder, keeper and daemon are there")?;
        let said = |name: &str| server[name].as_u64().and_then(|pid| u32::try_from(pid).ok());
        if said("pid") != Some(pids.daemon)
            || said("elder_pid") != Some(pids.elder)
            || said("keeper_pid") != Some(pids.keeper)
        {
            return Err(format!("the server names others ({server}) than the runtime directory ({pids:?})"));
        }
        if pids.elder == pids.keeper {
            return Err("elder and keeper are one".into());
        }
        match (said("front_pid"), self.front_pid()) {
            (theirs, ours) if theirs.is_none() || theirs == ours => Ok(pids),
            (theirs, ours) => Err(format!("front {theirs:?}, ours is {ours:?}")),
        }
    }

    /// Waits until the guard is whole; how long that took.
    #[track_caller]
    pub fn wait_whole(&self, deadline: Duration) -> Duration {
        let start = Instant::now();
        let mut http = self.http().patience(Duration::from_secs(2));
        let mut why = String::new();
        let whole = wait::within(deadline, || match self.look(&mut http) {
            Ok(pids) => Some(pids),
            Err(error) => {
                why = error;
                None
            }
        });
        if whole.is_none() {
            let log = std::fs::read_to_string(self.home().join("serve.log")).unwrap_or_default();
            panic!("after {deadline:?} the guard is not whole: {why}\nprocesses: {}\n{log}", self.describe());
        }
        start.elapsed()
    }

    /// Each process of this server and its runs, for a failed test's message.
    pub fn describe(&self) -> String {
        let lines = self.processes().into_iter().map(|pid| format!("\n  {pid} {}", procfs::command_line(pid)));
        lines.collect()
    }

    /// A request for a run with the least that one needs.
    pub fn request(&self, argv: &[&str]) -> Value {
        let env: serde_json::Map<String, Value> = self
            .environment()
            .into_iter()
            .filter(|(name, _)| matches!(name.as_str(), "PATH" | "LANG" | "TZ" | "HOME") || name == procfs::MARK)
            .map(|(name, value)| (name, value.into()))
            .collect();
        json!({"argv": argv, "directory": self.home(), "env": env})
    }

    /// Submits and gives the run as accepted.
    #[track_caller]
    pub fn submit(&self, request: &Value) -> Value {
        let key = format!("{}-{}", self.mark, crate::rng::Rng::fresh_seed());
        let request = Request::post("/v1/runs", request).key(&key);
        let answer = self.http().insist(&request, DEADLINE).expect("an answer to a submit");
        assert!(matches!(answer.status, 200 | 201), "{}: {}", answer.status, answer.json());
        answer.json()
    }

    pub fn show(&self, id: &str) -> Value {
        self.http().get(&format!("/v1/runs/{id}")).expect(200).json()
    }

    /// Waits for a run's end; the run as it is then.
    #[track_caller]
    pub fn wait_end(&self, id: &str) -> Value {
        self.wait_end_within(id, DEADLINE)
    }

    #[track_caller]
    pub fn wait_end_within(&self, id: &str, deadline: Duration) -> Value {
        let mut http = self.http();
        let request = Request::get(format!("/v1/runs/{id}/wait?timeout_ms=1000"));
        wait::eventually(&format!("the end of {id}"), deadline, || {
            let answer = http.send(&request).ok()?;
            assert!(matches!(answer.status, 200 | 202), "{}: {}", answer.status, answer.json());
            (answer.status == 200).then(|| answer.json())
        })
    }

    /// Waits until a run is in one of these states.
    #[track_caller]
    pub fn wait_state(&self, id: &str, states: &[&str]) -> Value {
        wait::eventually(&format!("{id} is {}", states.join(" or ")), DEADLINE, || {
            let run = self.show(id);
            states.iter().any(|state| run["state"] == *state).then_some(run)
        })
    }

    /// One whole stream of a run, through the API.
    pub fn output(&self, id: &str, stream: &str) -> Vec<u8> {
        read_output(&mut self.http(), id, stream).expect("the output")
    }

    /// Ends the server, its runs too, and shows that nothing is left: no process, no spec, no run table, no socket.
    #[track_caller]
    pub fn shutdown(self) {
        self.stop();
    }

    /// As `shutdown`, but the state stays, for another start.
    #[track_caller]
    pub fn stop(&self) {
        let stop = Request::post("/v1/server/shutdown", &json!({"runs": "stop"}));
        let answer = self.http().insist(&stop, DEADLINE).expect("an answer to the shutdown");
        assert_eq!(answer.status / 100, 2, "{}", String::from_utf8_lossy(&answer.body));
        self.assert_gone(DEADLINE);
    }

    /// Waits until no process is left, then looks at the files.
    #[track_caller]
    pub fn assert_gone(&self, deadline: Duration) {
        let gone = wait::within(deadline, || {
            self.reap_front();
            self.processes().is_empty().then_some(())
        });
        assert!(gone.is_some(), "processes left: {}", self.describe());
        let left: Vec<PathBuf> = procfs::files_below(&self.run_dir())
            .into_iter()
            .filter(|path| {
                path.extension().is_some_and(|e| e == "tab") || path.parent().is_some_and(|dir| dir.ends_with("spec"))
            })
            .collect();
        assert!(left.is_empty(), "files left: {left:?}");
    }

    fn reap_front(&self) {
        if let Some(child) = self.front.lock().expect("no thread fell over with the front").as_mut() {
            drop(child.try_wait());
        }
    }

    /// Keeps the home when this value goes, and says where it is.
    pub fn keep(&mut self) -> PathBuf {
        match self.home.take() {
            Some(home) => {
                let path = home.keep();
                eprintln!("the state is kept in {}", path.display());
                path
            }
            None => PathBuf::new(),
        }
    }
}

/// One whole stream of a run: asks from where it is until nothing more comes.
pub fn read_output(http: &mut Http, id: &str, stream: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let path = format!("/v1/runs/{id}/output?stream={stream}&offset={}", bytes.len());
        let answer = http.insist(&Request::get(path), DEADLINE)?;
        if answer.status != 200 {
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(io::Error::other(format!("{}: {said}", answer.status)));
        }
        if answer.body.is_empty() {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&answer.body);
    }
}

impl Drop for Server {
    /// Whatever the test left alive is killed: a failed test must not disturb the next.
    fn drop(&mut self) {
        let run_dir = self.home.as_ref().and_then(|home| std::fs::canonicalize(home.path().join("state/run")).ok());
        if self.kill_until_gone(DEADLINE).is_none() {
            eprintln!("processes that would not die: {}", self.describe());
        }
        if std::thread::panicking() {
            self.keep();
            return;
        }
        if let Some(dir) = run_dir.filter(|dir| !dir.starts_with("/tmp")) {
            drop(std::fs::remove_dir_all(dir));
        }
        // Its next server would clear them away; there is none.
        if let Some(home) = &self.home
            && let Err(error) = Cgroups::open(&home.path().join("state")).leave()
        {
            eprintln!("its cgroups are left: {error}");
        }
    }
}
