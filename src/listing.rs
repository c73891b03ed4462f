//! Runs as tables and as JSON.

use crate::clean;
use crate::durations;
use crate::screen::{Colour, Screen};
use crate::table::{Cell, Column, Table};
use crate::verdict::{self, Status};
use crate::when;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use kin_client::api::Run;
use serde::Serialize;
use std::time::Duration;

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct JsonArgs {
    /// As JSON: one array, or with --json=lines one object a line.
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "array")]
    pub(crate) json: Option<JsonForm>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum JsonForm {
    Array,
    Lines,
}

/// One item a line in either form, so that `grep` works on both.
pub(crate) fn json<T: Serialize>(items: &[T], form: JsonForm) -> Result<String, serde_json::Error> {
    let lines: Vec<String> = items.iter().map(json_line).collect::<Result<_, _>>()?;
    Ok(match form {
        JsonForm::Lines => lines.iter().map(|line| format!("{line}\n")).collect(),
        JsonForm::Array if lines.is_empty() => "[]\n".to_owned(),
        JsonForm::Array => format!("[\n{}\n]\n", lines.join(",\n")),
    })
}

pub(crate) fn json_line<T: Serialize>(item: &T) -> Result<String, serde_json::Error> {
    Ok(clean::json(&serde_json::to_string(item)?).into_owned())
}

fn at(text: Option<&String>) -> Option<Timestamp> {
    text.and_then(|text| when::from_wire(text))
}

/// How long it has been running, or ran; `None` when that is not known or it never started.
fn duration(run: &Run, now: Timestamp) -> Option<Duration> {
    let started = at(run.started_at.as_ref())?;
    let ended = match (run.state.as_str(), run.outcome.as_deref()) {
        ("ended", Some("lost")) => return None,
        ("ended", _) => at(run.ended_at.as_ref())?,
        (_, _) => now,
    };
    Some(Duration::try_from(ended.duration_since(started)).unwrap_or_default())
}

/// Its id, marked as Kinetic does when anything was written to stderr.
fn marked(run: &Run) -> String {
    if run.err_bytes > 0 { format!("ER: {}", run.id) } else { run.id.clone() }
}

/// A run that never started, and never will, has a start all the same: when that was decided.
fn began(run: &Run) -> Option<Timestamp> {
    at(run.started_at.as_ref().or((run.state == "ended").then_some(&run.created_at)))
}

fn end(run: &Run) -> Option<Timestamp> {
    // When a lost run ended is not known; the ledger only knows when that was noticed.
    if run.outcome.as_deref() == Some("lost") { None } else { at(run.ended_at.as_ref()) }
}

/// Kinetic's table, to the column.
pub(crate) fn log(runs: &[Run], screen: &Screen) -> String {
    let mut table = Table::new([
        Column::at_least("job-id", 46),
        Column::new("status"),
        Column::at_least("start", 18),
        Column::new("end  "),
        Column::at_least("pid", 6),
        Column::new("duration"),
    ]);
    for run in runs {
        let status = Status::of(run);
        let minute = |t: Option<Timestamp>| t.map(|t| when::minute(t, screen.zone())).unwrap_or_default();
        let start = minute(began(run));
        table.row([
            Cell::from(marked(run)),
            Cell::painted(status.letters(), status.colour()),
            Cell::from(if start.is_empty() { start } else { format!("{start}  ->-") }),
            Cell::from(minute(end(run))),
            Cell::from(run.pid.map(|pid| pid.to_string()).unwrap_or_default()),
            Cell::from(duration(run, screen.now).map(durations::show).unwrap_or_default()),
        ]);
    }
    table.render(screen.width, screen.colour)
}

/// All that fits nobody's screen but everybody's pager.
pub(crate) fn log_wide(runs: &[Run], screen: &Screen) -> String {
    let titles = [
        "job-id", "status", "state", "start", "end", "pid", "duration", "cpu", "memory", "out", "err", "tags",
        "command",
    ];
    let mut table = Table::new(titles.map(Column::new));
    for run in runs {
        let status = Status::of(run);
        let second = |t: Option<Timestamp>| t.map(|t| when::second(t, screen.zone())).unwrap_or_default();
        table.row([
            Cell::from(marked(run)),
            Cell::painted(status.letters(), status.colour()),
            Cell::from(verdict::words(run)),
            Cell::from(second(began(run))),
            Cell::from(second(end(run))),
            Cell::from(run.pid.map(|pid| pid.to_string()).unwrap_or_default()),
            Cell::from(duration(run, screen.now).map(durations::show).unwrap_or_default()),
            Cell::from(run.cpu_ms.map(|ms| format!("{}.{:03}s", ms / 1000, ms % 1000)).unwrap_or_default()),
            Cell::from(run.max_rss_bytes.map(bytes).unwrap_or_default()),
            Cell::from(bytes(run.out_bytes)),
            Cell::from(bytes(run.err_bytes)),
            Cell::from(run.tags.join(",")),
            Cell::from(command(run)),
        ]);
    }
    table.render(None, screen.colour)
}

/// What lives.
pub(crate) fn ps(runs: &[Run], screen: &Screen) -> String {
    let mut table = Table::new(["job-id", "state", "pid", "start", "duration", "command"].map(Column::new));
    for run in runs {
        let colour = match run.state.as_str() {
            "running" => Colour::Green,
            "held" | "queued" | "starting" => Colour::Blue,
            _ => Colour::Yellow,
        };
        let start = at(run.started_at.as_ref()).map(|t| when::minute(t, screen.zone()));
        table.row([
            Cell::from(marked(run)),
            Cell::painted(state(run, screen), colour),
            Cell::from(run.pid.map(|pid| pid.to_string()).unwrap_or_default()),
            Cell::from(start.unwrap_or_default()),
            Cell::from(duration(run, screen.now).map(durations::show).unwrap_or_default()),
            Cell::from(command(run)),
        ]);
    }
    table.render(screen.width, screen.colour)
}

/// Of one that waits for an instant, until when.
fn state(run: &Run, screen: &Screen) -> String {
    let until = at(run.until.as_ref()).filter(|_| run.state == "waiting");
    until.map_or_else(|| verdict::words(run), |until| format!("waiting (to {})", when::second(until, screen.zone())))
}

fn command(run: &Run) -> String {
    brief(&run.command)
}

/// The same in a row of a table: of a script of several lines the first.
pub(crate) fn brief(command: &[String]) -> String {
    let first = |word: &String| {
        let mut lines = word.lines().map(str::trim).filter(|line| !line.is_empty());
        match (lines.next(), lines.next()) {
            (Some(first), Some(_)) => format!("{first} …"),
            (Some(_), None) | (None, _) if word.contains('\n') => word.trim().to_owned(),
            (_, _) => word.clone(),
        }
    };
    typed(&command.iter().map(first).collect::<Vec<_>>())
}

/// The command as one would type it.
pub(crate) fn typed(command: &[String]) -> String {
    let quote = |word: &String| {
        let bytes = kin_client::api::run::from_wire(word);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%^".contains(c);
        if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
    };
    command.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// `120 B`, `1.5 KiB`, `3.0 GiB`
fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{live, run};
    use jiff::tz::TimeZone;

    fn screen(width: Option<usize>) -> Screen {
        let now: Timestamp = "2026-11-20T14:56:04.500Z".parse().expect("a time");
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone");
        Screen::of_test(width, zone, now)
    }

    fn runs() -> Vec<Run> {
        let kinetic = Run { pid: Some(353_983), err_bytes: 40, ..run("raise-exception-NePaHZyV", "failed") };
        vec![
            run("sync-to-backup-NeP8nb4q", "ok"),
            Run { started_at: Some("2026-11-20T13:55:17.800Z".into()), ..kinetic },
            Run { signal: Some(15), timeout_ms: Some(78_000), ..run("slow-NePaHZyW", "timed-out") },
            Run { reason: Some("reboot".into()), ..run("web-NePaHZyX", "lost") },
            Run { started_at: None, pid: None, ..run("missing-NePaHZyY", "spawn-failed") },
            Run { command: vec!["sh".into(), "-c".into(), "echo a\n'b'".into()], ..live("web-NePbHZyZ", "running") },
            Run { until: Some("2026-11-20T14:56:30.000Z".into()), ..live("fetch-NePbHZyb", "waiting") },
            Run { latch: Some("go".into()), ..live("later-NePbHZya", "held") },
        ]
    }

    #[test]
    fn log_is_kinetics_table_to_the_column() {
        insta::assert_snapshot!(log(&runs(), &screen(None)));
        let text = log(&runs()[..1], &screen(None));
        let kinetic = "\
job-id                                          status  start               end    pid     duration
---------------------------------------------------------------------------------------------------
sync-to-backup-NeP8nb4q                         OK      14:54  ->-          14:55  353842  1m 18s
";
        assert_eq!(text, kinetic);
    }

    #[test]
    fn log_on_a_narrow_screen_gives_up_what_nobody_needs() {
        insta::assert_snapshot!(log(&runs(), &screen(Some(80))));
    }

    #[test]
    fn log_wide_and_ps() {
        insta::assert_snapshot!("log_wide", log_wide(&runs(), &screen(None)));
        insta::assert_snapshot!("ps", ps(&runs()[5..], &screen(Some(70))));
        insta::assert_snapshot!("ps_of_nothing", ps(&[], &screen(None)));
    }

    #[test]
    fn json_is_an_array_or_lines_and_holds_no_terminal_codes() {
        let runs = vec![Run { tags: vec!["\u{9b}2J\x1b".into()], ..run("a-00000001", "ok") }, run("b-00000002", "ok")];
        let array = json(&runs, JsonForm::Array).expect("json");
        let back: Vec<Run> = serde_json::from_str(&array).expect("an array");
        assert_eq!(back, runs);
        assert!(!array.contains(['\u{9b}', '\x1b']));
        let lines = json(&runs, JsonForm::Lines).expect("json");
        assert_eq!(lines.lines().map(|l| serde_json::from_str::<Run>(l).expect("a run")).collect::<Vec<_>>(), runs);
        assert_eq!(json::<Run>(&[], JsonForm::Array).expect("json"), "[]\n");
    }

    #[test]
    fn sizes_are_short() {
        for (n, shown) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_572_864, "1.5 MiB"), (3 << 30, "3.0 GiB")]
        {
            assert_eq!(bytes(n), shown);
        }
    }
}
