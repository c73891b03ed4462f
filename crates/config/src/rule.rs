//! Which texts a text may be. A rule answers with all that is wrong, each with the byte where it begins.

use kin_core::JobName;
use kin_core::schedule::{Dst, Schedule, Zone};

pub struct Rule {
    /// What such a text is called in the reference: "path".
    pub word: &'static str,
    pub check: fn(&str) -> Vec<Wrong>,
    /// One text may hold several, with commas between.
    pub commas: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub at: usize,
    /// How many bytes of it are meant; `None`: all from there on.
    pub len: Option<usize>,
    pub message: String,
}

fn wrong(at: usize, message: impl Into<String>) -> Vec<Wrong> {
    vec![Wrong { at, len: None, message: message.into() }]
}

/// A NUL ends every text that the kernel is given.
fn no_nul(text: &str) -> Vec<Wrong> {
    text.find('\0').map_or_else(Vec::new, |at| wrong(at, "it holds a NUL character, which no program can be given"))
}

fn some(text: &str) -> Vec<Wrong> {
    if text.trim().is_empty() { wrong(0, "it is empty") } else { no_nul(text) }
}

fn one_line(text: &str) -> Vec<Wrong> {
    text.find(char::is_control).map_or_else(Vec::new, |at| wrong(at, "it is one line of text for people"))
}

pub(crate) static TEXT: Rule = Rule { word: "text", check: no_nul, commas: false };
pub(crate) static SCRIPT: Rule = Rule { word: "text for `sh -c`", check: some, commas: false };
pub(crate) static LINE: Rule = Rule { word: "line of text", check: one_line, commas: false };
pub(crate) static PATH: Rule = Rule { word: "path", check: some, commas: false };
pub(crate) static ICS: Rule = Rule { word: "path of a .ics file", check: ics, commas: false };
pub(crate) static GLOB: Rule = Rule { word: "glob", check: some, commas: false };
pub(crate) static USER: Rule = Rule { word: "name or number", check: who, commas: false };
pub(crate) static WATCH: Rule = Rule { word: "glob", check: watch, commas: false };
pub(crate) static PATTERN: Rule = Rule { word: "regular expression", check: pattern, commas: false };
/// Of a variable, as `env` has them; of a file, as `credentials` has them.
pub(crate) static VARIABLE: Rule = Rule { word: "name", check: variable, commas: false };
pub(crate) static FILE_NAME: Rule = Rule { word: "name", check: file_name, commas: false };
pub(crate) static JOB: Rule = Rule { word: "job", check: job, commas: false };
pub(crate) static WORD: Rule = Rule { word: "name", check: name, commas: false };
pub(crate) static WORDS: Rule = Rule { word: "name", check: name, commas: true };
pub(crate) static TAG: Rule = Rule { word: "tag", check: tag, commas: true };
pub(crate) static URL: Rule = Rule { word: "URL", check: url, commas: false };
pub(crate) static ADDRESS: Rule = Rule { word: "host:port", check: address, commas: false };
pub(crate) static LISTEN_ADDRESS: Rule = Rule { word: "host:port or port", check: listen_address, commas: false };
pub(crate) static SCHEDULE: Rule = Rule { word: "schedule", check: schedule, commas: false };
pub(crate) static ZONE: Rule = Rule { word: "time zone", check: zone, commas: false };
pub(crate) static DATE: Rule = Rule { word: "date", check: date, commas: true };
pub(crate) static STRETCH: Rule = Rule { word: "stretch of time", check: stretch, commas: true };
pub(crate) static WEEKDAY: Rule = Rule { word: "day of the week", check: weekday, commas: true };

fn job(text: &str) -> Vec<Wrong> {
    JobName::parse(text).map_or_else(|why| wrong(0, why.to_string()), |_| Vec::new())
}

/// Queues, latches, mutexes, resources, calendars are named as jobs are.
fn name(text: &str) -> Vec<Wrong> {
    JobName::parse(text).map_or_else(|why| wrong(0, why.to_string().replace("a job's name", "a name")), |_| Vec::new())
}

fn tag(text: &str) -> Vec<Wrong> {
    match text.strip_prefix('@') {
        Some(_) => wrong(0, "a tag is written without the @ that selects it"),
        None => name(text),
    }
}

/// By the same crate that looks at the lines.
fn pattern(text: &str) -> Vec<Wrong> {
    let Err(why) = regex::bytes::Regex::new(text) else { return some(text) };
    let why = why.to_string();
    let last = why.lines().last().unwrap_or_default();
    wrong(0, format!("it is no regular expression: {}", last.strip_prefix("error: ").unwrap_or(last)))
}

/// Changes are looked for below the job's directory alone.
fn watch(text: &str) -> Vec<Wrong> {
    let bare = text.strip_prefix('!').unwrap_or(text);
    let at = text.len() - bare.len();
    if bare.starts_with(['/', '~']) {
        return wrong(at, "it names files below the job's directory; set 'dir', and write \"src/**\"");
    }
    if bare.split('/').any(|part| part == "..") {
        return wrong(at, "nothing above the job's directory is watched; set 'dir' to the one above");
    }
    some(text)
}

/// The last number stands for nobody, wherever the kernel is told of a user.
fn who(text: &str) -> Vec<Wrong> {
    match text.parse::<u64>() {
        Ok(n) if n > crate::kind::WHO_MAX => wrong(0, format!("'{text}' is no number of a user or group")),
        Ok(_) | Err(_) => some(text),
    }
}

fn variable(text: &str) -> Vec<Wrong> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !text.is_empty() && text.chars().all(fits) && !text.starts_with(|c: char| c.is_ascii_digit()) {
        return Vec::new();
    }
    let shown = text.escape_debug();
    wrong(0, format!("'{shown}' cannot be the name of a variable: it has letters, digits and _, and no digit first"))
}

fn file_name(text: &str) -> Vec<Wrong> {
    if !matches!(text, "" | "." | "..") && text.len() <= 255 && !text.contains(['/', '\0']) {
        return Vec::new();
    }
    wrong(0, format!("'{}' cannot be the name of a file", text.escape_debug()))
}

fn url(text: &str) -> Vec<Wrong> {
    match text.strip_prefix("http://") {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') => {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            // The colons of an IPv6 address stand in brackets.
            let port = host.rsplit(']').next().and_then(|end| end.rsplit_once(':')).map(|(_, port)| port);
            match port {
                Some(port) if !port.contains(['$', '}']) && !port.parse::<u16>().is_ok_and(|n| n > 0) => {
                    wrong(7 + host.len() - port.len(), format!("'{port}' is no port"))
                }
                Some(_) | None => no_nul(text),
            }
        }
        Some(_) => wrong(7, "it names no host"),
        None if text.starts_with("https://") => {
            wrong(0, "only http:// is looked at; for https use exec with a program of yours")
        }
        None => wrong(0, "it is no URL; write \"http://127.0.0.1:$PORT/health\""),
    }
}

/// What `$NAME` stands for is not known here.
fn address(text: &str) -> Vec<Wrong> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return wrong(0, "it is no address; write \"127.0.0.1:$PORT\"");
    };
    if host.is_empty() {
        return wrong(0, "it names no host; write \"127.0.0.1:$PORT\"");
    }
    if port.contains('$') || port.parse::<u16>().is_ok_and(|n| n > 0) {
        return Vec::new();
    }
    wrong(host.len() + 1, format!("'{port}' is no port"))
}

/// Of this machine alone: whatever goes further needs TLS.
fn listen_address(text: &str) -> Vec<Wrong> {
    let port = if text.contains(':') { text.rfind(':').map_or(0, |colon| colon + 1) } else { 0 };
    if !text[port..].parse::<u16>().is_ok_and(|n| n > 0) {
        return wrong(port, format!("'{}' is no port; write \"127.0.0.1:7070\" or \"7070\"", &text[port..]));
    }
    match crate::settings::loopback(text) {
        Some(_) => Vec::new(),
        None => wrong(
            0,
            "kin listens on 127.0.0.1, [::1] and localhost alone, for it speaks no TLS; from elsewhere reach it by `ssh -L`, or through a proxy that does",
        ),
    }
}

fn schedule(text: &str) -> Vec<Wrong> {
    match crate::schedule::check(text) {
        Ok(()) => Vec::new(),
        Err(all) => all,
    }
}

fn zone(text: &str) -> Vec<Wrong> {
    crate::zone::check(text).map_or_else(|why| wrong(0, why), |()| Vec::new())
}

fn date(text: &str) -> Vec<Wrong> {
    match text.parse::<jiff::civil::Date>() {
        Ok(date) if date.to_string() == text => Vec::new(),
        Ok(_) | Err(_) => wrong(0, format!("'{text}' is no date; write it as 2026-12-24")),
    }
}

/// By its ending it is told from a job file, wherever both are read together.
fn ics(text: &str) -> Vec<Wrong> {
    if crate::ics::is_calendar(std::path::Path::new(text)) {
        return no_nul(text);
    }
    wrong(0, "a calendar file's name ends in .ics; write \"holidays.ics\"")
}

/// From an instant to another, each as `@at` takes it.
fn stretch(text: &str) -> Vec<Wrong> {
    let instant = |text: &str| {
        let schedule = Schedule::parse(&format!("@at {text}"), "", Dst::Once).ok()?;
        Some(schedule.next_after(i64::MIN / 2, &Zone::utc())?.at)
    };
    match text.split_once('/').map(|(from, to)| (instant(from), instant(to))) {
        Some((Some(from), Some(to))) if from < to => Vec::new(),
        Some((Some(_), Some(_))) => wrong(0, format!("'{text}' ends before it begins")),
        Some(_) | None => {
            wrong(0, format!("'{text}' is no stretch of time; write it as 2026-12-24T18:00/2026-12-27T06:00"))
        }
    }
}

pub(crate) const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

fn weekday(text: &str) -> Vec<Wrong> {
    if WEEKDAYS.contains(&text) {
        return Vec::new();
    }
    wrong(0, format!("'{text}' is no day of the week; they are {}", WEEKDAYS.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_of_time_has_two_ends_in_their_order() {
        for text in ["2026-12-24T18:00/2026-12-27T06:00", "2026-12-24T18:00+01:00/2026-12-24T18:00Z"] {
            assert_eq!(stretch(text), Vec::new(), "{text}");
        }
        for (text, why) in [
            ("2026-12-24T18:00", "is no stretch of time"),
            ("2026-12-24T18:00/noon", "is no stretch of time"),
            ("2026-12-27T06:00/2026-12-24T18:00", "ends before it begins"),
        ] {
            let wrongs = stretch(text);
            assert!(wrongs.len() == 1 && wrongs[0].message.contains(why), "{wrongs:?}");
        }
    }
}
