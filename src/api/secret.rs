//! SpiceSecret: secrets of an app that follow a Kubernetes Secret.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn is an attribute of its own")]

use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reference::{AppRef, SecretKeyRef};
use super::status::StatusCore;
use super::{AdoptionPolicy, DeletionPolicy, DriftPolicy};

/// Which secrets of the app are kept, and where their values come from.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "cloud.spice.ai",
    version = "v1alpha1",
    kind = "SpiceSecret",
    namespaced,
    status = "SpiceSecretStatus",
    shortname = "ssec",
    category = "spice",
    derive = "PartialEq",
    doc = "SpiceSecret is one secret of an app of Spice.ai Cloud, or one for each key of a Kubernetes Secret: set when that changes, and deleted with this object.",
    selectable = ".spec.appRef.name",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "App", type_ = "string", json_path = ".spec.appRef.name"),
    printcolumn(name = "External ID", type_ = "integer", json_path = ".status.appId"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.secretKeyRef) != has(self.secretRef)")
        .message("exactly one of secretKeyRef and secretRef must be set"),
    validation = Rule::new("!has(self.name) || has(self.secretKeyRef)")
        .message("name goes with secretKeyRef; with secretRef, each of its items may have one").field_path(".name"),
    validation = Rule::new("!has(self.secretKeyRef) || has(self.name) || self.secretKeyRef.key.matches('^[a-zA-Z_][a-zA-Z0-9_]*$')")
        .message("the key is not a name that a secret of an app can have (letters, digits and _, not beginning with a digit): set name")
        .field_path(".name"),
    validation = Rule::new("self.appRef == oldSelf.appRef")
        .message("appRef cannot change: make a new object for another app").field_path(".appRef"),
)]
pub struct SpiceSecretSpec {
    /// The SpiceApp whose secrets these are. Cannot change.
    pub app_ref: AppRef,
    /// One key of a Kubernetes Secret: one secret of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
    /// The secret's name in the app, for `secretKeyRef`: letters, digits and `_`, not beginning with a digit; the case counts.
    /// Defaults to the key. A spicepod refers to it as `${secrets:NAME}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_]*$"))]
    pub name: Option<String>,
    /// A whole Kubernetes Secret: one secret of the app for each of its keys, or for those that are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Whether a secret of the app that exists already is taken over: its value is overwritten. Defaults to `Fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption_policy: Option<AdoptionPolicy>,
    /// What happens when somebody sets or deletes the secret outside. Defaults to `Correct`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_policy: Option<DriftPolicy>,
    /// What happens to a secret of the app when this object is deleted, or names it no longer. Unset: one that this object
    /// made is deleted, one that it took over is retained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// How often the app's secrets are compared with what was set. All objects of an app are checked together, as often as the
    /// one of them that asks for the shortest interval. Defaults to 10m. Shorter than the operator's `--min-interval` is raised
    /// to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s')").message("interval must be 1s or more"))]
    pub interval: Option<Duration>,
    /// While true, no remote call is made for this object, except for its deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// A whole Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The keys to take; all of them, each under its own name, if this is not set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub items: Vec<SecretItem>,
}

/// One key of a Secret, and the name that it has in the app.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.name) || self.key.matches('^[a-zA-Z_][a-zA-Z0-9_]*$')")
        .message("the key is not a name that a secret of an app can have (letters, digits and _, not beginning with a digit): set name")
        .field_path(".name"),
)]
pub struct SecretItem {
    /// Key in the Secret's data.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
    /// The secret's name in the app. Defaults to the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_]*$"))]
    pub name: Option<String>,
}

/// What is true of the secrets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpiceSecretStatus {
    /// Fields that every kind has.
    #[serde(flatten)]
    pub core: StatusCore,
    /// The id of the app that the secrets are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub app_id: Option<i64>,
    /// The secrets of the app that this object has set, or is about to set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub secrets: Vec<SecretEntry>,
    /// Names that this object asks for and another SpiceSecret of the app holds, or has set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub conflicts: Vec<SecretConflict>,
    /// Names of secrets that somebody else has set or deleted and that are left so: by `driftPolicy: Report`, or because they
    /// were put back again and again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub drift: Vec<String>,
}

/// One secret of the app. Tells whether its value is still what was set, without telling the value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretEntry {
    /// Its name in the app.
    pub name: String,
    /// Keyed digest of the value that was set last: `v1`, the id of the key, and HMAC-SHA-256 cut to 128 bits, with colons between
    /// them. Unset before the first one was certainly set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The digest under which this value was first set: it stays when the same value is set again under another key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<String>,
    /// When it was set, as the Management API said: another time means that somebody else has set it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// The incarnation of the app that it was set in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    /// True if it existed already and was taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<bool>,
}

/// A name that another SpiceSecret of the app holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretConflict {
    /// The name of the app's secret.
    pub name: String,
    /// The SpiceSecret that holds it.
    pub owned_by: String,
    /// True if that one has set it: then it passes to this object when that one lets go of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
    /// True if that one took it over when it existed already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<bool>,
}
