//! Queues: what they have, who has it, who waits; pauses and other slots.

use super::body::{Once, Said};
use super::door::Door;
use super::error::{Answer, Failure, chain};
use super::job_state;
use crate::engine::Key;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use kin_api::job::{Queue, QueueList, QueueRequest};
use kin_core::{QueueWish, Wish};
use std::sync::Arc;

pub async fn list(State(door): State<Arc<Door>>) -> Answer<Json<QueueList>> {
    let queues = door.engine.queues().await?.iter().map(job_state::queue).collect();
    Ok(Json(QueueList { queues }))
}

pub async fn change(
    State(door): State<Arc<Door>>,
    queue: Result<Path<String>, PathRejection>,
    once: Once,
    Said(wish): Said<QueueRequest>,
) -> Answer<Json<Queue>> {
    let Path(name) = queue.map_err(|e| Failure::bad(chain(&e)))?;
    let unknown = || Failure::new(kin_api::Code::NotFound, format!("there is no queue {name:?}"));
    let find = async || {
        let queues = door.engine.queues().await?;
        queues.iter().find(|queue| queue.queue.name == name).map(job_state::queue).ok_or_else(unknown)
    };
    find().await?;
    let key = once.saying(&wish)?;
    // Nobody slips through between the two: what is to stand still stands before it has more room, and goes after.
    let pause = wish.paused.filter(|paused| *paused).map(|_| QueueWish::Pause);
    let resume = wish.paused.filter(|paused| !paused).map(|_| QueueWish::Resume);
    for (i, how) in pause.into_iter().chain(wish.slots.map(QueueWish::Slots)).chain(resume).enumerate() {
        let key = key.clone().map(|key| Key { text: format!("{}#{i}", key.text), ..key });
        door.engine.under(key).wish(Wish::Queue { name: name.clone(), how }).await?;
    }
    find().await.map(Json)
}
