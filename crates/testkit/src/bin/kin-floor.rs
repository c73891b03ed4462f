//! See `testkit::floor`.

fn main() -> std::process::ExitCode {
    testkit::floor::main()
}
