//! `kin reload`

use crate::cli::Face;
use crate::commands::unwritable;
use crate::listing::json_line;
use crate::report::Failure;
use crate::screen::{Colour, Screen};
use crate::table::{Cell, Column, Table};
use clap::Args;
use kin_client::api::job::PlanStep;

/// Read the job files again now, and say what changed; with --plan, what would.
///
/// The server does it by itself when a file has changed. A file with mistakes keeps its last good jobs; they are shown,
/// and the exit code is 2. A server that does not run is not started: it reads the files when it starts.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin reload --plan\n  kin reload")]
pub(crate) struct ReloadArgs {
    /// Change nothing.
    #[arg(long)]
    plan: bool,
    /// As a JSON object: the steps, and the mistakes.
    #[arg(long)]
    json: bool,
}

impl ReloadArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let request = kin_client::api::job::ReloadRequest { plan: self.plan };
        let reload = face.client.reload(&request).await?;
        if self.json {
            face.screen.print(&(json_line(&reload).map_err(unwritable)? + "\n"))?;
        } else {
            face.screen.print(&steps(&reload.steps, &face.screen))?;
            for mistake in &reload.mistakes {
                mistake.text.lines().for_each(|line| face.screen.quote(line));
            }
            if reload.steps.is_empty() && reload.mistakes.is_empty() {
                face.screen.note("nothing is different");
            }
            match reload.mistakes.len() {
                0 => {}
                1 => face.screen.note("1 mistake; its file keeps its last good jobs"),
                n => face.screen.note(&format!("{n} mistakes; their files keep their last good jobs")),
            }
        }
        Ok(if reload.mistakes.is_empty() { 0 } else { 2 })
    }
}

/// A row for each job that comes, changes or goes.
pub(crate) fn steps(steps: &[PlanStep], screen: &Screen) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["job", "change", "follows", "keys"].map(Column::new));
    for step in steps {
        let colour = match step.what.as_str() {
            "add" | "start" => Colour::Green,
            "remove" => Colour::Red,
            _ => Colour::Yellow,
        };
        table.row([
            Cell::from(step.job.as_str()),
            Cell::painted(&step.what, colour),
            Cell::from(follows(step)),
            Cell::from(step.keys.join(", ")),
        ]);
    }
    table.render(screen.width, screen.colour)
}

/// `web is restarted: exec, env changed`
pub(crate) fn sentence(step: &PlanStep) -> String {
    let PlanStep { job, what, keys, .. } = step;
    let keys = if keys.is_empty() { String::new() } else { format!(", by {}", keys.join(", ")) };
    match (what.as_str(), follows(step)) {
        ("start", _) => format!("{job} starts again"),
        ("remove", "") => format!("{job} is forgotten"),
        ("remove", _) => format!("{job} is stopped and forgotten"),
        (_, "") => format!("{job} is changed{keys}"),
        (_, follows) => format!("{job} is changed{keys}: {follows}"),
    }
}

fn follows(step: &PlanStep) -> &str {
    match step.follows.as_str() {
        "start" => "it starts",
        "restart" => "it is restarted",
        "stop" => "it is stopped",
        "at-once" => "it holds at once",
        "next-run" => "it holds from the next run on",
        "stored" => "",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_a_row() {
        let step = |job: &str, what: &str, follows: &str, keys: &[&str]| PlanStep {
            job: job.into(),
            what: what.into(),
            follows: follows.into(),
            keys: keys.iter().map(|key| (*key).into()).collect(),
        };
        let steps = vec![
            step("backup", "change", "next-run", &["command", "timeout"]),
            step("bell", "add", "stored", &[]),
            step("old", "remove", "stop", &[]),
            step("web", "change", "restart", &["exec"]),
        ];
        let screen = Screen::of_test(None, jiff::tz::TimeZone::UTC, jiff::Timestamp::UNIX_EPOCH);
        let words: Vec<String> = steps.iter().map(sentence).collect();
        assert_eq!(
            words,
            [
                "backup is changed, by command, timeout: it holds from the next run on",
                "bell is changed",
                "old is stopped and forgotten",
                "web is changed, by exec: it is restarted",
            ]
        );
        insta::assert_snapshot!(super::steps(&steps, &screen));
        assert_eq!(super::steps(&[], &screen), "");
    }
}
