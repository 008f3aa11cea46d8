//! Credentials of a SpiceOrganization: missing, rejected and changed credentials, scopes, and secrecy of tokens.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization, SpiceSecret};

use crate::secrets::{one_key_spec, set_in_portal};
use crate::support::{
    control_plane::use_existing_cluster,
    eventually::{DEADLINE, eventually},
    operator::Operator,
    sandbox::{Action, Fault, When},
    test_env::{CREDENTIAL, Kind, TestEnv, id_of},
};

/// Applies a Kubernetes Secret with this data.
async fn apply_secret(env: &TestEnv, name: &str, data: Value) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": env.namespace }, "stringData": data,
    });
    let api = env.kubernetes_secrets();
    api.patch(name, &PatchParams::apply("test"), &Patch::Apply(&secret)).await.unwrap();
}

/// Checks that the log, the objects and the events contain no token.
async fn check_not_exposed(env: &TestEnv, operator: &Operator, tokens: &[&str]) {
    let objects = env.kubectl(&["get", "sorg,sapp,events", "-o", "yaml"]).await.unwrap();
    for text in [operator.log(), objects] {
        assert!(!tokens.iter().any(|token| text.contains(token)), "{text}");
    }
}

#[tokio::test]
async fn missing_credential_is_reported_and_used_after_its_creation() {
    let env = TestEnv::without_credential("credential").await;
    let _operator = env.start_operator().await;
    env.apply_app("my-app", json!({})).await;
    let organization = env.wait_for_reason::<SpiceOrganization>("default", "False", "CredentialsMissing").await;
    assert!(organization.ready_message().contains(CREDENTIAL.0));
    env.wait_for_message::<SpiceApp>("my-app", "DependencyNotReady", "CredentialsMissing").await;
    assert_eq!(env.calls_since(0).await, [""; 0]);

    env.set_credential("  \n").await;
    let key = format!("key \"{}\"", CREDENTIAL.1);
    env.wait_for("default", "an error about the key", |organization: &SpiceOrganization| {
        organization.conditions().iter().any(|condition| condition.message.contains(&key))
    })
    .await;
    assert_eq!(env.calls_since(0).await, [""; 0]);

    // `kubectl create secret --from-file` can leave white space around a token.
    env.set_credential("sandbox-fake-token-operator\n").await;
    env.wait_for_ready::<SpiceOrganization>("default").await;
    env.wait_for_ready::<SpiceApp>("my-app").await;
}

#[tokio::test]
async fn rejected_credential_is_reported_and_blocks_the_apps() {
    let env = TestEnv::new("refused").await;
    let _operator = env.start_operator().await;
    env.apply_app_and_wait("my-app", json!({})).await;
    env.set_credential("sandbox-fake-token-nobody").await;
    env.wait_for_reason::<SpiceOrganization>("default", "False", "Unauthorized").await;
    env.apply_app("my-app", json!({ "description": "new" })).await;
    env.wait_for_reason::<SpiceApp>("my-app", "False", "DependencyNotReady").await;
    env.set_credential("sandbox-fake-token-operator").await;
    env.wait_for_ready::<SpiceApp>("my-app").await;
    assert_eq!(env.remote_apps().await[0]["description"], "new");
}

#[tokio::test]
async fn credential_change_during_deletion_does_not_block_the_deletion() {
    let env = TestEnv::new("rotated").await;
    let _operator = env.start_operator().await;
    env.apply_app_and_wait("my-app", json!({})).await;
    env.sandbox.add_fault(Fault::new(When::Before, Action::Status(503)).method("DELETE")).await.unwrap();
    env.delete::<SpiceApp>("my-app").await;
    env.delete::<SpiceOrganization>("default").await;
    env.wait_for("default", "in use", |organization: &SpiceOrganization| {
        organization.conditions().iter().any(|condition| condition.message.contains("In use by"))
    })
    .await;
    env.touch_credential().await;
    env.sandbox.remove_faults().await.unwrap();
    env.wait_for_deletion::<SpiceApp>("my-app").await;
    env.wait_for_deletion::<SpiceOrganization>("default").await;
    assert_eq!(env.remote_apps().await, [json!(null); 0]);
}

#[tokio::test]
async fn edit_during_a_credential_change_is_applied() {
    let env = TestEnv::new("together").await;
    let _operator = env.start_operator().await;
    env.apply_app_and_wait("my-app", json!({})).await;
    for description in ["first", "second", "third"] {
        env.touch_credential().await;
        env.apply_app_and_wait("my-app", json!({ "description": description })).await;
        assert_eq!(env.remote_apps().await[0]["description"], description);
    }
}

#[tokio::test]
async fn oauth_client_gets_tokens_and_its_secret_is_not_logged() {
    let env = TestEnv::new("oauth").await;
    let operator = env.start_operator_with(&["--log-filter=trace"]).await;
    let secret = "sandbox-fake-client-secret-oauth";
    apply_secret(&env, "client", json!({ "id": "sandbox-fake-client-oauth", "client-secret": secret })).await;
    let client = json!({ "secretRef": { "name": "client", "clientIdKey": "id" } });
    env.patch::<SpiceOrganization>(
        "default",
        json!({ "spec": { "credentials": { "personalAccessToken": null, "oauthClient": client } } }),
    )
    .await;
    env.apply_app_and_wait("my-app", json!({})).await;
    let entries = env.sandbox.journal(0, std::time::Duration::ZERO).await.unwrap().entries;
    let tokens = entries.iter().filter(|entry| entry.path == "/api/oauth/token").count();
    assert_eq!(tokens, 1);
    apply_secret(&env, "client", json!({ "id": "sandbox-fake-client-oauth", "client-secret": "sandbox-fake-wrong" }))
        .await;
    let organization = env.wait_for_reason::<SpiceOrganization>("default", "False", "Unauthorized").await;
    let message = organization.ready_message();
    assert!(message.contains("the token endpoint returned no access token"), "{message}");
    check_not_exposed(&env, &operator, &[secret, "sandbox-fake-wrong"]).await;
}

#[tokio::test]
async fn pause_that_the_token_endpoint_requests_is_observed() {
    let env = TestEnv::new("token-pause").await;
    let (status, headers) = (429, json!({ "retry-after": "60" }));
    let action = Action::Response { status, headers, body: json!({ "error": "slow down" }) };
    env.sandbox.add_fault(Fault::new(When::Before, action).route("/api/oauth/token")).await.unwrap();
    let client = json!({ "id": "sandbox-fake-client-oauth", "client-secret": "sandbox-fake-client-secret-oauth" });
    apply_secret(&env, "client", client).await;
    let client = json!({ "secretRef": { "name": "client", "clientIdKey": "id" } });
    let credentials = json!({ "personalAccessToken": null, "oauthClient": client });
    env.patch::<SpiceOrganization>("default", json!({ "spec": { "credentials": credentials } })).await;
    let _operator = env.start_operator_with(&["--max-rate-limit-pause=10m"]).await;
    let limited = env.wait_for_reason::<SpiceOrganization>("default", "False", "RateLimited").await;
    let message = limited.ready_message();
    assert!(message.contains(&format!("POST {}/api/oauth/token: ", env.sandbox.url())), "{message}");
    for interval in ["23h", "22h", "21h"] {
        env.patch::<SpiceOrganization>("default", json!({ "spec": { "interval": interval } })).await;
        let again = env.wait_for_reason::<SpiceOrganization>("default", "False", "RateLimited").await;
        assert_eq!(again.ready_message(), message);
    }
    let entries = env.sandbox.journal(0, std::time::Duration::ZERO).await.unwrap().entries;
    assert_eq!(entries.iter().filter(|entry| entry.path == "/api/oauth/token").count(), 1);
}

#[tokio::test]
async fn session_token_is_a_valid_credential() {
    let env = TestEnv::new("session").await;
    let _operator = env.start_operator().await;
    apply_secret(&env, "session", json!({ "token": "sandbox-fake-session-token" })).await;
    let token = json!({ "secretRef": { "name": "session" } });
    env.patch::<SpiceOrganization>(
        "default",
        json!({ "spec": { "credentials": { "personalAccessToken": null, "sessionToken": token } } }),
    )
    .await;
    env.apply_app_and_wait("my-app", json!({})).await;
}

/// Notes of the events about an object.
async fn event_notes(env: &TestEnv, reason: &str, kind: &str) -> Vec<String> {
    let selector = format!("reason={reason},involvedObject.kind={kind}");
    let events = env.kubectl(&["get", "events", "--field-selector", &selector, "-o", "json"]).await.unwrap();
    let events: Value = serde_json::from_str(&events).unwrap();
    events["items"].as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn deleted_credential_secret_is_reported_at_once_while_the_operator_keeps_it() {
    if use_existing_cluster() {
        // This operator watches every namespace, including the namespaces of other tests.
        return;
    }
    let env = TestEnv::cluster_wide("kept").await;
    let operator = env.start_operator_with(&["--credential-release-delay=1h"]).await;
    env.apply_app_and_wait("my-app", json!({})).await;
    eventually("the credential Secret has the finalizer", DEADLINE, async || {
        let secret = env.kubernetes_secrets().get(CREDENTIAL.0).await.map_err(|error| error.to_string())?;
        if secret.metadata.finalizers.is_some() { Ok(()) } else { Err("no finalizer".to_owned()) }
    })
    .await;
    env.kubernetes_secrets().delete(CREDENTIAL.0, &DeleteParams::default()).await.unwrap();
    let lost = "changes to the Secret will be lost";
    let organization = env.wait_for_message::<SpiceOrganization>("default", "Succeeded", lost).await;
    assert!(organization.has_ready("True", "Succeeded"), "{organization:?}");
    // As `kubectl apply` of a new credential, which succeeds.
    env.set_credential("sandbox-fake-token-nobody").await;
    let organization = env.wait_for_reason::<SpiceOrganization>("default", "False", "Unauthorized").await;
    let message = organization.ready_message().to_owned();
    assert!(message.contains(lost), "{message}");
    for kind in ["SpiceOrganization", "Secret"] {
        eventually("the event is published", DEADLINE, async || {
            match event_notes(&env, "SecretTerminating", kind).await {
                notes if notes == [message.clone()] => Ok(()),
                notes => Err(format!("{kind}: {notes:?}")),
            }
        })
        .await;
    }

    // After the release, a new Secret of the name is used at once.
    operator.kill().unwrap();
    let _operator = env.start_operator_with(&["--credential-release-delay=0s"]).await;
    env.wait_for_reason::<SpiceOrganization>("default", "False", "CredentialsMissing").await;
    env.set_credential("sandbox-fake-token-operator").await;
    let organization = env.wait_for_ready::<SpiceOrganization>("default").await;
    assert!(!organization.ready_message().contains(lost), "{organization:?}");
}

/// Annotates an object as a foreign controller does, and returns the new resourceVersion.
async fn annotate(env: &TestEnv, kind: &str, name: &str) -> String {
    let stamp = format!("example.com/other={:?}", std::time::SystemTime::now());
    let args = ["annotate", "--overwrite", kind, name, &stamp, "-o", "jsonpath={.metadata.resourceVersion}"];
    env.kubectl(&args).await.unwrap()
}

/// Waits until the status of an object records this version of its source.
async fn wait_for_source<K: Kind>(env: &TestEnv, name: &str, version: &str) {
    env.wait_for(name, "the version of the source is observed", |object: &K| {
        let sources = object.core().map_or(&[][..], |core| &core.observed_sources);
        sources.iter().any(|source| source.resource_version == version)
    })
    .await;
}

#[tokio::test]
async fn metadata_changes_cause_no_api_call() {
    let env = TestEnv::new("metadata").await;
    let _operator = env.start_operator().await;
    env.kubectl(&["create", "configmap", "pods", "--from-literal=spicepod.yaml=name: pod"]).await.unwrap();
    env.apply_app_and_wait("my-app", json!({ "spicepodFrom": { "configMapKeyRef": { "name": "pods" } } })).await;
    env.set_values("values", json!({ "TOKEN": "fake-value-of-a-secret" })).await;
    env.apply_secret_and_wait("my-secret", json!({ "secretRef": { "name": "values" } })).await;
    let before = env.sandbox.revision().await.unwrap();
    for _ in 0..3 {
        let version = annotate(&env, "secret", CREDENTIAL.0).await;
        wait_for_source::<SpiceOrganization>(&env, "default", &version).await;
        let version = annotate(&env, "configmap", "pods").await;
        wait_for_source::<SpiceApp>(&env, "my-app", &version).await;
        let version = annotate(&env, "secret", "values").await;
        wait_for_source::<SpiceSecret>(&env, "my-secret", &version).await;
        for (kind, name) in [("sorg", "default"), ("sapp", "my-app"), ("ssec", "my-secret")] {
            annotate(&env, kind, name).await;
        }
    }
    assert_eq!(env.calls_since(before).await, [""; 0]);
    // An edit is applied with its own calls only, without a check of the credential.
    annotate(&env, "secret", CREDENTIAL.0).await;
    env.apply_app_and_wait(
        "my-app",
        json!({ "description": "new", "spicepodFrom": { "configMapKeyRef": { "name": "pods" } } }),
    )
    .await;
    let calls = env.calls_since(before).await;
    assert!(calls.iter().all(|call| call.contains("/apps/")), "{calls:?}");
    // Another content leads to calls.
    env.set_credential("sandbox-fake-token-nobody").await;
    env.wait_for_reason::<SpiceOrganization>("default", "False", "Unauthorized").await;
}

#[tokio::test]
async fn metadata_changes_start_no_attempt_of_an_object_that_failed() {
    let env = TestEnv::new("metadata-failed").await;
    let flags = ["--rejected-write-retry-interval=1h"];
    let operator = env.start_operator_with(&flags).await;
    env.kubectl(&["create", "configmap", "pods", "--from-literal=spicepod.yaml=name: pod"]).await.unwrap();
    env.set_values("values", json!({ "TOKEN": "fake-value-of-a-secret" })).await;
    let source = json!({ "spicepodFrom": { "configMapKeyRef": { "name": "pods" } } });
    // Stalled.
    let id = id_of(&env.apply_app_and_wait("my-app", json!({})).await);
    let portal = env.sandbox.portal().unwrap();
    portal.create_app(&json!({ "name": "taken-app", "region": "us-west-2" })).await.unwrap();
    set_in_portal(&env, id, "TOKEN", "foreign-value").await;
    env.apply_app("taken-app", source.clone()).await;
    env.apply_secret("my-secret", one_key_spec("values", "TOKEN", "TOKEN")).await;
    env.wait_for_reason::<SpiceApp>("taken-app", "False", "NameTaken").await;
    env.wait_for_reason::<SpiceSecret>("my-secret", "False", "NameTaken").await;
    // Held.
    let rejection = Action::Response { status: 400, headers: json!({}), body: json!({ "error": "no" }) };
    env.sandbox.add_fault(Fault::new(When::Before, rejection).method("POST")).await.unwrap();
    env.apply_app("held-app", source).await;
    env.wait_for_reason::<SpiceApp>("held-app", "False", "InvalidSpec").await;
    env.sandbox.remove_faults().await.unwrap();

    let before = env.sandbox.revision().await.unwrap();
    let reconciles = operator.reconciles("SpiceApp").await.unwrap();
    let version = annotate(&env, "configmap", "pods").await;
    wait_for_source::<SpiceApp>(&env, "taken-app", &version).await;
    operator.wait_for_reconciles("SpiceApp", reconciles + 2).await.unwrap();
    let version = annotate(&env, "secret", "values").await;
    wait_for_source::<SpiceSecret>(&env, "my-secret", &version).await;
    for (kind, name) in [("sapp", "taken-app"), ("sapp", "held-app"), ("ssec", "my-secret")] {
        annotate(&env, kind, name).await;
    }
    assert_eq!(env.calls_since(before).await, [""; 0]);

    // The status shows the content after a restart. A held write is retried after a restart.
    env.delete_and_wait::<SpiceApp>("held-app").await;
    operator.kill().unwrap();
    let before = env.sandbox.revision().await.unwrap();
    let version = annotate(&env, "configmap", "pods").await;
    env.set_values("values", json!({ "TOKEN": "fake-value-of-a-secret", "OTHER": "fake-value-not-selected" })).await;
    let values = env.kubernetes_secrets().get("values").await.unwrap().metadata.resource_version.unwrap();
    let _operator = env.start_operator_with(&flags).await;
    wait_for_source::<SpiceApp>(&env, "taken-app", &version).await;
    wait_for_source::<SpiceSecret>(&env, "my-secret", &values).await;
    assert_eq!(env.calls_since(before).await, [""; 0]);

    // Another content starts an attempt at once.
    let patch = json!({ "data": { "spicepod.yaml": "name: other" } }).to_string();
    let output = "jsonpath={.metadata.resourceVersion}";
    let args = ["patch", "configmap", "pods", "--type=merge", "--patch", &patch, "-o", output];
    let version = env.kubectl(&args).await.unwrap();
    env.sandbox.wait_for_call("the app list", before, |call| call.path == "/v1/apps").await.unwrap();
    wait_for_source::<SpiceApp>(&env, "taken-app", &version).await;
    env.set_values("values", json!({ "TOKEN": "fake-value-of-a-rotation" })).await;
    let values = env.kubernetes_secrets().get("values").await.unwrap().metadata.resource_version.unwrap();
    env.sandbox.wait_for_call("the secrets", before, |call| call.path.ends_with("/secrets")).await.unwrap();
    wait_for_source::<SpiceSecret>(&env, "my-secret", &values).await;
}

#[tokio::test]
async fn metadata_changes_start_no_check_of_an_organization_that_failed() {
    let env = TestEnv::new("metadata-check").await;
    let operator = env.start_operator_with(&["--rejected-write-retry-interval=1h"]).await;
    env.wait_for_ready::<SpiceOrganization>("default").await;
    let forbidden = Action::Response { status: 403, headers: json!({}), body: json!({ "error": "no" }) };
    env.sandbox.add_fault(Fault::new(When::Before, forbidden).route("/v1/orgs")).await.unwrap();
    env.request_reconcile::<SpiceOrganization>("default").await;
    env.wait_for_reason::<SpiceOrganization>("default", "False", "Forbidden").await;
    let before = env.sandbox.revision().await.unwrap();
    let reconciles = operator.reconciles("SpiceOrganization").await.unwrap();
    annotate(&env, "secret", CREDENTIAL.0).await;
    operator.wait_for_reconciles("SpiceOrganization", reconciles + 1).await.unwrap();
    assert_eq!(env.calls_since(before).await, [""; 0]);
    env.sandbox.remove_faults().await.unwrap();
    env.set_credential("sandbox-fake-token-nobody").await;
    env.wait_for_reason::<SpiceOrganization>("default", "False", "Unauthorized").await;
}
