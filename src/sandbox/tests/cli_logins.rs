//! Login of the Spice command line.

use reqwest::Method;
use serde_json::json;

use super::{BOTH, OPERATOR, Reply, SESSION, TestSandbox, named, reply};
use crate::sandbox::SandboxConfig;

async fn exchange(sandbox: &TestSandbox, code: &str) -> Reply {
    reply(sandbox.request(Method::POST, "/auth/token/exchange").json(&json!({ "code": code }))).await
}

async fn open_page(sandbox: &TestSandbox, code: &str) -> u16 {
    sandbox.request(Method::GET, &format!("/auth/token?code={code}")).send().await.unwrap().status().as_u16()
}

async fn get_bearer(sandbox: &TestSandbox, token: &str, query: &str) -> Reply {
    sandbox.get_as(token, &format!("/api/spice-cli/auth{query}")).await
}

#[tokio::test]
async fn a_code_is_pending_until_its_page_is_opened_and_works_once() {
    let sandbox = TestSandbox::start().await;
    let pending = (202, json!({}));
    assert_eq!(exchange(&sandbox, "ABCD2345").await, pending);
    assert_eq!(open_page(&sandbox, "ABCD2345").await, 200);
    assert_eq!(exchange(&sandbox, "WXYZ6789").await, pending, "the page of another code was opened");
    assert_eq!(exchange(&sandbox, "ABCD2345").await, (200, json!({ "access_token": SESSION })));
    assert_eq!(exchange(&sandbox, "ABCD2345").await, pending);
}

#[tokio::test]
async fn a_code_has_8_uppercase_letters_or_digits() {
    let sandbox = TestSandbox::start().await;
    for code in ["", "ABCD234", "ABCD23456", "abcd2345", "ABCD-345", "ÄBCD234"] {
        assert_eq!(open_page(&sandbox, code).await, 400, "{code}");
        let (status, response) = exchange(&sandbox, code).await;
        assert_eq!(status, 400, "{code}");
        assert!(response["details"]["fieldErrors"]["code"][0].is_string(), "{response}");
    }
    assert_eq!(reply(sandbox.request(Method::POST, "/auth/token/exchange")).await.0, 400);
    assert_eq!(reply(sandbox.request(Method::GET, "/auth/token")).await.0, 400);
}

#[tokio::test]
async fn a_login_returns_a_valid_token_unless_the_session_is_revoked() {
    let sandbox = TestSandbox::start().await;
    let sign_in = async || {
        assert_eq!(open_page(&sandbox, "ABCD2345").await, 200);
        exchange(&sandbox, "ABCD2345").await.1
    };
    sandbox.post("/sandbox/credentials/session/expire", json!({})).await;
    let login = sign_in().await;
    assert_eq!(get_bearer(&sandbox, SESSION, "").await.0, 401);
    assert_eq!(get_bearer(&sandbox, login["access_token"].as_str().unwrap(), "").await.0, 200);
    sandbox.post("/sandbox/credentials/session/revoke", json!({})).await;
    assert_eq!(sign_in().await, json!({ "access_denied": true }));
}

#[tokio::test]
async fn the_bearer_endpoint_returns_user_organization_and_app() {
    let sandbox = TestSandbox::start().await;
    let app = sandbox.create_app(named("My-App")).await;
    let keyed = json!({ "id": app["id"], "name": "My-App", "api_key": app["api_key"] });
    let (own, elsewhere) = (json!({ "id": 1, "name": "sandbox" }), json!({ "id": 2, "name": "elsewhere" }));
    let cases = [
        (SESSION, "", 1, &own, None),
        (OPERATOR, "?app_name=my-app", 1, &own, Some(keyed)),
        (OPERATOR, "?app_name=nothing", 1, &own, None),
        (BOTH, "?org_name=ELSEWHERE&app_name=my-app", 3, &elsewhere, None),
    ];
    for (token, query, user, org, app) in cases {
        let mut expected =
            json!({ "username": format!("user-{user}"), "email": format!("user-{user}@sandbox.invalid"), "org": org });
        if let Some(app) = app {
            expected["app"] = app;
        }
        assert_eq!(get_bearer(&sandbox, token, query).await, (200, expected), "{token} {query}");
    }
    for handle in ["elsewhere", "nothing", ""] {
        let (status, response) = get_bearer(&sandbox, OPERATOR, &format!("?org_name={handle}")).await;
        assert_eq!((status, &response["code"]), (403, &json!("org_forbidden")), "{handle}");
    }
}

#[tokio::test]
async fn an_oauth_client_has_no_user_name_and_its_requests_count() {
    let mut config = SandboxConfig::default();
    config.rate_limits.per_user = 1;
    let sandbox = TestSandbox::start_with(config).await;
    let token = sandbox.issue_token("oauth").await;
    assert_eq!(get_bearer(&sandbox, &token, "").await, (200, json!({ "org": { "id": 1, "name": "sandbox" } })));
    assert_eq!(get_bearer(&sandbox, &token, "").await, (429, json!({ "error": "Rate limit exceeded" })));
    assert_eq!(open_page(&sandbox, "ABCD2345").await, 200);
    assert_eq!(exchange(&sandbox, "ABCD2345").await.0, 200, "requests without a credential are not counted");
    let anonymous = reply(sandbox.request(Method::GET, "/api/spice-cli/auth")).await.1;
    assert_eq!(anonymous, json!({ "error": "Missing Authorization header" }));
}
