//! SpiceOrganization: one credential to one organization of Spice.ai Cloud.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn is an attribute of its own")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::never_observed;
use super::reference::{OAuthSecretRef, SourceVersion, TokenSecretRef};

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
    printcolumn(name = "Organization", type_ = "string", json_path = ".status.organization.name"),
    printcolumn(name = "Apps", type_ = "integer", json_path = ".status.apps"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".spec.endpoint", priority = 1),
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
    validation = Rule::new("!has(self.tokenEndpoint) || !self.tokenEndpoint.startsWith('http://') || (has(self.allowInsecureEndpoint) && self.allowInsecureEndpoint)")
        .message("tokenEndpoint is plain http: set allowInsecureEndpoint to true to send the credential unencrypted")
        .field_path(".tokenEndpoint"),
    validation = Rule::new("!has(self.tokenEndpoint) || has(self.credentials.oauthClient)")
        .message("tokenEndpoint is for credentials.oauthClient only").field_path(".tokenEndpoint"),
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
    /// URL at which an OAuth client gets its tokens. Defaults to `/api/oauth/token` on the site that belongs to
    /// `endpoint`: its host without the label `api` (`https://spice.ai/api/oauth/token` for `https://api.spice.ai`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 512))]
    #[x_kube(validation = Rule::new("isURL(self) && (self.startsWith('https://') || self.startsWith('http://')) && !self.contains('#') && !self.contains('@')")
        .message("tokenEndpoint must be an absolute http or https URL without user or fragment"),
        validation = Rule::new("!isURL(self) || url(self).getHostname() != ''").message("tokenEndpoint must name a host"))]
    pub token_endpoint: Option<String>,
    /// Certificates, in PEM, of the authorities that vouch for the endpoints, besides those that are known anyhow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 131_072))]
    #[x_kube(validation = Rule::new("self.contains('-----BEGIN CERTIFICATE-----')").message("caBundle must hold certificates in PEM"))]
    pub ca_bundle: Option<String>,
    /// Handle of the organization, for a credential that reaches several. Defaults to the one that the credential was
    /// made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub organization: Option<String>,
    /// Allows `http://` endpoints. The credential then crosses the network in clear text; meant for a local sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_insecure_endpoint: Option<bool>,
    /// Where the credential comes from.
    pub credentials: Credentials,
    /// How many requests the operator may send for this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_budget: Option<RequestBudget>,
    /// Which namespaces may use this organization, besides its own. Defaults to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// From which namespaces apps that exist already may be adopted. Defaults to `SameNamespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption: Option<Adoption>,
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

/// A credential in a Secret of the same namespace. Leading and trailing white space of a value is ignored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.personalAccessToken), has(self.oauthClient), has(self.sessionToken)].filter(set, set).size() == 1")
        .message("exactly one of personalAccessToken, oauthClient and sessionToken must be set"),
)]
pub struct Credentials {
    /// Personal access token from the portal (Profile, Tokens).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal_access_token: Option<TokenCredential>,
    /// OAuth client from the portal (organization Settings, OAuth Clients). The operator requests access tokens with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth_client: Option<OAuthClient>,
    /// Token of a user session, as `spice login` stores it. It expires and cannot be renewed: use it for trials only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<TokenCredential>,
}

impl Credentials {
    /// The Secret and key of a token; `None` for an OAuth client.
    pub fn token(&self) -> Option<&TokenSecretRef> {
        let token = self.personal_access_token.as_ref().or(self.session_token.as_ref());
        token.map(|token| &token.secret_ref)
    }

    /// Name of the Secret that holds the credential; `None` only for an invalid spec.
    pub fn secret_name(&self) -> Option<&str> {
        let client = self.oauth_client.as_ref().map(|client| &client.secret_ref.name);
        self.token().map(|token| &token.name).or(client).map(String::as_str)
    }
}

/// A token in a Secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenCredential {
    /// Secret that contains the token.
    pub secret_ref: TokenSecretRef,
}

/// An OAuth client in a Secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuthClient {
    /// Secret that contains the client ID and the client secret.
    pub secret_ref: OAuthSecretRef,
}

/// Which namespaces may use an organization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.selector) == (self.from == 'Selector')")
        .message("selector must be set if from is Selector, and only then"),
)]
pub struct AllowedNamespaces {
    /// `Same` admits the organization's own namespace, `All` every one, `Selector` also those that `selector` selects.
    pub from: NamespacesFrom,
    /// Selects namespaces by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Where the namespaces come from that may use an organization. Its own always may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::described_by_its_field)]
pub enum NamespacesFrom {
    /// No other.
    Same,
    /// Every one.
    All,
    /// Those that a selector selects.
    Selector,
}

/// From which namespaces apps may be adopted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::described_by_its_field)]
pub enum Adoption {
    /// From the organization's own.
    #[default]
    SameNamespace,
    /// From every one that may use the organization.
    All,
    /// From none.
    Never,
}

/// The share of the account's request rate that the operator may use. SpiceOrganizations of one credential share it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.requestsPerMinute) ? self.requestsPerMinute : 1000) * (100 - (has(self.reservePercent) ? self.reservePercent : 20)) >= 3000")
        .message("requestsPerMinute less reservePercent leaves fewer than 30 requests a minute"),
)]
pub struct RequestBudget {
    /// Requests a minute that the account is granted. Defaults to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 1_000_000))]
    pub requests_per_minute: Option<u32>,
    /// Percent of them left to everybody else who uses the account. Defaults to 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 90))]
    pub reserve_percent: Option<u32>,
    /// Names the account, so that SpiceOrganizations with different credentials of one user share its requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub account: Option<String>,
}

impl RequestBudget {
    /// Requests a minute that the account is granted; by default what the service grants.
    pub fn requests_per_minute(&self) -> u32 {
        self.requests_per_minute.unwrap_or(1000)
    }

    /// Percent of them left to others; by default enough for the portal and CI.
    pub fn reserve_percent(&self) -> u32 {
        self.reserve_percent.unwrap_or(20)
    }
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
    /// The endpoint that this object is bound to since its first good answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The organization that this object is bound to. Absent where the API does not tell: then the endpoint counts alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<OrganizationStatus>,
    /// Regions in which an app can be created.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub regions: Vec<RegionStatus>,
    /// The region of an app that names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_region: Option<String>,
    /// The tag of the recommended image, by channel.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub images: BTreeMap<String, String>,
    /// What the plan allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsStatus>,
    /// Paths of the Management API that this version of it lacks, or that the credential may not read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub unavailable_paths: Vec<String>,
    /// Lists whose end could not be told when they were last read. While one stays so, nothing that it would take the
    /// whole list for is done: no app is created, and none is taken for deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub incomplete_lists: Vec<IncompleteList>,
    /// Number of SpiceApps that use this SpiceOrganization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub apps: Option<i64>,
    /// The Secret that the credential was read from, in the version read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub observed_sources: Vec<SourceVersion>,
}

impl Default for SpiceOrganizationStatus {
    fn default() -> Self {
        Self {
            observed_generation: never_observed(),
            conditions: Vec::new(),
            last_handled_reconcile_at: None,
            endpoint: None,
            organization: None,
            regions: Vec::new(),
            default_region: None,
            images: BTreeMap::new(),
            limits: None,
            unavailable_paths: Vec::new(),
            incomplete_lists: Vec::new(),
            apps: None,
            observed_sources: Vec::new(),
        }
    }
}

/// Which organization it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationStatus {
    /// Its id.
    pub id: String,
    /// Its handle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A list of which it cannot be told whether there is more than was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IncompleteList {
    /// Its path.
    pub path: String,
    /// Items seen.
    pub items_seen: i64,
}

/// What the plan allows; -1 is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitsStatus {
    /// Apps of the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<i64>,
    /// Replicas of an app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
    /// Spicepods of the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spicepods: Option<i64>,
    /// Members of the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<i64>,
    /// Requests a second to an app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<i64>,
    /// CPUs of an app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<i64>,
    /// Memory of an app in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_gib: Option<i64>,
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
