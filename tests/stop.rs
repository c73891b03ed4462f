//! A stop ends the whole tree, whatever its members do to get away.

use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::server::{self, Options};
use testkit::{Server, eventually, guest_path, is_root, not_run, procfs};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

fn pids_in(path: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// 25 descendants, a third of them in sessions of their own, a third forked twice.
fn a_tree_is_stopped(server: Server, stop: &serde_json::Value) {
    let pids = server.home().join("pids");
    let told = format!("pids={}", pids.display());
    let guest = guest_path();
    let mut request = server.request(&[guest.to_str().expect("text"), "tree", "n=25", &told]);
    request["stop_wait_ms"] = 300.into();
    let id = server.submit(&request)["id"].as_str().expect("an id").to_string();
    eventually("the tree stands", server::DEADLINE, || (server.output(&id, "out") == b"ready\n").then_some(()));
    let all = pids_in(&pids);
    assert_eq!(all.len(), 25);
    assert!(all.iter().all(|pid| procfs::is_alive(*pid)));
    server.http().post(&format!("/v1/runs/{id}/stop"), stop).expect(200);
    let run = server.wait_end(&id);
    assert_eq!(run["outcome"], "stopped", "{run}");
    let left: Vec<&u32> = all.iter().filter(|pid| procfs::is_alive(**pid)).collect();
    assert!(left.is_empty(), "left alive: {left:?}");
    server.shutdown();
}

#[test]
fn inv_06_a_stopped_tree_leaves_no_process() {
    a_tree_is_stopped(Server::start(KIN), &json!({}));
}

#[test]
fn a_killed_tree_leaves_no_process_without_cgroups() {
    a_tree_is_stopped(Options::new(KIN).env("KIN_NO_CGROUP", "1").start(), &json!({"kill": true}));
}

#[test]
fn a_stopped_tree_leaves_no_process_without_cgroups() {
    a_tree_is_stopped(Options::new(KIN).env("KIN_NO_CGROUP", "1").start(), &json!({}));
}

#[test]
fn a_child_that_ignores_term_is_killed_when_its_grace_ends() {
    let server = Server::start(KIN);
    let guest = guest_path();
    let mut request = server.request(&[guest.to_str().expect("text"), "ignore-term"]);
    request["stop_wait_ms"] = 700.into();
    let id = server.submit(&request)["id"].as_str().expect("an id").to_string();
    eventually("it is deaf", server::DEADLINE, || (server.output(&id, "out") == b"ready\n").then_some(()));
    let asked = Instant::now();
    server.http().post(&format!("/v1/runs/{id}/stop"), &json!({})).expect(200);
    let run = server.wait_end(&id);
    assert!(asked.elapsed() >= Duration::from_millis(700), "not before its grace was over: {:?}", asked.elapsed());
    assert_eq!((run["outcome"].as_str(), run["signal"].as_u64()), (Some("stopped"), Some(9)), "{run}");
    server.shutdown();
}

#[test]
fn a_timeout_is_kept_also_while_the_daemon_is_dead() {
    let server = Server::start(KIN);
    let mut request = server.request(&["sleep", "60"]);
    request["timeout_ms"] = 600.into();
    let id = server.submit(&request)["id"].as_str().expect("an id").to_string();
    let run = server.wait_state(&id, &["running"]);
    let pid = u32::try_from(run["pid"].as_u64().expect("a pid")).expect("a pid");
    let daemon = server.pid(testkit::Role::Daemon).expect("a daemon");
    procfs::kill_marked(daemon, server.mark(), rustix::process::Signal::STOP).expect("stops it");
    assert!(procfs::gone_within(pid, Duration::from_secs(10)), "the keeper keeps the time alone");
    procfs::kill_marked(daemon, server.mark(), rustix::process::Signal::CONT).expect("lets it go on");
    assert_eq!(server.wait_end(&id)["outcome"], "timed-out");
    server.shutdown();
}

#[test]
fn a_fork_bomb_is_ended_within_ten_seconds() {
    a_fork_bomb_is_ended(Options::new(KIN));
}

#[test]
fn a_fork_bomb_is_ended_within_ten_seconds_without_cgroups() {
    a_fork_bomb_is_ended(Options::new(KIN).env("KIN_NO_CGROUP", "1"));
}

fn a_fork_bomb_is_ended(options: Options) {
    if !is_root() {
        return not_run("the fork bomb needs root, to run as a user of its own");
    }
    let server = options.start();
    let guest = server.home().join("bomb");
    std::fs::copy(guest_path(), &guest).expect("a copy that another user can read");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(server.home(), open).expect("a home that others may enter");
    let uid = (50_000 + std::process::id() % 10_000).to_string();
    let bomb = r#"exec prlimit --nproc=300 setpriv --reuid "$0" --regid "$0" --clear-groups "$1" bomb secs=30"#;
    let guest = guest.to_string_lossy().into_owned();
    let id =
        server.submit(&server.request(&["sh", "-c", bomb, &uid, &guest]))["id"].as_str().expect("an id").to_string();
    // Looking closer would take longer than the bomb lives.
    let before = procfs::all_pids().len();
    eventually("it has exploded", Duration::from_secs(10), || (procfs::all_pids().len() > before + 150).then_some(()));
    let asked = Instant::now();
    server.http().post(&format!("/v1/runs/{id}/stop"), &json!({"kill": true})).expect(200);
    let run = server.wait_end(&id);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!(run["outcome"], "stopped", "{run}");
    eventually("nobody is left of it", Duration::from_secs(10), || (server.processes().len() <= 4).then_some(()));
    server.shutdown();
}
