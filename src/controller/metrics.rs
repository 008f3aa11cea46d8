//! What the controllers count.

use kube::Error;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::objects::Objects;
use crate::api::{SpiceApp, SpiceOrganization, SpiceSecret};
use crate::planner::{Outcome, ResourcePlanner};

/// How a visit ends that a bug has ended.
pub(super) const PANICKED: &str = "panicked";

/// What is counted as it happens, and what there is. A clone counts into the same figures.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    visits: Family<ReconcileLabels, Counter>,
    writes: Family<WriteLabels, Counter>,
    events_dropped: Counter,
    pub(super) objects: Objects,
}

/// The labels are bounded: kinds and verdicts are ours. No object's name may become a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    kind: &'static str,
    outcome: &'static str,
}

/// The labels are bounded: verbs and kinds are those of our writes, outcomes those of [`written`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    verb: &'static str,
    kind: &'static str,
    outcome: String,
}

impl Metrics {
    /// Adds the figures to a registry.
    pub fn register(&self, registry: &mut Registry) {
        // There from the start: of a series that begins with its first event no rate tells.
        for kind in [SpiceOrganization::NAME, SpiceApp::NAME, SpiceSecret::NAME] {
            drop(self.visits.get_or_create(&ReconcileLabels { kind, outcome: PANICKED }));
        }
        registry.register("visits", "Finished visits of objects, by kind and outcome", self.visits.clone());
        registry.register(
            "kubernetes_writes",
            "Writes sent to the Kubernetes API, by verb, kind and outcome: ok, the status code of a refusal, or a word",
            self.writes.clone(),
        );
        registry.register(
            "events_dropped",
            "Events that were left out because too many waited to be published",
            self.events_dropped.clone(),
        );
        registry.register_collector(Box::new(self.objects.clone()));
    }

    pub(super) fn visited(&self, kind: &'static str, outcome: &'static str) {
        self.visits.get_or_create(&ReconcileLabels { kind, outcome }).inc();
    }

    /// Counts a write that was sent to the Kubernetes API.
    pub fn wrote<T>(&self, verb: &'static str, kind: &'static str, result: &Result<T, Error>) {
        self.writes.get_or_create(&WriteLabels { verb, kind, outcome: written(result) }).inc();
    }

    pub(super) fn event_dropped(&self) {
        self.events_dropped.inc();
    }
}

/// How a write ended.
fn written<T>(result: &Result<T, Error>) -> String {
    match result {
        // kube does not say which success it was.
        Ok(_) => "ok".to_owned(),
        Err(Error::Api(status)) => status.code.to_string(),
        Err(Error::SerdeError(_)) => "unreadable_answer".to_owned(),
        Err(_) => "no_answer".to_owned(),
    }
}

/// A verdict's word for metrics and logs.
pub(super) fn result_label(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::InSync => "settled",
        Outcome::Skipped => "unchanged",
        Outcome::InProgress(_) => "working",
        Outcome::WaitingForDependency(..) | Outcome::DependencyDeleted(..) => "waiting",
        Outcome::ReadFailed(..) => "unseen",
        Outcome::WriteFailed(..) => "failed",
        Outcome::Stalled(..) => "stalled",
        Outcome::Suspended => "suspended",
        Outcome::Terminating(_) => "deleting",
        Outcome::Finalized => "gone",
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_write_is_told_by_its_status_code() {
        let refused = Status::failure("an object changed", "Conflict").with_code(409);
        assert_eq!(written(&Ok(())), "ok");
        assert_eq!(written::<()>(&Err(Error::Api(refused.boxed()))), "409");
        assert_eq!(written::<()>(&Err(Error::Service("no answer within 30 s".into()))), "no_answer");
    }
}
