//! `cargo xtask machine`: kin lives through what only a whole machine can do: systemd as first process, controllers,
//! reboots, power cuts.
//!
//! Each trial is a fresh disk, booted as often as its script says, and a script in it that says on the serial line what
//! holds and what does not:
//!
//! ```text
//!   ok: WORDS        something held          FAILED: WORDS    it did not
//!   not run: WHY     it cannot be seen here  more: reboots | dies | none    what the machine does next
//! ```

mod boot;
mod cpio;
mod image;

use crate::options::Options;
use crate::step;
use boot::Next;
use image::Base;
use std::time::Instant;

/// What is tried, and on which release of Debian: an older systemd and kernel, and newer ones.
const SUITES: [&str; 2] = ["bookworm", "trixie"];

struct Trial {
    name: &'static str,
    script: &'static str,
}

const TRIALS: [Trial; 5] = [
    Trial { name: "unit", script: include_str!("../machine/unit.sh") },
    Trial { name: "first-command", script: include_str!("../machine/first-command.sh") },
    Trial { name: "limits", script: include_str!("../machine/limits.sh") },
    Trial { name: "reboot", script: include_str!("../machine/reboot.sh") },
    Trial { name: "power-cut", script: include_str!("../machine/power-cut.sh") },
];

/// A machine that is emulated boots in ten seconds, or in a minute where others work.
const BOOTS_MAX: usize = 12;

pub(crate) fn main(words: &[String]) -> Result<(), String> {
    let options = Options::parse(words, &["install", "verbose"], &["suite"])?;
    let suites: Vec<&str> = match options.text("suite") {
        None => SUITES.to_vec(),
        Some(one) => vec![SUITES.into_iter().find(|s| *s == one).ok_or(format!("--suite {}", SUITES.join(" or ")))?],
    };
    let unknown = options.rest.iter().find(|name| !TRIALS.iter().any(|trial| trial.name == **name));
    if let Some(name) = unknown {
        let all: Vec<&str> = TRIALS.iter().map(|trial| trial.name).collect();
        return Err(format!("no such trial: {name}; there are {}", all.join(", ")));
    }
    image::tools(options.has("install"))?;
    let kin = step::build_kin(false, false)?;
    let dir = step::target_dir().join("machine");
    let mut held = 0;
    let mut not_run = 0;
    let mut failures = Vec::new();
    for suite in suites {
        let base = Base::of(suite, &dir)?;
        for trial in &TRIALS {
            if !options.rest.is_empty() && !options.rest.iter().any(|name| name == trial.name) {
                continue;
            }
            let start = Instant::now();
            let place = format!("{suite}, {}", trial.name);
            eprintln!("── {place}");
            let lines = live(&base, &kin, trial, options.has("verbose")).map_err(|why| format!("{place}: {why}"))?;
            let oks = lines.iter().filter(|line| line.starts_with("ok: ")).count();
            let skipped = lines.iter().filter(|line| line.starts_with("not run: ")).count();
            for line in lines.iter().filter(|line| line.starts_with("not run: ") || line.starts_with("FAILED: ")) {
                eprintln!("   {line}");
            }
            failures.extend(lines.iter().filter(|line| line.starts_with("FAILED: ")).map(|l| format!("{place}: {l}")));
            if oks + skipped == 0 {
                failures.push(format!("{place}: nothing was tried"));
            }
            held += oks;
            not_run += skipped;
            eprintln!("   {oks} held, in {:.0} s", start.elapsed().as_secs_f64());
        }
    }
    if failures.is_empty() {
        println!("machine: {held} held, {not_run} not run");
        Ok(())
    } else {
        Err(format!("machine: {held} held, and {} did not:\n{}", failures.len(), failures.join("\n")))
    }
}

/// All boots of one trial: what it said.
fn live(base: &Base, kin: &std::path::Path, trial: &Trial, verbose: bool) -> Result<Vec<String>, String> {
    let disk = base.disk(kin, trial.script)?;
    let mut lines = Vec::new();
    for _ in 0..BOOTS_MAX {
        let said = boot::boot(base, disk.path(), verbose)?;
        lines.extend(said.lines);
        match said.next {
            Next::Reboots | Next::Dies => {}
            Next::Nothing => return Ok(lines),
        }
    }
    Err(format!("it wants to boot more than {BOOTS_MAX} times"))
}
