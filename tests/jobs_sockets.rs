//! Sockets that stay open between runs: a client that connects all the time is never refused, whatever is restarted.

use serde_json::json;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use testkit::server::{DEADLINE, Role, Server};
use testkit::{eventually, free_address, guest_path};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

/// Asks until told to end; every answer's pid.
#[derive(Default)]
struct Client {
    end: AtomicBool,
    answers: AtomicU64,
    pids: Mutex<BTreeSet<String>>,
}

impl Client {
    fn ask(&self, address: SocketAddr) {
        while !self.end.load(Ordering::Relaxed) {
            let mut stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("refused: {e}"));
            stream.set_read_timeout(Some(DEADLINE)).expect("a patient stream");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap_or_else(|e| panic!("cut off: {e}"));
            assert!(answer.ends_with('\n'), "half an answer: {answer:?}");
            self.pids.lock().expect("nobody fell over").insert(answer.trim().to_string());
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
    }
    /// Some more answers have come.
    fn goes_on(&self) {
        let before = self.answers.load(Ordering::Relaxed);
        eventually("more answers", DEADLINE, || (self.answers.load(Ordering::Relaxed) > before + 5).then_some(()));
    }
    fn pids(&self) -> usize {
        self.pids.lock().expect("nobody fell over").len()
    }
}

#[test]
fn no_restart_refuses_a_connection() {
    let address = free_address();
    let text = format!(
        "[web]\nexec = ['{}', 'serve', 'quit=$HOME/quit-']\nrestart = 'always'\ninstances = 2\n\
         sockets = [{{ name = 'http', tcp = '{address}' }}]\nready = {{ line = '^serving$' }}\n\
         stop = {{ command = 'touch $HOME/quit-$KIN_PID', wait = '30s' }}\ndelay = '300ms'\n",
        guest_path().display()
    );
    let server = Server::with_jobs(KIN, &text);
    server.job_when("web", "is ready", |job| job["state"] == "ready");
    let client = Client::default();
    std::thread::scope(|scope| {
        let asking = [0, 1].map(|_| scope.spawn(|| client.ask(address)));
        let all_new = |rolling: bool| {
            let before: Vec<_> = server.running("web", 2).iter().map(|run| run["pid"].clone()).collect();
            server.post("/v1/jobs/web/restart", &json!({"rolling": rolling})).expect(200);
            server.job_when("web", "all are new", |job| {
                let runs = job["runs"].as_array().cloned().unwrap_or_default();
                runs.len() == 2
                    && runs.iter().all(|run| run["ready_at"].is_string() && !before.contains(&run["pid"]))
                    && runs.iter().all(|run| run["state"] == "running")
            });
            client.goes_on();
        };
        client.goes_on();
        all_new(true);
        all_new(false);
        // Whoever of kin dies: the sockets are kept by both keepers.
        for role in [Role::Daemon, Role::Keeper, Role::Elder] {
            server.kill(role).expect("it lives");
            server.wait_whole(DEADLINE);
            all_new(role == Role::Keeper);
        }
        // Stopped, and started a moment later: who comes in between waits.
        server.post("/v1/jobs/web/stop", &json!({})).expect(200);
        server.job_when("web", "is down", |job| job["state"] == "down");
        let answers = client.answers.load(Ordering::Relaxed);
        testkit::wait::let_time_pass(Duration::from_millis(300));
        server.post("/v1/jobs/web/start", &json!({})).expect(200);
        eventually("answers again", DEADLINE, || (client.answers.load(Ordering::Relaxed) > answers + 5).then_some(()));
        client.end.store(true, Ordering::Relaxed);
        for asking in asking {
            asking.join().expect("never refused, never cut off");
        }
    });
    assert!(client.pids() >= 6, "answered by {} processes", client.pids());
    server.shutdown();
    // With the server goes the socket; a process that ends has lost its memory, and so its mark, before it closes its files.
    eventually("nobody listens", DEADLINE, || TcpStream::connect(address).is_err().then_some(()));
}

/// A definition that names it no more closes it.
#[test]
fn a_socket_that_nothing_names_is_closed() {
    let address = free_address();
    let with = format!(
        "[web]\nexec = ['sleep', '1000']\nrestart = 'always'\nsockets = [{{ name = 'http', tcp = '{address}' }}]\n"
    );
    let server = Server::with_jobs(KIN, &with);
    server.running("web", 1);
    drop(TcpStream::connect(address).expect("it listens"));
    server.write_jobs("[web]\nexec = ['sleep', '1000']\nrestart = 'always'\n");
    eventually("it is closed", DEADLINE, || TcpStream::connect(address).is_err().then_some(()));
    server.shutdown();
}
