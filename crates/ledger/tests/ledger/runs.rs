//! Runs to write, directories to write them in, and the image that a SIGKILL leaves.

use kin_core::job::Millis;
use kin_core::run::{Nominal, Notes, StopWhy};
use kin_core::{
    Exit, Health, Hold, JobName, LostWhy, Outcome, Run, RunId, RunNo, RunState, SkipWhy, SpawnStep, StopKind, Terms,
    Time, Trigger, UnhealthyWhy,
};
use kin_ledger::{Batch, Change, Durability, Found, Ledger, NewEvent, Stage};
use proptest::prelude::*;
use std::path::Path;

pub(crate) const NOON: Time = Time::from_millis(1_795_176_000_000);
/// The number of a run minted at `NOON`.
pub(crate) const FIRST: u64 = (1_795_176_000_000 - 1_577_836_800_000) * 64;

pub(crate) fn no(n: u64) -> RunNo {
    RunNo::new(FIRST + n).expect("a number")
}

pub(crate) fn job(name: &str) -> JobName {
    JobName::parse(name).expect("a name")
}

/// The n-th run of the day, ended ok.
pub(crate) fn ok(name: &str, n: u64) -> Run {
    let at = NOON.plus(i64::try_from(n).expect("small") * 1_000_000 / 64);
    Run {
        no: no(n),
        job: job(name),
        slot: 0,
        attempt: 1,
        follows: None,
        trigger: Trigger::Manual { by: "uid:1000".into() },
        state: RunState::Ended { outcome: Outcome::Ok },
        exit: Some(Exit::Code(0)),
        pid: Some(300_000 + u32::try_from(n % 100_000).expect("small")),
        created_at: at,
        started_at: Some(at.plus(2_345_678)),
        ended_at: Some(at.plus(1_234_567_890)),
        out_bytes: 1_000 + n % 5_000,
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
        tags: vec!["app".into()],
        tty: false,
        boot: "5c1f4a52-0d5e-4c55-9f0b-1f2f3a4b5c6d+12345".into(),
        terms: Terms::default(),
        health: Health::default(),
        notes: Notes::default(),
    }
}

pub(crate) fn ended(name: &str, n: u64, outcome: Outcome) -> Run {
    Run { state: RunState::Ended { outcome }, ..ok(name, n) }
}

pub(crate) fn failed(name: &str, n: u64) -> Run {
    Run { exit: Some(Exit::Code(3)), ..ended(name, n, Outcome::Failed { code: 3 }) }
}

pub(crate) fn live(name: &str, n: u64, state: RunState) -> Run {
    Run { state, exit: None, ended_at: None, out_bytes: 0, max_rss_bytes: None, cpu_ms: None, ..ok(name, n) }
}

pub(crate) fn event(run: &Run) -> NewEvent {
    NewEvent {
        at: run.ended_at.unwrap_or(run.created_at),
        kind: "run.state".into(),
        run: Some(RunId { job: run.job.clone(), no: run.no }),
        change: Some(Change { from: None, to: Stage::of(&run.state), outcome: run.outcome().cloned(), exit: run.exit }),
        message: None,
    }
}

pub(crate) fn open(dir: &Path) -> Ledger {
    let opened = Ledger::open(dir, NOON).expect("a ledger");
    assert!(matches!(opened.found, Found::Fresh | Found::Good), "{:?}", opened.found);
    opened.ledger
}

pub(crate) fn put(ledger: &mut Ledger, runs: &[Run]) {
    let batch = Batch { runs: runs.iter().collect(), events: runs.iter().map(event).collect(), ..Batch::default() };
    ledger.apply(&batch, Durability::Normal).expect("a commit");
}

/// A directory in memory where there is one: these tests are about what is written, not how fast.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

/// What is on the disk when the process is killed now.
pub(crate) fn killed(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Ok),
        any::<u8>().prop_map(|code| Outcome::Failed { code }),
        any::<u8>().prop_map(|signal| Outcome::Signaled { signal }),
        Just(Outcome::TimedOut),
        Just(Outcome::OomKilled),
        Just(Outcome::Stopped),
        Just(Outcome::Interrupted),
        (prop::sample::select(&SpawnStep::ALL), any::<i32>())
            .prop_map(|(step, errno)| Outcome::SpawnFailed { step, errno }),
        prop::sample::select(vec![
            SkipWhy::Overlap { live: None },
            SkipWhy::Overlap { live: Some(no(u64::from(u32::MAX) + 7)) },
            SkipWhy::LineFull { waiting: 0 },
            SkipWhy::LineFull { waiting: u32::MAX },
            SkipWhy::Disabled,
            SkipWhy::Calendar,
            SkipWhy::Dependency,
            SkipWhy::Loop
        ])
        .prop_map(Outcome::Skipped),
        Just(Outcome::Cancelled),
        prop::sample::select(&[UnhealthyWhy::Sick, UnhealthyWhy::NotReady]).prop_map(Outcome::Unhealthy),
        prop::sample::select(&[LostWhy::Reboot, LostWhy::Unknown, LostWhy::Disowned]).prop_map(Outcome::Lost),
    ]
}

fn state() -> impl Strategy<Value = RunState> {
    let why =
        prop::sample::select(&[StopWhy::Asked, StopWhy::Interrupt, StopWhy::Planned, StopWhy::Sick, StopWhy::NotReady]);
    prop_oneof![
        "\\PC{0,20}".prop_map(|latch| RunState::Held { on: Hold::Latch(latch) }),
        names().prop_map(|jobs| RunState::Held { on: Hold::Needs(jobs) }),
        any::<(i64, u64)>().prop_map(|(at, wait)| RunState::Waiting { until: Time(at), wait: Millis(wait) }),
        Just(RunState::Queued),
        any::<Option<u64>>().prop_map(|generation| RunState::Starting { generation }),
        any::<(bool, bool)>().prop_map(|(unowned, interrupted)| RunState::Running { unowned, interrupted }),
        (why.clone(), any::<bool>()).prop_map(|(why, kill)| RunState::Stopping {
            why,
            kind: if kill { StopKind::Kill } else { StopKind::Ladder }
        }),
        prop::option::of(why).prop_map(|why| RunState::Draining { why }),
        outcome().prop_map(|outcome| RunState::Ended { outcome }),
        outcome().prop_map(|outcome| RunState::Ended { outcome }),
    ]
}

fn names() -> impl Strategy<Value = Vec<JobName>> {
    prop::collection::vec("[a-z_][a-zA-Z0-9_.-]{0,20}".prop_map(|name| job(&name)), 0..4)
}

fn trigger() -> impl Strategy<Value = Trigger> {
    let run = (1..218_340_105_584_895u64).prop_map(|n| RunNo::new(n).expect("in range"));
    prop_oneof![
        "\\PC{0,20}".prop_map(|by| Trigger::Manual { by }),
        (any::<(i64, u64, bool)>(), prop_oneof![Just(0), any::<u64>()])
            .prop_map(|((at, late_ms, late), missed)| Trigger::Schedule { at, late_ms, late, missed }),
        (run.clone(), any::<bool>()).prop_map(|(run, error)| Trigger::Chain { run, error }),
        Just(Trigger::Boot),
        run.clone().prop_map(|run| Trigger::Restart { run }),
        (run, any::<Option<(i64, u64)>>())
            .prop_map(|(run, of)| Trigger::Retry { run, of: of.map(|(at, missed)| Nominal { at, missed }) }),
        "\\PC{0,20}".prop_map(|path| Trigger::Watch { path }),
        Just(Trigger::Dependency),
        "\\PC{0,20}".prop_map(|by| Trigger::Adopt { by }),
    ]
}

fn terms() -> impl Strategy<Value = Terms> {
    let need = prop::collection::btree_map("[a-z]{1,5}", any::<u32>(), 0..3);
    let mutex = prop::collection::vec("\\PC{0,20}", 0..3);
    (any::<(u64, i32, Option<String>, u32)>(), need, mutex, names()).prop_map(
        |((rev, priority, queue, turn), need, mutex, chain)| Terms { rev, priority, queue, need, mutex, turn, chain },
    )
}

fn health() -> impl Strategy<Value = Health> {
    any::<(Option<i64>, Option<i64>, Option<i64>)>().prop_map(|(ready_at, ready_by, healthy_at)| Health {
        ready_at: ready_at.map(Time),
        ready_by: ready_by.map(Time),
        healthy_at: healthy_at.map(Time),
    })
}

fn notes() -> impl Strategy<Value = Notes> {
    let words = (prop::collection::vec("[a-z ]{0,9}", 0..3), prop::option::of("[a-z]{0,9}"));
    (any::<(Option<u16>, Option<u64>, Option<u64>, bool)>(), words).prop_map(
        |((port, read_bytes, write_bytes, leaving), (left_out, status))| Notes {
            port,
            left_out,
            read_bytes,
            write_bytes,
            status,
            leaving,
        },
    )
}

/// Any run that can be, and many that cannot.
pub(crate) fn any_run() -> impl Strategy<Value = Run> {
    let exit = prop_oneof![
        any::<u8>().prop_map(Exit::Code),
        any::<(u8, bool)>().prop_map(|(signal, core)| Exit::Signal { signal, core }),
    ];
    let identity = (1..218_340_105_584_895u64, "[a-z_][a-zA-Z0-9_.-]{0,20}", any::<(u32, u32, bool)>());
    let times = any::<(i64, Option<i64>, Option<i64>)>();
    let counts = any::<(u64, u64, u64, u64, u32, Option<u64>, Option<u64>)>();
    let words = (
        any::<Option<String>>(),
        any::<(u32, String, String)>(),
        prop::collection::vec("\\PC{0,20}", 0..4),
        prop::collection::vec("[a-z]{1,5}", 0..3),
    );
    let of_job = (trigger(), prop_oneof![Just(Terms::default()), terms()], health(), notes());
    (identity, state(), prop::option::of(exit), times, counts, words, any::<(Option<u32>, Option<u64>)>(), of_job)
        .prop_map(
            |(
                (n, name, (slot, attempt, tty)),
                state,
                exit,
                times,
                counts,
                words,
                (pid, timeout_ms),
                (trigger, terms, health, notes),
            )| Run {
                no: RunNo::new(n).expect("in range"),
                job: job(&name),
                slot,
                attempt,
                follows: RunNo::new(n / 2),
                trigger,
                state,
                exit,
                pid,
                created_at: Time(times.0),
                started_at: times.1.map(Time),
                ended_at: times.2.map(Time),
                out_bytes: counts.0,
                err_bytes: counts.1,
                out_dropped: counts.2,
                err_dropped: counts.3,
                max_rss_bytes: counts.5.map(|bytes| bytes >> 1),
                cpu_ms: counts.6,
                left_behind: counts.4,
                group: words.0,
                group_max: words.1.0,
                command: words.2,
                directory: words.1.1,
                timeout_ms,
                tags: words.3,
                tty,
                boot: words.1.2,
                terms,
                health,
                notes,
            },
        )
}
