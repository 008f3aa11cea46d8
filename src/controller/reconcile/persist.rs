//! Stores the status of an object. The state after a remote write is stored with retries. The retries end when the
//! object no longer exists, another process leads, or the apiserver has rejected the state for a minute.

use std::time::Duration;

use kube::{Api, Error, ResourceExt};
use serde_json::{Value, json};
use thiserror::Error as ThisError;
use tokio::time::Instant;

use super::reconciler::Reconciler;
use crate::controller::cluster::call::{format_kube_error, has_code, with_timeout};
use crate::controller::cluster::writer::{WriteFailure, is_permanent_rejection};
use crate::controller::state::context::Context;
use crate::planner::{EventRecord, StoreFailure};

/// First and longest delay between two attempts. The apiserver is near, and the state cannot be computed again.
const PERSIST_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Time after which a permanent rejection ends the attempts. The reconcile then ends, so that the object can be
/// reconciled again; the next reconcile determines the external state, as after a crash.
const PERSIST_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum number of dropped fields in a message.
const MAX_SHOWN_FIELDS: usize = 8;

/// A failed write to the object itself.
#[derive(Debug, ThisError)]
pub(super) enum StoreError {
    /// The call failed.
    #[error("{}", format_kube_error(.0))]
    Kube(#[from] Error),
    /// The apiserver refused the state for a minute.
    #[error("{}", format_kube_error(.0))]
    Refused(Error),
    /// The apiserver stored the status without some fields.
    #[error(
        "the API server did not keep {0}. The CustomResourceDefinition is older than the operator, or an admission \
         webhook changes the status. Install the CustomResourceDefinitions of this version"
    )]
    FieldsDropped(String),
}

impl StoreError {
    /// Determines why a write to `object` failed.
    pub(super) async fn cause<K: Reconciler>(&self, context: &Context, object: &K) -> WriteFailure {
        match self {
            Self::Kube(error) => context.writer.failure(object, error).await,
            Self::Refused(_) | Self::FieldsDropped(_) => WriteFailure::Refused,
        }
    }

    /// Kind of failure.
    pub(super) fn failure(&self) -> StoreFailure {
        match self {
            Self::Kube(Error::Api(status)) | Self::Refused(Error::Api(status)) => StoreFailure::Rejected(status.code),
            Self::Kube(_) | Self::Refused(_) => StoreFailure::NoResponse,
            Self::FieldsDropped(_) => StoreFailure::FieldsDropped,
        }
    }
}

/// Event for a status that the apiserver refuses: no condition can show the refusal.
pub(super) fn status_not_stored(error: &str) -> EventRecord {
    EventRecord::warning("Reconcile", "StatusNotStored", format!("Failed to store the status: {error}"))
}

/// Stores the status of an object, and compares the stored one. A CustomResourceDefinition without a field drops the
/// field; without this check a create intent, for example, would count as stored.
pub(super) async fn store_status<K: Reconciler>(
    context: &Context,
    object: &K,
    status: &K::Status,
) -> Result<K, StoreError> {
    let stored = match context.writer.replace_status(object, status).await {
        // The apiserver stored the status of an object whose spec cannot be decoded.
        Err(Error::SerdeError(_)) => return Ok(with_status(object, status)),
        stored => stored?,
    };
    let mut dropped = Vec::new();
    find_dropped("status", &json!(status), &json!(stored.status()), &mut dropped);
    if dropped.is_empty() {
        return Ok(stored);
    }
    context.counters.status_fields_dropped(K::NAME);
    dropped.truncate(MAX_SHOWN_FIELDS);
    Err(StoreError::FieldsDropped(dropped.join(", ")))
}

fn with_status<K: Reconciler>(object: &K, status: &K::Status) -> K {
    let mut stored = object.clone();
    *stored.status_mut() = Some(status.clone());
    stored
}

/// Adds the paths that are in `sent`, and missing or different in `kept`.
fn find_dropped(path: &str, sent: &Value, kept: &Value, dropped: &mut Vec<String>) {
    match (sent, kept) {
        (Value::Object(sent), Value::Object(kept)) => {
            for (name, value) in sent {
                let kept = kept.get(name).unwrap_or(&Value::Null);
                find_dropped(&format!("{path}.{name}"), value, kept, dropped);
            }
        }
        (Value::Array(sent), Value::Array(kept)) if sent.len() == kept.len() => {
            for (index, (sent, kept)) in sent.iter().zip(kept).enumerate() {
                find_dropped(&format!("{path}[{index}]"), sent, kept, dropped);
            }
        }
        _ if sent == kept => {}
        _ => dropped.push(path.to_owned()),
    }
}

/// Stores the external state of `status`. After a conflict, reads the object again and copies only the external state,
/// because conditions depend on the new version of the object. `None` if the state no longer matters.
///
/// # Errors
/// If the apiserver rejects the state for a minute, or does not keep it.
pub(super) async fn persist_external_state<K: Reconciler>(
    context: &Context,
    object: &K,
    status: &K::Status,
) -> Result<Option<K>, StoreError> {
    let (mut delay, started_at) = (PERSIST_BACKOFF.0, Instant::now());
    let mut read_again_as: Option<(K, K::Status)> = None;
    loop {
        let (current, next) = read_again_as.as_ref().map_or((object, status), |(fresh, next)| (fresh, next));
        let error = match store_status(context, current, next).await {
            Ok(stored) => return Ok(Some(stored)),
            Err(StoreError::Kube(error)) => error,
            Err(error) => return Err(error),
        };
        // The next leader determines the external state, as after a crash.
        if !context.leadership.may_write() {
            return Ok(None);
        }
        match context.writer.failure(current, &error).await {
            WriteFailure::Gone => return Ok(None),
            failure if is_permanent(&error) && started_at.elapsed() > PERSIST_TIMEOUT => {
                return Err(if failure == WriteFailure::Refused { StoreError::Refused(error) } else { error.into() });
            }
            WriteFailure::Outdated => match read_again(context, object).await {
                Ok(Some(fresh)) => {
                    let mut next = fresh.status().cloned().unwrap_or_default();
                    K::copy_external_state(status, &mut next);
                    read_again_as = Some((fresh, next));
                }
                Ok(None) => return Ok(None),
                // The next reconcile reports the error in status.
                Err(error @ Error::SerdeError(_)) => return Err(error.into()),
                Err(error) => tracing::warn!(error = format_kube_error(&error), "Failed to read object; retrying"),
            },
            failure => {
                if delay == PERSIST_BACKOFF.0 {
                    report_failure(context, object, &error, failure);
                }
            }
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(PERSIST_BACKOFF.1);
    }
}

/// Returns true if a repetition of the write does not help, or has not helped for a while.
fn is_permanent(error: &Error) -> bool {
    is_permanent_rejection(error) || has_code(error, 409)
}

/// Logs a failed write, and publishes a refusal: no condition can show the refusal.
fn report_failure<K: Reconciler>(context: &Context, object: &K, error: &Error, failure: WriteFailure) {
    let error = format_kube_error(error);
    if failure == WriteFailure::Refused {
        context.events.publish(object, vec![status_not_stored(&error)]);
    }
    tracing::warn!(error, "Failed to update status; retrying");
}

/// The object as it is now; none if it no longer exists.
async fn read_again<K: Reconciler>(context: &Context, object: &K) -> Result<Option<K>, Error> {
    let api: Api<K> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let fresh = with_timeout(api.get_opt(&object.name_any())).await?;
    Ok(fresh.filter(|fresh| fresh.uid() == object.uid()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::Method;

    use crate::api::{SpiceApp, SpiceAppStatus};
    use crate::controller::state::test_context::test_context;

    use super::*;

    fn app() -> SpiceApp {
        serde_json::from_value(json!({
            "apiVersion": "cloud.spice.ai/v1alpha1",
            "kind": "SpiceApp",
            "metadata": { "name": "my-app", "namespace": "team", "uid": "uid" },
            "spec": {},
        }))
        .unwrap()
    }

    type Respond = fn(&Method) -> Result<Value, u16>;

    /// Events of the next test.
    static EVENTS: AtomicUsize = AtomicUsize::new(0);

    /// Answers of an API server that refuses every status with `code`, and shows the object unchanged.
    macro_rules! refusing {
        ($code:literal) => {
            ($code, |method| match method.as_str() {
                "GET" => Ok(json!(app())),
                "POST" => {
                    EVENTS.fetch_add(1, Ordering::Relaxed);
                    Ok(json!({}))
                }
                _ => Err($code),
            })
        };
    }

    #[tokio::test(start_paused = true)]
    async fn state_that_the_apiserver_refuses_is_an_event_at_once_and_after_a_minute_an_error() {
        let status = SpiceAppStatus { id: Some(101), ..SpiceAppStatus::default() };
        let codes: [(u16, Respond); 5] =
            [refusing!(403), refusing!(413), refusing!(422), refusing!(404), refusing!(409)];
        for (code, respond) in codes {
            let (context, _feeds) = test_context(respond);
            let (started_at, object) = (Instant::now(), app());
            let mut persisting = Box::pin(persist_external_state(&context, &object, &status));
            EVENTS.store(0, Ordering::Relaxed);
            assert!(tokio::time::timeout(Duration::from_secs(5), &mut persisting).await.is_err());
            assert_eq!(EVENTS.load(Ordering::Relaxed), 1, "{code}");
            let error = persisting.await.unwrap_err();
            assert_eq!(error.failure(), StoreFailure::Rejected(code));
            assert!(error.cause(&context, &app()).await == WriteFailure::Refused, "{error}");
            assert!(started_at.elapsed() > PERSIST_TIMEOUT);
        }
    }

    #[tokio::test]
    async fn state_of_an_object_that_cannot_be_decoded_is_stored_once() {
        let (context, _feeds) = test_context(|_| {
            let mut undecodable = json!(app());
            undecodable["spec"] = json!({ "description": 5 });
            Ok(undecodable)
        });
        let status = SpiceAppStatus { id: Some(101), ..SpiceAppStatus::default() };
        let stored = persist_external_state(&context, &app(), &status).await.unwrap().unwrap();
        assert_eq!(stored.status.unwrap().id, Some(101));
    }

    #[tokio::test(start_paused = true)]
    async fn state_that_the_apiserver_drops_is_an_error_at_once() {
        let (context, _feeds) = test_context(|_| Ok(json!(app())));
        let status = SpiceAppStatus { id: Some(101), ..SpiceAppStatus::default() };
        let error = persist_external_state(&context, &app(), &status).await.unwrap_err();
        assert_eq!(error.failure(), StoreFailure::FieldsDropped);
        assert_eq!(error.cause(&context, &app()).await, WriteFailure::Refused);
        let shown = error.to_string();
        assert!(
            shown.starts_with("the API server did not keep status. The CustomResourceDefinition is older"),
            "{shown}"
        );
    }

    #[test]
    fn a_stored_status_is_compared_with_the_sent_one() {
        let sent = json!({ "id": 1, "drift": ["a"], "createIntent": { "id": "x", "name": "y" }, "unset": null });
        for (kept, dropped) in [
            (sent.clone(), ""),
            (json!({ "id": 1, "drift": ["a"], "createIntent": { "id": "x", "name": "y" }, "more": 1 }), ""),
            (json!({ "id": 1, "drift": ["a"] }), "status.createIntent"),
            (json!({ "id": 1, "drift": ["a"], "createIntent": { "id": "x" } }), "status.createIntent.name"),
            (
                json!({ "id": 2, "drift": ["b"], "createIntent": { "id": "x", "name": "y" } }),
                "status.drift[0], status.id",
            ),
            (json!({ "id": 1, "drift": [], "createIntent": { "id": "x", "name": "y" } }), "status.drift"),
        ] {
            let mut found = Vec::new();
            find_dropped("status", &sent, &kept, &mut found);
            found.sort();
            assert_eq!(found.join(", "), dropped, "{kept}");
        }
    }
}
