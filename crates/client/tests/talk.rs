//! Requests over connections that break, servers that are silent, gone or refuse.

#[expect(dead_code, reason = "shared with other tests, each of which uses a part")]
mod fake;

use fake::{Act, Fake, run_json};
use kin_api::home::Home;
use kin_api::{Code, RunQuery, RunRequest};
use kin_client::{Client, Error, Key, Page, Start, block_on};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

fn client_of(home: &Path, start: Start, patience: Duration) -> Client {
    let home = Home { config: vec![home.to_owned()], state: home.join("state"), system: false };
    Client::with_patience(home, start, patience, patience * 3)
}

const PATIENCE: Duration = Duration::from_secs(10);

fn client(fake: &Fake) -> Client {
    client_of(&fake.home(), Start::Never, PATIENCE)
}

fn request() -> RunRequest {
    RunRequest { argv: vec!["true".into()], directory: "/".into(), ..RunRequest::default() }
}

#[test]
fn a_submit_is_repeated_with_its_key_until_it_is_answered_whole() {
    let fake = Fake::new(|_, before| match before {
        0 => Act::Cut,
        1 => Act::BodyCut(run_json("true-00000001", "starting", None)[..20].into()),
        _ => Act::Answer(200, run_json("true-00000001", "starting", None)),
    });
    let client = client(&fake);
    let key = Key::random().expect("a key");
    let run = block_on(client.submit(&request(), &key)).expect("a runtime").expect("a run");
    assert_eq!(run.id, "true-00000001");
    let asked = fake.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|a| a == &asked[0]), "each time the same");
    assert_eq!(asked[0].key.as_deref(), Some(key.as_str()));
    assert_eq!((asked[0].method.as_str(), asked[0].path.as_str()), ("POST", "/v1/runs"));
}

#[test]
fn one_connection_serves_many_requests() {
    let fake = Fake::new(|_, _| Act::Answer(200, run_json("a-00000001", "running", None)));
    let client = client(&fake);
    block_on(async {
        for _ in 0..3 {
            client.run("a-00000001").await.expect("a run");
        }
    })
    .expect("a runtime");
    assert_eq!(fake.asked().len(), 3);
}

#[test]
fn a_refusal_is_an_answer_and_not_repeated() {
    let body = r#"{"error":{"code":"refused","message":"overlap","hint":"wait","run":"a-00000002"}}"#;
    let fake = Fake::new(move |_, _| Act::Answer(409, body.into()));
    let error = block_on(client(&fake).submit(&request(), &Key::given("k"))).expect("a runtime").expect_err("refused");
    assert_eq!(error.code(), Some(Code::Refused));
    assert_eq!(fake.asked().len(), 1);
}

#[test]
fn an_answer_that_is_not_ours_is_named() {
    let fake = Fake::new(|_, _| Act::Answer(404, "<html>".into()));
    let error = block_on(client(&fake).server()).expect("a runtime").expect_err("strange");
    assert!(error.to_string().contains("404"), "{error}");
}

#[test]
fn a_silent_server_is_given_up_and_its_daemon_named() {
    let fake = Fake::new(|_, _| Act::Silence);
    let lock_path = fake.home().join("run/daemon.lock");
    std::fs::write(&lock_path, format!("{} 1", std::process::id())).expect("a file");
    let lock = std::fs::File::open(&lock_path).expect("the file");
    lock.lock().expect("the lock");
    let client = client_of(&fake.home(), Start::Never, Duration::from_millis(300));
    let error = block_on(client.server()).expect("a runtime").expect_err("silent");
    let Error::Silent { daemon: Some(daemon), .. } = &error else { panic!("{error:?}") };
    assert_eq!(daemon.pid, std::process::id());
    assert!(error.to_string().contains("has not answered"), "{error}");
}

#[test]
fn a_held_lock_and_a_dead_socket_are_a_pause() {
    let fake = Fake::new(|_, _| Act::Answer(200, run_json("a-00000001", "running", None)));
    let (there, away) = (fake.home().join("run/kin.sock"), fake.home().join("run/away"));
    std::fs::rename(&there, &away).expect("a rename");
    let client = client(&fake);
    // Whoever is refused looks at the lock.
    let looks = inotify::init(inotify::CreateFlags::CLOEXEC).expect("a watch");
    let lock = fake.home().join("state/server.lock");
    inotify::add_watch(&looks, lock, inotify::WatchFlags::OPEN).expect("watched");
    let back = std::thread::spawn(move || {
        let mut looks = [PollFd::new(&looks, PollFlags::IN)];
        let deadline = Timespec { tv_sec: 10, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut looks, Some(&deadline)), Ok(1), "nobody was refused");
        std::fs::rename(&away, &there).expect("a rename");
    });
    let run = block_on(client.run("a-00000001"));
    back.join().expect("no panic");
    assert_eq!(run.expect("a runtime").expect("a run").id, "a-00000001");
}

#[test]
fn without_a_server_only_who_may_starts_one() {
    let mut fake = Fake::new(|_, _| Act::Cut);
    fake.let_go();
    let error = block_on(client(&fake).server()).expect("a runtime").expect_err("no server");
    assert!(matches!(error, Error::NoServer { .. }), "{error:?}");
}

#[test]
fn a_server_that_was_shut_down_and_left_its_runs_is_started_again() {
    let fake = Fake::new(|_, _| Act::Answer(200, run_json("a-00000001", "running", None)));
    let home = fake.home();
    std::fs::write(home.join("run/closed"), "").expect("a mark");
    let error = block_on(client(&fake).server()).expect("a runtime").expect_err("no server");
    assert!(matches!(error, Error::NoServer { .. }), "{error:?}");
    let client = client_of(&home, script(&home, &format!("rm {}/run/closed", home.display())), PATIENCE);
    block_on(client.run("a-00000001")).expect("a runtime").expect("a run");
}

#[test]
fn where_no_daemon_answers_a_front_is_asked_to_look_after_it() {
    let fake = Fake::new(|_, before| match before {
        0 => Act::Silence,
        _ => Act::Answer(200, run_json("a-00000001", "running", None)),
    });
    let home = fake.home();
    let client = client_of(&home, script(&home, "echo here >&2"), Duration::from_millis(2300));
    let error = block_on(client.run("a-00000001")).expect("a runtime").expect_err("silent");
    assert!(matches!(error, Error::Silent { .. }), "{error:?}");
    assert_eq!(client.take_notices(), ["here"]);
}

fn script(directory: &Path, text: &str) -> Start {
    let path = directory.join("server.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    Start::With(path)
}

#[test]
fn a_server_is_started_and_what_it_says_is_kept() {
    let mut fake = Fake::new(|_, _| Act::Answer(200, run_json("a-00000001", "running", None)));
    let home = fake.home();
    std::fs::rename(home.join("run/kin.sock"), home.join("run/away")).expect("a rename");
    std::fs::write(home.join("run/kin.sock"), "").expect("a file");
    fake.let_go();
    let text = format!("echo \"$@\" >&2\nmv {0}/run/away {0}/run/kin.sock", home.display());
    let client = client_of(&home, script(&home, &text), Duration::from_secs(10));
    let run = block_on(client.run("a-00000001")).expect("a runtime").expect("a run");
    assert_eq!(run.id, "a-00000001");
    assert_eq!(client.take_notices(), ["serve --background"]);
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let mut fake = Fake::new(|_, _| Act::Cut);
    fake.let_go();
    let start = script(&fake.home(), "echo 'the ledger is newer than this kin' >&2; exit 2");
    let client = client_of(&fake.home(), start, Duration::from_secs(10));
    let error = block_on(client.server()).expect("a runtime").expect_err("not started");
    let Error::NotStarted { code: Some(2), said, .. } = &error else { panic!("{error:?}") };
    assert_eq!(said, "the ledger is newer than this kin");
}

#[test]
fn a_socket_path_that_is_too_long_is_reached_through_its_directory() {
    let fake = Fake::new(|_, _| Act::Answer(200, run_json("a-00000001", "running", None)));
    let long = fake.home().join("d".repeat(120));
    std::fs::create_dir(&long).expect("a directory");
    std::os::unix::fs::symlink(fake.home().join("state"), long.join("state")).expect("a link");
    let client = client_of(&long, Start::Never, Duration::from_secs(10));
    block_on(client.run("a-00000001")).expect("a runtime").expect("a run");
}

#[test]
fn a_listing_goes_on_page_by_page_and_counts_what_is_wanted() {
    let page = |runs: &[&str], next: Option<&str>| {
        let runs: Vec<String> = runs.iter().map(|id| run_json(id, "ended", Some("ok"))).collect();
        let next = next.map_or(String::new(), |n| format!(r#","next":"{n}""#));
        format!(r#"{{"runs":[{}]{next}}}"#, runs.join(","))
    };
    let fake = Fake::new(move |asked, _| {
        let body = if asked.path.contains("before=b-00000003") {
            page(&["b-00000002", "a-00000001"], None)
        } else {
            page(&["b-00000004", "b-00000003"], Some("b-00000003"))
        };
        Act::Answer(200, body)
    });
    let client = client(&fake);
    let query = RunQuery::default();
    let runs = client.runs_of(&query, Page::Newest(3), |run| run.id != "b-00000003");
    let ids: Vec<String> = block_on(runs).expect("a runtime").expect("runs").into_iter().map(|r| r.id).collect();
    assert_eq!(ids, ["b-00000004", "b-00000002", "a-00000001"]);
}

#[test]
fn a_wait_ends_with_the_run_or_with_its_time() {
    let fake = Fake::new(|asked, _| {
        if asked.path.starts_with("/v1/runs/a-00000001/") {
            Act::Answer(200, run_json("a-00000001", "ended", Some("failed")))
        } else {
            Act::Answer(202, run_json("b-00000001", "running", None))
        }
    });
    let client = client(&fake);
    let (ended, not) = block_on(async {
        (client.wait("a-00000001", None).await, client.wait("b-00000001", Some(Duration::ZERO)).await)
    })
    .expect("a runtime");
    assert_eq!(ended.expect("an answer").expect("a run").exit_code, Some(3));
    assert_eq!(not.expect("an answer"), None);
}

/// Its lock is never free: it has gone over to the next one, in whose answer the caller is interested.
#[test]
fn a_daemon_that_ends_and_is_followed_at_once_is_not_waited_for() {
    let lock = std::sync::Arc::new(std::sync::OnceLock::<std::path::PathBuf>::new());
    let of = std::sync::Arc::clone(&lock);
    let fake = Fake::new(move |_, before| match before {
        0 => {
            std::fs::write(of.get().expect("it is known by then"), "2 2").expect("the next one says who it is");
            Act::Answer(503, r#"{"error":{"code":"closing","message":"the server is ending"}}"#.into())
        }
        _ => Act::Answer(200, run_json("a-00000001", "running", None)),
    });
    let path = fake.home().join("run/daemon.lock");
    std::fs::write(&path, "1 1").expect("a file");
    let held = std::fs::File::open(&path).expect("the file");
    held.lock().expect("the lock");
    lock.set(path).expect("once");
    let run = block_on(client(&fake).run("a-00000001")).expect("a runtime").expect("a run");
    assert_eq!((run.id.as_str(), fake.asked().len()), ("a-00000001", 2));
}
