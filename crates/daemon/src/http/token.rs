//! What opens a door on TCP: a secret in a file that only the server's user can read.
//!
//! The file is read for each request, so a token that was replaced opens nothing from that moment on.

use crate::surroundings::secret;
use rustix::fs::{Mode, OFlags};
use rustix::rand::GetRandomFlags;
use std::io::{self, Write};
use std::path::Path;
use subtle::ConstantTimeEq;

/// Shorter ones can be guessed.
const LEAST: usize = 32;
/// With 62 characters to choose from: 256 bits.
const LENGTH: usize = 43;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The token that the file holds, or why it holds none.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = secret(path, rustix::process::geteuid().as_raw()).map_err(|(_, why)| why)?;
    let token = bytes.trim_ascii();
    if token.len() < LEAST || !token.iter().all(u8::is_ascii_graphic) {
        return Err(format!("a token has at least {LEAST} characters, no space among them"));
    }
    Ok(token.to_vec())
}

/// Whether that was shown. How long it takes tells nothing of the token but its length.
pub fn opens(token: &[u8], shown: &[u8]) -> bool {
    token.ct_eq(shown).into()
}

/// Makes the file with a token of its own, unless it is there.
pub fn make(path: &Path) -> io::Result<()> {
    // Made whole under another name: whoever finds the file finds a token.
    let new = path.with_extension("new");
    std::fs::remove_file(&new).or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut file = std::fs::File::from(rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR)?);
    let made = fresh().and_then(|token| file.write_all(&token)).and_then(|()| file.sync_all());
    let placed = made.and_then(|()| match std::fs::hard_link(&new, path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        placed => placed,
    });
    std::fs::remove_file(&new).and(placed)
}

fn fresh() -> io::Result<Vec<u8>> {
    let mut token = b"kin_".to_vec();
    let end = token.len() + LENGTH;
    let mut random = [0; 64];
    while token.len() < end {
        rustix::rand::getrandom(&mut random, GetRandomFlags::empty())?;
        // What lies above the last whole multiple of 62 would make some characters likelier than others.
        let fair = random.iter().filter(|byte| **byte < 248).map(|byte| DIGITS[usize::from(byte % 62)]);
        token.extend(fair.take(end - token.len()));
    }
    token.push(b'\n');
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_made_once_and_is_nobody_elses() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("token");
        make(&path).expect("made");
        let token = read(&path).expect("a token");
        assert_eq!((token.len(), token.starts_with(b"kin_")), (4 + LENGTH, true));
        make(&path).expect("there already");
        assert!(opens(&token, &read(&path).expect("a token")));
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1);
        let other = dir.path().join("other");
        make(&other).expect("made");
        assert!(!opens(&token, &read(&other).expect("a token")) && !opens(&token, b"") && !opens(&token, &token[1..]));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).expect("set");
        assert!(read(&path).expect_err("refused").contains("chmod 600"));
        std::fs::write(&other, "short\n").expect("written");
        assert!(read(&other).expect_err("refused").contains("at least 32"));
    }
}
