//! One state directory is one server, whoever asks for it and from where.

use rustix::process::Signal;
use std::process::{Child, Stdio};
use std::time::Duration;
use testkit::server::{self, Options};
use testkit::{Cli, Role, Server, eventually, procfs, within};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

#[test]
fn inv_09_one_state_directory_has_at_most_one_server() {
    let server = Options::new(KIN).prepare();
    let start = |_| -> Child {
        let mut command = server.command();
        command.arg("serve").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("kin serve starts")
    };
    let mut fronts: Vec<Child> = (0..50).map(start).collect();
    let ended = |fronts: &mut Vec<Child>| fronts.iter_mut().filter_map(|f| f.try_wait().ok()?).count();
    eventually("49 have said so and ended", server::DEADLINE, || (ended(&mut fronts) == 49).then_some(()));
    for front in &mut fronts {
        let Some(status) = front.try_wait().expect("its status") else { continue };
        let mut said = String::new();
        std::io::Read::read_to_string(front.stderr.as_mut().expect("a pipe"), &mut said).expect("its words");
        assert_eq!(status.code(), Some(5), "{said}");
        assert!(said.contains("already running"), "{said}");
    }
    let mut http = server.http();
    let pid = http.get("/v1/server").expect(200).json()["pid"].as_u64();
    assert_eq!(pid, server.pid(Role::Daemon).map(u64::from));
    fronts.retain_mut(|front| matches!(front.try_wait(), Ok(None)));
    let mut front = fronts.pop().expect("one lives");
    assert_eq!(server.processes().len(), 4, "{}", server.describe());
    http.post("/v1/server/shutdown", &serde_json::json!({"runs": "stop"}));
    front.wait().expect("it ends with its server");
    server.assert_gone(server::DEADLINE);
}

#[test]
fn two_state_directories_are_two_servers() {
    let (a, b) = (Server::start(KIN), Server::start(KIN));
    let id = a.submit(&a.request(&["true"]))["id"].as_str().expect("an id").to_string();
    a.wait_end(&id);
    assert_eq!(b.http().get(&format!("/v1/runs/{id}")).status, 404);
    assert_ne!(a.pids(), b.pids());
    a.shutdown();
    assert_eq!(b.http().get("/v1/server").status, 200);
    b.shutdown();
}

/// A login has XDG_RUNTIME_DIR, cron has not, and logind takes the directory away at the last logout.
#[test]
fn the_same_server_is_reached_from_a_login_from_cron_and_after_its_runtime_directory_was_removed() {
    let runtime = tempfile::Builder::new().prefix("kin-xdg-").tempdir_in("/tmp").expect("a directory");
    let server = Options::new(KIN).prepare();
    let login = runtime.path().to_string_lossy().into_owned();
    let from_login = || Cli::new(&server).env("XDG_RUNTIME_DIR", &login);
    from_login().run(&["exec", "--", "true"]).expect(0);
    let daemon = server.pid(Role::Daemon).expect("a daemon");

    Cli::new(&server).run(&["exec", "--", "true"]).expect(0);
    assert_eq!(server.pid(Role::Daemon), Some(daemon), "cron reached the same");

    let place = std::fs::canonicalize(server.run_dir()).expect("the runtime directory");
    std::fs::remove_dir_all(&place).expect("removed");
    eventually("the elder has made its names anew", server::DEADLINE, || server.socket().exists().then_some(()));
    let said = within(server::DEADLINE, || {
        let said = Cli::new(&server).run(&["exec", "--", "echo", "again"]);
        (said.code == 0).then(|| said.text())
    });
    assert_eq!(said.as_deref(), Some("again\n"));
    let daemons = server.processes().iter().filter(|pid| procfs::command_line(**pid).contains(" daemon")).count();
    assert_eq!(daemons, 1, "{}", server.describe());
    let said = || {
        let log = std::fs::read_to_string(server.state().join("events.log")).ok()?;
        (log.matches("event=[server.directory]").count() == 1).then_some(())
    };
    eventually("an event says so, once", server::DEADLINE, said);
    assert!(!place.join("again").exists());
    server.stop();
}

/// All that lives goes on, and nothing of it could be reached any more.
#[test]
fn the_link_to_the_runtime_directory_is_made_again_when_somebody_removes_it() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    let id = cli.run(&["exec", "-d", "--id", "a", "--", "sh", "-c", "sleep 1; exit 5"]).expect(0).line();
    let (pids, place) = (server.pids(), std::fs::canonicalize(server.run_dir()).expect("the runtime directory"));
    for how in ["removed", "moved away"] {
        match how {
            "removed" => std::fs::remove_file(server.run_dir()).expect(how),
            _ => std::fs::rename(server.run_dir(), server.state().join("elsewhere")).expect(how),
        }
        cli.run(&["ps"]).expect(0);
        assert_eq!(std::fs::read_link(server.run_dir()).expect("a link"), place, "{how}");
    }
    assert!(cli.run(&["wait", &id]).expect(1).text().contains("failed(5)"));
    assert_eq!(server.pids(), pids, "nobody had to start anew");
    server.shutdown();
}

#[test]
fn a_server_that_is_told_to_leave_its_runs_leaves_them_and_the_next_one_knows_how_they_ended() {
    let server = Server::start(KIN);
    let long = server.submit(&server.request(&["sh", "-c", "sleep 1; echo late; exit 9"]));
    let id = long["id"].as_str().expect("an id").to_string();
    server.wait_state(&id, &["running"]);
    Cli::new(&server).run(&["shutdown", "--leave-runs"]).expect(0);
    eventually("the run has ended and the keepers with it", server::DEADLINE, || {
        server.processes().is_empty().then_some(())
    });
    server.start_again();
    let run = server.wait_end(&id);
    assert_eq!((run["outcome"].as_str(), run["exit_code"].as_u64()), (Some("failed"), Some(9)), "{run}");
    assert_eq!(server.output(&id, "out"), b"late\n");
    server.shutdown();
}

#[test]
fn a_front_that_is_told_to_end_says_so_and_leaves_nothing() {
    let server = Server::start(KIN);
    let front = server.front_pid().expect("a front");
    assert!(procfs::kill_marked(front, server.mark(), Signal::TERM).expect("signals it"));
    assert!(procfs::gone_within(front, Duration::from_secs(10)), "it ends");
    server.assert_gone(server::DEADLINE);
}
