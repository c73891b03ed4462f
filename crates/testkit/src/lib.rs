//! What proves kin: guest programs, a server of one's own, the torture.
//!
//! Everything here talks to kin from outside: it starts the real binary in a directory of its own, speaks HTTP by a small
//! client that shares nothing with the product's, reads /proc, and believes only what a guest wrote down by itself (the
//! *witness*). A wait is always for an event or a condition, with a deadline that says what was waited for.
//!
//! | module | what |
//! |---|---|
//! | [`guest`] | `kin-guest`: small programs that behave badly on purpose |
//! | [`floor`] | `kin-floor`: the least that could do the same work, for the bench |
//! | [`server`] | one kin server with its own home; its processes by role; its clean end |
//! | [`cli`] | the command line as typed, in a fixed environment |
//! | [`http`] | a blocking HTTP/1.1 client over a unix socket |
//! | [`watcher`] | somebody at a keeper's own door |
//! | [`witness`] | what the guests say they did |
//! | [`address`] | where one test alone listens |
//! | [`almanac`] | when schedules are due, minute by minute, beside what kin says |
//! | [`torture`] | kills, runs and what must hold |
#![forbid(unsafe_code)]

pub mod address;
pub mod almanac;
pub mod cli;
pub mod floor;
pub mod guest;
pub mod http;
pub mod jobs;
pub mod pattern;
pub mod procfs;
pub mod rng;
pub mod server;
pub mod torture;
pub mod wait;
pub mod watcher;
pub mod witness;

pub use address::free_address;
pub use cli::Cli;
pub use http::{Answer, Http};
pub use server::{Role, Server};
pub use wait::{eventually, within};

use std::path::{Path, PathBuf};
use std::process::Command;

/// Says by name what could not be shown on this machine, in one form, so that `cargo xtask check` can count it.
pub fn not_run(why: &str) {
    eprintln!("not run: {why}");
    if let Some(list) = std::env::var_os("KIN_NOT_RUN_LIST") {
        witness::append(Path::new(&list), why).expect("the list of what was not run");
    }
}

/// Whether the test runs as root, as some need to (they mount a file system, or change the user).
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The path of `kin-guest`, built if it is missing or older than its source: a test of another package does not make
/// cargo build it.
pub fn guest_path() -> PathBuf {
    helper("kin-guest")
}

/// The path of `kin-floor`, as `guest_path`.
pub fn floor_path() -> PathBuf {
    helper("kin-floor")
}

fn helper(name: &str) -> PathBuf {
    static BUILT: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = BUILT.lock();
    let me = std::env::current_exe().expect("the path of this program");
    let dir = me.parent().expect("a program lies in a directory");
    let dir = if dir.ends_with("deps") { dir.parent().expect("deps lies in a profile's directory") } else { dir };
    let path = dir.join(name);
    if is_fresh(&path) {
        return path;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", "testkit", "--bin", name]);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    if dir.ends_with("release") {
        build.arg("--release");
    }
    if let Some(target) = dir.parent() {
        build.arg("--target-dir").arg(target);
    }
    let status = build.status().expect("cargo runs");
    assert!(status.success(), "{name} could not be built");
    path
}

fn is_fresh(path: &Path) -> bool {
    let built = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    let Some(at) = built(path) else { return false };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let Ok(files) = std::fs::read_dir(source) else { return true };
    files.filter_map(Result::ok).filter_map(|file| built(&file.path())).all(|changed| changed <= at)
}
