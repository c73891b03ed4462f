//! Ticks for people: instants to come as a table and as a calendar, decisions as a table and as sentences.

use crate::clean;
use crate::durations;
use crate::screen::{Colour, Screen};
use crate::table::{Cell, Column, Table};
use crate::when;
use jiff::Timestamp;
use kin_client::api::Schedule;
use kin_client::api::schedule::Dst;
use kin_client::api::tick::{Due, Moved, Tick};
use std::time::Duration;

/// Less is no lateness worth a word.
const LATE_MS: u64 = 1000;
/// Which zone a schedule went by is not recorded of a tick.
const ITS_CLOCKS: &str = "by the schedule's clocks";

fn at(text: &str) -> Option<Timestamp> {
    when::from_wire(text)
}

/// On the clocks of whoever looks, with their offset: a schedule may go by others.
fn second(text: &str, screen: &Screen) -> String {
    at(text).map_or_else(|| text.to_owned(), |at| when::with_offset(at, screen.zone()))
}

fn length(ms: u64) -> String {
    durations::show(Duration::from_millis(ms))
}

/// The instants to come, in the time zone of whoever looks.
pub(crate) fn coming(due: &[Due], screen: &Screen) -> String {
    let mut table = Table::new(["due", "in", "job", "schedule", "note"].map(Column::new));
    for due in due {
        let now = screen.now.as_second();
        let wait = at(&due.at).map_or(0, |at| u64::try_from(at.as_second() - now).unwrap_or(0));
        let nothing = due.disabled || due.paused || due.calendar.is_some();
        let job = if nothing { Cell::painted(&due.job, Colour::Dim) } else { Cell::from(due.job.as_str()) };
        table.row([
            Cell::from(second(&due.at, screen)),
            Cell::from(durations::show(Duration::from_secs(wait))),
            job,
            Cell::from(schedule_of(due)),
            Cell::from(remarks(due).join("; ")),
        ]);
    }
    table.render(screen.width, screen.colour)
}

/// Its text, and the zone that it is meant in, where that does not stand in it and makes a difference.
pub(crate) fn schedule_of(due: &Due) -> String {
    let says_all = |schedule: &Schedule| schedule.needs_no_zone() || schedule.zone().is_some();
    match Schedule::parse(&due.schedule, &due.job, Dst::Once) {
        Ok(schedule) if says_all(&schedule) => due.schedule.clone(),
        Ok(_) | Err(_) => format!("{} {}", due.schedule, due.timezone),
    }
}

fn remarks(due: &Due) -> Vec<String> {
    let mut said = Vec::new();
    if due.disabled {
        said.push("disabled".to_owned());
    } else if due.paused {
        said.push("paused".to_owned());
    }
    said.extend(due.calendar.as_ref().map(|name| format!("not run: calendar {name}")));
    said.extend(jitter(due));
    said.extend(due.moved.as_ref().map(|of| moved(of, &due.timezone)));
    said.extend(due.note.as_ref().map(|note| format!("{note} ({})", due.timezone)));
    said
}

fn jitter(due: &Due) -> Option<String> {
    let later = u64::try_from(at(&due.begins_at)?.duration_since(at(&due.at)?).as_millis()).unwrap_or(0);
    let most = if due.random { "up to " } else { "" };
    (later > 0).then(|| format!("begins {most}{} later", short(later)))
}

/// Where it comes from, as the schedule's own clocks show it: those of that zone.
fn moved(of: &Moved, zone: &str) -> String {
    let from =
        of.from.rsplit_once(':').filter(|(_, seconds)| *seconds == "00").map_or(of.from.as_str(), |(short, _)| short);
    let more = if of.count > 1 { format!(" and {} more", of.count - 1) } else { String::new() };
    format!("moved from {from} {zone}{more}: calendar {}", of.calendar)
}

fn short(ms: u64) -> String {
    if ms < 1000 { format!("{ms}ms") } else { length(ms) }
}

/// Decisions, the last one at the end.
pub(crate) fn decided(ticks: &[Tick], screen: &Screen) -> String {
    let mut table = Table::new(["due", "decided", "job", "decision", "late", "run"].map(Column::new));
    for tick in ticks {
        let late = if tick.late_ms < LATE_MS { String::new() } else { length(tick.late_ms) };
        let until = tick.until.as_ref().filter(|until| **until != tick.at);
        let until = until.map_or(String::new(), |until| format!(", the last at {}", second(until, screen)));
        table.row([
            Cell::from(second(&tick.at, screen)),
            Cell::from(at(&tick.decided_at).map_or_else(String::new, |at| when::second(at, screen.zone()))),
            Cell::from(tick.job.as_str()),
            Cell::painted(decision_and_why(tick) + &until, colour(tick)),
            Cell::from(late),
            Cell::from(tick.run.clone().unwrap_or_default()),
        ]);
    }
    table.render(screen.width, screen.colour)
}

fn colour(tick: &Tick) -> Colour {
    match tick.decision.as_str() {
        "run" => Colour::Green,
        "missed" => Colour::Red,
        _ => Colour::Yellow,
    }
}

fn decision_and_why(tick: &Tick) -> String {
    let moved = tick.moved.as_ref().map_or(String::new(), |of| format!(", {}", moved(of, ITS_CLOCKS)));
    format!("{}{moved}", decision(tick))
}

fn decision(tick: &Tick) -> String {
    let missed = tick.missed.unwrap_or(0);
    match tick.decision.as_str() {
        "caught-up" if missed > 0 => format!("caught up, for {} too", counted(missed)),
        "caught-up" => "caught up".into(),
        "skipped-overlap" => tick.live.as_ref().map_or_else(
            // Recorded before it was said which of the two.
            || "skipped: a run of it lived, or as many waited as may".into(),
            |live| format!("skipped: {live} was not over"),
        ),
        "skipped-line-full" => match tick.waiting {
            Some(1) => "skipped: a run waited, and no more may".into(),
            waiting => format!("skipped: {} runs waited, and no more may", waiting.unwrap_or(0)),
        },
        "skipped-disabled" => "skipped: disabled".into(),
        "suppressed" => format!("suppressed: {}", tick.by.as_deref().unwrap_or("calendar")),
        "missed" => format!("missed: {}", counted(missed)),
        other => other.to_owned(),
    }
}

fn counted(n: u64) -> String {
    if n >= 1000 { "1000 or more".into() } else { n.to_string() }
}

/// What became of a tick, as a sentence of its job's story.
pub(crate) fn sentence(tick: &Tick, screen: &Screen) -> String {
    let due = second(&tick.at, screen);
    let late = if tick.late_ms < LATE_MS { String::new() } else { format!(", {} late", length(tick.late_ms)) };
    let run = tick.run.as_deref().unwrap_or("a run");
    let due = tick.moved.as_ref().map_or(due.clone(), |of| format!("{due} ({})", moved(of, ITS_CLOCKS)));
    match tick.decision.as_str() {
        "run" => format!("It was due last at {due}: {run} came of it{late}."),
        "caught-up" => format!("It was due last at {due}, and caught up{late}: {run} came of it."),
        "missed" => {
            let until = tick.until.as_deref().map_or(due.clone(), |until| second(until, screen));
            let missed = tick.missed.unwrap_or(1);
            if missed < 2 {
                format!("It was due last at {due}, and missed: nobody was there.")
            } else {
                format!("It missed {} in a row, from {due} to {until}: nobody was there.", counted(missed))
            }
        }
        _ => format!("It was due last at {due}, and not run: {}.", decision(tick)),
    }
}

/// As a calendar that other programs read (RFC 5545).
pub(crate) fn calendar(due: &[Due], screen: &Screen) -> String {
    let form = "%Y%m%dT%H%M%SZ";
    let stamp = screen.now.strftime(form).to_string();
    let mut out = String::new();
    let mut line = |text: String| fold(&text, &mut out);
    line("BEGIN:VCALENDAR".into());
    line("VERSION:2.0".into());
    line("PRODID:-//kin//kin next//EN".into());
    for due in due.iter().filter(|due| !due.disabled && !due.paused && due.calendar.is_none()) {
        let Some(at) = at(&due.at) else { continue };
        line("BEGIN:VEVENT".into());
        line(format!("UID:{}-{}@kin", due.job, at.as_second()));
        line(format!("DTSTAMP:{stamp}"));
        line(format!("DTSTART:{}", at.strftime(form)));
        line(format!("SUMMARY:{}", escaped(&due.job)));
        let said = std::iter::once(schedule_of(due)).chain(remarks(due));
        let said: Vec<String> = said.map(|line| escaped(&line)).collect();
        line(format!("DESCRIPTION:{}", said.join("\\n")));
        line("TRANSP:TRANSPARENT".into());
        line("END:VEVENT".into());
    }
    line("END:VCALENDAR".into());
    out
}

fn escaped(text: &str) -> String {
    let text = clean::name(text);
    text.replace('\\', "\\\\").replace(';', "\\;").replace(',', "\\,")
}

/// No line is longer than 75 bytes; what goes on begins with a blank.
fn fold(text: &str, out: &mut String) {
    let mut length = 0;
    for c in text.chars() {
        if length + c.len_utf8() > 75 {
            out.push_str("\r\n ");
            length = 1;
        }
        out.push(c);
        length += c.len_utf8();
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen() -> Screen {
        let now = "2026-11-20T14:56:04.500Z".parse().expect("a time");
        let zone = jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone");
        Screen::of_test(None, zone, now)
    }

    fn due(job: &str, at: &str) -> Due {
        Due {
            job: job.into(),
            at: at.into(),
            local: String::new(),
            timezone: "Europe/Berlin".into(),
            schedule: "30 2 * * *".into(),
            begins_at: at.into(),
            random: false,
            note: None,
            calendar: None,
            moved: None,
            disabled: false,
            paused: false,
        }
    }

    fn all_due() -> Vec<Due> {
        let first = "2026-11-21T01:30:00.000Z";
        vec![
            due("backup", first),
            Due { begins_at: "2026-11-21T01:37:12.000Z".into(), ..due("sync", first) },
            Due { begins_at: "2026-11-21T01:31:00.000Z".into(), random: true, ..due("poll", first) },
            Due { paused: true, ..due("resting", first) },
            Due { calendar: Some("work, days".into()), ..due("report", "2026-11-21T03:00:00.000Z") },
            Due { disabled: true, note: Some("02:30 comes twice".into()), ..due("off", "2026-11-22T01:30:00.000Z") },
            Due { moved: moved("2026-11-21 09:00:00", 1), ..due("pay", "2026-11-23T08:00:00.000Z") },
            Due { moved: moved("2026-11-21 09:00:30", 2), ..due("pay", "2026-11-23T08:00:30.000Z") },
        ]
    }

    fn tick(decision: &str) -> Tick {
        Tick {
            job: "backup".into(),
            at: "2026-11-20T01:30:00.000Z".into(),
            decided_at: "2026-11-20T01:30:00.002Z".into(),
            late_ms: 2,
            decision: decision.into(),
            run: Some("backup-NeP8nb4q".into()),
            live: None,
            waiting: None,
            by: None,
            missed: None,
            until: None,
            moved: None,
        }
    }

    fn moved(from: &str, count: u64) -> Option<Moved> {
        Some(Moved { from: from.into(), count, calendar: "workdays".into() })
    }

    fn all_decided() -> Vec<Tick> {
        let none = |decision: &str| Tick { run: None, ..tick(decision) };
        vec![
            tick("run"),
            Tick { late_ms: 59_000, ..tick("run") },
            Tick { late_ms: 7_200_000, missed: Some(12), ..tick("caught-up") },
            Tick { late_ms: 7_200_000, missed: Some(0), ..tick("caught-up") },
            tick("skipped-overlap"),
            Tick { live: Some("backup-NeP8nb4p".into()), ..tick("skipped-overlap") },
            Tick { waiting: Some(1), ..tick("skipped-line-full") },
            Tick { waiting: Some(3), ..tick("skipped-line-full") },
            none("skipped-disabled"),
            Tick { by: Some("holidays".into()), ..none("suppressed") },
            Tick { moved: moved("2026-11-15 09:00:00", 3), ..tick("run") },
            none("paused"),
            Tick { missed: Some(1), until: Some("2026-11-20T01:30:00.000Z".into()), ..none("missed") },
            Tick { missed: Some(1000), until: Some("2026-11-20T10:30:00.000Z".into()), late_ms: 1, ..none("missed") },
        ]
    }

    #[test]
    fn instants_to_come_are_rows() {
        insta::assert_snapshot!(coming(&all_due(), &screen()));
    }

    #[test]
    fn decisions_are_rows_and_sentences() {
        insta::assert_snapshot!("decisions", decided(&all_decided(), &screen()));
        let sentences: Vec<String> = all_decided().iter().map(|tick| sentence(tick, &screen())).collect();
        insta::assert_snapshot!("sentences", sentences.join("\n"));
    }

    #[test]
    fn a_calendar_has_what_will_be_run_and_no_long_lines() {
        let long = Due { schedule: "0 0 1,2,3,4,5 * *; ".repeat(6), ..due("löng", "2026-11-21T01:30:00.000Z") };
        let text = calendar(&[all_due(), vec![long]].concat(), &screen());
        assert_eq!(
            text.matches("BEGIN:VEVENT").count(),
            6,
            "not what is disabled or paused, not what a calendar forbids"
        );
        assert!(text.split("\r\n").all(|line| line.len() <= 75), "{text}");
        assert!(text.starts_with("BEGIN:VCALENDAR\r\n") && text.ends_with("END:VCALENDAR\r\n"));
        assert!(text.contains("UID:backup-1795224600@kin\r\nDTSTAMP:20261120T145604Z\r\nDTSTART:20261121T013000Z\r\n"));
        assert!(text.contains("1\\,2\\,3"), "{text}");
        // When it begins, and where it comes from, as kin next says it.
        let unfolded = text.replace("\r\n ", "");
        for description in [
            "DESCRIPTION:30 2 * * * Europe/Berlin\\nbegins 7m 12s later\r\n",
            "DESCRIPTION:30 2 * * * Europe/Berlin\\nbegins up to 1m 0s later\r\n",
            "DESCRIPTION:30 2 * * * Europe/Berlin\\nmoved from 2026-11-21 09:00:30 Europe/Berlin and 1 more: calendar workdays\r\n",
        ] {
            assert!(unfolded.contains(description), "{unfolded}");
        }
    }

    #[test]
    fn a_zone_stands_beside_a_schedule_where_it_makes_a_difference() {
        for (text, shown) in [
            ("30 2 * * *", "30 2 * * * Europe/Berlin"),
            ("@daily", "@daily Europe/Berlin"),
            ("@at 2026-12-24 18:00", "@at 2026-12-24 18:00 Europe/Berlin"),
            ("@at 2026-12-24T18:00:00Z", "@at 2026-12-24T18:00:00Z"),
            ("@every 90s", "@every 90s"),
            ("calendar: daily Asia/Tokyo", "calendar: daily Asia/Tokyo"),
        ] {
            assert_eq!(schedule_of(&Due { schedule: text.into(), ..due("x", "2026-11-21T01:30:00.000Z") }), shown);
        }
    }
}
