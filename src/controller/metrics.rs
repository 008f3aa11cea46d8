//! What the controllers count.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::planner::Verdict;

/// Counts of finished visits. A clone counts into the same figures.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    visits: Family<VisitLabels, Counter>,
}

/// The labels are bounded: kinds and verdicts are ours. No object's name may become a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VisitLabels {
    kind: &'static str,
    outcome: &'static str,
}

impl Metrics {
    /// Adds the figures to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("visits", "Finished visits of objects, by kind and outcome", self.visits.clone());
    }

    pub(super) fn visited(&self, kind: &'static str, outcome: &'static str) {
        self.visits.get_or_create(&VisitLabels { kind, outcome }).inc();
    }
}

/// A verdict's word for metrics and logs.
pub(super) fn outcome(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Settled => "settled",
        Verdict::Unchanged => "unchanged",
        Verdict::Working(_) => "working",
        Verdict::Waiting(..) => "waiting",
        Verdict::Unseen(..) => "unseen",
        Verdict::Failed(..) => "failed",
        Verdict::Stalled(..) => "stalled",
        Verdict::Suspended => "suspended",
        Verdict::Deleting(_) => "deleting",
        Verdict::Gone => "gone",
    }
}
