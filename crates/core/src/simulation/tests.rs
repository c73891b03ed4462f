//! Many lives, and as many broken rules.

use super::{Mutant, live};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::String;
use std::vec::Vec;
use std::{env, format, println};

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|text| text.parse().ok())
}

/// A panic of the rules is a fault like any other.
fn life(seed: u64, mutant: Option<Mutant>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| live(seed, mutant, false).map(|_| ()))).unwrap_or_else(|_| Err("a panic".into()))
}

#[test]
fn no_world_breaks_a_rule_of_jobs() {
    if let Some(seed) = number("KIN_SIM_JOBS_SEED") {
        live(seed, None, true).expect("a life by the rules");
        return;
    }
    let mut days = 0;
    for seed in 1..=number("KIN_SIM_JOBS_SEEDS").unwrap_or(150) {
        match live(seed, None, false) {
            Ok(told) => days += told.passed / 86_400_000_000_000,
            Err(what) => panic!("seed {seed}: {what}; KIN_SIM_JOBS_SEED={seed} shows its steps"),
        }
    }
    println!("{days} days");
}

/// The judge is no decoration: each of these rules, once broken, is noticed, and the same seed notices it again.
#[test]
fn every_broken_rule_is_noticed() {
    let mut unnoticed = Vec::new();
    for mutant in Mutant::ALL {
        let caught = (1..=1_500).find_map(|seed| Some((seed, life(seed, Some(mutant)).err()?)));
        match caught {
            Some((seed, what)) => {
                println!("{mutant:?}: seed {seed}: {what}");
                assert_eq!(life(seed, Some(mutant)), Err(what), "the seed replays");
            }
            None => unnoticed.push(format!("{mutant:?}")),
        }
    }
    assert!(unnoticed.is_empty(), "nobody noticed {unnoticed:?}");
}
