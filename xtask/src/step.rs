//! Commands that a check is made of: said aloud, timed, and their failure named.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.into(), Path::to_path_buf)
}

/// This cargo, at the root.
pub(crate) fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(root());
    command
}

/// Whether a cargo subcommand is installed.
pub(crate) fn has_cargo(subcommand: &str) -> bool {
    cargo(&[subcommand, "--version"]).output().is_ok_and(|out| out.status.success())
}

/// Runs it with its output passing through.
pub(crate) fn run(name: &str, command: &mut Command) -> Result<String, String> {
    let words: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
    eprintln!("── {name}: cargo {}", words.join(" "));
    let start = Instant::now();
    let status = command.status().map_err(|e| format!("{name}: {e}"))?;
    let took = format!("{name} {:.0} s", start.elapsed().as_secs_f64());
    if status.success() { Ok(took) } else { Err(format!("{name} failed: {status}")) }
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Builds kin and the guests, and gives the path of kin.
pub(crate) fn build_kin(release: bool, faults: bool) -> Result<PathBuf, String> {
    let mut words = vec!["build", "--quiet", "--package", "kin", "--package", "testkit"];
    if release {
        words.push("--release");
    }
    if faults && release {
        words.extend(["--features", "kin-keeper/faults"]);
    }
    run("build", &mut cargo(&words))?;
    let path = target_dir().join(if release { "release/kin" } else { "debug/kin" });
    if path.exists() { Ok(path) } else { Err(format!("{} was not built", path.display())) }
}
