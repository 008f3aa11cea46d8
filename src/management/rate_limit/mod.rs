//! The request budget: the one gate that every request passes, and the order in which they pass.
//!
//! An account has a token bucket that starts empty (`bucket`), with a priority queue in front of it (`line`), and pauses
//! when the service asks for it (`account`, `limits`). Above the accounts there is a bucket for each organization
//! (`organization`). Who shares one is settled in `budgets`. A waiter that is dropped leaves the line.

mod account;
mod bucket;
mod budgets;
mod headers;
mod organization;
mod queue;
#[cfg(test)]
mod tests;

pub use budgets::{AccountKey, Budgets};

pub(super) use headers::Limits;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use self::account::Claim;
use self::headers::Cause;
use self::organization::Organization;
use self::queue::Waiter;
use super::Metrics;
use super::types::{ApiError, ErrorKind};

/// How urgent a request is; the first is let through first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Somebody changed an object and waits for it.
    Edit,
    /// A deployment under way is followed.
    Progress,
    /// An object is being deleted.
    Delete,
    /// Nothing is known to have changed.
    Check,
}

/// What a request is for. Of equal urgency, acting goes before looking: a write rests on an answer that grows old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccessMode {
    /// It writes, on the strength of what was read.
    Write,
    /// It reads.
    Read,
}

/// How many requests may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    requests_per_minute: u32,
    reserve_percent: u32,
}

impl Quota {
    /// The quota of an account that is granted `requests_per_minute`, less the share left to others.
    ///
    /// Any window of 60 s sees at most burst, one minute's refill and one token that is in hand while its request waits
    /// for the organization's, so all three together are the share.
    pub fn of_account(requests_per_minute: u32, reserve_percent: u32) -> Self {
        Self { requests_per_minute, reserve_percent: reserve_percent.min(99) }
    }

    /// Requests that may pass in any minute. Three is the least with which the bucket works at all.
    fn share(self) -> u32 {
        let kept = u64::from(self.requests_per_minute) * u64::from(100 - self.reserve_percent) / 100;
        u32::try_from(kept).unwrap_or(u32::MAX).max(3)
    }

    /// Requests that may pass at once after a pause. A twentieth: a visit of an app takes a few calls, and more at once
    /// would only bring forward what is due later. And no more than a quarter of what is left to others: they are all on
    /// their way before the first answer can tell that little is left.
    fn burst(self) -> u32 {
        let reserve = self.requests_per_minute.saturating_sub(self.share());
        (self.share() / 20).min(reserve / 4).max(1)
    }

    /// Requests a minute that come back.
    fn refill_per_minute(self) -> u32 {
        self.share() - self.burst() - 1
    }

    /// What both allow.
    fn smaller(self, other: Self) -> Self {
        Self {
            requests_per_minute: self.requests_per_minute.min(other.requests_per_minute),
            reserve_percent: self.reserve_percent.max(other.reserve_percent),
        }
    }
}

/// Leave to send one request. The request is under way for as long as this is kept.
#[derive(Debug)]
pub struct Leave {
    /// When it was given.
    pub granted: Timestamp,
    _place: OwnedSemaphorePermit,
}

/// A connection's part of its account's budget, made by [`Budgets`]. A clone is the same part.
#[derive(Clone, Debug)]
pub struct Budget {
    claim: Arc<Claim>,
    organization: Arc<Organization>,
    max_rate_limit_pause: Duration,
    metrics: Metrics,
}

impl Budget {
    /// Waits for a token, and until few enough requests are under way.
    ///
    /// # Errors
    /// [`ErrorKind::RateLimited`] while the account is paused for longer than a request waits; `Withdrawn` when the
    /// connection is replaced; `Connect` when the process is going down.
    pub async fn token(&self, priority: Priority, stage: AccessMode) -> Result<Leave, ApiError> {
        let closed = || ApiError::local(ErrorKind::Connect, "the operator is shutting down");
        let (grant, granted) = oneshot::channel();
        let organization = Arc::clone(&self.organization);
        let _waiting = self.metrics.waiting();
        self.claim.account.join(Waiter { priority, stage, organization, grant }).map_err(|_| closed())?;
        let turn = tokio::select! {
            turn = granted => turn.map_err(|_| closed())?,
            () = self.claim.retired() => {
                let message = "the SpiceOrganization or its credential changed while the request waited for its turn";
                return Err(ApiError::local(ErrorKind::Cancelled, message));
            }
        };
        match turn {
            Ok(place) => Ok(Leave { granted: Timestamp::now(), _place: place }),
            Err(wait) => {
                let message = self.claim.account.cause().unwrap_or(Cause::Asked).message();
                Err(ApiError::local(ErrorKind::RateLimited { retry_after: Some(wait) }, message))
            }
        }
    }

    /// Withdraws what waits and what the connection says of its account: another takes its place.
    pub(super) fn retire(&self) {
        self.claim.retire();
    }

    /// Takes note of what an answer says of the limits: the account pauses at once, for all its connections.
    pub(super) fn heard(&self, status: StatusCode, limits: &Limits) {
        let Some(quota) = self.claim.account.quota() else { return };
        let Some((cause, wait)) = limits.pause(status, quota) else { return };
        let wait = wait.min(self.max_rate_limit_pause);
        if self.paused().is_none() {
            tracing::info!(cause = cause.label(), seconds = wait.as_secs_f64(), "the account pauses");
        }
        // Its address: an account is kept as long as it is paused.
        self.metrics.paused(cause.label(), Arc::as_ptr(&self.claim.account).addr(), wait);
        self.claim.account.pause(wait, cause);
    }

    /// How long the account is still paused.
    pub(super) fn paused(&self) -> Option<Duration> {
        self.claim.account.paused()
    }
}
