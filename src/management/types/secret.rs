//! Secrets of apps. The API never returns a secret's value.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use super::list::ListPage;
use super::server_text::recorded_time;

/// A secret in a list or a response, without its value: the API masks the value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RemoteSecret {
    /// Name, unique in the app and case-sensitive.
    pub name: String,
    /// Time of the last write as RFC 3339 text; the precision differs between API versions.
    #[serde(default, deserialize_with = "recorded_time")]
    pub updated_at: Option<String>,
}

/// Secrets of an app, by name.
pub type SecretList = BTreeMap<String, RemoteSecret>;

/// Value of a secret. Only the request body exposes it.
#[derive(Clone)]
pub struct SecretValue(Arc<SecretString>);

impl SecretValue {
    /// True for an empty value.
    pub fn is_empty(&self) -> bool {
        self.0.expose_secret().is_empty()
    }

    /// The plain value.
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

/// Body of `POST /v1/apps/{appId}/secrets`, which creates or replaces the secret.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PutSecret {
    /// Name of the secret.
    pub name: String,
    /// New value.
    pub value: SecretValue,
}

/// Envelope of a list of secrets.
#[derive(Deserialize)]
pub(crate) struct SecretEnvelope {
    secrets: Vec<RemoteSecret>,
}

impl ListPage for SecretEnvelope {
    type Item = RemoteSecret;
    type Key = String;

    fn items(self) -> Vec<RemoteSecret> {
        self.secrets
    }

    fn key(item: &RemoteSecret) -> String {
        item.name.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_request_body_contains_the_value() {
        let body = PutSecret { name: "TOKEN".to_owned(), value: "fake-value".to_owned().into() };
        assert!(!format!("{body:?}").contains("fake-value"), "{body:?}");
        assert_eq!(serde_json::to_string(&body).unwrap(), r#"{"name":"TOKEN","value":"fake-value"}"#);
    }

    #[test]
    fn a_secret_is_decoded_without_its_value() {
        let body = r#"{"id":7,"name":"TOKEN","value":"********","updated_at":"2026-01-02T03:04:05Z","more":{}}"#;
        let secret: RemoteSecret = serde_json::from_str(body).unwrap();
        let updated_at = Some("2026-01-02T03:04:05Z".to_owned());
        assert_eq!(secret, RemoteSecret { name: "TOKEN".to_owned(), updated_at });
        assert!(serde_json::from_str::<RemoteSecret>(r#"{"name":"OLD"}"#).is_ok(), "an older version omits fields");
        let no_time = serde_json::json!({ "name": "TOKEN", "updated_at": "fake-value" });
        assert_eq!(serde_json::from_value::<RemoteSecret>(no_time).unwrap().updated_at, None);
        let long = serde_json::json!({ "name": "TOKEN", "updated_at": "x".repeat(254) });
        assert_eq!(serde_json::from_value::<RemoteSecret>(long).unwrap().updated_at, None);
    }
}
