//! Latches: letting go what is held at one.

use super::body::Once;
use super::door::Door;
use super::error::{Answer, Failure, chain};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use kin_api::run::Released;
use std::sync::Arc;

pub async fn release(
    State(door): State<Arc<Door>>,
    latch: Result<Path<String>, PathRejection>,
    once: Once,
) -> Answer<Json<Released>> {
    let Path(latch) = latch.map_err(|e| Failure::bad(chain(&e)))?;
    let runs = door.engine.under(once.bare()).release(latch.clone()).await?;
    Ok(Json(Released { latch, runs: runs.iter().map(ToString::to_string).collect() }))
}
