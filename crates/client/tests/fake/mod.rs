//! A server that answers what a test tells it to, byte for byte, and cuts connections where the test wants them cut.
//!
//! It speaks just enough HTTP/1.1 to read a request whole, so that an answer can end in the middle of a frame.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) key: Option<String>,
    pub(crate) last_event: Option<String>,
    pub(crate) body: String,
}

/// What to do with it.
pub(crate) enum Act {
    /// A whole answer.
    Answer(u16, String),
    /// The connection ends without a word.
    Cut,
    /// These bytes of a chunked body, then a clean end of the body.
    Body(Vec<u8>),
    /// These bytes of a chunked body, then the connection ends in the middle of it.
    BodyCut(Vec<u8>),
    /// These bytes of a chunked body, and no end of it.
    BodyOpen(Vec<u8>),
    /// Nothing at all, for ever.
    Silence,
}

pub(crate) struct Fake {
    directory: tempfile::TempDir,
    asked: Arc<Mutex<Vec<Asked>>>,
    heard: mpsc::Receiver<()>,
    /// Held for as long as the server "lives".
    lock: Option<std::fs::File>,
}

impl Fake {
    /// `answer` is told the request and how many came before it.
    pub(crate) fn new(answer: impl Fn(&Asked, usize) -> Act + Send + Sync + 'static) -> Fake {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        let run = directory.path().join("run");
        std::fs::create_dir_all(&state).expect("a state directory");
        std::fs::create_dir_all(&run).expect("a run directory");
        std::os::unix::fs::symlink(&run, state.join("run")).expect("a link");
        let lock = std::fs::File::create(state.join("server.lock")).expect("a lock");
        lock.lock().expect("the lock");
        let listener = UnixListener::bind(run.join("kin.sock")).expect("a socket");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (tell, heard) = mpsc::channel();
        let answer = Arc::new(answer);
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, answer, log, tell) =
                    (stream.expect("a connection"), Arc::clone(&answer), Arc::clone(&log), tell.clone());
                std::thread::spawn(move || serve(stream, &*answer, &log, &tell));
            }
        });
        Fake { directory, asked, heard, lock: Some(lock) }
    }

    /// For `KIN_HOME`.
    pub(crate) fn home(&self) -> PathBuf {
        self.directory.path().to_owned()
    }
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("the log").clone()
    }
    /// Blocks until the next request has come.
    pub(crate) fn heard(&self) {
        self.heard.recv_timeout(std::time::Duration::from_secs(20)).expect("a request");
    }
    /// From now on the lock says that no server lives.
    pub(crate) fn let_go(&mut self) {
        self.lock = None;
        std::fs::remove_file(self.directory.path().join("run/kin.sock")).expect("the socket");
    }
}

fn serve(stream: UnixStream, answer: &dyn Fn(&Asked, usize) -> Act, log: &Mutex<Vec<Asked>>, tell: &mpsc::Sender<()>) {
    let mut write = stream.try_clone().expect("a clone");
    let mut read = BufReader::new(stream);
    while let Some(asked) = request(&mut read) {
        // Every command that names a job asks what its directory means; here it means nothing.
        if asked.path == "/v1/projects" && asked.method == "GET" {
            let body = "{\"projects\":[]}";
            let head = "HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n";
            if write.write_all(format!("{head}{body}").as_bytes()).is_err() {
                return;
            }
            continue;
        }
        let before = {
            let mut log = log.lock().expect("the log");
            log.push(asked.clone());
            log.len() - 1
        };
        if tell.send(()).is_err() {
            return;
        }
        let sent = match answer(&asked, before) {
            Act::Answer(status, body) => {
                let kind = "content-type: application/json";
                let head = format!("HTTP/1.1 {status} X\r\n{kind}\r\ncontent-length: {}\r\n\r\n", body.len());
                write.write_all(head.as_bytes()).and_then(|()| write.write_all(body.as_bytes()))
            }
            Act::Cut => return,
            Act::Body(bytes) => chunk(&mut write, &bytes).and_then(|()| write.write_all(b"0\r\n\r\n")),
            Act::BodyCut(bytes) => {
                drop(chunk(&mut write, &bytes));
                return;
            }
            Act::BodyOpen(bytes) => chunk(&mut write, &bytes),
            Act::Silence => Ok(()),
        };
        if sent.is_err() {
            return;
        }
    }
}

fn chunk(write: &mut UnixStream, bytes: &[u8]) -> std::io::Result<()> {
    write.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    if bytes.is_empty() {
        return Ok(());
    }
    write.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
    write.write_all(bytes)?;
    write.write_all(b"\r\n")
}

fn request(read: &mut BufReader<UnixStream>) -> Option<Asked> {
    let mut line = String::new();
    read.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut asked = Asked { method, path, key: None, last_event: None, body: String::new() };
    let mut length = 0;
    loop {
        let mut line = String::new();
        read.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "idempotency-key" => asked.key = Some(value.to_owned()),
            "last-event-id" => asked.last_event = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    read.read_exact(&mut body).ok()?;
    asked.body = String::from_utf8(body).ok()?;
    Some(asked)
}

/// A run as the server would say it.
pub(crate) fn run_json(id: &str, state: &str, outcome: Option<&str>) -> String {
    let job = id.rsplit_once('-').map_or(id, |(job, _)| job);
    serde_json::json!({
        "id": id, "job": job, "slot": 0, "attempt": 1, "follows": null, "trigger": {"kind": "manual", "by": "uid:0"},
        "state": state, "outcome": outcome,
        "exit_code": outcome.map(|o| if o == "failed" { 3 } else { 0 }),
        "signal": null, "reason": null, "pid": 4242, "host": "web1",
        "created_at": "2026-11-20T13:54:01.120Z", "started_at": "2026-11-20T13:54:01.130Z",
        "ended_at": outcome.map(|_| "2026-11-20T13:55:19.130Z"),
        "out_bytes": 6, "err_bytes": 0, "out_dropped": 0, "err_dropped": 0, "max_rss_bytes": 1048576, "cpu_ms": 12,
        "warnings": {}, "tags": [], "command": ["true"], "directory": "/"
    })
    .to_string()
}

/// Frames as the server sends them.
pub(crate) fn frame(kind: u8, offset: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0, 0, 0];
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(payload);
    out
}
