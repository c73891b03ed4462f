//! A server with schedules, and what it says.

use serde_json::Value;
use std::path::Path;
use testkit::http::{Answer, Request};
use testkit::server::{DEADLINE, Options, Server};
use testkit::wait::eventually;

pub(crate) const KIN: &str = env!("CARGO_BIN_EXE_kin");

pub(crate) fn server(text: &str) -> Server {
    started(Options::new(KIN), text)
}

pub(crate) fn started(options: Options, text: &str) -> Server {
    let server = options.prepare();
    write(&server, text);
    server.start_again();
    server
}

/// As an editor does it: never half of it.
pub(crate) fn write(server: &Server, text: &str) {
    let new = server.home().join(".jobs.new");
    std::fs::write(&new, text).expect("writes");
    std::fs::rename(new, server.home().join("jobs.toml")).expect("renames");
}

pub(crate) fn ask(server: &Server, request: &Request) -> Answer {
    server.http().insist(request, DEADLINE).expect("an answer")
}

pub(crate) fn job(server: &Server, name: &str) -> Value {
    ask(server, &Request::get(format!("/v1/jobs/{name}"))).expect(200).json()
}

pub(crate) fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_string).collect()
}

/// Sets the clock of a server with `KIN_TEST_CLOCK`; the rest of the machine goes on as it was.
pub(crate) fn set_clock(server: &Server, seconds: i64) {
    let (new, path) = (server.home().join(".clock.new"), server.home().join("clock"));
    std::fs::write(&new, seconds.to_string()).expect("writes");
    std::fs::rename(new, path).expect("renames");
}

pub(crate) fn with_clock(text: &str) -> Server {
    let mut server = Options::new(KIN).prepare();
    let path = server.home().join("clock");
    std::fs::write(&path, "0").expect("writes");
    server.set_env("KIN_TEST_CLOCK", path.to_str().expect("text"));
    write(&server, text);
    server.start_again();
    server
}

/// Of each kind, the news there were.
pub(crate) fn news(server: &Server, kind: &str) -> Vec<String> {
    let log = std::fs::read_to_string(server.state().join("events.log")).unwrap_or_default();
    let begin = format!(" event=[{kind}] message=[");
    let messages = log.lines().filter_map(|line| line.split_once(&begin)?.1.strip_suffix(']'));
    messages.map(str::to_string).collect()
}

pub(crate) fn news_of(server: &Server, kind: &str, count: usize) -> Vec<String> {
    eventually(kind, DEADLINE, || Some(news(server, kind)).filter(|news| news.len() >= count))
}

/// What kin says on a command line, and how that ends.
pub(crate) fn said(server: &Server, args: &[&str]) -> (i32, String, String) {
    let output = server.command().args(args).output().expect("kin");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

pub(crate) fn items(server: &Server, args: &[&str]) -> Vec<Value> {
    let (code, out, err) = said(server, args);
    assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
    serde_json::from_str(&out).expect("json")
}

pub(crate) fn ticks_of(server: &Server, job: &str) -> Vec<Value> {
    let list = ask(server, &Request::get(format!("/v1/ticks?job={job}&limit=1000"))).expect(200).json();
    let mut ticks = list["ticks"].as_array().cloned().expect("ticks");
    ticks.reverse();
    ticks
}

pub(crate) fn seconds(value: &Value) -> f64 {
    let at: jiff::Timestamp = value.as_str().expect("an instant").parse().expect("one");
    at.as_millisecond() as f64 / 1000.0
}
