//! Ownership of secret names: conflicts of SpiceSecrets, adoption, lost statuses, and secrets of a reactivated app.

use kube::api::{Patch, PatchParams};
use serde_json::json;
use spice_cloud_operator::api::{SpiceApp, SpiceSecret};

use crate::{
    secrets::{
        POST, env_with_app, expected_secrets, one_key_spec, remote_secrets, secret_writes, set_in_portal,
        wait_for_next_second,
    },
    support::{
        eventually::{DEADLINE, eventually},
        test_env::{TestEnv, id_of},
    },
};

#[tokio::test]
async fn name_passes_to_the_younger_object_after_deletion_of_the_owner() {
    let (env, _operator, id) = env_with_app("claims", &[], &[]).await;
    env.set_values("one", json!({ "key": "fake-value-one" })).await;
    env.set_values("two", json!({ "key": "fake-value-two", "MORE": "fake-value-more" })).await;
    env.apply_secret_and_wait("older", one_key_spec("one", "key", "key")).await;
    wait_for_next_second().await;
    env.apply_secret("younger", json!({ "secretRef": { "name": "two" } })).await;
    env.wait_for_message::<SpiceSecret>("younger", "NameTaken", "Name \"key\" is owned by SpiceSecret \"older\"").await;
    assert_eq!(
        remote_secrets(&env, id).await,
        expected_secrets(&[("MORE", "fake-value-more"), ("key", "fake-value-one")])
    );
    let before = env.sandbox.revision().await.unwrap();
    env.delete_and_wait::<SpiceSecret>("older").await;
    env.wait_for_ready::<SpiceSecret>("younger").await;
    assert_eq!(
        remote_secrets(&env, id).await,
        expected_secrets(&[("MORE", "fake-value-more"), ("key", "fake-value-two")])
    );
    assert_eq!(secret_writes(&env, before).await, [POST], "the name passes over without a DELETE");
}

#[tokio::test]
async fn portal_secret_is_unchanged_until_adopted_and_then_retained() {
    let (env, _operator, id) = env_with_app("portal", &[], &[]).await;
    set_in_portal(&env, id, "TOKEN", "portal").await;
    env.set_values("src", json!({ "TOKEN": "fake-value-ours" })).await;
    env.apply_secret("src", json!({ "secretRef": { "name": "src" } })).await;
    let message = "is not managed by this object. To overwrite it, set spec.adoptionPolicy: Adopt";
    env.wait_for_message::<SpiceSecret>("src", "NameTaken", message).await;
    assert_eq!(remote_secrets(&env, id).await, expected_secrets(&[("TOKEN", "portal")]));
    let before = env.sandbox.revision().await.unwrap();
    env.apply_secret_and_wait("src", json!({ "secretRef": { "name": "src" }, "adoptionPolicy": "Adopt" })).await;
    assert_eq!(remote_secrets(&env, id).await, expected_secrets(&[("TOKEN", "fake-value-ours")]));
    assert_eq!(secret_writes(&env, before).await, [POST]);
    env.delete_and_wait::<SpiceSecret>("src").await;
    assert_eq!(remote_secrets(&env, id).await.len(), 1, "an adopted secret is retained");
}

#[tokio::test]
async fn lost_status_is_a_name_conflict_and_adopt_sets_each_secret_once() {
    let (env, _operator, id) = env_with_app("lost", &[], &[]).await;
    env.set_values("src", json!({ "A": "fake-value-a", "B": "fake-value-b" })).await;
    env.apply_secret_and_wait("src", json!({ "secretRef": { "name": "src" } })).await;
    let lost =
        json!({ "status": { "secrets": null, "observedSources": null, "conditions": null, "observedGeneration": -1 } });
    let api = env.api::<SpiceSecret>();
    api.patch_status("src", &PatchParams::default(), &Patch::Merge(&lost)).await.unwrap();
    env.request_reconcile::<SpiceSecret>("src").await;
    env.wait_for_message::<SpiceSecret>("src", "NameTaken", "is not managed by this object").await;
    let before = env.sandbox.revision().await.unwrap();
    env.apply_secret_and_wait("src", json!({ "secretRef": { "name": "src" }, "adoptionPolicy": "Adopt" })).await;
    assert_eq!(secret_writes(&env, before).await, [POST, POST]);
    assert_eq!(remote_secrets(&env, id).await, expected_secrets(&[("A", "fake-value-a"), ("B", "fake-value-b")]));
}

#[tokio::test]
async fn secrets_of_a_reactivated_app_are_reported_or_overwritten() {
    let env = TestEnv::with_sandbox("reactivated", &[]).await;
    let portal = env.sandbox.portal().unwrap();
    let app = portal.create_app(&json!({ "name": "my-app", "region": "us-west-2" })).await.unwrap();
    let id = app["id"].as_u64().unwrap();
    for name in ["TOKEN", "OLD"] {
        set_in_portal(&env, id, name, "value-before-deletion").await;
    }
    portal.delete_app(id).await.unwrap();
    let _operator = env.start_operator_with(&["--clock-skew=0s"]).await;
    env.apply_app("my-app", json!({})).await;
    assert_eq!(id_of(&env.wait_for_ready::<SpiceApp>("my-app").await), id, "the create reactivates the app");
    env.set_values("src", json!({ "TOKEN": "fake-value-ours" })).await;
    env.apply_secret_and_wait("src", json!({ "secretRef": { "name": "src" } })).await;
    assert_eq!(
        remote_secrets(&env, id).await,
        expected_secrets(&[("OLD", "value-before-deletion"), ("TOKEN", "fake-value-ours")])
    );
    eventually("an event about the remaining secret", DEADLINE, async || {
        let events = env.kubectl(&["events", "--for", "spicesecret/src"]).await?;
        if events.contains("was reactivated and kept secrets that no SpiceSecret requests: OLD") {
            Ok(())
        } else {
            Err(events)
        }
    })
    .await;
}
