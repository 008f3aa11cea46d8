//! The three types of credentials: use, access and end of life.

use std::time::Duration;

use reqwest::{Method, header};
use serde_json::{Value, json};

use super::{OPERATOR, Reply, SESSION, TestSandbox, assert_has, client_grant, named, path, reply};
use crate::sandbox::SandboxConfig;

const ID: &str = "sandbox-fake-client-oauth";
const SECRET: &str = "sandbox-fake-client-secret-oauth";
const FORM: &str = "application/x-www-form-urlencoded";

fn grant() -> Value {
    client_grant("oauth")
}

/// Returns the fields of [`grant`] with changes. Null removes a field.
fn grant_but(changes: Value) -> Value {
    let mut fields = grant();
    fields.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    fields.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    fields
}

async fn send_form(sandbox: &TestSandbox, body: String) -> Reply {
    let request = sandbox.request(Method::POST, "/api/oauth/token").header(header::CONTENT_TYPE, FORM);
    reply(request.body(body)).await
}

async fn list_apps(sandbox: &TestSandbox, token: &str) -> Reply {
    sandbox.get_as(token, "/v1/apps").await
}

#[tokio::test]
async fn a_client_gets_a_fake_token_in_either_encoding() {
    let sandbox = TestSandbox::start().await;
    let form = format!("grant_type=client_credentials&client_id={ID}&client_secret={SECRET}");
    let mut tokens = Vec::new();
    for (status, response) in [sandbox.exchange(&grant()).await, send_form(&sandbox, form).await] {
        assert_eq!(status, 200, "{response}");
        assert_has(&response, &json!({ "token_type": "Bearer", "expires_in": 3600, "scope": "*" }));
        let token = response["access_token"].as_str().unwrap().to_owned();
        assert!(token.starts_with("sandbox-fake-"), "{token}");
        let (status, app) = sandbox.call(Method::POST, "/v1/apps", &token, Some(&named("my-app"))).await;
        assert_eq!((status, &app["created_by"]), (201, &Value::Null), "an OAuth client is not a user");
        sandbox.delete(&path(&app)).await;
        tokens.push(token);
    }
    assert_ne!(tokens[0], tokens[1]);
}

#[tokio::test]
async fn an_invalid_token_request_gives_an_oauth_error() {
    let sandbox = TestSandbox::start().await;
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
        let (status, response) = sandbox.exchange(&grant_but(changes.clone())).await;
        assert_eq!((status, &response["error"]), (expected, &json!(error)), "{changes}: {response}");
        assert!(response["error_description"].is_string(), "{response}");
    }
    let twice = format!("grant_type=client_credentials&client_id={ID}&client_id={ID}&client_secret={SECRET}");
    assert_eq!(send_form(&sandbox, twice).await.0, 400);
    let unnamed = sandbox.request(Method::POST, "/api/oauth/token").body(grant().to_string());
    assert_eq!(reply(unnamed).await.1["error"], "invalid_request");
}

#[tokio::test]
async fn a_token_has_the_requested_scopes() {
    let sandbox = TestSandbox::start().await;
    let (_, response) = sandbox.exchange(&grant_but(json!({ "scope": "apps:read deployments:write" }))).await;
    assert_eq!(response["scope"], "apps:read deployments:write");
    let token = response["access_token"].as_str().unwrap();
    assert_eq!(list_apps(&sandbox, token).await.0, 200);
    let (status, body) = sandbox.call(Method::POST, "/v1/apps", token, Some(&named("my-app"))).await;
    assert_eq!((status, &body["code"]), (403, &json!("insufficient_scope")));
}

#[tokio::test]
async fn a_client_with_all_scopes_can_request_any_known_scope() {
    let sandbox = TestSandbox::start().await;
    let resources = ["apps", "deployments", "secrets", "config", "members", "monitors", "reactions"];
    let common = resources.iter().flat_map(|resource| [format!("{resource}:read"), format!("{resource}:write")]);
    for scope in common.chain(["apps:delete", "members:delete", "*"].map(str::to_owned)) {
        let (status, response) = sandbox.exchange(&grant_but(json!({ "scope": scope }))).await;
        assert_eq!((status, &response["scope"]), (200, &json!(scope)), "{response}");
    }
    for scope in ["config:delete", "monitors:delete", "apps:*", "apps"] {
        assert_eq!(
            sandbox.exchange(&grant_but(json!({ "scope": scope }))).await.1["error"],
            "invalid_scope",
            "{scope}"
        );
    }
}

#[tokio::test]
async fn a_token_is_valid_for_its_lifetime() {
    let sandbox =
        TestSandbox::start_with(SandboxConfig { token_lifetime: Duration::ZERO, ..SandboxConfig::default() }).await;
    let (_, response) = sandbox.exchange(&grant()).await;
    assert_eq!(response["expires_in"], 0);
    let token = response["access_token"].as_str().unwrap();
    assert_eq!(list_apps(&sandbox, token).await, (401, json!({ "error": "Token expired" })));
}

#[tokio::test]
async fn a_revoked_or_expired_credential_is_rejected_and_a_rotated_one_has_a_new_secret() {
    let sandbox = TestSandbox::start().await;
    for (token, name) in [(OPERATOR, "operator"), (SESSION, "session")] {
        let errors = [("expire", "Token expired"), ("revoke", "Invalid token"), ("expire", "Invalid token")];
        assert_eq!(list_apps(&sandbox, token).await.0, 200);
        for (verb, error) in errors {
            assert_eq!(sandbox.post(&format!("/sandbox/credentials/{name}/{verb}"), json!({})).await.0, 204);
            assert_eq!(list_apps(&sandbox, token).await, (401, json!({ "error": error })), "{name} {verb}");
        }
        let (status, rotated) = sandbox.post(&format!("/sandbox/credentials/{name}/rotate"), json!({})).await;
        assert_eq!(status, 200, "{rotated}");
        assert_eq!(list_apps(&sandbox, rotated["token"].as_str().unwrap()).await.0, 200);
        assert_eq!(list_apps(&sandbox, token).await.0, 401);
        let (_, listed) = sandbox.get("/sandbox/credentials").await;
        assert!(listed.as_array().unwrap().contains(&rotated), "{listed}");
    }
    for verb in ["expire", "revoke", "rotate"] {
        assert_eq!(sandbox.post(&format!("/sandbox/credentials/nobody/{verb}"), json!({})).await.0, 404);
    }
}

#[tokio::test]
async fn a_new_client_secret_invalidates_the_old_secret_but_no_token() {
    let sandbox = TestSandbox::start().await;
    let before = sandbox.issue_token("oauth").await;
    let (_, rotated) = sandbox.post("/sandbox/credentials/oauth/rotate", json!({})).await;
    assert_eq!(sandbox.exchange(&grant()).await.0, 401);
    assert_eq!(list_apps(&sandbox, &before).await.0, 200);
    let fields = grant_but(json!({ "client_secret": rotated["client_secret"] }));
    assert_eq!(sandbox.exchange(&fields).await.0, 200);
}

#[tokio::test]
async fn expiry_affects_only_issued_tokens_and_revocation_also_the_client() {
    let sandbox = TestSandbox::start().await;
    let first = sandbox.issue_token("oauth").await;
    sandbox.post("/sandbox/credentials/oauth/expire", json!({})).await;
    assert_eq!(list_apps(&sandbox, &first).await, (401, json!({ "error": "Token expired" })));
    let second = sandbox.issue_token("oauth").await;
    assert_eq!(list_apps(&sandbox, &second).await.0, 200);
    sandbox.post("/sandbox/credentials/oauth/revoke", json!({})).await;
    assert_eq!(list_apps(&sandbox, &second).await, (401, json!({ "error": "Invalid token" })));
    assert_eq!(sandbox.exchange(&grant()).await.0, 401);
}

#[tokio::test]
async fn the_journal_holds_no_client_secret_and_no_issued_token() {
    let sandbox = TestSandbox::start().await;
    let token = sandbox.issue_token("oauth").await;
    list_apps(&sandbox, &token).await;
    let journal = sandbox.journal(0, 0).await;
    assert_has(&journal["entries"][0], &json!({ "route": "/api/oauth/token", "credential": null, "body": null }));
    assert_has(&journal["entries"][1], &json!({ "route": "/v1/apps", "credential": "oauth" }));
    let text = journal.to_string();
    assert!(!text.contains(SECRET) && !text.contains(&token), "{text}");
}
