//! SpiceSecret: secrets of an app that follow a Kubernetes Secret.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn is an attribute of its own")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::interval::{Interval, interval_rule};
use super::policy::{AdoptionPolicy, DeletionPolicy, DriftPolicy};
use super::reference::AppRef;
use super::status::StatusCore;

/// Which secrets of an app follow which keys of a Kubernetes Secret. All fields are optional.
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
    doc = "SpiceSecret copies the keys of a Kubernetes Secret into the secrets of an app of Spice.ai Cloud, sets a secret again when its value changes, and deletes the secrets with this object.",
    selectable = ".spec.appRef.name",
    selectable = ".status.appRef.name",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "App", type_ = "string", json_path = ".status.appRef.name"),
    printcolumn(name = "Secrets", type_ = "string", json_path = ".status.appliedSecrets"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "External ID", type_ = "integer", json_path = ".status.appId", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    ),
    // Compares the names with their default applied: writing the default down, or removing it, changes nothing. A rule
    // on the whole object also runs when a finalizer is removed, and must then pass for every stored object.
    validation = Rule::new("(has(self.spec.appRef) ? self.spec.appRef.name : self.metadata.name) == (has(oldSelf.spec.appRef) ? oldSelf.spec.appRef.name : oldSelf.metadata.name)")
        .message("appRef cannot change: create another SpiceSecret for another app").field_path(".spec.appRef"),
)]
#[serde(rename_all = "camelCase")]
pub struct SpiceSecretSpec {
    /// SpiceApp that owns the app, in the namespace of this object. Defaults to the SpiceApp with the name of this
    /// object. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_ref: Option<AppRef>,
    /// Kubernetes Secret that holds the values, in the namespace of this object. Defaults to all keys of the Secret
    /// with the name of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Handling of a secret that already exists in the app: `Adopt` overwrites its value, `Fail` does not write.
    /// Defaults to `Fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption_policy: Option<AdoptionPolicy>,
    /// Handling of a secret that another client changed or deleted. Defaults to `Correct`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_policy: Option<DriftPolicy>,
    /// Handling of a secret of the app when this object is deleted or no longer requests the name. If the field is not
    /// set, the operator deletes a secret that this object created, and keeps an adopted secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// Time between two resyncs, such as `90s` or `1h30m`. Defaults to 10m. The operator raises a shorter interval to
    /// `--min-interval`. The SpiceApp and all SpiceSecrets of an app use the shortest interval that any of them sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = interval_rule())]
    pub interval: Option<Interval>,
    /// Stops all API requests for this object while true. Deletion of the object still works. The annotation
    /// `cloud.spice.ai/suspend` has the same effect with every value except `false` and the empty value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

impl SpiceSecret {
    /// Name of the SpiceApp: the one in the spec, otherwise the object's own name.
    pub fn app_name(&self) -> &str {
        self.spec.app_ref.as_ref().map_or(self.own_name(), |app| app.name.as_str())
    }

    /// Name of the Kubernetes Secret: the one in the spec, otherwise the object's own name.
    pub fn source_name(&self) -> &str {
        let name = self.spec.secret_ref.as_ref().and_then(|secret| secret.name.as_deref());
        name.unwrap_or(self.own_name())
    }

    fn own_name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
}

impl SpiceSecretSpec {
    /// The selected keys. `None` selects every key.
    pub fn items(&self) -> Option<&[SecretItem]> {
        self.secret_ref.as_ref()?.items.as_deref()
    }
}

/// Keys of a Kubernetes Secret in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Kubernetes Secret. Defaults to the name of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: Option<String>,
    /// Keys to copy, at least one. If the field is not set, the operator copies every key under the name of the key.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub items: Option<Vec<SecretItem>>,
}

/// Reads null as an empty list, which selects no key. A template without items results in null, and the Kubernetes
/// API handles null like a missing field.
fn null_as_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<SecretItem>>, D::Error> {
    Option::deserialize(deserializer).map(|items| Some(items.unwrap_or_default()))
}

/// One key of a Kubernetes Secret and its name in the app.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.name) || self.key.matches('^[a-zA-Z_][a-zA-Z0-9_]*$')")
        .message("the key is not a valid secret name (letters, digits and _, not starting with a digit); set name")
        .field_path(".name"),
)]
pub struct SecretItem {
    /// Key in the data of the Kubernetes Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
    /// Name of the secret in the app: letters, digits and `_`, without a digit at the start; case-sensitive. Defaults
    /// to the key. A spicepod refers to it as `${secrets:NAME}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_]*$"))]
    pub name: Option<String>,
}

/// Observed state of the secrets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpiceSecretStatus {
    /// Status fields that every kind has.
    #[serde(flatten)]
    pub core: StatusCore,
    /// SpiceApp of the secrets, also when `spec.appRef` is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_ref: Option<AppRef>,
    /// ID of the app that contains the secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub app_id: Option<i64>,
    /// Applied secrets of requested secrets, such as `1/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_secrets: Option<String>,
    /// Secrets of the app that this object has set or is about to set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub secrets: Vec<SecretEntry>,
    /// Requested names that another SpiceSecret of the app owns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub conflicts: Vec<SecretConflict>,
    /// Names of secrets that another client changed or deleted and that are not corrected, because of `driftPolicy:
    /// Report` or a correction loop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub drift: Vec<String>,
}

/// One secret of the app. The digest shows whether the value is current, without the value itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretEntry {
    /// Name of the secret in the app.
    pub name: String,
    /// Keyed digest of the last value: `v2`, the ID of the digest key, and HMAC-SHA-256 cut to 128 bits, separated by
    /// colons. The digest covers namespace and name of this object, the name in the app and the value. Not set before
    /// the first confirmed write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Digest under which this value was first set. The digest stays if the operator sets the same value again under
    /// another digest key or version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<String>,
    /// Last-modified time in the API response. Another time means that another client has set the secret since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// Creation ID of the app that contains the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    /// True if the secret existed before and was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<bool>,
}

/// A name that another SpiceSecret of the app owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretConflict {
    /// Name of the secret in the app.
    pub name: String,
    /// SpiceSecret that owns the name.
    pub owned_by: String,
    /// True if the owner has set the secret. The secret then passes to this object when the owner releases the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
    /// True if the owner adopted the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<bool>,
}
