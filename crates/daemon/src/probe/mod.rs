//! Probes: whether the runs that live are ready, and whether they are well.
//!
//! Told the set of runs to watch, they say facts about them, and know nothing of what follows. One task a run, which
//! sleeps until its next look or until something is said; what it knows is lost with the daemon and found again:
//!
//! | check | where it stands when the daemon is dead |
//! |---|---|
//! | http, tcp, exec | is asked again |
//! | line | in the run's output, which is read from its beginning |
//! | notify | in the elder's socket; once read, as a newline in `ready/<run>.word` |
//! | fd | the run itself writes `ready/<run>.word` |
//! | after | the run's start |

mod line;
mod look;
mod notify;
mod word;

use crate::helper::Helpers;
use crate::output::growth::Watcher;
use kin_core::job::{Alive, Check, Ready};
use kin_core::{RunId, RunNo, Time};
use notify::{Hub, Told};
use rustix::fd::OwnedFd;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// A run to be watched, as it is now. Its checks are its own: every variable in them is in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    pub id: RunId,
    pub pid: Option<u32>,
    pub started_at: Time,
    /// It has been ready before: only its health is asked for.
    pub is_ready: bool,
    pub ready: Option<Ready>,
    pub alive: Option<Alive>,
    /// The path of its logs without their extension.
    pub log_base: PathBuf,
}

/// What probes say. Each may be said again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Ready {
        run: RunNo,
    },
    /// Not yet, and why; said when the reason changes.
    NotReady {
        run: RunNo,
        why: String,
    },
    /// So many looks in a row were bad as its definition allows.
    Sick {
        run: RunNo,
        why: String,
    },
    /// In its own words.
    Status {
        run: RunNo,
        text: String,
    },
    /// It is on its way out, and says so itself.
    Stopping {
        run: RunNo,
    },
}

type Say = Arc<dyn Fn(Said) + Send + Sync>;

/// What all looks share.
struct Shared {
    run: PathBuf,
    helpers: Helpers,
    watcher: Watcher,
    hub: Arc<Hub>,
    say: Say,
    clock: fn() -> Time,
}

struct Mind {
    watched: Watched,
    task: AbortHandle,
}

impl Drop for Mind {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All looks there are. Dropped, nothing is looked at any more.
pub struct Probes {
    shared: Arc<Shared>,
    minds: Mutex<BTreeMap<RunNo, Mind>>,
    listener: Option<AbortHandle>,
}

impl Drop for Probes {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
        }
    }
}

impl Probes {
    /// Must be called inside the runtime. `notify`: the elder's socket, where there is one. `say` must not block.
    pub fn open(
        run: &Path,
        helpers: Helpers,
        watcher: Watcher,
        notify: Option<OwnedFd>,
        say: impl Fn(Said) + Send + Sync + 'static,
    ) -> io::Result<Probes> {
        let say: Say = Arc::new(say);
        let hub = Arc::new(Hub::new(run, say.clone()));
        let listener = notify.map(|socket| notify::listen(socket, hub.clone())).transpose()?;
        let shared = Shared { run: run.to_path_buf(), helpers, watcher, hub, say, clock: crate::clock::now };
        Ok(Probes { shared: Arc::new(shared), minds: Mutex::default(), listener })
    }

    /// Exactly these are watched from now on. One that is watched already goes on as it is.
    pub fn watch(&self, all: impl IntoIterator<Item = Watched>) {
        let mut minds = self.minds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *minds);
        for watched in all {
            let no = watched.id.no;
            let same = |mind: &Mind| {
                // That it became ready is what we said ourselves.
                Watched { is_ready: watched.is_ready, ..mind.watched.clone() } == watched
            };
            let mind = match before.remove(&no) {
                Some(mind) if same(&mind) => mind,
                Some(_) | None => {
                    let told = self.shared.hub.subscribe(no, watched.pid);
                    let task = tokio::spawn(mind(watched.clone(), told, self.shared.clone())).abort_handle();
                    Mind { watched, task }
                }
            };
            minds.insert(no, mind);
        }
        for no in before.keys() {
            self.shared.hub.forget(*no);
        }
    }
}

/// The life of one run's checks.
async fn mind(run: Watched, mut told: tokio::sync::watch::Receiver<Told>, shared: Arc<Shared>) {
    let no = run.id.no;
    if let Some(ready) = run.ready.as_ref().filter(|_| !run.is_ready) {
        until_ready(&run, ready, &mut told, &shared).await;
        (shared.say)(Said::Ready { run: no });
    }
    let Some(alive) = &run.alive else { return };
    tokio::time::sleep_until(Instant::now() + millis(alive.grace.0)).await;
    let mut bad = 0;
    let mut dogs = told.borrow().dogs;
    loop {
        let from = Instant::now();
        let looked = match &alive.by {
            // A watchdog is heard of over a time, not at an instant.
            Check::Notify => {
                tokio::time::sleep_until(from + millis(alive.every.0)).await;
                let now = told.borrow().dogs;
                let heard = std::mem::replace(&mut dogs, now) != now;
                if heard { Ok(()) } else { Err(format!("no WATCHDOG=1 within {} ms", alive.every.0)) }
            }
            Check::Http { .. } | Check::Tcp { .. } | Check::Exec(_) => {
                look::look(&alive.by, &run, millis(alive.look_timeout.0), &shared).await
            }
            // These say something once; a definition that asks for them here is refused.
            Check::Line(_) | Check::Fd(_) | Check::After(_) => return,
        };
        match looked {
            Ok(()) => bad = 0,
            Err(why) => {
                bad += 1;
                if bad >= alive.failures.max(1) {
                    let why = if bad == 1 { why } else { format!("{why} ({bad} looks in a row)") };
                    (shared.say)(Said::Sick { run: no, why });
                }
            }
        }
        tokio::time::sleep_until(from + millis(alive.every.0)).await;
    }
}

async fn until_ready(
    run: &Watched,
    ready: &Ready,
    told: &mut tokio::sync::watch::Receiver<Told>,
    shared: &Arc<Shared>,
) {
    let not_yet = |why: String| (shared.say)(Said::NotReady { run: run.id.no, why });
    match &ready.by {
        Check::After(time) => {
            let lived = Duration::from_nanos(u64::try_from((shared.clock)().0 - run.started_at.0).unwrap_or(0));
            tokio::time::sleep_until(Instant::now() + millis(time.0).saturating_sub(lived)).await;
        }
        Check::Line(pattern) => {
            if let Err(why) = line::wait_for(pattern, &run.log_base, &shared.watcher).await {
                not_yet(why);
                // Its deadline is somebody else's business.
                std::future::pending::<()>().await;
            }
        }
        Check::Fd(number) => {
            not_yet(format!("no newline on descriptor {number} yet"));
            if let Err(e) = word::wait_for(&shared.run, run.id.no, &shared.watcher).await {
                not_yet(format!("its word of readiness cannot be watched: {e}"));
                std::future::pending::<()>().await;
            }
        }
        Check::Notify => {
            if word::is_there(&shared.run, run.id.no) {
                return;
            }
            not_yet("no READY=1 on NOTIFY_SOCKET yet".into());
            if told.wait_for(|told| told.ready).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        Check::Http { .. } | Check::Tcp { .. } | Check::Exec(_) => {
            let mut said = String::new();
            loop {
                let from = Instant::now();
                match look::look(&ready.by, run, millis(ready.look_timeout.0), shared).await {
                    Ok(()) => return,
                    Err(why) if why != said => {
                        said.clone_from(&why);
                        not_yet(why);
                    }
                    Err(_) => {}
                }
                tokio::time::sleep_until(from + millis(ready.every.0.max(1))).await;
            }
        }
    }
}

fn millis(ms: u64) -> Duration {
    // A century, so that no clock overflows.
    Duration::from_millis(ms.min(100 * 366 * 86_400_000))
}

#[cfg(test)]
mod tests;
