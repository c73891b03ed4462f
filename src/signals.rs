//! Signals by name.

const NAMES: [(u8, &str); 31] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (4, "ILL"),
    (5, "TRAP"),
    (6, "ABRT"),
    (7, "BUS"),
    (8, "FPE"),
    (9, "KILL"),
    (10, "USR1"),
    (11, "SEGV"),
    (12, "USR2"),
    (13, "PIPE"),
    (14, "ALRM"),
    (15, "TERM"),
    (16, "STKFLT"),
    (17, "CHLD"),
    (18, "CONT"),
    (19, "STOP"),
    (20, "TSTP"),
    (21, "TTIN"),
    (22, "TTOU"),
    (23, "URG"),
    (24, "XCPU"),
    (25, "XFSZ"),
    (26, "VTALRM"),
    (27, "PROF"),
    (28, "WINCH"),
    (29, "IO"),
    (30, "PWR"),
    (31, "SYS"),
];

/// `KILL`, or the number where it has no name.
pub(crate) fn name(signal: u8) -> String {
    NAMES.iter().find(|(n, _)| *n == signal).map_or_else(|| signal.to_string(), |(_, name)| (*name).to_owned())
}

/// `TERM`, `SIGTERM`, `term` or `15`, as `TERM`; `None` for anything that is no signal.
pub(crate) fn parse(text: &str) -> Option<String> {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number).then(|| name(number));
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.iter().find(|(_, name)| *name == bare).map(|(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name_and_by_number() {
        for (text, signal) in [("TERM", "TERM"), ("sigusr1", "USR1"), ("9", "KILL"), ("40", "40")] {
            assert_eq!(parse(text).as_deref(), Some(signal));
        }
        for text in ["", "0", "65", "SIGNAL", "-9"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
