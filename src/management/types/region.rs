//! Regions. Every field of a region but its ID is optional, because older versions of the API omit some.

use serde::Deserialize;

/// Response of `GET /v1/regions`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Regions {
    /// All regions that are visible to the account.
    pub regions: Vec<Region>,
    /// ID of the region for apps that name none.
    #[serde(default)]
    pub default: Option<String>,
}

/// One region.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Region {
    /// Region ID, such as `us-west-2`.
    pub region: String,
    /// Display name.
    #[serde(default)]
    pub name: Option<String>,
    /// Cloud provider, such as `aws`.
    #[serde(default)]
    pub provider: Option<String>,
    /// True for the default region.
    #[serde(default)]
    pub is_default: Option<bool>,
    /// True if the API rejects new apps in this region.
    #[serde(default)]
    pub disabled: Option<bool>,
}
