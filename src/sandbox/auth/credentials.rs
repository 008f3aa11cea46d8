//! The credentials there are now: given ones, tokens issued for them, and what became of both (contract, section 2).
//!
//! Who may do what with one is the business of `access`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::sandbox::auth::scopes::covers;
use crate::sandbox::settings::config::{Credential, CredentialKind};

/// So many issued tokens are kept; the oldest to expire go first. A client that asks for one a second for an hour fits.
const MAX_ISSUED: usize = 4096;

/// What is known of credentials.
#[derive(Clone)]
pub(crate) struct Credentials {
    given: Vec<Given>,
    /// By the token itself.
    issued: BTreeMap<String, Issued>,
    lifetime: SignedDuration,
}

#[derive(Clone)]
struct Given {
    credential: Credential,
    standing: Standing,
    /// How often it got another secret.
    rotations: u32,
}

/// Whether a credential is of use.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    Good,
    Expired,
    Revoked,
}

#[derive(Clone, Deserialize, Serialize)]
struct Issued {
    /// The name of the credential.
    name: String,
    scopes: Vec<String>,
    expires_at: Timestamp,
}

/// What of it outlives the process: everything but the configuration.
#[derive(Deserialize, Serialize)]
pub(crate) struct Saved {
    given: Vec<SavedGiven>,
    issued: BTreeMap<String, Issued>,
}

#[derive(Deserialize, Serialize)]
struct SavedGiven {
    name: String,
    #[serde(flatten)]
    kind: CredentialKind,
    standing: Standing,
    rotations: u32,
}

/// What the token endpoint gives out.
pub(crate) struct Grant {
    pub(crate) token: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) lifetime: SignedDuration,
}

/// Why the token endpoint gives out nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No such client, or not its secret.
    Client,
    /// It asks for more than it was granted.
    Scope,
}

impl Credentials {
    /// All of them are good in the beginning.
    pub(crate) fn new(given: &[Credential], lifetime: Duration) -> Self {
        let given = given
            .iter()
            .map(|credential| Given { credential: credential.clone(), standing: Standing::Good, rotations: 0 })
            .collect();
        // Beyond what fits nothing differs: neither ends before the sandbox does.
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX).min(MAX_LIFETIME);
        Self { given, issued: BTreeMap::new(), lifetime: SignedDuration::from_secs(seconds) }
    }

    /// The credential that a bearer token stands for, with the scopes of the token. The error says why there is none.
    pub(crate) fn by_token(&self, token: &str, now: Timestamp) -> Result<Credential, &'static str> {
        if let Some(issued) = self.issued.get(token) {
            let client = self.given(&issued.name).ok_or("Invalid token")?;
            if issued.expires_at <= now {
                return Err("Token expired");
            }
            return Ok(Credential { scopes: issued.scopes.clone(), ..client.credential.clone() });
        }
        let given = self.given.iter().find(|given| given.credential.kind.token() == Some(token));
        match given {
            Some(Given { credential, standing: Standing::Good, .. }) => Ok(credential.clone()),
            Some(Given { standing: Standing::Expired, .. }) => Err("Token expired"),
            Some(Given { standing: Standing::Revoked, .. }) | None => Err("Invalid token"),
        }
    }

    /// Gives out a token to a client that knows its secret. No scopes named means all that it has.
    pub(crate) fn issue(&mut self, id: &str, secret: &str, scopes: &[&str], now: Timestamp) -> Result<Grant, Denied> {
        let is_client = |given: &&Given| match &given.credential.kind {
            CredentialKind::OauthClient { client_id, client_secret } => client_id == id && client_secret == secret,
            _ => false,
        };
        let client = self.given.iter().find(is_client).filter(|given| given.standing == Standing::Good);
        let client = &client.ok_or(Denied::Client)?.credential;
        let is_granted = |scope: &&str| client.scopes.iter().any(|grant| covers(grant, scope));
        if !scopes.iter().all(is_granted) {
            return Err(Denied::Scope);
        }
        let scopes = match scopes {
            [] => client.scopes.clone(),
            some => some.iter().map(|scope| (*scope).to_owned()).collect(),
        };
        let token = format!("sandbox-fake-access-token-{}", Uuid::new_v4());
        let expires_at = now.checked_add(self.lifetime).unwrap_or(Timestamp::MAX);
        let issued = Issued { name: client.name.clone(), scopes: scopes.clone(), expires_at };
        self.make_room();
        self.issued.insert(token.clone(), issued);
        Ok(Grant { token, scopes, lifetime: self.lifetime })
    }

    /// Signs somebody in by the first session there is: its token, or another one if that has expired. None: there is no
    /// session, or it was revoked.
    pub(crate) fn sign_in(&mut self) -> Option<String> {
        let is_session = |given: &&Given| matches!(given.credential.kind, CredentialKind::SessionToken { .. });
        let session = self.given.iter().find(is_session)?;
        let credential = match session.standing {
            Standing::Good => session.credential.clone(),
            Standing::Expired => self.rotate(&session.credential.name.clone())?,
            Standing::Revoked => return None,
        };
        credential.kind.token().map(str::to_owned)
    }

    /// Revokes a credential for good; of a client its tokens too. False: there is none of that name.
    pub(crate) fn revoke(&mut self, name: &str) -> bool {
        self.issued.retain(|_, issued| issued.name != name);
        self.set(name, |given| given.standing = Standing::Revoked)
    }

    /// Lets a token expire; of a client the tokens issued so far. False: there is none of that name.
    pub(crate) fn expire(&mut self, name: &str, now: Timestamp) -> bool {
        for issued in self.issued.values_mut().filter(|issued| issued.name == name) {
            issued.expires_at = issued.expires_at.min(now);
        }
        self.set(name, |given| {
            if given.credential.kind.token().is_some() && given.standing == Standing::Good {
                given.standing = Standing::Expired;
            }
        })
    }

    /// Gives a credential another token or secret; the old one is void at once, tokens issued by it live on.
    pub(crate) fn rotate(&mut self, name: &str) -> Option<Credential> {
        self.set(name, |given| {
            given.rotations += 1;
            given.standing = Standing::Good;
            let secret = match &mut given.credential.kind {
                CredentialKind::PersonalAccessToken { token } | CredentialKind::SessionToken { token } => token,
                CredentialKind::OauthClient { client_secret, .. } => client_secret,
            };
            *secret = format!("sandbox-fake-rotated-{name}-{}", given.rotations);
        });
        self.given(name).map(|given| given.credential.clone())
    }

    /// What has to be kept.
    pub(crate) fn saved(&self) -> Saved {
        let given = self.given.iter().map(|Given { credential, standing, rotations }| SavedGiven {
            name: credential.name.clone(),
            kind: credential.kind.clone(),
            standing: *standing,
            rotations: *rotations,
        });
        Saved { given: given.collect(), issued: self.issued.clone() }
    }

    /// Takes over what was kept, but for credentials that are no longer configured, or are of another kind now.
    pub(crate) fn restore(&mut self, saved: Saved) {
        self.issued = saved.issued;
        for SavedGiven { name, kind, standing, rotations } in saved.given {
            self.set(&name, |given| {
                if std::mem::discriminant(&given.credential.kind) == std::mem::discriminant(&kind) {
                    given.credential.kind = kind;
                    (given.standing, given.rotations) = (standing, rotations);
                }
            });
        }
    }

    /// Every credential as it is now.
    pub(crate) fn list(&self) -> Vec<Credential> {
        self.given.iter().map(|given| given.credential.clone()).collect()
    }

    fn given(&self, name: &str) -> Option<&Given> {
        self.given.iter().find(|given| given.credential.name == name)
    }

    fn set(&mut self, name: &str, change: impl FnOnce(&mut Given)) -> bool {
        self.given.iter_mut().find(|given| given.credential.name == name).map(change).is_some()
    }

    fn make_room(&mut self) {
        while self.issued.len() >= MAX_ISSUED {
            let oldest = self.issued.iter().min_by_key(|(_, issued)| issued.expires_at);
            let Some(token) = oldest.map(|(token, _)| token.clone()) else { return };
            self.issued.remove(&token);
        }
    }
}

/// A hundred years, in seconds.
const MAX_LIFETIME: i64 = 100 * 365 * 24 * 3600;
