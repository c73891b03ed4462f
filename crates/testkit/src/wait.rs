//! Waiting, in one place: for a condition, with a deadline that says what was waited for.

use std::time::{Duration, Instant};

/// Lets time pass. Only for guests, whose business it is, and for aiming at a random instant.
#[expect(clippy::disallowed_methods, reason = "the one place: time itself is wanted here, nothing is waited for")]
pub fn let_time_pass(time: Duration) {
    if !time.is_zero() {
        std::thread::sleep(time);
    }
}

/// Asks until there is an answer; panics with `what` when the deadline is over.
#[track_caller]
pub fn eventually<T>(what: &str, deadline: Duration, ask: impl FnMut() -> Option<T>) -> T {
    match within(deadline, ask) {
        Some(answer) => answer,
        None => panic!("after {deadline:?} still not: {what}"),
    }
}

/// Asks until there is an answer or the deadline is over. What is asked about is state that others change without telling
/// us (/proc, a file, a server that is being restarted); where there is an event, await that instead.
pub fn within<T>(deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + deadline;
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= until {
            return None;
        }
        let_time_pass(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(10));
    }
}
