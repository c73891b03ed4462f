//! Fault points: places at which a test may have this process killed.
//!
//! With `KIN_FAULTS=<directory>` in the environment, a process that reaches `point("name")` and can unlink
//! `<directory>/name` kills itself with SIGKILL. Release builds have none of it.

/// Dies here if a test asked for it.
#[inline]
pub fn point(name: &str) {
    #[cfg(any(debug_assertions, feature = "faults"))]
    armed::point(name);
    #[cfg(not(any(debug_assertions, feature = "faults")))]
    let _ignored: &str = name;
}

#[cfg(any(debug_assertions, feature = "faults"))]
mod armed {
    use std::path::PathBuf;
    use std::sync::OnceLock;

    static DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();

    pub(super) fn point(name: &str) {
        let Some(dir) = DIRECTORY.get_or_init(|| std::env::var_os("KIN_FAULTS").map(PathBuf::from)) else { return };
        if std::fs::remove_file(dir.join(name)).is_ok() {
            let me = rustix::process::getpid();
            if rustix::process::kill_process(me, rustix::process::Signal::KILL).is_ok() {
                loop {
                    std::thread::park();
                }
            }
        }
    }
}
