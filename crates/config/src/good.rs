//! The last good words: a file that somebody is just breaking takes no job away.
//!
//! Of each file the last text is kept that was part of a whole set. When a file is wrong, its last good text stands in its
//! place; when the rest does not fit together with that, everything stays as it was. A file that was never good is left out,
//! and said.

use crate::mistake::{Mistake, Report};
use crate::set::{Input, Set};
use crate::source::Source;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub struct Good {
    texts: BTreeMap<PathBuf, (usize, Arc<str>)>,
}

/// What holds after a reading.
#[derive(Debug)]
pub struct Reading {
    /// Without errors.
    pub set: Set,
    /// What is wrong with what was read: empty (of errors) when it is what holds.
    pub report: Report,
    /// Files whose last good text stands in their place.
    pub kept: Vec<PathBuf>,
    /// Files that were left out.
    pub left_out: Vec<PathBuf>,
}

impl Good {
    /// `texts`: what was good when the last daemon ended, by file (a canonical text is as good as any).
    pub fn remembering(texts: impl IntoIterator<Item = (PathBuf, usize, String)>) -> Good {
        Good { texts: texts.into_iter().map(|(path, rank, text)| (path, (rank, text.into()))).collect() }
    }

    /// Judges what was read. `inputs` are all files there are: one that is not among them was removed.
    pub fn judge(&mut self, inputs: Vec<Input>) -> Reading {
        let read: Vec<(PathBuf, usize, Arc<str>)> =
            inputs.iter().map(|i| (i.source.path.clone(), i.rank, i.source.text.clone())).collect();
        let first = Set::read(inputs);
        if first.is_whole() {
            self.texts = read.into_iter().map(|(path, rank, text)| (path, (rank, text))).collect();
            let report = first.report.clone();
            return Reading { set: first, report, kept: Vec::new(), left_out: Vec::new() };
        }
        // A text that is replaced may name a calendar file that nobody else names any more.
        let mut read = read;
        let named: Vec<_> =
            self.calendars().filter(|(path, ..)| !read.iter().any(|(other, ..)| other == path)).collect();
        read.extend(named);
        let report = first.report.clone();
        let (mut kept, mut left_out) = (BTreeSet::new(), BTreeSet::new());
        let mut guilty = first.guilty();
        // Each round replaces or drops a file that was taken as it is, so it ends.
        loop {
            let mut moved = false;
            for path in std::mem::take(&mut guilty) {
                moved |= if self.texts.contains_key(&path) { kept.insert(path) } else { left_out.insert(path) };
            }
            if !moved {
                return self.as_it_was(report);
            }
            let inputs = read.iter().filter(|(path, ..)| !left_out.contains(path)).map(|(path, rank, text)| {
                let good = self.texts.get(path).filter(|_| kept.contains(path));
                let text = good.map_or_else(|| text.clone(), |(_, text)| text.clone());
                Input { source: Source::new(path, text), rank: *rank, mistakes: Vec::new() }
            });
            let set = Set::read(inputs.collect());
            if set.is_whole() {
                for (path, rank, text) in
                    read.iter().filter(|(path, ..)| !kept.contains(path) && !left_out.contains(path))
                {
                    self.texts.insert(path.clone(), (*rank, text.clone()));
                }
                self.texts.retain(|path, _| read.iter().any(|(other, ..)| other == path));
                // A name that its file's last good text defines was none only as the text is now.
                let held = |path: &PathBuf| kept.contains(path) || left_out.contains(path);
                let mut report = report;
                let sources = std::mem::take(&mut report.sources);
                report.mistakes.retain(|m| !m.code.names_nobody() || path_of(m, &sources).is_none_or(held));
                report.sources = sources;
                let (kept, left_out) = (kept.into_iter().collect(), left_out.into_iter().collect());
                return Reading { set, report, kept, left_out };
            }
            guilty = set.guilty();
        }
    }

    /// The last good texts of calendar files: no ledger has them.
    pub fn calendars(&self) -> impl Iterator<Item = (PathBuf, usize, Arc<str>)> + '_ {
        let calendars = self.texts.iter().filter(|(path, _)| crate::ics::is_calendar(path));
        calendars.map(|(path, (rank, text))| (path.clone(), *rank, text.clone()))
    }

    /// Nothing of what was read fits: the whole former set stands, files that were removed since among it.
    fn as_it_was(&self, report: Report) -> Reading {
        let inputs = self.texts.iter().map(|(path, (rank, text))| Input {
            source: Source::new(path, text.clone()),
            rank: *rank,
            mistakes: Vec::new(),
        });
        let set = Set::read(inputs.collect());
        let paths = self.texts.keys().cloned().collect();
        Reading { set, report, kept: paths, left_out: Vec::new() }
    }
}

fn path_of<'s>(mistake: &Mistake, sources: &'s [Source]) -> Option<&'s PathBuf> {
    Some(&sources.get(mistake.at.as_ref()?.source)?.path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mistake::{Code, Mistake};
    use std::path::Path;

    fn inputs(files: &[(&str, &str)]) -> Vec<Input> {
        let input = |(path, text): &(&str, &str)| Input {
            source: Source::new(Path::new(path), *text),
            rank: 0,
            mistakes: Vec::new(),
        };
        files.iter().map(input).collect()
    }

    fn jobs(reading: &Reading) -> Vec<&str> {
        assert!(reading.set.is_whole(), "{}", reading.set.report.text(false));
        reading.set.jobs.keys().map(kin_core::JobName::as_str).collect()
    }

    const DB: &str = "[db]\ncommand = 'db'\n";
    const WEB: &str = "[web]\ncommand = 'web'\nneeds = ['db']\n";

    #[test]
    fn a_broken_file_keeps_its_last_good_jobs_and_the_others_go_on_changing() {
        let mut good = Good::default();
        assert_eq!(jobs(&good.judge(inputs(&[("a", DB), ("b", WEB)]))), ["db", "web"]);
        let more = format!("{DB}[more]\ncommand = 'x'\n");
        let reading = good.judge(inputs(&[("a", &more), ("b", "[web]\ncomand = ")]));
        assert_eq!(jobs(&reading), ["db", "more", "web"]);
        assert_eq!(reading.kept, [Path::new("b")]);
        assert!(reading.report.errors() > 0);
        // Once it is well again, it counts.
        let reading = good.judge(inputs(&[("a", &more), ("b", "[web]\ncommand = 'other'\n")]));
        assert_eq!((jobs(&reading), reading.kept.len(), reading.report.errors()), (vec!["db", "more", "web"], 0, 0));
    }

    #[test]
    fn a_file_that_was_never_good_is_left_out_with_what_needs_it() {
        let reading =
            Good::default().judge(inputs(&[("a", "[db]\ncommand = 3\n"), ("b", WEB), ("c", "[x]\ncommand='x'\n")]));
        assert_eq!(jobs(&reading), ["x"]);
        assert_eq!(reading.left_out, [Path::new("a"), Path::new("b")]);
    }

    #[test]
    fn what_does_not_fit_together_changes_nothing() {
        let mut good = Good::default();
        good.judge(inputs(&[("a", DB), ("b", WEB)]));
        for files in [vec![("a", "[other]\ncommand = 'x'\n"), ("b", WEB)], vec![("b", WEB)]] {
            let reading = good.judge(inputs(&files));
            assert_eq!(jobs(&reading), ["db", "web"], "{files:?}");
            assert!(reading.report.errors() > 0);
        }
        assert_eq!(jobs(&good.judge(inputs(&[("a", DB)]))), ["db"]);
    }

    #[test]
    fn what_a_former_daemon_knew_counts() {
        let mut good = Good::remembering([(PathBuf::from("a"), 0, DB.to_string())]);
        let reading = good.judge(inputs(&[("a", "[[["), ("b", WEB)]));
        assert_eq!(jobs(&reading), ["db", "web"]);
    }

    #[test]
    fn a_broken_calendar_file_keeps_its_days_also_under_a_broken_job_file() {
        let jobs_with = |more: &str| format!("[kin.calendars.off]\nics = 'h.ics'\n[x]\ncommand = 'x'\n{more}");
        let event =
            |day: &str| format!("BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART;VALUE=DATE:{day}\nEND:VEVENT\nEND:VCALENDAR\n");
        let days = |reading: &Reading| {
            assert_eq!(jobs(reading), ["x"]);
            reading.set.settings.calendars["off"].days.iter().map(|day| day.to_string()).collect::<Vec<_>>().join(" ")
        };
        let mut good = Good::default();
        let text = jobs_with("");
        assert_eq!(days(&good.judge(inputs(&[("a.toml", &text), ("h.ics", &event("20261225"))]))), "2026-12-25");
        assert_eq!(days(&good.judge(inputs(&[("a.toml", &text), ("h.ics", &event("20261224"))]))), "2026-12-24");
        let reading = good.judge(inputs(&[("a.toml", &text), ("h.ics", &event("soon"))]));
        assert_eq!((days(&reading).as_str(), &reading.kept[..]), ("2026-12-24", &[PathBuf::from("h.ics")][..]));
        assert!(reading.report.text(false).contains("h.ics:3:1"), "{}", reading.report.text(false));
        // A job file that nobody can read names no calendar file, so none is read with it.
        let reading = good.judge(inputs(&[("a.toml", "[[[")]));
        assert_eq!(days(&reading), "2026-12-24");
        // What a former daemon knew.
        let known: Vec<_> = good.calendars().map(|(path, rank, text)| (path, rank, text.to_string())).collect();
        let reading = Good::remembering(known).judge(inputs(&[("a.toml", &text), ("h.ics", "")]));
        assert_eq!(days(&reading), "2026-12-24");
        assert_eq!(Good::default().judge(inputs(&[("a.toml", &text), ("h.ics", "")])).left_out.len(), 2);
        // One that is missing is said where it is named; what else is new there holds all the same.
        let missing = |text: &str| {
            let mut inputs = inputs(&[("a.toml", text), ("h.ics", "")]);
            let gone = Mistake::error(Code::File, "it could not be opened: it is gone");
            inputs[1].mistakes.push(gone.at(0, &(0..0)));
            inputs
        };
        let reading = good.judge(missing(&jobs_with("[y]\ncommand = 'y'\n")));
        assert_eq!(reading.set.jobs.len(), 2);
        assert_eq!(reading.kept, [PathBuf::from("h.ics")]);
        let said = reading.report.text(false);
        assert!(said.contains("a.toml:2:7"), "{said}");
        assert!(said.contains("the file of calendar 'off', h.ics: it could not be opened: it is gone"), "{said}");
        assert!(!said.contains("h.ics:1:1"), "{said}");
    }
}
