//! Secrets of an app.

mod confidentiality;
mod persistence;
mod validation;

use reqwest::Method;
use serde_json::{Value, json};

use super::{OPERATOR, TestSandbox, assert_has, named, path};
use crate::sandbox::{ApiSwitches, Profile, Reactivation, SandboxConfig, ValueDigest};

/// Value that must not appear in any response, journal entry or file.
const CANARY: &str = "c4n4ry-\"value\"-\u{e4}";

/// Starts a sandbox with an app, and returns the path of its secrets.
async fn start_with_app(config: SandboxConfig) -> (TestSandbox, String) {
    let sandbox = TestSandbox::start_with(config).await;
    let app = sandbox.create_app(json!({ "name": "app-one", "cname": "us-west-2-prod-aws-data" })).await;
    let secrets = format!("{}/secrets", path(&app));
    (sandbox, secrets)
}

async fn start_with_switches(switches: ApiSwitches) -> (TestSandbox, String) {
    start_with_app(SandboxConfig { switches, ..SandboxConfig::default() }).await
}

/// Sets a secret and asserts success.
async fn set(sandbox: &TestSandbox, secrets: &str, name: &str, value: &str) -> Value {
    let (status, secret) = sandbox.post(secrets, json!({ "name": name, "value": value })).await;
    assert_eq!(status, 200, "{secret}");
    secret
}

/// Returns name and digest of every stored secret of the first app.
async fn digests(sandbox: &TestSandbox) -> Vec<(String, String)> {
    let (_, state) = sandbox.get("/sandbox/state").await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let secrets = state["apps"][0]["secrets"].as_array().unwrap();
    secrets.iter().map(|secret| (text(&secret["name"]), text(&secret["value_sha256"]))).collect()
}

fn digest(value: &str) -> String {
    serde_json::to_value(ValueDigest::of(value)).unwrap().as_str().unwrap().to_owned()
}

fn names(list: &Value) -> Vec<&str> {
    list["secrets"].as_array().unwrap().iter().map(|secret| secret["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_secret_is_returned_masked_under_apps_and_projects() {
    let (sandbox, secrets) = start_with_app(SandboxConfig::default()).await;
    let projects = secrets.replace("apps", "projects");
    assert_eq!(sandbox.get(&secrets).await, (200, json!({ "secrets": [] })));
    let first = set(&sandbox, &secrets, "DATABASE_URL", CANARY).await;
    let second = set(&sandbox, &projects, "_a1", "").await;
    assert_eq!(
        first.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["created_at", "id", "name", "updated_at", "value"]
    );
    assert_has(&first, &json!({ "name": "DATABASE_URL", "value": "********", "updated_at": first["created_at"] }));
    assert_eq!(second["value"], "********", "the mask does not reveal the length of the value");
    assert!(first["id"].as_u64().unwrap() < second["id"].as_u64().unwrap());
    for prefix in [&secrets, &projects] {
        assert_eq!(sandbox.get(prefix).await, (200, json!({ "secrets": [first, second] })));
        assert_eq!(sandbox.get(&format!("{prefix}/DATABASE_URL")).await, (200, first.clone()));
        assert_eq!(sandbox.get(&format!("{prefix}/DATABASE%5FURL")).await, (200, first.clone()));
    }
    assert_eq!(sandbox.delete(&format!("{projects}/_a1")).await, (204, Value::Null));
    assert_eq!(sandbox.get(&secrets).await, (200, json!({ "secrets": [first] })));
}

#[tokio::test]
async fn setting_a_secret_again_changes_only_updated_at() {
    let (sandbox, secrets) = start_with_app(SandboxConfig::default()).await;
    let first = set(&sandbox, &secrets, "TOKEN", "one").await;
    let other = set(&sandbox, &secrets, "token", "other").await;
    assert_ne!(first["id"], other["id"], "secret names are case-sensitive");
    let mut last = first.clone();
    // The last write keeps the value and still increases the time, even within the same millisecond.
    for value in ["two", "three", "three"] {
        let next = set(&sandbox, &secrets, "TOKEN", value).await;
        assert_has(&next, &json!({ "id": first["id"], "created_at": first["created_at"], "name": "TOKEN" }));
        assert!(last["updated_at"].as_str() < next["updated_at"].as_str(), "{last} {next}");
        last = next;
    }
    assert_eq!(sandbox.get(&secrets).await.1, json!({ "secrets": [last, other] }));
    assert_eq!(digests(&sandbox).await, [("TOKEN".into(), digest("three")), ("token".into(), digest("other"))]);
}

#[tokio::test]
async fn a_deleted_secret_is_removed_permanently() {
    let (sandbox, secrets) = start_with_app(SandboxConfig::default()).await;
    let before = set(&sandbox, &secrets, "TOKEN", "one").await;
    let url = format!("{secrets}/TOKEN");
    assert_eq!(sandbox.delete(&url).await, (204, Value::Null));
    let missing = json!({ "error": "Secret \"TOKEN\" not found" });
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(sandbox.call(method, &url, OPERATOR, None).await, (404, missing.clone()));
    }
    assert_eq!(digests(&sandbox).await, []);
    let after = set(&sandbox, &secrets, "TOKEN", "one").await;
    assert!(before["id"].as_u64() < after["id"].as_u64(), "a new secret has a new ID");
}

#[tokio::test]
async fn the_secret_list_is_paginated_on_request() {
    let legacy = ApiSwitches { profile: Profile::Legacy, ..ApiSwitches::default() };
    let clamped = ApiSwitches { clamp_pages: true, ..ApiSwitches::default() };
    let ignoring = ApiSwitches { ignore_offset: true, ..ApiSwitches::default() };
    let cases = [
        (ApiSwitches::default(), "", 0, 23),
        (ApiSwitches::default(), "?limit=5", 0, 5),
        (ApiSwitches::default(), "?limit=100&offset=20", 20, 3),
        (ApiSwitches::default(), "?offset=1", 1, 20),
        (legacy, "", 0, 20),
        (legacy, "?limit=100", 0, 23),
        (clamped, "?limit=100", 0, 20),
        (clamped, "?limit=500&offset=20", 20, 3),
        (ignoring, "?limit=10&offset=20", 0, 10),
    ];
    for (switches, query, first, count) in cases {
        let (sandbox, secrets) = start_with_switches(switches).await;
        // In reverse order of names, because lists are ordered by ID.
        let all: Vec<_> = (0..23).rev().map(|number| format!("S{number:02}")).collect();
        for name in &all {
            set(&sandbox, &secrets, name, name).await;
        }
        set(&sandbox, &secrets, &all[0], "again").await;
        let (status, list) = sandbox.get(&format!("{secrets}{query}")).await;
        assert_eq!((status, names(&list)), (200, all[first..first + count].iter().map(String::as_str).collect()));
    }
}

#[tokio::test]
async fn updated_at_can_have_different_precision_on_write_and_read() {
    let switches = ApiSwitches { mixed_timestamp_precision: true, ..ApiSwitches::default() };
    let (sandbox, secrets) = start_with_switches(switches).await;
    set(&sandbox, &secrets, "TOKEN", "one").await;
    let written = set(&sandbox, &secrets, "TOKEN", "two").await;
    let (_, read) = sandbox.get(&format!("{secrets}/TOKEN")).await;
    let (_, list) = sandbox.get(&secrets).await;
    assert_eq!(list, json!({ "secrets": [read] }));
    let time = |secret: &Value| secret["updated_at"].as_str().unwrap().to_owned();
    assert_eq!(
        (time(&written).len(), time(&read).len()),
        ("2026-01-02T03:04:05.678901Z".len(), "2026-01-02T03:04:05Z".len())
    );
    assert_eq!(time(&written)[..19], time(&read)[..19], "both responses have the same time");
    let instant = |secret: &Value| time(secret).parse::<jiff::Timestamp>().unwrap();
    assert!(instant(&read) <= instant(&written));
    assert_eq!(read["created_at"], written["created_at"]);
}

#[tokio::test]
async fn a_reactivated_app_keeps_its_secrets() {
    for reactivation in [Reactivation::Apply, Reactivation::Keep] {
        let (sandbox, secrets) = start_with_switches(ApiSwitches { reactivation, ..ApiSwitches::default() }).await;
        let secret = set(&sandbox, &secrets, "LEFT", "over").await;
        let (app, _) = secrets.rsplit_once('/').unwrap();
        sandbox.delete(app).await;
        assert_eq!(sandbox.get(&secrets).await.0, 404);
        assert_eq!(digests(&sandbox).await, [("LEFT".into(), digest("over"))]);
        let reactivated = sandbox.create_app(named("APP-one")).await;
        assert_eq!(format!("{}/secrets", path(&reactivated)), secrets);
        assert_eq!(sandbox.get(&secrets).await, (200, json!({ "secrets": [secret] })), "{reactivation:?}");
    }
}
