//! `kin cron` as it is typed: it needs no server, no home, and not even a zone database.

use std::process::Command;

fn kin_cron(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kin"));
    command.arg("cron").args(args).env_clear().env("TZ", "UTC");
    let output = command.output().expect("kin");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("a code"), text(&output.stdout), text(&output.stderr))
}

/// Without the columns that tell how far away it is.
fn instants(out: &str) -> Vec<String> {
    let lines =
        out.lines().filter(|line| line.as_bytes().get(4).is_some_and(u8::is_ascii_digit) && line.contains(":00 "));
    lines.map(|line| line.split("  ").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn words_instants_and_what_may_surprise() {
    let (code, out, err) =
        kin_cron(&["30 2 * * *", "--tz", "America/New_York", "-n", "2", "--after", "2026-03-07 12:00"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("30 2 * * *  America/New_York\n  at 02:30 every day\n\n"), "{out}");
    assert_eq!(instants(&out)[..2], ["Sun 2026-03-08 03:00:00 -04:00", "Mon 2026-03-09 02:30:00 -04:00"]);
    assert!(out.contains("  02:30 does not exist on 2026-03-08\n"), "{out}");
    assert!(
        out.ends_with(
            "\nnote: on 2026-03-08 clocks in America/New_York go from 02:00 to 03:00: there is no 02:30, \
             and it fires once at 03:00\n"
        ),
        "{out}"
    );
}

#[test]
fn mistakes_have_a_caret_and_exit_code_2() {
    let (code, out, err) = kin_cron(&["75 2 * FOO *"]);
    assert_eq!((code, out.as_str()), (2, ""));
    let expected = "kin: minute, column 1: 75 is too large; minutes are 0 to 59\n  75 2 * FOO *\n  ^^\n\
                    kin: month, column 8: \"FOO\" is not known here; months are 1 to 12, or JAN to DEC\n  75 2 * FOO *\n         ^^^\n";
    assert_eq!(err, expected);
    let (code, _, err) = kin_cron(&["@daily", "--tz", "Berlin"]);
    assert_eq!((code, err.as_str()), (2, "kin: there is no time zone \"Berlin\"; did you mean Europe/Berlin?\n"));
    let (code, _, err) = kin_cron(&["calendar: daily Europe/Belin", "61 * * * *"]);
    let expected = "kin: time zone, column 17: there is no time zone \"Europe/Belin\"; did you mean Europe/Berlin?\n  \
                    calendar: daily Europe/Belin\n                  ^^^^^^^^^^^^\n\
                    kin: minute, column 1: 61 is too large; minutes are 0 to 59\n  61 * * * *\n  ^^\n";
    assert_eq!((code, err.as_str()), (2, expected));
    assert_eq!(kin_cron(&["@daily", "--after", "soon"]).0, 2);
    assert_eq!(kin_cron(&["@daily", "--dst", "maybe"]).0, 2);
}

#[test]
fn json_says_the_same() {
    let (code, out, _) = kin_cron(&["@every 90s anchor=2026-01-01T00:00:00Z", "30 1 * * *", "--json", "-n", "1"]);
    let json: serde_json::Value = serde_json::from_str(&out).expect("json");
    assert_eq!((code, json["schedules"][1]["words"].as_str()), (0, Some("at 01:30 every day")));
    assert_eq!(json["schedules"][0]["follows_real_time"], true);
    assert_eq!(json["coming"].as_array().map(Vec::len), Some(1));
    let (code, out, _) = kin_cron(&["61 * * * *", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).expect("json");
    assert_eq!((code, json["mistakes"][0]["column"].as_u64()), (2, Some(1)));
}

#[test]
fn the_policy_the_job_and_forgotten_quotes() {
    let args = ["30 1 * * *", "--tz", "America/New_York", "--dst", "both", "-n", "2", "--after", "2026-10-31T12:00"];
    let (_, out, _) = kin_cron(&args);
    assert_eq!(instants(&out)[..2], ["Sun 2026-11-01 01:30:00 -04:00", "Sun 2026-11-01 01:30:00 -05:00"]);
    let (_, out, _) = kin_cron(&["*/30 * * * *", "--tz", "America/New_York", "-n", "1", "--after", "2026-11-01 00:00"]);
    assert_eq!(
        instants(&out.replace(":30:00", ":00:00")),
        ["Sun 2026-11-01 00:00:00 -04:00"],
        "by its own clocks: {out}"
    );
    let (_, backup, _) = kin_cron(&["H H * * *", "--job", "backup", "-n", "1", "--after", "2026-01-01"]);
    assert_eq!(instants(&backup), ["Thu 2026-01-01 12:38:00 +00:00"]);
    let (code, out, _) = kin_cron(&["5", "4", "1", "1", "?", "-n", "1", "--after", "2026-01-02"]);
    assert_eq!((code, instants(&out)), (0, vec!["Fri 2027-01-01 04:05:00 +00:00".to_string()]));
    // A zone within the expression wins; midnight in UTC is 9:00 there, and only what comes after it is shown.
    let (_, out, _) = kin_cron(&["calendar: 09:00 Asia/Tokyo", "--tz", "UTC", "-n", "1", "--after", "2026-01-01"]);
    assert_eq!(instants(&out), ["Fri 2026-01-02 09:00:00 +09:00"]);
}

#[test]
fn a_time_that_clocks_skip_is_refused_where_it_is_left_out() {
    let at = "@at 2027-03-28T02:30";
    let (code, out, err) = kin_cron(&[at, "--tz", "Europe/Berlin", "--dst", "skip"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("clocks in Europe/Berlin skip it"), "{err}");
    let (code, out, _) = kin_cron(&[at, "--tz", "Europe/Berlin"]);
    assert_eq!((code, instants(&out)), (0, vec!["Sun 2027-03-28 03:00:00 +02:00".to_owned()]));
}
