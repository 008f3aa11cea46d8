//! Request bodies of apps, for the OpenAPI document.
//!
//! These types only document the bodies; [`AppChanges`](super::changes::AppChanges) reads them field by field. Tests
//! compare the fields and the bounds of both.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};

use super::changes::{UPDATE_CHANNELS, VISIBILITIES};
use crate::sandbox::model::placement::{CLUSTERS, REGIONS};
use crate::sandbox::model::resources::{ComputeResources, ExecutorSettings};

/// A new app. Unknown fields are ignored.
#[derive(ToSchema)]
#[schema(as = CreateApp)]
#[expect(dead_code, reason = "documentation of the body only")]
pub(crate) struct CreateAppRequest {
    /// Unique in the organization, case-insensitive. The name of a deleted app reactivates that app.
    #[schema(min_length = 4, max_length = 38, pattern = "^[a-zA-Z0-9-]+$")]
    name: String,
    /// Region of the app. An alternative to `cname` and `cluster_name`.
    #[schema(schema_with = region)]
    region: Option<String>,
    /// Name of a data plane. Cannot be combined with `region` or `cluster_name`.
    #[schema(deprecated, min_length = 1, max_length = 253, pattern = "^[a-zA-Z0-9.-]+$")]
    cname: Option<String>,
    /// A dedicated cluster from `/v1/clusters`.
    #[schema(schema_with = cluster_name)]
    cluster_name: Option<String>,
    description: Option<String>,
    #[schema(schema_with = visibility)]
    visibility: Option<String>,
    /// A key is a letter and up to 62 letters, digits or `_./-`. A value is up to 256 letters, digits or `_@-`.
    tags: Option<BTreeMap<String, String>>,
    #[schema(schema_with = update_channel)]
    update_channel: Option<String>,
    #[schema(minimum = 1, maximum = 10, nullable = false)]
    replicas: Option<u64>,
    resources: Option<ComputeResources>,
    executor: Option<ExecutorSettings>,
    #[schema(exclusive_minimum = 0)]
    storage_size_gb: Option<f64>,
    /// Same value as `storage_size_gb`.
    #[schema(deprecated, exclusive_minimum = 0)]
    storage_claim_size_gb: Option<f64>,
    /// Requests the default alerts. The sandbox has no alerts.
    #[schema(default = true, nullable = false)]
    default_alerts: Option<bool>,
}

/// Changes of an app. Absent fields stay unchanged, `null` clears a field. Unknown fields are ignored.
#[derive(ToSchema)]
#[schema(as = UpdateApp)]
#[expect(dead_code, reason = "documentation of the body only")]
pub(crate) struct UpdateAppRequest {
    description: Option<String>,
    #[schema(schema_with = visibility)]
    visibility: Option<String>,
    production_branch: Option<String>,
    /// Replaces all tags. The rules are the same as for a create request.
    tags: Option<BTreeMap<String, String>>,
    /// An object, or text in YAML or JSON.
    #[schema(schema_with = spicepod)]
    spicepod: Option<Value>,
    registry: Option<String>,
    image: Option<String>,
    image_tag: Option<String>,
    #[schema(schema_with = update_channel)]
    update_channel: Option<String>,
    /// Version range such as `2.x`.
    version: Option<String>,
    #[schema(minimum = 1, maximum = 10, nullable = false)]
    replicas: Option<u64>,
    resources: Option<ComputeResources>,
    executor: Option<ExecutorSettings>,
    node_group: Option<String>,
    #[schema(schema_with = region)]
    region: Option<String>,
    /// A dedicated cluster from `/v1/clusters`.
    #[schema(schema_with = cluster_name)]
    cluster_name: Option<String>,
    #[schema(exclusive_minimum = 0)]
    storage_size_gb: Option<f64>,
    /// Same value as `storage_size_gb`.
    #[schema(deprecated, exclusive_minimum = 0)]
    storage_claim_size_gb: Option<f64>,
}

fn spicepod() -> Object {
    ObjectBuilder::new().schema_type(SchemaType::Array(vec![Type::String, Type::Object, Type::Null])).build()
}

fn visibility() -> Object {
    string_enum(&VISIBILITIES, false)
}

fn update_channel() -> Object {
    string_enum(&UPDATE_CHANNELS, true)
}

fn region() -> Object {
    string_enum(&REGIONS.map(|region| region.id), true)
}

fn cluster_name() -> Object {
    string_enum(&CLUSTERS.map(|cluster| cluster.target), true)
}

/// Schema of a closed set of strings. A derived schema cannot use a constant.
fn string_enum(values: &[&str], nullable: bool) -> Object {
    let null = nullable.then_some(Value::Null);
    let schema_type =
        if nullable { SchemaType::Array(vec![Type::String, Type::Null]) } else { SchemaType::Type(Type::String) };
    let choices = values.iter().map(|value| Value::from(*value));
    ObjectBuilder::new().schema_type(schema_type).enum_values(Some(choices.chain(null))).build()
}
