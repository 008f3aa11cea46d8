//! JSON values as compact text with their digests.
//!
//! A tree of [`Value`] needs about ten times the memory of its text. Caches and waiting reconciles therefore keep the
//! text. Comparisons use the digest. Only code that changes the value parses the text.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// A JSON value as compact text with sorted keys. A clone shares the text. Two values are equal if their digests are.
#[derive(Clone)]
pub struct CompactJson(Arc<Content>);

struct Content {
    digest: [u8; 16],
    levels: usize,
    text: Box<str>,
}

impl CompactJson {
    /// The text.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Nested levels of objects and lists; 0 for any other value.
    pub fn levels(&self) -> usize {
        self.0.levels
    }

    /// Digest of the value, with its version.
    pub fn digest(&self) -> String {
        format!("v1:{}", hex(&self.0.digest))
    }

    /// Parses the text.
    pub fn to_value(&self) -> Value {
        // The text of a value is valid JSON.
        serde_json::from_str(self.text()).unwrap_or_default()
    }

    /// The value, if it is a string.
    pub fn to_string_value(&self) -> Option<String> {
        serde_json::from_str(self.text()).ok()
    }
}

impl From<Value> for CompactJson {
    fn from(value: Value) -> Self {
        Self::from(&value)
    }
}

impl From<&Value> for CompactJson {
    fn from(value: &Value) -> Self {
        let text = value.to_string().into_boxed_str();
        Self(Arc::new(Content { digest: digest128(value), levels: levels(value), text }))
    }
}

impl PartialEq for CompactJson {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}

impl Eq for CompactJson {}

impl fmt::Debug for CompactJson {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text())
    }
}

impl Serialize for CompactJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A serializer of JSON text copies the text.
        let raw: &RawValue = serde_json::from_str(self.text()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CompactJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

/// A `T` as compact JSON. Has the schema of `T`, and decodes only values that `T` accepts.
#[derive(Clone, PartialEq, Eq)]
pub struct Compact<T> {
    json: CompactJson,
    decoded_type: PhantomData<fn() -> T>,
}

impl<T> Compact<T> {
    /// The JSON of the value.
    pub fn json(&self) -> &CompactJson {
        &self.json
    }
}

impl<T> fmt::Debug for Compact<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.json.fmt(formatter)
    }
}

impl<T> Serialize for Compact<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

impl<'de, T: Serialize + DeserializeOwned> Deserialize<'de> for Compact<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::to_value(T::deserialize(deserializer)?).map_err(D::Error::custom)?;
        Ok(Self { json: value.into(), decoded_type: PhantomData })
    }
}

impl<T: JsonSchema> JsonSchema for Compact<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Digest of a value, with its version. The order of keys makes no difference.
pub(crate) fn digest(value: &Value) -> String {
    format!("v1:{}", hex(&digest128(value)))
}

/// 128 bits of SHA-256 over the parts.
pub(crate) fn sha128(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(length(part));
        hasher.update(part);
    }
    let (mut bits, hash) = ([0; 16], hasher.finalize());
    bits.copy_from_slice(&hash[..16]);
    bits
}

/// Length before each part of a digest's input, which distinguishes ("ab", "c") from ("a", "bc").
pub(crate) fn length(part: &[u8]) -> [u8; 8] {
    (part.len() as u64).to_be_bytes()
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest128(value: &Value) -> [u8; 16] {
    let mut text = String::new();
    canonical(value, &mut text);
    sha128(&[text.as_bytes()])
}

fn levels(value: &Value) -> usize {
    let nested = match value {
        Value::Object(entries) => entries.values().map(levels).max(),
        Value::Array(items) => items.iter().map(levels).max(),
        _ => return 0,
    };
    1 + nested.unwrap_or_default()
}

/// Appends the JSON of a value with sorted keys.
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
        // A server may return 1 for 1.0; both are the same number.
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
    fn a_value_round_trips_and_its_digest_depends_on_no_key_order_and_no_whitespace() {
        for (text, compact, levels) in [
            (r#"{"b": [1, {"x": null}], "a": "\u003cé\u003e \"q\""}"#, r#"{"a":"<é> \"q\"","b":[1,{"x":null}]}"#, 3),
            ("[ ]", "[]", 1),
            ("\"text\"", "\"text\"", 0),
            ("1.0", "1.0", 0),
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            let read: CompactJson = serde_json::from_str(text).unwrap();
            assert_eq!((read.text(), read.levels(), read.to_value()), (compact, levels, value.clone()));
            assert_eq!(read.digest(), digest(&value));
            assert_eq!(serde_json::to_string(&read).unwrap(), compact);
            assert_eq!(serde_json::to_value(&read).unwrap(), value);
        }
        let one: CompactJson = serde_json::from_str(r#"{"a":1,"b":2}"#).unwrap();
        let other: CompactJson = serde_json::from_str(r#"{ "b": 2.0, "a": 1 }"#).unwrap();
        assert_eq!(one, other);
        assert_ne!(one, json!({ "a": 1 }).into());
    }

    #[test]
    fn a_typed_value_decodes_only_values_of_its_type() {
        let limits: Compact<Vec<u32>> = serde_json::from_str("[1, 2]").unwrap();
        assert_eq!(limits.json().text(), "[1,2]");
        assert!(serde_json::from_str::<Compact<Vec<u32>>>("[\"1\"]").is_err());
    }
}
