//! Job files that cannot be read, and a daemon that is killed beside them: what was defined stays as it was, to the key.

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use testkit::http::Request;
use testkit::server::{DEADLINE, Options, Role, Server};
use testkit::wait::eventually;

fn server(files: &[(&str, &str)]) -> Server {
    let server = Options::new(env!("CARGO_BIN_EXE_kin")).prepare();
    for (name, text) in files {
        std::fs::write(server.home().join(name), text).expect("writes");
    }
    server.start_again();
    server
}

fn append(server: &Server, file: &str, text: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(server.home().join(file)).expect("opens");
    file.write_all(text.as_bytes()).expect("writes");
}

fn job(server: &Server, name: &str) -> Value {
    let answer = server.http().insist(&Request::get(format!("/v1/jobs/{name}")), DEADLINE).expect("an answer");
    if answer.status == 404 { Value::Null } else { answer.expect(200).json() }
}

fn pid(server: &Server, name: &str) -> u64 {
    eventually(&format!("{name} runs"), DEADLINE, || {
        let job = job(server, name);
        job["runs"].as_array()?.iter().find(|run| run["state"] == "running")?["pid"].as_u64()
    })
}

fn told(server: &Server, words: &str) {
    let log = server.state().join("events.log");
    eventually(words, DEADLINE, || std::fs::read_to_string(&log).is_ok_and(|log| log.contains(words)).then_some(()));
}

fn reload(server: &Server) -> Value {
    server.http().insist(&Request::post("/v1/reload", &json!({})), DEADLINE).expect("an answer").expect(200).json()
}

fn another_daemon(server: &Server) {
    server.kill(Role::Daemon).expect("a daemon");
    server.wait_whole(DEADLINE);
    let mistakes = reload(server);
    assert!(!mistakes["mistakes"].as_array().expect("mistakes").is_empty(), "{mistakes}");
}

/// What a daemon that has never seen a file whole may get wrong.
fn words_of(server: &Server, names: &[&str]) -> Vec<Value> {
    let of = |name: &&str| {
        let job = job(server, name);
        json!([job["name"], job["rev"], job["kind"], job["up"], job["next_at"], job["never"]])
    };
    names.iter().map(of).collect()
}

#[test]
fn what_one_file_says_for_all_holds_whichever_is_broken_when_a_daemon_dies() {
    const MAIN: &str = "[kin]\ntimezone = 'Asia/Tokyo'\n[kin.calendars.workdays]\nweekdays = ['mon', 'tue', 'wed', 'thu', 'fri']\n\
                        [defaults]\nrestart = 'always'\nenv.GIVEN = 'by all'\n";
    const OTHER: &str = "[web]\ncommand = 'exec sleep 1000'\n[migrate]\ncommand = 'true'\nrestart = 'never'\n\
                         [day]\nrestart = 'never'\nschedule = '0 9 * * *'\ncommand = 'true'\n\
                         [cal]\nrestart = 'never'\nschedule = '0 9 * * *'\ncommand = 'true'\ncalendars = 'workdays'\n";
    const ALL: [&str; 4] = ["web", "migrate", "day", "cal"];
    let server = server(&[("kin.toml", MAIN), ("other.toml", OTHER)]);
    let web = pid(&server, "web");
    let before = words_of(&server, &ALL);
    assert!(before[2].to_string().contains("T00:00:00"), "nine in Tokyo: {before:?}");
    for (file, text) in [("other.toml", OTHER), ("kin.toml", MAIN)] {
        append(&server, file, "x y\n");
        told(&server, &format!("{file}:"));
        another_daemon(&server);
        assert_eq!(words_of(&server, &ALL), before, "{file} is broken");
        assert_eq!(pid(&server, "web"), web);
        std::fs::write(server.home().join(file), text).expect("mends");
        let mended = reload(&server);
        assert_eq!((&mended["mistakes"], &mended["steps"]), (&json!([]), &json!([])), "{mended}");
    }
    let kept = server.state().join("jobfiles");
    assert_eq!(std::fs::metadata(&kept).expect("is there").permissions().mode() & 0o777, 0o600);
    // A state of before: the jobs are known, and not what the main file says. Other files wait, and no job is another.
    append(&server, "kin.toml", "x y\n");
    told(&server, "kin.toml:8:");
    std::fs::remove_file(&kept).expect("removes");
    append(&server, "other.toml", "[more]\ncommand = 'true'\n");
    another_daemon(&server);
    let now = words_of(&server, &ALL);
    for (now, before) in now.iter().zip(&before) {
        assert_eq!((&now[1], &now[2], &now[3]), (&before[1], &before[2], &before[3]));
    }
    assert_eq!((pid(&server, "web"), job(&server, "more")), (web, Value::Null));
    let why = job(&server, "web")["stale_because"].to_string();
    assert!(why.contains("kin.toml cannot be read, and may have [defaults] for it"), "{why}");
    let why = job(&server, "day");
    assert!(why["next_at"].is_null(), "rather at no time than hours off: {why}");
    std::fs::write(server.home().join("kin.toml"), MAIN).expect("mends");
    eventually("it is taken", DEADLINE, || job(&server, "more").is_object().then_some(()));
    assert_eq!((words_of(&server, &ALL), pid(&server, "web")), (before, web));
}

#[test]
fn a_first_start_runs_nothing_without_the_defaults_that_a_mistake_hides() {
    let server = server(&[
        ("kin.toml", "[defaults]\nenv.GIVEN = 'by all'\nx y\n"),
        ("other.toml", "[web]\ncommand = 'exec sleep 1000'\nrestart = 'always'\n"),
    ]);
    told(&server, "other.toml is left out");
    assert_eq!(job(&server, "web"), Value::Null);
    std::fs::write(server.home().join("kin.toml"), "[defaults]\nenv.GIVEN = 'by all'\n").expect("mends");
    pid(&server, "web");
    assert_eq!(job(&server, "web")["rev"], 1);
}

#[test]
fn a_file_that_is_away_or_new_and_broken_while_a_daemon_begins_changes_nothing_of_what_is_in_force() {
    let text =
        "[web]\ncommand = 'exec sleep 1000'\nrestart = 'always'\n[t]\nschedule = '0 9 * * *'\ncommand = 'true'\n";
    let server = server(&[("kin.toml", text)]);
    let (web, before) = (pid(&server, "web"), words_of(&server, &["web", "t"]));
    let (file, away) = (server.home().join("kin.toml"), server.home().join("away"));
    std::fs::rename(&file, &away).expect("takes away");
    server.kill(Role::Daemon).expect("a daemon");
    let log = server.state().join("server.log");
    let missed =
        || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("kin.toml is gone or empty")).then_some(());
    eventually("the next daemon misses it", DEADLINE, missed);
    std::fs::rename(&away, &file).expect("brings back");
    server.wait_whole(DEADLINE);
    assert_eq!(reload(&server)["steps"], json!([]));
    assert_eq!((pid(&server, "web"), words_of(&server, &["web", "t"])), (web, before.clone()));
    // What is new, and never was good, said nothing until now.
    append(&server, "new.toml", "[kin]\ntimezone = 'Asia/Tokyo'\nx y\n");
    another_daemon(&server);
    assert_eq!((pid(&server, "web"), words_of(&server, &["web", "t"])), (web, before));
}

/// No file can be opened by it any more.
fn no_descriptors(daemon: Pid) {
    let open: BTreeSet<u64> = std::fs::read_dir(format!("/proc/{}/fd", daemon.as_raw_nonzero()))
        .expect("its descriptors")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let free = (0..).find(|number| !open.contains(number));
    let hard = getrlimit(Resource::Nofile).maximum;
    prlimit(Some(daemon), Resource::Nofile, Rlimit { current: free, maximum: hard }).expect("is limited");
}

#[test]
fn a_daemon_that_can_open_nothing_takes_no_job_away_and_reads_again_when_it_can() {
    let text = "[web]\ncommand = 'exec sleep 1000'\nrestart = 'always'\n[t]\ncommand = 'true'\n";
    let server = server(&[("kin.toml", text)]);
    let web = pid(&server, "web");
    let number = server.pid(Role::Daemon).expect("a daemon");
    let daemon = Pid::from_raw(i32::try_from(number).expect("a pid")).expect("a pid");
    let former = prlimit(Some(daemon), Resource::Nofile, getrlimit(Resource::Nofile)).expect("its limit");
    let log = server.state().join("events.log");
    // What it closes meanwhile may be opened again.
    eventually("it cannot read its files", DEADLINE, || {
        no_descriptors(daemon);
        append(&server, "kin.toml", "# more\n");
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("jobs.broken")).then_some(())
    });
    append(&server, "kin.toml", "[more]\ncommand = 'true'\n");
    prlimit(Some(daemon), Resource::Nofile, former).expect("is no more limited");
    eventually("it reads them again", DEADLINE, || job(&server, "more").is_object().then_some(()));
    assert_eq!(server.pid(Role::Daemon), Some(number), "the same daemon");
    assert_eq!((pid(&server, "web"), &job(&server, "t")["rev"]), (web, &json!(1)));
}
