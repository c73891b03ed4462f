//! How big and how fast a ledger of N runs is: `cargo run --release -p kin-ledger --example measure -- 10000000 [DIR]`.

use kin_core::{Exit, JobName, Outcome, Run, RunNo, RunState, Time, Trigger};
use kin_ledger::{Batch, Durability, Ledger, OutcomeIs, OutcomeKind, Query, Reader, Retention, StateIs};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const START_MS: i64 = 1_600_000_000_000;

/// A second apart, a thousand jobs in no order, one in twenty failing, one in 100,000 lost.
fn nth(n: u64) -> Option<Run> {
    let created_at = Time::from_millis(START_MS + 1_000 * i64::try_from(n).ok()?).plus(123_456);
    let minted = u64::try_from(created_at.millis() - 1_577_836_800_000).ok()? * 64;
    let outcome = match n {
        n if n % 100_000 == 77 => Outcome::TimedOut,
        n if n % 20 == 7 => Outcome::Failed { code: 3 },
        _ => Outcome::Ok,
    };
    let exit = if outcome == Outcome::Ok { 0 } else { 3 };
    let tag = if n % 1_000 == 5 { "rare" } else { "app" };
    Some(Run {
        no: RunNo::new(minted)?,
        job: JobName::parse(&format!("job-{}", n.wrapping_mul(2_654_435_761) % 1_000)).ok()?,
        slot: 0,
        attempt: 1,
        follows: None,
        trigger: Trigger::Manual { by: "uid:1000".into() },
        state: RunState::Ended { outcome },
        exit: Some(Exit::Code(exit)),
        pid: Some(300_000 + u32::try_from(n % 100_000).ok()?),
        created_at,
        started_at: Some(created_at.plus(2_345_678)),
        ended_at: Some(created_at.plus(1_234_567_890 + i64::try_from(n % 1_000_000).ok()?)),
        out_bytes: 50 + n % 5_000,
        err_bytes: 0,
        out_dropped: 0,
        err_dropped: 0,
        max_rss_bytes: Some(1024 * (3_000 + n % 1_000)),
        cpu_ms: Some(n % 100),
        left_behind: 0,
        group: None,
        group_max: 1,
        command: vec!["/usr/bin/backup".into(), "--all".into()],
        directory: "/srv/app".into(),
        timeout_ms: Some(60_000),
        tags: vec![tag.into()],
        tty: false,
        boot: "5c1f4a52-0d5e-4c55-9f0b-1f2f3a4b5c6d+12345".into(),
        terms: kin_core::Terms::default(),
        health: kin_core::Health::default(),
        notes: kin_core::run::Notes::default(),
    })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let runs: u64 = args.next().map_or(Ok(200_000), |n| n.parse())?;
    let dir = args.next().map_or_else(|| std::env::temp_dir().join(format!("kin-measure-{runs}")), PathBuf::from);
    let now = Time::from_millis(START_MS);
    if !dir.join("kin.db").exists() {
        let mut ledger = Ledger::open(&dir, now)?.ledger;
        let begun = Instant::now();
        ledger.bulk_insert((0..runs).map_while(nth))?;
        ledger.close()?;
        println!("fill              {:.0} runs/s", runs as f64 / begun.elapsed().as_secs_f64());
    }
    let bytes = std::fs::metadata(dir.join("kin.db"))?.len();
    println!("size              {:.2} bytes/run, {bytes} in all", bytes as f64 / runs as f64);

    let begun = Instant::now();
    let opened = Ledger::open(&dir, now)?;
    println!("open              {:?} ({:?})", begun.elapsed(), opened.found);
    let mut ledger = opened.ledger;

    let query = Query::default();
    let middle = nth(runs / 2).map(|run| run.no);
    let at = |n: u64| nth(n).map(|run| run.created_at);
    let listings = [
        ("all", query.clone()),
        ("a job", Query { job: Some("job-7".into()), ..query.clone() }),
        ("failures", Query { outcome: Some(OutcomeIs::Failure), ..query.clone() }),
        ("job's failures", Query { job: Some("job-7".into()), outcome: Some(OutcomeIs::Failure), ..query.clone() }),
        ("timed out", Query { outcome: Some(OutcomeIs::Kind(OutcomeKind::TimedOut)), ..query.clone() }),
        ("living", Query { state: Some(StateIs::Live), ..query.clone() }),
        ("111 jobs", Query { job: Some("job-7*".into()), ..query.clone() }),
        ("900 jobs", Query { job: Some("job-[^7]*".into()), ..query.clone() }),
        ("middle", Query { before: middle, ..query.clone() }),
        ("an hour", Query { since: at(runs / 3), until: at(runs / 3 + 3600), ..query.clone() }),
        ("a rare tag", Query { tag: Some("rare".into()), ..query.clone() }),
        ("job, rare tag", Query { job: Some("job-7".into()), tag: Some("rare".into()), ..query }),
    ];
    for (name, query) in listings {
        let reader = Reader::open(&dir)?;
        let begun = Instant::now();
        let found = reader.runs(&query)?.runs.len();
        let first = begun.elapsed();
        let warm = (0..21)
            .map(|_| {
                let begun = Instant::now();
                reader.runs(&query).map(|_| begun.elapsed())
            })
            .collect::<Result<Vec<_>, _>>()?;
        println!("{name:17} {found:3} runs, first {first:?}, warm {:?}", median(warm));
    }
    let reader = Reader::open(&dir)?;
    let begun = Instant::now();
    reader.counters()?;
    println!("counters          {:?}", begun.elapsed());

    let mut n = runs;
    for (name, durability) in [("normal", Durability::Normal), ("full", Durability::Full)] {
        for batch in [1, 10, 100] {
            let mut times = Vec::new();
            for _ in 0..51 {
                let new: Vec<Run> = (n..n + batch).map_while(nth).collect();
                n += batch;
                let begun = Instant::now();
                ledger.apply(&Batch { runs: new.iter().collect(), ..Batch::default() }, durability)?;
                times.push(begun.elapsed());
            }
            println!("commit of {batch:3}     {name}: {:?}", median(times));
        }
    }
    let retention = Retention { max_count: Some(0), ..Retention::default() };
    let mut times = Vec::new();
    for _ in 0..21 {
        let begun = Instant::now();
        ledger.sweep(&retention, now, 1_000)?;
        times.push(begun.elapsed());
    }
    println!("sweep of 1000     median {:?}, longest {:?}", median(times.clone()), times.iter().max());
    let begun = Instant::now();
    let complaints = ledger.quick_check()?;
    println!("quick_check       {:?}, complaints: {complaints:?}", begun.elapsed());
    let begun = Instant::now();
    ledger.backup_to(&dir.join(kin_ledger::BACKUP))?;
    println!("backup            {:?}", begun.elapsed());
    Ok(())
}
