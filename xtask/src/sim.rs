//! `cargo xtask sim`: years of random worlds against the rules of jobs.

use crate::options::Options;
use kin_core::simulation::{Mutant, Told, live};
use std::sync::atomic::{AtomicU64, Ordering};
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
    let end = (years as f64 * NS_A_YEAR) as u64;
    let lives = Lives { first, end, mutant, worlds: AtomicU64::new(0), passed: AtomicU64::new(0) };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (sum, failures) = std::thread::scope(|scope| {
        let at_work: Vec<_> = (0..workers).map(|_| scope.spawn(|| lives.live())).collect();
        let mut sum = Told::default();
        let mut failures = Vec::new();
        for worker in at_work {
            match worker.join().map_err(|_| "a worker fell over".to_string())? {
                Ok(told) => add(&mut sum, &told),
                Err(failure) => failures.push(failure),
            }
        }
        Ok::<_, String>((sum, failures))
    })?;
    if let Some((seed, what)) = failures.into_iter().min() {
        let broken = options.text("mutant").map_or_else(String::new, |mutant| format!(" --mutant {mutant}"));
        return Err(format!(
            "sim: seed {seed}: {what}\n`cargo xtask sim --story --seed {seed}{broken}` shows its steps"
        ));
    }
    let (worlds, passed) = (lives.worlds.load(Ordering::Relaxed), lives.passed.load(Ordering::Relaxed) as f64);
    let Told { runs, commits, deaths, refusals, ticks, .. } = sum;
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "sim: {worlds} worlds, {:.1} years, {runs} runs, {ticks} ticks, {commits} commits, {deaths} deaths, {refusals} refusals in {seconds:.1} s, {:.0} worlds/s: every rule held",
        passed / NS_A_YEAR,
        worlds as f64 / seconds
    );
    Ok(())
}

/// Worlds from a seed on, until so much time has passed in all of them together.
struct Lives {
    first: u64,
    end: u64,
    mutant: Option<Mutant>,
    worlds: AtomicU64,
    passed: AtomicU64,
}

impl Lives {
    /// One after the other; the first that breaks a rule ends it, with its seed.
    fn live(&self) -> Result<Told, (u64, String)> {
        let mut sum = Told::default();
        while self.passed.load(Ordering::Relaxed) < self.end {
            let seed = self.first.wrapping_add(self.worlds.fetch_add(1, Ordering::Relaxed));
            let lived = std::panic::catch_unwind(|| live(seed, self.mutant, false));
            let lived = lived.unwrap_or_else(|_| Err("a panic".into())).map_err(|what| {
                // Nobody needs to begin another.
                self.passed.store(self.end, Ordering::Relaxed);
                (seed, what)
            });
            let told = lived?;
            self.passed.fetch_add(told.passed as u64, Ordering::Relaxed);
            add(&mut sum, &told);
        }
        Ok(sum)
    }
}

fn add(sum: &mut Told, told: &Told) {
    sum.runs += told.runs;
    sum.commits += told.commits;
    sum.deaths += told.deaths;
    sum.refusals += told.refusals;
    sum.ticks += told.ticks;
}

fn find(name: &str) -> Result<Mutant, String> {
    let known = || Mutant::ALL.iter().map(|mutant| format!("{mutant:?}"));
    let found = Mutant::ALL.into_iter().find(|mutant| format!("{mutant:?}") == name);
    found.ok_or_else(|| format!("no such mutant: {name}; there are {}", known().collect::<Vec<_>>().join(", ")))
}
