//! What went wrong elsewhere, and many at once.

use crate::support::{KIN, ask, job, lines, news, seconds, server, set_clock, ticks_of, with_clock};
use rustix::process::Signal;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use testkit::http::Request;
use testkit::rng::Rng;
use testkit::server::{DEADLINE, Role};
use testkit::torture::ticks;
use testkit::wait::eventually;

/// Cronicle gives up a host that was silent, and starts the job again while the first copy still runs; what was to be run is in
/// its memory (9); dkron counts from a column, so that a job runs twice or never again (6).
#[test]
fn failures_6_8_and_9_silence_is_no_end_and_a_death_forgets_nothing() {
    let server = server(
        "[long]\nschedule = '* * * * * *'\ncommand = 'echo began >> $HOME/long; exec sleep 1000'\n\
         [later]\nschedule = '* * * * * *'\ncommand = 'echo $KIN_RUN_ID >> $HOME/later'\njitter = '1h'\noverlap = 'queue'\n",
    );
    let long = server.home().join("long");
    let first = eventually("it runs", DEADLINE, || {
        let job = job(&server, "long");
        job["runs"][0]["pid"].as_u64().map(|pid| (pid, job["runs"][0]["id"].clone()))
    });
    server.signal(Role::Daemon, Signal::STOP);
    testkit::wait::let_time_pass(Duration::from_secs(2));
    server.signal(Role::Daemon, Signal::CONT);
    for role in [Role::Daemon, Role::Keeper, Role::Daemon, Role::Elder] {
        server.wait_whole(DEADLINE);
        server.kill(role).expect("it was there");
    }
    server.wait_whole(DEADLINE);
    let skipped = |ticks: &[Value]| ticks.iter().filter(|tick| tick["decision"] == "skipped-overlap").count();
    eventually("it is skipped", DEADLINE, || (skipped(&ticks_of(&server, "long")) >= 3).then_some(()));
    let now = job(&server, "long");
    assert_eq!((&now["runs"][0]["pid"], &now["runs"][0]["id"]), (&first.0.into(), &first.1), "the same one");
    assert_eq!(lines(&long), ["began"], "one, and never two");
    // What waits for its jitter is a row, and outlives them all.
    let waiting = job(&server, "later")["runs"].as_array().cloned().expect("runs");
    let made: Vec<Value> = ticks_of(&server, "later").iter().map(|tick| tick["run"].clone()).collect();
    assert!(waiting.len() >= 2 && waiting.iter().all(|run| run["state"] == "waiting" && made.contains(&run["id"])));
    assert!(lines(&server.home().join("later")).is_empty());
    server.shutdown();
}

/// systemd: a clock that was in 2098 for a moment leaves a timer that never fires again.
#[test]
fn failure_11_a_clock_that_was_in_another_century() {
    let server =
        with_clock("[each]\nschedule = '* * * * * *'\ncommand = 'echo $KIN_TICK >> $HOME/each'\noverlap = 'allow'\n");
    let each = server.home().join("each");
    let last = || lines(&each).last().and_then(|line| line.parse::<i64>().ok()).unwrap_or(0);
    let now = jiff::Timestamp::now().as_second();
    let near = |years: i64| {
        eventually("it runs", DEADLINE, || ((last() - now - years * 365 * 86_400).abs() < 3600).then_some(()));
    };
    near(0);
    set_clock(&server, 72 * 365 * 86_400);
    near(72);
    set_clock(&server, 0);
    near(0);
    server.kill(Role::Daemon).expect("a daemon");
    server.wait_whole(DEADLINE);
    let before = lines(&each).len();
    eventually("it goes on", DEADLINE, || (lines(&each).len() > before + 1).then_some(()));
    assert_eq!(news(&server, "clock.set").len(), 2);
    server.shutdown();
}

/// As many as there may be: the server sleeps until the first of them is due.
#[test]
fn a_server_with_two_thousand_schedules_sleeps() {
    let hour = (jiff::Timestamp::now().as_second() / 3600 + 12) % 24;
    let job = |n: usize| format!("[j{n}]\nschedule = '{} {hour} * * *'\ntimezone = 'UTC'\ncommand = 'true'\n", n % 60);
    let server = server(&(0..2000).map(job).collect::<String>());
    eventually("all are known", DEADLINE, || {
        let due = ask(&server, &Request::get("/v1/ticks/next?limit=10000&within_ms=86400000")).expect(200).json();
        (due["due"].as_array().map(Vec::len) == Some(2000)).then_some(())
    });
    let pid = server.pid(Role::Daemon).expect("a daemon");
    let quiet = |seconds: u64| {
        let before = testkit::procfs::switches(pid).expect("its switches");
        testkit::wait::let_time_pass(Duration::from_secs(seconds));
        testkit::procfs::switches(pid).expect("its switches") == before
    };
    eventually("a quiet second", DEADLINE, || quiet(1).then_some(()));
    assert!(quiet(3), "woken without cause");
    server.shutdown();
}

/// Kubernetes and others start late, or not at all, what is due at once.
#[test]
fn what_is_due_in_the_same_second_is_all_started_once() {
    let job = |n: usize| {
        format!("[j{n}]\nschedule = '*/5 * * * * *'\ncommand = 'echo $KIN_TICK {n} >> $HOME/ran'\noverlap = 'allow'\n")
    };
    let server = server(&(0..200).map(job).collect::<String>());
    let ran = server.home().join("ran");
    // Of the first instant after all of them were known.
    let all = eventually("all of one instant", Duration::from_secs(90), || {
        let all = lines(&ran);
        let of = |instant: &str| all.iter().filter(|line| line.starts_with(instant)).count();
        let instant = all.iter().filter_map(|line| line.split_once(' ')).map(|(instant, _)| instant);
        let whole = instant.filter(|instant| of(instant) >= 200).min().map(str::to_string);
        whole.map(|instant| (instant, all))
    });
    let mut of_it: Vec<&String> = all.1.iter().filter(|line| line.starts_with(&all.0)).collect();
    assert_eq!(of_it.len(), 200);
    of_it.sort();
    of_it.dedup();
    assert_eq!(of_it.len(), 200, "each once");
    let second: i64 = all.0.parse().expect("an instant");
    let ticks = ask(&server, &Request::get("/v1/ticks?limit=10000")).expect(200).json()["ticks"].clone();
    let ticks = ticks.as_array().expect("ticks");
    let of_it = ticks.iter().filter(|tick| seconds(&tick["at"]) as i64 == second);
    let of_it: Vec<&Value> = of_it.filter(|tick| tick["decision"] == "run" && tick["late_ms"].is_u64()).collect();
    assert_eq!(of_it.len(), 200);
    server.shutdown();
}

/// In short; the long form is `cargo xtask torture --ticks`.
#[test]
fn a_daemon_that_is_killed_around_the_second_decides_each_instant_once() {
    let seed = Rng::fresh_seed() % 1_000_000_000;
    let report = ticks::run(Path::new(KIN), 16, seed);
    println!("{report}");
    assert!(report.ran > 30 && report.decisions.contains_key("skipped-overlap"), "{report}");
}
