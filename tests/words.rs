//! What is said to people: true, in words, and about what was asked.

use serde_json::Value;
use std::process::Command;
use testkit::http::Request;
use testkit::{Cli, Server};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

/// Ids of a run that was never there as a program, and of one that a signal ended.
fn two_that_failed(server: &Server) -> [String; 2] {
    let ended = |argv: &[&str]| {
        let run = server.submit(&server.request(argv));
        let id = run["id"].as_str().expect("an id").to_string();
        server.wait_end(&id);
        id
    };
    [ended(&["no-such-program"]), ended(&["sh", "-c", "kill -9 $$"])]
}

#[test]
fn outcomes_are_said_in_words() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    let [never, killed] = two_that_failed(&server);
    let spawn = "spawn-failed(exec: No such file or directory)";
    let said = cli.run(&["signal", "USR1", &never]).expect(5).errors();
    assert_eq!(said, format!("kin: run {never} has ended already: {spawn}\n"));
    let said = cli.run(&["signal", "USR1", &killed]).expect(5).errors();
    assert_eq!(said, format!("kin: run {killed} has ended already: signaled(KILL)\n"));
    let why = cli.run(&["why", &never]).expect(0).text();
    assert!(why.contains(&format!("it ended: {spawn}.")), "{why}");
    let why = cli.run(&["why", &killed]).expect(0).text();
    assert!(why.contains("it ended: signaled(KILL)."), "{why}");
    server.shutdown();
}

/// Whatever the keeper saw of a child that was on its way to its program: it never was that.
#[test]
fn a_run_that_was_never_its_program_has_no_start() {
    let server = Server::start(KIN);
    for _ in 0..20 {
        for program in ["no-such-program", "/etc/passwd"] {
            let id = server.submit(&server.request(&[program]))["id"].as_str().expect("an id").to_string();
            let run = server.wait_end(&id);
            assert_eq!((run["outcome"].as_str(), &run["started_at"]), (Some("spawn-failed"), &Value::Null), "{run}");
        }
    }
    server.shutdown();
}

/// Who says `*` means what lives, not one run of long ago.
#[test]
fn a_glob_of_which_nothing_lives_is_no_old_run() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    two_that_failed(&server);
    for args in [&["stop", "*"][..], &["kill", "*"], &["signal", "USR1", "*"]] {
        let said = cli.run(args).expect(0);
        assert_eq!((said.text(), said.errors()), (String::new(), "kin: nothing that matches \"*\" lives\n".into()));
    }
    cli.run(&["stop", "nobody*"]).expect(4);
    assert!(cli.run(&["stop", "sh"]).expect(0).errors().contains("has ended already: signaled(KILL)"));
    server.shutdown();
}

#[test]
fn a_state_that_is_past_is_not_waited_for() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    let run = server.submit(&server.request(&["sleep", "600"]));
    let id = run["id"].as_str().expect("an id");
    server.wait_state(id, &["running"]);
    let said = cli.run(&["wait", "--timeout", "20s", "queued", id]).expect(1);
    assert_eq!(said.text(), format!("{id}  running\n"));
    assert_eq!(said.errors(), format!("kin: {id} is running already: it does not come to queued again\n"));
    cli.run(&["shutdown", "--stop-runs", "--wait"]).expect(0);
}

#[test]
fn what_cannot_be_asked_is_said_once() {
    let server = Server::start(KIN);
    let answer = server.http().get("/v1/runs?limit=x");
    let error = &answer.json()["error"];
    assert_eq!(answer.status, 400);
    assert_eq!(error["message"], "what is asked for: limit: invalid digit found in string", "{error}");
    let answer = server.http().send(&Request::post("/v1/server", &serde_json::json!({}))).expect("an answer");
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (405, Some("method_not_allowed")));
    let cli = Cli::new(&server);
    let said = cli.run(&["listen", "--json=array"]).expect(2).errors();
    assert!(said.contains("possible values: lines"), "{said}");
    server.shutdown();
}

/// A front in the foreground that leaves one run.
#[test]
fn of_one_run_it_is_said_that_it_goes_on() {
    let server = Server::start(KIN);
    let run = server.submit(&server.request(&["sleep", "600"]));
    server.wait_state(run["id"].as_str().expect("an id"), &["running"]);
    let front = server.front_pid().expect("a front");
    let front = rustix::process::Pid::from_raw(i32::try_from(front).expect("a pid")).expect("a pid");
    rustix::process::kill_process(front, rustix::process::Signal::TERM).expect("told");
    let log = testkit::eventually("it says what it leaves", testkit::server::DEADLINE, || {
        let log = std::fs::read_to_string(server.home().join("serve.log")).unwrap_or_default();
        log.contains("without a server").then_some(log)
    });
    assert!(log.contains("kin: 1 run goes on without a server: sleep-"), "{log}");
    server.start_again();
    Cli::new(&server).run(&["shutdown", "--stop-runs", "--wait"]).expect(0);
}

fn kin(args: &[&str]) -> (i32, String, String) {
    let said = Command::new(KIN).args(args).env("KIN_HOME", "/nonexistent").output().expect("runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (said.status.code().unwrap_or(-1), text(&said.stdout), text(&said.stderr))
}

#[test]
fn help_and_version_by_the_names_that_fingers_know() {
    let version = kin(&["--version"]);
    assert_eq!(version.0, 0);
    assert_eq!(kin(&["version"]), version);
    let help = kin(&["help"]);
    assert!(help.0 == 0 && help.1.contains("Begin with"), "{help:?}");
    assert_eq!(kin(&["help", "--help"]), help);
    assert_eq!(kin(&["help", "-h"]), help);
}

#[test]
fn a_home_behind_a_link_that_leads_nowhere_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let (link, target) = (dir.path().join("home"), dir.path().join("gone"));
    std::os::unix::fs::symlink(&target, &link).expect("a link");
    let said = Command::new(KIN).arg("ps").env("KIN_HOME", &link).output().expect("runs");
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    let want = format!("{} is a link to {}, which is not there", link.display(), target.display());
    assert!(words.contains(&want) && words.contains("hint: set KIN_HOME"), "{words}");
    assert_eq!(said.status.code(), Some(2));
}

/// A word means the same to each verb, and what means nothing is said once.
#[test]
fn a_word_names_runs_of_every_kind_to_the_log_too() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    for (job, tag) in [("a", "day"), ("b", "night"), ("c", "night")] {
        cli.run(&["exec", "--id", job, "--tag", tag, "--", "true"]).expect(0);
    }
    let rows = |args: &[&str]| {
        let all: Vec<&str> = std::iter::once("log").chain(args.iter().copied()).chain(["--json"]).collect();
        cli.run(&all).expect(0).json().as_array().expect("a list").clone()
    };
    let jobs =
        |args: &[&str]| rows(args).iter().map(|run| run["job"].as_str().unwrap_or("").to_owned()).collect::<String>();
    let id = rows(&["b"])[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(jobs(&[&id]), "b");
    assert_eq!(jobs(&[&id[2..]]), "b");
    assert_eq!(jobs(&["@night"]), "bc");
    assert_eq!(jobs(&["c", "a"]), "ac", "in the order in which they were made");
    assert_eq!(jobs(&["[ab]", &id, "@day"]), "ab", "each once");
    assert_eq!(jobs(&["@night", "a", "--limit", "2"]), "bc", "the newest");
    assert_eq!(jobs(&["a", "--failed"]), "", "it is known, and nothing of it failed");
    // What is no job, no run, no tag and no glob.
    for verb in ["log", "ps", "tail", "stop", "wait"] {
        let said = cli.run(&[verb, "x["]).expect(2);
        assert_eq!((said.text(), said.errors().lines().count()), (String::new(), 1), "{verb}: {said:?}");
    }
    for word in ["zzz", "z*", "@zzz"] {
        for verb in ["log", "ps"] {
            let said = cli.run(&[verb, word]).expect(4);
            assert!(
                said.text().is_empty() && said.errors().contains(word.trim_start_matches('@')),
                "{verb} {word}: {said:?}"
            );
        }
    }
    let some = cli.run(&["log", "a", "z*"]).expect(4);
    assert!(some.text().contains("a-") && some.errors() == "kin: nothing matches \"z*\"\n", "{some:?}");
    assert_eq!(cli.run(&["ps", "zzz", "--json"]).expect(4).text(), "[]\n");
    cli.run(&["log", "--ticks", "@night"]).expect(2);
    server.shutdown();
}

/// A terminal or a pipe that is gone is nobody's mistake.
#[test]
fn who_reads_no_more_is_no_failure() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    cli.run(&["exec", "--", "true"]).expect(0);
    let kin = |words: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("\"$0\" {words}"), KIN]);
        for (name, value) in cli.command(&[]).get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        let output = shell.output().expect("a shell");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{words}: {output:?}");
        output.status.code()
    };
    for verb in
        ["ps", "log", "list", "doctor", "help", "help exec", "--version", "completions bash", "man", "why no", "x["]
    {
        for gone in [">&-", "2>&-", ">&- 2>&-", ">/dev/full", ">/dev/full 2>/dev/full", "| true"] {
            let code = kin(&format!("{verb} {gone}"));
            assert!(code.is_some_and(|code| code != 101 && code < 128), "{verb} {gone}: {code:?}");
        }
    }
    server.shutdown();
}
