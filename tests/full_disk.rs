//! A disk that is full, or damaged beneath it: kin stays, says so, and tells the truth once there is room again.

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use testkit::http::Request;
use testkit::server::{self, Options};
use testkit::{Cli, Role, Server, eventually, guest_path, is_root, not_run, procfs};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

/// A small tmpfs, unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(options: &str) -> Option<SmallDisk> {
        let dir = tempfile::Builder::new().prefix("kin-disk-").tempdir_in("/tmp").expect("a directory").keep();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "kin-test"]).arg(&dir).status();
        mounted.is_ok_and(|status| status.success()).then_some(SmallDisk(dir))
    }
    fn fill(&self) -> PathBuf {
        let filler = self.0.join("filler");
        let mut file = std::fs::File::create(&filler).expect("a file");
        let chunk = vec![1; 64 << 10];
        while std::io::Write::write_all(&mut file, &chunk).is_ok() {}
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        if unmounted.is_ok_and(|status| status.success()) {
            drop(std::fs::remove_dir(&self.0));
        }
    }
}

fn free_bytes(dir: &Path) -> u64 {
    let stat = rustix::fs::statvfs(dir).expect("statvfs");
    stat.f_bavail * stat.f_frsize
}

#[test]
fn inv_14_a_full_disk_costs_no_truth() {
    if !is_root() {
        return not_run("the full disk needs root, to mount a small one");
    }
    let Some(disk) = SmallDisk::mount("size=48m,mode=755") else {
        return not_run("no tmpfs can be mounted for the full disk");
    };
    let server = Options::new(KIN).below(&disk.0).start();
    let guest = guest_path();
    let size: u64 = 6_000_000;
    let words = [
        guest.to_str().expect("text"),
        "run",
        "index=1",
        "seed=3",
        &format!("out={size}"),
        "err=0",
        "chunk=65536",
        "spread_us=1500000",
        "end=exit:7",
    ];
    let id = server.submit(&server.request(&words))["id"].as_str().expect("an id").to_string();
    server.wait_state(&id, &["running"]);
    let filler = disk.fill();
    eventually("the disk is full", server::DEADLINE, || (free_bytes(&disk.0) < 64 << 10).then_some(()));

    // Alive, and reads work.
    let mut http = server.http();
    assert_eq!(http.get("/v1/server").status, 200);
    assert_eq!(http.get("/v1/runs").status, 200);
    assert_eq!(server.show(&id)["state"], "running");
    // A new run is refused by name, or accepted and true in the end.
    let request = Request::post("/v1/runs", &server.request(&["true"])).key("while-full");
    let answer = http.insist(&request, server::DEADLINE).expect("an answer");
    let accepted = match answer.status {
        201 => Some(answer.json()["id"].as_str().expect("an id").to_string()),
        507 => {
            let said = answer.json();
            assert!(said["error"]["message"].as_str().is_some_and(|m| !m.is_empty()), "{said}");
            None
        }
        other => panic!("{other}: {}", answer.json()),
    };

    std::fs::remove_file(filler).expect("room again");
    let run = server.wait_end_within(&id, 3 * server::DEADLINE);
    assert_eq!((run["outcome"].as_str(), run["exit_code"].as_u64()), (Some("failed"), Some(7)), "{run}");
    let count = |name: &str| run[name].as_u64().expect("a count");
    assert_eq!(count("out_bytes") + count("out_dropped"), size, "kept or counted, each byte: {run}");
    if count("out_dropped") == 0 {
        assert_eq!(testkit::pattern::wrong(3, 0, size, &server.output(&id, "out")), None);
    }
    if let Some(id) = accepted {
        assert_eq!(server.wait_end(&id)["outcome"], "ok");
    }
    let after = server.submit(&server.request(&["sh", "-c", "exit 8"]));
    assert_eq!(server.wait_end(after["id"].as_str().expect("an id"))["exit_code"], 8);
    server.stop();
    // What the log of events had no room for followed; its numbers have neither a hole nor a double.
    let log = std::fs::read_to_string(server.state().join("events.log")).expect("a log of events");
    let numbers = log.lines().map(|line| line.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok()));
    assert!(numbers.eq((1..).map(Some).take(log.lines().count())) && log.ends_with("]\n"), "{log}");
    assert!(log.contains("outcome=[failed] exit_code=[7]") && log.contains("exit_code=[8]"), "{log}");
    drop(server);
    drop(disk);
}

/// Room, and no inode: no file can be made.
#[test]
fn a_disk_without_inodes_costs_no_truth() {
    if !is_root() {
        return not_run("the full disk needs root, to mount a small one");
    }
    let Some(disk) = SmallDisk::mount("size=48m,mode=755,nr_inodes=200") else {
        return not_run("no tmpfs can be mounted for the full disk");
    };
    let server = Options::new(KIN).below(&disk.0).start();
    let script = "while [ ! -e go ]; do sleep 0.02; done; echo said; exit 7";
    let id = server.submit(&server.request(&["sh", "-c", script]))["id"].as_str().expect("an id").to_string();
    server.wait_state(&id, &["running"]);
    std::fs::write(server.home().join("soon"), "").expect("written");
    let filler = |n: u32| disk.0.join(format!("filler-{n}"));
    let count = (0..).take_while(|n| std::fs::write(filler(*n), "").is_ok()).count();
    let disk_says = || checked(&server, "disk");
    assert_eq!(disk_says()["result"], "failed", "{}", disk_says());
    assert!(disk_says()["message"].as_str().is_some_and(|text| text.contains("inodes")), "{}", disk_says());
    let request = Request::post("/v1/runs", &server.request(&["true"])).key("while-full");
    let answer = server.http().insist(&request, server::DEADLINE).expect("an answer");
    assert_eq!(answer.status, 507, "{}", answer.json());
    // Its first word needs a file: it waits, and nothing of it is lost.
    std::fs::rename(server.home().join("soon"), server.home().join("go")).expect("renamed");
    eventually("its output waits", server::DEADLINE, || {
        (checked(&server, "output")["result"] == "failed").then_some(())
    });
    for n in 0..u32::try_from(count).expect("few") {
        std::fs::remove_file(filler(n)).expect("removed");
    }
    let run = server.wait_end(&id);
    assert_eq!((run["exit_code"].as_u64(), run["out_dropped"].as_u64()), (Some(7), Some(0)), "{run}");
    assert_eq!(server.output(&id, "out"), b"said\n");
    assert_eq!(disk_says()["result"], "ok", "{}", disk_says());
    server.stop();
}

/// The disk of a server is full, and its reserve as it was, or gone.
fn full_house(size: &str, reserve: bool) -> Option<(SmallDisk, Server, PathBuf)> {
    if !is_root() {
        not_run("the full disk needs root, to mount a small one");
        return None;
    }
    let Some(disk) = SmallDisk::mount(&format!("size={size},mode=755")) else {
        not_run("no tmpfs can be mounted for the full disk");
        return None;
    };
    let server = Options::new(KIN).below(&disk.0).start();
    let cli = Cli::new(&server);
    cli.run(&["exec", "--detach", "--id", "plain", "--", "sleep", "600"]).expect(0);
    let deaf = "trap '' TERM; echo ready; while :; do sleep 1; done";
    cli.run(&["exec", "--detach", "--id", "deaf", "--", "sh", "-c", deaf]).expect(0);
    cli.run(&["exec", "--detach", "--id", "signalled", "--", "sleep", "600"]).expect(0);
    cli.run(&["exec", "--detach", "--id", "held", "--pending", "go", "--", "true"]).expect(0);
    for job in ["plain", "deaf", "signalled"] {
        eventually("it runs", server::DEADLINE, || (newest(&server, job)["state"] == "running").then_some(()));
    }
    let deaf = newest(&server, "deaf")["id"].as_str().expect("an id").to_string();
    eventually("it is deaf", server::DEADLINE, || (server.output(&deaf, "out") == b"ready\n").then_some(()));
    if !reserve {
        std::fs::write(server.state().join("reserve"), "").expect("no reserve");
    }
    let filler = disk.fill();
    Some((disk, server, filler))
}

fn newest(server: &Server, job: &str) -> Value {
    server.http().get(&format!("/v1/runs?job={job}&limit=1")).expect(200).json()["runs"][0].clone()
}

fn pid_of(server: &Server, job: &str) -> u32 {
    u32::try_from(newest(server, job)["pid"].as_u64().expect("a pid")).expect("a pid")
}

/// One check of the doctor.
fn checked(server: &Server, name: &str) -> Value {
    let doctor = server.http().get("/v1/server/doctor").expect(200).json();
    let checks = doctor["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["name"] == name).cloned().unwrap_or_default()
}

#[test]
fn on_a_full_disk_everything_ends_that_is_told_to_and_is_recorded() {
    let Some((disk, server, filler)) = full_house("48m", true) else { return };
    let cli = Cli::new(&server);
    // Whatever there is still room for in the ledger's own files: in the end nothing new is taken.
    eventually("new runs are refused", server::DEADLINE, || {
        let said = cli.run(&["exec", "--", "true"]);
        (said.code == 5).then(|| assert!(said.errors().contains("the disk is full"), "{said:?}"))
    });
    cli.run(&["signal", "TERM", "signalled"]).expect(0);
    let run = server.wait_end(newest(&server, "signalled")["id"].as_str().expect("an id"));
    assert_eq!((run["outcome"].as_str(), run["signal"].as_u64()), (Some("signaled"), Some(15)), "{run}");
    let why = cli.run(&["why", "signalled"]).expect(0).text();
    assert!(why.contains("uid:0 had the signal TERM sent to it"), "{why}");
    cli.run(&["stop", "--wait", "plain"]).expect(0);
    cli.run(&["kill", "--wait", "deaf"]).expect(0);
    for job in ["plain", "deaf"] {
        let run = newest(&server, job);
        assert_eq!((run["outcome"].as_str(), run["not_recorded"].as_str()), (Some("stopped"), None), "{run}");
    }
    let doctor = cli.run(&["doctor"]).expect(1).text();
    assert!(doctor.contains("nothing new is started"), "{doctor}");
    assert!(doctor.contains("whole") && !doctor.contains("degraded"), "the keepers are well: {doctor}");
    // A daemon that starts on a full disk has the reserve too.
    server.kill(Role::Daemon).expect("a daemon");
    server.wait_whole(server::DEADLINE);
    let said = cli.run(&["shutdown", "--stop-runs", "--wait"]).expect(0).text();
    assert!(said.contains("cancelled"), "{said}");
    server.assert_gone(server::DEADLINE);
    std::fs::remove_file(filler).expect("room again");
    server.start_again();
    assert_eq!(newest(&server, "held")["outcome"], "cancelled");
    let log = std::fs::read_to_string(server.state().join("events.log")).expect("a log of events");
    assert!(log.contains(" WARN event=[disk.full]"), "the history has it too: {log}");
    assert_eq!(cli.run(&["exec", "--", "sh", "-c", "exit 8"]).code, 8);
    cli.run(&["doctor"]).expect(0);
    server.stop();
    drop(server);
    drop(disk);
}

/// Also where nothing at all can be recorded, and the daemon dies in the middle of it.
#[test]
fn a_stop_works_though_nothing_can_be_recorded() {
    let Some((disk, server, filler)) = full_house("48m", false) else { return };
    let cli = Cli::new(&server);
    eventually("not even an end can be recorded", server::DEADLINE, || {
        (cli.run(&["exec", "--", "true"]).code == 5 && free_bytes(&disk.0) == 0).then_some(())
    });
    let (plain, deaf) = (pid_of(&server, "plain"), pid_of(&server, "deaf"));
    let said = cli.run(&["stop", "plain"]).expect(0);
    assert!(said.errors().contains("not recorded yet: the disk is full"), "{said:?}");
    assert!(procfs::gone_within(plain, server::DEADLINE));
    // Its end is shown, and said to be nowhere else.
    let run = eventually("its end is known", server::DEADLINE, || {
        let run = newest(&server, "plain");
        (run["state"] == "ended").then_some(run)
    });
    assert_eq!((run["outcome"].as_str(), run["not_recorded"].as_str()), (Some("stopped"), Some("the disk is full")));
    assert_eq!(checked(&server, "recording")["result"], "failed");
    cli.run(&["stop", "held"]).expect(5);
    server.kill(Role::Daemon).expect("a daemon");
    server.wait_whole(server::DEADLINE);
    cli.run(&["kill", "deaf"]).expect(0);
    assert!(procfs::gone_within(deaf, server::DEADLINE));
    let said = cli.run(&["shutdown", "--stop-runs"]).expect(0);
    assert!(said.errors().contains("not recorded yet"), "{said:?}");
    let gone = procfs::gone_within(server.pid(Role::Keeper).unwrap_or(0), server::DEADLINE);
    assert!(gone, "{}", server.describe());
    std::fs::remove_file(filler).expect("room again");
    server.start_again();
    for job in ["plain", "deaf", "signalled"] {
        let run = server.wait_end(newest(&server, job)["id"].as_str().expect("an id"));
        assert_eq!((run["outcome"].as_str(), run["not_recorded"].as_str()), (Some("stopped"), None), "{run}");
    }
    assert_eq!(newest(&server, "held")["state"], "held", "what was not recorded did not happen to it");
    assert_eq!(checked(&server, "recording"), Value::Null);
    server.stop();
    drop(server);
    drop(disk);
}

/// The first server of a state has nothing to lose: it says why it cannot be, and is gone.
#[test]
fn a_server_that_finds_no_room_to_begin_says_so_and_ends() {
    if !is_root() {
        return not_run("the full disk needs root, to mount a small one");
    }
    let Some(disk) = SmallDisk::mount("size=64k,mode=755") else {
        return not_run("no tmpfs can be mounted for the full disk");
    };
    let server = Options::new(KIN).below(&disk.0).prepare();
    let cli = Cli::new(&server);
    let begun = Instant::now();
    let state = server.state();
    let words = "kin: the server for $KIN_HOME/state could not be started: the disk of $KIN_HOME/state is full: \
        nothing could be recorded. Nothing was started; make room, then ask again\n";
    assert_eq!(cli.run(&["exec", "--", "true"]).expect(3).errors(), words);
    assert!(begun.elapsed() < server::DEADLINE, "nobody waits for what does not come");
    server.assert_gone(server::DEADLINE);
    let log = std::fs::read_to_string(state.join("server.log")).expect("reads");
    assert!(!log.contains("started again") && !log.contains("Zombie"), "{log}");
    // As soon as there is room all is well.
    let grown = Command::new("mount").args(["-o", "remount,size=24m"]).arg(&disk.0).status().expect("runs");
    assert!(grown.success());
    assert_eq!(cli.run(&["exec", "--", "echo", "hi"]).expect(0).text(), "hi\n");
    cli.run(&["shutdown", "--wait"]).expect(0);
    server.assert_gone(server::DEADLINE);
}

/// Runs go on, and no daemon can be had: who wants the end of the server gets it all the same, when they have ended.
#[test]
fn a_server_whose_daemon_cannot_start_any_more_can_be_ended() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    let go = server.home().join("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let id = cli.run(&["exec", "--detach", "--", "sh", "-c", &script]).expect(0).line();
    server.wait_state(&id, &["running"]);
    cli.run(&["shutdown", "--leave-runs", "--wait"]).expect(0);
    let path = server.state().join("kin.db");
    let mut ledger = std::fs::read(&path).expect("reads");
    // Where SQLite's header keeps the user version.
    let version: [u8; 4] = ledger[60..64].try_into().expect("four bytes");
    ledger[60..64].copy_from_slice(&9999u32.to_be_bytes());
    std::fs::write(&path, &ledger).expect("writes");
    let said = cli.run(&["ps"]).expect(2).errors();
    assert!(said.contains("was written by a newer kin") && !said.contains(['␊', '{']), "{said}");
    assert!(said.ends_with("start that one, or move the file away\n"), "{said}");
    let (elder, keeper) = (server.pid(Role::Elder).expect("an elder"), server.pid(Role::Keeper).expect("a keeper"));
    let said = cli.run(&["shutdown"]).expect(0).errors();
    assert!(said.contains("does not run; its keepers were told to end, and do so when their runs have"), "{said}");
    std::fs::write(go, "").expect("writes");
    assert!([elder, keeper].into_iter().all(|pid| procfs::gone_within(pid, server::DEADLINE)));
    // And nothing is lost.
    ledger[60..64].copy_from_slice(&version);
    std::fs::write(&path, &ledger).expect("writes");
    server.start_again();
    assert_eq!(server.wait_end(&id)["exit_code"], 0);
    server.shutdown();
}

/// Nobody hangs without a word: not who waits for a run, nor who stops it, nor who follows it.
#[test]
fn who_waits_for_an_end_that_cannot_be_recorded_is_told() {
    let Some((disk, server, filler)) = full_house("48m", false) else { return };
    let cli = Cli::new(&server);
    eventually("not even an end can be recorded", server::DEADLINE, || {
        (cli.run(&["exec", "--", "true"]).code == 5 && free_bytes(&disk.0) == 0).then_some(())
    });
    let begin = |args: &[&str]| {
        let mut command = cli.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("begins")
    };
    let mut waiting = [begin(&["wait", "plain"]), begin(&["tail", "-f", &id_of(&server, "plain")])];
    let mut stopping = begin(&["stop", "--wait", "plain"]);
    let id = id_of(&server, "plain");
    let told = format!(
        "kin: {id} has ended: stopped; that cannot be recorded yet: the disk is full; make room on the disk of {}; waiting\n",
        server.state().display()
    );
    for child in waiting.iter_mut().chain([&mut stopping]) {
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
        assert_eq!(line, told);
    }
    // An end that somebody waits for until then may come late.
    cli.run(&["wait", "--timeout", "100ms", "plain"]).expect(124);
    let ps = cli.run(&["ps"]).expect(0).text();
    assert!(ps.contains("ended stopped, not recorded"), "{ps}");
    std::fs::remove_file(filler).expect("room again");
    for (child, code) in waiting.into_iter().zip([1, 0]).chain([(stopping, 0)]) {
        let said = child.wait_with_output().expect("ends");
        assert_eq!(said.status.code(), Some(code), "{said:?}");
    }
    server.stop();
    drop(server);
    drop(disk);
}

fn id_of(server: &Server, job: &str) -> String {
    newest(server, job)["id"].as_str().expect("an id").to_string()
}

/// A server whose disk the output of a run has filled, which ends with 9 when it is told to.
fn filled_by_output() -> Option<(SmallDisk, Server, String)> {
    if !is_root() {
        not_run("the full disk needs root, to mount a small one");
        return None;
    }
    let Some(disk) = SmallDisk::mount("size=12m,mode=755") else {
        not_run("no tmpfs can be mounted for the full disk");
        return None;
    };
    let server = Options::new(KIN).below(&disk.0).start();
    let script = "trap 'exit 9' TERM; head -c 20000000 /dev/zero & wait";
    Cli::new(&server).run(&["exec", "--detach", "--id", "big", "--", "sh", "-c", script]).expect(0);
    eventually("it waits", server::DEADLINE, || (checked(&server, "output")["result"] == "failed").then_some(()));
    let id = id_of(&server, "big");
    Some((disk, server, id))
}

/// It ended as it was told to, and that is recorded, with so many bytes dropped.
fn is_stopped_with(run: &Value, dropped: std::ops::Range<u64>) {
    let facts = (run["outcome"].as_str(), run["exit_code"].as_u64(), run["not_recorded"].as_str());
    assert_eq!(facts, (Some("stopped"), Some(9), None), "{run}");
    assert!(run["out_dropped"].as_u64().is_some_and(|count| dropped.contains(&count)), "{run}");
}

/// What is kept back is for the ends of runs and not for their last words.
#[test]
fn output_that_filled_the_disk_does_not_take_the_reserve() {
    let Some((disk, server, id)) = filled_by_output() else { return };
    let cli = Cli::new(&server);
    cli.run(&["stop", "big"]).expect(0);
    // After the minute that output waits for room, with what its pipe held.
    let run = server.wait_end_within(&id, 3 * server::DEADLINE);
    is_stopped_with(&run, 1..(1 << 20) + 1);
    assert!(std::fs::metadata(server.state().join("reserve")).expect("a reserve").len() > 0);
    cli.run(&["shutdown", "--stop-runs", "--wait"]).expect(0);
    drop(server);
    drop(disk);
}

/// Who removes the log of a run that waits for room has its room, also where not even its end could be recorded.
#[test]
fn output_that_filled_the_disk_does_not_keep_its_room() {
    let Some((disk, server, id)) = filled_by_output() else { return };
    let cli = Cli::new(&server);
    std::fs::write(server.state().join("reserve"), "").expect("no reserve");
    let filler = disk.fill();
    let pid = pid_of(&server, "big");
    cli.run(&["stop", "big"]).expect(0);
    assert!(procfs::gone_within(pid, server::DEADLINE));
    assert!(filler.exists());
    std::fs::remove_file(server.state().join(format!("logs/big/{id}.out"))).expect("removed");
    is_stopped_with(&server.wait_end(&id), (8 << 20)..u64::MAX);
    eventually("its room is there again", server::DEADLINE, || (free_bytes(&disk.0) > 8 << 20).then_some(()));
    cli.run(&["shutdown", "--stop-runs", "--wait"]).expect(0);
    drop(server);
    drop(disk);
}

/// The same while somebody follows it.
#[test]
fn a_follower_does_not_keep_the_room_of_a_log_that_was_removed() {
    let Some((disk, server, id)) = filled_by_output() else { return };
    let request = Request::get(format!("/v1/runs/{id}/output?follow=true"));
    let mut http = server.http();
    let mut said = http.stream(&request).expect("a stream");
    // It has the file open.
    said.read_exact(&mut vec![0; 1 << 20]).expect("output");
    std::thread::scope(|scope| {
        let rest = scope.spawn(|| std::io::copy(&mut said, &mut std::io::sink()));
        std::fs::remove_file(server.state().join(format!("logs/big/{id}.out"))).expect("removed");
        let run = server.wait_end(&id);
        assert_eq!(run["exit_code"], 0, "{run}");
        rest.join().expect("no panic").expect("it ends with the run");
    });
    Cli::new(&server).run(&["shutdown", "--stop-runs", "--wait"]).expect(0);
    drop(server);
    drop(disk);
}

/// What a run had written when it was told to end waits for the disk like any other's, however long after its linger.
#[test]
fn the_last_words_of_a_run_stopped_on_a_full_disk_are_kept_until_there_is_room() {
    let Some((disk, server, filler)) = full_house("48m", true) else { return };
    let cli = Cli::new(&server);
    drop(std::fs::remove_file(&filler));
    let aside = tempfile::tempdir().expect("a directory");
    let (go, said) = (aside.path().join("go"), aside.path().join("said"));
    let words = 10 * 4096;
    let script = format!(
        "while [ ! -e {} ]; do sleep 0.02; done; head -c {words} /dev/zero; : > {}; exec sleep 600",
        go.display(),
        said.display()
    );
    cli.run(&["exec", "--detach", "--id", "last", "--", "sh", "-c", &script]).expect(0);
    eventually("it runs", server::DEADLINE, || (newest(&server, "last")["state"] == "running").then_some(()));
    let filler = disk.fill();
    std::fs::write(&go, "").expect("written");
    eventually("it has said all", server::DEADLINE, || said.exists().then_some(()));
    eventually("it waits", server::DEADLINE, || (checked(&server, "output")["result"] == "failed").then_some(()));
    let pid = pid_of(&server, "last");
    cli.run(&["stop", "last"]).expect(0);
    assert!(procfs::gone_within(pid, server::DEADLINE));
    // Longer than its linger, and less than the minute after which output is dropped.
    let over = testkit::within(std::time::Duration::from_secs(8), || {
        let run = newest(&server, "last");
        (run["state"] == "ended").then_some(run)
    });
    assert_eq!(over, None, "what it wrote is nowhere yet");
    std::fs::remove_file(filler).expect("room again");
    let run = server.wait_end(&id_of(&server, "last"));
    let count = |name: &str| run[name].as_u64();
    assert_eq!(
        (run["outcome"].as_str(), count("out_bytes"), count("out_dropped")),
        (Some("stopped"), Some(words), Some(0)),
        "{run}"
    );
    assert_eq!(server.output(&id_of(&server, "last"), "out").len() as u64, words);
    server.stop();
    drop(server);
    drop(disk);
}

#[test]
fn output_that_waits_for_the_disk_is_said_by_why_and_doctor() {
    let Some((disk, server, filler)) = full_house("48m", true) else { return };
    let cli = Cli::new(&server);
    drop(std::fs::remove_file(&filler));
    let noisy = "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done";
    let id = cli.run(&["exec", "--detach", "--id", "noisy", "--", "sh", "-c", noisy]).expect(0).text();
    let filler = disk.fill();
    eventually("it waits", server::DEADLINE, || (checked(&server, "output")["result"] == "failed").then_some(()));
    let doctor = cli.run(&["doctor"]).expect(1).text();
    assert!(doctor.contains(&format!("{}: its output is blocked since 20", id.trim())), "{doctor}");
    assert!(doctor.contains("0 bytes were dropped so far"), "{doctor}");
    assert!(!doctor.contains("degraded"), "{doctor}");
    let json = cli.run(&["doctor", "--json"]).expect(1).json();
    assert_eq!((json["ok"].as_bool(), json["guard"].as_str()), (Some(false), Some("whole")), "{json}");
    let why = cli.run(&["why", "noisy"]).expect(0).text();
    assert!(why.contains("Its output is blocked since 20") && why.contains("because the disk is full"), "{why}");
    assert!(why.contains("Its output is in ") && why.contains(".out ("), "{why}");
    cli.run(&["kill", "noisy"]).expect(0);
    std::fs::remove_file(filler).expect("room again");
    server.wait_end(id.trim());
    eventually("nothing waits", server::DEADLINE, || (checked(&server, "output")["result"] == "ok").then_some(()));
    server.stop();
    drop(server);
    drop(disk);
}

#[test]
fn old_output_goes_before_the_disk_is_full() {
    let Some((disk, server, filler)) = full_house("48m", true) else { return };
    let cli = Cli::new(&server);
    drop(std::fs::remove_file(&filler));
    let guest = guest_path();
    let size: u64 = 5_000_000;
    let out = format!("out={size}");
    let guest = guest.to_str().expect("text");
    let words = [guest, "run", "index=1", "seed=4", &out, "err=0", "chunk=65536", "spread_us=0", "end=exit:3"];
    let mut ids = Vec::new();
    // More than there is room for.
    for _ in 0..13 {
        let mut request = server.request(&words);
        request["job"] = "writer".into();
        let id = server.submit(&request)["id"].as_str().expect("an id").to_string();
        let run = server.wait_end(&id);
        let field = |name: &str| run[name].as_u64().expect("a count");
        assert_eq!((field("exit_code"), field("out_bytes"), field("out_dropped")), (3, size, 0), "{run}");
        ids.push(id);
    }
    let floor = (48 << 20) / 20;
    eventually("the floor is kept", server::DEADLINE, || (free_bytes(&disk.0) >= floor).then_some(()));
    assert_eq!(testkit::pattern::wrong(4, 0, size, &server.output(&ids[12], "out")), None, "the newest is whole");
    let oldest = server.state().join(format!("logs/writer/{}.out", ids[0]));
    assert!(!oldest.exists(), "the oldest went first");
    assert_eq!(server.show(&ids[0])["exit_code"], 3, "and stays in the history");
    let why = cli.run(&["why", &ids[0]]).expect(0).text();
    assert!(why.contains("Its output, 5000000 bytes, is no longer kept."), "{why}");
    assert_eq!(newest(&server, "plain")["state"], "running");
    server.stop();
    drop(server);
    drop(disk);
}

/// Its first 64 MiB and its newest bytes stay; what goes in between is counted, to the byte.
#[test]
fn a_run_that_fills_the_disk_loses_its_middle_and_goes_on() {
    let Some((disk, server, filler)) = full_house("220m", true) else { return };
    drop(std::fs::remove_file(&filler));
    const SEGMENT: u64 = 64 << 20;
    let guest = guest_path();
    let size: u64 = 5 * SEGMENT + 12_345;
    let out = format!("out={size}");
    let guest = guest.to_str().expect("text");
    let words = [guest, "run", "index=1", "seed=5", &out, "err=0", "chunk=1048576", "spread_us=0", "end=exit:0"];
    let id = server.submit(&server.request(&words))["id"].as_str().expect("an id").to_string();
    let run = server.wait_end_within(&id, 4 * server::DEADLINE);
    assert_eq!((run["outcome"].as_str(), run["out_bytes"].as_u64()), (Some("ok"), Some(size)), "{run}");
    let dropped = run["out_dropped"].as_u64().expect("a count");
    assert!(dropped > 0 && dropped.is_multiple_of(SEGMENT), "{run}");
    let job = run["job"].as_str().expect("a job");
    let segment = |n: u64| {
        let end = if n == 1 { String::new() } else { format!(".{n}") };
        std::fs::read(server.state().join(format!("logs/{job}/{id}.out{end}"))).ok()
    };
    let mut kept = 0;
    for n in 1..=6 {
        let Some(bytes) = segment(n) else {
            assert!(n != 1 && n != 6, "segment {n} is gone");
            continue;
        };
        kept += bytes.len() as u64;
        let mut want = vec![0; bytes.len()];
        testkit::pattern::fill(5, 0, (n - 1) * SEGMENT, &mut want);
        assert!(bytes == want, "segment {n} is not what was written");
    }
    assert_eq!(kept + dropped, size, "kept or counted, each byte");
    server.stop();
    drop(server);
    drop(disk);
}

/// What a history says of each run: id, outcome, code.
/// Packing needs room for the packed file beside the plain one. Without it, all stays as it was, and it is said.
#[test]
fn a_full_disk_leaves_old_output_as_it_was() {
    if !is_root() {
        return not_run("packing on a full disk needs root, to mount a small one");
    }
    let Some(disk) = SmallDisk::mount("size=40m,mode=755") else {
        return not_run("no tmpfs can be mounted for packing on a full disk");
    };
    // To its daemons every run ended days ago.
    let days_later = [("KIN_TEST_CLOCK", "200000"), ("KIN_TEST_CARE_MS", "100")];
    let mut server = Options::new(KIN).below(&disk.0).start();
    let size = 12_000_000;
    let mut request = server.request(&["head", "-c", &size.to_string(), "/dev/urandom"]);
    request["job"] = "noise".into();
    let id = server.submit(&request)["id"].as_str().expect("an id").to_string();
    server.wait_end(&id);
    let wrote = server.output(&id, "out");
    server.stop();
    let filler = disk.fill();
    let room = std::fs::OpenOptions::new().write(true).open(&filler).expect("opens");
    room.set_len(room.metadata().expect("there").len() - (6 << 20)).expect("gives some room");
    drop(room);
    days_later.iter().for_each(|(name, value)| server.set_env(name, *value));
    server.start_again();
    let nudge = |server: &Server| {
        let run = server.submit(&server.request(&["true"]));
        server.wait_end(run["id"].as_str().expect("an id"));
    };
    nudge(&server);
    let said = || {
        let log = std::fs::read_to_string(server.state().join("events.log")).unwrap_or_default();
        log.lines().find(|line| line.contains("there is no room to pack it")).map(String::from)
    };
    eventually("it is said", server::DEADLINE, said);
    let file = |end: &str| server.state().join(format!("logs/noise/{id}.{end}"));
    assert!(file("out").exists() && !file("out.zst").exists() && !file("out.zst.new").exists());
    assert!(server.output(&id, "out") == wrote);
    std::fs::remove_file(filler).expect("removes");
    server.kill(testkit::Role::Daemon).expect("a daemon");
    server.wait_whole(server::DEADLINE);
    nudge(&server);
    eventually("it is packed", server::DEADLINE, || (!file("out").exists()).then_some(()));
    assert!(server.output(&id, "out") == wrote);
    server.shutdown();
}

fn history(server: &Server) -> Vec<(String, String, Option<u64>)> {
    let list = server.http().get("/v1/runs?limit=100").expect(200).json();
    let of = |run: &Value| {
        let text = |name: &str| run[name].as_str().unwrap_or_default().to_string();
        (text("id"), text("outcome"), run["exit_code"].as_u64())
    };
    list["runs"].as_array().expect("runs").iter().map(of).collect()
}

fn ledger_files(state: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    ["kin.db", "kin.db-wal"]
        .into_iter()
        .map(|name| state.join(name))
        .filter_map(|path| Some((path.clone(), std::fs::read(path).ok()?)))
        .collect()
}

/// Cut, zeroed or flipped anywhere: what is shown is true, and what is missing is said.
#[test]
fn inv_15_a_damaged_ledger_is_never_a_silently_empty_or_false_history() {
    let server = Server::start(KIN);
    for n in 0..24 {
        let run = server.submit(&server.request(&["sh", "-c", &format!("echo {n}; exit {}", n % 4)]));
        server.wait_end(run["id"].as_str().expect("an id"));
    }
    let truth = history(&server);
    assert_eq!(truth.len(), 24);
    server.stop();
    let state = server.state();
    let good = ledger_files(&state);
    let main = good.first().expect("a ledger").1.len();
    let mut rng = testkit::rng::Rng::new(15);
    type Damage = (String, Box<dyn Fn(&mut Vec<u8>)>);
    let mut damages: Vec<Damage> = Vec::new();
    for at in [0, 17, 512, 4096, main / 2, main - 1] {
        damages.push((format!("cut at {at}"), Box::new(move |bytes| bytes.truncate(at))));
    }
    for page in 0..(main / 4096).min(12) {
        let from = page * 4096;
        damages.push((format!("page {page} zeroed"), Box::new(move |bytes| bytes[from..from + 4096].fill(0))));
    }
    for _ in 0..14 {
        let at = rng.below(main as u64) as usize;
        damages.push((format!("byte {at} flipped"), Box::new(move |bytes| bytes[at] ^= 0x55)));
    }
    let mut noticed = 0;
    for (what, damage) in damages {
        for (path, bytes) in &good {
            std::fs::write(path, bytes).expect("the good ledger again");
        }
        let (path, mut bytes) = good.first().cloned().expect("a ledger");
        damage(&mut bytes);
        std::fs::write(&path, bytes).expect("damaged");
        drop(std::fs::remove_file(state.join("kin.db-shm")));
        server.start_again();
        let seen = history(&server);
        for row in &seen {
            let lost = row.1 == "lost" && row.2.is_none();
            assert!(truth.contains(row) || lost, "{what}: {row:?} is not what happened");
        }
        let aside: Vec<PathBuf> = std::fs::read_dir(&state)
            .expect("the state")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.to_string_lossy().contains(".corrupt-"))
            .collect();
        let doctor = server.http().get("/v1/server/doctor").expect(200).json().to_string();
        if seen.len() < truth.len() {
            let said = doctor.contains("\"warning\"") || doctor.contains("\"failed\"");
            assert!(!aside.is_empty() || said, "{what}: {} of 24 runs, and not a word", seen.len());
        }
        noticed += usize::from(!aside.is_empty());
        for path in aside {
            std::fs::remove_file(path).expect("removed");
        }
        server.stop();
    }
    assert!(noticed > 5, "most of these are set aside: {noticed}");
    drop(server);
}
