//! Start, connection information and shutdown of the server.

use futures::future::join;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{LONG_MS, OPERATOR, TestSandbox, named};
use crate::sandbox::{SandboxConfig, serve};

#[tokio::test]
async fn connection_info_contains_url_organizations_and_credentials() {
    let sandbox = TestSandbox::start().await;
    let announcement = serde_json::to_value(sandbox.server.connection_info()).unwrap();
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
            "url": format!("http://127.0.0.1:{}", sandbox.server.address().port()),
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
async fn a_port_in_use_is_reported() {
    let sandbox = TestSandbox::start().await;
    let address = sandbox.server.address();
    let error = serve(SandboxConfig { address, ..SandboxConfig::default() }).await.err().unwrap().to_string();
    assert!(error.contains(&address.to_string()) && !error.contains('\n'), "{error}");
}

#[tokio::test]
async fn shutdown_closes_delayed_requests_and_ends_journal_waits() {
    for when in ["before", "after"] {
        let sandbox = TestSandbox::start().await;
        sandbox.add_fault(json!({ "when": when, "action": "hang" })).await;
        let held = sandbox.request(Method::POST, "/v1/apps").bearer_auth(OPERATOR).json(&named("app-one")).send();
        let held = tokio::spawn(held);
        let entry = sandbox.wait_for_entry(|entry| entry["state"].as_str().unwrap().contains("held")).await;
        let waiting = sandbox
            .request(Method::GET, &format!("/sandbox/journal?after={}&wait={LONG_MS}", entry["revision"]))
            .send();
        let waiting = tokio::spawn(waiting);
        let address = sandbox.server.address();
        let ((), (held, waiting)) = join(sandbox.server.shutdown(), join(held, waiting)).await;
        assert!(held.unwrap().unwrap_err().is_request(), "{when}");
        // The journal request may arrive after the shutdown. If it arrives in time, it must not wait for its timeout.
        if let Ok(response) = waiting.unwrap() {
            assert!(response.json::<Value>().await.unwrap()["last"].is_u64());
        }
        assert!(TcpStream::connect(address).await.is_err(), "{when}");
    }
}

#[tokio::test]
async fn the_state_endpoint_contains_no_secret_value() {
    let sandbox = TestSandbox::start().await;
    let app = sandbox.create_app(named("app-one")).await;
    let text = sandbox.get("/sandbox/state").await.1.to_string();
    assert!(text.contains("app-one") && !text.contains(app["api_key"].as_str().unwrap()), "{text}");
    assert!(!text.contains("api_key"), "{text}");
}
