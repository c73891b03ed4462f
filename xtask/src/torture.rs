//! `cargo xtask torture`: the words of the command line for `testkit::torture`.

use crate::options::Options;
use crate::step;
use std::time::Duration;
use testkit::Role;
use testkit::rng::Rng;
use testkit::torture::{self, story, ticks};

pub(crate) fn main(words: &[String]) -> Result<(), String> {
    let options = Options::parse(
        words,
        &["pairs", "no-pidfd-info", "release", "story", "ticks"],
        &["kills", "victims", "jobs", "seed", "minutes", "faults", "with"],
    )?;
    let victims = options.text("victims").unwrap_or("front,elder,keeper,daemon");
    let victims: Vec<Role> = victims
        .split(',')
        .map(|word| Role::parse(word).ok_or_else(|| format!("no such victim: {word}")))
        .collect::<Result<_, _>>()?;
    let kin = step::build_kin(options.has("release"), true)?;
    if options.has("story") {
        let told = story::run(&kin, story::Size::FULL);
        println!("story: {told} true stories, the daemon killed {} times", story::Size::FULL.kills);
        return Ok(());
    }
    let seed = match options.text("seed") {
        Some(_) => options.number("seed", 0)?,
        None => Rng::fresh_seed() % 1_000_000_000,
    };
    if options.has("ticks") {
        println!("{}", ticks::run(&kin, options.number("kills", 200)?, seed));
        return Ok(());
    }
    let pairs = options.has("pairs");
    if pairs && victims.len() < 2 {
        return Err("--pairs needs two victims or more".into());
    }
    let with_jobs = match options.text("with") {
        None => false,
        Some("jobs") if pairs || options.has("no-pidfd-info") => {
            return Err("--with jobs goes with single kills, on a kernel that tells exits".into());
        }
        Some("jobs") => true,
        Some(other) => return Err(format!("--with {other}: there is --with jobs")),
    };
    eprintln!("torture: seed {seed}");
    let minutes = options.text("minutes").map(|_| options.number("minutes", 0)).transpose()?;
    let report = torture::run(&torture::Options {
        victims,
        jobs: options.number("jobs", 8)?.max(1),
        pairs,
        faults_percent: options.number("faults", 20)?.min(100),
        with_jobs,
        no_pidfd_info: options.has("no-pidfd-info"),
        at_most: minutes.map(|m| Duration::from_secs(60 * m)),
        talk: true,
        ..torture::Options::new(kin, options.number("kills", 5000)?, seed)
    })
    .map_err(|failure| format!("torture: {failure}"))?;
    print!("{report}");
    println!("torture: everything held; no process and no descriptor was left");
    Ok(())
}
