//! The invariants of the design that need real parts; the others are beside the planner and in `tests/architecture.rs`.

use kube::{Api, ResourceExt, core::DynamicObject, discovery::ApiResource};
use serde_json::json;
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization};

use crate::{program, support::world::World};

/// resourceVersions of all that the operator could write in the namespace.
async fn versions(world: &World) -> Vec<(String, String)> {
    let mut versions = Vec::new();
    for app in world.api::<SpiceApp>().list(&Default::default()).await.unwrap() {
        versions.push((format!("app {}", app.name_any()), app.resource_version().unwrap()));
    }
    for organization in world.api::<SpiceOrganization>().list(&Default::default()).await.unwrap() {
        versions.push((format!("organization {}", organization.name_any()), organization.resource_version().unwrap()));
    }
    let events = ApiResource {
        group: "events.k8s.io".into(),
        version: "v1".into(),
        api_version: "events.k8s.io/v1".into(),
        kind: "Event".into(),
        plural: "events".into(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), &world.namespace, &events);
    versions.push(("events".to_owned(), api.list(&Default::default()).await.unwrap().items.len().to_string()));
    versions
}

#[tokio::test]
async fn invariant_4_in_the_steady_state_nothing_is_written() {
    let world = World::new("steady", program()).await;
    let operator = world.operator().await;
    // Checked once a second, so that many checks pass while nothing changes.
    world.app("my-app", json!({ "description": "ours", "tags": { "a": "b" }, "interval": "1s" })).await;
    world.app_is("my-app", "True", "Succeeded").await;
    world.organization_is("True", "Succeeded").await;
    let visits = operator.metrics().await.unwrap().visits("SpiceApp") as u64;
    // What was begun before it was ready, such as its events, has ended when two more visits have.
    world.visits(&operator, "SpiceApp", visits + 2).await;

    let (before, revision) = (versions(&world).await, world.sandbox.revision().await.unwrap());
    world.visits(&operator, "SpiceApp", visits + 7).await;
    let calls = world.calls(revision).await;
    assert!(calls.len() >= 4, "checks went on: {calls:?}");
    assert!(calls.iter().all(|call| call == "GET /v1/apps/{appId}"), "{calls:?}");
    assert_eq!(versions(&world).await, before);
}

#[tokio::test]
async fn invariant_5_a_restart_with_everything_in_date_makes_no_call() {
    let world = World::new("restart", program()).await;
    let operator = world.operator().await;
    for name in ["first-app", "second-app", "third-app"] {
        world.app(name, json!({ "description": name, "runtime": { "replicas": 2 } })).await;
        world.app_is(name, "True", "Succeeded").await;
    }
    world.organization_is("True", "Succeeded").await;
    operator.terminate().await.unwrap();
    let (before, revision) = (versions(&world).await, world.sandbox.revision().await.unwrap());

    let operator = world.operator().await;
    world.visits(&operator, "SpiceApp", 3).await;
    world.visits(&operator, "SpiceOrganization", 1).await;
    assert_eq!(world.calls(revision).await, [""; 0]);
    assert_eq!(versions(&world).await, before);

    // It is awake all the same.
    world.app("first-app", json!({ "description": "changed", "runtime": { "replicas": 2 } })).await;
    world.app_is("first-app", "True", "Succeeded").await;
    assert_eq!(world.calls(revision).await, ["GET /v1/apps/{appId}", "PUT /v1/apps/{appId}"]);
}
