//! Runs: wishes for them, listings, one run, its end, its signals.

use super::body::{Asked, MaySay, Named, Once, Peer, Said};
use super::convert;
use super::door::Door;
use super::error::{Answer, Failure};
use super::reason;
use super::request::{self, Asker};
use super::slots::Slots;
use super::why::{self, followers};
use crate::clock;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use kin_api::run::{BatchAnswer, BatchItem, BatchRequest, SignalRequest, StopRequest};
use kin_api::why::Why;
use kin_api::{Run, RunList, RunQuery, RunRequest};
use kin_config::signal;
use kin_core::{StopKind, StopWhy};
use kin_ledger::{OutcomeIs, OutcomeKind, Query, Stage, StateIs};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// A wait without a time of its own; and none is longer than the second.
const WAIT: Duration = Duration::from_secs(60);
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// Runs in one batch.
const BATCH_MAX: usize = 1000;
const KEY_MAX: usize = 255;
/// Events that a story is told from.
const STORY: u32 = 200;

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WaitQuery {
    timeout_ms: Option<u64>,
    /// Answer also when it has ended and that cannot be recorded.
    unrecorded: bool,
}

pub async fn submit(
    State(door): State<Arc<Door>>,
    peer: Peer,
    headers: HeaderMap,
    Said(wish): Said<RunRequest>,
) -> Answer<(StatusCode, Json<Run>)> {
    let submit = request::submit(&wish, key(&headers)?, &asker(&door, peer))?;
    let accepted = door.engine.submit(submit).await?;
    let status = if accepted.repeat { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(door.said(&accepted.run))))
}

pub async fn batch(
    State(door): State<Arc<Door>>,
    peer: Peer,
    headers: HeaderMap,
    Said(wishes): Said<BatchRequest>,
) -> Answer<Json<BatchAnswer>> {
    if wishes.runs.len() > BATCH_MAX {
        return Err(Failure::bad(format!("a batch has at most {BATCH_MAX} runs")));
    }
    let (key, asker) = (key(&headers)?, asker(&door, peer));
    let keyed = |i: usize| key.map(|key| format!("{key}#{i}"));
    let submits: Vec<Answer<_>> =
        wishes.runs.iter().enumerate().map(|(i, wish)| request::submit(wish, keyed(i).as_deref(), &asker)).collect();
    let good = submits.iter().filter_map(|submit| submit.as_ref().ok().cloned()).collect();
    let mut answers = door.engine.submit_batch(good).await.into_iter();
    if door.engine.trouble().mending {
        return Err(kin_core::Refusal::Closing.into());
    }
    let mut answer = || answers.next().unwrap_or(Err(kin_core::Refusal::Closing)).map_err(Failure::from);
    let item = |submit: Answer<_>| match submit.and_then(|_| answer()) {
        Ok(accepted) => BatchItem::Run(Box::new(door.said(&accepted.run))),
        Err(failure) => BatchItem::Error(failure.error),
    };
    Ok(Json(BatchAnswer { runs: submits.into_iter().map(item).collect() }))
}

/// Runs whose record is damaged cannot be shown; the header `Kin-Damaged` names them.
pub async fn list(State(door): State<Arc<Door>>, Asked(asked): Asked<RunQuery>) -> Answer<Response> {
    let query = query(&asked)?;
    let page = door.read(move |ledger| Ok(ledger.runs(&query)?)).await?;
    let runs = page.runs.into_iter().map(|run| door.said(&door.newest(run))).collect();
    let runs = door.so_far(runs).await;
    let list = Json(RunList { runs, next: page.next.map(|no| no.to_string()) });
    if let Some(damaged) = page.damaged.first()
        && door.engine.damaged(damaged.to_string()).await
    {
        // The next daemon has them again, as far as they can be had.
        return Err(kin_core::Refusal::Closing.into());
    }
    let damaged: Vec<String> = page.damaged.iter().map(|damaged| damaged.no.to_string()).collect();
    if damaged.is_empty() {
        return Ok(list.into_response());
    }
    Ok(([("kin-damaged", damaged.join(","))], list).into_response())
}

pub async fn show(State(door): State<Arc<Door>>, named: Named) -> Answer<Json<Run>> {
    Ok(Json(door.one_so_far(door.said(&door.run(&named).await?)).await))
}

pub async fn why(State(door): State<Arc<Door>>, named: Named) -> Answer<Json<Why>> {
    let run = door.run(&named).await?;
    let (no, logs, run_dir) = (run.no, door.logs(&run), door.about.run.clone());
    let said = door.said(&run);
    let (reasons, outlook) = if run.is_defined() { door.engine.why(&run).await? } else { Default::default() };
    let not_recorded = said.not_recorded.clone();
    let making = run.is_being_made().then(|| door.engine.makers().progress_of(&run.id()));
    let (run, facts) = door
        .read(move |ledger| {
            // A runtime directory that is gone has no slots.
            let slot = Slots::open(&run_dir).ok().and_then(|slots| slots.of(no));
            let (events, live) = (ledger.events_of(no, STORY)?, ledger.live()?.runs);
            let followers = followers::of(ledger, &run, &events, outlook.as_ref())?;
            let (cause, before) = (followers::cause(ledger, &run)?, followers::before(ledger, &run)?);
            let files = logs.files();
            let facts = why::Facts {
                events,
                live,
                cause,
                followers,
                before,
                outlook,
                slot,
                files,
                reasons,
                not_recorded,
                making,
            };
            Ok((run, facts))
        })
        .await?;
    let story = why::story(&run, &facts, clock::now());
    let followers = facts.followers.iter().map(followers::said).collect();
    let reasons = facts.reasons.iter().filter_map(reason::said).collect();
    Ok(Json(Why { run: said, story, reasons, followers, outlook: why::outlook(&run, &facts) }))
}

pub async fn wait(
    State(door): State<Arc<Door>>,
    named: Named,
    Asked(asked): Asked<WaitQuery>,
) -> Answer<(StatusCode, Json<Run>)> {
    let (_, mut ending) = door.run_and_ending(&named).await?;
    let time = asked.timeout_ms.map_or(WAIT, Duration::from_millis).min(WAIT_MAX);
    let recorded = async {
        tokio::select! {
            biased;
            run = ending.wait() => Some(run),
            () = door.engine.until_unrecorded(named.no), if asked.unrecorded => None,
        }
    };
    match tokio::time::timeout(time, recorded).await {
        Ok(Some(run)) => Ok((StatusCode::OK, Json(Run::clone(&run)))),
        Ok(None) | Err(_) => {
            Ok((StatusCode::ACCEPTED, Json(door.one_so_far(door.said(&door.run(&named).await?)).await)))
        }
    }
}

pub async fn stop(
    State(door): State<Arc<Door>>,
    peer: Peer,
    named: Named,
    once: Once,
    MaySay(wish): MaySay<StopRequest>,
) -> Answer<Json<Run>> {
    door.run(&named).await?;
    let kind = if wish.kill { StopKind::Kill } else { StopKind::Ladder };
    let why = if wish.interrupt { StopWhy::Interrupt } else { StopWhy::Asked };
    match door.engine.under(once.saying(&wish)?).stop(named.no, kind, why, peer.words()).await {
        Ok(run) => Ok(Json(door.said(&run))),
        Err(refusal) => Err(door.or_ended(&named, refusal).await),
    }
}

pub async fn disown(State(door): State<Arc<Door>>, peer: Peer, named: Named, once: Once) -> Answer<Json<Run>> {
    door.run(&named).await?;
    match door.engine.under(once.bare()).disown(named.no, peer.words()).await {
        Ok(run) => Ok(Json(door.said(&run))),
        Err(refusal) => Err(door.or_ended(&named, refusal).await),
    }
}

pub async fn signal(
    State(door): State<Arc<Door>>,
    peer: Peer,
    named: Named,
    once: Once,
    Said(wish): Said<SignalRequest>,
) -> Answer<Json<Run>> {
    let number = signal::parse(&wish.signal).map_err(Failure::bad)?;
    door.run(&named).await?;
    match door
        .engine
        .under(once.saying(&wish)?)
        .signal(named.no, number, wish.leader_only, wish.interrupt, peer.words())
        .await
    {
        Ok(run) => Ok(Json(door.said(&run))),
        Err(refusal) => Err(door.or_ended(&named, refusal).await),
    }
}

fn asker(door: &Door, peer: Peer) -> Asker {
    Asker { by: peer.words(), files_soft: door.about.files_soft }
}

pub(super) fn key(headers: &HeaderMap) -> Answer<Option<&str>> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| !key.is_empty() && key.len() <= KEY_MAX);
    let bad = || Failure::bad(format!("an idempotency key has 1 to {KEY_MAX} plain characters"));
    key.map(Some).ok_or_else(bad)
}

fn query(asked: &RunQuery) -> Answer<Query> {
    let time = |name: &str, text: &Option<String>| match text.as_deref().map(|t| (t, convert::parse_time(t))) {
        Some((text, None)) => Err(Failure::bad(format!("{name}: {text:?} is not a time as RFC 3339 writes it"))),
        Some((_, at)) => Ok(at),
        None => Ok(None),
    };
    let state = |word: &str| match word {
        "live" => Ok(StateIs::Live),
        "ended" => Ok(StateIs::Ended),
        word => Stage::parse(word).map(StateIs::Stage).ok_or_else(|| Failure::bad(format!("no state {word:?}"))),
    };
    let outcome = |word: &str| match word {
        "failure" => Ok(OutcomeIs::Failure),
        word => {
            OutcomeKind::parse(word).map(OutcomeIs::Kind).ok_or_else(|| Failure::bad(format!("no outcome {word:?}")))
        }
    };
    Ok(Query {
        job: asked.job.clone(),
        state: asked.state.as_deref().map(state).transpose()?,
        outcome: asked.outcome.as_deref().map(outcome).transpose()?,
        tag: asked.tag.clone(),
        since: time("since", &asked.since)?,
        until: time("until", &asked.until)?,
        limit: asked.limit.unwrap_or(0),
        before: asked.before.clone().map(Named::parse).transpose()?.map(|named| named.no),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_understood_or_refused() {
        let asked = RunQuery {
            state: Some("live".into()),
            outcome: Some("failure".into()),
            since: Some("2026-11-20T00:00:00Z".into()),
            before: Some("a-NeP8nb4q".into()),
            ..RunQuery::default()
        };
        let said = query(&asked).expect("a query");
        assert_eq!((said.state, said.outcome), (Some(StateIs::Live), Some(OutcomeIs::Failure)));
        assert!(said.since.is_some() && said.before.is_some());
        for bad in [
            RunQuery { state: Some("asleep".into()), ..RunQuery::default() },
            RunQuery { outcome: Some("fine".into()), ..RunQuery::default() },
            RunQuery { until: Some("now".into()), ..RunQuery::default() },
        ] {
            assert_eq!(query(&bad).expect_err("refused").status, StatusCode::BAD_REQUEST);
        }
    }
}
