//! What a server and a run are given, and what they are not.

use serde_json::Value;
use std::process::{Command, Stdio};
use testkit::server::Options;
use testkit::{Cli, Role, Server, guest_path, procfs};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

#[test]
fn inv_10_a_server_started_by_a_command_carries_nothing_of_its_first_caller() {
    let server = Options::new(KIN).prepare();
    let mut caller = Command::new("bash");
    caller
        .args(["-c", ODD_CALLER, KIN])
        .env_clear()
        .envs(server.environment())
        .env("SECRET", "hunter2")
        .stdin(Stdio::null());
    let out = caller.output().expect("bash runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    for role in [Role::Elder, Role::Keeper, Role::Daemon] {
        let pid = server.pid(role).unwrap_or_else(|| panic!("a {}", role.word()));
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).expect("its /proc");
        assert!(!read("environ").contains("hunter2"), "the {} has the caller's environment", role.word());
        let status = read("status");
        let field = |name: &str| {
            status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim_matches([':', '\t']).to_string()
        };
        assert_eq!(field("Umask"), "0077", "{}", role.word());
        // Bit 0 is HUP: nohup's caller ignored it.
        let ignored = u64::from_str_radix(&field("SigIgn"), 16).expect("hex");
        assert_eq!(ignored & 1, 0, "the {} ignores HUP as its caller did", role.word());
        let directory = std::fs::read_link(format!("/proc/{pid}/cwd")).expect("its directory");
        assert_eq!(directory.to_str(), Some("/"), "{}", role.word());
        let fds = procfs::descriptors(pid).expect("its descriptors");
        assert!(!fds.values().any(|target| target == "/etc/hostname"), "{}: {fds:?}", role.word());
    }
    server.stop();
}

/// Whoever starts a server: everything about it is unusual, and none of it is the server's.
const ODD_CALLER: &str = r#"
    umask 000; ulimit -n 333; ulimit -Sc unlimited; trap '' QUIT USR1; exec 9</etc/hostname; cd /usr
    echo 300 > /proc/self/oom_score_adj; exec nice -n 5 taskset -c 0 chrt -b 0 ionice -c 3 nohup "$0" exec -- true"#;

#[test]
fn inv_10_a_servers_limits_and_priority_are_not_its_first_callers() {
    let server = Options::new(KIN).prepare();
    let mut caller = Command::new("bash");
    caller.args(["-c", ODD_CALLER, KIN]).env_clear().envs(server.environment()).stdin(Stdio::null());
    let out = caller.output().expect("bash runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    let ours = std::fs::read_to_string("/proc/self/status").expect("our status");
    let is_root = rustix::process::geteuid().is_root();
    for role in [Role::Elder, Role::Keeper, Role::Daemon] {
        let pid = server.pid(role).unwrap_or_else(|| panic!("a {}", role.word()));
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).expect("its /proc");
        let line = |text: &str, name: &str| {
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("a line {name}")).to_string()
        };
        let status = read("status");
        let ignored =
            u64::from_str_radix(line(&status, "SigIgn").rsplit('\t').next().expect("a mask"), 16).expect("hex");
        // QUIT and USR1, which the caller ignored.
        assert_eq!(ignored & (1 << 2 | 1 << 9), 0, "{}: {ignored:x}", role.word());
        assert_eq!(line(&status, "Cpus_allowed:"), line(&ours, "Cpus_allowed:"), "{}", role.word());
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        let (nice, policy) = (fields[16], fields[38]);
        assert_eq!(policy, "0", "{}: its policy is the ordinary one", role.word());
        let core = line(&read("limits"), "Max core file size");
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{}: {core}", role.word());
        let files = line(&read("limits"), "Max open files");
        // Taken back, or it is said that it could not be.
        assert!(nice == "0" || !is_root && said.contains("the nice value 5"), "{}: {nice}: {said}", role.word());
        let (kept, told) = (files.contains(" 333 "), said.contains("open files (333)"));
        assert_eq!(kept, told, "{}: {files}: {said}", role.word());
        let score: i32 = read("oom_score_adj").trim().parse().expect("a number");
        assert!(score <= 0, "{}: {score}", role.word());
    }
    server.stop();
}

#[test]
fn exec_gives_the_callers_limits_and_nice_value() {
    let server = Server::start(KIN);
    let typed = r#"ulimit -Sn 77; ulimit -Hn 99; ulimit -c 0; ulimit -f 1234
        exec nice -n 7 "$0" exec -- bash -c 'nice; ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -f'"#;
    let mut caller = Command::new("bash");
    caller.args(["-c", typed, KIN]).env_clear().envs(server.environment()).stdin(Stdio::null());
    let out = caller.output().expect("bash runs");
    // Whoever runs the tests may be nice already.
    let own = Command::new("nice").output().expect("nice runs").stdout;
    let own: i32 = String::from_utf8_lossy(&own).trim().parse().expect("a nice value");
    let nicer = (own + 7).min(19);
    assert_eq!(String::from_utf8_lossy(&out.stdout), format!("{nicer}\n77\n99\n0\n1234\n"), "{out:?}");
    // The next caller has its own again.
    let said = Cli::new(&server).run(&["exec", "--", "bash", "-c", "nice; ulimit -Hn"]).expect(0).text();
    assert!(said.starts_with(&format!("{own}\n")) && !said.ends_with("\n99\n"), "{said}");
    // More than the server may give is no failure, but as much as it may.
    let mut wish = server.request(&["bash", "-c", "ulimit -c; nice"]);
    wish["rlimits"] = serde_json::json!({"core": {"soft": null, "hard": null}});
    wish["nice"] = serde_json::json!(-20);
    let run = server.submit(&wish);
    assert_eq!(server.wait_end(run["id"].as_str().expect("an id"))["outcome"], "ok");
    server.shutdown();
}

fn probe(said: &[u8]) -> Value {
    serde_json::from_slice(said).expect("the probe's JSON")
}

#[test]
fn inv_11_a_run_starts_clean() {
    let server = Server::start(KIN);
    let guest = guest_path();
    let guest = guest.to_str().expect("text");
    let run = server.submit(&server.request(&[guest, "probe"]));
    let id = run["id"].as_str().expect("an id");
    assert_eq!(server.wait_end(id)["outcome"], "ok");
    let seen = probe(&server.output(id, "out"));
    let fds: Vec<&str> = seen["fds"].as_object().expect("a map").keys().map(String::as_str).collect();
    assert_eq!(fds, ["0", "1", "2"], "{seen}");
    assert_eq!(seen["fds"]["0"], "/dev/null");
    assert_eq!((&seen["session"], &seen["group"]), (&seen["pid"], &seen["pid"]), "a session of its own");
    assert_eq!(seen["env"]["KIN_RUN_ID"], id);
    assert!(seen["env"]["KIN_JOB"].is_string() && seen["env"]["KIN_SOCKET"].is_string(), "{seen}");

    // A program that sets nothing up for itself shows what kin gave it.
    let run = server.submit(&server.request(&["cat", "/proc/self/status"]));
    let id = run["id"].as_str().expect("an id");
    server.wait_end(id);
    let status = String::from_utf8(server.output(id, "out")).expect("text");
    for mask in ["SigBlk", "SigIgn", "SigCgt"] {
        let line = status.lines().find(|l| l.starts_with(mask)).expect("a mask");
        assert!(line.ends_with("\t0000000000000000"), "{line}");
    }
    server.shutdown();
}

#[test]
fn exec_gives_the_callers_directory_mask_environment_and_input() {
    let server = Server::start(KIN);
    let guest = guest_path();
    let typed = r#"umask 027; cd /usr/bin; export MINE=yes; exec "$0" exec -- "$1" probe"#;
    let mut caller = Command::new("bash");
    caller.args(["-c", typed, KIN]).arg(&guest).env_clear().envs(server.environment()).stdin(Stdio::null());
    let out = caller.output().expect("bash runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let seen = probe(&out.stdout);
    assert_eq!((seen["directory"].as_str(), seen["umask"].as_str()), (Some("/usr/bin"), Some("0027")), "{seen}");
    assert_eq!(seen["env"]["MINE"], "yes");
    let input: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    let said = Cli::new(&server).run_with(&["exec", "--", "cat"], &input).expect(0);
    assert_eq!(said.out, input);
    server.shutdown();
}

/// The values of the environment are on the runtime tmpfs while the run needs them, and nowhere else, ever.
#[test]
fn inv_12_environment_values_never_reach_the_state_directory() {
    let server = Server::start(KIN);
    let secret = format!("s3cret-{}", testkit::rng::Rng::fresh_seed());
    let cli = Cli::new(&server).env("PASSWORD", &secret);
    cli.run(&["exec", "--", "true"]).expect(0);
    let held = cli.run(&["exec", "--detach", "--pending", "gate", "--", "sh", "-c", "test -n \"$PASSWORD\""]);
    let id = held.expect(0).line();
    let run_dir = std::fs::canonicalize(server.run_dir()).expect("the runtime directory");
    let state = std::fs::canonicalize(server.state()).expect("the state");
    let has_it = |path: &std::path::Path| {
        std::fs::read(path).is_ok_and(|bytes| bytes.windows(secret.len()).any(|w| w == secret.as_bytes()))
    };
    for file in procfs::files_below(&state).iter().filter(|file| !file.starts_with(&run_dir)) {
        assert!(!has_it(file), "{} holds it", file.display());
    }
    server.kill(Role::Daemon).expect("a daemon to kill");
    cli.run(&["release", "gate"]).expect(0);
    let run = server.wait_end(&id);
    assert_eq!(run["outcome"], "ok", "it had its environment after all: {run}");
    assert!(!run.to_string().contains(&secret));
    for file in procfs::files_below(&state) {
        assert!(!has_it(&file), "{} still holds it", file.display());
    }
    server.shutdown();
}
