//! Calendar files as programs write them, and as they should not be.

use super::*;
use proptest::prelude::*;

fn file(events: &str) -> String {
    format!("BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//test//EN\n{events}END:VCALENDAR\n")
}

fn one(lines: &str) -> String {
    file(&format!("BEGIN:VEVENT\nUID:1\n{lines}\nEND:VEVENT\n"))
}

fn read_in(text: &str, zone: &str) -> Result<Vec<String>, Vec<String>> {
    let here = TimeZone::get(zone).expect("a zone");
    let mut mistakes = Vec::new();
    let days = days(0, text, &here, &mut mistakes);
    let source = Source::new(Path::new("a.ics"), text);
    let said = |m: &Mistake| {
        let place = m.at.as_ref().map(|spot| source.place(spot.span.start).line);
        format!("{}: {}", place.unwrap_or(0), m.message)
    };
    if mistakes.is_empty() {
        Ok(days.iter().map(|day| day.to_string()).collect())
    } else {
        Err(mistakes.iter().map(said).collect())
    }
}

fn of(lines: &str) -> String {
    read_in(&one(lines), "UTC").map_or_else(|wrong| wrong.join("; "), |days| days.join(" "))
}

#[test]
fn days_and_times() {
    for (lines, days) in [
        ("DTSTART;VALUE=DATE:20261225", "2026-12-25"),
        ("DTSTART:20261225", "2026-12-25"),
        ("DTSTART;VALUE=DATE:20261224\nDTEND;VALUE=DATE:20261227", "2026-12-24 2026-12-25 2026-12-26"),
        ("DTSTART;VALUE=DATE:20261231\nDURATION:P2D", "2026-12-31 2027-01-01"),
        ("DTSTART:20261231T230000\nDURATION:PT1H", "2026-12-31"),
        ("DTSTART:20261231T230000\nDURATION:PT1H1S", "2026-12-31 2027-01-01"),
        ("DTSTART:20261231T230000", "2026-12-31"),
        ("DTSTART:20261231T230000Z\nDTEND:20270101T000000Z", "2026-12-31"),
        ("DTSTART;VALUE=DATE:20261225\nSTATUS:CANCELLED", ""),
        (
            "DTSTART;VALUE=DATE:20261225\nSUMMARY:a\\, b\nX-WHAT;A=\"x:y;z\",b:c\nBEGIN:VALARM\nDURATION:x\nEND:VALARM",
            "2026-12-25",
        ),
        ("DTSTART;VALUE=DATE:24000101\nRRULE:FREQ=YEARLY", ""),
    ] {
        assert_eq!(of(lines), days, "{lines}");
    }
}

#[test]
fn a_time_in_a_zone_is_on_the_days_of_the_servers_clocks() {
    let text = one("DTSTART;TZID=America/New_York:20261224T200000\nDTEND;TZID=America/New_York:20261224T230000");
    assert_eq!(read_in(&text, "America/New_York"), Ok(vec!["2026-12-24".into()]));
    assert_eq!(read_in(&text, "Europe/Berlin"), Ok(vec!["2026-12-25".into()]));
    let text = one("DTSTART:20261224T233000Z\nDTEND:20261225T003000Z");
    assert_eq!(read_in(&text, "Europe/Berlin"), Ok(vec!["2026-12-25".into()]));
    assert_eq!(read_in(&text, "UTC"), Ok(vec!["2026-12-24".into(), "2026-12-25".into()]));
    // A whole day by the clock is one, also when clocks change in it.
    let text = one(
        "DTSTART;TZID=Europe/Berlin:20260322T000000\nDTEND;TZID=Europe/Berlin:20260323T000000\nRRULE:FREQ=WEEKLY;COUNT=2",
    );
    assert_eq!(read_in(&text, "Europe/Berlin"), Ok(vec!["2026-03-22".into(), "2026-03-29".into()]));
}

#[test]
fn days_that_come_again() {
    for (lines, days) in [
        ("DTSTART;VALUE=DATE:20261225\nRRULE:FREQ=YEARLY;COUNT=2", "2026-12-25 2027-12-25"),
        (
            "DTSTART;VALUE=DATE:20261126\nRRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH;UNTIL=20281231",
            "2026-11-26 2027-11-25 2028-11-23",
        ),
        ("DTSTART;VALUE=DATE:20260101\nRRULE:FREQ=MONTHLY;BYMONTHDAY=1,-1;COUNT=3", "2026-01-01 2026-01-31 2026-02-01"),
        ("DTSTART;VALUE=DATE:20261225\nRRULE:FREQ=DAILY;UNTIL=20261227", "2026-12-25 2026-12-26 2026-12-27"),
        ("DTSTART:20261225T100000Z\nRRULE:FREQ=DAILY;UNTIL=20261227T095959Z", "2026-12-25 2026-12-26"),
        ("DTSTART:20261225T100000Z\nRRULE:FREQ=DAILY;UNTIL=20261226", "2026-12-25 2026-12-26"),
        // What is left out counts, and is left out.
        (
            "DTSTART;VALUE=DATE:20260101\nRRULE:FREQ=DAILY;COUNT=4\nEXDATE;VALUE=DATE:20260102,20260104",
            "2026-01-01 2026-01-03",
        ),
        (
            "DTSTART;VALUE=DATE:20260101\nRDATE;VALUE=DATE:20260301,20260401\nRDATE:20260501",
            "2026-01-01 2026-03-01 2026-04-01 2026-05-01",
        ),
        (
            "DTSTART;TZID=Europe/Berlin:20260101T120000\nRRULE:FREQ=DAILY;COUNT=3\nEXDATE:20260102T110000Z",
            "2026-01-01 2026-01-03",
        ),
    ] {
        assert_eq!(of(lines), days, "{lines}");
    }
    let always = read_in(&one("DTSTART;VALUE=DATE:19000704\nRRULE:FREQ=YEARLY"), "UTC").expect("good");
    assert_eq!((always.len(), always[0].as_str(), always[229].as_str()), (230, "1970-07-04", "2199-07-04"));
}

#[test]
fn an_event_that_was_moved_is_where_it_was_moved_to() {
    let moved = |status: &str| {
        file(&format!(
            "BEGIN:VEVENT\nUID:a\\,b\nDTSTART;VALUE=DATE:20260105\nRRULE:FREQ=WEEKLY;COUNT=3\nEND:VEVENT\n\
             BEGIN:VEVENT\nUID:a\\,b\nRECURRENCE-ID;VALUE=DATE:20260112\nDTSTART;VALUE=DATE:20260114\n{status}END:VEVENT\n"
        ))
    };
    let days = |text: &str| read_in(text, "UTC").expect("good").join(" ");
    assert_eq!(days(&moved("")), "2026-01-05 2026-01-14 2026-01-19");
    assert_eq!(days(&moved("STATUS:CANCELLED\n")), "2026-01-05 2026-01-19");
}

#[test]
fn lines_as_programs_write_them() {
    let text = "\u{feff}BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VTIMEZONE\r\nTZID:X\r\nBEGIN:STANDARD\r\nDTSTART:x\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n\
                begin:vevent\r\nDTSTART;VALUE=DA\r\n TE:2026\r\n\t1225\r\nSUMMARY:Fröhliche \r\n Weihnachten\r\nEND:VEVENT\r\n\r\nEND:VCALENDAR";
    let input = crate::files::text(Path::new("a.ics"), 0, text.into());
    assert!(input.mistakes.is_empty());
    assert_eq!(read_in(&input.source.text, "UTC"), Ok(vec!["2026-12-25".into()]));
}

#[test]
fn a_fold_within_a_character_is_mended() {
    for (folded, mended) in [
        (&b"a\xc3\r\n \xb6b"[..], &b"a\xc3\xb6\r\n b"[..]),
        (b"\xe2\n \x82\n \xac", b"\xe2\n \x82\n \xac"),
        (b"\xe2\x82\n\t\xac!", b"\xe2\x82\xac\n\t!"),
        (b"\xc3\r\n x", b"\xc3\r\n x"),
        (b"ab\r\n cd", b"ab\r\n cd"),
    ] {
        let mut bytes = folded.to_vec();
        mend_folds(&mut bytes);
        assert_eq!(bytes, mended, "{folded:?}");
    }
}

#[test]
fn what_is_not_understood_is_refused_on_its_line() {
    let event = "BEGIN:VEVENT\nDTSTART;VALUE=DATE:20261225\nEND:VEVENT\n";
    for (text, line, why) in [
        (String::new(), 1, "it is empty"),
        ("[kin]\n".into(), 1, "no line of a calendar"),
        ("SUMMARY:x\n".into(), 1, "it is no calendar"),
        (file(event).replace("END:VCALENDAR\n", ""), 7, "breaks off within VCALENDAR"),
        (file(event).replace("END:VEVENT\n", ""), 6, "this ends VCALENDAR, where VEVENT has not ended"),
        (file(event).replace("2.0", "1.0"), 2, "version 1.0 is not understood"),
        (file("CALSCALE:CHINESE\n"), 4, "the calendar CHINESE"),
        (one("SUMMARY:x"), 4, "has no DTSTART"),
        (one("DTSTART:20261301"), 6, "is no date or time"),
        (one("DTSTART;VALUE=DATE:20260229"), 6, "is no date or time"),
        (one("DTSTART;VALUE=DATE:20261225T100000"), 6, "is no date or time"),
        (one("DTSTART;TZID=Mars/Base:20261225T100000"), 6, "'Mars/Base' is no time zone"),
        (one("DTSTART;TZID=UTC:20261225"), 6, "a day has no time zone"),
        (one("DTSTART;VALUE=PERIOD:20261225"), 6, "VALUE=PERIOD is not understood"),
        (one("DTSTART:20261225\nDTSTART:20261226"), 7, "DTSTART stands twice"),
        (one("DTSTART:20261225\nDTEND:20261225"), 7, "ends before it begins"),
        (one("DTSTART:20261225\nDTEND:20261226T000000"), 7, "DTEND is a time without a zone, and DTSTART a day"),
        (one("DTSTART:20261225\nDURATION:PT5M"), 7, "whole days"),
        (one("DTSTART:20261225\nDURATION:-P1D"), 7, "is no length of time"),
        (one("DTSTART:20261225\nDTEND:20261226\nDURATION:P1D"), 8, "exclude each other"),
        (one("DTSTART:20261225\nEXRULE:FREQ=DAILY"), 7, "EXRULE is not understood"),
        (one("DTSTART:20261225\nEXDATE:20261225T000000"), 7, "EXDATE has a time without a zone, and DTSTART a day"),
        (one("DTSTART:20261225\nRRULE:FREQ=HOURLY"), 7, "FREQ=HOURLY is not understood"),
        (one("DTSTART:20261225\nRRULE:COUNT=3"), 7, "has no FREQ"),
        (one("DTSTART:20261225\nRRULE:FREQ=YEARLY;BYSETPOS=1"), 7, "BYSETPOS in a rule is not understood"),
        (one("DTSTART:20261225\nRRULE:FREQ=YEARLY;BYWEEKNO=1"), 7, "BYWEEKNO in a rule is not understood"),
        (one("DTSTART:20261225\nRRULE:FREQ=YEARLY;INTERVAL=0"), 7, "INTERVAL=0 is not understood"),
        (one("DTSTART:20261225\nRRULE:FREQ=YEARLY;FREQ=DAILY"), 7, "FREQ stands twice"),
        (one("DTSTART:20261225\nRRULE:FREQ=YEARLY;COUNT=1;UNTIL=20301225"), 7, "exclude each other"),
        (
            one("DTSTART:20261225\nRRULE:FREQ=YEARLY;UNTIL=20301225T000000Z"),
            7,
            "UNTIL is a time in a zone, and DTSTART a day",
        ),
        (one("DTSTART:20261225\nRRULE:FREQ=WEEKLY;BYDAY=1FR"), 7, "counts within a month or a year"),
        (one("DTSTART:20261225\nRRULE:FREQ=WEEKLY;BYMONTHDAY=25"), 7, "does not go with FREQ=WEEKLY"),
        (one("DTSTART:20261225\nRRULE:FREQ=WEEKLY;BYDAY=MO"), 7, "names other days than DTSTART"),
        (one("DTSTART:20261225\nRECURRENCE-ID;RANGE=THISANDFUTURE:20261225"), 7, "RANGE is not understood"),
    ] {
        let said = read_in(&text, "UTC").expect_err(&text);
        assert!(said[0].starts_with(&format!("{line}: ")) && said[0].contains(why), "{why}: {said:?}\n{text}");
    }
    // All of a file at once; and not without end.
    let two = file(&"BEGIN:VEVENT\nDTSTART:x\nEND:VEVENT\n".repeat(2));
    assert_eq!(read_in(&two, "UTC").expect_err("bad").len(), 2);
    let many = file(&"BEGIN:VEVENT\nDTSTART:x\nEND:VEVENT\n".repeat(50));
    let said = read_in(&many, "UTC").expect_err("bad");
    assert!(said.len() == 20 && said[19].ends_with("(and 30 more)"), "{said:?}");
}

#[test]
fn days_without_end_are_refused() {
    let daily = "BEGIN:VEVENT\nDTSTART:19700101\nRRULE:FREQ=DAILY\nEND:VEVENT\n";
    assert_eq!(read_in(&file(&daily.repeat(2)), "UTC").map(|days| days.len()), Ok(84_006));
    let said = read_in(&file(&daily.repeat(12)), "UTC").expect_err("too many");
    assert!(said[0].contains("more than 1000000 days"), "{said:?}");
}

proptest! {
    /// Whatever the bytes are: an answer, and no panic.
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), cut in 0usize..400) {
        let mut mistakes = Vec::new();
        let input = crate::files::text(Path::new("a.ics"), 0, bytes);
        days(0, &input.source.text, &TimeZone::UTC, &mut mistakes);
        let good = one("DTSTART;TZID=Europe/Berlin:20260101T120000\nRRULE:FREQ=MONTHLY;BYDAY=-1FR,2MO;COUNT=3\nDURATION:PT5M");
        let cut = cut.min(good.len());
        days(0, &good[..cut], &TimeZone::UTC, &mut mistakes);
        days(0, &format!("{}{}{}", &good[..cut], input.source.text, &good[cut..]), &TimeZone::UTC, &mut mistakes);
    }
}

/// Few days, and a long way to each: what lies before 1970 is passed over at once, and what must be counted has a limit.
#[test]
fn rules_that_are_long_to_walk_are_refused_and_do_not_stop_anybody() {
    let leap = |end: &str| {
        let rule = format!("RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29;{end}");
        format!("BEGIN:VEVENT\nDTSTART;VALUE=DATE:00040229\n{rule}\nEND:VEVENT\n")
    };
    assert_eq!(read_in(&file(&leap("UNTIL=19690101").repeat(200)), "UTC").map(|days| days.len()), Ok(0));
    let until = read_in(&file(&leap("UNTIL=19720301")), "UTC");
    assert_eq!(until, Ok(vec!["1972-02-29".to_string()]));
    let said = read_in(&file(&leap("COUNT=600").repeat(200)), "UTC").expect_err("too long");
    assert!(said[0].contains("more than 20000000 would have to be looked at"), "{said:?}");
    // A counted one begins with its first, whenever that is.
    let counted = "BEGIN:VEVENT\nDTSTART;VALUE=DATE:19601224\nRRULE:FREQ=YEARLY;COUNT=12\nEND:VEVENT\n";
    let counted = read_in(&file(counted), "UTC");
    assert_eq!(counted, Ok(vec!["1970-12-24".to_string(), "1971-12-24".to_string()]));
    // What lasts until today may have begun long ago.
    let long = "BEGIN:VEVENT\nDTSTART;VALUE=DATE:19600101\nDTEND;VALUE=DATE:19700103\nRRULE:FREQ=YEARLY;UNTIL=19600102\nEND:VEVENT\n";
    let long = read_in(&file(long), "UTC").map(|days| days.len());
    assert!(matches!(long, Ok(2 | 3)), "{long:?}");
}
