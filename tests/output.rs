//! Output: every byte, apart by stream, whatever the bytes are.

use rustix::process::Signal;
use std::process::Stdio;
use std::time::{Duration, Instant};
use testkit::http::Request;
use testkit::{Cli, Server, eventually, guest_path, not_run, pattern, server};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

fn id_of(run: &serde_json::Value) -> String {
    run["id"].as_str().expect("an id").to_string()
}

#[test]
fn inv_07_bytes_are_exact_and_streams_stay_apart() {
    let server = Server::start(KIN);
    let guest = guest_path();
    let guest = guest.to_str().expect("text");
    for (seed, chunk) in [(1, 1), (2, 80), (3, 4096), (4, 70_000), (5, 1 << 20)] {
        let size = if chunk == 1 { 20_000 } else { 3_000_000 };
        let words: Vec<String> = ["run", "index=1", "spread_us=0", "end=exit:0"]
            .map(String::from)
            .into_iter()
            .chain([
                format!("seed={seed}"),
                format!("out={size}"),
                format!("err={}", size / 3),
                format!("chunk={chunk}"),
            ])
            .collect();
        let argv: Vec<&str> = std::iter::once(guest).chain(words.iter().map(String::as_str)).collect();
        let id = id_of(&server.submit(&server.request(&argv)));
        let run = server.wait_end(&id);
        assert_eq!((run["out_bytes"].as_u64(), run["err_bytes"].as_u64()), (Some(size), Some(size / 3)), "{run}");
        assert_eq!(pattern::wrong(seed, 0, size, &server.output(&id, "out")), None);
        assert_eq!(pattern::wrong(seed, 1, size / 3, &server.output(&id, "err")), None);
        let cli = Cli::new(&server);
        assert_eq!(pattern::wrong(seed, 0, size, &cli.run(&["jl", "--out", &id]).expect(0).out), None);
        assert_eq!(pattern::wrong(seed, 1, size / 3, &cli.run(&["jl", "--err", &id]).expect(0).out), None);
    }
    server.shutdown();
}

#[test]
fn invalid_utf8_nul_and_a_line_of_a_mebibyte_pass_through_exec() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    let said = cli.run(&["exec", "--", "printf", r"a\000b\377\376c"]).expect(0);
    assert_eq!((said.out.as_slice(), said.err.as_slice()), (&b"a\0b\xff\xfec"[..], &b""[..]));
    let said = cli.run(&["exec", "--", "head", "-c", "1048576", "/dev/zero"]).expect(0);
    assert_eq!(said.out, vec![0; 1 << 20]);
    let both = cli.run(&["exec", "--", "sh", "-c", "echo o; echo e >&2; exit 3"]).expect(3);
    assert_eq!((both.text().as_str(), both.errors().contains('e')), ("o\n", true));
    server.shutdown();
}

/// For half a second nobody has the terminal open; it is the run's all the same.
#[test]
fn a_terminal_that_its_run_closes_and_opens_again_is_read_on() {
    let server = Server::start(KIN);
    let script =
        "echo one; exec < /dev/null > /dev/null 2>&1; sleep 0.5; exec < /dev/tty > /dev/tty 2>&1; echo two; exit 3";
    let mut request = server.request(&["sh", "-c", script]);
    request["tty"] = serde_json::json!({"rows": 24, "cols": 80});
    let id = id_of(&server.submit(&request));
    assert_eq!(server.wait_end(&id)["exit_code"], 3);
    assert_eq!(String::from_utf8_lossy(&server.output(&id, "out")), "one\r\ntwo\r\n");
    // One that leaves it for good ends when its leader does, not when the pause of such a look is over.
    let mut request = server.request(&["sh", "-c", "echo one; exec < /dev/null > /dev/null 2>&1; sleep 0.2"]);
    request["tty"] = serde_json::json!({"rows": 24, "cols": 80});
    let run = server.wait_end(&id_of(&server.submit(&request)));
    assert_eq!((&run["outcome"], &run["warnings"]), (&"ok".into(), &serde_json::json!({})), "{run}");
    server.shutdown();
}

#[test]
fn a_chatty_job_does_no_harm_to_a_quiet_one() {
    let server = Server::start(KIN);
    let guest = guest_path();
    let chatty = id_of(&server.submit(&server.request(&["timeout", "5", "yes"])));
    let quiet = server.request(&[guest.to_str().expect("text"), "lines", "n=50", "over_ms=4000"]);
    let quiet = id_of(&server.submit(&quiet));
    let mut http = server.http();
    for _ in 0..20 {
        let asked = Instant::now();
        http.send(&Request::get("/v1/runs?limit=10")).expect("an answer").expect(200);
        assert!(asked.elapsed() < Duration::from_secs(1), "a listing took {:?}", asked.elapsed());
    }
    let want: String = (1..=50).map(|n| format!("line {n}\n")).collect();
    assert_eq!(server.wait_end(&quiet)["outcome"], "ok");
    assert_eq!(String::from_utf8_lossy(&server.output(&quiet, "out")), want);
    let run = server.wait_end(&chatty);
    assert_eq!(run["exit_code"], 124, "{run}");
    let kept: u64 = std::fs::read_dir(server.state().join("logs/timeout"))
        .expect("its logs")
        .filter_map(|file| file.ok()?.metadata().ok())
        .map(|meta| meta.len())
        .sum();
    assert!(kept <= (1 << 30) + (128 << 20), "{kept} bytes are kept of one run");
    let written = run["out_bytes"].as_u64().expect("a count");
    assert!(written > 0 && written.is_multiple_of(2), "{run}");
    server.shutdown();
}

#[test]
fn a_child_that_closes_its_streams_goes_on() {
    let server = Server::start(KIN);
    let id = id_of(&server.submit(&server.request(&["sh", "-c", "exec >&- 2>&- <&-; sleep 0.3; exit 4"])));
    assert_eq!(server.wait_end(&id)["exit_code"], 4);
    server.shutdown();
}

#[test]
fn output_after_the_leaders_end_is_still_taken() {
    let server = Server::start(KIN);
    let guest = guest_path();
    let id = id_of(&server.submit(&server.request(&[guest.to_str().expect("text"), "hold", "ms=700", "code=6"])));
    let draining = server.wait_state(&id, &["draining", "ended"]);
    let run = server.wait_end(&id);
    assert_eq!((run["exit_code"].as_u64(), draining["exit_code"].as_u64()), (Some(6), Some(6)), "{draining}");
    assert_eq!(server.output(&id, "out"), b"early\nlate\n");
    server.shutdown();
}

/// How much a run has written is known while it writes, and not only at its end.
#[test]
fn what_a_living_run_has_written_is_counted() {
    let server = Server::start(KIN);
    let script = "head -c 70000 /dev/zero; head -c 300 /dev/zero >&2; head -c 5 /dev/zero; exec sleep 60";
    let id = id_of(&server.submit(&server.request(&["sh", "-c", script])));
    let of = |run: &serde_json::Value| (run["out_bytes"].as_u64(), run["err_bytes"].as_u64());
    let all = (Some(70_005), Some(300));
    eventually("all of it is counted", server::DEADLINE, || (of(&server.show(&id)) == all).then_some(()));
    let listed = Cli::new(&server).run(&["ps", "--json"]).expect(0).json();
    assert_eq!(of(&listed[0]), all, "{listed}");
    let waited = server.http().get(&format!("/v1/runs/{id}/wait?timeout_ms=1")).expect(202).json();
    assert_eq!(of(&waited), all, "{waited}");
    server.shutdown();
}

#[test]
fn a_follower_gets_each_byte_once_over_the_daemons_deaths() {
    let server = Server::start(KIN);
    let guest = guest_path();
    let request = server.request(&[guest.to_str().expect("text"), "lines", "n=60", "over_ms=3000"]);
    let id = id_of(&server.submit(&request));
    server.wait_state(&id, &["running"]);
    let mut follower = server.command();
    let follower = follower.args(["tail", "-f", &id]).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = follower.spawn().expect("tail starts");
    for _ in 0..3 {
        server.kill(testkit::Role::Daemon).expect("a daemon to kill");
        server.wait_whole(server::DEADLINE);
    }
    let out = child.wait_with_output().expect("tail ends when the run has ended").stdout;
    let text = String::from_utf8_lossy(&out).into_owned();
    for n in 1..=60 {
        let seen = text.lines().filter(|line| line.ends_with(&format!("line {n}"))).count();
        assert_eq!(seen, 1, "line {n} in\n{text}");
    }
    server.shutdown();
}

/// The end of a run is worth more than its output: whoever is attached gets it, and a word about what is gone.
#[test]
fn an_end_is_told_also_where_the_output_is_gone() {
    let server = Server::start(KIN);
    let go = server.home().join("go");
    let script = format!("echo a; until [ -e {} ]; do sleep 0.05; done; exit 7", go.display());
    let mut command = server.command();
    command.args(["exec", "--id", "bare", "--", "sh", "-c", &script]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = command.spawn().expect("kin");
    let mut line = [0; 2];
    std::io::Read::read_exact(client.stdout.as_mut().expect("a pipe"), &mut line).expect("its first line");
    let run = server.http().get("/v1/runs?job=bare").json()["runs"][0].clone();
    let id = id_of(&run);
    let pid = server.wait_state(&id, &["running"])["pid"].as_u64().expect("a pid");
    std::fs::remove_file(server.state().join(format!("logs/bare/{id}.out"))).expect("removes");
    assert!(server.signal(testkit::Role::Daemon, Signal::STOP));
    std::fs::write(go, "").expect("writes");
    let gone = || (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(());
    eventually("it ends", server::DEADLINE, gone);
    server.kill(testkit::Role::Daemon).expect("a daemon to kill");
    let said = client.wait_with_output().expect("an end");
    assert_eq!(said.status.code(), Some(7), "{}", String::from_utf8_lossy(&said.stderr));
    let cli = Cli::new(&server);
    assert!(cli.run(&["jl", &id]).expect(4).errors().contains("is no longer kept; it was 2 bytes"));
    server.shutdown();
}

/// What somebody cuts from a living run's log is counted to the byte, and never given out as zeros.
#[test]
fn what_was_cut_from_a_living_log_is_a_gap() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    let go = server.home().join("go");
    let script =
        format!("head -c 13893 /dev/zero | tr '\\0' x; until [ -e {} ]; do sleep 0.05; done; echo after", go.display());
    let id = cli.run(&["exec", "-d", "--id", "cut", "--", "sh", "-c", &script]).expect(0).line();
    let log = server.state().join(format!("logs/cut/{id}.out"));
    eventually("all is written", server::DEADLINE, || {
        log.metadata().is_ok_and(|meta| meta.len() == 13_893).then_some(())
    });
    std::fs::File::options().write(true).open(&log).and_then(|file| file.set_len(100)).expect("cut");
    std::fs::write(go, "").expect("writes");
    assert_eq!(server.wait_end(&id)["out_bytes"], 13_899);
    let said = cli.run(&["jl", &id]).expect(0);
    assert_eq!(said.text(), format!("{}after\n", "x".repeat(100)));
    assert!(said.errors().contains("13793 bytes"), "{}", said.errors());
    server.shutdown();
}

#[test]
fn one_run_that_cannot_be_read_does_not_hide_the_others() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    let ids = ["one", "two"].map(|word| cli.run(&["exec", "-d", "--id", "some", "--", "echo", word]).expect(0).line());
    ids.iter().for_each(|id| drop(server.wait_end(id)));
    let out = server.state().join(format!("logs/some/{}.out", ids[0]));
    std::fs::remove_file(&out).expect("removes");
    std::fs::create_dir(&out).expect("what cannot be read");
    let said = cli.run(&["tail", &ids[0], &ids[1]]).expect(1);
    assert!(said.text().ends_with("two\n") && said.errors().contains(&ids[0]), "{said:?}");
    let said = cli.run(&["tail", "-f", &ids[0], &ids[1]]).expect(0);
    assert!(said.text().ends_with("| two\n") && said.errors().contains(&ids[0]), "{said:?}");
    server.shutdown();
}

/// Nobody waits for ever for a daemon that does not answer any more.
#[test]
fn a_daemon_that_hangs_is_noticed_by_whoever_listens_waits_or_reads() {
    let server = Server::start(KIN);
    let long = id_of(&server.submit(&server.request(&["sleep", "600"])));
    let big = id_of(&server.submit(&server.request(&["head", "-c", "64000000", "/dev/zero"])));
    server.wait_end(&big);
    let spawn = |args: &[&str]| {
        let mut command = server.command();
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kin")
    };
    let mut all = [spawn(&["listen"]), spawn(&["wait", "--state", "draining", &long]), spawn(&["jl", "--out", &big])];
    // Each hears something of the server before that falls silent.
    for child in &all[..2] {
        eventually("it waits at the server", server::DEADLINE, || {
            let fds = std::fs::read_dir(format!("/proc/{}/fd", child.id())).ok()?;
            let links = fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
            (links.filter(|link| link.to_string_lossy().starts_with("socket:")).count() > 0).then_some(())
        });
    }
    let mut first = [1];
    std::io::Read::read_exact(all[2].stdout.as_mut().expect("a pipe"), &mut first).expect("the first byte");
    let heard = id_of(&server.submit(&server.request(&["true"])));
    server.wait_end(&heard);
    let mut line = String::new();
    while !line.contains(&heard) {
        line.clear();
        let out = all[0].stdout.as_mut().expect("a pipe");
        std::io::BufRead::read_line(&mut std::io::BufReader::with_capacity(1, out), &mut line).expect("an event");
    }
    assert!(server.signal(testkit::Role::Daemon, Signal::STOP));
    let threads = all.map(|child| std::thread::spawn(move || child.wait_with_output().expect("an end")));
    eventually("all notice", Duration::from_secs(60), || {
        threads.iter().all(std::thread::JoinHandle::is_finished).then_some(())
    });
    assert!(server.signal(testkit::Role::Daemon, Signal::CONT));
    for thread in threads {
        let said = thread.join().expect("an end");
        let words = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.code() == Some(3) && words.contains("has not answered for"), "{words}");
    }
    Cli::new(&server).run(&["kill", &long]).expect(0);
    server.shutdown();
}

/// `script` gives the command a terminal. Only colours may come through it.
#[test]
fn inv_08_a_terminal_never_gets_raw_control_sequences() {
    if std::process::Command::new("script").arg("--version").output().is_err() {
        return not_run("no script(1) to make a terminal");
    }
    let server = Server::start(KIN);
    let wild = r"\033]0;title\007\033[2J\033[31mred\033[0m \302\233 2J \033P1$r\033\\ plain\n";
    let id = id_of(&server.submit(&server.request(&["printf", wild])));
    assert_eq!(server.wait_end(&id)["outcome"], "ok");
    let raw = server.output(&id, "out");
    assert!(raw.contains(&7) && raw.windows(4).any(|w| w == b"\x1b[2J"), "kept as it was written");
    for verb in ["jl", "tail"] {
        let typed = format!("{} {verb} {id}", KIN);
        let out = on_a_terminal(&server, &typed);
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(text.contains("plain"), "{verb}: {text:?}");
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['\u{1b}', '\u{7}', '\u{9b}']) {
            let colour = rest[at..].strip_prefix("\u{1b}[").and_then(|r| {
                let end = r.find(|c: char| !(c.is_ascii_digit() || c == ';' || c == ':'))?;
                r[end..].strip_prefix('m')
            });
            rest = colour.unwrap_or_else(|| panic!("{verb}: raw control in {text:?}"));
        }
    }
    server.shutdown();
}

fn on_a_terminal(server: &Server, typed: &str) -> Vec<u8> {
    let mut command = std::process::Command::new("script");
    command.args(["-qec", typed, "/dev/null"]).env_clear().envs(server.environment()).env("TERM", "xterm");
    command.stdin(Stdio::null()).output().expect("script runs").stdout
}

/// What is shown of a line that does not fit is marked as its end.
#[test]
fn a_line_that_is_cut_at_its_front_says_so() {
    let server = Server::start(KIN);
    let cli = Cli::new(&server);
    let long = "head -c 300000 /dev/zero | tr '\\0' x; echo end; echo next";
    cli.run(&["exec", "-d", "--id", "long", "--", "sh", "-c", long]).expect(0);
    cli.run(&["wait", "long"]).expect(0);
    let said = cli.run(&["tail", "-n", "2", "long"]).expect(0);
    let lines: Vec<String> = said.text().lines().map(String::from).collect();
    assert!(lines[0].starts_with("…x") && lines[0].ends_with("xend") && lines[1] == "next", "{:?}", said.errors());
    assert!(said.errors().contains("only the end is shown"), "{}", said.errors());
    let whole = cli.run(&["tail", "-n", "10", "long"]).expect(0);
    assert!(whole.text().starts_with('x') && whole.errors().is_empty(), "{}", whole.errors());
    server.shutdown();
}
