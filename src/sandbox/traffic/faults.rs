//! Fault rules: which requests go wrong, when, and how.
//!
//! This holds and finds the rules; the gateway acts on them. A new way to fail is a variant of [`Action`].

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Mutex;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::sandbox::wire::sync::lock;

/// So many rules there can be: far more than a test needs, and each request looks at all of them.
const MAX_RULES: usize = 1000;

/// What a rule says.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spec {
    /// Which method; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    method: Option<MethodName>,
    /// Which route; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    route: Option<RoutePattern>,
    #[serde(default)]
    when: Stage,
    action: Action,
    /// How often it acts; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times: Option<NonZeroU64>,
}

impl Spec {
    /// What is wrong with it as a whole.
    pub(crate) fn contradiction(&self) -> Option<&'static str> {
        match &self.action {
            Action::Answer(Answer { body: Some(_), text: Some(_), .. }) => {
                Some("an answer has a body or a text, not both")
            }
            _ => None,
        }
    }
}

/// When a rule acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// Before the request does anything.
    #[default]
    Before,
    /// After it did what it asked for, before the answer.
    After,
}

/// How a request goes wrong.
#[derive(Clone, Deserialize, Serialize)]
#[serde(
    untagged,
    expecting = "must be \"close\", \"hang\" or an object with delay, or with status and perhaps delay, headers, and body or text"
)]
pub(crate) enum Action {
    /// By name, without settings.
    Named(Named),
    /// The request goes on as it should, but late.
    Late(Late),
    /// Another answer instead of the right one.
    Answer(Answer),
}

/// The ways to fail that have no settings.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Named {
    /// The connection is closed without an answer.
    Close,
    /// The request waits until the rule is removed or the client goes away.
    Hang,
}

/// Nothing but a delay.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Late {
    pub(crate) delay: Milliseconds,
}

/// An answer instead of the right one.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    status: Status,
    /// How long it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delay: Option<Milliseconds>,
    /// Absent, without a text: an error body of the API that names the status.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    body: Option<Value>,
    /// A body that is not JSON, such as a page of HTML. Plain text, unless a header says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    headers: Headers,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = self.status.0;
        let reason = status.canonical_reason().unwrap_or("Injected fault");
        let mut response = match self.text {
            Some(text) => (status, text).into_response(),
            None => (status, Json(self.body.unwrap_or_else(|| json!({ "error": reason })))).into_response(),
        };
        for (name, value) in self.headers.0 {
            if let Some(name) = name {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// A rule as it is listed.
#[derive(Serialize)]
pub(crate) struct Listed {
    id: u64,
    #[serde(flatten)]
    spec: Spec,
    /// How often it acted.
    matched: u64,
}

/// A rule that was found to match.
pub(crate) struct Fault {
    /// What to do.
    pub(crate) action: Action,
    /// Cancelled when the rule is removed.
    pub(crate) released: CancellationToken,
}

/// The rules there are.
#[derive(Default)]
pub(crate) struct Faults {
    rules: Mutex<Rules>,
}

#[derive(Default)]
struct Rules {
    /// In order of id; the first that matches wins.
    active: BTreeMap<u64, Rule>,
    last_id: u64,
}

struct Rule {
    spec: Spec,
    matched: u64,
    released: CancellationToken,
}

impl Faults {
    /// Adds a rule behind the others. None: there are too many.
    pub(crate) fn add(&self, spec: Spec) -> Option<u64> {
        let mut rules = lock(&self.rules);
        if rules.active.len() >= MAX_RULES {
            return None;
        }
        rules.last_id += 1;
        let id = rules.last_id;
        rules.active.insert(id, Rule { spec, matched: 0, released: CancellationToken::new() });
        Some(id)
    }

    /// The rules in the order they are tried, used-up ones too.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let rules = lock(&self.rules);
        rules
            .active
            .iter()
            .map(|(id, rule)| Listed { id: *id, spec: rule.spec.clone(), matched: rule.matched })
            .collect()
    }

    /// Removes a rule and releases what it holds. False: there is none of that id.
    pub(crate) fn remove(&self, id: u64) -> bool {
        let rule = lock(&self.rules).active.remove(&id);
        rule.inspect(|rule| rule.released.cancel()).is_some()
    }

    /// Removes every rule and releases what they hold.
    pub(crate) fn clear(&self) {
        for rule in std::mem::take(&mut lock(&self.rules).active).into_values() {
            rule.released.cancel();
        }
    }

    /// The first rule that matches, which thereby counts as having acted once more.
    pub(crate) fn take(&self, stage: Stage, method: &Method, route: Option<&str>) -> Option<Fault> {
        let mut rules = lock(&self.rules);
        let rule = rules.active.values_mut().find(|rule| rule.matches(stage, method, route))?;
        rule.matched += 1;
        Some(Fault { action: rule.spec.action.clone(), released: rule.released.clone() })
    }
}

impl Rule {
    fn matches(&self, stage: Stage, method: &Method, route: Option<&str>) -> bool {
        self.spec.when == stage
            && self.spec.times.is_none_or(|times| self.matched < times.get())
            && self.spec.method.as_ref().is_none_or(|wanted| wanted.0 == method.as_str())
            && self.spec.route.as_ref().is_none_or(|wanted| wanted.matches(route))
    }
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(try_from = "String")]
struct MethodName(String);

impl TryFrom<String> for MethodName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"].contains(&text.as_str());
        if known { Ok(Self(text)) } else { Err(format!("{text:?} is not a method such as \"POST\"")) }
    }
}

/// A route as the journal names it, or the beginning of one and `*`.
#[derive(Clone, Deserialize, Serialize)]
#[serde(try_from = "String")]
struct RoutePattern(String);

impl RoutePattern {
    fn matches(&self, route: Option<&str>) -> bool {
        let route = route.unwrap_or_default();
        match self.0.strip_suffix('*') {
            Some(prefix) => route.starts_with(prefix),
            None => route == self.0,
        }
    }
}

impl TryFrom<String> for RoutePattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fixed = text.strip_suffix('*').unwrap_or(&text);
        if fixed.contains('*') || !(fixed.starts_with('/') || text == "*") {
            return Err(format!("{text:?} is not a route such as \"/v1/apps/{{appId}}\" or \"/v1/*\""));
        }
        Ok(Self(text))
    }
}

/// A bounded time: longer than any client waits, and whoever wants more lets the request hang.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(try_from = "u64", into = "u64")]
pub(crate) struct Milliseconds(u64);

impl Milliseconds {
    const MOST: u64 = 600_000;

    pub(crate) fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl TryFrom<u64> for Milliseconds {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        if number <= Self::MOST { Ok(Self(number)) } else { Err(format!("{number} is more than {} ms", Self::MOST)) }
    }
}

impl From<Milliseconds> for u64 {
    fn from(milliseconds: Milliseconds) -> Self {
        milliseconds.0
    }
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(try_from = "u16", into = "u16")]
struct Status(StatusCode);

impl TryFrom<u16> for Status {
    type Error = String;

    fn try_from(number: u16) -> Result<Self, String> {
        // Below 200 an answer is not the last one, and a client would go on waiting.
        let status = StatusCode::from_u16(number).ok().filter(|_| (200..=599).contains(&number));
        status.map(Self).ok_or_else(|| format!("{number} is not a status from 200 to 599"))
    }
}

impl From<Status> for u16 {
    fn from(status: Status) -> Self {
        status.0.as_u16()
    }
}

#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
struct Headers(HeaderMap);

impl Headers {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<BTreeMap<String, String>> for Headers {
    type Error = String;

    fn try_from(texts: BTreeMap<String, String>) -> Result<Self, String> {
        let framing = [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::UPGRADE];
        let mut headers = HeaderMap::new();
        for (name, value) in texts {
            let parsed = HeaderName::try_from(&name).ok().filter(|name| !framing.contains(name));
            let parsed = parsed.ok_or_else(|| format!("{name:?} is not a header that can be set"))?;
            let value = HeaderValue::try_from(value).map_err(|_| format!("the value of {name:?} is not legal"))?;
            headers.insert(parsed, value);
        }
        Ok(Self(headers))
    }
}

impl From<Headers> for BTreeMap<String, String> {
    fn from(headers: Headers) -> Self {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.0.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
    }
}

/// Tells `null` from absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
