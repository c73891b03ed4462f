//! A server to be measured, and what its processes cost.

use super::Bench;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::http::Request;
use testkit::procfs::{self, Cpu};
use testkit::server::{Options, Pids};
use testkit::{Http, Server};

pub(crate) struct Rig {
    pub(crate) server: Server,
    pub(crate) http: Http,
    pub(crate) pids: Pids,
}

/// Processor time by role.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) elder: Cpu,
    pub(crate) keeper: Cpu,
    pub(crate) daemon: Cpu,
}

impl Used {
    pub(crate) fn since(self, before: Used) -> Used {
        Used {
            elder: self.elder.since(before.elder),
            keeper: self.keeper.since(before.keeper),
            daemon: self.daemon.since(before.daemon),
        }
    }
    /// Everything, the runs themselves included: they are waited for by the keeper.
    pub(crate) fn total(self) -> Duration {
        self.elder.total() + self.keeper.total() + self.daemon.total()
    }
}

impl Rig {
    /// `durability`: `fast` or `full`.
    pub(crate) fn start(bench: &Bench, durability: &str) -> Rig {
        let mut rig = Rig::of(Options::new(&bench.kin).durability(durability).start());
        assert_eq!(rig.http.get("/v1/server").json()["durability"], durability);
        rig
    }
    pub(crate) fn of(server: Server) -> Rig {
        let http = server.http();
        let pids = server.pids().expect("all are there");
        Rig { server, http, pids }
    }

    pub(crate) fn used(&self) -> Used {
        let cpu = |pid| procfs::cpu(pid).expect("it lives");
        Used { elder: cpu(self.pids.elder), keeper: cpu(self.pids.keeper), daemon: cpu(self.pids.daemon) }
    }

    pub(crate) fn request(&self, argv: &[&str]) -> Value {
        json!({"argv": argv, "directory": "/", "env": {"PATH": "/usr/bin:/bin", procfs::MARK: self.server.mark()}})
    }

    /// A server closes a connection that was silent for some seconds: after a pause there is a new one.
    pub(crate) fn connect(&mut self) {
        self.http.get("/v1/server");
    }

    /// Submits over the one connection. The id.
    pub(crate) fn submit(&mut self, request: &Value) -> String {
        let answer = self.http.post("/v1/runs", request).expect(201);
        answer.json()["id"].as_str().expect("an id").to_string()
    }

    pub(crate) fn submit_batch(&mut self, request: &Value, n: usize) -> Vec<String> {
        let body = json!({"runs": vec![request; n]});
        self.connect();
        let answer = self.http.post("/v1/batch", &body);
        assert_eq!(answer.status / 100, 2, "{}", String::from_utf8_lossy(&answer.body));
        let items = answer.json()["runs"].as_array().cloned().unwrap_or_default();
        let id = |item: &Value| match item["run"]["id"].as_str() {
            Some(id) => id.to_string(),
            None => panic!("not accepted: {item}"),
        };
        items.iter().map(id).collect()
    }

    /// Waits until no run is live: all ends are recorded then.
    pub(crate) fn wait_all(&mut self, last: &str) {
        let wait = Request::get(format!("/v1/runs/{last}/wait?timeout_ms=10000"));
        while self.http.send(&wait).expect("an answer").status == 202 {}
        testkit::eventually("all runs have ended", Duration::from_secs(60), || {
            let server = self.http.get("/v1/server").json();
            (server["live_runs"].as_u64() == Some(0)).then_some(())
        });
    }
}
