//! What kin tells of a run's life: facts, and who or what was behind them.

use testkit::server::{self, Options};
use testkit::{Cli, Role, Server, eventually, guest_path, procfs};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

/// A run that does not hear TERM, and says when it is so far.
fn deaf(server: &Server) -> String {
    let guest = guest_path();
    let mut request = server.request(&[guest.to_str().expect("text"), "ignore-term"]);
    request["stop_wait_ms"] = 300.into();
    request["job"] = "deaf".into();
    let id = server.submit(&request)["id"].as_str().expect("an id").to_string();
    eventually("it is deaf", server::DEADLINE, || (server.output(&id, "out") == b"ready\n").then_some(()));
    id
}

#[track_caller]
fn tells(story: &str, wanted: &[&str]) {
    for want in wanted {
        assert!(story.contains(want), "{want:?} is missing in\n{story}");
    }
}

#[test]
fn who_asked_what_kill_was_needed_for_and_which_keeper_died() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    let id = deaf(&server);
    server.kill(Role::Keeper).expect("a keeper");
    server.wait_whole(server::DEADLINE);
    let story = cli.run(&["why", &id]).expect(0).text();
    let output = format!("Its output is in $KIN_HOME/state/logs/deaf/{id}.out (6 bytes).");
    tells(&story, &["The keeper that started it has died, and the other one has taken it over.", &output]);
    cli.run(&["stop", "--wait", "deaf"]).expect(0);
    let story = cli.run(&["why", "deaf"]).expect(0).text();
    let uid = rustix::process::geteuid().as_raw();
    tells(
        &story,
        &[
            &format!("uid:{uid} asked for its end."),
            "it did not end within its grace after the stop signal: KILL was needed.",
            "its keeper died during its life, and the other one took it over.",
            &output,
        ],
    );
    // It has ended, and that is what was asked for.
    let said = cli.run(&["stop", "deaf"]).expect(0);
    tells(&said.errors(), &[&format!("{id} has ended already: stopped, at 20")]);
    let said = cli.run(&["kill", &id]).expect(0);
    tells(&said.errors(), &["has ended already"]);
    cli.run(&["stop", "never-heard-of"]).expect(4);
    cli.run(&["signal", "HUP", "deaf"]).expect(5);
    server.shutdown();
}

#[test]
fn what_never_ran_and_what_waits() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    cli.run(&["exec", "--id", "typo", "--", "/no/such/program"]).expect(127);
    let story = cli.run(&["why", "typo"]).expect(0).text();
    tells(
        &story,
        &[
            "It never ran: /no/such/program could not be executed: No such file or directory (step exec).",
            "; then start it again.",
        ],
    );
    assert!(!story.contains("it ran"), "{story}");
    let first = cli.run(&["exec", "--detach", "--id", "one", "--serial", "--", "sleep", "600"]).expect(0).line();
    cli.run(&["exec", "--detach", "--id", "one", "--serial", "--", "true"]).expect(0);
    let story = cli.run(&["why", "one"]).expect(0).text();
    tells(&story, &["It waits for a place in the group \"one\", since 20", &format!("by {first}."), "Next: it starts"]);
    cli.run(&["exec", "--detach", "--id", "gate", "--pending", "go", "--", "true"]).expect(0);
    let story = cli.run(&["why", "gate"]).expect(0).text();
    tells(&story, &["until somebody releases the latch \"go\", since 20", "Next: `kin release go` lets it go"]);
    let said = cli.run(&["shutdown", "--stop-runs", "--wait"]).expect(0).text();
    assert_eq!(said.matches("  cancelled\n").count(), 2, "{said}");
    server.assert_gone(server::DEADLINE);
    server.start_again();
    let story = cli.run(&["why", "gate"]).expect(0).text();
    tells(&story, &["asked for the end of the server and of its runs.", "It was cancelled before it had started."]);
    server.stop();
}

#[test]
fn a_run_that_outlived_both_keepers_says_so() {
    let server = Options::new(KIN).env("KIN_NO_CGROUP", "1").start();
    let cli = Cli::new(&server);
    let id = cli.run(&["exec", "--detach", "--id", "alone", "--", "sleep", "600"]).expect(0).line();
    server.wait_state(&id, &["running"]);
    let pids = server.pids().expect("all of them");
    // Stopped first, so that none of them can do anything about the death of another.
    for signal in [rustix::process::Signal::STOP, rustix::process::Signal::KILL] {
        for pid in [pids.elder, pids.keeper, pids.daemon] {
            procfs::kill_marked(pid, server.mark(), signal).expect("signalled");
        }
    }
    server.wait_whole(server::DEADLINE);
    let run = eventually("it is known to live", server::DEADLINE, || {
        let run = server.show(&id);
        (run["unowned"] == true).then_some(run)
    });
    assert_eq!(run["state"], "running", "{run}");
    let story = cli.run(&["why", "alone"]).expect(0).text();
    tells(&story, &["both keepers died at once, and it goes on", "nobody keeps its output"]);
    cli.run(&["kill", "alone"]).expect(0);
    server.wait_end(&id);
    tells(&cli.run(&["why", "alone"]).expect(0).text(), &["both keepers died at once, and it goes on"]);
    server.shutdown();
}
