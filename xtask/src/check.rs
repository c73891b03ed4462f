//! `cargo xtask check`: one command is the whole truth. CI runs this and nothing else.

use crate::generated;
use crate::options::Options;
use crate::step::{cargo, has_cargo, run};
use std::time::Instant;

pub(crate) fn main(words: &[String]) -> Result<(), String> {
    let options = Options::parse(words, &["quick"], &[])?;
    let start = Instant::now();
    let list = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
    let mut done = vec![run("fmt", &mut cargo(&["fmt", "--all", "--check"]))?];
    done.push(run(
        "clippy",
        &mut cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    )?);
    done.push(run("tests", tests(options.has("quick")).env("KIN_NOT_RUN_LIST", list.path()))?);
    done.push(run("doc tests", &mut cargo(&["test", "--quiet", "--workspace", "--doc"]))?);
    done.push(run("docs", cargo(&["doc", "--quiet", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?);
    generated::check()?;
    done.push("generated files".into());
    let mut not_run = std::fs::read_to_string(list.path()).unwrap_or_default();
    if has_cargo("deny") {
        done.push(run("deny", &mut cargo(&["deny", "check", "bans", "licenses", "sources"]))?);
    } else {
        not_run += "cargo deny is not installed\n";
    }

    let mut not_run: Vec<&str> = not_run.lines().collect();
    not_run.sort_unstable();
    not_run.dedup();
    for why in &not_run {
        println!("not run: {why}");
    }
    println!(
        "check: everything holds: {} ({} not run) in {:.0} s",
        done.join(", "),
        not_run.len(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// nextest where it is installed, else cargo's own runner: slower and with less to read, but the same tests.
fn tests(quick: bool) -> std::process::Command {
    let nextest = has_cargo("nextest");
    let mut command = if nextest {
        cargo(&["nextest", "run", "--workspace", "--status-level", "slow", "--no-fail-fast"])
    } else {
        eprintln!("cargo-nextest is not installed: the tests run under plain cargo test");
        cargo(&["test", "--quiet", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"])
    };
    if quick {
        // The root package's tests are those that start servers; tidy is one of them that does not.
        command.args(["--exclude", "kin"]);
    }
    command
}
