//! Elder and keeper die in one instant, and whoever they looked after lives on: found again, stopped whole, never guessed.

use rustix::process::{Pid, Signal, WaitOptions};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use testkit::http::Request;
use testkit::server::{DEADLINE, Options};
use testkit::{Role, Server, eventually, guest_path, is_root, not_run, procfs, within};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

/// Orphans fall to this test, so that it decides when a dead one is reaped.
fn adopt_orphans() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("a subreaper");
}

fn pid_in(server: &Server, name: &str) -> u32 {
    let path = server.home().join(name);
    eventually(&format!("a pid in {name}"), DEADLINE, || {
        let text = std::fs::read_to_string(&path).ok()?;
        text.strip_suffix('\n')?.parse().ok()
    })
}

fn kill_and_reap(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, Signal::KILL).expect("it is there");
    rustix::process::waitpid(Some(pid), WaitOptions::empty()).expect("it is ours").expect("it ended");
}

fn start(server: &Server, script: &str) -> String {
    let mut request = server.request(&["sh", "-c", script]);
    request["stop_wait_ms"] = 600.into();
    server.submit(&request)["id"].as_str().expect("an id").to_string()
}

fn is_unowned(server: &Server, id: &str) -> Value {
    eventually("it is found", DEADLINE, || {
        let run = server.show(id);
        assert_ne!(run["state"], "ended", "{run}");
        (run["unowned"] == true).then_some(run)
    })
}

fn stop(server: &Server, id: &str, body: &Value) {
    let request = Request::post(format!("/v1/runs/{id}/stop"), body);
    server.http().insist(&request, DEADLINE).expect("an answer").expect(200);
}

fn outcome(run: &Value) -> (&str, &str) {
    (run["outcome"].as_str().unwrap_or_default(), run["reason"].as_str().unwrap_or_default())
}

/// Two that ignore TERM, one of them in a session of its own, and a leader that is gone before anybody can look.
const PARENT: &str = r#"
    trap "" TERM
    sleep 1001 </dev/null >/dev/null 2>&1 & echo $! > near
    setsid sleep 1002 </dev/null >/dev/null 2>&1 & echo $! > far
    echo $$ > leader; exec sleep 1000"#;

fn what_the_leader_left_is_the_run(options: Options, tables_are_gone: bool) {
    adopt_orphans();
    let server = &options.start();
    let id = start(server, PARENT);
    let bystander = start(server, "echo $$ > bystander; exec sleep 1003");
    let [leader, near, far, bystander_pid] = ["leader", "near", "far", "bystander"].map(|name| pid_in(server, name));
    server.wait_state(&id, &["running"]);
    server.wait_state(&bystander, &["running"]);
    server.kill_all();
    kill_and_reap(leader);
    if tables_are_gone {
        std::fs::remove_dir_all(std::fs::canonicalize(server.run_dir()).expect("a directory")).expect("removed");
    }
    server.start_again();
    for run in [&id, &bystander] {
        is_unowned(server, run);
    }
    // Whoever was watched goes, and another is left; a daemon that knows nothing of it finds that one too.
    kill_and_reap(near);
    server.kill(Role::Daemon);
    server.wait_whole(DEADLINE);
    is_unowned(server, &id);
    stop(server, &id, &json!({}));
    assert_eq!(outcome(&server.wait_end(&id)), ("lost", "unknown"));
    assert!(!procfs::is_alive(far), "a stopped run leaves nobody");
    assert!(procfs::is_alive(bystander_pid), "and takes nobody with it");
    stop(server, &bystander, &json!({"kill": true}));
    server.wait_end(&bystander);
    assert!(!procfs::is_alive(bystander_pid));
    server.stop();
}

#[test]
fn a_run_whose_leader_is_gone_lives_as_long_as_anybody_of_it() {
    what_the_leader_left_is_the_run(Options::new(KIN), false);
}

#[test]
fn a_run_whose_leader_is_gone_is_found_without_cgroups() {
    what_the_leader_left_is_the_run(Options::new(KIN).env("KIN_NO_CGROUP", "1"), false);
}

#[test]
fn a_run_that_no_table_has_any_more_is_found_by_what_it_carries() {
    what_the_leader_left_is_the_run(Options::new(KIN).env("KIN_NO_CGROUP", "1"), true);
}

#[test]
fn a_run_that_no_table_has_any_more_is_found_by_its_cgroup() {
    what_the_leader_left_is_the_run(Options::new(KIN), true);
}

#[test]
fn a_survivor_that_goes_before_anybody_looks_is_lost_and_not_run_again() {
    adopt_orphans();
    let server = Server::start(KIN);
    let id = start(&server, "echo $$ >> leader; exec sleep 1000");
    let leader = pid_in(&server, "leader");
    server.wait_state(&id, &["running"]);
    server.kill_all();
    kill_and_reap(leader);
    server.start_again();
    assert_eq!(outcome(&server.wait_end(&id)), ("lost", "unknown"));
    assert_eq!(std::fs::read_to_string(server.home().join("leader")).expect("read"), format!("{leader}\n"));
    server.stop();
}

/// A service whose stop has two rungs; it notes each signal, and ends by none.
const DEAF: &str = r#"
[deaf]
command = '''trap "echo INT >> said" INT; trap "echo TERM >> said" TERM; echo up >> said
    while :; do sleep 0.05 </dev/null >/dev/null 2>&1; done'''
stop = { signal = ["INT", "TERM"], wait = "1500ms" }
"#;

#[test]
fn the_ladder_of_a_survivor_goes_on_where_it_was_when_the_daemon_dies() {
    let server = Options::new(KIN).prepare();
    let text = DEAF.replace("said", &server.home().join("said").to_string_lossy());
    std::fs::write(server.home().join("jobs.toml"), text).expect("writes");
    server.start_again();
    let said = || std::fs::read_to_string(server.home().join("said")).unwrap_or_default();
    server.http().post("/v1/reload", &json!({})).expect(200);
    let made = server.http().post("/v1/jobs/deaf/run", &json!({})).json();
    let id = made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_string();
    eventually("it is up", DEADLINE, || (said() == "up\n").then_some(()));
    server.wait_state(&id, &["running"]);
    server.kill_all();
    server.start_again();
    is_unowned(&server, &id);
    stop(&server, &id, &json!({}));
    eventually("the first signal came", DEADLINE, || (said() == "up\nINT\n").then_some(()));
    server.kill(Role::Daemon);
    eventually("the second signal came", DEADLINE, || (said() == "up\nINT\nTERM\n").then_some(()));
    server.kill(Role::Daemon);
    let run = server.wait_end(&id);
    assert_eq!(said(), "up\nINT\nTERM\n", "each once");
    let ended = outcome(&run);
    assert!(ended == ("stopped", "") || ended == ("lost", "unknown"), "{run}");
    server.stop();
}

#[test]
fn the_timeout_of_a_survivor_is_kept_from_its_start() {
    a_timeout_is_kept(false);
}

#[test]
fn the_timeout_of_a_survivor_without_a_table_is_kept_from_its_start() {
    a_timeout_is_kept(true);
}

fn a_timeout_is_kept(tables_are_gone: bool) {
    let server = Server::start(KIN);
    let mut request = server.request(&["sleep", "1000"]);
    request["timeout_ms"] = 2500.into();
    let id = server.submit(&request)["id"].as_str().expect("an id").to_string();
    let pid = server.wait_state(&id, &["running"])["pid"].as_u64().expect("a pid");
    server.kill_all();
    if tables_are_gone {
        std::fs::remove_dir_all(std::fs::canonicalize(server.run_dir()).expect("a directory")).expect("removed");
    }
    server.start_again();
    is_unowned(&server, &id);
    assert!(procfs::gone_within(u32::try_from(pid).expect("a pid"), Duration::from_secs(20)));
    let run = server.wait_end(&id);
    assert!(matches!(run["outcome"].as_str(), Some("timed-out" | "lost")), "{run}");
    server.stop();
}

fn a_kill_that_was_not_sent(die_first: impl Fn(&Server, &str)) {
    let faults = tempfile::tempdir().expect("a directory");
    let server = Options::new(KIN).env("KIN_FAULTS", faults.path().to_string_lossy()).start();
    let mut request = server.request(&["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"]);
    // Longer than this test may take: a ladder would be noticed.
    request["stop_wait_ms"] = 600_000.into();
    let id = server.submit(&request)["id"].as_str().expect("an id").to_string();
    eventually("it is deaf", DEADLINE, || (server.output(&id, "out") == b"up\n").then_some(()));
    die_first(&server, &id);
    std::fs::write(faults.path().join("stop-committed"), "").expect("written");
    let asked = server.http().send(&Request::post(format!("/v1/runs/{id}/stop"), &json!({"kill": true})));
    assert!(asked.is_err() || !faults.path().join("stop-committed").exists(), "nobody died of it: {asked:?}");
    let run = server.wait_end(&id);
    assert!(matches!(outcome(&run), ("stopped", _) | ("lost", "unknown")), "{run}");
    server.stop();
}

#[test]
fn a_kill_stays_one_when_the_daemon_dies_before_it_is_sent() {
    a_kill_that_was_not_sent(|_, _| {});
}

#[test]
fn a_kill_of_a_survivor_stays_one_when_the_daemon_dies_before_it_is_sent() {
    a_kill_that_was_not_sent(|server, id| {
        server.kill_all();
        server.start_again();
        is_unowned(server, id);
    });
}

/// A run that outlived its server and has started another inside itself; and that one's daemon.
fn serves_itself(server: &Server) -> (String, u32) {
    let kin = server.kin().display().to_string();
    let script =
        format!("echo $$ > leader; while [ ! -e go ]; do sleep 0.05; done; {kin} ps >ps.out 2>&1; exec sleep 1000");
    let mut request = server.request(&["sh", "-c", &script]);
    for (name, value) in server.environment() {
        request["env"][name] = value.into();
    }
    let id = server.submit(&request)["id"].as_str().expect("an id").to_string();
    pid_in(server, "leader");
    server.wait_state(&id, &["running"]);
    server.kill_all();
    std::fs::write(server.home().join("go"), "").expect("written");
    let daemon = eventually("it has started a server", DEADLINE, || server.pid(Role::Daemon));
    is_unowned(server, &id);
    (id, daemon)
}

/// A run that calls kin when there is no server any more starts one, inside itself: it is not part of the run for that.
#[test]
fn a_server_that_a_survivor_starts_outlives_the_survivor() {
    adopt_orphans();
    let server = Server::start(KIN);
    let (id, daemon) = serves_itself(&server);
    stop(&server, &id, &json!({"kill": true}));
    server.wait_end(&id);
    assert!(within(Duration::from_millis(300), || (!procfs::is_alive(daemon)).then_some(())).is_none());
    let again = server.submit(&server.request(&["true"]))["id"].as_str().expect("an id").to_string();
    assert_eq!(server.wait_end(&again)["outcome"], "ok");
    server.stop();
}

/// A daemon that has just come into the world finds a kill that was recorded and not done, of a run in which its own
/// keepers live: it learns first who they are.
#[test]
fn a_kill_that_a_new_daemon_finds_spares_the_server_that_lives_in_the_run() {
    adopt_orphans();
    let faults = tempfile::tempdir().expect("a directory");
    let server = Options::new(KIN).env("KIN_FAULTS", faults.path().to_string_lossy()).start();
    let (id, _) = serves_itself(&server);
    let keepers = || [Role::Elder, Role::Keeper].map(|role| server.pid(role));
    let before =
        eventually("both keepers are there", DEADLINE, || Some(keepers()).filter(|[a, b]| a.and(*b).is_some()));
    std::fs::write(faults.path().join("stop-committed"), "").expect("written");
    let asked = server.http().send(&Request::post(format!("/v1/runs/{id}/stop"), &json!({"kill": true})));
    assert!(asked.is_err() || !faults.path().join("stop-committed").exists(), "nobody died of it: {asked:?}");
    server.wait_end(&id);
    assert_eq!(keepers(), before, "they are not the run's");
    server.stop();
}

/// Faster than one can look, and nobody is its parent: STOP to all until nobody new is found, then KILL. It would end by
/// itself after half a minute.
#[test]
fn a_fork_bomb_that_outlived_its_keepers_is_ended() {
    if !is_root() {
        return not_run("the fork bomb needs root, to run as a user of its own");
    }
    let server = Options::new(KIN).env("KIN_NO_CGROUP", "1").start();
    let guest = server.home().join("bomb");
    std::fs::copy(guest_path(), &guest).expect("a copy that another user can read");
    std::fs::set_permissions(server.home(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("an open home");
    let uid = (40_000 + std::process::id() % 10_000).to_string();
    let bomb = r#"exec prlimit --nproc=300 setpriv --reuid "$0" --regid "$0" --clear-groups "$1" bomb secs=30"#;
    let guest = guest.to_string_lossy().into_owned();
    let id =
        server.submit(&server.request(&["sh", "-c", bomb, &uid, &guest]))["id"].as_str().expect("an id").to_string();
    let before = procfs::all_pids().len();
    eventually("it has exploded", Duration::from_secs(10), || (procfs::all_pids().len() > before + 150).then_some(()));
    server.kill_all();
    server.start_again();
    is_unowned(&server, &id);
    let asked = Instant::now();
    stop(&server, &id, &json!({"kill": true}));
    let run = server.wait_end(&id);
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert!(matches!(outcome(&run), ("stopped", _) | ("lost", "unknown")), "{run}");
    eventually("nobody is left of it", Duration::from_secs(10), || (server.processes().len() <= 4).then_some(()));
    server.stop();
}
