//! `cargo xtask zones`: the words of the command line for `testkit::almanac`.

use crate::options::Options;
use testkit::almanac::zones::Database;
use testkit::almanac::{Proof, prove};
use testkit::rng::Rng;

pub(crate) fn main(words: &[String]) -> Result<(), String> {
    let options = Options::parse(words, &["all"], &["seed", "expressions", "walks"])?;
    let seed = match options.text("seed") {
        Some(_) => options.number("seed", 0)?,
        None => Rng::fresh_seed() % 1_000_000_000,
    };
    let count = |name: &str, default: u64| -> Result<usize, String> {
        usize::try_from(options.number(name, default)?).map_err(|e| e.to_string())
    };
    let proof = Proof {
        seed,
        expressions: count("expressions", if options.has("all") { 2000 } else { 200 })?,
        full_walks: count("walks", if options.has("all") { 100 } else { 20 })?,
    };
    eprintln!("zones: seed {seed}");
    let report = prove(&Database::of_machine(), proof).map_err(|why| format!("zones: seed {seed}: {why}"))?;
    println!("zones: {report}");
    Ok(())
}
