//! Kin's answer next to the walk's.

use super::expression::{Expression, Policy};
use super::walk::{Reading, readings, walk};
use super::zones::{self, Behaviour, Database, FROM, UNTIL};
use crate::rng::Rng;
use kin_core::schedule::{Dst, Schedule, Zone, tzif};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Before and after each change of the clocks.
const AROUND: i64 = 36 * 3600;

#[derive(Clone, Copy, Debug)]
pub struct Proof {
    pub seed: u64,
    /// At each change of each behaviour.
    pub expressions: usize,
    /// Walks from 2020 to the end of 2040.
    pub full_walks: usize,
}

#[derive(Clone, Debug)]
pub struct Report {
    pub proof: Proof,
    pub source: String,
    pub names: usize,
    pub behaviours: usize,
    pub changes: usize,
    pub comparisons: u64,
    pub ticks: u64,
    pub took: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} names of {} in {} behaviours, {} changes from 2020 to 2040: {} expressions around each, {} walks of all 21 years: \
             {} comparisons, {} ticks, all equal; seed {}; {:.1} s",
            self.names,
            self.source,
            self.behaviours,
            self.changes,
            self.proof.expressions,
            self.proof.full_walks,
            self.comparisons,
            self.ticks,
            self.proof.seed,
            self.took.as_secs_f64()
        )
    }
}

struct Case<'a> {
    name: &'a str,
    bytes: &'a [u8],
    windows: Vec<(i64, i64)>,
    expressions: Vec<Expression>,
}

/// Compares, on all processors; the first difference is the error.
pub fn prove(database: &Database, proof: Proof) -> Result<Report, String> {
    let start = Instant::now();
    let groups = database.groups();
    let mut cases = Vec::new();
    for (behaviour, names) in &groups {
        for name in names {
            same_changes(name, &database.zones[*name], behaviour)?;
        }
        let mut rng = Rng::part(proof.seed, cases.len() as u64);
        // Any of the names may stand for the group; each run of another seed takes another.
        let name = *rng.pick(names);
        // A zone that never changes has one window, at its beginning.
        let mut middles: Vec<i64> = behaviour.changes.iter().map(|(at, _)| *at).collect();
        if middles.is_empty() {
            middles.push(FROM + AROUND);
        }
        cases.push(Case {
            name,
            bytes: &database.zones[name],
            windows: middles.iter().map(|at| (at - AROUND, at + AROUND)).collect(),
            expressions: (0..proof.expressions).map(|_| Expression::random(&mut rng)).collect(),
        });
    }
    let mut rng = Rng::part(proof.seed, u64::MAX);
    let changing: Vec<&Vec<&str>> =
        groups.iter().filter(|(b, _)| !b.changes.is_empty()).map(|(_, names)| names).collect();
    for _ in 0..proof.full_walks {
        let names = *rng.pick(&changing);
        let name = *rng.pick(names);
        let expressions = vec![Expression::random(&mut rng)];
        cases.push(Case { name, bytes: &database.zones[name], windows: vec![(FROM, UNTIL - 60)], expressions });
    }
    let (comparisons, ticks) = all(&cases)?;
    Ok(Report {
        proof,
        source: database.source.clone(),
        names: database.zones.len(),
        behaviours: groups.len(),
        changes: groups.keys().map(|behaviour| behaviour.changes.len()).sum(),
        comparisons,
        ticks,
        took: start.elapsed(),
    })
}

fn all(cases: &[Case<'_>]) -> Result<(u64, u64), String> {
    let (next, comparisons, ticks) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let wrong: Mutex<Option<String>> = Mutex::new(None);
    let failed = || wrong.lock().is_ok_and(|wrong| wrong.is_some());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| !failed()) {
                    match compare(case) {
                        Ok((compared, found)) => {
                            comparisons.fetch_add(compared, Ordering::Relaxed);
                            ticks.fetch_add(found, Ordering::Relaxed);
                        }
                        Err(why) => *wrong.lock().expect("nobody panicked") = Some(why),
                    }
                }
            });
        }
    });
    match wrong.into_inner().expect("nobody panicked") {
        Some(why) => Err(why),
        None => Ok((comparisons.into_inner(), ticks.into_inner())),
    }
}

fn compare(case: &Case<'_>) -> Result<(u64, u64), String> {
    let zone = kins(case.name, case.bytes)?;
    let oracle = zones::oracle(case.name, case.bytes);
    let (mut compared, mut ticks) = (0, 0);
    let schedules: Vec<Schedule> = case.expressions.iter().map(kin_reads).collect::<Result<_, _>>()?;
    for (from, until) in &case.windows {
        // Asked for once, where it is asked for many.
        let kept: Option<Vec<Reading>> =
            (case.expressions.len() > 1).then(|| readings(&oracle, *from, *until).collect());
        for (expression, schedule) in case.expressions.iter().zip(&schedules) {
            let slow = match &kept {
                Some(kept) => walk(expression, &oracle, (*from, *until), kept.iter().copied()),
                None => walk(expression, &oracle, (*from, *until), readings(&oracle, *from, *until)),
            };
            let fast = forward(schedule, &zone, *from, *until);
            if fast != slow {
                return Err(difference(case.name, expression, &slow, &fast));
            }
            let back = backward(schedule, &zone, *from, *until);
            if back != slow {
                return Err(format!("backwards: {}", difference(case.name, expression, &slow, &back)));
            }
            compared += 1;
            ticks += slow.len() as u64;
        }
    }
    Ok((compared, ticks))
}

/// One expression at one place, for what lies outside of the years that are walked.
pub fn compare_at(name: &str, bytes: &[u8], expression: &Expression, from: i64, until: i64) -> Result<(), String> {
    let windows = vec![(from, until)];
    compare(&Case { name, bytes, windows, expressions: vec![expression.clone()] }).map(|_| ())
}

pub fn kins(name: &str, bytes: &[u8]) -> Result<Zone, String> {
    tzif::parse(name, bytes).map_err(|why| format!("{name}: {why}"))
}

fn kin_reads(expression: &Expression) -> Result<Schedule, String> {
    let dst = match expression.policy {
        Policy::Once => Dst::Once,
        Policy::Skip => Dst::Skip,
        Policy::Both => Dst::Both,
    };
    Schedule::parse(&expression.text, "walk", dst).map_err(|why| format!("{}: {why}", expression.text))
}

fn forward(schedule: &Schedule, zone: &Zone, from: i64, until: i64) -> Vec<i64> {
    schedule.after(from - 1, zone).map(|tick| tick.at).take_while(|at| *at <= until).collect()
}

fn backward(schedule: &Schedule, zone: &Zone, from: i64, until: i64) -> Vec<i64> {
    let last = |at: i64| schedule.last_before(at, zone).map(|tick| tick.at).filter(|at| *at >= from);
    let mut ticks: Vec<i64> = std::iter::successors(last(until + 1), |at| last(*at)).collect();
    ticks.reverse();
    ticks
}

fn same_changes(name: &str, bytes: &[u8], behaviour: &Behaviour) -> Result<(), String> {
    let zone = kins(name, bytes)?;
    let changes = zone.changes_after(FROM).take_while(|change| change.at < UNTIL);
    let ours =
        Behaviour { first: zone.offset(FROM), changes: changes.map(|change| (change.at, change.after)).collect() };
    if ours == *behaviour { Ok(()) } else { Err(format!("{name}: kin reads {ours:?}, and it is {behaviour:?}")) }
}

fn difference(name: &str, expression: &Expression, slow: &[i64], fast: &[i64]) -> String {
    let at = slow.iter().zip(fast).take_while(|(a, b)| a == b).count();
    let show = |at: Option<&i64>| at.map_or("nothing more".into(), |at| zones::timestamp(*at).to_string());
    format!(
        "{name}: `{}` ({:?}, fixed: {}): after {} ticks the walk has {}, kin {}",
        expression.text,
        expression.policy,
        expression.fixed,
        at,
        show(slow.get(at)),
        show(fast.get(at))
    )
}
