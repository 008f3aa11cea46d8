//! What a body may say, for the document of the API (contract, sections 7.1 and 7.4).
//!
//! Nothing is read into these types: [`AppChanges`](super::Changes) reads field by field, so that one answer names
//! everything that is wrong. Tests hold the two together: the fields, and the bounds of each.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};

use super::changes::{UPDATE_CHANNELS, VISIBILITIES};
use crate::sandbox::model::placement::{CLUSTERS, REGIONS};
use crate::sandbox::model::resources::{ComputeResources, ExecutorSettings};

/// A new app. Fields that are not named here are ignored.
#[derive(ToSchema)]
#[schema(as = CreateApp)]
#[expect(dead_code, reason = "it only describes")]
pub(crate) struct CreateAppRequest {
    /// Unique in the organization, whatever its case. The name of a deleted app brings that app back.
    #[schema(min_length = 4, max_length = 38, pattern = "^[a-zA-Z0-9-]+$")]
    name: String,
    /// Where the app runs, unless `cname` or `cluster_name` says so.
    #[schema(schema_with = region)]
    region: Option<String>,
    /// The name of a data plane; neither with `region` nor with `cluster_name`.
    #[schema(deprecated, min_length = 1, max_length = 253, pattern = "^[a-zA-Z0-9.-]+$")]
    cname: Option<String>,
    /// A dedicated cluster of `/v1/clusters`.
    #[schema(schema_with = cluster_name)]
    cluster_name: Option<String>,
    description: Option<String>,
    #[schema(schema_with = visibility)]
    visibility: Option<String>,
    /// Keys are a letter and up to 62 letters, digits or `_./-`, values up to 256 letters, digits or `_@-`.
    tags: Option<BTreeMap<String, String>>,
    #[schema(schema_with = update_channel)]
    update_channel: Option<String>,
    #[schema(minimum = 1, maximum = 10, nullable = false)]
    replicas: Option<u64>,
    resources: Option<ComputeResources>,
    executor: Option<ExecutorSettings>,
    #[schema(exclusive_minimum = 0)]
    storage_size_gb: Option<f64>,
    /// The same as `storage_size_gb`.
    #[schema(deprecated, exclusive_minimum = 0)]
    storage_claim_size_gb: Option<f64>,
    /// Whether the app gets the usual alerts. The sandbox has none.
    #[schema(default = true, nullable = false)]
    default_alerts: Option<bool>,
}

/// Changes of an app. What is absent stays, `null` empties. Fields that are not named here are ignored.
#[derive(ToSchema)]
#[schema(as = UpdateApp)]
#[expect(dead_code, reason = "it only describes")]
pub(crate) struct UpdateAppRequest {
    description: Option<String>,
    #[schema(schema_with = visibility)]
    visibility: Option<String>,
    production_branch: Option<String>,
    /// Replaces all tags. The rules are those of a create.
    tags: Option<BTreeMap<String, String>>,
    /// An object, or text in YAML or JSON.
    #[schema(schema_with = spicepod)]
    spicepod: Option<Value>,
    registry: Option<String>,
    image: Option<String>,
    image_tag: Option<String>,
    #[schema(schema_with = update_channel)]
    update_channel: Option<String>,
    /// A range of versions such as `2.x`.
    version: Option<String>,
    #[schema(minimum = 1, maximum = 10, nullable = false)]
    replicas: Option<u64>,
    resources: Option<ComputeResources>,
    executor: Option<ExecutorSettings>,
    node_group: Option<String>,
    #[schema(schema_with = region)]
    region: Option<String>,
    /// A dedicated cluster of `/v1/clusters`.
    #[schema(schema_with = cluster_name)]
    cluster_name: Option<String>,
    #[schema(exclusive_minimum = 0)]
    storage_size_gb: Option<f64>,
    /// The same as `storage_size_gb`.
    #[schema(deprecated, exclusive_minimum = 0)]
    storage_claim_size_gb: Option<f64>,
}

fn spicepod() -> Object {
    ObjectBuilder::new().schema_type(SchemaType::Array(vec![Type::String, Type::Object, Type::Null])).build()
}

fn visibility() -> Object {
    choice(&VISIBILITIES, false)
}

fn update_channel() -> Object {
    choice(&UPDATE_CHANNELS, true)
}

fn region() -> Object {
    choice(&REGIONS.map(|region| region.id), true)
}

fn cluster_name() -> Object {
    choice(&CLUSTERS.map(|cluster| cluster.target), true)
}

/// One of a closed set of strings, which a derived schema cannot take from a constant.
fn choice(known: &[&str], nullable: bool) -> Object {
    let null = nullable.then_some(Value::Null);
    let schema_type =
        if nullable { SchemaType::Array(vec![Type::String, Type::Null]) } else { SchemaType::Type(Type::String) };
    let words = known.iter().map(|word| Value::from(*word));
    ObjectBuilder::new().schema_type(schema_type).enum_values(Some(words.chain(null))).build()
}
