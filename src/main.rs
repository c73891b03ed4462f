//! kin: run it, keep it running, know what happened.
//!
//! One program in four roles. Elder, keeper, daemon and a front in the background look at their first argument only and
//! pay for nothing else; whatever is left is a command line for people.

mod caller;
mod clean;
mod cli;
mod commands;
mod definitions;
mod durations;
mod input;
mod interrupts;
mod job;
mod listing;
mod merged;
mod printer;
mod project;
mod report;
#[cfg(test)]
mod sample;
mod screen;
mod select;
mod table;
mod ticks;
mod verdict;
mod when;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(role) if role == "keep" => kin_keeper::main(args),
        Some(role) if role == "daemon" => kin_daemon::daemon::main(&args.collect::<Vec<_>>()),
        Some(role) if role == "front" => kin_daemon::front::stage(&args.collect::<Vec<_>>()),
        Some(_) | None => cli::main(kin_daemon::front::serve),
    }
}
