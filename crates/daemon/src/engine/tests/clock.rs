//! A clock that is set under a living engine.

use super::*;

const HOUR: i64 = 3600 * 1_000_000_000;

#[tokio::test]
async fn a_clock_that_was_set_is_told_until_it_is_recorded_and_then_no_more() {
    let (house, life) = House::at_work().await;
    house.disk_full(true);
    house.ahead.store(HOUR, Ordering::Relaxed);
    // Whatever wakes it up: it looks at the clock first, and cannot write down what it sees.
    life.handle.jobs(None).await.expect("answered all the same");
    assert_eq!(house.events("clock.set"), 0);
    house.disk_full(false);
    life.until(|_| (house.events("clock.set") == 1).then_some(())).await;
    for _ in 0..3 {
        life.handle.jobs(None).await.expect("jobs");
    }
    assert_eq!(house.events("clock.set"), 1, "once");
    house.ahead.store(0, Ordering::Relaxed);
    life.handle.jobs(None).await.expect("jobs");
    life.until(|_| (house.events("clock.set") == 2).then_some(())).await;
    life.handle.shutdown(false, false, by()).await.expect("it ends");
    life.over().await;
    // Another engine finds the clock as it is.
    let life = house.start();
    life.settled().await;
    assert_eq!(house.events("clock.set"), 2);
}
