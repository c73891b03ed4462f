//! A run table's slot, in the words of the rules.

use kin_core::{Close, Exit, How, Ladder, Phase, RunNo, Seen, SpawnStep, Time};
use kin_keeper::table::{DRAINED, EXITED, FREE, INTENT, RUNNING, SIGNAL_BITS, Slot, Snapshot, Table, flag};

const CLD_EXITED: i32 = 1;
const CLD_DUMPED: i32 = 3;

/// `None`: a state of a layout that we do not know.
pub(super) fn seen(s: &Snapshot) -> Option<Seen> {
    let phase = match s.state {
        INTENT => Phase::Intent,
        RUNNING => Phase::Running,
        EXITED => Phase::Exited(close(s)),
        DRAINED => Phase::Drained(close(s)),
        _ => return None,
    };
    Some(Seen {
        phase,
        pid: (s.pid != 0).then_some(s.pid),
        started_at: (s.t_start != 0).then(|| time(s.t_start)),
        out_bytes: s.out_len,
        err_bytes: s.err_len,
        out_dropped: s.out_dropped,
        err_dropped: s.err_dropped,
        max_rss_bytes: (s.max_rss_kib != 0).then_some(s.max_rss_kib * 1024),
        cpu_ms: (s.user_us + s.system_us != 0).then_some((s.user_us + s.system_us) / 1000),
        // A keeper that counts them at all has seen the leader's account.
        read_bytes: (s.max_rss_kib != 0).then_some(s.read_bytes),
        write_bytes: (s.max_rss_kib != 0).then_some(s.write_bytes),
        left_behind: s.left_behind,
        stop_asked: s.flags & flag::STOP_ASKED != 0,
        ladder: ladder(s),
        adopted: s.flags & flag::ADOPTED != 0,
    })
}

/// A first signal that was never sent has no number.
fn ladder(s: &Snapshot) -> Ladder {
    match (s.flags & flag::KILLED != 0, s.stop_signal & SIGNAL_BITS != 0) {
        (false, false) => Ladder::Untouched,
        (false, true) => Ladder::Asked,
        (true, true) => Ladder::KilledAfter,
        (true, false) => Ladder::Killed,
    }
}

fn close(s: &Snapshot) -> Close {
    let how = if s.flags & flag::SPAWN_FAILED != 0 {
        // A step that only a newer keeper knows is still a step before the program was there.
        let step = u8::try_from(s.step).ok().and_then(SpawnStep::from_number).unwrap_or(SpawnStep::Exec);
        How::SpawnFailed { step, errno: s.errno }
    } else if s.flags & flag::STATUS_UNKNOWN != 0 {
        How::Unknown
    } else {
        exit(s.si_code, s.si_status).map_or(How::Unknown, How::Exit)
    };
    let at = if s.t_exit != 0 { s.t_exit } else { s.t_drained };
    Close { how, at: time(at), timed_out: s.flags & flag::TIMED_OUT != 0, oom: s.flags & flag::OOM != 0 }
}

/// As `waitid` says it.
pub(crate) fn exit(si_code: i32, si_status: i32) -> Option<Exit> {
    let status = u8::try_from(si_status).ok()?;
    Some(match si_code {
        CLD_EXITED => Exit::Code(status),
        code => Exit::Signal { signal: status, core: code == CLD_DUMPED },
    })
}

pub(super) fn time(ns: u64) -> Time {
    Time(i64::try_from(ns).unwrap_or(i64::MAX))
}

/// A slot as it was at one instant, also when it changes hands while it is read.
fn steady(slot: &Slot, at: usize) -> Option<Snapshot> {
    loop {
        match slot.snapshot(at as u32) {
            Some(s) if s.state == FREE => return None,
            Some(s) => return Some(s),
            None => std::hint::spin_loop(),
        }
    }
}

/// Every slot of a run. (Helpers are nobody's history: `crate::helper` sees to them.) Unlike `Table::snapshots` it passes over none: whoever concludes from a run's absence needs all.
pub(super) fn all(table: &Table) -> impl Iterator<Item = Snapshot> + '_ {
    let runs = |s: &Snapshot| !RunNo::new(s.run).is_some_and(RunNo::is_helper);
    table.slots().iter().enumerate().filter_map(|(at, slot)| steady(slot, at)).filter(runs)
}

pub(crate) fn of_run(table: &Table, run: u64) -> Option<Snapshot> {
    let at = table.find(run)? as usize;
    steady(table.slots().get(at)?, at).filter(|s| s.run == run)
}

pub(super) fn has_room(table: &Table) -> bool {
    table.slots().iter().any(|slot| slot.state.load(std::sync::atomic::Ordering::Relaxed) == FREE)
}
