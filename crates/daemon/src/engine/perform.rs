//! The one place that does things: writes and removes specs, and says to keepers what the world decided.
//!
//! Nothing here decides anything. Every act may be done twice, and may be left undone by a death: recovery finds out.

use super::handle::Submit;
use super::specs::make_room;
use super::{Engine, rebuild};
use kin_core::{Act, Fact, Refusal, Run, RunId, RunNo, StopKind};
use kin_keeper::table::INTENT;
use kin_keeper::wire::{self, Ask, Record};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

impl Engine {
    /// Writes the spec of a run about to be accepted, and makes room for its logs.
    pub(super) fn write_spec(&self, id: &RunId, submit: &mut Submit) -> Result<(), Refusal> {
        let base = self.dirs.log_base(id);
        let spec = &mut submit.spec;
        spec.log_base = base.as_os_str().as_bytes().to_vec();
        spec.cgroup = id.no.to_string().into_bytes();
        let socket = self.dirs.socket_of_api();
        let ours: [(&[u8], Vec<u8>); 5] = [
            (b"KIN_JOB=", id.job.as_str().into()),
            (b"KIN_RUN_ID=", id.to_string().into()),
            (b"KIN_SLOT=", b"0".to_vec()),
            (b"KIN_ATTEMPT=", b"1".to_vec()),
            (b"KIN_SOCKET=", socket.as_os_str().as_bytes().to_vec()),
        ];
        spec.env.retain(|entry| !ours.iter().any(|(name, _)| entry.starts_with(name)));
        spec.env.extend(ours.into_iter().map(|(name, value)| [name, &value].concat()));
        let put = |e: io::Error| {
            self.remove_spec(id.no);
            if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                return Refusal::NoRoom { why: format!("the run's spec could not be written: {e}") };
            }
            Refusal::Unavailable { why: format!("the run's spec could not be written: {e}") }
        };
        spec.logs_by_hand = make_room(&base, &self.dirs.state).map_err(put)?;
        let (group, group_max) = submit.new.serial.clone().map_or((None, 0), |serial| (Some(serial.group), serial.max));
        let (trigger, tags) = (submit.new.trigger.clone(), submit.new.tags.clone());
        let begun = Run { group, group_max, trigger, tags, ..rebuild::bare(id.clone(), self.now()) };
        spec.memo = kin_ledger::memo(&begun).into_bytes();
        let bytes = spec.encode().map_err(|bad| Refusal::Malformed { what: bad.to_string() })?;
        let key = spec.hand_key;
        self.put_spec(id.no, &bytes).and_then(|()| self.hold_hand(id.no, key)).map_err(put)
    }

    /// Keepers hold what was handed in under this key for as long as the run waits: they find its spec by the key.
    fn hold_hand(&self, no: RunNo, key: u64) -> io::Result<()> {
        if key == 0 {
            return Ok(());
        }
        let link = self.dirs.hand(key);
        let target = Path::new("../spec").join(no.to_string());
        match std::os::unix::fs::symlink(&target, &link) {
            // Of a run that was not recorded in the end.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                remove(&link);
                std::os::unix::fs::symlink(&target, &link)
            }
            made => made,
        }
    }

    pub(super) fn remove_spec(&self, no: RunNo) {
        let adopted = self.dirs.adopted().join(no.to_string());
        for path in [self.dirs.spec(no), self.dirs.spec_withdrawn(no), self.dirs.spec_new(no), adopted] {
            remove(&path);
        }
        if let Err(e) = crate::surroundings::clear(&self.dirs.run, no) {
            crate::say!("kin daemon: cannot take away what run {no} had: {e}");
        }
    }

    /// Does what was decided, in its order. What it learns on the way is left in `self.later`.
    pub(super) fn perform(&mut self, acts: Vec<Act>) {
        let mut out: BTreeMap<u64, Vec<Record>> = BTreeMap::new();
        let (mut starts, mut removes, mut forgets) = (false, false, false);
        // To a keeper nothing is said twice that would hurt; and what was held back comes first.
        let held = if self.survivors.knows_ours() { std::mem::take(&mut self.unsaid) } else { Vec::new() };
        for act in held.into_iter().chain(acts) {
            match act {
                Act::Stop { run, .. } | Act::Signal { run, .. }
                    if self.survivors.has(run) && !self.survivors.knows_ours() =>
                {
                    self.unsaid.push(act);
                }
                Act::Start { run, generation } => {
                    if self.world.may_start(run, generation) {
                        if !starts {
                            self.step("start-committed");
                        }
                        starts = true;
                        out.entry(generation).or_default().push(Ask::Start { run: run.get() }.encode());
                    }
                }
                Act::Stop { run, kind } => {
                    self.step("stop-committed");
                    if self.survivors.has(run) {
                        self.know_ours();
                        if kind == StopKind::Kill {
                            self.polite.give_up(run);
                        }
                        self.survivors.stop(&self.dirs, run, kind);
                        continue;
                    }
                    let ask = match kind {
                        StopKind::Ladder => self.ask_to_end(run),
                        StopKind::Kill => {
                            self.polite.give_up(run);
                            Ask::Stop { run: run.get(), why: wire::StopKind::Kill }
                        }
                    };
                    self.to_holder(&mut out, run, ask);
                }
                Act::Signal { run, signal, leader_only } => {
                    if self.survivors.has(run) {
                        self.know_ours();
                        self.survivors.signal(run, signal, leader_only);
                        continue;
                    }
                    self.to_holder(&mut out, run, Ask::Signal { run: run.get(), signal, leader_only });
                }
                Act::Withdraw { run } => {
                    if let Some(fact) = self.withdraw(run) {
                        self.later.push(fact);
                    }
                }
                Act::RemoveSpec { run } => {
                    self.polite.over(&self.dirs.run, run);
                    self.remove_spec(run);
                    self.remove_given(run);
                    self.making.forget(run);
                    self.polite.forget(run);
                    self.blocked.remove(&run);
                    if self.survivors.forget(&mut self.link, run) {
                        // Its table may hold nothing more.
                        self.look = true;
                    }
                    removes = true;
                }
                Act::Forget { run } => {
                    if removes && !forgets {
                        self.step("end-spec-removed");
                    }
                    forgets = true;
                    let link = &self.link;
                    if let Some((generation, _)) = self.tables.find(run, |generation| link.is_connected(generation)) {
                        out.entry(generation).or_default().push(Ask::Forget { run: run.get() }.encode());
                    }
                }
            }
        }
        for (generation, records) in out {
            self.link.send(generation, &records);
        }
        if starts {
            self.step("start-sent");
        }
        if forgets {
            self.step("end-forgotten");
        }
    }

    /// To the keeper whose table has the run; while none has, to all: who does not have it passes over it.
    pub(super) fn to_holder(&self, out: &mut BTreeMap<u64, Vec<Record>>, run: RunNo, ask: Ask) {
        match self.tables.find(run, |generation| self.link.is_connected(generation)) {
            Some((generation, _)) => out.entry(generation).or_default().push(ask.encode()),
            None => {
                for generation in self.link.connected() {
                    out.entry(generation).or_default().push(ask.encode());
                }
            }
        }
    }

    /// Takes the spec away, then looks whether anybody had used it before.
    fn withdraw(&self, no: RunNo) -> Option<Fact> {
        let (spec, withdrawn) = (self.dirs.spec(no), self.dirs.spec_withdrawn(no));
        match std::fs::rename(&spec, &withdrawn) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => {
                crate::say!("kin daemon: cannot withdraw {}: {e}", spec.display());
                return None;
            }
        }
        // In a table that nobody serves, an intent without a process proves that nothing ran.
        let used = self.tables.iter().any(|(generation, known)| {
            super::slot::of_run(&known.table, no.get())
                .is_some_and(|s| self.is_served(generation) || s.state != INTENT || s.pid != 0)
        });
        if !used {
            return Some(Fact::Withdrawn { run: no });
        }
        if let Err(e) = std::fs::rename(&withdrawn, &spec)
            && e.kind() != io::ErrorKind::NotFound
        {
            crate::say!("kin daemon: cannot put {} back: {e}", spec.display());
        }
        None
    }

    /// Says to both keepers where the new program is.
    pub(super) fn write_upgrade(&self, program: &Path) -> io::Result<()> {
        let new = self.dirs.run.join(".upgrade.new");
        File::create(&new)?.write_all(program.as_os_str().as_bytes())?;
        std::fs::rename(&new, self.dirs.upgrade())
    }

    /// A place at which a test may have this process, or this engine, die.
    pub(super) fn step(&self, name: &'static str) {
        kin_keeper::fault::point(name);
        #[cfg(test)]
        super::tests::perhaps_die(&self.dirs.state, name);
    }
}

pub(super) fn remove(path: &Path) {
    if let Err(e) = std::fs::remove_file(path)
        && e.kind() != io::ErrorKind::NotFound
    {
        crate::say!("kin daemon: cannot remove {}: {e}", path.display());
    }
}
