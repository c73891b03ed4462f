//! What it costs to keep what runs write.

use super::Bench;
use super::figure::{Figure, Target, quantile};
use super::rig::Rig;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::http::Request;
use testkit::{procfs, witness};

const GIB: f64 = (1u64 << 30) as f64;

pub(super) fn run(bench: &Bench) -> Vec<Figure> {
    let mut rig = Rig::start(bench, "fast");
    let mut figures = Vec::new();
    for (line, bytes) in [(80, 256u64 << 20), (4096, 512 << 20), (65_536, 512 << 20)] {
        let (mut keeper, mut both) = (Vec::new(), Vec::new());
        for _ in 0..bench.rounds {
            let (own, all) = captured(bench, &mut rig, bytes, line, 1);
            keeper.push(own / (bytes as f64 / GIB));
            both.push(all / to_file(bench, bytes, line, 1));
        }
        let name = format!("keeper's CPU per GiB, writes of {line} B");
        figures.push(Figure::new(name, keeper, "s", Target::AtMost(0.6)));
        figures.push(Figure::new("… with the child, over child > file", both, "×", Target::None));
    }
    for (name, bytes, children) in
        [("1 GiB of 100-byte lines", 1u64 << 30, 1), ("100 children of 10 MB at once", 10_000_000, 100)]
    {
        let mut ratios = Vec::new();
        for _ in 0..bench.rounds {
            let (_, all) = captured(bench, &mut rig, bytes, 100, children);
            ratios.push(all / to_file(bench, bytes, 100, children));
        }
        let name = format!("keeper and child over child > file: {name}");
        figures.push(Figure::new(name, ratios, "×", Target::AtMost(1.8)));
    }
    let mut first_bytes: Vec<f64> = (0..bench.rounds).map(|_| follower(&mut rig)).collect();
    first_bytes.sort_by(f64::total_cmp);
    figures.push(Figure::new("a line's way to a follower, p99", first_bytes, "ms", Target::AtMost(5.0)));
    rig.server.shutdown();
    figures
}

/// Seconds of the keeper alone, and of keeper and children. Every byte is counted.
fn captured(bench: &Bench, rig: &mut Rig, bytes: u64, line: u64, children: usize) -> (f64, f64) {
    let (bytes_word, line) = (bytes.to_string(), line.to_string());
    let request = rig.request(&[&bench.floor.to_string_lossy(), "write", &bytes_word, &line]);
    warm(bytes * children as u64);
    rig.connect();
    let before = rig.used();
    let ids = rig.submit_batch(&request, children);
    rig.wait_all(ids.last().expect("a run"));
    let used = rig.used().since(before);
    for id in &ids {
        let run = rig.server.show(id);
        let count = |name: &str| run[name].as_u64().unwrap_or_default();
        assert_eq!(count("out_bytes") + count("out_dropped"), bytes, "no byte is lost: {run}");
    }
    // A GiB kept of every round would fill the disk: what was measured goes.
    let logs = rig.server.state().join("logs/kin-floor");
    std::fs::remove_dir_all(&logs).expect("the logs go");
    std::fs::create_dir(&logs).expect("and their directory stays");
    (used.keeper.own.as_secs_f64(), (used.keeper.own + used.keeper.waited).as_secs_f64())
}

/// Writes so many bytes into a file and removes it: the next to write is given the memory that this one had. A page that
/// a virtual machine never touched costs ten times as much to fill, and whoever meets it would be blamed.
fn warm(bytes: u64) {
    let mut file = tempfile::tempfile_in("/tmp").expect("a file");
    let block = vec![b'w'; 1 << 20];
    for _ in 0..bytes.div_ceil(1 << 20) {
        file.write_all(&block).expect("writes");
    }
}

/// Seconds of the children alone, each writing to a file of its own.
fn to_file(bench: &Bench, bytes: u64, line: u64, children: usize) -> f64 {
    let dir = tempfile::Builder::new().prefix("kin-floor-").tempdir_in("/tmp").expect("a directory");
    warm(bytes * children as u64);
    let mine = || procfs::cpu(std::process::id()).expect("me").waited;
    let before = mine();
    let start = |i: usize| {
        let file = std::fs::File::create(dir.path().join(i.to_string())).expect("a file");
        let mut command = Command::new(&bench.floor);
        command.args(["write", &bytes.to_string(), &line.to_string()]).stdout(file).stdin(Stdio::null());
        command.spawn().expect("the floor runs")
    };
    let running: Vec<_> = (0..children).map(start).collect();
    for mut child in running {
        assert!(child.wait().expect("it ends").success());
    }
    (mine().saturating_sub(before)).as_secs_f64()
}

/// Milliseconds from a line's writing to its reading by a follower; the 99th of a hundred.
fn follower(rig: &mut Rig) -> f64 {
    let guest = testkit::guest_path();
    let request = rig.request(&[&guest.to_string_lossy(), "clock", "n=400", "every_ms=5"]);
    rig.connect();
    let id = rig.submit(&request);
    let follow = Request::get(format!("/v1/runs/{id}/output?stream=out&offset=0&follow=true"));
    let mut http = rig.server.http();
    let mut stream = http.stream(&follow).expect("a stream");
    stream.set_patience(Duration::from_secs(20)).expect("a timeout");
    let (mut times, mut torn, mut buf) = (Vec::new(), Vec::new(), [0; 4096]);
    loop {
        let n = stream.read(&mut buf).expect("the stream goes on to its end");
        if n == 0 {
            break;
        }
        let now = witness::unix_ns();
        torn.extend_from_slice(&buf[..n]);
        while let Some(at) = torn.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = torn.drain(..=at).collect();
            let written: u64 = String::from_utf8_lossy(&line).trim().parse().expect("a time");
            times.push(now.saturating_sub(written) as f64 / 1e6);
        }
    }
    assert_eq!(times.len(), 400, "a follower sees every line");
    times.sort_by(f64::total_cmp);
    quantile(&times, 0.99)
}
