//! Objects that cannot be decoded, because of their status or because of an older schema. The operator reconciles as
//! much as possible without the invalid fields, and reports the invalid field otherwise.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, ObjectMeta, Time};
use kube::api::{ApiResource, DynamicObject};
use kube::core::DeserializeGuard;
use kube::{Api, Error};
use serde_json::{Map, Value, json};

use super::persist::status_not_stored;
use super::reconciler::Reconciler;
use crate::controller::cluster::cache::redact_quoted_values;
use crate::controller::cluster::call::{format_kube_error, is_refusal, with_timeout};
use crate::controller::state::context::Context;
use crate::planner::{EventRecord, doubled_delay, undecodable_conditions};

/// Result of a recovery.
enum DecodeRecovery<K> {
    /// The object without the invalid fields.
    Recovered(Box<K>),
    /// The object cannot be reconciled.
    Unrecoverable {
        /// Names the invalid field.
        message: String,
        /// True if the status changed, or the error of the status write.
        stored: Result<bool, Error>,
    },
}

/// The object without the invalid fields. An object that cannot be reconciled is reported in status, as an event and in
/// the log.
///
/// # Errors
/// Delay until the next attempt. The delay grows while the report cannot be stored.
pub(super) async fn recover_or_report<K: Reconciler>(
    context: &Context,
    object: &DeserializeGuard<K>,
    meta: &ObjectMeta,
) -> Result<Box<K>, Duration> {
    let (uid, now) = (meta.uid.as_deref().unwrap_or_default(), Timestamp::now());
    let (states, timings) = (&K::state(context).object_states, &context.settings.timings);
    let (message, stored) = match recover::<K>(context, meta).await {
        Ok(DecodeRecovery::Recovered(recovered)) => return Ok(recovered),
        Ok(DecodeRecovery::Unrecoverable { message, stored }) => (Some(message), stored),
        Err(error) => (None, Err(error)),
    };
    let (failures, is_read) = (states.record_report(uid, stored.is_ok(), now), message.is_some());
    if let Some(message) = message {
        if matches!(stored, Ok(true)) || failures == 1 {
            tracing::error!(error = message, "Failed to decode object");
            context.events.publish(object, vec![EventRecord::warning("Reconcile", "Undecodable", message)]);
        }
        // A corrected object does not wait for the next resync.
        states.force_resync(uid, now);
    }
    let Err(error) = stored else { return Err(timings.max_retry_delay) };
    let (is_refused, error) = (is_refusal(&error), format_kube_error(&error));
    if failures == 1 {
        if is_read && is_refused {
            context.events.publish(object, vec![status_not_stored(&error)]);
        }
        tracing::warn!(error, "Failed to read undecodable object, or to store its status; retrying");
    }
    Err(doubled_delay(timings.min_interval, failures.saturating_sub(1), timings.max_retry_delay))
}

/// Reads an object again and decodes it without its conditions, which every reconcile computes again. A terminating
/// object is also decoded without everything that its deletion does not read. No other field can be left out: without
/// its ID, for example, an app would be lost.
///
/// # Errors
/// The error of the read.
async fn recover<K: Reconciler>(context: &Context, meta: &ObjectMeta) -> Result<DecodeRecovery<K>, Error> {
    let api = dynamic_api::<K>(context, meta);
    let name = meta.name.as_deref().unwrap_or_default();
    let object = with_timeout(api.get(name)).await?;
    let mut stripped = object.clone();
    section(&mut stripped.data, "status").remove("conditions");
    let recovered = |object| Ok(DecodeRecovery::Recovered(Box::new(object)));
    let error = match stripped.clone().try_parse() {
        Ok(object) => return recovered(object),
        Err(error) => error,
    };
    if let Some(Time(deleted_at)) = &object.metadata.deletion_timestamp {
        let mut reduced = stripped.clone();
        K::retain_deletion_fields(&mut reduced.data, *deleted_at);
        if let Ok(object) = reduced.try_parse() {
            return recovered(object);
        }
    }
    let field = find_invalid_field::<K>(&stripped).unwrap_or_else(|| "The object".to_owned());
    let error = redact_quoted_values(&error.to_string());
    let message = format!("{field} cannot be decoded ({error}). Correct it; until then the object is not reconciled");
    let stored = report_in_status::<K>(context, object, &message).await;
    Ok(DecodeRecovery::Unrecoverable { message, stored })
}

/// The field without which the object can be decoded.
fn find_invalid_field<K: Reconciler>(object: &DynamicObject) -> Option<String> {
    let fields = |name: &str| object.data.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    let all = ["spec", "status"].map(|name| fields(name).into_iter().map(move |(field, _)| (name, field)));
    let found = all.into_iter().flatten().find(|(name, field)| {
        let mut without = object.clone();
        section(&mut without.data, name).remove(field);
        without.try_parse::<K>().is_ok()
    });
    found.map(|(name, field)| format!("{name}.{field}"))
}

/// Reports the error in the status of the object. Returns whether the status changed.
///
/// # Errors
/// The error of the write.
async fn report_in_status<K: Reconciler>(
    context: &Context,
    mut object: DynamicObject,
    message: &str,
) -> Result<bool, Error> {
    let stored = object.data.get("status").and_then(|status| status.get("conditions")).cloned().unwrap_or_default();
    let before: Vec<Condition> = serde_json::from_value(stored).unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    let conditions = undecodable_conditions(&before, generation, message, Timestamp::now());
    if conditions == before {
        return Ok(false);
    }
    let status = section(&mut object.data, "status");
    status.insert("observedGeneration".to_owned(), json!(generation));
    status.insert("conditions".to_owned(), json!(conditions));
    let api = dynamic_api::<K>(context, &object.metadata);
    context.writer.replace_raw_status(K::NAME, &api, &object).await.map(|()| true)
}

fn dynamic_api<K: Reconciler>(context: &Context, meta: &ObjectMeta) -> Api<DynamicObject> {
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    Api::namespaced_with(context.client.clone(), namespace, &ApiResource::erase::<K>(&()))
}

/// The fields of `spec` or `status`; a section that is no object is replaced by an empty one.
fn section<'a>(data: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    let value = &mut data[name];
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(fields) => fields,
        _ => unreachable!("the value was made an object"),
    }
}

/// Removes all fields of a section but these.
pub(in crate::controller) fn retain(data: &mut Value, name: &str, kept: &[&str]) {
    section(data, name).retain(|field, _| kept.contains(&field.as_str()));
}

/// Replaces a create intent that cannot be decoded. A create was started, and only the owner tag shows its result.
pub(in crate::controller) fn placeholder_intent(name: &Value, at: Timestamp) -> Value {
    json!({ "id": "", "name": name, "at": MicroTime(at), "nameConflict": true })
}
