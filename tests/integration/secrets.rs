//! SpiceSecret: writes to the API, drift, missing sources, and the digest key.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, api::DeleteParams};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization, SpiceSecret};

use crate::support::{
    canary::hex,
    control_plane::{OPERATOR_NAMESPACE, User},
    eventually::{DEADLINE, eventually},
    operator::Operator,
    proxy::{FaultPoints, Proxy},
    test_env::{Kind, TestEnv, id_of},
};

/// Creates a `TestEnv` with a Ready app `my-app`. Returns the ID of the app.
pub async fn env_with_app(name: &str, sandbox_args: &[&str], operator_args: &[&str]) -> (TestEnv, Operator, u64) {
    let env = TestEnv::with_sandbox(name, sandbox_args).await;
    let operator = env.start_operator_with(operator_args).await;
    let id = id_of(&env.apply_app_and_wait("my-app", json!({})).await);
    (env, operator, id)
}

fn digest(value: &str) -> String {
    hex(&Sha256::digest(value))
}

/// Returns the secrets of an app in the API: digests of the values by name.
pub async fn remote_secrets(env: &TestEnv, app: u64) -> BTreeMap<String, String> {
    let apps = env.remote_apps().await;
    let app = apps.iter().find(|candidate| candidate["id"] == app).unwrap();
    let secrets = app["secrets"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    secrets.iter().map(|secret| (text(&secret["name"]), text(&secret["value_sha256"]))).collect()
}

/// Returns the expected result of [`remote_secrets`] for these names and values.
pub fn expected_secrets(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| ((*name).to_owned(), digest(value))).collect()
}

/// Returns the spec of a SpiceSecret that sets one secret from a key of a Kubernetes Secret.
pub fn one_key_spec(secret: &str, key: &str, name: &str) -> Value {
    json!({ "secretRef": { "name": secret, "items": [{ "key": key, "name": name }] } })
}

/// Sets a secret in the portal.
pub async fn set_in_portal(env: &TestEnv, app: u64, name: &str, value: &str) {
    let body = json!({ "name": name, "value": value });
    env.sandbox.portal().unwrap().call(Method::POST, &format!("/apps/{app}/secrets"), Some(&body)).await.unwrap();
}

/// Waits for the next second of the clock. Timestamps with a resolution of 1 s differ only across seconds.
pub async fn wait_for_next_second() {
    let now = Timestamp::now().as_second();
    eventually("another second", DEADLINE, async || {
        if Timestamp::now().as_second() > now { Ok(()) } else { Err("still the same second".to_owned()) }
    })
    .await;
}

/// Deletes a secret in the portal.
pub async fn delete_in_portal(env: &TestEnv, app: u64, name: &str) {
    let path = format!("/apps/{app}/secrets/{name}");
    env.sandbox.portal().unwrap().call(Method::DELETE, &path, None).await.unwrap();
}

/// Returns the writes of secrets after a journal revision.
pub async fn secret_writes(env: &TestEnv, after: u64) -> Vec<String> {
    let mut writes = env.writes_since(after).await;
    writes.retain(|call| call.contains("/secrets"));
    writes
}

pub const POST: &str = "POST /v1/apps/{appId}/secrets";
pub const DELETE: &str = "DELETE /v1/apps/{appId}/secrets/{secretName}";

#[tokio::test]
async fn secret_is_set_rotated_and_deleted_with_one_call_each() {
    let (env, _operator, id) = env_with_app("secret", &[], &[]).await;
    env.set_values("db", json!({ "url": "fake-value-1" })).await;
    let before = env.sandbox.revision().await.unwrap();
    let secret = env.apply_secret_and_wait("db", one_key_spec("db", "url", "DATABASE_URL")).await;
    assert_eq!(remote_secrets(&env, id).await, expected_secrets(&[("DATABASE_URL", "fake-value-1")]));
    let calls = env.calls_since(before).await;
    assert_eq!(
        calls,
        ["GET /v1/apps/{appId}/secrets", "POST /v1/apps/{appId}/secrets"],
        "the last read of the app is recent enough"
    );
    let status = secret.status.unwrap();
    assert_eq!(status.app_id, i64::try_from(id).ok());
    let entry = &status.secrets[0];
    assert_eq!(entry.name, "DATABASE_URL");
    assert!(entry.digest.as_ref().unwrap().starts_with("v2:") && entry.digest == entry.content_hash);

    let before = env.sandbox.revision().await.unwrap();
    env.set_values("db", json!({ "url": "fake-value-2" })).await;
    env.wait_for("db", "with a new digest", |secret: &SpiceSecret| {
        secret.status.as_ref().is_some_and(|status| status.secrets[0].digest != entry.digest)
    })
    .await;
    env.wait_for_ready::<SpiceSecret>("db").await;
    assert_eq!(remote_secrets(&env, id).await, expected_secrets(&[("DATABASE_URL", "fake-value-2")]));
    assert_eq!(env.calls_since(before).await, ["POST /v1/apps/{appId}/secrets"]);

    let before = env.sandbox.revision().await.unwrap();
    env.delete_and_wait::<SpiceSecret>("db").await;
    assert_eq!(remote_secrets(&env, id).await, expected_secrets(&[]));
    assert_eq!(env.calls_since(before).await, ["DELETE /v1/apps/{appId}/secrets/{secretName}"]);
}

#[tokio::test]
async fn valid_keys_are_set_and_invalid_keys_are_reported() {
    let (env, _operator, id) = env_with_app("all-keys", &[], &[]).await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "env", "namespace": env.namespace },
        "data": { "BINARY": ByteString(vec![0xff, 0xfe]), "HUGE": ByteString(vec![b'x'; 64 * 1024 + 1]) },
        "stringData": { "TOKEN": "fake-value-token", "EMPTY": "", "bad-name": "fake-value-bad" },
    });
    env.cluster.kubectl_apply_text(&secret.to_string()).await.unwrap();
    env.apply_secret("env", json!({ "secretRef": { "name": "env" } })).await;
    let secret = env.wait_for_reason::<SpiceSecret>("env", "False", "InvalidSpec").await;
    let message = secret.ready_message();
    for problem in [
        "value of key \"BINARY\" is not UTF-8",
        "value of key \"HUGE\" is longer than 64 KiB",
        "key \"bad-name\" is not a valid secret name",
    ] {
        assert!(message.contains(problem), "{problem}: {message}");
    }
    assert_eq!(remote_secrets(&env, id).await, expected_secrets(&[("EMPTY", ""), ("TOKEN", "fake-value-token")]));
    eventually("an event about the empty value", DEADLINE, async || {
        let events = env.kubectl(&["events", "--for", "spicesecret/env"]).await?;
        if events.contains("The value is empty: EMPTY") { Ok(()) } else { Err(events) }
    })
    .await;

    // A corrected Secret without the key EMPTY: the operator deletes the secret of this key.
    let before = env.sandbox.revision().await.unwrap();
    env.set_values("env", json!({ "TOKEN": "fake-value-token", "MORE": "fake-value-more" })).await;
    env.wait_for_ready::<SpiceSecret>("env").await;
    assert_eq!(
        remote_secrets(&env, id).await,
        expected_secrets(&[("MORE", "fake-value-more"), ("TOKEN", "fake-value-token")])
    );
    assert_eq!(secret_writes(&env, before).await, [POST, DELETE]);
}

#[tokio::test]
async fn secret_waits_for_its_app_without_api_calls() {
    let env = TestEnv::new("no-app").await;
    let _operator = env.start_operator().await;
    env.wait_for_ready::<SpiceOrganization>("default").await;
    env.set_values("db", json!({ "url": "fake-value-url" })).await;
    let before = env.sandbox.revision().await.unwrap();
    env.apply_secret("db", one_key_spec("db", "url", "DATABASE_URL")).await;
    env.wait_for_message::<SpiceSecret>("db", "DependencyNotReady", "SpiceApp \"my-app\" not found").await;
    assert_eq!(env.calls_since(before).await, [""; 0]);
    env.apply_app("my-app", json!({ "suspend": true })).await;
    env.wait_for_message::<SpiceSecret>("db", "DependencyNotReady", "SpiceApp \"my-app\" is not ready: Suspended")
        .await;
    assert_eq!(env.calls_since(before).await, [""; 0]);
    env.apply_app("my-app", json!({ "suspend": false })).await;
    env.wait_for_ready::<SpiceSecret>("db").await;
    let id = id_of(&env.wait_for_ready::<SpiceApp>("my-app").await);
    assert_eq!(remote_secrets(&env, id).await.len(), 1);

    // The operator sets the secrets in a recreated app.
    env.delete_and_wait::<SpiceApp>("my-app").await;
    let app = env.apply_app_and_wait("my-app", json!({})).await;
    let incarnation = app.status.as_ref().unwrap().incarnation.clone();
    env.wait_for("db", "applied to the new app", |secret: &SpiceSecret| {
        let entries = secret.status.iter().flat_map(|status| &status.secrets);
        entries.into_iter().any(|entry| entry.incarnation == incarnation && entry.digest.is_some())
    })
    .await;
    assert_eq!(remote_secrets(&env, id_of(&app)).await, expected_secrets(&[("DATABASE_URL", "fake-value-url")]));
}

#[tokio::test]
async fn missing_or_empty_source_is_reported_and_deletes_no_secret() {
    let (env, _operator, id) = env_with_app("no-source", &[], &[]).await;
    env.apply_secret("db", one_key_spec("db", "url", "DATABASE_URL")).await;
    env.apply_secret("all", json!({ "secretRef": { "name": "db" } })).await;
    for name in ["db", "all"] {
        env.wait_for_message::<SpiceSecret>(name, "SourceNotFound", "Secret \"db\" not found").await;
    }
    env.set_values("db", json!({ "other": "fake-value-other" })).await;
    env.wait_for_message::<SpiceSecret>("db", "SourceNotFound", "Secret \"db\" has no key \"url\"").await;
    env.set_values("db", json!({ "other": "fake-value-other", "url": "fake-value-url" })).await;
    env.wait_for_ready::<SpiceSecret>("db").await;
    let has_both_entries = |secret: &SpiceSecret| {
        let entries = secret.status.iter().flat_map(|status| &status.secrets);
        entries.filter(|entry| entry.digest.is_some()).count() == 2
    };
    env.wait_for("all", "with both entries", has_both_entries).await;
    env.wait_for_ready::<SpiceSecret>("all").await;
    let all = expected_secrets(&[
        ("DATABASE_URL", "fake-value-url"),
        ("other", "fake-value-other"),
        ("url", "fake-value-url"),
    ]);
    assert_eq!(remote_secrets(&env, id).await, all);

    let before = env.sandbox.revision().await.unwrap();
    env.set_values("db", json!({})).await;
    env.wait_for_message::<SpiceSecret>("db", "SourceNotFound", "Secret \"db\" has no key \"url\"").await;
    env.wait_for_message::<SpiceSecret>("all", "SourceNotFound", "Secret \"db\" has no data").await;
    env.kubernetes_secrets().delete("db", &DeleteParams::default()).await.unwrap();
    for name in ["db", "all"] {
        env.wait_for_message::<SpiceSecret>(name, "SourceNotFound", "not found").await;
    }
    env.set_values("db", json!({ "other": "fake-value-other", "url": "fake-value-url" })).await;
    for name in ["db", "all"] {
        env.wait_for_ready::<SpiceSecret>(name).await;
    }
    assert_eq!((remote_secrets(&env, id).await, secret_writes(&env, before).await), (all, Vec::new()));
}

#[tokio::test]
async fn drift_is_corrected_with_one_post_each_or_reported() {
    for precision in [&[][..], &["--mixed-timestamp-precision"]] {
        let (env, _operator, id) = env_with_app("drift", precision, &[]).await;
        env.set_values("env", json!({ "A": "fake-value-a", "B": "fake-value-b", "C": "fake-value-c" })).await;
        let spec = |policy: &str| json!({ "secretRef": { "name": "env" }, "driftPolicy": policy });
        env.apply_secret_and_wait("env", spec("Correct")).await;
        let before = env.sandbox.revision().await.unwrap();
        env.reconcile::<SpiceSecret>("env").await;
        assert_eq!(
            env.calls_since(before).await,
            ["GET /v1/apps/{appId}/secrets"],
            "without drift the operator only reads"
        );
        let desired = remote_secrets(&env, id).await;
        wait_for_next_second().await;
        set_in_portal(&env, id, "A", "portal").await;
        delete_in_portal(&env, id, "B").await;
        set_in_portal(&env, id, "D", "portal").await;
        let before = env.sandbox.revision().await.unwrap();
        env.reconcile::<SpiceSecret>("env").await;
        assert_eq!(secret_writes(&env, before).await, [POST, POST]);
        let mut found = remote_secrets(&env, id).await;
        assert_eq!(found.remove("D"), Some(digest("portal")), "not owned by the operator");
        assert_eq!(found, desired);

        env.apply_secret_and_wait("env", spec("Report")).await;
        wait_for_next_second().await;
        set_in_portal(&env, id, "A", "portal").await;
        delete_in_portal(&env, id, "B").await;
        let before = env.sandbox.revision().await.unwrap();
        let secret = env.reconcile::<SpiceSecret>("env").await;
        assert_eq!(secret.status.unwrap().drift, ["A", "B"]);
        assert_eq!(secret_writes(&env, before).await, [""; 0]);
        let is_drifted = |secret: &SpiceSecret| secret.condition("Drifted").is_some();
        env.wait_for("env", "Drifted", is_drifted).await;
        env.apply_secret("env", spec("Correct")).await;
        env.wait_for("env", "without drift", |secret: &SpiceSecret| !is_drifted(secret)).await;
        assert_eq!(secret_writes(&env, before).await, [POST, POST]);
    }
}

#[tokio::test]
async fn digest_key_is_recreated_and_a_new_key_sets_each_secret_once() {
    let env = TestEnv::new("key").await;
    let key = format!("--digest-key-secret={}", env.namespace);
    let flags = [key.as_str(), "--digest-key-check-interval=50ms"];
    let operator = env.start_operator_with(&flags).await;
    env.apply_app_and_wait("my-app", json!({})).await;
    env.set_values("src", json!({ "A": "fake-value-a", "B": "fake-value-b" })).await;
    let entries =
        env.apply_secret_and_wait("src", json!({ "secretRef": { "name": "src" } })).await.status.unwrap().secrets;
    let keys: Api<Secret> = Api::namespaced(env.client.clone(), OPERATOR_NAMESPACE);
    let first = keys.get(&env.namespace).await.unwrap();
    assert_eq!(first.immutable, Some(true));
    keys.delete(&env.namespace, &DeleteParams::default()).await.unwrap();
    let recreated = eventually("the digest key is recreated", DEADLINE, async || {
        keys.get_opt(&env.namespace).await.map_err(|error| error.to_string())?.ok_or_else(|| "no Secret yet".to_owned())
    })
    .await;
    assert_eq!(recreated.data, first.data);

    // The same key requires no write. A new key requires one write for each entry.
    operator.terminate().await.unwrap();
    for (is_key_lost, posts) in [(false, 0), (true, 2)] {
        if is_key_lost {
            keys.delete(&env.namespace, &DeleteParams::default()).await.unwrap();
        }
        let before = env.sandbox.revision().await.unwrap();
        let operator = env.start_operator_with(&flags).await;
        operator.wait_for_reconciles("SpiceSecret", 1).await.unwrap();
        let now = env
            .wait_for("src", "with digests of the current key", |secret: &SpiceSecret| {
                let status = secret.status.as_ref().unwrap();
                !is_key_lost || status.secrets.iter().zip(&entries).all(|(now, then)| now.digest != then.digest)
            })
            .await;
        assert_eq!(secret_writes(&env, before).await.len(), posts, "is_key_lost: {is_key_lost}");
        let hashes = now.status.unwrap().secrets.into_iter().map(|entry| entry.content_hash);
        assert!(hashes.eq(entries.iter().map(|entry| entry.content_hash.clone())), "the same content");
        operator.terminate().await.unwrap();
    }
    keys.delete(&env.namespace, &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn drift_check_of_250_secrets_reads_three_pages_and_writes_nothing() {
    let (env, operator, id) = env_with_app("many", &["--user-rate=1000000", "--organization-rate=1000000"], &[]).await;
    let budget = json!({ "spec": { "requestBudget": { "requestsPerMinute": 1_000_000 } } });
    env.patch::<SpiceOrganization>("default", budget).await;
    for part in 0..5 {
        let values = (0..50).map(|number| (format!("N{part}_{number:02}"), json!("fake-value-shared")));
        env.set_values(&format!("part-{part}"), Value::Object(values.collect())).await;
        env.apply_secret(&format!("part-{part}"), json!({ "secretRef": { "name": format!("part-{part}") } })).await;
    }
    for part in 0..5 {
        env.wait_for_ready::<SpiceSecret>(&format!("part-{part}")).await;
    }
    assert_eq!(remote_secrets(&env, id).await.len(), 250);
    // 100 resyncs, in which all objects of the app share one list of secrets.
    operator.terminate().await.unwrap();
    for part in 0..5 {
        let spec = json!({ "secretRef": { "name": format!("part-{part}") }, "appRef": { "name": "my-app" } });
        env.apply::<SpiceSecret>(&format!("part-{part}"), spec).await;
    }
    env.apply::<SpiceApp>("my-app", json!({})).await;
    let before = env.sandbox.revision().await.unwrap();
    let _operator = env.start_operator_with(&["--min-interval=50ms", "--default-interval=100ms"]).await;
    let pages = eventually("100 resyncs", DEADLINE, async || {
        let mut calls = env.sandbox.calls_by("operator", before).await?;
        calls.retain(|call| call.route.as_deref() == Some("/v1/apps/{appId}/secrets"));
        if calls.len() >= 3 * 100 { Ok(calls) } else { Err(format!("{} pages so far", calls.len())) }
    })
    .await;
    let at = |page: usize| pages[page].at.as_str().unwrap().parse::<Timestamp>().unwrap().as_millisecond();
    let resyncs = usize::try_from((at(pages.len() - 1) - at(0)) / 100).unwrap() + 2;
    println!("{} pages of secrets in {resyncs} resyncs", pages.len());
    assert!(pages.len() <= 3 * resyncs, "{} pages in {resyncs} resyncs", pages.len());
    assert_eq!(secret_writes(&env, before).await, [""; 0]);
}

#[tokio::test]
async fn restart_reads_neither_the_api_nor_a_source() {
    let (faults, env) = (FaultPoints::new("src"), TestEnv::new("secret-restart").await);
    let client = env.cluster.client(User::Operator).await.unwrap();
    let kubernetes = Proxy::for_kubernetes_api(&faults, client).await.unwrap();
    let kubeconfig = kubernetes.write_kubeconfig(&env.run).unwrap();
    let reads =
        |source: &str| faults.reads().iter().filter(|path| path.ends_with(&format!("/secrets/{source}"))).count();
    let operator = env.start_operator_as(&kubeconfig, &[]).await;
    env.apply_app("my-app", json!({})).await;
    env.set_values("src", json!({ "TOKEN": "fake-value-ours" })).await;
    env.apply_secret_and_wait("src", json!({ "secretRef": { "name": "src" } })).await;
    assert_eq!(reads("src"), 1);
    operator.terminate().await.unwrap();
    let before = env.sandbox.revision().await.unwrap();
    let operator = env.start_operator_as(&kubeconfig, &[]).await;
    operator.wait_for_reconciles("SpiceSecret", 1).await.unwrap();
    assert_eq!((env.calls_since(before).await, reads("src")), (Vec::new(), 1));
}

#[tokio::test]
async fn rename_and_deletion_leave_no_remote_secret() {
    let (env, _operator, id) = env_with_app("rename", &[], &[]).await;
    env.set_values("src", json!({ "key": "fake-value-key" })).await;
    env.apply_secret_and_wait("src", one_key_spec("src", "key", "OLD")).await;
    let before = env.sandbox.revision().await.unwrap();
    env.apply_secret_and_wait("src", one_key_spec("src", "key", "NEW")).await;
    assert_eq!(remote_secrets(&env, id).await, expected_secrets(&[("NEW", "fake-value-key")]));
    assert_eq!(secret_writes(&env, before).await, [POST, DELETE]);
    // The deletion of the app waits for the deletion of its secrets.
    let policy = json!({ "deletionPolicy": "Retain" });
    env.apply_app_and_wait("my-app", policy).await;
    env.delete::<SpiceSecret>("src").await;
    env.delete_and_wait::<SpiceApp>("my-app").await;
    env.wait_for_deletion::<SpiceSecret>("src").await;
    assert_eq!(
        remote_secrets(&env, id).await,
        expected_secrets(&[]),
        "the operator retains the app and deletes its secret"
    );
}
