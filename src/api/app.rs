//! SpiceApp: one app (project) of Spice.ai Cloud.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn is an attribute of its own")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::reference::{ConfigMapKeyRef, OrganizationRef};
use super::status::StatusCore;
use super::{AdoptionPolicy, DeletionPolicy, DriftPolicy};

/// What the app is to be. A field that is left out is left alone.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "cloud.spice.ai",
    version = "v1alpha1",
    kind = "SpiceApp",
    namespaced,
    status = "SpiceAppStatus",
    shortname = "sapp",
    category = "spice",
    derive = "PartialEq",
    doc = "SpiceApp is an app of Spice.ai Cloud: created, kept as declared, and deleted with this object.",
    selectable = ".spec.organizationRef.name",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "External ID", type_ = "integer", json_path = ".status.id"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    ),
    // Of a new object only: the name of one that is there cannot change, and a rule on the whole object would also keep a
    // finalizer from being taken off.
    validation = Rule::new("oldSelf.hasValue() || has(self.spec.name) || self.metadata.name.matches('^[a-zA-Z0-9-]{4,38}$')")
        .optional_old_self(true)
        .message("metadata.name cannot be an app's name (4 to 38 letters, digits or hyphens): set spec.name"),
    // The name that it comes to: to write down the one that it has anyhow changes nothing.
    validation = Rule::new("(has(self.spec.name) ? self.spec.name : self.metadata.name) == (has(oldSelf.spec.name) ? oldSelf.spec.name : oldSelf.metadata.name)")
        .message("name cannot change: an app cannot be renamed").field_path(".spec.name"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.region), has(self.cname), has(self.clusterName)].filter(set, set).size() <= 1")
        .message("at most one of region, cname and clusterName may be set"),
    validation = Rule::new("!has(self.spicepod) || !has(self.spicepodFrom)")
        .message("only one of spicepod and spicepodFrom may be set").field_path(".spicepodFrom"),
    validation = Rule::new("has(self.cname) == has(oldSelf.cname) && (!has(self.cname) || self.cname == oldSelf.cname)")
        .message("cname cannot change").field_path(".cname"),
    validation = Rule::new("self.organizationRef == oldSelf.organizationRef")
        .message("organizationRef cannot change: an app cannot move to another organization").field_path(".organizationRef"),
)]
pub struct SpiceAppSpec {
    /// The SpiceOrganization that the app belongs to. Cannot change.
    #[serde(default)]
    pub organization_ref: OrganizationRef,
    /// The app's name: 4 to 38 letters, digits or hyphens, unique in the organization whatever the case.
    /// Defaults to `metadata.name`. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 4, max = 38), regex(pattern = r"^[a-zA-Z0-9-]+$"))]
    pub name: Option<String>,
    /// The region to run in, such as `us-west-2`. With neither `cname` nor `clusterName` it defaults to the
    /// organization's default region when the app is created, and stays there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub region: Option<String>,
    /// Older form of a placement, such as `us-west-2-prod-aws-data`. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub cname: Option<String>,
    /// A dedicated cluster's deployment target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub cluster_name: Option<String>,
    /// Free text shown in the portal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// Who can see the app. An app is created `private` if this is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// Tags of the app, merged with tags that others have set. Values: letters, digits, `_`, `@` and `-`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 48, "additionalProperties" = { "type": "string", "maxLength": 256 }))]
    pub tags: BTreeMap<String, String>,
    /// The branch that the portal shows as production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub production_branch: Option<String>,
    /// The Spicepod, as an object: `version`, `kind: Spicepod`, `name`, and what the app is made of. Up to 256 KiB as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "open_object")]
    pub spicepod: Option<Map<String, Value>>,
    /// Where the Spicepod is read from instead. A change there reaches the app at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spicepod_from: Option<SpicepodSource>,
    /// How the app runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// `Observe` only looks: the app of this name is shown in status and never written to. Defaults to `Manage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub management_policy: Option<ManagementPolicy>,
    /// Whether an app of this name that exists already is taken over. Defaults to `Fail`. One that carries another
    /// owner's tag is taken over only if the annotation `cloud.spice.ai/take-ownership-from` names that tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption_policy: Option<AdoptionPolicy>,
    /// What happens when somebody changes the app outside. Defaults to `Correct`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_policy: Option<DriftPolicy>,
    /// What happens to the app when this object is deleted. Unset: an app that this object created is deleted,
    /// any other is retained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// How often the app is compared with this spec when nothing else asks for it. Defaults to 10m.
    /// Shorter than the operator's `--min-interval` is raised to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s')").message("interval must be 1s or more"))]
    pub interval: Option<Duration>,
    /// While true, no remote call is made for this object, except for its deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// Where a Spicepod is read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpicepodSource {
    /// A key of a ConfigMap in the same namespace that holds the Spicepod as YAML or JSON, up to 256 KiB.
    pub config_map_key_ref: ConfigMapKeyRef,
}

/// Whether the app is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::described_by_its_field)]
pub enum ManagementPolicy {
    /// It is created, kept as declared, and deleted.
    Manage,
    /// It is looked at only.
    Observe,
}

/// Who can see an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::described_by_its_field)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Everybody.
    Public,
    /// Members of the organization.
    Private,
}

/// How an app runs: the image, its channel, and its size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Runtime {
    /// Image name, such as `spiceai-enterprise`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub image: Option<String>,
    /// Image registry, with its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub registry: Option<String>,
    /// Pins the runtime's tag. Without it each deployment takes the tag from `updateChannel` and `version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub image_tag: Option<String>,
    /// The channel that new runtime versions come from: `stable`, `preview`, `nightly`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub update_channel: Option<String>,
    /// A range of runtime versions, such as `2.x`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub version: Option<String>,
    /// Number of replicas, as far as the plan allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub replicas: Option<u32>,
    /// CPU and memory: `limits` and `requests`, as the Management API takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "open_object")]
    pub resources: Option<Map<String, Value>>,
    /// Executors of a distributed app: `replicas`, `resources`, `storage_size_gb`, as the Management API takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "open_object")]
    pub executor: Option<Map<String, Value>>,
    /// The node group to run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub node_group: Option<String>,
    /// Size of the storage in gigabytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub storage_size_gb: Option<u32>,
}

/// What is true of the app.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpiceAppStatus {
    /// Fields that every kind has.
    #[serde(flatten)]
    pub core: StatusCore,
    /// The app's id in Spice.ai Cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub id: Option<i64>,
    /// The organization that the app was recorded in: its endpoint, and `#` and its id where the API tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_binding: Option<String>,
    /// `c-` and the intent that created the app, or `a-` and a fresh id for one that was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    /// When the create of the app was begun, if this object has made it. What of the app's secrets is older was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<MicroTime>,
    /// Base URL of the app's data plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The app's page in the portal, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The region that the app was created in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// A create that was begun and whose outcome is not yet stored here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_intent: Option<CreateIntent>,
    /// For each managed field: digests of what was last sent and of what the API then showed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 128))]
    pub last_applied: BTreeMap<String, AppliedField>,
    /// Fields that differ from the spec and are left so: by `driftPolicy: Report` or `managementPolicy: Observe`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub drift: Vec<String>,
    /// True where the organization keeps no tags of ours: then the recorded id alone tells that the app is ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags_unsupported: Option<bool>,
}

/// Says that a create was begun; stored before the request leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateIntent {
    /// 128 random bits in hexadecimal; sent along as the app's incarnation.
    pub id: String,
    /// The name that was to be created.
    pub name: String,
    /// When the intent was made, to the microsecond: whether an app is older is a question of it.
    pub at: MicroTime,
    /// True after the API answered that an app of the name exists: then only its tag tells whether it is ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_conflict: Option<bool>,
    /// Owner tag of somebody else that the app came back with, which had been deleted: it is to be replaced by ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reactivated_owner_tag: Option<String>,
}

/// Digests of one managed field. A digest names its version (`v1:`) and covers canonical JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliedField {
    /// Of the value that was sent.
    pub sent_hash: String,
    /// Of the value that the API showed for it afterwards.
    pub observed_hash: String,
}

fn open_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}
