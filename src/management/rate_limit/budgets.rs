//! All budgets of the process: who shares one with whom.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::account::{Account, Claim};
use super::organization::Organization;
use super::{Budget, Quota};
use crate::management::{Credential, Metrics};

/// What an organization is granted (contract section 4), less the reserve that is the default of an account.
const ORGANIZATION: Quota = Quota { requests_per_minute: 10_000, reserve_percent: 20 };

/// Which account a credential belongs to, as far as can be told: a digest, so that nobody keeps the credential for it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AccountKey([u8; 32]);

/// One spelling for all of an endpoint: two of them are one service, and must not have a budget each.
fn canonical(endpoint: &str) -> String {
    let parsed = reqwest::Url::parse(endpoint).map_or_else(|_| endpoint.to_owned(), String::from);
    parsed.trim_end_matches('/').to_owned()
}

impl AccountKey {
    /// Equal `account`s at one endpoint share a budget; where none is named, equal credentials do. Not across endpoints:
    /// another service counts for itself, and must not be able to pause this one.
    pub fn new(endpoint: &str, account: Option<&str>, credential: &Credential) -> Self {
        let endpoint = canonical(endpoint);
        let (sort, text) = match (account, credential) {
            (Some(account), _) => ("account", account),
            (None, Credential::Token(token)) => ("token", token.expose_secret()),
            // Whatever its secret is today.
            (None, Credential::Client { id, .. }) => ("client", id.as_str()),
        };
        let mut digest = Sha256::new();
        for part in [endpoint.as_str(), sort, text] {
            // With its length, so that no two triples run together into one text.
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part.as_bytes());
        }
        Self(digest.finalize().into())
    }
}

/// Not even the digest is shown: of a weak credential it would be as good as the credential.
impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountKey")
    }
}

/// The budgets of accounts and organizations. Holds those in use, and accounts still paused.
#[derive(Debug)]
pub struct Budgets {
    max_rate_limit_pause: Duration,
    metrics: Metrics,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    accounts: HashMap<AccountKey, Arc<Account>>,
    organizations: HashMap<(String, Quota), Weak<Organization>>,
}

impl Budgets {
    /// No budgets yet. No header of an answer pauses an account for longer than `max_rate_limit_pause`: a mistake of the service,
    /// or of something in front of it, must not stop the operator for days. Asking anew after that costs one request.
    pub fn new(max_rate_limit_pause: Duration, metrics: Metrics) -> Self {
        Self { max_rate_limit_pause, metrics, held: Mutex::default() }
    }

    /// A connection's part of the account's budget, under that of `organization` (a name that is the same for all
    /// connections that act in it). Of several quotas stated for one account the smallest applies, while its connection
    /// lasts.
    ///
    /// A budget that nobody uses any more is dropped. One that is made again starts empty, so that it does not grant what
    /// the former one has granted.
    pub fn account(&self, key: AccountKey, organization: &str, quota: Quota) -> Budget {
        let organization = canonical(organization);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.accounts.retain(|_, account| Arc::strong_count(account) > 1 || account.paused().is_some());
        held.organizations.retain(|_, organization| organization.strong_count() > 0);
        let account = Arc::clone(held.accounts.entry(key).or_insert_with(|| Arc::new(Account::start())));
        // Where an account is granted more than the figure for organizations, that figure does not hold there.
        let above = if quota.share() > ORGANIZATION.share() { quota } else { ORGANIZATION };
        let name = (organization, above);
        let organization = held.organizations.get(&name).and_then(Weak::upgrade).unwrap_or_else(|| {
            let organization = Arc::new(Organization::empty(above));
            held.organizations.insert(name, Arc::downgrade(&organization));
            organization
        });
        drop(held);
        let claim = Arc::new(Claim::new(account, quota));
        Budget { claim, organization, max_rate_limit_pause: self.max_rate_limit_pause, metrics: self.metrics.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_in_another_spelling_has_no_budget_of_its_own() {
        let token = Credential::Token(secrecy::SecretString::from("fake"));
        let key = |endpoint: &str| AccountKey::new(endpoint, None, &token);
        for spelling in ["https://api.example/", "https://API.example", "https://api.example:443/"] {
            assert!(key(spelling) == key("https://api.example"), "{spelling}");
        }
        for other in
            ["https://api.example:8443", "http://api.example", "https://api.example/v2", "https://other.example"]
        {
            assert!(key(other) != key("https://api.example"), "{other}");
        }
    }
}
