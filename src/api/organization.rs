//! SpiceOrganization: one credential to one organization of Spice.ai Cloud.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn is an attribute of its own")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reference::{OAuthSecretRef, SecretKeyRef};
use super::status::StatusCore;

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

/// A credential, always by reference to a Secret in the same namespace. White space around what it holds is ignored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.personalAccessToken), has(self.oauthClient), has(self.sessionToken)].filter(set, set).size() == 1")
        .message("exactly one of personalAccessToken, oauthClient and sessionToken must be set"),
)]
pub struct Credentials {
    /// A personal access token from the portal (Profile, Tokens).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal_access_token: Option<SecretKeyRef>,
    /// An OAuth client from the portal (organization Settings, OAuth Clients). Tokens are asked for with it as needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth_client: Option<OAuthClient>,
    /// The token of a user's session, as `spice login` gets it. It expires and cannot be renewed: for trials only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<SecretKeyRef>,
}

impl Credentials {
    /// Name of the Secret that holds the credential; none only in an object that was not checked.
    pub fn secret(&self) -> Option<&str> {
        let token = self.personal_access_token.as_ref().or(self.session_token.as_ref());
        let client = self.oauth_client.as_ref().map(|client| client.secret_ref.name.as_str());
        token.map(|token| token.name.as_str()).or(client)
    }
}

/// An OAuth client: its id, here or in the Secret, and its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.clientId) != has(self.secretRef.clientIdKey)")
        .message("exactly one of clientId and secretRef.clientIdKey must be set"),
)]
pub struct OAuthClient {
    /// The client's id, which is no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub client_id: Option<String>,
    /// The Secret that holds the client's secret, and its id if `clientId` is not set.
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpiceOrganizationStatus {
    /// Fields that every kind has.
    #[serde(flatten)]
    pub core: StatusCore,
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
