//! What the process shows of itself, and the registry of all figures.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::controller::{self, Readiness};
use crate::management;

/// All that is counted in this process.
#[derive(Clone, Default)]
pub(super) struct Metrics {
    pub(super) calls: management::ApiMetrics,
    pub(super) controller: controller::Metrics,
    /// 1 while this process may write.
    pub(super) leading: Gauge,
}

impl Metrics {
    /// Everything that `/metrics` shows.
    pub(super) fn registry(&self, readiness: Readiness) -> Registry {
        let mut registry = Registry::with_prefix("spice_operator");
        self.calls.register(&mut registry);
        self.controller.register(&mut registry);
        registry.register("leader", "Whether this process holds the lease: 1 if it does", self.leading.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version that runs", build);
        registry.register_collector(Box::new(Ready(readiness)));
        registry
    }
}

/// What `/readyz` says, for alerts.
#[derive(Debug)]
struct Ready(Readiness);

impl Collector for Ready {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let gauge = ConstGauge::new(i64::from(self.0.missing().is_empty()));
        let help = "Whether /readyz says that this process is ready: 1 if it does";
        gauge.encode(encoder.encode_descriptor("ready", help, None, gauge.metric_type())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_tells_its_version_and_whether_it_is_ready() {
        let readiness = Readiness::default();
        let registry = Metrics::default().registry(readiness.clone());
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        let pending = readiness.waiting_for("something");
        let build = concat!("spice_operator_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n");
        assert!(text().contains(build), "{}", text());
        assert!(text().contains("spice_operator_ready 0\n"), "{}", text());
        drop(pending);
        assert!(text().contains("spice_operator_ready 1\n"), "{}", text());
    }
}
