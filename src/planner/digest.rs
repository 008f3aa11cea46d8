//! Digests: of values, to tell whether they changed; of identities, to tell whose an app is.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Identity;

/// Digest of a value, with the version of how it is made. Equal values have equal digests whatever their key order.
pub(crate) fn of_value(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    format!("v1:{}", hex128(&[text.as_bytes()]))
}

/// The owner tag's value: 128 bits that name the cluster, the namespace and the object.
pub(crate) fn owner(identity: &Identity, namespace: &str, name: &str) -> String {
    hex128(&[identity.cluster_id.as_bytes(), namespace.as_bytes(), name.as_bytes()])
}

/// A number that depends on nothing but the text.
pub(crate) fn number(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

fn hex128(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        // The length keeps ("ab", "c") apart from ("a", "bc").
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(entries) => {
            let mut keys: Vec<&String> = entries.keys().collect();
            keys.sort();
            text.push('{');
            for key in keys {
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                canonical(&entries[key], text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        // A server may turn 1.0 into 1; both are the same number.
        Value::Number(number) => match number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e15) {
            Some(float) => text.push_str(&format!("{float:.0}")),
            None => text.push_str(&number.to_string()),
        },
        other => text.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn digests_have_golden_values() {
        let identity = Identity { cluster_id: "cluster".into() };
        let found = [of_value(&json!({"b": [1, "x"], "a": null})), owner(&identity, "team", "my-app")];
        assert_eq!(found, ["v1:ecc5a93a97ccff5f7ad1faf1a3aa5b1f", "1d8f8aa4d2b4d6ff6ed6f5b5ad1d2f6c"]);
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
