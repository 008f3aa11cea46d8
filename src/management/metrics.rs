//! What the client counts.

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

/// Counts of Management API calls. A clone counts into the same figures.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    waiting: Gauge,
    pauses: Family<PauseLabels, Counter>,
    pauses_now: Pauses,
}

/// The labels are bounded: methods and routes are ours, outcomes are those of [`outcome`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: &'static str,
    outcome: String,
}

/// Causes are ours, and two.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PauseLabels {
    cause: &'static str,
}

/// A request in line; it leaves when this is dropped.
pub(super) struct Waiting(Gauge);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// How a request ended: the status code of its answer; where there is none, or where it promised an answer that did not
/// come whole, the word of the failure.
pub(super) fn outcome<T>(status: Option<StatusCode>, result: &Result<T, ApiError>) -> String {
    match (status, result) {
        (Some(status), Ok(_)) => status.as_u16().to_string(),
        (Some(status), Err(_)) if !status.is_success() => status.as_u16().to_string(),
        (Some(_), Err(error)) if error.kind != ErrorKind::OutcomeUnknown => "unexpected".to_owned(),
        (_, Err(error)) => error.label().to_owned(),
        (None, Ok(_)) => "unexpected".to_owned(),
    }
}

impl Metrics {
    /// Adds the figures to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "management_api_requests",
            "Requests sent to the Management API, by method, route and status code or kind of failure",
            self.requests.clone(),
        );
        registry.register(
            "management_api_waiting_requests",
            "Requests that wait for the request budget",
            self.waiting.clone(),
        );
        registry.register(
            "management_api_pauses",
            "Pauses of an account, by cause: asked for by the service, or its window used up to the reserve",
            self.pauses.clone(),
        );
        registry.register_collector(Box::new(self.pauses_now.clone()));
    }

    pub(super) fn waiting(&self) -> Waiting {
        self.waiting.inc();
        Waiting(self.waiting.clone())
    }

    /// Notes that an account pauses for so long from now. `account` is a number that no other account has meanwhile.
    pub(super) fn paused(&self, cause: &'static str, account: usize, wait: Duration) {
        self.pauses.get_or_create(&PauseLabels { cause }).inc();
        self.pauses_now.add(account, wait);
    }

    pub(super) fn sent(&self, method: &str, route: &'static str, outcome: String) {
        self.requests.get_or_create(&RequestLabels { method: method.to_owned(), route, outcome }).inc();
    }
}

/// When the pauses end that are in force, by account. Says how many and how long; which accounts is nobody's business.
#[derive(Clone, Debug, Default)]
struct Pauses(Arc<Mutex<HashMap<usize, Instant>>>);

impl Pauses {
    fn add(&self, account: usize, wait: Duration) {
        let (now, mut ends) = (Instant::now(), self.0.lock().unwrap_or_else(PoisonError::into_inner));
        ends.retain(|_, end| *end > now);
        let end = ends.entry(account).or_insert(now);
        *end = (*end).max(now + wait);
    }

    /// How many accounts pause, and for how long the last of them still does.
    fn now(&self) -> (usize, Duration) {
        let (now, mut ends) = (Instant::now(), self.0.lock().unwrap_or_else(PoisonError::into_inner));
        ends.retain(|_, end| *end > now);
        (ends.len(), ends.values().max().map_or(Duration::ZERO, |end| *end - now))
    }
}

impl Collector for Pauses {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let (accounts, longest) = self.now();
        let accounts = ConstGauge::new(i64::try_from(accounts).unwrap_or(i64::MAX));
        let help = "Accounts that are paused now: nothing is sent for them";
        accounts.encode(encoder.encode_descriptor(
            "management_api_paused_accounts",
            help,
            None,
            accounts.metric_type(),
        )?)?;
        let longest = ConstGauge::new(longest.as_secs_f64());
        let help = "Seconds until the last of the paused accounts goes on; 0 if none is paused";
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
    fn an_outcome_is_the_status_code_wherever_one_tells_how_it_ended() {
        let failed = |kind| Err::<(), _>(ApiError::local(kind, ""));
        for (status, result, expected) in [
            (Some(201), Ok(()), "201"),
            (Some(403), failed(ErrorKind::Forbidden), "403"),
            (Some(502), failed(ErrorKind::Server), "502"),
            (Some(302), failed(ErrorKind::InvalidResponse), "302"),
            (Some(503), failed(ErrorKind::OutcomeUnknown), "503"),
            // A success that nobody got is none.
            (Some(200), failed(ErrorKind::OutcomeUnknown), "interrupted"),
            (Some(200), failed(ErrorKind::InvalidResponse), "unexpected"),
            (Some(200), failed(ErrorKind::Connect), "unexpected"),
            (None, failed(ErrorKind::Connect), "connect"),
            (None, failed(ErrorKind::OutcomeUnknown), "interrupted"),
        ] {
            let status = status.map(|code| StatusCode::from_u16(code).unwrap());
            assert_eq!(outcome(status, &result), expected, "{status:?} {result:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_that_pauses_twice_is_one_and_its_longer_pause_counts() {
        let metrics = Metrics::default();
        let seconds = Duration::from_secs;
        assert_eq!(metrics.pauses_now.now(), (0, Duration::ZERO));
        metrics.paused("asked", 1, seconds(30));
        metrics.paused("asked", 1, seconds(5));
        metrics.paused("used_up", 2, seconds(10));
        assert_eq!(metrics.pauses_now.now(), (2, seconds(30)));
        tokio::time::advance(seconds(12)).await;
        assert_eq!(metrics.pauses_now.now(), (1, seconds(18)));
        tokio::time::advance(seconds(18)).await;
        assert_eq!(metrics.pauses_now.now(), (0, Duration::ZERO));
    }
}
