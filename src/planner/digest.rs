//! Digests of values, which show whether a value changed, and of identities, which show the owner of an app.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::json::{hex, length, sha128};

/// Version of the keyed digests.
const KEYED_VERSION: &str = "v2";

/// Identity of this operator in the remote side's owner tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Distinguishes clusters that use the same account.
    pub cluster_id: String,
}

/// Why the operator has no digest key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestKeyFailure {
    /// The failed call and its error.
    pub error: String,
    /// True if the apiserver refuses the Secret that holds the key.
    pub is_refusal: bool,
}

/// Key of the digests of secret values. Without the key, a reader of a digest cannot try values.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestKey {
    id: String,
    bytes: Vec<u8>,
}

impl DigestKey {
    /// A key of these bytes, which must be random. The ID is a digest of the bytes, so that keys have different IDs.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { id: hex128(&[b"key id", &bytes]).chars().take(16).collect(), bytes }
    }

    /// ID of the key, which does not disclose the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key itself, for storage.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Digest of the value of a secret: version, ID of the key, and 128 bits. The digest covers the SpiceSecret
    /// (`object`: its namespace and name) and the name in the app. Equal values of two objects therefore have different
    /// digests, so that the creation of an object shows nothing about the value of another object. An object that is
    /// created again has the same digest.
    pub(crate) fn digest(&self, object: (&str, &str), name: &str, value: &str) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.bytes) else {
            unreachable!("HMAC accepts a key of any length")
        };
        for part in [KEYED_VERSION, object.0, object.1, name, value] {
            mac.update(&length(part.as_bytes()));
            mac.update(part.as_bytes());
        }
        format!("{KEYED_VERSION}:{}:{}", self.id, hex(&mac.finalize().into_bytes()[..16]))
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DigestKey({})", self.id)
    }
}

/// Returns true if a keyed digest has the current version and the key with this ID. A digest of another version is not
/// comparable.
pub(crate) fn is_under(digest: &str, key: &str) -> bool {
    let mut parts = digest.split(':');
    (parts.next(), parts.next()) == (Some(KEYED_VERSION), Some(key))
}

/// Digest of a value, with its version. The order of keys makes no difference.
pub(crate) use crate::json::digest as of_value;

/// Value of the owner tag: 128 bits for the cluster, the namespace and the object.
pub(crate) fn owner(identity: &Identity, namespace: &str, name: &str) -> String {
    hex128(&[identity.cluster_id.as_bytes(), namespace.as_bytes(), name.as_bytes()])
}

/// A number that depends on the text only.
pub(crate) fn number(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

fn hex128(parts: &[&[u8]]) -> String {
    hex(&sha128(parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn digests_have_golden_values() {
        let identity = Identity { cluster_id: "cluster".into() };
        let found = [of_value(&json!({"b": [1, "x"], "a": null})), owner(&identity, "team", "my-app")];
        assert_eq!(found, ["v1:68876a3d7027a49f6efa4738fffce449", "2b6e7dd5fbbc3f25a7cbf011d6d0c195"]);
    }

    #[test]
    fn keyed_digests_have_golden_values_and_disclose_neither_key_nor_value() {
        let (key, object) = (DigestKey::new(vec![7; 32]), ("team", "my-secret"));
        let digest = key.digest(object, "TOKEN", "fake-value");
        assert_eq!(digest, "v2:cea950a88190ae13:ab66382e8271c843152f26f033c75e7e");
        assert!(is_under(&digest, key.id()));
        let other = DigestKey::new(vec![8; 32]);
        assert!(!is_under(&digest, other.id()));
        assert_ne!(other.digest(object, "TOKEN", "fake-value"), digest);
        for unknown in [digest.replacen("v2", "v1", 1), digest.replacen("v2", "v3", 1), "v2".to_owned(), String::new()]
        {
            assert!(!is_under(&unknown, key.id()), "{unknown}");
        }
        assert_eq!(format!("{key:?}"), format!("DigestKey({})", key.id()));
    }

    #[test]
    fn a_keyed_digest_covers_namespace_and_object_and_name_and_value() {
        let key = DigestKey::new(vec![7; 32]);
        let digests: Vec<String> = [
            (("team", "my-secret"), "TOKEN", "value"),
            (("other", "my-secret"), "TOKEN", "value"),
            (("team", "other"), "TOKEN", "value"),
            (("team", "my-secret"), "OTHER", "value"),
            (("team", "my-secret"), "TOKEN", "other"),
            (("team", "my-secret"), "TOKEN", ""),
            (("teammy-secret", ""), "TOKEN", "value"),
            (("teammy-", "secret"), "TOKEN", "value"),
            (("team", "my-secretTOKEN"), "", "value"),
            (("team", "my-secret"), "TOKENvalue", ""),
        ]
        .map(|(object, name, value)| key.digest(object, name, value))
        .into();
        let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
        assert_eq!(distinct.len(), digests.len(), "{digests:?}");
        assert_eq!(key.digest(("team", "my-secret"), "TOKEN", "value"), digests[0]);
    }

    #[test]
    fn equal_values_have_equal_digests() {
        for (left, right, equal) in [
            (json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1}), true),
            (json!({"a": 1}), json!({"a": 1.0}), true),
            (json!([1, 2]), json!([2, 1]), false),
            (json!(["ab"]), json!(["a", "b"]), false),
            (json!(null), json!(""), false),
            (json!("1"), json!(1), false),
        ] {
            assert_eq!(of_value(&left) == of_value(&right), equal, "{left} {right}");
        }
    }

    #[test]
    fn owners_differ_by_cluster_namespace_and_name() {
        let of = |cluster: &str, namespace, name| owner(&Identity { cluster_id: cluster.into() }, namespace, name);
        let all = [of("a", "b", "c"), of("x", "b", "c"), of("a", "x", "c"), of("a", "b", "x"), of("ab", "", "c")];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
