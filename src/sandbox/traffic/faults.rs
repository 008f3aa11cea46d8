//! Fault rules: the requests that fail, the time of the failure and its form.
//!
//! This module stores and matches rules; the middleware executes them. A new kind of fault is a variant of
//! [`FaultAction`].

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

/// Maximum number of rules. Tests need far fewer, and every request checks all rules.
const MAX_RULES: usize = 1000;

/// A fault rule in the form of `POST /sandbox/faults`.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultRule {
    /// HTTP method. `None`: any method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    method: Option<FaultMethod>,
    /// Route. `None`: any route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    route: Option<RoutePattern>,
    /// Name of the credential of the request. `None`: any request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
    #[serde(default)]
    when: FaultStage,
    action: FaultAction,
    /// Number of requests that the rule affects. `None`: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times: Option<NonZeroU64>,
}

impl FaultRule {
    /// Returns an error message if fields contradict each other.
    pub(crate) fn find_contradiction(&self) -> Option<&'static str> {
        match &self.action {
            FaultAction::Response(ResponseFault { body: Some(_), text: Some(_), .. }) => {
                Some("an answer has a body or a text, not both")
            }
            _ => None,
        }
    }
}

/// Time at which a rule acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FaultStage {
    /// Before the request takes effect.
    #[default]
    Before,
    /// After the request took effect, before the response.
    After,
}

/// Form of a fault.
#[derive(Clone, Deserialize, Serialize)]
#[serde(
    untagged,
    expecting = "must be \"close\", \"hang\" or an object with delay, or with status and perhaps delay, headers, and body or text"
)]
pub(crate) enum FaultAction {
    /// A fault without settings.
    Named(NamedFault),
    /// A late request with its normal response.
    Delay(DelayFault),
    /// A different response.
    Response(ResponseFault),
}

/// Faults without settings.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NamedFault {
    /// Close the connection without a response.
    Close,
    /// Wait until the rule is removed or the client disconnects.
    Hang,
}

/// A delay only.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DelayFault {
    pub(crate) delay: FaultDelay,
}

/// A response that replaces the normal response.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResponseFault {
    status: FaultStatus,
    /// Delay before the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delay: Option<FaultDelay>,
    /// JSON body. The default, without `text`, is an error body with the reason of the status code.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "deserialize_present")]
    body: Option<Value>,
    /// Body that is not JSON, such as an HTML page. The default content type is plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "FaultHeaders::is_empty")]
    headers: FaultHeaders,
}

impl IntoResponse for ResponseFault {
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

/// A rule in the response of `GET /sandbox/faults`.
#[derive(Serialize)]
pub(crate) struct FaultRuleStatus {
    id: u64,
    #[serde(flatten)]
    rule: FaultRule,
    /// Number of affected requests.
    matched: u64,
}

/// Properties of a request that a rule matches.
pub(crate) struct FaultTarget {
    pub(crate) method: Method,
    pub(crate) route: Option<String>,
    /// Name of the credential. `None`: no valid credential.
    pub(crate) credential: Option<String>,
}

pub(crate) struct TriggeredFault {
    /// Fault to execute.
    pub(crate) action: FaultAction,
    /// Cancelled when the rule is removed.
    pub(crate) released: CancellationToken,
}

#[derive(Default)]
pub(crate) struct FaultRules {
    rules: Mutex<FaultTable>,
}

#[derive(Default)]
struct FaultTable {
    /// Ordered by ID. The first matching rule wins.
    active: BTreeMap<u64, InstalledRule>,
    last_id: u64,
}

struct InstalledRule {
    rule: FaultRule,
    matched: u64,
    released: CancellationToken,
}

impl FaultRules {
    /// Adds a rule after the existing rules. `None`: the maximum number of rules is reached.
    pub(crate) fn add(&self, rule: FaultRule) -> Option<u64> {
        let mut rules = lock(&self.rules);
        if rules.active.len() >= MAX_RULES {
            return None;
        }
        rules.last_id += 1;
        let id = rules.last_id;
        rules.active.insert(id, InstalledRule { rule, matched: 0, released: CancellationToken::new() });
        Some(id)
    }

    /// Returns all rules in matching order, including exhausted rules.
    pub(crate) fn list(&self) -> Vec<FaultRuleStatus> {
        let rules = lock(&self.rules);
        rules
            .active
            .iter()
            .map(|(id, rule)| FaultRuleStatus { id: *id, rule: rule.rule.clone(), matched: rule.matched })
            .collect()
    }

    /// Removes a rule and releases the requests that wait for the rule. Returns false if the ID is unknown.
    pub(crate) fn remove(&self, id: u64) -> bool {
        let rule = lock(&self.rules).active.remove(&id);
        rule.inspect(|rule| rule.released.cancel()).is_some()
    }

    /// Removes all rules and releases the requests that wait for a rule.
    pub(crate) fn clear(&self) {
        for rule in std::mem::take(&mut lock(&self.rules).active).into_values() {
            rule.released.cancel();
        }
    }

    /// Returns the first matching rule and increments its counter.
    pub(crate) fn trigger(&self, stage: FaultStage, request: &FaultTarget) -> Option<TriggeredFault> {
        let mut rules = lock(&self.rules);
        let rule = rules.active.values_mut().find(|rule| rule.matches(stage, request))?;
        rule.matched += 1;
        Some(TriggeredFault { action: rule.rule.action.clone(), released: rule.released.clone() })
    }
}

impl InstalledRule {
    fn matches(&self, stage: FaultStage, request: &FaultTarget) -> bool {
        let FaultTarget { method, route, credential } = request;
        self.rule.when == stage
            && self.rule.times.is_none_or(|times| self.matched < times.get())
            && self.rule.method.as_ref().is_none_or(|expected| expected.0 == method.as_str())
            && self.rule.route.as_ref().is_none_or(|expected| expected.matches(route.as_deref()))
            && self.rule.credential.as_ref().is_none_or(|expected| credential.as_ref() == Some(expected))
    }
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(try_from = "String")]
struct FaultMethod(String);

impl TryFrom<String> for FaultMethod {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"].contains(&text.as_str());
        if is_known { Ok(Self(text)) } else { Err(format!("{text:?} is not a method such as \"POST\"")) }
    }
}

/// A route pattern as in the journal, or a prefix followed by `*`.
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

/// Delay with an upper limit. The limit exceeds every client timeout; use `hang` for longer delays.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(try_from = "u64", into = "u64")]
pub(crate) struct FaultDelay(u64);

impl FaultDelay {
    const MAX: u64 = 600_000;

    pub(crate) fn to_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl TryFrom<u64> for FaultDelay {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        if number <= Self::MAX { Ok(Self(number)) } else { Err(format!("{number} is more than {} ms", Self::MAX)) }
    }
}

impl From<FaultDelay> for u64 {
    fn from(milliseconds: FaultDelay) -> Self {
        milliseconds.0
    }
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(try_from = "u16", into = "u16")]
struct FaultStatus(StatusCode);

impl TryFrom<u16> for FaultStatus {
    type Error = String;

    fn try_from(number: u16) -> Result<Self, String> {
        // Clients treat a status below 200 as an interim response and wait for another response.
        let status = StatusCode::from_u16(number).ok().filter(|_| (200..=599).contains(&number));
        status.map(Self).ok_or_else(|| format!("{number} is not a status from 200 to 599"))
    }
}

impl From<FaultStatus> for u16 {
    fn from(status: FaultStatus) -> Self {
        status.0.as_u16()
    }
}

#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
struct FaultHeaders(HeaderMap);

impl FaultHeaders {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<BTreeMap<String, String>> for FaultHeaders {
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

impl From<FaultHeaders> for BTreeMap<String, String> {
    fn from(headers: FaultHeaders) -> Self {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.0.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
    }
}

/// Distinguishes `null` from an absent field.
fn deserialize_present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
