//! A ledger that is damaged, or whose files are taken away, while the server lives.
//!
//! ```text
//!   a commit, a reader, the daily look ──▶ damage ──▶ what is known is left beside it (kin-ledger, leave.rs)
//!                                                       ──▶ this daemon ends, and answers nobody ──▶ the next sets aside,
//!                                                           saves and rebuilds as after any loss, and says so
//! ```
//! A daemon that ends like this is one that was killed: keepers and runs go on, and whoever has no answer asks again. What
//! it knows and the ledger may not tell any more is left for the next: the living runs as they are, and the batch that met
//! the damage, with its keys. So also what had not begun yet is neither lost nor done twice.

use super::{Ended, Engine, Input};
use kin_config::canon;
use kin_core::{Run, RunNo};
use kin_ledger::{Batch as Rows, Definition, QueueRow};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Files that somebody else wrote into are looked over; where that found nothing, not again so soon.
const TOUCHED: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Damage {
    /// Readers are believed, unless the daemon before us ended for it, and all was sound.
    believed: bool,
    met: Option<String>,
    /// They hear of our end.
    waiting: Vec<oneshot::Sender<()>>,
    looked: Option<Instant>,
}

impl Damage {
    pub(super) fn new(acquitted: bool) -> Damage {
        Damage { believed: !acquitted, met: None, waiting: Vec::new(), looked: None }
    }
}

impl Engine {
    /// Somebody met it; without a reply, in a look at everything.
    pub(super) fn is_damaged(&mut self, what: String, reply: Option<oneshot::Sender<()>>) {
        let is_checked = reply.is_none();
        if (self.damage.believed || is_checked) && self.closing.is_none() {
            self.damage.met.get_or_insert(what);
            self.damage.waiting.extend(reply);
            return;
        }
        if let Err(e) = self.ledger.suspect(&what) {
            crate::say!("kin daemon: the ledger is damaged ({what}), and no mark of it could be left: {e}");
        }
        if reply.is_some_and(|reply| reply.send(()).is_err()) {
            // Who asked has gone.
        }
    }

    /// What of the damage that anybody met is to be mended before `batch` is committed: it goes to the next daemon.
    pub(super) fn met_damage(&mut self, batch: &super::Batch) -> Option<String> {
        let by_us = self.ledger.met().map(str::to_owned).or_else(|| self.journal.take_damage());
        let met = self.damage.met.take().or(by_us)?;
        self.may_mend(batch).then_some(met)
    }

    /// After a commit: a look at files that somebody else wrote into.
    pub(super) fn look_at_touched(&mut self) {
        if self.ledger.was_touched() && self.damage.looked.is_none_or(|at| at.elapsed() > TOUCHED) {
            self.damage.looked = Some(Instant::now());
            self.look_into();
        }
    }

    /// A server that is ending ends; the next one mends.
    pub(super) fn may_mend(&self, batch: &super::Batch) -> bool {
        self.closing.is_none() && batch.closing.is_none() && self.ending.is_none()
    }

    /// Leaves what is known and ends this daemon.
    pub(super) fn leave_ledger(&mut self, what: &str, last: &Rows<'_>) {
        let what = what.strip_prefix("the ledger is damaged: ").unwrap_or(what);
        crate::say!("kin daemon: the ledger is damaged: {what}; the next daemon mends it");
        // From here on nobody is told anything: whoever asks gets the answer of the next.
        self.trouble.send_modify(|trouble| trouble.mending = true);
        let definitions = self.definitions_in_force(last);
        let mut slices = 1;
        let left = loop {
            let known = self.by_heart(last, definitions.clone());
            match self.ledger.leave(what, last, &known) {
                Err(kin_ledger::Error::Full(_)) if self.reserve.give(slices) => slices *= 2,
                left => break left,
            }
        };
        match left {
            Ok(true) => crate::say!("kin daemon: all of it was saved"),
            Ok(false) => crate::say!("kin daemon: what lives is saved; the rest is what its files still prove"),
            Err(e) => crate::say!("kin daemon: what is known could not be saved: {}", super::words(&e)),
        }
        self.ending = Some(Ended::Failed { why: format!("the ledger is damaged: {what}") });
    }

    /// All that the rules know, and what comes with the last batch.
    fn by_heart<'a>(&'a self, last: &Rows<'a>, definitions: Vec<Definition>) -> Rows<'a> {
        let living = self.world.live().map(|run| (run.no, run));
        let runs: BTreeMap<RunNo, &Run> = living.chain(last.runs.iter().map(|run| (run.no, *run))).collect();
        let queue = |queue: &kin_core::job::Queue| {
            let row = QueueRow { queue: queue.clone(), defined: self.book.queues.get(&queue.name).cloned() };
            (queue.name.clone(), Some(row))
        };
        Rows {
            runs: runs.into_values().collect(),
            events: last.events.clone(),
            keys: last.keys.clone(),
            done: last.done.clone(),
            definitions,
            in_use: self.revisions_in_use(),
            standings: self.world.standings().map(|now| (now.job.clone(), Some(now.clone()))).collect(),
            queues: self.world.queues().map(queue).collect(),
            ticks: last.ticks.clone(),
            mint_reserved: Some(last.mint_reserved.unwrap_or(0).max(self.reserved)),
        }
    }

    /// Those that the ledger may not have any more: it is not known any more when each of them was made.
    fn definitions_in_force(&self, last: &Rows<'_>) -> Vec<Definition> {
        let at = self.now();
        let known = self.book.known.iter().filter_map(|(name, known)| {
            let text = Some(canon::canonical(known.job.as_ref()?));
            Some(Definition { job: name.clone(), rev: known.rev, at, source: known.source.clone(), text })
        });
        let mut all: BTreeMap<_, _> = known.map(|found| ((found.job.clone(), found.rev), found)).collect();
        // What is in force need not be the newest.
        for (name, rev) in self.revisions_in_use() {
            if let (Some(job), Some(known)) = (self.world.revision(&name, rev), self.book.known.get(&name)) {
                let (source, text) = (known.source.clone(), Some(canon::canonical(job)));
                all.entry((name.clone(), rev)).or_insert_with(|| Definition {
                    job: name.clone(),
                    rev,
                    at,
                    source,
                    text,
                });
            }
        }
        all.extend(last.definitions.iter().map(|found| ((found.job.clone(), found.rev), found.clone())));
        all.into_values().collect()
    }

    /// Somebody else wrote into its files: everything is looked at, beside the writer.
    fn look_into(&self) {
        let (footing, sender, state) = (self.ledger.footing(), self.sender.clone(), self.dirs.state.clone());
        let look = move || {
            let what = footing.look().err().or_else(|| match kin_ledger::Reader::open(&state) {
                Ok(reader) => reader.complaint(),
                Err(e) => Some(super::words(&e)),
            });
            if let Some(what) = what {
                // An engine that has ended has done so for the same.
                drop(sender.send(Input::Damaged(what, None)));
            }
        };
        if let Err(e) = std::thread::Builder::new().name("kin-look".into()).spawn(look) {
            crate::say!("kin daemon: cannot look the ledger over: {e}");
        }
    }
}
