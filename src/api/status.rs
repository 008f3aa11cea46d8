//! Status fields that every kind has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::reference::SourceVersion;

/// Status fields that every kind has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusCore {
    /// Generation of the last reconcile; -1 before the first one.
    #[serde(default = "never_observed")]
    pub observed_generation: i64,
    /// Conditions. Ready is the summary; Reconciling, Stalled and Drifted are present only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Value of the annotation `cloud.spice.ai/reconcile-requested-at` that the operator handled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// Versions of the Kubernetes objects that the last applied spec referred to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub observed_sources: Vec<SourceVersion>,
}

impl Default for StatusCore {
    fn default() -> Self {
        Self {
            observed_generation: never_observed(),
            conditions: Vec::new(),
            last_handled_reconcile_at: None,
            observed_sources: Vec::new(),
        }
    }
}

/// `observedGeneration` of an object that was never reconciled: no generation is negative, so nothing looks current.
pub(crate) fn never_observed() -> i64 {
    -1
}
