//! The tour of the README, on a machine that has nothing but sh.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use testkit::Server;
use testkit::server::{DEADLINE, Options};

/// A directory with these programs and no others.
fn only(server: &Server, programs: &[&str]) -> PathBuf {
    let bin = server.home().join("bin");
    std::fs::create_dir(&bin).expect("a directory");
    for program in programs {
        let real = ["/bin", "/usr/bin"].map(|dir| Path::new(dir).join(program)).into_iter().find(|path| path.exists());
        symlink(real.unwrap_or_else(|| panic!("no {program} on this machine")), bin.join(program)).expect("links");
    }
    bin
}

#[test]
fn the_tour_shows_what_it_says() {
    let mut server = Options::new(env!("CARGO_BIN_EXE_kin")).prepare();
    let bin = only(&server, &["sh", "sleep", "date"]);
    server.set_env("PATH", bin.to_string_lossy());
    server.start_again();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tour/kin.toml");
    let mut up = server.command();
    up.args(["up", "--file"]).arg(&file).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut up = up.spawn().expect("kin starts");
    let (send, lines) = mpsc::channel();
    let out: Box<dyn Read + Send> = Box::new(up.stdout.take().expect("a pipe"));
    let err: Box<dyn Read + Send> = Box::new(up.stderr.take().expect("a pipe"));
    for stream in [out, err] {
        let send = send.clone();
        std::thread::spawn(move || {
            let lines = BufReader::new(stream).lines().map_while(Result::ok);
            lines.map(|line| send.send(line)).take_while(Result::is_ok).for_each(drop);
        });
    }
    let mut wanted = vec![
        "kin: tour is up: 2 services, 1 scheduled job, 4 tasks",
        "prepare   | ready to begin",
        "build     | no luck, this time",
        "build     | built",
        "report    | prepare, build, report: that was a chain.",
        "report    |     kin down           ends it",
        "web       | listening (nowhere: there is no python3 here)",
        "web       * ready",
        "worker    | at work, attempt 1",
        "worker    * ended: failed(1)",
        "worker    | at work, attempt 2",
    ];
    let mut seen = Vec::new();
    let until = std::time::Instant::now() + 2 * DEADLINE;
    while !wanted.is_empty() {
        assert!(std::time::Instant::now() < until, "still not: {wanted:?}\n{}", seen.join("\n"));
        let line =
            lines.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("still not: {wanted:?}\n{}", seen.join("\n")));
        wanted.retain(|wanted| !line.starts_with(wanted));
        seen.push(line);
    }
    let down = server.command().args(["down", "-p", "tour"]).output().expect("kin starts");
    assert!(down.status.success(), "{down:?}");
    assert!(up.wait().expect("it ends with what it follows").success());
    server.shutdown();
}
