//! Which failures of a read are worth another attempt at once, and after how long. What lasts longer is the business of
//! the object's backoff.

use std::time::Duration;

use super::types::{ApiError, ErrorKind};

/// The wait after a first failure; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// However far the deadline: five attempts reach three seconds of waiting, by when it is an outage.
const MOST_ATTEMPTS: u32 = 5;

/// Whether the service did not answer, or answered that it cannot.
pub(super) fn is_outage(error: &ApiError) -> bool {
    matches!(error.kind, ErrorKind::Connect | ErrorKind::OutcomeUnknown | ErrorKind::Server)
}

/// How long to wait before the next attempt, where one is worth it. `paused` is how long the account is.
pub(super) fn wait(error: &ApiError, attempt: u32, paused: Option<Duration>) -> Option<Duration> {
    if attempt >= MOST_ATTEMPTS {
        return None;
    }
    match error.kind {
        // Half fixed, half jitter.
        _ if is_outage(error) => {
            let longest = FIRST_WAIT.saturating_mul(1 << (attempt - 1).min(MOST_ATTEMPTS));
            Some(longest.mul_f64(0.5 + fastrand::f64() / 2.0).max(paused.unwrap_or_default()))
        }
        ErrorKind::RateLimited { .. } => Some(paused.unwrap_or_default()),
        _ => None,
    }
}
