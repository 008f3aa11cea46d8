//! All request budgets of the process, and the accounts and organizations that share them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::account::{AccountLimiter, LimiterHandle};
use super::budget::Budget;
use super::organization::OrganizationLimiter;
use super::quota::Quota;
use crate::management::credential::Credential;
use crate::management::metrics::ApiMetrics;
use crate::management::types::canonical_endpoint;

/// Identifies the account of a credential. A digest, so that the key does not contain the credential.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AccountKey([u8; 32]);

impl AccountKey {
    /// Connections to one endpoint share a budget if they have the same `account`, or without `account` the same
    /// credential. Different endpoints never share a budget: another service has its own rate limit and must not be
    /// able to pause this one.
    pub fn new(endpoint: &str, account: Option<&str>, credential: &Credential) -> Self {
        let endpoint = canonical_endpoint(endpoint);
        let (kind, text) = match (account, credential) {
            (Some(account), _) => ("account", account),
            (None, Credential::Token(token)) => ("token", token.expose_secret()),
            // Without the client secret: a rotation does not change the account.
            (None, Credential::Client { id, .. }) => ("client", id.as_str()),
        };
        let mut digest = Sha256::new();
        for part in [endpoint.as_str(), kind, text] {
            // The length prevents two different triples from having the same digest input.
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part.as_bytes());
        }
        Self(digest.finalize().into())
    }
}

/// Hides the digest: a guessed credential could be verified with it.
impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountKey")
    }
}

/// The budgets of all accounts and organizations. Keeps limiters that are in use, and accounts that are paused.
#[derive(Debug)]
pub struct Budgets {
    max_rate_limit_pause: Duration,
    metrics: ApiMetrics,
    limiters: Mutex<Limiters>,
}

#[derive(Debug, Default)]
struct Limiters {
    accounts: HashMap<AccountKey, Arc<AccountLimiter>>,
    organizations: HashMap<(String, Quota), Weak<OrganizationLimiter>>,
}

impl Budgets {
    /// An empty set of budgets. `max_rate_limit_pause` limits the pause that a response can request: a wrong header
    /// must not stop the operator for days. A repeated request after that time costs little.
    pub fn new(max_rate_limit_pause: Duration, metrics: ApiMetrics) -> Self {
        Self { max_rate_limit_pause, metrics, limiters: Mutex::default() }
    }

    /// The budget of a new connection of an account, below the limit of the organizations at `endpoint`.
    /// If the connections of an account have different quotas, the strictest
    /// one applies.
    ///
    /// An account that no connection uses is dropped. A new limiter of the same account starts empty, so that the
    /// requests of the previous limiter still count.
    pub fn account(&self, key: AccountKey, endpoint: &str, quota: Quota) -> Budget {
        // The organization's rate limit does not apply to an account with a higher limit.
        let above = if quota.share() > Quota::ORGANIZATION.share() { quota } else { Quota::ORGANIZATION };
        let mut limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        limiters.remove_unused();
        let account = limiters.accounts.entry(key).or_insert_with(|| Arc::new(AccountLimiter::start()));
        let account = Arc::clone(account);
        let organization = limiters.organization(canonical_endpoint(endpoint), above);
        drop(limiters);
        let limiter = Arc::new(LimiterHandle::new(account, quota));
        Budget { limiter, organization, max_rate_limit_pause: self.max_rate_limit_pause, metrics: self.metrics.clone() }
    }
}

impl Limiters {
    fn remove_unused(&mut self) {
        self.accounts.retain(|_, account| Arc::strong_count(account) > 1 || account.is_paused());
        self.organizations.retain(|_, organization| organization.strong_count() > 0);
    }

    fn organization(&mut self, name: String, quota: Quota) -> Arc<OrganizationLimiter> {
        let key = (name, quota);
        if let Some(organization) = self.organizations.get(&key).and_then(Weak::upgrade) {
            return organization;
        }
        let organization = Arc::new(OrganizationLimiter::empty(quota));
        self.organizations.insert(key, Arc::downgrade(&organization));
        organization
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_endpoint_share_a_budget() {
        let token = Credential::Token(secrecy::SecretString::from("fake"));
        let key = |endpoint: &str| AccountKey::new(endpoint, None, &token);
        for spelling in ["https://api.example/", "https://API.example", "https://api.example:443/"] {
            assert!(key(spelling) == key("https://api.example"), "{spelling}");
        }
        assert!(key("http://localhost:9") == key("http://127.0.0.1:9"));
        for other in
            ["https://api.example:8443", "http://api.example", "https://api.example/v2", "https://other.example"]
        {
            assert!(key(other) != key("https://api.example"), "{other}");
        }
    }
}
