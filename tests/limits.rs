//! Limits of the system: what cannot be done is named, and nothing else suffers.

use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use testkit::server::{self, Options};
use testkit::{Role, Server, is_root, not_run};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

/// A program that becomes kin under some limit.
fn limited(how: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::Builder::new().prefix("kin-limit-").tempdir_in("/tmp").expect("a directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("a directory for all");
    let kin = dir.path().join("kin");
    std::fs::copy(KIN, &kin).expect("a copy that another user can read");
    let script = dir.path().join("limited-kin");
    std::fs::write(&script, format!("#!/bin/sh\n{how} \"{}\" \"$@\"\n", kin.display())).expect("a script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("an executable one");
    (dir, script)
}

/// Every accepted run either has its true end or says at which step it could not start.
fn all_are_true(server: &Server, ids: &[String]) -> (usize, usize) {
    let (mut ok, mut failed) = (0, 0);
    for id in ids {
        let run = server.wait_end(id);
        match run["outcome"].as_str() {
            Some("ok") => ok += 1,
            Some("spawn-failed") => {
                assert!(run["spawn"]["step"].is_string() && run["spawn"]["errno"].is_i64(), "{run}");
                failed += 1;
            }
            _ => panic!("{run}"),
        }
    }
    (ok, failed)
}

fn submit_many(server: &Server, n: usize) -> Vec<String> {
    let runs = (0..n).map(|_| server.submit(&server.request(&["sleep", "0.5"])));
    runs.map(|run: Value| run["id"].as_str().expect("an id").to_string()).collect()
}

#[test]
fn sixty_four_descriptors_are_enough_to_stay_honest() {
    let (_dir, script) = limited("exec prlimit --nofile=64:64");
    let server = Options::new(script).start();
    let ids = submit_many(&server, 40);
    let (ok, failed) = all_are_true(&server, &ids);
    assert_eq!(ok + failed, 40);
    let again = submit_many(&server, 3);
    assert_eq!(all_are_true(&server, &again), (3, 0), "with room again it goes on as before");
    server.shutdown();
}

/// What waits for want of descriptors waits at the next keeper too, which has inherited what another had open.
#[test]
fn with_sixty_four_descriptors_a_dead_keeper_fails_no_run_that_waited() {
    let (_dir, script) = limited("exec prlimit --nofile=64:64");
    let server = Options::new(script).start();
    let runs = (0..14).map(|_| server.submit(&server.request(&["sleep", "2"])));
    let ids: Vec<String> = runs.map(|run| run["id"].as_str().expect("an id").to_string()).collect();
    server.wait_state(&ids[0], &["running"]);
    server.kill(Role::Keeper).expect("one to kill");
    assert_eq!(all_are_true(&server, &ids), (14, 0));
    server.shutdown();
}

#[test]
fn a_user_at_its_limit_of_processes_is_told_so() {
    if !is_root() {
        return not_run("the limit of processes needs root, to run as a user of its own");
    }
    let uid = 40_000 + std::process::id() % 10_000;
    let as_user = format!("exec setpriv --reuid {uid} --regid {uid} --clear-groups prlimit --nproc=20:20");
    let (_dir, script) = limited(&as_user);
    let server = Options::new(script).prepare();
    std::os::unix::fs::chown(server.home(), Some(uid), Some(uid)).expect("a home of its own");
    server.start_again();
    let ids = submit_many(&server, 30);
    let (ok, failed) = all_are_true(&server, &ids);
    assert!(failed > 0, "{ok} of 30 ran under a limit of 20");
    let again = submit_many(&server, 2);
    assert_eq!(all_are_true(&server, &again), (2, 0), "with room again it goes on as before");
    server.shutdown();
}

#[test]
fn what_cannot_be_executed_is_named() {
    let server = Server::start(KIN);
    let plain = server.home().join("plain");
    std::fs::write(&plain, "no program").expect("a file");
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o755)).expect("an executable one");
    let closed = server.home().join("closed");
    std::fs::write(&closed, "#!/bin/sh\n").expect("a file");
    let closed = closed.to_str().expect("text");
    let long = "x".repeat(200_000);
    let cases: [(&[&str], &str, &str, i64); 5] = [
        (&["/no/such/program"], "/", "exec", 2),
        (&[closed], "/", "exec", 13),
        (&["true"], "/no/such/directory", "directory", 2),
        (&["true"], "/etc/hostname", "directory", 20),
        (&["/bin/echo", &long], "/", "exec", 7),
    ];
    for (argv, directory, step, errno) in cases {
        let mut request = server.request(argv);
        request["directory"] = directory.into();
        let id = server.submit(&request)["id"].as_str().expect("an id").to_string();
        let run = server.wait_end(&id);
        assert_eq!(run["outcome"], "spawn-failed", "{run}");
        assert_eq!((run["spawn"]["step"].as_str(), run["spawn"]["errno"].as_i64()), (Some(step), Some(errno)), "{run}");
        assert!(run["spawn"]["message"].as_str().is_some_and(|m| !m.is_empty()), "in words too: {run}");
    }
    let run = server.submit(&server.request(&[plain.to_str().expect("text")]));
    let run = server.wait_end(run["id"].as_str().expect("an id"));
    assert_eq!((run["outcome"].as_str(), run["spawn"]["errno"].as_i64()), (Some("spawn-failed"), Some(8)), "{run}");
    server.shutdown();
}

#[test]
fn bad_requests_change_nothing_and_are_told_why() {
    let server = Server::start(KIN);
    let mut http = server.http();
    let good = server.request(&["true"]);
    let with = |name: &str, value: Value| {
        let mut bad = good.clone();
        bad[name] = value;
        bad
    };
    for bad in [
        with("argv", serde_json::json!([])),
        with("directory", "relative".into()),
        with("job", "../../etc".into()),
        with("nonsense", 1.into()),
        with("stop_signal", "NOSUCH".into()),
        with("umask", 0o1777.into()),
        with("argv", serde_json::json!(["a\u{0}b"])),
        serde_json::json!("text"),
    ] {
        let answer = http.post("/v1/runs", &bad);
        assert_eq!(answer.status, 400, "{bad}: {}", answer.json());
        let said = answer.json();
        assert_eq!(said["error"]["code"], "bad_request", "{said}");
    }
    assert_eq!(http.get("/v1/runs").json()["runs"], serde_json::json!([]));
    assert_eq!(http.get("/v1/runs/nobody-00000001").status, 404);
    assert_eq!(http.get("/v1/nonsense").status, 404);
    server.shutdown();
}

/// Nothing happens in an idle server: no wake-up, no processor time.
#[test]
fn inv_16_an_idle_server_sleeps() {
    let server = Server::start(KIN);
    let run = server.submit(&server.request(&["sleep", "60"]));
    server.wait_state(run["id"].as_str().expect("an id"), &["running"]);
    let pids = server.pids().expect("all are there");
    let of = |pid: u32| testkit::procfs::switches(pid).expect("its switches");
    let all = [pids.elder, pids.keeper, pids.daemon];
    // The last of the work above settles first: once nothing moved for a second, nothing may move for three.
    let quiet = |seconds: u64| {
        let before = all.map(of);
        testkit::wait::let_time_pass(std::time::Duration::from_secs(seconds));
        all.map(of) == before
    };
    testkit::eventually("a quiet second", testkit::server::DEADLINE, || quiet(1).then_some(()));
    assert!(quiet(3), "woken without cause: elder, keeper, daemon {pids:?}");
    server.shutdown();
}

fn check(server: &Server, name: &str) -> Value {
    let doctor = server.http().get("/v1/server/doctor").expect(200).json();
    let mut checks = doctor["checks"].as_array().expect("checks").iter();
    checks.find(|check| check["name"] == name).cloned().unwrap_or_else(|| panic!("{doctor}"))
}

/// How often the history says it.
fn told(server: &Server, kind: &str) -> usize {
    let log = std::fs::read_to_string(server.state().join("events.log")).unwrap_or_default();
    log.lines().filter(|line| line.contains(kind)).count()
}

/// As it is for a user whose cgroup is not his: the hierarchy can be seen, and nothing be made in it.
#[test]
fn a_server_without_cgroups_says_so_once_and_does_its_work() {
    if !is_root() {
        return not_run("only root may take a mount away");
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("read");
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
    let Some(mount) = mount else { return not_run("no cgroup2 is mounted") };
    let read_only = format!("mount --bind {mount} {mount} && mount -o remount,bind,ro {mount}");
    let (_dir, kin) = limited(&format!("exec unshare -m sh -c '{read_only} && exec \"$0\" \"$@\"'"));
    let with = Server::start(KIN);
    if check(&with, "cgroups")["result"] != "ok" {
        return not_run("no cgroup can be made here anyway");
    }
    assert_eq!(told(&with, "server.cgroups"), 0);
    with.shutdown();
    let server = Server::start(&kin);
    let said = check(&server, "cgroups");
    assert_eq!(said["result"], "warning", "{said}");
    assert!(said["message"].as_str().is_some_and(|text| text.contains("not writable")), "{said}");
    assert!(said["hint"].as_str().is_some_and(|text| text.contains("Delegate=yes")), "{said}");
    testkit::eventually("the history says it", testkit::server::DEADLINE, || {
        (told(&server, "server.cgroups") == 1).then_some(())
    });
    for role in [testkit::Role::Daemon, testkit::Role::Elder, testkit::Role::Keeper, testkit::Role::Daemon] {
        server.kill(role).expect("one to kill");
        server.wait_whole(testkit::server::DEADLINE);
    }
    let id = server.submit(&server.request(&["sh", "-c", "setsid sleep 1000 & exec sleep 1000"]));
    let id = id["id"].as_str().expect("an id").to_string();
    server.wait_state(&id, &["running"]);
    assert_eq!(check(&server, "cgroups")["result"], "warning", "whoever is elder by now says it too");
    server.http().post(&format!("/v1/runs/{id}/stop"), &serde_json::json!({"kill": true})).expect(200);
    assert_eq!(server.wait_end(&id)["outcome"], "stopped");
    assert_eq!(told(&server, "server.cgroups"), 1, "once, however often somebody dies");
    server.shutdown();
}

/// However many follow, there is room for a short question, and for a stop; one follower too many is told so.
#[test]
fn followers_leave_room_for_short_questions() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let (_dir, script) = limited("exec prlimit --nofile=512:512");
    let server = Options::new(script).start();
    let id = server.submit(&server.request(&["sleep", "1000"]))["id"].as_str().expect("an id").to_string();
    server.wait_state(&id, &["running"]);
    let paths = ["/v1/events".into(), format!("/v1/runs/{id}/output?follow=true"), format!("/v1/runs/{id}/wait")];
    let (mut open, mut refused) = (Vec::new(), 0);
    for path in paths.iter().cycle().take(200) {
        let mut stream = std::os::unix::net::UnixStream::connect(server.socket()).expect("connects");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: kin\r\n\r\n").expect("asked");
        if path.ends_with("/wait") {
            open.push(stream);
            continue;
        }
        stream.set_read_timeout(Some(server::DEADLINE)).expect("set");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).expect("an answer");
        match line.split(' ').nth(1) {
            Some("200") => open.push(stream),
            Some("503") => refused += 1,
            _ => panic!("{line:?}"),
        }
        if refused > 0 {
            break;
        }
    }
    assert!(refused > 0, "{} were let in", open.len());
    let cli = testkit::Cli::new(&server);
    let said = cli.run(&["listen"]).expect(5).errors();
    assert!(said.contains("so many follow or wait here already"), "{said}");
    let asked = std::time::Instant::now();
    cli.run(&["stop", &id]).expect(0);
    assert!(asked.elapsed() < std::time::Duration::from_secs(5), "{:?}", asked.elapsed());
    drop(open);
    testkit::eventually("there is room again", server::DEADLINE, || {
        let said = server.http().get(&format!("/v1/runs/{id}/wait"));
        (said.status == 200).then_some(())
    });
    server.shutdown();
}
