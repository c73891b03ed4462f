//! A server of its own for a test, and a way to talk to it.

#![expect(clippy::unwrap_used, reason = "only tests are here")]

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;
use tokio::net::UnixStream;

/// Nothing here takes as long, unless it never ends.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A home, and everything that was started in it. All of it is ended with the value.
pub(crate) struct Server {
    dir: tempfile::TempDir,
    notify: UnixDatagram,
    pub(crate) front: Option<Child>,
}

pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("examples/kin")
}

impl Server {
    /// A home without a server.
    pub(crate) fn none() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let notify = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        notify.set_read_timeout(Some(LONG)).unwrap();
        Server { dir, notify, front: None }
    }

    /// A front in the foreground that has said that the server serves.
    pub(crate) fn serving() -> Server {
        let mut server = Server::none();
        server.serve();
        server
    }

    pub(crate) fn serve(&mut self) {
        let log = std::fs::File::create(self.dir.path().join("front.log")).unwrap();
        let front = self.command(&["serve"]).stderr(log).spawn().unwrap();
        self.front = Some(front);
        self.ready();
    }

    /// Waits until a front says so.
    pub(crate) fn ready(&self) {
        let mut words = [0; 64];
        loop {
            let heard = self.notify.recv(&mut words);
            let n =
                heard.unwrap_or_else(|e| panic!("no READY ({e}); front: {}; server: {}", self.front_log(), self.log()));
            if &words[..n] == b"READY=1" {
                return;
            }
        }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.command_of(program(), args)
    }

    pub(crate) fn command_of(&self, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("KIN_HOME", self.dir.path().join("home")).env("NOTIFY_SOCKET", self.dir.path().join("notify"));
        command.env("KIN_FAULTS", self.dir.path().join("faults"));
        command
    }

    pub(crate) fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
    /// Whoever comes to this point next is killed there.
    pub(crate) fn kill_at(&self, point: &str) {
        let faults = self.dir.path().join("faults");
        std::fs::create_dir_all(&faults).unwrap();
        std::fs::write(faults.join(point), "").unwrap();
    }
    pub(crate) fn was_killed_at(&self, point: &str) -> bool {
        !self.dir.path().join("faults").join(point).exists()
    }
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("home/state")
    }
    pub(crate) fn run(&self) -> PathBuf {
        self.state().join("run")
    }
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.state().join("server.log")).unwrap_or_default()
    }
    pub(crate) fn front_log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("front.log")).unwrap_or_default()
    }

    pub(crate) fn lock_is_free(&self) -> bool {
        let file = std::fs::File::open(self.state().join("server.lock")).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).is_ok()
    }

    /// Blocks until nobody of the server lives.
    pub(crate) fn wait_for_the_end(&self) {
        let file = std::fs::File::open(self.state().join("server.lock")).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockShared).unwrap();
    }

    pub(crate) fn signal_front(&self, signal: rustix::process::Signal) {
        let pid = self.front.as_ref().unwrap().id();
        signal_pid(pid, signal);
    }

    pub(crate) fn front_ends(&mut self) -> ExitStatus {
        self.front.take().unwrap().wait().unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.ask(Method::GET, path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.ask(Method::POST, path, &[("content-type", "application/json")], &body.to_string()).await
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (StatusCode, Value) {
        let response = self.open(method, path, headers, body).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let value = serde_json::from_slice(&bytes);
        (status, value.unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into())))
    }

    /// Asks again and again until the answer is as wanted.
    pub(crate) async fn until(&self, path: &str, test: impl Fn(&Value) -> bool) -> Value {
        let since = std::time::Instant::now();
        loop {
            let Some(answer) = self.try_open(path).await else { continue };
            let Ok(body) = answer.into_body().collect().await else { continue };
            let value: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
            if test(&value) {
                return value;
            }
            assert!(since.elapsed() < LONG, "{path} stays {value}; server: {}", self.log());
        }
    }

    /// The answer, its body still to come.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<Incoming> {
        let stream = UnixStream::connect(self.run().join("kin.sock")).await.unwrap();
        let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "kin");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        tokio::time::timeout(LONG, send.send_request(request))
            .await
            .unwrap_or_else(|_| panic!("no answer in time; server: {}", self.log()))
            .unwrap()
    }

    /// As `open` of a GET, with a server that may be dying.
    pub(crate) async fn try_open(&self, path: &str) -> Option<Response<Incoming>> {
        let stream = UnixStream::connect(self.run().join("kin.sock")).await.ok()?;
        let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "kin").body(Full::new(Bytes::new())).unwrap();
        tokio::time::timeout(LONG, send.send_request(request))
            .await
            .unwrap_or_else(|_| panic!("no answer in time; server: {}", self.log()))
            .ok()
    }

    /// A wish for a run of a shell's command line.
    pub(crate) fn wish(&self, script: &str) -> Value {
        serde_json::json!({
            "argv": ["sh", "-c", script], "directory": self.dir.path(), "env": {"PATH": "/usr/bin:/bin"}, "job": "job",
        })
    }

    pub(crate) async fn submit(&self, wish: &Value) -> String {
        let (status, run) = self.post("/v1/runs", wish).await;
        assert_eq!(status, StatusCode::CREATED, "{run}");
        run["id"].as_str().unwrap().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // By who they are: every process whose home this is.
        let home = format!("KIN_HOME={}", self.dir.path().join("home").display());
        // Elder and keeper make each other anew, until one look finds neither.
        let mut found = true;
        while std::mem::take(&mut found) {
            for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
                let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
                if environ.split(|b| *b == 0).any(|var| var == home.as_bytes()) {
                    found = true;
                    signal_pid(pid, rustix::process::Signal::KILL);
                }
            }
        }
        if let Some(mut front) = self.front.take() {
            front.wait().ok();
        }
        if let Ok(run) = std::fs::read_link(self.run()) {
            std::fs::remove_dir_all(run).ok();
        }
    }
}

pub(crate) fn signal_pid(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
        // It may have ended already.
        rustix::process::kill_process(pid, signal).ok();
    }
}

/// Bytes of a body as they come.
pub(crate) struct Stream {
    body: Incoming,
    pub(crate) seen: Vec<u8>,
}

impl Stream {
    pub(crate) fn of(response: Response<Incoming>) -> Stream {
        Stream { body: response.into_body(), seen: Vec::new() }
    }

    /// Reads until what was seen satisfies the test; false when the answer ended before.
    pub(crate) async fn until(&mut self, test: impl Fn(&[u8]) -> bool) -> bool {
        while !test(&self.seen) {
            let frame = tokio::time::timeout(LONG, self.body.frame()).await;
            let frame = frame.unwrap_or_else(|_| panic!("nothing more than {:?}", String::from_utf8_lossy(&self.seen)));
            match frame {
                Some(frame) => self.seen.extend_from_slice(frame.unwrap().data_ref().unwrap()),
                None => return false,
            }
        }
        true
    }

    /// As `until`, but an answer that is broken off has only ended.
    pub(crate) async fn until_or_broken(&mut self, test: impl Fn(&[u8]) -> bool) -> bool {
        while !test(&self.seen) {
            match tokio::time::timeout(LONG, self.body.frame()).await.expect("more in time") {
                Some(Ok(frame)) => self.seen.extend_from_slice(frame.data_ref().unwrap()),
                Some(Err(_)) | None => return false,
            }
        }
        true
    }

    pub(crate) async fn all(mut self) -> Vec<u8> {
        assert!(!self.until(|_| false).await);
        self.seen
    }
}
