//! File systems without splice: output goes there in steps, and no death between two of them loses or doubles a byte.

use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::server::{DEADLINE, Options};
use testkit::{Cli, Role, Server, eventually, is_root, not_run, procfs};

const KIN: &str = env!("CARGO_BIN_EXE_kin");
const POINTS: [&str; 3] = ["output-taken", "output-written", "output-emptied"];

fn server(faults: &Path) -> Server {
    Options::new(KIN).env("KIN_NO_SPLICE", "1").env("KIN_FAULTS", faults.to_string_lossy()).start()
}

/// Two streams that talk until they are told to end.
fn talk(server: &Server, tty: bool) -> String {
    let script = "i=0; while [ ! -e end ]; do echo out $i; echo err $i >&2; i=$((i+1)); sleep 0.002; done; exit 7";
    let mut request = server.request(&["sh", "-c", script]);
    if tty {
        request["tty"] = json!({"rows": 24, "cols": 80});
    }
    server.submit(&request)["id"].as_str().expect("an id").to_string()
}

fn lines(server: &Server, id: &str, stream: &str, word: &str) -> usize {
    let text = String::from_utf8(server.output(id, stream)).expect("text").replace('\r', "");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(word)).collect();
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(*line, format!("{word} {i}"));
    }
    assert!(text.is_empty() || text.ends_with('\n'));
    lines.len()
}

fn whoever_steps_there_dies(server: &Server, faults: &Path, tty: bool) {
    let id = talk(server, tty);
    server.wait_state(&id, &["running"]);
    for round in 0..8 {
        for point in POINTS {
            let pids = server.pids().expect("all are there");
            std::fs::write(faults.join(point), "").expect("written");
            let lives = |pid| procfs::is_alive(pid);
            eventually(point, DEADLINE, || (!lives(pids.elder) || !lives(pids.keeper)).then_some(()));
            server.wait_whole(DEADLINE);
            // Whoever serves it then is the elder, forked from nobody; then it is the keeper who had it by fork.
            if round % 2 == 1 {
                server.kill(Role::Elder).expect("an elder");
                server.wait_whole(DEADLINE);
            }
        }
    }
    std::fs::write(server.home().join("end"), "").expect("written");
    let run = server.wait_end(&id);
    assert_eq!(run["exit_code"], 7, "{run}");
    let out = lines(server, &id, "out", "out");
    let err = lines(server, &id, if tty { "out" } else { "err" }, "err");
    assert!(out == err && out > 20, "{out} and {err}");
    server.stop();
}

#[test]
fn no_byte_is_lost_or_doubled_without_splice_whoever_dies() {
    let faults = tempfile::tempdir().expect("a directory");
    whoever_steps_there_dies(&server(faults.path()), faults.path(), false);
}

#[test]
fn no_byte_of_a_terminal_is_lost_or_doubled_without_splice_whoever_dies() {
    let faults = tempfile::tempdir().expect("a directory");
    whoever_steps_there_dies(&server(faults.path()), faults.path(), true);
}

/// A file system of its own for the logs of one job, for as long as this lives.
struct Mounted(PathBuf);

impl Mounted {
    fn at(dir: PathBuf) -> Option<Mounted> {
        std::fs::create_dir_all(&dir).expect("a directory");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m,mode=700", "kin-test"]).arg(&dir).status();
        mounted.is_ok_and(|status| status.success()).then_some(Mounted(dir))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(std::thread::panicking() || unmounted.is_ok_and(|status| status.success()), "unmounts");
    }
}

/// The state has splice; where the logs of this one job lie there is none.
fn where_one_job_logs_elsewhere(tty: bool) {
    if !is_root() {
        return not_run("a job whose logs lie elsewhere needs root, to mount something there");
    }
    let faults = tempfile::tempdir().expect("a directory");
    let mut server = Options::new(KIN).env("KIN_FAULTS", faults.path().to_string_lossy()).prepare();
    let Some(elsewhere) = Mounted::at(server.state().join("logs/sh")) else {
        return not_run("no tmpfs can be mounted for the logs of a job");
    };
    server.set_env("KIN_NO_SPLICE", elsewhere.0.to_string_lossy());
    server.start_again();
    // What lies with the rest goes its short way, and never comes to these points.
    std::fs::write(faults.path().join(POINTS[0]), "").expect("written");
    let here = server.submit(&server.request(&["echo", "here"]))["id"].as_str().expect("an id").to_string();
    assert_eq!(server.wait_end(&here)["out_bytes"], 5);
    std::fs::remove_file(faults.path().join(POINTS[0])).expect("nobody died of it");
    whoever_steps_there_dies(&server, faults.path(), tty);
}

#[test]
fn no_byte_is_lost_or_doubled_where_one_job_logs_elsewhere_whoever_dies() {
    where_one_job_logs_elsewhere(false);
}

#[test]
fn no_byte_of_a_terminal_is_lost_or_doubled_where_one_job_logs_elsewhere_whoever_dies() {
    where_one_job_logs_elsewhere(true);
}

/// Taken out of the run's pipe, and not written: nothing that the run does later wakes anybody for it.
#[test]
fn what_was_on_its_way_is_written_though_nothing_more_is_said() {
    let faults = tempfile::tempdir().expect("a directory");
    let server = server(faults.path());
    std::fs::write(faults.path().join("output-taken"), "").expect("written");
    let id = server.submit(&server.request(&["sh", "-c", "echo all there is; exec sleep 1000"]));
    let id = id["id"].as_str().expect("an id").to_string();
    let path = server.state().join(format!("logs/sh/{id}.out"));
    eventually("it is in the file", DEADLINE, || (std::fs::read(&path).ok()? == b"all there is\n").then_some(()));
    assert!(!faults.path().join("output-taken").exists());
    let pid = server.wait_state(&id, &["running"])["pid"].as_u64().expect("a pid");
    assert!(procfs::is_alive(u32::try_from(pid).expect("a pid")));
    server.wait_whole(DEADLINE);
    server.stop();
}

#[test]
fn an_upgrade_in_place_keeps_what_is_on_its_way() {
    let faults = tempfile::tempdir().expect("a directory");
    let server = server(faults.path());
    let id = talk(&server, false);
    server.wait_state(&id, &["running"]);
    for _ in 0..3 {
        Cli::new(&server).run(&["upgrade"]).expect(0);
        server.wait_whole(DEADLINE);
        server.kill(Role::Keeper).expect("a keeper");
        server.wait_whole(DEADLINE);
    }
    std::fs::write(server.home().join("end"), "").expect("written");
    assert_eq!(server.wait_end(&id)["exit_code"], 7);
    assert_eq!(lines(&server, &id, "out", "out"), lines(&server, &id, "err", "err"));
    server.stop();
}
