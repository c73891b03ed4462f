//! Where the words go: what stdout and stderr are, how wide, in which colours, in which time zone.

use crate::clean;
use crate::report::Failure;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

#[derive(Clone, Debug)]
pub(crate) struct Screen {
    pub(crate) out_terminal: bool,
    pub(crate) err_terminal: bool,
    /// Whether stdout takes colours.
    pub(crate) colour: bool,
    /// Columns of the terminal; `None` where there is none, and nothing is cut.
    pub(crate) width: Option<usize>,
    /// Found when a time is shown: looking for it costs more than all else that a small command does.
    zone: OnceLock<TimeZone>,
    pub(crate) now: Timestamp,
}

impl Screen {
    pub(crate) fn of_process() -> Screen {
        let (out_terminal, err_terminal) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        let said = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let width = out_terminal.then(|| {
            let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).filter(|n| *n > 0);
            let real = rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_col));
            columns.or(real.filter(|n| *n > 0))
        });
        Screen {
            out_terminal,
            err_terminal,
            colour: out_terminal && !dumb && !said("NO_COLOR"),
            width: width.flatten(),
            zone: OnceLock::new(),
            now: Timestamp::now(),
        }
    }

    /// A screen of a test's own: colourless, in a zone and at an instant.
    #[cfg(test)]
    pub(crate) fn of_test(width: Option<usize>, zone: TimeZone, now: Timestamp) -> Screen {
        let (out_terminal, err_terminal, colour) = (width.is_some(), false, false);
        Screen { out_terminal, err_terminal, colour, width, zone: OnceLock::from(zone), now }
    }

    pub(crate) fn zone(&self) -> &TimeZone {
        self.zone.get_or_init(|| {
            let zone = TimeZone::system();
            if zone.is_unknown() {
                let why = match std::env::var("TZ") {
                    Ok(name) if !name.is_empty() => format!("TZ={name} is no time zone that is known here"),
                    _ => "the time zone of this machine cannot be told".to_owned(),
                };
                self.note(&format!("{why}; times are shown in UTC"));
            }
            zone
        })
    }

    /// Data, whole, on stdout.
    pub(crate) fn print(&self, text: &str) -> Result<(), Failure> {
        self.print_bytes(text.as_bytes())
    }

    /// The same, for what was cleaned already, or need not be.
    pub(crate) fn print_bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(Failure::output)
    }

    /// Whatever is not data, a line on stderr. When even that fails there is nobody left to tell.
    pub(crate) fn note(&self, text: &str) {
        drop(writeln!(std::io::stderr().lock(), "kin: {}", clean::name(text)));
    }

    /// The same beside data, as it is: it was cleaned already.
    pub(crate) fn aside(&self, line: &str) {
        drop(writeln!(std::io::stderr().lock(), "{line}"));
    }

    /// What a note is about, below it.
    pub(crate) fn quote(&self, text: &str) {
        drop(writeln!(std::io::stderr().lock(), "{}", clean::name(text)));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Red,
    Green,
    Yellow,
    Blue,
    Magenta,
    Cyan,
    Dim,
}

impl Colour {
    pub(crate) fn paint(self, text: &str, on: bool) -> String {
        let code = match self {
            Colour::Red => "31",
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Blue => "34",
            Colour::Magenta => "35",
            Colour::Cyan => "36",
            Colour::Dim => "2",
        };
        if on && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
