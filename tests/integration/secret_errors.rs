//! SpiceSecret under errors: deletion and shutdown during a write, rejected writes, deletions in the portal, a missing
//! digest key, and invalid names in the status.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use reqwest::Method;
use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceOrganization, SpiceSecret};

use crate::{
    program,
    secrets::{expected, from_key, remote},
    support::{
        control_plane::{OPERATOR_NAMESPACE, User},
        eventually::{DEADLINE, eventually},
        operator::Operator,
        sandbox::{Action, Fault, When},
        test_env::{TestEnv, id_of},
    },
};

const SECRETS: &str = "/v1/apps/{appId}/secrets";

/// A `TestEnv` with a Ready app `my-app`.
async fn env(name: &str) -> (TestEnv, Operator, u64) {
    env_with(name, &[]).await
}

/// A `TestEnv` with a Ready app `my-app`, and an operator with these flags.
async fn env_with(name: &str, flags: &[&str]) -> (TestEnv, Operator, u64) {
    let env = TestEnv::new(name, program()).await;
    let operator = env.operator_with(flags).await;
    env.app("my-app", json!({})).await;
    let id = id_of(&env.app_is("my-app", "True", "Succeeded").await);
    (env, operator, id)
}

fn on_post(when: When, action: Action, times: Option<u32>) -> Fault {
    Fault { method: Some("POST".to_owned()), route: Some(SECRETS.to_owned()), when, action, times }
}

/// Creates a SpiceSecret whose POST takes effect and does not return.
async fn apply_with_hanging_post(env: &TestEnv) {
    env.sandbox.add_fault(&on_post(When::After, Action::Hang, Some(1))).await.unwrap();
    env.values("src", json!({ "key": "fake-value-1" })).await;
    env.secret("src", from_key("src", "key", "TOKEN")).await;
    env.sandbox.call("the POST hangs", 0, |call| call.state == "applied-held").await.unwrap();
}

#[tokio::test]
async fn deletion_during_a_set_also_deletes_the_remote_secret() {
    let (env, _operator, id) = env("secret-deleted").await;
    apply_with_hanging_post(&env).await;
    env.api::<SpiceSecret>().delete("src", &DeleteParams::default()).await.unwrap();
    // A faulty operator would drop the object during this reconcile, before the POST returns.
    env.reconcile_app("my-app").await;
    env.sandbox.remove_faults().await.unwrap();
    env.gone::<SpiceSecret>("src").await;
    assert_eq!(remote(&env, id).await, expected(&[]));
}

#[tokio::test]
async fn secret_set_during_shutdown_is_recorded_as_owned() {
    let (env, operator, id) = env("secret-sigterm").await;
    apply_with_hanging_post(&env).await;
    operator.begins_to_stop().await.unwrap();
    env.sandbox.remove_faults().await.unwrap();
    assert_eq!(operator.process().wait(DEADLINE).await.unwrap().code(), Some(0));
    let status = env.api::<SpiceSecret>().get("src").await.unwrap().status.unwrap();
    assert!(status.secrets[0].updated_at.is_some(), "{:?}", status.secrets);

    let _operator = env.operator().await;
    env.secret_is("src", "True", "Succeeded").await;
    assert_eq!(remote(&env, id).await, expected(&[("TOKEN", "fake-value-1")]));
}

#[tokio::test]
async fn shutdown_with_queued_rotations_does_not_report_an_outage() {
    const OBJECTS: usize = 8;
    let (env, operator, _) = env("secret-queue").await;
    let names: Vec<String> = (0..OBJECTS).map(|number| format!("s{number}")).collect();
    let values = |value: &str| names.iter().map(|name| (name.clone(), json!(value))).collect::<Value>();
    env.values("src", values("fake-value-1")).await;
    for name in &names {
        env.secret(name, from_key("src", name, name)).await;
    }
    for name in &names {
        env.secret_is(name, "True", "Succeeded").await;
    }
    // A small budget, so that most requests are queued.
    let budget = json!({ "spec": { "requestBudget": { "requestsPerMinute": 40, "reservePercent": 10 } } });
    let organizations = env.api::<SpiceOrganization>();
    organizations.patch("default", &PatchParams::default(), &Patch::Merge(budget)).await.unwrap();
    env.organization_is("True", "Succeeded").await;
    env.values("src", values("fake-value-2")).await;
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
    let (env, _operator, _) = env_with("secret-refused", &["--rejected-write-retry-interval=1h"]).await;
    let body = json!({ "error": "no", "code": "insufficient_scope" });
    let rejection = Action::Answer { status: 403, headers: json!({}), body };
    env.sandbox.add_fault(&on_post(When::Before, rejection, None)).await.unwrap();
    for name in ["one", "two", "three"] {
        env.values(name, json!({ name.to_uppercase(): "fake-value-1" })).await;
        env.secret(name, json!({ "secretRef": { "name": name } })).await;
    }
    for name in ["one", "two", "three"] {
        env.secret_is(name, "False", "Forbidden").await;
    }
    // New SpiceSecrets of the app, and reconciles of the app.
    for name in ["four", "five"] {
        env.values(name, json!({ name.to_uppercase(): "fake-value-1" })).await;
        env.secret(name, json!({ "secretRef": { "name": name } })).await;
        env.secret_is(name, "False", "Forbidden").await;
        env.reconcile_app("my-app").await;
    }
    let posts = env.calls(0).await.iter().filter(|call| **call == format!("POST {SECRETS}")).count();
    println!("{posts} rejected POSTs of 5 objects");
    // One POST for each object, and one more if a conflict prevents the update of a status.
    assert!(posts <= 7, "{posts} POSTs");
    // Grant the scope, and request reconciles.
    env.sandbox.remove_faults().await.unwrap();
    for name in ["one", "two", "three", "four", "five"] {
        env.request_reconcile_of::<SpiceSecret>(name).await;
        env.secret_is(name, "True", "Succeeded").await;
    }
}

#[tokio::test]
async fn secrets_deleted_in_the_portal_are_restored_by_one_reconcile() {
    const KEYS: usize = 60;
    let (env, operator, id) = env("secret-cleared").await;
    let organizations = env.api::<SpiceOrganization>();
    let budget = json!({ "spec": { "requestBudget": { "requestsPerMinute": 1_000_000 } } });
    organizations.patch("default", &PatchParams::default(), &Patch::Merge(budget)).await.unwrap();
    let names: Vec<String> = (0..KEYS).map(|number| format!("N{number:02}")).collect();
    let values: Value = names.iter().map(|name| (name.clone(), json!("fake-value-1"))).collect();
    env.values("src", values).await;
    env.secret("src", json!({ "secretRef": { "name": "src" } })).await;
    env.secret_is("src", "True", "Succeeded").await;
    operator.terminate().await.unwrap();
    let portal = env.sandbox.portal().unwrap();
    for name in &names {
        portal.call(Method::DELETE, &format!("/apps/{id}/secrets/{name}"), None).await.unwrap();
    }
    // The default write settle period, in which the operator ignores reads of secrets that it wrote.
    let _operator = env.operator_with(&["--write-settle-period=30s"]).await;
    env.request_reconcile_of::<SpiceSecret>("src").await;
    env.secret("src", json!({ "secretRef": { "name": "src" }, "interval": "23h" })).await;
    env.secret_is("src", "True", "Succeeded").await;
    assert_eq!(remote(&env, id).await.len(), KEYS);
}

#[tokio::test]
async fn missing_digest_key_is_reported_and_deletions_continue() {
    let env = TestEnv::new("keyless", program()).await;
    let key = format!("--digest-key-secret={}", env.namespace);
    let flags = [key.as_str()];
    let operator = env.operator_with(&flags).await;
    env.app("my-app", json!({})).await;
    let id = id_of(&env.app_is("my-app", "True", "Succeeded").await);
    env.values("src", json!({ "A": "fake-value-a", "B": "fake-value-b" })).await;
    for name in ["A", "B"] {
        let object = name.to_lowercase();
        env.secret(&object, from_key("src", name, name)).await;
        env.secret_is(&object, "True", "Succeeded").await;
    }
    operator.terminate().await.unwrap();
    let keys: Api<Secret> = Api::namespaced(env.client.clone(), OPERATOR_NAMESPACE);
    let params = DeleteParams::default();
    keys.delete(&env.namespace, &params).await.unwrap();
    let empty = json!({ "metadata": { "name": env.namespace } });
    keys.create(&Default::default(), &serde_json::from_value(empty).unwrap()).await.unwrap();

    let kubeconfig = env.cluster.kubeconfig(User::Operator);
    let operator = env.operator_begun(&kubeconfig, &flags, &[]).await;
    let reason = format!("waiting for the digest key in Secret {OPERATOR_NAMESPACE}/{}", env.namespace);
    operator.unready(&reason).await.unwrap();
    env.api::<SpiceSecret>().delete("a", &params).await.unwrap();
    env.gone::<SpiceSecret>("a").await;
    env.secret("b", from_key("src", "B", "NEW")).await;
    env.says::<SpiceSecret>("b", "DependencyNotReady", "The operator has no digest key yet").await;
    assert_eq!(remote(&env, id).await, expected(&[("B", "fake-value-b")]));
    // The operator recreates a deleted digest key.
    keys.delete(&env.namespace, &params).await.unwrap();
    operator.ready().await.unwrap();
    env.secret_is("b", "True", "Succeeded").await;
    assert_eq!(remote(&env, id).await, expected(&[("NEW", "fake-value-b")]));
    keys.delete(&env.namespace, &params).await.unwrap();
}

#[tokio::test]
async fn invalid_names_in_a_status_do_not_block_the_deletion() {
    let (env, _operator, id) = env("secret-names").await;
    env.values("src", json!({ "key": "fake-value-1" })).await;
    env.secret("src", from_key("src", "key", "TOKEN")).await;
    let entry = &env.secret_is("src", "True", "Succeeded").await.status.unwrap().secrets[0];
    let entries: Vec<Value> = ["..", ".", "TOKEN"]
        .iter()
        .map(|name| json!({ "name": name, "digest": entry.digest, "incarnation": entry.incarnation }))
        .collect();
    let api = env.api::<SpiceSecret>();
    let forged = json!({ "status": { "secrets": entries } });
    let before = env.sandbox.revision().await.unwrap();
    api.patch_status("src", &PatchParams::default(), &Patch::Merge(&forged)).await.unwrap();
    api.delete("src", &DeleteParams::default()).await.unwrap();
    env.gone::<SpiceSecret>("src").await;
    assert_eq!(remote(&env, id).await, expected(&[]));
    let calls = env.calls(before).await;
    let deletes: Vec<&String> = calls.iter().filter(|call| call.starts_with("DELETE")).collect();
    assert_eq!(deletes, ["DELETE /v1/apps/{appId}/secrets/{secretName}"]);
}
