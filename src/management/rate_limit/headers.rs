//! Rate-limit headers of a response. All headers are optional, and invalid values are ignored.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use super::quota::Quota;

/// Rate-limit headers of one response.
///
/// Times are relative to the server's `Date` header, so that a difference between the clocks has no effect. Without
/// `Date` the local clock is used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RateLimitHeaders {
    limit: Option<u64>,
    remaining: Option<u64>,
    reset: Option<Duration>,
    /// Time of the response by the server's clock, to the second.
    pub(crate) date: Option<Timestamp>,
    /// Wait that the service requested.
    pub(crate) retry_after: Option<Duration>,
}

/// Reason for a pause of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PauseCause {
    /// The service returned 429, or 503 with `Retry-After`.
    ServerRequested,
    /// Only the reserve is left in the current rate-limit window.
    BudgetExhausted,
}

impl PauseCause {
    /// Value of the metric label `cause`.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::ServerRequested => "server_requested",
            Self::BudgetExhausted => "budget_exhausted",
        }
    }

    /// Message for a request that is not sent. The text does not depend on the duration of the pause, so that a status
    /// does not change during a pause.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::ServerRequested => "Not sent: the API requested a pause of this account (429 or Retry-After)",
            Self::BudgetExhausted => "Not sent: only the reserve of the account's rate limit is left",
        }
    }
}

/// Shortest pause. Header times have a resolution of one second, and `Retry-After: 0` must not cause a burst of
/// retries.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// Pause without a time in the headers: long enough that the repeated request uses little of the budget.
const DEFAULT_PAUSE: Duration = Duration::from_secs(5);

impl RateLimitHeaders {
    pub(crate) fn parse(headers: &HeaderMap, now: Timestamp) -> Self {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
        let number = |name: &str| text(name)?.parse::<u64>().ok();
        let date = text(DATE.as_str()).and_then(parse_http_date);
        let now = date.unwrap_or_else(|| u64::try_from(now.as_second()).unwrap_or(0));
        let until = |second: u64| Duration::from_secs(second.saturating_sub(now));
        let retry_after = text(RETRY_AFTER.as_str()).and_then(|value| match value.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => parse_http_date(value).map(until),
        });
        Self {
            limit: number("x-ratelimit-limit"),
            remaining: number("x-ratelimit-remaining"),
            reset: number("x-ratelimit-reset").map(until),
            date: date.and_then(|date| Timestamp::from_second(i64::try_from(date).ok()?).ok()),
            retry_after,
        }
    }

    /// The pause that a response with this status requests, if any. A 429 without a time requests none.
    pub(super) fn requested_pause(&self, status: StatusCode) -> Option<Duration> {
        let time = match status {
            StatusCode::TOO_MANY_REQUESTS => self.retry_after.or(self.reset),
            StatusCode::SERVICE_UNAVAILABLE => self.retry_after,
            _ => None,
        };
        time.map(with_jitter)
    }

    /// The pause that a response with this status requires, if any.
    pub(super) fn required_pause(&self, status: StatusCode, quota: Quota) -> Option<(PauseCause, Duration)> {
        let requested = self.requested_pause(status);
        let limit = self.limit.unwrap_or_else(|| quota.requests_per_minute.into());
        let reserve = u128::from(limit) * u128::from(quota.reserve_percent) / 100;
        let is_exhausted = self.remaining.is_some_and(|remaining| u128::from(remaining) <= reserve);
        let (cause, pause) = if requested.is_some() || status == StatusCode::TOO_MANY_REQUESTS {
            (PauseCause::ServerRequested, requested)
        } else if is_exhausted {
            (PauseCause::BudgetExhausted, self.reset.map(with_jitter))
        } else {
            return None;
        };
        Some((cause, pause.unwrap_or_else(|| DEFAULT_PAUSE.mul_f64(1.0 + fastrand::f64()))))
    }
}

fn with_jitter(pause: Duration) -> Duration {
    pause.max(MIN_PAUSE).saturating_add(MIN_PAUSE.mul_f64(fastrand::f64() / 2.0))
}

/// An HTTP date in any of the three formats, in Unix seconds.
fn parse_http_date(text: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(text).ok()?;
    time.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
}
