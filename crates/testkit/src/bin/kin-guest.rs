//! See `testkit::guest`.

fn main() -> std::process::ExitCode {
    testkit::guest::main()
}
