//! The daemon's one clock.
//!
//! A test build may shift it. `KIN_TEST_CLOCK` says by how many seconds; or it is the path of a file that says so, and whoever
//! writes another number into it sets the clock of a daemon that runs, which hears of it as it would from the kernel.

use kin_core::Time;
use rustix::time::{ClockId, clock_gettime};
use std::time::SystemTime;

/// The wall clock now.
pub fn now() -> Time {
    let since = SystemTime::UNIX_EPOCH.elapsed().map_or_else(
        |before| -i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX),
        |after| i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
    );
    Time(since).plus(shift())
}

/// What the wall clock showed when the machine started, in nanoseconds: another number means that somebody has set it. The
/// machine's own clock goes on while it is suspended, and is set by nobody.
pub(crate) fn origin(wall: impl Fn() -> Time) -> i64 {
    // The nearest two of some readings: in between, this thread may have had to wait for a processor.
    let read = || {
        let (before, wall, after) = (boottime(), wall().0, boottime());
        (after - before, wall - (before + (after - before) / 2))
    };
    let mut best = read();
    for _ in 0..8 {
        if best.0 < 20_000 {
            break;
        }
        best = best.min(read());
    }
    best.1
}

fn boottime() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

#[cfg(not(debug_assertions))]
pub(crate) const fn shift() -> i64 {
    0
}

/// The kernel tells of a clock that is set.
#[cfg(not(debug_assertions))]
pub(crate) fn when_set(_tell: impl Fn() + Send + 'static) {}

#[cfg(debug_assertions)]
pub(crate) use seam::{shift, when_set};

#[cfg(debug_assertions)]
mod seam {
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use std::mem::MaybeUninit;
    use std::path::{Path, PathBuf};
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    static SHIFT: LazyLock<AtomicI64> = LazyLock::new(|| {
        let said = std::env::var("KIN_TEST_CLOCK").ok();
        AtomicI64::new(match file() {
            Some(path) => read(&path).unwrap_or(0),
            None => said.and_then(|text| nanoseconds(&text)).unwrap_or(0),
        })
    });

    pub(crate) fn shift() -> i64 {
        SHIFT.load(Ordering::Relaxed)
    }

    fn file() -> Option<PathBuf> {
        std::env::var_os("KIN_TEST_CLOCK").map(PathBuf::from).filter(|path| path.is_absolute())
    }

    fn read(path: &Path) -> Option<i64> {
        nanoseconds(&std::fs::read_to_string(path).ok()?)
    }

    fn nanoseconds(text: &str) -> Option<i64> {
        Some(text.trim().parse::<i64>().ok()?.saturating_mul(1_000_000_000))
    }

    pub(crate) fn when_set(tell: impl Fn() + Send + 'static) {
        let Some(path) = file() else { return };
        std::thread::spawn(move || {
            let Ok(fd) = inotify::init(CreateFlags::CLOEXEC) else { return };
            let flags = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO;
            let dir = path.parent().unwrap_or(Path::new("/"));
            if inotify::add_watch(&fd, dir, flags).is_err() {
                return;
            }
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut events = inotify::Reader::new(&fd, &mut buffer);
            loop {
                // It may have been written before it was watched.
                if let Some(shift) = read(&path)
                    && SHIFT.swap(shift, Ordering::Relaxed) != shift
                {
                    tell();
                }
                match events.next() {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(_) => return,
                }
            }
        });
    }
}
