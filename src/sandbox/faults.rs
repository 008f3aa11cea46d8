//! What goes wrong on purpose: rules that match requests, before or after they take effect.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

/// A rule. The first that matches wins.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// Only this method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    /// Only this route, such as `/v1/apps/{appId}`; with a `*` at its end, every route that starts so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    /// Whether the request is lost before it takes effect, or its answer after.
    #[serde(default)]
    when: When,
    /// What the caller sees.
    action: Action,
    /// How many requests; all of them if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times: Option<u64>,
}

/// When a rule strikes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum When {
    /// Before the request takes effect.
    #[default]
    Before,
    /// After it took effect.
    After,
}

/// What the caller sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", untagged)]
pub(super) enum Action {
    /// This answer.
    Answer {
        /// Its status.
        status: u16,
        /// Its body; the API's own shape if unset.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<Value>,
        /// Its headers.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
    },
    /// Something without more to say about it.
    Plain(Plain),
}

/// What the caller sees, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Plain {
    /// The connection closes without an answer.
    Close,
    /// Nothing comes, until the rule is removed; then the request goes on as if there had been no rule.
    Hang,
}

/// A rule that matched.
#[derive(Debug)]
pub(super) struct Strike {
    pub(super) action: Action,
    /// Ends when the rule is removed.
    pub(super) release: watch::Receiver<()>,
}

/// A rule as it is listed.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    id: u64,
    #[serde(flatten)]
    rule: Rule,
    matched: u64,
}

/// All rules.
#[derive(Debug, Default)]
pub(super) struct Faults {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    last: u64,
    rules: BTreeMap<u64, Active>,
}

#[derive(Debug)]
struct Active {
    rule: Rule,
    matched: u64,
    /// Dropped with the rule, which releases what it holds.
    release: watch::Sender<()>,
}

impl Faults {
    pub(super) fn add(&self, rule: Rule) -> u64 {
        let mut held = self.held();
        held.last += 1;
        let id = held.last;
        held.rules.insert(id, Active { rule, matched: 0, release: watch::Sender::new(()) });
        id
    }

    /// Whether there was such a rule.
    pub(super) fn remove(&self, id: u64) -> bool {
        self.held().rules.remove(&id).is_some()
    }

    pub(super) fn clear(&self) {
        self.held().rules.clear();
    }

    pub(super) fn list(&self) -> Vec<Listed> {
        let listed =
            |(id, active): (&u64, &Active)| Listed { id: *id, rule: active.rule.clone(), matched: active.matched };
        self.held().rules.iter().map(listed).collect()
    }

    /// The first rule that matches, counted.
    pub(super) fn strike(&self, when: When, method: &str, route: Option<&str>) -> Option<Strike> {
        let mut held = self.held();
        let active = held.rules.values_mut().find(|active| active.matches(when, method, route))?;
        active.matched += 1;
        Some(Strike { action: active.rule.action.clone(), release: active.release.subscribe() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Active {
    fn matches(&self, when: When, method: &str, route: Option<&str>) -> bool {
        let Rule { method: only_method, route: only_route, when: only_when, action: _, times } = &self.rule;
        let route_matches = only_route.as_deref().is_none_or(|only| match only.strip_suffix('*') {
            Some(start) => route.is_some_and(|route| route.starts_with(start)),
            None => route == Some(only),
        });
        *only_when == when
            && only_method.as_deref().is_none_or(|only| only.eq_ignore_ascii_case(method))
            && route_matches
            && times.is_none_or(|times| self.matched < times)
    }
}
