//! `kin show`

use crate::clean;
use crate::cli::Face;
use crate::commands::unwritable;
use crate::job;
use crate::listing::{self, JsonArgs};
use crate::report::Failure;
use crate::screen::{Colour, Screen};
use crate::table::{Cell, Column, Table};
use crate::when;
use clap::Args;
use kin_client::api::job::{Definition, Source};

/// A job's definition that is in force, whole; or its revisions, or how one of them differs.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin show backup\n  kin show backup --history\n  kin show backup --diff 3")]
pub(crate) struct ShowArgs {
    /// The job's name.
    job: String,
    /// All of its revisions that are known, the newest first.
    #[arg(long, conflicts_with_all = ["rev", "diff"])]
    history: bool,
    /// This revision.
    #[arg(long, value_name = "REV", conflicts_with = "diff")]
    rev: Option<u64>,
    /// What is different now from this revision; with --json an object with from, to, removed and added: the revisions, and
    /// the lines that only one of them has.
    #[arg(long, value_name = "REV")]
    diff: Option<u64>,
    #[command(flatten)]
    json: JsonArgs,
}

impl ShowArgs {
    pub(crate) async fn run(mut self, face: &Face) -> Result<u8, Failure> {
        self.job = face.job_meant(self.job).await?;
        let all = match face.client.definitions(&self.job).await {
            Err(error) if error.is_not_found() => return Err(job::unknown(&face.client, &self.job).await?),
            answer => answer?,
        };
        let newest = all.first().ok_or_else(|| self.no_revision("any"))?;
        let of = |rev: u64| all.iter().find(|definition| definition.rev == rev);
        // A service goes back to the one before where the newest did not become ready.
        let now = match face.client.job(&self.job).await {
            Ok(job) => {
                job::tell_of_stale(&face.screen, [&job]);
                of(job.rev).unwrap_or(newest)
            }
            Err(error) if error.is_not_found() => newest,
            Err(error) => return Err(error.into()),
        };
        let wanted = match self.rev.or(self.diff) {
            Some(rev) => of(rev).ok_or_else(|| self.no_revision(&rev.to_string()))?,
            None => now,
        };
        let shown = if self.history { all.as_slice() } else { std::slice::from_ref(wanted) };
        let text = match self.json.json {
            Some(form) if self.diff.is_some() => listing::json(&[comparison(wanted, now)], form).map_err(unwritable)?,
            Some(form) => listing::json(shown, form).map_err(unwritable)?,
            None if self.history => table(shown, now.rev, &face.screen),
            None if self.diff.is_some() => difference(text_of(wanted), text_of(now), face.screen.colour),
            None => head(wanted) + &given_up(newest, now, &self.job) + &cleaned(text_of(wanted)),
        };
        face.screen.print(&text)?;
        Ok(0)
    }

    fn no_revision(&self, rev: &str) -> Failure {
        Failure::NotFound {
            message: format!("there is no revision {rev} of {}", self.job),
            hint: Some(format!("kin show {} --history shows them", self.job)),
        }
    }
}

fn text_of(definition: &Definition) -> &str {
    definition.text.as_deref().unwrap_or_default()
}

fn source(definition: &Definition) -> String {
    match &definition.source {
        Source::File { path } => path.clone(),
        Source::Api { by } => format!("by request of {by}"),
        Source::Project { path, .. } => path.clone(),
    }
}

/// A comment, so that the whole is TOML.
fn head(definition: &Definition) -> String {
    let gone = if definition.text.is_none() { ", taken away" } else { "" };
    format!("# revision {}, {}{gone}\n", definition.rev, clean::name(&source(definition)))
}

/// Which one is newer than the one in force.
fn given_up(newest: &Definition, now: &Definition, job: &str) -> String {
    if newest.rev == now.rev {
        return String::new();
    }
    format!(
        "# in force is revision {}: {} did not become ready, kin why {} says more\n",
        now.rev,
        newest.rev,
        clean::name(job)
    )
}

fn cleaned(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", clean::name(line))).collect()
}

fn table(all: &[Definition], now: u64, screen: &Screen) -> String {
    let mut table = Table::new(["rev", "since", "source"].map(Column::new));
    for definition in all {
        let at = when::from_wire(&definition.at).map(|at| when::second(at, screen.zone())).unwrap_or_default();
        let gone = match &definition.text {
            None => ", taken away",
            Some(_) if definition.rev > now => ", given up",
            Some(_) => "",
        };
        table.row([
            Cell::from(definition.rev.to_string()),
            Cell::from(at),
            Cell::from(format!("{}{gone}", source(definition))),
        ]);
    }
    table.render(screen.width, screen.colour)
}

/// For programs: the lines that only one of two revisions has.
fn comparison(from: &Definition, to: &Definition) -> serde_json::Value {
    let lines = lines(text_of(from), text_of(to));
    let only = |sign: char| lines.iter().filter(|(of, _)| *of == sign).map(|(_, line)| *line).collect::<Vec<_>>();
    serde_json::json!({
        "job": to.job, "from": from.rev, "to": to.rev, "removed": only('-'), "added": only('+'),
    })
}

/// Definitions are short: the whole of them is the context.
fn difference(from: &str, to: &str, colour: bool) -> String {
    let said = |(sign, line): (char, &str)| {
        let line = format!("{sign} {}", clean::name(line));
        let painted = match sign {
            '-' => Colour::Red.paint(&line, colour),
            '+' => Colour::Green.paint(&line, colour),
            _ => line,
        };
        painted + "\n"
    };
    lines(from, to).into_iter().map(said).collect()
}

/// All lines of both, each that only one has with its sign.
fn lines<'a>(from: &'a str, to: &'a str) -> Vec<(char, &'a str)> {
    let (old, new): (Vec<&str>, Vec<&str>) = (from.lines().collect(), to.lines().collect());
    // common[i][j]: how many lines the ends of both, from i and from j on, have in common.
    let mut common = vec![vec![0usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] =
                if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        out.push(match (old.get(i), new.get(j)) {
            (Some(a), Some(b)) if a == b => {
                (i, j) = (i + 1, j + 1);
                (' ', *a)
            }
            (Some(a), b) if b.is_none() || common[i + 1][j] >= common[i][j + 1] => {
                i += 1;
                ('-', *a)
            }
            (_, Some(b)) => {
                j += 1;
                ('+', *b)
            }
            (_, None) => break,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_has_all_lines_once() {
        let (old, new) = ("command = 'a'\ntimeout = '1h'\ntries = 2\n", "command = 'b'\ntries = 2\nuser = 'x'\n");
        let said = difference(old, new, false);
        assert_eq!(said, "- command = 'a'\n- timeout = '1h'\n+ command = 'b'\n  tries = 2\n+ user = 'x'\n");
        assert_eq!(difference(old, "", false).matches("\n").count(), 3);
        assert_eq!(difference("", new, false).matches("+ ").count(), 3);
        assert_eq!(difference(old, old, false).matches("  ").count(), 3);
        let of = |rev, text: &str| Definition {
            job: "web".into(),
            rev,
            at: String::new(),
            source: Source::Api { by: "uid:1000".into() },
            text: Some(text.into()),
        };
        let json = serde_json::json!({
            "job": "web", "from": 1, "to": 3,
            "removed": ["command = 'a'", "timeout = '1h'"], "added": ["command = 'b'", "user = 'x'"],
        });
        assert_eq!(comparison(&of(1, old), &of(3, new)), json);
    }

    #[test]
    fn each_revision_is_a_row() {
        let of = |rev, source, text: Option<&str>| Definition {
            job: "web".into(),
            rev,
            at: "2026-11-20T13:54:01.120Z".into(),
            source,
            text: text.map(str::to_owned),
        };
        let file = || Source::File { path: "/etc/kin/jobs.toml".into() };
        let all = [
            of(7, file(), None),
            of(4, Source::Api { by: "uid:1000".into() }, Some("command = 'b'\n")),
            of(3, file(), Some("command = 'a'\n")),
        ];
        let now = "2026-11-20T14:56:04.500Z".parse().expect("a time");
        insta::assert_snapshot!(table(&all, 7, &Screen::of_test(None, jiff::tz::TimeZone::UTC, now)));
        assert_eq!(head(&all[0]), "# revision 7, /etc/kin/jobs.toml, taken away\n");
        let said = table(&all, 3, &Screen::of_test(None, jiff::tz::TimeZone::UTC, now));
        assert!(said.contains("by request of uid:1000, given up") && !said.contains("jobs.toml, given up"), "{said}");
        assert_eq!(given_up(&all[1], &all[1], "web"), "");
        assert!(given_up(&all[1], &all[2], "web").contains("in force is revision 3: 4 did not become ready"));
    }
}
