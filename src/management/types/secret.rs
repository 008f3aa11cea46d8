//! Secrets of apps (contract section 10). Values go out and never come back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

/// A secret as a list or an answer shows it: its value is masked there, and is not read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Secret {
    /// Its name: unique in the app, and the case counts.
    pub name: String,
    /// When it was last set, as the API prints it: RFC 3339, of whatever precision.
    #[serde(default)]
    pub updated_at: Option<String>,
}

/// The secrets of an app, by name.
pub type SecretList = BTreeMap<String, Secret>;

/// The value of a secret. Nothing shows it but the request that carries it.
#[derive(Clone)]
pub struct SecretValue(Arc<SecretString>);

impl SecretValue {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.expose_secret().is_empty()
    }
}

impl SecretValue {
    /// What it is: for the request, and for telling whether a text holds it.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for SecretValue {
    fn from(value: String) -> Self {
        Self(Arc::new(value.into()))
    }
}

impl PartialEq for SecretValue {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretValue(..)")
    }
}

impl Serialize for SecretValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.expose_secret().serialize(serializer)
    }
}

/// Body of `POST /v1/apps/{appId}/secrets`: sets the secret of this name, whether there is one or not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PutSecret {
    /// The name to set.
    pub name: String,
    /// What it is to hold.
    pub value: SecretValue,
}

/// The envelope of a list of secrets.
#[derive(Deserialize)]
pub(crate) struct SecretEnvelope {
    secrets: Vec<Secret>,
}

impl super::Listed for SecretEnvelope {
    type Item = Secret;
    type Key = String;

    fn items(self) -> Vec<Secret> {
        self.secrets
    }

    fn key(item: &Secret) -> String {
        item.name.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_body_and_nowhere_else() {
        let body = PutSecret { name: "TOKEN".to_owned(), value: "fake-value".to_owned().into() };
        assert!(!format!("{body:?}").contains("fake-value"), "{body:?}");
        assert_eq!(serde_json::to_string(&body).unwrap(), r#"{"name":"TOKEN","value":"fake-value"}"#);
    }

    #[test]
    fn a_secret_is_read_without_its_value() {
        let shown = r#"{"id":7,"name":"TOKEN","value":"********","updated_at":"2026-01-02T03:04:05Z","more":{}}"#;
        let secret: Secret = serde_json::from_str(shown).unwrap();
        let updated_at = Some("2026-01-02T03:04:05Z".to_owned());
        assert_eq!(secret, Secret { name: "TOKEN".to_owned(), updated_at });
        assert!(serde_json::from_str::<Secret>(r#"{"name":"OLD"}"#).is_ok(), "whatever an older version leaves out");
    }
}
