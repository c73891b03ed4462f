//! What can be written, and what is said of what cannot.

use super::{read, utc};
use crate::schedule::{Dst, Schedule, Zone};
use proptest::prelude::*;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

fn wrong(text: &str) -> String {
    Schedule::parse(text, "backup", Dst::Once).expect_err(text).to_string()
}

/// The hours and minutes of one day at which it fires.
fn times(text: &str) -> Vec<String> {
    let all = utc(text, "2027-03-01 00:00", 2000);
    all.iter().filter_map(|t| t.strip_prefix("2027-03-01 ")).map(|t| t[..5].to_string()).collect()
}

/// The days of 2027 on which it fires, from the beginning.
fn days(text: &str, n: usize) -> Vec<String> {
    utc(text, "2027-01-01 00:00", n).iter().map(|t| t[5..10].to_string()).collect()
}

#[test]
fn fields_of_time() {
    assert_eq!(times("30 2 * * *"), ["02:30"]);
    assert_eq!(times("0,30 2,14 * * *"), ["02:00", "02:30", "14:00", "14:30"]);
    assert_eq!(times("*/20 5 * * *"), ["05:00", "05:20", "05:40"]);
    assert_eq!(times("10-50/20 5 * * *"), ["05:10", "05:30", "05:50"]);
    assert_eq!(times("25/20 5 * * *"), ["05:25", "05:45"]);
    assert_eq!(times("0 22-2 * * *"), ["00:00", "01:00", "02:00", "22:00", "23:00"]);
    assert_eq!(times("0 22-2/2 * * *"), ["00:00", "02:00", "22:00"]);
    assert_eq!(times("58-1 5 * * *"), ["05:00", "05:01", "05:58", "05:59"]);
    assert_eq!(times("*/45 5 * * *"), ["05:00", "05:45"]);
    assert_eq!(utc("*/30 59 23 * * *", "2027-03-01 00:00", 2), ["2027-03-01 23:59:00", "2027-03-01 23:59:30"]);
    assert_eq!(utc("0 0 0 1 1 * 2030-2032/2", "2027-03-01 00:00", 9), ["2030-01-01 00:00:00", "2032-01-01 00:00:00"]);
}

#[test]
fn fields_of_days() {
    // 1 January 2027 is a Friday.
    assert_eq!(days("0 0 * * MON", 2), ["01-04", "01-11"]);
    assert_eq!(days("0 0 * * 0", 1), ["01-03"]);
    assert_eq!(days("0 0 * * 7", 1), ["01-03"]);
    assert_eq!(days("0 0 * * FRI-MON", 5), ["01-01", "01-02", "01-03", "01-04", "01-08"]);
    assert_eq!(days("0 0 * * 5-7", 4), ["01-01", "01-02", "01-03", "01-08"]);
    assert_eq!(days("0 0 * * 7-1", 3), ["01-03", "01-04", "01-10"]);
    assert_eq!(days("0 0 * * sun,wed", 2), ["01-03", "01-06"]);
    assert_eq!(days("0 0 * NOV-FEB/2 *", 33)[30..], ["01-31", "11-01", "11-02"].map(String::from));
    assert_eq!(days("0 0 30-2 * *", 4), ["01-01", "01-02", "01-30", "01-31"]);
    assert_eq!(days("0 0 L * ?", 2), ["01-31", "02-28"]);
    assert_eq!(days("0 0 L-3 * *", 2), ["01-28", "02-25"]);
    assert_eq!(days("0 0 LW * *", 2), ["01-29", "02-26"]);
    assert_eq!(days("0 0 1W,15W * *", 4), ["01-01", "01-15", "02-01", "02-15"]);
    // 1 May 2027 is a Saturday: the nearest weekday within May is the 3rd. 31 October is a Sunday.
    assert_eq!(days("0 0 1W 5 *", 1), ["05-03"]);
    assert_eq!(days("0 0 31W 10 *", 1), ["10-29"]);
    assert_eq!(days("0 0 * * 5L", 2), ["01-29", "02-26"]);
    assert_eq!(days("0 0 * * FRI#L", 1), ["01-29"]);
    assert_eq!(days("0 0 * * 1#1,MON#3", 3), ["01-04", "01-18", "02-01"]);
    assert_eq!(days("0 0 * * FRI#5", 2), ["01-29", "04-30"]);
}

#[test]
fn both_day_fields() {
    assert_eq!(days("0 0 13 * FRI", 4), ["01-01", "01-08", "01-13", "01-15"]);
    assert_eq!(days("0 0 13 * +FRI", 1), ["08-13"]);
    // As vixie's cron has it: a field that begins with * restricts nothing by itself, and then both must match.
    assert_eq!(days("0 0 */10 * MON", 2), ["01-11", "02-01"]);
    assert_eq!(days("0 0 13 * */2", 2), ["02-13", "03-13"]);
}

/// `dst` is asked of times of day only; a range that goes all the way round is a rhythm, wherever it begins.
#[test]
fn times_of_day_and_rhythms() {
    for (text, follows) in [
        ("30 2 * * *", false),
        ("0,30 1-22 * * *", false),
        ("0-58 1 * * *", false),
        ("1-59/2 1 * * *", false),
        ("H(0-29)/10 3 * * *", false),
        ("H H * * *", false),
        ("*/15 3 * * *", true),
        ("30 * * * *", true),
        ("0-59 3 * * *", true),
        ("0/20 3 * * *", true),
        ("30 5-4 * * *", true),
        ("30 5-4/11 * * *", true),
        ("30 0-11,12-23 * * *", true),
        ("H/15 3 * * *", true),
        ("calendar: 02:30", false),
        ("calendar: 1..22:30", false),
        ("calendar: 1/2:30", false),
        ("calendar: 00/2:00", true),
        ("calendar: *:30", true),
        ("calendar: 5..4/11:30", true),
        ("calendar: 03:0..59/7", true),
        ("@every 90s", true),
        ("@daily", false),
        ("@hourly", true),
    ] {
        assert_eq!(read(text).follows_real_time(), follows, "{text}");
    }
}

#[test]
fn words_for_schedules() {
    for (word, text) in [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@Annually", "0 0 1 1 *"),
    ] {
        assert_eq!(utc(word, "2027-03-01 00:00", 5), utc(text, "2027-03-01 00:00", 5), "{word}");
    }
    assert!(read("@reboot").is_reboot());
    assert_eq!(read("@reboot").next_after(0, &Zone::utc()), None);
    let every = read("@every 90s anchor=2026-01-01T00:00:07Z").coming(2, 1_767_225_600, &Zone::utc());
    assert_eq!(every.iter().map(|tick| tick.at).collect::<Vec<_>>(), [1_767_225_607, 1_767_225_697]);
    assert_eq!(utc("@at 2027-12-24T18:00:00+01:00", "2027-01-01 00:00", 5), ["2027-12-24 17:00:00"]);
    assert_eq!(utc("@at 2027-12-24 18:00", "2027-01-01 00:00", 5), ["2027-12-24 18:00:00"]);
}

#[test]
fn chosen_by_the_name_of_the_job() {
    let of = |text: &str, job: &str| {
        let schedule = Schedule::parse(text, job, Dst::Once).expect(text);
        schedule.coming(50, 0, &Zone::utc()).iter().map(|tick| tick.due).collect::<Vec<_>>()
    };
    let (mut distinct, jobs) = (Vec::new(), ["a", "b", "c", "backup", "report"]);
    for job in jobs {
        let all = of("H H * * *", job);
        assert_eq!(all, of("~ ~ * * *", job), "the same choice by either sign");
        assert!(all.windows(2).all(|pair| pair[1].0 - pair[0].0 == 86_400));
        distinct.push(all[0].second_of_day());
        for wall in of("H(10-19) 22~2 H * *", job) {
            assert!(
                (10..20).contains(&wall.minute()) && [22, 23, 0, 1, 2].contains(&wall.hour()) && wall.date().day <= 28
            );
        }
        let quarters: Vec<u8> = of("H/15 * * * *", job).iter().take(5).map(|wall| wall.minute()).collect();
        assert!(quarters.windows(2).all(|pair| (pair[1] + 60 - pair[0]) % 60 == 15), "{quarters:?}");
        let tens: Vec<u8> = of("H(0-29)/10 3 * * *", job).iter().take(3).map(|wall| wall.minute()).collect();
        assert_eq!(tens, [tens[0], tens[0] + 10, tens[0] + 20]);
    }
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), jobs.len());
    // These must never change: users' jobs would move.
    assert_eq!(of("H H * * *", "backup")[0].to_string(), "1970-01-01 12:38:00");
}

/// As `systemd-analyze calendar` of systemd 252 has them, from 2026-11-21 on.
#[test]
fn the_language_of_systemd() {
    for (text, first, second) in [
        ("*-*-* 00/2:00", "2026-11-21 02:00:00", "2026-11-21 04:00:00"),
        ("Mon,Fri *-*-1..7 12:00:00", "2026-12-04 12:00:00", "2026-12-07 12:00:00"),
        ("Mon..Fri 08:30", "2026-11-23 08:30:00", "2026-11-24 08:30:00"),
        ("Mon-Fri 08:30", "2026-11-23 08:30:00", "2026-11-24 08:30:00"),
        ("Mon *-05~07/1", "2027-05-31 00:00:00", "2028-05-29 00:00:00"),
        ("*-02~03", "2027-02-26 00:00:00", "2028-02-27 00:00:00"),
        ("*-*~1..3", "2026-11-28 00:00:00", "2026-11-29 00:00:00"),
        ("*-*~10..20/5", "2026-12-12 00:00:00", "2026-12-17 00:00:00"),
        ("*-*~07/1", "2026-11-24 00:00:00", "2026-11-25 00:00:00"),
        ("*:0/15", "2026-11-21 00:15:00", "2026-11-21 00:30:00"),
        ("12-31", "2026-12-31 00:00:00", "2027-12-31 00:00:00"),
        ("27..28-01-01", "2027-01-01 00:00:00", "2028-01-01 00:00:00"),
        ("*-*-* 10..14:00", "2026-11-21 10:00:00", "2026-11-21 11:00:00"),
        ("*-*-*", "2026-11-22 00:00:00", "2026-11-23 00:00:00"),
        ("Mon", "2026-11-23 00:00:00", "2026-11-30 00:00:00"),
        ("monday *:*:*", "2026-11-23 00:00:00", "2026-11-23 00:00:01"),
        ("weekly", "2026-11-23 00:00:00", "2026-11-30 00:00:00"),
        ("quarterly", "2027-01-01 00:00:00", "2027-04-01 00:00:00"),
        ("bi-annually", "2027-01-01 00:00:00", "2027-07-01 00:00:00"),
        ("anually", "2027-01-01 00:00:00", "2028-01-01 00:00:00"),
        ("*-*-* 10:00:0/7", "2026-11-21 10:00:00", "2026-11-21 10:00:07"),
        ("*-*-1/10 0:0", "2026-12-01 00:00:00", "2026-12-11 00:00:00"),
        ("2026/2-1-1", "2028-01-01 00:00:00", "2030-01-01 00:00:00"),
        ("*-*-10..20/5", "2026-12-10 00:00:00", "2026-12-15 00:00:00"),
        ("Mon *-*-* 1..3,5:00", "2026-11-23 01:00:00", "2026-11-23 02:00:00"),
        // Beyond systemd.
        ("Sat..Mon 22..2:00", "2026-11-21 00:00:00", "2026-11-21 01:00:00"),
    ] {
        // systemd tells what comes after the instant, which itself belongs to none but the last.
        let from = if text.starts_with("Sat") { "2026-11-21 00:00:00" } else { "2026-11-21 00:00:01" };
        assert_eq!(utc(&format!("calendar: {text}"), from, 2), [first, second], "{text}");
    }
    assert_eq!(read("calendar: *-*-* 10:00 Europe/Berlin").zone(), Some("Europe/Berlin"));
    assert_eq!(read("calendar:daily UTC").zone(), Some("UTC"));
    assert_eq!(read("calendar: daily").zone(), None);
    let from = "2027-03-01 00:00";
    assert_eq!(utc("calendar: Wed, 17:48", from, 1), ["2027-03-03 17:48:00"]);
    assert_eq!(utc("calendar: Mon,", from, 2), utc("calendar: Mon", from, 2));
}

#[test]
fn what_is_wrong_is_said_with_its_column() {
    for (text, why) in [
        ("75 2 * * *", "minute, column 1: 75 is too large; minutes are 0 to 59"),
        ("0 24 * * *", "hour, column 3: 24 is too large; hours are 0 to 23"),
        ("0 0 0 * *", "day of month, column 5: 0 is too small; days are 1 to 31"),
        ("0 0 * 13 *", "month, column 7: 13 is too large; months are 1 to 12, or JAN to DEC"),
        (
            "0 0 * * 8",
            "day of week, column 9: 8 is too large; weekdays are 0 (Sunday) to 7 (Sunday again), or SUN to SAT",
        ),
        ("0 0 * * MO", "day of week, column 9: \"MO\" is no name; did you mean MON?"),
        ("0 0 * * Monday", "day of week, column 9: \"Monday\" is no name; did you mean MON?"),
        ("*/0 * * * *", "minute, column 3: a step of 0 never arrives; write 1 or more"),
        ("*/ * * * *", "minute, column 3: the step is missing; write a number after the /"),
        ("1,,2 * * * *", "minute, column 3: nothing stands here; minutes are 0 to 59, * is any"),
        ("5- * * * *", "minute, column 3: a value is missing; minutes are 0 to 59"),
        ("? * * * *", "minute, column 1: ? may stand for a day only; write * for any"),
        ("H(5) * * * *", "minute, column 1: after H comes nothing, or a range in brackets as H(0-29)"),
        ("0 0 * * L", "day of week, column 9: L needs a weekday before it: 5L or FRIL is the last Friday of the month"),
        ("0 0 * * 1#6", "day of week, column 11: after # comes which one of the month, 1 to 5, or L for the last"),
        (
            "0 0 W * *",
            "day of month, column 5: W needs a day before it: 15W is the weekday nearest the 15th, LW the last of the month",
        ),
        ("0 0 0 1 1 * 2030-2028", "year, column 13: it goes backwards; write 2028-2030"),
        (
            "0 0 31 2 *",
            "day of month, column 5: it never fires: no day is 31 in the day field and 2 in the month field; for the last day of a month write L",
        ),
        (
            "0 0 0 29 2 * 2027",
            "day of month, column 7: it never fires: no day is 29 in the day field and 2 in the month field in one of those years; for the last day of a month write L",
        ),
        (
            "0 0 30 2 +MON",
            "day of month, column 5: it never fires: no day is 30 in the day field and 2 in the month field; for the last day of a month write L",
        ),
        (
            "  0 0 * *",
            "column 10: it ends after 4 fields; write five: minute hour day-of-month month day-of-week (six begin with seconds, seven end with years)",
        ),
        ("Mon..Fri 08:30", "column 1: this is not cron's language; for systemd's write \"calendar: Mon..Fri 08:30\""),
        ("dayly", "column 1: \"dayly\" is no schedule; did you mean @daily?"),
        ("@dayly", "column 1: \"@dayly\" is not known; did you mean @daily?"),
        ("@daily 5", "column 8: nothing may follow @daily; the time zone and the rest are settings of their own"),
        ("@every", "column 1: how often? write @every 90s, @every 15m or @every 1h30m"),
        ("@every 0s", "column 8: every 0 seconds is never over; one second is the least"),
        ("@every 5 parsecs", "column 8: \"parsecs\" is no unit here; the units are s, m, h, d and w"),
        ("@every 1.5s", "column 8: kin's schedules are of whole seconds, and its numbers whole; write 90s, or 1h30m"),
        ("@at 2026-02-30", "column 5: there is no 2026-02-30: February 2026 has 28 days"),
        ("@at 2026-13-01T10:00Z", "column 5: there is no 2026-13-01: months are 1 to 12, or JAN to DEC"),
        (
            "@at 2026-12-24",
            "column 5: at what time of 2026-12-24? write @at 2026-12-24T18:00:00Z, with an offset as +01:00, or without one for the job's time zone",
        ),
        (
            "@at 2026-12-24T25:00",
            "column 5: \"2026-12-24T25:00\" is no time; write @at 2026-12-24T18:00:00Z, with an offset as +01:00, or without one for the job's time zone",
        ),
        (
            "@at noon",
            "column 5: when? write @at 2026-12-24T18:00:00Z, with an offset as +01:00, or without one for the job's time zone",
        ),
        (
            "TZ=UTC 0 0 * * *",
            "column 1: the time zone is not part of the expression; it is a setting of its own: timezone = \"UTC\", or --tz UTC with kin cron",
        ),
        (
            "CRON_TZ=Asia/Tokyo",
            "column 1: the time zone is not part of the expression; it is a setting of its own: timezone = \"Asia/Tokyo\", or --tz Asia/Tokyo with kin cron",
        ),
        (
            "0 9 * * 1 Europe/Berlin",
            "column 11: the time zone is not part of the expression; it is a setting of its own: timezone = \"Europe/Berlin\", or --tz Europe/Berlin with kin cron",
        ),
        (
            "0 9 * * UTC",
            "column 9: the time zone is not part of the expression; it is a setting of its own: timezone = \"UTC\", or --tz UTC with kin cron",
        ),
        (
            "0 0 * * THU-MON#2",
            "day of week, column 9: # chooses one weekday, not a range of them; write THU#2,FRI#2,SAT#2,SUN#2,MON#2",
        ),
        ("calendar: *:*/15", "minute, column 13: a step begins at a number here; write 00/15"),
        ("calendar: Mon,,Tue 08:30", "day of week, column 15: a weekday is missing; write as Mon,Wed or Mon..Fri"),
        (
            "calendar: , 08:30",
            "column 11: \",\" is neither a date as *-*-01 nor a time as 08:30; the order is weekday, date, time, zone",
        ),
        (
            "calendar: Wed..Sat,Tue 28-10-15 1:2:3",
            "day of week, column 11: it never fires: no such day falls on these days of the week; 2028-10-15 is a Sunday",
        ),
        (
            "calendar: 8:30 PM",
            "hour, column 16: hours go from 0 to 23 here, without AM and PM; 8:30 PM is written 20:30",
        ),
        ("calendar: Mun 08:30", "day of week, column 11: \"Mun\" is no weekday; did you mean Sun?"),
        ("calendar: *-13-01", "month, column 13: 13 is too large; months are 1 to 12"),
        (
            "calendar: *-02-30",
            "day of month, column 11: it never fires: there is no such day; for the last day of a month write *-*~01",
        ),
        ("calendar: 10:00:00.5", "second, column 17: kin's schedules are of whole seconds; leave the fraction out"),
        (
            "calendar: 10:00 *-*-*",
            "column 17: \"*-*-*\" is neither a date as *-*-01 nor a time as 08:30; the order is weekday, date, time, zone",
        ),
        ("calendar: 24:00", "hour, column 11: 24 is too large; hours are 0 to 23"),
        (
            "calendar:",
            "column 10: it is empty; write weekday, date and time as \"Mon..Fri *-*-* 08:30\", or daily, weekly, monthly",
        ),
    ] {
        assert_eq!(wrong(text), why, "{text}");
    }
    assert!(wrong("").starts_with("column 1: it is empty; write five"));
}

#[test]
fn its_first_word_may_have_large_letters() {
    for text in ["CALENDAR: Mon..Fri 08:30", "Calendar:Mon..Fri 08:30", "calendar: Mon..Fri 08:30"] {
        assert_eq!(read(text).words(), "at 08:30 on Monday through Friday", "{text}");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let problems = Schedule::parse("75 2 * FOO */0", "x", Dst::Once).expect_err("three things are wrong");
    let columns: Vec<_> = problems.iter().map(|p| (p.column, p.length)).collect();
    assert_eq!(columns, vec![(1, 2), (8, 3), (14, 1)]);
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in "\\PC{0,40}") {
        if let Err(problems) = Schedule::parse(&text, "x", Dst::Once) {
            let length = text.chars().count();
            prop_assert!(problems.iter().count() > 0);
            for problem in problems.iter() {
                prop_assert!((1..=length + 1).contains(&problem.column), "{:?}", problem);
            }
        }
    }

    /// Made of what schedules are made of, so that more of it is understood.
    #[test]
    fn no_schedule_is_too_strange(text in "(calendar: |@every |@at )?([0-9*/,LWH#?~.:()+-]{1,6}|MON|FRIL|Jan| ){1,9}", at in 0i64..7_000_000_000) {
        if let Ok(schedule) = Schedule::parse(&text, "x", Dst::Once) {
            prop_assert!(!schedule.words().is_empty());
            let zone = Zone::utc();
            let next = schedule.next_after(at, &zone);
            if let Some(tick) = next {
                prop_assert!(tick.at > at);
                let last = schedule.last_before(tick.at, &zone);
                prop_assert!(last.is_none_or(|last| last.at <= at));
            }
            drop(schedule.remarks(&zone, at));
        }
    }
}
