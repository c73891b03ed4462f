//! The command line as typed: fixed environment, fixed width, and what came back with the places taken out.

use crate::server::Server;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// Types commands at a server's home.
#[derive(Debug)]
pub struct Cli<'a> {
    server: &'a Server,
    env: Vec<(String, String)>,
}

/// What a command said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// 128 + n for a signal.
    pub code: i32,
    pub out: Vec<u8>,
    pub err: Vec<u8>,
    home: String,
}

impl<'a> Cli<'a> {
    pub fn new(server: &'a Server) -> Cli<'a> {
        Cli { server, env: Vec::new() }
    }
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Cli<'a> {
        self.env.push((name.into(), value.into()));
        self
    }
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.server.command();
        command.envs(self.env.iter().cloned()).args(args);
        command
    }
    #[must_use = "look at the output or assert the exit code"]
    pub fn run(&self, args: &[&str]) -> Said {
        let output = self.command(args).output().expect("kin starts");
        self.said(output)
    }
    /// With this on its standard input.
    #[must_use = "look at the output or assert the exit code"]
    pub fn run_with(&self, args: &[&str], input: &[u8]) -> Said {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kin starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().expect("kin ends");
        // A command that does not read its input closes the pipe: that is its right.
        drop(writer.join());
        self.said(output)
    }
    fn said(&self, output: Output) -> Said {
        use std::os::unix::process::ExitStatusExt as _;
        let code = output.status.code().or_else(|| output.status.signal().map(|n| 128 + n)).unwrap_or(-1);
        let home = self.server.home().to_string_lossy().into_owned();
        Said { code, out: output.stdout, err: output.stderr, home }
    }
}

impl Said {
    /// Standard output as text, the home written `$KIN_HOME`.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).replace(&self.home, "$KIN_HOME")
    }
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.err).replace(&self.home, "$KIN_HOME")
    }
    /// Standard output without the last newline: a run's id, mostly.
    pub fn line(&self) -> String {
        self.text().trim_end().to_string()
    }
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.out) {
            Ok(value) => value,
            Err(error) => panic!("not JSON ({error}): {}\n{}", self.text(), self.errors()),
        }
    }
    /// Itself, when it ended with that code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Said {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.text(), self.errors());
        self
    }
}
