//! Probes against real sockets and files; where only time passes, it is made to.

use super::*;
use kin_core::JobName;
use kin_core::job::Millis;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixListener};
use tokio::sync::mpsc;

const LONG: Duration = Duration::from_secs(20);

struct House {
    dir: tempfile::TempDir,
    probes: Probes,
    said: mpsc::UnboundedReceiver<Said>,
}

fn no() -> RunNo {
    RunNo::new(7).expect("a number")
}

impl House {
    fn new() -> House {
        House::at(tempfile::tempdir().expect("a directory"), None)
    }

    fn at(dir: tempfile::TempDir, notify: Option<OwnedFd>) -> House {
        for name in ["ready", "logs"] {
            std::fs::create_dir_all(dir.path().join(name)).expect("made");
        }
        let (say, said) = mpsc::unbounded_channel();
        let helpers = Helpers::open(dir.path()).expect("helpers");
        let watcher = Watcher::new().expect("a watcher");
        let say = move |word| drop(say.send(word));
        let probes = Probes::open(dir.path(), helpers, watcher, notify, say).expect("probes");
        House { dir, probes, said }
    }

    fn run(&self) -> Watched {
        Watched {
            id: RunId { job: JobName::parse("a").expect("a name"), no: no() },
            pid: Some(std::process::id()),
            started_at: crate::clock::now(),
            is_ready: false,
            ready: None,
            alive: None,
            log_base: self.dir.path().join("logs/a-00000007"),
        }
    }

    fn until_ready(&self, by: Check) {
        let ready = Ready { by, every: Millis(5), look_timeout: Millis(200), within: None };
        self.probes.watch([Watched { ready: Some(ready), ..self.run() }]);
    }

    fn while_alive(&self, by: Check, every: u64, failures: u32) {
        let alive = Alive { by, every: Millis(every), look_timeout: Millis(200), failures, grace: Millis(0) };
        self.probes.watch([Watched { alive: Some(alive), ..self.run() }]);
    }

    async fn next(&mut self) -> Said {
        tokio::time::timeout(LONG, self.said.recv()).await.expect("in time").expect("said")
    }

    /// The reason why it is not ready yet.
    async fn why(&mut self) -> String {
        let said = self.next().await;
        let Said::NotReady { why, .. } = said else { panic!("{said:?}") };
        why
    }

    async fn is_ready(&mut self) {
        assert_eq!(self.next().await, Said::Ready { run: no() });
    }
}

/// Answers with these, one connection each, and then with the last for ever.
fn web(answers: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for (i, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 1024];
            let n = stream.read(&mut request).unwrap_or(0);
            assert!(request[..n].starts_with(b"GET /health?x=1 HTTP/1.1\r\n"));
            let answer = answers[i.min(answers.len() - 1)];
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    format!("http://{address}/health?x=1")
}

#[tokio::test]
async fn http_is_asked_until_the_status_is_good() {
    let mut house = House::new();
    let url = web(&[
        "HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 x\r\ncontent-length: 9999\r\n\r\npart",
    ]);
    house.until_ready(Check::Http { url, codes: BTreeSet::new() });
    assert!(house.why().await.ends_with("status 503"), "the same reason is said once");
    house.is_ready().await;
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let moved = "HTTP/1.1 302 x\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let answers: &'static [&'static str] = Box::leak(Box::new([moved]));
    let mut house = House::new();
    house.until_ready(Check::Http { url: web(answers), codes: BTreeSet::new() });
    house.is_ready().await;
    house.until_ready(Check::Http { url: web(answers), codes: BTreeSet::from([200]) });
    assert!(house.why().await.ends_with("status 302"));
    house.until_ready(Check::Http { url: web(answers), codes: BTreeSet::from([302]) });
    house.is_ready().await;
}

#[tokio::test]
async fn who_gives_no_answer_is_not_waited_for_longer_than_said() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let mut house = House::new();
    house.until_ready(Check::Http { url, codes: BTreeSet::new() });
    assert!(house.why().await.ends_with("no answer within 200 ms"));
    for (url, why) in [("https://x/", "only http"), ("http:///", ""), ("nonsense", "only http")] {
        house.until_ready(Check::Http { url: url.into(), codes: BTreeSet::new() });
        let said = house.why().await;
        assert!(said.contains(why), "{url}: {said}");
    }
}

#[tokio::test]
async fn a_socket_is_ready_when_somebody_listens() {
    let mut house = House::new();
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        listener.local_addr().expect("an address")
    };
    house.until_ready(Check::Tcp { address: address.to_string() });
    assert!(house.why().await.contains("refused"));
    let _listener = TcpListener::bind(address).expect("bound again");
    house.is_ready().await;
    let path = house.dir.path().join("s");
    house.until_ready(Check::Tcp { address: format!("unix:{}", path.display()) });
    assert!(house.why().await.contains("No such file"));
    let _listener = UnixListener::bind(&path).expect("bound");
    house.is_ready().await;
}

#[tokio::test]
async fn a_line_is_heard_of_on_either_stream_and_also_when_it_was_written_before() {
    let mut house = House::new();
    let logs = house.dir.path().join("logs");
    let append = |end: &str, text: &str| {
        let path = logs.join(format!("a-00000007.{end}"));
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("opens");
        file.write_all(text.as_bytes()).expect("written");
    };
    append("out", "not listening\nlisten");
    house.until_ready(Check::Line(r"^listening on port \d+$".into()));
    append("err", "nothing\n");
    append("out", "ing on port 80");
    assert!(house.said.try_recv().is_err());
    append("out", "80\r\n");
    house.is_ready().await;
    append("err", "late\n");
    house.until_ready(Check::Line("late".into()));
    house.is_ready().await;
    house.until_ready(Check::Line("(".into()));
    assert!(house.why().await.contains("no pattern"));
}

#[tokio::test]
async fn a_newline_on_a_descriptor_is_a_word_that_outlives_us() {
    let mut house = House::new();
    let file = crate::surroundings::ready_path(house.dir.path(), no());
    std::fs::write(&file, "").expect("made");
    house.until_ready(Check::Fd(5));
    assert!(house.why().await.contains("descriptor 5"));
    let mut file = std::fs::OpenOptions::new().append(true).open(file).expect("opens");
    file.write_all(b"almost").expect("written");
    file.write_all(b"\n").expect("written");
    house.is_ready().await;
    let mut later = House::at(house.dir, None);
    later.until_ready(Check::Fd(5));
    assert!(later.why().await.contains("descriptor 5"));
    later.is_ready().await;
}

/// As the elder binds it.
fn notify_socket(dir: &Path) -> OwnedFd {
    let socket = UnixDatagram::bind(dir.join("notify.sock")).expect("bound");
    socket.set_nonblocking(true).expect("set");
    rustix::net::sockopt::set_socket_passcred(&socket, true).expect("set");
    socket.into()
}

#[tokio::test]
async fn what_a_run_says_of_itself_is_heard_also_when_nobody_listened_then() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = notify_socket(dir.path());
    let run = UnixDatagram::unbound().expect("a socket");
    run.connect(dir.path().join("notify.sock")).expect("connected");
    std::fs::create_dir(dir.path().join("ready")).expect("made");
    std::fs::write(crate::surroundings::ready_path(dir.path(), no()), "").expect("made");
    // Nobody reads yet.
    run.send(b"STATUS=warming up\nMAINPID=1\nREADY=1").expect("sent");
    // Known by its process from the beginning on: else these words would be nobody's.
    let kept = socket.try_clone().expect("kept");
    let (say, said) = mpsc::unbounded_channel();
    let helpers = Helpers::open(dir.path()).expect("helpers");
    let watcher = Watcher::new().expect("a watcher");
    let probes =
        Probes::open(dir.path(), helpers, watcher, Some(socket), move |word| drop(say.send(word))).expect("probes");
    let mut house = House { dir, probes, said };
    house.until_ready(Check::Notify);
    let mut heard = BTreeSet::new();
    while heard.len() < 2 {
        match house.next().await {
            Said::Status { text, .. } => heard.insert(text),
            Said::Ready { .. } => heard.insert("ready".into()),
            Said::NotReady { .. } => false,
            other @ (Said::Sick { .. } | Said::Stopping { .. }) => panic!("{other:?}"),
        };
    }
    assert_eq!(heard, BTreeSet::from(["ready".to_string(), "warming up".into()]));
    run.send(b"STOPPING=1").expect("sent");
    assert_eq!(house.next().await, Said::Stopping { run: no() });
    // A later daemon finds the word where it was written down.
    drop(house.probes);
    let mut later = House::at(house.dir, Some(kept));
    later.until_ready(Check::Notify);
    later.is_ready().await;
}

#[tokio::test(start_paused = true)]
async fn time_counts_from_the_runs_start() {
    let mut house = House::new();
    let ready = Ready { by: Check::After(Millis(60_000)), every: Millis(1), look_timeout: Millis(1), within: None };
    let started_at = Time(crate::clock::now().0 - 40_000_000_000);
    let before = Instant::now();
    house.probes.watch([Watched { ready: Some(ready), started_at, ..house.run() }]);
    assert_eq!(house.said.recv().await, Some(Said::Ready { run: no() }));
    let waited = before.elapsed();
    assert!(waited > Duration::from_secs(19) && waited < Duration::from_secs(21), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watchdog_that_is_silent_makes_it_sick() {
    let mut house = House::new();
    let before = Instant::now();
    house.while_alive(Check::Notify, 10_000, 3);
    let said = house.said.recv().await.expect("said");
    assert_eq!(before.elapsed().as_secs(), 30);
    assert!(
        matches!(&said, Said::Sick { why, .. } if why.contains("WATCHDOG=1") && why.contains("3 looks")),
        "{said:?}"
    );
}

#[tokio::test]
async fn bad_looks_in_a_row_make_it_sick_and_a_good_one_begins_anew() {
    let mut house = House::new();
    let url = web(&[
        "HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n",
    ]);
    house.while_alive(Check::Http { url: url.clone(), codes: BTreeSet::new() }, 5, 2);
    let Said::Sick { why, .. } = house.next().await else { panic!("not sick") };
    assert!(why.contains("status 500") && why.contains("2 looks"), "{why}");
}

#[tokio::test]
async fn what_is_watched_already_goes_on_and_what_is_not_falls_silent() {
    let mut house = House::new();
    let file = crate::surroundings::ready_path(house.dir.path(), no());
    std::fs::write(&file, "").expect("made");
    house.until_ready(Check::Fd(5));
    house.why().await;
    house.until_ready(Check::Fd(5));
    let ready = Ready { by: Check::Fd(5), every: Millis(5), look_timeout: Millis(200), within: None };
    house.probes.watch([Watched { ready: Some(ready), is_ready: true, ..house.run() }]);
    house.probes.watch([]);
    std::fs::write(&file, "\n").expect("written");
    // Another's word comes after whatever the first would have said.
    house.until_ready(Check::Fd(6));
    assert!(house.why().await.contains("descriptor 6"));
    house.is_ready().await;
    assert!(house.said.try_recv().is_err());
}
