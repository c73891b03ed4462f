//! Jobs: what is defined, how it stands, and what is wished of it.

use super::body::{Asked, MaySay, OfJob, Once, Peer, Said};
use super::door::Door;
use super::error::{Answer, Failure};
use super::{convert, job_state, reason, runs};
use crate::clock;
use crate::engine::{JobNow, Key, RunJob, not_begun};
use crate::makers::{Errand, Progress};
use crate::surroundings::{self, Asked as AskedFor, Made, Unmakeable, Which};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use kin_api::job::{
    DefineRequest, Definition, Definitions, DisableRequest, DryRun, Job, JobList, JobQuery, JobRunRequest, Reload,
    ReloadRequest, RestartRequest, ScaleRequest,
};
use kin_core::{JobName, Outcome, Refusal, Rehearsal, RunId, RunNo, SkipWhy, Wish};
use kin_ledger::{OutcomeIs, Query, StateIs};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

pub async fn list(State(door): State<Arc<Door>>, Asked(asked): Asked<JobQuery>) -> Answer<Json<JobList>> {
    let mut jobs = door.engine.jobs(None).await?;
    jobs.retain(|now| asked.name.as_deref().is_none_or(|pattern| job_state::is_meant(pattern, now)));
    let stale = door.engine.stale_files().await?;
    let stale_files = stale.iter().map(|path| path.display().to_string()).collect();
    Ok(Json(JobList { jobs: said(&door, jobs).await?, stale_files }))
}

pub async fn show(State(door): State<Arc<Door>>, OfJob(name): OfJob) -> Answer<Json<Job>> {
    one(&door, name).await.map(Json)
}

pub async fn definitions(State(door): State<Arc<Door>>, OfJob(name): OfJob) -> Answer<Json<Definitions>> {
    let job = name.clone();
    let found = door.read(move |ledger| Ok(ledger.revisions(&job)?)).await?;
    if found.is_empty() {
        return Err(Refusal::UnknownJob { job: name }.into());
    }
    Ok(Json(Definitions { definitions: found.into_iter().map(job_state::definition).collect() }))
}

pub async fn define(
    State(door): State<Arc<Door>>,
    peer: Peer,
    OfJob(name): OfJob,
    once: Once,
    Said(wish): Said<DefineRequest>,
) -> Answer<Json<Job>> {
    let job = kin_config::set::job_of_text(name.as_str(), &wish.text).map_err(|report| {
        let failure = Failure::bad(format!("the definition of {name} has {}", report.sum()));
        failure.with_status(StatusCode::UNPROCESSABLE_ENTITY).with_hint(report.text(false).trim_end())
    })?;
    door.engine.under(once.saying(&wish)?).define(job, peer.words()).await?;
    one(&door, name).await.map(Json)
}

pub async fn remove(
    State(door): State<Arc<Door>>,
    peer: Peer,
    OfJob(name): OfJob,
    once: Once,
) -> Answer<Json<Definition>> {
    door.engine.under(once.bare()).undefine(name.clone(), peer.words()).await?;
    let job = name.clone();
    let newest = door.read(move |ledger| Ok(ledger.revisions(&job)?.into_iter().next())).await?;
    newest.map(job_state::definition).map(Json).ok_or_else(|| Refusal::UnknownJob { job: name }.into())
}

pub async fn run(
    State(door): State<Arc<Door>>,
    peer: Peer,
    headers: HeaderMap,
    OfJob(job): OfJob,
    MaySay(wish): MaySay<JobRunRequest>,
) -> Answer<Response> {
    if wish.dry_run {
        return Ok(Json(dry_run(&door, job, &wish).await?).into_response());
    }
    let key = runs::key(&headers)?.map(|text| Answer::Ok(Key { text: text.into(), content: content(&job, &wish)? }));
    let wish = RunJob { job, by: peer.words(), env: wish.env, key: key.transpose()? };
    let accepted = door.engine.run_job(wish).await?;
    let no = accepted.run.no;
    // What could not be made has ended in the same commit.
    let run = door.read(move |ledger| Ok(ledger.run(no)?)).await?.unwrap_or(accepted.run);
    let status = if accepted.repeat { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(door.said(&run))).into_response())
}

pub async fn start(State(door): State<Arc<Door>>, peer: Peer, OfJob(job): OfJob, once: Once) -> Answer<Json<Job>> {
    after(&door, once.bare(), job.clone(), Wish::Up { job, by: peer.words() }).await
}

pub async fn stop(State(door): State<Arc<Door>>, peer: Peer, OfJob(job): OfJob, once: Once) -> Answer<Json<Job>> {
    door.engine.under(once.bare()).stop_job(job.clone(), peer.words()).await?;
    one(&door, job).await.map(Json)
}

pub async fn restart(
    State(door): State<Arc<Door>>,
    peer: Peer,
    OfJob(job): OfJob,
    once: Once,
    MaySay(wish): MaySay<RestartRequest>,
) -> Answer<Json<Job>> {
    let key = once.saying(&wish)?;
    after(&door, key, job.clone(), Wish::Restart { job, by: peer.words(), rolling: wish.rolling }).await
}

pub async fn scale(
    State(door): State<Arc<Door>>,
    peer: Peer,
    OfJob(job): OfJob,
    once: Once,
    Said(wish): Said<ScaleRequest>,
) -> Answer<Json<Job>> {
    let key = once.saying(&wish)?;
    after(&door, key, job.clone(), Wish::Scale { job, instances: wish.instances, by: peer.words() }).await
}

pub async fn enable(State(door): State<Arc<Door>>, peer: Peer, OfJob(job): OfJob, once: Once) -> Answer<Json<Job>> {
    after(&door, once.bare(), job.clone(), Wish::Enable { job, by: peer.words() }).await
}

pub async fn disable(
    State(door): State<Arc<Door>>,
    OfJob(job): OfJob,
    once: Once,
    MaySay(wish): MaySay<DisableRequest>,
) -> Answer<Json<Job>> {
    let key = once.saying(&wish)?;
    let Some(until) = wish.until else { return after(&door, key, job.clone(), Wish::Disable { job }).await };
    let bad = || Failure::bad(format!("`until` is an instant to come, as 2026-12-24T18:00:00Z, and {until:?} is none"));
    let until = convert::parse_time(&until).filter(|until| *until > clock::now()).ok_or_else(bad)?;
    after(&door, key, job.clone(), Wish::Pause { job, until }).await
}

pub async fn reload(State(door): State<Arc<Door>>, MaySay(wish): MaySay<ReloadRequest>) -> Answer<Json<Reload>> {
    let nowhere = || Failure::internal("nobody reads job files here").with_hint("`server.log` says why");
    let files = door.files.as_ref().ok_or_else(nowhere)?;
    let (reading, done) = files.now(wish.plan).await.ok_or_else(|| Failure::from(Refusal::Closing))?;
    let done = done?;
    let steps = done.steps.iter().map(job_state::step).collect();
    let mut mistakes = job_state::mistakes(&reading.report);
    mistakes.extend(job_state::mistakes(&done.mistakes));
    Ok(Json(Reload { applied: done.applied, steps, mistakes }))
}

/// The job as it stands once the wish is granted.
async fn after(door: &Door, key: Option<Key>, job: JobName, wish: Wish) -> Answer<Json<Job>> {
    door.engine.under(key).wish(wish).await?;
    one(door, job).await.map(Json)
}

async fn one(door: &Door, name: JobName) -> Answer<Job> {
    let now = door.engine.jobs(Some(name.clone())).await?;
    said(door, now).await?.pop().ok_or_else(|| Refusal::UnknownJob { job: name }.into())
}

/// Each with its live runs, and the run that ended last of those that were not skipped or cancelled.
async fn said(door: &Door, jobs: Vec<JobNow>) -> Answer<Vec<Job>> {
    let names: Vec<String> = jobs.iter().map(|now| now.standing.job.to_string()).collect();
    let last = door.read(move |ledger| {
        let began = |job: String| {
            let outcome = Some(OutcomeIs::Began);
            Query { job: Some(job), state: Some(StateIs::Ended), outcome, limit: 1, ..Query::default() }
        };
        names.into_iter().map(|job| Ok(ledger.runs(&began(job))?.runs.pop())).collect::<Answer<Vec<_>>>()
    });
    let one = |(mut now, last): (JobNow, Option<kin_core::Run>)| {
        now.runs.sort_by_key(|run| (run.slot, run.no));
        let runs = now.runs.iter().map(|run| door.said(run)).collect();
        job_state::job(&now, runs, last.as_ref().map(|run| door.said(run)))
    };
    Ok(jobs.into_iter().zip(last.await?).map(one).collect())
}

/// What a run would be: made as a run is made, and thrown away.
async fn dry_run(door: &Door, job: JobName, wish: &JobRunRequest) -> Answer<DryRun> {
    let unknown = || Refusal::UnknownJob { job: job.clone() };
    let now = door.engine.jobs(Some(job.clone())).await?.pop().ok_or_else(unknown)?;
    let (reasons, refused) = match door.engine.rehearse(job.clone()).await {
        Ok(Rehearsal::Runs(reasons)) => (reasons, None),
        Ok(Rehearsal::Ends(outcome)) => (Vec::new(), Some(skipped(&outcome))),
        Err(refusal) => (Vec::new(), Some(refusal.to_string())),
    };
    let id = RunId { job, no: RunNo::LAST };
    let unmakeable = |why: String| Failure::bad(why).with_status(StatusCode::UNPROCESSABLE_ENTITY);
    let text = |bytes: &[u8]| kin_api::run::to_wire(bytes);
    let (made, is_there) = rehearsed(door, &id, Arc::clone(&now.job), wish.env.clone()).await?;
    let made = made.map_err(|why| unmakeable(why.message))?;
    let (spec, left_out) = (made.spec, made.warnings);
    if !is_there {
        let why = format!("it could not be started: its directory {} is not there", text(&spec.directory));
        return Err(unmakeable(why).with_hint("make it, or change `dir`"));
    }
    let name = |entry: &Vec<u8>| text(entry.split(|b| *b == b'=').next().unwrap_or_default());
    Ok(DryRun {
        job: id.job.to_string(),
        rev: now.standing.rev,
        argv: spec.argv.iter().map(|arg| text(arg)).collect(),
        directory: text(&spec.directory),
        env: spec.env.iter().map(name).collect(),
        user: now.job.around.user.clone(),
        waits: reasons.iter().filter_map(reason::words).collect(),
        refused,
        left_out,
    })
}

/// Made by those who make what may take its time, as a run is; and whether its directory is there.
async fn rehearsed(
    door: &Door,
    id: &RunId,
    job: Arc<kin_core::job::Job>,
    env: BTreeMap<String, String>,
) -> Answer<(Result<Made, Unmakeable>, bool)> {
    let (id, server) = (id.clone(), door.about.server.clone());
    let (makers, within) = (door.engine.makers(), door.engine.make_within());
    // Only then there is something to clear away, for which no other may be under way.
    let errand = Errand::Rehearsal { alone: surroundings::leaves_names(&job) };
    if let Some(at) = makers.hangs(errand, &id.job) {
        return Ok((Err(not_begun(&at)), false));
    }
    let (reply, answer) = tokio::sync::oneshot::channel();
    let ticket = makers.send(&id.clone(), errand, move |tell| {
        let (given, base) = (BTreeSet::new(), Path::new("/"));
        let which =
            Which { id: &id, slot: 0, attempt: 1, env: &env, here: None, port: None, given: &given, log_base: base };
        let made = surroundings::make(&job, &which, &server, tell);
        let leaves = surroundings::leaves_names(&job);
        let cleared = if leaves { surroundings::clear(&server.run, id.no) } else { Ok(()) };
        // Whether the job's user may enter it only its start can tell.
        let is_there = made.as_ref().is_ok_and(|made| {
            let dir = OsStr::from_bytes(&made.spec.directory);
            tell(&AskedFor::Directory(dir.into()));
            let dir = std::fs::metadata(dir);
            dir.map_or_else(|e| e.kind() == ErrorKind::PermissionDenied, |meta| meta.is_dir())
        });
        // Whoever asked may have gone.
        drop(reply.send(cleared.map(|()| (made, is_there))));
    });
    let makers = makers.clone();
    // Also when whoever asked has gone, it is given up in time.
    let looked = tokio::spawn(async move {
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(looked)) => looked.map_err(|e| Failure::internal(e.to_string())),
            Ok(Err(_)) => Err(Failure::internal("the rehearsal broke off")),
            Err(_) => {
                let why = match makers.progress(ticket) {
                    Progress::At(at) => at.asked.not_in_time(within),
                    Progress::InLine { behind: Some(at) } => not_begun(&at),
                    Progress::InLine { behind: None } | Progress::Nothing => AskedFor::Nothing.not_in_time(within),
                };
                makers.forget(ticket);
                makers.give_up(ticket);
                Ok((Err(why), false))
            }
        }
    });
    looked.await.map_err(|_| Failure::internal("the rehearsal broke off"))?
}

/// How it would end without a start, said of what would be.
fn skipped(outcome: &Outcome) -> String {
    if *outcome == Outcome::Skipped(SkipWhy::Disabled) {
        return "it would be skipped: its job is disabled".into();
    }
    format!("it would end at once: {outcome}")
}

/// A sum over what was asked for.
fn content(job: &JobName, wish: &JobRunRequest) -> Answer<u64> {
    let json = serde_json::to_vec(&(job.as_str(), wish)).map_err(|e| Failure::internal(e.to_string()))?;
    Ok(json.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)))
}
