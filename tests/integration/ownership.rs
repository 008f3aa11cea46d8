//! Ownership of apps: name conflicts, adoption, foreign owner tags, and apps deleted outside Kubernetes.

use serde_json::{Value, json};
use spice_cloud_operator::api::SpiceApp;

use crate::support::test_env::{Kind, TestEnv, id_of};

#[tokio::test]
async fn taken_name_blocks_writes_until_the_name_is_free() {
    let env = TestEnv::new("taken").await;
    let _operator = env.start_operator().await;
    let portal = env.sandbox.portal().unwrap();
    let foreign = portal.create_app(&json!({ "name": "My-App", "region": "us-east-1" })).await.unwrap();
    env.apply_app("my-app", json!({ "description": "ours" })).await;

    let app = env.wait_for_reason::<SpiceApp>("my-app", "False", "NameTaken").await;
    let stalled = app.condition("Stalled").unwrap();
    assert_eq!(stalled.status, "True");
    assert!(stalled.message.contains(&foreign["id"].to_string()), "{}", stalled.message);
    assert_eq!(env.writes_since(0).await, [""; 0]);
    assert_eq!(env.remote_apps().await[0]["description"], Value::Null);

    portal.delete_app(foreign["id"].as_u64().unwrap()).await.unwrap();
    env.request_reconcile::<SpiceApp>("my-app").await;
    env.wait_for_ready::<SpiceApp>("my-app").await;
    assert_eq!(env.remote_apps().await.len(), 1);
}

#[tokio::test]
async fn existing_app_is_adopted_with_one_put_and_retained() {
    let env = TestEnv::new("adopt").await;
    let _operator = env.start_operator().await;
    let portal = env.sandbox.portal().unwrap();
    let existing =
        json!({ "name": "My-App", "region": "us-east-1", "description": "theirs", "tags": { "foreign": "f" } });
    let id = portal.create_app(&existing).await.unwrap()["id"].as_u64().unwrap();
    env.apply_app("my-app", json!({ "description": "ours" })).await;
    let refused = env.wait_for_reason::<SpiceApp>("my-app", "False", "NameTaken").await;
    assert!(refused.ready_message().contains("adoptionPolicy"));

    let before = env.sandbox.revision().await.unwrap();
    let app = env.apply_app_and_wait("my-app", json!({ "description": "ours", "adoptionPolicy": "Adopt" })).await;
    assert_eq!(id_of(&app), id);
    assert_eq!(env.calls_since(before).await, ["GET /v1/apps", "GET /v1/apps/{appId}", "PUT /v1/apps/{appId}"]);
    let remote = &env.remote_apps().await[0];
    assert_eq!((&remote["description"], &remote["tags"]["foreign"]), (&json!("ours"), &json!("f")));
    assert_eq!(remote["tags"]["spice-operator-incarnation"], app.status.unwrap().incarnation.unwrap());

    env.delete_and_wait::<SpiceApp>("my-app").await;
    assert_eq!(
        env.remote_apps().await[0]["tags"],
        json!({ "foreign": "f" }),
        "the operator removes its tags and keeps the app"
    );
}

#[tokio::test]
async fn annotation_takes_ownership_from_the_named_owner() {
    let env = TestEnv::new("take-ownership-from").await;
    let _operator = env.start_operator().await;
    let owner = "0123456789abcdef0123456789abcdef";
    let existing = json!({ "name": "my-app", "region": "us-east-1", "tags": { "spice-operator-owner": owner } });
    env.sandbox.portal().unwrap().create_app(&existing).await.unwrap();
    env.apply_app("my-app", json!({ "adoptionPolicy": "Adopt" })).await;
    let refused = env.wait_for_reason::<SpiceApp>("my-app", "False", "OwnedElsewhere").await;
    assert!(refused.ready_message().contains(owner));
    let annotation = format!("cloud.spice.ai/take-ownership-from={owner}");
    env.kubectl(&["annotate", "sapp/my-app", &annotation]).await.unwrap();
    env.wait_for_ready::<SpiceApp>("my-app").await;
    assert_ne!(env.remote_apps().await[0]["tags"]["spice-operator-owner"], owner);
}

#[tokio::test]
async fn observed_app_shows_drift_and_is_never_written() {
    let env = TestEnv::new("observe").await;
    let _operator = env.start_operator().await;
    let portal = env.sandbox.portal().unwrap();
    let existing = json!({ "name": "my-app", "region": "us-east-1", "description": "theirs" });
    let id = portal.create_app(&existing).await.unwrap()["id"].as_u64().unwrap();
    let spec = json!({ "description": "ours", "managementPolicy": "Observe", "deletionPolicy": "Delete" });
    let app = env.apply_app_and_wait("my-app", spec).await;
    assert_eq!((id_of(&app), app.status.unwrap().drift), (id, vec!["description".to_owned()]));
    env.delete_and_wait::<SpiceApp>("my-app").await;
    assert_eq!(env.writes_since(0).await, [""; 0]);
    assert_eq!(env.remote_apps().await.len(), 1);
}

#[tokio::test]
async fn younger_object_with_the_same_name_reports_the_older_one() {
    let env = TestEnv::new("claims").await;
    env.apply_app("first", json!({ "name": "shared" })).await;
    let operator = env.start_operator().await;
    env.wait_for_ready::<SpiceApp>("first").await;
    env.apply_app("second", json!({ "name": "SHARED" })).await;
    let second = env.wait_for_reason::<SpiceApp>("second", "False", "NameTaken").await;
    let message = second.ready_message();
    assert!(message.contains(&format!("{}/first", env.namespace)), "{message}");
    assert_eq!(env.remote_apps().await.len(), 1);

    env.delete_and_wait::<SpiceApp>("first").await;
    env.wait_for_ready::<SpiceApp>("second").await;
    drop(operator);
}

#[tokio::test]
async fn app_of_another_owner_is_not_written_and_not_deleted() {
    let env = TestEnv::new("owned").await;
    let _operator = env.start_operator().await;
    let id = id_of(&env.apply_app_and_wait("my-app", json!({ "description": "ours" })).await);
    let existing = json!({ "tags": { "spice-operator-owner": "0".repeat(32) }, "description": "theirs" });
    env.sandbox.portal().unwrap().update_app(id, &existing).await.unwrap();
    let before = env.sandbox.revision().await.unwrap();
    env.request_reconcile::<SpiceApp>("my-app").await;
    env.wait_for_reason::<SpiceApp>("my-app", "False", "OwnedElsewhere").await;

    env.delete_and_wait::<SpiceApp>("my-app").await;
    assert_eq!(env.writes_since(before).await, [""; 0]);
    assert_eq!(env.remote_apps().await[0]["description"], "theirs");
}

#[tokio::test]
async fn created_app_is_recreated_and_adopted_app_is_reported_missing() {
    let env = TestEnv::new("deleted-externally").await;
    let _operator = env.start_operator().await;
    let portal = env.sandbox.portal().unwrap();
    portal.create_app(&json!({ "name": "adopted-app", "region": "us-east-1" })).await.unwrap();
    for (name, spec) in
        [("created-app", json!({ "description": "ours" })), ("adopted-app", json!({ "adoptionPolicy": "Adopt" }))]
    {
        let id = id_of(&env.apply_app_and_wait(name, spec).await);
        portal.delete_app(id).await.unwrap();
    }
    let before = env.sandbox.revision().await.unwrap();
    env.reconcile::<SpiceApp>("created-app").await;
    let created = env.wait_for_ready::<SpiceApp>("created-app").await;
    let app_calls: Vec<_> = env.calls_since(before).await.into_iter().filter(|call| call.contains("/apps")).collect();
    assert_eq!(app_calls[..3], ["GET /v1/apps/{appId}", "GET /v1/apps", "POST /v1/apps"]);
    assert_eq!(env.remote_apps().await[0]["description"], "ours");
    assert_eq!(env.remote_apps().await[0]["id"], id_of(&created));

    let before = env.sandbox.revision().await.unwrap();
    env.request_reconcile::<SpiceApp>("adopted-app").await;
    env.wait_for_reason::<SpiceApp>("adopted-app", "False", "DeletedExternally").await;
    assert_eq!(env.calls_since(before).await, ["GET /v1/apps/{appId}", "GET /v1/apps"]);
    env.delete_and_wait::<SpiceApp>("adopted-app").await;
    assert!(!env.calls_since(before).await.iter().any(|call| call.starts_with("DELETE")));
}

#[tokio::test]
async fn many_missing_apps_block_creates_until_an_annotation_accepts() {
    let env = TestEnv::new("mass").await;
    let _operator = env.start_operator().await;
    let names = ["one-app", "two-app", "three-app", "four-app"];
    for name in names {
        env.apply_app_and_wait(name, json!({})).await;
    }
    let portal = env.sandbox.portal().unwrap();
    for app in env.remote_apps().await {
        portal.delete_app(app["id"].as_u64().unwrap()).await.unwrap();
    }
    for name in names {
        env.request_reconcile::<SpiceApp>(name).await;
        env.wait_for_reason::<SpiceApp>(name, "False", "OrganizationMismatch").await;
    }
    assert_eq!(env.remote_apps().await, [json!(null); 0]);
    let accept = ["annotate", "sorg/default", "cloud.spice.ai/accept-missing-apps=4"];
    env.kubectl(&accept).await.unwrap();
    for name in names {
        env.wait_for_ready::<SpiceApp>(name).await;
    }
    assert_eq!(env.remote_apps().await.len(), 4);
}

#[tokio::test]
async fn edited_creation_id_is_restored_and_deletes_no_adopted_app() {
    let env = TestEnv::new("creation-id").await;
    let _operator = env.start_operator().await;
    let portal = env.sandbox.portal().unwrap();
    portal.create_app(&json!({ "name": "my-app", "region": "us-east-1" })).await.unwrap();
    let app = env.apply_app_and_wait("my-app", json!({ "adoptionPolicy": "Adopt" })).await;
    let (id, recorded) = (id_of(&app), app.status.unwrap().incarnation.unwrap());
    let edit = async || {
        let mut tags = env.remote_apps().await[0]["tags"].clone();
        tags["spice-operator-incarnation"] = json!("c-0123456789abcdef0123456789abcdef");
        portal.update_app(id, &json!({ "tags": tags })).await.unwrap();
    };
    edit().await;
    env.reconcile::<SpiceApp>("my-app").await;
    assert_eq!(env.remote_apps().await[0]["tags"]["spice-operator-incarnation"], recorded);
    edit().await;
    env.delete_and_wait::<SpiceApp>("my-app").await;
    let remaining = env.remote_apps().await;
    assert_eq!((remaining.len(), &remaining[0]["id"]), (1, &json!(id)), "an adopted app is kept");
}
