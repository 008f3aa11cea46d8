//! Figures of the objects, taken from the caches at each scrape, so that they cannot drift from the truth.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as UnknownReason;

use super::cluster::counters::Counters;
use super::state::context::Context;
use super::state::kinds::{Kind, KindState, KindVisitor, Kinds};
use crate::api::{ConditionType, Reason};
use crate::planner::{find_condition, is_released, is_suspended};

/// Metrics of the controllers. A clone shows the same figures.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    counters: Counters,
    objects: ObjectCollector,
}

impl Metrics {
    /// Adds the metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        self.counters.register(registry, Kinds::NAMES);
        registry.register_collector(Box::new(self.objects.clone()));
    }

    /// Counters of the controllers.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Shows the objects of this controller from now on.
    pub(super) fn observe(&self, context: &Arc<Context>) {
        // Set once: a process has one controller.
        let _ = self.objects.0.set(Arc::downgrade(context));
    }
}

/// The objects of a running controller; none before the controller runs.
#[derive(Clone, Default)]
struct ObjectCollector(Arc<OnceLock<Weak<Context>>>);

/// Bounded labels: the kinds, three statuses, and the known reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct ReadyLabels {
    kind: &'static str,
    ready: &'static str,
    reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// One object at the scrape.
struct ObjectSample<'a> {
    meta: &'a ObjectMeta,
    /// None if the object cannot be decoded.
    conditions: Option<&'a [Condition]>,
    suspended: bool,
    /// Start of the last successful resync in this process.
    last_synced_at: Option<Timestamp>,
}

#[derive(Debug, Default, PartialEq)]
struct ObjectCounts {
    objects: BTreeMap<ReadyLabels, i64>,
    suspended: BTreeMap<KindLabels, i64>,
    drifted: BTreeMap<KindLabels, i64>,
    /// Of objects that are neither suspended nor being deleted.
    oldest_sync: BTreeMap<KindLabels, i64>,
    oldest_deletion: BTreeMap<KindLabels, i64>,
}

impl ObjectCounts {
    fn add(&mut self, kind: &'static str, sample: &ObjectSample<'_>) {
        let conditions = sample.conditions.unwrap_or_default();
        let (ready, reason) = ready_labels(conditions);
        let labels = KindLabels { kind };
        *self.objects.entry(ReadyLabels { kind, ready, reason }).or_default() += 1;
        *self.suspended.entry(labels).or_default() += i64::from(sample.suspended);
        let drifted = find_condition(conditions, ConditionType::Drifted);
        *self.drifted.entry(labels).or_default() += i64::from(drifted.is_some_and(|it| it.status == "True"));
        let deleted = sample.meta.deletion_timestamp.as_ref().map(|time| time.0);
        let (oldest, time) = match deleted {
            Some(_) if is_released(sample.meta) => return,
            Some(deleted) => (&mut self.oldest_deletion, Some(deleted)),
            None => (&mut self.oldest_sync, sample.last_synced_at.filter(|_| !sample.suspended)),
        };
        if let Some(time) = time.map(Timestamp::as_second) {
            oldest.entry(labels).and_modify(|oldest| *oldest = time.min(*oldest)).or_insert(time);
        }
    }
}

/// Status and reason of Ready. Text that another client wrote into the status never becomes a label.
fn ready_labels(conditions: &[Condition]) -> (&'static str, &'static str) {
    let Some(ready) = find_condition(conditions, ConditionType::Ready) else { return ("Unknown", "Unknown") };
    let status = match ready.status.as_str() {
        "True" => "True",
        "False" => "False",
        _ => "Unknown",
    };
    let reason: Result<Reason, UnknownReason> = Reason::deserialize(ready.reason.as_str().into_deserializer());
    (status, reason.map_or("Unknown", Reason::as_str))
}

impl KindVisitor for ObjectCounts {
    fn visit<K: Kind>(&mut self, kind: &KindState<K>) {
        for object in kind.cache.state() {
            let (meta, decoded) = (kube::Resource::meta(object.as_ref()), object.0.as_ref().ok());
            let status = decoded.and_then(|object| object.status());
            let uid = meta.uid.as_deref().unwrap_or_default();
            let sample = ObjectSample {
                meta,
                conditions: status.map(|status| K::core(status).conditions.as_slice()),
                suspended: is_suspended(decoded.and_then(|object| object.suspend()), meta),
                last_synced_at: kind.object_states.last_synced_at(uid),
            };
            self.add(K::NAME, &sample);
        }
    }
}

impl fmt::Debug for ObjectCollector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ObjectCollector")
    }
}

impl Collector for ObjectCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut counts = ObjectCounts::default();
        if let Some(context) = self.0.get().and_then(Weak::upgrade) {
            context.kinds.visit(&mut counts);
        }
        let ObjectCounts { objects, suspended, drifted, oldest_sync, oldest_deletion } = counts;
        let help = "Objects, by kind, and by status and reason of Ready; Unknown if there is no known reason";
        gauges(&mut encoder, "objects", help, &objects)?;
        gauges(&mut encoder, "suspended_objects", "Suspended objects, by kind", &suspended)?;
        let help = "Objects with differences that are not corrected, by kind";
        gauges(&mut encoder, "drifted_objects", help, &drifted)?;
        let help = "Unix time of the oldest last resync of any object, by kind; for an object without a resync in this \
                    process, the time at which the process first saw the object";
        gauges(&mut encoder, "oldest_sync_timestamp_seconds", help, &oldest_sync)?;
        let help = "deletionTimestamp of the object that has been terminating longest, by kind";
        gauges(&mut encoder, "oldest_deletion_timestamp_seconds", help, &oldest_deletion)
    }
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &BTreeMap<L, i64>,
) -> Result<(), fmt::Error> {
    // The format has no family without samples.
    if values.is_empty() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(*value).encode(family.encode_family(labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::api::FINALIZER;

    fn condition(type_: &str, status: &str, reason: &str) -> Condition {
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }
    }

    #[test]
    fn only_known_statuses_and_reasons_become_labels() {
        for (conditions, expected) in [
            (vec![], ("Unknown", "Unknown")),
            (vec![condition("Stalled", "True", "InvalidSpec")], ("Unknown", "Unknown")),
            (vec![condition("Ready", "True", "Succeeded")], ("True", "Succeeded")),
            (
                vec![condition("Stalled", "True", "NameTaken"), condition("Ready", "False", "NameTaken")],
                ("False", "NameTaken"),
            ),
            (vec![condition("Ready", "Unknown", "Suspended")], ("Unknown", "Suspended")),
            (vec![condition("Ready", "perhaps", "my own \" reason")], ("Unknown", "Unknown")),
        ] {
            assert_eq!(ready_labels(&conditions), expected, "{conditions:?}");
        }
    }

    #[test]
    fn suspended_and_terminating_objects_do_not_count_for_the_oldest_sync() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let mut counts = ObjectCounts::default();
        for (deleted, suspended, last_synced_at) in [
            (None, false, Some(50)),
            (None, false, Some(40)),
            (None, false, None),
            (None, true, Some(10)),
            (Some(30), false, Some(20)),
            (Some(35), true, Some(20)),
        ] {
            let meta = ObjectMeta {
                deletion_timestamp: deleted.map(|it| Time(second(it))),
                finalizers: Some(vec![FINALIZER.to_owned()]),
                ..ObjectMeta::default()
            };
            counts.add(
                "It",
                &ObjectSample { meta: &meta, conditions: None, suspended, last_synced_at: last_synced_at.map(second) },
            );
        }
        let it = KindLabels { kind: "It" };
        assert_eq!(counts.objects, [(ReadyLabels { kind: "It", ready: "Unknown", reason: "Unknown" }, 6)].into());
        assert_eq!((counts.suspended, counts.drifted), ([(it, 2)].into(), [(it, 0)].into()));
        assert_eq!((counts.oldest_sync, counts.oldest_deletion), ([(it, 40)].into(), [(it, 30)].into()));
    }

    #[test]
    fn a_released_object_does_not_count_for_the_oldest_deletion() {
        let meta = ObjectMeta {
            deletion_timestamp: Some(Time(Timestamp::UNIX_EPOCH)),
            finalizers: Some(vec!["example.com/backup".to_owned()]),
            ..ObjectMeta::default()
        };
        let mut counts = ObjectCounts::default();
        counts.add("It", &ObjectSample { meta: &meta, conditions: None, suspended: false, last_synced_at: None });
        assert_eq!((counts.oldest_deletion.len(), counts.objects.len()), (0, 1));
    }
}
