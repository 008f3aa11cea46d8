//! Organizations, their limits and their images. Most fields are optional, because older API versions omit some.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::server_text::{MAX_RECORDED_LENGTH, recorded_text};

/// An organization that the credential can access.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AccessibleOrganization {
    /// ID as text. The API returns a string or a number.
    #[serde(deserialize_with = "id_as_text")]
    pub id: String,
    /// Handle.
    #[serde(default, deserialize_with = "recorded_text")]
    pub name: Option<String>,
}

/// Response of `GET /v1/orgs`, with or without an envelope.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum OrganizationEnvelope {
    Wrapped { orgs: Vec<AccessibleOrganization> },
    Bare(Vec<AccessibleOrganization>),
}

impl OrganizationEnvelope {
    pub(crate) fn items(self) -> Vec<AccessibleOrganization> {
        match self {
            Self::Wrapped { orgs } | Self::Bare(orgs) => orgs,
        }
    }
}

fn id_as_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) if !text.is_empty() && text.len() <= MAX_RECORDED_LENGTH => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(D::Error::custom("the ID must be a short string or a number")),
    }
}

/// Response of `GET /v1/container-images`; fields that the operator does not use are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Images {
    /// Recommended tag of the channel.
    #[serde(default)]
    pub default: Option<String>,
}

/// Response of `GET /v1/limits`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Limits(Map<String, Value>);

impl Limits {
    /// A limit by its API name; -1 means unlimited.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }

    /// A limit of an app's resources.
    pub fn resource(&self, name: &str) -> Option<i64> {
        self.0.get("resources")?.get(name)?.as_i64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn organizations_are_decoded_with_or_without_envelope_and_with_text_or_number_ids() {
        let decoded =
            |body: Value| serde_json::from_value::<OrganizationEnvelope>(body).map(OrganizationEnvelope::items);
        let expected = [AccessibleOrganization { id: "7".to_owned(), name: Some("mine".to_owned()) }];
        for body in
            [json!({ "orgs": [{ "id": 7, "name": "mine", "role": "owner" }] }), json!([{ "id": "7", "name": "mine" }])]
        {
            assert_eq!(decoded(body).unwrap(), expected);
        }
        assert_eq!(decoded(json!({ "orgs": [] })).unwrap(), []);
        assert_eq!(
            decoded(json!([{ "id": "x" }])).unwrap(),
            [AccessibleOrganization { id: "x".to_owned(), name: None }]
        );
        let long = "x".repeat(254);
        assert_eq!(decoded(json!([{ "id": "x", "name": long }])).unwrap()[0].name, None);
        for body in [
            json!({}),
            json!(null),
            json!([{ "name": "mine" }]),
            json!([{ "id": null }]),
            json!([{ "id": "" }]),
            json!([{ "id": long }]),
        ] {
            assert!(decoded(body.clone()).is_err(), "{body}");
        }
    }
}
