//! Where kin's files are to be: what cannot be is said at once, by path, and with what to do about it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn kin(home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kin"));
    command.args(args).env_clear().env("KIN_HOME", home).env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command.output().expect("kin")
}

/// Exit code 2, the words, and long before anything is given up.
#[track_caller]
fn refused(home: &Path, args: &[&str], words: &[&str]) {
    let begun = Instant::now();
    let output = kin(home, args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{args:?} with {}: {said}", home.display());
    assert!(begun.elapsed() < Duration::from_secs(5), "{args:?} waited: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?}: no {word:?} in: {said}");
    }
}

#[test]
fn a_home_that_cannot_be_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let file_name = file.to_str().expect("text");
    for args in [&["ps"][..], &["exec", "--", "true"], &["doctor"], &["shutdown"]] {
        refused(Path::new("here"), args, &["KIN_HOME is \"here\"", "$PWD/here"]);
        refused(&file, args, &[file_name, "not a directory", "hint: set KIN_HOME"]);
        refused(&file.join("deeper"), args, &[&format!("{file_name} is not a directory")]);
    }
    // Where nobody can make a directory, not even root.
    refused(Path::new("/proc/kin"), &["ps"], &["/proc/kin could not be made", "hint: set KIN_HOME"]);
    refused(Path::new("/proc/kin"), &["serve"], &["/proc/kin could not be made"]);
    refused(Path::new("here"), &["serve"], &["KIN_HOME is \"here\""]);
}

#[test]
fn a_home_that_may_not_be_written_to_is_refused_by_name() {
    if rustix::process::geteuid().is_root() {
        println!("not run: root may write everywhere");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o500)).expect("its mode");
    let state = dir.path().join("state");
    refused(dir.path(), &["ps"], &[&format!("{} could not be made", state.display()), "Permission denied"]);
}
