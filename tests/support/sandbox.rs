//! The local Management API as a process: its journal, its faults, its state, and people who use its API.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{eventually::DEADLINE, process::Child, run_folder::RunFolder};

/// The credential that stands for a person who works in the portal.
pub const PORTAL: &str = "portal";

/// The longest that one request for the journal waits for something new.
const LONG_POLL: Duration = Duration::from_secs(10);

/// Items asked for at once; the most the API gives.
const PAGE: usize = 100;

/// A running sandbox. Ends when dropped.
pub struct Sandbox {
    child: Child,
    announcement: Announcement,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Announcement {
    url: String,
    #[serde(default)]
    organizations: Vec<Value>,
    credentials: Vec<Credential>,
    ca: Option<String>,
}

/// The age of the API that every sandbox has which is not started with another.
pub fn profile() -> String {
    std::env::var("TEST_SANDBOX_PROFILE").unwrap_or_else(|_| "current".into())
}

/// What a caller of the sandbox may present.
#[derive(Clone, Debug, Deserialize)]
pub struct Credential {
    /// `pat`, `oauth`, `session`, ...
    pub kind: String,
    /// The name by which the journal calls it.
    pub name: String,
    /// The bearer token, where the kind has one from the start.
    pub token: Option<String>,
    /// What it may do.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The organization it was made for.
    pub organization: Option<String>,
    /// What else its kind has, such as a client id.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// One call that the sandbox has seen.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    /// Which call it was, counted from the first.
    pub seq: u64,
    /// The revision of the journal at which the entry last changed.
    pub revision: u64,
    /// When it came in.
    #[serde(default)]
    pub at: Value,
    /// In capitals.
    pub method: String,
    /// As it was asked for.
    pub path: String,
    /// As it was asked for.
    #[serde(default)]
    pub query: Value,
    /// The route that answered, such as `/v1/apps/{appId}`.
    pub route: Option<String>,
    /// The name of the credential.
    pub credential: Option<String>,
    /// How far it has come.
    #[serde(default)]
    pub state: Value,
    /// The status it was answered with.
    pub status: Option<u16>,
    /// Whether it changed anything.
    #[serde(default)]
    pub applied: Value,
    /// The body it came with.
    #[serde(default)]
    pub body: Value,
}

/// A part of the journal.
#[derive(Debug, Deserialize)]
pub struct Journal {
    /// What changed after the revision asked for.
    pub entries: Vec<Entry>,
    /// The revision to ask from next.
    pub last: u64,
}

/// Something that goes wrong on purpose.
#[derive(Debug, Serialize)]
pub struct Fault {
    /// Only calls with this method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Only calls of this route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Whether the call is lost before it took effect, or its answer after.
    pub when: When,
    /// What the caller sees.
    pub action: Action,
    /// How many calls; unset is all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// When a fault strikes.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// The call has no effect.
    Before,
    /// The call has its effect, and the caller does not learn of it.
    After,
}

/// What a caller sees of a fault.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// This status.
    Status(u16),
    /// A connection that is closed without an answer.
    Close,
    /// A connection on which nothing comes.
    Hang,
    /// The answer, so many milliseconds late.
    Delay(u64),
    /// This status, with these headers and this body.
    #[serde(untagged)]
    Answer { status: u16, headers: Value, body: Value },
}

impl Sandbox {
    /// Starts `program sandbox` on a free port with `args` added; it answers when this returns.
    pub async fn start(run: &Arc<RunFolder>, program: &Path, args: &[&str]) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.args(["sandbox", "--address", "127.0.0.1:0", "--print-address", "json"]).args(args);
        if !args.contains(&"--profile") {
            command.args(["--profile", &profile()]);
        }
        let child = Child::start(run, "sandbox", &command)?;
        let announcement: Announcement = child.announcement().await?;
        let authority = announcement.ca.iter().map(|pem| reqwest::Certificate::from_pem(pem.as_bytes()));
        let authority =
            authority.collect::<Result<Vec<_>, _>>().map_err(|e| format!("the sandbox's authority: {e}"))?;
        let http = reqwest::Client::builder().no_proxy().tls_certs_merge(authority).build();
        Ok(Self { child, announcement, http: http.map_err(|e| format!("HTTP client: {e}"))? })
    }

    /// Where it listens, without a slash at the end.
    pub fn url(&self) -> &str {
        self.announcement.url.trim_end_matches('/')
    }

    /// The certificate, in PEM, of the authority that vouches for it, where it speaks TLS.
    pub fn authority(&self) -> Option<&str> {
        self.announcement.ca.as_deref()
    }

    /// The organizations it serves.
    pub fn organizations(&self) -> &[Value] {
        &self.announcement.organizations
    }

    /// All its credentials.
    pub fn credentials(&self) -> &[Credential] {
        &self.announcement.credentials
    }

    /// All that is secret of them: tokens and the secrets of clients.
    pub fn secrets(&self) -> Vec<String> {
        let client_secret = |one: &Credential| one.rest.get("client_secret").and_then(Value::as_str).map(str::to_owned);
        self.credentials().iter().filter_map(|one| one.token.clone().or_else(|| client_secret(one))).collect()
    }

    /// The credential of this name.
    pub fn credential(&self, name: &str) -> Result<&Credential, String> {
        let found = self.credentials().iter().find(|credential| credential.name == name);
        found.ok_or_else(|| format!("the sandbox announces no credential {name:?}"))
    }

    /// The process.
    pub fn process(&self) -> &Child {
        &self.child
    }

    /// Lets it run on after our own end.
    pub fn detach(self) {
        self.child.detach();
    }

    /// What changed in the journal after revision `after`; waits up to `wait` for the first change.
    pub async fn journal(&self, after: u64, wait: Duration) -> Result<Journal, String> {
        let query = [("after", after.to_string()), ("wait", wait.as_millis().to_string())];
        json(self.http.get(format!("{}/sandbox/journal", self.url())).query(&query)).await
    }

    /// The revision of the journal now: what happens later has a higher one.
    pub async fn revision(&self) -> Result<u64, String> {
        Ok(self.journal(0, Duration::ZERO).await?.last)
    }

    /// The calls of one credential that changed in the journal after revision `after`, in their order.
    pub async fn calls_by(&self, credential: &str, after: u64) -> Result<Vec<Entry>, String> {
        let mut entries = self.journal(after, Duration::ZERO).await?.entries;
        entries.retain(|entry| entry.credential.as_deref() == Some(credential));
        entries.sort_by_key(|entry| entry.seq);
        Ok(entries)
    }

    /// Waits for a call, changed after revision `after`, that matches.
    pub async fn call(&self, what: &str, after: u64, matches: impl Fn(&Entry) -> bool) -> Result<Entry, String> {
        let (end, mut after, mut seen) = (Instant::now() + DEADLINE, after, 0);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let journal = self.journal(after, left.min(LONG_POLL)).await?;
            seen += journal.entries.len();
            if let Some(entry) = journal.entries.into_iter().find(&matches) {
                return Ok(entry);
            }
            if left.is_zero() {
                return Err(format!("{what}: no such call within {DEADLINE:?}, among {seen} journal entries"));
            }
            after = journal.last;
        }
    }

    /// Lets something go wrong from now on; returns the id of the fault.
    pub async fn add_fault(&self, fault: &Fault) -> Result<Value, String> {
        let answer: Value = json(self.http.post(format!("{}/sandbox/faults", self.url())).json(fault)).await?;
        Ok(answer["id"].clone())
    }

    /// Ends one fault.
    pub async fn remove_fault(&self, id: &Value) -> Result<(), String> {
        let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        send(self.http.delete(format!("{}/sandbox/faults/{id}", self.url()))).await.map(drop)
    }

    /// Ends all faults.
    pub async fn remove_faults(&self) -> Result<(), String> {
        send(self.http.delete(format!("{}/sandbox/faults", self.url()))).await.map(drop)
    }

    /// All that the sandbox holds.
    pub async fn state(&self) -> Result<Value, String> {
        json(self.http.get(format!("{}/sandbox/state", self.url()))).await
    }

    /// What the portal does with a credential: `revoke`, `expire` or `rotate` it.
    pub async fn credential_is(&self, name: &str, verb: &str) -> Result<(), String> {
        send(self.http.post(format!("{}/sandbox/credentials/{name}/{verb}", self.url()))).await.map(drop)
    }

    /// What the portal does with the repository of an app: `connect` or `disconnect` it.
    pub async fn repository(&self, id: u64, verb: &str) -> Result<(), String> {
        send(self.http.post(format!("{}/sandbox/apps/{id}/{verb}", self.url()))).await.map(drop)
    }

    /// Somebody who works with this credential through the API.
    pub fn person(&self, credential: &str) -> Result<Person, String> {
        let token = self.credential(credential)?.token.clone();
        let token = token.ok_or_else(|| format!("the credential {credential:?} has no token"))?;
        Ok(Person { http: self.http.clone(), base: format!("{}/v1", self.url()), token })
    }

    /// Somebody who works in the portal.
    pub fn portal(&self) -> Result<Person, String> {
        self.person(PORTAL)
    }
}

/// A caller of the API other than the operator.
pub struct Person {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Person {
    /// All apps.
    pub async fn apps(&self) -> Result<Vec<Value>, String> {
        let mut apps = Vec::new();
        loop {
            let query = [("limit", PAGE.to_string()), ("offset", apps.len().to_string())];
            let mut answer: Value = json(self.request(Method::GET, "/apps").query(&query)).await?;
            let Some(page) = answer["apps"].as_array_mut() else {
                return Err(format!("not a list of apps: {answer}"));
            };
            let full = page.len() == PAGE;
            apps.append(page);
            if !full {
                return Ok(apps);
            }
        }
    }

    /// The app of this name, as the list shows it.
    pub async fn app_named(&self, name: &str) -> Result<Option<Value>, String> {
        Ok(self.apps().await?.into_iter().find(|app| app["name"] == name))
    }

    /// One app in detail.
    pub async fn app(&self, id: u64) -> Result<Value, String> {
        json(self.request(Method::GET, &format!("/apps/{id}"))).await
    }

    /// Creates an app.
    pub async fn create_app(&self, body: &Value) -> Result<Value, String> {
        json(self.request(Method::POST, "/apps").json(body)).await
    }

    /// Changes what `body` names.
    pub async fn update_app(&self, id: u64, body: &Value) -> Result<Value, String> {
        json(self.request(Method::PUT, &format!("/apps/{id}")).json(body)).await
    }

    /// Deletes an app.
    pub async fn delete_app(&self, id: u64) -> Result<(), String> {
        send(self.request(Method::DELETE, &format!("/apps/{id}"))).await.map(drop)
    }

    /// Any other call; `path` begins after `/v1`.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<String, String> {
        let request = self.request(method, path);
        send(if let Some(body) = body { request.json(body) } else { request }).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }
}

/// Sends a request; the body of an answer that is a success, the status and body of any other as an error.
async fn send(request: RequestBuilder) -> Result<String, String> {
    let answer = request.timeout(DEADLINE).send().await.map_err(|e| format!("{e:?}"))?;
    let (status, url) = (answer.status(), answer.url().clone());
    let body = answer.text().await.map_err(|e| format!("{url}: {e}"))?;
    if status.is_success() { Ok(body) } else { Err(format!("{url}: {status}: {body}")) }
}

async fn json<T: serde::de::DeserializeOwned>(request: RequestBuilder) -> Result<T, String> {
    let body = send(request).await?;
    serde_json::from_str(&body).map_err(|e| format!("{e} in the answer {body}"))
}
