//! Whether another program may take kin's place: it must say that it understands this run table.

use super::error::{Answer, Failure};
use kin_keeper::table::LAYOUT;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A program that says nothing for so long is not kin.
const PATIENCE: Duration = Duration::from_secs(10);
/// And none says more than this.
const ANSWER: u64 = 256;

/// Asks the program, and leaves its path where the keepers look for it.
pub async fn prepare(program: PathBuf, run: PathBuf) -> Answer<PathBuf> {
    if !program.is_absolute() {
        return Err(Failure::bad("the new program must be given by its absolute path"));
    }
    let asked = program.clone();
    let probe = tokio::task::spawn_blocking(move || probe(&asked, PATIENCE));
    let broken = |_| Failure::internal("asking the new program broke off");
    probe.await.map_err(broken)?.map_err(Failure::bad)?;
    let place = program.clone();
    let left = tokio::task::spawn_blocking(move || leave(&run, &place)).await.map_err(broken)?;
    left.map_err(|e| Failure::internal(format!("the new program's path could not be left for the keepers: {e}")))?;
    Ok(program)
}

/// Runs `program keep --probe <layout>` and wants `kin-layout <n>`, with our layout or the one after it.
fn probe(program: &Path, patience: Duration) -> Result<(), String> {
    let shown = program.display();
    let meta = std::fs::metadata(program).map_err(|e| format!("{shown}: {e}"))?;
    if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
        return Err(format!("{shown} is not a program"));
    }
    let answer = answer(program, patience).map_err(|e| format!("{shown} could not be asked: {e}"))?;
    let layout = answer.trim().strip_prefix("kin-layout ").and_then(|n| n.trim().parse::<u32>().ok());
    match layout {
        Some(n) if n == LAYOUT || n == LAYOUT + 1 => Ok(()),
        Some(n) => Err(format!("{shown} knows run tables of layout {n}, not the {LAYOUT} of the runs that live now")),
        None => Err(format!("{shown} does not answer as kin does")),
    }
}

fn answer(program: &Path, patience: Duration) -> io::Result<String> {
    let mut child = Command::new(program)
        .args(["keep", "--probe", &LAYOUT.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let Some(out) = child.stdout.take() else { return Err(io::Error::other("it has no output")) };
    let (say, said) = std::sync::mpsc::channel();
    // Ends with the program's output, which ends with the program, which is killed below at the latest.
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = out.take(ANSWER).read_to_string(&mut text).map(|_| text);
        if say.send(read).is_err() {
            // Nobody waits any more.
        }
    });
    let answer = said.recv_timeout(patience).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    match child.kill() {
        // It has ended by itself already.
        Ok(()) | Err(_) => child.wait()?,
    };
    answer
}

fn leave(run: &Path, program: &Path) -> io::Result<()> {
    let new = run.join(".upgrade.new");
    std::fs::write(&new, program.as_os_str().as_encoded_bytes())?;
    std::fs::rename(&new, run.join("upgrade"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(dir: &Path, text: &str) -> PathBuf {
        let path = dir.join("kin-new");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("writes");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("made a program");
        path
    }

    #[test]
    fn only_what_understands_the_runs_may_take_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let patience = Duration::from_millis(300);
        for (text, want) in [
            ("[ \"$1 $2\" = 'keep --probe' ] && echo kin-layout $3", None),
            ("echo kin-layout 4711", Some("layout 4711")),
            ("echo hello", Some("does not answer")),
            ("exec sleep 60", Some("could not be asked")),
        ] {
            let said = probe(&program(dir.path(), text), patience);
            match want {
                None => assert_eq!(said, Ok(())),
                Some(words) => assert!(said.clone().is_err_and(|e| e.contains(words)), "{text}: {said:?}"),
            }
        }
        assert!(probe(dir.path(), patience).is_err());
    }

    #[test]
    fn the_keepers_find_the_path_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        leave(dir.path(), Path::new("/opt/kin")).expect("left");
        assert_eq!(std::fs::read(dir.path().join("upgrade")).expect("reads"), b"/opt/kin");
    }
}
