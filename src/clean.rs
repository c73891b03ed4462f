//! Terminal safety: what programs and names may do to the screen they are shown on.
//!
//! On a terminal only text, tab, line ends and colours (SGR: `ESC [ … m`) pass. Everything else that could move the
//! cursor, write to the clipboard, rename the window or turn the direction of text is made visible instead:
//!
//! | bytes                                     | shown as                  |
//! |-------------------------------------------|---------------------------|
//! | ESC that begins no colour                 | `␛`, the rest as text     |
//! | other C0, DEL, a CR not before LF         | `␀` … `␟`, `␡`, `␍`       |
//! | C1, bidi controls, line separators        | `\u{9b}`, `\u{202e}`, …   |
//! | bytes that are not UTF-8                  | `\x9b`                    |
//!
//! A stream is cleaned as it comes: what a chunk's end leaves open is held until the next one, so that chunks do not
//! change the result. Not on a terminal nothing is cleaned: there bytes are bytes.

use std::borrow::Cow;
use std::fmt::Write;

/// A colour's parameters are never longer than this; longer ones are shown as text.
const SGR_MAX: usize = 64;

/// Cleans one stream.
#[derive(Debug, Default)]
pub(crate) struct Cleaner {
    open: Open,
    /// A colour is on that was not reset.
    coloured: bool,
}

/// What the last chunk left open.
#[derive(Debug, Default)]
enum Open {
    #[default]
    Nothing,
    /// The first bytes of a character.
    Character {
        have: [u8; 4],
        len: usize,
    },
    Return,
    Escape,
    /// After `ESC [`: digits and separators so far.
    Colour(String),
}

impl Cleaner {
    /// Appends to `out` what may be shown of `bytes`.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut String) {
        for byte in bytes {
            self.byte(*byte, out);
        }
    }

    /// Appends what was held, and turns colours off.
    pub(crate) fn finish(&mut self, out: &mut String) {
        self.close(out);
        if std::mem::take(&mut self.coloured) {
            out.push_str("\x1b[0m");
        }
    }

    fn byte(&mut self, byte: u8, out: &mut String) {
        if let Open::Character { mut have, mut len } = self.open {
            have[len] = byte;
            len += 1;
            match std::str::from_utf8(&have[..len]) {
                Ok(text) => {
                    self.open = Open::Nothing;
                    text.chars().for_each(|c| show(c, out));
                    return;
                }
                Err(error) if error.error_len().is_none() => {
                    self.open = Open::Character { have, len };
                    return;
                }
                // What was held begins no character after all; the new byte may begin one.
                Err(_) => self.close(out),
            }
        }
        if byte >= 0x80 {
            self.close(out);
            match std::str::from_utf8(&[byte]) {
                Err(error) if error.error_len().is_none() => {
                    self.open = Open::Character { have: [byte, 0, 0, 0], len: 1 };
                }
                Ok(_) | Err(_) => raw(byte, out),
            }
            return;
        }
        self.ascii(byte, out);
    }

    fn ascii(&mut self, byte: u8, out: &mut String) {
        match (&mut self.open, byte) {
            (Open::Escape, b'[') => self.open = Open::Colour(String::new()),
            (Open::Colour(parameters), b'0'..=b'9' | b';' | b':') if parameters.len() < SGR_MAX => {
                parameters.push(char::from(byte));
            }
            (Open::Colour(parameters), b'm') => {
                self.coloured = !matches!(parameters.as_str(), "" | "0");
                out.push_str("\x1b[");
                out.push_str(parameters);
                out.push('m');
                self.open = Open::Nothing;
            }
            (Open::Return, b'\n') => {
                out.push_str("\r\n");
                self.open = Open::Nothing;
            }
            (Open::Nothing | Open::Character { .. } | Open::Return | Open::Escape | Open::Colour(_), _) => {
                self.close(out);
                match byte {
                    0x1b => self.open = Open::Escape,
                    b'\r' => self.open = Open::Return,
                    byte => show(char::from(byte), out),
                }
            }
        }
    }

    /// What was held turned out to be nothing that may pass.
    fn close(&mut self, out: &mut String) {
        match std::mem::take(&mut self.open) {
            Open::Nothing => {}
            Open::Character { have, len } => have[..len].iter().for_each(|byte| raw(*byte, out)),
            Open::Return => out.push('␍'),
            Open::Escape => out.push('␛'),
            Open::Colour(parameters) => {
                out.push_str("␛[");
                out.push_str(&parameters);
            }
        }
    }
}

fn raw(byte: u8, out: &mut String) {
    write!(out, "\\x{byte:02x}").unwrap_or_else(|_| unreachable!("writing to a string cannot fail"));
}

fn show(c: char, out: &mut String) {
    match c {
        '\t' | '\n' => out.push(c),
        c if harmful(c) => visible(c, out),
        c => out.push(c),
    }
}

fn visible(c: char, out: &mut String) {
    match c {
        '\0'..='\x1f' => out.extend(char::from_u32(0x2400 + c as u32)),
        '\x7f' => out.push('␡'),
        c => write!(out, "{}", c.escape_unicode()).unwrap_or_else(|_| unreachable!("writing to a string cannot fail")),
    }
}

/// A whole text for a terminal.
pub(crate) fn text(text: &str) -> String {
    let (mut cleaner, mut out) = (Cleaner::default(), String::with_capacity(text.len()));
    cleaner.push(text.as_bytes(), &mut out);
    cleaner.finish(&mut out);
    out
}

/// Whether a terminal might do something on meeting it, or show the text around it in another order.
pub(crate) fn harmful(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A name or a message on one line: nothing harmful passes, also no tab, line end or colour, on a terminal or not.
pub(crate) fn name(text: &str) -> Cow<'_, str> {
    if !text.chars().any(harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harmful(c) { visible(c, &mut out) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// JSON as it is written, but with harmful characters as `\u` escapes. They can stand inside strings only.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    let plain = |c: char| !harmful(c) || c == '\n';
    if text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if plain(c) {
            out.push(c);
        } else {
            write!(out, "\\u{:04x}", c as u32).unwrap_or_else(|_| unreachable!("writing to a string cannot fail"));
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clean(bytes: &[u8]) -> String {
        let (mut cleaner, mut out) = (Cleaner::default(), String::new());
        cleaner.push(bytes, &mut out);
        cleaner.finish(&mut out);
        out
    }

    #[test]
    fn what_passes_and_what_is_shown() {
        for (bytes, shown) in [
            (&b"plain\ttext\r\nand more\n"[..], "plain\ttext\r\nand more\n"),
            ("größe 👩‍💻".as_bytes(), "größe 👩‍💻"),
            (b"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
            (b"\x1b[38;2;1;2;3mx", "\x1b[38;2;1;2;3mx\x1b[0m"),
            (b"\x1b[2J\x1b[H", "␛[2J␛[H"),
            (b"\x1b]52;c;eA==\x07", "␛]52;c;eA==␇"),
            (b"\x1b[3\x1b[31mx\x1b[m", "␛[3\x1b[31mx\x1b[m"),
            (b"50%\r60%\r\n", "50%␍60%\r\n"),
            (b"a\x08b\x7f\x00", "a␈b␡␀"),
            (b"\x9b2J \xc2\x9b2J \xff\xe2\x82", "\\x9b2J \\u{9b}2J \\xff\\xe2\\x82"),
            (b"\xe2\x82\x1b[1m\xe2\x1b", "\\xe2\\x82\x1b[1m\\xe2␛\x1b[0m"),
            ("a\u{202e}b\u{2028}".as_bytes(), "a\\u{202e}b\\u{2028}"),
            (b"\x1b", "␛"),
            (b"x\r", "x␍"),
        ] {
            assert_eq!(clean(bytes), shown, "{bytes:?}");
        }
        assert_eq!(clean(&[b"\x1b[".as_slice(), &[b'1'; 80], b"m"].concat()), format!("␛[{}m", "1".repeat(80)));
    }

    #[test]
    fn names_and_json_stay_on_their_line() {
        assert_eq!(name("a\nb\x1b[31m\u{9b}\tc"), "a␊b␛[31m\\u{9b}␉c");
        assert_eq!(name("as it is"), "as it is");
        let text = serde_json::to_string("a\u{9b}\u{202e}\x7f\n").expect("json");
        assert_eq!(json(&text), "\"a\\u009b\\u202e\\u007f\\n\"");
        let back: String = serde_json::from_str(&json(&text)).expect("json");
        assert_eq!(back, "a\u{9b}\u{202e}\x7f\n");
    }

    /// Text, escapes, colours and broken characters in every mixture.
    fn nasty() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..8),
            "\\PC{0,8}".prop_map(String::into_bytes),
            "\x1b\\[[0-9;:]{0,5}[mHJ]?".prop_map(String::into_bytes),
            Just(b"\r\n".to_vec()),
            Just(b"\x1b]0;title\x07".to_vec()),
            Just("\u{9b}31m\u{202e}é€👩".as_bytes().to_vec()),
        ];
        proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn nothing_but_colours_reaches_the_terminal(bytes in nasty()) {
            let out = clean(&bytes);
            let mut rest = out.as_str();
            while let Some(at) = rest.find('\x1b') {
                let after = &rest[at + 1..];
                let end = after.find('m').unwrap_or(0);
                prop_assert!(after.starts_with('[') && end > 0, "{out:?}");
                prop_assert!(after[1..end].chars().all(|c| matches!(c, '0'..='9' | ';' | ':')), "{out:?}");
                rest = &after[end..];
            }
            let left: String = out.replace("\r\n", "\n");
            prop_assert!(!left.chars().any(|c| harmful(c) && !matches!(c, '\t' | '\n' | '\x1b')), "{out:?}");
        }

        #[test]
        fn chunks_do_not_change_the_result(bytes in nasty(), cuts in proptest::collection::vec(any::<usize>(), 0..6)) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let (mut cleaner, mut out, mut from) = (Cleaner::default(), String::new(), 0);
            for cut in cuts {
                cleaner.push(&bytes[from..cut], &mut out);
                from = cut;
            }
            cleaner.finish(&mut out);
            prop_assert_eq!(out, clean(&bytes));
        }

        #[test]
        fn harmless_text_is_as_it_was(text in "[ -~\\n\\téü€]{0,60}") {
            prop_assert_eq!(clean(text.as_bytes()), text);
        }
    }
}
