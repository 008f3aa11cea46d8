//! How a command line signs in, and what it is told of the bearer.

use reqwest::Method;
use serde_json::{Value, json};

use super::{BOTH, OPERATOR, Reply, TestSandbox, named, reply};
use crate::sandbox::SandboxConfig;

const SESSION: &str = "sandbox-fake-session-token";

async fn exchange(world: &TestSandbox, code: &str) -> Reply {
    reply(world.request(Method::POST, "/auth/token/exchange").json(&json!({ "code": code }))).await
}

async fn open(world: &TestSandbox, code: &str) -> u16 {
    world.request(Method::GET, &format!("/auth/token?code={code}")).send().await.unwrap().status().as_u16()
}

async fn bearer(world: &TestSandbox, token: &str, query: &str) -> Reply {
    world.call(Method::GET, &format!("/api/spice-cli/auth{query}"), token, None).await
}

#[tokio::test]
async fn a_code_waits_for_its_page_and_is_of_use_once() {
    let world = TestSandbox::start().await;
    let waits = (202, json!({}));
    assert_eq!(exchange(&world, "ABCD2345").await, waits);
    assert_eq!(open(&world, "ABCD2345").await, 200);
    assert_eq!(exchange(&world, "WXYZ6789").await, waits, "it was another one's page");
    assert_eq!(exchange(&world, "ABCD2345").await, (200, json!({ "access_token": SESSION })));
    assert_eq!(exchange(&world, "ABCD2345").await, waits);
}

#[tokio::test]
async fn a_code_has_8_capital_letters_or_digits() {
    let world = TestSandbox::start().await;
    for code in ["", "ABCD234", "ABCD23456", "abcd2345", "ABCD-345", "ÄBCD234"] {
        assert_eq!(open(&world, code).await, 400, "{code}");
        let (status, answer) = exchange(&world, code).await;
        assert_eq!(status, 400, "{code}");
        assert!(answer["details"]["fieldErrors"]["code"][0].is_string(), "{answer}");
    }
    assert_eq!(reply(world.request(Method::POST, "/auth/token/exchange")).await.0, 400);
    assert_eq!(reply(world.request(Method::GET, "/auth/token")).await.0, 400);
}

#[tokio::test]
async fn who_signs_in_again_gets_a_token_that_works_unless_the_session_was_revoked() {
    let world = TestSandbox::start().await;
    let sign_in = async || {
        assert_eq!(open(&world, "ABCD2345").await, 200);
        exchange(&world, "ABCD2345").await.1
    };
    world.post("/sandbox/credentials/session/expire", json!({})).await;
    let login = sign_in().await;
    assert_eq!(bearer(&world, SESSION, "").await.0, 401);
    assert_eq!(bearer(&world, login["access_token"].as_str().unwrap(), "").await.0, 200);
    world.post("/sandbox/credentials/session/revoke", json!({})).await;
    assert_eq!(sign_in().await, json!({ "access_denied": true }));
}

#[tokio::test]
async fn a_bearer_is_told_who_it_is() {
    let world = TestSandbox::start().await;
    let app = world.app(named("My-App")).await;
    let keyed = json!({ "id": app["id"], "name": "My-App", "api_key": app["api_key"] });
    let (sandbox, elsewhere) = (json!({ "id": 1, "name": "sandbox" }), json!({ "id": 2, "name": "elsewhere" }));
    let cases = [
        (SESSION, "", 1, &sandbox, None),
        (OPERATOR, "?app_name=my-app", 1, &sandbox, Some(keyed)),
        (OPERATOR, "?app_name=nothing", 1, &sandbox, None),
        (BOTH, "?org_name=ELSEWHERE&app_name=my-app", 3, &elsewhere, None),
    ];
    for (token, query, user, org, app) in cases {
        let mut expected =
            json!({ "username": format!("user-{user}"), "email": format!("user-{user}@sandbox.invalid"), "org": org });
        if let Some(app) = app {
            expected["app"] = app;
        }
        assert_eq!(bearer(&world, token, query).await, (200, expected), "{token} {query}");
    }
    for handle in ["elsewhere", "nothing", ""] {
        let (status, answer) = bearer(&world, OPERATOR, &format!("?org_name={handle}")).await;
        assert_eq!((status, &answer["code"]), (403, &json!("org_forbidden")), "{handle}");
    }
}

#[tokio::test]
async fn a_machine_has_no_name_and_its_questions_count() {
    let mut config = SandboxConfig::default();
    config.rate_limits.per_user = 1;
    let world = TestSandbox::with(config).await;
    let grant = json!({
        "grant_type": "client_credentials", "client_id": "sandbox-fake-client-oauth",
        "client_secret": "sandbox-fake-client-secret-oauth",
    });
    let (_, grant) = reply(world.request(Method::POST, "/api/oauth/token").json(&grant)).await;
    let token = grant["access_token"].as_str().unwrap();
    assert_eq!(bearer(&world, token, "").await, (200, json!({ "org": { "id": 1, "name": "sandbox" } })));
    assert_eq!(bearer(&world, token, "").await, (429, json!({ "error": "Rate limit exceeded" })));
    assert_eq!(open(&world, "ABCD2345").await, 200);
    assert_eq!(exchange(&world, "ABCD2345").await.0, 200, "what asks for no credential is not counted");
    let anonymous: Value = reply(world.request(Method::GET, "/api/spice-cli/auth")).await.1;
    assert_eq!(anonymous, json!({ "error": "Missing Authorization header" }));
}
