//! The daemon may die at any time: runs do not notice, and commands hardly do.

use kin_keeper::wire::Ask;
use rustix::process::Signal;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::http::Request;
use testkit::server::{self, DEADLINE};
use testkit::torture::story::{self, Size};
use testkit::watcher::Watcher;
use testkit::{Cli, Role, Server, eventually, procfs};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

#[test]
fn inv_03_no_byte_of_output_is_lost_while_the_daemon_dies() {
    let size = Size { jobs: 100, lines: 100, over: Duration::from_secs(8), kills: 20 };
    assert_eq!(story::run(Path::new(KIN), size), 100);
}

#[test]
fn inv_04_a_repeated_submit_never_starts_a_second_run() {
    let server = Server::start(KIN);
    let witness = server.home().join("witness");
    let guest = testkit::guest_path();
    let words = ["run", "seed=1", "out=10", "err=0", "chunk=10", "spread_us=200000", "end=exit:0", "index=1"];
    let told = format!("witness={}", witness.display());
    let argv: Vec<&str> = guest.to_str().into_iter().chain(words).chain([told.as_str()]).collect();
    let body = server.request(&argv);
    let request = Request::post("/v1/runs", &body).key("one");
    let mut http = server.http();
    let first = http.send(&request).expect("an answer");
    assert_eq!(first.status, 201);
    let id = first.json()["id"].as_str().expect("an id").to_string();
    for _ in 0..5 {
        server.kill(Role::Daemon).expect("a daemon to kill");
        let again = http.insist(&request, Duration::from_secs(10)).expect("an answer");
        assert_eq!((again.status, again.json()["id"].as_str()), (200, Some(id.as_str())));
    }
    let other = Request::post("/v1/runs", &server.request(&["true"])).key("one");
    let refused = http.insist(&other, Duration::from_secs(10)).expect("an answer").expect(409).json();
    assert_eq!(refused["error"]["code"], "key_reused", "{refused}");
    assert_eq!(server.wait_end(&id)["outcome"], "ok");
    let mut told = testkit::witness::Witness::open(&witness).expect("a witness");
    assert_eq!(told.read_on().expect("reads")[&1].starts.len(), 1);
    server.shutdown();
}

#[test]
fn commands_typed_while_the_daemon_is_dead_succeed() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    for args in [&["exec", "--", "true"][..], &["ps"], &["log"]] {
        server.kill(Role::Daemon).expect("a daemon to kill");
        let start = Instant::now();
        let said = cli.run(args).expect(0);
        assert!(start.elapsed() < Duration::from_secs(2), "{args:?} took {:?}: {said:?}", start.elapsed());
        server.wait_whole(testkit::server::DEADLINE);
    }
    server.shutdown();
}

/// An elder that becomes another program loses, with its connections, what the daemon has just said; and that daemon has
/// ended meanwhile.
#[test]
fn a_shutdown_that_the_elder_could_not_hear_ends_the_server() {
    let server = Server::start(KIN);
    server.wait_whole(DEADLINE);
    let pids = server.pids().expect("all are there");
    let watcher = Watcher::at(&server, Role::Elder);
    assert!([Role::Elder, Role::Keeper].iter().all(|role| server.signal(*role, Signal::STOP)));
    std::fs::write(server.run_dir().join("upgrade"), KIN).expect("writes");
    watcher.say(Ask::Upgrade);
    let stop = Request::post("/v1/server/shutdown", &json!({"runs": "stop"}));
    server.http().insist(&stop, DEADLINE).expect("an answer").expect(200);
    assert!(procfs::gone_within(pids.daemon, DEADLINE), "the daemon ends, heard or not");
    assert!(server.signal(Role::Elder, Signal::CONT));
    eventually("it is another program", DEADLINE, || {
        procfs::command_line(pids.elder).contains("--resume").then_some(())
    });
    assert!(server.signal(Role::Keeper, Signal::CONT));
    server.assert_gone(DEADLINE);
}

#[test]
fn inv_05_the_daemon_has_no_children_and_holds_no_pipe_of_a_run() {
    let server = Server::start(KIN);
    let run = server.submit(&server.request(&["sleep", "60"]));
    let id = run["id"].as_str().expect("an id");
    let run = server.wait_state(id, &["running"]);
    let pid = u32::try_from(run["pid"].as_u64().expect("a pid")).expect("a pid");
    let pids = server.pids().expect("all are there");
    assert_eq!(procfs::children(pids.daemon), Vec::<u32>::new());
    assert_eq!(procfs::parent(pid), Some(pids.keeper));
    let of_run = procfs::descriptors(pid).expect("its descriptors");
    let of_daemon = procfs::descriptors(pids.daemon).expect("its descriptors");
    for pipe in of_run.values().filter(|target| target.starts_with("pipe:")) {
        assert!(!of_daemon.values().any(|target| target == pipe), "{pipe} in {of_daemon:?}");
    }
    server.http().post(&format!("/v1/runs/{id}/stop"), &json!({"kill": true})).expect(200);
    assert_eq!(server.wait_end(id)["outcome"], "stopped");
    server.shutdown();
}

/// The value in `key=[value]`.
fn field<'a>(line: &'a str, key: &str) -> &'a str {
    let rest = line.split_once(&format!(" {key}=[")).unwrap_or_else(|| panic!("no {key} in {line}")).1;
    rest.split_once(']').expect("a value").0
}

#[test]
fn each_event_is_one_line_of_the_log_while_the_daemon_dies() {
    let server = Server::start(KIN);
    let mut ids: Vec<(String, &str)> = Vec::new();
    for round in 0..12 {
        for (words, outcome) in [(&["true"][..], "ok"), (&["sh", "-c", "sleep 0.05; exit 3"], "failed")] {
            let body = server.request(words);
            let key = format!("{round}-{outcome}");
            let request = Request::post("/v1/runs", &body).key(&key);
            let answer = server.http().insist(&request, Duration::from_secs(10)).expect("an answer").json();
            ids.push((answer["id"].as_str().expect("an id").to_string(), outcome));
        }
        server.kill(Role::Daemon).expect("a daemon to kill");
    }
    for (id, outcome) in &ids {
        assert_eq!(server.wait_end(id)["outcome"], *outcome);
    }
    server.wait_whole(testkit::server::DEADLINE);
    server.stop();
    let path = server.state().join("events.log");
    let text = std::fs::read_to_string(&path).expect("a log");
    for (line, seq) in text.lines().zip(1..) {
        let number: u64 = line.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a number");
        assert_eq!(number, seq, "{line}");
    }
    for (id, outcome) in &ids {
        let of_run = format!(" event=[run.state] run=[{id}] ");
        let mut state = "none";
        let mut lines = text.lines().filter(|line| line.contains(&of_run)).peekable();
        while let Some(line) = lines.next() {
            assert_eq!(field(line, "prev_state"), state, "{line}");
            state = field(line, "new_state");
            if lines.peek().is_none() {
                assert_eq!(field(line, "outcome"), *outcome, "{line}");
                assert_eq!(line.contains(" WARN "), *outcome == "failed", "{line}");
            }
        }
        assert_eq!(state, "ended", "{id}");
    }
    assert!(text.contains(" event=[server.closing] "), "{text}");
}

/// What was granted under a key is not done again, nor refused, when its answer was lost with the daemon.
#[test]
fn a_wish_under_a_key_is_granted_once() {
    let config = "[svc]\nexec = ['sleep', '1000']\nrestart = 'always'\n";
    let server = server::Options::new(KIN).config(config).start();
    let ask = |request: &Request| server.http().send(request).expect("an answer");
    let nothing = serde_json::json!({});
    let text = "command = 'true'\n";
    ask(&Request::put("/v1/jobs/api", &serde_json::json!({ "text": text })).key("define")).expect(200);
    let mut held = server.request(&["true"]);
    held["latch"] = "go".into();
    let held = server.submit(&held)["id"].clone();
    let stopped = server.submit(&server.request(&["sleep", "1000"]))["id"].as_str().expect("an id").to_string();
    server.wait_state(&stopped, &["running"]);
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("sleep");
    let adopted = ask(&Request::post("/v1/adopt", &serde_json::json!({ "pid": child.id() }))).expect(201).json();
    let path = server.home().join("shop.toml");
    let up = serde_json::json!({ "path": path, "text": "[a]\ncommand = 'sleep 1000'\nrestart = 'always'\n", "name": "shop" });
    ask(&Request::post("/v1/projects", &up)).expect(200);
    let running = |job: &str, not: &serde_json::Value| {
        eventually("it runs", server::DEADLINE, || {
            let runs = ask(&Request::get(format!("/v1/runs?job={job}&state=running"))).expect(200).json();
            Some(runs["runs"][0]["id"].clone()).filter(|id| !id.is_null() && id != not)
        })
    };
    let before = running("svc", &serde_json::Value::Null);
    running("shop.a", &serde_json::Value::Null);
    let wishes = [
        Request::post("/v1/jobs/svc/restart", &nothing).key("restart"),
        Request::post("/v1/latches/go/release", &nothing).key("release"),
        Request::post(format!("/v1/runs/{stopped}/stop"), &nothing).key("stop"),
        Request::post(format!("/v1/runs/{}/disown", adopted["id"].as_str().expect("an id")), &nothing).key("disown"),
        Request::delete("/v1/jobs/api").key("delete"),
        Request::delete("/v1/projects/shop").key("down"),
    ];
    let first: Vec<_> = wishes.iter().map(|wish| ask(wish).expect(200).json()).collect();
    let after = running("svc", &before);
    server.wait_end(&stopped);
    server.kill(Role::Daemon).expect("killed");
    let again: Vec<_> = wishes.iter().map(|wish| ask(wish).expect(200).json()).collect();
    assert_eq!(again[1], serde_json::json!({ "latch": "go", "runs": [held] }), "{}", first[1]);
    assert_eq!((&again[2]["id"], &again[2]["state"]), (&stopped.as_str().into(), &"ended".into()));
    assert_eq!(again[3]["outcome"], "lost", "{}", again[3]);
    assert_eq!(again[4], first[4]);
    assert_eq!(again[5]["path"], path.to_str().expect("text"));
    assert_eq!(again[5]["runs"][0]["id"], first[5]["runs"][0]["id"], "{}", first[5]);
    assert_eq!(running("svc", &before), after, "it was restarted once");
    let runs = ask(&Request::get("/v1/runs?job=svc")).expect(200).json();
    assert_eq!(runs["runs"].as_array().map(Vec::len), Some(2), "{runs}");
    for other in [
        Request::post("/v1/jobs/svc/stop", &nothing).key("restart"),
        Request::post("/v1/jobs/svc/restart", &serde_json::json!({ "rolling": true })).key("restart"),
        Request::post("/v1/runs", &server.request(&["true"])).key("restart"),
    ] {
        assert_eq!(ask(&other).expect(409).json()["error"]["code"], "key_reused");
    }
    ask(&Request::delete("/v1/jobs/api")).expect(404);
    child.kill().expect("killed");
    child.wait().expect("reaped");
    server.shutdown();
}
