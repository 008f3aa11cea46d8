//! What an organization is and offers (contract section 12). Every field is optional: older answers lack some.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// An organization that a credential reaches.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AccessibleOrganization {
    /// Its id, whatever scalar the API has for it, as text.
    #[serde(deserialize_with = "scalar")]
    pub id: String,
    /// Its handle.
    #[serde(default)]
    pub name: Option<String>,
}

/// Either form of the answer of `GET /v1/orgs`.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum AccessibleOrganizationEnvelope {
    Wrapped { orgs: Vec<AccessibleOrganization> },
    Bare(Vec<AccessibleOrganization>),
}

impl AccessibleOrganizationEnvelope {
    pub(crate) fn items(self) -> Vec<AccessibleOrganization> {
        match self {
            Self::Wrapped { orgs } | Self::Bare(orgs) => orgs,
        }
    }
}

fn scalar<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) if !text.is_empty() => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(D::Error::custom("an id is text or a number")),
    }
}

/// The answer of `GET /v1/container-images`, as far as it is of use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Images {
    /// The recommended tag of the channel.
    #[serde(default)]
    pub default: Option<String>,
}

/// The answer of `GET /v1/limits`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Limits(Map<String, Value>);

impl Limits {
    /// One limit by the API's name; -1 is unlimited.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }

    /// One limit of the resources of an app.
    pub fn resource(&self, name: &str) -> Option<i64> {
        self.0.get("resources")?.get(name)?.as_i64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn organizations_come_wrapped_or_bare_and_with_any_scalar_as_id() {
        let decoded = |answer: Value| {
            serde_json::from_value::<AccessibleOrganizationEnvelope>(answer).map(AccessibleOrganizationEnvelope::items)
        };
        let expected = [AccessibleOrganization { id: "7".to_owned(), name: Some("mine".to_owned()) }];
        for answer in
            [json!({ "orgs": [{ "id": 7, "name": "mine", "role": "owner" }] }), json!([{ "id": "7", "name": "mine" }])]
        {
            assert_eq!(decoded(answer).unwrap(), expected);
        }
        assert_eq!(decoded(json!({ "orgs": [] })).unwrap(), []);
        assert_eq!(
            decoded(json!([{ "id": "x" }])).unwrap(),
            [AccessibleOrganization { id: "x".to_owned(), name: None }]
        );
        for answer in
            [json!({}), json!(null), json!([{ "name": "mine" }]), json!([{ "id": null }]), json!([{ "id": "" }])]
        {
            assert!(decoded(answer.clone()).is_err(), "{answer}");
        }
    }
}
