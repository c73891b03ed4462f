//! The program in the roles of a server, without its command line: what this crate's tests run.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let role = args.next();
    let rest: Vec<OsString> = args.collect();
    match role.as_ref().and_then(|role| role.to_str()) {
        Some("keep") => kin_keeper::main(rest.into_iter()),
        Some("daemon") => kin_daemon::daemon::main(&rest),
        Some("front") => kin_daemon::front::stage(&rest),
        Some("serve") => kin_daemon::front::serve(&rest),
        Some(_) | None => ExitCode::from(2),
    }
}
