//! Random definitions: a graph of a few jobs with everything that a definition can say to the rules.

use super::dice::Dice;
use crate::JobName;
use crate::job::{
    After, AfterRule, Again, AgainOn, Alive, Backoff, Check, Job, Millis, Need, Overlap, Program, Ready, Restart,
};
use std::collections::{BTreeMap, BTreeSet};
use std::string::ToString;
use std::vec::Vec;
use std::{format, vec};

pub(super) fn name(n: u64) -> JobName {
    JobName::parse(&format!("j{n}")).expect("a name")
}

/// Job `n` of `all`. It needs only jobs before it, so there is no circle.
pub(super) fn any_job(dice: &mut Dice, n: u64, all: u64) -> Job {
    let mut job = Job::new(name(n), Program::Shell(format!("program {}", dice.below(100))));
    let service = dice.one_in(2);
    let life = &mut job.life;
    if service {
        life.restart = if dice.one_in(3) { Restart::OnFailure } else { Restart::Always };
        life.instances = dice.between(1, 3) as u32;
        life.rolling = !dice.one_in(4);
        life.again = Again::restarts();
    } else {
        life.instances = if dice.one_in(4) { 2 } else { 1 };
        life.again = Again::retries();
        life.again.tries = Some(dice.between(1, 4) as u32);
    }
    let again = &mut life.again;
    if dice.one_in(3) {
        again.tries = Some(dice.between(1, 5) as u32);
    }
    again.delay = if dice.one_in(8) { Millis(0) } else { Millis(dice.between(200, 20_000)) };
    again.backoff = if dice.one_in(2) { Backoff::Exponential } else { Backoff::Fixed };
    again.max_delay = Millis(dice.between(1_000, 600_000));
    again.jitter_percent = if dice.one_in(2) { dice.below(100) as u8 } else { 0 };
    again.healthy_after = Millis(dice.between(1_000, 600_000));
    again.on = AgainOn { lost: dice.one_in(2), ..AgainOn::default() };
    if dice.one_in(5) {
        again.on.codes = Some(BTreeSet::from([1]));
    }
    if dice.one_in(4) {
        life.success.insert(2);
    }
    if service && dice.one_in(2) {
        let within = (!dice.one_in(3)).then(|| Millis(dice.between(2_000, 60_000)));
        let by = Check::Tcp { address: "here".into() };
        life.ready = Some(Ready { by, every: Millis(500), look_timeout: Millis(500), within });
    }
    if service && dice.one_in(3) {
        let by = Check::Tcp { address: "here".into() };
        life.alive = Some(Alive { by, every: Millis(500), look_timeout: Millis(500), failures: 3, grace: Millis(0) });
    }
    for other in 0..n {
        if dice.one_in(4) {
            life.needs.push(Need { job: name(other), restart: dice.one_in(2) });
        }
    }
    let gates = &mut job.gates;
    gates.overlap = match dice.below(4) {
        0 => Overlap::Skip,
        1 => Overlap::Queue(dice.between(1, 4) as u32),
        2 => Overlap::Allow,
        _ => Overlap::Replace,
    };
    if dice.one_in(3) {
        gates.mutex = vec![format!("m{}", dice.below(2))];
    }
    if dice.one_in(6) {
        gates.mutex = vec!["m0".into(), "m1".into()];
    }
    if dice.one_in(2) {
        gates.queue = Some("q".into());
        gates.priority = dice.below(3) as i32;
        if dice.one_in(2) {
            gates.need = BTreeMap::from([("slots".to_string(), dice.between(1, 3) as u32)]);
        }
        if dice.one_in(3) {
            gates.need.insert("gpu".into(), dice.between(1, 2) as u32);
        }
    }
    if dice.one_in(6) {
        gates.latch = Some(format!("l{}", dice.below(2)));
    }
    let mut some = |odds: u64| -> Vec<JobName> {
        let chosen: Vec<u64> = (0..all).filter(|_| dice.one_in(odds)).collect();
        chosen.into_iter().map(name).collect()
    };
    job.chain.next = some(6);
    job.chain.error = some(8);
    let after = some(4);
    if !after.is_empty() && dice.one_in(4) {
        let rule = [AfterRule::AllOk, AfterRule::AllDone, AfterRule::Any][dice.below(3) as usize];
        job.chain.after = Some(After { jobs: after, rule });
    }
    job.disabled = dice.one_in(12);
    job
}
