//! A disk that is full, or damaged beneath it: kin stays, says so, and tells the truth once there is room again.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::http::Request;
use testkit::server::{self, Options};
use testkit::{Server, eventually, guest_path, is_root, not_run};

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
