//! Reads listings while everything is being killed, and remembers: what was shown once binds what is shown later.

use super::field::Field;
use super::judge;
use crate::http::{Http, Request};
use crate::rng::Rng;
use crate::wait::let_time_pass;
use crate::witness::unix_ns;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

pub fn drive(field: &Field, lane: u64) -> Result<(), String> {
    let mut http = field.server().http();
    let mut rng = Rng::part(field.options.seed, (lane + 1) << 48);
    let mut memory = BTreeMap::new();
    while !field.is_done() {
        if rng.percent(50) {
            let_time_pass(Duration::from_micros(rng.below(20_000)));
            look(field, &mut memory, &mut http, "/v1/runs?limit=100")?;
        } else {
            live(field, &mut memory, &mut http)?;
        }
        field.note(|report| report.listings += 1);
    }
    Ok(())
}

fn list(http: &mut Http, path: &str) -> Result<Vec<Value>, String> {
    let answer = http.insist(&Request::get(path), PATIENCE).map_err(|e| e.to_string())?;
    if answer.status != 200 {
        return Err(format!("{path}: {} {}", answer.status, answer.json()));
    }
    answer.json()["runs"].as_array().cloned().ok_or_else(|| format!("{path}: no runs in it"))
}

/// Reads one page. The ids on it.
fn look(
    field: &Field,
    memory: &mut BTreeMap<String, Value>,
    http: &mut Http,
    path: &str,
) -> Result<BTreeSet<String>, String> {
    let asked_at = unix_ns();
    let mut ids = BTreeSet::new();
    for run in list(http, path)? {
        let id = run["id"].as_str().unwrap_or_default().to_string();
        see(field, memory, &id, &run, asked_at).map_err(|e| format!("{path}: {id}: {e}"))?;
        ids.insert(id);
    }
    Ok(ids)
}

/// Every run accepted before the question is live or has ended: none is out of sight.
fn live(field: &Field, memory: &mut BTreeMap<String, Value>, http: &mut Http) -> Result<(), String> {
    let open = field.open_before(unix_ns());
    let live = look(field, memory, http, "/v1/runs?state=live&limit=10000")?;
    for id in open.iter().filter(|id| !live.contains(*id)) {
        let asked_at = unix_ns();
        let answer = http.insist(&Request::get(format!("/v1/runs/{id}")), PATIENCE).map_err(|e| e.to_string())?;
        let run = answer.json();
        if answer.status != 200 {
            return Err(format!("{id} was accepted, and is gone: {} {run}", answer.status));
        }
        see(field, memory, id, &run, asked_at).map_err(|e| format!("{id}: {e}"))?;
        if run["state"] != "ended" {
            return Err(format!("{id} was not among the live ones, and has not ended: {run}"));
        }
    }
    Ok(())
}

fn see(
    field: &Field,
    memory: &mut BTreeMap<String, Value>,
    id: &str,
    run: &Value,
    asked_at: u64,
) -> Result<(), String> {
    let state = run["state"].as_str().unwrap_or_default();
    let rank = judge::rank(state).ok_or_else(|| format!("no such state: {state}"))?;
    if let Some(before) = memory.get(id) {
        let was = before["state"].as_str().unwrap_or_default();
        if was == "ended" && before != run {
            return Err(format!("it had ended, and changed\n  from {before}\n  to   {run}"));
        }
        if judge::rank(was).is_some_and(|was| was > rank) {
            return Err(format!("it went back from {was} to {state}"));
        }
    }
    // A run whose submit has not been answered yet is in the listing before we know its plan.
    if let Some(accepted) = field.accepted(id) {
        judge::listed(field, &accepted, run, asked_at)?;
    }
    memory.insert(id.into(), run.clone());
    Ok(())
}
