//! What the client counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counts of Management API calls. A clone counts into the same figures.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    waiting: Gauge,
    pauses: Family<PauseLabels, Counter>,
}

/// The labels are bounded: methods and routes are ours, outcomes are status codes or the labels of failures.
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
    }

    pub(super) fn waiting(&self) -> Waiting {
        self.waiting.inc();
        Waiting(self.waiting.clone())
    }

    pub(super) fn paused(&self, cause: &'static str) {
        self.pauses.get_or_create(&PauseLabels { cause }).inc();
    }

    pub(super) fn sent(&self, method: &str, route: &'static str, outcome: String) {
        self.requests.get_or_create(&RequestLabels { method: method.to_owned(), route, outcome }).inc();
    }
}
