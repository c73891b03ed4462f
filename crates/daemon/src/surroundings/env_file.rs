//! Files of `NAME=value` lines, as shells and other supervisors write them.
//!
//! ```text
//!   # a comment, also after blanks       export NAME=value      NAME=two words # and a comment
//!   NAME='as it stands'                  NAME="\n \t \\ \" \$ over
//!                                        several lines"
//! ```
//! Nothing is expanded: a value is what stands there. Such files hold secrets, so one that others may read or write is
//! refused by name instead of being read.

use super::{Makes, Unmakeable};
use kin_core::SpawnStep;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Longer ones are no environment.
const MOST: u64 = 1 << 20;

/// Reads one. `may_miss`: one that is not there says nothing.
pub(super) fn read(path: &Path, uid: u32, may_miss: bool) -> Makes<Vec<Pair>> {
    let bad = |errno: Errno, why: String| {
        Unmakeable::new(SpawnStep::Spec, errno, format!("env_file {}: {why}", path.display()))
    };
    let bytes = match secret(path, uid) {
        Ok(bytes) => bytes,
        Err((Errno::NOENT, _)) if may_miss => return Ok(Vec::new()),
        Err((errno, why)) => return Err(bad(errno, why)),
    };
    parse(&bytes).map_err(|(line, why)| bad(Errno::INVAL, format!("line {line}: {why}")))
}

/// The content of a plain file that is root's or ours, and that nobody else may read or write.
pub(crate) fn secret(path: &Path, uid: u32) -> Result<Vec<u8>, (Errno, String)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| match e {
        Errno::LOOP => (e, "it is a symbolic link, which is not followed; name the file itself".to_string()),
        e => (e, e.to_string()),
    })?;
    let stat = rustix::fs::fstat(&file).map_err(|e| (e, e.to_string()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err((Errno::INVAL, "it is not a plain file".into()));
    }
    if stat.st_uid != uid && stat.st_uid != 0 {
        return Err((
            Errno::ACCESS,
            format!("it belongs to uid {}, not to the server's user (uid {uid}) or root", stat.st_uid),
        ));
    }
    if stat.st_mode & 0o077 != 0 {
        let mode = stat.st_mode & 0o777;
        return Err((
            Errno::ACCESS,
            format!("mode {mode:04o} lets others at it; `chmod 600 {}` closes it", path.display()),
        ));
    }
    let mut bytes = Vec::new();
    let read = File::from(file).take(MOST + 1).read_to_end(&mut bytes);
    read.map_err(|e| (Errno::from_io_error(&e).unwrap_or(Errno::IO), e.to_string()))?;
    if bytes.len() as u64 > MOST {
        return Err((Errno::FBIG, format!("it is larger than {} KiB", MOST >> 10)));
    }
    Ok(bytes)
}

type Wrong = (usize, String);
/// A name and its value.
type Pair = (Vec<u8>, Vec<u8>);

/// The assignments in their order, or the line and what is wrong with it.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Pair>, Wrong> {
    let mut text = Text { bytes: bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes), at: 0, line: 1 };
    let mut all = Vec::new();
    loop {
        text.pass(|b| b.is_ascii_whitespace());
        match text.peek() {
            None => return Ok(all),
            Some(b'#' | b';') => text.pass(|b| b != b'\n'),
            Some(_) => all.push(text.assignment()?),
        }
    }
}

struct Text<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

impl Text<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        self.line += usize::from(byte == b'\n');
        Some(byte)
    }
    fn pass(&mut self, also: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&also) {
            self.next();
        }
    }
    fn word(&mut self) -> Vec<u8> {
        let begin = self.at;
        self.pass(|b| b.is_ascii_alphanumeric() || b == b'_');
        self.bytes[begin..self.at].to_vec()
    }

    fn assignment(&mut self) -> Result<Pair, Wrong> {
        let mut name = self.word();
        if name == b"export" && self.peek().is_some_and(|b| b == b' ' || b == b'\t') {
            self.pass(|b| b == b' ' || b == b'\t');
            name = self.word();
        }
        if name.is_empty() || name[0].is_ascii_digit() {
            return Err((self.line, "a line is NAME=value, with a name of letters, digits and _".into()));
        }
        self.pass(|b| b == b' ' || b == b'\t');
        if self.next() != Some(b'=') {
            let line = self.line;
            return Err((line, format!("{} is not followed by =", String::from_utf8_lossy(&name))));
        }
        self.pass(|b| b == b' ' || b == b'\t');
        let value = self.value()?;
        if value.contains(&0) {
            return Err((self.line, "a NUL byte cannot stand in an environment".into()));
        }
        Ok((name, value))
    }

    /// Up to the line's end: bare words and quoted pieces, side by side.
    fn value(&mut self) -> Result<Vec<u8>, Wrong> {
        let begun = self.line;
        let mut value = Vec::new();
        // Blanks at the end of a bare value are not its.
        let mut firm = 0;
        loop {
            match self.peek() {
                None | Some(b'\n') => break,
                Some(b'\r') if self.bytes.get(self.at + 1) == Some(&b'\n') => break,
                // Only after a blank, or where the value would begin.
                Some(b'#') if value.is_empty() || value.len() > firm => {
                    self.pass(|b| b != b'\n');
                    break;
                }
                Some(quote @ (b'\'' | b'"')) => {
                    self.next();
                    self.quoted(quote, begun, &mut value)?;
                    firm = value.len();
                }
                Some(b'\\') => {
                    self.next();
                    match self.next() {
                        // A line that goes on.
                        Some(b'\n') | None => {}
                        Some(byte) => value.push(byte),
                    }
                    firm = value.len();
                }
                Some(byte) => {
                    self.next();
                    value.push(byte);
                    if !byte.is_ascii_whitespace() {
                        firm = value.len();
                    }
                }
            }
        }
        value.truncate(firm);
        Ok(value)
    }

    fn quoted(&mut self, quote: u8, begun: usize, value: &mut Vec<u8>) -> Result<(), Wrong> {
        loop {
            match self.next() {
                None => return Err((begun, format!("a {} is not closed", char::from(quote)))),
                Some(byte) if byte == quote => return Ok(()),
                Some(b'\\') if quote == b'"' => match self.next() {
                    Some(b'n') => value.push(b'\n'),
                    Some(b't') => value.push(b'\t'),
                    Some(b'r') => value.push(b'\r'),
                    Some(byte @ (b'\\' | b'"' | b'$' | b'`')) => value.push(byte),
                    Some(b'\n') => {}
                    Some(byte) => value.extend([b'\\', byte]),
                    None => {}
                },
                Some(byte) => value.push(byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    fn read_as_text(text: &str) -> Vec<(String, String)> {
        let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        parse(text.as_bytes()).expect("parses").into_iter().map(|(n, v)| (lossy(n), lossy(v))).collect()
    }

    #[test]
    fn lines_are_read_as_they_are_written() {
        for (line, value) in [
            ("A=1", "1"),
            ("  export A = 1  ", "1"),
            ("A=", ""),
            ("A=two words # and a comment", "two words"),
            ("A=a#b", "a#b"),
            ("A=# nothing", ""),
            ("A='$B # \\n \" '", "$B # \\n \" "),
            (r#"A="x\n\t\"\\\$HOME \q""#, "x\n\t\"\\$HOME \\q"),
            ("A=\"over\ntwo\"", "over\ntwo"),
            ("A=pre'mid'\"post\" ", "premidpost"),
            ("A=one\\\ntwo", "onetwo"),
            ("A=' kept '", " kept "),
            ("A=1\r", "1"),
            ("A=1\r\n", "1"),
            ("\u{feff}A=b=c", "b=c"),
            ("A='é'", "é"),
        ] {
            assert_eq!(read_as_text(line), [("A".to_string(), value.to_string())], "{line:?}");
        }
        let two = read_as_text("# first\n; second\n\nA=1\nB=2\nA=3\n");
        assert_eq!(two.iter().map(|(n, v)| format!("{n}{v}")).collect::<String>(), "A1B2A3");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, line) in [("A=1\nB", 2), ("=x", 1), ("\n\n1A=x", 3), ("A=1\nB='x\n\n", 2), ("A=\"", 1), ("a-b=1", 1)]
        {
            assert_eq!(parse(text.as_bytes()).expect_err(text).0, line, "{text:?}");
        }
        assert!(parse(b"A=\0").is_err());
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_by_name() {
        let uid = rustix::process::geteuid().as_raw();
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secrets");
        std::fs::write(&path, "A=1\n").expect("written");
        let mode = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("set");
        for open in [0o640, 0o604, 0o620, 0o666] {
            mode(open);
            let refused = read(&path, uid, false).expect_err("refused");
            assert!(refused.message.contains("secrets") && refused.message.contains("chmod 600"), "{refused}");
        }
        mode(0o600);
        assert_eq!(read(&path, uid, false).expect("read"), [(b"A".to_vec(), b"1".to_vec())]);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        assert!(read(&link, uid, false).expect_err("refused").message.contains("symbolic link"));
        let none = dir.path().join("none");
        assert_eq!(read(&none, uid, false).expect_err("refused").errno, Errno::NOENT.raw_os_error());
        assert_eq!(read(&none, uid, true), Ok(Vec::new()));
        assert!(read(dir.path(), uid, false).expect_err("refused").message.contains("plain file"));
        std::fs::write(&path, vec![b'#'; MOST as usize + 1]).expect("written");
        assert_eq!(read(&path, uid, false).expect_err("refused").errno, Errno::FBIG.raw_os_error());
        if uid == 0 {
            std::os::unix::fs::chown(&path, Some(12345), None).expect("given away");
            assert!(read(&path, uid, false).expect_err("refused").message.contains("uid 12345"));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(parse(&bytes));
        }

        #[test]
        fn what_is_single_quoted_comes_back(value in "[^'\0]{0,60}") {
            let text = format!("A='{value}'\n");
            prop_assert_eq!(read_as_text(&text), vec![("A".to_string(), value)]);
        }
    }
}
