//! One lane of runs: submit, perhaps repeat, perhaps release, wait for the end, judge; and again.

use super::field::Field;
use super::judge::{self, Verdict};
use super::plan::Plan;
use crate::http::{Http, Request};
use crate::rng::Rng;
use crate::wait::let_time_pass;
use crate::witness::unix_ns;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// No single request may take longer, whatever is killed meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);
/// No run of these plans takes longer from its start to its end.
const LIFE: Duration = Duration::from_secs(60);

pub fn drive(field: &Field, lane: u64) -> Result<(), String> {
    let mut http = field.server().http();
    let mut rng = Rng::part(field.options.seed, lane << 32);
    while !field.is_finishing() {
        let plan = Plan::draw(field.options.seed, field.next_index());
        let index = plan.index;
        one(field, &plan, &mut http, &mut rng).map_err(|e| format!("run {index}: {e}"))?;
    }
    Ok(())
}

fn one(field: &Field, plan: &Plan, http: &mut Http, rng: &mut Rng) -> Result<(), String> {
    let id = submit(field, plan, http)?;
    if let Some(latch) = &plan.latch {
        wait_at_latch(field, plan, latch, &id, http, rng)?;
    }
    let run = until_end(field, &id, http)?;
    let verdict = judge::whole(field, &id, &run, http).map_err(|e| format!("{id}: {e}"))?;
    field.judged(&id);
    field.note(|report| {
        report.runs += 1;
        report.unknown += u64::from(verdict == Verdict::Unknown);
    });
    Ok(())
}

fn submit(field: &Field, plan: &Plan, http: &mut Http) -> Result<String, String> {
    let server = field.server();
    let body = plan.request(&field.guest, field.witness_path(), server.mark(), server.home());
    let request = Request::post("/v1/runs", &body).key(&plan.key);
    let sent_at = unix_ns();
    let mut first = None;
    for _ in 0..=usize::from(plan.repeated) {
        let answer = http.insist(&request, PATIENCE).map_err(|e| e.to_string())?;
        let run = answer.json();
        let id = match (answer.status, run["id"].as_str()) {
            (200 | 201, Some(id)) => id.to_string(),
            (status, _) => return Err(format!("a submit was answered {status}: {run}")),
        };
        field.accept(&id, plan, sent_at)?;
        match &first {
            None => first = Some(id),
            Some(before) if *before == id => field.note(|report| report.repeats += 1),
            Some(before) => return Err(format!("the same key made {before} and {id}")),
        }
    }
    first.ok_or_else(|| "nothing was submitted".into())
}

/// It must not begin before it is released, however long that takes and whoever dies meanwhile.
fn wait_at_latch(
    field: &Field,
    plan: &Plan,
    latch: &str,
    id: &str,
    http: &mut Http,
    rng: &mut Rng,
) -> Result<(), String> {
    let_time_pass(Duration::from_micros(rng.below(300_000)));
    let run = get(http, &format!("/v1/runs/{id}"))?;
    let lost = field.options.pairs && run["outcome"] == "lost";
    if run["state"] != "held" && !lost {
        return Err(format!("{id} is not held: {run}"));
    }
    if !field.story(plan.index)?.starts.is_empty() {
        return Err(format!("{id} began before its latch was released"));
    }
    let release = Request::post(format!("/v1/latches/{latch}/release"), &json!({}));
    let answer = http.insist(&release, PATIENCE).map_err(|e| e.to_string())?;
    // A repeat, after an answer that was lost, finds nobody waiting any more.
    if answer.status != 200 && answer.status != 404 {
        return Err(format!("release of {latch}: {} {}", answer.status, answer.json()));
    }
    field.note(|report| report.latched += 1);
    Ok(())
}

fn get(http: &mut Http, path: &str) -> Result<Value, String> {
    let answer = http.insist(&Request::get(path), PATIENCE).map_err(|e| e.to_string())?;
    if answer.status == 200 { Ok(answer.json()) } else { Err(format!("{path}: {} {}", answer.status, answer.json())) }
}

fn until_end(field: &Field, id: &str, http: &mut Http) -> Result<Value, String> {
    let until = Instant::now() + LIFE;
    let wait = Request::get(format!("/v1/runs/{id}/wait?timeout_ms=500"));
    while Instant::now() < until && !field.has_failed() {
        let answer = http.insist(&wait, PATIENCE).map_err(|e| e.to_string())?;
        match answer.status {
            200 => return Ok(answer.json()),
            202 => {}
            status => return Err(format!("wait for {id}: {status} {}", answer.json())),
        }
    }
    let run = get(http, &format!("/v1/runs/{id}"))?;
    Err(format!("{id} does not end: {run}"))
}
