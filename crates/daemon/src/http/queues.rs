//! Queues: what they have, who has it, who waits; pauses and other slots.

use super::body::Said;
use super::door::Door;
use super::error::{Answer, Failure, chain};
use super::job_state;
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
    Said(wish): Said<QueueRequest>,
) -> Answer<Json<Queue>> {
    let Path(name) = queue.map_err(|e| Failure::bad(chain(&e)))?;
    let unknown = || Failure::new(kin_api::Code::NotFound, format!("there is no queue {name:?}"));
    let find = async || {
        let queues = door.engine.queues().await?;
        queues.iter().find(|queue| queue.queue.name == name).map(job_state::queue).ok_or_else(unknown)
    };
    find().await?;
    // Nobody slips through between the two: what is to stand still stands before it has more room, and goes after.
    let pause = wish.paused.filter(|paused| *paused).map(|_| QueueWish::Pause);
    let resume = wish.paused.filter(|paused| !paused).map(|_| QueueWish::Resume);
    for how in pause.into_iter().chain(wish.slots.map(QueueWish::Slots)).chain(resume) {
        door.engine.wish(Wish::Queue { name: name.clone(), how }).await?;
    }
    find().await.map(Json)
}
