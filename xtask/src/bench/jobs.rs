//! Defined jobs: a thousand services in one go, ten thousand definitions, and what one changed file costs.

use super::Bench;
use super::figure::{Figure, Target};
use super::memory::{SETTLES, quiet};
use super::rig::Rig;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use testkit::http::Request;
use testkit::procfs;
use testkit::server::{DEADLINE, Options};
use testkit::wait::let_time_pass;

const SERVICES: usize = 1_000;
const JOBS: usize = 10_000;
const MIB: f64 = 1024.0 * 1024.0;

fn services(name: &str, count: usize, seconds: u32) -> String {
    (0..count).fold(String::new(), |mut text, n| {
        writeln!(text, "[{name}-{n}]\nexec = ['/bin/sleep', '{seconds}']\nrestart = 'always'\nrolling = false")
            .expect("writes into memory");
        text
    })
}

fn tasks(count: usize) -> String {
    (0..count).fold(String::new(), |mut text, n| {
        writeln!(
            text,
            "[task-{n}]\nexec = ['./run', '--number', '{n}']\ntimeout = '1h'\nenv = {{ LEVEL = 'info', N = {n} }}"
        )
        .expect("writes into memory");
        text
    })
}

fn running(rig: &mut Rig) -> BTreeSet<String> {
    let list =
        rig.http.insist(&Request::get("/v1/runs?state=running&limit=10000"), DEADLINE).expect("an answer").json();
    let id = |run: &Value| run["id"].as_str().map(str::to_string);
    list["runs"].as_array().into_iter().flatten().filter_map(id).collect()
}

fn until_all_run(rig: &mut Rig, count: usize) -> BTreeSet<String> {
    testkit::eventually("all of them run", Duration::from_secs(300), || {
        Some(running(rig)).filter(|runs| runs.len() == count)
    })
}

/// As many children by the standard library, one after the other: the least that could be done.
fn bare_children() -> f64 {
    let start = Instant::now();
    let one = |_| {
        let mut command = Command::new("/bin/sleep");
        command.arg("100000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("sleep starts")
    };
    let children: Vec<Child> = (0..SERVICES).map(one).collect();
    let took = start.elapsed().as_secs_f64();
    for mut child in children {
        child.kill().expect("kills it");
        child.wait().expect("reaped");
    }
    took
}

fn reload(rig: &mut Rig) -> (Value, f64) {
    let start = Instant::now();
    let answer = rig.http.insist(&Request::post("/v1/reload", &json!({})), Duration::from_secs(300));
    (answer.expect("an answer").expect(200).json(), start.elapsed().as_secs_f64())
}

pub(super) fn run(bench: &Bench) -> Vec<Figure> {
    let mut figures = up_at_once(bench);
    figures.extend(many_definitions(bench));
    figures
}

fn up_at_once(bench: &Bench) -> Vec<Figure> {
    let (mut took, mut floors, mut memory, mut woken) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..bench.rounds.min(3) {
        floors.push(bare_children());
        let mut rig = Rig::of(Options::new(&bench.kin).start());
        let start = Instant::now();
        rig.server.write_jobs(&services("web", SERVICES, 100_000));
        until_all_run(&mut rig, SERVICES);
        took.push(start.elapsed().as_secs_f64());
        if round == 0 {
            let pids = [Some(rig.pids.elder), Some(rig.pids.keeper), Some(rig.pids.daemon), rig.server.front_pid()];
            let held = pids.into_iter().flatten().map(|pid| procfs::anonymous(pid).expect("it lives") as f64);
            memory.push(held.sum::<f64>() / MIB);
            let_time_pass(SETTLES);
            woken.push(quiet([rig.pids.elder, rig.pids.keeper, rig.pids.daemon], Duration::from_secs(10)));
        }
        rig.server.shutdown();
    }
    let ratios = took.iter().zip(&floors).map(|(took, floor)| took / floor).collect();
    let floor = floors.iter().copied().fold(f64::INFINITY, f64::min);
    let name = format!("{SERVICES} services, from their file to all of them running");
    vec![
        Figure::new(name, took, "s", Target::None).beside(format!("{floor:.2} s for as many bare children")),
        Figure::new("… over bare children", ratios, "×", Target::None),
        Figure::new(format!("all of kin, {SERVICES} services"), memory, "MiB", Target::None),
        Figure::new(
            format!("wake-ups of elder, keeper and daemon in 10 s, {SERVICES} services"),
            woken,
            "",
            Target::AtMost(0.0),
        ),
    ]
}

fn many_definitions(bench: &Bench) -> Vec<Figure> {
    let (mut loads, mut changes, mut again, mut others) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds.min(3) {
        let mut rig = Rig::of(Options::new(&bench.kin).start());
        let few = rig.server.home().join("few.toml");
        // Read once, by whoever asks first.
        let new = rig.server.home().join(".many.new");
        std::fs::write(&new, tasks(JOBS) + &services("web", 3, 100_000)).expect("writes");
        std::fs::write(&few, services("few", 3, 100_000)).expect("writes");
        std::fs::rename(&new, rig.server.home().join("many.toml")).expect("renames");
        let (answer, took) = reload(&mut rig);
        assert_eq!(answer["mistakes"], json!([]), "{answer}");
        loads.push(took);
        let before = until_all_run(&mut rig, 6);
        // One file of the two changes: its three services are others, and nobody else is.
        let start = Instant::now();
        std::fs::write(&few, services("few", 3, 200_000)).expect("writes");
        let after = testkit::eventually("the changed ones are others", Duration::from_secs(300), || {
            let now = running(&mut rig);
            (now.len() == 6 && now.iter().filter(|id| id.starts_with("few-")).all(|id| !before.contains(id)))
                .then_some(now)
        });
        changes.push(start.elapsed().as_secs_f64());
        others.push(after.iter().filter(|id| !id.starts_with("few-") && !before.contains(*id)).count() as f64);
        let start = Instant::now();
        rig.server.kill(testkit::Role::Daemon).expect("a daemon");
        rig.server.wait_whole(Duration::from_secs(60));
        again.push(start.elapsed().as_secs_f64());
        rig.server.shutdown();
    }
    vec![
        Figure::new(format!("{JOBS} definitions, read, compared and recorded"), loads, "s", Target::AtMost(1.0)),
        Figure::new("one changed file among them, until its three services are others", changes, "s", Target::None),
        Figure::new("… other services that were restarted", others, "", Target::AtMost(0.0)),
        Figure::new(format!("a killed daemon serves again, {JOBS} definitions"), again, "s", Target::None),
    ]
}
