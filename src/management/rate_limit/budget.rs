//! The request budget of one connection.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::account::{LimiterHandle, TokenPause};
use super::headers::{PauseCause, RateLimitHeaders};
use super::organization::OrganizationLimiter;
use super::priority::{AccessMode, Priority};
use super::queue::QueuedRequest;
use crate::management::metrics::ApiMetrics;
use crate::management::types::{ApiError, ErrorKind};

/// Permission to send one request. The request counts as in flight until the permit is dropped.
#[derive(Debug)]
pub struct RateLimitPermit {
    /// Time at which the permit was granted.
    pub granted_at: Timestamp,
    _in_flight: OwnedSemaphorePermit,
}

/// One connection's share of the account's request budget. Clones use the same share.
#[derive(Clone, Debug)]
pub struct Budget {
    pub(super) limiter: Arc<LimiterHandle>,
    pub(super) organization: Arc<OrganizationLimiter>,
    pub(super) max_rate_limit_pause: Duration,
    pub(super) metrics: ApiMetrics,
}

impl Budget {
    /// Waits for a permit to send one request.
    ///
    /// # Errors
    /// [`ErrorKind::RateLimited`] if the account is paused for longer than a request may wait; [`ErrorKind::Cancelled`]
    /// if the connection is closed; [`ErrorKind::Connect`] if the process shuts down.
    pub async fn acquire(&self, priority: Priority, mode: AccessMode) -> Result<RateLimitPermit, ApiError> {
        let shutting_down = || ApiError::local(ErrorKind::Connect, "The operator is shutting down");
        let (reply, granted) = oneshot::channel();
        let organization = Arc::clone(&self.organization);
        let _queued = self.metrics.queued_request();
        let request = QueuedRequest { priority, mode, organization, reply };
        self.limiter.account.enqueue(request).map_err(|_| shutting_down())?;
        let granted = tokio::select! {
            granted = granted => granted.map_err(|_| shutting_down())?,
            () = self.limiter.closed() => {
                let message = "Not sent: the organization or its credential changed while the request was queued";
                return Err(ApiError::local(ErrorKind::Cancelled, message));
            }
        };
        match granted {
            Ok(in_flight) => Ok(RateLimitPermit { granted_at: Timestamp::now(), _in_flight: in_flight }),
            Err(pause) => {
                let message = self.limiter.account.pause_cause().unwrap_or(PauseCause::ServerRequested).message();
                Err(ApiError::local(ErrorKind::RateLimited { retry_after: Some(pause) }, message))
            }
        }
    }

    /// Cancels the connection's queued requests and removes its quota from the account.
    pub(crate) fn close(&self) {
        self.limiter.close();
    }

    /// Applies the rate-limit headers of a response. A required pause affects all connections of the account.
    pub(crate) fn record_response(&self, status: StatusCode, headers: &RateLimitHeaders) {
        let Some(quota) = self.limiter.account.quota() else { return };
        let Some((cause, pause)) = headers.required_pause(status, quota) else { return };
        let pause = pause.min(self.max_rate_limit_pause);
        if self.remaining_pause().is_none() {
            tracing::info!(cause = cause.label(), pause_ms = pause.as_millis() as u64, "Paused account for rate limit");
        }
        // The address identifies the account: a paused account is not dropped.
        self.metrics.record_pause(cause.label(), Arc::as_ptr(&self.limiter.account).addr(), pause);
        self.limiter.account.pause(pause, cause);
    }

    /// Applies a response without a token. A requested pause affects all token requests of the account to this URL, also
    /// of connections that are opened later. `error` is the error of the response.
    pub(crate) fn record_token_response(
        &self,
        url: &str,
        status: StatusCode,
        headers: &RateLimitHeaders,
        error: &ApiError,
    ) {
        let Some(pause) = headers.requested_pause(status) else { return };
        let pause = pause.min(self.max_rate_limit_pause);
        tracing::info!(code = status.as_u16(), pause_ms = pause.as_millis() as u64, "Paused token requests");
        let (url, until) = (url.to_owned(), Instant::now() + pause);
        self.limiter.account.pause_token_requests(TokenPause { url, until, error: error.clone() });
    }

    /// Checks that token requests to this URL are not paused.
    ///
    /// # Errors
    /// The error of the response that requested the pause. The message does not change during the pause.
    pub(crate) fn check_token_pause(&self, url: &str) -> Result<(), ApiError> {
        let Some(pause) = self.limiter.account.token_pause().filter(|pause| pause.url == url) else { return Ok(()) };
        let kind = match pause.error.kind {
            ErrorKind::RateLimited { .. } => {
                let remaining = pause.until.saturating_duration_since(Instant::now());
                ErrorKind::RateLimited { retry_after: Some(remaining) }
            }
            kind => kind,
        };
        Err(ApiError { kind, ..pause.error })
    }

    /// Remaining pause of the account.
    pub(crate) fn remaining_pause(&self) -> Option<Duration> {
        self.limiter.account.remaining_pause()
    }
}
