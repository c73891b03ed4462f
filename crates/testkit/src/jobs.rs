//! A server whose jobs a test defines: what files say, what is asked of them, and how they stand.

use crate::http::{Answer, Request};
use crate::server::{DEADLINE, Options, Server};
use crate::wait::eventually;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

impl Server {
    /// One whose job file says this.
    #[track_caller]
    pub fn with_jobs(kin: impl Into<PathBuf>, text: &str) -> Server {
        let server = Options::new(kin).prepare();
        server.write_jobs(text);
        server.start_again();
        server
    }

    /// As an editor does it: never half of it.
    pub fn write_jobs(&self, text: &str) {
        let new = self.home().join(".jobs.new");
        std::fs::write(&new, text).expect("writes");
        std::fs::rename(new, self.home().join("jobs.toml")).expect("renames");
    }

    /// The answer, over any death of a process.
    #[track_caller]
    pub fn ask(&self, request: &Request) -> Answer {
        self.http().insist(request, DEADLINE).expect("an answer")
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(&Request::post(path, body))
    }

    /// `null`: there is no such job.
    #[track_caller]
    pub fn job(&self, name: &str) -> Value {
        let answer = self.ask(&Request::get(format!("/v1/jobs/{name}")));
        if answer.status == 404 { Value::Null } else { answer.expect(200).json() }
    }

    #[track_caller]
    pub fn job_when(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{name}: {what}"), DEADLINE, || Some(self.job(name)).filter(&is))
    }

    /// Waits until exactly so many runs live, all running. The runs.
    #[track_caller]
    pub fn running(&self, name: &str, count: usize) -> Vec<Value> {
        let all = |job: &Value| job["runs"].as_array().cloned().unwrap_or_default();
        let job = self.job_when(name, "runs", |job| {
            let runs = all(job);
            runs.len() == count && runs.iter().all(|run| run["state"] == "running")
        });
        all(&job)
    }

    /// Runs a job once; its id.
    #[track_caller]
    pub fn run_job(&self, name: &str) -> String {
        let key = format!("{}-{}", self.mark(), crate::rng::Rng::fresh_seed());
        let run = self.ask(&Request::post(format!("/v1/jobs/{name}/run"), &json!({})).key(&key));
        assert!(matches!(run.status, 200 | 201), "{}", run.json());
        run.json()["id"].as_str().expect("an id").to_string()
    }

    /// Every run of a job, oldest first.
    #[track_caller]
    pub fn runs_of(&self, name: &str) -> Vec<Value> {
        let list = self.ask(&Request::get(format!("/v1/runs?job={name}&limit=1000"))).expect(200).json();
        let mut runs = list["runs"].as_array().cloned().expect("runs");
        runs.reverse();
        runs
    }

    /// The log of events follows the ledger.
    #[track_caller]
    pub fn told(&self, words: &str) {
        let log = self.state().join("events.log");
        eventually(words, DEADLINE, || {
            std::fs::read_to_string(&log).is_ok_and(|log| log.contains(words)).then_some(())
        });
    }

    /// Lines of a file in its home; none while it is not there.
    pub fn lines(&self, name: &str) -> Vec<String> {
        lines(&self.home().join(name))
    }
}

pub fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_string).collect()
}
