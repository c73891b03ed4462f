//! What a daemon that starts knows of files that cannot be read: what they said, and never what they might have said.

use kin_config::canon::canonical_of;
use kin_config::good::{Good, Reading};
use kin_config::set::{Form, Set};
use kin_config::{Code, Input, Mistake, Source};
use std::path::{Path, PathBuf};

const MAIN: &str = "/c/kin.toml";
const OTHER: &str = "/c/other.toml";
const SAYS_FOR_ALL: &str = "[kin]\ntimezone = 'Asia/Tokyo'\n[defaults]\nuser = 'nobody'\nrestart = 'always'\n";
const JOBS: &str = "[web]\ncommand = 'web'\n[migrate]\ncommand = 'x'\nrestart = 'never'\n";

fn inputs(files: &[(&str, &str)]) -> Vec<Input> {
    let input = |(path, text): &(&str, &str)| Input {
        source: Source::new(Path::new(path), *text),
        rank: 0,
        form: Form::Written,
        mistakes: Vec::new(),
    };
    files.iter().map(input).collect()
}

/// Each job's user, and whether it is a service.
fn jobs(reading: &Reading) -> Vec<(String, Option<String>, bool)> {
    assert!(reading.set.is_whole(), "{}", reading.set.report.text(false));
    let of = |job: &kin_core::job::Job| (job.name.to_string(), job.around.user.clone(), job.life.is_service());
    reading.set.plain().values().map(|job| of(job)).collect()
}

fn as_defined() -> Vec<(String, Option<String>, bool)> {
    [("migrate", false), ("web", true)].map(|(name, service)| (name.into(), Some("nobody".into()), service)).into()
}

fn kept(files: &[(&str, &str)]) -> Vec<(PathBuf, usize, String)> {
    files.iter().map(|(path, text)| (path.into(), 0, (*text).into())).collect()
}

/// As a ledger has it.
fn canonical(files: &[(&str, &str)]) -> Vec<(PathBuf, usize, String)> {
    let set = Set::read(inputs(files));
    let of = |(n, (path, _)): (usize, &(&str, &str))| (path.into(), 0, canonical_of(&set, n));
    files.iter().enumerate().map(of).filter(|(.., text)| !text.is_empty()).collect()
}

const BOTH: [(&str, &str); 2] = [(MAIN, SAYS_FOR_ALL), (OTHER, JOBS)];

#[test]
fn a_kept_text_says_for_all_what_it_said() {
    for broken in
        [[(MAIN, "[[["), (OTHER, JOBS)], [(MAIN, SAYS_FOR_ALL), (OTHER, "x y")], [(MAIN, "x y"), (OTHER, "[")]]
    {
        let mut good = Good::remembering(kept(&BOTH), canonical(&BOTH));
        let reading = good.judge(inputs(&broken));
        assert_eq!(jobs(&reading), as_defined(), "{broken:?}");
        assert_eq!(reading.set.settings.timezone.as_deref(), Some("Asia/Tokyo"));
        assert_eq!((reading.set.settings.hidden, reading.hides), (None, None));
    }
}

#[test]
fn no_defaults_are_applied_to_what_is_known_by_its_jobs_alone() {
    let mut good = Good::remembering([], canonical(&BOTH));
    let reading = good.judge(inputs(&[(MAIN, SAYS_FOR_ALL), (OTHER, "x y")]));
    assert_eq!(jobs(&reading), as_defined());
    assert_eq!(reading.kept, [Path::new(OTHER)]);
    let written: Vec<_> = good.written().map(|(path, _)| path.to_path_buf()).collect();
    assert_eq!(written, [Path::new(MAIN)], "nobody takes it for what was written");
}

#[test]
fn while_it_is_not_known_what_the_main_file_says_for_all_other_files_stay_as_they_are_in_force() {
    let broken = format!("{SAYS_FOR_ALL}x y\n");
    let changed = "[web]\ncommand = 'other'\n";
    // One has its texts, but none that this kin understands.
    for texts in [kept(&[]), kept(&[(MAIN, "[kin]\nnever_heard_of = 1\n"), (OTHER, JOBS)])] {
        let mut good = Good::remembering(texts, canonical(&BOTH));
        let reading = good.judge(inputs(&[(MAIN, &broken), (OTHER, changed), ("/c/z.toml", "[z]\ncommand = 'z'\n")]));
        assert_eq!(jobs(&reading), as_defined());
        assert_eq!(reading.hides.as_deref(), Some(Path::new(MAIN)));
        assert_eq!(reading.set.settings.hidden.as_deref(), Some(Path::new(MAIN)));
        assert_eq!(reading.kept, [Path::new(OTHER)]);
        assert!(reading.leaves_out(Path::new(MAIN)) && reading.leaves_out(Path::new("/c/z.toml")));
        let said = reading.report.text(false);
        assert!(said.contains("what it says for all in [defaults] is not known: other files wait"), "{said}");
        // And once it is mended all counts.
        let reading = good.judge(inputs(&[(MAIN, SAYS_FOR_ALL), (OTHER, changed)]));
        assert_eq!((jobs(&reading), reading.kept.len()), (vec![as_defined()[1].clone()], 0));
        assert_eq!(reading.set.settings.hidden, None);
    }
}

#[test]
fn at_a_first_start_nothing_runs_without_the_defaults_that_a_mistake_hides() {
    for broken in [format!("{SAYS_FOR_ALL}x y\n"), String::new()] {
        let mut inputs = inputs(&[(MAIN, &broken), (OTHER, JOBS)]);
        if broken.is_empty() {
            inputs[0].mistakes.push(Mistake::error(Code::File, "it could not be opened").at(0, &(0..0)));
        }
        let reading = Good::default().judge(inputs);
        assert_eq!(jobs(&reading), []);
        assert!(reading.leaves_out(Path::new(OTHER)));
    }
    // One that says nothing for all hides nothing.
    let reading = Good::default().judge(inputs(&[(MAIN, "[typo]\ncomand = 'x'\n"), (OTHER, "[a]\ncommand = 'x'\n")]));
    assert_eq!(jobs(&reading), [("a".into(), None, false)]);
    assert_eq!((reading.hides, reading.set.settings.hidden), (None, None));
}

fn unread(dir: &str) -> Input {
    let input = inputs(&[(dir, "")]).remove(0);
    let mistake = Mistake::error(Code::File, "Too many open files").at(0, &(0..0));
    Input { form: Form::Directory, mistakes: vec![mistake], ..input }
}

#[test]
fn of_a_directory_that_cannot_be_read_all_stays() {
    let mut good = Good::default();
    assert_eq!(jobs(&good.judge(inputs(&BOTH))), as_defined());
    for _ in 0..2 {
        let reading = good.judge(vec![unread("/c")]);
        assert_eq!(jobs(&reading), as_defined());
        assert_eq!(reading.set.settings.timezone.as_deref(), Some("Asia/Tokyo"));
        assert!(reading.leaves_out(Path::new(OTHER)) && !reading.leaves_out(Path::new("/d/other.toml")));
    }
    // It is known that one is gone as soon as it can be read again.
    assert_eq!(jobs(&good.judge(inputs(&[(MAIN, SAYS_FOR_ALL)]))), []);
    // What may say something for all may be in there.
    let mut elsewhere = inputs(&[("/d/a.toml", "[a]\ncommand = 'x'\n")]);
    elsewhere[0].rank = 1;
    elsewhere.push(unread("/c"));
    assert_eq!(jobs(&Good::default().judge(elsewhere)), []);
}

const TICK: &str = "[t]\nschedule = '* * * * *'\ncommand = 'x'\n";
const NEW: &str = "/c/new.toml";
const BROKEN: &str = "[kin]\ntimezone = 'Asia/Tokyo'\nx y\n";

/// As the next daemon has it.
fn next(good: &Good, files: &[(&str, &str)]) -> Good {
    let kept: Vec<_> = good.written().map(|(path, text)| (path.to_path_buf(), 0, text.to_string())).collect();
    Good::remembering(kept, canonical(files))
}

#[test]
fn what_was_never_in_force_hides_nothing_of_what_is_known_completely() {
    let mut good = Good::default();
    good.judge(inputs(&[(MAIN, TICK)]));
    let mut next = next(&good, &[(MAIN, TICK)]);
    for good in [&mut good, &mut next] {
        for new in [BROKEN, "[b]\ncomand = \"\"\"\nkin run t\n\"\"\"\n"] {
            let reading = good.judge(inputs(&[(MAIN, TICK), (NEW, new)]));
            assert_eq!((jobs(&reading).len(), reading.set.settings.hidden), (1, None), "{new}");
            assert_eq!(reading.left_out, [Path::new(NEW)]);
        }
        // Nor what cannot be read beside it.
        let mut inputs = inputs(&[(MAIN, TICK)]);
        inputs.push(unread("/d"));
        let reading = good.judge(inputs);
        assert_eq!((jobs(&reading).len(), reading.set.settings.hidden), (1, None));
    }
}

#[test]
fn what_was_never_understood_hides_its_settings_also_from_the_next_daemon() {
    let other = "[t]\ncommand = 'x'\n";
    let mut good = Good::default();
    for daemon in 0..3 {
        let reading = good.judge(inputs(&[(NEW, BROKEN), (OTHER, other)]));
        assert_eq!(jobs(&reading).len(), 1);
        assert_eq!(reading.set.settings.hidden.as_deref(), Some(Path::new(NEW)), "daemon {daemon}");
        good = next(&good, &[(OTHER, other)]);
    }
    // Calendar files alone are not all that was in force.
    let calendar = "BEGIN:VCALENDAR\nEND:VCALENDAR\n";
    let mut good = Good::remembering(kept(&[("/c/h.ics", calendar)]), []);
    assert!(good.judge(inputs(&[(NEW, BROKEN), (OTHER, other)])).set.settings.hidden.is_some());
    // A line of a command says nothing of it, and what a name of it begins may.
    for (line, hides) in [("kin run t", false), ("kin.timezone = 'UTC'", true), ("\"kin\" = {", true), ("[ kin", true)]
    {
        let reading = Good::default().judge(inputs(&[(NEW, &format!("x y\n{line}\n")), (OTHER, other)]));
        assert_eq!(reading.set.settings.hidden.is_some(), hides, "{line}");
    }
}

#[test]
fn at_a_first_start_only_the_first_directory_may_hold_what_is_said_for_all() {
    let judged = |rank: usize| {
        let mut inputs = inputs(&[(OTHER, TICK)]);
        inputs.push(Input { rank, ..unread("/d") });
        Good::default().judge(inputs)
    };
    let reading = judged(1);
    assert_eq!((jobs(&reading).len(), reading.set.settings.hidden), (1, None));
    assert_eq!(judged(0).set.settings.hidden.as_deref(), Some(Path::new("/d")));
}
