//! Keepers as the engine hears of them: what they say, that they hang up, and that there is none.

use super::chain::Told;
use super::link::{Connect, Heard};
use super::{AGAIN, Batch, Ended, Engine, slot};
use kin_core::{Fact, RunNo, StartRefusal};
use kin_keeper::wire::{Guard, Refusal, Tell};
use std::time::Instant;

impl Engine {
    /// What keepers said, one after the other.
    pub(super) fn mail(&mut self, batch: &mut Batch) {
        let mail = self.link.mail();
        // However many of them end at once: after all of these words.
        self.survivors.begin_look();
        for heard in mail {
            match heard {
                Heard::Tell { generation, tell } => self.told(generation, tell, batch),
                Heard::HungUp { generation, number } => {
                    if self.link.hung_up(generation, number) {
                        self.hung_up(generation, batch);
                    }
                }
                Heard::Writable { generation, number } => self.link.writable(generation, number),
                Heard::Names => self.look = true,
                Heard::Survivor { number } => {
                    let now = self.now();
                    if let Some((run, seen)) = self.survivors.spoke(&mut self.link, number, now) {
                        self.fact(Fact::Slot { run, seen }, batch);
                    }
                }
                Heard::Overflow => self.look = true,
            }
        }
    }

    /// One of the chain's own connections: what was told of it is true no more. Whoever lives tells it anew, on the
    /// connection that is made now, or on the other's.
    pub(super) fn hung_up(&mut self, generation: u64, batch: &mut Batch) {
        self.fronts.remove(&generation);
        self.upgrading_hung_up(generation);
        if self.told.is_some_and(|told| told.keeper == generation) {
            self.fact(Fact::KeeperGone { generation }, batch);
        }
        if self.told.is_some_and(|told| told.keeper == generation || told.elder == generation) {
            self.told = None;
        }
        self.told_again();
    }

    pub(super) fn told(&mut self, generation: u64, tell: Tell, batch: &mut Batch) {
        match tell {
            Tell::Hello { pid, .. } => {
                self.link.set_pid(generation, pid);
                self.upgrading_hello(generation, pid, batch);
                // Between our connecting and this word, changes were told to nobody.
                self.look = true;
            }
            Tell::Changed { run, .. } => {
                if let Some(no) = RunNo::new(run).filter(|no| !no.is_helper()) {
                    self.look_at(generation, no, batch);
                }
            }
            Tell::Refused { run, why } => {
                if let Some(no) = RunNo::new(run).filter(|no| !no.is_helper()) {
                    self.refused(generation, no, why, batch);
                }
            }
            Tell::Reread => self.look = true,
            // Said by an elder that has died since; its word was overtaken.
            Tell::Chain { turn, .. } if self.told.is_some_and(|told| turn < told.turn) => {}
            Tell::Chain { elder, keeper, guard, turn } => {
                self.orphaned = false;
                let told = Told { elder, keeper, guard, turn };
                if self.told.map(|t| t.guard) != Some(guard) {
                    let words = match guard {
                        Guard::Whole => "both keepers are there",
                        Guard::Degraded => "one keeper is alone",
                    };
                    self.note("server.guard", words.into(), batch);
                }
                self.look |= self.told != Some(told) || !self.chain.borrow().settled;
                self.told = Some(told);
                self.know_ours();
            }
            Tell::Front { pid } => {
                self.fronts.insert(generation, (pid != 0).then_some(pid));
                self.know_ours();
            }
            Tell::DaemonGaveUp { .. } | Tell::DaemonReady { .. } | Tell::Bye | Tell::Busy { .. } => {}
        }
    }

    /// One run changed: read its slot.
    pub(super) fn look_at(&mut self, generation: u64, no: RunNo, batch: &mut Batch) {
        if self.tables.get(generation).is_none() && self.tables.scan(&self.dirs).is_err() {
            self.look = true;
        }
        let snapshot = self.tables.get(generation).and_then(|known| slot::of_run(&known.table, no.get()));
        if let Some(snapshot) = snapshot {
            self.slot_of(no, &snapshot, batch);
        }
    }

    pub(super) fn refused(&mut self, generation: u64, no: RunNo, why: Refusal, batch: &mut Batch) {
        // An earlier try may have been taken after all: what a table has was not refused.
        if let Some((_, snapshot)) = self.tables.find(no, |g| self.link.is_connected(g)) {
            return self.slot_of(no, &snapshot, batch);
        }
        let (why, room) = match why {
            Refusal::Full => {
                let room = self.tables.get(generation).is_some_and(|known| slot::has_room(&known.table));
                (StartRefusal::Full, room)
            }
            Refusal::NotCurrent | Refusal::Closing => (StartRefusal::NotCurrent, false),
            Refusal::NoSpec => (StartRefusal::NoSpec, false),
        };
        self.fact(Fact::Refused { run: no, generation, why }, batch);
        if room {
            self.fact(Fact::Room, batch);
        }
        if why == StartRefusal::NotCurrent && self.world.keeper().is_none() && self.closing.is_none() {
            // What we believed of the chain is out of date. Whoever lives says it anew; not more often than each second
            // to one that contradicts itself.
            if self.told.is_some_and(|told| told.keeper == generation) {
                self.chain_at = Some(self.chain_at.unwrap_or_else(|| Instant::now() + AGAIN));
            }
        }
    }

    /// The chain has to be told again before it is believed.
    pub(super) fn told_again(&mut self) {
        self.look = true;
        self.publish_unsettled();
    }

    pub(super) fn publish_unsettled(&mut self) {
        self.chain.send_if_modified(|info| {
            info.guard = Guard::Degraded;
            std::mem::replace(&mut info.settled, false)
        });
    }

    /// True: somebody is there, but too busy to be reached now.
    pub(super) fn connect_all(&mut self) -> bool {
        let mut busy = false;
        for generation in self.tables.generations() {
            match self.link.connect(generation) {
                Ok(Connect::New) => self.publish_unsettled(),
                Ok(Connect::Had | Connect::Nobody) => {}
                Ok(Connect::Busy) => busy = true,
                Err(e) => {
                    crate::say!("kin daemon: cannot reach keeper {generation:016x}: {e}");
                    busy = true;
                }
            }
        }
        if busy {
            self.chain_at = Some(Instant::now() + AGAIN);
        }
        busy
    }

    /// Nobody serves anything: both keepers are dead.
    pub(super) fn want_elder(&mut self, batch: &mut Batch) {
        if self.closing.is_some() {
            return;
        }
        self.chain_at = Some(Instant::now() + AGAIN);
        // A server that somebody has made elsewhere meanwhile has a daemon of its own, which waits for our ledger.
        if let Ok(run) = std::fs::read_link(self.dirs.state.join("run"))
            && run != self.dirs.run
        {
            let why = format!("the server lives in {} now", run.display());
            batch.ending = Some(Ended::Failed { why });
            return;
        }
        if !self.orphaned {
            self.orphaned = true;
            self.note("server.guard", "no keeper is there; an elder is made".into(), batch);
        }
        if let Err(e) = (self.config.new_elder)() {
            crate::say!("kin daemon: cannot make an elder: {e}");
        }
    }

    /// Somebody removed the runtime directory, or names in it, and the elder made them again.
    pub(super) fn say_made_again(&self, batch: &mut Batch) {
        let left = self.dirs.run.join(kin_keeper::MADE_AGAIN);
        if left.exists() && !batch.read.contains(&left) {
            let what = format!(
                "names in {} were removed while the server lived, and are there again",
                self.dirs.run.display()
            );
            self.note("server.directory", what, batch);
            batch.read.push(left);
        }
    }

    /// Once for each server: its elder left a word of it.
    pub(super) fn say_no_cgroups(&mut self, batch: &mut Batch) {
        let left = self.dirs.run.join(kin_keeper::NO_CGROUPS);
        if batch.read.contains(&left) {
            return;
        }
        // Not there: nothing is lacking, or it was said.
        let Ok(why) = std::fs::read_to_string(&left) else { return };
        let what = format!(
            "runs have no cgroups of their own: {why}. Their processes are found by other traces, and limits are refused"
        );
        self.note("server.cgroups", what, batch);
        batch.read.push(left);
    }
}
