//! Between engine and probes: the engine says which runs are looked at, the probes what they saw.

use crate::engine::{Handle, Probed};
use crate::helper::Helpers;
use crate::output::LogFiles;
use crate::output::growth::Watcher;
use crate::place::Place;
use crate::probe::{Probes, Watched};
use crate::surroundings::Checks;
use kin_core::RunNo;
use kin_core::job::{Alive, Job, Ready};
use kin_keeper::spec::SpecView;
use rustix::fd::OwnedFd;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Looks for as long as the runtime lives. Must be called inside it.
pub(crate) fn begin(place: &Place, handle: &Handle, helpers: Helpers, notify: Option<OwnedFd>) -> io::Result<()> {
    let say = handle.clone();
    let probes = Probes::open(&place.run, helpers, Watcher::new()?, notify, move |said| say.said(said))?;
    let mut probed = handle.probed();
    let place = place.clone();
    tokio::spawn(async move {
        let mut known = Known::default();
        loop {
            let now: Vec<Probed> = probed.borrow_and_update().clone();
            known.0.retain(|no, _| now.iter().any(|probed| probed.id.no == *no));
            probes.watch(now.iter().filter_map(|probed| known.watched(probed, &place)));
            if probed.changed().await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// The checks of each run, and by which definition it is alive: its spec is read once for each.
#[derive(Default)]
struct Known(BTreeMap<RunNo, Checked>);

type Checked = (Arc<Job>, Option<Ready>, Option<Alive>);

impl Known {
    fn watched(&mut self, probed: &Probed, place: &Place) -> Option<Watched> {
        let known = self.0.get(&probed.id.no).filter(|(by, ..)| Arc::ptr_eq(by, &probed.alive_by)).cloned();
        let (_, ready, alive) = match known {
            Some(known) => known,
            None => match checks(probed, &place.run) {
                Ok((ready, alive)) => {
                    let known = (Arc::clone(&probed.alive_by), ready, alive);
                    self.0.insert(probed.id.no, known.clone());
                    known
                }
                Err(why) => {
                    crate::say!("kin daemon: {} is not looked at: {why}", probed.id);
                    return None;
                }
            },
        };
        Some(Watched {
            id: probed.id.clone(),
            pid: probed.pid,
            started_at: probed.started_at,
            is_ready: probed.is_ready,
            ready,
            alive,
            log_base: LogFiles::of(&place.state, &probed.id).base().to_path_buf(),
        })
    }
}

fn checks(probed: &Probed, run: &Path) -> Result<(Option<Ready>, Option<Alive>), String> {
    let spec = std::fs::read(run.join("spec").join(probed.id.no.to_string())).map_err(|e| format!("its spec: {e}"))?;
    let view = SpecView::check(&spec).map_err(|bad| bad.to_string())?;
    let made = |job| Checks::again(job, &view).map_err(|e| e.to_string());
    let ready = probed.job.life.ready.clone().zip(made(&probed.job)?.ready);
    let ready = ready.map(|(ready, by)| Ready { by, ..ready });
    let alive =
        probed.alive_by.life.alive.clone().zip(made(&probed.alive_by)?.alive).map(|(alive, by)| Alive { by, ..alive });
    Ok((ready, alive))
}
