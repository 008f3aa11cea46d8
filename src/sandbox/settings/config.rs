//! Settings of a sandbox, and the connection information that a running sandbox prints.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::sandbox::model::profile::{ApiSwitches, SubscriptionPlan};
use crate::sandbox::model::secret::ValueDigest;

/// Settings of a sandbox. The default is the default of `spice-cloud-operator sandbox`.
#[derive(Clone)]
pub struct SandboxConfig {
    /// Address to listen on. Port 0 selects a free port.
    pub address: SocketAddr,
    /// Organizations.
    pub organizations: Vec<OrganizationConfig>,
    /// Users.
    pub users: Vec<UserConfig>,
    /// Credentials. Names, tokens and client IDs are unique.
    pub credentials: Vec<CredentialConfig>,
    /// Lifetime of a token from the token endpoint, in whole seconds.
    pub token_lifetime: Duration,
    /// Rate limits.
    pub rate_limits: RateLimits,
    /// Behaviour of the API.
    pub switches: ApiSwitches,
    /// Initial apps. Ignored if the state file exists.
    pub apps: Vec<SeedApp>,
    /// File that stores the state across restarts.
    pub state_file: Option<PathBuf>,
    /// Enables TLS. The names and addresses are added to the certificate, which always contains localhost and the
    /// listen address.
    pub tls: Option<Vec<String>>,
}

impl SandboxConfig {
    /// Returns the organization with a handle.
    pub(crate) fn find_organization(&self, handle: &str) -> Option<&OrganizationConfig> {
        self.organizations.iter().find(|organization| organization.is_called(handle))
    }
}

impl Default for SandboxConfig {
    fn default() -> Self {
        let organization =
            |id, name: &str| OrganizationConfig { id, name: name.into(), plan: SubscriptionPlan::default() };
        let user = |id, organizations: &[&str]| UserConfig {
            id,
            memberships: organizations
                .iter()
                .map(|name| Membership { organization: (*name).into(), role: OrganizationRole::Owner })
                .collect(),
        };
        let credential = |name: &str, kind, scope: &str, organization: &str, user| CredentialConfig {
            kind,
            name: name.into(),
            scopes: vec![scope.into()],
            organization: organization.into(),
            user,
            narrowed: false,
            is_limited: name != "portal",
        };
        let token = |name: &str| CredentialKind::PersonalAccessToken { token: format!("sandbox-fake-token-{name}") };
        let session = CredentialKind::SessionToken { token: "sandbox-fake-session-token".into() };
        let client = |name: &str| CredentialKind::OauthClient {
            client_id: format!("sandbox-fake-client-{name}"),
            client_secret: format!("sandbox-fake-client-secret-{name}"),
        };
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8490)),
            organizations: vec![organization(1, "sandbox"), organization(2, "elsewhere")],
            users: vec![user(1, &["sandbox"]), user(2, &["elsewhere"]), user(3, &["sandbox", "elsewhere"])],
            credentials: vec![
                credential("operator", token("operator"), "*", "sandbox", Some(1)),
                credential("portal", token("portal"), "*", "sandbox", Some(1)),
                credential("reader", token("reader"), "apps:read", "sandbox", Some(1)),
                credential("oauth", client("oauth"), "*", "sandbox", None),
                credential("session", session, "*", "sandbox", Some(1)),
                credential("elsewhere", token("elsewhere"), "*", "elsewhere", Some(2)),
                credential("elsewhere-oauth", client("elsewhere-oauth"), "*", "elsewhere", None),
                credential("both", token("both"), "*", "sandbox", Some(3)),
            ],
            token_lifetime: Duration::from_secs(3600),
            rate_limits: RateLimits::default(),
            switches: ApiSwitches::default(),
            apps: Vec::new(),
            state_file: None,
            tls: None,
        }
    }
}

/// An organization that owns apps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OrganizationConfig {
    /// Positive number.
    pub id: u64,
    /// Handle, case-insensitive.
    pub name: String,
    /// Limits of the organization.
    #[serde(skip)]
    pub plan: SubscriptionPlan,
}

impl OrganizationConfig {
    /// Returns whether `handle` is the handle of this organization.
    pub(crate) fn is_called(&self, handle: &str) -> bool {
        self.name.eq_ignore_ascii_case(handle)
    }
}

/// An initial app.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedApp {
    /// Name of the organization.
    pub organization: String,
    /// True if a repository provides the spicepod.
    #[serde(default)]
    pub repository_connected: bool,
    /// Fields of a create and an update request in one body.
    pub body: Value,
    /// Secrets by name. The seed file contains values; only the digests are stored.
    #[serde(default, deserialize_with = "deserialize_digests")]
    pub secrets: BTreeMap<String, ValueDigest>,
}

fn deserialize_digests<'de, D: Deserializer<'de>>(values: D) -> Result<BTreeMap<String, ValueDigest>, D::Error> {
    let values = BTreeMap::<String, String>::deserialize(values)?;
    Ok(values.into_iter().map(|(name, value)| (name, ValueDigest::of(&value))).collect())
}

/// A user.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    /// Positive number, returned as `created_by`.
    pub id: u64,
    /// Organizations of the user and the role in each organization.
    pub memberships: Vec<Membership>,
}

/// Membership of a user in an organization.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// Name of the organization.
    pub organization: String,
    /// Highest role of the user.
    pub role: OrganizationRole,
}

/// Role of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[schema(as = Role)]
#[serde(rename_all = "snake_case")]
pub enum OrganizationRole {
    /// Full access.
    Owner,
    /// Full access except to owners.
    Admin,
    /// Access to everything except members.
    Member,
    /// Read-only access.
    Viewer,
}

/// Maximum numbers of requests within a sliding window.
#[derive(Clone, Copy, Debug)]
pub struct RateLimits {
    /// Requests per user, over all credentials of the user. An OAuth client has its own count.
    pub per_user: u32,
    /// Requests per organization.
    pub per_organization: u32,
    /// Length of the window.
    pub window: Duration,
    /// True if responses contain the `X-RateLimit-*` and `Retry-After` headers.
    pub has_headers: bool,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { per_user: 1_000, per_organization: 10_000, window: Duration::from_secs(60), has_headers: true }
    }
}

/// A credential and its scopes.
#[derive(Clone, Deserialize, Serialize)]
pub struct CredentialConfig {
    /// Type of the credential with its secret parts.
    #[serde(flatten)]
    pub kind: CredentialKind,
    /// Name in the journal.
    pub name: String,
    /// Granted scopes such as `apps:read`. `*` grants all scopes.
    pub scopes: Vec<String>,
    /// Name of the organization for which the credential was created.
    pub organization: String,
    /// Owner of the credential, whose memberships determine the accessible organizations. `None` for an OAuth client,
    /// which can access only its own organization.
    #[serde(default, skip_serializing)]
    pub user: Option<u64>,
    /// True if the credential can access only its own organization, regardless of the memberships of the user.
    #[serde(default, skip_serializing)]
    pub narrowed: bool,
    /// True if rate limits apply. The credential for simulated portal actions is exempt, because the portal does not
    /// use the API.
    #[serde(default = "default_is_limited", skip_serializing)]
    pub is_limited: bool,
}

fn default_is_limited() -> bool {
    true
}

/// Type of a credential. The sandbox prints all parts, so never use real credentials.
#[derive(Clone, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CredentialKind {
    /// A token that the client sends unchanged.
    PersonalAccessToken {
        /// The bearer token.
        token: String,
    },
    /// A token from a browser login, which the client sends unchanged.
    SessionToken {
        /// The bearer token.
        token: String,
    },
    /// A client that exchanges its secret for short-lived tokens.
    OauthClient {
        /// Public identifier.
        client_id: String,
        /// Secret for the token exchange.
        client_secret: String,
    },
}

impl CredentialKind {
    /// Returns the bearer token. `None` for an OAuth client.
    pub fn token(&self) -> Option<&str> {
        match self {
            Self::PersonalAccessToken { token } | Self::SessionToken { token } => Some(token),
            Self::OauthClient { .. } => None,
        }
    }
}

/// Address and credentials of a running sandbox.
#[derive(Clone, Serialize)]
pub struct ConnectionInfo {
    /// Base URL without a trailing slash.
    pub url: String,
    /// Certificate of the authority in PEM, if TLS is enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Organizations.
    pub organizations: Vec<OrganizationConfig>,
    /// Credentials, including tokens and secrets.
    pub credentials: Vec<CredentialConfig>,
}
