//! The server itself: who it is, and its end.

use super::body::{MaySay, Peer, Said};
use super::door::Door;
use super::error::{Answer, Failure};
use super::{convert, doctor, upgrade};
use crate::engine::{JobNow, Progress};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kin_api::server::{Doctor, Server, ShutdownAnswer, ShutdownRequest, UpgradeRequest};
use kin_core::{Reason, RunId};
use kin_keeper::wire::Guard;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);
/// Whoever waits so long for an answer may wait for ever.
const HANGS: Duration = Duration::from_secs(1);

pub async fn show(State(door): State<Arc<Door>>) -> Answer<Json<Server>> {
    let live_runs = door.read(|ledger| Ok(ledger.counters()?.live)).await?;
    let (about, chain) = (&door.about, door.engine.chain());
    Ok(Json(Server {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        state_dir: about.state.display().to_string(),
        run_dir: about.run.display().to_string(),
        started_at: convert::time(about.started_at),
        boot: about.boot.clone(),
        guard: guard_word(chain.guard).into(),
        durability: about.durability.into(),
        elder_pid: chain.elder.and_then(|link| link.pid),
        keeper_pid: chain.keeper.and_then(|link| link.pid),
        front_pid: chain.front,
        live_runs,
        ledger: about.ledger.clone(),
        upgrade: match chain.upgrade {
            Progress::None => None,
            Progress::UnderWay => Some("under way".into()),
            Progress::GivenUp(left) => Some(format!("given up: {}", left.words())),
        },
    }))
}

pub async fn doctor(State(door): State<Arc<Door>>) -> Answer<Json<Doctor>> {
    let counters = door.read(|ledger| Ok(ledger.counters()?)).await;
    if door.engine.trouble().mending {
        // The next daemon says how the ledger is.
        return Err(counters.err().unwrap_or_else(|| Failure::internal("the ledger is being mended")));
    }
    // What cannot be read is said by the counters' check.
    let live = door.read(|ledger| Ok(ledger.live()?.runs)).await.unwrap_or_default();
    let (engine, about) = (&door.engine, door.about.clone());
    // In its first moment a server has not heard from its keepers yet; that is no failure of theirs.
    let mut chain = engine.watch_chain();
    if tokio::time::timeout(PATIENCE, chain.wait_for(|chain| chain.settled)).await.is_err() {
        // Then the checks say what is.
    }
    let (chain, journal, trouble) = (engine.chain(), engine.journal_trouble(), engine.trouble());
    let untimed = |now: JobNow| {
        let why =
            now.why.into_iter().find_map(|why| if let Reason::Untimed { why, .. } = why { Some(why) } else { None });
        Some((now.standing.job, why?))
    };
    // An engine that is busy for long keeps nobody from the other checks.
    let jobs = tokio::time::timeout(PATIENCE, engine.jobs(None)).await.ok().and_then(Result::ok).unwrap_or_default();
    let back = |now: &JobNow| Some((now.standing.job.clone(), now.standing.failed?, now.standing.rev));
    let went_back = jobs.iter().filter_map(back).collect();
    let untimed = jobs.into_iter().filter_map(untimed).collect();
    let hanging = engine.makers().hanging(HANGS);
    let said = doctor::Said { chain, counters, live, journal, trouble, untimed, went_back, hanging };
    let looked = tokio::task::spawn_blocking(move || doctor::examine(&about, said)).await;
    looked.map(Json).map_err(|_| Failure::internal("the examination broke off"))
}

pub async fn shutdown(
    State(door): State<Arc<Door>>,
    peer: Peer,
    MaySay(wish): MaySay<ShutdownRequest>,
) -> Answer<Json<ShutdownAnswer>> {
    // Only who says so has what jobs have not started cancelled; the end of a machine, or of a service, does not.
    let (stop_runs, cancel) = match wish.runs.as_deref() {
        None => (door.about.stops_on_exit, false),
        Some("leave") => (false, false),
        Some("stop") => (true, true),
        Some("halt") => (true, false),
        Some(other) => {
            let why = format!("runs are left or stopped: `leave`, `stop` or `halt`, not {other:?}");
            return Err(Failure::bad(why));
        }
    };
    let farewell = door.engine.shutdown(stop_runs, cancel, peer.words()).await?;
    let ids = |runs: &[RunId]| runs.iter().map(ToString::to_string).collect();
    let (left, stopping, waiting) = (ids(&farewell.left), ids(&farewell.stopping), ids(&farewell.waiting));
    let cancelled = ids(&farewell.cancelled);
    let not_recorded = door.engine.trouble().unwritten.map(|unwritten| unwritten.why.clone());
    Ok(Json(ShutdownAnswer { left, stopping, cancelled, waiting, not_recorded }))
}

pub async fn upgrade(
    State(door): State<Arc<Door>>,
    Said(wish): Said<UpgradeRequest>,
) -> Answer<(StatusCode, Json<UpgradeRequest>)> {
    if door.engine.chain().guard == Guard::Degraded {
        return Err(kin_core::Refusal::Degraded.into());
    }
    let program = upgrade::prepare(wish.program.clone().into(), door.about.run.clone()).await?;
    door.engine.upgrade(program).await?;
    Ok((StatusCode::ACCEPTED, Json(wish)))
}

pub const fn guard_word(guard: Guard) -> &'static str {
    match guard {
        Guard::Whole => "whole",
        Guard::Degraded => "degraded",
    }
}
