//! Many lives, and as many broken rules.

use super::host::Ledger;
use super::judge::Judge;
use super::{Mutant, live};
use crate::effect::Effects;
use crate::job::{Job, Program};
use crate::wish::{Granted, JobPlan, Plan, Wish};
use crate::{JobName, Mint, Time, Trigger, World};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;
use std::{env, format, println, vec};

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

/// Seed 509049169, in short: a tick was due by what was defined before the plan that removes its job.
#[test]
fn a_tick_that_was_due_begins_in_the_commit_that_removes_its_job_and_nothing_else_of_it_does() {
    let name = JobName::parse("backup").expect("a name");
    let job = Arc::new(Job::new(name.clone(), Program::Shell("true".into())));
    let mut world = World::load("boot".into(), Mint::after(100), []);
    let mut fx = Effects::default();
    let put = JobPlan::Put { job: job.clone(), rev: 1 };
    world.wish(Time(1), Wish::Plan(Plan { jobs: vec![put], ..Plan::default() }), &mut fx).expect("a plan");
    let wish = Wish::RunJob { job: name.clone(), by: "uid:0".into() };
    let Ok(Granted::Run(mut run)) = world.wish(Time(1), wish, &mut fx) else { panic!("a run") };
    let definitions = Arc::new(BTreeMap::from([((name.clone(), 1), job)]));
    let standings = world.standings().map(|standing| (standing.job.clone(), standing.clone())).collect();
    let before = Ledger { definitions, standings, ..Ledger::default() };
    let mut after = before.clone();
    after.standings.get_mut(&name).expect("it stands").removed = true;
    let judge = Judge::default();
    assert!(judge.begins(&run, &before, &after, 0, true).is_err(), "somebody wanted it, and it is gone");
    run.trigger = Trigger::Schedule { at: 1, late_ms: 0, late: false, missed: 0 };
    assert_eq!(judge.begins(&run, &before, &after, 0, true), Ok(()));
    assert!(judge.begins(&run, &after, &after, 0, true).is_err(), "it was gone before");
}
