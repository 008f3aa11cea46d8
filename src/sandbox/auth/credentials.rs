//! State of the configured credentials and of the tokens issued to OAuth clients.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::sandbox::auth::scopes::grants;
use crate::sandbox::settings::config::{CredentialConfig, CredentialKind};

/// Maximum number of issued tokens. The token that expires first is evicted first. The limit fits a client that
/// requests a token per second for an hour.
const MAX_ISSUED_TOKENS: usize = 4096;
/// 100 years, so that timestamps do not overflow.
const MAX_LIFETIME_SECONDS: i64 = 100 * 365 * 24 * 3600;

/// Configured credentials with their state, and issued tokens.
#[derive(Clone)]
pub(crate) struct CredentialStore {
    configured: Vec<ConfiguredCredential>,
    /// Issued tokens, by token.
    issued: BTreeMap<String, IssuedToken>,
    lifetime: SignedDuration,
}

#[derive(Clone)]
struct ConfiguredCredential {
    credential: CredentialConfig,
    state: CredentialState,
    rotations: u32,
}

/// State of a credential at a point in time.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum CredentialState {
    Valid,
    Expired,
    Revoked,
}

#[derive(Clone, Deserialize, Serialize)]
struct IssuedToken {
    name: String,
    scopes: Vec<String>,
    expires_at: Timestamp,
}

/// The part of [`CredentialStore`] that the state file contains: the store without the configuration.
#[derive(Deserialize, Serialize)]
pub(crate) struct PersistedCredentials {
    configured: Vec<PersistedCredential>,
    issued: BTreeMap<String, IssuedToken>,
}

#[derive(Deserialize, Serialize)]
struct PersistedCredential {
    name: String,
    #[serde(flatten)]
    kind: CredentialKind,
    state: CredentialState,
    rotations: u32,
}

/// A token issued by the token endpoint.
pub(crate) struct TokenGrant {
    pub(crate) token: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) lifetime: SignedDuration,
}

/// Reason why the token endpoint rejects a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenGrantError {
    /// Unknown client or wrong secret.
    InvalidClient,
    /// The client lacks a requested scope.
    InvalidScope,
}

impl CredentialStore {
    /// Creates the store. All credentials are valid.
    pub(crate) fn new(credentials: &[CredentialConfig], lifetime: Duration) -> Self {
        let configured = credentials
            .iter()
            .map(|credential| ConfiguredCredential {
                credential: credential.clone(),
                state: CredentialState::Valid,
                rotations: 0,
            })
            .collect();
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX).min(MAX_LIFETIME_SECONDS);
        Self { configured, issued: BTreeMap::new(), lifetime: SignedDuration::from_secs(seconds) }
    }

    /// Returns the credential of a bearer token, with the scopes of the token. The error is the message of the 401
    /// response.
    pub(crate) fn authenticate(&self, token: &str, now: Timestamp) -> Result<CredentialConfig, &'static str> {
        if let Some(issued) = self.issued.get(token) {
            let client = self.find(&issued.name).ok_or("Invalid token")?;
            if issued.expires_at <= now {
                return Err("Token expired");
            }
            return Ok(CredentialConfig { scopes: issued.scopes.clone(), ..client.credential.clone() });
        }
        let entry = self.configured.iter().find(|entry| entry.credential.kind.token() == Some(token));
        match entry {
            Some(ConfiguredCredential { credential, state: CredentialState::Valid, .. }) => Ok(credential.clone()),
            Some(ConfiguredCredential { state: CredentialState::Expired, .. }) => Err("Token expired"),
            Some(ConfiguredCredential { state: CredentialState::Revoked, .. }) | None => Err("Invalid token"),
        }
    }

    /// Issues a token to an OAuth client. An empty `scopes` requests all scopes of the client.
    pub(crate) fn issue_token(
        &mut self,
        id: &str,
        secret: &str,
        scopes: &[&str],
        now: Timestamp,
    ) -> Result<TokenGrant, TokenGrantError> {
        let is_client = |entry: &&ConfiguredCredential| match &entry.credential.kind {
            CredentialKind::OauthClient { client_id, client_secret } => client_id == id && client_secret == secret,
            _ => false,
        };
        let client = self.configured.iter().find(is_client).filter(|entry| entry.state == CredentialState::Valid);
        let client = &client.ok_or(TokenGrantError::InvalidClient)?.credential;
        let is_granted = |scope: &&str| client.scopes.iter().any(|grant| grants(grant, scope));
        if !scopes.iter().all(is_granted) {
            return Err(TokenGrantError::InvalidScope);
        }
        let scopes = match scopes {
            [] => client.scopes.clone(),
            some => some.iter().map(|scope| (*scope).to_owned()).collect(),
        };
        let token = format!("sandbox-fake-access-token-{}", Uuid::new_v4());
        let expires_at = now.checked_add(self.lifetime).unwrap_or(Timestamp::MAX);
        let issued = IssuedToken { name: client.name.clone(), scopes: scopes.clone(), expires_at };
        self.evict_expiring_tokens();
        self.issued.insert(token.clone(), issued);
        Ok(TokenGrant { token, scopes, lifetime: self.lifetime })
    }

    /// Returns the token of the first configured session, after a rotation if the token has expired. `None`: no session
    /// exists, or the session is revoked.
    pub(crate) fn sign_in(&mut self) -> Option<String> {
        let is_session =
            |entry: &&ConfiguredCredential| matches!(entry.credential.kind, CredentialKind::SessionToken { .. });
        let session = self.configured.iter().find(is_session)?;
        let credential = match session.state {
            CredentialState::Valid => session.credential.clone(),
            CredentialState::Expired => self.rotate(&session.credential.name.clone())?,
            CredentialState::Revoked => return None,
        };
        credential.kind.token().map(str::to_owned)
    }

    /// Revokes a credential and all tokens issued to an OAuth client. Returns false if the name is unknown.
    pub(crate) fn revoke(&mut self, name: &str) -> bool {
        self.issued.retain(|_, issued| issued.name != name);
        self.update(name, |entry| entry.state = CredentialState::Revoked)
    }

    /// Expires a token. For an OAuth client, expires the issued tokens. Returns false if the name is unknown.
    pub(crate) fn expire(&mut self, name: &str, now: Timestamp) -> bool {
        for issued in self.issued.values_mut().filter(|issued| issued.name == name) {
            issued.expires_at = issued.expires_at.min(now);
        }
        self.update(name, |entry| {
            if entry.credential.kind.token().is_some() && entry.state == CredentialState::Valid {
                entry.state = CredentialState::Expired;
            }
        })
    }

    /// Replaces the token or client secret of a credential and makes the credential valid again. Tokens issued with the
    /// previous secret stay valid.
    pub(crate) fn rotate(&mut self, name: &str) -> Option<CredentialConfig> {
        self.update(name, |entry| {
            entry.rotations += 1;
            entry.state = CredentialState::Valid;
            let secret = match &mut entry.credential.kind {
                CredentialKind::PersonalAccessToken { token } | CredentialKind::SessionToken { token } => token,
                CredentialKind::OauthClient { client_secret, .. } => client_secret,
            };
            *secret = format!("sandbox-fake-rotated-{name}-{}", entry.rotations);
        });
        self.find(name).map(|entry| entry.credential.clone())
    }

    /// Returns the content for the state file.
    pub(crate) fn to_persisted(&self) -> PersistedCredentials {
        let configured =
            self.configured.iter().map(|ConfiguredCredential { credential, state, rotations }| PersistedCredential {
                name: credential.name.clone(),
                kind: credential.kind.clone(),
                state: *state,
                rotations: *rotations,
            });
        PersistedCredentials { configured: configured.collect(), issued: self.issued.clone() }
    }

    /// Restores the content of the state file. Ignores credentials that are no longer configured or have another type.
    pub(crate) fn restore(&mut self, persisted: PersistedCredentials) {
        self.issued = persisted.issued;
        for PersistedCredential { name, kind, state, rotations } in persisted.configured {
            self.update(&name, |entry| {
                if std::mem::discriminant(&entry.credential.kind) == std::mem::discriminant(&kind) {
                    entry.credential.kind = kind;
                    (entry.state, entry.rotations) = (state, rotations);
                }
            });
        }
    }

    /// Returns all credentials with their current tokens and secrets.
    pub(crate) fn list(&self) -> Vec<CredentialConfig> {
        self.configured.iter().map(|entry| entry.credential.clone()).collect()
    }

    fn find(&self, name: &str) -> Option<&ConfiguredCredential> {
        self.configured.iter().find(|entry| entry.credential.name == name)
    }

    fn update(&mut self, name: &str, change: impl FnOnce(&mut ConfiguredCredential)) -> bool {
        self.configured.iter_mut().find(|entry| entry.credential.name == name).map(change).is_some()
    }

    fn evict_expiring_tokens(&mut self) {
        while self.issued.len() >= MAX_ISSUED_TOKENS {
            let oldest = self.issued.iter().min_by_key(|(_, issued)| issued.expires_at);
            let Some(token) = oldest.map(|(token, _)| token.clone()) else { return };
            self.issued.remove(&token);
        }
    }
}
