//! Runs for tests, each as the server would say it.

use kin_client::api::Run;
use kin_client::api::job::{Job, Source};
use kin_client::api::run::Trigger;
use std::collections::BTreeMap;

pub(crate) fn run(id: &str, outcome: &str) -> Run {
    Run {
        id: id.to_owned(),
        job: id.rsplit_once('-').map_or(id, |(job, _)| job).to_owned(),
        slot: 0,
        attempt: 1,
        follows: None,
        trigger: Trigger { kind: "manual".into(), by: Some("uid:1000".into()), ..Trigger::default() },
        state: "ended".into(),
        outcome: Some(outcome.to_owned()),
        exit_code: match outcome {
            "ok" => Some(0),
            "failed" => Some(3),
            _ => None,
        },
        signal: None,
        reason: None,
        spawn: None,
        pid: Some(353_842),
        host: "web1".into(),
        created_at: "2026-11-20T13:54:01.120Z".into(),
        started_at: Some("2026-11-20T13:54:01.130Z".into()),
        ended_at: Some("2026-11-20T13:55:19.930Z".into()),
        out_bytes: 120,
        err_bytes: 0,
        out_dropped: 0,
        err_dropped: 0,
        max_rss_bytes: Some(1_048_576),
        cpu_ms: Some(12),
        read_bytes: Some(4096),
        write_bytes: Some(0),
        port: None,
        left_out: Vec::new(),
        status: None,
        leaving: false,
        warnings: BTreeMap::new(),
        tags: Vec::new(),
        command: vec!["true".into()],
        directory: "/srv".into(),
        latch: None,
        rev: None,
        needs: Vec::new(),
        until: None,
        ready_at: None,
        queue: None,
        mutex: Vec::new(),
        priority: 0,
        timeout_ms: None,
        tty: false,
        unowned: false,
        not_recorded: None,
    }
}

pub(crate) fn live(id: &str, state: &str) -> Run {
    let started_at = (!matches!(state, "held" | "queued" | "starting")).then(|| "2026-11-20T13:54:01.130Z".to_owned());
    let pid = started_at.is_some().then_some(353_842);
    Run { state: state.into(), outcome: None, exit_code: None, ended_at: None, started_at, pid, ..run(id, "ok") }
}

pub(crate) fn job(name: &str, state: &str) -> Job {
    Job {
        name: name.into(),
        description: String::new(),
        kind: "service".into(),
        source: Source::File { path: "/etc/kin/jobs.toml".into() },
        stale: false,
        stale_because: None,
        failed_rev: None,
        rev: 3,
        disabled: false,
        paused_until: None,
        up: true,
        removed: false,
        instances: 1,
        scaled: false,
        state: state.into(),
        reason: None,
        command: vec!["./web".into(), "--port".into(), "80".into()],
        schedule: Vec::new(),
        tags: Vec::new(),
        runs: Vec::new(),
        last: None,
        next_at: None,
        never: None,
    }
}
