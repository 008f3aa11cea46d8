//! What there is of objects, counted from the caches whenever somebody asks: figures that cannot drift from the truth.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::Resource;
use kube::runtime::reflector::Store;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as NoReason;

use super::context::Context;
use super::driver::Reconciler;
use crate::api::{ConditionType, Reason, SpiceApp, SpiceOrganization, SpiceSecret};
use crate::planner::{ResourcePlanner, suspended};
use kube::core::DeserializeGuard;

/// The objects of a running controller; none before it runs. A clone shows the same.
#[derive(Clone, Default)]
pub(super) struct Objects(Arc<OnceLock<Weak<Context>>>);

/// The labels are bounded: three kinds, three statuses, the reasons that there are.
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

/// What is told of one object.
struct ObjectSample<'a> {
    meta: &'a ObjectMeta,
    /// None if it cannot be decoded.
    conditions: Option<&'a [Condition]>,
    suspended: bool,
    /// When this process last knew for certain how it is.
    checked: Option<Timestamp>,
}

#[derive(Debug, Default, PartialEq)]
struct ObjectCounts {
    objects: BTreeMap<ReadyLabels, i64>,
    suspended: BTreeMap<KindLabels, i64>,
    drifted: BTreeMap<KindLabels, i64>,
    /// Of those that are checked: not suspended, not being deleted.
    oldest_check: BTreeMap<KindLabels, i64>,
    oldest_deletion: BTreeMap<KindLabels, i64>,
}

impl ObjectCounts {
    fn add(&mut self, kind: &'static str, told: &ObjectSample<'_>) {
        let (ready, reason) = judged(told.conditions.unwrap_or_default());
        let kind_alone = KindLabels { kind };
        *self.objects.entry(ReadyLabels { kind, ready, reason }).or_default() += 1;
        *self.suspended.entry(kind_alone).or_default() += i64::from(told.suspended);
        let is_drifted = |it: &Condition| it.type_ == ConditionType::Drifted.as_str() && it.status == "True";
        let drifted = told.conditions.unwrap_or_default().iter().any(is_drifted);
        *self.drifted.entry(kind_alone).or_default() += i64::from(drifted);
        let deleted = told.meta.deletion_timestamp.as_ref().map(|time| time.0);
        let (oldest, since) = match deleted {
            Some(deleted) => (&mut self.oldest_deletion, Some(deleted)),
            None => (&mut self.oldest_check, told.checked.filter(|_| !told.suspended)),
        };
        if let Some(since) = since.map(Timestamp::as_second) {
            oldest.entry(kind_alone).and_modify(|oldest| *oldest = since.min(*oldest)).or_insert(since);
        }
    }
}

/// Status and reason of Ready. What somebody else may have written there becomes no label.
fn judged(conditions: &[Condition]) -> (&'static str, &'static str) {
    let ready = conditions.iter().find(|condition| condition.type_ == ConditionType::Ready.as_str());
    let Some(ready) = ready else { return ("Unknown", "Unknown") };
    let status = match ready.status.as_str() {
        "True" => "True",
        "False" => "False",
        _ => "Unknown",
    };
    let reason: Result<Reason, NoReason> = Reason::deserialize(ready.reason.as_str().into_deserializer());
    (status, reason.map_or("Unknown", Reason::as_str))
}

impl Objects {
    /// Shows the objects of this controller from now on.
    pub(super) fn of(&self, context: &Arc<Context>) {
        // Set once: there is one controller a process.
        let _ = self.0.set(Arc::downgrade(context));
    }

    fn tally(&self) -> ObjectCounts {
        let mut tally = ObjectCounts::default();
        let Some(context) = self.0.get().and_then(Weak::upgrade) else { return tally };
        let of_app = |app: &SpiceApp| app.spec.suspend;
        let of_secret = |secret: &SpiceSecret| secret.spec.suspend;
        let of_organization = |organization: &SpiceOrganization| organization.spec.suspend;
        add(&mut tally, &context, &context.caches.apps, of_app, |app| app.status.as_ref().map(|it| &*it.conditions));
        add(&mut tally, &context, &context.caches.spice_secrets, of_secret, |secret| {
            secret.status.as_ref().map(|it| &*it.conditions)
        });
        add(&mut tally, &context, &context.caches.organizations, of_organization, |organization| {
            organization.status.as_ref().map(|it| &*it.conditions)
        });
        tally
    }
}

fn add<K: Reconciler>(
    tally: &mut ObjectCounts,
    context: &Context,
    cache: &Store<DeserializeGuard<K>>,
    suspend: fn(&K) -> Option<bool>,
    conditions: fn(&K) -> Option<&[Condition]>,
) {
    for object in cache.state() {
        let (meta, decoded) = (object.meta(), object.0.as_ref().ok());
        let told = ObjectSample {
            meta,
            conditions: decoded.and_then(conditions),
            suspended: suspended(decoded.and_then(suspend), meta),
            checked: context.memories.checked(meta.uid.as_deref().unwrap_or_default()),
        };
        tally.add(<K as ResourcePlanner>::NAME, &told);
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Objects")
    }
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let ObjectCounts { objects, suspended, drifted, oldest_check, oldest_deletion } = self.tally();
        let help = "Objects, by kind and by status and reason of Ready; Unknown: none yet, or not one of ours";
        gauges(&mut encoder, "objects", help, &objects)?;
        gauges(&mut encoder, "suspended_objects", "Objects that a person has suspended, by kind", &suspended)?;
        let help = "Objects of which something was changed outside and is left so, by kind";
        gauges(&mut encoder, "drifted_objects", help, &drifted)?;
        let help = "Unix time of the last complete check of the object that was checked the longest ago, by kind; of one \
                    that this process has not checked, when it first saw it";
        gauges(&mut encoder, "oldest_check_timestamp_seconds", help, &oldest_check)?;
        let help = "Unix time at which the object was deleted that waits the longest for its end, by kind";
        gauges(&mut encoder, "oldest_deletion_timestamp_seconds", help, &oldest_deletion)
    }
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &BTreeMap<L, i64>,
) -> Result<(), fmt::Error> {
    // A family without samples is not in the format.
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
    fn only_words_of_ours_become_labels() {
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
            assert_eq!(judged(&conditions), expected, "{conditions:?}");
        }
    }

    #[test]
    fn the_oldest_check_is_of_an_object_that_is_checked() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let mut tally = ObjectCounts::default();
        for (deleted, suspended, checked) in [
            (None, false, Some(50)),
            (None, false, Some(40)),
            (None, false, None),
            (None, true, Some(10)),
            (Some(30), false, Some(20)),
            (Some(35), true, Some(20)),
        ] {
            let meta = ObjectMeta { deletion_timestamp: deleted.map(|it| Time(second(it))), ..ObjectMeta::default() };
            tally.add("It", &ObjectSample { meta: &meta, conditions: None, suspended, checked: checked.map(second) });
        }
        let it = KindLabels { kind: "It" };
        assert_eq!(tally.objects, [(ReadyLabels { kind: "It", ready: "Unknown", reason: "Unknown" }, 6)].into());
        assert_eq!((tally.suspended, tally.drifted), ([(it, 2)].into(), [(it, 0)].into()));
        assert_eq!((tally.oldest_check, tally.oldest_deletion), ([(it, 40)].into(), [(it, 30)].into()));
    }
}
