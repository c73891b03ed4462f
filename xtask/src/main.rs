//! `cargo xtask`: everything that is done with this repository by a command.
//!
//! ```text
//!   check     everything that must hold: what CI runs, word for word
//!   book      the pages of docs/ as HTML
//!   gen       writes the generated files anew (--check: only says whether they are fresh)
//!   torture   kills kin's processes while runs are going on, and judges what is left
//!   sim       years of random worlds against the rules of jobs, in seconds
//!   bench     what kin costs, as ratios to floors measured in the same minutes
//!   machine   boots whole machines, with systemd, reboots and power cuts
//!   zones     proves the schedules by a walk through the minutes of all time zones
//! ```

mod bench;
mod book;
mod check;
mod generated;
mod machine;
mod options;
mod sim;
mod step;
mod tables;
mod torture;
mod zones;

use std::process::ExitCode;

const HELP: &str = "cargo xtask COMMAND

  check [--quick]
      fmt, clippy, tests (the short torture among them), docs, generated files, dependencies.
      --quick: without the tests that start servers.
  book [--to DIRECTORY]
      the pages of docs/ as plain HTML, in target/book; a link that leads nowhere is an error.
  gen [--check]
      writes openapi.json and the tables of docs/schedules.md anew, or only says whether they are fresh.
  torture [--kills N] [--victims front,elder,keeper,daemon] [--jobs J] [--seed S] [--minutes M]
          [--faults PERCENT] [--with jobs] [--pairs] [--no-pidfd-info] [--release] [--story] [--ticks]
      kills N processes (default 5000), the next one when the guard is whole again.
      --faults: so many kills of a hundred are aimed between two steps (default 20).
      --with jobs: services, queues, a mutex, chains, retries and a latch are in use meanwhile.
      --pairs: two at a time, within 5 ms. --no-pidfd-info: as on a kernel before 6.15.
      --story: instead, 200 jobs of 100 lines over 20 s while the daemon is killed 50 times.
      --ticks: instead, jobs that are due each second while the daemon is killed around it (200 times, or --kills).
  sim [--seed N] [--years Y] [--story] [--mutant RULE]
      lives through Y years (default 10) of random worlds, from seed N on (default: any), and stops at the first that
      breaks a rule of jobs. --story: one world, seed N, with all its steps. --mutant: with that rule broken on purpose.
      In seconds: cargo run --release -p xtask -- sim
  bench [SECTION…] [--rounds R] [--gate] [--full]
      sections: spawn end-to-end output memory idle history schedules time. Prints a table for docs/performance.md.
      --gate: fails when a ratio or a count misses its target. --full: the ledger of 10 million runs too.
  machine [TRIAL…] [--suite bookworm|trixie] [--install] [--verbose]
      boots emulated machines, whole Debian systems with systemd, and lets kin live through a restart of its unit, cron's
      end, limits by controllers, reboots and power cuts. Needs root, and four of Debian's packages (--install).
  zones [--all] [--seed S] [--expressions N] [--walks N]
      puts a walk through the minutes beside kin's schedules: 200 random expressions around each change of
      the clocks from 2020 to 2040, in every way in which the zones of this machine change, and 20 walks of
      all 21 years. --all: 2000 and 100.
";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // The bench of the keeper has an elder of this very program, which starts a daemon of this very program.
    match args.next().as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("keep") => return kin_keeper::main(args),
        Some("daemon") => loop {
            std::thread::park();
        },
        _ => {}
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.split_first() {
        Some((command, rest)) => match command.as_str() {
            "check" => check::main(rest),
            "book" => book::main(rest),
            "gen" => generated::main(rest),
            "torture" => torture::main(rest),
            "sim" => sim::main(rest),
            "bench" => bench::main(rest),
            "machine" => machine::main(rest),
            "zones" => zones::main(rest),
            "help" | "--help" | "-h" => {
                print!("{HELP}");
                Ok(())
            }
            other => Err(format!("no such command: {other}\n\n{HELP}")),
        },
        None => Err(HELP.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
