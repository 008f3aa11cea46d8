//! The tags of an app (contract, section 7.4).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::sandbox::wire::fields;

/// Tags by key.
pub(crate) type Tags = BTreeMap<String, String>;

/// Beyond this many bytes a key is refused: a letter and up to 62 more.
const MAX_KEY_BYTES: usize = 63;
/// Beyond this many bytes a value is refused.
const MAX_VALUE_BYTES: usize = 256;

/// Reads an object of strings that keep the rules of keys and values.
pub(crate) fn read_tags(value: &Value) -> Result<Tags, String> {
    fields::read_object(value)?
        .iter()
        .map(|(key, value)| {
            let value = value.as_str().ok_or_else(|| format!("the value of {key:?} must be a string"))?;
            if !is_valid_key(key) {
                return Err(format!("the key {key:?} must be a letter and up to 62 letters, digits or _ . / -"));
            }
            if !is_valid_value(value) {
                return Err(format!("the value of {key:?} must be up to 256 letters, digits or _ @ -"));
            }
            Ok((key.clone(), value.to_owned()))
        })
        .collect()
}

fn is_valid_key(key: &str) -> bool {
    key.len() <= MAX_KEY_BYTES
        && key.starts_with(|first: char| first.is_ascii_alphabetic())
        && key.chars().all(|other| other.is_ascii_alphanumeric() || "_./-".contains(other))
}

fn is_valid_value(value: &str) -> bool {
    value.len() <= MAX_VALUE_BYTES && value.chars().all(|other| other.is_ascii_alphanumeric() || "_@-".contains(other))
}
