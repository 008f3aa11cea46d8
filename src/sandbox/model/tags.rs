//! Tags of an app.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::sandbox::wire::fields;

pub(crate) type Tags = BTreeMap<String, String>;

/// Maximum length of a key: a letter and up to 62 more characters.
const MAX_KEY_BYTES: usize = 63;
const MAX_VALUE_BYTES: usize = 256;

/// Reads a JSON object with valid keys and values.
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
        && key.chars().all(|c| c.is_ascii_alphanumeric() || "_./-".contains(c))
}

fn is_valid_value(value: &str) -> bool {
    value.len() <= MAX_VALUE_BYTES && value.chars().all(|c| c.is_ascii_alphanumeric() || "_@-".contains(c))
}
