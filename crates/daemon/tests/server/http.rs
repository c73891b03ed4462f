//! `/v1`, as a client sees it.

use crate::support::{Server, Stream};
use hyper::{Method, StatusCode};
use kin_api::frame::{HEAD, Kind, parse_head};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn what_may_not_come_in_is_refused_with_words() {
    let server = Server::serving();
    let large = "x".repeat(5 << 20);
    for (method, path, headers, body, want) in [
        (Method::GET, "/nothing", &[][..], "", StatusCode::NOT_FOUND),
        (Method::DELETE, "/v1/runs", &[], "", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "/v1/server/doctor", &[JSON], "{}", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "/v1/runs", &[("content-type", "text/plain")], "{}", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Method::POST, "/v1/runs", &[], "", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Method::POST, "/v1/runs", &[JSON], &large, StatusCode::PAYLOAD_TOO_LARGE),
        (Method::POST, "/v1/runs", &[JSON], "{", StatusCode::BAD_REQUEST),
        (Method::POST, "/v1/runs", &[JSON], r#"{"argv":[],"directory":"/"}"#, StatusCode::BAD_REQUEST),
        (Method::POST, "/v1/runs", &[JSON], r#"{"argv":["a"],"directory":"/","new":1}"#, StatusCode::BAD_REQUEST),
        (Method::GET, "/v1/runs?state=asleep", &[], "", StatusCode::BAD_REQUEST),
        (Method::GET, "/v1/runs?nonsense=1", &[], "", StatusCode::BAD_REQUEST),
        (Method::GET, "/v1/runs/a-00000001", &[], "", StatusCode::NOT_FOUND),
        (Method::GET, "/v1/runs/nonsense", &[], "", StatusCode::NOT_FOUND),
        (Method::GET, "/v1/runs", &[("origin", "http://evil")], "", StatusCode::FORBIDDEN),
        (Method::POST, "/v1/server/shutdown", &[JSON], r#"{"runs":"eat"}"#, StatusCode::BAD_REQUEST),
        (Method::POST, "/v1/server/upgrade", &[JSON], r#"{"program":"/bin/true"}"#, StatusCode::BAD_REQUEST),
    ] {
        let (status, said) = server.ask(method.clone(), path, headers, body).await;
        assert_eq!(status, want, "{method} {path}: {said}");
        assert!(said["error"]["message"].as_str().is_some_and(|m| !m.is_empty()), "{method} {path}: {said}");
    }
    let (_, openapi) = server.get("/v1/openapi.json").await;
    assert_eq!(openapi["openapi"], "3.1.0");
}

#[tokio::test]
async fn a_run_is_asked_for_waited_for_and_told() {
    let server = Server::serving();
    let id = server.submit(&server.wish("echo to out; echo to err >&2; exit 3")).await;
    let (status, run) = server.get(&format!("/v1/runs/{id}/wait?timeout_ms=20000")).await;
    assert_eq!((status, &run["outcome"], &run["exit_code"]), (StatusCode::OK, &json!("failed"), &json!(3)), "{run}");
    assert_eq!(
        (&run["out_bytes"], &run["err_bytes"], &run["trigger"]["kind"]),
        (&json!(7), &json!(7), &json!("manual"))
    );
    let short = id.rsplit('-').next().expect("a number");
    let (_, same) = server.get(&format!("/v1/runs/{short}")).await;
    assert_eq!(same, run);
    let (status, _) = server.get(&format!("/v1/runs/other-{short}")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, list) = server.get("/v1/runs?outcome=failure&job=j*").await;
    assert_eq!(list["runs"], json!([run]));
    let (_, why) = server.get(&format!("/v1/runs/{id}/why")).await;
    let story = why["story"].as_array().expect("a story");
    assert!(story.contains(&json!("It failed: its program ended with code 3.")), "{why}");
    let (status, refused) = server.post(&format!("/v1/runs/{id}/stop"), &json!({})).await;
    assert_eq!((status, &refused["error"]["run"]), (StatusCode::CONFLICT, &json!(id)), "{refused}");
    let (status, failed) = server.post("/v1/runs", &json!({"argv": ["/no/such"], "directory": "/"})).await;
    assert_eq!(status, StatusCode::CREATED);
    let (_, failed) = server.get(&format!("/v1/runs/{}/wait", failed["id"].as_str().expect("an id"))).await;
    assert_eq!((&failed["outcome"], &failed["spawn"]["step"]), (&json!("spawn-failed"), &json!("exec")), "{failed}");
}

#[tokio::test]
async fn a_repeat_under_a_key_finds_the_first_run_and_another_wish_is_refused() {
    let server = Server::serving();
    let mut wish = server.wish("true");
    wish["latch"] = json!("gate");
    let headers = [JSON, ("idempotency-key", "k1")];
    let (status, first) = server.ask(Method::POST, "/v1/runs", &headers, &wish.to_string()).await;
    assert_eq!((status, &first["state"]), (StatusCode::CREATED, &json!("held")), "{first}");
    let (status, again) = server.ask(Method::POST, "/v1/runs", &headers, &wish.to_string()).await;
    assert_eq!((status, &again["id"]), (StatusCode::OK, &first["id"]));
    wish["latch"] = json!("other");
    let (status, refused) = server.ask(Method::POST, "/v1/runs", &headers, &wish.to_string()).await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::CONFLICT, &json!("key_reused")), "{refused}");
    let id = first["id"].as_str().expect("an id");
    let (status, run) = server.get(&format!("/v1/runs/{id}/wait?timeout_ms=1")).await;
    assert_eq!((status, &run["state"]), (StatusCode::ACCEPTED, &json!("held")));
    let (_, released) = server.post("/v1/latches/gate/release", &json!({})).await;
    assert_eq!(released, json!({"latch": "gate", "runs": [id]}));
    let (status, run) = server.get(&format!("/v1/runs/{id}/wait?timeout_ms=20000")).await;
    assert_eq!((status, &run["outcome"]), (StatusCode::OK, &json!("ok")), "{run}");
}

#[tokio::test]
async fn a_batch_answers_each_wish_by_itself() {
    let server = Server::serving();
    let wishes = json!({"runs": [server.wish("true"), {"argv": [], "directory": "/"}, server.wish("exit 1")]});
    let (status, answer) = server.post("/v1/batch", &wishes).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let kinds: Vec<bool> = answer["runs"].as_array().expect("answers").iter().map(|a| a.get("run").is_some()).collect();
    assert_eq!(kinds, [true, false, true], "{answer}");
}

fn frames(bytes: &[u8]) -> Vec<(Kind, u64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some((head, after)) = rest.split_at_checked(HEAD) {
        let (kind, offset, len) = parse_head(head.try_into().expect("a head")).expect("a frame");
        let Some((payload, after)) = after.split_at_checked(len as usize) else { break };
        found.push((kind, offset, payload.to_vec()));
        rest = after;
    }
    found
}

#[tokio::test]
async fn a_log_of_events_that_cannot_be_written_is_named_and_caught_up_with() {
    let server = Server::serving();
    let path = server.state().join("events.log");
    let events = |said: &Value| {
        let checks = said["checks"].as_array().into_iter().flatten();
        checks.filter(|check| check["name"] == "events").map(|check| check["result"].clone()).collect::<Vec<_>>()
    };
    server.until("/v1/server/doctor", |said| events(said) == [json!("ok")] && path.exists()).await;
    std::fs::rename(&path, path.with_extension("1")).expect("moves");
    std::fs::create_dir(&path).expect("a directory in its place");
    let id = server.submit(&server.wish("true")).await;
    server.until("/v1/server/doctor", |said| events(said) == [json!("warning")]).await;
    server.get(&format!("/v1/runs/{id}/wait?timeout_ms=20000")).await;
    std::fs::remove_dir(&path).expect("removes");
    server.until("/v1/server/doctor", |said| events(said) == [json!("ok")]).await;
    let log = std::fs::read_to_string(&path).expect("a log");
    let ends = log.lines().filter(|line| line.contains(&format!("run=[{id}]")) && line.contains("outcome=[ok]"));
    assert_eq!(ends.count(), 1, "{log}");
}

#[tokio::test]
async fn output_that_is_gone_is_said_to_be_and_never_empty() {
    let server = Server::serving();
    let id = server.submit(&server.wish("echo one; echo two >&2")).await;
    let quiet = server.submit(&server.wish("true")).await;
    for id in [&id, &quiet] {
        server.get(&format!("/v1/runs/{id}/wait?timeout_ms=20000")).await;
    }
    std::fs::remove_file(server.state().join(format!("logs/job/{id}.out"))).expect("removes");
    let (status, said) = server.get(&format!("/v1/runs/{id}/output?stream=out")).await;
    assert_eq!((status.as_u16(), &said["error"]["code"]), (410, &json!("not_found")), "{said}");
    let message = said["error"]["message"].as_str().expect("words");
    assert!(message.contains("no longer kept; it was 8 bytes"), "{message}");
    assert_eq!(server.get(&format!("/v1/runs/{id}/output?stream=err")).await.0, StatusCode::OK);
    // Both streams: what is there, a word about what is not, and the end.
    for query in ["", "?stream=both&follow=true"] {
        let path = format!("/v1/runs/{id}/output{query}");
        let bytes = Stream::of(server.open(Method::GET, &path, &[], "").await).all().await;
        let seen = frames(&bytes);
        let kinds: Vec<(Kind, u64)> = seen.iter().map(|(kind, at, _)| (*kind, *at)).collect();
        assert_eq!(kinds, [(Kind::Err, 0), (Kind::Gap, 0), (Kind::End, 0)], "{query}");
        assert_eq!(seen[1].2[..9], [4, 0, 0, 0, 0, 0, 0, 0, 0], "four bytes of out");
    }
    // Of one that wrote nothing, nothing is missing.
    assert_eq!(server.get(&format!("/v1/runs/{quiet}/output?stream=out")).await.0, StatusCode::OK);
    let (_, run) = server.get(&format!("/v1/runs/{id}")).await;
    assert_eq!((&run["outcome"], &run["out_bytes"]), (&json!("ok"), &json!(4)));
}

#[tokio::test]
async fn output_is_followed_in_order_and_from_anywhere() {
    let server = Server::serving();
    let script = "mkfifo go on; echo one; read x < go; echo two >&2; read x < on; echo three";
    let id = server.submit(&server.wish(script)).await;
    let path = format!("/v1/runs/{id}/output");
    let mut both = Stream::of(server.open(Method::GET, &format!("{path}?follow=true"), &[], "").await);
    let mut out =
        Stream::of(server.open(Method::GET, &format!("{path}?stream=out&offset=2&follow=true"), &[], "").await);
    assert!(both.until(|seen| seen.ends_with(b"one\n")).await);
    assert!(out.until(|seen| seen == b"e\n").await);
    std::fs::write(server.dir().join("go"), "\n").expect("writes");
    assert!(both.until(|seen| seen.ends_with(b"two\n")).await);
    std::fs::write(server.dir().join("on"), "\n").expect("writes");
    let seen = frames(&both.all().await);
    let said: Vec<(Kind, u64, &str)> =
        seen.iter().map(|(kind, at, bytes)| (*kind, *at, std::str::from_utf8(bytes).expect("text"))).collect();
    assert_eq!(said[..3], [(Kind::Out, 0, "one\n"), (Kind::Err, 0, "two\n"), (Kind::Out, 4, "three\n")]);
    let end: Value = serde_json::from_str(said[3].2).expect("a run");
    assert_eq!((said.len(), &end["outcome"]), (4, &json!("ok")));
    assert_eq!(out.all().await, b"e\nthree\n");
    let late = server.open(Method::GET, &format!("{path}?out=4&err=1"), &[], "").await;
    let late = frames(&Stream::of(late).all().await);
    assert_eq!(late[0], (Kind::Err, 1, b"wo\n".to_vec()));
    assert_eq!((late[1].1, late[2].0), (4, Kind::End));
    let part = server.open(Method::GET, &format!("{path}?stream=out&offset=1&limit=5"), &[], "").await;
    assert_eq!(
        (part.headers()["kin-offset"].as_bytes(), part.headers()["kin-length"].as_bytes()),
        (&b"1"[..], &b"10"[..])
    );
    assert_eq!(Stream::of(part).all().await, b"ne\nth");
}

fn ids(seen: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(seen).into_owned();
    let events = text.split("\n\n").filter(|event| event.contains("\ndata: "));
    events
        .map(|event| {
            event.strip_prefix("id: ").expect("an id").lines().next().expect("a line").parse().expect("a number")
        })
        .collect()
}

#[tokio::test]
async fn a_listener_who_comes_back_misses_nothing_and_hears_nothing_twice() {
    let server = Server::serving();
    let mut first = Stream::of(server.open(Method::GET, "/v1/events?after=0&runs=job", &[], "").await);
    let id = server.submit(&server.wish("true")).await;
    assert!(first.until(|seen| String::from_utf8_lossy(seen).contains("\"state\":\"ended\"")).await);
    let heard = ids(&first.seen);
    let middle = heard[0];
    drop(first);
    let second = server.submit(&server.wish("true")).await;
    server.get(&format!("/v1/runs/{second}/wait")).await;
    let last_heard = middle.to_string();
    let again = server.open(Method::GET, "/v1/events?runs=job-*", &[("last-event-id", last_heard.as_str())], "").await;
    let mut again = Stream::of(again);
    let ended = |seen: &[u8]| String::from_utf8_lossy(seen).matches("\"state\":\"ended\"").count();
    assert!(again.until(|seen| ended(seen) == 2).await);
    let rest = ids(&again.seen);
    assert_eq!(rest.first().copied(), heard.iter().copied().find(|seq| *seq > middle));
    assert!(rest.windows(2).all(|pair| pair[0] < pair[1]), "{rest:?}");
    assert!(String::from_utf8_lossy(&again.seen).contains(&id));
    let other = server.open(Method::GET, "/v1/events?after=0&runs=nobody", &[], "").await;
    let mut other = Stream::of(other);
    assert!(other.until(|seen| seen.ends_with(b"\n\n")).await);
    assert_eq!(ids(&other.seen), Vec::<u64>::new());
}

#[tokio::test]
async fn the_doctor_finds_a_fresh_server_well() {
    let server = Server::serving();
    let said = server.until("/v1/server/doctor", |said| said["guard"] == "whole").await;
    let checks = said["checks"].as_array().expect("checks");
    for name in ["keepers", "ledger", "runtime", "link"] {
        let check = checks.iter().find(|check| check["name"] == name).expect("the check");
        assert_eq!(check["result"], "ok", "{check}");
    }
}

#[tokio::test]
async fn a_follower_that_stands_still_slows_nobody_and_gets_everything_in_the_end() {
    let server = Server::serving();
    let id = server.submit(&server.wish("head -c 30000000 /dev/zero; echo end")).await;
    let path = format!("/v1/runs/{id}/output?follow=true&stream=out");
    let stalled = server.open(Method::GET, &path, &[], "").await;
    let quick = Stream::of(server.open(Method::GET, &path, &[], "").await).all().await;
    assert_eq!(quick.len(), 30_000_004);
    let (status, run) = server.get(&format!("/v1/runs/{id}/wait")).await;
    assert_eq!((status, &run["outcome"]), (StatusCode::OK, &json!("ok")));
    assert!(Stream::of(stalled).all().await == quick);
}

#[tokio::test]
async fn hundreds_follow_one_run_and_each_gets_it_all() {
    let server = Server::serving();
    let script = "mkfifo go; read x < go; i=0; while [ $i -lt 200 ]; do echo line $i; echo oh $i >&2; i=$((i+1)); done";
    let id = server.submit(&server.wish(script)).await;
    let path = format!("/v1/runs/{id}/output?follow=true");
    let mut followers = Vec::new();
    for _ in 0..300 {
        followers.push(Stream::of(server.open(Method::GET, &path, &[], "").await));
    }
    server.until(&format!("/v1/runs/{id}"), |_| server.dir().join("go").exists()).await;
    std::fs::write(server.dir().join("go"), "\n").expect("writes");
    let lines = |word: &str| (0..200).map(|i| format!("{word} {i}\n")).collect::<String>();
    for follower in followers {
        let mut both = Both::default();
        both.take(&follower.all().await);
        assert!(both.ended && both.out == lines("line").as_bytes() && both.err == lines("oh").as_bytes());
    }
}

/// What a client keeps of both streams over broken answers.
#[derive(Default)]
struct Both {
    out: Vec<u8>,
    err: Vec<u8>,
    ended: bool,
}

impl Both {
    fn take(&mut self, bytes: &[u8]) {
        for (kind, at, payload) in frames(bytes) {
            match kind {
                Kind::Out => {
                    assert_eq!(at, self.out.len() as u64);
                    self.out.extend_from_slice(&payload);
                }
                Kind::Err => {
                    assert_eq!(at, self.err.len() as u64);
                    self.err.extend_from_slice(&payload);
                }
                Kind::Gap => panic!("a gap at {at}"),
                Kind::End => self.ended = true,
            }
        }
    }
}

#[tokio::test]
async fn a_follower_over_dying_daemons_gets_each_byte_once() {
    let server = Server::serving();
    let script = "i=0; while [ $i -lt 3000 ]; do echo line $i; echo mistake $i >&2; i=$((i+1)); done";
    let id = server.submit(&server.wish(script)).await;
    let mut both = Both::default();
    for round in 0.. {
        let (out, err) = (both.out.len(), both.err.len());
        let path = format!("/v1/runs/{id}/output?follow=true&out={out}&err={err}");
        let Some(answer) = server.try_open(&path).await else { continue };
        let mut answer = Stream::of(answer);
        let enough = 3000 * (round + 1);
        let went_on = answer.until_or_broken(|seen| round < 5 && seen.len() > enough).await;
        both.take(&answer.seen);
        if both.ended {
            break;
        }
        if went_on {
            let daemon = std::fs::read_to_string(server.run().join("daemon.lock")).expect("reads");
            let pid = daemon.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a pid");
            crate::support::signal_pid(pid, rustix::process::Signal::KILL);
        }
    }
    let lines = |word: &str| (0..3000).map(|i| format!("{word} {i}\n")).collect::<String>();
    assert!(both.out == lines("line").as_bytes());
    assert!(both.err == lines("mistake").as_bytes());
}

#[tokio::test]
async fn an_upgrade_puts_another_program_in_the_daemons_place() {
    let server = Server::serving();
    let id = server.submit(&server.wish("sleep 1000")).await;
    let before = server.until("/v1/server", |who| who["guard"] == "whole").await;
    let copy = server.dir().join("kin-new");
    std::fs::copy(crate::support::program(), &copy).expect("copies");
    let (status, said) = server.post("/v1/server/upgrade", &json!({"program": copy})).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{said}");
    let pid = before["pid"].as_u64().expect("a pid");
    let exe = || std::fs::read_link(format!("/proc/{pid}/exe")).expect("alive");
    server.until("/v1/server", |who| who["pid"] == before["pid"] && exe() == copy).await;
    let (_, run) = server.get(&format!("/v1/runs/{id}")).await;
    assert_ne!(run["state"], "ended", "{run}");
}
