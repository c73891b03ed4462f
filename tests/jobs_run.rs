//! Defined jobs with real processes: what a file says is so, and stays so whoever is killed.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::path::Path;
use testkit::http::{Answer, Request};
use testkit::procfs;
use testkit::server::{DEADLINE, Options, Role, Server};
use testkit::wait::eventually;

fn server(text: &str) -> Server {
    let server = Options::new(env!("CARGO_BIN_EXE_kin")).prepare();
    write(&server, text);
    server.start_again();
    server
}

/// As an editor does it: never half of it.
fn write(server: &Server, text: &str) {
    let new = server.home().join(".jobs.new");
    std::fs::write(&new, text).expect("writes");
    std::fs::rename(new, server.home().join("jobs.toml")).expect("renames");
}

fn ask(server: &Server, request: &Request) -> Answer {
    server.http().insist(request, DEADLINE).expect("an answer")
}

fn post(server: &Server, path: &str, body: &Value) -> Answer {
    ask(server, &Request::post(path, body))
}

fn reload(server: &Server) -> Value {
    post(server, "/v1/reload", &json!({})).expect(200).json()
}

/// `null`: there is no such job.
fn job(server: &Server, name: &str) -> Value {
    let answer = ask(server, &Request::get(format!("/v1/jobs/{name}")));
    if answer.status == 404 { Value::Null } else { answer.expect(200).json() }
}

fn when(server: &Server, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("{name}: {what}"), DEADLINE, || Some(job(server, name)).filter(&is))
}

fn pids(job: &Value) -> Vec<u64> {
    let runs = job["runs"].as_array().cloned().unwrap_or_default();
    runs.iter().filter(|run| run["state"] == "running").filter_map(|run| run["pid"].as_u64()).collect()
}

fn running(server: &Server, name: &str, count: usize) -> Vec<u64> {
    pids(&when(server, name, "runs", |job| {
        pids(job).len() == count && job["runs"].as_array().is_some_and(|runs| runs.len() == count)
    }))
}

fn kill(pid: u64) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, Signal::KILL).expect("its own run");
}

fn runs(server: &Server, name: &str) -> Vec<Value> {
    let list = ask(server, &Request::get(format!("/v1/runs?job={name}&limit=1000"))).expect(200).json();
    let mut runs = list["runs"].as_array().cloned().expect("runs");
    runs.reverse();
    runs
}

/// The log of events follows the ledger.
fn told(server: &Server, words: &str) {
    let log = server.state().join("events.log");
    eventually(words, DEADLINE, || std::fs::read_to_string(&log).is_ok_and(|log| log.contains(words)).then_some(()));
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_string).collect()
}

#[test]
fn a_service_that_a_file_defines_starts_and_comes_back_over_any_death_of_the_daemon() {
    let server =
        server("[web]\ncommand = 'echo $$ >> $HOME/lives; exec sleep 1000'\nrestart = 'always'\ndelay = '2s'\n");
    let [first] = running(&server, "web", 1)[..] else { panic!("one") };
    let lives = server.home().join("lives");
    eventually("its line", DEADLINE, || (lines(&lives).len() == 1).then_some(()));
    kill(first);
    let waiting = when(&server, "web", "waits", |job| job["state"] == "waiting");
    let run = &waiting["runs"][0];
    assert_eq!((&run["attempt"], &run["trigger"]["kind"]), (&json!(2), &json!("restart")));
    assert!(run["until"].is_string(), "{run}");
    // The row itself is the memory of the wait.
    server.kill(Role::Daemon).expect("a daemon");
    let after = when(&server, "web", "is there", |job| !job["runs"].as_array().expect("runs").is_empty());
    assert_eq!(after["runs"][0]["id"], run["id"]);
    let [second] = running(&server, "web", 1)[..] else { panic!("one") };
    assert_ne!(first, second);
    let story = server.http().get(&format!("/v1/runs/{}/why", run["id"].as_str().expect("an id"))).expect(200).json();
    assert!(story["story"][0].as_str().expect("words").contains("took the place of"), "{story}");
    for _ in 0..3 {
        server.kill(Role::Daemon).expect("a daemon");
        server.wait_whole(DEADLINE);
    }
    assert_eq!(running(&server, "web", 1), [second], "the same one goes on");
    eventually("its second line", DEADLINE, || (lines(&lives).len() >= 2).then_some(()));
    assert_eq!(lines(&lives).len(), 2, "never two");
    let all = runs(&server, "web");
    let attempts: Vec<&Value> = all.iter().map(|run| &run["attempt"]).collect();
    assert_eq!(attempts, [1, 2]);
    assert_eq!((&all[0]["outcome"], &all[1]["follows"]), (&json!("signaled"), &json!(last_eight(&all[0]))));
    server.shutdown();
}

fn last_eight(run: &Value) -> String {
    let id = run["id"].as_str().expect("an id");
    id[id.len() - 8..].to_string()
}

#[test]
fn files_come_change_break_and_go() {
    let text = |description: &str, seconds: u32| {
        format!(
            "[web]\nexec = ['sleep', '{seconds}']\nrestart = 'always'\nrolling = false\ndescription = '{description}'\n"
        )
    };
    let server = server("");
    assert_eq!(job(&server, "web"), Value::Null);
    write(&server, &text("a", 1000));
    let first = running(&server, "web", 1);
    // What is said of it is no reason to end it.
    write(&server, &text("b", 1000));
    when(&server, "web", "is described anew", |job| job["description"] == "b" && job["rev"] == 2);
    assert_eq!(running(&server, "web", 1), first);
    // A plan changes nothing.
    write(&server, &text("b", 2000));
    let second = when(&server, "web", "runs anew", |job| job["rev"] == 3 && pids(job).len() == 1 && pids(job) != first);
    let planned = post(&server, "/v1/reload", &json!({"plan": true})).expect(200).json();
    assert_eq!((&planned["applied"], &planned["steps"]), (&json!(false), &json!([])));
    // Broken: its last good words hold, also for the next daemon.
    write(&server, "[web]\nexec = ");
    let broken = reload(&server);
    assert_eq!(broken["mistakes"][0]["line"], 2, "{broken}");
    server.kill(Role::Daemon).expect("a daemon");
    server.wait_whole(DEADLINE);
    assert!(!reload(&server)["mistakes"].as_array().expect("mistakes").is_empty());
    assert_eq!(running(&server, "web", 1), pids(&second));
    told(&server, "jobs.broken");
    told(&server, "its last good jobs stay");
    let revisions = ask(&server, &Request::get("/v1/jobs/web/definitions")).expect(200).json();
    assert_eq!(revisions["definitions"].as_array().expect("revisions").len(), 3);
    // Gone.
    std::fs::remove_file(server.home().join("jobs.toml")).expect("removes");
    when(&server, "web", "is gone", Value::is_null);
    for pid in pids(&second) {
        assert!(procfs::gone_within(u32::try_from(pid).expect("a pid"), DEADLINE));
    }
    let last = runs(&server, "web");
    assert_eq!(last.last().expect("a run")["outcome"], "stopped");
    // And again, with a revision of its own.
    write(&server, &text("b", 1000));
    running(&server, "web", 1);
    assert_eq!(job(&server, "web")["rev"], 5);
    server.shutdown();
}

#[test]
fn a_service_is_scaled_stopped_started_and_restarted() {
    let server = server("[web]\nexec = ['sleep', '1000']\nrestart = 'always'\n[one]\ncommand = 'true'\n");
    let one = running(&server, "web", 1);
    let scaled = post(&server, "/v1/jobs/web/scale", &json!({"instances": 3})).expect(200).json();
    assert_eq!(scaled["instances"], 3);
    let three = running(&server, "web", 3);
    assert!(three.contains(&one[0]));
    server.kill(Role::Daemon).expect("a daemon");
    assert_eq!(running(&server, "web", 3), three, "what was said by hand is remembered");
    post(&server, "/v1/jobs/web/scale", &json!({"instances": 1})).expect(200);
    assert_eq!(running(&server, "web", 1), one);
    post(&server, "/v1/jobs/web/restart", &json!({})).expect(200);
    when(&server, "web", "is another", |job| pids(job).len() == 1 && pids(job) != one);
    post(&server, "/v1/jobs/web/stop", &json!({})).expect(200);
    let down = when(&server, "web", "is down", |job| job["state"] == "down");
    assert_eq!(
        (&down["up"], &down["reason"]),
        (&json!(false), &json!("it was stopped, and stays so until it is started"))
    );
    server.kill(Role::Daemon).expect("a daemon");
    server.wait_whole(DEADLINE);
    assert_eq!(job(&server, "web")["state"], "down", "and stays so");
    post(&server, "/v1/jobs/web/start", &json!({})).expect(200);
    running(&server, "web", 1);
    for (path, status) in [("one/start", 409), ("web/run", 409), ("none/run", 404), ("none/stop", 404)] {
        let refused = post(&server, &format!("/v1/jobs/{path}"), &json!({})).expect(status).json();
        assert!(refused["error"]["hint"].is_string(), "{refused}");
    }
    server.shutdown();
}

#[test]
fn ends_lead_on_and_failures_are_tried_again() {
    let server = server(
        "[good]\ncommand = 'true'\nnext = 'after'\n[after]\ncommand = 'echo after >> $HOME/story'\n\
         [bad]\ncommand = 'echo $KIN_ATTEMPT-$GIVEN >> $HOME/story; exit 3'\ntries = 3\ndelay = '100ms'\nerror = 'page'\n\
         [page]\ncommand = 'echo page >> $HOME/story'\n",
    );
    let story = server.home().join("story");
    post(&server, "/v1/jobs/good/run", &json!({})).expect(201);
    eventually("the next one", DEADLINE, || (lines(&story) == ["after"]).then_some(()));
    post(&server, "/v1/jobs/bad/run", &json!({"env": {"GIVEN": "x"}})).expect(201);
    eventually("the page", DEADLINE, || (lines(&story).len() == 5).then_some(()));
    assert_eq!(lines(&story)[1..], ["1-x", "2-x", "3-x", "page"]);
    let page = when(&server, "page", "has ended", |job| !job["last"].is_null());
    assert_eq!(
        (&page["last"]["trigger"]["kind"], &page["last"]["trigger"]["side"]),
        (&json!("chain"), &json!("error"))
    );
    let given = server.run_dir().join("given");
    eventually("nothing is left of it", DEADLINE, || {
        std::fs::read_dir(&given).is_ok_and(|mut left| left.next().is_none()).then_some(())
    });
    server.shutdown();
}

#[test]
fn one_slot_is_one_run_at_a_time_over_a_killed_daemon() {
    let job = |name: &str| {
        format!("[{name}]\ncommand = 'echo + >> $HOME/turns; sleep 1; echo - >> $HOME/turns'\nqueue = 'narrow'\n")
    };
    let server = server(&format!("[kin.queues.narrow]\nslots = 1\n{}{}{}", job("a"), job("b"), job("c")));
    let ids: Vec<String> = ["a", "b", "c"]
        .iter()
        .map(|name| {
            let run = post(&server, &format!("/v1/jobs/{name}/run"), &json!({})).expect(201).json();
            run["id"].as_str().expect("an id").to_string()
        })
        .collect();
    let queues = ask(&server, &Request::get("/v1/queues")).expect(200).json();
    assert_eq!(queues["queues"][0]["waiting"], json!(ids[1..]), "{queues}");
    let why = server.http().get(&format!("/v1/runs/{}/why", ids[2])).expect(200).json().to_string();
    assert!(why.contains("narrow") && why.contains(&ids[0]) && why.contains("before it"), "{why}");
    server.kill(Role::Daemon).expect("a daemon");
    for id in &ids {
        assert_eq!(server.wait_end(id)["outcome"], "ok");
    }
    assert_eq!(lines(&server.home().join("turns")), ["+", "-", "+", "-", "+", "-"]);
    // By hand: paused, and with more slots; both outlive the daemon.
    post(&server, "/v1/queues/narrow", &json!({"paused": true, "slots": {"slots": 2}})).expect(200);
    server.kill(Role::Daemon).expect("a daemon");
    server.wait_whole(DEADLINE);
    reload(&server);
    let queue = ask(&server, &Request::get("/v1/queues")).expect(200).json()["queues"][0].clone();
    assert_eq!((&queue["paused"], &queue["slots"]["slots"]), (&json!(true), &json!(2)));
    post(&server, "/v1/queues/nowhere", &json!({"paused": true})).expect(404);
    server.shutdown();
}

#[test]
fn a_job_of_one_runs_once_however_many_ask() {
    let server =
        server("[one]\ncommand = 'echo x >> $HOME/ran; exec sleep 1000'\n[off]\ncommand = 'true'\ndisabled = true\n");
    let statuses: Vec<(u16, Value)> = std::thread::scope(|scope| {
        let ask = || {
            let answer = server.http().send(&Request::post("/v1/jobs/one/run", &json!({}))).expect("an answer");
            (answer.status, answer.json())
        };
        let threads: Vec<_> = (0..50).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).collect()
    });
    let (made, refused): (Vec<_>, Vec<_>) = statuses.into_iter().partition(|(status, _)| *status == 201);
    assert_eq!(made.len(), 1);
    let id = made[0].1["id"].clone();
    for (status, body) in refused {
        assert_eq!((status, &body["error"]["run"]), (409, &id), "{body}");
    }
    server.wait_state(id.as_str().expect("an id"), &["running"]);
    eventually("its one line", DEADLINE, || (lines(&server.home().join("ran")).len() == 1).then_some(()));
    assert_eq!(runs(&server, "one").len(), 1);
    // The same key is the same run.
    let keyed = Request::post("/v1/jobs/off/run", &json!({})).key("k");
    let skipped = ask(&server, &keyed).expect(201).json();
    assert_eq!((&skipped["outcome"], &skipped["reason"]), (&json!("skipped"), &json!("disabled")));
    assert_eq!(ask(&server, &keyed).expect(200).json()["id"], skipped["id"]);
    assert_eq!(post(&server, "/v1/jobs/off/enable", &json!({})).expect(200).json()["disabled"], false);
    server.kill(Role::Daemon).expect("a daemon");
    let run = post(&server, "/v1/jobs/off/run", &json!({})).expect(201).json();
    assert_eq!(server.wait_end(run["id"].as_str().expect("an id"))["outcome"], "ok");
    server.shutdown();
}

#[test]
fn a_job_is_defined_by_request_and_no_file_takes_it_away() {
    let server = server("[filed]\ncommand = 'true'\n");
    let define =
        |name: &str, text: &str| ask(&server, &Request::put(format!("/v1/jobs/{name}"), &json!({"text": text})));
    let made = define("api", "exec = ['sleep', '1000']\nrestart = 'always'\nenv.SECRET = 'hush'\n").expect(200).json();
    assert_eq!((&made["source"]["kind"], &made["kind"]), (&json!("api"), &json!("service")));
    let first = running(&server, "api", 1);
    for (name, text, status, word) in [
        ("bad", "comand = 'x'", 422, "did you mean 'command'?"),
        ("lost", "command = 'x'\nneeds = ['nobody']", 422, "nobody"),
        ("filed", "command = 'x'", 409, "jobs.toml"),
    ] {
        let refused = define(name, text).expect(status).json().to_string();
        assert!(refused.contains(word), "{refused}");
    }
    let refused = ask(&server, &Request::delete("/v1/jobs/filed")).expect(409).json();
    assert!(refused["error"]["message"].as_str().expect("words").contains("jobs.toml"), "{refused}");
    let dry = post(&server, "/v1/jobs/api/run", &json!({"dry_run": true})).expect(200).json();
    assert_eq!(dry["argv"], json!(["sleep", "1000"]));
    let names = dry["env"].as_array().expect("names");
    assert!(names.contains(&json!("SECRET")) && !dry.to_string().contains("hush"), "{dry}");
    write(&server, "[other]\ncommand = 'true'\n");
    when(&server, "filed", "is gone", Value::is_null);
    assert_eq!(running(&server, "api", 1), first);
    ask(&server, &Request::delete("/v1/jobs/api")).expect(200);
    when(&server, "api", "is gone", Value::is_null);
    let list = ask(&server, &Request::get("/v1/jobs?name=oth*")).expect(200).json();
    assert_eq!(list["jobs"].as_array().expect("jobs").len(), 1);
    server.shutdown();
}

#[test]
fn what_cannot_be_made_ends_so_and_says_why() {
    let server = server(
        "[lost]\ncommand = 'true'\ndir = '$WHERE'\nenv = { WHERE = 'somewhere' }\n[gone]\nexec = ['/no/such/program']\n",
    );
    let run = post(&server, "/v1/jobs/lost/run", &json!({})).expect(201).json();
    assert_eq!((&run["outcome"], &run["spawn"]["step"]), (&json!("spawn-failed"), &json!("directory")));
    told(&server, "is not an absolute path");
    let run = post(&server, "/v1/jobs/gone/run", &json!({})).expect(201).json();
    let end = server.wait_end(run["id"].as_str().expect("an id"));
    assert_eq!((&end["outcome"], &end["spawn"]["step"]), (&json!("spawn-failed"), &json!("exec")));
    server.shutdown();
}

/// Readiness is looked for by the probes, and found again by those of the next daemon; health is what restarts.
#[test]
fn a_service_is_ready_when_it_says_so_and_what_needs_it_waits_for_that() {
    let server = server(
        "[db]\ncommand = 'until [ -e $HOME/go ]; do sleep 0.05; done; echo serving; exec sleep 1000'\n\
         restart = 'always'\nready = { line = '^serving$', within = '1h' }\n\
         [web]\nexec = ['sleep', '1000']\nrestart = 'always'\nneeds = ['db']\n\
         alive = { exec = 'test ! -e \"$HOME/sick\"', every = '100ms', failures = 2 }\ndelay = '100ms'\n",
    );
    let held = when(&server, "web", "is held", |job| job["state"] == "held");
    assert_eq!(held["runs"][0]["pid"], Value::Null, "{held}");
    let db = running(&server, "db", 1);
    server.kill(Role::Daemon).expect("a daemon");
    server.wait_whole(DEADLINE);
    std::fs::write(server.home().join("go"), "").expect("writes");
    when(&server, "db", "is ready", |job| job["state"] == "ready");
    assert_eq!(running(&server, "db", 1), db, "the same one, asked by another daemon");
    let web = running(&server, "web", 1);
    std::fs::write(server.home().join("sick"), "").expect("writes");
    eventually("the sick one ends", DEADLINE, || {
        runs(&server, "web").into_iter().find(|run| run["outcome"] == "unhealthy")
    });
    std::fs::remove_file(server.home().join("sick")).expect("removes");
    let well = eventually("another one is there", DEADLINE, || {
        let now = pids(&job(&server, "web"));
        (now.len() == 1 && now != web).then_some(now)
    });
    assert_ne!(well, web);
    server.shutdown();
}

/// A task waits for each try of what it needs, whichever daemon is there to see it end; then it is skipped. What a
/// schedule runs again it goes on waiting for.
#[test]
fn a_task_is_skipped_when_what_it_needs_has_failed_for_good_over_deaths_of_the_daemon() {
    let waits = "until test -e $HOME/go-$KIN_JOB-$KIN_ATTEMPT; do sleep 0.02; done; test -e $HOME/well || exit 9";
    let text = format!(
        "[base]\ncommand = '{waits}'\ntries = 2\ndelay = '0s'\n[main]\ncommand = 'true'\nneeds = ['base']\n\
         [last]\ncommand = 'true'\nneeds = ['main']\n[timed]\ncommand = '{waits}'\nschedule = '@at 2099-01-01T00:00:00Z'\n\
         [user]\ncommand = 'true'\nneeds = ['timed']\n"
    );
    let server = server(&text);
    let (last, user) = (server.run_job("last"), server.run_job("user"));
    let go = |job: &str, attempt: u32| {
        let tried = |run: &Value| run["attempt"] == attempt && run["state"] == "running";
        let run = eventually("the try runs", DEADLINE, || runs(&server, job).into_iter().find(|run| tried(run)));
        server.kill(Role::Daemon).expect("a daemon");
        std::fs::write(server.home().join(format!("go-{job}-{attempt}")), "").expect("written");
        server.wait_end(run["id"].as_str().expect("an id"))
    };
    let main = runs(&server, "main")[0]["id"].as_str().expect("an id").to_string();
    go("base", 1);
    assert_eq!((&server.show(&main)["state"], &server.show(&last)["state"]), (&json!("held"), &json!("held")));
    go("base", 2);
    for id in [&main, &last] {
        let end = server.wait_end(id);
        assert_eq!((&end["outcome"], &end["reason"]), (&json!("skipped"), &json!("dependency")), "{end}");
    }
    go("timed", 1);
    assert_eq!(server.show(&user)["state"], "held", "its schedule runs it again");
    std::fs::write(server.home().join("well"), "").expect("written");
    server.run_job("timed");
    assert_eq!(server.wait_end(&user)["outcome"], "ok");
    server.shutdown();
}
