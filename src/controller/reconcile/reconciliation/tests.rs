//! Failed writes of the report, and objects that cannot be decoded.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::Method;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::*;
use crate::api::{FINALIZER, Reason, SpiceApp};
use crate::controller::cluster::sync::lock;
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

/// An object whose spec is invalid, in this version.
fn invalid_app(uid: &str, version: &str) -> Value {
    json!({
        "apiVersion": "cloud.spice.ai/v1alpha1",
        "kind": "SpiceApp",
        "metadata": {
            "name": "my-app", "namespace": "team", "uid": uid, "resourceVersion": version, "finalizers": [FINALIZER],
        },
        "spec": { "tags": { "1x": "invalid key" } },
    })
}

fn decode(object: Value) -> SpiceApp {
    serde_json::from_value(object).unwrap()
}

/// Answers of an API server that rejects every write with `code`, and has this version of the object, or no object.
macro_rules! rejecting {
    ($code:literal, $present:expr) => {
        |method: &Method| match method.as_str() {
            "GET" => $present,
            "POST" => Ok(json!({})),
            _ => Err($code),
        }
    };
}

type Respond = fn(&Method) -> Result<Value, u16>;

/// API servers that reject the writes of version 1 of an object, and the cause that follows.
const REJECTIONS: [(&str, Respond, WriteFailure); 11] = [
    ("no permission", rejecting!(403, Ok(invalid_app("uid", "1"))), WriteFailure::Refused),
    ("no credential", rejecting!(401, Ok(invalid_app("uid", "1"))), WriteFailure::Refused),
    ("too large", rejecting!(413, Ok(invalid_app("uid", "1"))), WriteFailure::Refused),
    ("invalid", rejecting!(422, Ok(invalid_app("uid", "1"))), WriteFailure::Refused),
    ("a webhook with 409", rejecting!(409, Ok(invalid_app("uid", "1"))), WriteFailure::Refused),
    ("a webhook with 404", rejecting!(404, Ok(invalid_app("uid", "1"))), WriteFailure::Refused),
    ("a conflict", rejecting!(409, Ok(invalid_app("uid", "2"))), WriteFailure::Outdated),
    ("another object", rejecting!(409, Ok(invalid_app("other", "1"))), WriteFailure::Gone),
    ("no object", rejecting!(404, Err(404)), WriteFailure::Gone),
    ("no answer to the read", rejecting!(409, Err(503)), WriteFailure::Unavailable),
    ("overload", rejecting!(429, Ok(invalid_app("uid", "1"))), WriteFailure::Unavailable),
];

#[tokio::test]
async fn only_a_write_of_an_old_version_is_repeated_without_growing_delays() {
    for (case, respond, expected) in REJECTIONS {
        let (context, mut feeds) = test_context(respond);
        let object = decode(invalid_app("uid", "1"));
        feeds.apps.writer.apply_watcher_event(&Event::Apply(DeserializeGuard(Ok(object.clone()))));
        let mut delays = Vec::new();
        for _ in 0..4 {
            delays.push(Reconciliation::begin(&context, &object).run().await.1.unwrap());
        }
        let grows = delays.is_sorted_by(|one, next| one < next);
        let is_outdated = matches!(expected, WriteFailure::Outdated | WriteFailure::Gone);
        assert_eq!(grows, !is_outdated, "{case}: {delays:?}");
        let error = context.writer.replace_status(&object, &Default::default()).await.unwrap_err();
        assert_eq!(context.writer.failure(&object, &error).await, expected, "{case}");
    }
}

#[tokio::test]
async fn a_refused_finalizer_is_an_outcome_with_every_code() {
    for (case, respond, expected) in REJECTIONS {
        let (context, _feeds) = test_context(respond);
        let object = decode(invalid_app("uid", "1"));
        for (write, is_removal) in [(KubernetesWrite::AddFinalizer, false), (KubernetesWrite::RemoveFinalizer, true)] {
            let found = match Reconciliation::begin(&context, &object).write_object(write).await {
                Ok(Some(Outcome::WriteFailed(Reason::KubernetesRejected, ..))) => "refused",
                Ok(Some(Outcome::Finalized)) => "finalized",
                Ok(other) => panic!("{case}: {other:?}"),
                Err(_) => "failed",
            };
            let wanted = match expected {
                WriteFailure::Refused => "refused",
                WriteFailure::Gone if is_removal => "finalized",
                WriteFailure::Gone | WriteFailure::Outdated | WriteFailure::Unavailable => "failed",
            };
            assert_eq!(found, wanted, "{case}: {write:?}");
        }
    }
}

/// Requests to the API server of the tests below.
static UNSTABLE_SERVER: Mutex<Vec<&str>> = Mutex::new(Vec::new());

/// An API server that does not answer the first status write, and stores all others.
fn answers_second_write(method: &Method) -> Result<Value, u16> {
    let mut requests = lock(&UNSTABLE_SERVER);
    let is_first = !requests.contains(&"PUT");
    match method.as_str() {
        "POST" => {
            requests.push("POST");
            Ok(json!({}))
        }
        "PUT" => {
            requests.push("PUT");
            // An object that cannot be decoded has the status that was sent.
            if is_first { Err(503) } else { Ok(undecodable_app()) }
        }
        _ => Err(404),
    }
}

/// Events that were published since the last call.
async fn published() -> usize {
    // The publisher runs in the background. The paused clock advances when it is idle.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut requests = lock(&UNSTABLE_SERVER);
    let before = requests.len();
    requests.retain(|request| *request != "POST");
    before - requests.len()
}

#[tokio::test(start_paused = true)]
async fn the_event_of_a_transition_is_published_once_after_the_status_is_stored() {
    for is_response_lost in [false, true] {
        lock(&UNSTABLE_SERVER).clear();
        let (context, mut feeds) = test_context(answers_second_write);
        let object = decode(invalid_app("uid", "1"));
        feeds.apps.writer.apply_watcher_event(&Event::Apply(DeserializeGuard(Ok(object.clone()))));
        let stalled = Outcome::Stalled(Reason::InvalidSpec, "Invalid tags".to_owned());
        let mut run = Reconciliation::begin(&context, &object);
        assert!(run.report(&stalled, Timestamp::now()).await.is_err());
        assert_eq!(published().await, 0, "the status is not stored");
        if is_response_lost {
            // The API server has stored the status, and the watch shows the object.
            let mut stored = decode(invalid_app("uid", "2"));
            stored.status = Some(run.steps.status().clone());
            run.save_runtime_state();
            feeds.apps.writer.apply_watcher_event(&Event::Apply(DeserializeGuard(Ok(stored.clone()))));
            run = Reconciliation::begin(&context, &stored);
            run.publish_stored_report();
        } else {
            run.persist().await.unwrap();
        }
        assert_eq!(published().await, 1, "is_response_lost: {is_response_lost}");
        run.report(&stalled, Timestamp::now()).await.unwrap();
        run.publish_stored_report();
        assert_eq!(published().await, 0, "is_response_lost: {is_response_lost}");
    }
}
