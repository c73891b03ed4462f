//! A run's output on our stdout and stderr: on a terminal cleaned, else byte for byte.
//!
//! The writing is done by a thread of its own, made when there is something to write: a reader who does not read must
//! not keep a Ctrl-C from the run. At most `WAITING_MAX` chunks wait; then the connection waits, and in the end the
//! server does.

use crate::clean::Cleaner;
use crate::report::Failure;
use crate::screen::Screen;
use kin_client::Stream;
use std::io::Write;
use tokio::sync::{mpsc, oneshot};

const WAITING_MAX: usize = 16;

/// Which of the two are cleaned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cleaned {
    out: bool,
    err: bool,
}

impl Cleaned {
    pub(crate) fn of(screen: &Screen, raw: bool) -> Cleaned {
        Cleaned { out: screen.out_terminal && !raw, err: screen.err_terminal && !raw }
    }
}

pub(crate) struct Printer {
    cleaned: Cleaned,
    thread: Option<Thread>,
}

struct Thread {
    chunks: mpsc::Sender<(Stream, Vec<u8>)>,
    done: oneshot::Receiver<std::io::Result<()>>,
}

impl Printer {
    pub(crate) fn new(cleaned: Cleaned) -> Printer {
        Printer { cleaned, thread: None }
    }

    pub(crate) async fn write(&mut self, stream: Stream, bytes: Vec<u8>) -> Result<(), Failure> {
        let cleaned = self.cleaned;
        let thread = self.thread.get_or_insert_with(|| Thread::new(cleaned));
        match thread.chunks.send((stream, bytes)).await {
            Ok(()) => Ok(()),
            // The thread has ended, so writing has failed; it says how.
            Err(_) => self.finish().await,
        }
    }

    /// Ends when all is written.
    pub(crate) async fn finish(&mut self) -> Result<(), Failure> {
        let Some(Thread { chunks, done }) = self.thread.take() else { return Ok(()) };
        drop(chunks);
        done.await.unwrap_or_else(|_| Err(std::io::Error::other("the writer is gone"))).map_err(Failure::output)
    }
}

impl Thread {
    fn new(cleaned: Cleaned) -> Thread {
        let (chunks, waiting) = mpsc::channel(WAITING_MAX);
        let (tell, done) = oneshot::channel();
        std::thread::spawn(move || {
            let written = write_all(cleaned, waiting);
            // Who does not listen any more has its own reasons.
            drop(tell.send(written));
        });
        Thread { chunks, done }
    }
}

fn write_all(cleaned: Cleaned, mut waiting: mpsc::Receiver<(Stream, Vec<u8>)>) -> std::io::Result<()> {
    // Locked for each write and no longer: what kin itself has to say on stderr comes in between.
    let mut out = Target { to: std::io::stdout(), cleaner: cleaned.out.then(Cleaner::default) };
    let mut err = Target { to: std::io::stderr(), cleaner: cleaned.err.then(Cleaner::default) };
    while let Some((stream, bytes)) = waiting.blocking_recv() {
        match stream {
            Stream::Out => out.write(&bytes)?,
            Stream::Err => err.write(&bytes)?,
        }
    }
    out.finish()?;
    err.finish()
}

struct Target<W> {
    to: W,
    cleaner: Option<Cleaner>,
}

impl<W: Write> Target<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.cleaner {
            None => self.to.write_all(bytes)?,
            Some(cleaner) => {
                let mut text = String::with_capacity(bytes.len());
                cleaner.push(bytes, &mut text);
                self.to.write_all(text.as_bytes())?;
            }
        }
        self.to.flush()
    }
    fn finish(&mut self) -> std::io::Result<()> {
        let mut text = String::new();
        if let Some(cleaner) = &mut self.cleaner {
            cleaner.finish(&mut text);
        }
        self.to.write_all(text.as_bytes())?;
        self.to.flush()
    }
}
