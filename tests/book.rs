//! The book, `docs/`: every page is in its contents, every example is true.
//!
//! | block | |
//! |---|---|
//! | ` ```toml ` | a job file that `kin check` finds right |
//! | ` ```toml wrong ` | one that it does not; the next block is what it says |
//! | ` ```toml server ` | the same as the first, and the server of the page's console examples has it |
//! | ` ```toml project NAME ` | is `NAME/kin.toml`; the console examples after it are typed in that directory |
//! | ` ```console ` | commands after `$`, each followed by what it says, in the order of the page |
//!
//! What is said is compared without what is never twice the same: ids, times, lengths of time, pids, blanks. `…` stands for
//! any text within a line; alone, for any lines. `BOOK=write` writes down what was said.

use regex_lite::Regex;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use testkit::Server;
use testkit::server::Options;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn pages() -> Vec<String> {
    let entries =
        std::fs::read_dir(root().join("docs")).expect("docs").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.retain(|name| name.ends_with(".md"));
    names.sort();
    names
}

#[derive(Debug)]
struct Block {
    /// What stands after the three ticks.
    info: String,
    body: String,
    /// Where its body begins and ends in the page.
    span: std::ops::Range<usize>,
}

fn blocks(text: &str) -> Vec<Block> {
    let (mut found, mut open, mut at) = (Vec::new(), None, 0);
    for line in text.split_inclusive('\n') {
        let next = at + line.len();
        match (open.take(), line.trim_end().strip_prefix("```")) {
            (None, Some(info)) => open = Some((info.to_string(), next)),
            (Some((info, from)), Some("")) => {
                found.push(Block { info, body: text[from..at].to_string(), span: from..at });
            }
            (before, _) => open = before,
        }
        at = next;
    }
    assert!(open.is_none(), "a block that is not closed: {open:?}");
    found
}

#[test]
fn every_page_is_in_the_contents() {
    let contents = page("SUMMARY.md");
    let listed = |name: &String| contents.matches(&format!("({name})")).count() == 1;
    let missing: Vec<String> = pages().into_iter().filter(|name| name != "SUMMARY.md" && !listed(name)).collect();
    assert!(missing.is_empty(), "not once in docs/SUMMARY.md: {missing:?}");
}

/// Each `kin VERB` of the book and of the README is a verb.
#[test]
fn every_verb_that_is_named_is_one() {
    let verb = Regex::new(r"(?m)(?:`|^\$ )kin ([a-z][a-z-]*)").expect("an expression");
    let help = Command::new(env!("CARGO_BIN_EXE_kin")).arg("help").output().expect("kin starts");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let texts = pages().into_iter().map(|name| (page(&name), name));
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    for (text, name) in texts.chain([(readme, "README.md".into())]) {
        for found in verb.captures_iter(&text) {
            let word = &found[1];
            let known = help.lines().any(|line| line.trim_start().starts_with(&format!("{word} ")))
                || help.contains(&format!("({word})"))
                || help.contains(&format!("({word},"))
                || word == "help";
            // What the server itself is called in `ps`, and what is yet to come, is said as such.
            assert!(known || ["daemon", "keep", "upgrade"].contains(&word), "{name}: kin {word}");
        }
    }
}

#[test]
fn the_job_files_are_what_kin_check_says_of_them() {
    let (mut right, mut wrong) = (0, 0);
    for name in pages() {
        let text = page(&name);
        let mut all = blocks(&text).into_iter();
        while let Some(Block { info, body, .. }) = all.next() {
            if info.split(' ').next() != Some("toml") {
                continue;
            }
            let dir = tempfile::tempdir().expect("a directory");
            std::fs::write(dir.path().join("jobs.toml"), &body).expect("writes");
            let mut check = Command::new(env!("CARGO_BIN_EXE_kin"));
            check.args(["check", "jobs.toml"]).env("KIN_HOME", dir.path()).current_dir(dir.path());
            let said = check.output().expect("kin starts");
            let out = String::from_utf8_lossy(&said.stdout).into_owned();
            if info == "toml wrong" {
                let told = all.next().expect("what is said of it").body;
                assert_eq!((said.status.code(), out.trim_end()), (Some(2), told.trim_end()), "{name}");
                wrong += 1;
            } else {
                assert_eq!(said.status.code(), Some(0), "{name}: {body}\n{out}");
                right += 1;
            }
        }
    }
    assert!(right > 20 && wrong > 0, "{right} {wrong}");
}

/// Without what is never twice the same.
struct Alike(Vec<(Regex, &'static str)>);

impl Alike {
    fn new() -> Alike {
        let rule = |pattern: &str, to| (Regex::new(pattern).expect("an expression"), to);
        Alike(vec![
            rule(r"-[0-9A-Za-z]{8}\b", "-########"),
            rule(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "TIME"),
            rule(r"\b\d\d:\d\d(:\d\d)?\b", "TIME"),
            rule(r"\b(\d+h )?(\d+m )?\d+(\.\d+)? ?m?s\b", "LENGTH"),
            rule(r"\brun [0-9A-Za-z]{8}\b", "run ########"),
            rule(r"\buid:\d+\b", "uid:NUMBER"),
            rule(r"\b\d{2,}\b", "NUMBER"),
            rule(r"-{5,}", "-----"),
            rule(r"[ \t]+", " "),
        ])
    }

    fn of(&self, text: &str) -> String {
        let step = |text: String, (from, to): &(Regex, &'static str)| from.replace_all(&text, *to).into_owned();
        self.0.iter().fold(text.to_string(), step).trim_end().to_string()
    }

    fn lines(&self, text: &str) -> Vec<String> {
        text.trim_end().lines().map(|line| self.of(line)).collect()
    }
}

fn line_fits(want: &str, said: &str) -> bool {
    let mut parts = want.split('…');
    let Some(mut rest) = parts.next().and_then(|first| said.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    last.map_or(rest.is_empty(), |last| last.is_empty() || said.ends_with(last))
}

fn fits(want: &[String], said: &[String]) -> bool {
    match (want.split_first(), said.split_first()) {
        (None, None) => true,
        (Some((first, want)), _) if first == "…" => (0..=said.len()).any(|n| fits(want, &said[n..])),
        (Some((first, want)), Some((line, said))) => line_fits(first, line) && fits(want, said),
        (_, _) => false,
    }
}

/// A page's examples, one after the other, with a server of their own.
struct Typist {
    server: Server,
    dir: PathBuf,
    files: usize,
}

impl Typist {
    fn new() -> Typist {
        let kin = Path::new(env!("CARGO_BIN_EXE_kin"));
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", kin.parent().expect("a directory").display());
        let server = Options::new(kin).env("PATH", path).start();
        let dir = server.home().to_path_buf();
        Typist { server, dir, files: 0 }
    }

    fn knows(&mut self, body: &str) {
        self.files += 1;
        std::fs::write(self.server.home().join(format!("page-{}.toml", self.files)), body).expect("writes");
        let said = self.server.command().arg("reload").output().expect("kin starts");
        assert!(said.status.success(), "{body}\n{}", String::from_utf8_lossy(&said.stderr));
    }

    fn goes(&mut self, project: &str, body: &str) {
        self.dir = self.server.home().join(project);
        std::fs::create_dir_all(&self.dir).expect("a directory");
        std::fs::write(self.dir.join("kin.toml"), body).expect("writes");
    }

    fn says(&self, command: &str) -> String {
        let mut sh = Command::new("sh");
        sh.args(["-c", &format!("{{ {command}\n}} 2>&1")]).env_clear().envs(self.server.environment());
        let output = sh.current_dir(&self.dir).stdin(Stdio::null()).output().expect("sh starts");
        let home = self.server.home().to_string_lossy().into_owned();
        String::from_utf8_lossy(&output.stdout).replace(&home, "/home/you")
    }

    /// What is said instead of what stands there; `None`: it is as it stands.
    fn types(&self, body: &str, alike: &Alike) -> Option<String> {
        let (mut now, mut differs) = (String::new(), false);
        for example in format!("\n{}", body.trim_end()).split("\n$ ").skip(1) {
            let (command, want) = example.split_once('\n').unwrap_or((example, ""));
            let said = self.says(command);
            let same = fits(&alike.lines(want), &alike.lines(&said));
            differs |= !same;
            let shown = if same { want } else { said.trim_end() };
            now += &format!("$ {command}\n{shown}{}", if shown.is_empty() { "" } else { "\n" });
        }
        differs.then_some(now)
    }
}

#[test]
fn the_commands_say_what_stands_below_them() {
    let (alike, write) = (Alike::new(), std::env::var_os("BOOK").is_some_and(|word| word == "write"));
    let (mut examples, mut wrong) = (0, Vec::new());
    for name in pages() {
        let mut text = page(&name);
        let all = blocks(&text);
        if !all.iter().any(|block| block.info == "console") {
            continue;
        }
        let (mut typist, mut changes) = (Typist::new(), Vec::new());
        for Block { info, body, span } in all {
            if info == "toml server" {
                typist.knows(&body);
            } else if let Some(project) = info.strip_prefix("toml project ") {
                typist.goes(project, &body);
            } else if info == "console" {
                examples += 1;
                if let Some(said) = typist.types(&body, &alike) {
                    wrong.push(format!("docs/{name}:\n{body}is not\n{said}"));
                    changes.push((span, said));
                }
            }
        }
        if write {
            changes.into_iter().rev().for_each(|(span, said)| text.replace_range(span, &said));
            std::fs::write(root().join("docs").join(&name), text).expect("writes");
        }
        typist.server.shutdown();
    }
    assert!(examples > 8, "{examples}");
    assert!(wrong.is_empty() || write, "{}", wrong.join("\n"));
}

#[test]
fn what_is_alike() {
    let (alike, lines) = (Alike::new(), |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>());
    let said = alike.of("web-3wzkBeJU  running  1081  14:32  1m 19s at 2026-11-21T14:32:48.298Z failed(3)");
    assert_eq!(said, "web-######## running NUMBER TIME LENGTH at TIME failed(3)");
    for (want, said, yes) in [
        ("a…c", "abc", true),
        ("a…c", "abcd", false),
        ("a…", "abcd", true),
        ("…d", "abcd", true),
        ("ab", "abc", false),
        ("…\nx", "1\n2\nx", true),
        ("…\nx", "1\nx\n2", false),
        ("x\n…", "x", true),
        ("", "x", false),
    ] {
        assert_eq!(fits(&lines(want), &lines(said)), yes, "{want:?} {said:?}");
    }
    let found = blocks("a\n```toml x\nb = 1\n```\nc\n```\n```\n");
    assert_eq!((found.len(), found[0].info.as_str(), found[0].body.as_str()), (2, "toml x", "b = 1\n"));
}
