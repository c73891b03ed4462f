//! Runs the floors.

use super::Bench;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long so many took, and what they cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) n: u64,
}

impl Cost {
    pub(crate) fn rate(self) -> f64 {
        self.n as f64 / self.wall.as_secs_f64()
    }
    pub(crate) fn cpu_each(self) -> f64 {
        self.cpu.as_secs_f64() / self.n as f64
    }
    pub(crate) fn words(self) -> String {
        format!("floor {:.0}/s, {:.0} µs CPU each", self.rate(), self.cpu_each() * 1e6)
    }
}

impl Bench {
    /// One of the floors that start and wait: `spawn`, `spawn-two`, `spawn-sync` (with its file).
    pub(crate) fn spawn_floor(&self, mode: &str, n: u64, file: Option<&Path>) -> Cost {
        let mut command = Command::new(&self.floor);
        command.args([mode, &n.to_string(), "/bin/true"]).args(file);
        let out = command.output().expect("the floor runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).expect("two numbers");
        let mut words = text.split_whitespace().map(|w| Duration::from_nanos(w.parse().expect("a number")));
        Cost { wall: words.next().expect("wall time"), cpu: words.next().expect("processor time"), n }
    }

    /// The smallest daemon, and a connection to it.
    pub(crate) fn daemon_floor(&self, dir: &Path, program: &str) -> (Child, UnixStream) {
        let socket = dir.join("floor.sock");
        if socket.exists() {
            std::fs::remove_file(&socket).expect("the old socket goes");
        }
        let mut command = Command::new(&self.floor);
        command.arg("serve").arg(&socket).arg(program).stdin(Stdio::null());
        let child = command.spawn().expect("the floor runs");
        let connect = || UnixStream::connect(&socket).ok();
        (child, testkit::eventually("the floor listens", Duration::from_secs(5), connect))
    }
}
