//! A file system whose server never answers holds up the run that lies on it, and nobody else.

use kin_keeper::table::{INTENT, SIGNAL_SENT};
use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use testkit::http::PATIENCE;
use testkit::{Role, Server, eventually, is_root, not_run};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

/// A FUSE mount without anybody behind it: whoever asks it for anything waits until it goes away.
struct Hanging {
    at: PathBuf,
    /// Closing it ends the mount, and all who wait with it.
    device: Option<OwnedFd>,
}

impl Hanging {
    fn below(server: &Server) -> Result<Hanging, String> {
        let device = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| format!("/dev/fuse cannot be opened ({error})"))?;
        let at = server.home().join("hanging");
        std::fs::create_dir(&at).expect("a directory");
        let options = format!("fd={},rootmode=40755,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let options = std::ffi::CString::new(options).expect("no NUL");
        mount("hanging", &at, "fuse", MountFlags::NOSUID | MountFlags::NODEV, &*options)
            .map_err(|error| format!("FUSE cannot be mounted ({error})"))?;
        Ok(Hanging { at, device: Some(device) })
    }

    /// From now on somebody is behind it, who lets everybody into it, and knows nothing else, until it goes away.
    fn answer(&self) {
        const INIT: u32 = 26;
        let device = self.device.as_ref().expect("it is there").try_clone().expect("a duplicate");
        std::thread::spawn(move || {
            let mut asked = [0u8; 1 << 16];
            while let Ok(len) = rustix::io::read(&device, &mut asked) {
                let word = |at: usize| u32::from_le_bytes(asked[at..at + 4].try_into().expect("four bytes"));
                let is_init = len >= 40 && word(4) == INIT;
                let error = if is_init { 0 } else { -rustix::io::Errno::NOSYS.raw_os_error() };
                // The version, and otherwise nothing that has to be said.
                let mut body = [0u8; 64];
                (body[0], body[4]) = (7, 31);
                let body = if is_init { &body[..] } else { &[] };
                let mut answer = (16 + body.len() as u32).to_le_bytes().to_vec();
                answer.extend(error.to_le_bytes());
                answer.extend(&asked[8..16]);
                answer.extend(body);
                // One that does not wait for its answer any more is none of ours.
                let _gone = rustix::io::write(&device, &answer);
            }
        });
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.device = None;
        unmount(&self.at, UnmountFlags::DETACH).expect("it was mounted");
    }
}

/// A server, and below it a directory that nobody answers for; `None` where there can be none.
fn hanging() -> Option<(Server, Hanging)> {
    if !is_root() {
        not_run("a directory that hangs needs root, to mount it");
        return None;
    }
    let server = Server::start(KIN);
    match Hanging::below(&server) {
        Ok(hanging) => Some((server, hanging)),
        Err(why) => {
            not_run(&format!("a directory that hangs: {why}"));
            None
        }
    }
}

#[test]
fn a_run_whose_directory_never_answers_hangs_alone() {
    let Some((server, hanging)) = hanging() else { return };
    let state = |id: &str| server.show(id)["state"].as_str().map(str::to_owned);
    let submit = |request: Value| server.submit(&request)["id"].as_str().expect("an id").to_owned();

    let beside = submit(server.request(&["sh", "-c", "while :; do echo tick; sleep 0.05; done"]));
    let mut request = server.request(&["true"]);
    request["directory"] = json!(hanging.at.to_str());
    let stuck = submit(request);
    server.wait_state(&stuck, &["starting"]);

    // Everything else keeps its times while it hangs.
    let heard = server.output(&beside, "out").len();
    eventually("the other's output goes on", PATIENCE, || (server.output(&beside, "out").len() > heard).then_some(()));
    for _ in 0..5 {
        assert_eq!(server.wait_end(&submit(server.request(&["true"])))["outcome"], "ok");
    }
    let mut request = server.request(&["sleep", "600"]);
    request["timeout_ms"] = json!(200);
    assert_eq!(server.wait_end(&submit(request))["outcome"], "timed-out");
    server.http().post(&format!("/v1/runs/{beside}/stop"), &json!({}));
    assert_eq!(server.wait_end(&beside)["outcome"], "stopped");
    assert_eq!(state(&stuck).as_deref(), Some("starting"), "it never ran, and is not said to run");

    // It can be ended while it hangs.
    server.http().post(&format!("/v1/runs/{stuck}/stop"), &json!({"kill": true}));
    let run = server.wait_end(&stuck);
    assert_ne!(run["outcome"], "ok", "{run}");
    assert_eq!(run["started_at"], Value::Null, "{run}");
    drop(hanging);
    server.shutdown();
}

#[test]
fn a_run_that_hangs_before_its_program_is_taken_over_as_it_is() {
    let Some((server, hanging)) = hanging() else { return };
    let mut request = server.request(&["true"]);
    request["directory"] = json!(hanging.at.to_str());
    let submit = |request: &Value| server.submit(request)["id"].as_str().expect("an id").to_owned();
    let (killed, asked, timed) = (submit(&request), submit(&request), {
        request["timeout_ms"] = json!(1);
        request["stop_wait_ms"] = json!(1);
        submit(&request)
    });
    let timed_end = server.wait_end(&timed);
    assert_eq!(
        (timed_end["outcome"].as_str(), &timed_end["started_at"]),
        (Some("timed-out"), &Value::Null),
        "{timed_end}"
    );

    for role in [Role::Keeper, Role::Elder] {
        server.kill(role).expect("it was there");
        server.wait_whole(PATIENCE);
        for id in [&killed, &asked] {
            let run = server.show(id);
            assert_eq!(
                (run["state"].as_str(), &run["started_at"]),
                (Some("starting"), &Value::Null),
                "{role:?}: {run}"
            );
        }
    }
    server.http().post(&format!("/v1/runs/{killed}/stop"), &json!({"kill": true}));
    let run = server.wait_end(&killed);
    assert_eq!((run["outcome"].as_str(), &run["started_at"]), (Some("stopped"), &Value::Null), "{run}");

    // The mount goes: the other hears that there is no directory, and the keeper hears it of the child that it did not make.
    drop(hanging);
    let run = server.wait_end(&asked);
    assert_eq!(run["outcome"], "spawn-failed", "{run}");
    server.shutdown();
}

/// It is asked when it is its program, and has the rest of its time to answer.
#[test]
fn a_run_that_is_stopped_before_its_program_is_told_so_when_it_is() {
    let Some((server, hanging)) = hanging() else { return };
    let mut request = server.request(&["sleep", "600"]);
    request["directory"] = json!(hanging.at.to_str());
    request["stop_wait_ms"] = json!(60_000);
    let id = server.submit(&request)["id"].as_str().expect("an id").to_owned();
    server.wait_state(&id, &["starting"]);
    server.http().post(&format!("/v1/runs/{id}/stop"), &json!({}));
    server.wait_state(&id, &["stopping"]);
    let asked = std::time::Instant::now();
    hanging.answer();
    let run = server.wait_end(&id);
    assert_eq!((run["outcome"].as_str(), run["signal"].as_u64()), (Some("stopped"), Some(15)), "{run}");
    assert!(asked.elapsed() < std::time::Duration::from_secs(30), "{:?}", asked.elapsed());
    drop(hanging);
    server.shutdown();
}

/// However long its directory hung, it has the whole of its time from when it is asked.
#[test]
fn who_is_asked_late_has_all_its_time_to_answer() {
    let Some((server, hanging)) = hanging() else { return };
    let mut request = server.request(&["sleep", "600"]);
    request["directory"] = json!(hanging.at.to_str());
    request["stop_wait_ms"] = json!(60_000);
    // One that it passes over.
    request["stop_signal"] = json!("CONT");
    let id = server.submit(&request)["id"].as_str().expect("an id").to_owned();
    server.wait_state(&id, &["starting"]);
    server.http().post(&format!("/v1/runs/{id}/stop"), &json!({}));
    server.wait_state(&id, &["stopping"]);
    let table = server.table().expect("a table");
    let at = table.snapshots().find(|seen| seen.state == INTENT).expect("a slot").slot;
    let slot = &table.slots()[at as usize];
    let until = || slot.stop_deadline.load(Ordering::Acquire);
    let has_sent = || slot.stop_signal.load(Ordering::Acquire) & SIGNAL_SENT != 0;
    let at_the_stop = eventually("it climbs", PATIENCE, || Some(until()).filter(|at| *at != 0));
    assert!(!has_sent());
    hanging.answer();
    eventually("it is asked", PATIENCE, || has_sent().then_some(()));
    assert!(until() > at_the_stop, "{} is not after {at_the_stop}", until());
    server.http().post(&format!("/v1/runs/{id}/stop"), &json!({"kill": true}));
    assert_eq!(server.wait_end(&id)["outcome"], "stopped");
    drop(hanging);
    server.shutdown();
}
