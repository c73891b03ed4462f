//! `kin exec` as its callers see it, and the walk of one run from the word to the listing.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};
use testkit::procfs::is_alive;
use testkit::server::Options;
use testkit::wait::let_time_pass;
use testkit::{Cli, Role, Server, eventually, guest_path, server};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

#[test]
fn exit_codes_pass_through() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    let cases: [(&[&str], i32); 8] = [
        (&["exec", "--", "true"], 0),
        (&["exec", "--", "sh", "-c", "exit 7"], 7),
        (&["exec", "--", "sh", "-c", "kill -9 $$"], 137),
        (&["exec", "--", "sh", "-c", "kill -TERM $$"], 143),
        (&["exec", "--timeout", "0.3", "--", "sleep", "60"], 124),
        (&["exec", "--", "/no/such/program"], 127),
        (&["exec", "--", "no-such-program-anywhere"], 127),
        (&["exec", "--", "/etc/passwd"], 126),
    ];
    for (args, code) in cases {
        let said = cli.run(args);
        assert_eq!(said.code, code, "{args:?}: {said:?}");
    }
    for args in [&["exec"][..], &["exec", "--no-such-option", "--", "true"], &["nonsense"]] {
        let said = cli.run(args);
        assert_eq!(said.code, 2, "{args:?}: {said:?}");
        assert!(!said.errors().is_empty(), "{args:?} is told why");
    }
    let before = server.http().get("/v1/runs").json()["runs"].as_array().map(Vec::len);
    cli.run(&["exec", "--timeout", "soon", "--", "true"]).expect(2);
    assert_eq!(server.http().get("/v1/runs").json()["runs"].as_array().map(Vec::len), before, "nothing was changed");
    cli.run(&["jl", "nobody-00000001"]).expect(4);
    server.shutdown();
}

/// said → carried → received → decided → recorded → spawned → heard → ended → judged → told.
#[test]
fn the_walk_of_one_run() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    let said = cli.run(&["exec", "--id", "walk", "--", "sh", "-c", "echo one; echo two >&2; exit 3"]).expect(3);
    assert_eq!(said.text(), "one\n");
    let rows = cli.run(&["log", "--json"]).expect(0).json();
    let run = rows.as_array().and_then(|rows| rows.first()).cloned().expect("one row");
    let id = run["id"].as_str().expect("an id").to_string();
    assert!(id.starts_with("walk-") && id.len() == 13, "{id}");
    let want = (Some("ended"), Some("failed"), Some(3), Some(4), Some(4));
    let field = |name: &str| run[name].as_u64();
    assert_eq!(
        (run["state"].as_str(), run["outcome"].as_str(), field("exit_code"), field("out_bytes"), field("err_bytes")),
        want
    );
    let table = cli.run(&["log"]).expect(0).text();
    let mut lines = table.lines();
    let head: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(head, ["job-id", "status", "start", "end", "pid", "duration"], "{table}");
    assert!(lines.next().is_some_and(|dashes| !dashes.is_empty() && dashes.chars().all(|c| c == '-')), "{table}");
    assert!(lines.next().is_some_and(|row| row.starts_with(&format!("ER: {id}"))), "stderr was not empty: {table}");
    assert_eq!(cli.run(&["jl", "--out", &id]).expect(0).out, b"one\n");
    assert_eq!(cli.run(&["jl", "--err", &id]).expect(0).out, b"two\n");
    let why = cli.run(&["why", &id]).expect(0).text();
    assert!(why.contains('3'), "the story names the code: {why}");
    server.shutdown();
}

#[test]
fn detach_prints_the_id_alone_and_wait_waits_for_it() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    let said = cli.run(&["exec", "--detach", "--id", "later", "--", "sh", "-c", "sleep 0.4; exit 5"]).expect(0);
    let id = said.line();
    assert_eq!(said.text(), format!("{id}\n"));
    assert!(id.starts_with("later-"), "{id}");
    let said = cli.run(&["wait", &id]).expect(1);
    assert!(said.text().contains("failed(5)"), "{}", said.text());
    assert_eq!(server.show(&id)["exit_code"], 5);
    server.shutdown();
}

#[test]
fn a_run_at_a_latch_waits_for_its_release() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    let id = cli.run(&["exec", "--detach", "--pending", "go", "--", "echo", "gone"]).expect(0).line();
    assert_eq!(server.show(&id)["state"], "held");
    assert_eq!(server.show(&id)["latch"], "go");
    let said = cli.run(&["release", "go"]).expect(0).text();
    assert!(said.contains(&id), "{said}");
    assert_eq!(server.wait_end(&id)["outcome"], "ok");
    let id = cli.run(&["exec", "--detach", "--pending", "go", "--", "echo", "gone"]).expect(0).line();
    cli.run(&["stop", &id]).expect(0);
    let run = server.wait_end(&id);
    assert_eq!((run["outcome"].as_str(), &run["started_at"]), (Some("cancelled"), &Value::Null), "{run}");
    server.shutdown();
}

/// What a waiting run was handed as its stdin is held as long as it waits, also by the keepers that come after; and no longer.
#[test]
fn a_run_that_waits_long_keeps_its_stdin() {
    let server = Options::new(KIN).env("KIN_TEST_HAND_MS", "100").start();
    let waits = |latch: &str| {
        let mut command = server.command();
        command.args(["exec", "--id", latch, "--pending", latch, "--", "cat"]);
        let client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let id = eventually("it is accepted", server::DEADLINE, || {
            let runs = server.http().get(&format!("/v1/runs?job={latch}")).json();
            runs["runs"][0]["id"].as_str().map(String::from)
        });
        (client.expect("kin exec starts"), id)
    };
    let (mut client, id) = waits("go");
    client.stdin.take().expect("a pipe").write_all(b"hi\n").expect("written");
    let_time_pass(Duration::from_millis(500));
    for role in [Role::Keeper, Role::Elder, Role::Daemon, Role::Keeper] {
        server.kill(role).expect("killed");
        server.wait_whole(server::DEADLINE);
        let_time_pass(Duration::from_millis(300));
    }
    Cli::new(&server).run(&["release", "go"]).expect(0);
    let said = client.wait_with_output().expect("it ends");
    assert_eq!(said.stdout, b"hi\n", "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(server.show(&id)["outcome"], "ok");

    let (mut client, id) = waits("never");
    let mut typed = client.stdin.take().expect("a pipe");
    Cli::new(&server).run(&["stop", &id]).expect(0);
    client.wait().expect("it ends");
    eventually("its writer hears that nobody reads", server::DEADLINE, || typed.write_all(b"x").is_err().then_some(()));
    eventually("no key is left", server::DEADLINE, || {
        let hands = std::fs::read_dir(server.run_dir().join("hands")).expect("a directory");
        (hands.count() == 0).then_some(())
    });
    server.shutdown();
}

#[test]
fn a_full_job_is_refused() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    let id = cli.run(&["exec", "--detach", "--id", "one", "--", "sleep", "60"]).expect(0).line();
    server.wait_state(&id, &["running"]);
    let said = cli.run(&["exec", "--no-overlap", "--id", "one", "--", "true"]).expect(5);
    assert!(said.errors().contains(&id), "it names the run that lives: {}", said.errors());
    cli.run(&["kill", &id]).expect(0);
    server.wait_end(&id);
    server.shutdown();
}

fn attached(server: &Server) -> (std::process::Child, String) {
    attached_with(server, &[])
}

fn attached_with(server: &Server, options: &[&str]) -> (std::process::Child, String) {
    let guest = guest_path();
    let mut command = server.command();
    command.args(["exec", "--id", "attached"]).args(options).arg("--").arg(guest).arg("forever").stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().expect("kin exec starts");
    let mut line = String::new();
    let out = child.stdout.as_mut().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("its first line");
    assert_eq!(line, "ready\n");
    let live = server.http().get("/v1/runs?state=live").json();
    let id = live["runs"][0]["id"].as_str().expect("one live run").to_string();
    (child, id)
}

#[test]
fn ctrl_c_interrupts_the_run() {
    let server = Server::start(KIN);
    let (mut client, id) = attached(&server);
    kill_process(Pid::from_child(&client), Signal::INT).expect("interrupts it");
    assert_eq!(client.wait().expect("it ends").code(), Some(130));
    let run = server.wait_end(&id);
    assert_eq!(run["outcome"], "interrupted", "{run}");
    server.shutdown();
}

#[test]
fn inv_13_the_death_of_a_client_does_not_end_its_run() {
    let server = Server::start(KIN);
    let (mut client, id) = attached(&server);
    client.kill().expect("kills the client");
    client.wait().expect("reaped");
    let beside = server.submit(&server.request(&["true"]));
    server.wait_end(beside["id"].as_str().expect("an id"));
    assert_eq!(server.show(&id)["state"], "running");
    let cli = Cli::new(&server);
    let asked = Instant::now();
    cli.run(&["stop", &id]).expect(0);
    assert_eq!(server.wait_end(&id)["outcome"], "stopped");
    assert!(asked.elapsed() < Duration::from_secs(5), "TERM was enough");
    server.shutdown();
}

/// `exec -- yes | head -1`: as in any shell the writer is told, with 128 + PIPE; the run is another process, and goes on.
#[test]
fn inv_13_a_reader_that_goes_away_ends_the_client_alone() {
    let server = Server::start(KIN);
    let line_then_gone = |args: &[&str]| {
        let mut command = server.command();
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = command.spawn().expect("kin exec starts");
        let mut line = String::new();
        let out = client.stdout.take().expect("a pipe");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("its first line");
        assert_eq!(line, "y\n");
        assert_eq!(client.wait().expect("it ends").code(), Some(141));
    };
    line_then_gone(&["exec", "--id", "alone", "--", "yes"]);
    let run = server.http().get("/v1/runs?job=alone").json()["runs"][0].clone();
    assert_eq!(run["state"], "running", "{run}");
    line_then_gone(&["exec", "--id", "guarded", "--with-client", "--", "yes"]);
    let run = server.http().get("/v1/runs?job=guarded").json()["runs"][0].clone();
    assert_eq!(server.wait_end(run["id"].as_str().expect("an id"))["outcome"], "interrupted");
    Cli::new(&server).run(&["kill", "alone"]).expect(0);
    server.shutdown();
}

/// `> file 2>&1`: the streams are kept apart, and come in the order in which they were written, as far as the clock tells.
#[test]
fn both_streams_in_one_file_are_in_their_order() {
    let server = Server::start(KIN);
    let dir = tempfile::tempdir().expect("a directory");
    let file = std::fs::File::create(dir.path().join("both")).expect("a file");
    let script = "for i in 1 2 3; do echo out $i; sleep 0.05; echo err $i >&2; sleep 0.05; done";
    let mut command = server.command();
    command.args(["exec", "--id", "both", "--", "sh", "-c", script]);
    let both = |file: &std::fs::File| file.try_clone().expect("a clone");
    let status = command.stdout(both(&file)).stderr(both(&file)).status().expect("kin exec");
    assert!(status.success());
    let text = std::fs::read_to_string(dir.path().join("both")).expect("what it wrote");
    assert_eq!(text, "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n");
    assert_eq!(Cli::new(&server).run(&["jl", "--err", "both"]).expect(0).text(), "err 1\nerr 2\nerr 3\n");
    server.shutdown();
}

#[test]
fn with_client_stops_the_run_however_the_client_ends() {
    let server = Server::start(KIN);
    for signal in [Signal::HUP, Signal::KILL, Signal::QUIT] {
        let (mut client, id) = attached_with(&server, &["--with-client"]);
        kill_process(Pid::from_child(&client), signal).expect("ends it");
        client.wait().expect("reaped");
        let run = server.wait_end(&id);
        assert_eq!(run["outcome"], "interrupted", "{signal:?}: {run}");
    }
    server.shutdown();
}

/// The processes that this one has made.
fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn is_asleep(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('S'))
}

/// Whether it has said that INT is not to end it.
fn takes_interrupts(pid: u32) -> Option<()> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?.trim();
    (u64::from_str_radix(caught, 16).ok()? & 1 << (Signal::INT.as_raw() - 1) != 0).then_some(())
}

fn interrupted_until_it_ends(client: &mut std::process::Child) -> Option<i32> {
    let pid = Pid::from_child(client);
    let ended = eventually("it ends", server::DEADLINE, || {
        kill_process(pid, Signal::INT).expect("is there until it is waited for");
        client.try_wait().expect("a child")
    });
    ended.code()
}

/// One that has asked a server that does not answer, and keeps a first interrupt for the run.
fn asking(server: &Server, options: &[&str]) -> std::process::Child {
    loop {
        let mut command = server.command();
        command.args(["exec", "--id", "hasty"]).args(options).args(["--", "sleep", "600"]);
        let mut client = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kin");
        let mut looks = 0;
        eventually("it waits", server::DEADLINE, || {
            looks = if takes_interrupts(client.id()).is_some() && is_asleep(client.id()) { looks + 1 } else { 0 };
            (looks > 20).then_some(())
        });
        kill_process(Pid::from_child(&client), Signal::INT).expect("is there");
        // One that had not asked yet ends at once.
        if testkit::within(Duration::from_millis(500), || client.try_wait().expect("a child")).is_none() {
            return client;
        }
    }
}

#[test]
fn two_interrupts_before_the_answer_leave_nothing_that_runs() {
    let server = Server::start(KIN);
    assert!(server.signal(testkit::Role::Daemon, Signal::STOP));
    for options in [&[][..], &["--bypass-output"], &["--with-client"]] {
        let mut client = asking(&server, options);
        assert_eq!(interrupted_until_it_ends(&mut client), Some(130));
    }
    assert!(server.signal(testkit::Role::Daemon, Signal::CONT));
    let runs = eventually("all were found and ended", server::DEADLINE, || {
        let runs = server.http().get("/v1/runs?job=hasty").json()["runs"].as_array().cloned().unwrap_or_default();
        (runs.len() == 3 && runs.iter().all(|run| run["state"] == "ended")).then_some(runs)
    });
    for run in runs {
        assert!(["interrupted", "cancelled"].iter().any(|word| run["outcome"] == *word), "{run}");
    }
    server.shutdown();
}

#[test]
fn an_interrupt_before_anything_was_asked_for_ends_it_at_once() {
    let server = Server::start(KIN);
    assert!(server.signal(testkit::Role::Keeper, Signal::STOP));
    let mut command = server.command();
    command.args(["exec", "--id", "hasty", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut client = command.stderr(Stdio::null()).spawn().expect("kin");
    eventually("it listens for signals", server::DEADLINE, || takes_interrupts(client.id()));
    let asked = Instant::now();
    assert_eq!(interrupted_until_it_ends(&mut client), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(5), "it took {:?}", asked.elapsed());
    assert!(server.signal(testkit::Role::Keeper, Signal::CONT));
    assert_eq!(server.http().get("/v1/runs?job=hasty").json()["runs"], json!([]));
    server.shutdown();
}

#[test]
fn a_guard_asks_until_its_run_is_stopped() {
    let server = Server::start(KIN);
    let (mut client, id) = attached_with(&server, &["--with-client"]);
    let guard = children(client.id()).first().copied().expect("a guard");
    assert!(server.signal(testkit::Role::Daemon, Signal::STOP));
    client.kill().expect("kills the client");
    client.wait().expect("reaped");
    // A single request is given up after ten seconds.
    let gone = testkit::wait::within(Duration::from_secs(12), || {
        (!std::path::Path::new(&format!("/proc/{guard}")).exists()).then_some(())
    });
    assert!(server.signal(testkit::Role::Daemon, Signal::CONT));
    let run = server.wait_end(&id);
    assert_eq!((run["outcome"].as_str(), gone), (Some("interrupted"), None), "{run}");
    server.shutdown();
}

/// Nothing that lives needs a server then, so none is begun for it; what waits does not outlive its client all the same.
#[test]
fn a_guard_begins_no_server_that_was_shut_down() {
    let server = Server::start(KIN);
    let mut command = server.command();
    command.args(["exec", "--id", "waits", "--pending", "go", "--with-client", "--", "sleep", "60"]);
    let mut client = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("kin exec starts");
    let runs = || server.http().get("/v1/runs?job=waits").json();
    let id = eventually("it waits", server::DEADLINE, || runs()["runs"][0]["id"].as_str().map(String::from));
    let guard = eventually("a guard", server::DEADLINE, || children(client.id()).first().copied());
    let cli = Cli::new(&server);
    cli.run(&["shutdown", "--leave-runs", "--wait"]).expect(0);
    assert_eq!(client.wait().expect("it gives up").code(), Some(3));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut client.stderr.take().expect("a pipe"), &mut said).expect("its words");
    assert!(said.contains(&format!("the run {id} is stopped with us")), "{said}");
    let begun = testkit::within(Duration::from_secs(3), || server.pid(Role::Daemon));
    assert_eq!((begun, is_alive(guard)), (None, true));
    cli.run(&["ps"]).expect(0);
    assert_eq!(server.wait_end(&id)["outcome"], "cancelled");
    eventually("the guard is done", server::DEADLINE, || (!is_alive(guard)).then_some(()));
    server.shutdown();
}

/// A run that goes on needs somebody to stop it.
#[test]
fn a_guard_begins_a_server_for_a_run_that_goes_on() {
    let server = Server::start(KIN);
    let mut command = server.command();
    command.args(["exec", "--id", "left", "--with-client", "--", "sh", "-c", "echo on; exec sleep 60"]);
    let mut client = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kin");
    let mut line = String::new();
    let out = client.stdout.as_mut().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("its first line");
    let id = server.http().get("/v1/runs?job=left").json()["runs"][0]["id"].as_str().expect("a run").to_string();
    Cli::new(&server).run(&["shutdown", "--leave-runs"]).expect(0);
    assert_eq!(client.wait().expect("it gives up").code(), Some(3));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut client.stderr.take().expect("a pipe"), &mut said).expect("its words");
    assert!(said.contains(&format!("the run {id} is stopped with us")), "{said}");
    eventually("a server is there again", server::DEADLINE, || server.pid(Role::Daemon));
    assert_eq!(server.wait_end(&id)["outcome"], "interrupted");
    server.shutdown();
}

#[test]
fn a_shutdown_is_told_to_whoever_is_attached_at_once() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    let mut command = server.command();
    command.args(["exec", "--id", "left", "--", "sh", "-c", "echo on; exec sleep 60"]);
    let mut client = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kin exec starts");
    let mut out = std::io::BufReader::new(client.stdout.take().expect("a pipe"));
    let mut err = std::io::BufReader::new(client.stderr.take().expect("a pipe"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).expect("its first line");
    cli.run(&["shutdown", "--leave-runs"]).expect(0);
    let asked = Instant::now();
    line.clear();
    std::io::BufRead::read_line(&mut err, &mut line).expect("word of it");
    assert!(line.contains("the server was shut down; left-") && line.contains("goes on"), "{line}");
    assert!(asked.elapsed() < Duration::from_millis(1500), "it took {:?}", asked.elapsed());
    assert_eq!(client.wait().expect("it gives up").code(), Some(3));
    line.clear();
    std::io::Read::read_to_string(&mut err, &mut line).expect("its last words");
    assert!(line.contains("goes on") && line.contains("kin tail -f left-"), "{line}");
    let id = cli.run(&["ps", "--json"]).expect(0).json()[0]["id"].as_str().expect("it lives").to_string();
    assert!(id.starts_with("left-"), "{id}");
    cli.run(&["kill", &id]).expect(0);
    server.shutdown();
}

#[test]
fn bypassed_output_goes_straight_to_the_caller_and_is_not_kept() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    let said = cli.run(&["exec", "--bypass-output", "--id", "by", "--", "sh", "-c", "echo straight; exit 2"]).expect(2);
    assert_eq!(said.text(), "straight\n");
    let run = server.http().get("/v1/runs?job=by").json()["runs"][0].clone();
    assert_eq!((run["out_bytes"].as_u64(), run["exit_code"].as_u64()), (Some(0), Some(2)), "{run}");
    server.shutdown();
}

#[test]
fn an_upgrade_in_place_is_noticed_by_nobody() {
    let server = Server::start(KIN);
    let guest = guest_path();
    let words = [guest.to_str().expect("text"), "lines", "n=40", "over_ms=2000", "code=4"];
    let id = server.submit(&server.request(&words))["id"].as_str().expect("an id").to_string();
    server.wait_state(&id, &["running"]);
    let before = server.pids().expect("all are there");
    Cli::new(&server).run(&["upgrade"]).expect(0);
    server.wait_whole(server::DEADLINE);
    let after = server.pids().expect("all are there");
    assert_eq!((before.elder, before.keeper), (after.elder, after.keeper), "they replaced themselves in place");
    let run = server.wait_end(&id);
    assert_eq!(run["exit_code"], 4, "{run}");
    let want: String = (1..=40).map(|n| format!("line {n}\n")).collect();
    assert_eq!(String::from_utf8_lossy(&server.output(&id, "out")), want);
    eventually("the next run starts", server::DEADLINE, || {
        (Cli::new(&server).run(&["exec", "--", "true"]).code == 0).then_some(())
    });
    server.shutdown();
}

/// Answers the probe and serves as daemon, but cannot go on from where a keeper was.
#[test]
fn a_program_that_no_keeper_can_become_costs_one_keeper_and_no_run() {
    let server = Server::start(KIN);
    let program = server.home().join("kin-new");
    let text = format!("#!/bin/sh\n[ \"$2\" = --resume ] && exit 1\nexec {KIN} \"$@\"\n");
    std::fs::write(&program, text).expect("writes");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("a program");
    let id = server.submit(&server.request(&["sleep", "600"]))["id"].as_str().expect("an id").to_string();
    let running = server.wait_state(&id, &["running"]);
    let before = server.pids().expect("all are there");
    let said = Cli::new(&server).run(&["upgrade", program.to_str().expect("text")]).expect(1);
    assert!(said.errors().contains("the keeper did not become the new program"), "{said:?}");
    server.wait_whole(server::DEADLINE);
    let after = server.pids().expect("all are there");
    assert_eq!(before.elder, after.elder, "the elder was not asked");
    assert_ne!(before.keeper, after.keeper, "another keeper was made");
    let run = server.wait_state(&id, &["running"]);
    assert_eq!(run["pid"], running["pid"], "{run}");
    server.http().post(&format!("/v1/runs/{id}/stop"), &json!({"kill": true})).expect(200);
    assert_eq!(server.wait_end(&id)["outcome"], "stopped");
    server.shutdown();
}

#[test]
fn events_are_told_in_order_and_none_is_missed_after_a_break() {
    let server = Server::start(KIN);
    let run = server.submit(&server.request(&["true"]));
    let id = run["id"].as_str().expect("an id");
    server.wait_end(id);
    let read = |after: u64, until: usize| -> Vec<Value> {
        let mut http = server.http();
        let request = testkit::http::Request::get(format!("/v1/events?after={after}"));
        let stream = http.stream(&request).expect("a stream");
        let lines = std::io::BufRead::lines(std::io::BufReader::new(stream));
        let data = lines.map_while(Result::ok).filter_map(|l| serde_json::from_str(l.strip_prefix("data:")?).ok());
        data.take(until).collect()
    };
    let all = read(0, 4);
    let seqs: Vec<u64> = all.iter().filter_map(|e: &Value| e["seq"].as_u64()).collect();
    assert!(seqs.len() == 4 && seqs.is_sorted_by(|a, b| a < b), "{all:?}");
    let again = read(seqs[1], 2);
    assert_eq!(again, all[2..4]);
    server.shutdown();
}

#[test]
fn a_command_as_long_as_the_kernel_takes_is_followed_to_its_end() {
    let server = Server::start(KIN);
    let word = "x".repeat(100_000);
    let mut words = vec!["exec", "--", "sh", "-c", "echo $#", "sh"];
    words.extend(std::iter::repeat_n(word.as_str(), 15));
    let ran = Cli::new(&server).run(&words).expect(0);
    assert_eq!(ran.text(), "15\n");
    server.shutdown();
}
