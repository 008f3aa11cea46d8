//! The server as a whole: how it starts, what it announces, how it ends.

use futures::future::join;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{LONG, OPERATOR, TestSandbox, named};
use crate::sandbox::{SandboxConfig, serve};

#[tokio::test]
async fn the_announcement_tells_how_to_use_it() {
    let world = TestSandbox::start().await;
    let announcement = serde_json::to_value(world.running.connection_info()).unwrap();
    let token = |name: &str, scope: &str, organization: &str| {
        json!({
            "kind": "personal_access_token", "name": name, "token": format!("sandbox-fake-token-{name}"),
            "scopes": [scope], "organization": organization,
        })
    };
    let client = |name: &str, organization: &str| {
        json!({
            "kind": "oauth_client", "name": name, "client_id": format!("sandbox-fake-client-{name}"),
            "client_secret": format!("sandbox-fake-client-secret-{name}"), "scopes": ["*"], "organization": organization,
        })
    };
    assert_eq!(
        announcement,
        json!({
            "url": format!("http://127.0.0.1:{}", world.running.address().port()),
            "organizations": [{ "id": 1, "name": "sandbox" }, { "id": 2, "name": "elsewhere" }],
            "credentials": [
                token("operator", "*", "sandbox"),
                token("portal", "*", "sandbox"),
                token("reader", "apps:read", "sandbox"),
                client("oauth", "sandbox"),
                {
                    "kind": "session_token", "name": "session", "token": "sandbox-fake-session-token",
                    "scopes": ["*"], "organization": "sandbox",
                },
                token("elsewhere", "*", "elsewhere"),
                client("elsewhere-oauth", "elsewhere"),
                token("both", "*", "sandbox"),
            ],
        })
    );
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let world = TestSandbox::start().await;
    let address = world.running.address();
    let error = serve(SandboxConfig { address, ..SandboxConfig::default() }).await.err().unwrap().to_string();
    assert!(error.contains(&address.to_string()) && !error.contains('\n'), "{error}");
}

#[tokio::test]
async fn the_end_closes_what_is_held_and_answers_what_waits() {
    for when in ["before", "after"] {
        let world = TestSandbox::start().await;
        world.fault(json!({ "when": when, "action": "hang" })).await;
        let held = world.request(Method::POST, "/v1/apps").bearer_auth(OPERATOR).json(&named("app-one")).send();
        let held = tokio::spawn(held);
        let entry = world.entry(|entry| entry["state"].as_str().unwrap().contains("held")).await;
        let waiting =
            world.request(Method::GET, &format!("/sandbox/journal?after={}&wait={LONG}", entry["revision"])).send();
        let waiting = tokio::spawn(waiting);
        let address = world.running.address();
        let ((), (held, waiting)) = join(world.running.shutdown(), join(held, waiting)).await;
        assert!(held.unwrap().unwrap_err().is_request(), "{when}");
        // Whether its question came before the end is the system's choice; that it does not wait for its time is ours.
        if let Ok(response) = waiting.unwrap() {
            assert!(response.json::<Value>().await.unwrap()["last"].is_u64());
        }
        assert!(TcpStream::connect(address).await.is_err(), "{when}");
    }
}

#[tokio::test]
async fn state_holds_no_secret_value() {
    let world = TestSandbox::start().await;
    let app = world.app(named("app-one")).await;
    let text = world.get("/sandbox/state").await.1.to_string();
    assert!(text.contains("app-one") && !text.contains(app["api_key"].as_str().unwrap()), "{text}");
    assert!(!text.contains("api_key"), "{text}");
}
