//! `kin-guest`: small programs that behave badly on purpose. `kin-guest MODE key=value …`
//!
//! | mode | what it does |
//! |---|---|
//! | `run index witness seed out err chunk spread_us end` | writes seeded patterns to both streams, tells the witness, ends as told (`exit:3`, `signal:9`, `forever`) |
//! | `lines n over_ms` | `line 1` … `line n`, evenly over that time; `index` and `witness` as above |
//! | `clock n every_ms` | the time, n times, a line each |
//! | `pattern seed bytes chunk to` | only output, to `out` or `err` |
//! | `exit code`, `signal n` | ends so |
//! | `ignore-term` | says `ready`, and stays whatever TERM, INT and HUP say |
//! | `tree n pids` | n descendants, some in sessions of their own, some of them forked twice; says `ready` when all live |
//! | `hold ms` | the leader ends at once; a child keeps the pipes for that long and says `late` |
//! | `bomb secs` | makes copies of itself as fast as it can, for at most that long |
//! | `probe` | what it was given, as JSON: descriptors, environment, directory, session, limits, masks |
//! | `notify file` | sends each line that comes to that file to `NOTIFY_SOCKET`, for ever |
//! | `serve quit` | answers each connection on descriptor 3 with its pid, until there is a file `<quit><its pid>` |
//! | `forever` | says `ready` and waits to be killed |
//!
//! It has no `unsafe` of its own: signals are ignored by a shell before it, double forks are two programs.

use crate::{pattern, wait, witness};
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// What a guest returns when it could not do its part (a pipe nobody reads any more, mostly).
pub const BROKEN: u8 = 99;

pub fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((mode, rest)) = words.split_first() else {
        eprintln!("kin-guest: which mode?");
        return ExitCode::from(2);
    };
    match Args::parse(rest).and_then(|args| dispatch(mode, &args)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Its stderr may be the broken pipe itself; then the exit code alone must tell.
            drop(writeln!(io::stderr(), "kin-guest {mode}: {error}"));
            ExitCode::from(BROKEN)
        }
    }
}

fn dispatch(mode: &str, args: &Args) -> io::Result<u8> {
    match mode {
        "run" => run(args),
        "lines" => lines(args),
        "clock" => clock(args),
        "pattern" => emit_pattern(args),
        "exit" => Ok(args.number("code")? as u8),
        "signal" => die(args.number("n")? as i32),
        "ignore-term" => ignore_term(args),
        "tree" => tree(args),
        "leaf" => leaf(args),
        "twig" => twig(args),
        "hold" => hold(args),
        "late" => late(args),
        "bomb" => bomb(args),
        "probe" => probe(),
        "notify" => notify(args),
        "serve" => serve(args),
        "forever" => {
            say("ready")?;
            forever()
        }
        _ => Err(bad(format!("no such mode: {mode}"))),
    }
}

fn bad(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// `key=value` words.
struct Args(BTreeMap<String, String>);

impl Args {
    fn parse(words: &[String]) -> io::Result<Args> {
        let pair = |word: &String| match word.split_once('=') {
            Some((key, value)) => Ok((key.to_string(), value.to_string())),
            None => Err(bad(format!("not key=value: {word}"))),
        };
        words.iter().map(pair).collect::<io::Result<_>>().map(Args)
    }
    fn text(&self, key: &str) -> io::Result<&str> {
        self.0.get(key).map(String::as_str).ok_or_else(|| bad(format!("{key}= is missing")))
    }
    fn number(&self, key: &str) -> io::Result<u64> {
        self.text(key)?.parse().map_err(|_| bad(format!("{key}= is not a number")))
    }
    fn number_or(&self, key: &str, default: u64) -> io::Result<u64> {
        if self.0.contains_key(key) { self.number(key) } else { Ok(default) }
    }
    fn path(&self, key: &str) -> Option<PathBuf> {
        self.0.get(key).map(PathBuf::from)
    }
}

/// Where and under which index this guest tells what it does.
struct Telling {
    path: PathBuf,
    index: u64,
}

impl Telling {
    fn begin(args: &Args) -> io::Result<Option<Telling>> {
        let Some(path) = args.path("witness") else { return Ok(None) };
        let telling = Telling { path, index: args.number("index")? };
        witness::began(&telling.path, telling.index)?;
        Ok(Some(telling))
    }
    fn end(telling: Option<&Telling>, code: i32) -> io::Result<()> {
        telling.map_or(Ok(()), |t| witness::ends(&t.path, t.index, code))
    }
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

fn forever() -> io::Result<u8> {
    loop {
        wait::let_time_pass(Duration::from_secs(3600));
    }
}

fn die(signal: i32) -> io::Result<u8> {
    let signal = rustix::process::Signal::from_named_raw(signal).ok_or_else(|| bad(format!("no signal {signal}")))?;
    rustix::process::kill_process(rustix::process::getpid(), signal)?;
    // The signal is delivered before kill returns, unless it is blocked or ignored.
    Err(bad("the signal did not end it".into()))
}

fn run(args: &Args) -> io::Result<u8> {
    let telling = Telling::begin(args)?;
    let end = args.text("end")?;
    match both_streams(args) {
        Ok(()) => {}
        Err(error) => {
            Telling::end(telling.as_ref(), i32::from(BROKEN))?;
            return Err(error);
        }
    }
    match end.split_once(':') {
        Some(("exit", code)) => {
            let code: u8 = code.parse().map_err(|_| bad(format!("end={end}")))?;
            Telling::end(telling.as_ref(), i32::from(code))?;
            Ok(code)
        }
        Some(("signal", signal)) => {
            let signal: i32 = signal.parse().map_err(|_| bad(format!("end={end}")))?;
            Telling::end(telling.as_ref(), -signal)?;
            die(signal)
        }
        _ if end == "forever" => forever(),
        _ => Err(bad(format!("end={end}"))),
    }
}

/// Both patterns, a chunk of one after a chunk of the other, spread over the time given.
fn both_streams(args: &Args) -> io::Result<()> {
    let seed = args.number("seed")?;
    let (out, err) = (args.number("out")?, args.number("err")?);
    let chunk = args.number("chunk")?.max(1);
    let steps = out.div_ceil(chunk).max(err.div_ceil(chunk));
    let spread = Duration::from_micros(args.number("spread_us")?);
    let start = Instant::now();
    let mut buf = vec![0; chunk as usize];
    for step in 0..steps {
        for (which, len) in [(0, out), (1, err)] {
            let from = step * chunk;
            let n = len.saturating_sub(from).min(chunk) as usize;
            pattern::fill(seed, which, from, &mut buf[..n]);
            write_to(which, &buf[..n])?;
        }
        wait::let_time_pass((start + spread.mul_f64((step + 1) as f64 / steps as f64)).duration_since(Instant::now()));
    }
    if steps == 0 {
        wait::let_time_pass(spread);
    }
    Ok(())
}

/// Straight to the descriptor: the sizes of the writes are part of what is tested.
fn write_to(which: u8, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = match which {
            0 => rustix::io::write(rustix::stdio::stdout(), rest)?,
            _ => rustix::io::write(rustix::stdio::stderr(), rest)?,
        };
        rest = &rest[n..];
    }
    Ok(())
}

fn emit_pattern(args: &Args) -> io::Result<u8> {
    let (seed, bytes, chunk) = (args.number("seed")?, args.number("bytes")?, args.number("chunk")?.max(1));
    let which = u8::from(args.text("to")? == "err");
    let mut buf = vec![0; chunk as usize];
    let mut at = 0;
    while at < bytes {
        let n = (bytes - at).min(chunk) as usize;
        pattern::fill(seed, which, at, &mut buf[..n]);
        write_to(which, &buf[..n])?;
        at += n as u64;
    }
    Ok(0)
}

fn clock(args: &Args) -> io::Result<u8> {
    let every = Duration::from_millis(args.number("every_ms")?);
    for _ in 0..args.number("n")? {
        wait::let_time_pass(every);
        say(&witness::unix_ns().to_string())?;
    }
    Ok(0)
}

fn lines(args: &Args) -> io::Result<u8> {
    let telling = Telling::begin(args)?;
    let n = args.number("n")?;
    let over = Duration::from_millis(args.number("over_ms")?);
    let start = Instant::now();
    for line in 1..=n {
        say(&format!("line {line}"))?;
        wait::let_time_pass((start + over.mul_f64(line as f64 / n as f64)).duration_since(Instant::now()));
    }
    let code = args.number_or("code", 0)? as u8;
    Telling::end(telling.as_ref(), i32::from(code))?;
    Ok(code)
}

/// Ignored dispositions are inherited over exec, so a shell can set them.
fn ignore_term(args: &Args) -> io::Result<u8> {
    if args.0.contains_key("deaf") {
        say("ready")?;
        return forever();
    }
    use std::os::unix::process::CommandExt as _;
    let me = std::env::current_exe()?;
    Err(Command::new("/bin/sh").args(["-c", r#"trap "" TERM INT HUP; exec "$0" ignore-term deaf=1"#]).arg(me).exec())
}

fn tree(args: &Args) -> io::Result<u8> {
    let (n, pids) = (args.number("n")?, args.text("pids")?);
    let me = std::env::current_exe()?;
    for i in 0..n {
        // A third stay plain children, a third leave the session, a third leave it and are orphans.
        let mode = if i % 3 == 2 { "twig" } else { "leaf" };
        let mut child = Command::new(&me)
            .args([mode, &format!("pids={pids}"), &format!("session={}", u8::from(i % 3 != 0))])
            .spawn()?;
        if mode == "twig" {
            child.wait()?;
        }
    }
    let all = || std::fs::read_to_string(pids).is_ok_and(|text| text.lines().count() as u64 == n);
    if wait::within(Duration::from_secs(20), || all().then_some(())).is_none() {
        return Err(bad("not all descendants came to life".into()));
    }
    say("ready")?;
    forever()
}

fn leaf(args: &Args) -> io::Result<u8> {
    if args.number("session")? == 1 {
        rustix::process::setsid()?;
    }
    witness::append(Path::new(args.text("pids")?), &std::process::id().to_string())?;
    forever()
}

/// Makes a leaf and ends, so that the leaf is an orphan.
fn twig(args: &Args) -> io::Result<u8> {
    let pids = format!("pids={}", args.text("pids")?);
    drop(Command::new(std::env::current_exe()?).args(["leaf", &pids, "session=1"]).spawn()?);
    Ok(0)
}

fn hold(args: &Args) -> io::Result<u8> {
    let ms = format!("ms={}", args.number("ms")?);
    drop(Command::new(std::env::current_exe()?).args(["late", &ms]).spawn()?);
    say("early")?;
    Ok(args.number_or("code", 0)? as u8)
}

fn late(args: &Args) -> io::Result<u8> {
    wait::let_time_pass(Duration::from_millis(args.number("ms")?));
    say("late")?;
    Ok(0)
}

/// Ends by itself, and its copies with it: each is told when.
fn bomb(args: &Args) -> io::Result<u8> {
    let until = match args.path("until") {
        Some(_) => args.number("until")?,
        None => witness::unix_ns() + args.number("secs")? * 1_000_000_000,
    };
    let me = std::env::current_exe()?;
    let mut children = Vec::new();
    while witness::unix_ns() < until {
        match Command::new(&me).args(["bomb", &format!("until={until}")]).spawn() {
            Ok(child) => children.push(child),
            // At its limit: the next try may find room.
            Err(_) => wait::let_time_pass(Duration::from_millis(1)),
        }
        children.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
    }
    Ok(0)
}

/// Says what a file says, line by line.
fn notify(args: &Args) -> io::Result<u8> {
    let file = PathBuf::from(args.text("file")?);
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    let to = std::env::var_os("NOTIFY_SOCKET").ok_or_else(|| io::Error::other("no NOTIFY_SOCKET"))?;
    let mut said = 0;
    loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        for line in text.split_inclusive('\n').skip(said).filter(|line| line.ends_with('\n')) {
            socket.send_to(line.trim_end().as_bytes(), &to)?;
            said += 1;
        }
        wait::let_time_pass(Duration::from_millis(10));
    }
}

/// One connection after the other on the socket that it was passed: its pid is the answer. It ends between two of them,
/// when the file is there whose name ends in its pid.
fn serve(args: &Args) -> io::Result<u8> {
    let passed = std::env::var("LISTEN_FDS").unwrap_or_default();
    let me = std::process::id();
    if passed != "1" || std::env::var("LISTEN_PID").is_ok_and(|pid| pid != me.to_string()) {
        return Err(io::Error::other(format!("LISTEN_FDS is {passed:?}")));
    }
    let quit = PathBuf::from(format!("{}{me}", args.text("quit")?));
    let listener = std::net::TcpListener::from(kin_keeper::sys::process::inherited(3)?);
    listener.set_nonblocking(true)?;
    say("serving")?;
    while !quit.exists() {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nonblocking(false)?;
                writeln!(stream, "{me}")?;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => wait::let_time_pass(Duration::from_millis(2)),
            Err(e) => return Err(e),
        }
    }
    Ok(0)
}

fn probe() -> io::Result<u8> {
    let list = |dir: &str| -> io::Result<Vec<u32>> {
        Ok(std::fs::read_dir(dir)?.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect())
    };
    let mut fds = BTreeMap::new();
    for fd in list("/proc/self/fd")? {
        // The listing's own descriptor is gone by now.
        if let Ok(target) = std::fs::read_link(format!("/proc/self/fd/{fd}")) {
            fds.insert(fd.to_string(), target.to_string_lossy().into_owned());
        }
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).map_or("", str::trim).to_string()
    };
    let env: BTreeMap<String, String> = std::env::vars_os()
        .map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned()))
        .collect();
    let limits: BTreeMap<String, Vec<String>> = std::fs::read_to_string("/proc/self/limits")?
        .lines()
        .skip(1)
        .map(|l| (l[..25].trim().to_string(), l[25..].split_whitespace().take(2).map(String::from).collect()))
        .collect();
    // Asked of /proc: whoever leads them may live outside of our pid namespace, where the kernel says 0 and rustix has no value.
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let number = |at: usize| -> i32 {
        let words = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        words.split_ascii_whitespace().nth(at).and_then(|word| word.parse().ok()).unwrap_or_default()
    };
    let json = serde_json::json!({
        "pid": std::process::id(),
        "parent": rustix::process::getppid().map(|p| p.as_raw_nonzero().get()),
        "session": number(3),
        "group": number(2),
        "directory": std::env::current_dir()?.to_string_lossy(),
        "umask": field("Umask"),
        "sig_blocked": field("SigBlk"),
        "sig_ignored": field("SigIgn"),
        "uid": rustix::process::getuid().as_raw(),
        "fds": fds,
        "env": env,
        "limits": limits,
        "args": std::env::args().collect::<Vec<_>>(),
    });
    say(&json.to_string())?;
    Ok(0)
}
