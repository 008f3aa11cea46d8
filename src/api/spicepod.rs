//! A spicepod, as a SpiceApp contains it.

use schemars::{Schema, SchemaGenerator};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::json::CompactJson;

/// Maximum length of a spicepod in bytes of JSON, so that the object stays below the size limit of etcd.
pub const MAX_SPICEPOD_BYTES: usize = 256 * 1024;

/// A spicepod. Of a spicepod longer than [`MAX_SPICEPOD_BYTES`], only the length is kept in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spicepod {
    /// A spicepod within the limit.
    Json(CompactJson),
    /// Length of a spicepod above the limit, in bytes of JSON.
    TooLong(usize),
}

impl From<Value> for Spicepod {
    fn from(value: Value) -> Self {
        let json = CompactJson::from(value);
        match json.text().len() {
            length if length > MAX_SPICEPOD_BYTES => Self::TooLong(length),
            _ => Self::Json(json),
        }
    }
}

impl Serialize for Spicepod {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Json(json) => json.serialize(serializer),
            Self::TooLong(length) => length.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Spicepod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        // The operator's filter of responses replaces a spicepod above the limit by its length.
        let length = value.as_u64().and_then(|length| usize::try_from(length).ok());
        match (&value, length.filter(|length| *length > MAX_SPICEPOD_BYTES)) {
            (Value::Object(_), _) => Ok(value.into()),
            (_, Some(length)) => Ok(Self::TooLong(length)),
            _ => Err(D::Error::custom("invalid type of spicepod, expected an object")),
        }
    }
}

/// Schema of a spicepod: an object with any fields.
pub(super) fn spicepod_schema(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_an_object_within_the_limit_is_kept() {
        let of_length = |length: usize| json!({ "a": "x".repeat(length - 8) });
        let read = |value: Value| serde_json::from_value::<Spicepod>(value).ok();
        let fits = of_length(MAX_SPICEPOD_BYTES);
        assert_eq!(read(fits.clone()), Some(Spicepod::Json(fits.into())));
        let length = MAX_SPICEPOD_BYTES + 1;
        for value in [of_length(length), json!(length)] {
            assert_eq!(read(value), Some(Spicepod::TooLong(length)));
        }
        for value in [json!(MAX_SPICEPOD_BYTES), json!(5), json!(-1), json!("text"), json!([]), json!(null)] {
            assert_eq!(read(value), None);
        }
    }
}
