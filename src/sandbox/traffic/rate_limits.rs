//! The two rate limits (contract, section 4): of a user, or a machine, and of an organization.
//!
//! Both windows slide: a client that keeps to the limit in every window of that length is never refused, and one that
//! relies on where a window begins is. A refused request counts in neither.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use utoipa::openapi::RefOr;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use crate::sandbox::settings::config::{Credential, RateLimits};
use crate::sandbox::wire::sync::lock;

const LIMIT: &str = "x-ratelimit-limit";
const REMAINING: &str = "x-ratelimit-remaining";
const RESET: &str = "x-ratelimit-reset";
const RETRY_AFTER: &str = "retry-after";

/// The headers of every answer to a request that was counted.
pub(crate) const ALWAYS: [&str; 3] = [LIMIT, REMAINING, RESET];
/// Those of a refusal.
pub(crate) const WHEN_REFUSED: [&str; 4] = [LIMIT, REMAINING, RESET, RETRY_AFTER];

/// Who made how many requests of late.
pub(crate) struct Rates {
    limits: RateLimits,
    /// When the requests within the window came. One entry a user, machine and organization, so bounded by what is
    /// configured, and each by its limit.
    recent: Mutex<BTreeMap<Account, VecDeque<Instant>>>,
}

/// Whose requests are counted together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Account {
    User(u64),
    Machine(String),
    Organization(u64),
}

/// How a request stands to the limits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// How long until a request would pass; none if this one does.
    pub(crate) retry_after: Option<Duration>,
    limit: u32,
    remaining: usize,
    /// How long until the next request leaves the window of the user.
    reset: Duration,
    with_headers: bool,
}

/// The headers, as the document of the API has them.
pub(crate) fn described() -> impl Iterator<Item = (String, RefOr<Header>)> {
    let texts = [
        "How many requests the user may make within the window",
        "How many of them are left",
        "When the next one is given back, in Unix seconds",
        "After how many seconds to come again",
    ];
    WHEN_REFUSED.into_iter().zip(texts).map(|(name, text)| {
        let number = ObjectBuilder::new().schema_type(Type::Integer).build();
        let header = HeaderBuilder::new().schema(Some(number)).description(Some(text)).build();
        (name.to_owned(), header.into())
    })
}

impl Rates {
    pub(crate) fn new(limits: RateLimits) -> Self {
        Self { limits, recent: Mutex::default() }
    }

    /// Counts a request, if it is within both limits.
    pub(crate) fn count(&self, credential: &Credential, organization: u64, now: Instant) -> Standing {
        let RateLimits { per_user, per_organization, window, headers } = self.limits;
        let user = match credential.user {
            Some(user) => Account::User(user),
            None => Account::Machine(credential.name.clone()),
        };
        let mut recent = lock(&self.recent);
        let accounts = [(user, per_user), (Account::Organization(organization), per_organization)];
        let mut retry_after = None;
        for (account, limit) in &accounts {
            let seen = recent.entry(account.clone()).or_default();
            while seen.front().is_some_and(|at| now.saturating_duration_since(*at) >= window) {
                seen.pop_front();
            }
            if seen.len() >= as_count(*limit) {
                retry_after = retry_after.max(Some(until_next(seen, window, now)));
            }
        }
        if retry_after.is_none() {
            for (account, _) in &accounts {
                recent.entry(account.clone()).or_default().push_back(now);
            }
        }
        let [(user, _), _] = accounts;
        let seen = recent.entry(user).or_default();
        let remaining = as_count(per_user).saturating_sub(seen.len());
        Standing {
            retry_after,
            limit: per_user,
            remaining,
            reset: until_next(seen, window, now),
            with_headers: headers,
        }
    }
}

impl Standing {
    /// Tells the client how it stands to the limit of the user, and when to come again if it was refused.
    pub(crate) fn tell(&self, headers: &mut HeaderMap, now: Timestamp) {
        if !self.with_headers {
            return;
        }
        // Rounded up: whoever comes at the second that was named is let in.
        let reset = now.as_second().saturating_add(whole_seconds(self.reset)).saturating_add(1);
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(reset));
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after).max(1)));
        }
    }
}

fn until_next(seen: &VecDeque<Instant>, window: Duration, now: Instant) -> Duration {
    seen.front().map_or(window, |at| window.saturating_sub(now.saturating_duration_since(*at)))
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
}

fn as_count(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
