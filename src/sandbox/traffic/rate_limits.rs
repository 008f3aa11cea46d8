//! Rate limits per user (or OAuth client) and per organization.
//!
//! Both windows slide, so a client that relies on a fixed start of the window exceeds the limit. A rejected request
//! does not count.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use utoipa::openapi::RefOr;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use crate::sandbox::settings::config::{CredentialConfig, RateLimits};
use crate::sandbox::wire::sync::lock;

const LIMIT: &str = "x-ratelimit-limit";
const REMAINING: &str = "x-ratelimit-remaining";
const RESET: &str = "x-ratelimit-reset";
const RETRY_AFTER: &str = "retry-after";

/// Headers of the response to a counted request.
pub(crate) const COUNTED_HEADERS: [&str; 3] = [LIMIT, REMAINING, RESET];
/// Headers of a 429 response.
pub(crate) const REJECTED_HEADERS: [&str; 4] = [LIMIT, REMAINING, RESET, RETRY_AFTER];

/// Counts the recent requests and applies the limits.
pub(crate) struct RequestLimiter {
    limits: RateLimits,
    /// Times of the requests within the window. The number of entries is bounded by the configured users, clients and
    /// organizations, and each entry by its limit.
    recent: Mutex<BTreeMap<RateLimitSubject, VecDeque<Instant>>>,
}

/// A user, OAuth client or organization whose requests are counted together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum RateLimitSubject {
    User(u64),
    OauthClient(String),
    Organization(u64),
}

/// Rate-limit state of one request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RateLimitState {
    /// Time until a request is allowed. `None`: this request is allowed.
    pub(crate) retry_after: Option<Duration>,
    limit: u32,
    remaining: usize,
    /// Time until the oldest request leaves the window of the user.
    reset: Duration,
    has_headers: bool,
}

/// Describes the headers for the OpenAPI document.
pub(crate) fn describe_headers() -> impl Iterator<Item = (String, RefOr<Header>)> {
    let texts = [
        "Maximum number of requests per user within the window",
        "Number of requests left within the window",
        "Unix time at which the next request leaves the window",
        "Seconds until a request is allowed",
    ];
    REJECTED_HEADERS.into_iter().zip(texts).map(|(name, text)| {
        let number = ObjectBuilder::new().schema_type(Type::Integer).build();
        let header = HeaderBuilder::new().schema(Some(number)).description(Some(text)).build();
        (name.to_owned(), header.into())
    })
}

impl RequestLimiter {
    pub(crate) fn new(limits: RateLimits) -> Self {
        Self { limits, recent: Mutex::default() }
    }

    /// Checks both limits, and counts the request if both allow it.
    pub(crate) fn count_request(
        &self,
        credential: &CredentialConfig,
        organization: u64,
        now: Instant,
    ) -> RateLimitState {
        let RateLimits { per_user, per_organization, window, has_headers } = self.limits;
        let user = match credential.user {
            Some(user) => RateLimitSubject::User(user),
            None => RateLimitSubject::OauthClient(credential.name.clone()),
        };
        let mut recent = lock(&self.recent);
        let subjects = [(user, per_user), (RateLimitSubject::Organization(organization), per_organization)];
        let mut retry_after = None;
        for (subject, limit) in &subjects {
            let times = recent.entry(subject.clone()).or_default();
            while times.front().is_some_and(|at| now.saturating_duration_since(*at) >= window) {
                times.pop_front();
            }
            if times.len() >= to_count(*limit) {
                retry_after = retry_after.max(Some(time_until_next(times, window, now)));
            }
        }
        if retry_after.is_none() {
            for (subject, _) in &subjects {
                recent.entry(subject.clone()).or_default().push_back(now);
            }
        }
        let [(user, _), _] = subjects;
        let times = recent.entry(user).or_default();
        let remaining = to_count(per_user).saturating_sub(times.len());
        RateLimitState {
            retry_after,
            limit: per_user,
            remaining,
            reset: time_until_next(times, window, now),
            has_headers,
        }
    }
}

impl RateLimitState {
    /// Writes the state of the user limit, and `Retry-After` after a rejection.
    pub(crate) fn write_headers(&self, headers: &mut HeaderMap, now: Timestamp) {
        if !self.has_headers {
            return;
        }
        // Rounded up, so that a request at the returned second is allowed.
        let reset = now.as_second().saturating_add(round_up_seconds(self.reset)).saturating_add(1);
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(reset));
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(round_up_seconds(after).max(1)));
        }
    }
}

fn time_until_next(times: &VecDeque<Instant>, window: Duration, now: Instant) -> Duration {
    times.front().map_or(window, |at| window.saturating_sub(now.saturating_duration_since(*at)))
}

fn round_up_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
}

fn to_count(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
