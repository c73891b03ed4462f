//! What the threads of a torture share.

use super::plan::Plan;
use super::{Options, Report};
use crate::procfs;
use crate::server::{Pids, Server};
use crate::wait::within;
use crate::witness::{Story, Witness, unix_ns};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A run that kin has said yes to.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub plan: Plan,
    /// Just before it was first sent.
    pub sent_at: u64,
    /// Judged and found right: it must never change again.
    pub judged: bool,
}

/// Somebody died at some instant between these two: before the signal was sent, and after the death was seen.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    pub from: u64,
    pub to: u64,
    pub pid: u32,
}

#[derive(Debug)]
pub struct Field {
    pub options: Options,
    pub guest: PathBuf,
    pub faults: PathBuf,
    server: Server,
    next: AtomicU64,
    /// By run id.
    accepted: Mutex<BTreeMap<String, Accepted>>,
    witness: Mutex<Witness>,
    witness_path: PathBuf,
    kills: Mutex<Vec<Kill>>,
    /// Odd while the killer is at it: somebody may be dead whom `kills` does not name yet.
    strikes: AtomicU64,
    /// Each whole guard that was seen, and when.
    chains: Mutex<Vec<(u64, Pids)>>,
    report: Mutex<Report>,
    failure: Mutex<Option<String>>,
    finishing: AtomicBool,
}

/// A thread that fell over has said why already; what it held is still of use for the report.
fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Field {
    pub fn new(options: Options, server: Server, faults: PathBuf) -> Field {
        let witness_path = server.home().join("witness");
        let witness = Witness::open(&witness_path).expect("a witness");
        let report = Report { seed: options.seed, ..Report::default() };
        Field {
            guest: crate::guest_path(),
            faults,
            server,
            next: AtomicU64::new(1),
            accepted: Mutex::default(),
            witness: Mutex::new(witness),
            witness_path,
            kills: Mutex::default(),
            strikes: AtomicU64::new(0),
            chains: Mutex::default(),
            report: Mutex::new(report),
            failure: Mutex::default(),
            finishing: AtomicBool::new(false),
            options,
        }
    }

    pub fn server(&self) -> &Server {
        &self.server
    }
    pub fn into_server(self) -> Server {
        self.server
    }
    pub fn witness_path(&self) -> &Path {
        &self.witness_path
    }
    pub fn next_index(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// No new runs from here on.
    pub fn finish(&self) {
        self.finishing.store(true, Ordering::Relaxed);
    }
    pub fn is_finishing(&self) -> bool {
        self.finishing.load(Ordering::Relaxed)
    }
    /// The kills are over and every accepted run has been judged.
    pub fn is_done(&self) -> bool {
        self.is_finishing() && (self.has_failed() || open(&self.accepted).values().all(|run| run.judged))
    }

    /// Does a thread's part; its first complaint, or its panic, ends the torture.
    pub fn guarded(&self, who: &str, part: impl FnOnce() -> Result<(), String>) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(part));
        let complaint = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(complaint)) => complaint,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
            }
        };
        open(&self.failure).get_or_insert(format!("{who}: {complaint}"));
        self.finish();
    }
    pub fn has_failed(&self) -> bool {
        open(&self.failure).is_some()
    }
    pub fn verdict(&self) -> Result<(), String> {
        open(&self.failure).clone().map_or(Ok(()), Err)
    }

    pub fn accept(&self, id: &str, plan: &Plan, sent_at: u64) -> Result<(), String> {
        let run = Accepted { plan: plan.clone(), sent_at, judged: false };
        match open(&self.accepted).insert(id.into(), run) {
            Some(other) if other.plan.index != plan.index => {
                Err(format!("{id} is the answer to two wishes: {} and {}", other.plan.index, plan.index))
            }
            Some(_) | None => Ok(()),
        }
    }
    pub fn judged(&self, id: &str) {
        if let Some(run) = open(&self.accepted).get_mut(id) {
            run.judged = true;
        }
    }
    pub fn accepted(&self, id: &str) -> Option<Accepted> {
        open(&self.accepted).get(id).cloned()
    }
    /// Ids accepted before this instant and not judged yet.
    pub fn open_before(&self, at: u64) -> Vec<String> {
        let accepted = open(&self.accepted);
        accepted.iter().filter(|(_, run)| !run.judged && run.sent_at < at).map(|(id, _)| id.clone()).collect()
    }

    pub fn story(&self, index: u64) -> Result<Story, String> {
        let mut witness = open(&self.witness);
        witness.read_on().map_err(|e| e.to_string())?;
        Ok(witness.story(index))
    }

    pub fn saw_chain(&self, pids: Pids) {
        let mut chains = open(&self.chains);
        if chains.last().map(|(_, last)| *last) != Some(pids) {
            chains.push((unix_ns(), pids));
        }
    }
    pub fn last_chain(&self) -> Option<Pids> {
        open(&self.chains).last().map(|(_, pids)| *pids)
    }
    pub fn killed(&self, pid: u32, role: &'static str, from: u64) {
        open(&self.kills).push(Kill { from, to: unix_ns(), pid });
        *open(&self.report).kills.entry(role).or_default() += 1;
    }
    /// Does one kill, up to the instant at which it is on record.
    pub fn strike<T>(&self, kill: impl FnOnce() -> T) -> T {
        self.strikes.fetch_add(1, Ordering::SeqCst);
        let outcome = kill();
        self.strikes.fetch_add(1, Ordering::SeqCst);
        outcome
    }
    /// Waits until each kill that may have happened by now is on record.
    fn kills_told(&self) {
        let now = self.strikes.load(Ordering::SeqCst);
        let told = || (now.is_multiple_of(2) || self.strikes.load(Ordering::SeqCst) != now).then_some(());
        within(Duration::from_secs(30), told);
    }
    pub fn kill_count(&self) -> u64 {
        open(&self.report).kills_in_all()
    }
    pub fn recovered(&self, role: &'static str, took: Duration) {
        open(&self.report).recovery.entry(role).or_default().push(took);
    }

    /// Whether the exit code of a run may be unknown on an old kernel: two of the keepers that were there when it started
    /// have been killed before its end was recorded (`ended_at`, kin's own word).
    pub fn may_be_unknown(&self, sent_at: u64, started_at: u64, ended_at: u64) -> bool {
        // What a kill does may be seen before the killer has written down that it was done.
        self.kills_told();
        let there = there(&open(&self.chains), sent_at, started_at);
        let mut dead: Vec<u32> = open(&self.kills)
            .iter()
            .filter(|kill| kill.to >= sent_at && kill.from <= ended_at && there.contains(&kill.pid))
            .map(|kill| kill.pid)
            .collect();
        dead.sort_unstable();
        dead.dedup();
        dead.len() >= 2
    }

    pub fn note(&self, change: impl FnOnce(&mut Report)) {
        change(&mut open(&self.report));
    }
    pub fn report(&self) -> Report {
        open(&self.report).clone()
    }
    pub fn talk(&self, words: &str) {
        if self.options.talk {
            eprintln!("{words}");
        }
    }

    /// Which of these processes is dead.
    pub fn dead_of(&self, pids: Pids) -> Option<(u32, &'static str)> {
        [(pids.elder, "elder"), (pids.keeper, "keeper"), (pids.daemon, "daemon")]
            .into_iter()
            .find(|(pid, _)| !procfs::is_alive(*pid))
    }
}

/// Elders and keepers of all chains that may have been there at a start: the last one seen before it was wished for, and
/// all until the first one seen after it. A chain is only seen a while after it came to be, and the run may be its first.
fn there(chains: &[(u64, Pids)], sent_at: u64, started_at: u64) -> Vec<u32> {
    let first = chains.iter().rposition(|(at, _)| *at <= sent_at).unwrap_or(0);
    let last = chains.iter().position(|(at, _)| *at >= started_at).unwrap_or(chains.len().saturating_sub(1));
    chains.get(first..=last).unwrap_or_default().iter().flat_map(|(_, pids)| [pids.elder, pids.keeper]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_that_is_seen_after_it_started_a_run_was_there() {
        let chain = |at, elder, keeper| (at, Pids { elder, keeper, daemon: 9 });
        let chains = [chain(10, 1, 2), chain(20, 1, 3), chain(30, 1, 4), chain(40, 5, 6)];
        assert_eq!(there(&chains, 25, 28), [1, 3, 1, 4]);
        assert_eq!(there(&chains, 20, 30), [1, 3, 1, 4]);
        assert_eq!(there(&chains, 41, 50), [5, 6]);
        assert!(there(&[], 1, 2).is_empty());
    }
}
