//! The three kinds of credential: how they are used, what they reach, and how they end.

use std::time::Duration;

use reqwest::{Method, header};
use serde_json::{Value, json};

use super::{OPERATOR, Reply, TestSandbox, assert_has, named, path, reply};
use crate::sandbox::SandboxConfig;

const ID: &str = "sandbox-fake-client-oauth";
const SECRET: &str = "sandbox-fake-client-secret-oauth";
const FORM: &str = "application/x-www-form-urlencoded";

fn grant() -> Value {
    json!({ "grant_type": "client_credentials", "client_id": ID, "client_secret": SECRET })
}

/// The same fields with some of them replaced, or left out where they are null.
fn grant_but(changes: Value) -> Value {
    let mut fields = grant();
    fields.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    fields.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    fields
}

async fn exchange(world: &TestSandbox, fields: &Value) -> Reply {
    reply(world.request(Method::POST, "/api/oauth/token").json(fields)).await
}

async fn issued(world: &TestSandbox) -> String {
    let (status, answer) = exchange(world, &grant()).await;
    assert_eq!(status, 200, "{answer}");
    answer["access_token"].as_str().unwrap().to_owned()
}

async fn send_form(world: &TestSandbox, body: String) -> Reply {
    let request = world.request(Method::POST, "/api/oauth/token").header(header::CONTENT_TYPE, FORM);
    reply(request.body(body)).await
}

async fn apps_with(world: &TestSandbox, token: &str) -> Reply {
    world.call(Method::GET, "/v1/apps", token, None).await
}

#[tokio::test]
async fn a_client_gets_a_fake_token_in_either_encoding() {
    let world = TestSandbox::start().await;
    let form = format!("grant_type=client_credentials&client_id={ID}&client_secret={SECRET}");
    let mut tokens = Vec::new();
    for (status, answer) in [exchange(&world, &grant()).await, send_form(&world, form).await] {
        assert_eq!(status, 200, "{answer}");
        assert_has(&answer, &json!({ "token_type": "Bearer", "expires_in": 3600, "scope": "*" }));
        let token = answer["access_token"].as_str().unwrap().to_owned();
        assert!(token.starts_with("sandbox-fake-"), "{token}");
        let (status, app) = world.call(Method::POST, "/v1/apps", &token, Some(&named("my-app"))).await;
        assert_eq!((status, &app["created_by"]), (201, &Value::Null), "a machine is no user");
        world.delete(&path(&app)).await;
        tokens.push(token);
    }
    assert_ne!(tokens[0], tokens[1]);
}

#[tokio::test]
async fn an_exchange_that_is_wrong_is_refused_in_the_words_of_oauth() {
    let world = TestSandbox::start().await;
    let cases = [
        (json!({ "client_secret": "wrong" }), 401, "invalid_client"),
        (json!({ "client_id": "nobody" }), 401, "invalid_client"),
        (json!({ "client_id": "operator", "client_secret": OPERATOR }), 401, "invalid_client"),
        (json!({ "grant_type": "password" }), 400, "unsupported_grant_type"),
        (json!({ "grant_type": null }), 400, "invalid_request"),
        (json!({ "client_id": null }), 400, "invalid_request"),
        (json!({ "client_secret": "" }), 400, "invalid_request"),
        (json!({ "client_secret": 5 }), 400, "invalid_request"),
        (json!({ "scope": "apps:read nonsense" }), 400, "invalid_scope"),
    ];
    for (changes, expected, error) in cases {
        let (status, answer) = exchange(&world, &grant_but(changes.clone())).await;
        assert_eq!((status, &answer["error"]), (expected, &json!(error)), "{changes}: {answer}");
        assert!(answer["error_description"].is_string(), "{answer}");
    }
    let twice = format!("grant_type=client_credentials&client_id={ID}&client_id={ID}&client_secret={SECRET}");
    assert_eq!(send_form(&world, twice).await.0, 400);
    let unnamed = world.request(Method::POST, "/api/oauth/token").body(grant().to_string());
    assert_eq!(reply(unnamed).await.1["error"], "invalid_request");
}

#[tokio::test]
async fn a_token_has_the_scopes_that_were_asked_for() {
    let world = TestSandbox::start().await;
    let (_, answer) = exchange(&world, &grant_but(json!({ "scope": "apps:read deployments:write" }))).await;
    assert_eq!(answer["scope"], "apps:read deployments:write");
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(apps_with(&world, token).await.0, 200);
    let (status, body) = world.call(Method::POST, "/v1/apps", token, Some(&named("my-app"))).await;
    assert_eq!((status, &body["code"]), (403, &json!("insufficient_scope")));
}

#[tokio::test]
async fn a_client_that_was_granted_everything_may_ask_for_any_scope_there_is() {
    let world = TestSandbox::start().await;
    let resources = ["apps", "deployments", "secrets", "config", "members", "monitors", "reactions"];
    let common = resources.iter().flat_map(|resource| [format!("{resource}:read"), format!("{resource}:write")]);
    for scope in common.chain(["apps:delete", "members:delete", "*"].map(str::to_owned)) {
        let (status, answer) = exchange(&world, &grant_but(json!({ "scope": scope }))).await;
        assert_eq!((status, &answer["scope"]), (200, &json!(scope)), "{answer}");
    }
    for scope in ["config:delete", "monitors:delete", "apps:*", "apps"] {
        assert_eq!(
            exchange(&world, &grant_but(json!({ "scope": scope }))).await.1["error"],
            "invalid_scope",
            "{scope}"
        );
    }
}

#[tokio::test]
async fn a_token_lives_as_long_as_it_says() {
    let world = TestSandbox::with(SandboxConfig { token_lifetime: Duration::ZERO, ..SandboxConfig::default() }).await;
    let (_, answer) = exchange(&world, &grant()).await;
    assert_eq!(answer["expires_in"], 0);
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(apps_with(&world, token).await, (401, json!({ "error": "Token expired" })));
}

#[tokio::test]
async fn what_is_revoked_or_expired_is_refused_and_what_is_rotated_has_another_secret() {
    let world = TestSandbox::start().await;
    for (token, name) in [(OPERATOR, "operator"), ("sandbox-fake-session-token", "session")] {
        let refusals = [("expire", "Token expired"), ("revoke", "Invalid token"), ("expire", "Invalid token")];
        assert_eq!(apps_with(&world, token).await.0, 200);
        for (verb, error) in refusals {
            assert_eq!(world.post(&format!("/sandbox/credentials/{name}/{verb}"), json!({})).await.0, 204);
            assert_eq!(apps_with(&world, token).await, (401, json!({ "error": error })), "{name} {verb}");
        }
        let (status, rotated) = world.post(&format!("/sandbox/credentials/{name}/rotate"), json!({})).await;
        assert_eq!(status, 200, "{rotated}");
        assert_eq!(apps_with(&world, rotated["token"].as_str().unwrap()).await.0, 200);
        assert_eq!(apps_with(&world, token).await.0, 401);
        let (_, listed) = world.get("/sandbox/credentials").await;
        assert!(listed.as_array().unwrap().contains(&rotated), "{listed}");
    }
    for verb in ["expire", "revoke", "rotate"] {
        assert_eq!(world.post(&format!("/sandbox/credentials/nobody/{verb}"), json!({})).await.0, 404);
    }
}

#[tokio::test]
async fn a_new_client_secret_voids_the_old_one_and_no_token() {
    let world = TestSandbox::start().await;
    let before = issued(&world).await;
    let (_, rotated) = world.post("/sandbox/credentials/oauth/rotate", json!({})).await;
    assert_eq!(exchange(&world, &grant()).await.0, 401);
    assert_eq!(apps_with(&world, &before).await.0, 200);
    let fields = grant_but(json!({ "client_secret": rotated["client_secret"] }));
    assert_eq!(exchange(&world, &fields).await.0, 200);
}

#[tokio::test]
async fn the_tokens_of_a_client_expire_without_it_and_end_with_it() {
    let world = TestSandbox::start().await;
    let first = issued(&world).await;
    world.post("/sandbox/credentials/oauth/expire", json!({})).await;
    assert_eq!(apps_with(&world, &first).await, (401, json!({ "error": "Token expired" })));
    let second = issued(&world).await;
    assert_eq!(apps_with(&world, &second).await.0, 200);
    world.post("/sandbox/credentials/oauth/revoke", json!({})).await;
    assert_eq!(apps_with(&world, &second).await, (401, json!({ "error": "Invalid token" })));
    assert_eq!(exchange(&world, &grant()).await.0, 401);
}

#[tokio::test]
async fn the_journal_holds_no_client_secret_and_no_issued_token() {
    let world = TestSandbox::start().await;
    let token = issued(&world).await;
    apps_with(&world, &token).await;
    let journal = world.journal(0, 0).await;
    assert_has(&journal["entries"][0], &json!({ "route": "/api/oauth/token", "credential": null, "body": null }));
    assert_has(&journal["entries"][1], &json!({ "route": "/v1/apps", "credential": "oauth" }));
    let text = journal.to_string();
    assert!(!text.contains(SECRET) && !text.contains(&token), "{text}");
}
