//! SpiceApp: one app (project) of Spice.ai Cloud.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn is an attribute of its own")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::interval::{Interval, interval_rule};
use super::policy::{AdoptionPolicy, DeletionPolicy, DriftPolicy};
use super::reference::{ConfigMapKeyRef, OrganizationRef, ResolvedOrganizationRef};
use super::runtime::Runtime;
use super::spicepod::{Spicepod, spicepod_schema};
use super::status::StatusCore;

/// Desired state of the app. The operator does not change a field that is not set.
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
    doc = "SpiceApp is an app (project) of Spice.ai Cloud. The operator creates the app, keeps the fields of the spec as declared, and deletes the app with this object.",
    selectable = ".spec.organizationRef.name",
    selectable = ".status.organizationRef.name",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Drifted", type_ = "string", json_path = r#".status.conditions[?(@.type=="Drifted")].status"#),
    printcolumn(name = "Region", type_ = "string", json_path = ".status.region"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "External ID", type_ = "integer", json_path = ".status.id", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    ),
    // For a new object only: the name of an existing object cannot change, and a rule on the whole object would also
    // block the removal of a finalizer.
    validation = Rule::new("oldSelf.hasValue() || has(self.spec.name) || self.metadata.name.matches('^[a-zA-Z0-9-]{4,38}$')")
        .optional_old_self(true)
        .message("metadata.name is not a valid app name (4 to 38 letters, digits or hyphens); set spec.name"),
    // Compares the names with their default applied: writing the default down, or removing it, changes nothing.
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
    // The operator checks a reference or a namespace that is set or removed, because CEL sees neither the object's own
    // namespace nor the default.
    validation = Rule::new("!has(self.organizationRef) || !has(oldSelf.organizationRef) || (self.organizationRef.name == oldSelf.organizationRef.name && (!has(self.organizationRef.__namespace__) || !has(oldSelf.organizationRef.__namespace__) || self.organizationRef.__namespace__ == oldSelf.organizationRef.__namespace__))")
        .message("organizationRef cannot change: an app cannot move to another organization").field_path(".organizationRef"),
)]
pub struct SpiceAppSpec {
    /// SpiceOrganization of the app. Defaults to the SpiceOrganization `default` in the namespace of this object,
    /// otherwise to the one of the operator's flag `--default-organization`. Immutable once the app is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_ref: Option<OrganizationRef>,
    /// Name of the app: 4 to 38 letters, digits and hyphens, unique in the organization regardless of case. Defaults to
    /// `metadata.name`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 4, max = 38), regex(pattern = r"^[a-zA-Z0-9-]+$"))]
    pub name: Option<String>,
    /// Region of the app, such as `us-west-2`. Without `cname` and `clusterName`, the operator creates the app in the
    /// default region of the organization, and the app stays there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub region: Option<String>,
    /// Older form of placement, such as `us-west-2-prod-aws-data`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub cname: Option<String>,
    /// Deployment target of a dedicated cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub cluster_name: Option<String>,
    /// Free text that the portal shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// Visibility of the app. Defaults to `private` for an app that this object created. If the field is not set, the
    /// operator does not change the visibility of an adopted app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// Tags of the app. The operator merges them with the tags of other clients. A key is a letter, followed by at most
    /// 62 letters, digits, `_`, `.`, `/` and `-`. A value has letters, digits, `_`, `@` and `-`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 48, "additionalProperties" = { "type": "string", "maxLength": 256, "pattern": "^[a-zA-Z0-9_@-]*$" }))]
    #[x_kube(validation = Rule::new("self.all(key, key.matches('^[a-zA-Z][a-zA-Z0-9_./-]{0,62}$') && !key.startsWith('spice-operator-'))")
        .message("a key must be a letter followed by up to 62 of letters, digits, _ . / -, and must not start with spice-operator-"))]
    pub tags: BTreeMap<String, String>,
    /// Branch that the portal shows as production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub production_branch: Option<String>,
    /// Spicepod as an object: `version`, `kind: Spicepod`, `name` and the components of the app. At most 256 KiB as
    /// JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "spicepod_schema")]
    pub spicepod: Option<Spicepod>,
    /// Other source of the Spicepod. A change of the source triggers a reconcile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spicepod_from: Option<SpicepodSource>,
    /// Runtime image and size of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// Write access to the app. `Observe` only reads the app of this name and reports it in status. Defaults to
    /// `Manage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub management_policy: Option<ManagementPolicy>,
    /// Handling of an existing app of this name: `Adopt` adopts the app, `Fail` does not. Defaults to `Fail`. An app
    /// with the tag of another owner is adopted only if the annotation `cloud.spice.ai/take-ownership-from` contains
    /// this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption_policy: Option<AdoptionPolicy>,
    /// Handling of a field that another client changed. Defaults to `Correct`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_policy: Option<DriftPolicy>,
    /// Handling of the app when this object is deleted. If the field is not set, the operator deletes an app that this
    /// object created, and keeps an adopted app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// Time between two resyncs, such as `90s` or `1h30m`. Defaults to 10m. The operator raises a shorter interval to
    /// `--min-interval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = interval_rule())]
    pub interval: Option<Interval>,
    /// Stops all API requests for this object while true. Deletion of the object still works. The annotation
    /// `cloud.spice.ai/suspend` has the same effect with every value except `false` and the empty value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// Source of a Spicepod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpicepodSource {
    /// Key of a ConfigMap in the same namespace. The value is the Spicepod as YAML or JSON, at most 256 KiB.
    pub config_map_key_ref: ConfigMapKeyRef,
}

/// Write access of the operator to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::policy::described_by_its_field)]
pub enum ManagementPolicy {
    /// The operator creates, updates and deletes the app.
    Manage,
    /// The operator only reads the app.
    Observe,
}

/// Visibility of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::policy::described_by_its_field)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Visible to everyone.
    Public,
    /// Visible to members of the organization.
    Private,
}

/// Observed state of the app.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpiceAppStatus {
    /// Status fields that every kind has.
    #[serde(flatten)]
    pub core: StatusCore,
    /// ID of the app in Spice.ai Cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub id: Option<i64>,
    /// Organization to which the app is bound: the endpoint in its canonical form, followed by `#` and the ID of the
    /// organization if the API returns an ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_binding: Option<String>,
    /// SpiceOrganization that the app was recorded in, also when `spec.organizationRef` is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_ref: Option<ResolvedOrganizationRef>,
    /// Creation ID of the app: `c-` and the ID of the create intent, or `a-` and a random ID for an adopted app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    /// Time at which this object started to create the app. Secrets of the app that are older existed before: the
    /// create reactivated a deleted app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<MicroTime>,
    /// Time, by the clock of the API, at which the create of this object reactivated a deleted app. Older secrets of the
    /// app existed before. Not set for a new app, or if the response contained no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reactivated_at: Option<MicroTime>,
    /// Base URL of the data plane of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// URL of the app in the portal, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Region of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Create request without a recorded result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_intent: Option<CreateIntent>,
    /// Digests of the last sent value and of the value in the API response, by field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 128))]
    pub last_applied: BTreeMap<String, AppliedField>,
    /// Fields that differ from the spec and are not corrected, because of `driftPolicy: Report`, `managementPolicy:
    /// Observe` or a correction loop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub drift: Vec<String>,
    /// True if the API does not store the owner tags of the app. The recorded ID is then the only proof of ownership.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags_unsupported: Option<bool>,
    /// Time of the last write that showed that the API does not store the owner tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags_tried_at: Option<MicroTime>,
}

impl SpiceApp {
    /// Name of the app in Spice.ai Cloud: the one in the spec, otherwise the object's own name.
    pub fn remote_name(&self) -> &str {
        let own = self.metadata.name.as_deref().unwrap_or_default();
        self.spec.name.as_deref().unwrap_or(own)
    }

    /// The SpiceOrganization that the spec names.
    pub fn declared_organization(&self) -> Option<ResolvedOrganizationRef> {
        let OrganizationRef { name, namespace } = self.spec.organization_ref.clone()?;
        let namespace = namespace.or_else(|| self.metadata.namespace.clone()).unwrap_or_default();
        Some(ResolvedOrganizationRef { namespace, name })
    }
}

impl SpiceAppStatus {
    /// Returns true if an app is recorded, or if a create may have taken effect.
    pub fn has_remote_state(&self) -> bool {
        self.id.is_some() || self.create_intent.is_some()
    }

    /// The SpiceOrganization of the remote state.
    pub fn recorded_organization(&self) -> Option<&ResolvedOrganizationRef> {
        self.organization_ref.as_ref().filter(|_| self.has_remote_state())
    }
}

/// A create request, stored before the operator sends it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateIntent {
    /// 128 random bits in hexadecimal, sent with the request as the creation ID of the app.
    pub id: String,
    /// Name of the app in the request.
    pub name: String,
    /// Time at which the operator recorded the last create attempt. If an app without an owner tag is older than this
    /// time, this create reactivated a deleted app.
    pub at: MicroTime,
    /// True if the API responded that an app of this name exists. Then only the owner tag shows whether the app is
    /// managed by this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_conflict: Option<bool>,
    /// Foreign owner tag on the app after the create reactivated it. The operator replaces the tag with its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reactivated_owner_tag: Option<String>,
}

/// Digests of one field. A digest starts with its version (`v1:`) and covers canonical JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliedField {
    /// Digest of the sent value.
    pub sent_hash: String,
    /// Digest of the value in the API response.
    pub observed_hash: String,
}
