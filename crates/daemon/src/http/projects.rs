//! Projects: the jobs of one file, up and down together.

use super::body::{Once, Peer, Said};
use super::door::Door;
use super::error::{Answer, Failure};
use super::job_state;
use crate::engine::{Gone, ProjectNow};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use kin_api::project::{Down, Project, ProjectList, Up, UpRequest};
use kin_config::set::Form;
use kin_config::{Input, Source, project};
use std::sync::Arc;

pub async fn list(State(door): State<Arc<Door>>) -> Answer<Json<ProjectList>> {
    let projects = door.engine.projects().await?.into_iter().map(project).collect();
    Ok(Json(ProjectList { projects }))
}

pub async fn up(State(door): State<Arc<Door>>, peer: Peer, Said(wish): Said<UpRequest>) -> Answer<Json<Up>> {
    let source = Source::new(std::path::Path::new(&wish.path), wish.text);
    let input = Input { source, rank: 0, form: Form::Written, mistakes: Vec::new() };
    let read = project::read(input, wish.name.as_deref()).map_err(|report| {
        let failure = Failure::bad(format!("{} has {}", wish.path, report.sum()));
        failure.with_status(StatusCode::UNPROCESSABLE_ENTITY).with_hint(report.text(false).trim_end())
    })?;
    let read = Arc::new(read);
    let done = door.engine.project_up(Arc::clone(&read), wish.plan, peer.words()).await?;
    Ok(Json(Up {
        project: read.name.clone(),
        path: wish.path,
        applied: done.applied,
        steps: done.steps.iter().map(job_state::step).collect(),
        mistakes: job_state::mistakes(&read.report),
    }))
}

pub async fn down(
    State(door): State<Arc<Door>>,
    peer: Peer,
    Path(name): Path<String>,
    once: Once,
) -> Answer<Json<Down>> {
    let Gone { path, runs } = door.engine.under(once.bare()).project_down(name.clone(), peer.words()).await?;
    Ok(Json(Down { project: name, path, runs: runs.iter().map(|run| door.said(run)).collect() }))
}

fn project(now: ProjectNow) -> Project {
    let ProjectNow { name, path, jobs, queues, latches } = now;
    Project { name, path, jobs: jobs.iter().map(ToString::to_string).collect(), queues, latches }
}
