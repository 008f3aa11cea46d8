//! The retry policy of reads within one call. The object's backoff covers longer failures.

use std::time::Duration;

use super::types::{ApiError, ErrorKind};

/// Delay after the first failure. The delay doubles with each further failure.
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// Attempts of one read, even before the deadline. Five attempts take three seconds of delays; a longer failure is
/// an outage.
const MAX_ATTEMPTS: u32 = 5;

/// Returns true for errors of an unavailable service.
pub(super) fn is_outage(error: &ApiError) -> bool {
    match error.kind {
        ErrorKind::Connect | ErrorKind::OutcomeUnknown | ErrorKind::Server => true,
        ErrorKind::Invalid | ErrorKind::Unauthorized | ErrorKind::Forbidden => false,
        ErrorKind::PaymentRequired | ErrorKind::Rejected => false,
        ErrorKind::NotFound { .. } | ErrorKind::Conflict | ErrorKind::RateLimited { .. } => false,
        ErrorKind::InvalidResponse | ErrorKind::IncompleteList { .. } => false,
        ErrorKind::CredentialMissing | ErrorKind::Cancelled => false,
    }
}

/// Delay before the next attempt, or `None` if a retry is not useful. `pause` is the remaining pause of the account.
pub(super) fn retry_delay(error: &ApiError, attempt: u32, pause: Option<Duration>) -> Option<Duration> {
    if attempt >= MAX_ATTEMPTS {
        return None;
    }
    let pause = pause.unwrap_or_default();
    if is_outage(error) {
        // Half of the delay is jitter.
        let longest = FIRST_DELAY.saturating_mul(1 << (attempt - 1).min(MAX_ATTEMPTS));
        return Some(longest.mul_f64(0.5 + fastrand::f64() / 2.0).max(pause));
    }
    matches!(error.kind, ErrorKind::RateLimited { .. }).then_some(pause)
}
