//! Polling until a condition holds. Tests do not sleep for a fixed time. At the deadline, the error contains the last
//! reason.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

/// Default deadline. Only a defect exceeds it, also on a slow and busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Polling interval: short compared with the observed operations, long compared with the cost of one poll.
const TICK: Duration = Duration::from_millis(20);

/// Polls until the condition holds and returns its value. Panics at the deadline with the last reason.
pub async fn eventually<T, F>(description: &str, deadline: Duration, condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    match poll(description, deadline, condition).await {
        Ok(value) => value,
        #[expect(clippy::panic, reason = "a condition that does not hold fails the test")]
        Err(message) => panic!("{message}"),
    }
}

/// As [`eventually`], but returns the last reason as an error. Polls at least once.
///
/// `AsyncFnMut` is not usable here: its futures are not `Send`, and spawned tasks call this function. A condition with
/// state between two polls stores the state in a `Cell`.
pub async fn poll<T, F>(description: &str, deadline: Duration, mut condition: impl FnMut() -> F) -> Result<T, String>
where
    F: Future<Output = Result<T, String>>,
{
    let end = Instant::now() + deadline;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = String::from("the first poll did not finish");
    loop {
        ticks.tick().await;
        match timeout_at(end, condition()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(reason)) => last = reason,
            Err(_) => {
                return Err(format!(
                    "{description}: not within {deadline:?}; a poll did not finish; previous result: {last}"
                ));
            }
        }
        if Instant::now() >= end {
            return Err(format!("{description}: not within {deadline:?}; last: {last}"));
        }
    }
}
