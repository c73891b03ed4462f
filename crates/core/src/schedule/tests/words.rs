//! What a schedule is said to do.

use super::{at, read, zone};
use crate::schedule::Dst;
use crate::schedule::Schedule;
use std::string::{String, ToString};
use std::vec::Vec;

#[test]
fn in_plain_english() {
    for (text, words) in [
        ("30 2 * * *", "at 02:30 every day"),
        ("30 2,14 * * *", "at 02:30 and 14:30 every day"),
        ("0,15,30,45 9 * * *", "at 09:00, 09:15, 09:30 and 09:45 every day"),
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("5-59/15 * * * *", "at :05, :20, :35 and :50 of every hour"),
        ("*/45 * * * *", "at :00 and :45 of every hour"),
        ("*/7 * * * *", "every 7 minutes from :00 through :56 of every hour"),
        ("10-20 * * * *", "every minute from :10 through :20 of every hour"),
        ("*/15 9-17 * * MON-FRI", "every 15 minutes from 09:00 through 17:45 on Monday through Friday"),
        ("*/10 22-2 * * *", "every 10 minutes from 22:00 through 02:50"),
        ("* 3 * * *", "every minute from 03:00 through 03:59"),
        ("0 * * * *", "every hour, on the hour"),
        ("5 * * * *", "at :05 of every hour"),
        ("30 9-17 * * *", "every hour from 09:30 through 17:30"),
        ("0 */2 * * *", "every 2 hours from 00:00 through 22:00"),
        ("0 */5 * * *", "at 00:00, 05:00, 10:00, 15:00 and 20:00 every day"),
        ("*/10 1,5,7 * * *", "every 10 minutes of the hours 01, 05 and 07"),
        ("0 0 LW * *", "at 00:00 on the last weekday (Monday to Friday) of the month"),
        ("0 0 L * *", "at 00:00 on the last day of the month"),
        ("0 0 L-1,L-3 * *", "at 00:00 on the day before the last and the day 3 days before the last of the month"),
        ("0 0 15W * *", "at 00:00 on the weekday (Monday to Friday) nearest the 15th of the month"),
        ("0 0 1,15 * *", "at 00:00 on the 1st and the 15th of the month"),
        ("0 0 1-7 * *", "at 00:00 on the 1st through the 7th of the month"),
        ("0 0 */2 * *", "at 00:00 on every 2nd day from the 1st through the 31st of the month"),
        ("0 0 * * 1#2", "at 00:00 on the second Monday of the month"),
        ("0 0 * * 5L", "at 00:00 on the last Friday of the month"),
        ("0 0 * * FRI", "at 00:00 on Fridays"),
        ("0 0 * * SUN,MON", "at 00:00 on Mondays and Sundays"),
        ("0 0 * * FRI-MON", "at 00:00 on Friday through Monday"),
        ("0 0 13 * FRI", "at 00:00 on the 13th of the month, or on any Friday"),
        ("0 0 13 * +FRI", "at 00:00 on the 13th of the month, but only if that day is a Friday"),
        ("0 0 1 1,7 *", "at 00:00 on the 1st of the month in January and July"),
        ("0 0 * NOV-FEB *", "at 00:00 every day, from November through February"),
        ("*/10 * * * * *", "every 10 seconds"),
        ("30 * * * * *", "every minute, at second 30"),
        ("15 30 2 * * *", "at 02:30:15 every day"),
        ("*/5 30 2 * * *", "every 5 seconds of the minute 02:30 every day"),
        ("0 0 0 24 12 * 2027", "at 00:00 on the 24th of the month in December in 2027"),
        (
            "calendar: Mon *-05~07/1",
            "at 00:00 on the last 7 days of the month, but only if that day is a Monday, in May",
        ),
        ("@every 90m", "every 1 hour and 30 minutes, the first of a UTC day at 00:00"),
        ("@every 7m", "every 7 minutes, whatever clocks show"),
        ("@at 2026-12-24T18:00:00+01:00", "once, at 2026-12-24 17:00:00 UTC"),
        ("@reboot", "once after each start of the machine"),
    ] {
        let text_ = if text == "@every 90m" { "@every 90m anchor=2026-01-01T00:00:00Z" } else { text };
        assert_eq!(read(text_).words(), words, "{text}");
    }
}

fn remarks(text: &str, name: &str, from: &str, dst: Dst) -> Vec<(String, String)> {
    let zone = zone(name);
    let schedule = Schedule::parse(text, "x", dst).expect(text);
    schedule.remarks(&zone, at(from, &zone)).into_iter().map(|r| (r.code.to_string(), r.text)).collect()
}

#[test]
fn what_may_surprise() {
    for (text, code, words) in [
        ("*/45 * * * *", "uneven", "`*/45` fires at :00 and :45: gaps of 45 and 15 minutes"),
        ("*/7 * * * *", "uneven", "`*/7` fires at :00, :07 … :56: gaps of 7 and 4 minutes"),
        ("0 */5 * * *", "uneven", "`*/5` fires at 00:00, 05:00, 10:00, 15:00 and 20:00: gaps of 5 and 4 hours"),
        ("calendar: *:0/45", "uneven", "`0/45` fires at :00 and :45: gaps of 45 and 15 minutes"),
        (
            "0 0 13 * FRI",
            "day-or-weekday",
            "`13` or `FRI`: when both day fields are restricted, cron fires if either matches; write `+FRI` for both",
        ),
        (
            "0 0 */2 * MON",
            "day-and-weekday",
            "`*/2` and `MON`: because `*/2` begins with `*`, cron fires only if both match",
        ),
        (
            "0 0 ?/2 * MON",
            "day-and-weekday",
            "`?/2` and `MON`: because `?/2` begins with `?`, cron fires only if both match",
        ),
        (
            "0 0 13 * */2",
            "day-and-weekday",
            "`13` and `*/2`: because `*/2` begins with `*`, cron fires only if both match",
        ),
        (
            "0 0 */2 * *",
            "step-begins-anew",
            "`*/2` in the day of month field begins anew on the 1st of each month: the last gap of a month is shorter",
        ),
        (
            "0 0 31 * *",
            "short-month",
            "February, April, June, September and November have no day 31: it does not fire then; `L` is the last day of every month",
        ),
        ("0 0 29 2 *", "short-month", "February has a day 29 in leap years only: it does not fire in others"),
        (
            "H/70 * * * *",
            "long-step",
            "`H/70` has a step longer than its range: of the minute field one value counts, as of `H`; for every 70 minutes write @every 70m",
        ),
        (
            "0 1~4/4 * * *",
            "long-step",
            "`1~4/4` has a step longer than its range: of the hour field one value counts, as of `1~4`; for every 4 hours write @every 4h",
        ),
        (
            "*/90 * * * *",
            "long-step",
            "`*/90` has a step longer than its range: of the minute field only the first value counts; for every 90 minutes write @every 90m",
        ),
        (
            "* 3 * * *",
            "every-minute",
            "the minute is `*`: it fires 60 times in each of these hours, as 03:00, 03:01 and so on; for once an hour write 0 for the minute",
        ),
        ("*/10 * * * * *", "often", "it fires 6 times in each minute that matches"),
        ("@every 10s", "often", "it fires every 10 seconds: more than once a minute"),
        ("@every 7m", "drift", "7 minutes do not divide a day: it fires at other times each day"),
        (
            "@every 1d",
            "drift",
            "`@every` counts real time: after a change of the clocks it fires an hour earlier or later by the wall; for the same time each day write it as cron does, `30 3 * * *`",
        ),
        (
            "30 2 * * *",
            "gap",
            "on 2026-03-08 clocks in America/New_York go from 02:00 to 03:00: there is no 02:30, and it fires once at 03:00",
        ),
        (
            "30 1 * * *",
            "fold",
            "on 2026-11-01 clocks in America/New_York go from 02:00 back to 01:00: 01:30 comes twice, and it fires the first time only",
        ),
        (
            "*/15 2 * * *",
            "gap",
            "on 2026-03-08 clocks in America/New_York go from 02:00 to 03:00: there is no 02:00, and as it follows real time, it does not fire then",
        ),
        ("@at 2020-01-01 00:00", "over", "it will not fire any more"),
    ] {
        let all = remarks(text, "America/New_York", "2026-01-01 00:00", Dst::Once);
        let found = all.iter().find(|(c, _)| c == code).map(|(_, words)| words.as_str());
        assert_eq!(found, Some(words), "{text}: {all:?}");
    }
}

#[test]
fn what_does_not_surprise_is_not_remarked() {
    for text in [
        "30 4 * * *",
        "*/15 * * * *",
        "0 * * * *",
        "0 9 * * MON-FRI",
        "@hourly",
        "@every 15m",
        "calendar: daily",
        "0 0 L * *",
    ] {
        assert_eq!(remarks(text, "America/New_York", "2026-01-01 00:00", Dst::Once), [], "{text}");
    }
    for text in ["30 2 * * *", "@every 1d", "@every 2w", "H/20 * * * *"] {
        assert_eq!(remarks(text, "UTC", "2026-01-01 00:00", Dst::Once), [], "{text}");
    }
}

#[test]
fn changes_that_cross_midnight_are_told_with_their_dates() {
    let text = |name, from| remarks("0 9 * * *", name, from, Dst::Once)[0].1.clone();
    assert_eq!(
        text("Pacific/Apia", "2011-12-01 00:00"),
        "on 2011-12-30 clocks in Pacific/Apia go from 00:00 to 00:00 on 2011-12-31: there is no 09:00, and it fires once at 00:00 on 2011-12-31"
    );
}

#[test]
fn the_policy_stands_in_the_remark() {
    let text = |dst| remarks("30 1,2 * * *", "America/New_York", "2026-01-01 00:00", dst);
    assert!(text(Dst::Skip)[0].1.ends_with("02:30 is left out (dst = \"skip\")"));
    assert!(text(Dst::Both)[1].1.ends_with("and it fires both times (dst = \"both\")"));
}
