//! A ledger that somebody removed or damaged: it is mended, its loss is said, again and again, and nobody takes what is
//! left for the whole.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use testkit::server::{self, Options};
use testkit::{Cli, Server};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

/// Three runs, then no ledger. Says the number of the newest event there was.
fn lost() -> (Server, u64) {
    let server = Options::new(KIN).prepare();
    let cli = Cli::new(&server);
    for code in [0, 3, 4] {
        cli.run(&["exec", "--id", "old", "--", "sh", "-c", &format!("exit {code}")]).expect(code);
    }
    cli.run(&["shutdown", "--wait"]).expect(0);
    server.assert_gone(server::DEADLINE);
    let told = newest_event(&server);
    for entry in std::fs::read_dir(server.state()).expect("a state").flatten() {
        if entry.file_name().to_string_lossy().starts_with("kin.db") {
            std::fs::remove_file(entry.path()).expect("removed");
        }
    }
    (server, told)
}

fn newest_event(server: &Server) -> u64 {
    let log = std::fs::read_to_string(server.state().join("events.log")).expect("a log of events");
    let last = log.lines().last().expect("a line");
    last.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a number")
}

#[test]
fn a_ledger_that_is_missing_is_said_and_stays_said() {
    let (server, told) = lost();
    let cli = Cli::new(&server);
    // Loudly, to whoever asks first, and once.
    let said = cli.run(&["log"]).expect(0);
    let words =
        "kin: the ledger was lost: it is missing, and there are logs of runs; 3 runs were rebuilt from what they left";
    assert!(said.errors().starts_with(words), "{}", said.errors());
    assert_eq!(said.errors().lines().count(), 1, "{}", said.errors());
    assert_eq!(said.text().matches("old-").count(), 3, "{said:?}");
    assert_eq!(cli.run(&["log"]).expect(0).errors(), "");
    // By the doctor, also of the next server.
    for _ in 0..2 {
        let doctor = cli.run(&["doctor"]).expect(0).text();
        assert!(doctor.contains("3 runs were rebuilt") && doctor.contains("warning"), "{doctor}");
        assert!(!doctor.contains("damaged file was kept"), "{doctor}");
        assert!(doctor.contains("remove kin.db.rebuilt"), "{doctor}");
        cli.run(&["shutdown", "--wait"]).expect(0);
    }
    assert_eq!(cli.run(&["log"]).expect(0).errors(), "", "this server lost nothing");
    // What is not known of a run is said to be so.
    let why = cli.run(&["why", "old"]).expect(0).text();
    let line = why.lines().next().expect("a line");
    assert!(line.contains("was rebuilt from what it left, because the ledger was lost"), "{why}");
    assert!(line.ends_with("who asked for it, and when, is not known, nor its command"), "{why}");
    assert!(!why.contains("unknown at"), "{why}");
    // No event has a number that an event of the lost ledger had.
    let list = server.http().get("/v1/runs?limit=1").expect(200).json();
    assert_eq!(list["runs"][0]["exit_code"], 4, "{list}");
    assert!(newest_event(&server) > told, "{told}");
    let log = std::fs::read_to_string(server.state().join("events.log")).expect("a log of events");
    assert!(log.contains(&format!(" {} ", told + 1)) && !log.contains("events.lost"), "{log}");
    // Whoever has read it may end it.
    std::fs::remove_file(server.state().join("kin.db.rebuilt")).expect("it is there");
    assert!(!cli.run(&["doctor"]).expect(0).text().contains("rebuilt"));
    cli.run(&["shutdown", "--wait"]).expect(0);
}

/// SQLite refuses such a file in words of its own.
#[test]
fn a_ledger_of_an_unknown_format_is_set_aside_like_any_other_damage() {
    let server = Options::new(KIN).prepare();
    let cli = Cli::new(&server);
    cli.run(&["exec", "--id", "j", "--", "sh", "-c", "exit 3"]).expect(3);
    cli.run(&["shutdown", "--wait"]).expect(0);
    server.assert_gone(server::DEADLINE);
    let path = server.state().join("kin.db");
    let mut bytes = std::fs::read(&path).expect("a ledger");
    bytes[47] ^= 0xff;
    std::fs::write(&path, bytes).expect("written");
    let said = cli.run(&["log"]).expect(0);
    assert!(said.errors().contains("its header is damaged"), "{}", said.errors());
    assert_eq!(said.text().matches("j-").count(), 1, "{}", said.text());
    let names = std::fs::read_dir(server.state()).expect("a state").flatten();
    assert!(names.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("kin.db.corrupt-")));
    cli.run(&["shutdown", "--wait"]).expect(0);
}

/// Nothing that can be set aside: whoever asks is told why, be it the first start or one of a server that has runs.
#[test]
fn a_ledger_that_cannot_be_opened_is_said_to_whoever_asks() {
    let server = Options::new(KIN).prepare();
    let cli = Cli::new(&server);
    let path = server.state().join("kin.db");
    std::fs::create_dir_all(&path).expect("a directory");
    let refused = cli.run(&["log"]).expect(3);
    assert!(refused.errors().contains("kin.db cannot be used: Is a directory"), "{}", refused.errors());
    server.assert_gone(server::DEADLINE);
    std::fs::remove_dir(&path).expect("removed");
    let id = cli.run(&["exec", "-d", "--id", "j", "--", "sleep", "600"]).expect(0).text();
    for name in ["kin.db", "kin.db-wal", "kin.db-shm"] {
        std::fs::remove_file(server.state().join(name)).expect("removed");
    }
    std::fs::create_dir(&path).expect("a directory");
    server.kill(testkit::Role::Daemon).expect("a daemon");
    let refused = cli.run(&["log"]).expect(3);
    assert!(refused.errors().contains("kin.db cannot be used: Is a directory"), "{}", refused.errors());
    assert!(refused.errors().contains("cannot begin"), "{}", refused.errors());
    std::fs::remove_dir(&path).expect("removed");
    cli.run(&["stop", id.trim()]).expect(0);
    cli.run(&["shutdown", "--wait"]).expect(0);
}

/// What can become of a ledger under its server, each met by another: by a new run, by a reader, by the doctor.
#[test]
fn a_ledger_that_is_damaged_under_its_server_is_mended_at_once() {
    let emptied = |path: &Path| drop(std::fs::File::create(path).expect("emptied"));
    let cut = |path: &Path| {
        let file = std::fs::OpenOptions::new().write(true).open(path).expect("opens");
        file.set_len(5000).expect("cut");
    };
    let removed = |path: &Path| std::fs::remove_file(path).expect("removed");
    let replaced = |path: &Path| {
        std::fs::write(path.with_extension("other"), "no ledger at all").expect("written");
        std::fs::rename(path.with_extension("other"), path).expect("renamed");
    };
    for meets in ["exec", "log", "doctor"] {
        mended("emptied", emptied, meets);
        mended("cut short", cut, meets);
        mended("removed", removed, meets);
        mended("replaced", replaced, meets);
    }
}

fn mended(way: &str, harm: impl Fn(&Path), meets: &str) {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    cli.run(&["exec", "--id", "old", "--tag", "t", "--", "sh", "-c", "exit 3"]).expect(3);
    let live = cli.run(&["exec", "-d", "--id", "live", "--", "sleep", "600"]).expect(0).text();
    cli.run(&["exec", "-d", "--id", "gated", "-p", "gate", "--", "sh", "-c", "exit 4"]).expect(0);
    let before = testkit::eventually("it runs", server::DEADLINE, || {
        Some(server.show(live.trim())).filter(|run| run["state"] == "running")
    });
    let daemon = server.pid(testkit::Role::Daemon).expect("a daemon");
    harm(&server.state().join("kin.db"));
    let context = format!("{way}, met by {meets}");
    let said = match meets {
        "exec" => cli.run(&["exec", "--id", "new", "--", "sh", "-c", "exit 7"]).expect(7),
        "log" => cli.run(&["log"]).expect(0),
        _ => cli.run(&["doctor"]).expect(0),
    };
    assert_ne!(server.pid(testkit::Role::Daemon), Some(daemon), "{context}: {said:?}");
    assert!(said.errors().contains(&format!("{way} ")), "{context}: {}", said.errors());
    let doctor = cli.run(&["doctor"]).expect(0).text();
    assert!(doctor.contains("rebuilt from what they left") && doctor.contains(way), "{context}: {doctor}");
    // Nothing that lives is another than it was, nor what had not begun.
    let after = server.show(live.trim());
    assert_eq!(after, before, "{context}");
    let runs = cli.run(&["log", "--json=lines"]).expect(0).text();
    let run = |job: &str| {
        let all: Vec<_> = runs.lines().filter(|line| line.contains(&format!("\"job\":\"{job}\""))).collect();
        assert_eq!(all.len(), 1, "{context}: {job}: {runs}");
        serde_json::from_str::<serde_json::Value>(all[0]).expect("an object")
    };
    assert_eq!(run("old")["exit_code"], 3, "{context}: {runs}");
    if meets == "exec" {
        assert_eq!(run("new")["exit_code"], 7, "{context}: {runs}");
    }
    if way == "removed" || way == "replaced" {
        // All of it could still be read.
        assert!(doctor.contains("and all of it was saved"), "{context}: {doctor}");
        assert_eq!(run("old")["tags"][0], "t", "{context}: {runs}");
    }
    cli.run(&["release", "gate"]).expect(0);
    let gated = cli.run(&["wait", "gated"]).expect(1).text();
    assert!(gated.contains("failed(4)"), "{context}: {gated}");
    let names = std::fs::read_dir(server.state()).expect("a state").flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let kept = names.iter().any(|name| name.starts_with("kin.db.corrupt-") && name.ends_with('Z'));
    assert_eq!(kept, way != "removed", "{context}");
    cli.run(&["stop", live.trim()]).expect(0);
    server.shutdown();
}

/// Nobody meets it where all that is asked for lies in the log and in memory: whoever writes looks into it.
#[test]
fn a_ledger_that_is_zeroed_under_its_server_is_mended() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    cli.run(&["exec", "--id", "old", "--", "sh", "-c", "exit 3"]).expect(3);
    let daemon = server.pid(testkit::Role::Daemon).expect("a daemon");
    let path = server.state().join("kin.db");
    let written = || std::fs::metadata(&path).and_then(|found| found.modified()).expect("a time");
    let (length, before) = (std::fs::metadata(&path).expect("a ledger").len(), written());
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("opens");
    testkit::eventually("its time is another", server::DEADLINE, || {
        file.write_all_at(&vec![0; length as usize], 0).expect("zeroed");
        (written() != before).then_some(())
    });
    cli.run(&["exec", "--id", "new", "--", "sh", "-c", "exit 7"]).expect(7);
    testkit::eventually("it is mended", server::DEADLINE, || {
        server.pid(testkit::Role::Daemon).filter(|pid| *pid != daemon)
    });
    let log = cli.run(&["log"]).expect(0).text();
    assert_eq!((log.matches("old-").count(), log.matches("new-").count()), (1, 1), "{log}");
    assert!(cli.run(&["doctor"]).expect(0).text().contains("rebuilt"));
    server.shutdown();
}

/// As by whoever copies it elsewhere and back: what is accepted from then on stands in what everybody finds.
#[test]
fn a_state_that_is_replaced_by_its_copy_goes_on_in_the_copy() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    cli.run(&["exec", "--id", "old", "--", "sh", "-c", "exit 3"]).expect(3);
    let state = server.state();
    let away = state.with_extension("away");
    let copied = std::process::Command::new("cp").arg("-a").arg(&state).arg(state.with_extension("copy")).status();
    assert!(copied.expect("copies").success());
    std::fs::rename(&state, &away).expect("renamed");
    std::fs::rename(state.with_extension("copy"), &state).expect("renamed");
    cli.run(&["exec", "--id", "new", "--", "sh", "-c", "exit 7"]).expect(7);
    std::fs::remove_dir_all(&away).expect("removed");
    let daemon = server.kill(testkit::Role::Daemon).expect("a daemon");
    testkit::eventually("another daemon", server::DEADLINE, || {
        server.pid(testkit::Role::Daemon).filter(|pid| *pid != daemon)
    });
    let log = cli.run(&["log"]).expect(0).text();
    assert_eq!((log.matches("old-").count(), log.matches("new-").count()), (1, 1), "{log}");
    server.shutdown();
}

/// A number of another ledger: the listener is told, and hears what happens from then on.
#[test]
fn a_listener_from_beyond_the_newest_event_is_told_and_hears() {
    let server = Server::start(KIN);
    let mut stream = UnixStream::connect(server.socket()).expect("connects");
    stream.set_read_timeout(Some(server::DEADLINE)).expect("a time");
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 999999\r\n\r\n").expect("asks");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    let reset = lines.find(|line| line.starts_with("data: ")).expect("an event");
    assert!(reset.contains("\"kind\":\"events.reset\"") && reset.contains("no event 999999 is known here"), "{reset}");
    let run = server.submit(&server.request(&["true"]));
    let id = run["id"].as_str().expect("an id");
    assert!(lines.any(|line| line.starts_with("data: ") && line.contains(id)));
    server.shutdown();
}
