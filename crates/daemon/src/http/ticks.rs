//! Ticks: what was decided of those that came, which are to come, and what a schedule does.

use super::body::Asked;
use super::door::Door;
use super::error::{Answer, Failure};
use super::{convert, glob};
use crate::clock;
use crate::engine::{TimedNow, Timetable};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kin_api::schedule::{Dst, Explanation, local};
use kin_api::tick::{Due, DueList, DueQuery, ExplainQuery, Moved, Tick, TickList, TickQuery};
use kin_api::zones::Zones;
use kin_api::{Schedule, Zone};
use kin_core::{Coming, Decided, Decision, RunId, RunNo, Time};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

const LIMIT: u32 = 50;
const LIMIT_MAX: u32 = 10_000;
const COUNT: u16 = 5;
const COUNT_MAX: u16 = 1000;

pub async fn list(State(door): State<Arc<Door>>, Asked(asked): Asked<TickQuery>) -> Answer<Json<TickList>> {
    let limit = asked.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    let query = kin_ledger::TickQuery { job: asked.job, before: asked.before, limit };
    let page = door.read(move |ledger| Ok(ledger.ticks(&query)?)).await?;
    Ok(Json(TickList { ticks: page.ticks.iter().map(tick).collect(), next: page.next }))
}

fn tick(decided: &Decided) -> Tick {
    let nominal = instant(decided.tick.at);
    let bare = Tick {
        job: decided.tick.job.to_string(),
        at: convert::time(nominal),
        decided_at: convert::time(decided.decided_at),
        late_ms: u64::try_from(decided.decided_at.millis().saturating_sub(nominal.millis())).unwrap_or(0),
        decision: String::new(),
        run: None,
        live: None,
        waiting: None,
        by: None,
        missed: None,
        until: None,
        moved: decided.moved.as_ref().map(moved),
    };
    let id = |no: RunNo| Some(RunId { job: decided.tick.job.clone(), no }.to_string());
    let is = |word: &str| Tick { decision: word.into(), ..bare };
    match &decided.decision {
        Decision::Run { run } => Tick { run: id(*run), ..is("run") },
        Decision::CaughtUp { run, missed } => Tick { run: id(*run), missed: Some(*missed), ..is("caught-up") },
        Decision::SkippedOverlap { run, live } => {
            Tick { run: id(*run), live: live.and_then(id), ..is("skipped-overlap") }
        }
        Decision::SkippedLineFull { run, waiting } => {
            Tick { run: id(*run), waiting: Some(*waiting), ..is("skipped-line-full") }
        }
        Decision::SkippedDisabled { run } => Tick { run: run.and_then(id), ..is("skipped-disabled") },
        Decision::Suppressed { by } => Tick { by: Some(by.clone()), ..is("suppressed") },
        Decision::Paused => is("paused"),
        Decision::Missed { count, until } => {
            Tick { missed: Some(*count), until: Some(convert::time(instant(*until))), ..is("missed") }
        }
    }
}

fn moved(of: &kin_core::Moved) -> Moved {
    Moved { from: of.from.to_string(), count: of.count, calendar: of.by.clone() }
}

fn instant(seconds: i64) -> Time {
    Time(seconds.saturating_mul(1_000_000_000))
}

pub async fn next(State(door): State<Arc<Door>>, Asked(asked): Asked<DueQuery>) -> Answer<Json<DueList>> {
    let mut jobs = door.engine.timetable().await?.jobs;
    let stale = door.engine.stale_files().await?;
    let stale_files = stale.iter().map(|path| path.display().to_string()).collect();
    jobs.retain(|now| asked.job.as_deref().is_none_or(|pattern| is_meant(pattern, now)));
    let limit = asked.limit.unwrap_or(LIMIT).min(LIMIT_MAX) as usize;
    let now = clock::now();
    let end =
        asked.within_ms.map(|within| now.plus(i64::try_from(within).unwrap_or(i64::MAX).saturating_mul(1_000_000)));
    // Ten thousand schedules are a while's work, and not the engine's.
    let work = move || {
        let mut due = coming(&jobs, now.0.div_euclid(1_000_000_000), end.map_or(i64::MAX, |end| end.0), limit + 1);
        let more = due.len() > limit;
        due.truncate(limit);
        DueList { due, more, stale_files }
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map(Json).map_err(|_| Failure::internal("reckoning the coming instants broke off"))
}

fn is_meant(pattern: &str, now: &TimedNow) -> bool {
    match pattern.strip_prefix('@') {
        Some(tag) => now.tags.iter().any(|has| has == tag),
        None => glob::fits(pattern, now.job.as_str()),
    }
}

/// Of all jobs together, in order. Each job's next one is known; the nearest of them is taken, and replaced by what comes
/// after it.
fn coming(jobs: &[TimedNow], after: i64, end_ns: i64, most: usize) -> Vec<Due> {
    let next = |job: usize, after: i64| {
        let coming = jobs[job].timed.coming(after, 1).pop()?;
        (coming.at.saturating_mul(1_000_000_000) <= end_ns).then_some((coming.at, job, coming))
    };
    let first = (0..jobs.len()).filter_map(|job| next(job, after.max(jobs[job].decided)));
    let (mut order, mut waiting): (BinaryHeap<_>, Vec<Option<Coming>>) = (BinaryHeap::new(), vec![None; jobs.len()]);
    for (at, job, coming) in first {
        order.push(Reverse((at, job)));
        waiting[job] = Some(coming);
    }
    let mut due = Vec::new();
    while due.len() < most
        && let Some(Reverse((at, job))) = order.pop()
    {
        due.extend(waiting[job].take().and_then(|coming| said(&jobs[job], &coming)));
        if let Some((at, job, coming)) = next(job, at) {
            order.push(Reverse((at, job)));
            waiting[job] = Some(coming);
        }
    }
    due
}

fn said(now: &TimedNow, coming: &Coming) -> Option<Due> {
    let (schedule, zone) = now.timed.part(coming.schedule)?;
    let tick = kin_core::schedule::Tick { at: coming.at, due: coming.due, how: coming.how };
    Some(Due {
        job: now.job.to_string(),
        at: convert::time(instant(coming.at)),
        local: local(coming.at, zone),
        timezone: zone.name().into(),
        schedule: schedule.text().into(),
        begins_at: convert::time(instant(coming.at).plus(coming.jitter.ns())),
        random: now.timed.is_random(),
        note: schedule.note(&tick, zone),
        calendar: coming.closed.clone(),
        moved: coming.moved.as_ref().map(moved),
        disabled: now.disabled,
        paused: coming.at < now.paused,
    })
}

pub async fn explain(State(door): State<Arc<Door>>, Asked(asked): Asked<ExplainQuery>) -> Answer<Json<Explanation>> {
    let table = door.engine.timetable().await?;
    let work = move || explanation(&asked, &table);
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Failure::internal("it broke off"))).map(Json)
}

fn explanation(asked: &ExplainQuery, table: &Timetable) -> Answer<Explanation> {
    let count = usize::from(asked.count.unwrap_or(COUNT).min(COUNT_MAX));
    let now = clock::now().0.div_euclid(1_000_000_000);
    let parts: Vec<(Schedule, Zone)> = match (&asked.expression, &asked.job) {
        (Some(expression), job) => {
            let dst = asked.dst.as_deref().map_or(Some(Dst::default()), Dst::parse);
            let dst = dst.ok_or_else(|| Failure::bad("`dst` is once, skip or both"))?;
            let wrong = |why: String| Failure::bad(why).with_status(StatusCode::UNPROCESSABLE_ENTITY);
            let schedule = Schedule::parse(expression, job.as_deref().unwrap_or_default(), dst);
            let schedule = schedule.map_err(|problems| wrong(problems.to_string()))?;
            let zones = Zones::of_process();
            let name = schedule.zone().or(asked.timezone.as_deref()).or(table.timezone.as_deref());
            let zone = name.map_or_else(|| zones.local(), |name| zones.load(name)).map_err(|e| wrong(e.to_string()))?;
            vec![(schedule, zone)]
        }
        (None, Some(name)) => {
            let job = table.jobs.iter().find(|now| now.job.as_str() == name).ok_or_else(|| {
                let failure = Failure::new(kin_api::Code::NotFound, format!("no job {name:?} has a schedule"));
                failure.with_hint("`kin list` shows the jobs; `kin next` those that are due")
            })?;
            job.timed.parts().map(|(schedule, zone)| (schedule.clone(), zone.clone())).collect()
        }
        (None, None) => return Err(Failure::bad("say an `expression`, or a `job`")),
    };
    Ok(Explanation::of(&parts, now, count))
}
