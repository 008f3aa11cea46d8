//! SpiceSecret on real parts: a Kubernetes Secret in, POSTs out, status says what was set.

use std::collections::BTreeMap;

use kube::api::DeleteParams;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use spice_cloud_operator::api::SpiceSecret;

use crate::{
    program,
    support::{
        canary::hex,
        operator::Operator,
        world::{World, id_of},
    },
};

/// A world with an app `my-app` that is Ready.
async fn world(name: &str, args: &[&str]) -> (World, Operator, u64) {
    let world = World::with_sandbox(name, program(), args).await;
    let operator = world.operator().await;
    world.app("my-app", json!({})).await;
    let id = id_of(&world.app_is("my-app", "True", "Succeeded").await);
    (world, operator, id)
}

fn digest(value: &str) -> String {
    hex(&Sha256::digest(value))
}

/// The secrets of an app, by name, as digests of their values.
async fn remote(world: &World, app: u64) -> BTreeMap<String, String> {
    let apps = world.remote_apps().await;
    let app = apps.iter().find(|one| one["id"] == app).unwrap();
    let secrets = app["secrets"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    secrets.iter().map(|secret| (text(&secret["name"]), text(&secret["value_sha256"]))).collect()
}

/// What there should be.
fn expected(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| ((*name).to_owned(), digest(value))).collect()
}

fn from_key(secret: &str, key: &str, name: &str) -> Value {
    json!({ "secretKeyRef": { "name": secret, "key": key }, "name": name })
}

#[tokio::test]
async fn a_secret_is_set_with_one_post_follows_its_source_and_goes_with_its_object() {
    let (world, _operator, id) = world("secret", &[]).await;
    world.values("db", json!({ "url": "fake-value-1" })).await;
    let before = world.sandbox.revision().await.unwrap();
    world.secret("db", from_key("db", "url", "DATABASE_URL")).await;
    let secret = world.secret_is("db", "True", "Succeeded").await;
    assert_eq!(remote(&world, id).await, expected(&[("DATABASE_URL", "fake-value-1")]));
    let calls = world.calls(before).await;
    assert_eq!(
        calls,
        ["GET /v1/apps/{appId}/secrets", "POST /v1/apps/{appId}/secrets"],
        "the app's own answer is new enough"
    );
    let status = secret.status.unwrap();
    assert_eq!(status.app_id, i64::try_from(id).ok());
    let entry = &status.entries[0];
    assert_eq!(entry.name, "DATABASE_URL");
    assert!(entry.digest.as_ref().unwrap().starts_with("v1:") && entry.digest == entry.content_id);

    let before = world.sandbox.revision().await.unwrap();
    world.values("db", json!({ "url": "fake-value-2" })).await;
    world
        .until("db", "set anew", |secret: &SpiceSecret| {
            secret.status.as_ref().is_some_and(|status| status.entries[0].digest != entry.digest)
        })
        .await;
    world.secret_is("db", "True", "Succeeded").await;
    assert_eq!(remote(&world, id).await, expected(&[("DATABASE_URL", "fake-value-2")]));
    assert_eq!(world.calls(before).await, ["POST /v1/apps/{appId}/secrets"]);

    let before = world.sandbox.revision().await.unwrap();
    world.api::<SpiceSecret>().delete("db", &DeleteParams::default()).await.unwrap();
    world.gone::<SpiceSecret>("db").await;
    assert_eq!(remote(&world, id).await, expected(&[]));
    assert_eq!(world.calls(before).await, ["DELETE /v1/apps/{appId}/secrets/{secretName}"]);
}
