//! The program as it is typed, against a server that answers what the test tells it to.

#[path = "../crates/client/tests/fake/mod.rs"]
mod fake;

use fake::{Act, Asked, Fake, frame, run_json};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

fn kin(fake: &Fake, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kin"));
    command.args(args).env_clear().env("KIN_HOME", fake.home()).env("TZ", "UTC").env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(fake: &Fake, args: &[&str]) -> (i32, String, String) {
    done(&kin(fake, args).output().expect("kin"))
}

fn done(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("a code"), text(&output.stdout), text(&output.stderr))
}

fn refusal(code: &str, message: &str) -> String {
    format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#)
}

fn list(runs: &[(&str, &str, Option<&str>)]) -> String {
    let runs: Vec<String> = runs.iter().map(|(id, state, outcome)| run_json(id, state, *outcome)).collect();
    format!(r#"{{"runs":[{}]}}"#, runs.join(","))
}

/// A run that is accepted, writes to both streams, and ends.
fn attached(outcome: &'static str) -> impl Fn(&Asked, usize) -> Act {
    move |asked, _| {
        if asked.method == "POST" {
            return Act::Answer(201, run_json("sh-00000001", "starting", None));
        }
        let mut bytes = frame(0, 0, b"to out\n\xff\x1b[2J");
        bytes.extend(frame(1, 0, b"to err\n"));
        bytes.extend(frame(9, 0, run_json("sh-00000001", "ended", Some(outcome)).as_bytes()));
        Act::Body(bytes)
    }
}

#[test]
fn exec_passes_output_and_exit_code_through() {
    let fake = Fake::new(attached("failed"));
    let raw = kin(&fake, &["exec", "--tag", "a", "--timeout", "1m 30s", "--", "sh", "-c", "x"]).output().expect("kin");
    assert_eq!(raw.stdout, b"to out\n\xff\x1b[2J", "in a pipe byte for byte");
    assert_eq!((raw.status.code(), raw.stderr.as_slice()), (Some(3), &b"to err\n"[..]));
    let asked = fake.asked();
    let request: serde_json::Value = serde_json::from_str(&asked[0].body).expect("json");
    assert_eq!(request["argv"], serde_json::json!(["sh", "-c", "x"]));
    assert_eq!(request["timeout_ms"], 90_000);
    assert_eq!(request["tags"], serde_json::json!(["a"]));
    assert_eq!(request["env"]["TZ"], "UTC");
    assert_eq!(request["directory"], std::env::current_dir().expect("a directory").to_str().expect("text"));
    assert!(request["umask"].is_u64());
    assert_eq!(request.get("hand"), None, "/dev/null is not handed over");
    assert!(asked[0].key.is_some());
    assert_eq!(asked[1].path, "/v1/runs/sh-00000001/output?stream=both&out=0&err=0&follow=true");
}

#[test]
fn exec_detached_prints_the_id_alone() {
    let fake = Fake::new(attached("ok"));
    assert_eq!(output(&fake, &["exec", "--detach", "--", "true"]), (0, "sh-00000001\n".into(), String::new()));
    assert_eq!(fake.asked().len(), 1);
}

#[test]
fn exec_refused_is_five_and_says_why() {
    let fake = Fake::new(|_, _| Act::Answer(409, refusal("refused", "a run of sh lives: sh-00000001")));
    let (code, out, err) = output(&fake, &["exec", "--no-overlap", "--", "sh"]);
    assert_eq!((code, out.as_str(), err.as_str()), (5, "", "kin: a run of sh lives: sh-00000001\n"));
}

#[test]
fn exec_passes_interrupts_on_and_goes_on_to_the_end() {
    let (tell, told) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let tell = std::sync::Mutex::new(tell);
    let fake = Fake::new(move |asked, _| {
        if asked.path.ends_with("/signal") || asked.path.ends_with("/stop") {
            tell.lock().expect("a lock").send(()).expect("a listener");
            return Act::Answer(200, run_json("sh-00000001", "running", None));
        }
        if asked.method == "POST" {
            return Act::Answer(201, run_json("sh-00000001", "starting", None));
        }
        // The run ends when it has been interrupted and then stopped.
        let told = told.lock().expect("a lock");
        if asked.path.contains("out=0") {
            return Act::BodyCut(frame(0, 0, b"going\n"));
        }
        told.recv().expect("an interrupt");
        told.recv().expect("a stop");
        Act::Body(frame(9, 0, run_json("sh-00000001", "ended", Some("interrupted")).as_bytes()))
    });
    let mut child = kin(&fake, &["exec", "--", "sh"]).spawn().expect("kin");
    let mut out = BufReader::new(child.stdout.take().expect("stdout"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    assert_eq!(line, "going\n");
    interrupt(&child);
    while !fake.asked().iter().any(|asked| asked.path.ends_with("/signal")) {
        fake.heard();
    }
    interrupt(&child);
    let status = child.wait().expect("an end");
    assert_eq!(status.code(), Some(0), "the fake says exit code 0");
    let asked = fake.asked();
    let signal = asked.iter().find(|a| a.path.ends_with("/signal")).expect("a signal");
    assert_eq!(signal.body, r#"{"signal":"INT","leader_only":false,"interrupt":true}"#);
    let stop = asked.iter().find(|a| a.path.ends_with("/stop")).expect("a stop");
    assert_eq!(stop.body, r#"{"kill":false,"interrupt":true}"#);
}

fn interrupt(child: &Child) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::INT)
        .expect("a signal");
}

#[test]
fn log_asks_with_its_filters_and_shows_oldest_first() {
    let fake = Fake::new(|_, _| {
        Act::Answer(200, list(&[("b-00000002", "ended", Some("skipped")), ("a-00000001", "ended", Some("failed"))]))
    });
    let args = ["log", "--job", "a*", "--failed", "--since", "2026-11-20", "--limit", "7"];
    let (code, out, err) = output(&fake, &args);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "\
job-id                                          status  start               end    pid     duration
---------------------------------------------------------------------------------------------------
a-00000001                                      ER      13:54  ->-          13:55  4242    1m 18s
"
    );
    let path = &fake.asked()[0].path;
    assert!(path.contains("job=a%2A") && path.contains("outcome=failure"), "{path}");
    assert!(path.contains("since=2026-11-20T00%3A00%3A00.000Z"), "{path}");
    let (_, out, _) = output(&fake, &["hist", "--all", "--json=lines"]);
    let ids: Vec<&str> = out.lines().map(|line| &line[7..17]).collect();
    assert_eq!(ids, ["a-00000001", "b-00000002"]);
}

#[test]
fn nobody_reading_is_a_quiet_end() {
    let fake = Fake::new(|_, _| Act::Answer(200, list(&[("a-00000001", "running", None)])));
    let mut child = kin(&fake, &["ps"]).spawn().expect("kin");
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().expect("stderr").read_to_string(&mut err).expect("text");
    assert_eq!((child.wait().expect("an end").code(), err.as_str()), (Some(0), ""));
}

#[test]
fn stop_says_what_it_did_run_by_run() {
    let fake = Fake::new(|asked, _| match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/v1/runs/a-00000001") => Act::Answer(200, run_json("a-00000001", "running", None)),
        ("GET", "/v1/runs/b-00000002") => Act::Answer(200, run_json("b-00000002", "ended", Some("ok"))),
        ("GET", "/v1/jobs?name=nobody") => Act::Answer(200, r#"{"jobs": []}"#.into()),
        ("GET", _) => Act::Answer(200, list(&[])),
        ("POST", _) => Act::Answer(200, run_json("a-00000001", "stopping", None)),
        _ => Act::Cut,
    });
    let (code, out, err) = output(&fake, &["stop", "a-00000001", "b-00000002", "nobody"]);
    assert_eq!(out, "a-00000001  stopping\n");
    let ended = "kin: b-00000002 has ended already: ok, at 2026-11-20 13:55:19\n";
    assert_eq!((code, err), (4, format!("kin: nothing matches \"nobody\"\n{ended}")));
    // What was asked for is so: no failure.
    let (code, out, err) = output(&fake, &["stop", "b-00000002"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ended));
    let (code, out, err) = output(&fake, &["kill", "nobody"]);
    assert_eq!((code, out.as_str()), (4, ""));
    assert!(err.starts_with("kin: nothing matches \"nobody\"\n  hint: "), "{err}");
}

#[test]
fn a_signal_by_any_name_and_none_that_is_not() {
    let fake = Fake::new(|asked, _| match asked.method.as_str() {
        "GET" => Act::Answer(200, list(&[("web-00000001", "running", None)])),
        _ => Act::Answer(200, run_json("web-00000001", "running", None)),
    });
    assert_eq!(output(&fake, &["signal", "sighup", "web"]).1, "web-00000001  HUP sent\n");
    let (code, _, err) = output(&fake, &["signal", "nonsense", "web"]);
    assert_eq!(code, 2);
    assert!(err.contains("'nonsense' is no signal"), "{err}");
}

#[test]
fn jl_shows_both_streams_or_one() {
    let fake = Fake::new(|asked, _| {
        if asked.path.contains("stream=both") {
            let mut bytes = frame(0, 0, "gr\u{fc}n\n".as_bytes());
            bytes.extend(frame(1, 0, b"oops\n"));
            bytes.extend(frame(9, 0, run_json("a-00000001", "ended", Some("ok")).as_bytes()));
            Act::Body(bytes)
        } else if asked.path.contains("stream=err") {
            Act::Body(b"oops\n".to_vec())
        } else {
            Act::Answer(200, run_json("a-00000001", "ended", Some("ok")))
        }
    });
    assert_eq!(output(&fake, &["jl", "a-00000001"]), (0, "gr\u{fc}n\noops\n".into(), String::new()));
    assert_eq!(output(&fake, &["output", "00000001", "--err"]).1, "oops\n");
    let lines = "{\"stream\":\"out\",\"offset\":0,\"text\":\"gr\u{fc}n\\n\"}\n{\"stream\":\"err\",\"offset\":0,\"text\":\"oops\\n\"}\n";
    assert_eq!(output(&fake, &["jl", "a-00000001", "--json"]).1, lines);
}

#[test]
fn tail_shows_last_lines_of_each() {
    let fake = Fake::new(|asked, _| {
        if asked.path.contains("/output") {
            let id = if asked.path.contains("a-00000001") { "a" } else { "b" };
            Act::Body(frame(0, 0, format!("{id}1\n{id}2\n{id}3").as_bytes()))
        } else {
            Act::Answer(200, list(&[("b-00000002", "running", None), ("a-00000001", "running", None)]))
        }
    });
    let (code, out, _) = output(&fake, &["tail", "-n", "2"]);
    assert_eq!((code, out.as_str()), (0, "==> a-00000001 <==\na2\na3\n==> b-00000002 <==\nb2\nb3"));
}

#[test]
fn wait_is_one_when_a_run_failed_and_124_when_the_time_is_over() {
    let fake = Fake::new(|asked, _| {
        let ended = asked.path.contains("a-00000001");
        match (asked.path.contains("/wait"), ended) {
            (true, true) => Act::Answer(200, run_json("a-00000001", "ended", Some("failed"))),
            (true, false) => Act::Silence,
            (false, true) => Act::Answer(200, run_json("a-00000001", "running", None)),
            (false, false) => Act::Answer(200, run_json("b-00000002", "running", None)),
        }
    });
    let (code, out, _) = output(&fake, &["wait", "a-00000001"]);
    assert_eq!((code, out.as_str()), (1, "a-00000001  ended failed(3)\n"));
    let (code, out, err) = output(&fake, &["wait", "b-00000002", "--timeout", "50ms"]);
    assert_eq!((code, out.as_str(), err.as_str()), (124, "", "kin: not within 50ms\n"));
}

#[test]
fn listen_prints_a_line_an_event() {
    let fake = Fake::new(|_, before| {
        let data =
            r#"{"seq":1,"at":"2026-11-20T13:54:01.120Z","kind":"run.state","run":"a-00000001","state":"running"}"#;
        let text = if before == 0 { format!("id: 1\ndata: {data}\n\n") } else { String::new() };
        Act::BodyOpen(text.into_bytes())
    });
    let mut child = kin(&fake, &["listen", "a*"]).spawn().expect("kin");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
    child.kill().expect("a kill");
    child.wait().expect("an end");
    assert_eq!(line, "2026-11-20 13:54:01.120 a-00000001 -> running\n");
}

#[test]
fn no_server_is_three_for_those_who_start_none() {
    let mut fake = Fake::new(|_, _| Act::Cut);
    fake.let_go();
    let (code, out, err) = output(&fake, &["shutdown"]);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.starts_with("kin: no server runs for "), "{err}");
}

#[test]
fn nonsense_is_two() {
    let fake = Fake::new(|_, _| Act::Cut);
    for args in
        [&["exec"][..], &["nonsense"], &["exec", "--timeout", "soon", "--", "x"], &["exec", "--id", "a b", "--", "x"]]
    {
        assert_eq!(output(&fake, args).0, 2, "{args:?}");
    }
    assert_eq!(output(&fake, &["log", "--since", "someday"]).0, 2);
    assert_eq!(output(&fake, &["--help"]).0, 0);
    assert!(fake.asked().is_empty());
}
