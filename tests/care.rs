//! Care of what was: old runs go, old output is packed, the ledger is copied and looked over. Never what still lives.

use serde_json::Value;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use testkit::http::Request;
use testkit::server::{self, Options};
use testkit::{Cli, Role, Server, eventually, guest_path, pattern};

const KIN: &str = env!("CARGO_BIN_EXE_kin");
const OUT: u64 = 3_000_000;
const ERR: u64 = 200_000;

/// To its daemons every run ended days ago; they take care soon after an end.
fn days_later() -> Options {
    Options::new(KIN).env("KIN_TEST_CLOCK", "200000").env("KIN_TEST_CARE_MS", "100")
}

fn id(run: &Value) -> String {
    run["id"].as_str().expect("an id").to_string()
}

fn job(server: &Server, job: &str, argv: &[&str]) -> String {
    let mut request = server.request(argv);
    request["job"] = job.into();
    id(&server.submit(&request))
}

/// Whatever its end is to wake up.
fn nudge(server: &Server) {
    server.wait_end(&job(server, "nudge", &["true"]));
}

fn writer(server: &Server) -> String {
    let guest = guest_path();
    let (out, err) = (format!("out={OUT}"), format!("err={ERR}"));
    let words = ["run", "index=1", "seed=5", &out, &err, "chunk=65536", "spread_us=0", "end=exit:0"];
    let argv: Vec<&str> = std::iter::once(guest.to_str().expect("text")).chain(words).collect();
    let id = job(server, "writer", &argv);
    server.wait_end(&id);
    id
}

fn log(server: &Server, id: &str, end: &str) -> PathBuf {
    let job = id.rsplit_once('-').expect("a job").0;
    server.state().join(format!("logs/{job}/{id}.{end}"))
}

#[track_caller]
fn reads_true(server: &Server, id: &str) {
    for (which, name, len) in [(0, "out", OUT), (1, "err", ERR)] {
        assert_eq!(pattern::wrong(5, which, len, &server.output(id, name)), None, "{name}");
        let said = Cli::new(server).run(&["jl", &format!("--{name}"), id]).expect(0);
        assert_eq!(pattern::wrong(5, which, len, &said.out), None, "jl --{name}");
    }
    let path = format!("/v1/runs/{id}/output?stream=out&offset={}&limit=10", OUT - 10);
    let tail = server.http().get(&path).expect(200).body;
    assert_eq!(tail, &server.output(id, "out")[OUT as usize - 10..]);
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn events(server: &Server, kind: &str) -> Vec<String> {
    let text = std::fs::read_to_string(server.state().join("events.log")).unwrap_or_default();
    text.lines().filter(|line| line.contains(kind)).map(String::from).collect()
}

#[test]
fn packing_dies_at_each_step_and_no_byte_is_lost() {
    let faults = tempfile::Builder::new().prefix("kin-faults-").tempdir_in("/tmp").expect("a directory");
    let arm = |point: &str| std::fs::write(faults.path().join(point), "").expect("armed");
    arm("pack-written");
    let server = days_later().env("KIN_FAULTS", faults.path().to_string_lossy()).start();
    let id = writer(&server);
    let dies_at = |point: &str| {
        eventually(point, server::DEADLINE, || (!faults.path().join(point).exists()).then_some(()));
        server.wait_whole(server::DEADLINE);
    };
    dies_at("pack-written");
    assert!(log(&server, &id, "out").exists() || log(&server, &id, "err").exists());
    let begun = |name: &String| name.ends_with(".zst.new");
    assert!(names(&server.state().join("logs/writer")).iter().any(begun), "it died in the middle");
    reads_true(&server, &id);

    arm("pack-renamed");
    nudge(&server);
    dies_at("pack-renamed");
    let both = ["out", "err"].into_iter().filter(|end| log(&server, &id, end).exists());
    assert!(both.clone().any(|end| log(&server, &id, &format!("{end}.zst")).exists()), "it died with both there");
    reads_true(&server, &id);

    nudge(&server);
    let done = || (!log(&server, &id, "out").exists() && !log(&server, &id, "err").exists()).then_some(());
    eventually("both are packed", server::DEADLINE, done);
    let left: Vec<String> = names(&server.state().join("logs/writer"));
    let want: Vec<String> = ["err.zst", "idx", "out.zst"].iter().map(|end| format!("{id}.{end}")).collect();
    assert_eq!(left.iter().filter(|name| *name != "ends").collect::<Vec<_>>(), want.iter().collect::<Vec<_>>());
    reads_true(&server, &id);
    assert_eq!(server.show(&id)["out_bytes"], OUT);
    assert_eq!(events(&server, "logs.trouble"), Vec::<String>::new());

    // What is damaged is named, by each way of reading; what lies before the damage is there.
    let place = log(&server, &id, "out.zst");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&place).expect("opens");
    let middle = file.metadata().expect("there").len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).expect("reads");
    file.write_all_at(&[byte[0] ^ 1], middle).expect("writes");
    for how in [&["jl", "--out", &id][..], &["jl", &id]] {
        let said = Cli::new(&server).run(how);
        assert_ne!(said.code, 0, "{how:?}");
        let named = format!("{id}.out.zst is damaged at its byte ");
        assert!(said.errors().contains(&named), "{how:?}: {}", said.errors());
    }
    server.shutdown();
}

#[test]
fn output_of_a_run_that_lives_or_just_ended_is_never_packed() {
    // No shift of the clock: what ended, ended today.
    let server = Options::new(KIN).env("KIN_TEST_CARE_MS", "100").start();
    let ended = writer(&server);
    let copied = || server.state().join("kin.db.bak").exists().then_some(());
    eventually("everything is looked over", server::DEADLINE, copied);
    nudge(&server);
    server.stop();
    assert!(log(&server, &ended, "out").exists() && !log(&server, &ended, "out.zst").exists());
    drop(server);

    // Ended for days, as the daemon sees it; but somebody still holds its pipe.
    let server = days_later().start();
    let script = "head -c 200000 /dev/zero; (trap '' TERM; sleep 8; echo late) & exit 0";
    let holds = job(&server, "holds", &["sh", "-c", script]);
    server.wait_end(&holds);
    let done = writer(&server);
    server.kill(Role::Daemon).expect("a daemon");
    server.wait_whole(server::DEADLINE);
    nudge(&server);
    eventually("the other is packed", server::DEADLINE, || log(&server, &done, "out.zst").exists().then_some(()));
    let mut want = vec![0; 200_000];
    want.extend_from_slice(b"late\n");
    eventually("what was left behind has written", server::DEADLINE, || {
        let output = server.output(&holds, "out");
        (output.len() == want.len()).then(|| assert!(output == want))
    });
    server.shutdown();
}

fn is_known(server: &Server, id: &str) -> bool {
    server.http().get(&format!("/v1/runs/{id}")).status == 200
}

#[test]
fn old_runs_go_by_age_and_what_has_not_ended_stays() {
    let mut server = Options::new(KIN).start();
    let ids: Vec<String> = (0..3).map(|_| job(&server, "old", &["echo", "gone"])).collect();
    ids.iter().for_each(|id| drop(server.wait_end(id)));
    let mut held = server.request(&["true"]);
    held["latch"] = "never".into();
    let held = id(&server.submit(&held));
    let leave = Request::post("/v1/server/shutdown", &serde_json::json!({"runs": "leave"}));
    assert_eq!(server.http().insist(&leave, server::DEADLINE).expect("an answer").status / 100, 2);
    eventually("it has ended", server::DEADLINE, || server.processes().is_empty().then_some(()));

    server.set_env("KIN_TEST_CLOCK", (40 * 86_400).to_string());
    server.set_env("KIN_TEST_CARE_MS", "100");
    server.start_again();
    let open = job(&server, "old", &["sh", "-c", "echo open; exec sleep 600"]);
    server.wait_state(&open, &["running"]);
    drop(job(&server, "nudge", &["true"]));
    for id in &ids {
        eventually("it is forgotten", server::DEADLINE, || (!is_known(&server, id)).then_some(()));
        for end in ["out", "idx"] {
            let path = log(&server, id, end);
            eventually("its logs are gone", server::DEADLINE, || (!path.exists()).then_some(()));
        }
    }
    assert_eq!(server.show(&open)["state"], "running");
    assert_eq!(server.show(&held)["state"], "held");
    assert_eq!(server.output(&open, "out"), b"open\n");
    // A run that waits would outlive the server.
    Cli::new(&server).run(&["stop", &held]).expect(0);
    server.shutdown();
}

#[test]
fn old_runs_go_by_count_and_a_jobs_output_by_its_size() {
    let keep = |text: &str| Options::new(KIN).env("KIN_TEST_KEEP", text).env("KIN_TEST_CARE_MS", "100").start();
    let ids = |server: &Server, of: &str, n: usize, argv: &[&str]| -> Vec<String> {
        let one = |_| {
            let id = job(server, of, argv);
            server.wait_end(&id);
            id
        };
        (0..n).map(one).collect()
    };
    let known = |server: &Server, ids: &[String]| -> Vec<bool> { ids.iter().map(|id| is_known(server, id)).collect() };

    let server = keep("per_job=3 job_bytes=100000");
    let open = job(&server, "b", &["sh", "-c", "head -c 90000 /dev/zero; exec sleep 600"]);
    server.wait_state(&open, &["running"]);
    let a = ids(&server, "a", 6, &["true"]);
    eventually("three of a job stay", server::DEADLINE, || {
        (known(&server, &a) == [false, false, false, true, true, true]).then_some(())
    });
    // A job's open run is never touched, and takes its share of the size.
    let b = ids(&server, "b", 2, &["head", "-c", "40000", "/dev/zero"]);
    let gone = |id: &str| server.http().get(&format!("/v1/runs/{id}/output?stream=out")).status == 410;
    eventually("the oldest output is gone", server::DEADLINE, || gone(&b[0]).then_some(()));
    assert_eq!(server.output(&b[1], "out").len(), 40_000, "the newest stays");
    assert_eq!(server.output(&open, "out").len(), 90_000, "the open one stays");
    assert_eq!(known(&server, &b), [true, true], "the history stays");
    assert!(!events(&server, "logs.trimmed").is_empty());
    server.shutdown();

    let server = keep("count=4");
    let open = job(&server, "c", &["sleep", "600"]);
    let c = ids(&server, "c", 7, &["true"]);
    eventually("four in all stay", server::DEADLINE, || {
        (known(&server, &c) == [false, false, false, true, true, true, true]).then_some(())
    });
    assert_eq!(server.show(&open)["state"], "running");
    server.shutdown();
}

#[test]
fn the_copy_of_the_ledger_brings_back_what_nothing_else_knows() {
    let server = Options::new(KIN).env("KIN_TEST_CARE_MS", "100").start();
    let run = job(&server, "a", &["sh", "-c", "exit 7"]);
    server.wait_end(&run);
    let copy = server.state().join("kin.db.bak");
    eventually("a copy is made", server::DEADLINE, || copy.exists().then_some(()));
    server.stop();
    // Without its logs, only the copy still knows of the run.
    std::fs::remove_dir_all(server.state().join("logs")).expect("removes");
    for name in ["kin.db-wal", "kin.db-shm"] {
        std::fs::remove_file(server.state().join(name)).ok();
    }
    std::fs::write(server.state().join("kin.db"), vec![0x55; 40_000]).expect("writes");
    server.start_again();
    let said = server.show(&run);
    assert_eq!((said["outcome"].as_str(), said["exit_code"].as_u64()), (Some("failed"), Some(7)), "{said}");
    server.shutdown();
}

/// On a page that nobody reads for what he does: only a look at everything finds it.
#[test]
fn a_damage_that_nobody_met_is_found_in_the_background() {
    const PAGE: usize = 4096;
    const LEAF_OF_KEYS: u8 = 10;
    let server = Options::new(KIN).env("KIN_TEST_CARE_MS", "100").start();
    let mut request = server.request(&["true"]);
    request["tags"] = serde_json::json!(["seldom-asked-for"]);
    let run = id(&server.submit(&request));
    server.wait_end(&run);
    let copy = server.state().join("kin.db.bak");
    eventually("a good ledger is copied", server::DEADLINE, || copy.exists().then_some(()));
    assert_eq!(events(&server, "ledger.trouble"), Vec::<String>::new());
    server.stop();
    // The copy in its place: so nothing lies in the write-ahead log. The log of events goes with what it was about.
    let path = server.state().join("kin.db");
    std::fs::rename(&copy, &path).expect("renames");
    for name in ["kin.db-wal", "kin.db-shm", "events.log"] {
        std::fs::remove_file(server.state().join(name)).ok();
    }
    server.start_again();
    let bytes = std::fs::read(&path).expect("reads");
    let holds_tags = |page: &[u8]| page[0] == LEAF_OF_KEYS && page.windows(16).any(|w| w == b"seldom-asked-for");
    let at = bytes.chunks_exact(PAGE).position(holds_tags).expect("a page of tags");
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("opens");
    file.write_all_at(&[0xff], (at * PAGE) as u64).expect("writes");
    nudge(&server);
    let said = || events(&server, "ledger.rebuilt").into_iter().find(|said| said.contains("the ledger was damaged"));
    let said = eventually("it is mended, and said", server::DEADLINE, said);
    let mended = server.show(&run);
    assert_eq!(
        (mended["outcome"].as_str(), mended["tags"][0].as_str()),
        (Some("ok"), Some("seldom-asked-for")),
        "{said}"
    );
    server.shutdown();
}

/// Whoever names each of his runs otherwise fills nothing with names for ever.
#[test]
fn names_of_which_nothing_is_left_go_whoever_dies() {
    let faults = tempfile::Builder::new().prefix("kin-faults-").tempdir_in("/tmp").expect("a directory");
    let server = Options::new(KIN)
        .env("KIN_TEST_CARE_MS", "100")
        .env("KIN_TEST_KEEP", "count=12 events=4")
        .env("KIN_FAULTS", faults.path().to_string_lossy())
        .start();
    let live = job(&server, "build-live", &["sh", "-c", "echo begun; exec sleep 600"]);
    server.wait_state(&live, &["running"]);
    let mut waits = server.request(&["sh", "-c", "echo late"]);
    waits["job"] = "build-waits".into();
    waits["latch"] = "gate".into();
    let waits = id(&server.submit(&waits));
    // A file of nobody's in one directory: that is not kin's to drop.
    let stray = server.state().join("logs/build-7/notes");
    std::fs::create_dir(stray.parent().expect("a directory")).expect("made");
    std::fs::write(&stray, "mine").expect("written");
    let names_of = |n: usize| format!("build-{n}");
    let old: Vec<String> = (0..30)
        .map(|n| {
            let mut request = server.request(&["sh", "-c", "echo x"]);
            request["job"] = names_of(n).into();
            request["tags"] = serde_json::json!([format!("tag-{n}")]);
            id(&server.submit(&request))
        })
        .collect();
    eventually("they are forgotten", server::DEADLINE, || {
        nudge(&server);
        (!old.iter().any(|id| is_known(&server, id))).then_some(())
    });
    // Each daemon looks for names once a day.
    let dies_at = |point: &str| {
        std::fs::write(faults.path().join(point), "").expect("armed");
        server.kill(Role::Daemon).expect("a daemon");
        server.wait_whole(server::DEADLINE);
        nudge(&server);
        eventually(point, server::DEADLINE, || (!faults.path().join(point).exists()).then_some(()));
        server.wait_whole(server::DEADLINE);
    };
    dies_at("names-forgotten");
    dies_at("ends-removed");
    nudge(&server);
    let want = ["build-7", "build-live", "build-waits", "nudge"];
    eventually("their directories are gone", server::DEADLINE, || {
        (names(&server.state().join("logs")) == want).then_some(())
    });
    assert_eq!(names(stray.parent().expect("a directory")), ["ends", "notes"]);

    // Who lives goes on, and what is begun anew has its place again.
    assert_eq!(server.show(&live)["state"], "running");
    assert_eq!(server.output(&live, "out"), b"begun\n");
    Cli::new(&server).run(&["release", "gate"]).expect(0);
    let again = job(&server, "build-3", &["sh", "-c", "echo again; exit 5"]);
    for (id, said, code) in [(&waits, "late\n", 0), (&again, "again\n", 5)] {
        assert_eq!(server.wait_end(id)["exit_code"], code);
        assert_eq!(server.output(id, "out"), said.as_bytes());
    }
    assert_eq!(events(&server, "trouble"), Vec::<String>::new());
    assert_eq!(events(&server, "ledger.rebuilt"), Vec::<String>::new());
    Cli::new(&server).run(&["stop", &live]).expect(0);
    server.shutdown();
}

/// As `[kin.history]` says it. What has become too old goes when somebody looks, which is after the next end of a run.
#[test]
fn history_goes_as_the_settings_say() {
    let ways = [("runs_per_job = 2", [false, false, false, true, true]), ("keep = \"2s\"", [false; 5])];
    for (says, stay) in ways {
        let config = format!("[kin]\nhistory = {{ {says} }}\n");
        let server = Options::new(KIN).env("KIN_TEST_CARE_MS", "100").config(&config).start();
        // On a busy machine the first is forgotten before the last has ended.
        let runs = [(); 5].map(|()| job(&server, "a", &["true"]));
        let mut http = server.http();
        let mut known = || runs.each_ref().map(|run| http.get(&format!("/v1/runs/{run}")).status == 200);
        eventually(says, server::DEADLINE, || {
            nudge(&server);
            (known() == stay).then_some(())
        });
        server.shutdown();
    }
}
