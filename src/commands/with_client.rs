//! The other half of `exec --with-client`: a process that waits for the client's death and then stops the run.
//!
//! Nobody can act on being killed, so somebody else has to. Its stdin is a pipe that the client holds: a word before
//! the end says that all is well, the end without a word that the client is gone.
//!
//! It is there before the run is asked for, and knows the request and its key: the server may have accepted what the
//! client never learnt of. As long as it does not know the run either it asks under the same key for one that is held,
//! so that nothing can begin under that key any more; if the key was used, the refusal names the run to be stopped.

use crate::cli::Face;
use crate::report::Failure;
use clap::Args;
use kin_client::api::run::StopRequest;
use kin_client::api::{ApiError, Code, RunRequest};
use kin_client::{Client, Error, Key};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// Stop a run when stdin ends without a word.
#[derive(Args, Debug)]
pub(crate) struct WithClientArgs {}

/// What the client says, a line of JSON each.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Word {
    /// This is about to be asked for, under this key.
    Asks { key: String, request: Box<RunRequest> },
    /// It is this run.
    Run(String),
    /// There is nothing to stop.
    Well,
}

/// Between two attempts; a server that is silent takes its own time.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// So long a server knows the key. Whoever has said no until then, or was not there, is not asked any more.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

impl WithClientArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let mut said = Vec::new();
        // Whatever ends the pipe is the client's end.
        drop(std::io::stdin().lock().read_to_end(&mut said));
        let Some(mut left) = Left::of(&said) else { return Ok(0) };
        let (mut pause, since) = (PAUSE, Instant::now());
        let client = &face.client;
        // Without its state there is no server that could have the run.
        while !left.end(&that_may_start(client)).await? && client.home().state.exists() && since.elapsed() < KEPT {
            rest(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Ok(0)
    }
}

#[expect(clippy::disallowed_methods, reason = "nobody tells when a server that does not answer will")]
pub(crate) async fn rest(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// A server that was shut down is begun again only for runs that go on without it, which the keepers tell by living. Where
/// none lives nothing runs, and what waits is withdrawn from the next one.
fn that_may_start(client: &Client) -> Client {
    // Who cannot be asked may live.
    if client.server_lives().unwrap_or(true) { client.clone() } else { client.of_the_running() }
}

/// What a client left behind.
#[derive(Debug, PartialEq)]
enum Left {
    Asked { key: String, request: Box<RunRequest> },
    Run(String),
}

impl Left {
    /// `None`: nothing, or the client died before it had asked for anything.
    fn of(said: &[u8]) -> Option<Left> {
        let mut left = None;
        for word in said.split_inclusive(|byte| *byte == b'\n') {
            left = match serde_json::from_slice(word) {
                Ok(Word::Asks { key, request }) => Some(Left::Asked { key, request }),
                Ok(Word::Run(run)) => Some(Left::Run(run)),
                Ok(Word::Well) => None,
                // A word that was cut off by the client's death was not meant yet.
                Err(_) => left,
            };
        }
        left
    }

    /// One attempt; true when nothing of it lives or will.
    async fn end(&mut self, client: &Client) -> Result<bool, Failure> {
        if let Left::Asked { key, request } = self {
            match client.submit(&withdrawn(request, key), &Key::given(key.clone())).await {
                Ok(held) => *self = Left::Run(held.id),
                Err(Error::Refused(ApiError { code: Code::KeyReused, run: Some(run), .. })) => *self = Left::Run(run),
                Err(Error::Refused(no)) if is_lasting(no.code) => return Err(Error::Refused(no).into()),
                Err(_) => return Ok(false),
            }
        }
        let Left::Run(run) = self else { return Ok(false) };
        match client.stop(run, &StopRequest { kill: false, interrupt: true }).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(true),
            // Refused, perhaps because it has ended.
            Err(Error::Refused(_)) => Ok(client.run(run).await.is_ok_and(|run| run.state == "ended")),
            Err(_) => Ok(false),
        }
    }
}

/// The same, but it waits for ever, and has nothing of the client.
fn withdrawn(request: &RunRequest, key: &str) -> RunRequest {
    RunRequest {
        latch: Some(format!("withdrawn-{key}")),
        no_overlap: false,
        hand: None,
        bypass: false,
        ..request.clone()
    }
}

/// Whether asking again gets the same answer.
const fn is_lasting(code: Code) -> bool {
    match code {
        Code::BadRequest
        | Code::MethodNotAllowed
        | Code::UnsupportedMedia
        | Code::TooLarge
        | Code::NotFound
        | Code::KeyForgotten => true,
        Code::Refused | Code::KeyReused | Code::Unavailable | Code::Closing | Code::Internal => false,
    }
}

/// The client's end of the pipe. Dropped without a word, it has what was asked for withdrawn or stopped.
pub(crate) struct Guard {
    pipe: ChildStdin,
}

impl Guard {
    /// Before the request is sent.
    pub(crate) fn of(key: &Key, request: &RunRequest) -> Result<Guard, Failure> {
        let system = |source| Failure::System { what: "could not make the process that stops the run with us", source };
        // In a process group of its own, so that the terminal's Ctrl-C is not meant for it.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("kin").arg("with-client").process_group(0);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let pipe = spawned.map_err(system)?.stdin.take();
        let mut guard = pipe.map(|pipe| Guard { pipe }).ok_or_else(|| system(std::io::ErrorKind::BrokenPipe.into()))?;
        let word = Word::Asks { key: key.as_str().to_owned(), request: Box::new(request.clone()) };
        guard.say(&word).map_err(system)?;
        Ok(guard)
    }

    /// A key is remembered for a time, a run for longer.
    pub(crate) fn accepted(&mut self, run: &str) {
        // That the other half is gone already is no harm as long as we are here.
        drop(self.say(&Word::Run(run.to_owned())));
    }

    /// The run has ended, or there is none: nothing is to be stopped.
    pub(crate) fn release(mut self) {
        drop(self.say(&Word::Well));
    }

    fn say(&mut self, word: &Word) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(word)?;
        line.push(b'\n');
        self.pipe.write_all(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_was_said_last_and_whole() {
        let words =
            [Word::Asks { key: "k".into(), request: Box::default() }, Word::Run("a-00000001".into()), Word::Well];
        let lines = words.map(|word| serde_json::to_string(&word).expect("JSON") + "\n");
        let left = |said: &str| Left::of(said.as_bytes());
        assert_eq!(left(""), None);
        assert_eq!(left(&lines[0][..lines[0].len() - 9]), None, "it died before it asked");
        let asked = Some(Left::Asked { key: "k".into(), request: Box::default() });
        assert_eq!(left(&lines[0]), asked);
        assert_eq!(left(&(lines[0].clone() + &lines[1][..7])), asked);
        assert_eq!(left(&lines[..2].concat()), Some(Left::Run("a-00000001".into())));
        assert_eq!(left(&lines.concat()), None);
    }
}
