//! What the client counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Counts of Management API calls. A clone counts into the same figures.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
}

/// The labels are bounded: methods and routes are ours, outcomes are status codes or the labels of failures.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: &'static str,
    outcome: String,
}

impl Metrics {
    /// Adds the figures to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "management_api_requests",
            "Requests sent to the Management API, by method, route and status code or kind of failure",
            self.requests.clone(),
        );
    }

    pub(super) fn sent(&self, method: &'static str, route: &'static str, outcome: String) {
        self.requests.get_or_create(&RequestLabels { method, route, outcome }).inc();
    }
}
