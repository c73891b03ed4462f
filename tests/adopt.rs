//! `kin adopt`: processes that kin did not start.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use testkit::server::{DEADLINE, Options, Role};
use testkit::{Cli, Server, eventually};

/// A process of this test's own: it ends with this code when it is told to by USR1, and with 0 by TERM.
fn stranger(server: &Server, code: u8) -> Child {
    let script = format!("trap 'exit {code}' USR1; trap 'exit 0' TERM; echo there; while :; do sleep 0.05; done");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).env_clear().envs(server.environment()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("sh starts");
    // Its traps are set once it has said something.
    let mut line = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut line).expect("it says so");
    child
}

fn tell(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, signal).expect("it is there");
}

fn run(cli: &Cli<'_>, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, DEADLINE, || {
        let all = cli.run(&["log", "--json", "--limit", "0", "--all"]).expect(0).json();
        all.as_array().expect("runs").iter().find(|run| run["id"] == id).cloned().filter(|run| is(run))
    })
}

fn kernel_tells() -> bool {
    let version = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 15)
}

#[test]
fn a_stranger_is_watched_over_deaths_of_the_daemon_and_its_end_is_known_or_lost() {
    let server = Server::start(env!("CARGO_BIN_EXE_kin"));
    let cli = Cli::new(&server);
    let mut child = stranger(&server, 7);
    let pid = child.id().to_string();
    let adopted = cli.run(&["adopt", &pid, "--id", "foreign", "--tag", "mine", "--json"]).expect(0).json();
    let id = adopted["id"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("foreign-"), "{adopted}");
    assert_eq!((&adopted["state"], &adopted["unowned"]), (&"running".into(), &true.into()));
    assert_eq!((&adopted["pid"], &adopted["trigger"]["kind"]), (&child.id().into(), &"adopt".into()));
    assert_eq!(adopted["command"][0], "sh");
    assert!(cli.run(&["ps", "@mine"]).expect(0).text().contains("running (unowned)"));
    let why = cli.run(&["why", &id]).expect(0).text();
    let jl = cli.run(&["jl", &id]).expect(0);
    assert_eq!((jl.text().as_str(), jl.errors().contains("kin did not start")), ("", true), "{}", jl.errors());
    assert!(why.contains("is a process that uid:") && why.contains("kin did not start it"), "{why}");

    // Twice is once too often, also by another name.
    let said = cli.run(&["adopt", &pid]).expect(5).errors();
    assert!(said.contains(&format!("process {pid} belongs to run {id} already")), "{said}");

    for _ in 0..2 {
        server.kill(Role::Daemon).expect("there was one");
        server.wait_whole(DEADLINE);
        assert_eq!(run(&cli, &id, "it lives", |run| run["state"] == "running")["pid"], child.id());
    }
    tell(&child, Signal::USR1);
    child.wait().expect("it ends");
    let ended = run(&cli, &id, "it has ended", |run| run["state"] == "ended");
    let (outcome, code) = if kernel_tells() { ("failed", Value::from(7)) } else { ("lost", Value::Null) };
    assert_eq!((&ended["outcome"], &ended["exit_code"]), (&outcome.into(), &code));
    // Only what is recorded is done; so it goes a moment later.
    let file = server.state().join("adopted").join(id.rsplit('-').next().expect("a number"));
    eventually("its file goes", DEADLINE, || (!file.exists()).then_some(()));
    server.shutdown();
}

#[test]
fn what_ended_while_nobody_watched_is_lost_and_what_lived_is_found() {
    let server = Options::new(env!("CARGO_BIN_EXE_kin")).env("KIN_NO_PIDFD_INFO", "1").start();
    let cli = Cli::new(&server);
    let (mut one, mut two) = (stranger(&server, 7), stranger(&server, 7));
    let [first, second] = [&one, &two].map(|child| cli.run(&["adopt", &child.id().to_string()]).expect(0).line());
    cli.run(&["shutdown", "--leave-runs"]).expect(0);
    eventually("all of the server is gone", DEADLINE, || {
        (server.pid(Role::Elder).is_none() && server.pid(Role::Keeper).is_none()).then_some(())
    });
    tell(&one, Signal::USR1);
    one.wait().expect("it ends");
    server.start_again();
    let lost = run(&cli, &first, "it is over", |run| run["state"] == "ended");
    assert_eq!((&lost["outcome"], &lost["reason"]), (&"lost".into(), &"unknown".into()));
    assert_eq!(run(&cli, &second, "it lives", |run| run["state"] == "running")["pid"], two.id());
    // And one that is seen to end, without a kernel that tells: what lies there of it says how, until it is reaped.
    tell(&two, Signal::USR1);
    two.wait().expect("it ends");
    let over = run(&cli, &second, "it is over", |run| run["state"] == "ended");
    let told = (&over["outcome"], &over["exit_code"]);
    assert!(told == (&"failed".into(), &7.into()) || told == (&"lost".into(), &Value::Null), "{over}");
    server.shutdown();
}

/// Its file is for the daemon that comes next: the one that watches the process knows of it.
#[test]
fn one_that_is_watched_lives_on_without_its_file() {
    let server = Server::start(env!("CARGO_BIN_EXE_kin"));
    let cli = Cli::new(&server);
    let mut child = stranger(&server, 7);
    let id = cli.run(&["adopt", &child.id().to_string()]).expect(0).line();
    let number = id.rsplit('-').next().expect("a number");
    std::fs::remove_file(server.state().join("adopted").join(number)).expect("it was there");
    // Everything is looked at anew.
    server.kill(Role::Keeper).expect("there was one");
    server.wait_whole(DEADLINE);
    assert_eq!(run(&cli, &id, "it is there", |_| true)["state"], "running");
    tell(&child, Signal::USR1);
    child.wait().expect("it ends");
    let ended = run(&cli, &id, "it has ended", |run| run["state"] == "ended");
    assert_eq!(ended["outcome"], if kernel_tells() { "failed" } else { "lost" });
    server.shutdown();
}

/// A parent that never takes the exits of its children keeps no run alive.
#[test]
fn a_dead_process_that_nobody_reaps_is_over() {
    let server = Server::start(env!("CARGO_BIN_EXE_kin"));
    let cli = Cli::new(&server);
    let mut child = stranger(&server, 3);
    let id = cli.run(&["adopt", &child.id().to_string()]).expect(0).line();
    tell(&child, Signal::USR1);
    let ended = run(&cli, &id, "it is over", |run| run["state"] == "ended");
    // What lies there of it says how.
    assert_eq!((&ended["outcome"], &ended["exit_code"]), (&"failed".into(), &3.into()));
    child.wait().expect("reaped at last");
    server.shutdown();
}

#[test]
fn one_that_is_given_up_goes_on_and_is_watched_by_nobody() {
    let server = Server::start(env!("CARGO_BIN_EXE_kin"));
    let cli = Cli::new(&server);
    let mut child = stranger(&server, 3);
    let pid = child.id().to_string();
    let id = cli.run(&["adopt", &pid, "--id", "foreign"]).expect(0).line();
    assert_eq!(cli.run(&["disown", "foreign"]).expect(0).line(), format!("{id}  ended lost(disowned)"));
    assert!(testkit::procfs::is_alive(child.id()), "it goes on");
    let file = server.state().join("adopted").join(id.rsplit('-').next().expect("a number"));
    eventually("its file is gone", DEADLINE, || (!file.exists()).then_some(()));
    let why = cli.run(&["why", &id]).expect(0).text();
    assert!(why.contains("gave it up: it goes on, and kin watches it no more"), "{why}");
    assert!(why.contains(&format!("It was given up: it went on as process {pid}")), "{why}");
    let said = cli.run(&["wait", &id]).expect(1).errors();
    assert!(!said.contains("had died"), "{said}");
    assert!(cli.run(&["disown", &id]).expect(5).errors().contains("has ended already: lost(disowned)"));
    // It may be adopted again, and given up in the middle of its stop: then no KILL comes.
    let deaf = cli.run(&["adopt", &pid, "--stop-signal", "CONT", "--stop-wait", "1h"]).expect(0).line();
    cli.run(&["stop", &deaf]).expect(0);
    let given_up = cli.run(&["disown", &deaf, "--json"]).expect(0).json();
    assert_eq!((&given_up[0]["outcome"], &given_up[0]["reason"]), (&"lost".into(), &"disowned".into()));
    assert_eq!((&given_up[0]["exit_code"], &given_up[0]["signal"]), (&Value::Null, &Value::Null));
    // No daemon that comes later looks for it.
    server.kill(Role::Daemon).expect("there was one");
    server.wait_whole(DEADLINE);
    tell(&child, Signal::USR1);
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
    assert_eq!(run(&cli, &deaf, "it is there", |_| true)["reason"], "disowned");
    let own = cli.run(&["exec", "--detach", "--", "sleep", "600"]).expect(0).line();
    let said = cli.run(&["disown", &own]).expect(5).errors();
    assert!(said.contains(&format!("run {own} was started by kin, which keeps to it until it ends")), "{said}");
    cli.run(&["stop", &own, "--wait"]).expect(0);
    server.shutdown();
}

#[test]
fn it_is_stopped_as_it_was_said_and_signalled() {
    let server = Server::start(env!("CARGO_BIN_EXE_kin"));
    let cli = Cli::new(&server);
    let mut child = stranger(&server, 3);
    let id = cli.run(&["adopt", &child.id().to_string(), "--stop-signal", "USR1"]).expect(0).line();
    assert_eq!(cli.run(&["stop", &id]).expect(0).line(), format!("{id}  stopping"));
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
    let ended = run(&cli, &id, "it has ended", |run| run["state"] == "ended");
    assert_eq!(ended["outcome"], if kernel_tells() { "stopped" } else { "lost" });

    // One that will not end is killed.
    let mut deaf = Command::new("sh");
    deaf.args(["-c", "trap '' TERM; echo there; while :; do sleep 0.05; done"]).stdout(Stdio::piped());
    let mut deaf = deaf.env_clear().envs(server.environment()).spawn().expect("sh starts");
    let mut line = [0; 6];
    std::io::Read::read_exact(deaf.stdout.as_mut().expect("a pipe"), &mut line).expect("it says so");
    let id = cli.run(&["adopt", &deaf.id().to_string(), "--stop-wait", "100ms"]).expect(0).line();
    cli.run(&["stop", &id]).expect(0);
    deaf.wait().expect("it ends");
    run(&cli, &id, "it has ended", |run| run["state"] == "ended");
    server.shutdown();
}

/// It leads no process group: it is in that of this test, and a signal to a group of its own would reach nobody.
#[test]
fn a_signal_reaches_one_that_leads_no_group() {
    let server = Server::start(env!("CARGO_BIN_EXE_kin"));
    let cli = Cli::new(&server);
    let mut child = stranger(&server, 3);
    let id = cli.run(&["adopt", &child.id().to_string()]).expect(0).line();
    cli.run(&["signal", "USR1", &id]).expect(0);
    run(&cli, &id, "it has ended", |run| run["state"] == "ended");
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
    server.shutdown();
}

/// Whom the signal of a stop was sent to belongs to the run, also when nothing else says so once its parent is dead.
#[test]
fn a_stop_ends_what_the_adopted_one_leaves() {
    let server = Server::start(env!("CARGO_BIN_EXE_kin"));
    let cli = Cli::new(&server);
    let script = "sh -c 'trap \"\" TERM; echo $$; exec sleep 600' & trap 'exit 0' TERM; while :; do sleep 0.05; done";
    let mut parent = Command::new("sh");
    parent.args(["-c", script]).env_clear().envs(server.environment()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut parent = parent.spawn().expect("sh starts");
    let mut line = String::new();
    let out = parent.stdout.take().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("it says so");
    let left: u32 = line.trim().parse().expect("a pid");
    let id = cli.run(&["adopt", &parent.id().to_string(), "--stop-wait", "300ms"]).expect(0).line();
    cli.run(&["stop", &id]).expect(0);
    parent.wait().expect("it ends");
    run(&cli, &id, "it has ended", |run| run["state"] == "ended");
    assert!(!testkit::procfs::is_alive(left), "a stopped run leaves nobody");
    server.shutdown();
}

#[test]
fn what_cannot_be_adopted_is_refused_with_the_reason() {
    let server = Server::start(env!("CARGO_BIN_EXE_kin"));
    let cli = Cli::new(&server);
    let refused = |pid: u32, code: i32| cli.run(&["adopt", &pid.to_string()]).expect(code).errors();
    assert!(refused(1, 5).contains("it is the first process of this machine"));
    assert!(refused(u32::MAX / 2, 4).contains("there is no process 2147483647"));
    for role in [Role::Daemon, Role::Elder, Role::Keeper, Role::Front] {
        let said = refused(server.pid(role).expect("it lives"), 5);
        assert!(said.contains("it is a process of kin itself"), "{role:?}: {said}");
    }
    let mut zombie = Command::new("true").spawn().expect("true starts");
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", zombie.id())).unwrap_or_default();
    eventually("it is dead", DEADLINE, || state().contains(") Z ").then_some(()));
    let said = refused(zombie.id(), 5);
    assert!(said.contains("it has ended already, and only its parent has not noticed"), "{said}");
    zombie.wait().expect("reaped");

    let run = cli.run(&["exec", "--detach", "--", "sleep", "600"]).expect(0).line();
    let pid = eventually("it runs", DEADLINE, || {
        let all = cli.run(&["ps", "--json"]).expect(0).json();
        all[0]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
    });
    let said = refused(pid, 5);
    assert!(said.contains(&format!("process {pid} belongs to run {run} already")), "{said}");
    cli.run(&["adopt", "x"]).expect(2);
    cli.run(&["stop", &run, "--wait"]).expect(0);
    assert_eq!(cli.run(&["log", "--json", "--limit", "0"]).expect(0).json().as_array().map(Vec::len), Some(1));
    server.shutdown();
}
