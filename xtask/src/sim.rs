//! `cargo xtask sim`: years of random worlds against the rules of jobs.

use crate::options::Options;
use kin_core::simulation::{Mutant, Told, live};
use std::time::Instant;
use testkit::rng::Rng;

const NS_A_YEAR: f64 = 365.25 * 86_400e9;

pub(crate) fn main(words: &[String]) -> Result<(), String> {
    let options = Options::parse(words, &["story"], &["seed", "years", "mutant"])?;
    let mutant = match options.text("mutant") {
        None => None,
        Some(name) => Some(find(name)?),
    };
    if options.has("story") {
        let told = live(options.number("seed", 1)?, mutant, true)?;
        println!("sim: a life by the rules: {told:?}");
        return Ok(());
    }
    let first = match options.text("seed") {
        Some(_) => options.number("seed", 0)?,
        None => Rng::fresh_seed() % 1_000_000_000,
    };
    let years = options.number("years", 10)?;
    eprintln!("sim: from seed {first}");
    let began = Instant::now();
    let mut sum = Told::default();
    let mut worlds = 0u64;
    let mut passed = 0.0;
    while passed < years as f64 * NS_A_YEAR {
        let seed = first.wrapping_add(worlds);
        let again = match options.text("mutant") {
            Some(mutant) => format!("--seed {seed} --mutant {mutant}"),
            None => format!("--seed {seed}"),
        };
        let lived = std::panic::catch_unwind(|| live(seed, mutant, false)).map_err(|_| "a panic".to_string());
        let told = lived
            .and_then(|told| told)
            .map_err(|what| format!("sim: seed {seed}: {what}\n`cargo xtask sim --story {again}` shows its steps"))?;
        worlds += 1;
        passed += told.passed as f64;
        sum.runs += told.runs;
        sum.commits += told.commits;
        sum.deaths += told.deaths;
        sum.refusals += told.refusals;
        sum.ticks += told.ticks;
    }
    let Told { runs, commits, deaths, refusals, ticks, .. } = sum;
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "sim: {worlds} worlds, {:.1} years, {runs} runs, {ticks} ticks, {commits} commits, {deaths} deaths, {refusals} refusals in {seconds:.1} s, {:.0} worlds/s: every rule held",
        passed / NS_A_YEAR,
        worlds as f64 / seconds
    );
    Ok(())
}

fn find(name: &str) -> Result<Mutant, String> {
    let known = || Mutant::ALL.iter().map(|mutant| format!("{mutant:?}"));
    let found = Mutant::ALL.into_iter().find(|mutant| format!("{mutant:?}") == name);
    found.ok_or_else(|| format!("no such mutant: {name}; there are {}", known().collect::<Vec<_>>().join(", ")))
}
