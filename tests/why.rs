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

/// What came of an end is named with how it ended, also by those whose end was not the last that was waited for.
#[test]
fn what_followed_from_an_end_is_named_when_it_is_over() {
    let text = "[one]\ncommand = 'true'\nnext = ['two']\n\
        [two]\ncommand = 'exit 3'\ntries = 2\ndelay = '0s'\nerror = ['left', 'right']\n\
        [left]\ncommand = 'true'\n[right]\ncommand = 'until test -e $HOME/go; do sleep 0.02; done; exit 1'\n\
        [both]\ncommand = 'true'\nafter = ['left', 'right']\nafter_rule = 'all-done'\n\
        [main]\ncommand = 'true'\nneeds = ['never']\n[never]\ncommand = 'exit 9'\n";
    let server = Server::with_jobs(KIN, text);
    let cli = Cli::new(&server);
    cli.run(&["run", "one"]).expect(0);
    let last = |job: &str| {
        eventually(&format!("a run of {job} is over"), server::DEADLINE, || {
            let runs = server.http().get(&format!("/v1/runs?job={job}&state=ended")).expect(200).json();
            runs["runs"].get(0).map(|run| run["id"].as_str().expect("an id").to_string())
        })
    };
    let left = last("left");
    tells(&cli.run(&["why", &left]).expect(0).text(), &["both comes after left, right, and waits for right."]);
    std::fs::write(server.home().join("go"), "").expect("written");
    let both = last("both");
    let right = last("right");
    let told = |run: &str| {
        let words = cli.run(&["why", run]).expect(0).text();
        let json: serde_json::Value =
            serde_json::from_str(&cli.run(&["why", run, "--json"]).expect(0).text()).expect("JSON");
        let of: Vec<String> = json["followers"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| format!("{} {} {}", one["how"], one["job"], one["words"]).replace('"', ""))
            .collect();
        (words, of, json["outlook"]["used_up"] == true)
    };
    let (words, of, _) = told(&left);
    tells(&words, &[&format!("From it followed {both} (after it and {right}: ok).")]);
    assert_eq!(of, ["after both ok"]);
    tells(&told(&right).0, &[&format!("From it followed {both} (after it and others: ok).")]);
    let story = told(&both).0;
    tells(&story, &[&format!("{both} followed the end of run {right}, the last that it waited for, at ")]);
    let second = last("two");
    let (words, of, used_up) = told(&second);
    tells(&words, &["This was attempt 2 of 2.", "failed: failed(3).", "All its tries are used up."]);
    assert_eq!((of, used_up), (vec!["error left ok".to_string(), "error right failed(1)".into()], true));
    let first = server.show(&second)["follows"].as_str().expect("another").to_string();
    assert_eq!(told(&first).1, ["retry two failed(3)"]);
    assert_eq!(told(&last("one")).1, ["next two failed(3)"]);
    cli.run(&["run", "main", "--wait"]).expect(5);
    // By another daemon, too.
    server.kill(Role::Daemon).expect("a daemon");
    let (words, of, _) = told(&last("never"));
    tells(&words, &[&format!("From it followed {} (which needed it: skipped(dependency)).", last("main"))]);
    assert_eq!(of, ["skipped main skipped(dependency)"]);
    server.shutdown();
}

/// What a service that fails again and again is told to do next, and how often it has failed.
#[test]
fn a_crash_loop_says_how_many_failed_and_when_the_next_try_is() {
    let text = "[loop]\ncommand = 'exit 4'\nrestart = 'always'\ndelay = '10ms'\nmax_delay = '1h'\n\
        [calm]\nexec = ['sleep', '1000']\nrestart = 'on-failure'\ntries = 4\ndelay = '2s'\n";
    let server = Server::with_jobs(KIN, text);
    let cli = Cli::new(&server);
    let looping = eventually("it has failed some times", server::DEADLINE, || {
        let json: serde_json::Value =
            serde_json::from_str(&cli.run(&["why", "loop", "--json"]).expect(0).text()).expect("JSON");
        let run = json["runs"].get(0)?.clone();
        (run["outlook"]["failed_in_row"].as_u64()? >= 5 && run["run"]["state"] == "waiting").then_some(run)
    });
    let story = looping["story"].to_string();
    let failed = looping["outlook"]["failed_in_row"].as_u64().expect("a number");
    let attempt = looping["run"]["attempt"].as_u64().expect("a number");
    assert_eq!(attempt, failed + 1, "{story}");
    let until = looping["run"]["until"].as_str().expect("a time");
    tells(
        &story,
        &[
            &format!("It is attempt {attempt}, after run "),
            &format!("and waits until {until}"),
            &format!("Before it {failed} in a row failed, the last one, loop-"),
            &format!("later, as attempt {}", attempt + 1),
        ],
    );
    let waits = &looping["reasons"][0];
    assert_eq!((&waits["kind"], &waits["until"]), (&"retry".into(), &until.into()));
    let calm = server.running("calm", 1).remove(0);
    let story = cli.run(&["why", calm["id"].as_str().expect("an id")]).expect(0).text();
    tells(
        &story,
        &["If it fails, it is started again 2.", " s later, as attempt 2 of 4 (`restart = \"on-failure\"`)."],
    );
    server.shutdown();
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
