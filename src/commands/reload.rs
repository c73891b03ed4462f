//! `kin reload`

use crate::cli::Face;
use crate::commands::unwritable;
use crate::listing::json_line;
use crate::report::Failure;
use crate::screen::{Colour, Screen};
use crate::table::{Cell, Column, Table};
use clap::Args;
use kin_client::api::job::{Mistake, PlanStep, Reload};
use std::collections::BTreeSet;

/// Read the job files again now, and say what changed; with --plan, what would.
///
/// The server does it by itself when a file has changed. A file with mistakes keeps its last good jobs; they are shown,
/// and the exit code is 2; a warning changes nothing. A server that does not run is not started: it reads the files when it starts.
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
            tell(&reload, &face.screen)?;
            if reload.steps.is_empty() && reload.mistakes.is_empty() {
                face.screen.note("nothing is different");
            }
        }
        Ok(code(&reload))
    }
}

/// What follows, and what is wrong.
pub(crate) fn tell(reload: &Reload, screen: &Screen) -> Result<(), Failure> {
    screen.print(&steps(&reload.steps, screen))?;
    for mistake in &reload.mistakes {
        mistake.text.lines().for_each(|line| screen.quote(line));
    }
    sum(&reload.mistakes).iter().for_each(|sum| screen.note(sum));
    Ok(())
}

pub(crate) fn code(reload: &Reload) -> u8 {
    if reload.mistakes.iter().any(is_error) { 2 } else { 0 }
}

pub(crate) fn is_error(mistake: &Mistake) -> bool {
    mistake.severity != "warning"
}

/// What was found, and what that means for the files: a warning changes nothing.
fn sum(mistakes: &[Mistake]) -> Option<String> {
    let (errors, warnings): (Vec<&Mistake>, Vec<&Mistake>) = mistakes.iter().partition(|mistake| is_error(mistake));
    let many = |n: usize, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
    let files: BTreeSet<&str> = errors.iter().map(|mistake| mistake.file.as_str()).collect();
    let kept = if files.len() == 1 { "its file keeps its" } else { "their files keep their" };
    let kept = if files.len() == 1 && errors.len() > 1 { "their file keeps its" } else { kept };
    match (errors.len(), warnings.len()) {
        (0, 0) => None,
        (0, n) => Some(format!("{}; what the files say holds", many(n, "warning"))),
        (n, 0) => Some(format!("{}; {kept} last good jobs", many(n, "mistake"))),
        (n, m) => Some(format!("{} and {}; {kept} last good jobs", many(n, "mistake"), many(m, "warning"))),
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
    fn warnings_are_no_mistakes() {
        let one = |severity: &str, file: &str| Mistake {
            severity: severity.into(),
            file: file.into(),
            line: None,
            column: None,
            message: String::new(),
            hint: None,
            text: String::new(),
        };
        let (a, b, warning) = (one("error", "a"), one("error", "b"), one("warning", "a"));
        for (mistakes, words) in [
            (vec![warning.clone()], "1 warning; what the files say holds"),
            (vec![a.clone()], "1 mistake; its file keeps its last good jobs"),
            (vec![a.clone(), warning], "1 mistake and 1 warning; its file keeps its last good jobs"),
            (vec![a.clone(), a.clone()], "2 mistakes; their file keeps its last good jobs"),
            (vec![a, b], "2 mistakes; their files keep their last good jobs"),
        ] {
            assert_eq!(sum(&mistakes).as_deref(), Some(words));
        }
        assert_eq!(sum(&[]), None);
    }

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
