//! The part of a status that every kind has, as the planner evaluates it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};

use crate::api::{ConditionType, FINALIZER, RECONCILE_REQUESTED_AT, Reason, SUSPEND, StatusCore};

/// Longest value of the reconcile annotation that the operator compares and acknowledges, in characters.
const MAX_REQUEST_LENGTH: usize = 256;

/// Result of the last reconcile of the current generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastResult {
    /// Ready is True.
    Ready,
    /// Stalled is True: the object requires user action.
    Stalled,
}

impl LastResult {
    /// Result that the conditions show for `generation`.
    pub(crate) fn from_conditions(conditions: &[Condition], generation: Option<i64>) -> Option<Self> {
        use crate::api::ConditionType::{Ready, Stalled};
        let is_true = |type_| {
            find_condition(conditions, type_)
                .is_some_and(|condition| condition.status == "True" && condition.observed_generation == generation)
        };
        match () {
            () if is_true(Ready) => Some(Self::Ready),
            () if is_true(Stalled) => Some(Self::Stalled),
            () => None,
        }
    }

    /// Result of the last reconcile, if that reconcile handled this generation and every requested reconcile.
    pub(crate) fn of_current(core: &StatusCore, meta: &ObjectMeta) -> Option<Self> {
        let is_current = Some(core.observed_generation) == meta.generation
            && requested_reconcile(meta) == core.last_handled_reconcile_at.as_deref();
        if is_current { Self::from_conditions(&core.conditions, meta.generation) } else { None }
    }
}

/// The condition of a type.
pub(crate) fn find_condition(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == type_.as_str())
}

/// Returns true if any condition has this reason.
pub(crate) fn has_reason(core: &StatusCore, reason: Reason) -> bool {
    core.conditions.iter().any(|condition| condition.reason == reason.as_str())
}

/// Returns true if the object has the operator's finalizer.
pub(crate) fn has_finalizer(meta: &ObjectMeta) -> bool {
    meta.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// Returns true if the operator has released the object: the object is being deleted, and the operator's finalizer is
/// removed. The object then represents nothing, even if another finalizer keeps the object in Kubernetes.
pub(crate) fn is_released(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some() && !has_finalizer(meta)
}

/// Finalizers that keep a released object in Kubernetes; empty for any other object.
pub(crate) fn remaining_finalizers(meta: &ObjectMeta) -> &[String] {
    if is_released(meta) { meta.finalizers.as_deref().unwrap_or_default() } else { &[] }
}

/// Value of an annotation.
pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Value of the annotation that requests a reconcile, cut to a bounded length.
pub(crate) fn requested_reconcile(meta: &ObjectMeta) -> Option<&str> {
    let value = annotation(meta, RECONCILE_REQUESTED_AT)?;
    let end = value.char_indices().nth(MAX_REQUEST_LENGTH).map_or(value.len(), |(end, _)| end);
    Some(&value[..end])
}

/// Returns true if a user suspended the object, by `spec.suspend` (`field`) or by annotation.
pub(crate) fn is_suspended(field: Option<bool>, meta: &ObjectMeta) -> bool {
    field.unwrap_or(false) || suspend_annotation(meta).is_some()
}

/// Value of the annotation that suspends the object; none if the annotation does not suspend it.
pub(crate) fn suspend_annotation(meta: &ObjectMeta) -> Option<&str> {
    // Any value other than "false" suspends: a mistyped "true" also stops the object.
    let is_set = |value: &&str| !["", "false"].contains(&value.to_ascii_lowercase().as_str());
    annotation(meta, SUSPEND).map(str::trim).filter(is_set)
}
