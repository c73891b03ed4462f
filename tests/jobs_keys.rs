//! Every key of a job has an effect, through a real server; and none is missing here.

use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use testkit::server::{DEADLINE, Options, Server};
use testkit::witness::ns_of;
use testkit::{eventually, guest_path, is_root};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

/// Which test shows what a key does: the name of its function, here or elsewhere.
const PROVED: &[(&str, &[&str])] = &[
    (
        "a_job_finds_around_it_what_its_definition_says",
        &[
            "exec",
            "dir",
            "env",
            "env_file",
            "env_pass",
            "credentials",
            "umask",
            "nice",
            "no_new_privileges",
            "tty",
            "limits.nofile",
            "limits.nproc",
            "limits.core",
            "limits.stack",
            "limits.fsize",
            "limits.data",
            "limits.as",
            "limits.memlock",
            "limits.cpu_time",
        ],
    ),
    ("a_job_runs_as_the_user_that_its_definition_names", &["user", "group"]),
    ("a_limit_that_cannot_be_kept_is_refused_or_said", &["limits.memory", "limits.best_effort"]),
    ("limits_become_what_the_kernel_reads", &["limits.cpu", "limits.pids"]),
    (
        "what_is_tried_again_and_after_what_wait",
        &["tries", "max_retries", "delay", "backoff", "max_delay", "healthy_after", "retry_on", "success", "type"],
    ),
    ("a_wait_is_never_shorter_nor_longer_than_stated", &["delay_jitter"]),
    ("a_run_has_its_time", &["timeout", "linger", "stop.signal", "stop.wait"]),
    ("a_stop_command_asks_before_any_signal", &["stop.command"]),
    ("a_stop_command_that_hangs_has_its_time", &["stop.command_timeout"]),
    ("what_comes_while_another_lives", &["overlap", "overlap_max", "command"]),
    ("who_goes_first_and_who_waits_for_whom", &["queue", "priority", "need", "latch", "after", "after_rule"]),
    ("inv_01_what_is_defined_holds_whoever_is_killed", &["mutex", "restart"]),
    ("ends_lead_on_and_failures_are_tried_again", &["next", "error"]),
    ("a_needed_job_that_comes_again_takes_others_with_it", &["needs"]),
    ("files_come_change_break_and_go", &["description", "rolling"]),
    ("a_service_is_scaled_stopped_started_and_restarted", &["instances"]),
    ("a_job_of_one_runs_once_however_many_ask", &["disabled"]),
    ("a_job_is_found_by_its_tag", &["tags"]),
    ("a_found_port_is_told_and_kept", &["port"]),
    ("no_restart_refuses_a_connection", &["sockets"]),
    (
        "each_way_of_being_ready_is_believed",
        &[
            "ready.http",
            "ready.codes",
            "ready.tcp",
            "ready.exec",
            "ready.fd",
            "ready.after",
            "ready.every",
            "ready.timeout",
            "ready.within",
        ],
    ),
    ("a_service_is_ready_when_it_says_so_and_what_needs_it_waits_for_that", &["ready.line", "alive.exec"]),
    ("what_a_run_says_of_itself_is_shown_and_believed", &["ready.notify", "alive.notify"]),
    (
        "health_is_looked_at_again_and_again",
        &["alive.http", "alive.codes", "alive.tcp", "alive.every", "alive.timeout", "alive.failures", "alive.grace"],
    ),
    ("a_tick_is_moved_to_a_day_that_counts", &["shift"]),
    ("old_output_and_old_runs_go_as_the_job_says", &["logs.keep", "logs.size", "logs.runs"]),
    ("what_a_job_asks_of_its_keeper_stands_in_the_spec", &["logs.run_size", "logs.on_full"]),
];

/// Read and checked; the event `job.untimed` says of each such job that nothing follows from it yet.
const OF_TIME: &[&str] = &[
    "schedule",
    "timezone",
    "dst",
    "catch_up",
    "catch_up_window",
    "catch_up_max",
    "catch_up_delay",
    "jitter",
    "jitter_mode",
    "calendars",
];
/// `a_changed_file_restarts_what_watches_it`
const WATCH: &[&str] = &["watch"];

#[test]
fn every_key_has_a_test_of_its_effect() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    for dir in ["tests", "crates/core/src", "crates/daemon/src", "crates/keeper/tests"] {
        for path in testkit::procfs::files_below(&root.join(dir)) {
            if path.extension().is_some_and(|e| e == "rs") {
                sources += &std::fs::read_to_string(path).expect("a source");
            }
        }
    }
    let proved: Vec<&str> = PROVED.iter().flat_map(|(_, keys)| *keys).chain(OF_TIME).chain(WATCH).copied().collect();
    for key in kin_config::keys::job::JOB.keys {
        let count = proved.iter().filter(|name| **name == key.name).count();
        assert_eq!(count, 1, "{} has no test here, or two", key.name);
    }
    assert_eq!(proved.len(), kin_config::keys::job::JOB.keys.len(), "a key that is none");
    for (name, _) in PROVED {
        assert!(sources.contains(&format!("fn {name}(")), "there is no test {name}");
    }
}

fn output(server: &Server, id: &str) -> String {
    String::from_utf8_lossy(&server.output(id, "out")).into_owned()
}

fn finished(server: &Server, job: &str) -> Value {
    server.wait_end(&server.run_job(job))
}

fn id(run: &Value) -> &str {
    run["id"].as_str().expect("an id")
}

fn ms_between(from: &Value, to: &Value) -> u64 {
    let ns = |at: &Value| ns_of(at.as_str().expect("an instant")).expect("as kin writes it");
    (ns(to).saturating_sub(ns(from))) / 1_000_000
}

#[test]
fn a_job_finds_around_it_what_its_definition_says() {
    let limits = "nofile = 123\nnproc = { soft = 500, hard = 1000 }\ncore = 0\nstack = '4M'\nfsize = '1G'\ndata = '2G'\n\
                  as = 'unlimited'\nmemlock = '32K'\ncpu_time = '1h'\n";
    let text = format!(
        "[probe]\nexec = ['{}', 'probe', 'word=$WORD', 'price=$$5']\nenv = {{ WORD = 'said', OVER = 'env' }}\nenv_file = '$HOME/more'\n\
         env_pass = ['PASSED_*']\ncredentials = {{ key = '$HOME/secret' }}\ndir = '/usr'\numask = '027'\n\
         [probe.limits]\n{limits}\
         [shell]\ncommand = 'nice; grep NoNewPrivs /proc/self/status; cat $CREDENTIALS_DIRECTORY/key'\nnice = 7\n\
         no_new_privileges = true\ncredentials = {{ key = 'SECRET' }}\n\
         [terminal]\ncommand = 'tty'\ntty = true\n",
        guest_path().display()
    );
    let server = Options::new(KIN).env("PASSED_ON", "yes").env("KEPT_BACK", "secret").prepare();
    std::fs::write(server.home().join("more"), "FROM_FILE=file\nOVER=file\n").expect("writes");
    let secret = server.home().join("secret");
    std::fs::write(&secret, "hush\n").expect("writes");
    for path in [&server.home().join("more"), &secret] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path, mode).expect("owner-only");
    }
    let secret = secret.to_str().expect("a plain name");
    server.write_jobs(&text.replace("$HOME/secret", secret).replace("SECRET", secret));
    server.start_again();
    let ran = finished(&server, "probe");
    assert_eq!(ran["outcome"], "ok", "{ran}");
    let said: Value = serde_json::from_str(&output(&server, id(&ran))).expect("JSON");
    assert_eq!((&said["directory"], &said["umask"]), (&json!("/usr"), &json!("0027")));
    assert_eq!(said["args"].as_array().expect("arguments")[2..], [json!("word=said"), json!("price=$5")]);
    let env = &said["env"];
    for (name, value) in [("WORD", "said"), ("OVER", "env"), ("FROM_FILE", "file"), ("PASSED_ON", "yes")] {
        assert_eq!(env[name], value, "{name}");
    }
    assert_eq!((&env["KEPT_BACK"], &env["KIN_JOB"]), (&Value::Null, &json!("probe")));
    for (name, soft, hard) in [
        ("Max open files", "123", "123"),
        ("Max processes", "500", "1000"),
        ("Max core file size", "0", "0"),
        ("Max stack size", "4194304", "4194304"),
        ("Max file size", "1073741824", "1073741824"),
        ("Max data size", "2147483648", "2147483648"),
        ("Max address space", "unlimited", "unlimited"),
        ("Max locked memory", "32768", "32768"),
        ("Max cpu time", "3600", "3600"),
    ] {
        assert_eq!(said["limits"][name], json!([soft, hard]), "{name}");
    }
    let shell = finished(&server, "shell");
    assert_eq!(output(&server, id(&shell)), "7\nNoNewPrivs:\t1\nhush\n", "{shell}");
    let terminal = finished(&server, "terminal");
    assert!(output(&server, id(&terminal)).starts_with("/dev/pts/"), "{terminal}");
    server.shutdown();
}

#[test]
fn a_job_runs_as_the_user_that_its_definition_names() {
    let text = "[who]\ncommand = 'id -u; id -g'\nuser = 'nobody'\ngroup = '12345'\ndir = '/'\n";
    let server = Server::with_jobs(KIN, text);
    let ran = finished(&server, "who");
    if is_root() {
        let nobody = std::fs::read_to_string("/etc/passwd").expect("the users");
        let nobody = nobody.lines().find_map(|line| line.strip_prefix("nobody:")?.split(':').nth(1)).expect("nobody");
        assert_eq!(output(&server, id(&ran)), format!("{nobody}\n12345\n"), "{ran}");
    } else {
        assert_eq!((&ran["outcome"], &ran["spawn"]["step"]), (&json!("spawn-failed"), &json!("user")), "{ran}");
    }
    server.shutdown();
}

#[test]
fn what_is_tried_again_and_after_what_wait() {
    let server = Server::with_jobs(
        KIN,
        "[fine]\ncommand = 'exit 3'\nsuccess = [0, 3]\n\
         [picky]\ncommand = 'exit 1'\ntries = 3\ndelay = '0s'\nretry_on = [75]\n\
         [krust]\ncommand = 'exit 75'\nmax_retries = 2\ndelay = '0s'\nretry_on = [75]\n\
         [slow]\ncommand = 'exit 1'\nrestart = 'on-failure'\ntries = 5\ndelay = '100ms'\nbackoff = 'exponential'\n\
         max_delay = '300ms'\ndelay_jitter = '0%'\n\
         [well]\ncommand = 'sleep 0.4; exit 1'\ntype = 'continuous'\ndelay = '10ms'\nhealthy_after = '100ms'\n",
    );
    assert_eq!(finished(&server, "fine")["outcome"], "ok");
    assert_eq!(finished(&server, "picky")["outcome"], "failed");
    finished(&server, "krust");
    let tried = |job: &str, count: usize| {
        eventually("all its tries", DEADLINE, || {
            let runs = server.runs_of(job);
            (runs.len() == count && runs.iter().all(|run| run["state"] == "ended")).then_some(runs)
        })
    };
    tried("krust", 2);
    assert_eq!(tried("picky", 1).len(), 1, "that code is not tried again");
    let runs = tried("slow", 5);
    for (pair, least) in runs.windows(2).zip([100, 200, 300, 300]) {
        let waited = ms_between(&pair[0]["ended_at"], &pair[1]["started_at"]);
        assert!((least..least + 1000).contains(&waited), "{waited} ms instead of {least}");
    }
    assert_eq!(server.job("slow")["state"], "gave-up");
    assert_eq!(server.job("well")["kind"], "service");
    let well = eventually("a few lives", DEADLINE, || Some(server.runs_of("well")).filter(|runs| runs.len() > 3));
    assert!(well.iter().all(|run| run["attempt"] == 1), "each was healthy: {well:?}");
    server.shutdown();
}

#[test]
fn a_run_has_its_time() {
    let server = Server::with_jobs(
        KIN,
        "[long]\ncommand = 'exec sleep 1000'\ntimeout = '200ms'\n\
         [holds]\ncommand = 'sleep 1000 & exit 0'\nlinger = '200ms'\n\
         [deaf]\ncommand = 'trap \"echo int\" INT; trap \"echo usr\" USR1; echo up; while :; do sleep 0.05; done'\n\
         stop = { signal = ['INT', 'USR1'], wait = '300ms' }\n",
    );
    let long = finished(&server, "long");
    assert_eq!(long["outcome"], "timed-out", "{long}");
    let holds = finished(&server, "holds");
    assert_eq!((&holds["outcome"], &holds["warnings"]["left_behind"]), (&json!("ok"), &json!(1)), "{holds}");
    let deaf = server.run_job("deaf");
    eventually("it is up", DEADLINE, || output(&server, &deaf).starts_with("up").then_some(()));
    server.post("/v1/jobs/deaf/stop", &json!({})).expect(200);
    let ended = server.wait_end(&deaf);
    assert_eq!((&ended["outcome"], &ended["signal"]), (&json!("stopped"), &json!(9)), "{ended}");
    assert_eq!(output(&server, &deaf), "up\nint\nusr\n");
    // What was left behind is this test's to end.
    let pids = testkit::procfs::marked(server.mark());
    for pid in pids.into_iter().filter(|pid| testkit::procfs::command_line(*pid).contains("sleep 1000")) {
        testkit::procfs::kill_marked(pid, server.mark(), rustix::process::Signal::KILL).expect("its own");
    }
    server.shutdown();
}

#[test]
fn what_comes_while_another_lives() {
    let long = "command = 'exec sleep 1000'\n";
    let server = Server::with_jobs(
        KIN,
        &format!(
            "[skip]\n{long}[allow]\n{long}overlap = 'allow'\n[queue]\n{long}overlap = 'queue'\noverlap_max = 1\n\
             [replace]\n{long}overlap = 'replace'\n[leads]\ncommand = 'true'\nnext = 'replace, skip'\n"
        ),
    );
    let again = |job: &str| server.post(&format!("/v1/jobs/{job}/run"), &json!({})).status;
    assert_eq!([again("skip"), again("skip")], [201, 409]);
    assert_eq!([again("allow"), again("allow")], [201, 201]);
    server.running("allow", 2);
    assert_eq!([again("queue"), again("queue"), again("queue")], [201, 201, 409]);
    let states = |job: &str| {
        let runs = server.job(job)["runs"].as_array().cloned().unwrap_or_default();
        runs.iter().map(|run| run["state"].as_str().unwrap_or_default().to_string()).collect::<Vec<_>>()
    };
    eventually("one waits", DEADLINE, || (states("queue") == ["running", "queued"]).then_some(()));
    finished(&server, "leads");
    let first = server.running("replace", 1);
    finished(&server, "leads");
    let second = eventually("another", DEADLINE, || {
        Some(server.running("replace", 1)).filter(|runs| runs[0]["id"] != first[0]["id"])
    });
    assert_eq!(server.wait_end(id(&first[0]))["outcome"], "stopped");
    assert_eq!(second[0]["trigger"]["kind"], "chain");
    let skipped = server.runs_of("skip");
    assert_eq!((&skipped[1]["outcome"], &skipped[1]["reason"]), (&json!("skipped"), &json!("overlap")));
    server.shutdown();
}

#[test]
fn who_goes_first_and_who_waits_for_whom() {
    let say = "command = 'echo $KIN_JOB >> $HOME/order'\n";
    let server = Server::with_jobs(
        KIN,
        &format!(
            "[kin.queues.one]\nslots = 1\n[kin.queues.gpus]\nresources = {{ gpu = 2 }}\n\
             [low]\n{say}queue = 'one'\n[high]\n{say}queue = 'one'\npriority = 5\n\
             [big]\ncommand = 'exec sleep 1000'\nqueue = 'gpus'\nneed = {{ gpu = 2 }}\n\
             [small]\ncommand = 'exec sleep 1000'\nqueue = 'gpus'\nneed = {{ gpu = 1 }}\n\
             [gated]\n{say}latch = 'go'\n\
             [a]\ncommand = 'true'\n[b]\ncommand = 'exit 1'\n\
             [both]\n{say}after = ['a', 'b']\n[done]\n{say}after = ['a', 'b']\nafter_rule = 'all-done'\n\
             [any]\n{say}after = ['a', 'b']\nafter_rule = 'any'\n"
        ),
    );
    server.post("/v1/queues/one", &json!({"paused": true})).expect(200);
    let (low, high) = (server.run_job("low"), server.run_job("high"));
    server.post("/v1/queues/one", &json!({"paused": false})).expect(200);
    server.wait_end(&low);
    server.wait_end(&high);
    assert_eq!(server.lines("order"), ["high", "low"]);
    server.run_job("small");
    server.running("small", 1);
    server.run_job("big");
    assert_eq!(server.job("big")["state"], "waiting", "one of the two is taken");
    server.post("/v1/jobs/small/stop", &json!({})).expect(200);
    server.running("big", 1);
    let gated = server.run_job("gated");
    assert_eq!(server.show(&gated)["state"], "held");
    server.post("/v1/latches/go/release", &json!({})).expect(200);
    server.wait_end(&gated);
    finished(&server, "a");
    eventually("any of them", DEADLINE, || server.lines("order").contains(&"any".into()).then_some(()));
    finished(&server, "b");
    eventually("all are done", DEADLINE, || server.lines("order").contains(&"done".into()).then_some(()));
    assert!(!server.lines("order").contains(&"both".into()), "one of them failed");
    server.shutdown();
}

#[test]
fn a_needed_job_that_comes_again_takes_others_with_it() {
    let long = "exec = ['sleep', '1000']\nrestart = 'always'\ndelay = '0s'\n";
    let server = Server::with_jobs(
        KIN,
        &format!("[db]\n{long}[web]\n{long}needs = [{{ job = 'db', restart = true }}]\n[log]\n{long}needs = ['db']\n"),
    );
    let (web, log) = (server.running("web", 1), server.running("log", 1));
    server.post("/v1/jobs/db/restart", &json!({})).expect(200);
    eventually("web is another", DEADLINE, || {
        let runs = server.job("web")["runs"].as_array().cloned().unwrap_or_default();
        runs.iter().any(|run| run["state"] == "running" && run["id"] != web[0]["id"]).then_some(())
    });
    assert_eq!(server.running("log", 1), log, "it only needs it to begin");
    server.post("/v1/jobs/db/stop", &json!({})).expect(200);
    for name in ["db", "web", "log"] {
        // What needs it is held until it comes again.
        server.job_when(name, "is gone with it", |job| {
            job["runs"].as_array().is_some_and(|runs| runs.iter().all(|run| run["state"] == "held"))
        });
    }
    let ended = |name: &str| {
        let runs = server.runs_of(name);
        let last = runs.iter().rev().find(|run| run["state"] == "ended");
        last.expect("one that has ended")["ended_at"].clone()
    };
    assert!(ended("web").as_str() <= ended("db").as_str() && ended("log").as_str() <= ended("db").as_str());
    server.shutdown();
}

#[test]
fn a_job_is_found_by_its_tag() {
    let server = Server::with_jobs(KIN, "[a]\ncommand = 'true'\ntags = ['app']\n[b]\ncommand = 'true'\n");
    let listed = server.command().args(["list", "@app", "--json"]).output().expect("a listing").stdout;
    let listed: Value = serde_json::from_slice(&listed).expect("JSON");
    assert_eq!((listed.as_array().map(Vec::len), &listed[0]["name"]), (Some(1), &json!("a")));
    assert_eq!(finished(&server, "a")["tags"], json!(["app"]));
    server.shutdown();
}

/// Answers each request with the status that is wished for just then; zero: not at all.
fn answering(listener: TcpListener, status: &'static AtomicU16) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let wanted = status.load(Ordering::Relaxed);
            if wanted == 0 {
                // Held open, and silent, for longer than any look takes.
                std::mem::forget(stream);
                continue;
            }
            let mut request = [0; 1024];
            drop(stream.read(&mut request));
            drop(write!(stream, "HTTP/1.1 {wanted} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
        }
    });
}

#[test]
fn each_way_of_being_ready_is_believed() {
    static STATUS: AtomicU16 = AtomicU16::new(503);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let http = listener.local_addr().expect("its address");
    answering(listener, &STATUS);
    let late = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    let long = "restart = 'always'\nexec = ['sleep', '1000']\n";
    let server = Server::with_jobs(
        KIN,
        &format!(
            "[http]\n{long}ready = {{ http = 'http://{http}/', codes = [204], every = '50ms', timeout = '200ms' }}\n\
             [tcp]\n{long}ready = {{ tcp = '{late}', every = '50ms' }}\n\
             [exec]\n{long}ready = {{ exec = 'test -e \"$HOME/go\"', every = '50ms' }}\n\
             [fd]\ncommand = 'until test -e $HOME/go; do sleep 0.05; done; echo >&5; exec sleep 1000'\nrestart = 'always'\n\
             ready = {{ fd = 5 }}\n\
             [after]\n{long}ready = {{ after = '300ms' }}\n\
             [never]\n{long}ready = {{ exec = 'false', every = '50ms', within = '300ms' }}\ndelay = '1h'\nmax_delay = '1h'\n"
        ),
    );
    let ready = |name: &str| server.job_when(name, "is ready", |job| job["state"] == "ready")["runs"][0].clone();
    let after = ready("after");
    assert!(ms_between(&after["started_at"], &after["ready_at"]) >= 299, "{after}");
    let never = eventually("it is given up", DEADLINE, || {
        server.runs_of("never").into_iter().find(|run| run["outcome"] == "unhealthy")
    });
    assert_eq!(never["reason"], "not-ready");
    assert!((250..5000).contains(&ms_between(&never["started_at"], &never["ended_at"])), "{never}");
    for name in ["http", "tcp", "exec", "fd"] {
        assert_eq!(server.running(name, 1)[0]["ready_at"], Value::Null, "{name} has not said so");
    }
    // A status that is none of its codes, and then no answer at all, each in its time.
    STATUS.store(200, Ordering::Relaxed);
    let why = |words: &str| {
        eventually(words, DEADLINE, || {
            let run = server.running("http", 1).remove(0);
            let why = server.http().get(&format!("/v1/runs/{}/why", id(&run))).json().to_string();
            why.contains(words).then_some(())
        });
    };
    why("status 200");
    STATUS.store(0, Ordering::Relaxed);
    why("no answer within 200 ms");
    STATUS.store(204, Ordering::Relaxed);
    ready("http");
    std::fs::write(server.home().join("go"), "").expect("writes");
    ready("exec");
    ready("fd");
    let _listens = TcpListener::bind(late).expect("still free");
    ready("tcp");
    server.shutdown();
}

#[test]
fn health_is_looked_at_again_and_again() {
    static STATUS: AtomicU16 = AtomicU16::new(418);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let http = listener.local_addr().expect("its address");
    answering(listener, &STATUS);
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let long = "restart = 'always'\nexec = ['sleep', '1000']\ndelay = '1h'\nmax_delay = '1h'\n";
    let server = Server::with_jobs(
        KIN,
        &format!(
            "[http]\n{long}alive = {{ http = 'http://{http}/', codes = [418], every = '50ms', timeout = '100ms', failures = 4 }}\n\
             [tcp]\n{long}alive = {{ tcp = '{}', every = '50ms', failures = 1 }}\n\
             [late]\n{long}alive = {{ exec = 'false', every = '50ms', failures = 1, grace = '600ms' }}\n",
            tcp.local_addr().expect("its address")
        ),
    );
    server.running("tcp", 1);
    let sick = |name: &str| {
        let run = eventually("it is sick", DEADLINE, || {
            server.runs_of(name).into_iter().find(|run| run["outcome"] == "unhealthy")
        });
        assert_eq!(run["reason"], "sick");
        run
    };
    let late = sick("late");
    assert!(ms_between(&late["started_at"], &late["ended_at"]) >= 590, "{late}");
    drop(tcp);
    sick("tcp");
    assert_eq!(server.job("http")["state"], "running", "it is well");
    STATUS.store(0, Ordering::Relaxed);
    sick("http");
    server.told("no answer within 100 ms (4 looks in a row)");
    // Another word about health counts for what runs already.
    server.write_jobs(&format!("[late]\n{long}alive = {{ exec = 'true', every = '50ms' }}\n"));
    server.job_when("late", "is defined anew", |job| job["rev"] == 2);
    server.post("/v1/jobs/late/restart", &json!({})).expect(200);
    let well = server.running("late", 1);
    server.write_jobs(&format!("[late]\n{long}alive = {{ exec = 'false', every = '50ms', failures = 1 }}\n"));
    assert_eq!(server.wait_end(id(&well[0]))["outcome"], "unhealthy");
    server.shutdown();
}

#[test]
fn old_output_and_old_runs_go_as_the_job_says() {
    let text = "[few]\ncommand = 'echo x'\nlogs = { runs = 2 }\n\
                [small]\ncommand = 'head -c 1000 /dev/zero'\nlogs = { size = 2500 }\n\
                [brief]\ncommand = 'echo brief'\nlogs = { keep = '1ms' }\n[plain]\ncommand = 'echo plain'\n";
    let server = Options::new(KIN).env("KIN_TEST_CARE_MS", "100").prepare();
    server.write_jobs(text);
    server.start_again();
    let bytes = |job: &str| -> u64 {
        let dir = server.state().join("logs").join(job);
        let files =
            testkit::procfs::files_below(&dir).into_iter().filter(|path| path.extension().is_some_and(|e| e == "out"));
        files.map(|path| path.metadata().map_or(0, |meta| meta.len())).sum()
    };
    for _ in 0..5 {
        for job in ["few", "small", "brief", "plain"] {
            finished(&server, job);
        }
    }
    eventually("two are left", DEADLINE, || (server.runs_of("few").len() == 2).then_some(()));
    assert_eq!(server.runs_of("plain").len(), 5);
    // Of each job the newest stays. What was written since the last look counts.
    eventually("the rest is gone", DEADLINE, || {
        finished(&server, "small");
        (bytes("small") <= 3000 && bytes("brief") <= 6).then_some(())
    });
    assert_eq!(bytes("plain"), 30);
    assert_eq!(server.runs_of("brief").len(), 5, "the runs stay in the history");
    server.shutdown();
}
