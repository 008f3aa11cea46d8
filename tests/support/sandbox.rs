//! The sandbox as a child process: journal, fault rules, state, and clients of its API.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{eventually::DEADLINE, process::Child, run_dir::RunDir};

/// Name of the credential for simulated portal actions.
pub const PORTAL: &str = "portal";

/// Maximum wait of one journal request.
const LONG_POLL: Duration = Duration::from_secs(10);

/// Page size of list requests. The API accepts at most 100.
const PAGE: usize = 100;

/// A running sandbox. A drop stops the process.
pub struct Sandbox {
    child: Child,
    connection_info: ConnectionInfo,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct ConnectionInfo {
    url: String,
    credentials: Vec<Credential>,
    ca: Option<String>,
}

/// Profile of a sandbox that starts without an explicit `--profile`.
pub fn profile() -> String {
    std::env::var("TEST_SANDBOX_PROFILE").unwrap_or_else(|_| "current".into())
}

/// A credential of the sandbox.
#[derive(Clone, Debug, Deserialize)]
pub struct Credential {
    /// Name in the journal.
    pub name: String,
    /// Bearer token. `None` for an OAuth client.
    pub token: Option<String>,
    /// Other fields, such as a client ID.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A request in the journal.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    /// Sequence number, from 1.
    pub seq: u64,
    /// Time of arrival.
    #[serde(default)]
    pub at: Value,
    /// HTTP method in upper case.
    pub method: String,
    /// Path of the request.
    pub path: String,
    /// Pattern of the path, such as `/v1/apps/{appId}`.
    pub route: Option<String>,
    /// Name of the credential.
    pub credential: Option<String>,
    /// State of the request.
    #[serde(default)]
    pub state: Value,
    /// Status of the response.
    pub status: Option<u16>,
    /// Body of the request.
    #[serde(default)]
    pub body: Value,
}

/// Part of the journal.
#[derive(Debug, Deserialize)]
pub struct Journal {
    /// Entries that changed after the requested revision.
    pub entries: Vec<Entry>,
    /// Revision for the next request.
    pub last: u64,
}

/// A fault rule.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
    when: When,
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<u32>,
}

impl Fault {
    /// Creates a rule for every request.
    pub fn new(when: When, action: Action) -> Self {
        Self { method: None, route: None, credential: None, when, action, times: None }
    }

    /// Restricts the rule to one HTTP method.
    pub fn method(self, method: &str) -> Self {
        Self { method: Some(method.to_owned()), ..self }
    }

    /// Restricts the rule to one route.
    pub fn route(self, route: &str) -> Self {
        Self { route: Some(route.to_owned()), ..self }
    }

    /// Restricts the rule to the requests of one credential.
    pub fn credential(self, name: &str) -> Self {
        Self { credential: Some(name.to_owned()), ..self }
    }

    /// Restricts the rule to the first matching requests.
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }
}

/// Time at which a fault rule acts.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// Before the request takes effect.
    Before,
    /// After the request took effect, before the response.
    After,
}

/// Form of a fault.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A response with this status.
    Status(u16),
    /// A closed connection without a response.
    Close,
    /// No response until the rule is removed.
    Hang,
    /// A delay in milliseconds.
    Delay(u64),
    /// A response with this status, these headers and this body.
    #[serde(untagged)]
    Response { status: u16, headers: Value, body: Value },
}

impl Sandbox {
    /// Starts `program sandbox` on a free port with additional `args`. The sandbox listens when this function returns.
    pub async fn start(run: &Arc<RunDir>, program: &Path, args: &[&str]) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.args(["sandbox", "--address", "127.0.0.1:0", "--print-address", "json"]).args(args);
        if !args.contains(&"--profile") {
            command.args(["--profile", &profile()]);
        }
        let child = Child::start(run, "sandbox", &command)?;
        let connection_info: ConnectionInfo = child.wait_for_first_line().await?;
        let authority = connection_info.ca.iter().map(|pem| reqwest::Certificate::from_pem(pem.as_bytes()));
        let authority =
            authority.collect::<Result<Vec<_>, _>>().map_err(|e| format!("the sandbox's authority: {e}"))?;
        let http = reqwest::Client::builder().no_proxy().tls_certs_merge(authority).build();
        Ok(Self { child, connection_info, http: http.map_err(|e| format!("HTTP client: {e}"))? })
    }

    /// Returns the base URL without a trailing slash.
    pub fn url(&self) -> &str {
        self.connection_info.url.trim_end_matches('/')
    }

    /// Returns the certificate of the authority in PEM, if the sandbox uses TLS.
    pub fn authority(&self) -> Option<&str> {
        self.connection_info.ca.as_deref()
    }

    /// Returns all credentials.
    pub fn credentials(&self) -> &[Credential] {
        &self.connection_info.credentials
    }

    /// Returns all tokens and client secrets.
    pub fn secrets(&self) -> Vec<String> {
        let client_secret =
            |credential: &Credential| credential.rest.get("client_secret").and_then(Value::as_str).map(str::to_owned);
        self.credentials()
            .iter()
            .filter_map(|credential| credential.token.clone().or_else(|| client_secret(credential)))
            .collect()
    }

    /// Returns the credential with this name.
    pub fn credential(&self, name: &str) -> Result<&Credential, String> {
        let found = self.credentials().iter().find(|credential| credential.name == name);
        found.ok_or_else(|| format!("the sandbox has no credential {name:?}"))
    }

    /// Returns the process.
    pub fn process(&self) -> &Child {
        &self.child
    }

    /// Keeps the process running after the end of this process.
    pub fn detach(self) {
        self.child.detach();
    }

    /// Returns the entries that changed after revision `after`. Waits up to `wait` for the first change.
    pub async fn journal(&self, after: u64, wait: Duration) -> Result<Journal, String> {
        let query = [("after", after.to_string()), ("wait", wait.as_millis().to_string())];
        json(self.http.get(format!("{}/sandbox/journal", self.url())).query(&query)).await
    }

    /// Returns the current revision of the journal.
    pub async fn revision(&self) -> Result<u64, String> {
        Ok(self.journal(0, Duration::ZERO).await?.last)
    }

    /// Returns the requests of a credential that changed after revision `after`, ordered by arrival.
    pub async fn calls_by(&self, credential: &str, after: u64) -> Result<Vec<Entry>, String> {
        let mut entries = self.journal(after, Duration::ZERO).await?.entries;
        entries.retain(|entry| entry.credential.as_deref() == Some(credential));
        entries.sort_by_key(|entry| entry.seq);
        Ok(entries)
    }

    /// Waits for a matching entry that changed after revision `after`.
    pub async fn wait_for_call(
        &self,
        description: &str,
        after: u64,
        matches: impl Fn(&Entry) -> bool,
    ) -> Result<Entry, String> {
        let (end, mut after, mut seen) = (Instant::now() + DEADLINE, after, 0);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let journal = self.journal(after, left.min(LONG_POLL)).await?;
            seen += journal.entries.len();
            if let Some(entry) = journal.entries.into_iter().find(&matches) {
                return Ok(entry);
            }
            if left.is_zero() {
                return Err(format!("{description}: no such call within {DEADLINE:?}, among {seen} journal entries"));
            }
            after = journal.last;
        }
    }

    /// Adds a fault rule.
    pub async fn add_fault(&self, fault: Fault) -> Result<(), String> {
        send(self.http.post(format!("{}/sandbox/faults", self.url())).json(&fault)).await.map(drop)
    }

    /// Removes all fault rules.
    pub async fn remove_faults(&self) -> Result<(), String> {
        send(self.http.delete(format!("{}/sandbox/faults", self.url()))).await.map(drop)
    }

    /// Returns the stored state.
    pub async fn state(&self) -> Result<Value, String> {
        json(self.http.get(format!("{}/sandbox/state", self.url()))).await
    }

    /// Changes a credential: `revoke`, `expire` or `rotate`.
    pub async fn change_credential(&self, name: &str, action: &str) -> Result<(), String> {
        send(self.http.post(format!("{}/sandbox/credentials/{name}/{action}", self.url()))).await.map(drop)
    }

    /// Changes the repository connection of an app: `connect` or `disconnect`.
    pub async fn change_repository(&self, id: u64, action: &str) -> Result<(), String> {
        send(self.http.post(format!("{}/sandbox/apps/{id}/{action}", self.url()))).await.map(drop)
    }

    /// Returns an API client with this credential.
    pub fn client(&self, credential: &str) -> Result<ApiClient, String> {
        let token = self.credential(credential)?.token.clone();
        let token = token.ok_or_else(|| format!("the credential {credential:?} has no token"))?;
        Ok(ApiClient { http: self.http.clone(), base: format!("{}/v1", self.url()), token })
    }

    /// Returns an API client that simulates portal actions.
    pub fn portal(&self) -> Result<ApiClient, String> {
        self.client(PORTAL)
    }
}

/// A client of the API other than the operator.
pub struct ApiClient {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl ApiClient {
    /// Lists all apps.
    pub async fn apps(&self) -> Result<Vec<Value>, String> {
        let mut apps = Vec::new();
        loop {
            let query = [("limit", PAGE.to_string()), ("offset", apps.len().to_string())];
            let mut response: Value = json(self.request(Method::GET, "/apps").query(&query)).await?;
            let Some(page) = response["apps"].as_array_mut() else {
                return Err(format!("not a list of apps: {response}"));
            };
            let is_full = page.len() == PAGE;
            apps.append(page);
            if !is_full {
                return Ok(apps);
            }
        }
    }

    /// Returns the list entry of the app with this name.
    pub async fn app_named(&self, name: &str) -> Result<Option<Value>, String> {
        Ok(self.apps().await?.into_iter().find(|app| app["name"] == name))
    }

    /// Returns the details of an app.
    pub async fn app(&self, id: u64) -> Result<Value, String> {
        json(self.request(Method::GET, &format!("/apps/{id}"))).await
    }

    /// Creates an app.
    pub async fn create_app(&self, body: &Value) -> Result<Value, String> {
        json(self.request(Method::POST, "/apps").json(body)).await
    }

    /// Updates the fields in `body`.
    pub async fn update_app(&self, id: u64, body: &Value) -> Result<Value, String> {
        json(self.request(Method::PUT, &format!("/apps/{id}")).json(body)).await
    }

    /// Deletes an app.
    pub async fn delete_app(&self, id: u64) -> Result<(), String> {
        send(self.request(Method::DELETE, &format!("/apps/{id}"))).await.map(drop)
    }

    /// Sends any other request. `path` starts after `/v1`.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<String, String> {
        let request = self.request(method, path);
        send(if let Some(body) = body { request.json(body) } else { request }).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }
}

/// Returns the body of a successful response. The error contains the status and body of any other response.
async fn send(request: RequestBuilder) -> Result<String, String> {
    let response = request.timeout(DEADLINE).send().await.map_err(|e| format!("{e:?}"))?;
    let (status, url) = (response.status(), response.url().clone());
    let body = response.text().await.map_err(|e| format!("{url}: {e}"))?;
    if status.is_success() { Ok(body) } else { Err(format!("{url}: {status}: {body}")) }
}

async fn json<T: serde::de::DeserializeOwned>(request: RequestBuilder) -> Result<T, String> {
    let body = send(request).await?;
    serde_json::from_str(&body).map_err(|e| format!("{e} in the response {body}"))
}
