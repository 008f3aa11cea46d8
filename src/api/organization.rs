//! SpiceOrganization: one credential to one organization of Spice.ai Cloud.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn is an attribute of its own")]

use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::never_observed;
use super::reference::{SecretKeyRef, SourceVersion};

/// What the operator needs to know to talk to one organization of Spice.ai Cloud.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "cloud.spice.ai",
    version = "v1alpha1",
    kind = "SpiceOrganization",
    namespaced,
    status = "SpiceOrganizationStatus",
    shortname = "sorg",
    category = "spice",
    derive = "PartialEq",
    doc = "SpiceOrganization is one credential to one organization of Spice.ai Cloud. SpiceApps refer to it by name.",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".spec.endpoint"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!self.endpoint.startsWith('http://') || (has(self.allowInsecureEndpoint) && self.allowInsecureEndpoint)")
        .message("endpoint is plain http: set allowInsecureEndpoint to true to send the credential unencrypted")
        .field_path(".endpoint"),
)]
pub struct SpiceOrganizationSpec {
    /// Base URL of the Management API, without the `/v1`. Defaults to `https://api.spice.ai`.
    #[serde(default = "default_endpoint")]
    #[schemars(length(min = 8, max = 512))]
    #[x_kube(validation = Rule::new("isURL(self) && (self.startsWith('https://') || self.startsWith('http://')) && !self.contains('?') && !self.contains('#') && !self.contains('@')")
        .message("endpoint must be an absolute http or https URL without user, query or fragment"),
        validation = Rule::new("!isURL(self) || url(self).getHostname() != ''").message("endpoint must name a host"),
        validation = Rule::new("!self.matches('/v1/?$')").message("endpoint must not end in /v1: the operator adds it"))]
    pub endpoint: String,
    /// Allows an `http://` endpoint. The credential then crosses the network in clear text; meant for a local sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_insecure_endpoint: Option<bool>,
    /// Where the credential comes from.
    pub credentials: Credentials,
    /// How many requests the operator may send for this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_budget: Option<RequestBudget>,
    /// How often the organization is checked when nothing else asks for it. Defaults to 10m.
    /// Shorter than the operator's `--min-interval` is raised to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s')").message("interval must be 1s or more"))]
    pub interval: Option<Duration>,
    /// The stop button: while true, no remote call is made for this organization nor for anything that refers to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

fn default_endpoint() -> String {
    "https://api.spice.ai".to_owned()
}

/// A credential, always by reference to a Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// A personal access token from the portal (Profile, Tokens). White space around it is ignored.
    pub personal_access_token: SecretKeyRef,
}

/// The share of the account's request rate that the operator may use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestBudget {
    /// Requests a minute that the account is granted. Defaults to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 1_000_000))]
    pub requests_per_minute: Option<u32>,
    /// Percent of them left to everybody else who uses the account. Defaults to 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 90))]
    pub reserve_percent: Option<u32>,
}

/// What is true of the organization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpiceOrganizationStatus {
    /// The generation that was last visited; -1 before the first visit.
    #[serde(default = "never_observed")]
    pub observed_generation: i64,
    /// Ready is the summary; Reconciling and Stalled are present only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The value of the annotation `cloud.spice.ai/reconcile-requested-at` that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The endpoint that the last good answer came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Regions in which an app can be created.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub regions: Vec<RegionStatus>,
    /// The region of an app that names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_region: Option<String>,
    /// The Secret that the credential was read from, in the version read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub sources: Vec<SourceVersion>,
}

impl Default for SpiceOrganizationStatus {
    fn default() -> Self {
        Self {
            observed_generation: never_observed(),
            conditions: Vec::new(),
            last_handled_reconcile_at: None,
            endpoint: None,
            regions: Vec::new(),
            default_region: None,
            sources: Vec::new(),
        }
    }
}

/// One region of the organization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegionStatus {
    /// The region's id, as used in `SpiceApp.spec.region`.
    pub region: String,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The cloud it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}
