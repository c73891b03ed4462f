//! Signals as people write them, and back. Whoever says or reads one does it here: files, requests, commands.

/// Number 1 and those after it, as Linux has them on the machines kin runs on.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
/// Older names for some of them.
const ALSO: [(&str, u8); 2] = [("IOT", 6), ("POLL", 29)];
/// The first that the C library leaves to programs; the last there is.
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

/// `TERM`, `SIGTERM`, `term`, `15`, `RTMIN+3`, `RTMAX-1`.
pub fn parse(text: &str) -> Result<u8, String> {
    let upper = text.trim().to_ascii_uppercase();
    let word = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Ok(n) = word.parse() {
        return number(n);
    }
    named(word).or_else(|| real_time(word)).ok_or_else(|| {
        let names = NAMES.into_iter().chain(ALSO.iter().map(|(name, _)| *name));
        format!("'{text}' is no signal{}", crate::guess::hint(word, names))
    })
}

pub(crate) fn number(n: i64) -> Result<u8, String> {
    match u8::try_from(n) {
        Ok(n @ 1..=RTMAX) => Ok(n),
        Ok(_) | Err(_) => Err(format!("{n} is no signal; they are 1 to {RTMAX}")),
    }
}

/// `TERM`, `RTMIN+3`, or the number of one that has no name.
pub fn name(n: u8) -> String {
    let named = n.checked_sub(1).and_then(|place| NAMES.get(usize::from(place)));
    match named {
        Some(name) => (*name).into(),
        None if n >= RTMIN => format!("RTMIN+{}", n - RTMIN),
        None => n.to_string(),
    }
}

fn named(word: &str) -> Option<u8> {
    let first = (1..).zip(NAMES).find(|(_, name)| *name == word).map(|(n, _)| n);
    first.or_else(|| ALSO.iter().find(|(name, _)| *name == word).map(|(_, n)| *n))
}

fn real_time(word: &str) -> Option<u8> {
    let step = |rest: &str, sign| if rest.is_empty() { Some(0) } else { rest.strip_prefix(sign)?.parse::<u8>().ok() };
    let n = match (word.strip_prefix("RTMIN"), word.strip_prefix("RTMAX")) {
        (Some(rest), _) => RTMIN.checked_add(step(rest, '+')?)?,
        (_, Some(rest)) => RTMAX.checked_sub(step(rest, '-')?)?,
        (None, None) => return None,
    };
    (RTMIN..=RTMAX).contains(&n).then_some(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn signals_have_many_spellings() {
        let good = [("TERM", 15), ("SIGTERM", 15), ("sigusr1", 10), (" 9 ", 9), ("IOT", 6), ("POLL", 29), ("40", 40)];
        for (text, n) in good.into_iter().chain([("RTMIN", 34), ("RTMIN+3", 37), ("SIGRTMAX-1", 63), ("SYS", 31)]) {
            assert_eq!(parse(text), Ok(n), "{text}");
        }
        for text in ["", "0", "65", "-9", "RTMIN+31", "RTMAX-31", "RTMIN3", "SIGNAL", "NOPE"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("TREM"), Err("'TREM' is no signal, did you mean 'TERM'?".into()));
        assert_eq!(
            (name(1), name(31), name(32), name(37)),
            ("HUP".into(), "SYS".into(), "32".into(), "RTMIN+3".into())
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(n in 1u8..=64) {
            prop_assert_eq!(parse(&name(n)), Ok(n));
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC{0,20}") {
            prop_assert!(parse(&text).is_ok_and(|n| (1..=64).contains(&n)) || parse(&text).is_err());
        }
    }
}
