//! What the headers of an answer say of the rate limit (contract section 4): all of them optional, none believed blindly.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use super::Quota;

/// The headers of one answer. Times are counted from the server's own `Date`, so that a difference between its clock and
/// ours does not matter; without that header our clock has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::management) struct Limits {
    limit: Option<u64>,
    remaining: Option<u64>,
    reset: Option<Duration>,
    /// How long the service asks to wait.
    pub(in crate::management) retry_after: Option<Duration>,
}

/// Why an account is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The service said that there were too many requests, or asked to be left alone for a while.
    Asked,
    /// No more is left of the window than the reserve.
    UsedUp,
}

impl Cause {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::UsedUp => "used_up",
        }
    }

    /// What keeps a request from being sent; the same words however long it lasts.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Asked => "not sent: the service asked this account to pause",
            Self::UsedUp => "not sent: what the account has left of its rate limit is the reserve for others",
        }
    }
}

/// No pause is shorter: times come in whole seconds, and a `Retry-After` of 0 must not lead to a storm.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// The pause where the service names no time: long enough that asking anew costs next to nothing.
const UNTIMED_PAUSE: Duration = Duration::from_secs(5);

impl Limits {
    pub(in crate::management) fn of(headers: &HeaderMap, now: Timestamp) -> Self {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
        let number = |name: &str| text(name)?.parse::<u64>().ok();
        let now = text(DATE.as_str()).and_then(date).unwrap_or_else(|| u64::try_from(now.as_second()).unwrap_or(0));
        let until = |second: u64| Duration::from_secs(second.saturating_sub(now));
        let retry_after = text(RETRY_AFTER.as_str()).and_then(|value| match value.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => date(value).map(until),
        });
        Self {
            limit: number("x-ratelimit-limit"),
            remaining: number("x-ratelimit-remaining"),
            reset: number("x-ratelimit-reset").map(until),
            retry_after,
        }
    }

    /// Whether the account has to pause after an answer of this status, and for how long.
    pub(super) fn pause(&self, status: StatusCode, quota: Quota) -> Option<(Cause, Duration)> {
        let asked = match status {
            StatusCode::TOO_MANY_REQUESTS => true,
            StatusCode::SERVICE_UNAVAILABLE => self.retry_after.is_some(),
            _ => false,
        };
        let granted = self.limit.unwrap_or_else(|| quota.requests_per_minute.into());
        let reserve = u128::from(granted) * u128::from(quota.reserve_percent) / 100;
        let used_up = self.remaining.is_some_and(|remaining| u128::from(remaining) <= reserve);
        let (cause, time) = match () {
            () if asked => (Cause::Asked, self.retry_after.or(self.reset)),
            () if used_up => (Cause::UsedUp, self.reset),
            () => return None,
        };
        let wait = time.map_or(UNTIMED_PAUSE.mul_f64(1.0 + fastrand::f64()), |time| {
            time.max(SHORTEST_PAUSE).saturating_add(SHORTEST_PAUSE.mul_f64(fastrand::f64() / 2.0))
        });
        Some((cause, wait))
    }
}

/// An HTTP date in any of its three forms, in Unix seconds.
fn date(text: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(text).ok()?;
    time.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
}
