//! The last good words: a file that somebody is just breaking takes no job away.
//!
//! Of each file the last text is kept that was part of a whole set. When a file is wrong, its last good text stands in its
//! place; when the rest does not fit together with that, everything stays as it was. A file that was never good is left out,
//! and said.
//!
//! A daemon that starts knows those texts as the one before it wrote them down. Where nobody did, or this kin reads them
//! otherwise, it knows the canonical texts of the jobs. They do not tell what a file said for all: so while the main file
//! is known by nothing else, and may say `[defaults]`, every other file stays as it is in force, or is left out.

use crate::mistake::{Code, Mistake, Report};
use crate::set::{DEFAULTS, Form, Input, SETTINGS, Set, is_main, may_say};
use crate::source::Source;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub struct Good {
    texts: BTreeMap<PathBuf, Text>,
    former: Former,
    /// What they say for all was all that held: a file that is not among them never said anything.
    complete: bool,
}

/// One file's.
#[derive(Clone, Debug)]
struct Text {
    rank: usize,
    form: Form,
    text: Arc<str>,
}

/// What was kept by a daemon before this one.
#[derive(Clone, Debug, Default)]
enum Former {
    /// Whether this kin reads it as that one did was not asked yet. The canonical texts, if it does not.
    Unproved(BTreeMap<PathBuf, Text>),
    #[default]
    Known,
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
    /// Files that were left out; a directory, when its files are not known.
    pub left_out: Vec<PathBuf>,
    /// The main file, when it is not known what it says for all: the others stay as they are in force.
    pub hides: Option<PathBuf>,
}

impl Reading {
    fn whole(set: Set) -> Reading {
        let report = set.report.clone();
        Reading { set, report, kept: Vec::new(), left_out: Vec::new(), hides: None }
    }

    /// Nothing is known of this file: neither what it says nor whether it is there.
    pub fn leaves_out(&self, path: &Path) -> bool {
        self.left_out.iter().any(|out| path.starts_with(out))
    }
}

impl Good {
    /// What was good when the last daemon ended: `kept` are the texts as they were written, `canonical` those of the jobs
    /// of each file.
    pub fn remembering(
        kept: impl IntoIterator<Item = (PathBuf, usize, String)>,
        canonical: impl IntoIterator<Item = (PathBuf, usize, String)>,
    ) -> Good {
        let texts = |form, all: &mut dyn Iterator<Item = (PathBuf, usize, String)>| -> BTreeMap<PathBuf, Text> {
            all.map(|(path, rank, text)| (path, Text { rank, form, text: text.into() })).collect()
        };
        let canonical = texts(Form::Canonical, &mut canonical.into_iter());
        let kept = texts(Form::Written, &mut kept.into_iter());
        let mut all = canonical.clone();
        all.extend(kept);
        Good { texts: all, former: Former::Unproved(canonical), complete: false }
    }

    /// A file of these directories that held something when it was kept is not among these, or is empty: gone, or away for a moment.
    pub fn misses(&self, inputs: &[Input], dirs: &[PathBuf]) -> Option<&Path> {
        let held = |(path, text): &(&PathBuf, &Text)| {
            let is_there = path.parent().is_some_and(|parent| dirs.iter().any(|dir| dir == parent));
            is_there && text.form == Form::Written && !text.text.trim().is_empty() && !crate::ics::is_calendar(path)
        };
        let mut held = self.texts.iter().filter(held).map(|(path, _)| path.as_path());
        held.find(|path| {
            // Of what is in a directory that cannot be read nothing is known.
            let read = inputs.iter().find(|input| path.starts_with(&input.source.path));
            read.is_none_or(|read| read.source.text.trim().is_empty() && read.mistakes.is_empty())
        })
    }

    /// Judges what was read. `inputs` are all files there are: one that is not among them was removed, unless its
    /// directory is among them as one that cannot be read.
    pub fn judge(&mut self, inputs: Vec<Input>) -> Reading {
        let read: Vec<(PathBuf, Text)> = inputs.iter().map(|i| (i.source.path.clone(), Text::of(i))).collect();
        let first = Set::read(inputs);
        if first.is_whole() {
            self.texts = read.into_iter().collect();
            self.former = Former::Known;
            self.complete = true;
            return Reading::whole(first);
        }
        self.prove();
        // A text that is replaced may name a calendar file that nobody else names any more, and nobody knows what is in a
        // directory that cannot be read.
        let mut read = read;
        let (mut kept, mut left_out) = (BTreeSet::new(), BTreeSet::new());
        let unread: Vec<PathBuf> =
            read.iter().filter(|(_, text)| text.form == Form::Directory).map(|(path, _)| path.clone()).collect();
        for (path, text) in &self.texts {
            let is_unread = path.parent().is_some_and(|dir| unread.iter().any(|unread| unread == dir));
            if (is_unread || crate::ics::is_calendar(path)) && !read.iter().any(|(other, _)| other == path) {
                read.push((path.clone(), text.clone()));
                kept.extend(is_unread.then(|| path.clone()));
            }
        }
        let mut report = first.report.clone();
        let mut guilty = first.guilty();
        let mut hides = None;
        // Each round replaces or drops a file that was taken as it is, so it ends.
        loop {
            let mut moved = false;
            for path in std::mem::take(&mut guilty) {
                moved |= if self.texts.contains_key(&path) { kept.insert(path) } else { left_out.insert(path) };
            }
            if hides.is_none() {
                hides = self.hiding(&read, &kept, &left_out);
                if hides.is_some() {
                    for (path, _) in read.iter().filter(|(path, _)| !crate::ics::is_calendar(path)) {
                        let known = self.texts.contains_key(path);
                        moved |= !left_out.contains(path)
                            && if known { kept.insert(path.clone()) } else { left_out.insert(path.clone()) };
                    }
                }
            }
            if !moved {
                return self.as_it_was(report);
            }
            let inputs = read.iter().filter(|(path, _)| !left_out.contains(path)).map(|(path, text)| {
                let good = self.texts.get(path).filter(|_| kept.contains(path));
                good.unwrap_or(text).input(path)
            });
            let mut set = Set::read(inputs.collect());
            if set.is_whole() {
                set.settings.hidden = self.hidden(&read, &kept, &left_out);
                for (path, text) in read.iter().filter(|(path, _)| !kept.contains(path) && !left_out.contains(path)) {
                    self.texts.insert(path.clone(), text.clone());
                }
                self.texts.retain(|path, _| read.iter().any(|(other, _)| other == path));
                self.complete = hides.is_none() && set.settings.hidden.is_none();
                // A name that its file's last good text defines was none only as the text is now.
                let held = |path: &PathBuf| kept.contains(path) || left_out.contains(path);
                let sources = std::mem::take(&mut report.sources);
                report.mistakes.retain(|m| !m.code.names_nobody() || path_of(m, &sources).is_none_or(held));
                report.sources = sources;
                if let Some(main) = &hides {
                    say_hiding(main, &mut report);
                }
                let (kept, left_out) = (kept.into_iter().collect(), left_out.into_iter().collect());
                return Reading { set, report, kept, left_out, hides };
            }
            guilty = set.guilty();
        }
    }

    /// A text may have been good to another kin, which kept it, and be wrong to this one. One of them alone is of no use:
    /// what it said for others is gone.
    fn prove(&mut self) {
        let Former::Unproved(canonical) = std::mem::take(&mut self.former) else { return };
        let set = Set::read(self.texts.iter().map(|(path, text)| text.input(path)).collect());
        match set.is_whole() {
            // Only what was complete was kept.
            true => {
                let is_written =
                    |(path, text): (&PathBuf, &Text)| text.form == Form::Written && !crate::ics::is_calendar(path);
                self.complete = self.texts.iter().any(is_written);
            }
            false => self.texts = canonical,
        }
    }

    /// The main file, when others may need what it says for all, and that is not known.
    fn hiding(
        &self,
        read: &[(PathBuf, Text)],
        kept: &BTreeSet<PathBuf>,
        left_out: &BTreeSet<PathBuf>,
    ) -> Option<PathBuf> {
        let of_all = |(path, text): &&(PathBuf, Text)| is_main(path, text.rank) || text.form == Form::Directory;
        let unknown = |(path, text): &&(PathBuf, Text)| match text.form {
            // It may be in there, if it is not known already.
            Form::Directory => text.rank == 0 && !self.texts.iter().any(|(path, text)| is_main(path, text.rank)),
            Form::Written | Form::Canonical if kept.contains(path) => {
                self.texts.get(path).is_some_and(|text| text.form == Form::Canonical)
            }
            Form::Written | Form::Canonical => left_out.contains(path) && text.may_say(DEFAULTS),
        };
        read.iter().filter(of_all).find(unknown).map(|(path, _)| path.clone())
    }

    /// A file that may say something of `[kin]`, and that is not known.
    fn hidden(
        &self,
        read: &[(PathBuf, Text)],
        kept: &BTreeSet<PathBuf>,
        left_out: &BTreeSet<PathBuf>,
    ) -> Option<PathBuf> {
        // What is new said nothing until now, and that goes on to hold.
        if self.complete && self.texts.values().all(|text| text.form == Form::Written) {
            return None;
        }
        let canonical = |path: &PathBuf| self.texts.get(path).is_some_and(|text| text.form == Form::Canonical);
        let unknown = |path: &PathBuf| left_out.contains(path) || kept.contains(path) && canonical(path);
        let may_say = |(path, text): &(PathBuf, Text)| match text.form {
            Form::Directory => text.rank == 0 && !self.texts.keys().any(|file| file.parent() == Some(path)),
            Form::Written | Form::Canonical => text.may_say(SETTINGS),
        };
        let hides = |file: &&(PathBuf, Text)| !crate::ics::is_calendar(&file.0) && unknown(&file.0) && may_say(file);
        read.iter().find(hides).map(|(path, _)| path.clone())
    }

    /// The last good texts, as they were written: what the next daemon is to know. None while something is missing that they
    /// may depend on: it would take them for all there is.
    pub fn written(&self) -> impl Iterator<Item = (&Path, &Arc<str>)> {
        let written = self.texts.iter().filter(|(_, text)| self.complete && text.form == Form::Written);
        written.map(|(path, text)| (path.as_path(), &text.text))
    }

    /// Nothing of what was read fits: the whole former set stands, files that were removed since among it.
    fn as_it_was(&self, report: Report) -> Reading {
        let mut set = Set::read(self.texts.iter().map(|(path, text)| text.input(path)).collect());
        let canonical = self.texts.iter().find(|(_, text)| text.form == Form::Canonical);
        set.settings.hidden = canonical.map(|(path, _)| path.clone());
        Reading { kept: self.texts.keys().cloned().collect(), report, ..Reading::whole(set) }
    }
}

impl Text {
    fn of(input: &Input) -> Text {
        Text { rank: input.rank, form: input.form, text: input.source.text.clone() }
    }

    fn input(&self, path: &Path) -> Input {
        let source = Source::new(path, self.text.clone());
        Input { source, rank: self.rank, form: self.form, mistakes: Vec::new() }
    }

    /// Of what is empty nothing is known: nobody leaves out a file that says nothing.
    fn may_say(&self, table: &str) -> bool {
        self.text.is_empty() || may_say(&self.text, table)
    }
}

fn say_hiding(main: &Path, report: &mut Report) {
    let Some(source) = report.sources.iter().position(|source| source.path == main) else { return };
    let message =
        format!("until this can be read, what it says for all in [{DEFAULTS}] is not known: other files wait");
    report.mistakes.push(Mistake::warning(Code::File, message).at(source, &(0..0)));
}

fn path_of<'s>(mistake: &Mistake, sources: &'s [Source]) -> Option<&'s PathBuf> {
    Some(&sources.get(mistake.at.as_ref()?.source)?.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(files: &[(&str, &str)]) -> Vec<Input> {
        let input = |(path, text): &(&str, &str)| Input {
            source: Source::new(Path::new(path), *text),
            rank: 0,
            form: Form::Written,
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
        let mut good = Good::remembering([], [(PathBuf::from("a"), 0, DB.to_string())]);
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
        let known: Vec<_> = good.written().map(|(path, text)| (path.to_path_buf(), 0, text.to_string())).collect();
        let reading = Good::remembering(known, []).judge(inputs(&[("a.toml", &text), ("h.ics", "")]));
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
