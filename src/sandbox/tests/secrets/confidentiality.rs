//! Values never appear in responses, journal or files.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};

use super::{CANARY, digest, digests, names, set, start_with_app};
use crate::sandbox::SandboxConfig;
use crate::sandbox::tests::{
    OPERATOR, READER, TestSandbox, UNKNOWN, assert_has, config_from_seed, config_with_state_file, path, reply,
    start_error,
};

/// Returns a configuration with an app that has these seed secrets.
fn config_with_secrets(secrets: &str) -> Result<SandboxConfig, String> {
    let app = format!("{{ organization: sandbox, body: {{ name: app-one }}, secrets: {secrets} }}");
    config_from_seed(&format!("apps: [{app}]"))
}

#[tokio::test]
async fn a_value_is_stored_only_as_a_digest() {
    // Test vectors of the SHA-256 standard.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let (sandbox, secrets) = start_with_app(SandboxConfig::default()).await;
    for (name, value) in [("ABC", "abc"), ("EMPTY", ""), ("CANARY", CANARY)] {
        set(&sandbox, &secrets, name, value).await;
    }
    let expected = [("ABC", abc.into()), ("EMPTY", empty.into()), ("CANARY", digest(CANARY))];
    assert_eq!(digests(&sandbox).await, expected.map(|(name, digest)| (name.to_owned(), digest)));
}

#[tokio::test]
async fn a_value_never_leaks() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let (sandbox, secrets) = start_with_app(config_with_state_file(&file)).await;
    let mut responses = vec![set(&sandbox, &secrets, "CANARY", CANARY).await];
    // No part of a body leaks, for any invalid body and any invalid path.
    let (app, _) = secrets.rsplit_once('/').unwrap();
    let (null, valid) = (json!(null), json!({ "name": "CANARY", "value": CANARY }));
    let bodies = [
        json!({ "name": CANARY, "value": 1 }),
        json!({ "name": [CANARY], "value": [CANARY], "other": { "value": CANARY } }),
        json!([CANARY]),
        json!(CANARY),
    ];
    let mut requests: Vec<_> = bodies.iter().map(|body| (Method::POST, secrets.clone(), OPERATOR, body)).collect();
    for elsewhere in ["/", "/CANARY", "/CANARY/value"] {
        requests.push((Method::PUT, format!("{secrets}{elsewhere}"), OPERATOR, &valid));
    }
    requests.extend([
        (Method::PUT, secrets.clone(), OPERATOR, &valid),
        (Method::POST, secrets.clone(), READER, &valid),
        (Method::POST, secrets.clone(), UNKNOWN, &valid),
        (Method::POST, format!("{app}/secret"), OPERATOR, &valid),
        (Method::POST, format!("{app}/%73ecrets"), OPERATOR, &valid),
        (Method::POST, secrets.replace("/v1", "/V1"), OPERATOR, &valid),
        (Method::POST, secrets.clone(), OPERATOR, &null),
    ]);
    for (method, url, token, body) in requests {
        let (status, response) = sandbox.call(method, &url, token, Some(body)).await;
        assert!((400..500).contains(&status), "{url} {response}");
        responses.push(response);
    }
    for text in [format!("{{\"value\":\"{CANARY}"), format!("\"{CANARY}\" 1"), CANARY.to_owned()] {
        responses.push(reply(sandbox.request(Method::POST, &secrets).bearer_auth(OPERATOR).body(text)).await.1);
    }
    for url in [secrets.as_str(), "/sandbox/state", "/sandbox/faults", "/openapi.json"] {
        responses.push(sandbox.get(url).await.1);
    }
    let mut texts: Vec<_> = responses.iter().map(Value::to_string).collect();
    texts.push(fs::read_to_string(&file).unwrap());
    // The journal contains secret names unmasked, and one body has the value as its name.
    let entries = sandbox.journal_entries().await;
    texts.extend(entries.iter().filter(|entry| entry["body"]["name"] != CANARY).map(Value::to_string));
    assert!(texts.len() > 2 * bodies.len() && entries.len() > 15);
    let found: Vec<_> = texts.iter().filter(|text| text.contains("c4n4ry")).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test]
async fn the_journal_contains_route_and_name_but_a_masked_value() {
    let (sandbox, secrets) = start_with_app(SandboxConfig::default()).await;
    set(&sandbox, &secrets, "TOKEN", CANARY).await;
    sandbox.get(&format!("{secrets}/TOKEN")).await;
    sandbox.post(&secrets, json!({ "value": null, "more": { "value": CANARY } })).await;
    sandbox.post(&secrets, json!([1])).await;
    let route = "/v1/apps/{appId}/secrets";
    let secret_route = "/v1/apps/{appId}/secrets/{secretName}";
    let hidden = "********";
    let expected = [
        (route, secrets.clone(), json!({ "name": "TOKEN", "value": hidden }), 200),
        (secret_route, format!("{secrets}/TOKEN"), Value::Null, 200),
        (route, secrets.clone(), json!({ "value": hidden, "more": hidden }), 400),
        (route, secrets.clone(), json!(hidden), 400),
    ];
    // The first entry is the app.
    for ((route, path, body, status), entry) in expected.iter().zip(&sandbox.journal_entries().await[1..]) {
        assert_has(entry, &json!({ "route": route, "path": path, "body": body, "status": status }));
    }
}

#[tokio::test]
async fn seed_secrets_are_stored_only_as_digests() {
    let config = config_with_secrets("{ B: '', A: fake-value, C: 0123 }").unwrap();
    assert!(!format!("{:?}", config.apps).contains("fake-value"));
    let sandbox = TestSandbox::start_with(config).await;
    assert_eq!(
        digests(&sandbox).await,
        [("A".into(), digest("fake-value")), ("B".into(), digest("")), ("C".into(), digest("0123"))]
    );
    let (_, apps) = sandbox.get("/v1/apps").await;
    let (_, list) = sandbox.get(&format!("{}/secrets", path(&apps["apps"][0]))).await;
    assert_eq!(names(&list), ["A", "B", "C"]);

    for secrets in
        ["{ A: [fake-value] }", "{ A: { fake-value: 1 } }", "fake-value", "{ A: x, A: fake-value }", "{ A: null }"]
    {
        let error = config_with_secrets(secrets).err().unwrap_or_else(|| panic!("{secrets} is accepted"));
        assert!(!error.contains("fake-value"), "{error}");
    }
    let error = start_error(config_with_secrets("{ A-B: fake-value }").unwrap()).await;
    assert!(error.contains("the app \"app-one\"") && error.contains("\"A-B\" must be a letter"), "{error}");
    assert!(!error.contains("fake-value"), "{error}");
}
