//! The credentials there are now: known ones, tokens issued for them, and what became of both (contract, section 2).
//!
//! Who may do what with one is the business of `access`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::sandbox::auth::scopes::grants;
use crate::sandbox::settings::config::{CredentialConfig, CredentialKind};

/// So many issued tokens are kept; the oldest to expire go first. A client that asks for one a second for an hour fits.
const MAX_ISSUED_TOKENS: usize = 4096;

/// What is known of credentials.
#[derive(Clone)]
pub(crate) struct CredentialStore {
    known: Vec<KnownCredential>,
    /// By the token itself.
    issued: BTreeMap<String, IssuedToken>,
    lifetime: SignedDuration,
}

#[derive(Clone)]
struct KnownCredential {
    credential: CredentialConfig,
    state: CredentialState,
    /// How often it got another secret.
    rotations: u32,
}

/// Whether a credential is of use.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum CredentialState {
    #[serde(rename = "good")]
    Valid,
    Expired,
    Revoked,
}

#[derive(Clone, Deserialize, Serialize)]
struct IssuedToken {
    /// The name of the credential.
    name: String,
    scopes: Vec<String>,
    expires_at: Timestamp,
}

/// The part of [`CredentialStore`] that the state file contains: the store without the configuration.
#[derive(Deserialize, Serialize)]
pub(crate) struct PersistedCredentials {
    #[serde(rename = "given")]
    known: Vec<PersistedCredential>,
    issued: BTreeMap<String, IssuedToken>,
}

#[derive(Deserialize, Serialize)]
struct PersistedCredential {
    name: String,
    #[serde(flatten)]
    kind: CredentialKind,
    #[serde(rename = "standing")]
    state: CredentialState,
    rotations: u32,
}

/// What the token endpoint gives out.
pub(crate) struct TokenGrant {
    pub(crate) token: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) lifetime: SignedDuration,
}

/// Why the token endpoint gives out nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenGrantError {
    /// No such client, or not its secret.
    InvalidClient,
    /// It asks for more than it was granted.
    InvalidScope,
}

impl CredentialStore {
    /// All of them are good in the beginning.
    pub(crate) fn new(known: &[CredentialConfig], lifetime: Duration) -> Self {
        let known = known
            .iter()
            .map(|credential| KnownCredential {
                credential: credential.clone(),
                state: CredentialState::Valid,
                rotations: 0,
            })
            .collect();
        // Beyond what fits nothing differs: neither ends before the sandbox does.
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX).min(MAX_LIFETIME_SECONDS);
        Self { known, issued: BTreeMap::new(), lifetime: SignedDuration::from_secs(seconds) }
    }

    /// The credential that a bearer token stands for, with the scopes of the token. The error says why there is none.
    pub(crate) fn authenticate(&self, token: &str, now: Timestamp) -> Result<CredentialConfig, &'static str> {
        if let Some(issued) = self.issued.get(token) {
            let client = self.find(&issued.name).ok_or("Invalid token")?;
            if issued.expires_at <= now {
                return Err("Token expired");
            }
            return Ok(CredentialConfig { scopes: issued.scopes.clone(), ..client.credential.clone() });
        }
        let known = self.known.iter().find(|known| known.credential.kind.token() == Some(token));
        match known {
            Some(KnownCredential { credential, state: CredentialState::Valid, .. }) => Ok(credential.clone()),
            Some(KnownCredential { state: CredentialState::Expired, .. }) => Err("Token expired"),
            Some(KnownCredential { state: CredentialState::Revoked, .. }) | None => Err("Invalid token"),
        }
    }

    /// Gives out a token to a client that knows its secret. No scopes named means all that it has.
    pub(crate) fn issue_token(
        &mut self,
        id: &str,
        secret: &str,
        scopes: &[&str],
        now: Timestamp,
    ) -> Result<TokenGrant, TokenGrantError> {
        let is_client = |known: &&KnownCredential| match &known.credential.kind {
            CredentialKind::OauthClient { client_id, client_secret } => client_id == id && client_secret == secret,
            _ => false,
        };
        let client = self.known.iter().find(is_client).filter(|known| known.state == CredentialState::Valid);
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

    /// Signs somebody in by the first session there is: its token, or another one if that has expired. None: there is no
    /// session, or it was revoked.
    pub(crate) fn sign_in(&mut self) -> Option<String> {
        let is_session =
            |known: &&KnownCredential| matches!(known.credential.kind, CredentialKind::SessionToken { .. });
        let session = self.known.iter().find(is_session)?;
        let credential = match session.state {
            CredentialState::Valid => session.credential.clone(),
            CredentialState::Expired => self.rotate(&session.credential.name.clone())?,
            CredentialState::Revoked => return None,
        };
        credential.kind.token().map(str::to_owned)
    }

    /// Revokes a credential for good; of a client its tokens too. False: there is none of that name.
    pub(crate) fn revoke(&mut self, name: &str) -> bool {
        self.issued.retain(|_, issued| issued.name != name);
        self.update(name, |known| known.state = CredentialState::Revoked)
    }

    /// Lets a token expire; of a client the tokens issued so far. False: there is none of that name.
    pub(crate) fn expire(&mut self, name: &str, now: Timestamp) -> bool {
        for issued in self.issued.values_mut().filter(|issued| issued.name == name) {
            issued.expires_at = issued.expires_at.min(now);
        }
        self.update(name, |known| {
            if known.credential.kind.token().is_some() && known.state == CredentialState::Valid {
                known.state = CredentialState::Expired;
            }
        })
    }

    /// Gives a credential another token or secret; the old one is void at once, tokens issued by it live on.
    pub(crate) fn rotate(&mut self, name: &str) -> Option<CredentialConfig> {
        self.update(name, |known| {
            known.rotations += 1;
            known.state = CredentialState::Valid;
            let secret = match &mut known.credential.kind {
                CredentialKind::PersonalAccessToken { token } | CredentialKind::SessionToken { token } => token,
                CredentialKind::OauthClient { client_secret, .. } => client_secret,
            };
            *secret = format!("sandbox-fake-rotated-{name}-{}", known.rotations);
        });
        self.find(name).map(|known| known.credential.clone())
    }

    /// What has to be kept.
    pub(crate) fn to_persisted(&self) -> PersistedCredentials {
        let known = self.known.iter().map(|KnownCredential { credential, state, rotations }| PersistedCredential {
            name: credential.name.clone(),
            kind: credential.kind.clone(),
            state: *state,
            rotations: *rotations,
        });
        PersistedCredentials { known: known.collect(), issued: self.issued.clone() }
    }

    /// Takes over what was kept, but for credentials that are no longer configured, or are of another kind now.
    pub(crate) fn restore(&mut self, persisted: PersistedCredentials) {
        self.issued = persisted.issued;
        for PersistedCredential { name, kind, state, rotations } in persisted.known {
            self.update(&name, |known| {
                if std::mem::discriminant(&known.credential.kind) == std::mem::discriminant(&kind) {
                    known.credential.kind = kind;
                    (known.state, known.rotations) = (state, rotations);
                }
            });
        }
    }

    /// Every credential as it is now.
    pub(crate) fn list(&self) -> Vec<CredentialConfig> {
        self.known.iter().map(|known| known.credential.clone()).collect()
    }

    fn find(&self, name: &str) -> Option<&KnownCredential> {
        self.known.iter().find(|known| known.credential.name == name)
    }

    fn update(&mut self, name: &str, change: impl FnOnce(&mut KnownCredential)) -> bool {
        self.known.iter_mut().find(|known| known.credential.name == name).map(change).is_some()
    }

    fn evict_expiring_tokens(&mut self) {
        while self.issued.len() >= MAX_ISSUED_TOKENS {
            let oldest = self.issued.iter().min_by_key(|(_, issued)| issued.expires_at);
            let Some(token) = oldest.map(|(token, _)| token.clone()) else { return };
            self.issued.remove(&token);
        }
    }
}

/// A hundred years, in seconds.
const MAX_LIFETIME_SECONDS: i64 = 100 * 365 * 24 * 3600;
