//! SpiceOrganization: one credential to one organization of Spice.ai Cloud.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn is an attribute of its own")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::interval::{Interval, interval_rule};
use super::reference::{OAuthSecretRef, TokenSecretRef};
use super::status::StatusCore;

/// Connection to one organization of Spice.ai Cloud.
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
    doc = "SpiceOrganization is one credential for one organization of Spice.ai Cloud. SpiceApps refer to it by name.",
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
        .message("endpoint uses http. To send the credential unencrypted, set allowInsecureEndpoint: true")
        .field_path(".endpoint"),
    validation = Rule::new("!has(self.tokenEndpoint) || !self.tokenEndpoint.startsWith('http://') || (has(self.allowInsecureEndpoint) && self.allowInsecureEndpoint)")
        .message("tokenEndpoint uses http. To send the credential unencrypted, set allowInsecureEndpoint: true")
        .field_path(".tokenEndpoint"),
    validation = Rule::new("!has(self.tokenEndpoint) || has(self.credentials.oauthClient)")
        .message("tokenEndpoint requires credentials.oauthClient").field_path(".tokenEndpoint"),
)]
pub struct SpiceOrganizationSpec {
    /// Base URL of the Management API, without the `/v1`. Defaults to `https://api.spice.ai`.
    #[serde(default = "default_endpoint")]
    #[schemars(length(min = 8, max = 512))]
    #[x_kube(validation = Rule::new("isURL(self) && (self.startsWith('https://') || self.startsWith('http://')) && !self.contains('?') && !self.contains('#') && !self.contains('@')")
        .message("endpoint must be an absolute http or https URL without user, query or fragment"),
        validation = Rule::new("!isURL(self) || url(self).getHostname() != ''").message("endpoint must name a host"),
        validation = Rule::new("!self.matches('/v1/?$')").message("endpoint must not end in /v1, because the operator adds it"))]
    pub endpoint: String,
    /// URL at which an OAuth client requests access tokens. Defaults to `/api/oauth/token` on the host of `endpoint`
    /// without the label `api` or one suffix `-api`, such as `https://spice.ai/api/oauth/token` for
    /// `https://api.spice.ai`. This URL receives the client secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 512))]
    #[x_kube(validation = Rule::new("isURL(self) && (self.startsWith('https://') || self.startsWith('http://')) && !self.contains('#') && !self.contains('@')")
        .message("tokenEndpoint must be an absolute http or https URL without user or fragment"),
        validation = Rule::new("!isURL(self) || url(self).getHostname() != ''").message("tokenEndpoint must name a host"))]
    pub token_endpoint: Option<String>,
    /// CA certificates in PEM, without private keys. The operator trusts these certificates for both endpoints, in
    /// addition to the certificates of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 131_072))]
    #[x_kube(validation = Rule::new("self.contains('-----BEGIN CERTIFICATE-----')").message("caBundle must contain PEM certificates"),
        validation = Rule::new("!self.contains('PRIVATE KEY-----')").message("caBundle must not contain a private key"))]
    pub ca_bundle: Option<String>,
    /// Handle of the organization. Required if the credential has access to several organizations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub organization: Option<String>,
    /// Allows `http://` endpoints. The credential then crosses the network unencrypted, so use it for a local sandbox
    /// only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_insecure_endpoint: Option<bool>,
    /// Credential for the Management API.
    pub credentials: Credentials,
    /// Limit of the requests that the operator sends for the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_budget: Option<RequestBudget>,
    /// Other namespaces in which SpiceApps can use this SpiceOrganization. Defaults to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// Namespaces in which SpiceApps and SpiceSecrets can adopt existing apps and secrets. Defaults to `SameNamespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption: Option<Adoption>,
    /// Time between two resyncs, such as `90s` or `1h30m`. Defaults to 10m. The operator raises a shorter interval to
    /// `--min-interval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = interval_rule())]
    pub interval: Option<Interval>,
    /// Emergency stop: while true, the operator sends no API request for this SpiceOrganization and for all objects
    /// that use it. The annotation `cloud.spice.ai/suspend` has the same effect with every value except `false` and the
    /// empty value.
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
    /// OAuth client from the portal (organization Settings, OAuth Clients). The operator requests access tokens with
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth_client: Option<OAuthClient>,
    /// Token of a user session, as `spice login` stores it. The token expires and cannot be renewed: use it for trials
    /// only.
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

/// Namespaces that can use a SpiceOrganization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.selector) == (self.from == 'Selector')")
        .message("selector must be set if and only if from is Selector"),
    validation = Rule::new("self.from != 'Selector' || !has(self.selector) || (has(self.selector.matchLabels) && self.selector.matchLabels.size() > 0) || (has(self.selector.matchExpressions) && self.selector.matchExpressions.size() > 0)")
        .message("name at least one label or expression, or set from: All").field_path(".selector"),
    validation = Rule::new("!has(self.selector) || !has(self.selector.matchLabels) || self.selector.matchLabels.all(key, key.matches('^([a-z0-9]([-.a-z0-9]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'))")
        .message("no label can have this key").field_path(".selector.matchLabels"),
    validation = Rule::new("!has(self.selector) || !has(self.selector.matchExpressions) || self.selector.matchExpressions.all(one, one.operator in ['In', 'NotIn'] ? has(one.values) && one.values.size() > 0 : one.operator in ['Exists', 'DoesNotExist'] && (!has(one.values) || one.values.size() == 0))")
        .message("each requirement must use In or NotIn with values, or Exists or DoesNotExist without values")
        .field_path(".selector.matchExpressions"),
)]
pub struct AllowedNamespaces {
    /// `Same` allows only the namespace of the SpiceOrganization, `All` every namespace, and `Selector` also the
    /// namespaces that match `selector`.
    pub from: NamespacesFrom,
    /// Label selector for namespaces. Required with `from: Selector`, and not valid otherwise. The selector names at
    /// least one label or expression. To allow every namespace, set `from: All`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounded_selector)]
    pub selector: Option<LabelSelector>,
}

/// Bounds the lists of a label selector. A key that no label can have is rejected, because with NotIn or DoesNotExist
/// such a requirement would match every namespace.
fn bounded_selector(schema: &mut schemars::Schema) {
    let bounds = json!({ "properties": {
        "matchLabels": { "maxProperties": 64, "additionalProperties": { "maxLength": 63 } },
        "matchExpressions": { "maxItems": 64, "items": { "properties": {
            "key": {
                "maxLength": 317,
                "pattern": "^([a-z0-9]([-.a-z0-9]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
            },
            "values": { "maxItems": 64, "items": { "maxLength": 63 } },
        } } },
    } });
    let mut value = schema.clone().to_value();
    merge_into(&mut value, &bounds);
    if let Ok(bounded) = schemars::Schema::try_from(value) {
        *schema = bounded;
    }
}

/// Adds the fields of `more` to `value`, level by level.
fn merge_into(value: &mut Value, more: &Value) {
    match (value, more) {
        (Value::Object(fields), Value::Object(more)) => {
            more.iter().for_each(|(name, part)| merge_into(fields.entry(name).or_insert(json!({})), part));
        }
        (value, more) => *value = more.clone(),
    }
}

/// Which other namespaces can use a SpiceOrganization. Its own namespace always can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::policy::described_by_its_field)]
pub enum NamespacesFrom {
    /// No other namespace.
    Same,
    /// Every namespace.
    All,
    /// Namespaces that match a label selector.
    Selector,
}

/// Namespaces in which objects can adopt existing apps and secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::policy::described_by_its_field)]
pub enum Adoption {
    /// The namespace of the SpiceOrganization.
    #[default]
    SameNamespace,
    /// Every allowed namespace.
    All,
    /// No namespace.
    Never,
}

/// Share of the request rate of the account. SpiceOrganizations with the same credential share one budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.requestsPerMinute) ? self.requestsPerMinute : 1000) * (100 - (has(self.reservePercent) ? self.reservePercent : 20)) >= 3000")
        .message("requestsPerMinute minus reservePercent must leave at least 30 requests per minute"),
)]
pub struct RequestBudget {
    /// Requests per minute of the account. Defaults to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 1_000_000))]
    pub requests_per_minute: Option<u32>,
    /// Percentage that the operator leaves to other clients of the account. Defaults to 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 90))]
    pub reserve_percent: Option<u32>,
    /// Name of the account. SpiceOrganizations with different credentials of one user share a budget if they set the
    /// same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub account: Option<String>,
}

impl RequestBudget {
    /// Requests per minute of the account; the default is the limit of the service.
    pub fn requests_per_minute(&self) -> u32 {
        self.requests_per_minute.unwrap_or(1000)
    }

    /// Percentage for other clients; the default is enough for the portal and CI.
    pub fn reserve_percent(&self) -> u32 {
        self.reserve_percent.unwrap_or(20)
    }
}

/// Observed state of the organization.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpiceOrganizationStatus {
    /// Status fields that every kind has.
    #[serde(flatten)]
    pub core: StatusCore,
    /// Endpoint to which this object is bound since the first successful check, in its canonical form: scheme and host
    /// in lower case, without the default port and final slashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Organization that this object is bound to. Not set if the API returns no organizations: then only the endpoint
    /// is bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<OrganizationStatus>,
    /// Regions for new apps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub regions: Vec<RegionStatus>,
    /// Region of a new app without a placement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_region: Option<String>,
    /// Tag of the recommended image, by channel.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub images: BTreeMap<String, String>,
    /// Limits of the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsStatus>,
    /// Paths that this version of the Management API does not have, or that the credential cannot read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub unavailable_paths: Vec<String>,
    /// Lists that the operator could not read completely. Until a list is complete, the operator creates nothing in it
    /// and treats nothing in it as deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub incomplete_lists: Vec<IncompleteList>,
    /// Number of SpiceApps that use this SpiceOrganization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub apps: Option<i64>,
}

/// An organization of Spice.ai Cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationStatus {
    /// ID of the organization.
    pub id: String,
    /// Handle of the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A list that may have more items than the operator could read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IncompleteList {
    /// Path of the list.
    pub path: String,
    /// Number of items that the operator read.
    pub items_seen: i64,
}

/// Limits of the plan; -1 is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitsStatus {
    /// Maximum number of apps in the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<i64>,
    /// Maximum number of replicas per app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
    /// Maximum number of Spicepods in the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spicepods: Option<i64>,
    /// Maximum number of members of the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<i64>,
    /// Maximum number of requests per second to an app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<i64>,
    /// Maximum number of CPUs per app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<i64>,
    /// Maximum memory per app in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_gib: Option<i64>,
}

/// A region for apps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegionStatus {
    /// ID of the region, as used in `spec.region` of a SpiceApp.
    pub region: String,
    /// Display name of the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Cloud provider of the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}
