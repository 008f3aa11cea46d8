//! Waiting for a condition. No test waits for a time: it asks until the answer is right, and says at the deadline what
//! the last answer was.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

/// The deadline that suits most conditions: reached only when something is wrong, also on a slow and busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The pause between two looks: short beside anything observed here, long beside the cost of a look.
const TICK: Duration = Duration::from_millis(20);

/// Asks until the condition holds and returns its value; panics at the deadline with the last reason why it did not.
pub async fn eventually<T, F>(what: &str, deadline: Duration, condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    match poll(what, deadline, condition).await {
        Ok(value) => value,
        #[expect(clippy::panic, reason = "this is how a condition fails a test")]
        Err(message) => panic!("{message}"),
    }
}

/// As [`eventually`], for callers that can go on without: the last reason is the error. Asks at least once.
///
/// Not `AsyncFnMut`, whose futures are never known to be `Send`: what waits must be able to run in a spawned task. A
/// condition that keeps something between two looks keeps it in a `Cell`.
pub async fn poll<T, F>(what: &str, deadline: Duration, mut condition: impl FnMut() -> F) -> Result<T, String>
where
    F: Future<Output = Result<T, String>>,
{
    let end = Instant::now() + deadline;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = String::from("the first answer did not come");
    loop {
        ticks.tick().await;
        match timeout_at(end, condition()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(reason)) => last = reason,
            Err(_) => {
                return Err(format!("{what}: not within {deadline:?}; an answer did not come; before it: {last}"));
            }
        }
        if Instant::now() >= end {
            return Err(format!("{what}: not within {deadline:?}; last: {last}"));
        }
    }
}
