//! Where an error meets a human: its words, what to do about it, and the exit code.
//!
//! | code | means                                            |
//! |------|--------------------------------------------------|
//! | 0    | done                                             |
//! | 1    | the thing asked about failed, or kin did         |
//! | 2    | the command line, a setting or KIN_HOME is wrong |
//! | 3    | no server, or it does not answer                 |
//! | 4    | no such job or run                               |
//! | 5    | refused                                          |
//! | 124  | the time was over                                |
//!
//! `exec` returns the child's own, see `verdict`.

use crate::clean;
use kin_client::Error;
use kin_client::api::Code;
use kin_client::api::home::NoHome;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

const OF_ONES_OWN: &str = "set KIN_HOME to a directory of your own that can be written to";

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{message}")]
    Usage { message: String, hint: Option<String> },
    #[error(transparent)]
    Client(#[from] Error),
    #[error("{message}")]
    NotFound { message: String, hint: Option<String> },
    #[error("{0}")]
    TimedOut(String),
    /// Whoever read stdout has gone: nothing to say, and nobody to say it to.
    #[error("nobody reads the output any more")]
    Closed,
    #[error("{what}: {source}")]
    System { what: &'static str, source: std::io::Error },
    /// Who followed the run does so no more.
    #[error("{source}; {}", fate.words(run))]
    Left { run: String, fate: Fate, source: Box<Failure> },
}

/// What becomes of a run whose follower leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    GoesOn,
    /// It was to end with its client.
    Stopped,
    /// No server is there to say.
    Unknown,
}

impl Fate {
    pub(crate) fn of_what_goes_on(server_lives: bool) -> Fate {
        if server_lives { Fate::GoesOn } else { Fate::Unknown }
    }

    fn words(self, run: &str) -> String {
        match self {
            Fate::GoesOn => format!("the run {run} goes on"),
            Fate::Stopped => format!("the run {run} is stopped with us"),
            Fate::Unknown => format!("what became of {run}, the next one knows"),
        }
    }
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::Usage { message: message.into(), hint: None }
    }
    /// Of writing to stdout or stderr.
    pub(crate) fn output(source: std::io::Error) -> Failure {
        if source.kind() == std::io::ErrorKind::BrokenPipe {
            return Failure::Closed;
        }
        Failure::System { what: "could not write the output", source }
    }
    pub(crate) fn not_found(what: &str) -> Failure {
        Failure::NotFound {
            message: format!("nothing matches {what:?}"),
            hint: Some("kin ps shows what lives, kin log what there was".into()),
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage { .. } => 2,
            Failure::NotFound { .. } => 4,
            Failure::TimedOut(_) => 124,
            Failure::Closed => 0,
            Failure::System { .. } => 1,
            Failure::Left { source, .. } => source.exit_code(),
            Failure::Client(error) => match error {
                Error::Home(_) | Error::NotADirectory { .. } => 2,
                Error::Refused(refused) => match refused.code {
                    Code::BadRequest | Code::MethodNotAllowed | Code::UnsupportedMedia | Code::TooLarge => 2,
                    Code::NotFound => 4,
                    Code::Refused | Code::KeyReused | Code::KeyForgotten | Code::Unavailable => 5,
                    Code::Closing => 3,
                    Code::Internal => 1,
                },
                // A server that ends before it serves says with its own code what is wrong.
                Error::NotStarted { code: Some(2), .. } => 2,
                // A place of somebody else's.
                Error::Unreachable { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => 2,
                Error::NoServer { .. }
                | Error::NotStarted { .. }
                | Error::Silent { .. }
                | Error::Unreachable { .. }
                | Error::Strange { .. } => 3,
                Error::Hand { source, .. } if source.kind() == std::io::ErrorKind::TimedOut => 3,
                Error::Hand { .. } | Error::System { .. } => 1,
            },
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Failure::Usage { hint, .. } | Failure::NotFound { hint, .. } => hint.clone(),
            Failure::Left { run, source, fate } => {
                // Where there is no server, asking for the run starts one.
                let no_server = matches!(source.as_ref(), Failure::Client(Error::NoServer { .. }));
                let first = source.hint().filter(|_| !no_server).map(|hint| format!("{hint}; then "));
                let then = match fate {
                    Fate::GoesOn | Fate::Unknown => format!("kin tail -f {run} follows it again"),
                    Fate::Stopped => format!("kin why {run} says what became of it"),
                };
                Some(format!("{}{then}", first.unwrap_or_default()))
            }
            Failure::TimedOut(_) | Failure::Closed | Failure::System { .. } => None,
            Failure::Client(error) => match error {
                Error::Refused(refused) => refused.hint.clone(),
                Error::NoServer { .. } => Some("kin serve starts one in the foreground".into()),
                Error::NotADirectory { .. } => Some(OF_ONES_OWN.into()),
                Error::NotStarted { hint, .. } => hint.clone(),
                Error::Silent { why: Some(_), state, .. } => {
                    Some(format!("see {}; kin shutdown ends the server", state.join("server.log").display()))
                }
                Error::Silent { daemon: Some(daemon), .. } => {
                    Some(format!("kill -9 {} makes a new one take over; no run is harmed by it", daemon.pid))
                }
                Error::Silent { daemon: None, state, .. } => {
                    Some(format!("kin serve looks after it; see {}", state.join("server.log").display()))
                }
                Error::Unreachable { .. } => Some("only the user whose server it is, and root, may talk to it".into()),
                Error::Home(NoHome::Relative(home)) => Some(format!("KIN_HOME=\"$PWD/{}\"", home.display())),
                Error::Home(NoHome::Unsaid) => Some(OF_ONES_OWN.into()),
                Error::Hand { source, .. } if source.kind() == std::io::ErrorKind::TimedOut => {
                    Some("the server's keeper does not answer; kin doctor says how it is".into())
                }
                Error::Strange { .. } | Error::Hand { .. } | Error::System { .. } => None,
            },
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("kin: {}", clean::name(&self.to_string()))];
        lines.extend(self.hint().map(|hint| format!("  hint: {}", clean::name(&hint))));
        lines
    }
}

/// Says on stderr what there is to say, and ends the program with the right code.
pub(crate) fn exit(result: Result<u8, Failure>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if !matches!(failure, Failure::Closed) {
                let mut err = std::io::stderr().lock();
                let bold = err.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
                for (i, line) in failure.lines().iter().enumerate() {
                    let written = match line.strip_prefix("kin:") {
                        Some(rest) if bold && i == 0 => writeln!(err, "\x1b[1;31mkin:\x1b[0m{rest}"),
                        Some(_) | None => writeln!(err, "{line}"),
                    };
                    if written.is_err() {
                        break;
                    }
                }
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kin_client::DaemonProcess;
    use kin_client::api::ApiError;

    fn refused(code: Code) -> Failure {
        let (message, hint) = ("another run of backup lives".into(), Some("kin stop backup".into()));
        Failure::Client(Error::Refused(ApiError { code, message, hint, run: None }))
    }

    #[test]
    fn each_refusal_has_its_exit_code() {
        for (code, exit) in [
            (Code::BadRequest, 2),
            (Code::NotFound, 4),
            (Code::Refused, 5),
            (Code::KeyReused, 5),
            (Code::KeyForgotten, 5),
            (Code::Unavailable, 5),
            (Code::Closing, 3),
            (Code::Internal, 1),
        ] {
            assert_eq!(refused(code).exit_code(), exit, "{code:?}");
        }
        assert_eq!(Failure::Closed.exit_code(), 0);
        assert_eq!(Failure::TimedOut(String::new()).exit_code(), 124);
    }

    #[test]
    fn words_and_what_to_do() {
        assert_eq!(refused(Code::Refused).lines(), ["kin: another run of backup lives", "  hint: kin stop backup"]);
        let daemon = Some(DaemonProcess { pid: 7, doing: "stopped by a signal" });
        let silent = Error::Silent { state: "/s".into(), daemon, why: None, seconds: 30 };
        let left = Failure::Left { run: "a-00000001".into(), fate: Fate::GoesOn, source: Box::new(silent.into()) };
        assert_eq!(
            left.lines(),
            [
                "kin: the server for /s (pid 7, stopped by a signal) has not answered for 30 s; the run a-00000001 goes on",
                "  hint: kill -9 7 makes a new one take over; no run is harmed by it; \
                 then kin tail -f a-00000001 follows it again",
            ]
        );
        assert_eq!(left.exit_code(), 3);
        let nasty = Failure::usage("a\x1b[2Jb");
        assert_eq!(nasty.lines(), ["kin: a␛[2Jb"]);
    }
}
