//! Regions (contract section 12). Every field but the id is optional: older answers lack some.

use serde::Deserialize;

/// The answer of `GET /v1/regions`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Regions {
    /// All regions the account can see.
    #[serde(default)]
    pub regions: Vec<Region>,
    /// Id of the region to use when none is named.
    #[serde(default)]
    pub default: Option<String>,
}

/// One region.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Region {
    /// Its id, such as `us-west-2`.
    pub region: String,
    /// Its name for people.
    #[serde(default)]
    pub name: Option<String>,
    /// The cloud it is in, such as `aws`.
    #[serde(default)]
    pub provider: Option<String>,
    /// Whether it is the default one.
    #[serde(default)]
    pub is_default: Option<bool>,
    /// Whether nothing can be created in it.
    #[serde(default)]
    pub disabled: Option<bool>,
}
