//! The signals that a client gets and that are meant for its run: what is done with them before and after there is one.

use crate::report::Failure;
use crate::screen::Screen;
use kin_client::api::run::{SignalRequest, StopRequest};
use kin_client::{Client, Error};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// A second signal within this time stops the run.
const TWICE: Duration = Duration::from_secs(5);

/// INT and TERM, which are meant for the run.
pub(crate) struct Interrupts {
    int: Signal,
    term: Signal,
}

impl Interrupts {
    pub(crate) fn listen() -> Result<Interrupts, Failure> {
        let listen =
            |kind| signal(kind).map_err(|source| Failure::System { what: "could not listen for signals", source });
        Ok(Interrupts { int: listen(SignalKind::interrupt())?, term: listen(SignalKind::terminate())? })
    }

    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.int.recv() => "INT",
            _ = self.term.recv() => "TERM",
        }
    }

    /// A signal before the run is known is kept for it; a second one ends us: `None`.
    pub(crate) async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Option<(T, Option<&'static str>)> {
        let mut work = std::pin::pin!(work);
        let mut pending = None;
        loop {
            tokio::select! {
                done = &mut work => return Some((done, pending)),
                name = self.next() => match pending {
                    None => pending = Some(name),
                    Some(_) => return None,
                },
            }
        }
    }
}

/// Once interrupts, twice stops.
pub(crate) struct Ladder {
    client: Client,
    run: String,
    last: Option<Instant>,
}

impl Ladder {
    pub(crate) fn of(client: &Client, run: &str) -> Ladder {
        Ladder { client: client.clone(), run: run.to_owned(), last: None }
    }

    pub(crate) fn pass_on(&mut self, name: &'static str, screen: &Screen) {
        let now = Instant::now();
        let again = self.last.is_some_and(|last| now - last < TWICE);
        self.last = Some(now);
        let (client, run, screen) = (self.client.clone(), self.run.clone(), screen.clone());
        tokio::spawn(async move {
            let signal = SignalRequest { signal: name.to_owned(), leader_only: false, interrupt: true };
            let sent = if again { None } else { Some(client.signal(&run, &signal).await) };
            let stopped = match sent {
                Some(Ok(_)) => return,
                // Nobody to send a signal to yet, or any more: then it is about the run as a whole.
                Some(Err(Error::Refused(_))) | None => {
                    client.stop(&run, &StopRequest { kill: false, interrupt: true }).await
                }
                Some(Err(error)) => Err(error),
            };
            match stopped {
                // It has ended meanwhile, which its output will say.
                Ok(_) | Err(Error::Refused(_)) => {}
                Err(error) => screen.note(&format!("{name} could not be passed on: {error}")),
            }
        });
    }
}
