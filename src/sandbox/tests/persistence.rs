//! Seed file and state file.

use std::fs;

use reqwest::Method;
use serde_json::json;

use super::{READER, TestSandbox, assert_has, config_from_seed, config_with_state_file, named, path, start_error};
use crate::sandbox::SandboxConfig;

const SEED: &str = "
plans:
  small: { max_apps: 2, image_tags: false }
organizations:
  - { id: 7, name: acme, plan: small }
  - { id: 8, name: free }
users:
  - { id: 3, memberships: [{ organization: acme, role: owner }, { organization: free, role: viewer }] }
credentials:
  - { kind: personal_access_token, name: ci, token: fake-ci, scopes: ['*'], organization: acme, user: 3 }
  - { kind: personal_access_token, name: looks, token: fake-looks, scopes: ['apps:read'], organization: acme, user: 3 }
  - { kind: oauth_client, name: bot, client_id: bot, client_secret: fake-bot, scopes: ['apps:read'], organization: free }
apps:
  - { organization: acme, body: { name: first-app, region: us-west-2, image_tag: 2.0.0, tags: { a: '1' } } }
  - { organization: free, repository_connected: true, body: { name: other-app, spicepod: { name: pod } } }
";

#[tokio::test]
async fn a_seed_defines_organizations_users_credentials_and_apps() {
    let sandbox = TestSandbox::start_with(config_from_seed(SEED).unwrap()).await;
    let get = async |url: &str| sandbox.get_as("fake-ci", url).await.1;
    let organizations =
        json!([{ "id": 7, "name": "acme", "role": "owner" }, { "id": 8, "name": "free", "role": "viewer" }]);
    assert_eq!(get("/v1/orgs").await, json!({ "orgs": organizations }));
    assert_eq!(get("/v1/limits").await["apps"], 2);
    let apps = get("/v1/apps").await;
    assert_eq!(apps["apps"].as_array().unwrap().len(), 1);
    assert_has(&apps["apps"][0], &json!({ "name": "first-app", "tags": { "a": "1" } }));
    // Seed apps may exceed the limits of the plan.
    assert_eq!(get(&path(&apps["apps"][0])).await["config"]["image_tag"], "2.0.0");
    let tag = json!({ "image_tag": "1" });
    assert_eq!(sandbox.call(Method::PUT, &path(&apps["apps"][0]), "fake-ci", Some(&tag)).await.0, 403);
    assert_eq!(sandbox.get_as("fake-looks", "/v1/apps").await, (200, apps));
    let (status, error) = sandbox.call(Method::POST, "/v1/apps", "fake-looks", Some(&named("new-app"))).await;
    assert_eq!(
        (status, &error["code"]),
        (403, &json!("insufficient_scope")),
        "the seed file limits the scopes of a token"
    );
    let state = get("/sandbox/state").await;
    let connected = state["apps"].as_array().unwrap().iter().map(|app| &app["repository_connected"]);
    assert_eq!(connected.collect::<Vec<_>>(), [false, true]);
    assert_eq!(sandbox.get("/v1/apps").await.0, 401, "the file replaces the default credentials");
}

#[tokio::test]
async fn an_absent_seed_section_keeps_its_default() {
    let seed = "apps: [{ organization: elsewhere, body: { name: their-app } }]";
    let sandbox = TestSandbox::start_with(config_from_seed(seed).unwrap()).await;
    assert_eq!(sandbox.stored_app_names().await, ["their-app"]);
    assert_eq!(sandbox.get("/v1/apps").await.1, json!({ "apps": [] }));
}

#[tokio::test]
async fn an_invalid_seed_is_rejected_with_a_one_line_error() {
    let cases = [
        ("organisations: []", "organisations"),
        ("- 1", ""),
        ("organizations: [{ id: 1, name: a, plan: gold }]", "unknown plan \"gold\""),
        ("organizations: [{ id: 1, name: other }]", "unknown organization \"sandbox\""),
        ("users: []", "unknown user of the credential \"operator\""),
        ("apps: [{ organization: nothing, body: {} }]", "unknown organization \"nothing\""),
        ("organizations: [{ id: 1, name: sandbox }, { id: 1, name: elsewhere }]", "organization number 2"),
        ("users: [{ id: 1, memberships: [{ organization: sandbox, role: king }] }]", "king"),
    ];
    for (text, expected) in cases {
        let error = config_from_seed(text).err().unwrap();
        assert!(error.contains(expected) && !error.contains('\n'), "{text}: {error}");
    }
    let cases = [
        ("apps: [{ organization: sandbox, body: { name: x } }]", "the app \"x\": Validation failed; name must be"),
        (
            "apps: [{ organization: sandbox, body: { name: same } }, { organization: sandbox, body: { name: SAME } }]",
            "exists",
        ),
    ];
    for (text, expected) in cases {
        let error = start_error(config_from_seed(text).unwrap()).await;
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn all_acknowledged_changes_survive_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let sandbox = TestSandbox::start_with(config_with_state_file(&file)).await;
    let first = sandbox
        .create_app(json!({ "name": "first", "region": "us-west-2", "tags": { "a": "1" }, "replicas": 2 }))
        .await;
    let full = json!({
        "spicepod": { "name": "pod" }, "resources": { "limits": { "cpu": "2", "ephemeral-storage": "1Gi" } },
        "executor": { "replicas": 2, "storage_size_gb": 2.5 }, "storage_size_gb": 10,
    });
    let (_, first) = sandbox.put(&path(&first), full).await;
    let deleted = sandbox.create_app(named("gone")).await;
    sandbox.delete(&path(&deleted)).await;
    let token = sandbox.issue_token("oauth").await;
    let (_, rotated) = sandbox.post("/sandbox/credentials/session/rotate", json!({})).await;
    sandbox.post("/sandbox/credentials/reader/revoke", json!({})).await;
    let (_, state) = sandbox.get("/sandbox/state").await;
    // A crash: the server writes nothing at its end.
    drop(sandbox);

    let sandbox = TestSandbox::start_with(config_with_state_file(&file)).await;
    assert_eq!(sandbox.get("/sandbox/state").await.1, state);
    assert_eq!(sandbox.get(&path(&first)).await, (200, first.clone()));
    assert_eq!(sandbox.create_app(named("gone")).await["id"], deleted["id"]);
    let ids = [first["id"].as_u64(), deleted["id"].as_u64()];
    assert!(!ids.contains(&sandbox.create_app(named("third")).await["id"].as_u64()));
    for token in [token.as_str(), rotated["token"].as_str().unwrap()] {
        assert_eq!(sandbox.get_as(token, "/v1/apps").await.0, 200);
    }
    assert_eq!(sandbox.get_as(READER, "/v1/apps").await.0, 401);
    let announced = serde_json::to_value(sandbox.server.connection_info()).unwrap();
    assert!(announced["credentials"].as_array().unwrap().contains(&rotated), "the printed secrets are valid");
}

#[tokio::test]
async fn seed_apps_are_ignored_if_a_state_file_exists() {
    let folder = tempfile::tempdir().unwrap();
    let seed = config_from_seed("apps: [{ organization: sandbox, body: { name: seeded } }]").unwrap();
    let config = SandboxConfig { state_file: Some(folder.path().join("state.json")), ..seed };
    let sandbox = TestSandbox::start_with(config.clone()).await;
    let (_, apps) = sandbox.get("/v1/apps").await;
    sandbox.delete(&path(&apps["apps"][0])).await;
    drop(sandbox);
    assert_eq!(TestSandbox::start_with(config).await.get("/v1/apps").await.1, json!({ "apps": [] }));
}

#[tokio::test]
async fn an_unusable_state_file_is_rejected_and_not_modified() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    for text in [
        "",
        "{}",
        r#"{"format":1"#,
        r#"{"format":2,"store":{"apps":{},"next_app":1},"credentials":{"configured":[],"issued":{}}}"#,
    ] {
        fs::write(&file, text).unwrap();
        let error = start_error(config_with_state_file(&file)).await;
        assert!(error.contains("state.json"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
    let nowhere = folder.path().join("missing/state.json");
    assert!(start_error(config_with_state_file(&nowhere)).await.contains("cannot write"));
}

#[tokio::test]
async fn a_change_that_cannot_be_written_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let sandbox = TestSandbox::start_with(config_with_state_file(&inner.join("state.json"))).await;
    fs::remove_dir_all(&inner).unwrap();
    let error = json!({ "error": "The state could not be written" });
    assert_eq!(sandbox.post("/v1/apps", named("my-app")).await, (500, error));
    assert_eq!(sandbox.stored_app_names().await, Vec::<String>::new());
    assert_eq!(sandbox.get("/v1/apps").await.1, json!({ "apps": [] }));
    assert_eq!(sandbox.journal_entries().await[0]["applied"], false);
}
