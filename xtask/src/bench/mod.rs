//! `cargo xtask bench`: what kin costs, as ratios to floors.
//!
//! A floor is the least that could do the same work (`testkit::floor`). It runs in the same minutes as kin, in turn with
//! it, several rounds; each round gives one ratio, and the table shows their median with the least and the greatest. So a
//! slow or a busy machine moves both sides. It fails (with `--gate`) only on ratios and counts, never on a time alone
//! where the target is not one.

mod end_to_end;
mod figure;
mod floors;
mod history;
mod jobs;
mod memory;
mod output;
mod rig;
mod schedules;
mod spawn;
mod time;

use crate::options::Options;
use crate::step;
use figure::Figure;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

/// What every section is given.
pub(crate) struct Bench {
    kin: PathBuf,
    floor: PathBuf,
    rounds: u64,
    /// The long ones too: ten million runs.
    full: bool,
}

type Section = fn(&Bench) -> Vec<Figure>;

const SECTIONS: [(&str, Section); 9] = [
    ("spawn", spawn::run),
    ("end-to-end", end_to_end::run),
    ("output", output::run),
    ("memory", memory::run),
    ("idle", memory::idle),
    ("history", history::run),
    ("schedules", schedules::run),
    ("time", time::run),
    ("jobs", jobs::run),
];

pub(crate) fn main(words: &[String]) -> Result<(), String> {
    let options = Options::parse(words, &["gate", "full", "debug"], &["rounds"])?;
    for wanted in &options.rest {
        if !SECTIONS.iter().any(|(name, _)| name == wanted) {
            return Err(format!("no such section: {wanted}"));
        }
    }
    // To try the bench itself: what it says of a debug build counts for nothing.
    let debug = options.has("debug");
    let kin = step::build_kin(!debug, false)?;
    if cfg!(debug_assertions) && !debug {
        return again_in_release(words);
    }
    let bench = Bench {
        kin,
        floor: step::target_dir().join(if debug { "debug/kin-floor" } else { "release/kin-floor" }),
        rounds: options.number("rounds", 5)?.max(1),
        full: options.has("full"),
    };
    let mut all = Vec::new();
    println!("| | kin: median (min–max) | target | |\n|---|---|---|---|");
    for (name, section) in SECTIONS {
        if options.rest.is_empty() || options.rest.iter().any(|wanted| wanted == name) {
            eprintln!("── {name}");
            println!("| **{name}** | | | |");
            let figures = section(&bench);
            for figure in &figures {
                println!("{figure}");
            }
            all.extend(figures);
        }
    }
    let missed: Vec<&str> = all.iter().filter(|figure| !figure.holds()).map(|figure| figure.name.as_str()).collect();
    println!("\n{} figures, {} of them miss their target.", all.len(), missed.len());
    if options.has("gate") && !missed.is_empty() {
        return Err(format!("missed: {}", missed.join("; ")));
    }
    Ok(())
}

/// What is measured must be built as it is shipped, and so must what measures it.
fn again_in_release(words: &[String]) -> Result<(), String> {
    step::run("build", &mut step::cargo(&["build", "--quiet", "--release", "--package", "xtask"]))?;
    let mut command = std::process::Command::new(step::target_dir().join("release/xtask"));
    Err(command.arg("bench").args(words).exec().to_string())
}
