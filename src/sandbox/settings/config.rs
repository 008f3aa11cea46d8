//! What a sandbox is started with, and what it announces once it listens.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::sandbox::model::profile::{ApiSwitches, SubscriptionPlan};
use crate::sandbox::model::secret::ValueDigest;

/// The settings of a sandbox. The default is what `spice-cloud-operator sandbox` starts.
#[derive(Clone)]
pub struct SandboxConfig {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// The organizations there are.
    pub organizations: Vec<OrganizationConfig>,
    /// The users there are.
    pub users: Vec<UserConfig>,
    /// The credentials that are known; no two with the same name, token or client id.
    pub credentials: Vec<CredentialConfig>,
    /// How long a token from the token endpoint lives, to the second.
    pub token_lifetime: Duration,
    /// How many requests are too many.
    pub rate_limits: RateLimits,
    /// How the API behaves.
    pub switches: ApiSwitches,
    /// The apps there are in the beginning; not where a state file brings others.
    pub apps: Vec<SeedApp>,
    /// Where everything is kept that has to survive the process; nowhere if absent.
    pub state_file: Option<PathBuf>,
    /// Whether to speak TLS, and for which names or addresses beside localhost and the one it listens on.
    pub tls: Option<Vec<String>>,
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

/// An organization: what apps belong to and credentials give access to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OrganizationConfig {
    /// A positive number.
    pub id: u64,
    /// The handle; compared without case.
    pub name: String,
    /// What it may have.
    #[serde(skip)]
    pub plan: SubscriptionPlan,
}

impl OrganizationConfig {
    /// Whether a handle is its own.
    pub(crate) fn is_called(&self, handle: &str) -> bool {
        self.name.eq_ignore_ascii_case(handle)
    }
}

/// An app that is there in the beginning.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedApp {
    /// The name of the organization it belongs to.
    pub organization: String,
    /// Whether its spicepod comes from a repository.
    #[serde(default)]
    pub repository_connected: bool,
    /// What a create and an update would say, in one.
    pub body: Value,
    /// Its secrets, by name. A seed file gives the values, which are not kept.
    #[serde(default, deserialize_with = "deserialize_digests")]
    pub secrets: BTreeMap<String, ValueDigest>,
}

fn deserialize_digests<'de, D: Deserializer<'de>>(values: D) -> Result<BTreeMap<String, ValueDigest>, D::Error> {
    let values = BTreeMap::<String, String>::deserialize(values)?;
    Ok(values.into_iter().map(|(name, value)| (name, ValueDigest::of(&value))).collect())
}

/// Somebody who may act in organizations.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    /// A positive number, shown as `created_by`.
    pub id: u64,
    /// Where they may act, and as what.
    pub memberships: Vec<Membership>,
}

/// What a user is in an organization.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// The name of the organization.
    pub organization: String,
    /// The highest role.
    pub role: OrganizationRole,
}

/// What a member may do; a viewer changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[schema(as = Role)]
#[serde(rename_all = "snake_case")]
pub enum OrganizationRole {
    /// Everything.
    Owner,
    /// Everything but what concerns owners.
    Admin,
    /// Everything but members.
    Member,
    /// Looks only.
    Viewer,
}

/// How many requests are too many, in any stretch of time of one length.
#[derive(Clone, Copy, Debug)]
pub struct RateLimits {
    /// Of one user, whatever the credential; a machine counts for itself.
    pub per_user: u32,
    /// To one organization, whoever asks.
    pub per_organization: u32,
    /// How long a request counts.
    pub window: Duration,
    /// Whether answers say how things stand; without, a refusal does not say when to come again either.
    pub has_headers: bool,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { per_user: 1_000, per_organization: 10_000, window: Duration::from_secs(60), has_headers: true }
    }
}

/// A credential with the scopes it grants.
#[derive(Clone, Deserialize, Serialize)]
pub struct CredentialConfig {
    /// How it is used, and what it consists of.
    #[serde(flatten)]
    pub kind: CredentialKind,
    /// What the journal calls it.
    pub name: String,
    /// Scopes such as `apps:read`; `*` grants everything.
    pub scopes: Vec<String>,
    /// The name of the organization it was made for.
    pub organization: String,
    /// The user it belongs to, who decides which other organizations it reaches; none for a machine, which reaches its own.
    #[serde(default, skip_serializing)]
    pub user: Option<u64>,
    /// Whether it reaches no other organization than the one that it was made for, whatever its user does.
    #[serde(default, skip_serializing)]
    pub narrowed: bool,
    /// Whether the rate limits are for it: whoever stands for somebody in the portal does not go through the API.
    #[serde(default = "default_is_limited", skip_serializing)]
    pub is_limited: bool,
}

fn default_is_limited() -> bool {
    true
}

/// How a credential is used. All of it is announced, so it must be of no use anywhere else.
#[derive(Clone, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CredentialKind {
    /// The token is sent as it is.
    PersonalAccessToken {
        /// What a client sends as bearer.
        token: String,
    },
    /// The token of somebody who signed in; sent as it is.
    SessionToken {
        /// What a client sends as bearer.
        token: String,
    },
    /// Exchanged for tokens that expire.
    OauthClient {
        /// Public.
        client_id: String,
        /// What the exchange asks for.
        client_secret: String,
    },
}

impl CredentialKind {
    /// The token that is sent as it is, if that is how the credential is used.
    pub fn token(&self) -> Option<&str> {
        match self {
            Self::PersonalAccessToken { token } | Self::SessionToken { token } => Some(token),
            Self::OauthClient { .. } => None,
        }
    }
}

/// How to use a sandbox that listens.
#[derive(Clone, Serialize)]
pub struct ConnectionInfo {
    /// The base URL, without a slash at the end.
    pub url: String,
    /// With TLS, the certificate of the authority to trust, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The organizations there are.
    pub organizations: Vec<OrganizationConfig>,
    /// The credentials that are known, tokens and secrets included.
    pub credentials: Vec<CredentialConfig>,
}
