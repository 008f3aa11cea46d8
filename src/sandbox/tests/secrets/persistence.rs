//! Secrets in the state file.

use std::fs;

use serde_json::{Value, json};

use super::{digest, digests, set, start_with_app};
use crate::sandbox::tests::{TestSandbox, config_with_state_file};

#[tokio::test]
async fn secrets_survive_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let config = config_with_state_file(&file);
    let (sandbox, secrets) = start_with_app(config.clone()).await;
    let first = set(&sandbox, &secrets, "FIRST", "one").await;
    let deleted = set(&sandbox, &secrets, "GONE", "two").await;
    sandbox.delete(&format!("{secrets}/GONE")).await;
    let stored = sandbox.get("/sandbox/state").await;
    drop(sandbox);

    let sandbox = TestSandbox::start_with(config.clone()).await;
    assert_eq!(sandbox.get("/sandbox/state").await, stored);
    assert_eq!(sandbox.get(&secrets).await.1, json!({ "secrets": [first] }));
    let new = set(&sandbox, &secrets, "NEW", "three").await;
    assert!(deleted["id"].as_u64() < new["id"].as_u64(), "IDs are not reused");
    drop(sandbox);

    // A state file of a version without secrets.
    let mut old: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    old["store"].as_object_mut().unwrap().remove("next_secret");
    for app in old["store"]["apps"].as_object_mut().unwrap().values_mut() {
        app.as_object_mut().unwrap().remove("secrets");
    }
    fs::write(&file, old.to_string()).unwrap();
    let sandbox = TestSandbox::start_with(config).await;
    assert_eq!(sandbox.get(&secrets).await.1, json!({ "secrets": [] }));
    assert_eq!(set(&sandbox, &secrets, "FIRST", "one").await["id"], first["id"]);
}

#[tokio::test]
async fn a_secret_change_that_cannot_be_written_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let (sandbox, secrets) = start_with_app(config_with_state_file(&inner.join("state.json"))).await;
    let secret = set(&sandbox, &secrets, "TOKEN", "one").await;
    fs::remove_dir_all(&inner).unwrap();
    assert_eq!(sandbox.post(&secrets, json!({ "name": "TOKEN", "value": "two" })).await.0, 500);
    assert_eq!(sandbox.delete(&format!("{secrets}/TOKEN")).await.0, 500);
    assert_eq!(sandbox.get(&secrets).await.1, json!({ "secrets": [secret] }));
    assert_eq!(digests(&sandbox).await, [("TOKEN".into(), digest("one"))]);
}
