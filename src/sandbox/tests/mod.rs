//! Tests of the sandbox over HTTP. No test sleeps: tests wait for journal entries.

mod apps;
mod authorization;
mod cli_logins;
mod credentials;
mod faults;
mod journal;
mod openapi;
mod persistence;
mod profile;
mod rate_limits;
mod request_bodies;
mod secrets;
mod server;
mod tls;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::sandbox::{ApiSwitches, CredentialConfig, CredentialKind, Profile, RunningSandbox, SandboxConfig, serve};

const OPERATOR: &str = "sandbox-fake-token-operator";
const ELSEWHERE: &str = "sandbox-fake-token-elsewhere";
const BOTH: &str = "sandbox-fake-token-both";
const READER: &str = "sandbox-fake-token-reader";
const SESSION: &str = "sandbox-fake-session-token";
/// Token that belongs to no credential.
const UNKNOWN: &str = "sandbox-fake-token-nobody";

/// Timeout that no test should reach, in milliseconds.
const LONG_MS: u64 = 60_000;

/// A running sandbox and a client.
struct TestSandbox {
    server: RunningSandbox,
    http: Client,
}

/// Status and JSON body. Null if the body is empty.
type Reply = (u16, Value);

impl TestSandbox {
    async fn start() -> Self {
        Self::start_with(SandboxConfig::default()).await
    }

    async fn start_with(config: SandboxConfig) -> Self {
        let server = serve(SandboxConfig { address: free_port(), ..config }).await.unwrap();
        Self { server, http: Client::builder().no_proxy().build().unwrap() }
    }

    async fn start_with_switches(switches: ApiSwitches) -> Self {
        Self::start_with(SandboxConfig { switches, ..SandboxConfig::default() }).await
    }

    async fn start_with_profile(profile: Profile) -> Self {
        Self::start_with_switches(ApiSwitches { profile, ..ApiSwitches::default() }).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.server.url()))
    }

    async fn call(&self, method: Method, path: &str, token: &str, body: Option<&Value>) -> Reply {
        let request = self.request(method, path).bearer_auth(token);
        reply(if let Some(body) = body { request.json(body) } else { request }).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.get_as(OPERATOR, path).await
    }

    async fn get_as(&self, token: &str, path: &str) -> Reply {
        self.call(Method::GET, path, token, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(Method::POST, path, OPERATOR, Some(&body)).await
    }

    async fn put(&self, path: &str, body: Value) -> Reply {
        self.call(Method::PUT, path, OPERATOR, Some(&body)).await
    }

    async fn delete(&self, path: &str) -> Reply {
        self.call(Method::DELETE, path, OPERATOR, None).await
    }

    /// Creates an app and asserts success.
    async fn create_app(&self, body: Value) -> Value {
        let (status, app) = self.post("/v1/apps", body).await;
        assert_eq!(status, 201, "{app}");
        app
    }

    async fn journal(&self, after: u64, wait: u64) -> Value {
        let (status, journal) = self.get(&format!("/sandbox/journal?after={after}&wait={wait}")).await;
        assert_eq!(status, 200, "{journal}");
        journal
    }

    /// Returns all entries of the journal.
    async fn journal_entries(&self) -> Vec<Value> {
        self.journal(0, 0).await["entries"].as_array().unwrap().clone()
    }

    /// Waits for the first matching entry.
    async fn wait_for_entry(&self, fits: impl Fn(&Value) -> bool) -> Value {
        let mut after = 0;
        loop {
            let journal = self.journal(after, LONG_MS).await;
            let entries = journal["entries"].as_array().unwrap();
            assert!(!entries.is_empty(), "no such entry after {LONG_MS} ms");
            if let Some(entry) = entries.iter().find(|entry| fits(entry)) {
                return entry.clone();
            }
            after = journal["last"].as_u64().unwrap();
        }
    }

    /// Waits for an entry in a state.
    async fn wait_for_state(&self, state: &str) -> Value {
        self.wait_for_entry(|entry| entry["state"] == state).await
    }

    async fn add_fault(&self, rule: Value) -> u64 {
        let (status, response) = self.post("/sandbox/faults", rule).await;
        assert_eq!(status, 201, "{response}");
        response["id"].as_u64().unwrap()
    }

    /// Removes a fault rule and asserts success.
    async fn remove_fault(&self, rule: u64) {
        assert_eq!(self.delete(&format!("/sandbox/faults/{rule}")).await.0, 204);
    }

    /// Exchanges a body for a token.
    async fn exchange(&self, body: &Value) -> Reply {
        reply(self.request(Method::POST, "/api/oauth/token").json(body)).await
    }

    /// Issues a token to a configured OAuth client.
    async fn issue_token(&self, client: &str) -> String {
        let (status, response) = self.exchange(&client_grant(client)).await;
        assert_eq!(status, 200, "{response}");
        response["access_token"].as_str().unwrap().to_owned()
    }

    /// Returns the names of all stored apps, including deleted apps.
    async fn stored_app_names(&self) -> Vec<String> {
        let (_, state) = self.get("/sandbox/state").await;
        let name = |app: &Value| app["name"].as_str().unwrap().to_owned();
        state["apps"].as_array().unwrap().iter().map(name).collect()
    }
}

fn free_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// Starts a sandbox that must fail, and returns the error message.
async fn start_error(config: SandboxConfig) -> String {
    serve(SandboxConfig { address: free_port(), ..config }).await.err().unwrap().to_string()
}

fn config_with_state_file(file: &Path) -> SandboxConfig {
    SandboxConfig { state_file: Some(file.to_owned()), ..SandboxConfig::default() }
}

fn config_from_seed(text: &str) -> Result<SandboxConfig, String> {
    let mut config = SandboxConfig::default();
    config.load_seed(text).map(|()| config)
}

/// Returns a credential without a user. The token is `sandbox-fake-token-NAME`.
fn credential(name: &str, scopes: &[&str]) -> CredentialConfig {
    CredentialConfig {
        kind: CredentialKind::PersonalAccessToken { token: format!("sandbox-fake-token-{name}") },
        name: name.into(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        organization: "sandbox".into(),
        user: None,
        narrowed: false,
        is_limited: true,
    }
}

/// Returns the token request of a configured OAuth client.
fn client_grant(client: &str) -> Value {
    json!({
        "grant_type": "client_credentials", "client_id": format!("sandbox-fake-client-{client}"),
        "client_secret": format!("sandbox-fake-client-secret-{client}"),
    })
}

async fn reply(request: RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.bytes().await.unwrap();
    (status, if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() })
}

fn path(app: &Value) -> String {
    format!("/v1/apps/{}", app["id"])
}

fn named(name: &str) -> Value {
    json!({ "name": name, "region": "us-west-2" })
}

/// Asserts that a value has the expected members. Additional members are allowed.
fn assert_has(actual: &Value, expected: &Value) {
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&actual[key], value, "{key} in {actual:#}");
    }
}
