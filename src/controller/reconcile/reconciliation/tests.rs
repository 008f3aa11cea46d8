//! Failed writes of the report, and objects that cannot be decoded.

use std::sync::atomic::{AtomicUsize, Ordering};

use kube::core::error_boundary::InvalidObject;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::*;
use crate::api::{FINALIZER, SpiceApp};
use crate::controller::state::test_context::test_context;

/// Status writes that the API server of the first test rejected.
static STATUS_WRITES: AtomicUsize = AtomicUsize::new(0);

/// The object in Kubernetes.
fn undecodable_app() -> Value {
    json!({
        "apiVersion": "cloud.spice.ai/v1alpha1",
        "kind": "SpiceApp",
        "metadata": { "name": "my-app", "namespace": "team", "resourceVersion": "1" },
        "spec": { "description": 5 },
    })
}

/// The object in the cache.
fn undecodable_object() -> (DeserializeGuard<SpiceApp>, ObjectMeta) {
    let metadata = ObjectMeta { name: Some("my-app".to_owned()), uid: Some("uid".to_owned()), ..ObjectMeta::default() };
    let invalid = InvalidObject { error: "invalid type".to_owned(), metadata: metadata.clone() };
    (DeserializeGuard(Err(invalid)), metadata)
}

#[tokio::test]
async fn an_undecodable_object_without_a_report_is_retried_soon() {
    let (context, _feeds) = test_context(|method| match method.as_str() {
        "GET" => Ok(undecodable_app()),
        _ => {
            STATUS_WRITES.fetch_add(1, Ordering::Relaxed);
            Err(503)
        }
    });
    let (object, metadata) = undecodable_object();
    let (_, requeue_after) = reconcile_undecodable(&context, &object, &metadata).await;
    let min_interval = context.settings.timings.min_interval;
    assert_eq!((requeue_after, STATUS_WRITES.load(Ordering::Relaxed)), (Some(min_interval), 1));
}

#[tokio::test]
async fn an_undecodable_object_whose_report_is_rejected_is_retried_with_growing_delays() {
    let (context, _feeds) = test_context(|method| match method.as_str() {
        "GET" => Ok(undecodable_app()),
        _ => Err(403),
    });
    let (object, metadata) = undecodable_object();
    let mut minutes = Vec::new();
    for _ in 0..7 {
        let (_, requeue_after) = reconcile_undecodable(&context, &object, &metadata).await;
        minutes.push(requeue_after.unwrap().as_secs() / 60);
    }
    assert_eq!(minutes, [1, 2, 4, 8, 16, 30, 30]);
}

#[tokio::test]
async fn a_status_that_cannot_be_stored_is_retried_with_growing_delays() {
    let (context, mut feeds) = test_context(|_| Err(413));
    let object: SpiceApp = serde_json::from_value(json!({
        "apiVersion": "cloud.spice.ai/v1alpha1",
        "kind": "SpiceApp",
        "metadata": { "name": "my-app", "namespace": "team", "uid": "uid", "finalizers": [FINALIZER] },
        "spec": { "tags": { "1x": "invalid key" } },
    }))
    .unwrap();
    let object = DeserializeGuard(Ok(object));
    feeds.apps.writer.apply_watcher_event(&Event::Apply(object.clone()));
    let mut delays = Vec::new();
    for _ in 0..4 {
        let Ok(decoded) = &object.0 else { unreachable!("the object is decoded") };
        delays.push(Reconciliation::begin(&context, decoded).run().await.1.unwrap());
    }
    assert!(delays.is_sorted_by(|one, next| one < next), "{delays:?}");
}
