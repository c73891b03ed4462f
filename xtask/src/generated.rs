//! `cargo xtask gen`: files that are made from the code and checked in, so that a change of them is seen in review.

use crate::options::Options;
use crate::step::root;
use crate::tables;
use std::path::PathBuf;

struct Generated {
    path: &'static str,
    text: fn() -> String,
}

/// Each generated file and what makes it.
const FILES: [Generated; 3] = [
    Generated { path: "crates/api/openapi.json", text: kin_daemon::http::openapi_json },
    Generated { path: tables::PAGE, text: tables::page },
    Generated { path: "docs/job-keys.md", text: kin_config::reference::page },
];

pub(crate) fn main(words: &[String]) -> Result<(), String> {
    if Options::parse(words, &["check"], &[])?.has("check") {
        return check();
    }
    for (path, text) in stale() {
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        println!("{} written", path.display());
    }
    Ok(())
}

pub(crate) fn check() -> Result<(), String> {
    match stale().first() {
        None => Ok(()),
        Some((path, _)) => Err(format!("{} is not what the code says now; run cargo xtask gen", path.display())),
    }
}

fn stale() -> Vec<(PathBuf, String)> {
    let differs = |(path, text): &(PathBuf, String)| std::fs::read_to_string(path).ok().as_ref() != Some(text);
    FILES.iter().map(|file| (root().join(file.path), (file.text)())).filter(differs).collect()
}
