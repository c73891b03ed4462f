//! What elder and keeper bear: names taken away, no descriptor left, somebody who looks after nothing.

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::os::fd::OwnedFd;
use std::time::Duration;
use testkit::server;
use testkit::wait::let_time_pass;
use testkit::{Role, Server, eventually, is_root, not_run, procfs};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

/// Leaves it room for so many more descriptors.
fn leave_room(pid: u32, free: usize) {
    let taken = procfs::descriptors(pid).expect("its descriptors");
    let last = (0..).filter(|fd| !taken.contains_key(fd)).nth(free).expect("numbers enough");
    limit_descriptors(pid, u64::from(last));
}

fn limit_descriptors(pid: u32, most: u64) {
    let pid = Pid::from_raw(pid as i32).expect("a pid");
    // The hard limit is the same for all of us, and stays.
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(most), maximum }).expect("limited");
}

/// A line each twentieth of a second, until it is told to end with 7.
fn talker(server: &Server) -> String {
    let end = server.home().join("end");
    let script = format!(
        "i=0; while [ ! -e {} ]; do echo line $i; i=$((i+1)); sleep 0.05; done; echo last; exit 7",
        end.display()
    );
    let id = server.submit(&server.request(&["sh", "-c", &script]))["id"].as_str().expect("an id").to_string();
    says_more(server, &id);
    id
}

fn says_more(server: &Server, id: &str) {
    let path = server.state().join(format!("logs/sh/{id}.out"));
    let len = || std::fs::metadata(&path).map_or(0, |meta| meta.len());
    let before = len();
    eventually("more is said", server::DEADLINE, || (len() > before).then_some(()));
}

/// All it said, each line once and in order, and its own code.
fn has_said_all(server: &Server, id: &str) {
    std::fs::write(server.home().join("end"), "").expect("written");
    let run = server.wait_end(id);
    assert_eq!((run["outcome"].as_str(), run["exit_code"].as_u64()), (Some("failed"), Some(7)), "{run}");
    let out = String::from_utf8(server.output(id, "out")).expect("text");
    let lines: Vec<&str> = out.lines().collect();
    let (last, rest) = lines.split_last().expect("lines");
    assert!(*last == "last" && rest.iter().enumerate().all(|(i, line)| *line == format!("line {i}")), "{out}");
}

#[test]
fn names_that_are_taken_away_one_by_one_are_made_again_and_runs_do_not_notice() {
    let server = Server::start(KIN);
    let id = talker(&server);
    let run_dir = std::fs::canonicalize(server.run_dir()).expect("the runtime directory");
    let names = || -> Vec<_> {
        let all = std::fs::read_dir(&run_dir).expect("reads").flatten().map(|e| e.path());
        all.filter(|p| p.file_name().is_some_and(|n| n != "daemon.lock") && !p.is_dir()).collect()
    };
    for name in names() {
        std::fs::remove_file(&name).expect("removed");
        let there = || std::fs::symlink_metadata(&name).is_ok().then_some(());
        // A table's name may also go for good, with the keeper whose last run it held.
        let live = eventually(&format!("{} is back", name.display()), server::DEADLINE, || {
            there()
                .map(|()| true)
                .or_else(|| (!names().is_empty() && server.look(&mut server.http()).is_ok()).then_some(false))
        });
        assert!(live || !name.ends_with("kin.sock"), "{}", name.display());
        server.wait_whole(server::DEADLINE);
        says_more(&server, &id);
    }
    // And whoever dies now: tables are reached by links to descriptors of the dead.
    for role in [Role::Elder, Role::Keeper, Role::Daemon, Role::Elder] {
        server.kill(role);
        server.wait_whole(server::DEADLINE);
        says_more(&server, &id);
    }
    has_said_all(&server, &id);
    server.stop();
}

/// A name that a dead elder made is there, and leads nowhere: it is made again too.
#[test]
fn names_that_an_elder_made_again_before_it_was_killed_are_made_again_by_the_next() {
    let faults = tempfile::tempdir().expect("a directory");
    let server = server::Options::new(KIN).env("KIN_FAULTS", faults.path().to_string_lossy()).start();
    let id = talker(&server);
    let run_dir = std::fs::canonicalize(server.run_dir()).expect("the runtime directory");
    let kept = |role: &str| std::fs::canonicalize(run_dir.join(role)).expect("its socket");
    let is_heard = |name: &std::path::Path| {
        let asked = std::os::unix::net::UnixDatagram::unbound().expect("a socket").connect(name);
        // Whatever it says to a socket of this kind, somebody has it open.
        !asked.is_err_and(|e| matches!(e.kind(), std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound))
    };
    for name in ["kin.sock", "notify.sock", "hand.sock", "elder", "keeper"] {
        server.wait_whole(server::DEADLINE);
        let name = if name.ends_with(".sock") { run_dir.join(name) } else { kept(name) };
        let elder = server.pid(Role::Elder);
        std::fs::write(faults.path().join("names-made"), "").expect("written");
        std::fs::remove_file(&name).expect("removed");
        eventually("another is the elder", server::DEADLINE, || {
            server.pid(Role::Elder).is_some_and(|now| Some(now) != elder).then_some(())
        });
        assert!(!faults.path().join("names-made").exists(), "it was killed when it had made them");
        let heard = testkit::within(server::DEADLINE, || is_heard(&name).then_some(()));
        // One of a generation that is over goes with it.
        assert!(heard.is_some() || !name.exists(), "nobody listens at {}", name.display());
        server.wait_whole(server::DEADLINE);
        says_more(&server, &id);
    }
    has_said_all(&server, &id);
    server.stop();
}

/// What goes while the elder makes the others again, or between two elders, is heard of too.
#[test]
fn a_name_that_goes_while_others_are_made_again_is_missed() {
    let server = Server::start(KIN);
    let run_dir = std::fs::canonicalize(server.run_dir()).expect("the runtime directory");
    let goes = |name: &str| {
        let made = inotify::init(inotify::CreateFlags::CLOEXEC).expect("a watch");
        inotify::add_watch(&made, &run_dir, inotify::WatchFlags::CREATE).expect("watched");
        let name = run_dir.join(name);
        std::fs::remove_dir_all(&name).expect("removed");
        // At once when it is there, not at the next look: the elder is still busy then.
        let deadline = Timespec { tv_sec: server::DEADLINE.as_secs() as i64, tv_nsec: 0 };
        while !name.is_dir() {
            let ready = rustix::event::poll(&mut [PollFd::new(&made, PollFlags::IN)], Some(&deadline));
            assert_eq!(ready, Ok(1), "{} is back", name.display());
            let mut news = [0; 4096];
            assert!(rustix::io::read(&made, &mut news).expect("news") > 0);
        }
    };
    for _ in 0..30 {
        goes("ready");
        goes("credentials");
    }
    server.wait_whole(server::DEADLINE);
    for _ in 0..10 {
        server.kill(Role::Elder).expect("there was one");
        goes("ready");
        server.wait_whole(server::DEADLINE);
    }
    server.stop();
}

#[test]
fn a_run_whose_spec_is_gone_is_heard_by_the_next_keeper_and_its_survivors_too() {
    let server = Server::start(KIN);
    let id = talker(&server);
    let leaky = "echo first; (while [ ! -e end ]; do sleep 0.02; done; echo late) & exit 0";
    let left = server.submit(&server.request(&["sh", "-c", leaky]))["id"].as_str().expect("an id").to_string();
    assert_eq!(server.wait_end(&left)["outcome"], "ok");
    std::fs::remove_dir_all(server.run_dir().join("spec")).expect("removed");
    for role in [Role::Keeper, Role::Elder, Role::Keeper] {
        server.wait_whole(server::DEADLINE);
        server.kill(role);
        server.wait_whole(server::DEADLINE);
        says_more(&server, &id);
    }
    has_said_all(&server, &id);
    let path = server.state().join(format!("logs/sh/{left}.out"));
    eventually("the survivor is heard", server::DEADLINE, || {
        (std::fs::read(&path).ok()? == b"first\nlate\n").then_some(())
    });
    server.stop();
}

#[test]
fn a_keeper_without_a_descriptor_left_sleeps_and_lets_in_again() {
    let server = Server::start(KIN);
    server.wait_whole(server::DEADLINE);
    let keeper = server.pid(Role::Keeper).expect("a keeper");
    let path = std::fs::canonicalize(server.run_dir().join("keeper")).expect("its socket");
    let knock = || -> Option<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a socket");
        rustix::net::connect(&socket, &SocketAddrUnix::new(&path).expect("short")).ok().map(|()| socket)
    };
    // A run is begun only where a quarter of all is free beside what it needs.
    leave_room(keeper, 20);
    // More than fit: the rest waits at the door.
    let crowd: Vec<OwnedFd> = (0..100).map_while(|_| knock()).collect();
    assert!(crowd.len() > 60, "{}", crowd.len());
    let switches = || procfs::switches(keeper).expect("its switches");
    let quiet = || {
        let before = switches();
        let_time_pass(Duration::from_millis(500));
        switches() == before
    };
    eventually("it sleeps while somebody knocks", server::DEADLINE, || quiet().then_some(()));
    // A run cannot be started now, and is not called failed for that.
    let id = server.submit(&server.request(&["true"]))["id"].as_str().expect("an id").to_string();
    let before = switches();
    let_time_pass(Duration::from_millis(1200));
    assert!(switches() - before < 30, "asked again and again: {} times", switches() - before);
    let run = server.show(&id);
    assert_ne!(run["state"], "ended", "{run}");
    drop(crowd);
    assert_eq!(server.wait_end(&id)["outcome"], "ok");
    server.stop();
}

#[test]
fn a_guard_is_degraded_while_the_elder_cannot_hold_a_runs_output_and_whole_again_after() {
    let server = Server::start(KIN);
    server.wait_whole(server::DEADLINE);
    let elder = server.pid(Role::Elder).expect("an elder");
    leave_room(elder, 9);
    let request = server.request(&["sleep", "100"]);
    let ids: Vec<String> =
        (0..66).map(|_| server.submit(&request)["id"].as_str().expect("an id").to_string()).collect();
    let guard = || server.http().get("/v1/server").expect(200).json()["guard"].as_str().map(String::from);
    let held = || procfs::descriptors(elder).map_or(0, |fds| fds.len());
    let degraded = testkit::wait::within(Duration::from_secs(10), || (guard()? == "degraded").then_some(()));
    assert!(degraded.is_some(), "the elder holds {} descriptors", held());
    limit_descriptors(elder, 4096);
    // The first end of one that is not held brings the two together.
    for id in ids.iter().rev() {
        server.http().post(&format!("/v1/runs/{id}/stop"), &serde_json::json!({"kill": true})).expect(200);
        server.wait_end(id);
        if guard().as_deref() == Some("whole") {
            break;
        }
    }
    eventually("whole again", server::DEADLINE, || (guard()? == "whole").then_some(()));
    server.stop();
}

/// Who takes a run over without a descriptor to hold its leader by calls it over neither then nor later, nor does the next.
#[test]
fn a_leader_that_could_not_be_held_for_want_of_a_descriptor_lives_on_at_the_next_elder_too() {
    let server = Server::start(KIN);
    server.wait_whole(server::DEADLINE);
    let (elder, keeper) = (server.pid(Role::Elder).expect("an elder"), server.pid(Role::Keeper).expect("a keeper"));
    let pipes = || {
        let held = procfs::descriptors(elder).expect("its descriptors");
        held.values().filter(|target| target.starts_with("pipe:")).count()
    };
    let before = pipes();
    let id = talker(&server);
    let pid = server.show(&id)["pid"].clone();
    eventually("the elder has duplicates of its pipes", server::DEADLINE, || (pipes() >= before + 2).then_some(()));
    leave_room(elder, 0);
    server.kill(Role::Keeper).expect("it was there");
    eventually("the elder has taken its runs", server::DEADLINE, || {
        std::fs::metadata(format!("/proc/{keeper}")).is_err().then_some(())
    });
    // What is said now is written by the elder, who has none to spare: it is said later.
    let_time_pass(Duration::from_millis(300));
    limit_descriptors(elder, 4096);
    server.wait_whole(server::DEADLINE);
    assert_eq!(server.pid(Role::Elder), Some(elder), "it lives");
    server.kill(Role::Elder).expect("it was there");
    server.wait_whole(server::DEADLINE);
    let run = server.show(&id);
    assert_eq!((run["state"].as_str(), &run["pid"]), (Some("running"), &pid), "{run}");
    server.kill(Role::Keeper).expect("it was there");
    server.wait_whole(server::DEADLINE);
    has_said_all(&server, &id);
    server.stop();
}

/// Its linger is over, and it has ended, whatever still holds its pipes, and whoever dies of saying so.
#[test]
fn a_run_that_left_somebody_ends_though_the_keeper_is_killed_while_it_records_that() {
    let faults = tempfile::tempdir().expect("a directory");
    let server = server::Options::new(KIN).env("KIN_FAULTS", faults.path().to_string_lossy()).start();
    for role in [Role::Keeper, Role::Elder] {
        server.wait_whole(server::DEADLINE);
        std::fs::write(faults.path().join("end-recorded"), "").expect("written");
        let request = server.request(&["sh", "-c", "(while [ ! -e end ]; do sleep 0.05; done) & exit 3"]);
        let id = server.submit(&request)["id"].as_str().expect("an id").to_string();
        eventually("the keeper dies of it", server::DEADLINE, || {
            (!faults.path().join("end-recorded").exists()).then_some(())
        });
        let run = server.wait_end(&id);
        assert_eq!((run["outcome"].as_str(), run["exit_code"].as_u64()), (Some("failed"), Some(3)), "{run}");
        server.kill(role);
    }
    server.wait_whole(server::DEADLINE);
    std::fs::write(server.home().join("end"), "").expect("written");
    server.stop();
}

/// Names that go are heard of by one that had no descriptor to watch them with when it became the elder.
#[test]
fn an_elder_that_could_not_watch_its_names_at_first_makes_them_again_all_the_same() {
    let server = Server::start(KIN);
    server.wait_whole(server::DEADLINE);
    let run_dir = std::fs::canonicalize(server.run_dir()).expect("the runtime directory");
    let keeper = server.pid(Role::Keeper).expect("a keeper");
    // Less than all that it has: whatever it closes makes no room.
    limit_descriptors(keeper, 8);
    server.kill(Role::Elder).expect("it was there");
    eventually("it is the elder", server::DEADLINE, || (server.pid(Role::Elder)? == keeper).then_some(()));
    let_time_pass(Duration::from_millis(300));
    limit_descriptors(keeper, 4096);
    server.wait_whole(server::DEADLINE);
    for name in ["hand.sock", "kin.sock"] {
        let name = run_dir.join(name);
        std::fs::remove_file(&name).expect("removed");
        eventually(&format!("{} is back", name.display()), server::DEADLINE, || name.exists().then_some(()));
    }
    server.wait_whole(server::DEADLINE);
    server.stop();
}

/// The one start that wakes the elder when there is room again is enough.
#[test]
fn a_run_that_the_elder_could_not_take_is_sent_again_at_the_next_start() {
    let server = Server::start(KIN);
    let guard = || server.http().get("/v1/server").expect(200).json()["guard"].as_str().map(String::from);
    let sleeper = || server.submit(&server.request(&["sleep", "1000"]))["id"].as_str().expect("an id").to_string();
    for _ in 0..3 {
        server.wait_whole(server::DEADLINE);
        let elder = server.pid(Role::Elder).expect("an elder");
        let mut ids = Vec::new();
        // Something that it held only for a moment may have been counted: then there is more room than meant.
        eventually("degraded", server::DEADLINE, || {
            leave_room(elder, 0);
            ids.push(sleeper());
            testkit::within(Duration::from_secs(1), || (guard()? == "degraded").then_some(()))
        });
        limit_descriptors(elder, 4096);
        ids.push(sleeper());
        let whole = testkit::within(Duration::from_secs(5), || (guard()? == "whole").then_some(()));
        assert!(whole.is_some(), "nobody has told the keeper that there is room");
        for id in ids {
            server.http().post(&format!("/v1/runs/{id}/stop"), &serde_json::json!({"kill": true})).expect(200);
            server.wait_end(&id);
        }
    }
    server.stop();
}

/// A listening socket is kept by both, or the guard is not whole.
#[test]
fn a_kept_socket_that_the_elder_could_not_take_is_sent_again() {
    let server = server::Options::new(KIN).prepare();
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let job =
        format!("[web]\ncommand = 'exec sleep 1000'\nsockets = [{{ name = 'http', tcp = '127.0.0.1:{port}' }}]\n");
    std::fs::write(server.home().join("jobs.toml"), job).expect("written");
    server.start_again();
    let elder = server.pid(Role::Elder).expect("an elder");
    leave_room(elder, 0);
    server.http().post("/v1/reload", &serde_json::json!({})).expect(200);
    let made = server.http().post("/v1/jobs/web/run", &serde_json::json!({})).json();
    let id = made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_string();
    server.wait_state(&id, &["running"]);
    let guard = || server.http().get("/v1/server").expect(200).json()["guard"].as_str().map(String::from);
    eventually("the guard is not whole", server::DEADLINE, || (guard()? == "degraded").then_some(()));
    server.http().post(&format!("/v1/runs/{id}/stop"), &serde_json::json!({"kill": true})).expect(200);
    server.wait_end(&id);
    limit_descriptors(elder, 4096);
    // Whatever wakes the elder next brings the two together.
    eventually("whole again", server::DEADLINE, || {
        let id = server.submit(&server.request(&["true"]))["id"].as_str()?.to_string();
        server.wait_end(&id);
        (guard()? == "whole").then_some(())
    });
    let is_there = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(is_there());
    server.kill(Role::Keeper).expect("a keeper");
    server.wait_whole(server::DEADLINE);
    assert!(is_there(), "the elder has it");
    server.stop();
}

#[test]
fn what_protects_the_keepers_from_the_oom_killer_does_not_protect_the_daemon() {
    if !is_root() {
        return not_run("only root may lower a score");
    }
    let score =
        |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("read").trim().to_string();
    let server = Server::start(KIN);
    let pids = server.pids().expect("all are there");
    let own = score(std::process::id());
    if score(pids.elder) != "-1000" {
        return not_run("the score may not be lowered here");
    }
    assert_eq!((score(pids.keeper).as_str(), score(pids.daemon)), ("-1000", own.clone()));
    server.kill(Role::Daemon);
    server.wait_whole(server::DEADLINE);
    assert_eq!(score(server.pid(Role::Daemon).expect("a daemon")), own);
    server.stop();
}
