//! `kin exec` on a terminal: what is typed reaches the run, what it writes cannot harm the screen.

#[expect(dead_code, reason = "shared with the client's tests; each uses a part")]
#[path = "../crates/client/tests/fake/mod.rs"]
mod fake;
#[path = "../crates/client/tests/fake/keeper.rs"]
mod keeper;

use fake::{Act, Asked, Fake, frame, run_json};
use keeper::{Packet, keeper};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pty::OpenptFlags;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, mpsc};
use testkit::{Server, eventually, server};

/// A terminal of the test's own, with kin in its foreground.
struct Terminal {
    master: File,
    slave: File,
    child: Child,
}

impl Terminal {
    fn of(home: &Path, args: &[&str]) -> Terminal {
        Terminal::running(home, &[&[env!("CARGO_BIN_EXE_kin")], args].concat())
    }

    fn running(home: &Path, words: &[&str]) -> Terminal {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let master = master.expect("a terminal");
        rustix::pty::grantpt(&master).and_then(|()| rustix::pty::unlockpt(&master)).expect("its other side");
        let name = rustix::pty::ptsname(&master, Vec::new()).expect("its name");
        let slave = rustix::fs::open(name, rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY, 0o0.into());
        let slave = File::from(slave.expect("its other side"));
        let side = || slave.try_clone().expect("a clone");
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).args(words).env_clear();
        command.env("KIN_HOME", home).env("PATH", "/usr/bin:/bin").env("TERM", "xterm");
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().expect("kin");
        Terminal { master: File::from(master), slave, child }
    }

    /// Everything up to and with `text`.
    fn until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&seen).ends_with(text) {
            let mut ready = [PollFd::new(&self.master, PollFlags::IN)];
            let ready = rustix::event::poll(&mut ready, Some(&Timespec { tv_sec: 20, tv_nsec: 0 })).expect("a poll");
            assert_eq!(ready, 1, "nothing after {:?}", String::from_utf8_lossy(&seen));
            self.master.read_exact(&mut byte).expect("more on the screen");
            seen.push(byte[0]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    fn is_raw(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.slave).expect("its settings").local_modes;
        !modes.contains(rustix::termios::LocalModes::ICANON)
    }
}

/// As long as there is no terminal to type into, Ctrl-C is what it always is.
#[test]
fn what_is_typed_before_the_run_has_a_terminal_is_for_kin() {
    let server = Server::start(env!("CARGO_BIN_EXE_kin"));
    let words = ["exec", "--tty", "--pending", "go", "--", "sh", "-c", "printf '? '; read x; echo got $x"];
    let mut terminal = Terminal::of(server.home(), &words);
    terminal.until("lets it go\r\n");
    terminal.master.write_all(b"\x03").expect("typing");
    let ended = eventually("Ctrl-C ends the waiting", server::DEADLINE, || terminal.child.try_wait().expect("a child"));
    assert_eq!(ended.code(), Some(5), "it was cancelled");
    let mut terminal = Terminal::of(server.home(), &words);
    terminal.until("lets it go\r\n");
    assert!(!terminal.is_raw());
    testkit::Cli::new(&server).run(&["release", "go"]).expect(0);
    terminal.until("? ");
    eventually("the keys are the run's", server::DEADLINE, || terminal.is_raw().then_some(()));
    terminal.master.write_all(b"word\r").expect("typing");
    terminal.until("got word\r\n");
    assert_eq!(terminal.child.wait().expect("an end").code(), Some(0));
    assert!(!terminal.is_raw());
    server.shutdown();
}

/// A server that cannot say whether the run has begun is asked again: the keys are the run's as soon as it has.
#[test]
fn a_server_that_hung_while_the_run_waited_costs_no_key() {
    let (end, ended) = mpsc::channel();
    let server = answers(b"? ", ended);
    let asked = std::sync::atomic::AtomicU32::new(0);
    let fake = Fake::new(move |request, before| {
        if request.path.starts_with("/v1/events") && asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            return Act::Answer(503, r#"{"error":{"code":"unavailable","message":"not now"}}"#.into());
        }
        server(request, before)
    });
    let (tell, told) = mpsc::channel::<Vec<u8>>();
    keeper(&fake.home(), move |packet: Packet| {
        tell.send(packet.bytes[24..].to_vec()).expect("a listener");
        Some([&b"KININPUT"[..], &1u64.to_le_bytes()].concat())
    });
    let mut terminal = Terminal::of(&fake.home(), &["exec", "--tty", "--quiet", "--", "sh"]);
    terminal.until("? ");
    eventually("the keys are the run's", server::DEADLINE, || terminal.is_raw().then_some(()));
    terminal.master.write_all(b"y").expect("typing");
    assert_eq!(told.recv_timeout(server::DEADLINE).expect("a key"), b"y");
    end.send(()).expect("a server");
    assert_eq!(terminal.child.wait().expect("an end").code(), Some(3));
}

/// A pipe has an end, also behind a line that has none.
#[test]
fn the_end_of_a_pipe_is_the_end_of_a_terminals_input() {
    let server = Server::start(env!("CARGO_BIN_EXE_kin"));
    for input in ["", "abc", "abc\n", "abc\nd"] {
        let mut command = server.command();
        command.args(["exec", "--tty", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().expect("kin");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("writes");
        let ended = eventually("it ends with its input", server::DEADLINE, || child.try_wait().expect("a child"));
        assert_eq!(ended.code(), Some(0), "{input:?}");
    }
    server.shutdown();
}

/// A run that begins between the two would be followed by nobody.
#[test]
fn who_follows_all_listens_before_looking() {
    let fake = Fake::new(|asked, _| match asked.path.starts_with("/v1/events") {
        true => Act::BodyOpen(b":\nid: 5\n\n".to_vec()),
        false => Act::Answer(200, "{\"runs\":[],\"next\":null}".into()),
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_kin"));
    command.args(["tail", "-f"]).env("KIN_HOME", fake.home()).stdout(Stdio::null());
    let mut child = command.spawn().expect("kin");
    fake.heard();
    fake.heard();
    let asked: Vec<String> = fake.asked().into_iter().map(|asked| asked.path).collect();
    assert!(asked[0].starts_with("/v1/events") && asked[1].starts_with("/v1/runs"), "{asked:?}");
    child.kill().expect("follows");
    child.wait().expect("an end");
}

/// Events that are no longer kept may have told what is waited for.
#[test]
fn who_waits_looks_again_where_events_were_lost() {
    let looks = std::sync::atomic::AtomicU32::new(0);
    let fake = Fake::new(move |asked, _| {
        if asked.path.starts_with("/v1/events") {
            let gap = "{\"seq\":7,\"at\":\"2026-11-20T13:54:01.120Z\",\"kind\":\"events.gap\",\"message\":\"1 to 7\"}";
            return Act::BodyOpen(format!(":\nid: 5\n\nid: 7\ndata: {gap}\n\n").into_bytes());
        }
        // Named, looked at, and looked at again.
        let running = looks.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 1;
        Act::Answer(200, run_json("sh-00000001", if running { "running" } else { "queued" }, None))
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_kin"));
    command.args(["wait", "--state", "running", "sh-00000001"]).env("KIN_HOME", fake.home()).stdout(Stdio::null());
    let mut child = command.spawn().expect("kin");
    let ended = eventually("it looks again", server::DEADLINE, || child.try_wait().expect("a child"));
    assert_eq!(ended.code(), Some(0));
}

/// A server of one attached run that writes `output` and ends when `end` says so.
fn server(output: &'static [u8], end: mpsc::Receiver<()>) -> Fake {
    Fake::new(answers(output, end))
}

fn answers(output: &'static [u8], end: mpsc::Receiver<()>) -> impl Fn(&Asked, usize) -> Act + Send + Sync {
    let end = Mutex::new(end);
    move |asked, _| {
        match asked.path.as_str() {
            "/v1/runs" => return Act::Answer(201, run_json("sh-00000001", "starting", None)),
            "/v1/runs/sh-00000001" => return Act::Answer(200, run_json("sh-00000001", "running", None)),
            path if path.starts_with("/v1/events") => return Act::BodyOpen(b":\nid: 5\n\n".to_vec()),
            _ => {}
        }
        if asked.path.contains("/output") && asked.path.contains("out=0") {
            return Act::BodyCut(frame(0, 0, output));
        }
        end.lock().expect("a lock").recv().expect("an end");
        Act::Body(frame(9, 0, run_json("sh-00000001", "ended", Some("failed")).as_bytes()))
    }
}

#[test]
fn what_is_typed_reaches_the_run_and_what_it_writes_is_cleaned() {
    let (end, ended) = mpsc::channel();
    let fake = server(b"\x1b[2Jbad \x1b[31mred\x1b[0m\n", ended);
    let (tell, told) = mpsc::channel::<OwnedFd>();
    keeper(&fake.home(), move |packet: Packet| {
        assert_eq!((packet.bytes.len(), packet.fds.len()), (16, 1));
        packet.fds.into_iter().for_each(|fd| tell.send(fd).expect("a listener"));
        Some(b"KINHAND+".to_vec())
    });
    let mut terminal = Terminal::of(&fake.home(), &["exec", "--", "sh"]);
    let screen = terminal.until("\u{1b}[0m\r\n");
    assert_eq!(screen, "kin: run sh-00000001\r\n␛[2Jbad \u{1b}[31mred\u{1b}[0m\r\n");
    let stdin = File::from(told.recv().expect("a descriptor"));
    assert!(!rustix::termios::isatty(&stdin), "a pipe, never the terminal");
    let mut stdin = BufReader::new(stdin);
    terminal.master.write_all(b"typed\n").expect("typing");
    let mut line = String::new();
    stdin.read_line(&mut line).expect("a line");
    assert_eq!(line, "typed\n");
    end.send(()).expect("a server");
    assert_eq!(terminal.child.wait().expect("an end").code(), Some(3));
    line.clear();
    assert_eq!(stdin.read_line(&mut line).expect("the end of input"), 0, "our end is its end of input");
}

#[test]
fn what_is_typed_ahead_and_not_read_by_the_run_is_left_for_the_shell() {
    let (end, ended) = mpsc::channel();
    let fake = server(b"begun\n", ended);
    let (tell, told) = mpsc::channel::<OwnedFd>();
    keeper(&fake.home(), move |packet: Packet| {
        packet.fds.into_iter().for_each(|fd| tell.send(fd).expect("a listener"));
        Some(b"KINHAND+".to_vec())
    });
    let typed = format!("{} exec -- sh; read line; echo \"the shell has $line\"", env!("CARGO_BIN_EXE_kin"));
    let mut terminal = Terminal::running(&fake.home(), &["sh", "-c", &typed]);
    terminal.until("begun\r\n");
    let mut stdin = File::from(told.recv().expect("a descriptor"));
    terminal.master.write_all(b"one\n").expect("typing");
    let mut line = [0; 4];
    stdin.read_exact(&mut line).expect("a line");
    // The run has read a line, and reads no other.
    terminal.master.write_all(b"two\nthree\n").expect("typing");
    let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
    let ready = rustix::event::poll(&mut ready, Some(&Timespec { tv_sec: 20, tv_nsec: 0 })).expect("a poll");
    assert_eq!((&line, ready), (b"one\n", 1));
    drop(stdin);
    end.send(()).expect("a server");
    terminal.until("the shell has three\r\n");
    assert_eq!(terminal.child.wait().expect("an end").code(), Some(0));
}

#[test]
fn a_run_on_a_terminal_of_its_own_gets_every_key_and_ours_is_set_back() {
    let (end, ended) = mpsc::channel();
    let fake = server(b"\x1b[2J$ ", ended);
    let (tell, told) = mpsc::channel::<Vec<u8>>();
    let mut typed = 0;
    keeper(&fake.home(), move |packet: Packet| {
        assert_eq!(&packet.bytes[..8], b"KININPUT");
        let bytes = &packet.bytes[24..];
        typed += bytes.len() as u64;
        tell.send(bytes.to_vec()).expect("a listener");
        Some([&b"KININPUT"[..], &typed.to_le_bytes()].concat())
    });
    let mut terminal = Terminal::of(&fake.home(), &["exec", "--tty", "--quiet", "--", "sh"]);
    assert_eq!(terminal.until("$ "), "\u{1b}[2J$ ", "its own screen is its own");
    eventually("the keys are the run's", server::DEADLINE, || terminal.is_raw().then_some(()));
    terminal.master.write_all(b"ls\x03\r").expect("typing");
    let mut keys = Vec::new();
    while keys.len() < 4 {
        keys.extend(told.recv().expect("keys"));
    }
    assert_eq!(keys, b"ls\x03\r");
    let body = fake.asked()[0].body.clone();
    assert!(body.contains(r#""tty":{"rows":24,"cols":80}"#), "{body}");
    end.send(()).expect("a server");
    assert_eq!(terminal.child.wait().expect("an end").code(), Some(3));
    assert!(!terminal.is_raw());
}
