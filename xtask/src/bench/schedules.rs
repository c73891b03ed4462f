//! What it costs to know when jobs are due.

use super::Bench;
use super::figure::{Figure, Target};
use kin_api::zones::Zones;
use kin_core::schedule::{Dst, Schedule, Zone};
use std::hint::black_box;
use std::time::Instant;
use testkit::rng::Rng;

const JOBS: usize = 10_000;
const COMING: usize = 100;
const LOOKUPS: usize = 1_000_000;
/// 2026-11-21T12:00:00Z.
const NOW: i64 = 1_795_262_400;
const NAMES: [&str; 10] = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Asia/Tokyo",
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "Pacific/Auckland",
    "Antarctica/Troll",
];
const SHAPES: [&str; 12] = [
    "{m} {h} * * *",
    "*/{s} * * * *",
    "{m} {h} * * MON-FRI",
    "{m} {h} 1,15 * *",
    "{m} {h} L * *",
    "{m} {h} LW * *",
    "{m} {h} * * 1#2",
    "{m} */{s} * * *",
    "0 {m} {h} 13 * FRI",
    "calendar: Mon..Fri {h}:{m}",
    "{m} {h} 1 */3 *",
    "@every {m}m",
];

/// Sixty different ones.
fn texts() -> Vec<String> {
    let five = (0..5usize).flat_map(|n| SHAPES.iter().map(move |shape| (n, shape)));
    five.map(|(n, shape)| {
        let (m, h, s) = ((7 + 11 * n).to_string(), (1 + n).to_string(), [5, 7, 10, 13, 20][n].to_string());
        shape.replace("{m}", &m).replace("{h}", &h).replace("{s}", &s)
    })
    .collect()
}

pub(super) fn run(bench: &Bench) -> Vec<Figure> {
    let zones = Zones::of_process();
    let zones: Vec<Zone> = NAMES.iter().map(|name| zones.load(name).expect("a zone")).collect();
    let texts = texts();
    let jobs: Vec<(Schedule, &Zone)> = (0..JOBS)
        .map(|n| {
            let schedule = Schedule::parse(&texts[n % texts.len()], &format!("job{n}"), Dst::Once);
            (schedule.expect("a schedule"), &zones[n / texts.len() % zones.len()])
        })
        .collect();
    let (mut coming, mut last, mut floors) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let start = Instant::now();
        for (schedule, zone) in &jobs {
            black_box(schedule.after(NOW, zone).take(COMING).last());
        }
        coming.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        for (schedule, zone) in &jobs {
            black_box(schedule.last_before(NOW, zone));
        }
        last.push(start.elapsed().as_secs_f64() * 1000.0);
        let mut rng = Rng::new(1);
        let start = Instant::now();
        for n in 0..LOOKUPS {
            black_box(zones[n % zones.len()].wall(rng.between(0, 4_000_000_000) as i64));
        }
        floors.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    let floor = Figure::new("", floors, "ms", Target::None).median();
    vec![
        Figure::new("the next 100 instants of each of 10,000 jobs", coming, "s", Target::AtMost(1.0))
            .beside(format!("a million bare zone look-ups {floor:.0} ms")),
        Figure::new("the last instant of each of 10,000 jobs", last, "ms", Target::None),
    ]
}
