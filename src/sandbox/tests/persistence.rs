//! What a sandbox begins with, and what outlives it.

use std::fs;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use super::{OPERATOR, READER, TestSandbox, assert_has, named, path, reply};
use crate::sandbox::{SandboxConfig, serve};

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

fn seeded(text: &str) -> Result<SandboxConfig, String> {
    let mut config = SandboxConfig::default();
    config.load_seed(text).map(|()| config)
}

async fn with_state(file: &Path) -> TestSandbox {
    TestSandbox::with(SandboxConfig { state_file: Some(file.to_owned()), ..SandboxConfig::default() }).await
}

async fn refusal(config: SandboxConfig) -> String {
    let address = ([127, 0, 0, 1], 0).into();
    serve(SandboxConfig { address, ..config }).await.err().unwrap().to_string()
}

#[tokio::test]
async fn a_seed_says_who_and_what_there_is() {
    let world = TestSandbox::with(seeded(SEED).unwrap()).await;
    let get = async |url: &str| world.call(Method::GET, url, "fake-ci", None).await.1;
    let organizations =
        json!([{ "id": 7, "name": "acme", "role": "owner" }, { "id": 8, "name": "free", "role": "viewer" }]);
    assert_eq!(get("/v1/orgs").await, json!({ "orgs": organizations }));
    assert_eq!(get("/v1/limits").await["apps"], 2);
    let apps = get("/v1/apps").await;
    assert_eq!(apps["apps"].as_array().unwrap().len(), 1);
    assert_has(&apps["apps"][0], &json!({ "name": "first-app", "tags": { "a": "1" } }));
    // What is there in the beginning may be more than the plan includes now.
    assert_eq!(get(&path(&apps["apps"][0])).await["config"]["image_tag"], "2.0.0");
    let (status, _) =
        world.call(Method::PUT, &path(&apps["apps"][0]), "fake-ci", Some(&json!({ "image_tag": "1" }))).await;
    assert_eq!(status, 403);
    assert_eq!(world.call(Method::GET, "/v1/apps", "fake-looks", None).await, (200, apps));
    let (status, refusal) = world.call(Method::POST, "/v1/apps", "fake-looks", Some(&named("new-app"))).await;
    assert_eq!((status, &refusal["code"]), (403, &json!("insufficient_scope")), "the file narrows a token to scopes");
    let state = get("/sandbox/state").await;
    let connected = state["apps"].as_array().unwrap().iter().map(|app| &app["repository_connected"]);
    assert_eq!(connected.collect::<Vec<_>>(), [false, true]);
    assert_eq!(world.get("/v1/apps").await.0, 401, "the credentials are only those of the file");
}

#[tokio::test]
async fn a_section_that_is_absent_stays_as_it_is() {
    let world =
        TestSandbox::with(seeded("apps: [{ organization: elsewhere, body: { name: their-app } }]").unwrap()).await;
    assert_eq!(world.kept().await, ["their-app"]);
    assert_eq!(world.get("/v1/apps").await.1, json!({ "apps": [] }));
}

#[tokio::test]
async fn a_seed_that_makes_no_sense_is_refused_in_one_line() {
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
        let error = seeded(text).err().unwrap();
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
        let error = refusal(seeded(text).unwrap()).await;
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn everything_that_was_answered_outlives_a_server_that_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let world = with_state(&file).await;
    let first = world.app(json!({ "name": "first", "region": "us-west-2", "tags": { "a": "1" }, "replicas": 2 })).await;
    let full = json!({
        "spicepod": { "name": "pod" }, "resources": { "limits": { "cpu": "2", "ephemeral-storage": "1Gi" } },
        "executor": { "replicas": 2, "storage_size_gb": 2.5 }, "storage_size_gb": 10,
    });
    let (_, first) = world.put(&path(&first), full).await;
    let gone = world.app(named("gone")).await;
    world.delete(&path(&gone)).await;
    let grant = json!({
        "grant_type": "client_credentials", "client_id": "sandbox-fake-client-oauth",
        "client_secret": "sandbox-fake-client-secret-oauth",
    });
    let (_, grant) = reply(world.request(Method::POST, "/api/oauth/token").json(&grant)).await;
    let (_, rotated) = world.post("/sandbox/credentials/session/rotate", json!({})).await;
    world.post("/sandbox/credentials/reader/revoke", json!({})).await;
    let (_, state) = world.get("/sandbox/state").await;
    // What a kill leaves: nobody had the chance to write anything at the end.
    drop(world);

    let world = with_state(&file).await;
    assert_eq!(world.get("/sandbox/state").await.1, state);
    assert_eq!(world.get(&path(&first)).await, (200, first.clone()));
    assert_eq!(world.app(named("gone")).await["id"], gone["id"]);
    let ids = [first["id"].as_u64(), gone["id"].as_u64()];
    assert!(!ids.contains(&world.app(named("third")).await["id"].as_u64()));
    for token in [&grant["access_token"], &rotated["token"]] {
        assert_eq!(world.call(Method::GET, "/v1/apps", token.as_str().unwrap(), None).await.0, 200);
    }
    assert_eq!(world.call(Method::GET, "/v1/apps", READER, None).await.0, 401);
    let announced = serde_json::to_value(world.running.connection_info()).unwrap();
    assert!(announced["credentials"].as_array().unwrap().contains(&rotated), "the secrets that are announced work");
}

#[tokio::test]
async fn the_apps_of_a_seed_are_for_a_state_that_is_not_there_yet() {
    let folder = tempfile::tempdir().unwrap();
    let state = Some(folder.path().join("state.json"));
    let config = SandboxConfig {
        state_file: state,
        ..seeded("apps: [{ organization: sandbox, body: { name: seeded } }]").unwrap()
    };
    let world = TestSandbox::with(config.clone()).await;
    let (_, apps) = world.get("/v1/apps").await;
    world.delete(&path(&apps["apps"][0])).await;
    drop(world);
    assert_eq!(TestSandbox::with(config).await.get("/v1/apps").await.1, json!({ "apps": [] }));
}

#[tokio::test]
async fn a_state_file_that_cannot_be_used_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    for text in [
        "",
        "{}",
        r#"{"format":1"#,
        r#"{"format":2,"store":{"apps":{},"next_app":1},"credentials":{"given":[],"issued":{}}}"#,
    ] {
        fs::write(&file, text).unwrap();
        let error = refusal(SandboxConfig { state_file: Some(file.clone()), ..SandboxConfig::default() }).await;
        assert!(error.contains("state.json"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
    let nowhere = folder.path().join("missing/state.json");
    assert!(
        refusal(SandboxConfig { state_file: Some(nowhere), ..SandboxConfig::default() }).await.contains("cannot write")
    );
}

#[tokio::test]
async fn a_change_that_cannot_be_written_did_not_happen() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let world = with_state(&inner.join("state.json")).await;
    fs::remove_dir_all(&inner).unwrap();
    let error = json!({ "error": "The state could not be written" });
    assert_eq!(world.post("/v1/apps", named("my-app")).await, (500, error));
    assert_eq!(world.kept().await, Vec::<String>::new());
    assert_eq!(world.call(Method::GET, "/v1/apps", OPERATOR, None).await.1, json!({ "apps": [] }));
    assert_eq!(world.journal(0, 0).await["entries"][0]["applied"], Value::Bool(false));
}
