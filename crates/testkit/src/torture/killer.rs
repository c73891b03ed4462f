//! Who dies when: a random role at a random instant, or whoever comes by a fault point; and again when the guard is whole.

use super::field::Field;
use crate::rng::Rng;
use crate::server::{Pids, Role};
use crate::wait::{let_time_pass, within};
use crate::witness::unix_ns;
use std::path::Path;
use std::time::{Duration, Instant};

const WHOLE_WITHIN: Duration = Duration::from_secs(30);

/// The places between two steps where a process of kin can be told to die.
pub const DAEMON_POINTS: [&str; 9] = [
    "accept-minted",
    "accept-spec",
    "accept-committed",
    "accept-answered",
    "start-committed",
    "start-sent",
    "end-committed",
    "end-spec-removed",
    "end-forgotten",
];
pub const KEEPER_POINTS: [&str; 7] =
    ["start-intent", "start-piped", "start-backed-up", "start-cloned", "exit-noted", "exit-reaped", "drained"];

pub fn drive(field: &Field) -> Result<(), String> {
    let mut rng = Rng::part(field.options.seed, u64::MAX);
    let started = Instant::now();
    let mut http = field.server().http().patience(Duration::from_secs(2));
    let mut said = 0;
    while field.kill_count() < field.options.kills && !field.has_failed() {
        if field.options.at_most.is_some_and(|most| started.elapsed() > most) {
            break;
        }
        let pids = whole(field, &mut http)?;
        let_time_pass(Duration::from_micros(if rng.percent(50) { rng.below(5_000) } else { rng.below(50_000) }));
        let killed_at = Instant::now();
        let Some(who) = field.strike(|| kill(field, pids, &mut rng))? else { continue };
        whole(field, &mut http)?;
        field.recovered(who, killed_at.elapsed());
        let kills = field.kill_count();
        if kills >= said + 250 {
            said = kills;
            let (runs, unknown) = (field.report().runs, field.report().unknown);
            field.talk(&format!(
                "{kills} kills, {runs} runs, {unknown} lost(unknown), {:.0} s",
                started.elapsed().as_secs_f64()
            ));
        }
    }
    whole(field, &mut http).map(drop)
}

fn whole(field: &Field, http: &mut crate::Http) -> Result<Pids, String> {
    let mut why = String::new();
    let pids = within(WHOLE_WITHIN, || match field.server().look(http) {
        Ok(pids) => Some(pids),
        Err(error) => {
            why = error;
            None
        }
    });
    let pids = pids.ok_or_else(|| format!("the guard is not whole after {WHOLE_WITHIN:?}: {why}"))?;
    field.saw_chain(pids);
    Ok(pids)
}

/// Kills, and says under which name it counts; `None` when there was nobody to kill after all.
fn kill(field: &Field, pids: Pids, rng: &mut Rng) -> Result<Option<&'static str>, String> {
    let victims = &field.options.victims;
    if field.options.pairs {
        let first = *rng.pick(victims);
        let Some(second) = victims.iter().copied().filter(|role| *role != first).nth(rng.below(3) as usize % 3) else {
            return Ok(one(field, first));
        };
        let one_died = one(field, first);
        let_time_pass(Duration::from_micros(rng.below(5_000)));
        let other_died = one(field, second);
        return Ok(if one_died.is_some() && other_died.is_some() { Some("pair") } else { one_died.or(other_died) });
    }
    if rng.percent(field.options.faults_percent) {
        return aimed(field, pids, rng);
    }
    Ok(one(field, *rng.pick(victims)))
}

fn one(field: &Field, role: Role) -> Option<&'static str> {
    let from = unix_ns();
    let pid = field.server().kill(role)?;
    field.killed(pid, role.word(), from);
    Some(role.word())
}

/// Lays out a fault, and waits for somebody to step on it.
fn aimed(field: &Field, pids: Pids, rng: &mut Rng) -> Result<Option<&'static str>, String> {
    let victims = &field.options.victims;
    let mut points = Vec::new();
    if victims.contains(&Role::Daemon) {
        points.extend(DAEMON_POINTS);
    }
    if victims.contains(&Role::Keeper) {
        points.extend(KEEPER_POINTS);
    }
    if points.is_empty() {
        return Ok(None);
    }
    let point = *rng.pick(&points);
    let path = field.faults.join(point);
    let from = unix_ns();
    std::fs::write(&path, "").map_err(|e| e.to_string())?;
    let stepped_on = |path: &Path| (!path.exists()).then_some(());
    if within(Duration::from_millis(1500), || stepped_on(&path)).is_none() && std::fs::remove_file(&path).is_ok() {
        return Ok(None);
    }
    let dead = within(Duration::from_secs(5), || field.dead_of(pids));
    let (pid, role) = dead.ok_or_else(|| format!("{point} was stepped on, and nobody died"))?;
    field.killed(pid, role, from);
    field.note(|report| *report.aimed.entry(point.into()).or_default() += 1);
    Ok(Some("fault point"))
}
