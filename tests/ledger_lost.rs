//! A ledger that somebody removed: its loss is said, again and again, and nobody takes what is left for the whole.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
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

/// Under a server that lives it is as good as lost, and there is still time to know that.
#[test]
fn a_ledger_that_is_removed_under_its_server_is_what_the_doctor_finds() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    cli.run(&["doctor"]).expect(0);
    std::fs::remove_file(server.state().join("kin.db")).expect("removed");
    let doctor = cli.run(&["doctor"]).expect(1).text();
    let line = doctor.lines().find(|line| line.starts_with("ledger")).expect("a line of the ledger");
    assert_eq!(line.split_whitespace().nth(1), Some("failed"), "{doctor}");
    assert!(doctor.contains("kin.db was removed") && doctor.contains("hint: end the server"), "{doctor}");
    cli.run(&["shutdown", "--wait"]).expect(0);
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
