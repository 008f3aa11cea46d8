//! Metrics of the process, and the registry of all metrics.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::controller::{self, Readiness};
use crate::management;

/// All metrics of this process.
#[derive(Clone, Default)]
pub(super) struct ProcessMetrics {
    pub(super) management: management::ApiMetrics,
    pub(super) controller: controller::Metrics,
    /// 1 while this process is the leader.
    pub(super) is_leader: Gauge,
}

impl ProcessMetrics {
    /// The registry that `/metrics` serves.
    pub(super) fn registry(&self, readiness: Readiness) -> Registry {
        let mut registry = Registry::with_prefix("spice_operator");
        self.management.register(&mut registry);
        self.controller.register(&mut registry);
        registry.register("leader", "1 if this process is the leader, otherwise 0", self.is_leader.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of the operator", build);
        registry.register_collector(Box::new(ReadyCollector(readiness)));
        registry
    }
}

/// Result of `/readyz` as a gauge, for alerts.
#[derive(Debug)]
struct ReadyCollector(Readiness);

impl Collector for ReadyCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let gauge = ConstGauge::new(i64::from(self.0.unready_reasons().is_empty()));
        let help = "1 if /readyz returns 200, otherwise 0";
        gauge.encode(encoder.encode_descriptor("ready", help, None, gauge.metric_type())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_contain_the_version_and_the_readiness() {
        let readiness = Readiness::default();
        let registry = ProcessMetrics::default().registry(readiness.clone());
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        let gate = readiness.add_gate("something");
        let build = concat!("spice_operator_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n");
        assert!(text().contains(build), "{}", text());
        assert!(text().contains("spice_operator_ready 0\n"), "{}", text());
        drop(gate);
        assert!(text().contains("spice_operator_ready 1\n"), "{}", text());
    }
}
