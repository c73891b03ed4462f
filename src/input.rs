//! What becomes of our standard input: nothing, the run's own descriptor, or, from a terminal, what is typed.
//!
//! A terminal is not handed over: a run that outlives us would go on reading what is typed for others. It gets a pipe,
//! and a thread here puts into it what is typed for as long as we are in the foreground and alive. Our end is its EOF.
//!
//! What is typed ahead belongs to whoever reads the terminal next, so no more of it is taken than the run reads: the
//! pipe has room for one piece, and only when that was read is the terminal read again. One line is lost at most, to a
//! run that never reads: nobody can see whether a reader waits at an empty pipe.

use crate::report::Failure;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::PipeFlags;
use rustix::termios::{OptionalActions, Termios};
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::sync::mpsc;
use tokio::signal::unix::{SignalKind, signal};

/// What the run's descriptor 0 will be.
#[derive(Debug)]
pub(crate) enum Input {
    /// `/dev/null`; nothing is handed over.
    Nothing,
    /// Our own: a pipe, a file, a socket.
    Own,
    /// The read end of a pipe that a `Pump` fills.
    Typed { read: OwnedFd, pump: Pump },
}

impl Input {
    pub(crate) fn of_process() -> Result<Input, Failure> {
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
                .map_err(|e| Failure::System { what: "could not make a pipe", source: e.into() })?;
            // One page is one piece, which must be read whole before the pipe is writable again. Where the kernel keeps
            // the usual size, more is taken ahead, and that is all.
            rustix::pipe::fcntl_setpipe_size(&write, rustix::param::page_size()).map(|_| ()).unwrap_or(());
            return Ok(Input::Typed { read, pump: Pump { write } });
        }
        let file = stdin.as_fd().try_clone_to_owned().map(File::from);
        match file.and_then(|file| file.metadata()) {
            // The run gets one of its own without asking for it.
            Ok(meta) if meta.file_type().is_char_device() && is_null(&meta) => Ok(Input::Nothing),
            Ok(_) => Ok(Input::Own),
            // Descriptor 0 is closed.
            Err(_) => Ok(Input::Nothing),
        }
    }
}

fn is_null(meta: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    meta.rdev() == rustix::fs::makedev(1, 3)
}

/// Puts what is typed into a pipe.
#[derive(Debug)]
pub(crate) struct Pump {
    write: OwnedFd,
}

impl Pump {
    /// Starts the thread. It ends with the terminal, with Ctrl-D, or when nobody reads the pipe any more.
    pub(crate) fn start(self) -> Result<(), Failure> {
        let foreground = Foreground::watch()?;
        std::thread::spawn(move || {
            let to = File::from(self.write);
            // Whatever ends the pump ends the run's input, and that is all there is to say about it.
            drop(each_typed(&foreground, Some(to.as_fd()), |bytes| (&to).write_all(bytes).is_ok()));
        });
        Ok(())
    }
}

/// Gives what is typed to `take` until that says no; only while we are in the foreground, as a shell would have it.
/// `pipe` is where it goes: nothing is read before what went there was read, or after its last reader is gone.
fn each_typed(
    foreground: &Foreground,
    pipe: Option<BorrowedFd<'_>>,
    mut take: impl FnMut(&[u8]) -> bool,
) -> std::io::Result<()> {
    let stdin = std::io::stdin();
    let mut buffer = [0u8; 4096];
    loop {
        if let Some(pipe) = pipe
            && until(&mut [PollFd::new(&pipe, PollFlags::OUT)])?.intersects(PollFlags::ERR)
        {
            return Ok(());
        }
        let mut both = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(&stdin, PollFlags::empty())];
        if let Some(pipe) = &pipe {
            both[1] = PollFd::new(pipe, PollFlags::empty());
        }
        until(&mut both)?;
        // Reading in the background would stop us, and the run's output with us.
        if both[1].revents().intersects(PollFlags::ERR) || !foreground.wait() {
            return Ok(());
        }
        let n = rustix::io::retry_on_intr(|| rustix::io::read(&stdin, &mut buffer))?;
        if n == 0 || !take(&buffer[..n]) {
            return Ok(());
        }
    }
}

/// Blocks until one of them is ready, and gives what the first is ready for.
fn until(fds: &mut [PollFd<'_>]) -> std::io::Result<PollFlags> {
    rustix::io::retry_on_intr(|| rustix::event::poll(fds, None::<&Timespec>))?;
    Ok(fds[0].revents())
}

/// Whether the terminal is ours just now.
struct Foreground {
    continued: mpsc::Receiver<()>,
}

impl Foreground {
    fn watch() -> Result<Foreground, Failure> {
        let what = "could not listen for signals";
        let mut signals = signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))
            .map_err(|source| Failure::System { what, source })?;
        let (tell, continued) = mpsc::channel();
        tokio::spawn(async move { while signals.recv().await.is_some() && tell.send(()).is_ok() {} });
        Ok(Foreground { continued })
    }

    /// Blocks until we are in the foreground; no when that cannot come any more.
    fn wait(&self) -> bool {
        loop {
            match rustix::termios::tcgetpgrp(std::io::stdin()) {
                Ok(group) if Some(group) == own_group() => return true,
                // The shell continues us when it brings us to the front.
                Ok(_) if self.continued.recv().is_ok() => {}
                Ok(_) | Err(_) => return false,
            }
        }
    }
}

/// `None` when whoever leads our group lives outside of our pid namespace, for which the kernel says 0 and rustix has no value.
fn own_group() -> Option<rustix::process::Pid> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let group = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(2)?;
    rustix::process::Pid::from_raw(group.parse().ok()?)
}

/// Our terminal gives each key at once and acts on none of them, until this is dropped.
pub(crate) struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// `None` when stdin is no terminal.
    pub(crate) fn begin() -> Option<RawTerminal> {
        let before = rustix::termios::tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(std::io::stdin(), OptionalActions::Drain, &raw).ok()?;
        Some(RawTerminal { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that cannot be set back has gone, and nobody looks at it any more.
        rustix::termios::tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.before).unwrap_or(());
    }
}

/// What is typed, or comes through a pipe, for a run on a terminal of its own.
pub(crate) fn keys() -> Result<tokio::sync::mpsc::Receiver<Vec<u8>>, Failure> {
    let (send, receive) = tokio::sync::mpsc::channel(4);
    let typed = std::io::stdin().is_terminal();
    let foreground = typed.then(Foreground::watch).transpose()?;
    std::thread::spawn(move || {
        let give = |bytes: &[u8]| send.blocking_send(bytes.to_vec()).is_ok();
        match foreground {
            Some(foreground) => drop(each_typed(&foreground, None, give)),
            None => drop(each_piped(give)),
        }
    });
    Ok(receive)
}

/// A terminal has no end of file; its line discipline makes one of Ctrl-D. Behind an unfinished line the first one only
/// ends the line, and it takes a second.
fn each_piped(mut take: impl FnMut(&[u8]) -> bool) -> std::io::Result<()> {
    const CTRL_D: &[u8] = b"\x04";
    let stdin = std::io::stdin();
    let mut buffer = [0u8; 4096];
    let mut unfinished = false;
    loop {
        let n = rustix::io::retry_on_intr(|| rustix::io::read(&stdin, &mut buffer))?;
        if n == 0 {
            if !unfinished || take(CTRL_D) {
                take(CTRL_D);
            }
            return Ok(());
        }
        if !take(&buffer[..n]) {
            return Ok(());
        }
        // A terminal that was just made takes a return for a newline.
        unfinished = !matches!(buffer[n - 1], b'\n' | b'\r' | 4);
    }
}

/// Rows and columns of the terminal we are on.
pub(crate) fn terminal_size() -> Option<(u16, u16)> {
    let size = |fd: &dyn Fn() -> rustix::io::Result<rustix::termios::Winsize>| fd().ok();
    let found = size(&|| rustix::termios::tcgetwinsize(std::io::stdout()))
        .or_else(|| size(&|| rustix::termios::tcgetwinsize(std::io::stdin())))
        .or_else(|| size(&|| rustix::termios::tcgetwinsize(std::io::stderr())))?;
    (found.ws_row > 0 && found.ws_col > 0).then_some((found.ws_row, found.ws_col))
}
