//! The API on TCP: open to whoever shows the token, and to nobody else.

use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use testkit::server::{DEADLINE, Options};
use testkit::{Cli, Role, Server, eventually, free_address};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

/// A server that is to listen there.
fn listening(entry: &str) -> Server {
    Options::new(KIN).config(&format!("[kin]\nlisten = [{entry}]\n")).start()
}

/// The status and the whole answer to one request with these lines in its head.
fn try_ask(address: SocketAddr, request: &str, lines: &[&str], body: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut text = format!("{request} HTTP/1.1\r\nConnection: close\r\n");
    lines.iter().for_each(|line| text += &format!("{line}\r\n"));
    if !body.is_empty() {
        text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    stream.write_all(format!("{text}\r\n{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.map(|status| (status, answer)).ok_or_else(|| std::io::Error::other("no status"))
}

#[track_caller]
fn ask(address: SocketAddr, request: &str, lines: &[&str]) -> (u16, String) {
    try_ask(address, request, lines, "").expect("an answer")
}

#[test]
fn a_door_on_tcp_opens_to_the_token_alone() {
    let address = free_address();
    let server = listening(&format!("'{address}'"));
    let kin = Cli::new(&server);
    let token = kin.run(&["token"]).expect(0).line();
    assert!(token.starts_with("kin_") && token.len() == 47, "{token:?}");
    assert_eq!(kin.run(&["token", "--path"]).expect(0).line(), "$KIN_HOME/state/token");
    let path = server.state().join("token");
    assert_eq!(std::fs::metadata(&path).expect("its file").permissions().mode() & 0o777, 0o600);
    let host = format!("Host: {address}");
    let shown = format!("Authorization: Bearer {token}");

    let (status, answer) = ask(address, "GET /v1/server", &[&host]);
    assert_eq!(status, 401, "{answer}");
    assert!(answer.contains("www-authenticate: Bearer") && answer.contains("kin token"), "{answer}");
    assert_eq!(ask(address, "GET /v1/server", &[&host, "Authorization: Bearer kin_0"]).0, 401);
    assert_eq!(ask(address, "GET /v1/server", &[&host, &format!("Authorization: Basic {token}")]).0, 401);
    assert_eq!(ask(address, "GET /v1/server", &[&host, &shown]).0, 200);
    // A page of the web that found out the token, or a name that was made to point here.
    assert_eq!(ask(address, "GET /v1/server", &["Host: evil.example", &shown]).0, 421);
    assert_eq!(ask(address, "GET /v1/server", &[&host, &shown, "Origin: http://evil.example"]).0, 403);

    // What is done there is done, and the history says how it came.
    let body = server.request(&["true"]).to_string();
    let (status, answer) = try_ask(address, "POST /v1/runs", &[&host, &shown], &body).expect("an answer");
    assert_eq!(status, 201, "{answer}");
    let (_, json) = answer.split_once("\r\n\r\n").expect("a body");
    let run: Value = serde_json::from_str(json.trim()).expect("JSON");
    assert_eq!(run["trigger"]["by"], "token:127.0.0.1", "{run}");
    assert_eq!(server.wait_end(run["id"].as_str().expect("an id"))["outcome"], "ok");
    let doctor = server.http().get("/v1/server/doctor").expect(200).json();
    let listen = doctor["checks"].as_array().expect("checks").iter().find(|check| check["name"] == "listen");
    assert_eq!(listen.expect("a check")["result"], "ok", "{doctor}");

    // The next daemon opens it again.
    server.kill(Role::Daemon).expect("a daemon");
    eventually("the door is open again", DEADLINE, || {
        let answer = try_ask(address, "GET /v1/server", &[&host, &shown], "").ok();
        answer.filter(|(status, _)| *status == 200)
    });
    // Another token: the old one opens nothing from now on.
    std::fs::write(&path, "another-token-of-at-least-32-characters\n").expect("written");
    assert_eq!(ask(address, "GET /v1/server", &[&host, &shown]).0, 401);
    let other = "Authorization: Bearer another-token-of-at-least-32-characters";
    assert_eq!(ask(address, "GET /v1/server", &[&host, other]).0, 200);
    // Whom everybody can read protects nothing.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("set");
    let (status, answer) = ask(address, "GET /v1/server", &[&host, other]);
    assert_eq!(status, 503, "{answer}");
    assert!(!answer.contains("state/token"), "where the token is is not for strangers: {answer}");
    let said = kin.run(&["doctor"]).text();
    assert!(said.contains("chmod 600"), "{said}");
    server.shutdown();
    eventually("the door goes with the server", DEADLINE, || TcpStream::connect(address).is_err().then_some(()));
}

#[test]
fn strangers_cannot_take_the_places_of_the_user() {
    let address = free_address();
    let server = listening(&format!("'{address}'"));
    let crowd: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).expect("connects")).collect();
    let id = server.submit(&server.request(&["true"]))["id"].as_str().expect("an id").to_string();
    assert_eq!(server.wait_end(&id)["outcome"], "ok");
    drop(crowd);
    server.shutdown();
}

#[test]
fn a_door_that_is_stuck_ends_no_server_and_is_told_of() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let server = listening(&format!("'{address}'"));
    let id = server.submit(&server.request(&["true"]))["id"].as_str().expect("an id").to_string();
    assert_eq!(server.wait_end(&id)["outcome"], "ok");
    let said = Cli::new(&server).run(&["doctor"]).expect(1).text();
    assert!(said.contains(&format!("{address} lets nobody in: ")) && said.contains("in use"), "{said}");
    // Freed: it is tried again.
    drop(taken);
    let token = Cli::new(&server).run(&["token"]).expect(0).line();
    let lines = [format!("Host: {address}"), format!("Authorization: Bearer {token}")];
    eventually("it listens", DEADLINE, || {
        let answer = try_ask(address, "GET /v1/server", &[&lines[0], &lines[1]], "").ok();
        answer.filter(|(status, _)| *status == 200)
    });
    let said = Cli::new(&server).run(&["doctor"]).text();
    assert!(!said.contains("lets nobody in"), "{said}");
    server.shutdown();
}

/// Whoever got the port while a daemon is dead would be shown the token by the next caller.
#[test]
fn the_port_is_never_free_while_the_server_lives() {
    let address = free_address();
    let server = listening(&format!("'{address}'"));
    let token = Cli::new(&server).run(&["token"]).expect(0).line();
    let lines = [format!("Host: {address}"), format!("Authorization: Bearer {token}")];
    let take = || TcpListener::bind(address).expect_err("it is never free").kind();
    for role in [Role::Daemon, Role::Keeper, Role::Daemon, Role::Elder, Role::Daemon] {
        let victim = server.pid(role).expect("one to kill");
        assert!(server.signal(role, rustix::process::Signal::KILL));
        eventually("there is another", DEADLINE, || {
            assert_eq!(take(), std::io::ErrorKind::AddrInUse);
            server.pid(role).filter(|pid| *pid != victim)
        });
        // Who knocks meanwhile is let in by the next.
        assert_eq!(ask(address, "GET /v1/server", &[&lines[0], &lines[1]]).0, 200);
        server.wait_whole(DEADLINE);
    }
    // Not named any more, it is closed by the next daemon.
    std::fs::write(server.home().join("kin.toml"), "[kin]\n").expect("written");
    server.kill(Role::Daemon).expect("a daemon");
    server.wait_whole(DEADLINE);
    eventually("the door is closed", DEADLINE, || TcpListener::bind(address).ok());
    server.shutdown();
}

/// What is left open after a refusal would keep others out.
#[test]
fn a_stranger_is_refused_and_let_go() {
    let address = free_address();
    let server = listening(&format!("'{address}'"));
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("set");
    stream.write_all(format!("GET /v1/server HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, and its end");
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("connection: close"), "{answer}");
    server.shutdown();
}

#[test]
fn what_would_be_open_to_other_machines_is_refused_with_its_place() {
    let server = Options::new(KIN)
        .config(
            "[kin]\nlisten = ['0.0.0.0:7070', '127.0.0.1:x', '[::1]:7071', { address = '7072', dialect = 'k1s' }]\n",
        )
        .prepare();
    let said = Cli::new(&server).run(&["check"]).expect(2);
    let text = said.text() + &said.errors();
    for part in ["kin.toml:2:12", "ssh -L", "kin.toml:2:38", "'x' is no port"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let fine = Options::new(KIN).config("[kin]\nlisten = ['localhost:7071', { address = '7072', dialect = 'k1s' }]\n");
    let fine = fine.prepare();
    let said = Cli::new(&fine).run(&["check"]).expect(0);
    let text = said.text() + &said.errors();
    assert!(text.contains("does not speak 'k1s'"), "{text}");
    let none = Options::new(KIN).prepare();
    let said = Cli::new(&none).run(&["token"]).expect(2).errors();
    assert!(said.contains("listen = [\"127.0.0.1:7070\"]"), "{said}");
}
