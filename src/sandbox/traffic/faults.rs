//! Fault rules: which requests go wrong, when, and how.
//!
//! This holds and finds the rules; the gateway acts on them. A new way to fail is a variant of [`FaultAction`].

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
pub(crate) struct FaultRule {
    /// Which method; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    method: Option<FaultMethod>,
    /// Which route; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    route: Option<RoutePattern>,
    #[serde(default)]
    when: FaultStage,
    action: FaultAction,
    /// How often it acts; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times: Option<NonZeroU64>,
}

impl FaultRule {
    /// What is wrong with it as a whole.
    pub(crate) fn find_contradiction(&self) -> Option<&'static str> {
        match &self.action {
            FaultAction::Response(ResponseFault { body: Some(_), text: Some(_), .. }) => {
                Some("an answer has a body or a text, not both")
            }
            _ => None,
        }
    }
}

/// When a rule acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FaultStage {
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
pub(crate) enum FaultAction {
    /// By name, without settings.
    Named(NamedFault),
    /// The request goes on as it should, but late.
    Delay(DelayFault),
    /// Another answer instead of the right one.
    Response(ResponseFault),
}

/// The ways to fail that have no settings.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NamedFault {
    /// The connection is closed without an answer.
    Close,
    /// The request waits until the rule is removed or the client goes away.
    Hang,
}

/// Nothing but a delay.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DelayFault {
    pub(crate) delay: FaultDelay,
}

/// An answer instead of the right one.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResponseFault {
    status: FaultStatus,
    /// How long it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delay: Option<FaultDelay>,
    /// Absent, without a text: an error body of the API that names the status.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "deserialize_present")]
    body: Option<Value>,
    /// A body that is not JSON, such as a page of HTML. Plain text, unless a header says otherwise.
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

/// A rule as it is listed.
#[derive(Serialize)]
pub(crate) struct FaultRuleStatus {
    id: u64,
    #[serde(flatten)]
    rule: FaultRule,
    /// How often it acted.
    matched: u64,
}

/// A rule that was found to match.
pub(crate) struct TriggeredFault {
    /// What to do.
    pub(crate) action: FaultAction,
    /// Cancelled when the rule is removed.
    pub(crate) released: CancellationToken,
}

/// The rules there are.
#[derive(Default)]
pub(crate) struct FaultRules {
    rules: Mutex<FaultTable>,
}

#[derive(Default)]
struct FaultTable {
    /// In order of id; the first that matches wins.
    active: BTreeMap<u64, InstalledRule>,
    last_id: u64,
}

struct InstalledRule {
    rule: FaultRule,
    matched: u64,
    released: CancellationToken,
}

impl FaultRules {
    /// Adds a rule behind the others. None: there are too many.
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

    /// The rules in the order they are tried, used-up ones too.
    pub(crate) fn list(&self) -> Vec<FaultRuleStatus> {
        let rules = lock(&self.rules);
        rules
            .active
            .iter()
            .map(|(id, rule)| FaultRuleStatus { id: *id, rule: rule.rule.clone(), matched: rule.matched })
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
    pub(crate) fn trigger(&self, stage: FaultStage, method: &Method, route: Option<&str>) -> Option<TriggeredFault> {
        let mut rules = lock(&self.rules);
        let rule = rules.active.values_mut().find(|rule| rule.matches(stage, method, route))?;
        rule.matched += 1;
        Some(TriggeredFault { action: rule.rule.action.clone(), released: rule.released.clone() })
    }
}

impl InstalledRule {
    fn matches(&self, stage: FaultStage, method: &Method, route: Option<&str>) -> bool {
        self.rule.when == stage
            && self.rule.times.is_none_or(|times| self.matched < times.get())
            && self.rule.method.as_ref().is_none_or(|expected| expected.0 == method.as_str())
            && self.rule.route.as_ref().is_none_or(|expected| expected.matches(route))
    }
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(try_from = "String")]
struct FaultMethod(String);

impl TryFrom<String> for FaultMethod {
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
        // Below 200 an answer is not the last one, and a client would go on waiting.
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

/// Tells `null` from absent.
fn deserialize_present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
