//! One request budget an account: SpiceOrganizations of one credential, or of one `requestBudget.account`, share it.

use std::collections::HashMap;
use std::sync::Arc;

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use crate::management::{Budget, Credential, Quota};

/// What tells one account from another. Holds no secret: of a token it is a digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Account {
    /// Named by `requestBudget.account`.
    Named(String),
    /// An OAuth client's id at its token endpoint.
    Client(String, String),
    /// Digest of an endpoint and a token.
    Token([u8; 32]),
}

impl Account {
    pub(super) fn of(name: Option<&String>, endpoint: &str, credential: &Credential) -> Self {
        match (name, credential) {
            (Some(name), _) => Self::Named(name.clone()),
            (None, Credential::Client { id, token_endpoint, .. }) => Self::Client(token_endpoint.clone(), id.clone()),
            (None, Credential::Token(token)) => {
                let digest = Sha256::new().chain_update(endpoint).chain_update([0]);
                Self::Token(digest.chain_update(token.expose_secret()).finalize().into())
            }
        }
    }
}

/// The budgets in use.
#[derive(Default)]
pub(super) struct Accounts {
    held: HashMap<Account, Shared>,
}

struct Shared {
    budget: Arc<Budget>,
    quota: Quota,
    /// What each organization asks for, by its uid: the least of it counts.
    asked: HashMap<String, Quota>,
}

impl Accounts {
    /// The budget of an account, for an organization that asks for this quota of it. Where that changes what counts, the
    /// budget is a new one, and so has to be the connection of each organization whose uid is told.
    pub(super) fn join(&mut self, account: &Account, uid: &str, quota: Quota) -> (Arc<Budget>, Vec<String>) {
        self.leave(uid, Some(account));
        let shared = self.held.entry(account.clone()).or_insert_with(|| Shared {
            budget: Arc::new(Budget::start(quota)),
            quota,
            asked: HashMap::new(),
        });
        shared.asked.insert(uid.to_owned(), quota);
        let least = shared.least();
        if least == shared.quota {
            return (Arc::clone(&shared.budget), Vec::new());
        }
        (shared.budget, shared.quota) = (Arc::new(Budget::start(least)), least);
        let others = shared.asked.keys().filter(|other| *other != uid).cloned().collect();
        (Arc::clone(&shared.budget), others)
    }

    /// Forgets what an organization asked for, other than of the account that it stays with.
    pub(super) fn leave(&mut self, uid: &str, but: Option<&Account>) {
        self.held.retain(|account, shared| {
            if Some(account) != but {
                shared.asked.remove(uid);
            }
            Some(account) == but || !shared.asked.is_empty()
        });
    }
}

impl Shared {
    fn least(&self) -> Quota {
        self.asked.values().fold(Quota { burst: u32::MAX, refill_per_minute: u32::MAX }, |least, quota| Quota {
            burst: least.burst.min(quota.burst),
            refill_per_minute: least.refill_per_minute.min(quota.refill_per_minute),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn organizations_of_one_account_share_the_least_that_any_of_them_asks_for() {
        let quota = |refill_per_minute| Quota { burst: 1, refill_per_minute };
        let (mut accounts, account) = (Accounts::default(), Account::Named("mine".to_owned()));
        let (first, told) = accounts.join(&account, "a", quota(100));
        assert!(told.is_empty());
        let (second, told) = accounts.join(&account, "b", quota(100));
        assert!(Arc::ptr_eq(&first, &second) && told.is_empty());
        let (lower, told) = accounts.join(&account, "b", quota(50));
        assert!(!Arc::ptr_eq(&first, &lower));
        assert_eq!(told, ["a"]);
        let (same, told) = accounts.join(&account, "a", quota(100));
        assert!(Arc::ptr_eq(&same, &lower) && told.is_empty());
        let (other, _) = accounts.join(&Account::Named("other".to_owned()), "b", quota(50));
        assert!(!Arc::ptr_eq(&other, &lower));
        let (raised, _) = accounts.join(&account, "a", quota(100));
        assert!(!Arc::ptr_eq(&raised, &lower), "whoever asked for less is gone");
    }

    #[test]
    fn equal_credentials_are_one_account() {
        let token = |text: &str| Credential::Token(text.into());
        let one = Account::of(None, "https://api.example", &token("fake-1"));
        assert_eq!(one, Account::of(None, "https://api.example", &token("fake-1")));
        assert_ne!(one, Account::of(None, "https://api.example", &token("fake-2")));
        assert_ne!(one, Account::of(None, "https://other.example", &token("fake-1")));
        let name = "mine".to_owned();
        let named = Account::of(Some(&name), "https://api.example", &token("fake-1"));
        assert_eq!(named, Account::of(Some(&name), "https://api.example", &token("fake-2")));
    }
}
