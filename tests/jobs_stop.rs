//! A stop that begins with a command: the run is asked in its own words, whoever of kin is killed meanwhile.

use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::eventually;
use testkit::procfs;
use testkit::server::{DEADLINE, Role, Server};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

/// Hears no TERM, and goes when it finds `quit`. `more` is of its definition.
fn deaf(more: &str) -> String {
    format!(
        "[deaf]\ncommand = 'exec > /dev/null 2>&1; echo lives >> $HOME/lives; trap \"echo term >> $HOME/heard\" TERM; \
         while ! test -e $HOME/quit; do sleep 0.05; done'\nrestart = 'always'\n{more}"
    )
}

fn deaf_server(more: &str) -> (Server, Value) {
    let server = Server::with_jobs(KIN, &deaf(more));
    let run = server.running("deaf", 1).remove(0);
    eventually("its line", DEADLINE, || (server.lines("lives").len() == 1).then_some(()));
    (server, run)
}

fn id(run: &Value) -> &str {
    run["id"].as_str().expect("an id")
}

fn story(server: &Server, run: &Value) -> String {
    server.http().get(&format!("/v1/runs/{}/why", id(run))).expect(200).json().to_string()
}

#[test]
fn a_stop_command_asks_before_any_signal() {
    let command = "stop = { command = 'test \"$KIN_PID\" -gt 1 && echo asked-$WORD >> $HOME/asked; touch $HOME/quit', \
                   wait = '60s' }\nenv = { WORD = 'politely' }\n";
    let (server, run) = deaf_server(command);
    server.post("/v1/jobs/deaf/stop", &json!({})).expect(200);
    let ended = server.wait_end(id(&run));
    assert_eq!((&ended["outcome"], &ended["exit_code"]), (&json!("stopped"), &json!(0)), "{ended}");
    assert_eq!(server.lines("asked"), ["asked-politely"]);
    assert_eq!(server.lines("heard"), Vec::<String>::new(), "it needed no signal");
    assert!(std::fs::read_dir(server.run_dir().join("stopping")).is_ok_and(|mut left| left.next().is_none()));
    server.shutdown();
}

#[test]
fn a_stop_command_that_fails_is_followed_by_the_signals_at_once() {
    let (server, run) = deaf_server("stop = { command = 'exit 7', wait = '500ms' }\n");
    server.post("/v1/jobs/deaf/stop", &json!({})).expect(200);
    let ended = server.wait_end(id(&run));
    assert_eq!((&ended["outcome"], &ended["signal"]), (&json!("stopped"), &json!(9)), "{ended}");
    assert_eq!(server.lines("heard"), ["term"], "asked by signal, then killed");
    server.told("its stop command did not end well: exit code 7");
    server.shutdown();
}

#[test]
fn a_stop_command_in_vain_is_waited_for_and_then_come_the_signals() {
    let stop = "stop = { command = 'echo asked >> $HOME/asked', wait = '700ms' }\n";
    let (server, run) = deaf_server(stop);
    server.post("/v1/jobs/deaf/stop", &json!({})).expect(200);
    eventually("why says it", DEADLINE, || story(&server, &run).contains("ended well").then_some(()));
    let ended = server.wait_end(id(&run));
    assert_eq!((&ended["outcome"], &ended["signal"]), (&json!("stopped"), &json!(9)), "{ended}");
    assert_eq!((server.lines("asked"), server.lines("heard")), (vec!["asked".to_string()], vec!["term".to_string()]));
    // The same in the history.
    assert!(story(&server, &run).contains("Somebody asked for its end"));
    server.shutdown();
}

#[test]
fn a_stop_command_that_hangs_has_its_time() {
    let (server, run) =
        deaf_server("stop = { command = 'exec sleep 1000', command_timeout = '500ms', wait = '300ms' }\n");
    server.post("/v1/jobs/deaf/stop", &json!({})).expect(200);
    let ended = server.wait_end(id(&run));
    assert_eq!(ended["outcome"], "stopped", "{ended}");
    assert_eq!(server.lines("heard"), ["term"]);
    server.told("no end in its time");
    server.shutdown();
}

/// The command goes on without the daemon, and is not begun twice.
#[test]
fn a_stop_command_outlives_the_daemon() {
    let stop = "stop = { command = 'echo asked >> $HOME/asked; while ! test -e $HOME/go; do sleep 0.05; done; \
                touch $HOME/quit', command_timeout = '60s', wait = '60s' }\n";
    let (server, run) = deaf_server(stop);
    server.post("/v1/jobs/deaf/stop", &json!({})).expect(200);
    for _ in 0..3 {
        eventually("the command", DEADLINE, || (server.lines("asked").len() == 1).then_some(()));
        server.kill(Role::Daemon).expect("a daemon");
        server.wait_whole(DEADLINE);
    }
    for role in [Role::Keeper, Role::Elder] {
        server.kill(role).expect("it lives");
        server.wait_whole(DEADLINE);
    }
    assert_eq!(server.show(id(&run))["state"], "stopping");
    std::fs::write(server.home().join("go"), "").expect("writes");
    let ended = server.wait_end(id(&run));
    assert_eq!((&ended["outcome"], &ended["exit_code"]), (&json!("stopped"), &json!(0)), "{ended}");
    assert_eq!(server.lines("asked"), ["asked"], "once, whoever died");
    assert_eq!(server.lines("heard"), Vec::<String>::new());
    server.shutdown();
}

/// Stopped as soon as it begins, its pid is recorded a moment later: its command is given it all the same.
#[test]
fn a_stop_command_knows_its_run_however_early_it_comes() {
    let server = Server::with_jobs(
        KIN,
        "[early]\nexec = ['sleep', '1000']\nrestart = 'always'\nstop.command = 'echo pid $KIN_PID >> $HOME/asked; kill $KIN_PID'\n\
         stop.wait = '60s'\n",
    );
    for _ in 0..40 {
        server.post("/v1/jobs/early/start", &json!({})).expect(200);
        server.post("/v1/jobs/early/stop", &json!({})).expect(200);
        server.job_when("early", "is down", |job| job["state"] == "down");
    }
    let asked = server.lines("asked");
    assert!(
        asked.iter().all(|line| line.strip_prefix("pid ").is_some_and(|pid| pid.parse::<u32>().is_ok())),
        "{asked:?}"
    );
    server.shutdown();
}

/// Asked for its end while its keeper has not heard of its start yet: the command goes, and no signal.
#[test]
fn a_run_whose_process_is_only_just_being_made_is_asked_by_its_command() {
    let server = Server::start(KIN);
    assert!(server.signal(Role::Keeper, Signal::STOP));
    server.write_jobs(&deaf("stop = { command = 'echo asked >> $HOME/asked; touch $HOME/quit', wait = '60s' }\n"));
    server.job_when("deaf", "is being started", |job| job["runs"][0]["state"] == "starting");
    server.post("/v1/jobs/deaf/stop", &json!({})).expect(200);
    assert!(server.signal(Role::Keeper, Signal::CONT));
    server.job_when("deaf", "is down", |job| job["state"] == "down");
    let run = server.runs_of("deaf").remove(0);
    assert_eq!(run["outcome"], "stopped", "{run}");
    assert_eq!((server.lines("asked"), server.lines("heard")), (vec!["asked".to_string()], Vec::new()), "{run}");
    server.shutdown();
}

fn goes_as_asked(server: Server, run: &Value) {
    std::fs::write(server.home().join("quit"), "").expect("writes");
    let ended = server.wait_end(id(run));
    assert_eq!((&ended["outcome"], &ended["exit_code"]), (&json!("stopped"), &json!(0)), "{ended}");
    assert_eq!((server.lines("asked").len(), server.lines("heard").len()), (1, 0), "no signal, and no second command");
    server.shutdown();
}

/// Its command has ended well, and it has been told so to go: it has its time, whoever dies now.
#[test]
fn a_run_that_was_asked_has_its_time_also_when_the_daemon_dies() {
    let (server, run) = deaf_server("stop = { command = 'echo asked >> $HOME/asked', wait = '60s' }\n");
    server.post("/v1/jobs/deaf/stop", &json!({})).expect(200);
    eventually("its end is told", DEADLINE, || story(&server, &run).contains("has ended well").then_some(()));
    for _ in 0..2 {
        server.kill(Role::Daemon).expect("a daemon");
        server.wait_whole(DEADLINE);
    }
    goes_as_asked(server, &run);
}

/// A daemon that dies when it has read the command's end, and has told nobody.
#[test]
fn the_end_of_a_stop_command_is_known_to_the_next_daemon() {
    let faults = tempfile::tempdir().expect("a directory");
    let server = testkit::server::Options::new(KIN).env("KIN_FAULTS", faults.path().to_string_lossy()).prepare();
    server.write_jobs(&deaf("stop = { command = 'echo asked >> $HOME/asked', wait = '60s' }\n"));
    server.start_again();
    let run = server.running("deaf", 1).remove(0);
    eventually("its line", DEADLINE, || (server.lines("lives").len() == 1).then_some(()));
    let fault = faults.path().join("helper-ended");
    std::fs::write(&fault, "").expect("writes");
    server.post("/v1/jobs/deaf/stop", &json!({})).expect(200);
    eventually("it has died of it", DEADLINE, || (!fault.exists()).then_some(()));
    server.wait_whole(DEADLINE);
    eventually("its end is told", DEADLINE, || story(&server, &run).contains("has ended well").then_some(()));
    goes_as_asked(server, &run);
}

/// Its run has ended while no daemon looked, so the next one has no reason to ask: it is ended, and forgotten.
#[test]
fn a_stop_command_whose_run_is_over_does_not_outlive_two_daemons() {
    let stop = "stop = { command = 'echo $$ >> $HOME/asked; exec sleep 4243', command_timeout = '1h', wait = '60s' }\n";
    let (server, run) = deaf_server(stop);
    server.post("/v1/jobs/deaf/stop", &json!({})).expect(200);
    let command = eventually("the command", DEADLINE, || server.lines("asked").first()?.parse::<u32>().ok());
    let daemon = server.pid(Role::Daemon).expect("a daemon");
    procfs::kill_marked(daemon, server.mark(), rustix::process::Signal::STOP).expect("stops it");
    std::fs::write(server.home().join("quit"), "").expect("writes");
    let pid = u32::try_from(run["pid"].as_u64().expect("a pid")).expect("a pid");
    assert!(procfs::gone_within(pid, DEADLINE), "it goes");
    server.kill(Role::Daemon).expect("a daemon");
    server.wait_whole(DEADLINE);
    assert_eq!(server.wait_end(id(&run))["outcome"], "stopped");
    assert!(procfs::gone_within(command, DEADLINE), "nobody asked for it any more");
    let number = id(&run).rsplit('-').next().expect("its number");
    assert!(!server.run_dir().join("stopping").join(number).exists());
    server.shutdown();
}

/// Without a daemon the keeper goes on to the signals by itself.
#[test]
fn the_signals_come_also_when_no_daemon_is_there_to_send_them() {
    let stop =
        "stop = { command = 'echo asked >> $HOME/asked; exec sleep 1000', command_timeout = '1s', wait = '1s' }\n";
    let (server, run) = deaf_server(stop);
    server.post("/v1/jobs/deaf/stop", &json!({})).expect(200);
    eventually("the command", DEADLINE, || (server.lines("asked").len() == 1).then_some(()));
    let daemon = server.pid(Role::Daemon).expect("a daemon");
    procfs::kill_marked(daemon, server.mark(), rustix::process::Signal::STOP).expect("stops it");
    let pid = u32::try_from(run["pid"].as_u64().expect("a pid")).expect("a pid");
    assert!(procfs::gone_within(pid, DEADLINE), "nobody ended it");
    procfs::kill_marked(daemon, server.mark(), rustix::process::Signal::CONT).expect("continues it");
    assert_eq!(server.wait_end(id(&run))["outcome"], "stopped");
    assert_eq!(server.lines("heard"), ["term"]);
    server.shutdown();
}

/// Nobody of those who waited for the command lives; nor does the command, for it is nobody's.
fn both_keepers_die_while_a_stop_command_goes(times: &str, and_the_daemon: bool) {
    let stop = format!(
        "stop = {{ command = 'setsid sleep 4245 & echo $! >> $HOME/asked; exec sleep 4244', wait = '1s', {times} }}\n"
    );
    let (server, run) = deaf_server(&stop);
    server.post("/v1/jobs/deaf/stop", &json!({})).expect(200);
    eventually("the command", DEADLINE, || (server.lines("asked").len() == 1).then_some(()));
    if and_the_daemon {
        server.kill_all();
        server.start_again();
    } else {
        let keepers = [Role::Elder, Role::Keeper].map(|role| server.pid(role).expect("it is there"));
        assert!(server.signal(Role::Elder, Signal::STOP) && server.signal(Role::Keeper, Signal::STOP));
        for pid in keepers {
            procfs::kill_marked(pid, server.mark(), Signal::KILL).expect("kills it");
        }
    }
    eventually("its signal", DEADLINE, || (server.lines("heard") == ["term"]).then_some(()));
    server.wait_end(id(&run));
    assert_eq!((server.lines("heard").len(), server.lines("asked").len()), (1, 1));
    let child = server.lines("asked")[0].parse().expect("a pid");
    assert!(procfs::gone_within(child, DEADLINE), "the command's own child is left: {child}");
    server.shutdown();
}

/// It is gone before anybody can look at it, and the child that it leaves carries nothing but its cgroup.
#[test]
fn what_a_stop_command_of_dead_keepers_has_left_is_ended_also_when_the_command_is_gone() {
    let command = "env -i setsid sleep 300 & echo $! $$ >> $HOME/asked; exec sleep 300";
    let (server, run) = deaf_server(&format!("stop = {{ command = '{command}', wait = '1s' }}\n"));
    server.post("/v1/jobs/deaf/stop", &json!({})).expect(200);
    let pids = eventually("the command", DEADLINE, || server.lines("asked").first().cloned());
    let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().expect("a pid")).collect();
    let cgroup_of = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it lives");
    let has_cgroup = cgroup_of(pids[0]) != cgroup_of(server.pid(Role::Daemon).expect("it is there"));
    server.kill_all();
    let end = |pid: u32| {
        let pid = rustix::process::Pid::from_raw(pid as i32).expect("a pid");
        rustix::process::kill_process(pid, Signal::KILL).expect("it lives");
    };
    end(pids[1]);
    assert!(procfs::gone_within(pids[1], DEADLINE));
    if has_cgroup {
        server.start_again();
        assert!(procfs::gone_within(pids[0], DEADLINE), "the command's own child is left: {pids:?}");
        server.wait_end(id(&run));
        server.shutdown();
    } else {
        end(pids[0]);
        testkit::not_run("no cgroups for runs here");
    }
}

#[test]
fn a_run_whose_keepers_die_at_its_stop_command_hears_a_signal_before_it_is_killed() {
    both_keepers_die_while_a_stop_command_goes("command_timeout = '500ms'", true);
}

#[test]
fn a_stop_command_that_dies_with_its_keepers_is_followed_by_the_signals() {
    both_keepers_die_while_a_stop_command_goes("command_timeout = '10m'", false);
}

#[test]
fn inv_06_what_a_politely_stopped_run_leaves_is_ended_too() {
    let server = Server::with_jobs(
        KIN,
        "[web]\ncommand = 'setsid sleep 4242 > /dev/null 2>&1 < /dev/null & echo $! > $HOME/other; \
         while ! test -e $HOME/quit; do sleep 0.05; done'\nrestart = 'always'\n\
         stop = { command = 'touch $HOME/quit', wait = '1s' }\n",
    );
    let run = server.running("web", 1).remove(0);
    let other = eventually("its other process", DEADLINE, || server.lines("other").first()?.parse::<u32>().ok());
    server.post("/v1/jobs/web/stop", &json!({})).expect(200);
    let ended = server.wait_end(id(&run));
    assert_eq!((&ended["outcome"], &ended["warnings"]), (&json!("stopped"), &json!({})), "{ended}");
    assert!(procfs::gone_within(other, Duration::from_secs(1)), "left: {other}");
    server.shutdown();
}

#[test]
fn a_kill_asks_nobody() {
    let (server, run) =
        deaf_server("stop = { command = 'echo asked >> $HOME/asked; exec sleep 1000', wait = '60s' }\n");
    server.post("/v1/jobs/deaf/stop", &json!({})).expect(200);
    eventually("the command", DEADLINE, || (server.lines("asked").len() == 1).then_some(()));
    server.post(&format!("/v1/runs/{}/stop", id(&run)), &json!({"kill": true}));
    let ended = server.wait_end(id(&run));
    assert_eq!((&ended["outcome"], &ended["signal"]), (&json!("stopped"), &json!(9)), "{ended}");
    assert_eq!(server.lines("heard"), Vec::<String>::new());
    server.shutdown();
}
