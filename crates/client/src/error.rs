//! What a caller can learn when a request did not come to an answer.

use crate::door::DaemonProcess;
use kin_api::ApiError;
use kin_api::home::NoHome;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Home(#[from] NoHome),
    /// The server answered, and the answer is no.
    #[error("{0}")]
    Refused(#[source] ApiError),
    #[error("no server runs for {}", state.display())]
    NoServer { state: PathBuf },
    /// `said` is what the new server wrote to its stderr, `hint` what it said there that could be done, `code` how it ended.
    #[error("the server for {} could not be started{}", state.display(), said_words(said))]
    NotStarted { state: PathBuf, code: Option<i32>, said: String, hint: Option<String> },
    /// `why` is what a daemon said that ends again and again as soon as it has begun.
    #[error("{} has not answered for {seconds} s{}", silent_words(state, daemon.as_ref(), why.as_ref()), said_words(why.as_deref().unwrap_or_default()))]
    Silent { state: PathBuf, daemon: Option<DaemonProcess>, why: Option<String>, seconds: u64 },
    #[error("the socket {} is out of reach: {source}", socket.display())]
    Unreachable { socket: PathBuf, source: std::io::Error },
    /// On the way to the state stands something else.
    #[error("{} is not a directory: kin's files cannot be there", path.display())]
    NotADirectory { path: PathBuf },
    /// Whoever answers does not speak `/v1`.
    #[error("what answers at the socket is not this kin: {what}")]
    Strange { what: String },
    #[error("could not hand over {what}: {source}")]
    Hand { what: &'static str, source: std::io::Error },
    #[error("{what}: {source}")]
    System { what: &'static str, source: std::io::Error },
}

impl Error {
    /// The code of a refusal, where the server gave one.
    pub fn code(&self) -> Option<kin_api::Code> {
        match self {
            Error::Refused(error) => Some(error.code),
            Error::Home(_)
            | Error::NoServer { .. }
            | Error::NotStarted { .. }
            | Error::Silent { .. }
            | Error::Unreachable { .. }
            | Error::NotADirectory { .. }
            | Error::Strange { .. }
            | Error::Hand { .. }
            | Error::System { .. } => None,
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.code() == Some(kin_api::Code::NotFound)
    }
}

fn said_words(said: &str) -> String {
    match said.trim() {
        "" => String::new(),
        said => format!(": {said}"),
    }
}

fn silent_words(state: &std::path::Path, daemon: Option<&DaemonProcess>, why: Option<&String>) -> String {
    match daemon {
        _ if why.is_some() => format!("the server for {} (its daemon cannot begin)", state.display()),
        Some(daemon) => format!("the server for {} (pid {}, {})", state.display(), daemon.pid, daemon.doing),
        None => format!("the server for {} (its daemon is not running)", state.display()),
    }
}
