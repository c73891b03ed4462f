//! How the program is linked. Most of what a short command costs is loading the program, so that is kept small.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu") {
        // The unwinder in the program itself, from the compiler's own archive: one library less to be found, mapped and
        // relocated at each start. Other targets have it so already.
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
}
