//! Metrics of the Management API client.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use reqwest::StatusCode;
use tokio::time::Instant;

use super::types::{ApiError, ErrorKind};

/// Metrics of Management API calls. Clones share the same values.
#[derive(Clone, Debug, Default)]
pub struct ApiMetrics {
    requests: Family<RequestLabels, Counter>,
    queued: Gauge,
    pauses: Family<PauseLabels, Counter>,
    active_pauses: ActivePauses,
}

/// Labels of a request. All values are bounded: documented methods and routes, and the values of [`RequestOutcome`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: &'static str,
    code: Option<u16>,
    error: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PauseLabels {
    cause: &'static str,
}

/// Outcome of a request: the HTTP status code, and an error if the code does not explain the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestOutcome {
    /// HTTP status code of the response, if any.
    pub(super) code: Option<u16>,
    /// Error without a response (`connect`, `response_lost`), or with an unusable response to a success code
    /// (`invalid_response`).
    pub(super) error: Option<&'static str>,
}

impl RequestOutcome {
    pub(super) fn new(status: Option<StatusCode>, error: Option<&ApiError>) -> Self {
        let error = error.filter(|_| status.is_none_or(|status| status.is_success())).map(|error| match status {
            Some(_) if error.kind != ErrorKind::OutcomeUnknown => "invalid_response",
            _ => error.label(),
        });
        Self { code: status.map(|status| status.as_u16()), error }
    }
}

/// Counts a request as queued until dropped.
pub(super) struct QueuedGuard(Gauge);

impl Drop for QueuedGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl ApiMetrics {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "management_api_requests",
            "Requests to the Management API and the token endpoint, by method, route, HTTP status code, and error if there \
             is no usable response",
            self.requests.clone(),
        );
        registry.register(
            "management_api_queued_requests",
            "Requests that wait for the request budget",
            self.queued.clone(),
        );
        registry.register(
            "management_api_rate_limit_pauses",
            "Responses that required a rate-limit pause of an account, by cause",
            self.pauses.clone(),
        );
        registry.register_collector(Box::new(self.active_pauses.clone()));
    }

    pub(super) fn queued_request(&self) -> QueuedGuard {
        self.queued.inc();
        QueuedGuard(self.queued.clone())
    }

    /// Records a response that requires a pause. `account` is a number that identifies the account while the pause
    /// lasts.
    pub(super) fn record_pause(&self, cause: &'static str, account: usize, pause: Duration) {
        self.pauses.get_or_create(&PauseLabels { cause }).inc();
        self.active_pauses.add(account, pause);
    }

    pub(super) fn record_request(&self, method: &str, route: &'static str, outcome: RequestOutcome) {
        let RequestOutcome { code, error } = outcome;
        self.requests.get_or_create(&RequestLabels { method: method.to_owned(), route, code, error }).inc();
    }
}

/// End of each active pause by account. The metrics show only the number and the longest duration, not the accounts.
#[derive(Clone, Debug, Default)]
struct ActivePauses(Arc<Mutex<HashMap<usize, Instant>>>);

impl ActivePauses {
    fn add(&self, account: usize, pause: Duration) {
        let (now, mut ends) = (Instant::now(), self.0.lock().unwrap_or_else(PoisonError::into_inner));
        ends.retain(|_, end| *end > now);
        let end = ends.entry(account).or_insert(now);
        *end = (*end).max(now + pause);
    }

    /// Number of paused accounts, and the time until the last pause ends.
    fn current(&self) -> (usize, Duration) {
        let (now, mut ends) = (Instant::now(), self.0.lock().unwrap_or_else(PoisonError::into_inner));
        ends.retain(|_, end| *end > now);
        (ends.len(), ends.values().max().map_or(Duration::ZERO, |end| *end - now))
    }
}

impl Collector for ActivePauses {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let (accounts, longest) = self.current();
        let accounts = ConstGauge::new(i64::try_from(accounts).unwrap_or(i64::MAX));
        let help = "Accounts that send no requests because of a rate-limit pause";
        accounts.encode(encoder.encode_descriptor(
            "management_api_paused_accounts",
            help,
            None,
            accounts.metric_type(),
        )?)?;
        let longest = ConstGauge::new(longest.as_secs_f64());
        let help = "Seconds until the last rate-limit pause ends; 0 if no account is paused";
        longest.encode(encoder.encode_descriptor(
            "management_api_pause_remaining_seconds",
            help,
            None,
            longest.metric_type(),
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_by_status_code_and_by_an_error_that_the_code_does_not_explain() {
        let failed = |kind| Err::<(), _>(ApiError::local(kind, ""));
        for (code, result, error) in [
            (Some(201), Ok(()), None),
            (Some(403), failed(ErrorKind::Forbidden), None),
            (Some(502), failed(ErrorKind::Server), None),
            (Some(302), failed(ErrorKind::InvalidResponse), None),
            (Some(503), failed(ErrorKind::OutcomeUnknown), None),
            // A success code is no success if the response is lost or unusable.
            (Some(200), failed(ErrorKind::OutcomeUnknown), Some("response_lost")),
            (Some(200), failed(ErrorKind::InvalidResponse), Some("invalid_response")),
            (Some(200), failed(ErrorKind::Connect), Some("invalid_response")),
            (None, failed(ErrorKind::Connect), Some("connect")),
            (None, failed(ErrorKind::OutcomeUnknown), Some("response_lost")),
        ] {
            let status = code.map(|code| StatusCode::from_u16(code).unwrap());
            let outcome = RequestOutcome::new(status, result.as_ref().err());
            assert_eq!(outcome, RequestOutcome { code, error }, "{status:?} {result:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_that_pauses_twice_is_one_and_its_longer_pause_counts() {
        let metrics = ApiMetrics::default();
        let seconds = Duration::from_secs;
        assert_eq!(metrics.active_pauses.current(), (0, Duration::ZERO));
        metrics.record_pause("server_requested", 1, seconds(30));
        metrics.record_pause("server_requested", 1, seconds(5));
        metrics.record_pause("budget_exhausted", 2, seconds(10));
        assert_eq!(metrics.active_pauses.current(), (2, seconds(30)));
        tokio::time::advance(seconds(12)).await;
        assert_eq!(metrics.active_pauses.current(), (1, seconds(18)));
        tokio::time::advance(seconds(18)).await;
        assert_eq!(metrics.active_pauses.current(), (0, Duration::ZERO));
    }
}
