//! What a sandbox is started with, and what it announces once it listens.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Serialize;

/// The settings of a sandbox. The default is what `spice-cloud-operator sandbox` starts.
#[derive(Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// The organizations there are.
    pub organizations: Vec<Organization>,
    /// The credentials that are known; no two with the same token.
    pub credentials: Vec<Credential>,
}

impl Default for Config {
    fn default() -> Self {
        let organization = Organization { id: 1, name: "sandbox".into() };
        let credential = |name: &str, scope: &str| Credential {
            kind: CredentialKind::PersonalAccessToken,
            name: name.into(),
            token: format!("sandbox-fake-token-{name}"),
            scopes: vec![scope.into()],
            organization: organization.name.clone(),
            user: Some(1),
        };
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8490)),
            credentials: vec![
                credential("operator", "*"),
                credential("portal", "*"),
                credential("reader", "apps:read"),
            ],
            organizations: vec![organization],
        }
    }
}

/// An organization: what apps belong to and credentials give access to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Organization {
    /// A positive number.
    pub id: u64,
    /// The handle.
    pub name: String,
}

/// A credential with the scopes it grants.
#[derive(Clone, Serialize)]
pub struct Credential {
    /// How it is used.
    pub kind: CredentialKind,
    /// What the journal calls it.
    pub name: String,
    /// What a client sends as bearer. It is announced, so it must be of no use anywhere else.
    pub token: String,
    /// Scopes such as `apps:read`; `*` grants everything.
    pub scopes: Vec<String>,
    /// The name of the organization it was made for.
    pub organization: String,
    /// The user it belongs to, shown as `created_by`; none for a machine.
    #[serde(skip)]
    pub user: Option<u64>,
}

/// How a credential is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CredentialKind {
    /// The token is sent as it is.
    PersonalAccessToken,
}

/// How to use a sandbox that listens.
#[derive(Clone, Serialize)]
pub struct Announcement {
    /// The base URL, without a slash at the end.
    pub url: String,
    /// The organizations there are.
    pub organizations: Vec<Organization>,
    /// The credentials that are known, tokens included.
    pub credentials: Vec<Credential>,
}
