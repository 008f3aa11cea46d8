//! Invariant 7: no secret value in logs, events, metrics or stored objects other than Secrets, in any encoding.

use k8s_openapi::ByteString;
use serde_json::json;
use sha2::{Digest, Sha256};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization, SpiceSecret};

use crate::{
    secrets::{expected_secrets, remote_secrets},
    support::{
        canary::{base64, hex, leaked_forms},
        proxy::{FaultPoints, Proxy},
        sandbox::{Action, Fault, When},
        test_env::{TestEnv, id_of},
    },
};

/// Common prefix of all tokens.
const PREFIX: &str = "sandbox-fake-token-";

/// Creates a random token with characters that a URL encodes.
fn random_token() -> String {
    let random = || uuid::Uuid::new_v4().simple().to_string();
    format!("{PREFIX}{}+/{}", random(), random())
}

#[test]
fn tokens_are_detected_in_every_encoding() {
    let token = random_token();
    let percent: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
    for (text, expected) in [
        (format!("Bearer {token}"), "plain"),
        (format!("{}...", &token[..PREFIX.len() + 8]), "first characters"),
        (format!("...{}", &token[token.len() - 8..]), "last characters"),
        (hex(token.as_bytes()).to_uppercase(), "hex"),
        (format!("?token={percent}"), "percent-encoded"),
        (hex(&Sha256::digest(&token)), "SHA-256"),
        (base64(token.as_bytes()), "base64 after 0 bytes"),
        (base64(format!("{{\"token\": \"{token}\"}}").as_bytes()), "base64 after 2 bytes"),
        (base64(format!("{token}{token}").as_bytes()).replace('+', "-").replace('/', "_"), "base64url after 0 bytes"),
    ] {
        assert!(
            leaked_forms(&token, PREFIX, text.as_bytes()).iter().any(|form| form == expected),
            "{expected}: {text}"
        );
    }
    assert_eq!(leaked_forms(&token, PREFIX, format!("{PREFIX}{}", random_token()).as_bytes()), [""; 0]);
}

#[tokio::test]
async fn invariant_7_secret_values_are_not_exposed_in_any_encoding() {
    let (faults, env) = (FaultPoints::new("my-app"), TestEnv::without_credential("canary").await);
    let proxy = Proxy::for_management_api(&faults, env.sandbox.url()).await.unwrap();
    env.apply_organization(&proxy.url()).await;
    let [first, rotated, refused] = [random_token(), random_token(), random_token()];
    let valid = env.sandbox.credential("operator").unwrap().token.clone().unwrap();
    for token in [&first, &rotated] {
        faults.add_token(token, &valid);
    }

    let operator = env.start_operator_with(&["--log-filter=trace"]).await;
    let lines = [random_token(), random_token()];
    let values = [random_token(), random_token(), lines.join("\n"), random_token()];
    use_tokens(&env, proxy, [&first, &rotated, &refused], &values).await;
    let requests = faults.answers().requests();
    for value in &values[..3] {
        let sent = serde_json::to_string(value).unwrap();
        let is_sent = requests.iter().any(|request| String::from_utf8_lossy(&request.body).contains(&sent));
        assert!(is_sent, "a value did not reach the API");
    }

    let stored = stored_objects(&env).await;
    // Tokens of other environments in the same etcd.
    for secret in env.sandbox.secrets() {
        assert_eq!(leaked_forms(&secret, &secret, &stored), [""; 0], "etcd");
    }
    for token in [&first, &rotated, &refused] {
        assert!(faults.seen_tokens().contains(token), "the token was not used");
    }
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let metrics = http.get(format!("{}/metrics", operator.admin())).send().await.unwrap().text().await.unwrap();
    let objects = env.kubectl(&["get", "sorg,sapp,ssec,events,configmaps", "-o", "yaml"]).await.unwrap();
    for token in values.iter().chain(&lines).chain([&first, &rotated, &refused]) {
        for (source, text) in [
            ("log", operator.log().as_bytes()),
            ("output", operator.process().output().as_bytes()),
            ("metrics", metrics.as_bytes()),
            ("objects and events", objects.as_bytes()),
            ("etcd", &stored),
        ] {
            assert_eq!(leaked_forms(token, PREFIX, text), [""; 0], "{source}");
        }
    }
}

/// Uses all tokens and values: create, drift, rejected credential, rotation, deletion, unreachable API.
async fn use_tokens(env: &TestEnv, proxy: Proxy, [first, rotated, refused]: [&String; 3], values: &[String; 4]) {
    env.set_credential(&format!(" {first}\n")).await;
    env.apply_app("my-app", json!({ "description": "first", "runtime": { "replicas": 2 } })).await;
    env.apply_app("to-delete", json!({})).await;
    env.wait_for_ready::<SpiceApp>("my-app").await;
    env.wait_for_ready::<SpiceApp>("to-delete").await;
    use_values(env, values).await;
    env.set_credential(refused).await;
    env.wait_for_reason::<SpiceOrganization>("default", "False", "Unauthorized").await;
    env.apply_app("my-app", json!({ "description": "second", "runtime": { "replicas": 2 } })).await;
    env.set_credential(rotated).await;
    env.wait_for_ready::<SpiceApp>("my-app").await;
    env.delete_and_wait::<SpiceApp>("to-delete").await;
    drop(proxy);
    env.apply_app("my-app", json!({ "description": "third", "runtime": { "replicas": 2 } })).await;
    env.wait_for_reason::<SpiceApp>("my-app", "False", "RemoteUnavailable").await;
}

/// Returns the content of etcd without Secrets. Empty for an existing cluster, whose etcd is not accessible.
async fn stored_objects(env: &TestEnv) -> Vec<u8> {
    let Some(parts) = env.cluster.dump_etcd().await.unwrap() else { return Vec::new() };
    let stored = parts.join(&b'\n');
    let text = String::from_utf8_lossy(&stored);
    assert!(text.contains(&format!("/spiceapps/{}/my-app", env.namespace)), "the dump lacks the test's objects");
    assert!(!text.contains("/registry/secrets/"), "the dump contains Secrets");
    stored
}

/// Sets and rotates values, and uses values that the API or the operator rejects.
async fn use_values(env: &TestEnv, values: &[String; 4]) {
    let [first, rotated, refused, binary] = values;
    env.set_values("src", json!({ "TOKEN": first })).await;
    env.apply_secret_and_wait("src", json!({ "secretRef": { "name": "src" }, "driftPolicy": "Report" })).await;
    let app = id_of(&env.wait_for_ready::<SpiceApp>("my-app").await);
    env.set_values("src", json!({ "TOKEN": rotated, "bad-name": refused })).await;
    env.wait_for_message::<SpiceSecret>("src", "InvalidSpec", "bad-name").await;
    assert_eq!(remote_secrets(env, app).await, expected_secrets(&[("TOKEN", rotated)]));
    let source = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "binary", "namespace": env.namespace },
        "data": { "BINARY": ByteString([binary.as_bytes(), &[0xff]].concat()) },
    });
    env.cluster.kubectl_apply_text(&source.to_string()).await.unwrap();
    env.apply_secret("binary", json!({ "secretRef": { "name": "binary" } })).await;
    env.wait_for_message::<SpiceSecret>("binary", "InvalidSpec", "not UTF-8").await;
    // The API rejects a value, and its error message contains parts of the value: a line, and the end of the line.
    let line = refused.lines().last().unwrap();
    let body = json!({ "error": format!("{line} is not allowed because of {}", &line[line.len() - 12..]) });
    let rejection = Action::Response { status: 400, headers: json!({}), body };
    let fault = Fault::new(When::Before, rejection).method("POST").route("/v1/apps/{appId}/secrets").times(1);
    env.sandbox.add_fault(fault).await.unwrap();
    env.set_values("src", json!({ "TOKEN": refused })).await;
    env.wait_for_message::<SpiceSecret>("src", "InvalidSpec", "The response text is hidden").await;
    env.set_values("src", json!({ "TOKEN": rotated })).await;
    env.wait_for_ready::<SpiceSecret>("src").await;
}
