//! `kin cron`

use crate::clean;
use crate::commands::unwritable;
use crate::durations;
use crate::listing::json_line;
use crate::report::Failure;
use crate::screen::{Colour, Screen};
use crate::when;
use clap::Args;
use kin_client::api::schedule::{Coming, Dst, Explanation, Mistake, Problems};
use kin_client::api::zones::{NoZone, Zones};
use kin_client::api::{Schedule, Zone};
use std::time::Duration;

/// What a schedule does: in words, the coming instants, and what about it may surprise. Asks no server.
///
/// An expression is cron's (five fields; six begin with seconds, seven end with years; L, W, #, H and a~b too), a word as @daily,
/// @reboot, '@every 90s', '@at 2026-12-24T18:00', or systemd's after 'calendar:'. Several are the schedules of one job. A time zone
/// in the expression wins over --tz.
#[derive(Args, Debug)]
#[command(
    after_help = "EXAMPLE\n  kin cron '30 2 * * *' --tz America/New_York -n 3\n  kin cron 'calendar: Mon..Fri 08:30' --json"
)]
pub(crate) struct CronArgs {
    /// One expression, or several; five to seven words without quotes are one.
    #[arg(value_name = "EXPR", required = true)]
    expressions: Vec<String>,
    /// The zone whose clocks it goes by, as Europe/Berlin; else the one of this machine.
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// How many instants to show, at most 10000.
    #[arg(short, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    n: u16,
    /// The job's name, from which H, a~b and the phase of @every follow.
    #[arg(long, value_name = "NAME", default_value = "job")]
    job: String,
    /// Times of day that clocks skip or show twice: fire once, skip the skipped, or both of the repeated.
    #[arg(long, value_name = "WHICH", default_value = "once", value_parser = ["once", "skip", "both"])]
    dst: String,
    /// Instants after that time on the clocks of --tz, instead of now.
    #[arg(long, value_name = "TIME")]
    after: Option<String>,
    /// As a JSON object.
    #[arg(long)]
    json: bool,
}

impl CronArgs {
    pub(crate) fn run(self, screen: &Screen) -> Result<u8, Failure> {
        let after = match &self.after {
            Some(text) => {
                // A name that is none is refused below, with the one that was perhaps meant.
                let named = self.tz.as_deref().and_then(|name| jiff::tz::TimeZone::get(name).ok());
                let zone = named.unwrap_or_else(|| screen.zone().clone());
                when::parse(text, &screen.now.to_zoned(zone)).map_err(|error| Failure::usage(error.to_string()))?
            }
            None => screen.now,
        };
        let dst = Dst::parse(&self.dst).unwrap_or_default();
        let zones = Zones::of_process();
        let (mut schedules, mut mistakes) = (Vec::new(), Vec::new());
        for text in expressions(&self.expressions) {
            match Schedule::parse(&text, &self.job, dst) {
                Ok(schedule) => match self.zone(&schedule, &zones) {
                    Ok(zone) if never_is(&schedule, &zone) => {
                        return Err(Failure::usage(format!(
                            "'{}' is at no time: clocks in {} skip it, and --dst skip leaves out what they skip; write another time, or --dst once",
                            text.trim(),
                            zone.name()
                        )));
                    }
                    Ok(zone) => schedules.push((schedule, zone)),
                    Err(error) => match schedule.wrong_zone(&error.to_string()) {
                        Some(problems) => mistakes.push((text, problems)),
                        None => return Err(Failure::usage(error.to_string())),
                    },
                },
                Err(problems) => mistakes.push((text, problems)),
            }
        }
        if !mistakes.is_empty() {
            return self.refuse(&mistakes, screen);
        }
        let explanation = Explanation::of(&schedules, after.as_second(), usize::from(self.n));
        let text =
            if self.json { json_line(&explanation).map_err(unwritable)? + "\n" } else { told(&explanation, screen) };
        screen.print(&text)?;
        Ok(0)
    }

    fn zone(&self, schedule: &Schedule, zones: &Zones) -> Result<Zone, NoZone> {
        match schedule.zone().or(self.tz.as_deref()) {
            Some(name) => zones.load(name),
            None => zones.local(),
        }
    }

    fn refuse(&self, mistakes: &[(String, Problems)], screen: &Screen) -> Result<u8, Failure> {
        if self.json {
            let all =
                mistakes.iter().flat_map(|(text, problems)| problems.iter().map(|problem| Mistake::of(text, problem)));
            let mistakes = serde_json::json!({ "mistakes": all.collect::<Vec<_>>() });
            screen.print(&(json_line(&mistakes).map_err(unwritable)? + "\n"))?;
            return Ok(2);
        }
        for (text, problems) in mistakes {
            for problem in problems.iter() {
                screen.note(&problem.to_string());
                let marks = "^".repeat(problem.length);
                let before = " ".repeat(problem.column - 1);
                screen.quote(&format!("  {}", clean::name(text)));
                screen.quote(&format!("  {before}{marks}"));
            }
        }
        Ok(2)
    }
}

/// No instant at all, past or to come: one reading, which the clocks of its zone leave out.
fn never_is(schedule: &Schedule, zone: &Zone) -> bool {
    !schedule.is_reboot() && schedule.next_after(i64::MIN, zone).is_none()
}

/// Somebody may have forgotten the quotes.
fn expressions(words: &[String]) -> Vec<String> {
    let bare = |word: &String| !word.is_empty() && !word.contains(char::is_whitespace) && !word.starts_with('@');
    if (5..=7).contains(&words.len()) && words.iter().all(bare) { vec![words.join(" ")] } else { words.to_vec() }
}

fn told(explanation: &Explanation, screen: &Screen) -> String {
    let paint = |colour: Colour, text: &str| colour.paint(&clean::name(text), screen.colour);
    let mut out = String::new();
    for schedule in &explanation.schedules {
        out += &format!("{}  {}\n", clean::name(&schedule.expression), paint(Colour::Dim, &schedule.timezone));
        out += &format!("  {}\n", paint(Colour::Green, &schedule.words));
    }
    if !explanation.coming.is_empty() {
        out.push('\n');
    }
    let several = explanation.schedules.len() > 1;
    for coming in &explanation.coming {
        let of =
            if several { format!("  {}", explanation.schedules[coming.schedule].expression) } else { String::new() };
        let note = coming.note.as_ref().map(|note| format!("  {}", paint(Colour::Yellow, note))).unwrap_or_default();
        out += &format!("{}{}{note}\n", line(coming, screen), clean::name(&of));
    }
    let remarks: Vec<_> = explanation.schedules.iter().flat_map(|schedule| &schedule.remarks).collect();
    if !remarks.is_empty() {
        out.push('\n');
    }
    for remark in remarks {
        out += &format!("{}: {}\n", paint(Colour::Yellow, "note"), clean::name(&remark.text));
    }
    out
}

/// `Sun 2026-11-22 02:30:00 -05:00  in 14h 13m 5s`
fn line(coming: &Coming, screen: &Screen) -> String {
    let (date, rest) = coming.local.split_at(coming.local.find('T').unwrap_or(0));
    let (time, offset) = rest.trim_start_matches('T').split_at(8.min(rest.len().saturating_sub(1)));
    let weekday = date.parse::<jiff::civil::Date>().map(|date| date.strftime("%a").to_string()).unwrap_or_default();
    let wait = when::from_wire(&coming.at).map(|at| at.as_second() - screen.now.as_second());
    let relative = match wait {
        Some(seconds) if seconds >= 0 => format!("in {}", durations::show(Duration::from_secs(seconds.unsigned_abs()))),
        Some(seconds) => format!("{} ago", durations::show(Duration::from_secs(seconds.unsigned_abs()))),
        None => String::new(),
    };
    format!("{weekday} {date} {time} {offset}  {relative:<16}").trim_end().to_owned()
}
