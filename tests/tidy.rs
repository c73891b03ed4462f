//! The house rules that a compiler does not know: who may import whom, where which words may stand, what the documents
//! promise. Reads files, runs nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every file with that ending that belongs to the repository, relative to its root, sorted.
fn files(ending: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut todo = vec![root()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).expect("a directory").filter_map(Result::ok) {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    todo.push(path);
                }
            } else if name.ends_with(ending) {
                out.push(path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned());
            }
        }
    }
    out.sort();
    out
}

/// Each line of each file, with where it stands.
fn lines(files: &[String]) -> impl Iterator<Item = (String, String)> {
    files.iter().flat_map(|file| {
        let text = read(file);
        let numbered = text.lines().enumerate().map(|(n, line)| (format!("{file}:{}", n + 1), line.to_string()));
        numbered.collect::<Vec<_>>()
    })
}

/// The text between ```arrows and ``` in ARCHITECTURE.md: `from -> to` a line.
fn drawn_arrows() -> BTreeSet<String> {
    let text = read("ARCHITECTURE.md");
    let block = text.split("```arrows\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the arrows");
    block.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect()
}

/// The arrows that the manifests make: dependencies (not those of tests alone) on crates of this workspace.
fn real_arrows() -> BTreeSet<String> {
    let mut arrows = BTreeSet::new();
    for manifest in files("Cargo.toml") {
        let text = read(&manifest);
        let mut section = "";
        let mut from = "";
        let mut found = Vec::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                section = name;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let key = key.trim();
            if section == "package" && key == "name" {
                from = value.trim().trim_matches('"');
            }
            let name = key.split('.').next().unwrap_or_default();
            let ours = name.starts_with("kin-") || name == "kin" || name == "testkit" || name == "xtask";
            if ours && (section == "dependencies" || section == "build-dependencies") {
                found.push(name.to_string());
            }
        }
        arrows.extend(found.into_iter().map(|to| format!("{from} -> {to}")));
    }
    arrows
}

#[test]
fn inv_17_the_arrows_of_the_house_are_those_in_the_architecture() {
    let (drawn, real) = (drawn_arrows(), real_arrows());
    let missing: Vec<_> = real.difference(&drawn).collect();
    assert!(missing.is_empty(), "arrows not in ARCHITECTURE.md: {missing:?}");
    let gone: Vec<_> = drawn.difference(&real).collect();
    assert!(gone.is_empty(), "arrows in ARCHITECTURE.md that no manifest makes: {gone:?}");
}

#[test]
fn inv_18_only_main_becomes_daemon_or_keeper() {
    let face: Vec<String> = files(".rs").into_iter().filter(|f| f.starts_with("src/") && f != "src/main.rs").collect();
    let names = ["kin_daemon", "kin_keeper", "kin_ledger", "kin_core"];
    let found: Vec<_> =
        lines(&face).filter(|(_, line)| names.iter().any(|name| line.contains(name))).map(|(at, _)| at).collect();
    assert!(found.is_empty(), "the face knows the hands: {found:?}");
}

#[test]
fn inv_19_unsafe_stands_in_one_place() {
    let others: Vec<String> = files(".rs").into_iter().filter(|f| !f.starts_with("crates/keeper/src/sys/")).collect();
    let word = ["un", "safe "].concat();
    let found: Vec<_> = lines(&others)
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .filter(|(_, line)| {
            ["{", "fn ", "impl ", "trait ", "extern "].iter().any(|w| line.contains(&format!("{word}{w}")))
        })
        .map(|(at, _)| at)
        .collect();
    assert!(found.is_empty(), "outside crates/keeper/src/sys: {found:?}");
}

#[test]
fn inv_20_sql_stands_in_the_ledger_alone() {
    let others: Vec<String> =
        files(".rs").into_iter().filter(|f| !f.starts_with("crates/ledger/") && f != "tests/tidy.rs").collect();
    let words = ["SELECT ", "INSERT INTO", "DELETE FROM", "CREATE TABLE", "CREATE INDEX", "PRAGMA ", "rusqlite"];
    let found: Vec<_> =
        lines(&others).filter(|(_, line)| words.iter().any(|w| line.contains(w))).map(|(at, _)| at).collect();
    assert!(found.is_empty(), "SQL outside crates/ledger: {found:?}");
}

#[test]
fn every_invariant_has_its_test_and_every_such_test_its_invariant() {
    let text = read("ARCHITECTURE.md");
    let promised: BTreeSet<String> = text
        .split("**INV-")
        .skip(1)
        .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>())
        .collect();
    let tested: BTreeSet<String> = lines(&files(".rs"))
        .filter_map(|(_, line)| {
            let rest = line.trim_start().strip_prefix("fn inv_")?.to_string();
            Some(rest.chars().take_while(char::is_ascii_digit).collect())
        })
        .collect();
    assert_eq!(promised, tested, "left: promised in ARCHITECTURE.md; right: tested");
    assert!(promised.len() > 10);
}

#[test]
fn no_leftovers_and_no_sleeping_tests() {
    let me = "tests/tidy.rs";
    let sources: Vec<String> = files(".rs").into_iter().filter(|f| f != me).collect();
    let words = ["TODO", "FIXME", "XXX", "HACK", "dbg!(", "#[ignore", "unimplemented!(", "todo!("];
    let found: Vec<_> = lines(&sources)
        .filter_map(|(at, line)| Some(format!("{at}: {}", words.iter().find(|w| line.contains(*w))?)))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
    let swallowed: Vec<_> =
        lines(&sources).filter(|(_, line)| line.trim_start().starts_with("let _ =")).map(|(at, _)| at).collect();
    assert!(swallowed.is_empty(), "results that nobody looks at: {swallowed:#?}");
}

/// `println!` and its like end a process that cannot speak: the disk below its log is full, its terminal is gone.
#[test]
fn the_server_never_ends_because_it_cannot_speak() {
    let of_server = ["crates/core/src/", "crates/keeper/src/", "crates/ledger/src/", "crates/daemon/src/"];
    // The simulation is compiled for tests alone.
    let is_test = |file: &String| {
        file.ends_with("/tests.rs") || file.contains("/tests/") || file.contains("/core/src/simulation/")
    };
    let mut found = Vec::new();
    for file in files(".rs").into_iter().filter(|f| of_server.iter().any(|dir| f.starts_with(dir)) && !is_test(f)) {
        let text = read(&file);
        // What stands there is for the tests alone.
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().lines().enumerate();
        let words = ["println!(", "print!("];
        let speaks =
            code.filter(|(_, line)| words.iter().any(|w| line.contains(w)) && !line.trim_start().starts_with("//"));
        found.extend(speaks.map(|(n, _)| format!("{file}:{}", n + 1)));
    }
    assert!(found.is_empty(), "say it with `say!`, or with a write whose failure is looked at: {found:#?}");
}

#[test]
fn banned_libraries_are_not_linked() {
    let lock = read("Cargo.lock");
    let banned = ["chrono", "aws-lc-rs", "aws-lc-sys", "openssl-sys", "figment", "anyhow"];
    let found: Vec<_> = banned.iter().filter(|name| lock.contains(&format!("name = \"{name}\"\n"))).collect();
    assert!(found.is_empty(), "deny.toml says why: {found:?}");
}

/// Relative links of the documents, and what they point at.
#[test]
fn links_in_the_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for file in files(".md") {
        let text = read(&file);
        let dir = root().join(&file).parent().map(Path::to_path_buf).expect("a directory");
        for part in text.split("](").skip(1) {
            let Some(target) = part.split(')').next() else { continue };
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
                continue;
            }
            if !dir.join(path).exists() {
                broken.push(format!("{file}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_source_begins_with_what_it_is() {
    let without: Vec<_> = files(".rs")
        .into_iter()
        .filter(|f| !f.ends_with("build.rs"))
        .filter(|f| !read(f).lines().next().is_some_and(|line| line.starts_with("//!")))
        .collect();
    assert!(without.is_empty(), "no module doc: {without:#?}");
}

/// Not a rule: past 600 lines, read a file aloud once, to find out whether it is a table or a crowd.
#[test]
fn the_ten_longest_files_are_known() {
    let mut lengths: Vec<(usize, String)> = files(".rs").into_iter().map(|f| (read(&f).lines().count(), f)).collect();
    lengths.sort();
    for (count, file) in lengths.iter().rev().take(10) {
        println!("{count:>5} {file}");
    }
    let (longest, file) = lengths.last().expect("a source");
    assert!(*longest < 2000, "{file} has {longest} lines: nobody reads it");
}
