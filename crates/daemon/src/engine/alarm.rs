//! What wakes a sleeping engine because of the time: at an instant of the wall clock, and whenever that clock is set.
//!
//! A timer that counts seconds would be wrong after a night in standby, and after every change of the clock. This one
//! compares instants: the kernel ends its sleep when the wall clock shows the instant or something later, at once when
//! the clock is set (`TFD_TIMER_CANCEL_ON_SET`), and when the machine comes back from a suspension. Between these it costs
//! nothing, however many schedules there are: only the next instant of all is known to it.

use crate::clock;
use kin_core::Time;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const NS: i64 = 1_000_000_000;
/// Nothing is due: only a clock that is set wakes us. The year 2200, after the last of all schedules.
const NEVER: Time = Time(7_258_118_400 * NS);

pub(super) struct Alarm {
    timer: Arc<OwnedFd>,
    /// What it was set to last, unless it has rung since.
    set: Option<Time>,
    over: Arc<AtomicBool>,
    ring: Box<dyn Fn() + Send>,
}

impl std::fmt::Debug for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alarm").field("set", &self.set).finish_non_exhaustive()
    }
}

impl Alarm {
    /// `ring` is called on a thread of its own, each time that the engine should look at its clock.
    pub(super) fn new(ring: impl Fn() + Clone + Send + 'static) -> io::Result<Alarm> {
        let timer = Arc::new(timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)?);
        let over = Arc::new(AtomicBool::new(false));
        clock::when_set(ring.clone());
        let (listened, ended) = (Arc::clone(&timer), Arc::clone(&over));
        let rings = Box::new(ring.clone());
        std::thread::Builder::new().name("kin-alarm".into()).spawn(move || {
            let mut times = [0; 8];
            loop {
                match rustix::io::read(&*listened, &mut times) {
                    // It is time; or the clock was set.
                    Ok(_) | Err(Errno::CANCELED) => {}
                    Err(Errno::INTR) => continue,
                    // No timer any more: nothing here could know the time.
                    Err(e) => return crate::say!("kin daemon: the timer cannot be read: {e}"),
                }
                if ended.load(Ordering::Acquire) {
                    return;
                }
                ring();
            }
        })?;
        Ok(Alarm { timer, set: None, over, ring: rings })
    }

    /// Rings when the wall clock shows this instant; `None`: only when it is set.
    pub(super) fn set(&mut self, at: Option<Time>) {
        let at = at.unwrap_or(NEVER);
        if self.set == Some(at) {
            return;
        }
        let armed = self.arm(at);
        self.was_armed(at, armed);
    }

    fn was_armed(&mut self, at: Time, armed: rustix::io::Result<()>) {
        match armed {
            Ok(()) => self.set = Some(at),
            // The timer holds; but this took the one word that the clock was set since somebody looked at it last.
            Err(Errno::CANCELED) => {
                self.set = Some(at);
                (self.ring)();
            }
            Err(e) => crate::say!("kin daemon: the timer cannot be set: {e}"),
        }
    }

    /// It rang.
    pub(super) fn rang(&mut self) {
        self.set = None;
    }

    fn arm(&self, at: Time) -> rustix::io::Result<()> {
        // Zero would disarm it.
        let at = at.0.saturating_sub(clock::shift()).max(1);
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Itimerspec {
            it_interval: none,
            it_value: Timespec { tv_sec: at.div_euclid(NS), tv_nsec: at.rem_euclid(NS) },
        };
        let how = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(&self.timer, how, &value).map(drop)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // It rings for the last time. Where that fails, its thread waits until the process ends.
        self.arm(Time(0)).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_clock_that_is_set_while_the_alarm_is_set_rings() {
        let (ring, rung) = mpsc::channel();
        let mut alarm = Alarm::new(move || {
            ring.send(()).ok();
        })
        .expect("a timer");
        alarm.was_armed(NEVER, Ok(()));
        assert_eq!(rung.try_recv(), Err(mpsc::TryRecvError::Empty));
        // What the kernel says then.
        alarm.was_armed(NEVER, Err(Errno::CANCELED));
        assert_eq!(rung.try_recv(), Ok(()), "at once");
        assert_eq!(alarm.set, Some(NEVER), "it holds");
    }

    #[test]
    fn it_rings_at_its_instant_once_and_ends_with_its_owner() {
        let (ring, rung) = mpsc::channel();
        let mut alarm = Alarm::new(move || ring.send(clock::now()).expect("somebody listens")).expect("a timer");
        alarm.set(None);
        let at = clock::now().plus(50_000_000);
        alarm.set(Some(at));
        assert!(rung.recv_timeout(LONG).expect("it rings") >= at);
        // The same again, and what is past: at once.
        alarm.rang();
        alarm.set(Some(at));
        assert!(rung.recv_timeout(LONG).is_ok());
        alarm.set(None);
        drop(alarm);
        let left = rung.recv_timeout(LONG);
        assert_eq!(left, Err(mpsc::RecvTimeoutError::Disconnected), "its thread is over, and had nothing more to say");
    }
}
