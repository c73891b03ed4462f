//! `kin serve`: one server a state, a front that nothing hangs on, a clean start in the background.

use crate::support::{Server, signal_pid};
use hyper::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};

#[tokio::test]
async fn a_server_serves_has_no_second_and_ends_when_its_front_is_told() {
    let mut server = Server::serving();
    server.until("/v1/server", |who| who["guard"] == "whole").await;
    let second = server.output(&["serve"]);
    let front = server.front.as_ref().expect("a front").id();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!((second.status.code(), said.trim()), (Some(5), format!("kin: already running, pid {front}").as_str()));
    assert!(!server.lock_is_free());
    server.signal_front(Signal::TERM);
    assert!(server.front_ends().success());
    server.wait_for_the_end();
    assert!(server.front_log().starts_with(&format!("kin: serving {}", server.state().display())));
    server.serve();
    server.signal_front(Signal::INT);
    assert!(server.front_ends().success());
}

#[tokio::test]
async fn runs_that_are_left_go_on_without_front_and_daemon_and_are_found_again() {
    let mut server = Server::serving();
    let id = server.submit(&server.wish("sleep 1000")).await;
    server.signal_front(Signal::TERM);
    assert!(server.front_ends().success());
    assert!(server.front_log().contains("1 run goes on without a server"), "{}", server.front_log());
    assert!(!server.lock_is_free());
    server.serve();
    server.until(&format!("/v1/runs/{id}"), |run| run["state"] == "running").await;
}

#[tokio::test]
async fn a_run_that_waits_is_still_there_for_the_next_server() {
    let mut server = Server::serving();
    let mut wish = server.wish("echo waited");
    wish["latch"] = json!("gate");
    let id = server.submit(&wish).await;
    server.signal_front(Signal::TERM);
    assert!(server.front_ends().success());
    server.wait_for_the_end();
    assert!(server.front_log().contains("1 run waits for the next server"), "{}", server.front_log());
    server.serve();
    let (_, released) = server.post("/v1/latches/gate/release", &json!({})).await;
    assert_eq!(released["runs"], json!([id]));
    let (status, run) = server.get(&format!("/v1/runs/{id}/wait?timeout_ms=20000")).await;
    assert_eq!((status, &run["outcome"]), (StatusCode::OK, &json!("ok")), "{run}");
}

#[tokio::test]
async fn a_server_whose_keepers_die_at_once_gets_new_ones_and_goes_on() {
    let mut server = Server::serving();
    let known = |who: &Value| ["elder_pid", "keeper_pid"].iter().all(|role| who[*role].is_u64());
    let who = server.until("/v1/server", |who| who["guard"] == "whole" && known(who)).await;
    for role in ["elder_pid", "keeper_pid"] {
        signal_pid(who[role].as_u64().expect("a pid") as u32, Signal::KILL);
    }
    let after = server.until("/v1/server", |now| now["guard"] == "whole" && now["elder_pid"] != who["elder_pid"]).await;
    let id = server.submit(&server.wish("true")).await;
    let (status, run) = server.get(&format!("/v1/runs/{id}/wait?timeout_ms=20000")).await;
    assert_eq!((status, &run["outcome"]), (StatusCode::OK, &json!("ok")), "{run} {after}");
    server.signal_front(Signal::TERM);
    assert!(server.front_ends().success(), "{}", server.front_log());
    server.wait_for_the_end();
}

#[tokio::test]
async fn many_starts_at_once_make_one_server() {
    let server = Server::none();
    let mut fronts: Vec<_> = (0..12).map(|_| server.command(&["serve"]).spawn().expect("starts")).collect();
    server.ready();
    let who = server.until("/v1/server", |who| who["front_pid"].is_u64()).await;
    let first = who["front_pid"].as_u64().expect("a pid") as u32;
    let mut codes = Vec::new();
    for front in fronts.extract_if(.., |front| front.id() != first) {
        codes.push(front.wait_with_output().expect("ends").status.code());
    }
    assert_eq!(codes, [Some(5); 11]);
    signal_pid(first, Signal::TERM);
    assert!(fronts.pop().expect("the one").wait().expect("ends").success());
}

#[tokio::test]
async fn a_run_is_given_back_what_the_server_raised_and_told_who_it_is() {
    let mut server = Server::none();
    let line = format!("ulimit -Sn 777; umask 000; exec {} serve", crate::support::program().display());
    server.front = Some(server.command_of("sh", &["-c", &line]).spawn().expect("starts"));
    server.ready();
    let script =
        "ulimit -Sn; umask; echo $KIN_JOB $KIN_SLOT $KIN_ATTEMPT $KIN_RUN_ID; test -S $KIN_SOCKET && echo socket";
    let id = server.submit(&server.wish(script)).await;
    server.get(&format!("/v1/runs/{id}/wait")).await;
    let (_, said) = server.get(&format!("/v1/runs/{id}/output?stream=out")).await;
    assert_eq!(said, json!(format!("777\n0077\njob 0 1 {id}\nsocket\n")));
}

#[tokio::test]
async fn a_front_that_is_killed_is_replaced_and_an_elder_that_is_killed_is_followed() {
    let mut server = Server::serving();
    let id = server.submit(&server.wish("sleep 1000")).await;
    let before = server.until("/v1/server", |who| who["guard"] == "whole").await;
    server.signal_front(Signal::KILL);
    server.front_ends();
    server.serve();
    let (_, after) = server.get("/v1/server").await;
    assert_eq!(before["pid"], after["pid"], "the daemon noticed nothing");
    signal_pid(after["elder_pid"].as_u64().expect("a pid") as u32, Signal::KILL);
    // Only who follows the new elder can be told by it.
    let (status, _) = server.post(&format!("/v1/runs/{id}/stop"), &json!({"kill": true})).await;
    assert_eq!(status, StatusCode::OK);
    server.signal_front(Signal::TERM);
    assert!(server.front_ends().success());
}

#[tokio::test]
async fn a_background_server_takes_nothing_of_its_caller_with_it() {
    let server = Server::none();
    let mut command = server.command(&["serve", "--background"]);
    command.env("SECRET", "1").env("KIN_RUN_ID", "a-00000001").env_remove("NOTIFY_SOCKET");
    let said = command.output().expect("runs");
    assert!(said.status.success(), "{said:?}");
    let again = server.output(&["serve", "--background"]);
    assert!(again.status.success(), "{again:?}");
    let whole =
        |who: &serde_json::Value| who["guard"] == "whole" && who["elder_pid"].is_u64() && who["keeper_pid"].is_u64();
    let who = server.until("/v1/server", whole).await;
    for role in ["pid", "elder_pid", "keeper_pid"] {
        let pid = who[role].as_u64().expect("a pid");
        let environ = std::fs::read(format!("/proc/{pid}/environ")).expect("reads");
        let names: Vec<&[u8]> =
            environ.split(|b| *b == 0).map(|var| var.split(|b| *b == b'=').next().expect("a name")).collect();
        assert!(names.contains(&&b"KIN_HOME"[..]));
        assert!(!names.contains(&&b"SECRET"[..]) && !names.contains(&&b"KIN_RUN_ID"[..]), "{role}");
        assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).expect("reads").to_str(), Some("/"), "{role}");
    }
}

#[test]
fn a_ledger_of_a_newer_kin_is_left_alone_and_said() {
    let mut server = Server::serving();
    server.signal_front(Signal::TERM);
    assert!(server.front_ends().success());
    server.wait_for_the_end();
    let path = server.state().join("kin.db");
    let mut ledger = std::fs::read(&path).expect("reads");
    // Where SQLite's header keeps the user version.
    ledger[60..64].copy_from_slice(&9999u32.to_be_bytes());
    std::fs::write(&path, &ledger).expect("writes");
    let said = server.output(&["serve"]);
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(2), "{words}");
    let newer = format!("kin: {} was written by a newer kin (its version is 9999", path.display());
    assert!(words.starts_with(&newer), "{words}");
    assert!(words.ends_with("start that one, or move the file away\n") && words.lines().count() == 1, "{words}");
    assert_eq!(std::fs::read(&path).expect("reads"), ledger);
    server.wait_for_the_end();
    let said = server.output(&["serve", "--background"]);
    assert_eq!((said.status.code(), String::from_utf8_lossy(&said.stderr).into_owned()), (Some(2), words));
    server.wait_for_the_end();
    let log = std::fs::read_to_string(server.state().join("server.log")).expect("reads");
    assert!(!log.contains("Zombie") && !log.contains("is dead"), "{log}");
}
