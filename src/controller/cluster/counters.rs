//! Counters of reconciles, Kubernetes writes, dropped events and dropped status fields.

use std::time::Duration;

use kube::Error;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::planner::Outcome;

/// Result label of a reconcile that panicked.
pub(in crate::controller) const PANIC: &str = "panic";
/// Result label of a reconcile of an object that cannot be decoded.
pub(in crate::controller) const UNDECODABLE: &str = "undecodable";
/// Result label of a reconcile whose result could not be stored.
pub(in crate::controller) const STORE_ERROR: &str = "store_error";

/// Upper bounds of the duration buckets, in seconds: from a skipped reconcile to a request timeout and its retries.
const DURATION_BUCKETS: [f64; 12] = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Counters of reconciles, Kubernetes writes, dropped events and dropped status fields. A clone counts into the same
/// figures.
#[derive(Clone, Debug)]
pub struct Counters {
    reconciles: Family<ReconcileLabels, Counter>,
    durations: Family<ReconcileLabels, Histogram, fn() -> Histogram>,
    writes: Family<WriteLabels, Counter>,
    events_dropped: Family<EventLossLabels, Counter>,
    status_fields_dropped: Family<DroppedFieldsLabels, Counter>,
}

/// Cause of the loss of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::controller) enum EventLoss {
    /// Too many events waited.
    QueueFull,
    /// This process lost the lease while the event waited.
    NotLeader,
    /// The namespace of the object is being deleted.
    NamespaceTerminating,
    /// The apiserver rejected the event.
    Rejected,
    /// The apiserver did not respond.
    NoResponse,
}

impl EventLoss {
    const ALL: [Self; 5] =
        [Self::QueueFull, Self::NotLeader, Self::NamespaceTerminating, Self::Rejected, Self::NoResponse];

    fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::NotLeader => "not_leader",
            Self::NamespaceTerminating => "namespace_terminating",
            Self::Rejected => "rejected",
            Self::NoResponse => "no_response",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DroppedFieldsLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLossLabels {
    cause: &'static str,
}

/// Bounded labels: kinds and outcomes. The name of an object must never become a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    kind: &'static str,
    result: &'static str,
}

/// Bounded labels: the verbs and kinds of the operator's writes, and either a status code or an error.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    verb: &'static str,
    kind: String,
    code: Option<u16>,
    error: Option<&'static str>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            reconciles: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            writes: Family::default(),
            events_dropped: Family::default(),
            status_fields_dropped: Family::default(),
        }
    }
}

impl Counters {
    /// Adds the counters to a registry. `kinds`: names of all kinds.
    pub(in crate::controller) fn register(&self, registry: &mut Registry, kinds: &[&'static str]) {
        // The series exist from the start, because a rate cannot be computed from the first sample of a series.
        for kind in kinds {
            drop(self.reconciles.get_or_create(&ReconcileLabels { kind, result: PANIC }));
            drop(self.status_fields_dropped.get_or_create(&DroppedFieldsLabels { kind }));
        }
        for cause in EventLoss::ALL {
            drop(self.events_dropped.get_or_create(&EventLossLabels { cause: cause.label() }));
        }
        registry.register("reconciles", "Finished reconciles, by kind and result", self.reconciles.clone());
        registry.register(
            "reconcile_duration_seconds",
            "Duration of reconciles, by kind and result",
            self.durations.clone(),
        );
        registry.register(
            "kubernetes_writes",
            "Writes to the Kubernetes API, by verb and kind, and by status code or error",
            self.writes.clone(),
        );
        registry.register(
            "events_dropped",
            "Kubernetes events that were not stored, by cause",
            self.events_dropped.clone(),
        );
        registry.register(
            "status_fields_dropped",
            "Status writes that the API server stored without some fields, by kind",
            self.status_fields_dropped.clone(),
        );
    }

    /// Counts a status that the apiserver stored without some fields.
    pub(in crate::controller) fn status_fields_dropped(&self, kind: &'static str) {
        self.status_fields_dropped.get_or_create(&DroppedFieldsLabels { kind }).inc();
    }

    /// Counts a finished reconcile.
    pub(in crate::controller) fn reconciled(&self, kind: &'static str, result: &'static str, duration: Duration) {
        let labels = ReconcileLabels { kind, result };
        self.reconciles.get_or_create(&labels).inc();
        self.durations.get_or_create(&labels).observe(duration.as_secs_f64());
    }

    /// Counts a write to the Kubernetes API.
    pub fn kubernetes_write<T>(&self, verb: &'static str, kind: &str, result: &Result<T, Error>) {
        let (code, error) = write_result(result);
        self.writes.get_or_create(&WriteLabels { verb, kind: kind.to_owned(), code, error }).inc();
    }

    pub(in crate::controller) fn event_dropped(&self, cause: EventLoss) {
        self.events_dropped.get_or_create(&EventLossLabels { cause: cause.label() }).inc();
    }
}

/// Status code or error of a write.
fn write_result<T>(result: &Result<T, Error>) -> (Option<u16>, Option<&'static str>) {
    match result {
        // kube does not return the code of a success.
        Ok(_) => (Some(200), None),
        Err(Error::Api(status)) => (Some(status.code), None),
        Err(Error::SerdeError(_)) => (None, Some("invalid_response")),
        Err(_) => (None, Some("no_response")),
    }
}

/// Result label of an outcome.
pub(in crate::controller) fn result_label(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::InSync => "in_sync",
        Outcome::Skipped => "skipped",
        Outcome::InProgress(_) => "in_progress",
        Outcome::WaitingForDependency(..) | Outcome::DependencyDeleted(..) => "waiting",
        Outcome::ReadFailed(..) => "read_error",
        Outcome::WriteFailed(..) => "write_error",
        Outcome::Stalled(..) => "stalled",
        Outcome::Suspended => "suspended",
        Outcome::Terminating(_) => "terminating",
        Outcome::Finalized => "finalized",
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn the_scrape_has_the_documented_names_and_labels() {
        let (counters, mut registry) = (Counters::default(), Registry::with_prefix("spice_operator"));
        counters.register(&mut registry, &["SpiceApp"]);
        counters.reconciled("SpiceApp", "in_sync", Duration::from_millis(30));
        let conflict = Status::failure("The object changed", "Conflict").with_code(409);
        counters.kubernetes_write("update", "SpiceApp", &Ok(()));
        counters.kubernetes_write::<()>("update", "SpiceApp", &Err(Error::Api(conflict.boxed())));
        counters.kubernetes_write::<()>("create", "Event", &Err(Error::Service("no response".into())));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"spice_operator_reconciles_total{kind="SpiceApp",result="panic"} 0"#,
            r#"spice_operator_reconciles_total{kind="SpiceApp",result="in_sync"} 1"#,
            "# TYPE spice_operator_reconcile_duration_seconds histogram",
            r#"spice_operator_reconcile_duration_seconds_count{kind="SpiceApp",result="in_sync"} 1"#,
            r#"spice_operator_reconcile_duration_seconds_bucket{le="0.025",kind="SpiceApp",result="in_sync"} 0"#,
            r#"spice_operator_reconcile_duration_seconds_bucket{le="0.1",kind="SpiceApp",result="in_sync"} 1"#,
            // The label that does not apply is empty, as in the metrics of the Management API.
            r#"spice_operator_kubernetes_writes_total{verb="update",kind="SpiceApp",code="200",error=""} 1"#,
            r#"spice_operator_kubernetes_writes_total{verb="update",kind="SpiceApp",code="409",error=""} 1"#,
            r#"spice_operator_kubernetes_writes_total{verb="create",kind="Event",code="",error="no_response"} 1"#,
            r#"spice_operator_events_dropped_total{cause="rejected"} 0"#,
            r#"spice_operator_status_fields_dropped_total{kind="SpiceApp"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
