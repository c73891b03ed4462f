//! Plan, witness and kin: three accounts of one run, compared.

use super::field::{Accepted, Field};
use super::plan::{End, Plan};
use crate::guest::BROKEN;
use crate::witness::{Story, ns_of, unix_ns};
use crate::{http::Http, pattern, server};
use serde_json::Value;

/// Where a state stands in a run's life, which never goes back. `None`: not a state.
pub fn rank(state: &str) -> Option<u8> {
    let order = ["waiting", "held", "queued", "starting", "running", "stopping", "draining", "ended"];
    order.iter().position(|word| *word == state).map(|at| at as u8)
}

/// What is wrong with a listed run at the instant it was asked for; `asked_at` is just before the request.
pub fn listed(field: &Field, accepted: &Accepted, run: &Value, asked_at: u64) -> Result<(), String> {
    const NOTICED_WITHIN: u64 = 10_000_000_000;
    let story = field.story(accepted.plan.index)?;
    let state = run["state"].as_str().unwrap_or_default();
    let began_before = story.starts.first().is_some_and(|start| start.at < asked_at);
    match state {
        "held" | "queued" if began_before => Err(format!("{state}, but it had begun: {story:?}")),
        "running" if story.ends.first().is_some_and(|end| end.at + NOTICED_WITHIN < asked_at) => {
            Err(format!("running, ten seconds after its end: {story:?}"))
        }
        "ended" => ended(field, accepted, run, &story).map(drop),
        _ if rank(state).is_none() => Err(format!("no such state: {state}")),
        _ => Ok(()),
    }
}

/// What kin says of the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Known,
    /// `lost(unknown)`, where that may be.
    Unknown,
}

/// Outcome, code and signal against the plan and the witness.
pub fn ended(field: &Field, accepted: &Accepted, run: &Value, story: &Story) -> Result<Verdict, String> {
    let plan = &accepted.plan;
    let said = (run["outcome"].as_str().unwrap_or("null"), run["exit_code"].as_u64(), run["signal"].as_u64());
    if said.0 == "lost" && run["reason"] == "unknown" {
        let started = story.starts.first().map_or(accepted.sent_at, |start| start.at);
        let ended = run["ended_at"].as_str().and_then(ns_of).unwrap_or_else(unix_ns);
        let allowed = field.options.pairs
            || field.options.no_pidfd_info && field.may_be_unknown(accepted.sent_at, started, ended);
        return match allowed && said.1.is_none() && said.2.is_none() {
            true => Ok(Verdict::Unknown),
            false => Err(format!("lost(unknown), which it may not be: {run}")),
        };
    }
    // Where both keepers died at once nobody reads the pipes: the guest's own word counts, and it told the witness.
    let broken = field.options.pairs && story.ends.iter().any(|end| end.code == i32::from(BROKEN));
    let want = match plan.end {
        _ if broken => ("failed", Some(u64::from(BROKEN)), None),
        End::Exit(0) => ("ok", Some(0), None),
        End::Exit(code) => ("failed", Some(u64::from(code)), None),
        End::Signal(signal) => ("signaled", None, Some(u64::from(signal))),
        End::Timeout { .. } if said.0 == "timed-out" => said,
        End::Timeout { .. } => ("timed-out", None, None),
    };
    if said != want {
        return Err(format!("ended as {said:?} instead of {want:?}: {run}"));
    }
    if story.starts.is_empty() {
        return Err(format!("ended, but the witness never saw it begin: {run}"));
    }
    if !matches!(plan.end, End::Timeout { .. }) && story.ends.is_empty() {
        return Err(format!("shown as ended before it was: {run}"));
    }
    Ok(Verdict::Known)
}

/// Everything that can be said of a run that has ended.
pub fn whole(field: &Field, id: &str, run: &Value, http: &mut Http) -> Result<Verdict, String> {
    let accepted = field.accepted(id).ok_or("not one of ours")?;
    let plan = &accepted.plan;
    let story = field.story(plan.index)?;
    let verdict = ended(field, &accepted, run, &story)?;
    if story.starts.len() > 1 || story.starts.is_empty() && verdict == Verdict::Known {
        return Err(format!("started {} times: {:?}", story.starts.len(), story.starts));
    }
    if let Some(start) = story.starts.first().filter(|start| start.run != id) {
        return Err(format!("the guest was told that it is {}", start.run));
    }
    let (started, ended) = (run["started_at"].as_str(), run["ended_at"].as_str());
    if verdict == Verdict::Known && (started.is_none() || ended.is_none() || started > ended) {
        return Err(format!("started at {started:?}, ended at {ended:?}"));
    }
    for (which, name, len) in [(0, "out", plan.out), (1, "err", plan.err)] {
        let by_api = server::read_output(http, id, name).map_err(|e| format!("{name} by the API: {e}"))?;
        stream(field, plan, which, len, &by_api, verdict).map_err(|e| format!("{name} by the API: {e}"))?;
        let path = field.server().state().join(format!("logs/torture/{id}.{name}"));
        let on_disk = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(|e| format!("{}: {e}", path.display()))?,
        };
        if on_disk != by_api {
            return Err(format!("{name}: {} bytes on disk, {} by the API", on_disk.len(), by_api.len()));
        }
        if run[format!("{name}_bytes")].as_u64() != Some(on_disk.len() as u64) && verdict == Verdict::Known {
            return Err(format!("{name}_bytes is not {}: {run}", on_disk.len()));
        }
        field.note(|report| report.output_bytes += by_api.len() as u64);
    }
    Ok(verdict)
}

/// One stream against its pattern. Where the plan lets it end early, a part from its beginning will do.
fn stream(field: &Field, plan: &Plan, which: u8, len: u64, got: &[u8], verdict: Verdict) -> Result<(), String> {
    let may_be_cut = field.options.pairs || matches!(plan.end, End::Timeout { .. });
    let whole_needed = !may_be_cut && (verdict == Verdict::Known || field.options.no_pidfd_info);
    let want = if whole_needed { len } else { len.min(got.len() as u64) };
    pattern::wrong(plan.pattern, which, want, got).map_or(Ok(()), Err)
}
