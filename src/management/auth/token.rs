//! Access tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use secrecy::{ExposeSecret, SecretString};

/// A bearer token.
#[derive(Debug)]
pub(crate) struct AccessToken {
    value: SecretString,
    /// True if the API rejected the previous token.
    pub(super) replaces_rejected: bool,
    accepted: AtomicBool,
}

impl AccessToken {
    pub(super) fn new(value: SecretString, replaces_rejected: bool) -> Arc<Self> {
        Arc::new(Self { value, replaces_rejected, accepted: AtomicBool::new(false) })
    }

    pub(crate) fn expose(&self) -> &str {
        self.value.expose_secret()
    }

    /// Records that the API accepted the token.
    pub(crate) fn mark_accepted(&self) {
        self.accepted.store(true, Ordering::Relaxed);
    }

    pub(super) fn was_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::management::credential::Credential;

    #[test]
    fn debug_output_contains_no_credential() {
        let credential = Credential::Client {
            id: "id".to_owned(),
            secret: "fake-client-secret".into(),
            token_endpoint: "https://spice.example".to_owned(),
        };
        let token = AccessToken::new("fake-token".into(), false);
        assert!(!format!("{credential:?} {token:?}").contains("fake"));
    }
}
