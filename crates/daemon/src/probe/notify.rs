//! The socket on which runs say that they are ready (`sd_notify`'s protocol): one for all runs, bound by the elder.
//!
//! A message is looked at, its word is written down, and only then is it taken out of the socket: a daemon that dies in
//! between leaves it to the next. Whose message it is, is asked of the kernel: the sender's cgroup, its session, and last
//! (for processes of the server's own user) what its environment says.

use super::{Said, Say, word};
use kin_core::{RunId, RunNo};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Longer messages are cut.
const MESSAGE: usize = 4096;
/// Runs that spoke before anybody watched them.
const EARLY: usize = 4096;

/// What a run has said of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) ready: bool,
    /// How often it said that it lives.
    pub(super) dogs: u64,
}

pub(super) struct Hub {
    run: PathBuf,
    uid: u32,
    say: Say,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    told: BTreeMap<RunNo, watch::Sender<Told>>,
    leaders: BTreeMap<u32, RunNo>,
}

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sender {
    pid: u32,
    uid: u32,
}

impl Hub {
    pub(super) fn new(run: &Path, say: Say) -> Hub {
        let uid = rustix::process::geteuid().as_raw();
        Hub { run: run.to_path_buf(), uid, say, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn subscribe(&self, no: RunNo, pid: Option<u32>) -> watch::Receiver<Told> {
        let mut state = self.state();
        state.leaders.extend(pid.map(|pid| (pid, no)));
        state.told.entry(no).or_default().subscribe()
    }

    pub(super) fn forget(&self, no: RunNo) {
        let mut state = self.state();
        state.told.remove(&no);
        state.leaders.retain(|_, of| *of != no);
    }

    fn hear(&self, sender: Sender, message: &[u8]) {
        let Some(no) = self.run_of(sender) else { return };
        for line in message.split(|b| *b == b'\n') {
            match line {
                b"READY=1" => {
                    if !word::is_there(&self.run, no)
                        && let Err(e) = word::write(&self.run, no)
                        && e.kind() != io::ErrorKind::NotFound
                    {
                        crate::say!("kin daemon: that run {no} is ready cannot be written down: {e}");
                    }
                    self.tell(no, |told| told.ready = true);
                }
                b"WATCHDOG=1" => self.tell(no, |told| told.dogs += 1),
                b"STOPPING=1" => (self.say)(Said::Stopping { run: no }),
                // MAINPID and whatever else there is: a run's leader is who kin started.
                _ => {
                    if let Some(text) = line.strip_prefix(b"STATUS=") {
                        let text = String::from_utf8_lossy(text).into_owned();
                        (self.say)(Said::Status { run: no, text });
                    }
                }
            }
        }
    }

    fn tell(&self, no: RunNo, change: impl FnOnce(&mut Told)) {
        let mut state = self.state();
        state.told.entry(no).or_default().send_modify(change);
        while state.told.len() > EARLY
            && let Some(oldest) = state.told.iter().find(|(_, told)| told.receiver_count() == 0).map(|(no, _)| *no)
        {
            state.told.remove(&oldest);
        }
    }

    fn run_of(&self, sender: Sender) -> Option<RunNo> {
        let read = |name: &str| std::fs::read(format!("/proc/{}/{name}", sender.pid)).unwrap_or_default();
        let run = |no: &RunNo| !no.is_helper();
        if let Some(no) = cgroup_of(&read("cgroup")).filter(run) {
            return Some(no);
        }
        let leaders = |pid: u32| self.state().leaders.get(&pid).copied();
        if let Some(no) = leaders(sender.pid).or_else(|| leaders(session_of(&read("stat"))?)) {
            return Some(no);
        }
        // What an environment says anybody can say: another user's word of it counts for nothing.
        let ours = sender.uid == self.uid || sender.uid == 0;
        ours.then(|| environ_of(&read("environ"))).flatten().filter(run)
    }
}

/// The run's own cgroup, or one below it, on the unified hierarchy.
fn cgroup_of(text: &[u8]) -> Option<RunNo> {
    let path = text.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"0::"))?;
    let mut parts =
        std::str::from_utf8(path).ok()?.split('/').skip_while(|part| *part != "r" && !part.starts_with("kin-"));
    parts.nth(1).and_then(RunNo::parse)
}

/// Field 6 of /proc/PID/stat; the name before may hold anything.
fn session_of(stat: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(stat);
    text.rsplit_once(") ")?.1.split(' ').nth(3)?.parse().ok()
}

fn environ_of(environ: &[u8]) -> Option<RunNo> {
    let id = environ.split(|b| *b == 0).find_map(|entry| entry.strip_prefix(b"KIN_RUN_ID="))?;
    RunId::parse(std::str::from_utf8(id).ok()?).map(|id| id.no)
}

/// Reads the socket for as long as the handle is not aborted.
pub(super) fn listen(socket: OwnedFd, hub: Arc<Hub>) -> io::Result<AbortHandle> {
    #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd that is never replaced is what it asks for")]
    let socket = AsyncFd::new(socket)?;
    let task = tokio::spawn(async move {
        let mut buffer = [0; MESSAGE];
        loop {
            let looked =
                socket.async_io(tokio::io::Interest::READABLE, |fd| receive(fd, &mut buffer, RecvFlags::PEEK)).await;
            match looked {
                Ok((len, Some(sender))) => hub.hear(sender, &buffer[..len]),
                Ok((_, None)) => {}
                Err(e) => return crate::say!("kin daemon: runs cannot say any more that they are ready: {e}"),
            }
            // Only now: what it said is known.
            if let Err(e) = receive(socket.get_ref(), &mut [], RecvFlags::empty())
                && e.kind() != io::ErrorKind::WouldBlock
            {
                return crate::say!("kin daemon: runs cannot say any more that they are ready: {e}");
            }
        }
    });
    Ok(task.abort_handle())
}

/// One message and who sent it. Descriptors that came with it are closed, which is what whoever waits for that waits for.
fn receive(socket: impl AsFd, buffer: &mut [u8], flags: RecvFlags) -> io::Result<(usize, Option<Sender>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let got = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)
    })?;
    let mut sender = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmCredentials(who) = message {
            sender = Some(Sender { pid: who.pid.as_raw_nonzero().get() as u32, uid: who.uid.as_raw() });
        }
    }
    Ok((got.bytes.min(buffer.len()), sender))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_known_by_its_cgroup_its_session_or_its_environment() {
        let no = RunNo::parse("NeP8nb4q");
        for (text, want) in [
            ("4:cpu:/x\n0::/user.slice/kin.service/r/NeP8nb4q\n", no),
            ("0::/a/kin-0123abcd/NeP8nb4q/below\n", no),
            ("0::/NeP8nb4q\n", None),
            ("0::/\n", None),
            ("", None),
        ] {
            assert_eq!(cgroup_of(text.as_bytes()), want, "{text}");
        }
        assert_eq!(session_of(b"7 (a) b) S 1 7 5 0 -1"), Some(5));
        assert_eq!(session_of(b""), None);
        assert_eq!(environ_of(b"A=1\0KIN_RUN_ID=web-NeP8nb4q\0"), no);
        assert_eq!(environ_of(b"KIN_RUN_ID=\0"), None);
    }

    #[test]
    fn another_users_word_counts_only_for_what_the_kernel_says() {
        let hub = Hub::new(Path::new("/nowhere"), Arc::new(|_| {}));
        let me = std::process::id();
        let no = RunNo::new(7).expect("a number");
        drop(hub.subscribe(no, Some(me)));
        assert_eq!(hub.run_of(Sender { pid: me, uid: 12345 }), Some(no));
        hub.forget(no);
        assert_eq!(hub.run_of(Sender { pid: me, uid: 12345 }), None);
    }
}
