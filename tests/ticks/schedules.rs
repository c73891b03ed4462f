//! What a schedule does, what its runs are told, and what is shown of it.

use crate::support::{
    KIN, ask, items, job, lines, news, said, seconds, server, set_clock, started, ticks_of, with_clock, write,
};
use serde_json::json;
use std::collections::BTreeSet;
use testkit::http::Request;
use testkit::server::{DEADLINE, Options, Role, Server};
use testkit::wait::eventually;

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

/// The rows of the tries before it are gone by then.
#[test]
fn a_try_knows_its_instant_although_nobody_remembers_the_first() {
    let server = started(
        Options::new(KIN).env("KIN_TEST_CARE_MS", "50"),
        "[once]\nschedule = '* * * * * *'\ncommand = 'echo $KIN_ATTEMPT $KIN_TICK >> $HOME/once; false'\n\
         tries = 3\ndelay = '1500ms'\nlogs = { runs = 1 }\n",
    );
    let (once, retries) = (server.home().join("once"), "/v1/runs?job=once&limit=9");
    let waiting = || {
        let runs = ask(&server, &Request::get(retries)).expect(200).json();
        let runs = runs["runs"].as_array().cloned().expect("runs");
        let third = runs.iter().find(|run| run["attempt"] == 3).cloned()?;
        let before = format!("once-{}", third["trigger"]["run"].as_str().expect("a number"));
        runs.iter().all(|run| run["id"] != before).then_some(third)
    };
    let third = eventually("a third try, and no second any more", DEADLINE, waiting);
    let said = eventually("three tries", DEADLINE, || Some(lines(&once)).filter(|said| said.len() >= 3));
    let tick = said[0].strip_prefix("1 ").expect("the first try");
    assert_eq!(said[..3], [format!("1 {tick}"), format!("2 {tick}"), format!("3 {tick}")]);
    let at = third["trigger"]["at"].as_str().expect("its instant").parse::<jiff::Timestamp>().expect("one");
    assert_eq!(at.as_second().to_string(), tick);
    server.shutdown();
}

#[test]
fn what_comes_and_what_was_decided_is_shown() {
    let server = server(
        "[kin.calendars.never]\nweekdays = []\n\
         [each]\nschedule = '* * * * * *'\ncommand = 'sleep 1000'\n\
         [shut]\nschedule = '* * * * * *'\ncommand = 'true'\ncalendar = 'never'\n\
         [line]\nschedule = '* * * * * *'\ncommand = 'sleep 1000'\noverlap = 'queue'\noverlap_max = 1\n\
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
    assert!(run["late_ms"].as_u64() < Some(60_000), "{run}");
    assert_eq!(decided("each", "skipped-overlap")["live"], run["run"]);
    assert_eq!(decided("line", "skipped-line-full")["waiting"], 1);
    assert_eq!(decided("shut", "suppressed")["by"], "never");
    assert!(decided("off", "skipped-disabled")["run"].is_null());
    // What is skipped is not the last run of a job; of a disabled one there is no record of a run for each tick.
    assert!(server.runs_of("off").is_empty());
    let skipped = items(&server, &["log", "each", "--outcome", "skipped", "--json"]);
    assert_eq!(skipped[0]["reason"], "overlap");
    assert!(job(&server, "each")["last"].is_null(), "it runs, and none has ended");
    let (_, why, _) = said(&server, &["why", skipped[0]["id"].as_str().expect("an id")]);
    assert!(why.contains(&format!("It was skipped: {} was not over.", run["run"].as_str().expect("an id"))), "{why}");
    let skipped = items(&server, &["log", "line", "--outcome", "skipped", "--json"]);
    assert_eq!(skipped[0]["reason"], "line-full");
    assert_eq!(job(&server, "shut")["never"], "calendars");
    // A page, and the one behind it.
    let first = ask(&server, &Request::get("/v1/ticks?limit=1")).expect(200).json();
    let next = first["next"].as_u64().expect("there is more");
    let second = ask(&server, &Request::get(format!("/v1/ticks?limit=1&before={next}"))).expect(200).json();
    assert_ne!(first["ticks"][0], second["ticks"][0]);
    let log = items(&server, &["log", "--ticks", "each", "-n", "2", "--json"]);
    assert_eq!(log.len(), 2);
    assert!(log[0]["at"].as_str() < log[1]["at"].as_str(), "the last one at the end: {log:?}");
    let (_, table, _) = said(&server, &["log", "--ticks"]);
    let overlap = format!("skipped: {} was not over", run["run"].as_str().expect("an id"));
    let full = "skipped: a run waited, and no more may";
    for words in ["suppressed: never", "skipped: disabled", &overlap, full] {
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

#[test]
fn every_kind_of_schedule_is_followed() {
    let now = jiff::Timestamp::now();
    let at = |seconds: i64| (now + jiff::SignedDuration::from_secs(seconds)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let server = server(&format!(
        "[kin.calendars.shut]\nblackouts = ['2020-01-01T00:00/2024-01-01T00:00', '{}/{}']\n\
         [systemd]\nschedule = 'calendar: *:*:0/2'\ncommand = 'true'\n\
         [never]\nschedule = '* * * * * *'\ncommand = 'true'\ncalendars = ['shut']\n\
         [later]\nschedule = '@every 1s'\ncommand = 'true'\noverlap = 'allow'\njitter = '900ms'\n",
        at(-60),
        at(3600),
    ));
    // What is to come must not be over when it is said.
    let soon = jiff::Timestamp::now().as_second() - now.as_second() + 5;
    let define = |name: &str, schedules: &[i64]| {
        let schedules: Vec<String> = schedules.iter().map(|seconds| format!("'@at {}'", at(*seconds))).collect();
        let text = format!("command = 'true'\nschedule = [{}]\n", schedules.join(", "));
        ask(&server, &Request::put(format!("/v1/jobs/{name}"), &json!({"text": text}))).expect(200).json()
    };
    let once = define("once", &[soon]);
    assert_eq!(once["next_at"].as_str().map(|at| &at[..19]), Some(&at(soon)[..19]));
    define("twice", &[soon, soon + 2, soon + 2]);
    let decided = |job: &str, count: usize| {
        eventually(job, DEADLINE, || Some(ticks_of(&server, job)).filter(|ticks| ticks.len() >= count))
    };
    let once = decided("once", 1);
    assert_eq!(
        (once[0]["at"].as_str().map(|at| &at[..19]), &once[0]["decision"]),
        (Some(&at(soon)[..19]), &"run".into())
    );
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
    // What is due in the pause is not run: what is called the next one comes after it.
    let next = job(&server, "each")["next_at"].clone();
    assert!(seconds(&next) >= seconds(&until).floor() && seconds(&next) <= seconds(&until) + 2.0, "{next} {until}");
    assert_eq!(said(&server, &["disable", "each", "--until", "yesterday"]).0, 2);
    let past = serde_json::json!({"until": "2020-01-01T00:00:00Z"});
    ask(&server, &Request::post("/v1/jobs/each/disable", &past)).expect(400);
    assert_eq!(said(&server, &["enable", "each"]).0, 0);
    assert!(job(&server, "each")["paused_until"].is_null());
    assert_eq!(said(&server, &["disable", "each"]).0, 0);
    assert!(job(&server, "each")["next_at"].is_null(), "nothing is run while it is disabled");
    assert!(items(&server, &["list-disabled", "--json"])[0]["next_at"].is_null());
    assert_eq!(said(&server, &["enable", "each"]).0, 0);
    let last = ticks_of(&server, "each").len();
    eventually("it runs again", DEADLINE, || {
        ticks_of(&server, "each")[last..].iter().find(|tick| tick["decision"] == "run").map(drop)
    });
    server.shutdown();
}

/// A calendar file of one event on these days.
fn days_off(server: &Server, days: &[jiff::civil::Date]) {
    let events: String = days
        .iter()
        .map(|day| format!("BEGIN:VEVENT\r\nDTSTART;VALUE=DATE:{}\r\nEND:VEVENT\r\n", day.strftime("%Y%m%d")))
        .collect();
    calendar_file(server, &format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{events}END:VCALENDAR\r\n"));
}

fn calendar_file(server: &Server, text: &str) {
    let new = server.home().join(".off.new");
    std::fs::write(&new, text).expect("writes");
    std::fs::rename(new, server.home().join("off.ics")).expect("renames");
}

#[test]
fn a_calendar_file_closes_days_and_is_followed_as_it_changes() {
    let server = Options::new(KIN).prepare();
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    // Whatever time it is: none of these days is over before the test is.
    let near: Vec<_> = (-1..=2).map(|n| today + jiff::ToSpan::days(n)).collect();
    days_off(&server, &near);
    write(
        &server,
        "[kin]\ntimezone = 'UTC'\n[kin.calendars.off]\nics = 'off.ics'\n\
         [each]\nschedule = '* * * * * *'\ncommand = 'true'\ncalendars = 'off'\noverlap = 'allow'\n",
    );
    server.start_again();
    let last = |decision: &str| {
        let since = jiff::Timestamp::now().as_second() as f64;
        eventually(decision, DEADLINE, || {
            let ticks = ticks_of(&server, "each");
            ticks.into_iter().find(|tick| seconds(&tick["at"]) > since && tick["decision"] == decision)
        })
    };
    assert_eq!(last("suppressed")["by"], "off");
    days_off(&server, &[]);
    last("run");
    days_off(&server, &near);
    last("suppressed");
    // A broken one is told of, with its line, and the last good one holds: also for a daemon that never saw it.
    calendar_file(&server, "BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VEVENT\nDTSTART:soon\nEND:VEVENT\nEND:VCALENDAR\n");
    let broken = |server: &Server| {
        news(server, "jobs.broken").into_iter().any(|line| line.contains("off.ics:4:1: 'soon' is no date or time"))
    };
    eventually("it is told", DEADLINE, || broken(&server).then_some(()));
    last("suppressed");
    server.kill(Role::Daemon).expect("a daemon");
    server.wait_whole(DEADLINE);
    last("suppressed");
    assert!(ticks_of(&server, "each").iter().any(|tick| tick["decision"] == "run"));
    let config = server.home().to_str().expect("text").to_string();
    let (code, out, _) = said(&server, &["check", &format!("{config}/jobs.toml")]);
    assert!(code == 2 && out.contains("off.ics") && out.contains("is no date or time"), "{code} {out}");
    // One that is gone is told of where it is named.
    std::fs::remove_file(server.home().join("off.ics")).expect("gone");
    let (code, out, _) = said(&server, &["check", &format!("{config}/jobs.toml")]);
    assert!(code == 2 && out.contains("jobs.toml:4:7") && out.contains("the file of calendar 'off'"), "{code} {out}");
    assert!(out.contains("1 job in 1 file, 1 mistake"), "{out}");
    let named = |line: String| line.contains("jobs.toml:4:7") && line.contains("calendar 'off'");
    eventually("it is told", DEADLINE, || news(&server, "jobs.broken").into_iter().any(named).then_some(()));
    last("suppressed");
    server.shutdown();
}

/// What is called the next one is one that is run.
#[test]
fn what_is_next_is_what_no_calendar_forbids() {
    let server = with_clock("");
    // Saturday, 2026-11-21.
    let start: i64 = "2026-11-21T11:59:00Z".parse::<jiff::Timestamp>().expect("an instant").as_second();
    set_clock(&server, start - jiff::Timestamp::now().as_second());
    write(
        &server,
        "[kin]\ntimezone = 'UTC'\n[kin.calendars.work]\nweekdays = 'mon, tue, wed, thu, fri'\n\
         [kin.calendars.never]\nweekdays = []\n\
         [noon]\nschedule = ['0 13 * * *', '0 12 * * *']\ncommand = 'true'\ncalendars = 'work'\n\
         [shut]\nschedule = '0 12 * * *'\ncommand = 'true'\ncalendars = 'never'\n\
         [saturdays]\nschedule = '0 12 * * SAT'\ncommand = 'true'\ncalendars = 'work'\n",
    );
    eventually("it is defined, and the clock is set", DEADLINE, || {
        let answer = ask(&server, &Request::get("/v1/jobs/noon")).json();
        answer["next_at"].as_str().map(|at| at.starts_with("2026-11-23T12:00")).filter(|is| *is)
    });
    let (_, why, _) = said(&server, &["why", "noon"]);
    assert!(why.contains("Next: it is due at 2026-11-23 12:00:00 +00:00 (0 12 * * * UTC)."), "{why}");
    let (_, next, _) = said(&server, &["next", "noon", "--within", "3d"]);
    assert_eq!(next.matches("not run: calendar work").count(), 4, "{next}");
    for name in ["shut", "saturdays"] {
        let told = job(&server, name);
        let reason = "its calendars forbid each instant of its schedules for ten years to come";
        assert_eq!((&told["next_at"], &told["reason"]), (&serde_json::Value::Null, &reason.into()), "{name}");
    }
    let (_, list, _) = said(&server, &["list"]);
    let line = |name: &str| list.lines().find(|line| line.starts_with(name)).expect("a line").to_string();
    assert!(line("noon").contains(" 2026-11-23 "), "{list}");
    assert!(line("shut").contains("never: calendars") && line("saturdays").contains("never: calendars"), "{list}");
    server.shutdown();
}

#[test]
fn ticks_are_those_of_a_job_or_of_a_pattern() {
    let server = server(
        "[load]\nschedule = '* * * * * *'\ncommand = 'true'\n[look]\nschedule = '* * * * * *'\ncommand = 'true'\n\
         [other]\nschedule = '* * * * * *'\ncommand = 'true'\n[never]\nschedule = '0 0 1 1 *'\ncommand = 'true'\n",
    );
    for name in ["load", "look", "other"] {
        eventually(name, DEADLINE, || (!ticks_of(&server, name).is_empty()).then_some(()));
    }
    let names = |pattern: &str| {
        let ticks = items(&server, &["log", "--ticks", pattern, "-n", "0", "--json"]);
        ticks.iter().map(|tick| tick["job"].as_str().expect("a name").to_string()).collect::<BTreeSet<_>>()
    };
    assert_eq!(names("lo*"), ["load".to_string(), "look".to_string()].into());
    assert_eq!(names("look"), ["look".to_string()].into());
    assert_eq!(names("*").len(), 3);
    assert_eq!((names("never").len(), names("n*").len()), (0, 0), "no tick is no mistake");
    // A name that nobody has is one, as it is of runs, and so is a pattern of none.
    for word in ["nojob", "x*"] {
        for args in [&["log", "--ticks", word][..], &["log", word]] {
            let (code, out, err) = said(&server, args);
            assert!(code == 4 && out.is_empty() && err.contains(word), "{code} {out} {err}");
        }
    }
    let list = ask(&server, &Request::get("/v1/ticks?job=lo%2A&limit=1000")).expect(200).json();
    assert!(list["ticks"].as_array().is_some_and(|ticks| ticks.len() >= 2), "{list}");
    for path in ["/v1/ticks?job=nojob", "/v1/ticks/next?job=nojob", "/v1/runs?job=nojob"] {
        ask(&server, &Request::get(path)).expect(200);
    }
    server.shutdown();
}

#[test]
fn a_tick_is_moved_to_a_day_that_counts() {
    // Saturday, 2026-11-21, a minute before noon; that day is a day off, Sunday is not.
    let server = with_clock("");
    let start: i64 = "2026-11-21T11:59:00Z".parse::<jiff::Timestamp>().expect("an instant").as_second();
    set_clock(&server, start - jiff::Timestamp::now().as_second());
    days_off(&server, &["2026-11-21".parse().expect("a date")]);
    write(
        &server,
        "[kin]\ntimezone = 'UTC'\n[kin.calendars.off]\nics = 'off.ics'\n\
         [noon]\nschedule = '0 12 * * *'\ncommand = 'echo $KIN_SCHEDULED_FOR >> $HOME/noon'\ncalendars = 'off'\n\
         shift = 'next_business_day'\n",
    );
    eventually("it is defined", DEADLINE, || {
        ask(&server, &Request::get("/v1/jobs/noon")).json()["next_at"]
            .as_str()
            .map(|at| at.starts_with("2026-11-22T12:00"))
            .filter(|is| *is)
    });
    let due = items(&server, &["next", "noon", "--within", "3d", "--json"]);
    assert_eq!(due.len(), 2, "{due:?}");
    assert_eq!(due[0]["moved"], json!({"from": "2026-11-21 12:00:00", "count": 1, "calendar": "off"}));
    assert!(due[1].get("moved").is_none(), "{due:?}");
    let (_, next, _) = said(&server, &["next", "noon", "--within", "3d"]);
    assert!(next.contains("moved from 2026-11-21 12:00 UTC: calendar off"), "{next}");
    // On the day off nothing comes; on the next one it does, once for both.
    set_clock(&server, start + 86_400 + 55 - jiff::Timestamp::now().as_second());
    let ticks =
        eventually("it is decided", DEADLINE, || Some(ticks_of(&server, "noon")).filter(|ticks| !ticks.is_empty()));
    assert_eq!((ticks.len(), &ticks[0]["decision"]), (1, &"run".into()), "{ticks:?}");
    assert_eq!(ticks[0]["moved"], json!({"from": "2026-11-21 12:00:00", "count": 1, "calendar": "off"}));
    let noon =
        eventually("it was run", DEADLINE, || Some(lines(&server.home().join("noon"))).filter(|said| !said.is_empty()));
    assert_eq!(noon, ["2026-11-22T12:00:00Z"]);
    let (_, log, _) = said(&server, &["log", "--ticks", "noon"]);
    assert!(log.contains("run, moved from 2026-11-21 12:00 by the schedule's clocks: calendar off"), "{log}");
    server.shutdown();
}

#[test]
fn what_is_cut_and_what_is_taken_for_utc_is_said() {
    let server = server("[each]\nschedule = '0 * * * * *'\ncommand = 'true'\n");
    let (code, out, err) = said(&server, &["next", "--ics", "--within", "2h"]);
    assert!(code == 0 && err.is_empty() && out.matches("BEGIN:VEVENT").count() >= 119, "{out} {err}");
    let (code, out, err) = said(&server, &["next", "--within", "30d", "-n", "0"]);
    assert!(code == 0 && out.lines().count() == 10_002, "{}", out.lines().count());
    assert!(err.contains("only the first 10000 are shown, as many as the server tells"), "{err}");
    let (code, _, err) = said(&server, &["next", "--within", "2026-11-24"]);
    assert!(code == 2 && err.contains("\"2026-11-24\" is no length of time"), "{err}");
    let (code, _, err) = said(&server, &["disable", "each", "--until", "9999-12-31"]);
    assert!(code == 2 && err.contains("out of range"), "{err}");
    let output = server.command().args(["next", "-n", "1"]).env("TZ", "Foo/Bar").output().expect("kin");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(err.matches("TZ=Foo/Bar is no time zone that is known here").count(), 1, "{err}");
    server.shutdown();
}
