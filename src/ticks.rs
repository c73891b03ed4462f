//! Ticks for people: instants to come as a table and as a calendar, decisions as a table and as sentences.

use crate::clean;
use crate::durations;
use crate::screen::{Colour, Screen};
use crate::table::{Cell, Column, Table};
use crate::when;
use jiff::Timestamp;
use kin_client::api::tick::{Due, Moved, Tick};
use std::time::Duration;

/// Less is no lateness worth a word.
const LATE_MS: u64 = 1000;

fn at(text: &str) -> Option<Timestamp> {
    when::from_wire(text)
}

fn second(text: &str, screen: &Screen) -> String {
    at(text).map_or_else(|| text.to_owned(), |at| when::second(at, screen.zone()))
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
            Cell::from(format!("{} {}", due.schedule, due.timezone)),
            Cell::from(remarks(due).join("; ")),
        ]);
    }
    table.render(screen.width, screen.colour)
}

fn remarks(due: &Due) -> Vec<String> {
    let mut said = Vec::new();
    if due.disabled {
        said.push("disabled".to_owned());
    } else if due.paused {
        said.push("paused".to_owned());
    }
    said.extend(due.calendar.as_ref().map(|name| format!("not run: calendar {name}")));
    if let (Some(due_at), Some(begins)) = (at(&due.at), at(&due.begins_at)) {
        let later = u64::try_from(begins.duration_since(due_at).as_millis()).unwrap_or(0);
        let most = if due.random { "up to " } else { "" };
        if later > 0 {
            said.push(format!("begins {most}{} later", short(later)));
        }
    }
    said.extend(due.moved.as_ref().map(moved));
    said.extend(due.note.clone());
    said
}

/// Where it comes from, as the schedule's own clocks show it.
fn moved(of: &Moved) -> String {
    let from =
        of.from.rsplit_once(':').filter(|(_, seconds)| *seconds == "00").map_or(of.from.as_str(), |(short, _)| short);
    let more = if of.count > 1 { format!(" and {} more", of.count - 1) } else { String::new() };
    format!("moved from {from}{more}: calendar {}", of.calendar)
}

fn short(ms: u64) -> String {
    if ms < 1000 { format!("{ms}ms") } else { length(ms) }
}

/// Decisions, the last one at the end.
pub(crate) fn decided(ticks: &[Tick], screen: &Screen) -> String {
    let mut table = Table::new(["due", "job", "decision", "late", "run"].map(Column::new));
    for tick in ticks {
        let late =
            if tick.late_ms < LATE_MS || tick.decision == "missed" { String::new() } else { length(tick.late_ms) };
        let run = match (&tick.run, &tick.until) {
            (Some(run), _) => run.clone(),
            (None, Some(until)) if *until != tick.at => format!("to {}", second(until, screen)),
            (None, _) => String::new(),
        };
        table.row([
            Cell::from(second(&tick.at, screen)),
            Cell::from(tick.job.as_str()),
            Cell::painted(decision_and_why(tick), colour(tick)),
            Cell::from(late),
            Cell::from(run),
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
    let moved = tick.moved.as_ref().map_or(String::new(), |of| format!(", {}", moved(of)));
    format!("{}{moved}", decision(tick))
}

fn decision(tick: &Tick) -> String {
    let missed = tick.missed.unwrap_or(0);
    match tick.decision.as_str() {
        "caught-up" if missed > 0 => format!("caught up, for {} too", counted(missed)),
        "caught-up" => "caught up".into(),
        "skipped-overlap" => "skipped: a run of it lives, or as many wait as may".into(),
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
    let due = tick.moved.as_ref().map_or(due.clone(), |of| format!("{due} ({})", moved(of)));
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
        line(format!("DESCRIPTION:{}", escaped(&format!("{} {}", due.schedule, due.timezone))));
        line("TRANSP:TRANSPARENT".into());
        line("END:VEVENT".into());
    }
    line("END:VCALENDAR".into());
    out
}

fn escaped(text: &str) -> String {
    let text = clean::name(text);
    text.replace('\\', "\\\\").replace(';', "\\;").replace(',', "\\,").replace('\n', "\\n")
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
            tick("skipped-disabled"),
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
    }
}
