//! The runs whose readiness or health is to be looked at: told to the probes after each commit that may have changed them.

use super::Engine;
use kin_core::job::Job;
use kin_core::{Effects, Fact, Run, RunId, Time};
use std::sync::Arc;

/// A run to look at, and by which definition.
#[derive(Clone, Debug)]
pub struct Probed {
    pub id: RunId,
    pub pid: Option<u32>,
    pub started_at: Time,
    pub is_ready: bool,
    pub job: Arc<Job>,
}

/// Whether what is to be looked at may be different after this.
pub(super) fn may_differ(fx: &Effects) -> bool {
    !fx.standings.is_empty() || fx.changed.values().any(Run::is_defined)
}

impl Engine {
    pub(super) fn tell_probes(&self) {
        let all = self.world.watched().map(|watched| Probed {
            id: watched.run.id(),
            pid: watched.run.pid,
            started_at: watched.run.started_at.unwrap_or(watched.run.created_at),
            is_ready: watched.run.health.ready_at.is_some(),
            job: Arc::clone(watched.job),
        });
        self.probed.send_replace(all.collect());
    }
}

/// What a probe says, as far as the rules ask for it.
pub(super) fn fact(said: crate::probe::Said) -> Option<Fact> {
    use crate::probe::Said;
    match said {
        Said::Ready { run } => Some(Fact::Ready { run }),
        Said::NotReady { run, why } => Some(Fact::NotReady { run, why }),
        Said::Sick { run, why } => Some(Fact::Sick { run, why }),
        Said::Status { .. } | Said::Stopping { .. } => None,
    }
}
