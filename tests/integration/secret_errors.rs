//! SpiceSecret under errors: deletion and shutdown during a write, rejected writes, deletions in the portal, a missing
//! digest key, and invalid names in the status.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use reqwest::Method;
use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization, SpiceSecret};

use crate::{
    secrets::{env_with_app, expected_secrets, one_key_spec, remote_secrets},
    support::{
        control_plane::{OPERATOR_NAMESPACE, User},
        eventually::{DEADLINE, eventually},
        sandbox::{Action, Fault, When},
        test_env::{TestEnv, id_of},
    },
};

const SECRETS: &str = "/v1/apps/{appId}/secrets";

/// A fault of the requests that set a secret.
fn post_fault(when: When, action: Action) -> Fault {
    Fault::new(when, action).method("POST").route(SECRETS)
}

/// Creates a SpiceSecret whose POST takes effect and does not return.
async fn apply_with_hanging_post(env: &TestEnv) {
    env.sandbox.add_fault(post_fault(When::After, Action::Hang).times(1)).await.unwrap();
    env.set_values("src", json!({ "key": "fake-value-1" })).await;
    env.apply_secret("src", one_key_spec("src", "key", "TOKEN")).await;
    env.sandbox.wait_for_call("the POST hangs", 0, |call| call.state == "applied-held").await.unwrap();
}

#[tokio::test]
async fn deletion_during_a_set_also_deletes_the_remote_secret() {
    let (env, _operator, id) = env_with_app("secret-deleted", &[], &[]).await;
    apply_with_hanging_post(&env).await;
    env.delete::<SpiceSecret>("src").await;
    // A faulty operator would drop the object during this reconcile, before the POST returns.
    env.reconcile::<SpiceApp>("my-app").await;
    env.sandbox.remove_faults().await.unwrap();
    env.wait_for_deletion::<SpiceSecret>("src").await;
    assert_eq!(remote_secrets(&env, id).await, expected_secrets(&[]));
}

#[tokio::test]
async fn secret_set_during_shutdown_is_recorded_as_owned() {
    let (env, operator, id) = env_with_app("secret-sigterm", &[], &[]).await;
    apply_with_hanging_post(&env).await;
    operator.begin_shutdown().await.unwrap();
    env.sandbox.remove_faults().await.unwrap();
    assert_eq!(operator.wait_for_exit().await.unwrap(), Some(0));
    let status = env.api::<SpiceSecret>().get("src").await.unwrap().status.unwrap();
    assert!(status.secrets[0].updated_at.is_some(), "{:?}", status.secrets);

    let _operator = env.start_operator().await;
    env.wait_for_ready::<SpiceSecret>("src").await;
    assert_eq!(remote_secrets(&env, id).await, expected_secrets(&[("TOKEN", "fake-value-1")]));
}

#[tokio::test]
async fn shutdown_with_queued_rotations_does_not_report_an_outage() {
    const OBJECTS: usize = 8;
    let (env, operator, _) = env_with_app("secret-queue", &[], &[]).await;
    let names: Vec<String> = (0..OBJECTS).map(|number| format!("s{number}")).collect();
    let values = |value: &str| names.iter().map(|name| (name.clone(), json!(value))).collect::<Value>();
    env.set_values("src", values("fake-value-1")).await;
    for name in &names {
        env.apply_secret(name, one_key_spec("src", name, name)).await;
    }
    for name in &names {
        env.wait_for_ready::<SpiceSecret>(name).await;
    }
    // A small budget, so that most requests are queued.
    let budget = json!({ "spec": { "requestBudget": { "requestsPerMinute": 40, "reservePercent": 10 } } });
    env.patch::<SpiceOrganization>("default", budget).await;
    env.wait_for_ready::<SpiceOrganization>("default").await;
    env.set_values("src", values("fake-value-2")).await;
    eventually("requests are queued", DEADLINE, async || {
        let queued = operator.metrics().await?.sum("spice_operator_management_api_queued_requests", &[]);
        if queued >= 2.0 { Ok(()) } else { Err(format!("{queued} queued requests")) }
    })
    .await;
    assert_eq!(operator.terminate().await.unwrap(), Some(0));
    for name in &names {
        let status = env.api::<SpiceSecret>().get(name).await.unwrap().status.unwrap();
        let conditions = &status.core.conditions;
        assert!(conditions.iter().all(|condition| condition.reason != "RemoteUnavailable"), "{name}: {conditions:?}");
    }
}

#[tokio::test]
async fn rejected_secrets_of_one_app_do_not_trigger_each_other() {
    let (env, _operator, _) = env_with_app("secret-refused", &[], &["--rejected-write-retry-interval=1h"]).await;
    let body = json!({ "error": "no", "code": "insufficient_scope" });
    let rejection = Action::Response { status: 403, headers: json!({}), body };
    env.sandbox.add_fault(post_fault(When::Before, rejection)).await.unwrap();
    for name in ["one", "two", "three"] {
        env.set_values(name, json!({ name.to_uppercase(): "fake-value-1" })).await;
        env.apply_secret(name, json!({ "secretRef": { "name": name } })).await;
    }
    for name in ["one", "two", "three"] {
        env.wait_for_reason::<SpiceSecret>(name, "False", "Forbidden").await;
    }
    // New SpiceSecrets of the app, and reconciles of the app.
    for name in ["four", "five"] {
        env.set_values(name, json!({ name.to_uppercase(): "fake-value-1" })).await;
        env.apply_secret(name, json!({ "secretRef": { "name": name } })).await;
        env.wait_for_reason::<SpiceSecret>(name, "False", "Forbidden").await;
        env.reconcile::<SpiceApp>("my-app").await;
    }
    let posts = env.calls_since(0).await.iter().filter(|call| **call == format!("POST {SECRETS}")).count();
    println!("{posts} rejected POSTs of 5 objects");
    // One POST for each object, and one more if a conflict prevents the update of a status.
    assert!(posts <= 7, "{posts} POSTs");
    // Grant the scope, and request reconciles.
    env.sandbox.remove_faults().await.unwrap();
    for name in ["one", "two", "three", "four", "five"] {
        env.request_reconcile::<SpiceSecret>(name).await;
        env.wait_for_ready::<SpiceSecret>(name).await;
    }
}

#[tokio::test]
async fn secrets_deleted_in_the_portal_are_restored_by_one_reconcile() {
    const KEYS: usize = 60;
    let (env, operator, id) = env_with_app("secret-cleared", &[], &[]).await;
    let organizations = env.api::<SpiceOrganization>();
    let budget = json!({ "spec": { "requestBudget": { "requestsPerMinute": 1_000_000 } } });
    organizations.patch("default", &PatchParams::default(), &Patch::Merge(budget)).await.unwrap();
    let names: Vec<String> = (0..KEYS).map(|number| format!("N{number:02}")).collect();
    let values: Value = names.iter().map(|name| (name.clone(), json!("fake-value-1"))).collect();
    env.set_values("src", values).await;
    env.apply_secret_and_wait("src", json!({ "secretRef": { "name": "src" } })).await;
    operator.terminate().await.unwrap();
    let portal = env.sandbox.portal().unwrap();
    for name in &names {
        portal.call(Method::DELETE, &format!("/apps/{id}/secrets/{name}"), None).await.unwrap();
    }
    // The default write settle period, in which the operator ignores reads of secrets that it wrote.
    let _operator = env.start_operator_with(&["--write-settle-period=30s"]).await;
    env.request_reconcile::<SpiceSecret>("src").await;
    env.apply_secret_and_wait("src", json!({ "secretRef": { "name": "src" }, "interval": "23h" })).await;
    assert_eq!(remote_secrets(&env, id).await.len(), KEYS);
}

#[tokio::test]
async fn missing_digest_key_is_reported_and_deletions_continue() {
    let env = TestEnv::new("keyless").await;
    let key = format!("--digest-key-secret={}", env.namespace);
    let flags = [key.as_str()];
    let operator = env.start_operator_with(&flags).await;
    let id = id_of(&env.apply_app_and_wait("my-app", json!({})).await);
    env.set_values("src", json!({ "A": "fake-value-a", "B": "fake-value-b" })).await;
    for name in ["A", "B"] {
        let object = name.to_lowercase();
        env.apply_secret_and_wait(&object, one_key_spec("src", name, name)).await;
    }
    operator.terminate().await.unwrap();
    let keys: Api<Secret> = Api::namespaced(env.client.clone(), OPERATOR_NAMESPACE);
    let params = DeleteParams::default();
    keys.delete(&env.namespace, &params).await.unwrap();
    let empty = json!({ "metadata": { "name": env.namespace } });
    keys.create(&Default::default(), &serde_json::from_value(empty).unwrap()).await.unwrap();

    let kubeconfig = env.cluster.kubeconfig(User::Operator);
    let operator = env.spawn_operator(&kubeconfig, &flags, &[]).await;
    let reason = format!("waiting for the digest key in Secret {OPERATOR_NAMESPACE}/{}", env.namespace);
    operator.wait_until_unready(&reason).await.unwrap();
    env.delete_and_wait::<SpiceSecret>("a").await;
    env.apply_secret("b", one_key_spec("src", "B", "NEW")).await;
    env.wait_for_message::<SpiceSecret>("b", "DependencyNotReady", "The operator has no digest key yet").await;
    assert_eq!(remote_secrets(&env, id).await, expected_secrets(&[("B", "fake-value-b")]));
    // The operator recreates a deleted digest key.
    keys.delete(&env.namespace, &params).await.unwrap();
    operator.wait_until_ready().await.unwrap();
    env.wait_for_ready::<SpiceSecret>("b").await;
    assert_eq!(remote_secrets(&env, id).await, expected_secrets(&[("NEW", "fake-value-b")]));
    keys.delete(&env.namespace, &params).await.unwrap();
}

#[tokio::test]
async fn invalid_names_in_a_status_do_not_block_the_deletion() {
    let (env, _operator, id) = env_with_app("secret-names", &[], &[]).await;
    env.set_values("src", json!({ "key": "fake-value-1" })).await;
    env.apply_secret("src", one_key_spec("src", "key", "TOKEN")).await;
    let entry = &env.wait_for_ready::<SpiceSecret>("src").await.status.unwrap().secrets[0];
    let entries: Vec<Value> = ["..", ".", "TOKEN"]
        .iter()
        .map(|name| json!({ "name": name, "digest": entry.digest, "incarnation": entry.incarnation }))
        .collect();
    let api = env.api::<SpiceSecret>();
    let forged = json!({ "status": { "secrets": entries } });
    let before = env.sandbox.revision().await.unwrap();
    api.patch_status("src", &PatchParams::default(), &Patch::Merge(&forged)).await.unwrap();
    api.delete("src", &DeleteParams::default()).await.unwrap();
    env.wait_for_deletion::<SpiceSecret>("src").await;
    assert_eq!(remote_secrets(&env, id).await, expected_secrets(&[]));
    let calls = env.calls_since(before).await;
    let deletes: Vec<&String> = calls.iter().filter(|call| call.starts_with("DELETE")).collect();
    assert_eq!(deletes, ["DELETE /v1/apps/{appId}/secrets/{secretName}"]);
}
