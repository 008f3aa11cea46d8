//! Invariants 4 and 5. ARCHITECTURE.md lists the tests of all invariants.

use kube::{Api, ResourceExt, core::DynamicObject, discovery::ApiResource};
use serde_json::json;
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization};

use crate::support::test_env::TestEnv;

/// Returns the resourceVersions of the objects in the namespace that the operator can write, and the number of events.
async fn resource_versions(env: &TestEnv) -> Vec<(String, String)> {
    let mut versions = Vec::new();
    for app in env.api::<SpiceApp>().list(&Default::default()).await.unwrap() {
        versions.push((format!("app {}", app.name_any()), app.resource_version().unwrap()));
    }
    for organization in env.api::<SpiceOrganization>().list(&Default::default()).await.unwrap() {
        versions.push((format!("organization {}", organization.name_any()), organization.resource_version().unwrap()));
    }
    let events = ApiResource {
        group: "events.k8s.io".into(),
        version: "v1".into(),
        api_version: "events.k8s.io/v1".into(),
        kind: "Event".into(),
        plural: "events".into(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(env.client.clone(), &env.namespace, &events);
    versions.push(("events".to_owned(), api.list(&Default::default()).await.unwrap().items.len().to_string()));
    versions
}

#[tokio::test]
async fn invariant_4_steady_state_has_no_writes() {
    let env = TestEnv::new("steady").await;
    let operator = env.start_operator().await;
    // An interval of one second, so that several resyncs occur without a change.
    env.apply_app_and_wait("my-app", json!({ "description": "desired", "tags": { "a": "b" }, "interval": "1s" })).await;
    env.wait_for_ready::<SpiceOrganization>("default").await;
    let reconciles = operator.reconciles("SpiceApp").await.unwrap();
    // After two more reconciles, earlier asynchronous writes such as events have finished.
    operator.wait_for_reconciles("SpiceApp", reconciles + 2).await.unwrap();

    let (before, revision) = (resource_versions(&env).await, env.sandbox.revision().await.unwrap());
    operator.wait_for_reconciles("SpiceApp", reconciles + 7).await.unwrap();
    let calls = env.calls_since(revision).await;
    assert!(calls.len() >= 4, "too few resyncs: {calls:?}");
    assert!(calls.iter().all(|call| call == "GET /v1/apps/{appId}"), "{calls:?}");
    assert_eq!(resource_versions(&env).await, before);
}

#[tokio::test]
async fn invariant_5_restart_in_sync_sends_no_requests() {
    let env = TestEnv::new("restart").await;
    let operator = env.start_operator().await;
    for name in ["first-app", "second-app", "third-app"] {
        env.apply_app_and_wait(name, json!({ "description": name, "runtime": { "replicas": 2 } })).await;
    }
    env.wait_for_ready::<SpiceOrganization>("default").await;
    operator.terminate().await.unwrap();
    let (before, revision) = (resource_versions(&env).await, env.sandbox.revision().await.unwrap());

    let operator = env.start_operator().await;
    operator.wait_for_reconciles("SpiceApp", 3).await.unwrap();
    operator.wait_for_reconciles("SpiceOrganization", 1).await.unwrap();
    assert_eq!(env.calls_since(revision).await, [""; 0]);
    assert_eq!(resource_versions(&env).await, before);

    // The operator still reacts to a change.
    env.apply_app_and_wait("first-app", json!({ "description": "changed", "runtime": { "replicas": 2 } })).await;
    assert_eq!(env.calls_since(revision).await, ["GET /v1/apps/{appId}", "PUT /v1/apps/{appId}"]);
}
