//! `kin-floor`: the least that could do the same work. What kin costs is said as a ratio to these.
//!
//! | mode | what it does |
//! |---|---|
//! | `spawn n program` | starts a program and waits for it, n times; prints wall and processor time in ns |
//! | `spawn-pipes n program` | the same, with two pipes read to their end |
//! | `spawn-sync n program file` | the same, and a line written and synced to a file each time, as a record would be |
//! | `spawn-two n program` | two threads share the n |
//! | `serve socket program` | the smallest daemon: for each byte it reads from its one client it starts the program, and answers with the byte once the program runs; reaps at the end |
//! | `burst n program ns` | starts the program n times from that instant on, as fast as one thread can, and waits for all at the end |
//! | `write bytes line` | lines of so many bytes to stdout, each by a write of its own |
//! | `stamp path` | appends the time, first thing |

use crate::{procfs, witness};
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

pub fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["spawn", n, program] => one_by_one(n, || quiet(program).status().map(drop)),
        ["spawn-pipes", n, program] => one_by_one(n, || Command::new(program).output().map(drop)),
        ["spawn-two", n, program] => two_abreast(n, program),
        ["spawn-sync", n, program, file] => synced(n, program, Path::new(file)),
        ["serve", socket, program] => serve(Path::new(socket), program),
        ["burst", n, program, at] => burst(n, program, at),
        ["write", bytes, line] => write(bytes, line),
        ["stamp", path] => witness::append(Path::new(path), &witness::unix_ns().to_string()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "see testkit::floor for the modes")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kin-floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn number(word: &str) -> io::Result<u64> {
    word.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("not a number: {word}")))
}

fn quiet(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Does the work, then prints what it cost: wall and processor time in ns.
fn costed(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let start = Instant::now();
    work()?;
    let wall = start.elapsed();
    let cpu = procfs::cpu(std::process::id()).unwrap_or_default();
    println!("{} {}", wall.as_nanos(), cpu.total().as_nanos());
    Ok(())
}

fn one_by_one(n: &str, mut each: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let n = number(n)?;
    costed(|| (0..n).try_for_each(|_| each()))
}

fn synced(n: &str, program: &str, path: &Path) -> io::Result<()> {
    let mut record = OpenOptions::new().create(true).append(true).open(path)?;
    one_by_one(n, || {
        quiet(program).status()?;
        record.write_all(&[b'r'; 64])?;
        record.sync_data()
    })
}

fn two_abreast(n: &str, program: &str) -> io::Result<()> {
    let each = number(n)? / 2;
    let lane = || (0..each).try_for_each(|_| quiet(program).status().map(drop));
    costed(|| {
        std::thread::scope(|scope| {
            let lanes = [scope.spawn(lane), scope.spawn(lane)];
            lanes.into_iter().try_for_each(|lane| lane.join().map_err(|_| io::Error::other("a lane fell over"))?)
        })
    })
}

fn serve(socket: &Path, program: &str) -> io::Result<()> {
    let (mut client, _) = UnixListener::bind(socket)?.accept()?;
    let (program, args) = program.split_once(' ').unwrap_or((program, ""));
    let mut children = Vec::new();
    let mut byte = [0];
    while client.read(&mut byte)? == 1 {
        children.push(quiet(program).args(args.split_whitespace()).spawn()?);
        client.write_all(&byte)?;
        if children.len() > 64 {
            children.drain(..).try_for_each(|mut child| child.wait().map(drop))?;
        }
    }
    children.into_iter().try_for_each(|mut child| child.wait().map(drop))
}

fn burst(n: &str, program: &str, at: &str) -> io::Result<()> {
    let (n, at) = (number(n)?, number(at)?);
    let (program, args) = program.split_once(' ').unwrap_or((program, ""));
    let args: Vec<&str> = args.split_whitespace().collect();
    crate::wait::let_time_pass(std::time::Duration::from_nanos(at.saturating_sub(witness::unix_ns())));
    let start = |_| quiet(program).args(&args).spawn();
    let children: Vec<_> = (0..n).map(start).collect::<io::Result<_>>()?;
    children.into_iter().try_for_each(|mut child| child.wait().map(drop))
}

fn write(bytes: &str, line: &str) -> io::Result<()> {
    let (bytes, size) = (number(bytes)?, number(line)?.max(1));
    let mut line: Vec<u8> = (0..size).map(|i| b'a' + (i % 26) as u8).collect();
    if let Some(last) = line.last_mut() {
        *last = b'\n';
    }
    let mut left = bytes;
    while left > 0 {
        let want = left.min(size) as usize;
        left -= rustix::io::write(rustix::stdio::stdout(), &line[..want])? as u64;
    }
    Ok(())
}
