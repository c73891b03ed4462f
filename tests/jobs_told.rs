//! What a run is told, and what it says of itself: ports, its own words, what it used, what could not be kept for it.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use testkit::server::{DEADLINE, Role, Server};
use testkit::{eventually, guest_path, not_run};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

fn id(run: &Value) -> &str {
    run["id"].as_str().expect("an id")
}

fn why(server: &Server, run: &str) -> String {
    server.http().get(&format!("/v1/runs/{run}/why")).expect(200).json().to_string()
}

/// A port that is found is each slot's own, in the run's environment as in JSON, and stays over every restart.
#[test]
fn a_found_port_is_told_and_kept() {
    let say = "echo $KIN_SLOT $PORT >> $HOME/said; exec sleep 1000";
    let text = format!(
        "[web]\ncommand = '{say}'\nrestart = 'always'\ninstances = 3\nport = 'auto'\ndelay = '0s'\n\
         [fixed]\nexec = ['sleep', '1000']\nrestart = 'always'\ninstances = 2\nport = 4100\n"
    );
    let server = Server::with_jobs(KIN, &text);
    let ports = |runs: &[Value]| runs.iter().map(|run| run["port"].as_u64()).collect::<Vec<_>>();
    assert_eq!(ports(&server.running("fixed", 2)), [Some(4100), Some(4101)]);
    let runs = server.running("web", 3);
    let found = ports(&runs);
    assert_eq!(found.iter().flatten().collect::<BTreeSet<_>>().len(), 3, "each its own: {found:?}");
    let said = |lines: usize| {
        let mut said = eventually("what they were told", DEADLINE, || {
            Some(server.lines("said")).filter(|said| said.len() == lines)
        });
        said.sort();
        said.dedup();
        said
    };
    let want: Vec<String> =
        found.iter().zip(0..).map(|(port, slot)| format!("{slot} {}", port.expect("one"))).collect();
    assert_eq!(said(3), want);
    server.post("/v1/jobs/web/restart", &json!({"rolling": false})).expect(200);
    assert_eq!(said(6), want, "restarted");
    server.kill(Role::Daemon).expect("a daemon");
    server.post("/v1/jobs/web/restart", &json!({"rolling": true})).expect(200);
    assert_eq!(said(9), want, "restarted one by one, by another daemon");
    server.stop();
    server.start_again();
    assert_eq!(said(12), want, "by another server");
    assert_eq!(ports(&server.running("web", 3)), found);
    server.shutdown();
}

#[test]
fn what_a_run_says_of_itself_is_shown_and_believed() {
    let guest = guest_path();
    let text = format!(
        "[web]\nexec = ['{}', 'notify', 'file=$HOME/$KIN_RUN_ID']\nrestart = 'always'\n\
         ready = {{ notify = true }}\nalive = {{ notify = true, every = '300ms', failures = 2 }}\n\
         [user]\nexec = ['sleep', '1000']\nrestart = 'always'\nneeds = ['web']\n",
        guest.display()
    );
    let server = Server::with_jobs(KIN, &text);
    let web = server.running("web", 1).remove(0);
    assert_eq!(web["ready_at"], Value::Null, "{web}");
    let words = |run: &Value, more: &str| {
        use std::io::Write as _;
        let file = std::fs::OpenOptions::new().append(true).create(true).open(server.home().join(id(run)));
        file.and_then(|mut file| writeln!(file, "{more}")).expect("writes");
    };
    words(&web, "STATUS=warming up");
    eventually("its words", DEADLINE, || (server.show(id(&web))["status"] == "warming up").then_some(()));
    assert!(why(&server, id(&web)).contains("It says of itself: warming up."));
    // From its readiness on it must say that it lives.
    let feeding = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while feeding.load(std::sync::atomic::Ordering::Relaxed) {
                words(&web, "WATCHDOG=1");
                testkit::wait::let_time_pass(std::time::Duration::from_millis(100));
            }
        });
        words(&web, "READY=1");
        server.job_when("web", "is ready", |job| job["state"] == "ready");
        server.running("user", 1);
        words(&web, "STATUS=serving");
        eventually("its new words", DEADLINE, || (server.show(id(&web))["status"] == "serving").then_some(()));
        server.kill(Role::Daemon).expect("a daemon");
        server.wait_whole(DEADLINE);
        let same = server.show(id(&web));
        assert_eq!((&same["status"], &same["state"]), (&json!("serving"), &json!("running")), "over a death");
        testkit::wait::let_time_pass(std::time::Duration::from_secs(1));
        feeding.store(false, std::sync::atomic::Ordering::Relaxed);
    });
    // Silent for two looks: it is ended, and another comes.
    assert_eq!(server.wait_end(id(&web))["outcome"], "unhealthy");
    server.told("no WATCHDOG=1 within 300 ms (2 looks in a row)");
    let next = server.running("web", 1).remove(0);
    words(&next, "READY=1");
    words(&next, "STOPPING=1");
    // It says that it goes: nobody hurries it, and it serves nobody.
    eventually("it says so", DEADLINE, || (server.show(id(&next))["leaving"] == true).then_some(()));
    testkit::wait::let_time_pass(std::time::Duration::from_secs(1));
    assert_eq!(server.show(id(&next))["state"], "running", "its silence is no sickness now");
    assert!(why(&server, id(&next)).contains("on its way out"));
    server.shutdown();
}

#[test]
fn what_a_run_used_is_in_its_row() {
    let busy = "dd if=/dev/zero of=$HOME/file bs=1M count=8 conv=fsync 2> /dev/null; i=0; \
                while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let server = Server::with_jobs(KIN, &format!("[busy]\ncommand = '{busy}'\ndir = '/tmp'\n"));
    let run = server.run_job("busy");
    let ended = server.wait_end(&run);
    assert_eq!((&ended["outcome"], &ended["directory"]), (&json!("ok"), &json!("/tmp")), "{ended}");
    assert!(ended["max_rss_bytes"].as_u64().is_some_and(|bytes| bytes > 100_000), "{ended}");
    assert!(ended["cpu_ms"].as_u64().is_some_and(|ms| ms > 10), "{ended}");
    assert!(ended["read_bytes"].is_u64(), "{ended}");
    let tmpfs = rustix::fs::statfs(server.home()).expect("a file system").f_type == 0x0102_1994;
    if !tmpfs {
        assert!(ended["write_bytes"].as_u64().is_some_and(|bytes| bytes >= 8 << 20), "{ended}");
    }
    server.shutdown();
}

/// What the machine cannot keep is refused by name, or left out by name.
#[test]
fn a_limit_that_cannot_be_kept_is_refused_or_said() {
    let server = Server::with_jobs(
        KIN,
        "[strict]\ncommand = 'true'\nlimits = { memory = '64M' }\n\
         [lax]\ncommand = 'true'\nlimits = { memory = '64M', best_effort = true }\n\
         [hungry]\ncommand = 'exec tail -c 200M /dev/zero'\nlimits = { memory = '32M' }\n",
    );
    let strict = server.wait_end(&server.run_job("strict"));
    let lax = server.run_job("lax");
    let ended = server.wait_end(&lax);
    assert_eq!(ended["outcome"], "ok", "{ended}");
    if strict["outcome"] == "ok" {
        assert_eq!(ended["left_out"], Value::Null, "{ended}");
        let hungry = server.wait_end(&server.run_job("hungry"));
        assert_eq!(hungry["outcome"], "oom-killed", "{hungry}");
        return server.shutdown();
    }
    assert_eq!((&strict["outcome"], &strict["spawn"]["step"]), (&json!("spawn-failed"), &json!("cgroup")), "{strict}");
    let left_out = ended["left_out"][0].as_str().expect("what was left out");
    assert!(left_out.contains("limits.memory needs the cgroup controller `memory`"), "{left_out}");
    assert_eq!(ended["warnings"]["left_out"], 1);
    assert!(why(&server, &lax).contains(left_out), "why says it too");
    server.shutdown();
    not_run("a run that is killed for its memory: no memory controller in cgroup v2 is delegated here");
}

/// Whoever tidies up takes names away: they are there again, and a run finds its credentials.
#[test]
fn what_a_run_has_in_the_runtime_directory_is_made_again() {
    let server = testkit::server::Options::new(KIN).prepare();
    let secret = server.home().join("secret");
    std::fs::write(&secret, "hush\n").expect("writes");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("owner-only");
    let guest = guest_path();
    server.write_jobs(&format!(
        "[web]\nexec = ['sleep', '1000']\nrestart = 'always'\ncredentials = {{ key = '{}' }}\n\
         [late]\nexec = ['{}', 'notify', 'file=$HOME/$KIN_RUN_ID']\nrestart = 'always'\nready = {{ notify = true, within = '1h' }}\n",
        secret.display(),
        guest.display()
    ));
    server.start_again();
    let (web, late) = (server.running("web", 1).remove(0), server.running("late", 1).remove(0));
    let key = server.run_dir().join("credentials").join(id(&web)).join("key");
    assert_eq!(std::fs::read_to_string(&key).expect("a credential"), "hush\n");
    for dir in ["credentials", "ready"] {
        std::fs::remove_dir_all(server.run_dir().join(dir)).expect("taken away");
        eventually("it is there again", DEADLINE, || server.run_dir().join(dir).is_dir().then_some(()));
    }
    eventually("the credential is there again", DEADLINE, || {
        std::fs::read_to_string(&key).is_ok_and(|text| text == "hush\n").then_some(())
    });
    // A daemon that died before it had done so leaves that to the next one; nothing else says that they are gone.
    std::fs::remove_dir_all(key.parent().expect("a directory")).expect("taken away");
    server.kill(Role::Daemon).expect("there was one");
    eventually("the credential is there once more", DEADLINE, || {
        std::fs::read_to_string(&key).is_ok_and(|text| text == "hush\n").then_some(())
    });
    // Its word is written down, and outlives the daemon that heard it.
    std::fs::write(server.home().join(id(&late)), "READY=1\n").expect("writes");
    server.job_when("late", "is ready", |job| job["state"] == "ready");
    let no = id(&late).rsplit('-').next().expect("its number");
    let word = server.run_dir().join("ready").join(format!("{no}.word"));
    assert_eq!(std::fs::read_to_string(word).expect("its word"), "\n");
    assert_eq!((server.running("web", 1), server.running("late", 1)[0]["id"].clone()), (vec![web], late["id"].clone()));
    server.shutdown();
}

#[test]
fn a_server_that_ends_does_with_its_runs_what_the_settings_say() {
    let server =
        Server::with_jobs(KIN, "[kin]\non_exit = 'stop'\n[web]\nexec = ['sleep', '1000']\nrestart = 'always'\n");
    let run = server.running("web", 1).remove(0);
    let pid = u32::try_from(run["pid"].as_u64().expect("a pid")).expect("a pid");
    let said = server.command().args(["shutdown", "--wait"]).output().expect("ends");
    assert!(String::from_utf8_lossy(&said.stdout).contains(&format!("{}  stopping", id(&run))), "{said:?}");
    assert!(testkit::procfs::gone_within(pid, DEADLINE));
    server.assert_gone(DEADLINE);
}
